//! The command line: clap types alone, whose comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::runtime::Device;
use crate::schema::Encoding;
use crate::teacher::TeacherRef;

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
    /// Bring a dataset's manifest up to date with its source, without labelling
    Manifest(ManifestArgs),
    /// Label what is not labelled yet: the soft labels and the rejects of every image, exactly once
    ///
    /// Run it again after a crash, after Ctrl-C, or when the bucket has grown: it goes on where it was.
    Label(LabelArgs),
    /// Query the workspace: the tables labels, rejects, manifest, `manifest_history` and teachers
    Sql(SqlArgs),
    /// Check a teacher.toml or a pipeline file
    Validate {
        /// The file
        file: PathBuf,
    },
    /// Check this machine's ONNX Runtime, and a workspace's store
    Doctor(DoctorArgs),
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

/// `teachers …`
#[derive(Debug, Subcommand)]
pub enum TeachersCommand {
    /// Add an ONNX classifier as the next version of a name, after a trial run
    Add {
        /// The teacher's name
        name: String,
        /// The ONNX file: a path or URL
        #[arg(long, value_name = "FILE")]
        model: String,
        /// Its teacher.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The ONNX Runtime library to load, rather than the one that is found [env: `ORT_DYLIB_PATH`]
        #[arg(long, value_name = "FILE")]
        onnxruntime: Option<PathBuf>,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// List all teachers and versions
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// Show a teacher: its hashes and its whole teacher.toml
    Show {
        /// NAME, or NAME@VERSION
        teacher: TeacherRef,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
}

/// `manifest`
#[derive(Debug, Args)]
pub struct ManifestArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The dataset's name
    #[arg(long)]
    pub dataset: String,
    /// Where its images are; needed the first time only
    #[arg(long, value_name = "URL")]
    pub source: Option<String>,
    /// A pipeline file with [source] and [manifest] sections
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `label`
#[derive(Debug, Args)]
pub struct LabelArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The dataset's name
    #[arg(long)]
    pub dataset: String,
    /// Where its images are: a prefix, a .tar, a .parquet or a list of URLs; needed the first time only
    #[arg(long, value_name = "URL")]
    pub source: Option<String>,
    /// NAME, or NAME@VERSION; the newest version where none is named
    #[arg(long)]
    pub teacher: TeacherRef,
    /// Label the rejects again, and nothing else
    #[arg(long)]
    pub retry_rejects: bool,
    /// Let the teacher see augmented images, as this file says
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// A pipeline file with [source], [manifest], [decode] and [label] sections
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How soft labels are stored: float16, float32 or topk
    #[arg(long)]
    pub encoding: Option<Encoding>,
    /// Images in a batch at most
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Threads that decode, and on the CPU infer as well
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    #[command(flatten)]
    /// Which device.
    pub runtime: RuntimeArgs,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// With a header; nested values as text
    Csv,
    /// One object a line
    Json,
    /// A file on standard output
    Parquet,
}

/// `sql`
#[derive(Debug, Args)]
pub struct SqlArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// How the result is printed
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// The query
    pub query: String,
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
