//! A pipeline file for `understudy run`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::noise;
use super::set::Setting;
use super::stage::Part;
use crate::config::{Config, ConfigError, LabelConfig, parse_table, parse_toml};
use crate::error::Error;
use crate::label::decode::DecodeConfig;
use crate::label::noise::TeacherNoise;
use crate::labelled::DataConfig;
use crate::manifest::ManifestConfig;
use crate::select::SelectConfig;
use crate::source::SourceConfig;
use crate::student::config::StudentConfig;
use crate::student::noise::Noise;
use crate::train::TrainConfig;

/// `[run]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What all that it makes is named after: `NAME-teacher`, `NAME-r1`, `NAME-r1-control`, …
    pub name: String,
    /// The dataset of the unlabelled images.
    pub dataset: String,
    /// Where these are: a prefix, a .tar, a .parquet, an idx3 file or a list of URLs.
    pub source: String,
}

/// `[teacher]`: the first teacher, or `[filter]`: the one that chooses the images. Either one that the workspace has, or one that is trained on the labelled images alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct First {
    /// NAME, NAME@VERSION or current; which version that is, the first run decides for good.
    pub name: Option<String>,
    /// The network.
    pub student: Option<StudentConfig>,
    /// How it is trained.
    pub train: Option<TrainConfig>,
    /// What it is noised with; nothing where that is left out.
    pub noise: Option<Noise>,
    /// A noise file in place of `noise`, beside the pipeline file.
    pub noise_file: Option<PathBuf>,
    /// A second phase.
    pub finetune: Option<Finetune>,
    /// Of the filter alone: how its labels choose the images, and make the training set of every round.
    pub select: Option<SelectConfig>,
}

/// A second phase of a training: labelled images alone, from the weights of the first on. At a larger `input`, with `frozen_blocks` and without noise it is the
/// resolution fix (§3.1); after a round that is not `joint` it is the finetuning of Study 6.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finetune {
    /// Channels, height and width of an image; the first phase's where that is left out.
    #[serde(default)]
    pub input: Option<[usize; 3]>,
    /// The stem and so many blocks stay as they are.
    #[serde(default)]
    pub frozen_blocks: usize,
    /// How it is trained.
    pub train: TrainConfig,
    /// What it is noised with; nothing where that is left out.
    #[serde(default)]
    pub noise: Option<Noise>,
    /// A noise file in place of `noise`, beside the pipeline file.
    #[serde(default)]
    pub noise_file: Option<PathBuf>,
}

impl Finetune {
    /// The student of the second phase: that of the first, but for what is said here.
    pub fn student(&self, first: &StudentConfig) -> StudentConfig {
        StudentConfig {
            input: self.input.or(first.input),
            frozen_blocks: self.frozen_blocks,
            ..first.clone()
        }
    }
}

/// `[[round]]`: the teacher labels, its labels are selected from, a student learns.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// The network.
    pub student: StudentConfig,
    /// A noise file, beside the pipeline file, through which the teacher sees the images that it labels; none for the clean teacher of the method (Table 6).
    #[serde(default)]
    pub teacher_noise_file: Option<PathBuf>,
    /// How labels become a training set. With a filter it has the rules.
    #[serde(default)]
    pub select: Option<SelectConfig>,
    /// How the student is trained.
    pub train: TrainConfig,
    /// Whether it learns labelled and pseudo-labelled images together; else the pseudo-labelled ones alone (Study 6).
    #[serde(default = "yes")]
    pub joint: bool,
    /// Whether it begins with its teacher's weights (Study 8).
    #[serde(default)]
    pub warm_start: bool,
    /// What it is noised with; nothing where that is left out.
    #[serde(default)]
    pub noise: Option<Noise>,
    /// A noise file in place of `noise`, beside the pipeline file.
    #[serde(default)]
    pub noise_file: Option<PathBuf>,
    /// A second phase.
    #[serde(default)]
    pub finetune: Option<Finetune>,
    /// Whether the same student is trained as well without pseudo-labels, to compare it with.
    #[serde(default)]
    pub control: bool,
    /// What `teacher_noise_file` says.
    #[serde(skip)]
    pub teacher_noise: Option<TeacherNoise>,
}

fn yes() -> bool {
    true
}

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Its name and the unlabelled images.
    pub run: RunConfig,
    /// What is read as an unlabelled image.
    #[serde(default)]
    pub source: Option<SourceConfig>,
    /// How the manifest is cut.
    #[serde(default)]
    pub manifest: Option<ManifestConfig>,
    /// What bounds the decoding of an image.
    #[serde(default)]
    pub decode: DecodeConfig,
    /// How images are labelled.
    #[serde(default)]
    pub label: LabelConfig,
    /// The labelled images.
    pub data: DataConfig,
    /// Labelled images that nothing is learned from, on which each model is evaluated once.
    pub held_out: DataConfig,
    /// The teacher that chooses the images of all rounds, once; without it each round's teacher does.
    #[serde(default)]
    pub filter: Option<First>,
    /// The first teacher.
    pub teacher: First,
    /// The rounds, in their order.
    #[serde(default)]
    pub round: Vec<Round>,
}

impl Pipeline {
    /// Whether a file with these keys is meant as one for `understudy run`.
    pub fn is_meant(table: &toml::Table) -> bool {
        ["run", "round", "held_out", "filter"]
            .iter()
            .any(|key| table.contains_key(*key))
    }

    /// Reads a file and its noise files, with these settings put into it, and checks them.
    ///
    /// # Errors
    /// [`PipelineError`](super::PipelineError), or what a name is said to be.
    pub fn read(path: &Path, settings: &[Setting]) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let name = path.display().to_string();
        let mut pipeline: Self = if settings.is_empty() {
            parse_toml(&name, &text)?
        } else {
            let mut table = parse_toml(&name, &text)?;
            settings
                .iter()
                .try_for_each(|setting| setting.apply(&mut table))?;
            parse_table(&format!("{name} with --set"), table)?
        };
        let beside = path.parent().unwrap_or(Path::new(""));
        if let Some(filter) = &mut pipeline.filter {
            noise::of_first("filter", filter, beside)?;
        }
        noise::of_first("teacher", &mut pipeline.teacher, beside)?;
        for (n, round) in pipeline.round.iter_mut().enumerate() {
            noise::of_round(&Part::Round(n + 1).to_string(), round, beside)?;
        }
        pipeline.check()?;
        Ok(pipeline)
    }

    /// The filter, or the first teacher; none of a round, or where there is no filter.
    pub fn first(&self, part: Part) -> Option<&First> {
        match part {
            Part::Filter => self.filter.as_ref(),
            Part::Teacher => Some(&self.teacher),
            Part::Round(_) => None,
        }
    }

    /// A round; none of the filter and the first teacher.
    pub fn round(&self, part: Part) -> Option<&Round> {
        match part {
            Part::Round(n) => self.round.get(n.checked_sub(1)?),
            Part::Filter | Part::Teacher => None,
        }
    }

    /// The network that a part trains.
    pub fn student(&self, part: Part) -> Option<&StudentConfig> {
        let first = || self.first(part)?.student.as_ref();
        self.round(part).map(|r| &r.student).or_else(first)
    }

    /// The second phase of a part's training.
    pub fn finetune(&self, part: Part) -> Option<&Finetune> {
        let first = || self.first(part)?.finetune.as_ref();
        match self.round(part) {
            Some(round) => round.finetune.as_ref(),
            None => first(),
        }
    }

    /// How the labels of a part become a selection: as the filter says, where there is one, or the round.
    pub fn select(&self, part: Part) -> SelectConfig {
        let rules = match &self.filter {
            Some(filter) => filter.select.clone(),
            None => self.round(part).and_then(|round| round.select.clone()),
        };
        rules.unwrap_or_default()
    }

    /// The sections that stages share.
    pub fn config(&self) -> Config {
        Config {
            source: self.source.clone(),
            manifest: self.manifest.clone(),
            decode: self.decode.clone(),
            label: self.label.clone(),
            ..Config::default()
        }
    }
}
