//! A selection → its images with their soft labels, in shards that PyTorch, JAX and timm read: Parquet, or WebDataset tars.
//!
//! ```text
//! selections/ID/part-*.parquet
//!   │ rows.rs      ⋈ what the labels say of the bytes ⋈ where the images are (places.rs for keys of another system), all sorted by key
//!   │              one row a copy, in a seeded order or the source's; cut into shards
//!   ▼ fetch.rs     a shard's images, each once, neighbours together; held against the labels' SHA-256
//!   ▼ parquet.rs, webdataset.rs
//! OUT/train-000042.tar, OUT/_shards/000042.json, and last OUT/export.json (index.rs), whose put makes the export visible
//! ```
//! In memory are two shards, 128 MiB of reads under way and 128 MiB of sorts, which spill. Which rows a shard has follows from the
//! selection and the manifest alone, and nothing in it depends on time, so that the same export is the same bytes.

pub(crate) mod fetch;
mod index;
pub mod job;
pub(crate) mod merge;
mod parquet;
mod place;
mod places;
mod progress;
pub(crate) mod rows;
pub(crate) mod selection;
mod shard;
mod soft_label;
mod table;
mod webdataset;
mod worker;

use serde::{Deserialize, Serialize};

use crate::catalog::CatalogError;
use crate::config::ConfigError;
use crate::dataset::DatasetError;
use crate::label::LabelError;
use crate::manifest::ManifestError;
use crate::select::SelectError;
use crate::source::SourceError;
use crate::store::StoreError;
use crate::teacher::TeacherError;
use crate::workspace::WorkspaceError;

pub use self::index::{ExportFile, LeftOut};

/// The size of a shard, in MiB: WebDataset's own advice is some hundred MB, and a shard is held in memory.
pub const DEFAULT_SHARD_MIB: u32 = 128;
/// The largest: what one create-only put can carry in its time.
pub const LARGEST_SHARD_MIB: u32 = 1024;

/// Shards that are worked on side by side: the next one's images arrive while the last one is written.
const SHARDS_IN_FLIGHT: usize = 2;

/// What a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// A Parquet file with `image: struct<bytes, path>`, as Hugging Face's datasets have them.
    Parquet,
    /// A tar with some files a sample.
    WebDataset,
}

impl std::str::FromStr for ExportFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "parquet" => Ok(Self::Parquet),
            "webdataset" => Ok(Self::WebDataset),
            _ => Err("use parquet or webdataset".into()),
        }
    }
}

/// What becomes of a row with copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Copies {
    /// It comes as often as they say.
    #[default]
    Repeat,
    /// It comes once, with their number.
    Column,
}

impl std::str::FromStr for Copies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "repeat" => Ok(Self::Repeat),
            "column" => Ok(Self::Column),
            _ => Err("use repeat or column".into()),
        }
    }
}

/// In which order rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By a hash of (seed, key, copy).
    #[default]
    Shuffled,
    /// As the images lie in the source.
    Source,
}

impl std::str::FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "shuffled" => Ok(Self::Shuffled),
            "source" => Ok(Self::Source),
            _ => Err("use shuffled or source".into()),
        }
    }
}

/// What can go wrong with an export as a whole. What goes wrong with one image is a [`LeftOut`].
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The place holds an export of something else, or one that was made in another way.
    #[error("`{url}` holds an export with another {what}")]
    Taken {
        /// The place.
        url: String,
        /// What differs.
        what: &'static str,
    },
    /// A shard is there that this export did not write.
    #[error("`{url}` is there already, with other bytes")]
    OtherShard {
        /// The shard.
        url: String,
    },
    /// A shard that was written before is cut from other rows than it would be now.
    #[error(
        "images changed while the export was interrupted: `{url}` is of a shard with other rows"
    )]
    Recut {
        /// The shard's record.
        url: String,
    },
    /// The place lies within the dataset's source.
    #[error("`{out}` lies in the source of dataset `{dataset}`, `{source_url}`")]
    InsideSource {
        /// The place.
        out: String,
        /// The dataset.
        dataset: String,
        /// Its source.
        source_url: String,
    },
    /// A key of foreign labels that does not say where its image is.
    #[error("the key `{key}` does not say where its image is: {why}")]
    NoPlace {
        /// The key.
        key: String,
        /// Why not.
        why: String,
    },
    /// A soft label that is none.
    #[error("the soft label of `{key}` cannot be used: {problem}")]
    SoftLabel {
        /// The image.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The source could not be read, after all attempts.
    #[error("cannot read `{key}`: {detail}")]
    Unreachable {
        /// The image.
        key: String,
        /// The store's words.
        detail: String,
    },
    /// Not one image is left.
    #[error("none of the {rows} rows could be exported: {left_out}")]
    Nothing {
        /// Rows of the selection.
        rows: u64,
        /// How many for which reason.
        left_out: String,
    },
    /// A shard cannot be encoded.
    #[error("cannot encode `{file}`: {source}")]
    Encode {
        /// The shard.
        file: String,
        /// Why.
        source: ::parquet::errors::ParquetError,
    },
    /// A worker stopped.
    #[error("a worker stopped; this is a defect, please report it")]
    Worker,
    /// The flags.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Reading images.
    #[error(transparent)]
    Fetch(#[from] LabelError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The labels that the selection is of.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workspace, or the place of the export.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl ExportError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } => Some("give another --out: an export is never changed".into()),
            Self::OtherShard { .. } => Some(
                "it is another program's, or images changed while the export was interrupted: delete it, or give another --out".into(),
            ),
            Self::Recut { .. } => Some("delete what the export has written, or give another --out".into()),
            Self::InsideSource { .. } => Some(
                "give an --out elsewhere: the exported images would be listed as the dataset's own".into(),
            ),
            Self::NoPlace { .. } => Some(
                "keys have to be URLs such as s3://bucket/a.jpg, absolute paths, `…/x.tar#member.jpg` or `…/x.parquet#row`; select from labels with such keys".into(),
            ),
            Self::SoftLabel { .. } => Some(
                "`probs` has to be a list of numbers from 0 on, one a class; `understudy select --targets hard` leaves it out".into(),
            ),
            Self::Unreachable { .. } => Some("what is written stays; run the same command again to go on; a host that is gone for good needs a selection without its images".into()),
            Self::Nothing { .. } => Some(
                "see whether the source is still what was labelled; then give another --out".into(),
            ),
            Self::Encode { .. } | Self::Worker => None,
            Self::Config(e) => e.hint(),
            Self::Dataset(e) => e.hint(),
            Self::Source(e) => e.hint(),
            Self::Fetch(e) => e.hint(),
            Self::Manifest(e) => e.hint(),
            Self::Select(e) => e.hint(),
            Self::Catalog(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Store(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}
