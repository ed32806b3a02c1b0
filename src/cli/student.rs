//! `student …` and `train`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::WorkspaceArgs;
use crate::runtime::Device;
use crate::student::architecture::Architecture;

/// `student …`
#[derive(Debug, Subcommand)]
pub enum StudentCommand {
    /// Make a student: its network, first weights, and the models that ONNX Runtime trains it with
    ///
    /// It is tried out with one step, and is immutable then. The same command again does nothing.
    Init(Box<StudentInitArgs>),
    /// List all students
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// Show a student
    Show {
        /// Its name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
}

/// `student init`
#[derive(Debug, Args)]
pub struct StudentInitArgs {
    /// The student's name
    pub name: String,
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// efficientnet-b0 to -b7, efficientnet-l2, efficientnet-b0-svhn, efficientnet-lite0, resnet-50, small or tiny
    #[arg(long, value_name = "NAME", required_unless_present = "config", value_parser = architecture)]
    pub architecture: Option<Architecture>,
    /// How many classes
    #[arg(long, value_name = "N", required_unless_present = "config")]
    pub classes: Option<usize>,
    /// Channels, height and width of an image, such as 1x28x28; what the architecture was made for where it is left out
    #[arg(long, value_name = "CxHxW", value_parser = input)]
    pub input: Option<[usize; 3]>,
    /// What the channels of `small` and `tiny` are multiplied by [default: 1]
    #[arg(long)]
    pub width: Option<f64>,
    /// The seed of the first weights [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Keep the stem and so many blocks as they begin [default: 0]
    #[arg(long, value_name = "N")]
    pub frozen_blocks: Option<usize>,
    /// A settings file with a `[student]` section, which says the optimizer as well; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Do not try the training models out: for a network whose step this machine has no memory for
    #[arg(long)]
    pub skip_trial: bool,
    /// The Python that makes the training models, rather than the one of `make setup`
    #[arg(long, value_name = "FILE", env = "UNDERSTUDY_PYTHON")]
    pub python: Option<PathBuf>,
    #[command(flatten)]
    /// Which library.
    pub training: TrainingRuntimeArgs,
    /// Print student.json
    #[arg(long)]
    pub json: bool,
}

/// `train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The training's name, and that of the teacher that it becomes
    pub name: String,
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The student, as `student init` made it
    #[arg(long, value_name = "NAME")]
    pub student: String,
    /// A settings file with a `[train]` section, and `[data]`, `[noise]`, `[decode]` and `[label]` where they are needed; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The selection whose pseudo-labelled images are learned from
    #[arg(long, value_name = "ID")]
    pub selection: Option<String>,
    /// The labelled images: a folder of class folders, a prefix, a .tar, a .parquet or an idx3 file
    #[arg(long, value_name = "URL")]
    pub data: Option<String>,
    /// A noise file, in place of the section `[noise]`
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// Steps, in place of `train.steps` and `train.epochs`
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// The seed of the order of the images, of their noise and of the masks
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where it is trained: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// Threads of the CPU [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    #[command(flatten)]
    /// Which library.
    pub training: TrainingRuntimeArgs,
    /// Print done.json, with images a second and where the time went
    #[arg(long)]
    pub json: bool,
}

/// Which library trains.
#[derive(Debug, Args)]
pub struct TrainingRuntimeArgs {
    /// The training build of ONNX Runtime to load, rather than the one of `make setup` [env: `ORT_TRAINING_DYLIB_PATH`]
    #[arg(long, value_name = "FILE")]
    pub onnxruntime_training: Option<PathBuf>,
}

fn architecture(name: &str) -> Result<Architecture, String> {
    Architecture::try_from(name.to_owned())
}

/// `3x32x32`.
fn input(text: &str) -> Result<[usize; 3], String> {
    let parts: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let advice = || "write channels, height and width, such as 3x32x32".to_owned();
    parts
        .map_err(|_| advice())?
        .try_into()
        .map_err(|_| advice())
}
