//! Pipeline files: TOML → [`Config`], with checks that need nothing but the file.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::nearest;
use crate::label::decode::DecodeConfig;
use crate::labelled::DataConfig;
use crate::manifest::ManifestConfig;
use crate::schema::Encoding;
use crate::select::SelectConfig;
use crate::source::SourceConfig;
use crate::student::config::StudentConfig;
use crate::student::noise::Noise;
use crate::train::TrainConfig;

/// What can go wrong with a file that a user writes, or with a flag's value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no valid TOML, or has a key that does not exist, or a value of another type.
    #[error("`{file}` is not valid: {detail}")]
    Parse {
        /// The file.
        file: String,
        /// The parser's words, with line and column.
        detail: String,
        /// A key that is near the unknown one.
        near: Option<String>,
    },
    /// A value out of range.
    #[error("`{key}` is {value}")]
    Value {
        /// The key or flag.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        advice: String,
    },
}

impl ConfigError {
    /// A key, section or flag that has to be there.
    pub fn missing(key: &'static str, advice: &str) -> Self {
        Self::Value {
            key,
            value: "missing".into(),
            advice: advice.to_owned(),
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("check the path".into()),
            Self::Parse { near, .. } => near.as_ref().map(|n| format!("did you mean `{n}`?")),
            Self::Value { advice, .. } => Some(advice.clone()),
        }
    }
}

/// Images in a batch on the CPU: at 4 one session a core is fastest (measured with EfficientNet-Lite0; 1 to 8 lie within 3 %).
pub const DEFAULT_CPU_BATCH: usize = 4;
/// Images in a batch on a CUDA device; halved by itself where memory does not suffice.
pub const DEFAULT_CUDA_BATCH: usize = 64;
/// Images fetched ahead of the workers, in batches a worker. 4 batches of 4 images of 200 kB are 3.2 MB a worker.
pub const DEFAULT_PREFETCH: usize = 4;
/// How often an image is asked for before it becomes a reject.
pub const DEFAULT_ATTEMPTS: u16 = 4;
/// Seconds without a byte after which a read is stuck.
pub const DEFAULT_READ_TIMEOUT_S: f64 = 30.0;
/// An hour: what waits longer has been forgotten by the other side.
const LONGEST_READ_TIMEOUT_S: f64 = 3600.0;
/// How many classes a top-k soft label keeps.
pub const DEFAULT_TOP_K: usize = 10;

/// A settings file. Every section may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is read as an image; a dataset keeps what it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceConfig>,
    /// How the manifest is cut; a dataset keeps what it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestConfig>,
    /// What bounds the decoding of an image.
    pub decode: DecodeConfig,
    /// How images are labelled.
    pub label: LabelConfig,
    /// How labels become a training set.
    pub select: SelectConfig,
    /// Labelled images, to evaluate a model on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataConfig>,
    /// The network that is trained, and what trains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub student: Option<StudentConfig>,
    /// How it is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainConfig>,
    /// What it is noised with, as in a noise file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
}

/// The `[label]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelConfig {
    /// How soft labels are stored: float16 (2 bytes a class), float32 (4), or topk.
    pub encoding: Encoding,
    /// How many classes `topk` keeps, 1 or more.
    pub top_k: usize,
    /// The most images in a batch; 0 for 4 on the CPU and 64 on CUDA. Labels of an image differ by less than 0.001 across batch sizes.
    pub batch: usize,
    /// Threads that decode, and on the CPU infer as well; 0 for one a core. Each CPU thread holds a copy of the model.
    pub workers: usize,
    /// Batches fetched ahead of each worker, 1 or more.
    pub prefetch: usize,
    /// How often an image is asked for before it becomes a reject, 1 or more.
    pub attempts: u16,
    /// Seconds without an answer, or without another piece of it, after which a read is given up and tried again.
    pub read_timeout_s: f64,
}

impl Default for LabelConfig {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            top_k: DEFAULT_TOP_K,
            batch: 0,
            workers: 0,
            prefetch: DEFAULT_PREFETCH,
            attempts: DEFAULT_ATTEMPTS,
            read_timeout_s: DEFAULT_READ_TIMEOUT_S,
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let config: Self = parse_toml(&path.display().to_string(), &text)?;
        config.validate()?;
        Ok(config)
    }

    /// The pure checks: nothing outside the file is looked at.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let label = &self.label;
        let decode = &self.decode;
        let shard_images = self.manifest.clone().unwrap_or_default().shard_images;
        check(
            (1..=1_000_000).contains(&shard_images),
            "manifest.shard_images",
            shard_images,
            "use 1 to 1,000,000 images a shard",
        )?;
        check(
            label.top_k >= 1,
            "label.top_k",
            label.top_k,
            "keep at least one class",
        )?;
        check_batches(label.batch, label.workers)?;
        check(
            (1..=1024).contains(&label.prefetch),
            "label.prefetch",
            label.prefetch,
            "fetch 1 to 1024 batches ahead",
        )?;
        check(
            (1..=100).contains(&label.attempts),
            "label.attempts",
            label.attempts,
            "try 1 to 100 times",
        )?;
        check(
            label.read_timeout_s > 0.0 && label.read_timeout_s <= LONGEST_READ_TIMEOUT_S,
            "label.read_timeout_s",
            label.read_timeout_s,
            "give seconds, more than 0 and at most 3600",
        )?;
        self.select.validate()?;
        self.data.as_ref().map_or(Ok(()), DataConfig::validate)?;
        if let Some(student) = &self.student {
            student.validate()?;
        }
        self.train.as_ref().map_or(Ok(()), TrainConfig::validate)?;
        self.noise.as_ref().map_or(Ok(()), Noise::validate)?;
        check(
            decode.max_bytes > 0 && decode.max_pixels > 0 && decode.max_memory > 0,
            "decode",
            "limited to nothing",
            "max_bytes, max_pixels and max_memory have to be more than 0",
        )
    }
}

/// A check of one value of a configuration.
///
/// # Errors
/// [`ConfigError::Value`] with the key, its value and what to do, where it is not `good`.
#[allow(
    clippy::needless_pass_by_value,
    reason = "numbers and texts alike, without an `&` at each of the calls"
)]
pub(crate) fn check(
    good: bool,
    key: &'static str,
    value: impl ToString,
    advice: &str,
) -> Result<(), ConfigError> {
    if good {
        Ok(())
    } else {
        Err(ConfigError::Value {
            key,
            value: value.to_string(),
            advice: advice.to_owned(),
        })
    }
}

/// Whether images of a batch and threads that label are within bounds.
pub(crate) fn check_batches(batch: usize, workers: usize) -> Result<(), ConfigError> {
    check(
        batch <= 4096,
        "label.batch",
        batch,
        "use 1 to 4096 images, or 0 for the default",
    )?;
    check(
        workers <= 1024,
        "label.workers",
        workers,
        "use 1 to 1024 threads, or 0 for one a core",
    )
}

/// TOML → a value, with line and column in the error and the nearest key where one is misspelt.
///
/// # Errors
/// [`ConfigError::Parse`].
pub fn parse_toml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|e| {
        let message = e.message().to_owned();
        let place = e.span().map_or(String::new(), |span| {
            let before = &text[..span.start.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1;
            format!("line {line}, column {column}: ")
        });
        unparsed(file, &message, &place)
    })
}

/// A table → a value, as [`parse_toml`], without a place in the error.
///
/// # Errors
/// [`ConfigError::Parse`].
pub fn parse_table<T: DeserializeOwned>(file: &str, table: toml::Table) -> Result<T, ConfigError> {
    table
        .try_into()
        .map_err(|e: toml::de::Error| unparsed(file, e.message(), ""))
}

fn unparsed(file: &str, message: &str, place: &str) -> ConfigError {
    ConfigError::Parse {
        file: file.to_owned(),
        near: misspelt(message),
        detail: format!("{place}{}", message.replace('\n', " ")),
    }
}

/// serde says "unknown field `x`, expected one of `a`, `b`": the nearest of them.
fn misspelt(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let typed = quoted.next()?;
    if !message.starts_with("unknown") {
        return None;
    }
    nearest(typed, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_the_nearest_one() {
        let error = parse_toml::<Config>("x.toml", "[label]\nbacth = 4\n").unwrap_err();
        assert!(error.to_string().contains("line 2, column 1"), "{error}");
        assert!(error.to_string().contains("bacth"), "{error}");
        assert_eq!(error.hint().unwrap(), "did you mean `batch`?");
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let config: Config = parse_toml("x.toml", "[label]\nattempts = 0\n").unwrap();
        let error = config.validate().unwrap_err();
        assert_eq!(error.to_string(), "`label.attempts` is 0");
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        parse_toml::<Config>("x.toml", "")
            .unwrap()
            .validate()
            .unwrap();
    }
}
