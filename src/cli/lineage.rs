//! `lineage`.

use clap::Args;

use super::WorkspaceArgs;
use crate::lineage::Meant;

/// `lineage`
#[derive(Debug, Args)]
pub struct LineageArgs {
    /// A teacher (NAME, NAME@VERSION or current), a selection, or the key of an image
    #[arg(value_name = "TEACHER|SELECTION|KEY")]
    pub name: String,
    /// What the name is meant as, where a teacher and a selection have it
    #[arg(long = "as", value_name = "WHAT")]
    pub meant: Option<Meant>,
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
