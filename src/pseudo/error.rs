//! What can be wrong with a selection that is to be trained on.

use crate::export::ExportError;
use crate::labelled::LabelledError;

/// What can go wrong with pseudo-labelled images.
#[derive(Debug, thiserror::Error)]
pub enum PseudoError {
    /// Labels of another system, whose images lie in no dataset of the workspace.
    #[error("selection `{selection}` is of labels of another system: its images are of no dataset")]
    Foreign {
        /// The selection.
        selection: String,
    },
    /// Another number of classes.
    #[error("the labels of selection `{selection}` have {labels} classes, the student has {model}")]
    ClassCount {
        /// The selection.
        selection: String,
        /// Of the teacher that gave the labels.
        labels: usize,
        /// Of what is to learn from them.
        model: usize,
    },
    /// A class that is none of the teacher's.
    #[error(
        "`{key}` of selection `{selection}` has class {class}: there are {classes} classes, from 0 on"
    )]
    Class {
        /// The selection.
        selection: String,
        /// The image.
        key: String,
        /// Its class.
        class: i64,
        /// How many there are.
        classes: usize,
    },
    /// Not one image is left.
    #[error("none of the {images} images of selection `{selection}` are there any more")]
    Gone {
        /// The selection.
        selection: String,
        /// How many it names.
        images: u64,
    },
    /// The selection's rows, or where their images are.
    #[error(transparent)]
    Rows(Box<ExportError>),
    /// Reading images, or the temporary files.
    #[error(transparent)]
    Images(#[from] LabelledError),
}

impl From<ExportError> for PseudoError {
    fn from(error: ExportError) -> Self {
        Self::Rows(Box::new(error))
    }
}

impl PseudoError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign { selection } => Some(format!(
                "write it with its images by `understudy export --selection {selection} --format parquet --out PLACE`, and train on that"
            )),
            Self::ClassCount { .. } => Some(
                "take a selection of a teacher with the student's classes, or a student with the teacher's".into(),
            ),
            Self::Class { .. } => Some(
                "the teacher that chose the rows has other classes than the one that labels them; select again".into(),
            ),
            Self::Gone { .. } => Some(
                "is the source still what was labelled? `understudy manifest` lists it anew; then label and select again".into(),
            ),
            Self::Rows(e) => e.hint(),
            Self::Images(e) => e.hint(),
        }
    }
}
