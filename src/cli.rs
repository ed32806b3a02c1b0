//! The command line: clap types alone, whose comments are the help.

mod evaluate;
mod gc;
mod jobs;
mod label;
mod lineage;
mod pipeline;
mod promotion;
mod select;
mod serve;
mod sql;
mod student;
mod teachers;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::evaluate::EvaluateArgs;
pub use self::gc::GcArgs;
pub use self::jobs::{JobsCommand, RelabelArgs, WorkerArgs};
pub use self::label::{LabelArgs, ManifestArgs};
pub use self::lineage::LineageArgs;
pub use self::pipeline::RunArgs;
pub use self::promotion::PromoteArgs;
pub use self::select::{ExportArgs, ReportArgs, SelectArgs};
pub use self::serve::{LogArgs, ServeArgs, TokensCommand};
pub use self::sql::{Format, SqlArgs};
pub use self::student::{StudentCommand, StudentInitArgs, TrainArgs, TrainingRuntimeArgs};
pub use self::teachers::TeachersCommand;
use crate::catalog::reference;
use crate::logging::LogFormat;
use crate::runtime::Device;

/// Noisy Student Training as a data system: label a bucket of images with a teacher, and look into the pseudo-labels with SQL
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a workspace, and find out whether its store honours create-only puts
    Init(WorkspaceArgs),
    /// Add teachers to a workspace and look at them
    #[command(subcommand)]
    Teachers(TeachersCommand),
    /// Make a teacher the current one, which `--teacher current` takes, if it passes a gate
    ///
    /// The gate compares it with the current teacher on held-out images. Of two promotions at the same time one wins.
    Promote(Box<PromoteArgs>),
    /// Label again what the current teacher has not labelled, of all datasets that follow promotions, and tell what moved
    ///
    /// All datasets with labels follow, but for those labelled with `label --pin`. Run it again after a crash or Ctrl-C: it goes on where it was.
    Relabel(RelabelArgs),
    /// Submit jobs to the workspace, look at them, cancel them; workers do them
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Do the workspace's jobs, follow its promotions, and keep its schedules, until Ctrl-C; any number of workers may run on a workspace
    Worker(WorkerArgs),
    /// Remove what nobody needs any more: labels of former teachers, and what killed runs left uncommitted
    ///
    /// Labels go where the current teacher's are complete, and stay where they are pinned, recent, or a selection was made of them.
    Gc(GcArgs),
    /// Bring a dataset's manifest up to date with its source, without labelling
    Manifest(ManifestArgs),
    /// Label what is not labelled yet: the soft labels and the rejects of every image, exactly once
    ///
    /// Run it again after a crash, after Ctrl-C, or when the bucket has grown: it goes on where it was.
    Label(LabelArgs),
    /// Make a balanced training set of labels: threshold, duplicates, leaked held-out images, the top K of each class, copies
    Select(Box<SelectArgs>),
    /// Make students: a network and what trains it
    #[command(subcommand)]
    Student(StudentCommand),
    /// Train a student on labelled images, on a selection's, or on both, under noise; it becomes a teacher
    ///
    /// Run it again after a crash or Ctrl-C: it goes on where it was, and ends with the same weights.
    Train(Box<TrainArgs>),
    /// Run a pipeline file: teacher, labels, selection, student, evaluation, round after round
    ///
    /// Run it again after a crash or Ctrl-C: it goes on where it was. Finished stages are not done again.
    Run(Box<RunArgs>),
    /// Tell how right a model is on labelled images, and whether it is better than another one
    ///
    /// Labels are the names of class folders, `.cls` members of tars, a column of Parquet files, or an idx1 file beside idx3 images.
    Evaluate(Box<EvaluateArgs>),
    /// Write a selection's images with their soft labels, for PyTorch, JAX and timm: Parquet, or WebDataset tars
    ///
    /// Run it again after a crash or Ctrl-C: it goes on where it was. What is finished is not written again.
    Export(ExportArgs),
    /// Write a selection, or the curves of a training, as one HTML page to look at
    ///
    /// Of a selection: key figures, charts, thumbnails, what was left out and why. Of a training: loss, top-1 and learning rate over its steps, settings, lineage.
    Report(ReportArgs),
    /// Tell where a teacher, a selection or an image's labels come from, and what was made of them
    Lineage(LineageArgs),
    /// Query the workspace with SQL, read only: one query, those of standard input, or a session at the terminal
    #[command(after_long_help = reference::overview())]
    Sql(SqlArgs),
    /// Serve the workspace over HTTP: labels of images in requests, SQL, promotions, and what there is
    Serve(Box<ServeArgs>),
    /// Make tokens for a server
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Check a TOML file: a teacher.toml, a settings or pipeline file, a noise file, a gate file, a serve.toml or a job
    Validate {
        /// The file
        file: PathBuf,
    },
    /// Check this machine's ONNX Runtime, what trains students, and a workspace's store
    Doctor(DoctorArgs),
    /// Load the training build of ONNX Runtime and say which one it is; `doctor` asks a child, since a process loads one library
    #[command(hide = true)]
    TrainingRuntime(TrainingRuntimeArgs),
}

impl Cli {
    /// How the log is written.
    pub fn log_format(&self) -> LogFormat {
        self.log()
            .map_or_else(LogFormat::default, |log| log.log_format)
    }

    /// Where traces are sent.
    pub fn otlp(&self) -> Option<&str> {
        self.log()?.otlp.as_deref()
    }

    fn log(&self) -> Option<&LogArgs> {
        match &self.command {
            Command::Serve(args) => Some(&args.log),
            Command::Worker(args) => Some(&args.log),
            _ => None,
        }
    }
}

/// Which workspace.
#[derive(Debug, Args)]
pub struct WorkspaceArgs {
    /// The workspace: a path, or a file://, s3://, gs:// or az:// URL
    #[arg(long, value_name = "URL", env = "UNDERSTUDY_WORKSPACE")]
    pub workspace: String,
    #[command(flatten)]
    /// The store.
    pub storage: StorageArgs,
}

/// How stores are reached.
#[derive(Debug, Args, Default)]
pub struct StorageArgs {
    /// An option of the object store, such as region=eu-central-1, endpoint=http://host:9000, `allow_http=true` or
    /// `skip_signature=true`; may be given several times, and wins over the environment
    #[arg(long = "storage-option", value_name = "KEY=VALUE", value_parser = key_value)]
    pub options: Vec<(String, String)>,
}

/// Which ONNX Runtime, and where a model runs.
#[derive(Debug, Args)]
pub struct RuntimeArgs {
    /// Where the model runs: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// The ONNX Runtime library to load, rather than the one that is found [env: `ORT_DYLIB_PATH`]
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A workspace to look at as well
    #[arg(long, value_name = "URL", env = "UNDERSTUDY_WORKSPACE")]
    pub workspace: Option<String>,
    #[command(flatten)]
    /// The store.
    pub storage: StorageArgs,
    #[command(flatten)]
    /// Which ONNX Runtime.
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    /// Which library trains.
    pub training: TrainingRuntimeArgs,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".into()),
    }
}
