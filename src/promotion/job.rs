//! A promotion: the candidate against the gate, and then the next numbered file.

use std::path::PathBuf;

use serde::Serialize;

use super::{GateFile, Kind, Promotion, PromotionError, Verdict, record};
use crate::error::Error;
use crate::evaluate::{EvaluateError, EvaluateJob, Evaluation, ModelSpec};
use crate::runtime::Device;
use crate::store::StorageOptions;
use crate::teacher::{self, TeacherRef};
use crate::workspace::Workspace;

/// What a promotion is asked to do.
#[derive(Debug, Clone)]
pub struct PromoteJob {
    /// Who is to be the current teacher.
    pub teacher: TeacherRef,
    /// What it has to pass.
    pub gate: Option<GateFile>,
    /// Only say what would be.
    pub dry_run: bool,
    /// Promote it though the gate refuses it.
    pub force: bool,
    /// What a person says of it.
    pub note: Option<String>,
    /// Where the models run.
    pub device: Device,
    /// A libonnxruntime.so to be used rather than the one found.
    pub onnxruntime: Option<PathBuf>,
    /// For all stores.
    pub storage: StorageOptions,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is the current teacher now.
    Promoted,
    /// It would be, without `--dry-run`.
    WouldBePromoted,
    /// It was already; nothing was written.
    AlreadyCurrent,
    /// The gate refused it; nothing was written.
    Refused,
}

/// What came of it; `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Promoted {
    /// How it ended.
    pub outcome: Outcome,
    /// What was written, or would have been; of a teacher that was current already, what made it so.
    pub promotion: Promotion,
}

impl Promoted {
    /// The gate's refusal as an error.
    ///
    /// # Errors
    /// [`PromotionError::Refused`].
    pub fn checked(&self) -> Result<(), PromotionError> {
        match (&self.promotion.gate, self.outcome) {
            (Some(verdict), Outcome::Refused) => Err(PromotionError::Refused {
                teacher: self.promotion.teacher.clone(),
                failed: verdict.failed(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether the gate was asked: of a teacher that was current already, the verdict is an old one.
    pub fn is_judged(&self) -> bool {
        self.promotion.gate.is_some() && self.outcome != Outcome::AlreadyCurrent
    }

    /// A sentence for people.
    pub fn describe(&self) -> String {
        let Promotion {
            number, teacher, ..
        } = &self.promotion;
        let before = match &self.promotion.previous {
            Some(previous) => format!("in place of {previous}"),
            None => "the first one".into(),
        };
        let forced = if self.promotion.forced {
            ", though the gate refuses it"
        } else {
            ""
        };
        match self.outcome {
            Outcome::Promoted => {
                format!("{teacher} is the current teacher, {before}{forced}: promotion {number}")
            }
            Outcome::WouldBePromoted => {
                format!(
                    "{teacher} would be the current teacher, {before}{forced}; nothing is written"
                )
            }
            Outcome::AlreadyCurrent => {
                format!("{teacher} is the current teacher already: promotion {number}")
            }
            Outcome::Refused => format!("{teacher} is not promoted; nothing is written"),
        }
    }
}

impl PromoteJob {
    /// Runs the job. That the gate refuses is an outcome; [`Promoted::checked`] makes it an error.
    ///
    /// # Errors
    /// Any stage's, or [`PromotionError::Overtaken`].
    pub async fn run(&self, workspace: &Workspace) -> Result<Promoted, Error> {
        // What is current now is what the candidate is compared with, and what it comes after: whoever is promoted meanwhile has this number.
        let last = record::current(workspace).await?;
        let candidate = teacher::get(workspace, &self.teacher).await?.record;
        let name = candidate.to_string();
        if let Some(last) = last.as_ref().filter(|last| last.teacher == name) {
            return Ok(Promoted {
                outcome: Outcome::AlreadyCurrent,
                promotion: last.clone(),
            });
        }
        let mut promotion = Promotion::after(last.as_ref(), Kind::Promotion, &candidate);
        promotion.note.clone_from(&self.note);
        if let Some(gate) = &self.gate {
            let before = last.as_ref().map(|last| last.teacher.as_str());
            let evaluation = self.evaluate(workspace, gate, &name, before).await?;
            let verdict = Verdict::of(gate.gate, evaluation).ok_or(EvaluateError::NoData)?;
            promotion.forced = !verdict.passed && self.force;
            let refused = !verdict.passed && !self.force;
            promotion.gate = Some(verdict);
            if refused {
                return Ok(Promoted {
                    outcome: Outcome::Refused,
                    promotion,
                });
            }
            // The evaluation took its time.
            promotion.promoted = crate::runs::now();
        }
        let outcome = if self.dry_run {
            Outcome::WouldBePromoted
        } else {
            promotion.commit(workspace).await?;
            Outcome::Promoted
        };
        Ok(Promoted { outcome, promotion })
    }

    /// The candidate on the gate's data, after the current teacher where there is one.
    async fn evaluate(
        &self,
        workspace: &Workspace,
        gate: &GateFile,
        candidate: &str,
        current: Option<&str>,
    ) -> Result<Evaluation, Error> {
        let candidate = ModelSpec::teacher(candidate.parse()?);
        let (model, against) = match current {
            Some(current) => (ModelSpec::teacher(current.parse()?), Some(candidate)),
            None => (candidate, None),
        };
        let job = EvaluateJob {
            model,
            against,
            config: gate.evaluation.clone(),
            device: self.device,
            onnxruntime: self.onnxruntime.clone(),
            storage: self.storage.clone(),
            predictions: None,
            visible: self.visible,
        };
        Box::pin(job.run(Some(workspace))).await
    }
}
