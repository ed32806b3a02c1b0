//! What can go wrong with a promotion.

use crate::teacher::TeacherError;
use crate::workspace::WorkspaceError;

/// What can go wrong with a promotion.
#[derive(Debug, thiserror::Error)]
pub enum PromotionError {
    /// The gate says no.
    #[error("the gate refuses `{teacher}`: {failed}")]
    Refused {
        /// NAME@VERSION.
        teacher: String,
        /// The rules that it does not meet, with figures.
        failed: String,
    },
    /// Another promotion was committed since this one began.
    #[error(
        "`{teacher}` is not promoted: `{winner}` was, at {promoted}, as number {number}, while this promotion was under way"
    )]
    Overtaken {
        /// NAME@VERSION of this one.
        teacher: String,
        /// NAME@VERSION of the other one.
        winner: String,
        /// The number both wanted.
        number: u32,
        /// When the other one was.
        promoted: String,
    },
    /// A rollback to a promotion that is none.
    #[error("there is no promotion {number}")]
    UnknownNumber {
        /// As typed.
        number: u32,
    },
    /// A rollback of the first promotion.
    #[error("no teacher was current before `{teacher}`")]
    NoFormer {
        /// NAME@VERSION.
        teacher: String,
    },
    /// A teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl PromotionError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { .. } => Some(
                "--force promotes it nevertheless, and the promotion says so for good".into(),
            ),
            Self::Overtaken { .. } => Some(
                "look at it with `understudy teachers history`; the same command compares with the new current teacher".into(),
            ),
            Self::UnknownNumber { .. } | Self::NoFormer { .. } => {
                Some("`understudy teachers history` lists them".into())
            }
            Self::Teacher(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}
