//! `select`, and what is made of a selection: `report` and `export`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::WorkspaceArgs;
use super::sql::size;
use crate::export::{Copies, ExportFormat, Order};
use crate::label::whose::Whose;
use crate::select::{Balance, Method, Targets};

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
    #[arg(long, value_name = "URL", conflicts_with_all = ["dataset", "teacher", "filter_teacher"])]
    pub labels: Option<String>,
    /// A settings file with a `[select]` section; flags win over it
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
    /// The seed of every random choice [default: 0]
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
    #[arg(long, value_name = "A:B", value_parser = interval, requires = "per_interval", conflicts_with_all = ["threshold", "per_class", "balance"])]
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
    /// Memory that a query may hold, such as 512MiB or 2GB; joins over millions of changed images need more
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub memory: usize,
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
    /// Memory that a query may hold, such as 512MiB or 2GB; joins over millions of changed images need more
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size, conflicts_with = "training")]
    pub memory: usize,
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
    /// The seed of the shuffle
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The size of a shard; some six of them are in memory [default: 128]
    #[arg(long, value_name = "MIB")]
    pub shard_mib: Option<u32>,
    /// A settings file: `decode.max_bytes`, `label.attempts` and `label.read_timeout_s` bound how images are read
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print export.json
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
