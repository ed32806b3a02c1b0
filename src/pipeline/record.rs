//! `pipelines/NAME/STAGE-HASH.json`: what a stage came to.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Stage;
use crate::evaluate::{Comparison, Share};
use crate::hex::hex;
use crate::store::Created;
use crate::train::Done;
use crate::workspace::{Workspace, WorkspaceError, to_json};

const FOLDER: &str = "pipelines";

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

/// A record that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The pipeline.
    pub pipeline: String,
    /// The stage, such as `round-1/train`.
    pub stage: String,
    /// The beginning of the hash of all that it was made of.
    pub settings: String,
    /// What it came to.
    pub made: Made,
}

/// All records of all pipelines. A file that changed has several of a stage.
///
/// # Errors
/// The store's.
pub async fn records(workspace: &Workspace) -> Result<Vec<Recorded>, WorkspaceError> {
    let mut all = Vec::new();
    for pipeline in workspace.folders("pipelines").await? {
        let folder = format!("pipelines/{pipeline}");
        for name in workspace.names(&folder).await? {
            let Some((stage, settings)) = named(&name) else {
                continue;
            };
            all.push(Recorded {
                pipeline: pipeline.clone(),
                stage,
                settings: settings.to_owned(),
                made: workspace.read_json(&format!("{folder}/{name}")).await?,
            });
        }
    }
    Ok(all)
}

/// An evaluation of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluated {
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage, such as `round-1/evaluate`.
    pub stage: String,
    /// The beginning of the hash of all that it was made of.
    pub settings: String,
    /// The models.
    pub models: Vec<Judged>,
    /// Each against the last.
    pub comparisons: Vec<Comparison>,
}

/// All evaluations of pipelines.
///
/// # Errors
/// The store's, or [`WorkspaceError::Damaged`].
pub async fn evaluations(workspace: &Workspace) -> Result<Vec<Evaluated>, WorkspaceError> {
    let mut all = Vec::new();
    for record in records(workspace).await? {
        if let Made::Evaluation {
            models,
            comparisons,
        } = record.made
        {
            all.push(Evaluated {
                pipeline: record.pipeline,
                stage: record.stage,
                settings: record.settings,
                models,
                comparisons,
            });
        }
    }
    Ok(all)
}

/// The stage and the hash that a record's name has.
fn named(name: &str) -> Option<(String, &str)> {
    let (stage, hash) = name.strip_suffix(".json")?.rsplit_once('-')?;
    let parts = if stage.starts_with("round-") { 2 } else { 1 };
    let (slash, _) = stage.match_indices('-').nth(parts - 1)?;
    let (part, what) = (&stage[..slash], &stage[slash + 1..]);
    Some((format!("{part}/{what}"), hash))
}

/// Where the record of a stage lies that was made of these settings.
pub(super) fn place(run: &str, stage: Stage, settings: &serde_json::Value) -> String {
    let hash = hex(&Sha256::digest(to_json(settings)));
    let stage = stage.to_string().replace('/', "-");
    format!("{FOLDER}/{run}/{stage}-{}.json", &hash[..16])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Part, What};

    #[test]
    fn a_record_is_named_after_its_stage() {
        for (part, what, name) in [
            (Part::Filter, What::Label, "filter/label"),
            (
                Part::Teacher,
                What::FinetuneStudent,
                "teacher/finetune-student",
            ),
            (Part::Round(12), What::Train, "round-12/train"),
            (
                Part::Round(1),
                What::FinetuneControl,
                "round-1/finetune-control",
            ),
        ] {
            let at = place("run", Stage { part, what }, &serde_json::json!({}));
            let (stage, hash) = named(at.strip_prefix("pipelines/run/").unwrap()).unwrap();
            assert_eq!((stage.as_str(), hash.len()), (name, 16));
        }
        for other in ["x.json", "x-1.parquet", "predictions", "round-1.json"] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
