//! All that an image is noised with, in its order.

use serde::{Deserialize, Serialize};

use super::cutout::Cutout;
use super::pixels::Pixels;
use super::randaugment::RandAugment;
use super::standard::{Crop, Standard};
use crate::random::Draws;

/// What images are noised with, and how the drawing is done; another version draws or paints otherwise.
pub const IMAGE_NOISE: &str = "image-noise-v1";

/// What the images of one kind are noised with. What it does to an image is a function of itself, the image and the [`Draws`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ImageNoise {
    /// Red, green and blue of what is not of the image.
    pub fill: [u8; 3],
    /// Random crops, flips, translations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<Standard>,
    /// RandAugment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub randaugment: Option<RandAugment>,
    /// A square in every image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutout: Option<Cutout>,
}

impl ImageNoise {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        self.standard
            .is_none_or(|standard| standard == Standard::default())
            && self.randaugment.is_none()
            && self.cutout.is_none()
    }

    /// What of a decoded image of `width` × `height` is seen; none where that is not random.
    pub fn crop(&self, draws: Draws, width: u32, height: u32) -> Option<Crop> {
        self.standard?.crop(draws, width, height)
    }

    /// Whether [`ImageNoise::crop`] gives anything.
    pub fn crops(&self) -> bool {
        self.standard.is_some_and(|s| s.random_resized_crop)
    }

    /// Noises an image that is cropped and resized already: flip, translation, RandAugment, cutout.
    pub fn apply(&self, draws: Draws, pixels: &mut Pixels<'_>) {
        if pixels.is_empty() {
            return;
        }
        let (width, height) = (pixels.width(), pixels.height());
        if let Some(standard) = &self.standard {
            standard.apply(draws.branch("standard", 0), pixels);
        }
        if let Some(randaugment) = self.randaugment {
            for operation in randaugment.draw(draws.branch("randaugment", 0), width, height) {
                operation.apply(pixels, self.fill);
            }
        }
        if let Some(cutout) = self.cutout {
            cutout
                .draw(draws.branch("cutout", 0), width, height)
                .apply(pixels, self.fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: ImageNoise = ImageNoise {
        fill: [1, 2, 3],
        standard: Some(Standard {
            random_resized_crop: true,
            flip: true,
            translate: 0.5,
        }),
        randaugment: Some(RandAugment {
            operations: 16,
            magnitude: 27.0,
            probability: [1.0, 1.0],
            translate: 100.0,
            cutout: 40.0,
            reference_size: 224,
        }),
        cutout: Some(Cutout { side: 0.3 }),
    };

    fn noised(
        noise: &ImageNoise,
        draws: Draws,
        width: u32,
        height: u32,
        spare: &mut Vec<u8>,
    ) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..3 * width * height)
            .map(|n| (n * 37 % 251) as u8)
            .collect();
        noise.apply(draws, &mut Pixels::new(width, height, &mut bytes, spare));
        bytes
    }

    proptest! {
        #[test]
        fn an_image_of_any_size_is_noised_and_the_same_again(
            seed in any::<u64>(), row in any::<u64>(), width in 0_u32..40, height in 0_u32..40, old in 0_usize..5000,
        ) {
            let draws = Draws::of_row(seed, 1, row);
            let first = noised(&ALL, draws, width, height, &mut Vec::new());
            // What the spare buffer was used for before does not matter.
            let second = noised(&ALL, draws, width, height, &mut vec![99; old]);
            prop_assert_eq!(first, second);
            if let Some(crop) = ALL.crop(draws, width.max(1), height.max(1)) {
                prop_assert!(crop.width >= 1 && crop.left + crop.width <= width.max(1));
                prop_assert!(crop.height >= 1 && crop.top + crop.height <= height.max(1));
            }
        }
    }

    #[test]
    fn one_kind_of_noise_draws_the_same_whether_others_are_there_or_not() {
        let alone = ImageNoise {
            standard: None,
            randaugment: None,
            ..ALL
        };
        let draws = Draws::of_row(1, 2, 3);
        let painted = |noise: &ImageNoise| -> Vec<bool> {
            let bytes = noised(noise, draws, 30, 20, &mut Vec::new());
            bytes
                .as_chunks::<3>()
                .0
                .iter()
                .map(|p| *p == [1, 2, 3])
                .collect()
        };
        let (alone, all) = (painted(&alone), painted(&ALL));
        assert!(alone.contains(&true) && alone.contains(&false));
        assert!(alone.iter().zip(&all).all(|(alone, all)| !alone || *all));
    }
}
