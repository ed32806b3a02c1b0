//! Decoded pixels → one image's slot of the model's input, [3, H, W] Float32: crop and resize, noise where there is any, normalise.
//!
//! Crop and resize are one resampling from the crop's box in the source to H × W, antialiased, as Pillow's `resize(size, filter, box)`: first
//! the rows, rounded to bytes, then the columns. Models are trained on images that Pillow resized; in the other order a fifth of the
//! values is off by one, which moves a confidence by up to 0.04.

use fast_image_resize::images::{Image as Target, ImageRef as View};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::decode::Image;
use crate::random::Draws;
use crate::student::noise::{ImageNoise, Pixels};

/// The `[preprocess]` section of a `teacher.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// What part of the image is seen.
    #[serde(default)]
    pub mode: Mode,
    /// The fraction of the crop's sides that is kept, above 0 and up to 1; timm's `crop_pct`.
    #[serde(default = "whole")]
    pub crop: f64,
    /// The resampling filter.
    #[serde(default)]
    pub filter: Filter,
    /// What `mean` and `std` count in.
    #[serde(default)]
    pub range: Range,
    /// Subtracted from each channel, in the order of `channels`.
    pub mean: [f32; 3],
    /// Divides each channel, in the order of `channels`.
    pub std: [f32; 3],
    /// The order of the channels.
    #[serde(default)]
    pub channels: Channels,
}

fn whole() -> f64 {
    1.0
}

/// What part of the image is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The largest centred box of the input's aspect, times `crop`.
    #[default]
    CenterCrop,
    /// All of it, stretched; `crop` cuts off its margins.
    Squash,
}

/// Resampling filters, antialiased when shrinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// No antialiasing.
    Nearest,
    /// Triangle.
    #[default]
    Bilinear,
    /// Catmull-Rom, a = −0.5, as Pillow's.
    Bicubic,
    /// Lanczos with 3 lobes.
    Lanczos,
}

/// What `mean` and `std` count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// Pixels from 0 to 1.
    #[default]
    Unit,
    /// Pixels from 0 to 255.
    Byte,
}

/// The order of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// A value of the section that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreprocessError {
    /// `crop` out of range.
    #[error("crop is {0}: it has to be above 0 and at most 1")]
    Crop(f64),
    /// `std` zero or not finite.
    #[error("std is {0:?}: each has to be finite and above 0")]
    Std([f32; 3]),
    /// `mean` not finite.
    #[error("mean is {0:?}: each has to be finite")]
    Mean([f32; 3]),
}

/// An image that cannot be cropped and resized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{width}×{height} pixels cannot be resized: {detail}")]
pub struct ResizeError {
    /// Pixels.
    width: u32,
    /// Pixels.
    height: u32,
    /// The resizer's words.
    detail: String,
}

impl Preprocess {
    /// The pure checks.
    ///
    /// # Errors
    /// [`PreprocessError`], naming the key.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        if !(self.crop > 0.0 && self.crop <= 1.0) {
            return Err(PreprocessError::Crop(self.crop));
        }
        if !self.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(PreprocessError::Std(self.std));
        }
        if !self.mean.iter().all(|m| m.is_finite()) {
            return Err(PreprocessError::Mean(self.mean));
        }
        Ok(())
    }
}

/// Runs the preprocessing; one a thread, since it owns its buffers.
#[derive(Debug)]
pub struct Preprocessor {
    config: Preprocess,
    resizer: Resizer,
    /// After the rows: the target's width, and the source's rows.
    narrowed: Vec<u8>,
    target: Target<'static>,
    /// For the noise, which may need what it overwrites.
    spare: Vec<u8>,
    /// For each plane of the input: the pixel's channel, and the value of each of its 256 levels.
    tables: [(usize, [f32; 256]); 3],
}

impl Preprocessor {
    /// A preprocessor for an input of `height` × `width`.
    pub fn new(config: &Preprocess, height: usize, width: usize) -> Self {
        let scale = match config.range {
            Range::Unit => 255.0,
            Range::Byte => 1.0,
        };
        let tables = std::array::from_fn(|plane| {
            let channel = match config.channels {
                Channels::Rgb => plane,
                Channels::Bgr => 2 - plane,
            };
            let levels = std::array::from_fn(|level| {
                (level as f32 / scale - config.mean[plane]) / config.std[plane]
            });
            (channel, levels)
        });
        Self {
            config: config.clone(),
            resizer: Resizer::new(),
            narrowed: Vec::new(),
            target: Target::new(width as u32, height as u32, PixelType::U8x3),
            spare: Vec::new(),
            tables,
        }
    }

    /// The short side in pixels that an image may be shrunk to before this preprocessing without being enlarged by it.
    pub fn target_short_side(&self) -> u32 {
        let side = self.target.width().max(self.target.height());
        (f64::from(side) / self.config.crop).ceil() as u32
    }

    /// One image → `out`, [3, H, W].
    ///
    /// # Errors
    /// [`ResizeError`]; `out` then stays as it is.
    pub fn run(&mut self, image: &Image, out: &mut [f32]) -> Result<(), ResizeError> {
        self.resize(image, self.crop_box(image.width, image.height))?;
        self.normalise(out);
        Ok(())
    }

    /// One image → `out`, [3, H, W], noised: a random crop takes the place of the configured one, everything else comes between the
    /// resizing and the normalisation.
    ///
    /// # Errors
    /// [`ResizeError`]; `out` then stays as it is.
    pub fn run_noised(
        &mut self,
        image: &Image,
        noise: &ImageNoise,
        draws: Draws,
        out: &mut [f32],
    ) -> Result<(), ResizeError> {
        let seen = match noise.crop(draws, image.width, image.height) {
            Some(crop) => [crop.left, crop.top, crop.width, crop.height].map(f64::from),
            None => self.crop_box(image.width, image.height),
        };
        self.resize(image, seen)?;
        let (width, height) = (self.target.width(), self.target.height());
        let bytes = self.target.buffer_mut();
        noise.apply(
            draws,
            &mut Pixels::new(width, height, bytes, &mut self.spare),
        );
        self.normalise(out);
        Ok(())
    }

    /// The box of the image → the target.
    fn resize(
        &mut self,
        image: &Image,
        [left, top, width, height]: [f64; 4],
    ) -> Result<(), ResizeError> {
        let failed = |e: &dyn std::fmt::Display| ResizeError {
            width: image.width,
            height: image.height,
            detail: e.to_string(),
        };
        let (algorithm, support) = match self.config.filter {
            Filter::Nearest => (ResizeAlg::Nearest, 1.0),
            Filter::Bilinear => (ResizeAlg::Convolution(FilterType::Bilinear), 1.0),
            Filter::Bicubic => (ResizeAlg::Convolution(FilterType::CatmullRom), 2.0),
            Filter::Lanczos => (ResizeAlg::Convolution(FilterType::Lanczos3), 3.0),
        };
        let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
        // The rows that the columns' filter reaches; the others need not be resized.
        let reach = (support * (height / f64::from(self.target.height())).max(1.0)).ceil() + 1.0;
        let first = (top - reach).max(0.0) as u32;
        let end = ((top + height + reach).ceil() as u32).min(image.height);
        let bytes = |row: u32| row as usize * image.width as usize * 3;
        let rows = image
            .pixels
            .get(bytes(first)..bytes(end))
            .unwrap_or_default();
        let view =
            View::new(image.width, end - first, rows, PixelType::U8x3).map_err(|e| failed(&e))?;
        let narrow = self.target.width();
        self.narrowed
            .resize(narrow as usize * (end - first) as usize * 3, 0);
        let mut narrowed =
            Target::from_slice_u8(narrow, end - first, &mut self.narrowed, PixelType::U8x3)
                .map_err(|e| failed(&e))?;
        let across = options.crop(left, 0.0, width, f64::from(end - first));
        self.resizer
            .resize(&view, &mut narrowed, &across)
            .map_err(|e| failed(&e))?;
        let down = options.crop(0.0, top - f64::from(first), f64::from(narrow), height);
        self.resizer
            .resize(&narrowed, &mut self.target, &down)
            .map_err(|e| failed(&e))?;
        Ok(())
    }

    /// The target → `out`, [3, H, W].
    fn normalise(&self, out: &mut [f32]) {
        let pixels = self.target.buffer();
        let plane_len = pixels.len() / 3;
        for (plane, (channel, levels)) in out.chunks_exact_mut(plane_len).zip(&self.tables) {
            for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(3)) {
                *value = levels[usize::from(pixel[*channel])];
            }
        }
    }

    /// The box that is seen: left, top, width, height, in fractions of pixels.
    fn crop_box(&self, width: u32, height: u32) -> [f64; 4] {
        let (w, h) = (f64::from(width), f64::from(height));
        let (box_w, box_h) = match self.config.mode {
            Mode::Squash => (w, h),
            Mode::CenterCrop => {
                let aspect = f64::from(self.target.width()) / f64::from(self.target.height());
                (w.min(h * aspect), h.min(w / aspect))
            }
        };
        let (box_w, box_h) = (box_w * self.config.crop, box_h * self.config.crop);
        [(w - box_w) / 2.0, (h - box_h) / 2.0, box_w, box_h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::student::noise::standard::Standard;

    fn config() -> Preprocess {
        Preprocess {
            mode: Mode::CenterCrop,
            crop: 1.0,
            filter: Filter::Bicubic,
            range: Range::Byte,
            mean: [0.0; 3],
            std: [1.0; 3],
            channels: Channels::Rgb,
        }
    }

    fn image(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Image {
        let pixels = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| pixel(x, y))
            .collect();
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
    fn a_centre_crop_sees_the_middle_and_a_squash_everything() {
        // Left third black, middle third grey, right third white.
        let thirds = image(30, 10, |x, _| [[0, 128, 255][(x / 10) as usize]; 3]);
        let mut out = vec![0.0; 3 * 10 * 10];
        Preprocessor::new(&config(), 10, 10)
            .run(&thirds, &mut out)
            .unwrap();
        assert!(out.iter().all(|v| (v - 128.0).abs() < 0.5));
        let squash = Preprocess {
            mode: Mode::Squash,
            ..config()
        };
        Preprocessor::new(&squash, 10, 10)
            .run(&thirds, &mut out)
            .unwrap();
        assert!(out[0] < 5.0 && out[9] > 250.0);
    }

    #[test]
    fn a_random_crop_takes_the_place_of_the_centre() {
        let ramp = image(200, 100, |x, y| [x as u8, y as u8, 0]);
        let noise = ImageNoise {
            fill: [0; 3],
            standard: Some(Standard {
                random_resized_crop: true,
                ..Standard::default()
            }),
            randaugment: None,
            cutout: None,
        };
        let mut out = vec![0.0; 3 * 10 * 10];
        for row in 0..20 {
            let draws = Draws::of_row(0, 0, row);
            let crop = noise.crop(draws, 200, 100).unwrap();
            Preprocessor::new(&config(), 10, 10)
                .run_noised(&ramp, &noise, draws, &mut out)
                .unwrap();
            // A ramp stays one: the fifth and sixth pixel lie around the crop's centre.
            let middle = |plane: usize, step: usize| {
                let at = |x: usize, y: usize| out[plane * 100 + y * 10 + x];
                f32::midpoint(at(4, 4), at(4 + step, 5 - step))
            };
            let centre = |start: u32, length: u32| (start as f32) + (length as f32 - 1.0) / 2.0;
            assert!(
                (middle(0, 1) - centre(crop.left, crop.width)).abs() <= 1.0,
                "{crop:?}"
            );
            assert!(
                (middle(1, 0) - centre(crop.top, crop.height)).abs() <= 1.0,
                "{crop:?}"
            );
        }
    }

    #[test]
    fn mean_std_range_and_channel_order_are_applied_to_planes() {
        let red = image(4, 4, |_, _| [255, 0, 0]);
        let mut out = vec![0.0; 3 * 4];
        let unit = Preprocess {
            range: Range::Unit,
            mean: [0.5; 3],
            std: [0.25; 3],
            ..config()
        };
        Preprocessor::new(&unit, 2, 2).run(&red, &mut out).unwrap();
        assert_eq!(out, [[2.0; 4], [-2.0; 4], [-2.0; 4]].concat());
        let bgr = Preprocess {
            channels: Channels::Bgr,
            ..unit
        };
        Preprocessor::new(&bgr, 2, 2).run(&red, &mut out).unwrap();
        assert_eq!(out, [[-2.0; 4], [-2.0; 4], [2.0; 4]].concat());
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        for (bad, word) in [
            (
                Preprocess {
                    crop: 0.0,
                    ..config()
                },
                "crop",
            ),
            (
                Preprocess {
                    crop: 1.5,
                    ..config()
                },
                "crop",
            ),
            (
                Preprocess {
                    std: [1.0, 0.0, 1.0],
                    ..config()
                },
                "std",
            ),
            (
                Preprocess {
                    mean: [f32::NAN; 3],
                    ..config()
                },
                "mean",
            ),
        ] {
            assert!(bad.validate().unwrap_err().to_string().contains(word));
        }
    }
}
