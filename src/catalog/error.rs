//! What can go wrong with SQL.

use std::time::Duration;

use datafusion::error::DataFusionError;

use super::{read_only, reference};
use crate::error::nearest;
use crate::manifest::ManifestError;
use crate::store::StoreError;
use crate::teacher::TeacherError;
use crate::workspace::WorkspaceError;

/// What can go wrong with SQL.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The query does not parse, plan or run.
    #[error("cannot run the query: {detail}")]
    Query {
        /// DataFusion's words.
        detail: String,
    },
    /// The query is not a read.
    #[error("only queries are allowed here: {detail}")]
    Refused {
        /// DataFusion's words.
        detail: String,
    },
    /// There is more than one query.
    #[error("one query is answered at a time, and these are several")]
    Several,
    /// The query is nested too deeply to be planned.
    #[error("the query has {operators} operators, and {most} are the most")]
    Deep {
        /// How many it has.
        operators: usize,
        /// How many it may have.
        most: usize,
    },
    /// The arguments of table functions call more functions than what they make can be bounded of.
    #[error(
        "the arguments of table functions have {calls} calls of functions, and {most} are the most"
    )]
    Arguments {
        /// How many they have.
        calls: usize,
        /// How many they may have.
        most: usize,
    },
    /// An object that the query reads is missing, empty or damaged.
    #[error("{detail}")]
    Unreadable {
        /// Which, and how it is.
        detail: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The query needs more memory than it may have, and cannot spill.
    #[error("the query needs more memory than it may have: {detail}")]
    Memory {
        /// DataFusion's words, with the figures.
        detail: String,
    },
    /// The query took longer than it may.
    #[error("the query was stopped after {} s", limit.as_secs_f64())]
    Time {
        /// How long it may take.
        limit: Duration,
    },
    /// The task that ran a query ended without an answer.
    #[error("the query broke off: {0}")]
    BrokeOff(#[from] tokio::task::JoinError),
    /// DataFusion, with a plan of ours.
    #[error("cannot read the workspace's tables: {0}")]
    Engine(#[from] DataFusionError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The teachers.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CatalogError {
    /// Sorts the error of a query that a user wrote: a limit, and a fault of the store, of a file or of this machine are told apart from a mistake.
    pub fn of_query(error: &DataFusionError) -> Self {
        if let DataFusionError::ResourcesExhausted(detail) = error.find_root() {
            return Self::Memory {
                detail: detail.clone(),
            };
        }
        if let Some(object) = unreadable(error) {
            return Self::Unreadable {
                detail: object.to_string(),
                hint: object.hint(),
            };
        }
        of_a_read(error).unwrap_or_else(|| Self::Query {
            detail: error.strip_backtrace(),
        })
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Query { detail } => Some(match missing_table(detail) {
                Some(name) => {
                    let near = nearest(name, reference::reference().tables.iter().map(|t| t.name.as_str()));
                    let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                    format!("{near}the tables are {}", reference::names())
                }
                None => "`SHOW TABLES` tells the tables, `DESCRIBE labels` the columns of one".into(),
            }),
            Self::Refused { .. } => {
                Some("write a SELECT; `--format parquet > file.parquet` keeps its result".into())
            }
            Self::Several => Some("give each by itself; several, each with a `;`, are answered from standard input, as in `understudy sql < queries.sql`, or in a session, which `understudy sql` alone opens".into()),
            Self::Deep { .. } => Some("write IN with a list, or join a list of VALUES".into()),
            Self::Arguments { .. } => Some("write what they come to, or select from the numbers with a WHERE".into()),
            Self::Memory { .. } => Some("give it more with --memory, such as --memory 1GiB, or let it sort, join or group fewer rows or columns".into()),
            Self::Time { .. } => Some("give it more with --timeout, or let it read less: a filter on dataset and teacher leaves the other files alone".into()),
            Self::Unreadable { hint, .. } => hint.clone(),
            Self::Engine(e) => unreadable(e).and_then(WorkspaceError::hint),
            Self::BrokeOff(_) => None,
            Self::Manifest(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
            Self::Store(e) => e.hint(),
        }
    }
}

/// What went wrong with the reading of an object or of a temporary file; `None` where nothing did, or a query asked for what it may not read.
pub(super) fn of_a_read(error: &DataFusionError) -> Option<CatalogError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(error) = this.downcast_ref::<object_store::Error>() {
            if read_only::is_refusal(error) {
                return None;
            }
            let place = match error {
                object_store::Error::NotFound { path, .. }
                | object_store::Error::PermissionDenied { path, .. }
                | object_store::Error::Unauthenticated { path, .. } => path,
                _ => "what it needs",
            };
            return Some(StoreError::from_object_store("read", place, error).into());
        }
        if let Some(error) = this.downcast_ref::<std::io::Error>() {
            return Some(CatalogError::Unreadable {
                detail: format!("a file cannot be read or written: {error}"),
                hint: Some("what does not fit into memory is written to the temporary directory, TMPDIR: has it space?".into()),
            });
        }
        cause = this.source();
    }
    None
}

/// What a table says of an object of the workspace that it cannot read.
fn unreadable(error: &DataFusionError) -> Option<&WorkspaceError> {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref(),
        _ => None,
    }
}

/// The table of DataFusion's `table 'datafusion.public.NAME' not found`.
fn missing_table(detail: &str) -> Option<&str> {
    let (_, name) = detail.split_once("table 'datafusion.public.")?;
    name.split_once("' not found").map(|(name, _)| name)
}
