//! The noised teacher of the paper's Table 6: a teacher that sees noised images.
//!
//! Noise falls between cropping and resizing to the model's input and the normalisation, on bytes; a random crop takes the place of the teacher's own. All
//! draws are of (seed, key): an image looks the same in every run, batch and retry, and its fingerprints stay those of the image itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::random::Draws;
use crate::student::noise::image::IMAGE_NOISE;
use crate::student::noise::{ImageNoise, Images, ModelNoise, Noise};
use crate::workspace::check_name;

/// The noise of a labelling.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TeacherNoise {
    /// The file's name without its extension: `b7` of `b7.toml`. The labels are then those of `NAME@VERSION+b7`.
    pub name: String,
    /// What decides the labels.
    pub settings: NoiseSettings,
    /// What the file asks of the model itself.
    pub model: ModelNoise,
}

/// What of a noise file decides the labels; a part of `_labels.json` and of the preprocessing hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseSettings {
    /// How the noise is drawn and painted: [`IMAGE_NOISE`].
    pub version: String,
    /// Of every draw.
    pub seed: u64,
    /// What images are noised with.
    #[serde(flatten)]
    pub image: ImageNoise,
}

impl NoiseSettings {
    /// The draws for an image.
    pub fn draws(&self, key: &str) -> Draws {
        Draws::of_key(self.seed, key)
    }
}

impl TeacherNoise {
    /// Reads a noise file, and takes what it says of unlabelled images: these are.
    ///
    /// # Errors
    /// [`ConfigError`], also where the file has no noise that an exported model could see.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let noise = Noise::read(path)?;
        let refused = |why: &str, advice: &str| ConfigError::Value {
            key: "--noise",
            value: format!("`{}`, {why}", path.display()),
            advice: advice.to_owned(),
        };
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let name = name.filter(|name| check_name("noise", name).is_ok());
        let name = name.ok_or_else(|| {
            refused(
                "whose name cannot become part of the teacher's",
                "rename it: letters, digits, `.`, `_` and `-`, at most 100, beginning with a letter or digit",
            )
        })?;
        let image = noise.image(Images::Unlabelled);
        if image.is_none() {
            return Err(refused(
                "which leaves unlabelled images as they are",
                "add `[randaugment]`, `[standard]` or `[cutout]`; dropout and stochastic depth are no part of an exported model, so a teacher cannot have them",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            settings: NoiseSettings {
                version: IMAGE_NOISE.to_owned(),
                seed: noise.seed,
                image,
            },
            model: noise.model(Images::Unlabelled),
        })
    }

    /// What the file asks for and an exported model cannot have, in words; none where it asks for no such thing.
    pub fn left_out(&self) -> Option<String> {
        let ModelNoise {
            dropout,
            stochastic_depth,
        } = self.model;
        let asked = [("dropout", dropout), ("stochastic_depth", stochastic_depth)];
        let asked: Vec<_> = asked
            .iter()
            .filter(|(_, rate)| *rate > 0.0)
            .map(|(key, rate)| format!("`{key} = {rate}`"))
            .collect();
        (!asked.is_empty()).then(|| {
            format!(
                "images alone are noised, without {}, which no exported model can have",
                asked.join(" and ")
            )
        })
    }
}
