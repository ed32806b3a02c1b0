//! An image that is being noised: RGB bytes in the caller's buffer, and one buffer more for operations that read what they overwrite.

/// `height` rows of `width` RGB pixels, 3 bytes each.
#[derive(Debug)]
pub struct Pixels<'a> {
    width: usize,
    height: usize,
    bytes: &'a mut [u8],
    spare: &'a mut Vec<u8>,
}

impl<'a> Pixels<'a> {
    /// Takes the image in `bytes`. `spare` is overwritten; whoever passes the same one again allocates nothing.
    ///
    /// # Panics
    /// Where `bytes` is not of 3 × `width` × `height` bytes.
    pub fn new(width: u32, height: u32, bytes: &'a mut [u8], spare: &'a mut Vec<u8>) -> Self {
        let (width, height) = (width as usize, height as usize);
        assert_eq!(bytes.len(), 3 * width * height, "{width}×{height} RGB");
        Self {
            width,
            height,
            bytes,
            spare,
        }
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width as u32
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height as u32
    }

    /// Whether there is no pixel.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All bytes, to be changed one by one.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// All pixels.
    pub(super) fn pixels(&self) -> &[[u8; 3]] {
        self.bytes.as_chunks().0
    }

    /// All pixels, to be changed one by one.
    pub(super) fn pixels_mut(&mut self) -> &mut [[u8; 3]] {
        self.bytes.as_chunks_mut().0
    }

    /// The rows.
    pub(super) fn rows(&mut self) -> impl Iterator<Item = &mut [[u8; 3]]> {
        // A chunk of no pixels is none, and there are none to be had then.
        let width = self.width.max(1);
        self.bytes.as_chunks_mut().0.chunks_exact_mut(width)
    }

    /// The image as it is now, to read from, and the place to write the new one to, where it still stands.
    pub(super) fn copied(&mut self) -> (&[u8], &mut [u8]) {
        self.spare.clear();
        self.spare.extend_from_slice(self.bytes);
        (self.spare, self.bytes)
    }
}
