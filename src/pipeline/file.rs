//! A pipeline file for `understudy run`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::PipelineError;
use super::set::Setting;
use crate::config::{Config, ConfigError, LabelConfig, parse_table, parse_toml};
use crate::error::Error;
use crate::label::decode::DecodeConfig;
use crate::labelled::DataConfig;
use crate::manifest::ManifestConfig;
use crate::select::SelectConfig;
use crate::source::SourceConfig;
use crate::student::config::StudentConfig;
use crate::student::noise::Noise;
use crate::teacher::TeacherRef;
use crate::train::TrainConfig;
use crate::workspace::check_name;

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

/// `[teacher]`: the first teacher. Either one that the workspace has, or one that is trained on the labelled images alone.
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
}

/// `[[round]]`: the teacher labels, its labels are selected from, a student learns.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// The network.
    pub student: StudentConfig,
    /// How labels become a training set.
    #[serde(default)]
    pub select: SelectConfig,
    /// How the student is trained.
    pub train: TrainConfig,
    /// What it is noised with; nothing where that is left out.
    #[serde(default)]
    pub noise: Option<Noise>,
    /// A noise file in place of `noise`, beside the pipeline file.
    #[serde(default)]
    pub noise_file: Option<PathBuf>,
    /// Whether the same student is trained as well without pseudo-labels, to compare it with.
    #[serde(default)]
    pub control: bool,
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
    /// The first teacher.
    pub teacher: First,
    /// The rounds, in their order.
    #[serde(default)]
    pub round: Vec<Round>,
}

impl Pipeline {
    /// Whether a file with these keys is meant as one for `understudy run`.
    pub fn is_meant(table: &toml::Table) -> bool {
        ["run", "round", "held_out"]
            .iter()
            .any(|key| table.contains_key(*key))
    }

    /// Reads a file and its noise files, with these settings put into it, and checks them.
    ///
    /// # Errors
    /// [`PipelineError`], or what a name is said to be.
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
        let first = &mut pipeline.teacher;
        resolve("teacher", &mut first.noise, first.noise_file.take(), beside)?;
        for (n, round) in pipeline.round.iter_mut().enumerate() {
            let part = format!("round-{}", n + 1);
            resolve(&part, &mut round.noise, round.noise_file.take(), beside)?;
        }
        pipeline.validate()?;
        Ok(pipeline)
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

    fn validate(&self) -> Result<(), Error> {
        check_name("run", &self.run.name)?;
        // The longest name that is derived from it.
        check_name(
            "run",
            &format!("{}-r{}-control", self.run.name, self.round.len()),
        )?;
        check_name("dataset", &self.run.dataset)?;
        self.config().validate()?;
        for (key, data) in [("data.url", &self.data), ("held_out.url", &self.held_out)] {
            data.validate()?;
            if data.url.is_empty() {
                return Err(ConfigError::missing(key, "say where the labelled images are").into());
            }
        }
        self.first()?;
        let mut classes = self.teacher.student.as_ref().map(|s| s.classes);
        for (n, round) in self.round.iter().enumerate() {
            let part = || format!("round-{}", n + 1);
            let in_part = |source| PipelineError::Part {
                part: part(),
                source,
            };
            round.select.validate().map_err(in_part)?;
            trained(&round.student, &round.train, round.noise.as_ref()).map_err(in_part)?;
            let first = *classes.get_or_insert(round.student.classes);
            if round.student.classes != first {
                return Err(in_part(ConfigError::Value {
                    key: "student.classes",
                    value: round.student.classes.to_string(),
                    advice: format!("the student before it has {first}"),
                })
                .into());
            }
        }
        Ok(())
    }

    fn first(&self) -> Result<(), Error> {
        let first = &self.teacher;
        let in_part = |source| PipelineError::Part {
            part: "teacher".into(),
            source,
        };
        match (&first.name, &first.student, &first.train, &first.noise) {
            (Some(name), None, None, None) => {
                name.parse::<TeacherRef>()?;
                Ok(())
            }
            (None, Some(student), Some(train), noise) => {
                Ok(trained(student, train, noise.as_ref()).map_err(in_part)?)
            }
            (Some(name), ..) => Err(in_part(ConfigError::Value {
                key: "teacher.name",
                value: format!("`{name}`, and there is something to train as well"),
                advice: "give a name, or `student` and `train`".into(),
            })
            .into()),
            (None, ..) => Err(in_part(ConfigError::missing(
                "teacher.name",
                "name a teacher of the workspace, or give `student` and `train`",
            ))
            .into()),
        }
    }
}

/// The checks of what is trained. Its selection is the round's own.
fn trained(
    student: &StudentConfig,
    train: &TrainConfig,
    noise: Option<&Noise>,
) -> Result<(), ConfigError> {
    student.validate()?;
    train.validate()?;
    if let Some(selection) = &train.selection {
        return Err(ConfigError::Value {
            key: "train.selection",
            value: format!("`{selection}`"),
            advice: "leave it out: a round trains with the selection that it makes".into(),
        });
    }
    noise.map_or(Ok(()), Noise::validate)
}

/// Reads a noise file where one is named.
fn resolve(
    part: &str,
    noise: &mut Option<Noise>,
    file: Option<PathBuf>,
    beside: &Path,
) -> Result<(), PipelineError> {
    let Some(file) = file else {
        return Ok(());
    };
    let in_part = |source| PipelineError::Part {
        part: part.to_owned(),
        source,
    };
    if noise.is_some() {
        return Err(in_part(ConfigError::Value {
            key: "noise_file",
            value: format!("`{}`, and `noise` is there as well", file.display()),
            advice: "give one of the two".into(),
        }));
    }
    *noise = Some(Noise::read(&beside.join(file)).map_err(in_part)?);
    Ok(())
}
