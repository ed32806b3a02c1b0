//! What a run came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Made, Stage, What};
use crate::evaluate::{Comparison, Share};

/// A stage that is done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finished {
    /// Its name.
    pub stage: String,
    /// Whether this run did it.
    pub now: bool,
    /// How long that took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What it came to.
    pub made: Made,
}

/// A model on the held-out images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// NAME@VERSION.
    pub model: String,
    /// teacher, control or student.
    pub role: &'static str,
    /// From 1 on; 0 is the first teacher.
    pub round: usize,
    /// Right answers.
    pub top1: Share,
    /// A student (B) against its teacher (A).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_teacher: Option<Comparison>,
    /// A student (B) against its supervised control (A).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_control: Option<Comparison>,
}

/// What a run came to; `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The run's name.
    pub name: String,
    /// Its stages.
    pub stages: Vec<Finished>,
    /// Its models, in the order in which they were made.
    pub models: Vec<Model>,
}

/// The models of the evaluations.
pub(super) fn models(made: &BTreeMap<Stage, Made>) -> Vec<Model> {
    let mut all = Vec::new();
    for (stage, made) in made {
        let (
            What::Evaluate,
            Made::Evaluation {
                models,
                comparisons,
            },
        ) = (stage.what, made)
        else {
            continue;
        };
        let round = stage.round;
        let model = |judged: &super::Judged, role| Model {
            model: judged.model.clone(),
            role,
            round,
            top1: judged.top1,
            against_teacher: None,
            against_control: None,
        };
        // Of a round: its teacher, the control where there is one, the student.
        match (round, &models[..]) {
            (0, [teacher]) => all.push(model(teacher, "teacher")),
            (_, [_, controls @ .., student]) => {
                all.extend(controls.iter().map(|judged| model(judged, "control")));
                all.push(Model {
                    against_teacher: comparisons.first().cloned(),
                    against_control: comparisons.get(1).cloned(),
                    ..model(student, "student")
                });
            }
            _ => {}
        }
    }
    all
}
