//! What can go wrong with a pipeline, beside its stages.

use crate::config::ConfigError;

/// What can go wrong with a pipeline, beside its stages.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The file, or a section that all rounds share.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A table of the teacher or of a round.
    #[error("{part}: {source}")]
    Part {
        /// `teacher`, or `round-N`.
        part: String,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A `--set` that does not fit the file.
    #[error("cannot set `{key}`: {detail}")]
    Set {
        /// The key as typed.
        key: String,
        /// Why.
        detail: String,
    },
    /// A stage that the pipeline does not have.
    #[error("the pipeline has no stage `{stage}`")]
    UnknownStage {
        /// As typed.
        stage: String,
        /// The nearest one, or all.
        hint: String,
    },
    /// A round that the pipeline does not have.
    #[error("the pipeline has no round {round}")]
    UnknownRound {
        /// As typed.
        round: usize,
        /// How many it has.
        rounds: usize,
    },
    /// A stage that has to be done before the one to begin with.
    #[error("`{from}` cannot begin: `{missing}` is not done")]
    Missing {
        /// Where to begin.
        from: String,
        /// The first that is not done.
        missing: String,
    },
    /// The file that tells a child what to do.
    #[error("cannot write a child's settings file: {0}")]
    Temporary(#[from] std::io::Error),
}

impl PipelineError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(e) | Self::Part { source: e, .. } => e.hint(),
            Self::Set { .. } => Some(
                "write the keys with dots, a round by its number or `*` for all: `--set 'round.1.train.steps=100'`"
                    .into(),
            ),
            Self::UnknownStage { hint, .. } => Some(hint.clone()),
            Self::UnknownRound { rounds, .. } => Some(format!("it has {rounds}; 0 ends after the teacher")),
            Self::Missing { missing, .. } => {
                Some(format!("leave --from out, or begin with `--from {missing}`; a stage is done with these very settings or not at all"))
            }
            Self::Temporary(_) => Some("set TMPDIR to a directory with space".into()),
        }
    }
}
