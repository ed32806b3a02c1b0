//! What can go wrong with a training.

use crate::config::ConfigError;
use crate::labelled::LabelledError;
use crate::pseudo::PseudoError;
use crate::student::StudentError;
use crate::student::trainer::TrainerError;
use crate::teacher::TeacherError;
use crate::workspace::WorkspaceError;

/// What can go wrong with a training. What was committed as a checkpoint stays, and the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Neither labelled images nor a selection.
    #[error("there is nothing to learn from: neither labelled images nor a selection")]
    NoData,
    /// A kind of images of which there is none.
    #[error("`{of}` has no images to learn from")]
    Empty {
        /// The labelled data's URL, or the selection.
        of: String,
    },
    /// No image of many could be decoded.
    #[error("the last {images} images of `{of}` could not be used; of `{key}`: {detail}")]
    Unusable {
        /// How many in a row.
        images: u64,
        /// The labelled data's URL, or the selection.
        of: String,
        /// The last one.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Classes that are not the student's.
    #[error("student `{student}` has {found} classes, `{of}` has {expected}")]
    Classes {
        /// The student.
        student: String,
        /// How many it has.
        found: usize,
        /// The data.
        of: String,
        /// How many these have.
        expected: usize,
    },
    /// What is learned from, and what is begun with, number classes differently.
    #[error("`{a}` and `{b}` have other classes: {detail}")]
    OtherClasses {
        /// The selection, or a teacher.
        a: String,
        /// A teacher.
        b: String,
        /// The first difference.
        detail: String,
    },
    /// The store does not give an image.
    #[error("`{of}` cannot be read: of `{key}`: {detail}")]
    Unreachable {
        /// The labelled data's URL, or the selection.
        of: String,
        /// The image.
        key: String,
        /// The store's words.
        detail: String,
    },
    /// The name is another training's.
    #[error("training `{name}` is there already, and is another one: {difference}")]
    Taken {
        /// As typed.
        name: String,
        /// What differs.
        difference: String,
    },
    /// The images came to an end, which they never do, or what makes batches of them did.
    #[error("no images came for step {step}")]
    Ended {
        /// Counted from 0.
        step: u64,
    },
    /// The loss is no number any more.
    #[error("the training diverged: at step {step} the loss is {loss}")]
    Diverged {
        /// Counted from 0.
        step: u64,
        /// Infinite or not a number.
        loss: f32,
    },
    /// A file that a checkpoint speaks of is another one.
    #[error("`{url}` is damaged: it is not what its checkpoint speaks of")]
    Damaged {
        /// The file.
        url: String,
    },
    /// Metrics that cannot be encoded.
    #[error("cannot encode the metrics: {0}")]
    Metrics(#[from] parquet::errors::ParquetError),
    /// A task stopped.
    #[error("a worker stopped: {0}")]
    Worker(#[from] tokio::task::JoinError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Labelled images.
    #[error(transparent)]
    Labelled(#[from] LabelledError),
    /// A selection's images.
    #[error(transparent)]
    Pseudo(#[from] PseudoError),
    /// The student.
    #[error(transparent)]
    Student(#[from] StudentError),
    /// The trainer.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// The teacher that it becomes, or begins from.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl TrainError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoData => Some(
                "write a [data] section or give --data URL; give --selection ID; or both".into(),
            ),
            Self::Empty { .. } => Some("look at its split, or select with a lower threshold".into()),
            Self::Unusable { .. } => Some("`understudy label` lists such images as rejects".into()),
            Self::Classes { .. } => {
                Some("make a student with as many classes: `understudy student init --classes N`".into())
            }
            Self::OtherClasses { .. } => Some("a student would learn one class as another: use labels and weights of teachers with the same classes in the same order".into()),
            Self::Unreachable { .. } => Some("run the same command again once the store gives it: it goes on from the last checkpoint; an object that is lost for good may be removed, and is then left out".into()),
            Self::Taken { .. } => Some("give this training another name, or the old settings to go on with the old one".into()),
            Self::Diverged { .. } => Some("begin anew under another name with a lower learning rate, a warm-up, or `clip_norm` in [student]".into()),
            Self::Damaged { .. } => Some("remove that checkpoint's .json; the same command then goes on from the one before, and makes the damaged file anew".into()),
            Self::Ended { .. } | Self::Metrics(_) | Self::Worker(_) => None,
            Self::Config(e) => e.hint(),
            Self::Labelled(e) => e.hint(),
            Self::Pseudo(e) => e.hint(),
            Self::Student(e) => e.hint(),
            Self::Trainer(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}
