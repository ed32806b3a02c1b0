//! What makes an image findable again: the hash of its bytes, and a gradient hash of its pixels.

use sha2::{Digest, Sha256};

use super::decode::Image;

/// The name and version of [`gradient_hash`], written into every labels object.
pub const GRADIENT_HASH: &str = "gradient-9x8-v1";

/// Columns of the grid.
const COLUMNS: usize = 9;
/// Rows of the grid.
const ROWS: usize = 8;

/// SHA-256 of the image's bytes as they lie in the bucket.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A 64-bit gradient hash of the full image, in integers alone, so that it is the same on every machine.
///
/// Luma (77 R + 150 G + 29 B) / 256 is averaged over 9 × 8 cells; cell c of n over a length L spans pixels ⌊c·L/n⌋ to ⌊(c+1)·L/n⌋, and at
/// least one. Bit 8·row + column is set where a cell is darker than its right neighbour. Images that differ by a re-encoding or a
/// resize differ in a few bits (dHash, after Krawetz 2013).
pub fn gradient_hash(image: &Image) -> u64 {
    debug_assert!(!image.scaled, "a scaled image has no hash of the full one");
    let (width, height) = (image.width as usize, image.height as usize);
    let span = |cell: usize, cells: usize, length: usize| {
        let from = (cell * length / cells).min(length - 1);
        (from, ((cell + 1) * length / cells).max(from + 1))
    };
    let columns: [(usize, usize); COLUMNS] = std::array::from_fn(|c| span(c, COLUMNS, width));
    let mut hash = 0;
    // A band of lines is added up line by line, which the processor does many bytes at a time, and cut into cells once.
    let mut band = vec![0_u32; width * 3];
    for row in 0..ROWS {
        let (top, bottom) = span(row, ROWS, height);
        band.fill(0);
        for line in image.pixels[top * width * 3..bottom * width * 3].chunks_exact(width * 3) {
            for (sum, byte) in band.iter_mut().zip(line) {
                *sum += u32::from(*byte);
            }
        }
        let sums = columns.map(|(left, right)| {
            let pixels = band[left * 3..right * 3].chunks_exact(3);
            pixels.fold(0_u64, |sum, p| {
                sum + 77 * u64::from(p[0]) + 150 * u64::from(p[1]) + 29 * u64::from(p[2])
            })
        });
        // Cells differ in width by up to a pixel: sums are compared as averages, cross-multiplied.
        let area = |c: usize| (columns[c].1 - columns[c].0) as u64;
        for column in 0..COLUMNS - 1 {
            let (here, right) = (
                sums[column] * area(column + 1),
                sums[column + 1] * area(column),
            );
            hash |= u64::from(here < right) << (row * (COLUMNS - 1) + column);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u8) -> Image {
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                pixels.extend([pixel(x, y); 3]);
            }
        }
        Image {
            pixels,
            width,
            height,
            full_width: width,
            full_height: height,
            scaled: false,
        }
    }

    #[test]
    fn a_gradient_to_the_right_sets_every_bit_and_its_mirror_none() {
        assert_eq!(gradient_hash(&image(90, 80, |x, _| x as u8)), u64::MAX);
        assert_eq!(gradient_hash(&image(90, 80, |x, _| 200 - x as u8)), 0);
    }

    #[test]
    fn the_bits_are_rows_of_eight_from_the_top_left() {
        let only_top = image(90, 80, |x, y| if y < 10 { x as u8 } else { 7 });
        assert_eq!(gradient_hash(&only_top), 0xFF);
        let step_in_the_first_column = image(90, 80, |x, _| if x < 10 { 0 } else { 9 });
        assert_eq!(
            gradient_hash(&step_in_the_first_column),
            0x0101_0101_0101_0101
        );
    }

    #[test]
    fn a_resized_image_has_nearly_the_same_hash_and_tiny_ones_have_one() {
        let wave = |x: f32, y: f32| (127.0 + 100.0 * (x * 9.0).sin() * (y * 5.0).cos()) as u8;
        let large = image(640, 480, |x, y| wave(x as f32 / 640.0, y as f32 / 480.0));
        let small = image(320, 240, |x, y| wave(x as f32 / 320.0, y as f32 / 240.0));
        assert!((gradient_hash(&large) ^ gradient_hash(&small)).count_ones() <= 2);
        assert_eq!(gradient_hash(&image(1, 1, |_, _| 5)), 0);
    }
}
