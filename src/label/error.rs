//! What can go wrong with the label stage as a whole.

use datafusion::error::DataFusionError;

use super::commit::LabelsObject;
use crate::runtime::RuntimeError;
use crate::teacher::TeacherError;
use crate::workspace::WorkspaceError;

/// What can go wrong with the label stage as a whole. What goes wrong with one image is a [`super::infer::Reject`].
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The store refused the credentials in the middle of the run.
    #[error("the store refused the credentials for `{key}`: {detail}")]
    Credentials {
        /// The image.
        key: String,
        /// The store's words.
        detail: String,
    },
    /// The source's store does not answer.
    #[error(
        "the source does not answer: no attempt could read `{key}`, nor anything else of it: {detail}"
    )]
    Unreachable {
        /// The last image.
        key: String,
        /// The store's words.
        detail: String,
    },
    /// This machine cannot read what the store gives.
    #[error("cannot read `{key}`: {detail}")]
    Machine {
        /// The image.
        key: String,
        /// Why.
        detail: String,
    },
    /// These labels were begun with other settings.
    #[error("dataset `{dataset}` was labelled by `{teacher}` with {key} = {found}, not {wanted}")]
    OtherSettings {
        /// The dataset.
        dataset: String,
        /// NAME@VERSION.
        teacher: String,
        /// The setting that differs.
        key: String,
        /// What the labels have.
        found: String,
        /// What was asked for now.
        wanted: String,
    },
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The selection is another dataset's.
    #[error("selection `{selection}` is of dataset `{of}`, not `{typed}`")]
    OtherDataset {
        /// The selection.
        selection: String,
        /// Its dataset.
        of: String,
        /// The dataset as typed.
        typed: String,
    },
    /// Images of a selection that other labels, begun before, are to have.
    #[error(
        "{images} images of selection `{selection}` are not labelled by {teacher} yet: they belong to its labels of {others}, which are not finished"
    )]
    Unfinished {
        /// The selection.
        selection: String,
        /// NAME@VERSION.
        teacher: String,
        /// How many.
        images: u64,
        /// Whose they are.
        others: String,
        /// The flags that finish them.
        finish: String,
    },
    /// An object cannot be encoded.
    #[error("cannot encode `{object}`: {source}")]
    Encode {
        /// The object.
        object: LabelsObject,
        /// Parquet's words.
        source: parquet::errors::ParquetError,
    },
    /// Fewer or more outcomes than rows: nothing is committed, since labels could stand beside the wrong keys.
    #[error(
        "`{object}` has {rows} outcomes for {expected} images; this is a defect, please report it"
    )]
    Shifted {
        /// The object.
        object: LabelsObject,
        /// Outcomes.
        rows: u64,
        /// Images.
        expected: u64,
    },
    /// The plan.
    #[error("cannot run the label plan: {0}")]
    Plan(#[source] DataFusionError),
    /// The manifest's rows.
    #[error(transparent)]
    Manifest(#[from] crate::manifest::ManifestError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl From<DataFusionError> for LabelError {
    /// The plan carries the stage's own errors as external ones: they come out as what they were.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Plan(DataFusionError::External(other)),
            },
            DataFusionError::Context(_, inner) => Self::from(*inner),
            other => Self::Plan(other),
        }
    }
}

impl LabelError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Credentials { .. } => Some("what was committed stays; renew the credentials and run the same command again".into()),
            Self::Unreachable { .. } => Some("run the same command again once it answers: what was committed stays, and no image was given up for it; `label.attempts` lets it wait longer".into()),
            Self::Machine { .. } => Some("make room in the temporary directory (TMPDIR), and run the same command again".into()),
            Self::OtherSettings { key, .. } if key == "noise" => Some("use the noise file of the labels that are there, or give this one another name: it is part of the teacher's".into()),
            Self::OtherSettings { .. } => Some("use the settings of the labels that are there, or add the teacher under another name to label with others".into()),
            Self::OtherDataset { of, .. } => Some(format!("give --dataset {of}, or another selection")),
            Self::Unfinished { finish, .. } => Some(format!(
                "finish them with `understudy label {finish}`; or add the teacher under another name, to label the selection apart"
            )),
            Self::Runtime(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Manifest(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
            Self::Encode { .. } | Self::Shifted { .. } | Self::Plan(_) => None,
        }
    }
}
