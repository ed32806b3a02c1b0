//! Cutout (`DeVries` and Taylor, 2017): a square at a random place is painted over.

use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::pixels::Pixels;
use crate::config::ConfigError;
use crate::random::Draws;

/// Half of the image's side: 16 of 32 pixels, as published for CIFAR-10 and for the paper's SVHN.
pub const DEFAULT_SIDE: f64 = 0.5;

/// The `[cutout]` section: one square in every image, after everything else. RandAugment's own Cutout is an operation among others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cutout {
    /// The square's side as a fraction of the image's shorter one, above 0 and up to 1. Its centre lies anywhere in the image, so that up to
    /// three quarters of it may be outside.
    pub side: f64,
}

impl Default for Cutout {
    fn default() -> Self {
        Self { side: DEFAULT_SIDE }
    }
}

impl Cutout {
    /// The pure checks.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub(super) fn validate(self) -> Result<(), ConfigError> {
        if self.side > 0.0 && self.side <= 1.0 {
            return Ok(());
        }
        Err(ConfigError::Value {
            key: "cutout.side",
            value: self.side.to_string(),
            advice: "give a fraction of the image's side, above 0 and up to 1".into(),
        })
    }

    /// The square in an image of `width` × `height`.
    pub fn draw(self, draws: Draws, width: u32, height: u32) -> Operation {
        let half = self.side * f64::from(width.min(height)) / 2.0;
        at_random(draws, [width, height], half.round() as u32)
    }
}

/// A square whose centre is evenly any pixel; draws 0 and 1.
pub(super) fn at_random(draws: Draws, [width, height]: [u32; 2], half: u32) -> Operation {
    Operation::Cutout {
        x: draws.below(0, width),
        y: draws.below(1, height),
        half,
    }
}

/// Paints a square.
pub(super) fn square(pixels: &mut Pixels<'_>, [x, y]: [u32; 2], half: u32, fill: [u8; 3]) {
    let range = |centre: u32, side: u32| {
        let end = centre.saturating_add(half).min(side) as usize;
        (centre.saturating_sub(half) as usize).min(end)..end
    };
    let (columns, rows) = (range(x, pixels.width()), range(y, pixels.height()));
    for row in pixels.rows().take(rows.end).skip(rows.start) {
        row[columns.clone()].fill(fill);
    }
}
