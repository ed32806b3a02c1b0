//! JPEG bytes → RGB pixels: `zune-jpeg` at full size, `jpeg-decoder` at a fraction of it in the frequency domain.

use std::io::Cursor;

use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::decode::{DecodeConfig, DecodeError, Image, check_size, damaged, turned};

/// Bytes a pixel of the result: RGB.
const BYTES_PER_PIXEL: u64 = 3;
/// Bytes a pixel and component of the coefficients that are held until the last scan.
const BYTES_PER_COEFFICIENT: u64 = 2;

/// Decodes a JPEG.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode(
    bytes: &[u8],
    config: &DecodeConfig,
    short_side: Option<u32>,
) -> Result<Image, DecodeError> {
    let frame = Frame::find(bytes)?;
    let per_pixel = if frame.in_scans {
        BYTES_PER_PIXEL + BYTES_PER_COEFFICIENT * u64::from(frame.components)
    } else {
        BYTES_PER_PIXEL
    };
    check_size(frame.width, frame.height, per_pixel, config)?;
    let orientation = if config.exif_orientation {
        orientation(bytes)
    } else {
        Orientation::NoTransforms
    };
    let divisor = short_side.map_or(1, |keep| divisor(&frame, keep));
    if config.scaled_jpeg && divisor > 1 {
        return scaled(bytes, config, &frame, divisor, orientation);
    }
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .set_strict_mode(false);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    // The decoder may read a crafted header in another way than `Frame::find`: what counts is what it is going to allocate.
    decoder
        .decode_headers()
        .map_err(|e| damaged(&e.to_string()))?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    check_size(width as u32, height as u32, per_pixel, config)?;
    let pixels = decoder.decode().map_err(|e| damaged(&e.to_string()))?;
    let (width, height) = (width as u32, height as u32);
    if pixels.len() as u64 != u64::from(width) * u64::from(height) * 3 || pixels.is_empty() {
        return Err(DecodeError::Corrupt {
            detail: format!(
                "{} bytes came out for {width}×{height} pixels",
                pixels.len()
            ),
        });
    }
    Ok(turned(pixels, width, height, orientation))
}

/// The largest of 1, 2, 4, 8 that leaves a short side of at least `keep`.
fn divisor(frame: &Frame, keep: u32) -> u32 {
    let short = frame.width.min(frame.height);
    [8, 4, 2]
        .into_iter()
        .find(|d| short.div_ceil(*d) >= keep)
        .unwrap_or(1)
}

fn scaled(
    bytes: &[u8],
    config: &DecodeConfig,
    frame: &Frame,
    divisor: u32,
    orientation: Orientation,
) -> Result<Image, DecodeError> {
    use jpeg_decoder::PixelFormat;
    let fail = |e: jpeg_decoder::Error| damaged(&e.to_string());
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(bytes));
    let most = config.max_memory.try_into().unwrap_or(usize::MAX);
    decoder.set_max_decoding_buffer_size(most);
    decoder.read_info().map_err(fail)?;
    if let Some(info) = decoder.info() {
        let (width, height) = (u32::from(info.width), u32::from(info.height));
        check_size(width, height, BYTES_PER_PIXEL, config)?;
    }
    let part = |side: u32| u16::try_from(side.div_ceil(divisor)).unwrap_or(u16::MAX);
    let (width, height) = decoder
        .scale(part(frame.width), part(frame.height))
        .map_err(fail)?;
    let raw = decoder.decode().map_err(fail)?;
    let pixels = match decoder.info().map(|i| i.pixel_format) {
        Some(PixelFormat::RGB24) => raw,
        Some(PixelFormat::L8) => raw.iter().flat_map(|l| [*l; 3]).collect(),
        // The decoder gives ink: 255 is full.
        Some(PixelFormat::CMYK32) => raw
            .chunks_exact(4)
            .flat_map(|p| {
                let white = u32::from(255 - p[3]);
                [p[0], p[1], p[2]].map(|ink| (u32::from(255 - ink) * white / 255) as u8)
            })
            .collect(),
        _ => {
            return Err(DecodeError::Unsupported {
                format: "a 16-bit JPEG".to_owned(),
            });
        }
    };
    let mut image = turned(pixels, u32::from(width), u32::from(height), orientation);
    let swapped = image.width != u32::from(width);
    (image.full_width, image.full_height) = if swapped {
        (frame.height, frame.width)
    } else {
        (frame.width, frame.height)
    };
    image.scaled = true;
    Ok(image)
}

/// What the frame header says, found by walking the segments.
struct Frame {
    width: u32,
    height: u32,
    components: u8,
    /// Whether the image comes in several scans: it is progressive, or its components lie one after the other.
    in_scans: bool,
}

impl Frame {
    /// Walks to the first scan. A file without one, or without an end-of-image marker after it, is truncated: decoders would paint
    /// the missing part grey and say nothing.
    fn find(bytes: &[u8]) -> Result<Self, DecodeError> {
        let truncated = |detail: &str| DecodeError::Truncated {
            detail: detail.to_owned(),
        };
        let mut frame = None;
        let mut at = 2;
        loop {
            let Some(marker) = bytes.get(at..at + 2) else {
                return Err(truncated("no image data follow the headers"));
            };
            if marker[0] != 0xFF {
                // Rubbish between segments: decoders pass over it.
                at += 1;
                continue;
            }
            match marker[1] {
                0xFF => {
                    at += 1;
                    continue;
                }
                0x01 | 0xD0..=0xD8 => {
                    at += 2;
                    continue;
                }
                0xD9 => return Err(truncated("it has no image data")),
                _ => {}
            }
            let Some(length) = bytes.get(at + 2..at + 4) else {
                return Err(truncated("it ends within a header"));
            };
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let kind = marker[1];
            if matches!(kind, 0xC0..=0xCF) && !matches!(kind, 0xC4 | 0xC8 | 0xCC) {
                let Some(size) = bytes.get(at + 5..at + 10) else {
                    return Err(truncated("it ends within the frame header"));
                };
                frame = Some(Self {
                    height: u32::from(u16::from_be_bytes([size[0], size[1]])),
                    width: u32::from(u16::from_be_bytes([size[2], size[3]])),
                    components: size[4],
                    in_scans: matches!(kind, 0xC2 | 0xC6 | 0xCA | 0xCE),
                });
            }
            if kind == 0xDA
                && let (Some(frame), Some(components)) = (&mut frame, bytes.get(at + 4))
            {
                frame.in_scans |= *components < frame.components;
            }
            at += 2 + length;
            if kind == 0xDA {
                break;
            }
        }
        let data = bytes.get(at..).unwrap_or_default();
        if !data.windows(2).rev().any(|pair| pair == [0xFF, 0xD9]) {
            return Err(truncated("the end-of-image marker is missing"));
        }
        frame.ok_or_else(|| DecodeError::Corrupt {
            detail: "a scan comes before any frame header".to_owned(),
        })
    }
}

/// EXIF orientation; none where there is none.
fn orientation(bytes: &[u8]) -> Orientation {
    let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
    if decoder.decode_headers().is_err() {
        return Orientation::NoTransforms;
    }
    decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat, RgbImage};

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 99])
        });
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(image)
            .write_to(&mut bytes, ImageFormat::Jpeg)
            .unwrap();
        bytes.into_inner()
    }

    /// An APP1 segment that says nothing but the orientation.
    fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let tiff = [
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
            &[orientation, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let length = (tiff.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &tiff, &jpeg[2..]].concat()
    }

    #[test]
    fn a_missing_end_marker_is_a_truncated_image_and_trailing_bytes_are_none() {
        let whole = jpeg(64, 48);
        let config = DecodeConfig::default();
        let cut = &whole[..whole.len() - 2];
        assert_eq!(
            decode(cut, &config, None).unwrap_err().reason(),
            "truncated"
        );
        let trailing = [&whole[..], b"trailing bytes"].concat();
        assert!(decode(&trailing, &config, None).is_ok());
    }

    #[test]
    fn all_eight_orientations_are_applied_where_asked_for() {
        let plain = jpeg(64, 48);
        let config = DecodeConfig {
            exif_orientation: true,
            ..DecodeConfig::default()
        };
        for orientation in 1..=8 {
            let bytes = with_orientation(&plain, orientation);
            let image = decode(&bytes, &config, None).unwrap();
            let expected = if orientation >= 5 { (48, 64) } else { (64, 48) };
            assert_eq!((image.width, image.height), expected, "{orientation}");
            let as_stored = decode(&bytes, &DecodeConfig::default(), None).unwrap();
            assert_eq!((as_stored.width, as_stored.height), (64, 48));
        }
    }

    #[test]
    fn a_scaled_jpeg_keeps_the_short_side_that_is_asked_for() {
        let config = DecodeConfig {
            scaled_jpeg: true,
            ..DecodeConfig::default()
        };
        let bytes = jpeg(1024, 768);
        let image = decode(&bytes, &config, Some(96)).unwrap();
        assert_eq!((image.width, image.height, image.scaled), (128, 96, true));
        assert_eq!((image.full_width, image.full_height), (1024, 768));
        let image = decode(&bytes, &config, Some(400)).unwrap();
        assert_eq!((image.width, image.scaled), (1024, false));
    }
}
