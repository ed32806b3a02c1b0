//! The command line: clap types alone, whose comments are the help.

mod evaluate;
mod gc;
mod jobs;
mod lineage;
mod pipeline;
mod promotion;
mod serve;
mod student;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

pub use self::evaluate::EvaluateArgs;
pub use self::gc::GcArgs;
pub use self::jobs::{JobsCommand, RelabelArgs, WorkerArgs};
pub use self::lineage::LineageArgs;
pub use self::pipeline::RunArgs;
pub use self::promotion::PromoteArgs;
pub use self::serve::{ServeArgs, TokensCommand};
pub use self::student::{StudentCommand, StudentInitArgs, TrainArgs, TrainingRuntimeArgs};
use crate::catalog::{DEFAULT_ROWS, reference};
use crate::export::{Copies, ExportFormat, Order};
use crate::label::whose::Whose;
use crate::logging::LogFormat;
use crate::runtime::Device;
use crate::schema::Encoding;
use crate::select::{Balance, Method, Targets};
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
    /// Check a teacher.toml, a noise file, a gate file, a serve.toml or a pipeline file
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
        match &self.command {
            Command::Serve(args) => args.log_format,
            _ => LogFormat::default(),
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
        /// NAME, NAME@VERSION, or current
        teacher: TeacherRef,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// Tell what differs between two teachers
    Diff {
        /// NAME, NAME@VERSION, or current
        a: TeacherRef,
        /// The other one
        b: TeacherRef,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// Tell which teacher is the current one
    Current {
        /// The whole promotion, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// List all promotions and rollbacks
    History {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// Make the former teacher current again; once more, the one before it
    Rollback {
        /// The promotion whose teacher is to be current again, rather than the former one
        #[arg(long, value_name = "N")]
        to: Option<u32>,
        /// What is to be remembered of it
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Print the promotion as JSON
        #[arg(long)]
        json: bool,
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
    /// A pipeline file with `[source]` and `[manifest]` sections
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `label`
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
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
    /// NAME, NAME@VERSION, or current for the promoted one; the newest version where none is named
    #[arg(long)]
    pub teacher: TeacherRef,
    /// Label the images of this selection alone
    #[arg(long, value_name = "ID")]
    pub selection: Option<String>,
    /// Label the rejects again, and nothing else
    #[arg(long)]
    pub retry_rejects: bool,
    /// Keep these labels as they are: the dataset does not follow promotions for their sake, and `gc` leaves them
    #[arg(long)]
    pub pin: bool,
    /// Label the images that came last first
    #[arg(long)]
    pub newest_first: bool,
    /// Let the teacher see noised images, as this noise file says; the labels are then those of TEACHER+NAME, NAME being the file's
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// A pipeline file with `[source]`, `[manifest]`, `[decode]` and `[label]` sections
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

/// `select`
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct SelectArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The selection's name
    #[arg(long, value_name = "ID")]
    pub name: String,
    /// The dataset whose labels are selected
    #[arg(long, required_unless_present = "labels", requires = "teacher")]
    pub dataset: Option<String>,
    /// Whose labels: NAME, NAME@VERSION or current, with +NOISE for those that it made of noised images
    #[arg(long, requires = "dataset")]
    pub teacher: Option<Whose>,
    /// Let this teacher's class and confidence choose the rows; the soft labels are --teacher's
    #[arg(long, value_name = "TEACHER", requires = "dataset")]
    pub filter_teacher: Option<Whose>,
    /// Labels that another system wrote: Parquet files, as a path or URL with `*`, in place of --dataset and --teacher
    #[arg(long, value_name = "URL", conflicts_with = "dataset")]
    pub labels: Option<String>,
    /// A pipeline file with a `[select]` section; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rows have to be more confident than this [default: 0.3]
    #[arg(long, value_name = "P")]
    pub threshold: Option<f32>,
    /// The most rows of a class, and what smaller classes are filled up to [default: 130000]
    #[arg(long, value_name = "K")]
    pub per_class: Option<u64>,
    /// Fill small classes up with copies, or not: duplicate or none [default: duplicate]
    #[arg(long)]
    pub balance: Option<Balance>,
    /// Whole distributions or classes alone: soft or hard [default: soft]
    #[arg(long)]
    pub targets: Option<Targets>,
    /// The most confident K, or 101 bins and a sample as in the paper's published code: exact or histogram [default: exact]
    #[arg(long)]
    pub method: Option<Method>,
    /// Of every random choice [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// A held-out dataset whose images are removed; may be given several times
    #[arg(long, value_name = "DATASET")]
    pub exclude: Vec<String>,
    /// Bits in which the gradient hash of a leaked image differs at most, 0 to 10 [default: 2]
    #[arg(long, value_name = "BITS")]
    pub max_distance: Option<u32>,
    /// Keep images that the unlabelled set has more than once
    #[arg(long)]
    pub keep_duplicates: bool,
    /// Write each row as often as its copies say, rather than once with their number
    #[arg(long)]
    pub materialize: bool,
    /// A uniform sample of the best K of each class, such as 1/16
    #[arg(long, value_parser = fraction)]
    pub fraction: Option<f64>,
    /// Confidences from A on and below B alone, sampled uniformly, in place of threshold, K and balancing
    #[arg(long, value_name = "A:B", value_parser = interval, requires = "per_interval")]
    pub interval: Option<[f32; 2]>,
    /// How many rows of the interval
    #[arg(long, value_name = "N", requires = "interval")]
    pub per_interval: Option<u64>,
    /// List every row that is left out with its reason, in left_out-….parquet beside the selection
    #[arg(long)]
    pub explain: bool,
    /// A folder with the .sql files of pipelines/select/, changed
    #[arg(long, value_name = "DIR")]
    pub queries: Option<PathBuf>,
    /// Print the plan of each query, and write nothing
    #[arg(long, conflicts_with = "json")]
    pub plans: bool,
    /// Print selection.json
    #[arg(long)]
    pub json: bool,
}

/// `report`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("of").required(true).args(["selection", "training"])))]
pub struct ReportArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The selection that the page is of
    #[arg(long, value_name = "ID")]
    pub selection: Option<String>,
    /// The training that the page is of, ended or not: its curves, step by step, and what it goes back to
    #[arg(long, value_name = "NAME")]
    pub training: Option<String>,
    /// Where the page goes: a path, a URL, or `-` for standard output; a page that is there is replaced
    #[arg(long, value_name = "FILE")]
    pub out: String,
    /// A class whose images are shown as well, by name or number; may be given several times [default: up to 10 classes all, of more the
    /// largest, the middle one, the smallest and that with the lowest cut-off]
    #[arg(long = "class", value_name = "NAME", conflicts_with = "training")]
    pub classes: Vec<String>,
}

/// `export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The selection's name
    #[arg(long, value_name = "ID")]
    pub selection: String,
    /// What a shard is: parquet (image, label, probs, …, as Hugging Face's datasets have them) or webdataset (a tar with some files a sample)
    #[arg(long)]
    pub format: ExportFormat,
    /// Where it goes: a path or URL of its own
    #[arg(long, value_name = "URL")]
    pub out: String,
    /// A row with copies comes so many times (repeat), or once with their number (column)
    #[arg(long, value_name = "HOW", default_value = "repeat")]
    pub copies: Copies,
    /// By a hash of seed, key and copy (shuffled), or as the images lie in the source (source), which reads containers faster
    #[arg(long, default_value = "shuffled")]
    pub order: Order,
    /// Of the shuffle
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The size of a shard; two of them are in memory [default: 128]
    #[arg(long, value_name = "MIB")]
    pub shard_mib: Option<u32>,
    /// A pipeline file: `decode.max_bytes`, `label.attempts` and `label.read_timeout_s` bound how images are read
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print export.json
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
    /// Memory that a query may hold, such as 512MiB or 2GB; what can spill goes to the temporary directory above it
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub memory: usize,
    /// Seconds after which a query is stopped
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Rows that a table shows at most, 0 for all; the other formats give every row
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ROWS)]
    pub max_rows: usize,
    /// The query; without one, statements are read from standard input, or a session begins at the terminal
    pub query: Option<String>,
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

/// `1/16` or `0.0625`.
fn fraction(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().map_err(|e| e.to_string());
    match text.split_once('/') {
        Some((part, whole)) => Ok(number(part)? / number(whole)?),
        None => number(text),
    }
}

/// `0.3:0.4`.
fn interval(text: &str) -> Result<[f32; 2], String> {
    let (from, to) = text
        .split_once(':')
        .ok_or("write two confidences, such as 0.3:0.4")?;
    let number = |text: &str| text.trim().parse::<f32>().map_err(|e| e.to_string());
    Ok([number(from)?, number(to)?])
}

/// `256MiB`, `2GB`, `1000000`.
fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit: usize = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err("write a number and KiB, MiB, GiB, KB, MB or GB".into()),
    };
    let number: usize = digits.trim().parse().map_err(|e| format!("{e}"))?;
    number
        .checked_mul(unit)
        .ok_or_else(|| "it is too much".into())
}

/// `30`, `0.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?;
    if time.is_zero() {
        return Err("give more than 0".into());
    }
    Ok(time)
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".into()),
    }
}
