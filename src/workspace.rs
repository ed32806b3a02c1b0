//! Where everything lies in the workspace bucket, and the two ways in which something becomes visible there.
//!
//! ```text
//! workspace.json                                               made by `init`
//! datasets/D/000001.json                                       the source of dataset D; the highest number counts
//! manifests/dataset=D/generation-000001.parquet                the rows of a generation
//! manifests/dataset=D/generation-000001.json                   its commit: what has none does not exist
//! manifests/dataset=D/teacher=NAME@V/plan-000001.json          which rows a teacher labels next; its rows beside it, where they are a selection's
//! labels/dataset=D/teacher=NAME@V/shard-000042.parquet         one object a shard, labels and rejects
//! labels/dataset=D/teacher=NAME@V/shard-000042.retry-001.parquet
//! labels/dataset=D/teacher=NAME@V/plan-000001.part-000042.parquet    the same of a part of a selection's images
//! labels/dataset=D/teacher=NAME@V+NOISE/…                      the same of a teacher that saw noised images
//! teachers/NAME/V/{model.onnx, teacher.toml, teacher.json}     teacher.json is its commit
//! promotions/000001.json                                       who became the current teacher, and why; the highest number counts
//! runs/20260401T120304.123Z-label-0a1b2c3d.json                what a run did, and when; besides promotions, jobs, schedules, the audit log and churn reports nothing else in the workspace knows the time
//! audit/20260401T120304.123Z-promote-0a1b2c3d.json             what was changed through the service, when, and by whom
//! trainings/NAME/{training.json, checkpoints/…, metrics-00000000.parquet, done.json}    done.json names the teacher that it became
//! jobs/JOB/{job.json, 000001.json, …, cancel.json}             the journal of a job; the highest number says how it is
//! relabels/dataset=D/000007.json                               the churn of dataset D's labels after promotion 7, whose put ends its re-labelling
//! pins/dataset=D/teacher=NAME@V.json                           labels that follow no promotion
//! schedules/NAME/since.json                                    when a schedule was seen first
//! selections/ID/{part-00000-….parquet, …, selection.json}      selection.json is its commit; ID@2 is what a re-labelling made of ID, and ID/refresh-000002.json says so
//! students/NAME/{training_model-….onnx, …, student.json}       student.json is its commit
//! probes/…                                                     left by the create-only probe where it cannot delete
//! ```
//! A commit is one create-only put ([`crate::store::create`]). What needs several objects becomes visible through one JSON that is
//! put last; a pointer moves by creating the next numbered file. Nothing is ever overwritten.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::child;
use crate::error::nearest;
use crate::fence::{Fence, Fenced};
use crate::store::{self, Created, Opened, StorageOptions, StoreError, local};

/// Objects that are read side by side.
const READS: usize = 16;

/// The layout's version; a workspace of a later version is refused.
pub const LAYOUT: u32 = 1;

/// What can go wrong with a workspace as such.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// No `workspace.json` at the URL.
    #[error("`{url}` is not a workspace")]
    NotInitialised {
        /// The URL as given.
        url: String,
    },
    /// Written by a later understudy.
    #[error("`{url}` has layout {found}, this understudy knows up to {LAYOUT}")]
    TooNew {
        /// The URL as given.
        url: String,
        /// The layout found.
        found: u32,
    },
    /// A JSON object in the workspace cannot be read.
    #[error("`{url}` is damaged: {source}")]
    Damaged {
        /// The object.
        url: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// A Parquet object of the workspace that is none, or no longer.
    #[error("`{url}` cannot be read as Parquet: {detail}")]
    Garbled {
        /// The object.
        url: String,
        /// The reader's words.
        detail: String,
    },
    /// A name that cannot stand in a path.
    #[error("`{name}` cannot be the name of a {what}")]
    BadName {
        /// dataset, teacher, ….
        what: &'static str,
        /// As typed.
        name: String,
    },
    /// Nothing by this name.
    #[error("the workspace has no {what} `{name}`")]
    Unknown {
        /// dataset, teacher, ….
        what: &'static str,
        /// As typed.
        name: String,
        /// A name that is near, or those that exist.
        hint: String,
    },
    /// An object that another one names is not there.
    #[error("`{url}` is missing, and the workspace counts on it")]
    Missing {
        /// The object.
        url: String,
    },
    /// An object without a byte: no commit is one.
    #[error("`{url}` is empty: its write was cut off")]
    Empty {
        /// The object.
        url: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WorkspaceError {
    /// Something that is not there among those of these names; `none` is what to do where there are none.
    pub(crate) fn unknown(what: &'static str, name: &str, names: &[&str], none: &str) -> Self {
        Self::Unknown {
            what,
            name: name.to_owned(),
            hint: match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => none.to_owned(),
                None => format!("it has {}", names.join(", ")),
            },
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotInitialised { url } => {
                Some(format!("make one with `understudy init --workspace {url}`"))
            }
            Self::TooNew { .. } => Some("install a newer understudy".into()),
            Self::Damaged { .. } => {
                Some("restore the object from the bucket's versions; understudy never rewrites it".into())
            }
            Self::Missing { .. } => Some("restore it from the bucket's versions, or from a backup; the rows of a selection the same `understudy select` makes again".into()),
            Self::Empty { .. } | Self::Garbled { .. } => Some("restore it from the bucket's versions; a labels object may be removed as well: `understudy label` makes it again, and the same `understudy select` the rows of a selection".into()),
            Self::BadName { .. } => Some(
                "use letters, digits, `.`, `_` and `-`, at most 100, beginning with a letter or digit".into(),
            ),
            Self::Unknown { hint, .. } => Some(hint.clone()),
            Self::Store(e) => e.hint(),
        }
    }
}

/// What `workspace.json` says.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct WorkspaceFile {
    /// [`LAYOUT`] when it was made.
    pub layout: u32,
    /// Whether the store honoured a create-only put when the workspace was made. Where it does not, one writer at a time is safe.
    pub create_only: bool,
}

/// An open workspace.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The store and the workspace's place in it.
    pub at: Opened,
    /// What `workspace.json` says.
    pub file: WorkspaceFile,
}

impl Workspace {
    /// Makes a workspace, or opens the one that is there.
    ///
    /// # Errors
    /// The store's.
    pub async fn init(url: &str, options: &StorageOptions) -> Result<(Self, bool), WorkspaceError> {
        Self::init_at(store::open(url, options)?).await
    }

    /// [`Workspace::init`] in a store that is open already. `true` where the workspace is new.
    ///
    /// # Errors
    /// The store's.
    pub async fn init_at(at: Opened) -> Result<(Self, bool), WorkspaceError> {
        let mut workspace = Self {
            at,
            file: WorkspaceFile {
                layout: LAYOUT,
                create_only: true,
            },
        };
        workspace.file.create_only = workspace.probe().await?;
        let bytes = to_json(&workspace.file);
        let new = workspace.create("workspace.json", bytes).await? == Created::New;
        Ok((Self::open_at(workspace.at).await?, new))
    }

    /// Opens a workspace.
    ///
    /// # Errors
    /// [`WorkspaceError::NotInitialised`] where there is none.
    pub async fn open(url: &str, options: &StorageOptions) -> Result<Self, WorkspaceError> {
        Self::open_at(store::open(url, options)?).await
    }

    /// [`Workspace::open`] in a store that is open already. A process that works for a job writes to it as long as its lease lasts.
    ///
    /// # Errors
    /// [`WorkspaceError::NotInitialised`] where there is none.
    pub async fn open_at(at: Opened) -> Result<Self, WorkspaceError> {
        let mut workspace = Self {
            at,
            file: WorkspaceFile {
                layout: LAYOUT,
                create_only: true,
            },
        };
        if let Some(fence) = child::fence() {
            workspace = workspace.fenced(fence);
        }
        let url = workspace.at.url();
        let Some(file) = workspace
            .find_json::<WorkspaceFile>("workspace.json")
            .await?
        else {
            return Err(WorkspaceError::NotInitialised { url });
        };
        if file.layout > LAYOUT {
            return Err(WorkspaceError::TooNew {
                url,
                found: file.layout,
            });
        }
        Ok(Self { file, ..workspace })
    }

    /// The same, written to as long as a fence is open.
    #[must_use]
    pub fn fenced(mut self, fence: Fence) -> Self {
        self.at.store = Arc::new(Fenced::new(self.at.store, fence));
        self
    }

    /// A folder that is no workspace, in which objects are read and created as in one. Nobody has asked its store whether it honours
    /// create-only puts, so every object is looked for before it is created.
    pub fn folder(at: Opened) -> Self {
        let file = WorkspaceFile {
            layout: LAYOUT,
            create_only: false,
        };
        Self { at, file }
    }

    /// Whether the store honours create-only puts: the same name is created twice, the second must fail.
    ///
    /// # Errors
    /// The store's, where not even the first put works.
    pub async fn probe(&self) -> Result<bool, WorkspaceError> {
        let unique = format!("{}-{}", std::process::id(), nanos());
        let path = self.path(&format!("probes/{unique}"));
        let url = self.at.key(&path);
        let fail = |e: object_store::Error| StoreError::from_object_store("write", &url, &e);
        self.at
            .store
            .put_opts(
                &path,
                PutPayload::from_static(b"first"),
                PutMode::Create.into(),
            )
            .await
            .map_err(fail)?;
        let second = self
            .at
            .store
            .put_opts(
                &path,
                PutPayload::from_static(b"second"),
                PutMode::Create.into(),
            )
            .await;
        // A store that keeps what it has been told to keep (object lock) may refuse; the probe's bytes then stay behind, harmless.
        let _ = self.at.store.delete(&path).await;
        match second {
            Ok(_) => Ok(false),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(true),
            Err(e) => Err(fail(e).into()),
        }
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove(&self, relative: &str) -> Result<(), WorkspaceError> {
        let path = self.path(relative);
        match self.at.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(StoreError::from_object_store("remove", self.at.key(&path), &e).into()),
        }
    }

    /// A place in the workspace.
    pub fn path(&self, relative: &str) -> Path {
        relative
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(self.at.path.clone(), Path::join)
    }

    /// The URL of a place in the workspace.
    pub fn url(&self, relative: &str) -> String {
        self.at.key(&self.path(relative))
    }

    /// Creates an object, once.
    ///
    /// # Errors
    /// The store's.
    pub async fn create(&self, relative: &str, bytes: Bytes) -> Result<Created, WorkspaceError> {
        let path = self.path(relative);
        let url = self.at.key(&path);
        if !self.file.create_only {
            // The store overwrites silently: looking first keeps a commit that is there, as long as nobody else writes.
            match store::read(&*self.at.store, &path, &url).await {
                Ok(there) if there == bytes => return Ok(Created::Same),
                Ok(_) => return Ok(Created::Other),
                Err(StoreError::NotFound { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let created = store::create(&*self.at.store, &path, &url, bytes).await?;
        self.settle(relative).await?;
        self.sweep(relative);
        Ok(created)
    }

    /// Waits until an object that was written outlasts a power failure. What a bucket has acknowledged does; a file is synced, and its folder.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn settle(&self, relative: &str) -> Result<(), WorkspaceError> {
        if !self.at.is_local() {
            return Ok(());
        }
        let path = self.path(relative);
        local::sync(&path).await.map_err(|e| {
            WorkspaceError::from(StoreError::Failed {
                action: "write",
                url: self.at.key(&path),
                detail: e.to_string(),
            })
        })
    }

    /// Removes what killed local puts left beside an object that is there.
    pub(crate) fn sweep(&self, relative: &str) {
        if self.at.is_local() {
            local::sweep_staging(&self.path(relative));
        }
    }

    /// Files of a workspace on a disk that nobody has put in place yet, and may never: where they lie, and what the disk says of them.
    pub(crate) fn staging(&self) -> Vec<(String, std::fs::Metadata)> {
        if self.at.is_local() {
            local::staging_below(&self.at.path)
        } else {
            Vec::new()
        }
    }

    /// Removes one of them.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn remove_staging(&self, place: &str) -> Result<(), WorkspaceError> {
        let removed = local::remove_staging(&self.at.path, place);
        removed.map_err(|e| {
            WorkspaceError::from(StoreError::Failed {
                action: "remove",
                url: self.url(place),
                detail: e.to_string(),
            })
        })
    }

    /// Whether there is an object.
    ///
    /// # Errors
    /// The store's.
    pub async fn exists(&self, relative: &str) -> Result<bool, WorkspaceError> {
        let path = self.path(relative);
        match self.at.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(StoreError::from_object_store("read", self.at.key(&path), &e).into()),
        }
    }

    /// Checks that an object which another one names is there, and has bytes: a scan would take it for no rows.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`], [`WorkspaceError::Empty`], and the store's.
    pub async fn require(&self, relative: &str) -> Result<(), WorkspaceError> {
        let path = self.path(relative);
        let url = self.at.key(&path);
        match self.at.store.head(&path).await {
            Ok(there) if there.size == 0 => Err(WorkspaceError::Empty { url }),
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => Err(WorkspaceError::Missing { url }),
            Err(e) => Err(StoreError::from_object_store("read", url, &e).into()),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, relative: &str) -> Result<Bytes, WorkspaceError> {
        let path = self.path(relative);
        Ok(store::read(&*self.at.store, &path, &self.at.key(&path)).await?)
    }

    /// Reads a JSON object.
    ///
    /// # Errors
    /// The store's, or [`WorkspaceError::Damaged`].
    pub async fn read_json<T: DeserializeOwned>(
        &self,
        relative: &str,
    ) -> Result<T, WorkspaceError> {
        let bytes = self.read(relative).await?;
        serde_json::from_slice(&bytes).map_err(|source| WorkspaceError::Damaged {
            url: self.url(relative),
            source,
        })
    }

    /// Reads JSON objects, some side by side, and gives them in their order.
    ///
    /// # Errors
    /// As [`Workspace::read_json`], of the first one.
    pub async fn read_all_json<T: DeserializeOwned>(
        &self,
        places: Vec<String>,
    ) -> Result<Vec<T>, WorkspaceError> {
        let read = |place: String| async move { self.read_json(&place).await };
        side_by_side(places, read).await
    }

    /// Reads a JSON object that need not be there: a commit that was not made yet, or never will be.
    ///
    /// # Errors
    /// The store's, or [`WorkspaceError::Damaged`].
    pub async fn find_json<T: DeserializeOwned>(
        &self,
        relative: &str,
    ) -> Result<Option<T>, WorkspaceError> {
        match self.read_json(relative).await {
            Ok(value) => Ok(Some(value)),
            Err(WorkspaceError::Store(StoreError::NotFound { .. })) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The names of the objects right below a place, sorted.
    ///
    /// # Errors
    /// The store's.
    pub async fn names(&self, relative: &str) -> Result<Vec<String>, WorkspaceError> {
        let listed = self.listed(relative).await?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }

    /// The objects right below a place, by name, with their sizes in bytes.
    ///
    /// # Errors
    /// The store's.
    pub async fn listed(&self, relative: &str) -> Result<Vec<(String, u64)>, WorkspaceError> {
        let path = self.path(relative);
        let fail =
            |e: object_store::Error| StoreError::from_object_store("list", self.at.key(&path), &e);
        let below = |meta: ObjectMeta| {
            let mut parts = meta.location.prefix_match(&path)?;
            match (parts.next(), parts.next()) {
                (Some(name), None) => Some((name.as_ref().to_owned(), meta.size)),
                _ => None,
            }
        };
        let objects = self.at.store.list(Some(&path)).map_err(fail);
        let mut listed: Vec<_> = objects
            .try_filter_map(|meta| futures::future::ready(Ok(below(meta))))
            .try_collect()
            .await?;
        listed.sort_unstable();
        Ok(listed)
    }

    /// The names of the folders right below a place, sorted.
    ///
    /// # Errors
    /// The store's.
    pub async fn folders(&self, relative: &str) -> Result<Vec<String>, WorkspaceError> {
        let path = self.path(relative);
        let listing = self
            .at
            .store
            .list_with_delimiter(Some(&path))
            .await
            .map_err(|e| StoreError::from_object_store("list", self.at.key(&path), &e))?;
        let mut names: Vec<String> = listing
            .common_prefixes
            .iter()
            .filter_map(|p| p.filename().map(str::to_owned))
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// The first of these objects that a listing of their folder, as [`Workspace::listed`] gives it, has not, or has without bytes; and which of the two.
pub(crate) fn lost<'a>(
    names: impl IntoIterator<Item = &'a String>,
    listed: &[(String, u64)],
) -> Option<(&'a String, bool)> {
    names.into_iter().find_map(|name| {
        let there = listed.binary_search_by(|(listed, _)| listed.cmp(name));
        let size = there.ok().map(|i| listed[i].1);
        (size.unwrap_or(0) == 0).then_some((name, size.is_some()))
    })
}

/// Reads many things, some side by side, and gives them in their order.
///
/// # Errors
/// The first one's.
pub async fn side_by_side<I, T, E, F>(
    items: impl IntoIterator<Item = I>,
    read: impl FnMut(I) -> F,
) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let reads = stream::iter(items).map(read);
    reads.buffered(READS).try_collect().await
}

/// The JSON of a commit: pretty, with a line end, the same for the same value.
pub fn to_json<T: Serialize>(value: &T) -> Bytes {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// A value as it comes back from its JSON, where a number may be one bit off: what is held against something that was read has to have been read as well.
pub fn as_read<T: Serialize + DeserializeOwned + Clone>(value: &T) -> T {
    serde_json::from_slice(&to_json(value)).unwrap_or_else(|_| value.clone())
}

/// Checks a dataset's or a teacher's name.
///
/// # Errors
/// [`WorkspaceError::BadName`].
pub fn check_name(what: &'static str, name: &str) -> Result<(), WorkspaceError> {
    let good = name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if good {
        Ok(())
    } else {
        Err(WorkspaceError::BadName {
            what,
            name: name.to_owned(),
        })
    }
}

fn nanos() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos())
}
