//! The stages of a pipeline, by name and in their order.

use std::fmt;

use super::{Pipeline, PipelineError};
use crate::error::nearest;

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Finds out which version of a named teacher is meant.
    Choose,
    /// Makes a student.
    Student,
    /// Labels the unlabelled images.
    Label,
    /// Selects from the labels.
    Select,
    /// Trains the student.
    Train,
    /// Trains it without pseudo-labels.
    Control,
    /// Evaluates what was trained.
    Evaluate,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Choose => "choose",
            Self::Student => "student",
            Self::Label => "label",
            Self::Select => "select",
            Self::Train => "train",
            Self::Control => "control",
            Self::Evaluate => "evaluate",
        }
    }
}

/// A stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    /// From 1 on; 0 is the first teacher.
    pub round: usize,
    /// What it does.
    pub what: What,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.round {
            0 => write!(f, "teacher/{}", self.what.name()),
            round => write!(f, "round-{round}/{}", self.what.name()),
        }
    }
}

/// All stages up to the end of a round.
///
/// # Errors
/// [`PipelineError::UnknownRound`].
pub fn stages(pipeline: &Pipeline, last: Option<usize>) -> Result<Vec<Stage>, PipelineError> {
    let rounds = pipeline.round.len();
    let last = last.unwrap_or(rounds);
    if last > rounds {
        return Err(PipelineError::UnknownRound {
            round: last,
            rounds,
        });
    }
    let first: &[What] = match pipeline.teacher.name {
        Some(_) => &[What::Choose, What::Evaluate],
        None => &[What::Student, What::Train, What::Evaluate],
    };
    let mut stages: Vec<Stage> = first.iter().map(|&what| Stage { round: 0, what }).collect();
    for (n, round) in pipeline.round[..last].iter().enumerate() {
        let all = [
            Some(What::Student),
            Some(What::Label),
            Some(What::Select),
            Some(What::Train),
            round.control.then_some(What::Control),
            Some(What::Evaluate),
        ];
        let all = all.into_iter().flatten();
        stages.extend(all.map(|what| Stage { round: n + 1, what }));
    }
    Ok(stages)
}

/// The place of a stage; `round-2` alone is its first one.
///
/// # Errors
/// [`PipelineError::UnknownStage`].
pub fn find(stages: &[Stage], name: &str) -> Result<usize, PipelineError> {
    let names: Vec<String> = stages.iter().map(Stage::to_string).collect();
    let begins = format!("{name}/");
    let found = names
        .iter()
        .position(|n| n == name || n.starts_with(&begins));
    found.ok_or_else(|| PipelineError::UnknownStage {
        stage: name.to_owned(),
        hint: match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", names.join(", ")),
        },
    })
}
