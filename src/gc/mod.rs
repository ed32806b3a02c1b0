//! `understudy gc`: what the workspace has and nobody needs any more.
//!
//! ```text
//! labels.rs       labels of former teachers, where the current one's are complete
//! leftovers.rs    objects whose commit was never put: of killed or refused runs; what was half written; journals' entries of jobs that have ended
//! ```
//! A dry run finds the same and removes nothing. What is found is named and measured before anything is removed, and each object for a reason.

mod labels;
mod leftovers;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use object_store::ObjectMeta;
use serde::Serialize;

use crate::error::Error;
use crate::store;
use crate::workspace::{Workspace, WorkspaceError};

/// Former teachers whose labels stay, by their promotions: one may be rolled back to without labelling again.
pub const DEFAULT_KEPT_PROMOTIONS: usize = 2;

/// What a collection is asked to do.
#[derive(Debug, Clone)]
pub struct GcJob {
    /// Labels of the teachers of so many promotions before the current one stay.
    pub keep_promotions: usize,
    /// What is younger stays: it may belong to something that is under way.
    pub older_than: Duration,
    /// Only say what would go.
    pub dry_run: bool,
}

/// Why an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Labels of a former teacher.
    FormerLabels,
    /// What a removal of such labels left behind.
    UnclaimedLabels,
    /// A part of a selection, manifest, plan, teacher or student that was never committed.
    Uncommitted,
    /// An entry of the journal of a job that has ended, before its last one.
    Journal,
    /// What a probe of the store could not take away.
    Probe,
    /// A file that was being written when its writer was killed, of a workspace on a disk.
    Staging,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FormerLabels => "labels of a former teacher",
            Self::UnclaimedLabels => "what is left of removed labels",
            Self::Uncommitted => "never committed",
            Self::Journal => "earlier entry of a job that has ended",
            Self::Probe => "left by a probe of the store",
            Self::Staging => "half written",
        })
    }
}

/// An object that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its place in the workspace.
    pub place: String,
    /// Its size.
    pub bytes: u64,
    /// Why.
    pub reason: Reason,
}

/// What went, or would go; `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Collected {
    /// Whether it was only looked.
    pub dry_run: bool,
    /// How many objects.
    pub objects: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// In the order in which they go.
    pub items: Vec<Item>,
}

impl GcJob {
    /// Runs the job.
    ///
    /// # Errors
    /// The stages' that are looked at, and the store's; what is not removed then is found again.
    pub async fn run(&self, workspace: &Workspace) -> Result<Collected, Error> {
        let age = chrono::Duration::from_std(self.older_than).unwrap_or(chrono::Duration::MAX);
        let before = Utc::now().checked_sub_signed(age);
        let look = Look {
            workspace,
            before: before.unwrap_or(DateTime::<Utc>::MIN_UTC),
        };
        let mut items = labels::find(&look, self.keep_promotions).await?;
        items.extend(leftovers::find(&look).await?);
        // Looking takes a while, and so does removing, in which a command that was repeated may make its own of what a killed one left: that is looked at again, and goes first.
        let may_be_adopted = |item: &Item| item.reason == Reason::Uncommitted;
        items.sort_by_key(|item| !may_be_adopted(item));
        if !self.dry_run {
            if items.iter().any(may_be_adopted) {
                let left = leftovers::find(&look).await?;
                items.retain(|item| !may_be_adopted(item) || left.contains(item));
            }
            for item in &items {
                match item.reason {
                    Reason::Staging => workspace.remove_staging(&item.place)?,
                    _ => workspace.remove(&item.place).await?,
                }
            }
        }
        Ok(Collected {
            dry_run: self.dry_run,
            objects: items.len() as u64,
            bytes: items.iter().map(|item| item.bytes).sum(),
            items,
        })
    }
}

/// A look at the workspace, for what is old enough.
struct Look<'a> {
    workspace: &'a Workspace,
    before: DateTime<Utc>,
}

impl Look<'_> {
    fn is_old(&self, object: &ObjectMeta) -> bool {
        object.last_modified <= self.before
    }

    /// Files that were half written when their writers were killed.
    fn half_written(&self) -> Vec<Item> {
        let all = self.workspace.staging().into_iter();
        let old = all.filter(|(_, about)| {
            let written = about.modified().map(DateTime::<Utc>::from);
            written.is_ok_and(|written| written <= self.before)
        });
        old.map(|(place, about)| Item {
            place,
            bytes: about.len(),
            reason: Reason::Staging,
        })
        .collect()
    }

    /// The objects below a place, by name, with what their names are there.
    async fn below(&self, place: &str) -> Result<Vec<(String, ObjectMeta)>, WorkspaceError> {
        let root = self.workspace.path(place);
        let objects = store::objects(&self.workspace.at, &root).await?;
        let name = |object: &ObjectMeta| {
            let parts = object.location.prefix_match(&root)?;
            Some(
                parts
                    .map(|p| p.as_ref().to_owned())
                    .collect::<Vec<_>>()
                    .join("/"),
            )
        };
        Ok(objects
            .into_iter()
            .filter_map(|object| Some((name(&object)?, object)))
            .collect())
    }
}

fn item(place: &str, name: &str, object: &ObjectMeta, reason: Reason) -> Item {
    Item {
        place: format!("{place}/{name}"),
        bytes: object.size,
        reason,
    }
}

impl Collected {
    /// A line an object, and the sum, without a line end.
    pub fn describe(&self) -> String {
        let mut lines: Vec<String> = self
            .items
            .iter()
            .map(|item| format!("{:>12} {}  ({})", item.bytes, item.place, item.reason))
            .collect();
        let what = match (self.dry_run, self.objects) {
            (_, 0) => "nothing to remove".to_owned(),
            (true, n) => format!("{n} objects of {} bytes would go", self.bytes),
            (false, n) => format!("{n} objects of {} bytes are removed", self.bytes),
        };
        lines.push(what);
        lines.join("\n")
    }
}
