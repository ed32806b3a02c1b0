//! Bytes of one image → RGB pixels, bounded.
//!
//! The format is found by its magic bytes, never by a name. Sizes are read from the header and held against the limits before anything
//! large is allocated. JPEG goes through `zune-jpeg`, the others through `image`. Grey is replicated to RGB, 16-bit samples are scaled
//! to 8 bits, alpha is composited over white, of an animation or a multi-page file the first frame is taken.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use super::format::format;
use super::jpeg;

/// 64 MiB: a 100-megapixel JPEG has 30 to 60 MB.
pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// 50 megapixels are 150 MB of RGB; each worker may hold one such image.
pub const DEFAULT_MAX_PIXELS: u64 = 50_000_000;
/// The longest side in pixels, JPEG's own limit: a line of 50 megapixels would cost the resizer gigabytes.
const LONGEST_SIDE: u32 = 65_535;
/// 256 MiB: 50 megapixels of RGB, and as much again for a progressive JPEG's coefficients at a third of that size.
pub const DEFAULT_MAX_MEMORY: u64 = 256 * 1024 * 1024;

/// The `[decode]` section: what bounds the decoding of one image, and what it does beyond decoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodeConfig {
    /// The largest file, in bytes. A larger one is a reject, and is not even fetched where its size is known.
    pub max_bytes: u64,
    /// The most pixels, width × height: it bounds what a decompression bomb of a few kB can cost.
    pub max_pixels: u64,
    /// Bytes that the decoder may allocate for one image; × workers it is the decoding's share of the process's memory.
    pub max_memory: u64,
    /// Turn the image as its EXIF orientation says. Off by default, as in timm, torchvision and the paper's code.
    pub exif_orientation: bool,
    /// Decode a large JPEG at 1/2, 1/4 or 1/8 of its size, in the frequency domain: faster for photos far larger than the model's input,
    /// with slightly other labels, and without a `phash`, which is of the full image alone.
    pub scaled_jpeg: bool,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self {
            max_bytes: DEFAULT_MAX_BYTES,
            max_pixels: DEFAULT_MAX_PIXELS,
            max_memory: DEFAULT_MAX_MEMORY,
            exif_orientation: false,
            scaled_jpeg: false,
        }
    }
}

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// RGB, 3 bytes a pixel, row by row.
    pub pixels: Vec<u8>,
    /// Of `pixels`.
    pub width: u32,
    /// Of `pixels`.
    pub height: u32,
    /// Of the image as it is stored (as it is turned, where EXIF orientation is applied).
    pub full_width: u32,
    /// Of the image as it is stored (as it is turned, where EXIF orientation is applied).
    pub full_height: u32,
    /// Whether it was decoded at a smaller scale.
    pub scaled: bool,
}

/// Why an image cannot be decoded. [`DecodeError::reason`] is the reject's `reason`, `Display` its `detail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// No known magic bytes.
    #[error("the file begins with {start}, which is no image format")]
    NotAnImage {
        /// The first bytes, printable.
        start: String,
    },
    /// A format that is known and not read.
    #[error("{format} is not supported")]
    Unsupported {
        /// Its name.
        format: String,
    },
    /// The file ends before the image does.
    #[error("the file ends before the image does: {detail}")]
    Truncated {
        /// The decoder's words.
        detail: String,
    },
    /// The decoder cannot make sense of it.
    #[error("the image is damaged: {detail}")]
    Corrupt {
        /// The decoder's words.
        detail: String,
    },
    /// Larger than `decode.max_bytes`.
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooManyBytes {
        /// What it has.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Larger than `decode.max_pixels`.
    #[error("{width}×{height} pixels are more than the limit of {limit}")]
    TooManyPixels {
        /// From the header.
        width: u32,
        /// From the header.
        height: u32,
        /// What is allowed.
        limit: u64,
    },
    /// More than `decode.max_memory`.
    #[error("decoding {width}×{height} pixels takes more than the limit of {limit} bytes")]
    TooMuchMemory {
        /// From the header.
        width: u32,
        /// From the header.
        height: u32,
        /// What is allowed.
        limit: u64,
    },
}

impl DecodeError {
    /// The stable name of the reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotAnImage { .. } => "not-an-image",
            Self::Unsupported { .. } => "unsupported-format",
            Self::Truncated { .. } => "truncated",
            Self::Corrupt { .. } => "corrupt",
            Self::TooManyBytes { .. } => "too-many-bytes",
            Self::TooManyPixels { .. } => "too-many-pixels",
            Self::TooMuchMemory { .. } => "too-much-memory",
        }
    }
}

/// Decodes an image. With `short_side` and `scaled_jpeg`, a JPEG may come at a smaller scale whose short side is no shorter.
///
/// # Errors
/// [`DecodeError`]; a decoder that panics gives [`DecodeError::Corrupt`].
pub fn decode(
    bytes: &[u8],
    config: &DecodeConfig,
    short_side: Option<u32>,
) -> Result<Image, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() as u64 > config.max_bytes {
        return Err(DecodeError::TooManyBytes {
            bytes: bytes.len() as u64,
            limit: config.max_bytes,
        });
    }
    let decoded = catch_unwind(AssertUnwindSafe(|| match format(bytes)? {
        ImageFormat::Jpeg => jpeg::decode(bytes, config, short_side),
        other => decode_other(bytes, other, config),
    }));
    decoded.unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no words");
        Err(DecodeError::Corrupt {
            detail: format!("the decoder panicked: {words}"),
        })
    })
}

/// Holds a header's size against the limits. `bytes_per_pixel` is what decoding holds at its peak.
pub(super) fn check_size(
    width: u32,
    height: u32,
    bytes_per_pixel: u64,
    config: &DecodeConfig,
) -> Result<(), DecodeError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(DecodeError::Corrupt {
            detail: format!("the header says {width}×{height} pixels"),
        });
    }
    if pixels > config.max_pixels || width.max(height) > LONGEST_SIDE {
        return Err(DecodeError::TooManyPixels {
            width,
            height,
            limit: config.max_pixels,
        });
    }
    if pixels.saturating_mul(bytes_per_pixel) > config.max_memory {
        return Err(DecodeError::TooMuchMemory {
            width,
            height,
            limit: config.max_memory,
        });
    }
    Ok(())
}

fn decode_other(
    bytes: &[u8],
    format: ImageFormat,
    config: &DecodeConfig,
) -> Result<Image, DecodeError> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(config.max_memory);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let size = ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .unwrap_or((0, 0));
    let fail = |e: ImageError| match from_image(e, size, config) {
        DecodeError::Corrupt { detail } if is_cut_riff(bytes) => DecodeError::Truncated { detail },
        other => other,
    };
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    let per_pixel = u64::from(decoder.color_type().bytes_per_pixel()) + 3;
    check_size(width, height, per_pixel, config)?;
    let orientation = if config.exif_orientation {
        decoder.orientation().unwrap_or(Orientation::NoTransforms)
    } else {
        Orientation::NoTransforms
    };
    let image = DynamicImage::from_decoder(decoder).map_err(fail)?;
    let (width, height) = (image.width(), image.height());
    let pixels = if image.color().has_alpha() {
        over_white(&image.into_rgba8())
    } else {
        image.into_rgb8().into_raw()
    };
    Ok(turned(pixels, width, height, orientation))
}

/// Whether a RIFF file (WebP) says that it is longer than it is.
fn is_cut_riff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF")
        && bytes.get(4..8).is_some_and(|said| {
            let said = said
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte));
            said + 8 > bytes.len() as u64
        })
}

/// Alpha over white, rounded: c·a + 255·(1 − a).
fn over_white(image: &image::RgbaImage) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(image.as_raw().len() / 4 * 3);
    for pixel in image.as_raw().chunks_exact(4) {
        let alpha = u32::from(pixel[3]);
        for channel in &pixel[..3] {
            let mixed = u32::from(*channel) * alpha + 255 * (255 - alpha);
            pixels.push(((mixed + 127) / 255) as u8);
        }
    }
    pixels
}

/// The pixels as EXIF orientation turns them.
pub(super) fn turned(pixels: Vec<u8>, width: u32, height: u32, orientation: Orientation) -> Image {
    let as_is = |pixels, width, height| Image {
        pixels,
        width,
        height,
        full_width: width,
        full_height: height,
        scaled: false,
    };
    if orientation == Orientation::NoTransforms {
        return as_is(pixels, width, height);
    }
    match image::RgbImage::from_raw(width, height, pixels) {
        Some(rgb) => {
            let mut image = DynamicImage::ImageRgb8(rgb);
            image.apply_orientation(orientation);
            let (width, height) = (image.width(), image.height());
            as_is(image.into_rgb8().into_raw(), width, height)
        }
        None => as_is(Vec::new(), 0, 0),
    }
}

fn from_image(
    error: ImageError,
    (width, height): (u32, u32),
    config: &DecodeConfig,
) -> DecodeError {
    match error {
        ImageError::Limits(e) if e.kind() == LimitErrorKind::InsufficientMemory => {
            DecodeError::TooMuchMemory {
                width,
                height,
                limit: config.max_memory,
            }
        }
        ImageError::Limits(_) => DecodeError::TooManyPixels {
            width,
            height,
            limit: config.max_pixels,
        },
        ImageError::Unsupported(e) => DecodeError::Unsupported {
            format: plain(&e.to_string()),
        },
        other => damaged(&other.to_string()),
    }
}

/// Truncated or corrupt, by the decoder's words: they all speak of an end where the file ended too early.
pub(super) fn damaged(words: &str) -> DecodeError {
    let detail = plain(words);
    let lower = detail.to_lowercase();
    let ended = [
        "eof",
        "end of file",
        "unexpected end",
        "fill whole buffer",
        "truncated",
        "no more bytes",
        "exhausted",
        "not enough",
        "missing image data",
        "no more data",
    ]
    .iter()
    .any(|sign| lower.contains(sign));
    if ended {
        DecodeError::Truncated { detail }
    } else {
        DecodeError::Corrupt { detail }
    }
}

fn plain(words: &str) -> String {
    words.replace(['\n', '\r'], " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Rgb, RgbImage, Rgba, RgbaImage};

    fn photo(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([
                (x * 255 / width) as u8,
                (y * 255 / height) as u8,
                ((x + y) % 256) as u8,
            ])
        })
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn reason(bytes: &[u8]) -> &'static str {
        decode(bytes, &DecodeConfig::default(), None)
            .unwrap_err()
            .reason()
    }

    const FORMATS: [ImageFormat; 6] = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];

    #[test]
    fn every_format_gives_the_pixels_that_went_in() {
        let photo = photo(64, 48);
        for format in FORMATS {
            let bytes = encoded(&DynamicImage::ImageRgb8(photo.clone()), format);
            let image = decode(&bytes, &DecodeConfig::default(), None).unwrap();
            assert_eq!((image.full_width, image.full_height), (64, 48));
            let worst = image
                .pixels
                .iter()
                .zip(photo.as_raw())
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            let allowed = match format {
                ImageFormat::Jpeg => 60,
                ImageFormat::Gif => 40,
                _ => 0,
            };
            assert!(worst.unwrap() <= allowed, "{format:?}: {worst:?}");
        }
    }

    #[test]
    fn a_file_cut_in_half_is_truncated_in_every_format() {
        for format in FORMATS {
            let bytes = encoded(&DynamicImage::ImageRgb8(photo(64, 48)), format);
            assert_eq!(reason(&bytes[..bytes.len() / 2]), "truncated", "{format:?}");
        }
    }

    #[test]
    fn grey_and_sixteen_bit_images_become_rgb() {
        let grey = GrayImage::from_pixel(3, 2, image::Luma([77]));
        let sixteen = DynamicImage::ImageLuma8(grey.clone()).into_rgb16();
        for image in [
            DynamicImage::ImageLuma8(grey),
            DynamicImage::ImageRgb16(sixteen),
        ] {
            let bytes = encoded(&image, ImageFormat::Png);
            let image = decode(&bytes, &DecodeConfig::default(), None).unwrap();
            assert_eq!(image.pixels, vec![77; 18]);
        }
    }

    #[test]
    fn alpha_is_composited_over_white() {
        let mut image = RgbaImage::from_pixel(2, 1, Rgba([0, 0, 0, 0]));
        image.put_pixel(1, 0, Rgba([200, 0, 0, 128]));
        let bytes = encoded(&DynamicImage::ImageRgba8(image), ImageFormat::Png);
        let image = decode(&bytes, &DecodeConfig::default(), None).unwrap();
        assert_eq!(image.pixels, [255, 255, 255, 227, 127, 127]);
    }

    #[test]
    fn what_is_no_image_says_what_it_is() {
        assert_eq!(reason(b""), "empty");
        assert_eq!(reason(b"hello, world"), "not-an-image");
        for (bytes, name) in [
            (&b"\0\0\0\x1cftypavif\0\0"[..], "AVIF"),
            (b"\0\0\0\x1cftypheic\0\0", "HEIC"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
            (b"<!DOCTYPE html><html>", "HTML"),
            (b"%PDF-1.4", "PDF"),
        ] {
            let error = decode(bytes, &DecodeConfig::default(), None).unwrap_err();
            assert_eq!(error.reason(), "unsupported-format");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused_by_its_header() {
        // A PNG header that says 50,000 × 50,000; its pixels are never asked for.
        let mut bomb = encoded(&DynamicImage::ImageRgb8(photo(8, 8)), ImageFormat::Png);
        bomb[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(reason(&bomb), "too-many-pixels");
        let config = DecodeConfig {
            max_memory: 1000,
            ..DecodeConfig::default()
        };
        let fine = encoded(&DynamicImage::ImageRgb8(photo(64, 64)), ImageFormat::Png);
        let error = decode(&fine, &config, None).unwrap_err();
        assert_eq!(error.reason(), "too-much-memory");
        let config = DecodeConfig {
            max_bytes: 10,
            ..DecodeConfig::default()
        };
        assert_eq!(
            decode(&fine, &config, None).unwrap_err().reason(),
            "too-many-bytes"
        );
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }

    #[test]
    fn orientation_turns_only_where_it_is_asked_for() {
        let left_to_right = turned(vec![1, 1, 1, 2, 2, 2], 2, 1, Orientation::Rotate90);
        assert_eq!((left_to_right.width, left_to_right.height), (1, 2));
        let flipped = turned(vec![1, 1, 1, 2, 2, 2], 2, 1, Orientation::FlipHorizontal);
        assert_eq!(flipped.pixels, [2, 2, 2, 1, 1, 1]);
    }
}
