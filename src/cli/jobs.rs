//! `jobs …`, `worker` and `relabel`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{LogArgs, RuntimeArgs, WorkspaceArgs};

/// `jobs …`
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Submit a job: a file with `kind` and the command's settings, or a pipeline file
    Submit {
        /// The job's file
        file: PathBuf,
        /// Two submissions with the same key are one job; wins over the file's
        #[arg(long)]
        key: Option<String>,
        /// Print the job as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// List all jobs, in the order in which they were submitted
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// Show a job: how far it is, what it came to, why it failed
    Show {
        /// Its id
        id: String,
        /// As JSON, with its result and all of its settings
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
    /// Cancel a job; what it has committed stays
    Cancel {
        /// Its id
        id: String,
        /// Print the job as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        /// Which workspace.
        at: WorkspaceArgs,
    },
}

/// `worker`
#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// A file with `[worker]` and `[[schedule]]`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    /// What is told of its work.
    pub log: LogArgs,
}

/// `relabel`
#[derive(Debug, Args)]
pub struct RelabelArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The dataset [default: all that follow promotions]
    #[arg(long)]
    pub dataset: Option<String>,
    /// Do nothing where a later promotion than this one has come
    #[arg(long, value_name = "N")]
    pub promotion: Option<u32>,
    /// Label the images that came last first
    #[arg(long)]
    pub newest_first: bool,
    /// Say how much is stale, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    /// Which device.
    pub runtime: RuntimeArgs,
    /// Print what came of each dataset as JSON
    #[arg(long)]
    pub json: bool,
}
