//! The learning rate of a step: a pure function of the step, so that whoever resumes has nothing to remember.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, check};

/// How fast a student learns, and how that changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// The peak is for so many labelled images a step, and grows with them: 256 and 0.016 are the published code's, 2,048 and 0.128 the paper's (§3.1). 0: it is as it is.
    pub per_batch: u64,
    /// Epochs in which it rises from 0 to the peak, in a line; the published code's are 5.
    pub warmup_epochs: f64,
    /// What comes after.
    pub decay: Decay,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Decay {
    /// × `factor` after every `epochs`, in stairs, counted from the first step: 0.97 and 2.4, or 4.8 for 700 epochs (§3.1).
    Exponential {
        /// Above 0 and up to 1.
        factor: f64,
        /// Above 0.
        epochs: f64,
    },
    /// Half a wave from the end of the warm-up down to `floor` × peak, which would be the step after the last (Loshchilov and Hutter, 2017, without restarts).
    Cosine {
        /// From 0 to 1.
        #[serde(default)]
        floor: f64,
    },
    /// Not at all.
    Constant {},
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            peak: 0.001,
            per_batch: 0,
            warmup_epochs: 0.0,
            decay: Decay::Cosine { floor: 0.0 },
        }
    }
}

/// How long a training is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// In all.
    pub steps: u64,
    /// Steps in which each image is seen once, of the kind that epochs are counted in.
    pub steps_per_epoch: f64,
    /// Images of that kind a step.
    pub batch: u64,
}

impl Schedule {
    /// The pure checks.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check(
            self.peak > 0.0 && self.peak.is_finite(),
            "train.learning_rate.peak",
            self.peak,
            "give a number above 0, such as 0.001",
        )?;
        check(
            self.warmup_epochs >= 0.0 && self.warmup_epochs.is_finite(),
            "train.learning_rate.warmup_epochs",
            self.warmup_epochs,
            "give 0 or more epochs",
        )?;
        match self.decay {
            Decay::Exponential { factor, epochs } => {
                check(
                    factor > 0.0 && factor <= 1.0,
                    "train.learning_rate.decay.factor",
                    factor,
                    "give a factor above 0 and up to 1, such as 0.97",
                )?;
                check(
                    epochs > 0.0 && epochs.is_finite(),
                    "train.learning_rate.decay.epochs",
                    epochs,
                    "give epochs above 0, such as 2.4",
                )
            }
            Decay::Cosine { floor } => check(
                (0.0..=1.0).contains(&floor),
                "train.learning_rate.decay.floor",
                floor,
                "give a fraction of the peak, from 0 to 1",
            ),
            Decay::Constant {} => Ok(()),
        }
    }

    /// The rate of step `step`, counted from 0.
    pub fn at(&self, step: u64, length: &Length) -> f32 {
        let peak = match self.per_batch {
            0 => self.peak,
            per => self.peak * length.batch as f64 / per as f64,
        };
        let (step, steps) = (step as f64, length.steps as f64);
        let warmup = (self.warmup_epochs * length.steps_per_epoch).min(steps);
        if step < warmup {
            // The first step learns as well.
            return (peak * (step + 1.0) / warmup.max(1.0)).min(peak) as f32;
        }
        let rate = match self.decay {
            Decay::Exponential { factor, epochs } => {
                let stairs = (step / (epochs * length.steps_per_epoch)).floor();
                peak * factor.powf(stairs)
            }
            Decay::Cosine { floor } => {
                let part = (step - warmup) / (steps - warmup).max(1.0);
                let wave = f64::midpoint(1.0, (std::f64::consts::PI * part).cos());
                peak * (floor + (1.0 - floor) * wave)
            }
            Decay::Constant {} => peak,
        };
        rate as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Length = Length {
        steps: 1000,
        steps_per_epoch: 10.0,
        batch: 2048,
    };

    fn near(found: f32, expected: f64) {
        assert!(
            (f64::from(found) - expected).abs() < 1e-6 * expected.max(1e-3),
            "{found} rather than {expected}"
        );
    }

    #[test]
    fn the_papers_rate_rises_for_5_epochs_and_falls_in_stairs() {
        let paper = Schedule {
            peak: 0.016,
            per_batch: 256,
            warmup_epochs: 5.0,
            decay: Decay::Exponential {
                factor: 0.97,
                epochs: 2.4,
            },
        };
        near(paper.at(0, &LENGTH), 0.128 / 50.0);
        near(paper.at(24, &LENGTH), 0.064);
        near(paper.at(49, &LENGTH), 0.128);
        // 2.4 epochs are 24 steps: at step 50 two stairs are behind it.
        near(paper.at(50, &LENGTH), 0.128 * 0.97 * 0.97);
        near(paper.at(71, &LENGTH), 0.128 * 0.97 * 0.97);
        near(paper.at(72, &LENGTH), 0.128 * 0.97_f64.powi(3));
        near(paper.at(999, &LENGTH), 0.128 * 0.97_f64.powi(41));
    }

    #[test]
    fn a_cosine_falls_from_the_peak_to_its_floor() {
        let cosine = Schedule {
            peak: 0.1,
            warmup_epochs: 10.0,
            decay: Decay::Cosine { floor: 0.1 },
            ..Schedule::default()
        };
        near(cosine.at(100, &LENGTH), 0.1);
        near(cosine.at(550, &LENGTH), 0.055);
        near(cosine.at(1000, &LENGTH), 0.01);
        let constant = Schedule {
            decay: Decay::Constant {},
            ..cosine
        };
        near(constant.at(999, &LENGTH), 0.1);
    }

    #[test]
    fn a_warm_up_that_is_longer_than_the_training_is_cut_off() {
        let short = Schedule {
            peak: 1.0,
            warmup_epochs: 500.0,
            ..Schedule::default()
        };
        near(short.at(999, &LENGTH), 1.0);
        near(short.at(499, &LENGTH), 0.5);
    }
}
