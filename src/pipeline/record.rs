//! `pipelines/NAME/STAGE-HASH.json`: what a stage came to.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Stage;
use crate::evaluate::{Comparison, Share};
use crate::store::Created;
use crate::teacher::config::hex;
use crate::train::Done;
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// What a stage came to: what the next ones need of it, and the figure that matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Made {
    /// A teacher that was there.
    Chosen {
        /// NAME@VERSION.
        teacher: String,
    },
    /// A student.
    Student {
        /// Its name.
        student: String,
        /// How many numbers gradients may change.
        parameters: usize,
    },
    /// Labels.
    Labels {
        /// NAME@VERSION.
        teacher: String,
        /// Images of the dataset, each of which has a label or a reject.
        images: u64,
    },
    /// A selection.
    Selection {
        /// Its name.
        selection: String,
        /// Labels that were looked at.
        labels: u64,
        /// Rows that were chosen.
        rows: u64,
        /// These with their copies.
        copies: u64,
    },
    /// A training.
    Training(Done),
    /// An evaluation.
    Evaluation {
        /// The models.
        models: Vec<Judged>,
        /// Each against the last.
        comparisons: Vec<Comparison>,
    },
}

/// A model on the held-out images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// NAME@VERSION.
    pub model: String,
    /// Right answers.
    pub top1: Share,
}

impl Made {
    /// NAME@VERSION of the teacher that there is now.
    pub fn teacher(&self) -> Option<&str> {
        match self {
            Self::Chosen { teacher } => Some(teacher),
            Self::Training(done) => Some(&done.teacher),
            _ => None,
        }
    }

    /// The figure that matters, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Chosen { teacher } => teacher.clone(),
            Self::Student {
                student,
                parameters,
            } => {
                format!("{student}: {:.2}M parameters", *parameters as f64 / 1e6)
            }
            Self::Labels { teacher, images } => format!("{images} images by {teacher}"),
            Self::Selection {
                labels,
                rows,
                copies,
                ..
            } => {
                format!("{rows} of {labels} labels, {copies} rows with copies")
            }
            Self::Training(done) => {
                let worth = done.held_out_top1.map_or(String::new(), |top1| {
                    format!("; held-out top-1 {:.2} %", top1 * 100.0)
                });
                format!("{}: {} steps{worth}", done.teacher, done.steps)
            }
            Self::Evaluation { models, .. } => {
                let models: Vec<String> = models
                    .iter()
                    .map(|m| format!("{} {:.2} %", m.model, m.top1.share * 100.0))
                    .collect();
                models.join(", ")
            }
        }
    }
}

/// Where the record of a stage lies that was made of these settings.
pub(super) fn place(run: &str, stage: Stage, settings: &serde_json::Value) -> String {
    let hash = hex(&Sha256::digest(to_json(settings)));
    let stage = stage.to_string().replace('/', "-");
    format!("pipelines/{run}/{stage}-{}.json", &hash[..16])
}

/// Commits a record. Of two processes the first one's counts.
pub(super) async fn commit(
    workspace: &Workspace,
    place: &str,
    made: Made,
) -> Result<Made, WorkspaceError> {
    match workspace.create(place, to_json(&made)).await? {
        Created::New | Created::Same => Ok(made),
        Created::Other => workspace.read_json(place).await,
    }
}
