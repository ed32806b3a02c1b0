//! What can go wrong with a re-labelling as such; its stages have errors of their own.

use crate::dataset::DatasetError;
use crate::promotion::PromotionError;
use crate::teacher::TeacherError;
use crate::workspace::WorkspaceError;

/// What can go wrong with a re-labelling.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// All labels of the dataset were made with `--pin`, or it has none.
    #[error("dataset `{dataset}` follows no promotions: {why}")]
    DoesNotFollow {
        /// The dataset.
        dataset: String,
        /// Why not.
        why: &'static str,
    },
    /// No such promotion.
    #[error(transparent)]
    Promotion(#[from] PromotionError),
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// No teacher is promoted.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl RelabelError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DoesNotFollow { dataset, .. } => Some(format!(
                "label it with `understudy label --dataset {dataset} --teacher current`; then it follows"
            )),
            Self::Promotion(e) => e.hint(),
            Self::Dataset(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}
