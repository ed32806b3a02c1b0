//! An image's format by its magic bytes, whatever its name says; what is known and not decoded is named.

use image::ImageFormat;

use super::decode::DecodeError;

/// The format by its magic bytes.
pub(crate) fn format(bytes: &[u8]) -> Result<ImageFormat, DecodeError> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let at = |from: usize, magic: &[u8]| bytes.get(from..from + magic.len()) == Some(magic);
    if starts(&[0xFF, 0xD8, 0xFF]) {
        return Ok(Jpeg);
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        return Ok(Png);
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        return Ok(Gif);
    } else if starts(b"RIFF") && at(8, b"WEBP") {
        return Ok(WebP);
    } else if starts(b"BM") {
        return Ok(Bmp);
    } else if starts(b"II*\0") || starts(b"MM\0*") || starts(b"II+\0") || starts(b"MM\0+") {
        return Ok(Tiff);
    }
    let known: &[(&str, bool)] = &[
        ("AVIF", at(4, b"ftypavif") || at(4, b"ftypavis")),
        (
            "HEIC",
            at(4, b"ftyphei") || at(4, b"ftypmif1") || at(4, b"ftypmsf1") || at(4, b"ftyphev"),
        ),
        (
            "JPEG XL",
            starts(&[0xFF, 0x0A]) || starts(b"\0\0\0\x0cJXL \r\n\x87\n"),
        ),
        (
            "JPEG 2000",
            starts(b"\0\0\0\x0cjP  \r\n\x87\n") || starts(&[0xFF, 0x4F, 0xFF, 0x51]),
        ),
        ("Photoshop (PSD)", starts(b"8BPS")),
        ("OpenEXR", starts(&[0x76, 0x2F, 0x31, 0x01])),
        ("Radiance HDR", starts(b"#?RADIANCE") || starts(b"#?RGBE")),
        ("ICO", starts(&[0, 0, 1, 0])),
        ("PDF", starts(b"%PDF")),
        ("a gzip archive", starts(&[0x1F, 0x8B])),
        ("a zip archive", starts(b"PK\x03\x04")),
    ];
    if let Some((name, _)) = known.iter().find(|(_, is)| *is) {
        return Err(DecodeError::Unsupported {
            format: (*name).to_owned(),
        });
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    if text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg")) {
        return Err(DecodeError::Unsupported {
            format: "SVG".to_owned(),
        });
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Err(DecodeError::Unsupported {
            format: "an HTML page (an error page that was saved as an image?)".to_owned(),
        });
    }
    Err(DecodeError::NotAnImage {
        start: format!("\"{}\"", bytes[..bytes.len().min(16)].escape_ascii()),
    })
}
