//! The operations of RandAugment, each with what it needs to be carried out.

use serde::Serialize;

use super::pixels::Pixels;
use super::{affine, cutout, enhance, levels};

/// One operation on an RGB image, with the meaning that it has in Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Operation {
    /// `ImageOps.autocontrast`: each channel is stretched to 0 to 255.
    AutoContrast,
    /// `ImageOps.equalize`: each channel's histogram is made even.
    Equalize,
    /// `ImageOps.invert`: 255 less the value.
    Invert,
    /// `Image.rotate` about the centre, nearest neighbour.
    Rotate {
        /// Counter-clockwise.
        degrees: f64,
    },
    /// `ImageOps.posterize`.
    Posterize {
        /// High bits of each value that are kept, 1 to 8.
        bits: u8,
    },
    /// `ImageOps.solarize`: values from the threshold on are inverted.
    Solarize {
        /// 0 to 256; 256 changes nothing.
        threshold: u16,
    },
    /// Values below 128 are raised, at most to 255. Pillow has no such operation.
    SolarizeAdd {
        /// By how much.
        addition: u8,
    },
    /// `ImageEnhance.Color`: away from grey.
    Color {
        /// 0 is grey, 1 the image itself.
        factor: f32,
    },
    /// `ImageEnhance.Contrast`: away from the mean grey.
    Contrast {
        /// 0 is the mean grey, 1 the image itself.
        factor: f32,
    },
    /// `ImageEnhance.Brightness`: away from black.
    Brightness {
        /// 0 is black, 1 the image itself.
        factor: f32,
    },
    /// `ImageEnhance.Sharpness`: away from the smoothed image.
    Sharpness {
        /// 0 is smoothed, 1 the image itself.
        factor: f32,
    },
    /// `Image.transform` with `(1, slope, 0, 0, 1, 0)`, nearest neighbour.
    ShearX {
        /// Pixels a row.
        slope: f64,
    },
    /// `Image.transform` with `(1, 0, 0, slope, 1, 0)`, nearest neighbour.
    ShearY {
        /// Pixels a column.
        slope: f64,
    },
    /// `Image.transform` with `(1, 0, pixels, 0, 1, 0)`.
    TranslateX {
        /// To the left.
        pixels: i32,
    },
    /// `Image.transform` with `(1, 0, 0, 0, 1, pixels)`.
    TranslateY {
        /// Upwards.
        pixels: i32,
    },
    /// A square is painted over. What of it is outside of the image is nowhere.
    Cutout {
        /// Column of the square's centre.
        x: u32,
        /// Row of the square's centre.
        y: u32,
        /// Half of the square's side, in pixels: columns x − half to x + half − 1.
        half: u32,
    },
}

impl Operation {
    /// Carries it out. What comes in from outside of the image, and what is cut out, is painted in `fill`.
    pub fn apply(self, pixels: &mut Pixels<'_>, fill: [u8; 3]) {
        if pixels.is_empty() {
            return;
        }
        match self {
            Self::AutoContrast => levels::autocontrast(pixels),
            Self::Equalize => levels::equalize(pixels),
            Self::Invert => levels::invert(pixels),
            Self::Rotate { degrees } => affine::rotate(pixels, degrees, fill),
            Self::Posterize { bits } => levels::posterize(pixels, bits),
            Self::Solarize { threshold } => levels::solarize(pixels, threshold),
            Self::SolarizeAdd { addition } => levels::solarize_add(pixels, addition),
            Self::Color { factor } => enhance::color(pixels, factor),
            Self::Contrast { factor } => enhance::contrast(pixels, factor),
            Self::Brightness { factor } => enhance::brightness(pixels, factor),
            Self::Sharpness { factor } => enhance::sharpness(pixels, factor),
            Self::ShearX { slope } => affine::shear_x(pixels, slope, fill),
            Self::ShearY { slope } => affine::shear_y(pixels, slope, fill),
            Self::TranslateX { pixels: by } => affine::translate_x(pixels, by, fill),
            Self::TranslateY { pixels: by } => affine::translate_y(pixels, by, fill),
            Self::Cutout { x, y, half } => cutout::square(pixels, [x, y], half, fill),
        }
    }
}
