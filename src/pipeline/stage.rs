//! The stages of a pipeline, by name and in their order.

use std::fmt;

use super::{First, Pipeline, PipelineError};
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
    /// Makes the student of the second phase.
    FinetuneStudent,
    /// The second phase of its training, on labelled images alone.
    Finetune,
    /// Trains it without pseudo-labels.
    Control,
    /// The second phase of that.
    FinetuneControl,
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
            Self::FinetuneStudent => "finetune-student",
            Self::Finetune => "finetune",
            Self::Control => "control",
            Self::FinetuneControl => "finetune-control",
            Self::Evaluate => "evaluate",
        }
    }
}

/// Which part of a pipeline a stage belongs to, in the order of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The teacher that chooses the images of all rounds.
    Filter,
    /// The first teacher.
    Teacher,
    /// A round, from 1 on.
    Round(usize),
}

impl Part {
    /// The part whose student labels for a round; the first teacher for all others.
    #[must_use]
    pub fn before(self) -> Self {
        match self {
            Self::Round(round) if round > 1 => Self::Round(round - 1),
            _ => Self::Teacher,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter => f.write_str("filter"),
            Self::Teacher => f.write_str("teacher"),
            Self::Round(round) => write!(f, "round-{round}"),
        }
    }
}

/// A stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    /// The part that it belongs to.
    pub part: Part,
    /// What it does.
    pub what: What,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.what.name())
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
    let mut stages = Vec::new();
    if let Some(filter) = &pipeline.filter {
        let whats = first(filter).into_iter().chain([What::Label, What::Select]);
        stages.extend(whats.map(|what| Stage {
            part: Part::Filter,
            what,
        }));
    }
    let whats = first(&pipeline.teacher).into_iter();
    stages.extend(whats.chain([What::Evaluate]).map(|what| Stage {
        part: Part::Teacher,
        what,
    }));
    for (n, round) in pipeline.round[..last].iter().enumerate() {
        let second = round.finetune.is_some();
        let all = [
            Some(What::Student),
            Some(What::Label),
            Some(What::Select),
            Some(What::Train),
            second.then_some(What::FinetuneStudent),
            second.then_some(What::Finetune),
            round.control.then_some(What::Control),
            (round.control && second).then_some(What::FinetuneControl),
            Some(What::Evaluate),
        ];
        let all = all.into_iter().flatten();
        stages.extend(all.map(|what| Stage {
            part: Part::Round(n + 1),
            what,
        }));
    }
    Ok(stages)
}

/// How a teacher comes to be that no other one taught.
fn first(first: &First) -> Vec<What> {
    match (&first.name, &first.finetune) {
        (Some(_), _) => vec![What::Choose],
        (None, None) => vec![What::Student, What::Train],
        (None, Some(_)) => vec![
            What::Student,
            What::Train,
            What::FinetuneStudent,
            What::Finetune,
        ],
    }
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
