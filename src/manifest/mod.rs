//! A source → its manifest: every image once, sorted, cut into shards, one Parquet object a generation.
//!
//! The first run lists the source, sorts the listing by (object, position) with bounded memory (`sort.rs`) and writes generation 1. A later
//! run merges the sorted listing with the sorted manifest (`merge.rs`) and writes only what is new, changed or gone as the next
//! generation. Shard numbers never restart, a shard never spans containers, and nothing is overwritten. In memory are one window of each
//! side of the merge and the keys of one changed container.

mod marks;
mod merge;
mod resolve;
mod rows;
mod sort;
mod subset;
mod superseded;

use std::collections::BTreeMap;

use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};

use crate::source::{Source, SourceError};
use crate::store::Created;
use crate::workspace::{Workspace, WorkspaceError, side_by_side, to_json};

pub(crate) use rows::{batch_of, upload};
pub use rows::{rows, schema};
pub(crate) use sort::{Skipped, context, sorted};
pub use subset::{Found, Keys, plan_schema};
pub(crate) use subset::{Wanted, choose, rest};

/// Images a shard: some 10 s of work for 2 cores, and 4 MB of labels with 1,000 classes in half precision.
pub const DEFAULT_SHARD_IMAGES: u32 = 2048;

/// The `[manifest]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestConfig {
    /// The most images a shard, the unit that is committed: a crash costs at most this much work twice, and a shard's encoded labels are
    /// held in memory. A tar or a Parquet file of up to this size is one shard, a larger one is cut.
    pub shard_images: u32,
}

impl Default for ManifestConfig {
    fn default() -> Self {
        Self {
            shard_images: DEFAULT_SHARD_IMAGES,
        }
    }
}

/// The commit of a generation, `manifests/dataset=D/generation-000001.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// From 1 on.
    pub generation: u32,
    /// The source that was listed.
    pub source: String,
    /// The object beside this one that has the rows; its name holds a hash of its content.
    pub file: String,
    /// The first of its shards.
    pub first_shard: u32,
    /// How many shards it has.
    pub shards: u32,
    /// Rows in its shards: new and changed images, known problems among them.
    pub rows: u64,
    /// Images that no earlier generation has, or that were gone.
    pub new: u64,
    /// Images whose object is another than before.
    pub changed: u64,
    /// Images that are as they were.
    pub unchanged: u64,
    /// Images that are not there any more.
    pub gone: u64,
    /// Rows that the listing alone shows to be rejects.
    pub problems: u64,
    /// Names that are no images, by why.
    pub skipped: BTreeMap<String, u64>,
}

/// Images that there are by the newest of these generations.
pub fn images(generations: &[Generation]) -> u64 {
    generations
        .last()
        .map_or(0, |g| g.new + g.changed + g.unchanged)
}

/// What can go wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Sorting or reading a manifest.
    #[error("cannot read or sort the manifest: {0}")]
    Engine(#[source] DataFusionError),
    /// Writing a manifest.
    #[error("cannot write the manifest: {0}")]
    Write(#[from] parquet::errors::ParquetError),
    /// The temporary file.
    #[error("cannot use the temporary directory: {0}")]
    Temporary(#[from] std::io::Error),
    /// A batch of manifest rows that is none.
    #[error("a manifest row has no `{column}`")]
    BadRow {
        /// What it lacks.
        column: &'static str,
    },
    /// Other processes committed one generation after the other.
    #[error("dataset `{dataset}` is being listed by other processes at the same time")]
    Busy {
        /// The dataset.
        dataset: String,
    },
}

impl From<DataFusionError> for ManifestError {
    /// A listing that fails within a sort comes out as the source's error.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<SourceError>() {
                Ok(source) => Self::Source(*source),
                Err(other) => Self::Engine(DataFusionError::External(other)),
            },
            DataFusionError::Context(_, inner) => Self::from(*inner),
            other => Self::Engine(other),
        }
    }
}

impl ManifestError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
            Self::Temporary(_) => Some("set TMPDIR to a directory with space".into()),
            Self::Busy { .. } => Some("run the command again".into()),
            Self::Engine(_) | Self::Write(_) | Self::BadRow { .. } => None,
        }
    }
}

/// What a refresh found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// The bucket is as the newest generation says.
    Unchanged,
    /// A generation was added.
    Added(Generation),
}

/// How often a refresh begins again because another process committed its generation first.
const TRIES: u32 = 3;

/// The committed generations of a dataset, oldest first.
///
/// # Errors
/// The store's.
pub async fn generations(
    workspace: &Workspace,
    dataset: &str,
) -> Result<Vec<Generation>, ManifestError> {
    let folder = folder(dataset);
    let names = workspace.names(&folder).await?;
    let commit = |name: &String| {
        let number = name.strip_prefix("generation-")?.strip_suffix(".json")?;
        Some(format!("{folder}/generation-{number}.json"))
    };
    let places = names.iter().filter_map(commit);
    let mut generations: Vec<Generation> = workspace.read_all_json(places.collect()).await?;
    generations.sort_by_key(|g| g.generation);
    Ok(generations)
}

/// All datasets, by name, with their generations, oldest first.
///
/// # Errors
/// The store's, or a damaged commit.
pub async fn all(workspace: &Workspace) -> Result<Vec<(String, Vec<Generation>)>, ManifestError> {
    let names = workspace.folders("datasets").await?;
    let of = |name: String| async move {
        let generations = generations(workspace, &name).await?;
        Ok::<_, ManifestError>((name, generations))
    };
    side_by_side(names, of).await
}

/// Where the manifest of a dataset lies in the workspace.
pub fn folder(dataset: &str) -> String {
    format!("manifests/dataset={dataset}")
}

/// Lists the source and commits what is new, changed or gone since the last generation.
///
/// `on_progress` is told how many images have been merged so far.
///
/// # Errors
/// [`ManifestError`]; no generation is visible then.
pub async fn refresh(
    workspace: &Workspace,
    dataset: &str,
    source: &Source,
    config: &ManifestConfig,
    on_progress: &(dyn Fn(u64) + Sync),
) -> Result<Refresh, ManifestError> {
    for _ in 0..TRIES {
        let earlier = generations(workspace, dataset).await?;
        let Some(merged) =
            merge::merge(workspace, dataset, source, config, &earlier, on_progress).await?
        else {
            // Of objects that hold none, as Parquet files without a row.
            if earlier.is_empty() {
                let url = source.url().to_owned();
                return Err(SourceError::Empty { url }.into());
            }
            return Ok(Refresh::Unchanged);
        };
        let folder = folder(dataset);
        rows::upload(
            workspace,
            &format!("{folder}/{}", merged.generation.file),
            &merged.file,
        )
        .await?;
        let commit = format!(
            "{folder}/generation-{:06}.json",
            merged.generation.generation
        );
        match workspace
            .create(&commit, to_json(&merged.generation))
            .await?
        {
            Created::New | Created::Same => return Ok(Refresh::Added(merged.generation)),
            // Another process listed at the same time: what it saw is the state to compare with now.
            Created::Other => {}
        }
    }
    Err(ManifestError::Busy {
        dataset: dataset.to_owned(),
    })
}
