//! What an export says of itself: what it is made of (`_begun.json`, first), each of its shards (`_shards/000042.json`), and all together
//! (`export.json`, last).
//!
//! A shard's record is put after the shard, so that a run that is started again goes on after the last of them. Nothing in the files
//! depends on time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::fetch::LeftOut;
use super::selection::Selected;
use super::{Copies, ExportFormat, Order};
use crate::select::Targets;

/// How many images that are left out are named in `export.json`.
const EXAMPLES: usize = 10;

/// What an export is made of: an export of others in the same place is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// The selection.
    pub selection: String,
    /// SHA-256 of its `selection.json`, in hexadecimal.
    pub selection_sha256: String,
    /// parquet, or webdataset.
    pub format: ExportFormat,
    /// repeat, or column.
    pub copies: Copies,
    /// shuffled, or source.
    pub order: Order,
    /// Of the shuffle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Bytes of a shard, in MiB.
    pub shard_mib: u32,
}

impl Inputs {
    /// What of the inputs is another.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.selection != other.selection {
            Some("selection")
        } else if self.selection_sha256 != other.selection_sha256 {
            Some("selection of that name")
        } else if self.format != other.format {
            Some("format")
        } else if self.copies != other.copies {
            Some("--copies")
        } else if self.order != other.order {
            Some("--order")
        } else if self.seed != other.seed {
            Some("--seed")
        } else if self.shard_mib != other.shard_mib {
            Some("--shard-mib")
        } else {
            None
        }
    }
}

/// `_begun.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) inputs: Inputs,
    /// The manifest's generation by which images are found: a run that goes on later cuts its shards by the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<u32>,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Its name, beside `export.json`.
    pub file: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}

/// `_shards/000042.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardReport {
    /// None where all of its images are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shard: Option<ShardRecord>,
    /// The numbers of the first row that it was cut from, and of the one after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<[u64; 2]>,
    /// Bytes of its images.
    pub(super) image_bytes: u64,
    /// Rows whose image had no hash to be held against.
    pub(super) unchecked: u64,
    /// Length of its soft labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) probs: Option<usize>,
    /// Rows of each class.
    pub(super) classes: BTreeMap<i64, u64>,
    pub(super) left_out: Vec<LeftOut>,
}

/// The sums of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Rows in the shards.
    pub rows: u64,
    /// Rows of the selection that are not, since their image is not what was labelled.
    pub left_out: u64,
    /// Bytes of images.
    pub image_bytes: u64,
    /// Rows whose labels have no SHA-256, so that nothing tells whether their image is what was labelled.
    pub unchecked: u64,
}

/// A class of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRows {
    /// Its number.
    pub class: i64,
    /// Its name, where the teacher is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its rows, or with `copies = "column"` its rows all the same.
    pub rows: u64,
}

/// `export.json`, whose put makes the export visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportFile {
    /// The understudy that made it.
    pub understudy: String,
    /// What it is made of.
    pub inputs: Inputs,
    /// The dataset; none for labels of another system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Whose soft labels: NAME@VERSION.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Whether rows have soft labels.
    pub targets: Targets,
    /// C, where it is known: the length of soft labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// The names of the classes by number, where the teacher is known.
    pub class_names: Vec<String>,
    /// The sums.
    pub totals: Totals,
    /// Rows that are left out, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// The first images that are left out; `_shards/` has them all.
    pub left_out_examples: Vec<LeftOut>,
    /// Each class that has rows.
    pub classes: Vec<ClassRows>,
    /// Its shards, in order.
    pub shards: Vec<ShardRecord>,
}

impl ExportFile {
    /// An export that has no shards yet.
    pub(super) fn new(inputs: Inputs, selected: &Selected, soft: bool) -> Self {
        Self {
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
            inputs,
            dataset: selected.file.input.dataset.clone(),
            teacher: selected.file.input.teacher.clone(),
            targets: if soft { Targets::Soft } else { Targets::Hard },
            num_classes: selected.classes,
            class_names: selected.names.clone(),
            totals: Totals::default(),
            left_out: BTreeMap::new(),
            left_out_examples: Vec::new(),
            classes: Vec::new(),
            shards: Vec::new(),
        }
    }

    /// Adds a shard, the next in order.
    pub(super) fn add(&mut self, report: ShardReport) {
        self.totals.image_bytes += report.image_bytes;
        self.totals.unchecked += report.unchecked;
        self.num_classes = self.num_classes.or(report.probs);
        for (class, rows) in report.classes {
            self.totals.rows += rows;
            match self.classes.binary_search_by_key(&class, |c| c.class) {
                Ok(at) => self.classes[at].rows += rows,
                Err(at) => {
                    let name = usize::try_from(class)
                        .ok()
                        .and_then(|c| self.class_names.get(c));
                    let label = name.cloned();
                    self.classes.insert(at, ClassRows { class, label, rows });
                }
            }
        }
        for image in report.left_out {
            self.totals.left_out += image.rows;
            *self.left_out.entry(image.reason.clone()).or_insert(0) += image.rows;
            let named = self.left_out_examples.iter().any(|e| e.key == image.key);
            if self.left_out_examples.len() < EXAMPLES && !named {
                self.left_out_examples.push(image);
            }
        }
        self.shards.extend(report.shard);
    }

    /// A few lines for people.
    pub fn describe(&self, url: &str, new: bool) -> String {
        let t = &self.totals;
        let mut text = format!(
            "{url}{}: {} rows in {} {} shard{}, {} of images, of selection {}",
            if new { "" } else { " is there already" },
            t.rows,
            self.shards.len(),
            match self.inputs.format {
                ExportFormat::Parquet => "Parquet",
                ExportFormat::WebDataset => "WebDataset",
            },
            if self.shards.len() == 1 { "" } else { "s" },
            human(t.image_bytes),
            self.inputs.selection,
        );
        if t.left_out > 0 {
            let examples: Vec<String> = self
                .left_out_examples
                .iter()
                .map(|e| format!("{} ({})", e.key, e.detail))
                .collect();
            text = format!(
                "{text}\n{} rows are left out: {}; such as {}",
                t.left_out,
                crate::select::listed(&self.left_out),
                examples.join(", ")
            );
        }
        if t.unchecked > 0 {
            text = format!(
                "{text}\n{} rows were not checked: their labels have no sha256",
                t.unchecked
            );
        }
        text
    }

    /// `_info.json`, by which timm's reader finds the shards of a split and their lengths.
    pub(super) fn timm_info(&self) -> serde_json::Value {
        let files: Vec<&String> = self.shards.iter().map(|s| &s.file).collect();
        let lengths: Vec<u64> = self.shards.iter().map(|s| s.rows).collect();
        serde_json::json!({
            "name": self.inputs.selection,
            "splits": {
                "train": {
                    "name": "train",
                    "num_samples": self.totals.rows,
                    "filenames": files,
                    "shard_lengths": lengths,
                }
            }
        })
    }
}

/// Bytes as `12 kB`, `3.4 MB` or `5.6 GB`.
fn human(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}
