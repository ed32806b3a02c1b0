//! Labelled images of any source → a stream of (key, class, bytes), in their order or shuffled by a seed, with bounded memory.
//!
//! ```text
//! class folders │ tar with .cls │ Parquet with a label column │ IDX images and labels
//!   │ list, sort by path        as for a manifest
//!   │ labels.rs, idx.rs         each image's label, where its kind of data has it
//!   │ classes.rs                the different labels → the model's classes, or a clear error
//!   │ draft.rs                  split, first N a class; nothing of an image is read yet
//!   ▼ index.rs                  blocks of neighbours in a temporary file: how many images there are is known from here on
//!  stream.rs   in their order   to evaluate
//!  order.rs    shuffled         to train: a pure function of (seed, epoch), resumed anywhere; shuffled.rs fills its pools,
//!                               those of a selection as well
//! ```
//! Of a data set that is damaged, has no labels or does not fit the model, the first key and the number are told before any image is
//! decoded. Images that cannot be decoded are told by whoever decodes them.

mod classes;
mod draft;
mod error;
mod idx;
pub(crate) mod index;
mod labels;
mod order;
pub(crate) mod shuffled;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::classes::Matching;
pub use self::error::LabelledError;
pub use self::stream::Sample;

use self::index::Index;
use crate::config::{Config, ConfigError, LabelConfig};
use crate::label::fetch::Fetcher;
use crate::label::progress::Timings;
use crate::source::{Names, Source, SourceConfig, Split};
use crate::store::StorageOptions;

/// The `[data]` section: labelled images. Every table of a pipeline that names labelled images has these keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Where they are: a folder or prefix, a .tar, a .parquet, or an idx3 file.
    pub url: String,
    /// As [`SourceConfig::extensions`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// As [`SourceConfig::image_column`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_column: Option<String>,
    /// The Parquet column with the labels, integers or texts; `label`, `labels`, `class` or `target` where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// What the data call their classes, in the order of their numbers, where the data themselves do not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// How the data's classes are matched to the model's: name, or number.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// Only a part, by a seeded hash of each image's name: `{ seed = 1, part = "2..6/60" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Only so many images of each class, those with the smallest hash of (`split.seed`, name); a class that has fewer is an error. 16
    /// bytes an image are held while they are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_class: Option<u64>,
    /// Leave out images without a label, rather than refuse the data.
    pub skip_unlabelled: bool,
}

impl DataConfig {
    /// The pure checks.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.per_class == Some(0) {
            return Err(ConfigError::Value {
                key: "data.per_class",
                value: "0".into(),
                advice: "take at least one image of each class".into(),
            });
        }
        Ok(())
    }

    /// What of it says how the source is read. The split is not among it: labels are attached before it.
    fn reading(&self) -> SourceConfig {
        SourceConfig {
            extensions: self.extensions.clone(),
            image_column: self.image_column.clone(),
            split: None,
        }
    }
}

/// A labelled data set whose images are known and have not been read.
#[derive(Debug)]
pub struct Labelled {
    url: String,
    source: Arc<Source>,
    names: Names,
    index: Index,
    classes: Vec<String>,
    counts: Vec<u64>,
    unlabelled: u64,
    fingerprint: String,
}

impl Labelled {
    /// Lists the data, attaches the labels, and matches them to the classes of a model; without `model`, to what the data themselves
    /// call their classes. `config` says what bounds the reading of an image.
    ///
    /// # Errors
    /// [`LabelledError`]: damaged data, no labels, classes that do not fit.
    pub async fn open(
        data: &DataConfig,
        model: Option<&[String]>,
        config: &Config,
        storage: &StorageOptions,
    ) -> Result<Self, LabelledError> {
        let timeout = Duration::from_secs_f64(config.label.read_timeout_s);
        let source = Source::open(&data.url, storage, &data.reading())?
            .with_limits(config.decode.max_bytes, timeout);
        let draft = draft::Draft::list(&source, data).await?;
        let draft::Finished {
            mut index,
            classes,
            counts,
            unlabelled,
        } = draft.finish(&source, data, model)?;
        let names = source.names();
        Ok(Self {
            url: data.url.clone(),
            fingerprint: index.fingerprint(&names)?,
            source: Arc::new(source),
            names,
            index,
            classes,
            counts,
            unlabelled,
        })
    }

    /// The URL as typed.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many images there are.
    pub fn images(&self) -> u64 {
        self.index.images()
    }

    /// The classes' names: the model's, or the data's own.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How many images each class has.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Images that were left out because they have no label.
    pub fn unlabelled(&self) -> u64 {
        self.unlabelled
    }

    /// A hash over all images' names and classes in their order, in hexadecimal. The bytes of the images are not in it. Who resumes in
    /// the middle of the data compares it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What reads its images, for batches of `batch`.
    pub fn fetcher(&self, config: &LabelConfig, batch: usize, timings: Arc<Timings>) -> Fetcher {
        Fetcher::new(Arc::clone(&self.source), config.attempts, batch, timings)
    }
}
