//! Labels → a balanced training set: threshold, duplicates, leaked held-out images, the top K of each class, copies.
//!
//! ```text
//! labels (catalog, or Parquet of any other system)
//!   │ fingerprints.sql    duplicates.rs, leakage.rs   twice, where there are fingerprints
//!   │ candidates.sql      each row with the first reason why it is left out, or none
//!   │ tally.sql           tally.rs: how many a class has, and its best confidences
//!   │ order.sql           order.rs: ties by key, copies by hash; kept.rs: the rows that may be chosen, where no soft labels are wanted
//!   ▼ selected.sql        write.rs: the chosen rows, with their soft labels; finish.rs: whether they are those that were chosen
//! selections/ID/part-00000-….parquet … and selection.json, whose put makes it visible
//! ```
//! The queries lie in `pipelines/select/`; `--queries DIR` takes a user's own instead. What SQL cannot do well are the functions of
//! `functions.rs`, which the queries call. Memory: 4 to 8 bytes a row of the best K (of an interval, which has no K, a candidate), and what the scans hold;
//! soft labels of chosen rows alone are read.

mod columns;
mod damage;
mod duplicates;
mod fingerprints;
mod finish;
pub(crate) mod foreign;
mod functions;
mod hash;
mod histogram;
pub mod input;
pub mod job;
mod kept;
mod leakage;
mod order;
mod passes;
pub mod prepared;
mod queries;
mod ranks;
mod reasons;
pub(crate) mod repeat;
pub mod report;
mod sweep;
mod tally;
mod topk;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};

pub use self::fingerprints::check_held_out;
pub use self::hash::{seeded_hash, udf as seeded_hash_udf};
pub use self::leakage::REPORTED_DISTANCE;
pub use self::topk::Balance;
use crate::catalog::CatalogError;
use crate::config::{ConfigError, check};
use crate::store::{self, StoreError};
use crate::teacher::TeacherError;
use crate::workspace::WorkspaceError;

/// The paper's threshold (§3.1).
pub const DEFAULT_THRESHOLD: f32 = 0.3;
/// The paper's K (§3.1).
pub const DEFAULT_PER_CLASS: u64 = 130_000;
/// Bits in which the gradient hash of a leaked image differs at most.
pub const DEFAULT_MAX_DISTANCE: u32 = 2;

/// What kind of targets a student gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Targets {
    /// The teacher's whole distribution, in `probs`.
    #[default]
    Soft,
    /// The class alone.
    Hard,
}

impl std::str::FromStr for Targets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "soft" => Ok(Self::Soft),
            "hard" => Ok(Self::Hard),
            _ => Err("use soft or hard".into()),
        }
    }
}

/// How the rows of a full class are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The most confident K, exactly.
    #[default]
    Exact,
    /// As the paper's published code: 101 bins, then a sample.
    Histogram,
}

impl std::str::FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "exact" => Ok(Self::Exact),
            "histogram" => Ok(Self::Histogram),
            _ => Err("use exact or histogram".into()),
        }
    }
}

/// The `[select]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// Rows have to be more confident than this, compared in single precision.
    pub threshold: f32,
    /// K: the most rows of a class, and what smaller classes are filled up to.
    pub per_class: u64,
    /// duplicate, or none.
    pub balance: Balance,
    /// soft, or hard.
    pub targets: Targets,
    /// exact, or histogram.
    pub method: Method,
    /// Of every random choice.
    pub seed: u64,
    /// Held-out datasets whose images are removed.
    pub exclude: Vec<String>,
    /// Bits in which gradient hashes of the same image differ at most, 0 to 10.
    pub max_distance: u32,
    /// Keep images that the unlabelled set has more than once.
    pub keep_duplicates: bool,
    /// Write each row as often as its copies say, rather than once with a number: `copies` is 1 then, and `copy` tells them apart.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub materialize: bool,
    /// A uniform sample of the best K of each class: above 0 and up to 1 (Study 2 of the paper).
    pub fraction: f64,
    /// Only confidences from the first number on and below the second, sampled uniformly, instead of threshold, K and balancing (Figure 5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f32; 2]>,
    /// How many rows of the interval are sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_interval: Option<u64>,
}

impl Default for SelectConfig {
    fn default() -> Self {
        Self {
            threshold: DEFAULT_THRESHOLD,
            per_class: DEFAULT_PER_CLASS,
            balance: Balance::default(),
            targets: Targets::default(),
            method: Method::default(),
            seed: 0,
            exclude: Vec::new(),
            max_distance: DEFAULT_MAX_DISTANCE,
            keep_duplicates: false,
            materialize: false,
            fraction: 1.0,
            interval: None,
            per_interval: None,
        }
    }
}

impl SelectConfig {
    /// The pure checks.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check(
            (0.0..1.0).contains(&self.threshold),
            "select.threshold",
            self.threshold,
            "give a confidence from 0 to below 1",
        )?;
        check(
            (1..=u64::from(u32::MAX)).contains(&self.per_class),
            "select.per_class",
            self.per_class,
            "keep 1 to 4,294,967,295 rows of a class",
        )?;
        check(
            self.max_distance <= REPORTED_DISTANCE,
            "select.max_distance",
            self.max_distance,
            "give 0 to 10 bits; beyond 10 images are no longer alike",
        )?;
        check(
            self.fraction > 0.0 && self.fraction <= 1.0,
            "select.fraction",
            self.fraction,
            "give a fraction above 0 and up to 1, such as 1/16",
        )?;
        check(
            (self.per_class as f64 * self.fraction).round() >= 1.0,
            "select.fraction",
            self.fraction,
            "the fraction of per_class has to come to at least one row",
        )?;
        check(
            self.interval.is_some() == self.per_interval.is_some(),
            "select.interval",
            if self.interval.is_some() {
                "given alone"
            } else {
                "missing"
            }
            .to_owned(),
            "an interval and per_interval belong together",
        )?;
        if let Some([from, to]) = self.interval {
            check(
                0.0 <= from && from < to && to <= 1.0,
                "select.interval",
                format!("{from}:{to}"),
                "give two confidences from 0 to 1, the smaller one first, such as 0.3:0.4",
            )?;
            check(
                self.per_interval != Some(0),
                "select.per_interval",
                0,
                "sample at least one row of an interval",
            )?;
            check(
                self.method == Method::Exact && self.fraction >= 1.0,
                "select.interval",
                format!("{from}:{to}"),
                "an interval is sampled as it is: leave method and fraction out",
            )?;
        }
        check(
            self.method == Method::Exact || self.fraction >= 1.0,
            "select.fraction",
            self.fraction,
            "the histogram method has no fraction",
        )
    }
}

/// What can go wrong with a selection.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The name is taken by a selection of other inputs.
    #[error("selection `{id}` was made with another {what}")]
    Taken {
        /// The selection.
        id: String,
        /// What differs.
        what: String,
    },
    /// The rows that are left out are asked for of a selection that did not list them.
    #[error("selection `{id}` was made without --explain")]
    NotExplained {
        /// The selection.
        id: String,
    },
    /// Two teachers that number classes differently.
    #[error("filter teacher {filter} and teacher {teacher} have other classes: {detail}")]
    OtherClasses {
        /// Whose classes choose.
        filter: String,
        /// Whose soft labels are learned from.
        teacher: String,
        /// The first difference.
        detail: String,
    },
    /// Nothing was chosen.
    #[error("no label is left of {rows}: {left_out}")]
    Empty {
        /// Labels that were looked at.
        rows: u64,
        /// How many for which reason.
        left_out: String,
    },
    /// No labels.
    #[error("there are no labels in `{place}`")]
    NoLabels {
        /// Where they were looked for.
        place: String,
    },
    /// Foreign labels that somebody changed.
    #[error("the labels in `{place}` changed while they were read")]
    Changed {
        /// The files.
        place: String,
    },
    /// Foreign labels that lack a column, or have one of a type that does not fit.
    #[error("the labels in `{place}` {problem}")]
    BadLabels {
        /// The files.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// Keys that come more than once, as a look at some of them shows.
    #[error(
        "the keys of the labels are not distinct: of {sampled} chosen ones that were looked at {distinct} are, as where a file is there twice"
    )]
    Repeated {
        /// How many were looked at.
        sampled: usize,
        /// How many are left without the repeated ones.
        distinct: usize,
    },
    /// Keys that come more than once.
    #[error(
        "the keys of the labels are not distinct: {chosen} rows were chosen where {expected} were expected"
    )]
    NotDistinct {
        /// Rows that were written.
        chosen: u64,
        /// Rows that should have been.
        expected: u64,
    },
    /// A user's own query that does not give the chosen rows.
    #[error("`{file}` gives {given} rows, and the passes before it chose {chosen}")]
    OtherRows {
        /// The .sql file.
        file: &'static str,
        /// Rows that it gave.
        given: u64,
        /// Rows that it should have.
        chosen: u64,
    },
    /// A query.
    #[error("cannot run `{file}`: {source}")]
    Query {
        /// The .sql file.
        file: &'static str,
        /// DataFusion's words.
        source: DataFusionError,
    },
    /// A user's query that cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Writing a part.
    #[error("cannot write the selection: {0}")]
    Write(#[from] parquet::errors::ParquetError),
    /// A worker stopped.
    #[error("a worker stopped: {0}")]
    Worker(#[from] tokio::task::JoinError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl SelectError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } | Self::NotExplained { .. } => Some("give another --name: a selection is never changed".into()),
            Self::OtherClasses { .. } => Some("a student would learn the soft labels of one class as another's: add one of the teachers with the other's classes, in their order".into()),
            Self::Empty { .. } => Some("lower the threshold, label with the teacher whose soft labels are missing, or look at the labels with `understudy sql`".into()),
            Self::NoLabels { .. } => Some("label first with `understudy label`, or name Parquet files with --labels, where `*`, `?` and `[` make a pattern".into()),
            Self::Changed { .. } => Some("run the command again when nobody writes them".into()),
            Self::BadLabels { .. } => Some("labels need `key` (text), `class` (any integer) and `confidence` (a number); `probs` (a list of numbers), `sha256` (32 bytes, not text) and `phash` (a 64-bit integer) may be there".into()),
            Self::NotDistinct { .. } | Self::Repeated { .. } => Some("each key may come once: SELECT key FROM … GROUP BY key HAVING count(*) > 1 finds the others".into()),
            Self::OtherRows { .. } => Some("it has to give each chosen row once, with its copies; rows are left out by a reason, in candidates.sql".into()),
            Self::Query { .. } => Some("of --queries each is executed as it stands, and `pipelines/select/` has the ones that work; of these, look for the label or file that does not fit".into()),
            Self::Read { .. } => Some("--queries names a folder with all the .sql files of `pipelines/select/`".into()),
            Self::Write(e) => store::not_written(e),
            Self::Worker(_) => None,
            Self::Config(e) => e.hint(),
            Self::Catalog(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Store(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}

/// Reasons and their rows, for people.
pub(crate) fn listed(left_out: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = left_out
        .iter()
        .filter(|(_, rows)| **rows > 0)
        .map(|(reason, rows)| format!("{rows} {reason}"))
        .collect();
    if parts.is_empty() {
        "none left out".into()
    } else {
        parts.join(", ")
    }
}
