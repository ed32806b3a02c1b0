//! An IDX file (MNIST, Fashion-MNIST) → its images: a header of 16 bytes, then one byte a pixel, image after image.
//!
//! A plain file is read by range. A gzipped one is inflated into a temporary file when it is first met, 4 MiB at a time, and then read
//! from there. What an image's bytes are for whoever reads it: a grey BMP of its pixels, so that it is decoded as any other image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use image::ExtendedColorType;
use image::codecs::bmp::BmpEncoder;
use tokio::sync::Mutex;

use super::inflate::inflate;
use super::list::Object;
use super::read::{Reader, listing_error, with_retries};
use super::{Entry, ImageRef, ReadError, ReadErrorKind, SourceError};

/// The header of three dimensions: two zeros, the type, the number of dimensions, then each as 4 bytes, the highest first.
pub(super) const HEADER: u64 = 16;
/// The type of unsigned bytes in the format's description, at the end of <http://yann.lecun.com/exdb/mnist/>.
const UNSIGNED_BYTES: u8 = 0x08;
/// Files that are kept open: two shards are worked on side by side, and a shard lies in one file.
const KEPT: usize = 4;
/// What a gzipped file may be inflated to, in bytes: 8 GiB, ten million images of 28×28. It bounds what a small file can do to the disk.
const MOST_INFLATED: u64 = 8 * 1024 * 1024 * 1024;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    images: u32,
    height: u32,
    width: u32,
}

/// Why a file is no IDX file of images, or not a whole one.
#[derive(Debug)]
pub(super) struct Damage {
    reason: &'static str,
    detail: String,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    Damaged(Damage),
    Read(ReadError),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

pub(super) fn damaged(reason: &'static str, detail: String) -> Fault {
    Fault::Damaged(Damage { reason, detail })
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() < 4 || bytes[..2] != [0, 0] {
            let start = bytes[..bytes.len().min(8)].escape_ascii();
            let detail = format!("it begins with \"{start}\", which is no IDX header");
            return Err(damaged("not-idx", detail));
        }
        if (bytes[2], bytes[3]) != (UNSIGNED_BYTES, 3) {
            let detail = format!(
                "its type is 0x{:02x} with {} dimensions; images are unsigned bytes (0x08) with 3: images, rows, columns",
                bytes[2], bytes[3]
            );
            return Err(damaged("unsupported-idx", detail));
        }
        let Some(sizes) = bytes.get(4..HEADER as usize) else {
            return Err(damaged("truncated-idx", "it ends within its header".into()));
        };
        let size = |n: usize| {
            let bytes = sizes[n * 4..n * 4 + 4].iter();
            bytes.fold(0, |n: u32, byte| n << 8 | u32::from(*byte))
        };
        let header = Self {
            images: size(0),
            height: size(1),
            width: size(2),
        };
        if header.images == 0 || header.image_bytes() == 0 {
            return Err(damaged("no-images", format!("it has {header}")));
        }
        if header.file_bytes() > MOST_INFLATED {
            let detail = format!(
                "{header} are {} bytes, more than {MOST_INFLATED}",
                header.file_bytes()
            );
            return Err(damaged("unsupported-idx", detail));
        }
        Ok(header)
    }

    fn image_bytes(self) -> u64 {
        u64::from(self.height) * u64::from(self.width)
    }

    /// Of the whole file, inflated.
    pub(super) fn file_bytes(self) -> u64 {
        HEADER.saturating_add(u64::from(self.images).saturating_mul(self.image_bytes()))
    }

    /// Whether a file of so many bytes is what the header says.
    pub(super) fn check(self, bytes: u64) -> Result<(), Fault> {
        let expected = self.file_bytes();
        match bytes.cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(damaged(
                "truncated-idx",
                format!("it has {bytes} bytes, but {self} are {expected}"),
            )),
            std::cmp::Ordering::Greater => Err(too_long(self)),
        }
    }
}

pub(super) fn too_long(header: Header) -> Fault {
    let detail = format!("it goes on after the {header} that its header speaks of");
    damaged("damaged-idx", detail)
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} images of {}×{}",
            self.images, self.width, self.height
        )
    }
}

/// The files that were read last.
#[derive(Debug, Default)]
pub(super) struct Files {
    kept: Mutex<Vec<Idx>>,
}

#[derive(Debug, Clone)]
struct Idx {
    object: String,
    etag: Option<String>,
    header: Header,
    /// Where the object is gzipped: the temporary file, which has no name and goes with the process.
    inflated: Option<Arc<File>>,
}

impl Files {
    /// An open file; while one is inflated, whoever wants it as well waits for it.
    async fn of(
        &self,
        reader: &Reader,
        object: &str,
        size: Option<u64>,
        etag: Option<&str>,
    ) -> Result<Idx, Fault> {
        let mut kept = self.kept.lock().await;
        let this = |f: &Idx| f.object == object && f.etag.as_deref() == etag;
        if let Some(i) = kept.iter().position(this) {
            let idx = kept.remove(i);
            kept.push(idx.clone());
            return Ok(idx);
        }
        let size = size.unwrap_or(0);
        let start = with_retries(|| reader.range(object, 0..HEADER.min(size), etag)).await?;
        let (header, inflated) = if start.starts_with(&[0x1F, 0x8B]) {
            let (header, file) = inflate(reader, object, size, etag).await?;
            (header, Some(Arc::new(file)))
        } else {
            let header = Header::parse(&start)?;
            header.check(size)?;
            (header, None)
        };
        let idx = Idx {
            object: object.to_owned(),
            etag: etag.map(str::to_owned),
            header,
            inflated,
        };
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(idx.clone());
        Ok(idx)
    }
}

/// The images of a file. `offset` is of an image's pixels in the (inflated) file, `size` their number.
pub(super) fn index(
    reader: Reader,
    files: Arc<Files>,
    key: String,
    object: Object,
) -> BoxStream<'static, Result<Entry, SourceError>> {
    let images = async move {
        let opened = files
            .of(&reader, &object.path, object.size, object.etag.as_deref())
            .await;
        let header = match opened {
            Ok(idx) => idx.header,
            Err(Fault::Read(e)) => return Err(listing_error(key, e)),
            Err(Fault::Damaged(Damage { reason, detail })) => {
                let entry = Entry {
                    size: object.size,
                    problem: Some((reason.to_owned(), detail)),
                    ..Entry::new(key, 0)
                };
                return Ok(stream::iter([Ok(entry)]).boxed());
            }
        };
        let size = header.image_bytes();
        let entries = (0..u64::from(header.images)).map(move |n| {
            Ok(Entry {
                offset: Some(HEADER + n * size),
                size: Some(size),
                ..Entry::new(format!("{key}#{n}"), n)
            })
        });
        Ok::<_, SourceError>(stream::iter(entries).boxed())
    };
    stream::once(images).try_flatten().boxed()
}

/// The images of one file, each as a grey BMP.
pub(super) async fn images(
    reader: &Reader,
    files: &Files,
    wanted: &[ImageRef],
    max_bytes: u64,
) -> Result<Vec<Result<Bytes, ReadError>>, ReadError> {
    let Some(first) = wanted.first() else {
        return Ok(Vec::new());
    };
    let etag = first.etag.as_deref();
    let opened = files.of(reader, &first.object, first.object_size, etag);
    let idx = opened.await.map_err(|fault| match fault {
        Fault::Read(e) => e,
        Fault::Damaged(Damage { detail, .. }) => changed(detail),
    })?;
    let header = idx.header;
    let size = header.image_bytes();
    if size > max_bytes {
        let too_large = || Err(ReadError::too_large(size, max_bytes));
        return Ok(wanted.iter().map(|_| too_large()).collect());
    }
    let ranges: Vec<Option<u64>> = wanted
        .iter()
        .map(|i| {
            i.offset
                .filter(|at| i.size == Some(size) && at + size <= header.file_bytes())
        })
        .collect();
    let starts = || ranges.iter().flatten().copied();
    let (from, end) = (
        starts().min().unwrap_or(0),
        starts().max().map_or(0, |at| at + size),
    );
    let bytes = match idx.inflated {
        None => reader.range(&first.object, from..end, etag).await?,
        Some(file) => read_at(file, from, end).await?,
    };
    Ok(ranges
        .into_iter()
        .map(|at| match at {
            Some(at) => bmp(
                &bytes[(at - from) as usize..(at - from + size) as usize],
                header,
            ),
            None => Err(changed("the file has other images than were listed".into())),
        })
        .collect())
}

fn changed(detail: String) -> ReadError {
    ReadError {
        kind: ReadErrorKind::Changed,
        detail,
    }
}

async fn read_at(file: Arc<File>, from: u64, end: u64) -> Result<Bytes, ReadError> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; (end - from) as usize];
        file.read_exact_at(&mut bytes, from).map(|()| bytes.into())
    });
    read.await
        .unwrap_or_else(|e| Err(io::Error::other(e)))
        .map_err(|e| ReadError {
            kind: ReadErrorKind::Retryable,
            detail: format!("cannot read the inflated file: {e}"),
        })
}

/// Pixels as a grey BMP.
fn bmp(pixels: &[u8], header: Header) -> Result<Bytes, ReadError> {
    let mut bytes = Vec::new();
    BmpEncoder::new(&mut bytes)
        .encode(pixels, header.width, header.height, ExtendedColorType::L8)
        .map_err(|e| ReadError {
            kind: ReadErrorKind::Unreadable,
            detail: e.to_string(),
        })?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::decode::{DecodeConfig, decode};

    fn header(bytes: &[u8]) -> Result<Header, &'static str> {
        Header::parse(bytes).map_err(|fault| match fault {
            Fault::Damaged(d) => d.reason,
            Fault::Read(_) => "read",
        })
    }

    #[test]
    fn a_header_says_how_many_images_of_what_size_and_anything_else_is_named() {
        let good = [0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28];
        let parsed = header(&good).unwrap();
        assert_eq!(
            (parsed.images, parsed.height, parsed.width),
            (60_000, 28, 28)
        );
        assert_eq!(parsed.file_bytes(), 47_040_016);
        assert_eq!(header(b"\x89PNG\r\n\x1a\n"), Err("not-idx"));
        assert_eq!(header(&[0, 0]), Err("not-idx"));
        // Labels, and images of floats.
        assert_eq!(header(&[0, 0, 8, 1, 0, 0, 0, 1]), Err("unsupported-idx"));
        assert_eq!(header(&[0, 0, 0x0D, 3]), Err("unsupported-idx"));
        assert_eq!(header(&good[..12]), Err("truncated-idx"));
        let none = [0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 28];
        assert_eq!(header(&none), Err("no-images"));
        assert_eq!(
            header(&[&good[..4], &[0xFF; 12]].concat()),
            Err("unsupported-idx")
        );
    }

    #[test]
    fn an_image_becomes_a_bmp_of_the_very_same_pixels() {
        let header = Header {
            images: 1,
            height: 3,
            width: 5,
        };
        let pixels: Vec<u8> = (0..15).map(|n| n * 17).collect();
        let bytes = bmp(&pixels, header).unwrap();
        let image = decode(&bytes, &DecodeConfig::default(), None).unwrap();
        let grey: Vec<u8> = image.pixels.chunks(3).map(|p| p[0]).collect();
        assert_eq!(grey, pixels);
        assert!(image.pixels.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
        assert_eq!((image.width, image.height), (5, 3));
    }
}
