//! `run`.

use std::path::PathBuf;

use clap::Args;

use super::{RuntimeArgs, TrainingRuntimeArgs, WorkspaceArgs};
use crate::pipeline::Setting;
use crate::runtime::Device;

/// `run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pipeline file, such as pipelines/fashion-mnist.toml
    pub file: PathBuf,
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// Another value of the file's, such as data.url=/data/train or round.2.train.steps=500 (or round.* for all); may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
    /// Begin with this stage, such as round-2/train; those before it have to be done
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// End after this round; 0 for the first teacher alone
    #[arg(long, value_name = "N")]
    pub round: Option<usize>,
    /// List the stages, what is done and how much there is to do, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    /// Which device labels and evaluates.
    pub runtime: RuntimeArgs,
    /// Where students are trained: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub train_device: Device,
    /// Threads of the CPU that train [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    #[command(flatten)]
    /// Which library trains.
    pub training: TrainingRuntimeArgs,
    /// Print stages and models as JSON, at the end
    #[arg(long)]
    pub json: bool,
}
