//! The `[train]` section of a settings file.

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::config::{ConfigError, check};
use crate::label::preprocess::{Channels, Filter, Mode, Preprocess, Range};
use crate::labelled::DataConfig;

/// Images of a step with real labels; the paper has 2,048 (§3.1), which few machines hold.
const DEFAULT_BATCH: usize = 128;
/// How much of the labels' certainty label smoothing takes: the published code's.
const DEFAULT_LABEL_SMOOTHING: f32 = 0.1;
/// Of the moving average of the weights: the published code's.
const DEFAULT_EMA: f32 = 0.9999;
/// Steps between checkpoints.
const DEFAULT_CHECKPOINT_STEPS: u64 = 500;
/// The most images of a step, of both kinds.
const LARGEST_BATCH: usize = 1 << 20;

/// How the two kinds of images make up the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The mean of the cross entropy over all images of the step together (§3.1).
    #[default]
    Average,
    /// The mean over the labelled ones plus the mean over the others (Algorithm 1).
    Sum,
}

/// How a student is trained, beside what it is (`[student]`), what it sees (`[data]` and a selection) and how that is noised (`[noise]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The selection whose images are learned from beside the labelled ones; without it, or without `[data]`, there is one kind of images alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
    /// Of the order of the images, of their noise, and of the masks.
    pub seed: u64,
    /// Labelled images a step; where there are none, pseudo-labelled ones.
    pub batch: usize,
    /// Pseudo-labelled images for each labelled one (§3.1: 1, 3, 7, 14 or 28; any).
    pub ratio: f64,
    /// The most images that are in the network at once; a larger step is added up of several passes, each with its share of both kinds, and batch normalisation sees each by itself. 0 for all at once.
    pub pass: usize,
    /// How long: steps, or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// how often each labelled image is seen (of those with pseudo-labels, where there are no others).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// How the two kinds make up the loss.
    pub loss: Loss,
    /// A real label, and a hard pseudo-label, is this less certain; soft ones stay as they are. From 0 on and below 1.
    pub label_smoothing: f32,
    /// How fast it learns.
    pub learning_rate: Schedule,
    /// Of the weights' moving average, which is what is evaluated and becomes the teacher; it is `min(ema, (1 + step) / (10 + step))`. 0 for the weights as they are.
    pub ema: f32,
    /// Steps between checkpoints.
    pub checkpoint_steps: u64,
    /// A teacher (NAME or NAME@VERSION) that an earlier training gave, whose weights this one begins with; else the student's own first weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_from: Option<String>,
    /// A teacher (NAME or NAME@VERSION) whose classes, in their order, are the student's; else they are those of the selection, of the weights that it begins with, or of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes_of: Option<String>,
    /// Labelled images that are never learned from, on which each checkpoint is evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<DataConfig>,
    /// From decoded pixels to the network's input: the student's `teacher.toml` has it then.
    pub preprocess: Preprocess,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            selection: None,
            seed: 0,
            batch: DEFAULT_BATCH,
            ratio: 1.0,
            pass: 0,
            steps: None,
            epochs: None,
            loss: Loss::default(),
            label_smoothing: DEFAULT_LABEL_SMOOTHING,
            learning_rate: Schedule::default(),
            ema: DEFAULT_EMA,
            checkpoint_steps: DEFAULT_CHECKPOINT_STEPS,
            begin_from: None,
            classes_of: None,
            held_out: None,
            preprocess: Preprocess {
                mode: Mode::CenterCrop,
                crop: 1.0,
                filter: Filter::Bicubic,
                range: Range::Unit,
                mean: [0.5; 3],
                std: [0.5; 3],
                channels: Channels::Rgb,
            },
        }
    }
}

impl TrainConfig {
    /// How many images of each kind a step has, by which kinds there are: labelled, pseudo-labelled.
    pub fn rows(&self, labelled: bool, pseudo: bool) -> [usize; 2] {
        match (labelled, pseudo) {
            (true, true) => [
                self.batch,
                (self.batch as f64 * self.ratio).round() as usize,
            ],
            (true, false) => [self.batch, 0],
            (false, _) => [0, self.batch],
        }
    }

    /// The pure checks.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rows = self.batch as f64 * (1.0 + self.ratio);
        check(
            self.batch > 0 && self.rows(true, true)[1] > 0 && rows <= LARGEST_BATCH as f64,
            "train.batch",
            format!("{} with a ratio of {}", self.batch, self.ratio),
            "a step has at least one image of each kind, and at most 1,048,576 in all",
        )?;
        check(
            self.steps.is_some() != self.epochs.is_some(),
            "train.steps",
            match self.steps {
                None => "missing, and so is train.epochs".into(),
                Some(steps) => format!("{steps}, and train.epochs is there as well"),
            },
            "say how long to train with one of the two",
        )?;
        check(
            self.steps.is_none_or(|n| n > 0)
                && self.epochs.is_none_or(|n| n > 0.0 && n.is_finite()),
            "train.steps",
            "0",
            "train for one step or more",
        )?;
        check(
            (0.0..1.0).contains(&self.label_smoothing),
            "train.label_smoothing",
            self.label_smoothing,
            "give a fraction from 0 on and below 1",
        )?;
        check(
            (0.0..1.0).contains(&self.ema),
            "train.ema",
            self.ema,
            "give a fraction from 0 on and below 1, such as 0.999",
        )?;
        check(
            self.checkpoint_steps > 0,
            "train.checkpoint_steps",
            "0",
            "make a checkpoint every 1 step or more",
        )?;
        self.preprocess.validate().map_err(|e| ConfigError::Value {
            key: "train.preprocess",
            value: e.to_string(),
            advice: "see pipelines/README.md".into(),
        })?;
        self.held_out.iter().try_for_each(DataConfig::validate)?;
        self.learning_rate.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse_toml};

    #[test]
    fn the_documented_section_is_a_valid_one_with_the_published_rate() {
        let text = include_str!("../../pipelines/README.md");
        let section = text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .find(|block| block.contains("[train]"))
            .unwrap();
        let config: Config = parse_toml("README.md", section).unwrap();
        config.validate().unwrap();
        let train = config.train.unwrap();
        assert_eq!(train.rows(true, true), [128, 128]);
        assert_eq!(train.learning_rate.per_batch, 256);
        // What the page says of the defaults is so, where the key is not there to show something else.
        let own = TrainConfig::default();
        assert_eq!(
            (train.batch, train.loss, train.pass),
            (own.batch, own.loss, own.pass)
        );
        assert_eq!(train.preprocess, own.preprocess);
    }

    #[test]
    fn a_step_has_an_image_of_each_kind() {
        let with = |batch, ratio| {
            let train = TrainConfig {
                batch,
                ratio,
                steps: Some(1),
                ..TrainConfig::default()
            };
            train.validate().is_ok()
        };
        assert!(with(32, 0.02) && with(1, 0.5));
        for (batch, ratio) in [
            (32, 0.01),
            (0, 1.0),
            (4, 0.0),
            (4, -1.0),
            (4, f64::NAN),
            (4, 1e9),
        ] {
            assert!(!with(batch, ratio), "{batch} {ratio}");
        }
    }

    #[test]
    fn a_ratio_need_not_be_whole_and_one_kind_of_images_may_be_alone() {
        let train = TrainConfig {
            batch: 10,
            ratio: 2.56,
            ..TrainConfig::default()
        };
        assert_eq!(train.rows(true, true), [10, 26]);
        assert_eq!(train.rows(true, false), [10, 0]);
        assert_eq!(train.rows(false, true), [0, 10]);
    }
}
