//! `selection.json`: what was asked for, what came of it, class by class, and why the others were left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SelectConfig;
use crate::workspace::{Workspace, WorkspaceError, check_name, side_by_side};

/// What a selection's rows, those that were left out, and the pairs of leaked and held-out images are called.
pub(super) const PARTS: &str = "part-";
pub(super) const LEFT_OUT: &str = "left_out-";
pub(crate) const LEAKAGE: &str = "leakage-";

/// How many classes without candidates are named.
const NAMED: usize = 8;

/// Where a selection lies in the workspace.
pub fn folder(id: &str) -> String {
    format!("selections/{id}")
}

/// Checks a selection's name: `ID`, or `ID@N` for what a re-labelling made of it.
///
/// # Errors
/// [`WorkspaceError::BadName`].
pub fn check_id(id: &str) -> Result<(), WorkspaceError> {
    let name = match id.rsplit_once('@') {
        Some((name, number)) if is_number(number) => name,
        _ => id,
    };
    check_name("selection", name)
}

/// Of a re-labelling, as it is written.
fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|n| n.to_string() == text)
}

/// The whole file. Its put makes the selection visible; nothing in it depends on time or place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectionFile {
    /// Its name.
    pub id: String,
    /// The understudy that made it.
    pub understudy: String,
    /// What was asked for.
    pub config: SelectConfig,
    /// What it was made of.
    pub input: InputRecord,
    /// The sums.
    pub totals: Totals,
    /// Rows that are left out, by the first reason that applies: invalid, threshold, duplicate, leaked, beyond-k, sampled-out.
    pub left_out: BTreeMap<String, u64>,
    /// Each class that has candidates.
    pub classes: Vec<ClassRecord>,
    /// Classes of the teacher that have none.
    pub empty_classes: Vec<String>,
    /// What was looked for among the held-out images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leakage: Option<LeakageRecord>,
    /// Keys that the filter teacher chose and the other teacher has not labelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlabelled: Option<Unlabelled>,
    /// What the names of its Parquet objects end in, before `.parquet`; nothing where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// The Parquet objects of its rows, in order.
    pub parts: Vec<PartRecord>,
    /// Its other ones: `left_out-…`, where that was asked for, and `leakage-…`. None where an older understudy made it: then those beside it that have its tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Vec<String>>,
}

impl SelectionFile {
    /// Whether an object beside it is its own, rather than what another run of the same name has left.
    pub fn is_object(&self, name: &str) -> bool {
        let is_other = match &self.others {
            Some(others) => others.iter().any(|other| other == name),
            None => !name.starts_with(PARTS) && name.ends_with(&format!("{}.parquet", self.tag)),
        };
        is_other || self.parts.iter().any(|part| part.file == name)
    }

    /// Its other objects of one kind, by what their names begin with: those that there have to be. `beside` it lie these.
    pub(crate) fn others<'a>(&'a self, kind: &str, beside: &'a [(String, u64)]) -> Vec<&'a String> {
        let own: Vec<&String> = if let Some(others) = &self.others {
            others.iter().collect()
        } else {
            let beside = beside.iter().map(|(name, _)| name);
            beside.filter(|name| self.is_object(name)).collect()
        };
        let is_of_kind = |name: &&String| name.starts_with(kind);
        own.into_iter().filter(is_of_kind).collect()
    }
}

/// What a selection is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// The dataset; none for foreign labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Whose soft labels: NAME@VERSION.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Whose class and confidence chose the rows, where another teacher's did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_teacher: Option<String>,
    /// The foreign files, as typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// The newest generation of the dataset's manifest: what changed in a later one is not what was selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// How many objects.
    pub files: u64,
    /// SHA-256 of their paths, sizes and etags, of the generations in which images changed or went, of the held-out images' fingerprints, and of the
    /// queries, in hexadecimal.
    pub sha256: String,
    /// Whether the queries were a user's own (`--queries`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_queries: bool,
}

/// The sums of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Labels that were looked at.
    pub labels: u64,
    /// Those that could be chosen.
    pub candidates: u64,
    /// Those that were.
    pub rows: u64,
    /// Rows with their copies.
    pub copies: u64,
}

/// A class in a selection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassRecord {
    /// Its number.
    pub class: i64,
    /// Its name, where the teacher is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Candidates.
    pub available: u64,
    /// Chosen rows.
    pub kept: u64,
    /// Chosen rows with their copies.
    pub copies: u64,
    /// The confidence down to which rows were chosen; none where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<f32>,
}

impl ClassRecord {
    /// Its cut-off, for an order: a class without one comes before all others.
    pub(crate) fn lowest(&self) -> f32 {
        self.cut_off.unwrap_or(1.0)
    }
}

/// What was found of the held-out images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakageRecord {
    /// Held-out images with a fingerprint.
    pub held_out: u64,
    /// Held-out images without: they were never read, or could not be.
    pub unfingerprinted: u64,
    /// Held-out images with a SHA-256 and no gradient hash, as of JPEGs that were decoded at a fraction: only the same bytes are found.
    #[serde(default)]
    pub bytes_only: u64,
    /// Labels within 10 bits of a held-out image; `leakage-….parquet` lists them.
    pub near: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
    /// Labels without a fingerprint of their own, which cannot be compared.
    pub unfingerprinted_labels: u64,
    /// Labels with a SHA-256 and no gradient hash.
    #[serde(default)]
    pub bytes_only_labels: u64,
}

/// Keys without soft labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlabelled {
    /// How many.
    pub keys: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// A Parquet object of a selection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its name, beside `selection.json`.
    pub file: String,
    /// Its rows as they lie in the file: with `materialize` as many as their copies.
    pub rows: u64,
    /// Its rows with their copies.
    pub copies: u64,
}

impl SelectionFile {
    /// All selections, by name. What has no `selection.json` does not exist.
    ///
    /// # Errors
    /// The store's, or [`WorkspaceError::Damaged`].
    pub async fn list(workspace: &Workspace) -> Result<Vec<Self>, WorkspaceError> {
        let names = workspace.folders("selections").await?;
        let files = side_by_side(names, |id| Self::find(workspace, id)).await?;
        Ok(files.into_iter().flatten().collect())
    }

    /// A selection, where there is one of this name.
    ///
    /// # Errors
    /// The store's, or [`WorkspaceError::Damaged`].
    pub async fn find(workspace: &Workspace, id: String) -> Result<Option<Self>, WorkspaceError> {
        let place = format!("{}/selection.json", folder(&id));
        workspace.find_json(&place).await
    }

    /// Reads a selection.
    ///
    /// # Errors
    /// [`WorkspaceError::Unknown`] where there is none of this name.
    pub async fn read(workspace: &Workspace, id: &str) -> Result<Self, WorkspaceError> {
        check_id(id)?;
        if let Some(file) = Self::find(workspace, id.to_owned()).await? {
            return Ok(file);
        }
        Err(Self::unknown(workspace, id).await?)
    }

    /// The error for a selection that is not there, which names those that are.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(crate) async fn unknown(
        workspace: &Workspace,
        id: &str,
    ) -> Result<WorkspaceError, WorkspaceError> {
        let there = Self::list(workspace).await?;
        let names: Vec<&str> = there.iter().map(|file| file.id.as_str()).collect();
        let none = "make one with `understudy select`";
        Ok(WorkspaceError::unknown("selection", id, &names, none))
    }

    /// Whether this teacher, NAME@VERSION, has labelled all of its images: they were selected among its labels.
    pub fn is_of_labels_by(&self, teacher: &str) -> bool {
        [&self.input.teacher, &self.input.filter_teacher]
            .into_iter()
            .flatten()
            .any(|t| t == teacher)
    }

    /// A few lines for people.
    pub fn describe(&self, new: bool) -> String {
        let t = &self.totals;
        let thin = self.classes.iter().filter(|c| c.kept < c.copies).count();
        let mut text = format!(
            "{}{}: {} of {} labels chosen, {} with copies, in {} classes ({thin} filled up); left out: {}",
            self.id,
            if new { "" } else { " is there already" },
            t.rows,
            t.labels,
            t.copies,
            self.classes.iter().filter(|c| c.kept > 0).count(),
            super::listed(&self.left_out),
        );
        if !self.empty_classes.is_empty() {
            let named: Vec<&str> = self
                .empty_classes
                .iter()
                .take(NAMED)
                .map(String::as_str)
                .collect();
            let more = self.empty_classes.len().saturating_sub(NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            text = format!(
                "{text}\n{} classes have no candidates: {}{more}",
                self.empty_classes.len(),
                named.join(", ")
            );
        }
        if let Some(leakage) = &self.leakage {
            text = format!(
                "{text}\nleakage: {} labels within {} bits of {} held-out images, {} dropped; {} held-out images and {} labels have no fingerprint",
                leakage.near,
                super::REPORTED_DISTANCE,
                leakage.held_out,
                leakage.dropped,
                leakage.unfingerprinted,
                leakage.unfingerprinted_labels
            );
            if leakage.bytes_only + leakage.bytes_only_labels > 0 {
                text = format!(
                    "{text}\n{} held-out images and {} labels have no gradient hash: of these only the same bytes were found",
                    leakage.bytes_only, leakage.bytes_only_labels
                );
            }
        }
        if let Some(unlabelled) = self.unlabelled.as_ref().filter(|u| u.keys > 0) {
            text = format!(
                "{text}\n{} chosen keys are not labelled by {}, such as {}",
                unlabelled.keys,
                self.input.teacher.as_deref().unwrap_or_default(),
                unlabelled.examples.join(", ")
            );
        }
        text
    }
}
