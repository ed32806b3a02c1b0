//! `teachers`.

use std::path::PathBuf;

use clap::Subcommand;

use super::WorkspaceArgs;
use crate::teacher::TeacherRef;

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
