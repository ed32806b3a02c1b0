//! Labelled images and a model → how right it is, how sure, and whether it is better than another one.
//!
//! ```text
//! labelled/             (key, class, bytes), in their order
//!   │ label/            decoded, preprocessed and inferred as `understudy label` does it: the same numbers
//!   ▼
//! tally.rs              top-1, top-5, classes, confusion, calibration, likelihood
//! statistics.rs         two models: McNemar's test and the interval of the difference
//! predictions.rs        one row an image, in Parquet
//! answers.rs            two models' rows, side by side
//! table.rs, plot.rs     for people
//! ```
//! Streaming: in memory are the batches under way, the counters, and a byte an image where two models are compared.

mod answers;
mod job;
mod model;
mod plot;
mod predictions;
mod statistics;
mod table;
mod tally;

use serde::{Deserialize, Serialize};

pub use self::answers::Answers;
pub use self::job::EvaluateJob;
pub use self::model::{ModelRef, ModelSpec};
pub use self::plot::plot;
pub use self::predictions::schema as predictions_schema;
pub use self::statistics::{EXACT_BELOW, PairedTest, Pairs, Share, Test};
pub use self::table::table;
pub use self::tally::{BINS, Bin, Cell, ClassFigures, Figures};

use crate::store::StoreError;

/// What can go wrong with an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A teacher's name without a workspace.
    #[error("`{teacher}` is a teacher of a workspace, and none is named")]
    NoWorkspace {
        /// The teacher.
        teacher: String,
    },
    /// A model file without its configuration.
    #[error("`{model}` has no `teacher.toml` beside it")]
    NoConfig {
        /// The model.
        model: String,
    },
    /// A configuration for a teacher that has its own.
    #[error("teacher `{teacher}` has its own teacher.toml")]
    NeedlessConfig {
        /// The teacher.
        teacher: String,
    },
    /// No data.
    #[error("no labelled data are named")]
    NoData,
    /// Models of other classes.
    #[error("`{a}` and `{b}` have other classes: {detail}")]
    OtherClasses {
        /// The first model.
        a: String,
        /// The second.
        b: String,
        /// The first difference.
        detail: String,
    },
    /// No image got a prediction.
    #[error("none of {images} images could be evaluated by `{model}`: {reasons}")]
    Nothing {
        /// The model.
        model: String,
        /// Images.
        images: u64,
        /// How many for which reason.
        reasons: String,
    },
    /// No image got a prediction of both models.
    #[error("no image could be evaluated by both `{a}` and `{b}`")]
    NothingCommon {
        /// The first model.
        a: String,
        /// The second.
        b: String,
    },
    /// The file of predictions.
    #[error("cannot write the predictions: {0}")]
    Predictions(#[from] parquet::errors::ParquetError),
    /// A file of predictions that is there.
    #[error("cannot read the predictions `{place}`: {source}")]
    Unreadable {
        /// Its URL.
        place: String,
        /// The library's words.
        source: parquet::errors::ParquetError,
    },
    /// A file of predictions that was there a moment ago.
    #[error("the predictions `{place}` are gone")]
    Vanished {
        /// Its URL.
        place: String,
    },
    /// The picture.
    #[error("cannot draw the picture: {detail}")]
    Plot {
        /// The library's words.
        detail: String,
    },
    /// The temporary file of the predictions.
    #[error("cannot use the temporary directory: {0}")]
    Temporary(#[source] std::io::Error),
    /// Where predictions or a picture are put.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EvaluateError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoWorkspace { .. } => Some("name it with --workspace or UNDERSTUDY_WORKSPACE; a model's file is written with a `/` or ends in .onnx".into()),
            Self::NoConfig { .. } => Some("name it with --model-config or --against-config".into()),
            Self::NeedlessConfig { .. } => Some("leave --model-config or --against-config out".into()),
            Self::NoData => Some("name them with --data URL, or with `url` in the `[data]` section of --config".into()),
            Self::OtherClasses { .. } => Some("models are compared on the same classes, in the same order: write both teacher.toml files alike".into()),
            Self::Nothing { .. } | Self::NothingCommon { .. } => {
                Some("`understudy label` on the same source tells each image's reason, or --predictions does".into())
            }
            Self::Store(e) => e.hint(),
            Self::Temporary(_) => Some("set TMPDIR to a directory with space".into()),
            Self::Unreadable { .. } | Self::Vanished { .. } => Some("delete it, where it is there, and run again: the model is evaluated anew then".into()),
            Self::Predictions(_) | Self::Plot { .. } => None,
        }
    }
}

/// What an evaluation came to; `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The version that made it.
    pub understudy: String,
    /// The data.
    pub data: DataFigures,
    /// The model, and the one it is compared with.
    pub models: Vec<ModelFigures>,
    /// The comparison of the two.
    pub comparison: Option<Comparison>,
}

/// The data of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFigures {
    /// As typed.
    pub url: String,
    /// Labelled images.
    pub images: u64,
    /// Images that were left out because they have no label.
    pub unlabelled: u64,
    /// Classes that have images.
    pub classes: usize,
    /// [`crate::labelled::Labelled::fingerprint`].
    pub fingerprint: String,
}

/// A model's evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFigures {
    /// NAME@VERSION, or the file as typed.
    pub model: String,
    /// Of the ONNX file, in hexadecimal.
    pub model_sha256: String,
    /// Where it ran.
    pub device: String,
    /// Of the evaluation, without start-up and listing.
    pub seconds: f64,
    /// Images a second over `seconds`.
    pub images_per_second: f64,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Two models on the same images: those that both could evaluate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Model A.
    pub a: String,
    /// Model B.
    pub b: String,
    /// Images that both have a prediction for.
    pub images: u64,
    /// Who was right.
    pub pairs: Pairs,
    /// What follows from it.
    #[serde(flatten)]
    pub test: PairedTest,
}
