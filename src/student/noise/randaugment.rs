//! RandAugment (Cubuk et al., 2019): a few operations of a list, drawn anew for every image, all at one magnitude.

use serde::{Deserialize, Serialize};

use super::cutout;
use super::operation::Operation;
use crate::config::{ConfigError, check};
use crate::random::Draws;

/// Operations an image (the paper, A.2).
pub const DEFAULT_OPERATIONS: u32 = 2;
/// The paper's for EfficientNet-B7 and L2 (A.2).
pub const DEFAULT_MAGNITUDE: f64 = 27.0;
/// Each operation is applied with a probability that is drawn evenly from here.
pub const DEFAULT_PROBABILITY: [f64; 2] = [0.2, 0.8];
/// Pixels that magnitude 10 translates an image of the reference size by.
pub const DEFAULT_TRANSLATE: f64 = 100.0;
/// Pixels of half a cutout's side at magnitude 10, in an image of the reference size.
pub const DEFAULT_CUTOUT: f64 = 40.0;
/// The usual size of ImageNet's images.
pub const DEFAULT_REFERENCE_SIZE: u32 = 224;

/// The magnitude that the parameters' ranges are stated for.
const UNIT: f64 = 10.0;
/// Rotation at [`UNIT`], in degrees.
const ROTATE: f64 = 30.0;
/// Shear at [`UNIT`], in pixels a pixel.
const SHEAR: f64 = 0.3;
/// The enhancements' factor at 0, and what is added to it by [`UNIT`].
const ENHANCE: [f64; 2] = [0.1, 1.8];
/// Bits that posterize keeps at [`UNIT`].
const POSTERIZE: f64 = 4.0;
/// Solarize's threshold at [`UNIT`].
const SOLARIZE: f64 = 256.0;
/// What solarize-add adds at [`UNIT`].
const SOLARIZE_ADD: f64 = 110.0;
/// Ten times the usual unit: rotations of 300°.
const LARGEST_MAGNITUDE: f64 = 100.0;

/// The `[randaugment]` section.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// How many operations are drawn for an image, 1 to 16, one after the other; the same may come twice.
    pub operations: u32,
    /// How strong they are, 0 to 100. With m = magnitude / 10: rotate ±30° m; shear ±0.3 m; translate and cutout as below, times m; color,
    /// contrast, brightness and sharpness by a factor of 0.1 + 1.8 m; posterize to 4 m bits (at least 1, at most 8); solarize from 256 m on (not at
    /// all from m = 1 on); solarize-add 110 m (at most 255). Autocontrast, equalize and invert know no strength.
    pub magnitude: f64,
    /// An operation that was drawn is applied with a probability that is itself drawn evenly from these two: half of all are, on average.
    /// `[1.0, 1.0]` applies each.
    pub probability: [f64; 2],
    /// Pixels that an image of `reference_size` is translated by, at magnitude 10; never more than the image's side.
    pub translate: f64,
    /// Half of a cutout's side in pixels in an image of `reference_size`, at magnitude 10.
    pub cutout: f64,
    /// The side in pixels that `translate` and `cutout` are stated for; in an image of twice that side they are twice as many. The published
    /// numbers are 100 and 40 pixels whatever the size: to have just these, give the size that the student is trained at.
    pub reference_size: u32,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self {
            operations: DEFAULT_OPERATIONS,
            magnitude: DEFAULT_MAGNITUDE,
            probability: DEFAULT_PROBABILITY,
            translate: DEFAULT_TRANSLATE,
            cutout: DEFAULT_CUTOUT,
            reference_size: DEFAULT_REFERENCE_SIZE,
        }
    }
}

/// The operations' names, in the order of the reference list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Cutout,
}

impl Name {
    /// All, each as likely as any other.
    const ALL: [Self; 16] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Cutout,
    ];
}

impl RandAugment {
    /// The pure checks.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            (1..=16).contains(&self.operations),
            "randaugment.operations",
            self.operations,
            "draw 1 to 16 operations an image, or leave the section out",
        )?;
        check(
            (0.0..=LARGEST_MAGNITUDE).contains(&self.magnitude),
            "randaugment.magnitude",
            self.magnitude,
            "give 0 to 100; the paper has 9 and 27",
        )?;
        let [low, high] = self.probability;
        check(
            0.0 <= low && low <= high && high <= 1.0,
            "randaugment.probability",
            format!("[{low}, {high}]"),
            "give two probabilities, the lower one first, such as [0.2, 0.8]",
        )?;
        for (key, value) in [
            ("randaugment.translate", self.translate),
            ("randaugment.cutout", self.cutout),
        ] {
            check(
                (0.0..=10_000.0).contains(&value),
                key,
                value,
                "give pixels, 0 to 10,000",
            )?;
        }
        check(
            (1..=10_000).contains(&self.reference_size),
            "randaugment.reference_size",
            self.reference_size,
            "give a side in pixels, 1 to 10,000",
        )
    }

    /// The operations for an image of `width` × `height`, in the order in which they are applied; those that the draw leaves out are not
    /// among them.
    pub fn draw(self, draws: Draws, width: u32, height: u32) -> impl Iterator<Item = Operation> {
        (0..self.operations).filter_map(move |place| {
            let draws = draws.branch("operation", place.into());
            let probability = draws.between(1, self.probability);
            if draws.unit(2) >= probability {
                return None;
            }
            let name = Name::ALL[draws.below(0, 16) as usize % 16];
            Some(self.operation(name, draws.branch("parameter", 0), [width, height]))
        })
    }

    /// An operation's parameters, within what it takes.
    fn operation(self, name: Name, draws: Draws, [width, height]: [u32; 2]) -> Operation {
        let m = self.magnitude / UNIT;
        let sign = if draws.unit(0) < 0.5 { -1.0 } else { 1.0 };
        let factor = (ENHANCE[0] + ENHANCE[1] * m) as f32;
        let scaled = |pixels: f64, side: u32| {
            let side = f64::from(side);
            (m * pixels * side / f64::from(self.reference_size)).min(side)
        };
        let translate = |side: u32| (sign * scaled(self.translate, side)).round() as i32;
        match name {
            Name::AutoContrast => Operation::AutoContrast,
            Name::Equalize => Operation::Equalize,
            Name::Invert => Operation::Invert,
            Name::Rotate => Operation::Rotate {
                degrees: sign * ROTATE * m,
            },
            Name::Posterize => Operation::Posterize {
                bits: (POSTERIZE * m).clamp(1.0, 8.0) as u8,
            },
            Name::Solarize => Operation::Solarize {
                threshold: (SOLARIZE * m).min(256.0) as u16,
            },
            Name::SolarizeAdd => Operation::SolarizeAdd {
                addition: (SOLARIZE_ADD * m).min(255.0) as u8,
            },
            Name::Color => Operation::Color { factor },
            Name::Contrast => Operation::Contrast { factor },
            Name::Brightness => Operation::Brightness { factor },
            Name::Sharpness => Operation::Sharpness { factor },
            Name::ShearX => Operation::ShearX {
                slope: sign * SHEAR * m,
            },
            Name::ShearY => Operation::ShearY {
                slope: sign * SHEAR * m,
            },
            Name::TranslateX => Operation::TranslateX {
                pixels: translate(width),
            },
            Name::TranslateY => Operation::TranslateY {
                pixels: translate(height),
            },
            Name::Cutout => {
                let half = scaled(self.cutout, width.min(height)) as u32;
                cutout::at_random(draws.branch("cutout", 0), [width, height], half)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(magnitude: f64) -> RandAugment {
        RandAugment {
            magnitude,
            ..RandAugment::default()
        }
    }

    /// All operations with their parameters for an image of 224 × 448.
    fn all(randaugment: RandAugment) -> Vec<Operation> {
        let draws = Draws::of_row(0, 0, 0);
        let operation = |name| randaugment.operation(name, draws, [224, 448]);
        Name::ALL.map(operation).to_vec()
    }

    #[test]
    fn parameters_are_those_of_the_reference_at_its_unit() {
        let near = |found: f64, expected: f64| (found.abs() - expected).abs() < 1e-6;
        for operation in all(at(10.0)) {
            let good = match operation {
                Operation::AutoContrast | Operation::Equalize | Operation::Invert => true,
                Operation::Rotate { degrees } => near(degrees, 30.0),
                Operation::Posterize { bits } => bits == 4,
                Operation::Solarize { threshold } => threshold == 256,
                Operation::SolarizeAdd { addition } => addition == 110,
                Operation::Color { factor }
                | Operation::Contrast { factor }
                | Operation::Brightness { factor }
                | Operation::Sharpness { factor } => near(factor.into(), 1.9),
                Operation::ShearX { slope } | Operation::ShearY { slope } => near(slope, 0.3),
                Operation::TranslateX { pixels } => pixels.abs() == 100,
                // Twice as high as the reference.
                Operation::TranslateY { pixels } => pixels.abs() == 200,
                Operation::Cutout { x, y, half } => half == 40 && x < 224 && y < 448,
            };
            assert!(good, "{operation:?}");
        }
    }

    #[test]
    fn parameters_stay_within_what_an_operation_takes_at_any_magnitude() {
        for magnitude in [0.0, 1.0, 5.0, 27.0, 100.0] {
            for operation in all(at(magnitude)) {
                match operation {
                    Operation::Posterize { bits } => assert!((1..=8).contains(&bits)),
                    Operation::Solarize { threshold } => assert!(threshold <= 256),
                    Operation::TranslateX { pixels } => assert!(pixels.abs() <= 224),
                    Operation::TranslateY { pixels } => assert!(pixels.abs() <= 448),
                    Operation::Cutout { half, .. } => assert!(half <= 224),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn every_operation_is_as_likely_as_any_other_and_half_of_all_are_applied() {
        let always = RandAugment {
            probability: [1.0, 1.0],
            ..at(9.0)
        };
        let images = 16_000;
        let mut counts = std::collections::HashMap::<_, u32>::new();
        let (mut left, mut sideways, mut twice) = (0_u32, 0_u32, 0_u32);
        for row in 0..images {
            let operations: Vec<_> = always.draw(Draws::of_row(1, 1, row), 224, 224).collect();
            assert_eq!(operations.len(), 2);
            for operation in &operations {
                *counts.entry(std::mem::discriminant(operation)).or_default() += 1;
                if let Operation::TranslateX { pixels } = operation {
                    sideways += 1;
                    left += u32::from(*pixels > 0);
                }
            }
            let [one, two] = [0, 1].map(|i| std::mem::discriminant(&operations[i]));
            twice += u32::from(one == two);
        }
        // Of 32,000 a sixteenth, 2,000, with a standard deviation of 43.
        assert_eq!(counts.len(), 16);
        assert!(
            counts.values().all(|n| (1800..2200).contains(n)),
            "{counts:?}"
        );
        // Two in turn know nothing of each other: of 16,000 a sixteenth, 1,000, with 31.
        assert!((870..1130).contains(&twice), "{twice}");
        assert!((f64::from(left) / f64::from(sideways) - 0.5).abs() < 0.06);

        let applied = |randaugment: RandAugment| {
            let draw = |row| randaugment.draw(Draws::of_row(2, 1, row), 224, 224).count();
            (0..images).map(draw).sum::<usize>() as f64 / (2 * images) as f64
        };
        assert!((applied(at(9.0)) - 0.5).abs() < 0.015);
        let seldom = RandAugment {
            probability: [0.0, 0.2],
            ..at(9.0)
        };
        assert!((applied(seldom) - 0.1).abs() < 0.01);
    }

    #[test]
    fn a_draw_is_the_same_again_and_in_any_order() {
        let randaugment = at(9.0);
        let draw = |step, row| -> Vec<Operation> {
            randaugment
                .draw(Draws::of_row(3, step, row), 32, 32)
                .collect()
        };
        let forward: Vec<_> = (0..100).map(|row| draw(7, row)).collect();
        let mut backward: Vec<_> = (0..100).rev().map(|row| draw(7, row)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let next: Vec<_> = (0..100).map(|row| draw(8, row)).collect();
        assert_ne!(forward, next);
    }
}
