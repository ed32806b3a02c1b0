//! `evaluate`.

use std::path::PathBuf;

use clap::Args;

use super::{RuntimeArgs, StorageArgs};
use crate::evaluate::ModelRef;
use crate::labelled::Matching;
use crate::source::Split;

/// `evaluate`
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The model: a teacher's NAME or NAME@VERSION, current, or an ONNX file's path or URL
    #[arg(long, value_name = "MODEL")]
    pub model: ModelRef,
    /// The teacher.toml of an ONNX file, rather than the one beside it
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,
    /// A second model, to be compared on the same images
    #[arg(long, value_name = "MODEL")]
    pub against: Option<ModelRef>,
    /// Its teacher.toml
    #[arg(long, value_name = "FILE", requires = "against")]
    pub against_config: Option<PathBuf>,
    /// The labelled images: a folder of class folders, a prefix, a .tar, a .parquet or an idx3 file
    #[arg(long, value_name = "URL")]
    pub data: Option<String>,
    /// A settings file with `[data]`, `[decode]` and `[label]` sections; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The Parquet column with the labels [default: label, labels, class or target]
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// The Parquet column with the images' bytes [default: the one there is]
    #[arg(long, value_name = "NAME")]
    pub image_column: Option<String>,
    /// A text file with what the data call their classes, one a line; line 1 is class 0
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// How the data's classes are matched to the model's: name or number [default: name]
    #[arg(long = "match", value_name = "HOW")]
    pub matching: Option<Matching>,
    /// Only a part of the data, by a seeded hash of each image's name: SEED:A/B, or SEED:A..C/B for pieces A up to C of B
    #[arg(long, value_name = "SEED:PART")]
    pub split: Option<Split>,
    /// Only so many images of each class, those with the smallest hash
    #[arg(long, value_name = "N")]
    pub per_class: Option<u64>,
    /// Leave out images without a label, rather than refuse the data
    #[arg(long)]
    pub skip_unlabelled: bool,
    /// Write each image's label and prediction to this Parquet file: a path or URL
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<String>,
    /// Draw the reliability diagram and the confusion matrix into this SVG file
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Images in a batch at most
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Threads that decode, and on the CPU infer as well
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    #[command(flatten)]
    /// Which device.
    pub runtime: RuntimeArgs,
    /// Print everything as JSON, the whole confusion matrix included
    #[arg(long)]
    pub json: bool,
    /// The workspace that has the teachers; not needed for ONNX files
    #[arg(long, value_name = "URL", env = "UNDERSTUDY_WORKSPACE")]
    pub workspace: Option<String>,
    #[command(flatten)]
    /// The stores.
    pub storage: StorageArgs,
}
