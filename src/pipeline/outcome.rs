//! What a run came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Made, Part, Stage, What, task};
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
    /// teacher, control, first phase or student.
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
    /// What a second phase made (B) against what the first did (A).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_first_phase: Option<Comparison>,
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
    let evaluations = made.iter().filter_map(|(stage, made)| match made {
        Made::Evaluation {
            models,
            comparisons,
        } => Some((stage.part, models, comparisons)),
        _ => None,
    });
    let models = evaluations.flat_map(|(part, models, comparisons)| {
        let roles = Roles::of(part, made);
        let model = move |judged: &super::Judged| {
            let role = roles.role(&judged.model)?;
            let against = |other: Option<&str>| {
                let found = comparisons.iter().find(|c| Some(c.a.as_str()) == other);
                found.filter(|c| c.b == judged.model).cloned()
            };
            Some(Model {
                model: judged.model.clone(),
                role,
                round: roles.round,
                top1: judged.top1,
                against_teacher: against(roles.teacher),
                against_control: against(roles.control),
                against_first_phase: against(roles.first_phase),
            })
        };
        models.iter().filter_map(model)
    });
    models.collect()
}

/// What the models of a part are to each other.
#[derive(Clone, Copy)]
struct Roles<'a> {
    round: usize,
    /// The last one.
    own: Option<&'a str>,
    /// Its teacher, which the part before has among its own.
    teacher: Option<&'a str>,
    control: Option<&'a str>,
    first_phase: Option<&'a str>,
}

impl<'a> Roles<'a> {
    fn of(part: Part, made: &'a BTreeMap<Stage, Made>) -> Self {
        let has = |what| made.get(&Stage { part, what });
        let first_phase = has(What::Finetune).and(has(What::Train));
        let (round, teacher) = match part {
            Part::Round(round) => (round, task::model(made, part.before())),
            Part::Filter | Part::Teacher => (0, None),
        };
        Self {
            round,
            own: task::model(made, part),
            teacher,
            control: task::controlled(made, part),
            first_phase: first_phase.and_then(Made::teacher),
        }
    }

    fn role(&self, model: &str) -> Option<&'static str> {
        let is = |other: Option<&str>| other == Some(model);
        if is(self.own) {
            Some(if self.round == 0 {
                "teacher"
            } else {
                "student"
            })
        } else if is(self.control) {
            Some("control")
        } else if is(self.first_phase) {
            Some("first phase")
        } else {
            None
        }
    }
}
