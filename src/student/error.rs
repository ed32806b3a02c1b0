//! What can go wrong with a student.

use std::path::PathBuf;

use super::trainer::TrainerError;
use crate::config::ConfigError;
use crate::workspace::WorkspaceError;

/// What can go wrong with a student before and beside its training.
#[derive(Debug, thiserror::Error)]
pub enum StudentError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No Python that can make training artifacts.
    #[error("cannot run `{}`, the Python that makes training artifacts: {source}", python.display())]
    NoPython {
        /// Which one.
        python: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tool that makes training artifacts failed.
    #[error("cannot make training artifacts: {detail}")]
    Tool {
        /// Its last words.
        detail: String,
        /// Whether it got as far as the graph: then the Python is the right one.
        packages: bool,
    },
    /// A temporary file.
    #[error("cannot write training artifacts to a temporary folder: {0}")]
    Temporary(std::io::Error),
    /// The name is another student's.
    #[error("student `{name}` is there already, and is another one: {difference}")]
    Taken {
        /// As typed.
        name: String,
        /// What differs.
        difference: String,
    },
    /// A file in the workspace is not the one that was recorded.
    #[error("`{url}` is damaged: its sha256 is {found}, {expected} was recorded")]
    Damaged {
        /// The file.
        url: String,
        /// The hash of what is there.
        found: String,
        /// The hash that was recorded.
        expected: String,
    },
    /// A model that weights were to be taken from does not have them.
    #[error("cannot take weights from the model: {detail}")]
    Weights {
        /// What is missing or differs.
        detail: String,
    },
    /// A worker stopped.
    #[error("a worker stopped: {0}")]
    Worker(#[from] tokio::task::JoinError),
    /// The trainer.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl StudentError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(e) => e.hint(),
            Self::NoPython { .. } | Self::Tool { packages: false, .. } => Some(
                "make it with `make setup` (`python3 tools/setup.py student`, which needs Python 3.10 or 3.11), or name another one with --python or UNDERSTUDY_PYTHON".into(),
            ),
            Self::Tool { .. } => Some("this is a defect, please report it with the architecture and its input".into()),
            Self::Temporary(_) => Some("TMPDIR names the folder; a checkpoint is some four bytes a parameter".into()),
            Self::Taken { .. } => Some("choose another name; what a workspace has is never overwritten".into()),
            Self::Damaged { .. } => Some("restore the object from the bucket's versions, or make the student again under another name".into()),
            Self::Weights { .. } => Some("parameters are found by their names and have to have the same shapes".into()),
            Self::Worker(_) => None,
            Self::Trainer(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}
