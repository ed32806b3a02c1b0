//! Which datasets follow promotions.

use object_store::ObjectStoreExt;
use serde::Serialize;

use crate::label::{LabelSettings, whose};
use crate::promotion::Promotion;
use crate::store::StoreError;
use crate::teacher::NOISED;
use crate::workspace::{Workspace, WorkspaceError};

/// Labels of a dataset by a clean teacher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledBy {
    /// NAME@VERSION.
    pub teacher: String,
    /// Whether they were made with `--pin`.
    pub pinned: bool,
}

#[derive(Serialize)]
struct Pin<'a> {
    dataset: &'a str,
    teacher: &'a str,
}

fn place_of_pin(dataset: &str, teacher: &str) -> String {
    format!("pins/dataset={dataset}/teacher={teacher}.json")
}

/// Remembers that these labels follow no promotion, and stay.
///
/// # Errors
/// The store's.
pub async fn pin(
    workspace: &Workspace,
    dataset: &str,
    teacher: &str,
) -> Result<(), WorkspaceError> {
    let pin = Pin { dataset, teacher };
    let place = place_of_pin(dataset, teacher);
    let bytes = crate::workspace::to_json(&pin);
    workspace.create(&place, bytes).await?;
    Ok(())
}

/// Whether labels, by the name that they are kept under, are pinned.
pub(crate) async fn is_pinned(
    workspace: &Workspace,
    dataset: &str,
    teacher: &str,
) -> Result<bool, WorkspaceError> {
    workspace.exists(&place_of_pin(dataset, teacher)).await
}

/// The teachers, not noised, that have labelled anything of a dataset, by name.
///
/// # Errors
/// The store's.
pub async fn labelled_by(
    workspace: &Workspace,
    dataset: &str,
) -> Result<Vec<LabelledBy>, WorkspaceError> {
    let mut found = Vec::new();
    for teacher in whose::labellers(workspace, dataset).await? {
        if !teacher.contains(NOISED) {
            found.push(LabelledBy {
                pinned: is_pinned(workspace, dataset, &teacher).await?,
                teacher,
            });
        }
    }
    Ok(found)
}

/// The datasets that follow promotions: those with labels that are not pinned.
///
/// # Errors
/// The store's.
pub async fn followers(workspace: &Workspace) -> Result<Vec<String>, WorkspaceError> {
    let mut following = Vec::new();
    for dataset in workspace.folders("datasets").await? {
        let labels = labelled_by(workspace, &dataset).await?;
        if labels.iter().any(|by| !by.pinned) {
            following.push(dataset);
        }
    }
    Ok(following)
}

/// Whose labels the current teacher's take the place of: of the teachers that were current before, the last that has labelled the dataset; where none has, the one whose labels
/// were begun last.
pub(super) async fn before(
    workspace: &Workspace,
    dataset: &str,
    history: &[Promotion],
) -> Result<Option<String>, WorkspaceError> {
    let Some(current) = history.last() else {
        return Ok(None);
    };
    let mut others = labelled_by(workspace, dataset).await?;
    others.retain(|by| by.teacher != current.teacher && !by.pinned);
    let has = |teacher: &String| others.iter().any(|by| by.teacher == *teacher);
    let mut promoted = history.iter().rev().map(|p| &p.teacher);
    if let Some(teacher) = promoted.find(|teacher| has(teacher)) {
        return Ok(Some(teacher.clone()));
    }
    let mut begun = Vec::new();
    for by in others {
        let settings = workspace.path(&LabelSettings::place(dataset, &by.teacher));
        let at = match workspace.at.store.head(&settings).await {
            Ok(meta) => meta.last_modified,
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(e) => {
                let url = workspace.at.key(&settings);
                return Err(StoreError::from_object_store("read", url, &e).into());
            }
        };
        begun.push((at, by.teacher));
    }
    Ok(begun.into_iter().max().map(|(_, teacher)| teacher))
}
