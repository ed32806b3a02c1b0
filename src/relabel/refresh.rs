//! Selections that were made of former labels, made anew of the current teacher's.
//!
//! `selections/ID` stays as it is; what it would be now is `selections/ID@2`, then `ID@3`, … `selections/ID/refresh-000002.json` says so: the highest number is the newest.

use serde::{Deserialize, Serialize};

use super::follow::is_pinned;
use crate::catalog::QUERY_MEMORY;
use crate::error::Error;
use crate::label::whose::Whose;
use crate::promotion::{self, Promotion};
use crate::select::SelectError;
use crate::select::input::Labels;
use crate::select::job::SelectJob;
use crate::select::report::{SelectionFile, folder};
use crate::store::StorageOptions;
use crate::teacher::NOISED;
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// `refresh-000002.json`, beside the selection that it is the newest of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshFile {
    /// Of the refresh; the selection itself is number 1.
    pub number: u32,
    /// ID@N.
    pub selection: String,
    /// NAME@VERSION whose labels it was made of.
    pub teacher: String,
    /// The promotion that was followed.
    pub promotion: u32,
}

/// What became of a selection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Refreshed {
    /// It was made anew.
    Made {
        /// The selection.
        of: String,
        /// What it is now.
        selection: String,
        /// Its rows.
        rows: u64,
    },
    /// Nothing of the current labels can be chosen by its rules, or the rules are not known.
    Stays {
        /// The selection.
        of: String,
        /// Why.
        error: String,
    },
}

async fn last(workspace: &Workspace, id: &str) -> Result<Option<RefreshFile>, WorkspaceError> {
    let place = folder(id);
    let names = workspace.names(&place).await?;
    match names.iter().rfind(|name| name.starts_with("refresh-")) {
        Some(name) => workspace
            .read_json(&format!("{place}/{name}"))
            .await
            .map(Some),
        None => Ok(None),
    }
}

/// Refreshes all selections of a dataset's labels by one teacher that was not pinned.
pub(super) async fn refresh(
    workspace: &Workspace,
    dataset: &str,
    promotion: &Promotion,
    storage: &StorageOptions,
) -> Result<Vec<Refreshed>, Error> {
    let mut refreshed = Vec::new();
    for file in SelectionFile::list(workspace).await? {
        if file.id.contains('@') {
            continue;
        }
        if let Some(teacher) = source(&file, dataset)
            && !is_pinned(workspace, dataset, teacher).await?
        {
            let last = last(workspace, &file.id).await?;
            let newest = last.as_ref().map_or(teacher, |last| &last.teacher);
            if *newest == promotion.teacher {
                continue;
            }
            if promotion::later(workspace, promotion.number)
                .await?
                .is_some()
            {
                break;
            }
            if file.input.own_queries {
                refreshed.push(Refreshed::Stays {
                    of: file.id,
                    error: "it was made with queries of its own: `understudy select --queries` makes it of the new labels".into(),
                });
            } else {
                let number = last.as_ref().map_or(2, |last| last.number + 1);
                refreshed.push(anew(workspace, &file, number, promotion, storage).await?);
            }
        }
    }
    Ok(refreshed)
}

/// The teacher whose labels alone the selection was made of.
fn source<'a>(file: &'a SelectionFile, dataset: &str) -> Option<&'a String> {
    let input = &file.input;
    let own = input.dataset.as_deref() == Some(dataset) && input.filter_teacher.is_none();
    let teacher = input.teacher.as_ref().filter(|_| own)?;
    (!teacher.contains(NOISED)).then_some(teacher)
}

async fn anew(
    workspace: &Workspace,
    file: &SelectionFile,
    mut number: u32,
    promotion: &Promotion,
    storage: &StorageOptions,
) -> Result<Refreshed, Error> {
    let teacher: Whose = promotion.teacher.parse()?;
    loop {
        let id = format!("{}@{number}", file.id);
        let job = SelectJob {
            id: id.clone(),
            labels: Labels::Dataset {
                dataset: file.input.dataset.clone().unwrap_or_default(),
                teacher: teacher.clone(),
                filter: None,
            },
            config: file.config.clone(),
            explain: false,
            queries: None,
            storage: storage.clone(),
            memory: QUERY_MEMORY,
        };
        let made = match job.run(workspace).await {
            Ok((made, _)) => made,
            // Begun for an earlier promotion, and never pointed at.
            Err(SelectError::Taken { .. }) => {
                number += 1;
                continue;
            }
            Err(e @ SelectError::Empty { .. }) => {
                return Ok(Refreshed::Stays {
                    of: file.id.clone(),
                    error: e.to_string(),
                });
            }
            Err(e) => return Err(e.into()),
        };
        let pointer = RefreshFile {
            number,
            selection: id.clone(),
            teacher: promotion.teacher.clone(),
            promotion: promotion.number,
        };
        let place = format!("{}/refresh-{number:06}.json", folder(&file.id));
        workspace.create(&place, to_json(&pointer)).await?;
        return Ok(Refreshed::Made {
            of: file.id.clone(),
            selection: id,
            rows: made.totals.rows,
        });
    }
}
