//! `teacher.toml`: what a model wants to see and what comes out of it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::TeacherError;
use crate::config::{ConfigError, parse_toml};
use crate::hex::hex;
use crate::label::preprocess::Preprocess;
use crate::schema::MAX_CLASSES;

/// A whole `teacher.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The model's input.
    pub input: InputConfig,
    /// From decoded pixels to the input.
    pub preprocess: Preprocess,
    /// The model's output.
    pub output: OutputConfig,
    /// The classes, in the order of the output.
    pub classes: ClassesConfig,
}

/// The order of an input's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channels, height, width.
    #[default]
    Nchw,
    /// Batch, height, width, channels.
    Nhwc,
}

/// The model's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Its name in the graph; not needed where there is one input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The order of its axes.
    #[serde(default)]
    pub layout: Layout,
    /// Height and width in pixels.
    pub size: [u32; 2],
}

/// What the output's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Unnormalised: a softmax makes them probabilities.
    Logits,
    /// Probabilities already: not negative, summing to one.
    Probabilities,
}

/// The model's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// Its name in the graph; not needed where there is one output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its numbers are.
    pub kind: OutputKind,
}

/// The class names: either `names`, or `file`, a text file beside `teacher.toml` with one name a line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassesConfig {
    /// One name a class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// A file with one name a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl TeacherConfig {
    /// Reads and checks a file; a `classes.file` beside it is read into `classes.names`.
    ///
    /// # Errors
    /// [`ConfigError`] for what cannot be read or parsed, [`TeacherError::Config`] for values that make no sense.
    pub fn read(path: &Path) -> Result<Self, TeacherError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = parse_toml(&path.display().to_string(), &text)?;
        if let Some(file) = config.classes.file.take() {
            if !config.classes.names.is_empty() {
                return Err(invalid(
                    "classes",
                    "has both `names` and `file`",
                    "keep one of them",
                ));
            }
            let beside = path.parent().unwrap_or(Path::new(".")).join(&file);
            let text = std::fs::read_to_string(&beside).map_err(|source| ConfigError::Read {
                path: beside,
                source,
            })?;
            config.classes.names = text.lines().map(|l| l.trim_end().to_owned()).collect();
        }
        config.validate()?;
        Ok(config)
    }

    /// The pure checks: nothing outside the file is looked at.
    ///
    /// # Errors
    /// [`TeacherError::Config`], naming the key.
    pub fn validate(&self) -> Result<(), TeacherError> {
        let [height, width] = self.input.size;
        if height == 0 || width == 0 || height > 4096 || width > 4096 {
            return Err(invalid(
                "input.size",
                &format!("is [{height}, {width}]"),
                "give height and width in pixels, from 1 to 4096",
            ));
        }
        self.preprocess
            .validate()
            .map_err(|e| invalid("preprocess", &e.to_string(), "see pipelines/README.md"))?;
        let names = &self.classes.names;
        if names.is_empty() {
            return Err(invalid(
                "classes",
                "has no names",
                "give `names = [\"…\"]`, or `file = \"classes.txt\"` with one name a line",
            ));
        }
        if names.len() > MAX_CLASSES {
            return Err(invalid(
                "classes",
                &format!("has {} names", names.len()),
                "a teacher may have at most 65,536 classes",
            ));
        }
        if let Some(empty) = names.iter().position(String::is_empty) {
            return Err(invalid(
                "classes",
                &format!("has an empty name for class {empty}"),
                "name every class",
            ));
        }
        Ok(())
    }

    /// The hash of everything that decides what the model sees and how its output is read, in hexadecimal.
    ///
    /// `decoding` is what the decoder was told beyond `teacher.toml` (EXIF orientation, scaled decoding).
    pub fn preprocessing_hash(&self, decoding: &str) -> String {
        let mut hash = Sha256::new();
        for part in [
            serde_json::to_string(&self.input).unwrap_or_default(),
            serde_json::to_string(&self.preprocess).unwrap_or_default(),
            serde_json::to_string(&self.output).unwrap_or_default(),
            decoding.to_owned(),
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hex(&hash.finalize())
    }
}

fn invalid(key: &'static str, what: &str, advice: &str) -> TeacherError {
    TeacherError::Config {
        key,
        what: what.to_owned(),
        advice: advice.to_owned(),
    }
}
