//! What a run did: one small JSON in `runs/`, committed at its end, which the table `runs` shows.
//!
//! A label run that had images to do, a selection that was not there yet and a training that was not done leave one, whether they came to their end, were interrupted or failed on the way.
//! A run that found nothing to do leaves none: `label` in a cron job does not fill the bucket. Nor does one that was killed: what it committed is there, and the
//! run that goes on says what was left for it. These files alone know the time; labels and selections depend on nothing of them, but for the limits on
//! images that a re-labelling takes over.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::TimestampMillisecondType;
use arrow::temporal_conversions::as_datetime;
use serde::{Deserialize, Serialize};

use crate::entries::Entries;
use crate::error::Error;
use crate::label::progress::Summary;
use crate::select::SelectError;
use crate::select::report::{InputRecord, SelectionFile};
use crate::train::{self, TrainError, TrainingRecord};
use crate::workspace::{Workspace, WorkspaceError, to_json};

const ENTRIES: Entries = Entries("runs");

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did all that there was to do.
    Done,
    /// Ctrl-C; what it had committed stays.
    Interrupted,
    /// An error; what it had committed stays.
    Failed,
}

/// `runs/RUN.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// When it began, what it was, and what tells it from another of the same moment; in order of time.
    pub run: String,
    /// label, select or train.
    pub kind: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// RFC 3339, in UTC, to the millisecond.
    pub started: String,
    /// As `started`.
    pub finished: String,
    /// The understudy that ran.
    pub understudy: String,
    /// The dataset; none for labels of another system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// NAME@VERSION; of a training what it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// The selection that was made, was to be made, or was learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
    /// Images that there were to label or that were learned from, or labels that were looked at.
    pub images: u64,
    /// Images that it labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelled: Option<u64>,
    /// Images that it rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u64>,
    /// Rows that it chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<u64>,
    /// Those with their copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<u64>,
    /// How long the work took; of a label run without listing the source and loading the model.
    pub seconds: f64,
    /// Over `seconds`: images labelled or rejected, or labels looked at.
    pub images_per_second: f64,
    /// Where the model ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The stage that took most of a label run's or a training's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<String>,
    /// What it was asked to do.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub settings: serde_json::Value,
}

impl RunRecord {
    /// A run of this kind that begins now.
    pub fn begin(kind: &str) -> Self {
        let started = now();
        Self {
            run: String::new(),
            kind: kind.to_owned(),
            outcome: Outcome::Done,
            error: None,
            finished: started.clone(),
            started,
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
            dataset: None,
            teacher: None,
            selection: None,
            images: 0,
            labelled: None,
            rejected: None,
            chosen: None,
            copies: None,
            seconds: 0.0,
            images_per_second: 0.0,
            device: None,
            bottleneck: None,
            settings: serde_json::Value::Null,
        }
    }

    /// What a label run did, and the error that ended it.
    #[must_use]
    pub fn labelled(self, summary: &Summary, error: Option<&Error>) -> Self {
        Self {
            outcome: match error {
                Some(_) => Outcome::Failed,
                None if summary.interrupted => Outcome::Interrupted,
                None => Outcome::Done,
            },
            error: error.map(ToString::to_string),
            dataset: Some(summary.dataset.clone()),
            teacher: Some(summary.teacher.clone()),
            images: summary.images,
            labelled: Some(summary.labelled),
            rejected: Some(summary.rejected),
            seconds: summary.seconds,
            images_per_second: summary.images_per_second,
            device: Some(summary.device.clone()),
            bottleneck: Some(summary.bottleneck.to_owned()),
            ..self
        }
    }

    /// The selection that a select run made, in so many seconds.
    #[must_use]
    pub fn selected(self, file: &SelectionFile, seconds: f64) -> Self {
        Self {
            dataset: file.input.dataset.clone(),
            teacher: file.input.teacher.clone(),
            selection: Some(file.id.clone()),
            images: file.totals.labels,
            chosen: Some(file.totals.rows),
            copies: Some(file.totals.copies),
            seconds,
            images_per_second: file.totals.labels as f64 / seconds.max(1e-9),
            ..self
        }
    }

    /// The selection that a select run did not come to, and why, after so many seconds.
    #[must_use]
    pub fn not_selected(
        self,
        selection: &str,
        of: &InputRecord,
        error: &SelectError,
        seconds: f64,
    ) -> Self {
        Self {
            dataset: of.dataset.clone(),
            teacher: of.teacher.clone(),
            selection: Some(selection.to_owned()),
            seconds,
            ..self.failed(error)
        }
    }

    /// The error that ended a training, after so many seconds.
    #[must_use]
    pub fn not_trained(self, training: &TrainingRecord, error: &TrainError, seconds: f64) -> Self {
        Self {
            selection: training.pseudo.as_ref().map(|p| p.selection.clone()),
            seconds,
            ..self.failed(error)
        }
    }

    fn failed(self, error: &impl ToString) -> Self {
        Self {
            outcome: Outcome::Failed,
            error: Some(error.to_string()),
            ..self
        }
    }

    /// What a training did in so many seconds; images count as often as they were learned from.
    #[must_use]
    pub fn trained(
        self,
        training: &TrainingRecord,
        outcome: &train::Outcome,
        spent: &train::Spent,
        seconds: f64,
    ) -> Self {
        let (outcome, teacher) = match outcome {
            train::Outcome::Done { done, .. } => (Outcome::Done, Some(done.teacher.clone())),
            train::Outcome::Interrupted { .. } => (Outcome::Interrupted, None),
        };
        Self {
            outcome,
            teacher,
            selection: training.pseudo.as_ref().map(|p| p.selection.clone()),
            images: spent.learned,
            seconds,
            images_per_second: spent.learned as f64 / seconds.max(1e-9),
            bottleneck: Some(spent.bottleneck().to_owned()),
            ..self
        }
    }

    /// Commits it. A store that refuses it is warned of and no more: what the run made is committed, and counts.
    pub async fn end(mut self, workspace: &Workspace, settings: &impl Serialize) {
        self.finished = now();
        // By way of text: a Float32 of 0.3 stays 0.3.
        self.settings = serde_json::from_slice(&to_json(settings)).unwrap_or_default();
        if let Err(e) = self.commit(workspace).await {
            tracing::warn!("the record of this run is lost: {e}");
        }
    }

    async fn commit(&mut self, workspace: &Workspace) -> Result<(), WorkspaceError> {
        let (started, kind) = (self.started.clone(), self.kind.clone());
        let content = |name: &str| {
            name.clone_into(&mut self.run);
            to_json(self)
        };
        ENTRIES.create(workspace, &started, &kind, content).await
    }
}

/// The records' names, in order of time.
///
/// # Errors
/// The store's.
pub async fn names(workspace: &Workspace) -> Result<Vec<String>, WorkspaceError> {
    ENTRIES.names(workspace).await
}

/// The records of these names.
///
/// # Errors
/// The store's, or [`WorkspaceError::Damaged`].
pub async fn read(
    workspace: &Workspace,
    names: Vec<String>,
) -> Result<Vec<RunRecord>, WorkspaceError> {
    ENTRIES.read(workspace, names).await
}

/// All records, in order of time.
///
/// # Errors
/// The store's, or [`WorkspaceError::Damaged`].
pub async fn list(workspace: &Workspace) -> Result<Vec<RunRecord>, WorkspaceError> {
    read(workspace, names(workspace).await?).await
}

/// The time as RFC 3339, in UTC, to the millisecond.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    as_datetime::<TimestampMillisecondType>(millis)
        .map(|t| t.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}
