//! `promote`.

use std::path::PathBuf;

use clap::Args;

use super::{RuntimeArgs, WorkspaceArgs};
use crate::teacher::TeacherRef;

/// `promote`
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// NAME, or NAME@VERSION; the newest version where none is named
    pub teacher: TeacherRef,
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// What it has to pass: a file with `[data]` and `[gate]` sections, such as pipelines/gate.toml
    #[arg(long, value_name = "FILE")]
    pub gate: Option<PathBuf>,
    /// Print the gate's verdict, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Promote it though the gate refuses it; the promotion says so for good
    #[arg(long, requires = "gate")]
    pub force: bool,
    /// What is to be remembered of it
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    #[command(flatten)]
    /// Which device.
    pub runtime: RuntimeArgs,
    /// Print outcome and promotion as JSON
    #[arg(long)]
    pub json: bool,
}
