//! `manifest` and `label`.

use std::path::PathBuf;

use clap::Args;

use super::{RuntimeArgs, WorkspaceArgs};
use crate::schema::Encoding;
use crate::teacher::TeacherRef;

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
    /// A settings file with `[source]` and `[manifest]` sections
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
    /// A settings file with `[source]`, `[manifest]`, `[decode]` and `[label]` sections
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
