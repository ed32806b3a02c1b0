//! Noise files: TOML → [`Noise`]: what labelled and unlabelled images, and the student itself, are noised with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cutout::Cutout;
use super::image::ImageNoise;
use super::randaugment::RandAugment;
use super::standard::Standard;
use crate::config::{ConfigError, parse_toml};

/// Mid-grey, as in the paper's published code: to a model, the least of all values.
pub const DEFAULT_FILL: [u8; 3] = [128; 3];

/// A noise file. Every section may be left out: an empty file is no noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// A line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of the noise of a labelling (`label --noise`). In training `train.seed` counts.
    pub seed: u64,
    /// Dropout before the last layer: the probability that a feature is 0, from 0 on and below 1.
    pub dropout: f64,
    /// Stochastic depth: the probability that the last block is passed over, from 0 on and below 1; before it less, in a line that would be 0 before the first one.
    pub stochastic_depth: f64,
    /// Red, green and blue of what RandAugment brings in from outside of an image, and of what is cut out.
    pub fill: [u8; 3],
    /// Random crops, flips, translations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard: Option<Standard>,
    /// RandAugment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub randaugment: Option<RandAugment>,
    /// A square in every image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutout: Option<Cutout>,
    /// Which of these labelled images get.
    pub labelled: Switches,
    /// Which of these unlabelled images get.
    pub unlabelled: Switches,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            description: None,
            seed: 0,
            dropout: 0.0,
            stochastic_depth: 0.0,
            fill: DEFAULT_FILL,
            standard: None,
            randaugment: None,
            cutout: None,
            labelled: Switches::default(),
            unlabelled: Switches::default(),
        }
    }
}

/// The `[labelled]` and `[unlabelled]` sections: what is switched off for one kind of images alone, as in the paper's Table 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each switches one kind of noise, on by default"
)]
pub struct Switches {
    /// `[standard]`.
    pub standard: bool,
    /// `[randaugment]`.
    pub randaugment: bool,
    /// `[cutout]`.
    pub cutout: bool,
    /// `dropout`.
    pub dropout: bool,
    /// `stochastic_depth`.
    pub stochastic_depth: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            standard: true,
            randaugment: true,
            cutout: true,
            dropout: true,
            stochastic_depth: true,
        }
    }
}

/// Which images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Those with real labels.
    Labelled,
    /// Those with pseudo-labels.
    Unlabelled,
}

/// What the student itself is noised with, for one kind of images.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ModelNoise {
    /// [`Noise::dropout`].
    pub dropout: f64,
    /// [`Noise::stochastic_depth`].
    pub stochastic_depth: f64,
}

impl Noise {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let noise: Self = parse_toml(&path.display().to_string(), &text)?;
        noise.validate()?;
        Ok(noise)
    }

    /// Whether a file with these keys is meant as a noise file.
    pub fn is_meant(table: &toml::Table) -> bool {
        [
            "standard",
            "randaugment",
            "cutout",
            "dropout",
            "stochastic_depth",
        ]
        .iter()
        .any(|key| table.contains_key(*key))
    }

    /// The pure checks: nothing outside the file is looked at.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, rate) in [
            ("dropout", self.dropout),
            ("stochastic_depth", self.stochastic_depth),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return Err(ConfigError::Value {
                    key,
                    value: rate.to_string(),
                    advice: "give a probability from 0 on and below 1".into(),
                });
            }
        }
        self.standard.iter().try_for_each(Standard::validate)?;
        self.randaugment
            .iter()
            .try_for_each(RandAugment::validate)?;
        self.cutout.map_or(Ok(()), Cutout::validate)
    }

    fn switches(&self, images: Images) -> Switches {
        match images {
            Images::Labelled => self.labelled,
            Images::Unlabelled => self.unlabelled,
        }
    }

    /// What these images are noised with.
    pub fn image(&self, images: Images) -> ImageNoise {
        let switches = self.switches(images);
        ImageNoise {
            fill: self.fill,
            standard: self.standard.filter(|_| switches.standard),
            randaugment: self.randaugment.filter(|_| switches.randaugment),
            cutout: self.cutout.filter(|_| switches.cutout),
        }
    }

    /// What the student is noised with while it sees these images.
    pub fn model(&self, images: Images) -> ModelNoise {
        let switches = self.switches(images);
        ModelNoise {
            dropout: if switches.dropout { self.dropout } else { 0.0 },
            stochastic_depth: if switches.stochastic_depth {
                self.stochastic_depth
            } else {
                0.0
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Noise, ConfigError> {
        let noise: Noise = parse_toml("x.toml", text)?;
        noise.validate()?;
        Ok(noise)
    }

    #[test]
    fn an_empty_file_is_no_noise() {
        let noise = parsed("").unwrap();
        for images in [Images::Labelled, Images::Unlabelled] {
            assert!(noise.image(images).is_none());
            assert_eq!(noise.model(images), ModelNoise::default());
        }
    }

    #[test]
    fn what_the_file_of_defaults_says_is_what_is_taken_where_nothing_is_said() {
        let text = include_str!("../../../pipelines/noise/defaults.toml");
        let expected = Noise {
            description: Some("what it is for".into()),
            standard: Some(Standard::default()),
            randaugment: Some(RandAugment::default()),
            cutout: Some(Cutout::default()),
            ..Noise::default()
        };
        assert_eq!(parsed(text).unwrap(), expected);
    }

    #[test]
    fn noise_is_switched_off_for_one_kind_of_images_alone() {
        let noise = parsed(
            "dropout = 0.5\nstochastic_depth = 0.2\n[randaugment]\n[standard]\nflip = true\n[cutout]\n\
             [unlabelled]\nrandaugment = false\ndropout = false\n",
        )
        .unwrap();
        let (labelled, unlabelled) = (
            noise.image(Images::Labelled),
            noise.image(Images::Unlabelled),
        );
        assert!(labelled.randaugment.is_some() && unlabelled.randaugment.is_none());
        assert!(unlabelled.standard.is_some() && unlabelled.cutout.is_some());
        let rates = |images| {
            let model = noise.model(images);
            [model.dropout, model.stochastic_depth].map(|rate| format!("{rate}"))
        };
        assert_eq!(rates(Images::Labelled), ["0.5", "0.2"]);
        assert_eq!(rates(Images::Unlabelled), ["0", "0.2"]);
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        for (text, key) in [
            ("dropout = 1.0", "dropout"),
            ("dropout = nan", "dropout"),
            ("stochastic_depth = -0.1", "stochastic_depth"),
            ("[standard]\ntranslate = 0.6", "standard.translate"),
            ("[randaugment]\noperations = 0", "randaugment.operations"),
            ("[randaugment]\nmagnitude = -1.0", "randaugment.magnitude"),
            ("[randaugment]\nmagnitude = inf", "randaugment.magnitude"),
            (
                "[randaugment]\nprobability = [0.8, 0.2]",
                "randaugment.probability",
            ),
            (
                "[randaugment]\nprobability = [0.5, nan]",
                "randaugment.probability",
            ),
            ("[randaugment]\ntranslate = -1.0", "randaugment.translate"),
            ("[randaugment]\ncutout = nan", "randaugment.cutout"),
            (
                "[randaugment]\nreference_size = 0",
                "randaugment.reference_size",
            ),
            ("[cutout]\nside = 0.0", "cutout.side"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("`{key}` is ")),
                "{text}: {error}"
            );
            assert!(error.hint().is_some(), "{text}");
        }
        let error = parsed("[randaugment]\nmagnitud = 9.0").unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `magnitude`?"));
    }
}
