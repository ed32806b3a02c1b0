//! What can go wrong with a job as such; what its command says of a failure is in the job's journal.

use crate::config::ConfigError;
use crate::workspace::WorkspaceError;

/// What can go wrong with a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// No job of this id.
    #[error("the workspace has no job `{id}`")]
    Unknown {
        /// As typed.
        id: String,
    },
    /// The idempotency key is that of another job.
    #[error("the key `{key}` is that of job {id}, which is another one")]
    OtherJob {
        /// As typed.
        key: String,
        /// The job that has it.
        id: String,
    },
    /// A key that is empty or too long.
    #[error("a key has 1 to 200 characters, this one {length}")]
    BadKey {
        /// Its characters.
        length: usize,
    },
    /// Too late.
    #[error("job {id} is {state} already")]
    Ended {
        /// Its id.
        id: String,
        /// How it ended.
        state: &'static str,
    },
    /// Other processes wrote to the job's journal again and again.
    #[error("job {id} is written to by other processes at the same time")]
    Busy {
        /// Its id.
        id: String,
    },
    /// What the job is to do.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl JobError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some("`understudy jobs list` lists them".into()),
            Self::OtherJob { .. } => Some(
                "submit it with another key, or with none: a key means one job for good".into(),
            ),
            Self::Busy { .. } => Some("try again".into()),
            Self::BadKey { .. } | Self::Ended { .. } => None,
            Self::Config(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}
