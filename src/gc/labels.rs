//! Labels of former teachers.
//!
//! A teacher's labels of a dataset go where all of this is so: the current teacher has labelled the whole manifest; the teacher was current once, or a re-labelling of the
//! dataset took its labels' place; it is neither current nor that of the last promotions; the labels are not pinned; no selection was made of them.

use std::collections::HashSet;

use super::{Item, Look, Reason, item};
use crate::error::Error;
use crate::label::{SETTINGS, folder};
use crate::promotion;
use crate::relabel::{churns, labelled_by, stale};
use crate::select::report::SelectionFile;
use crate::teacher::NOISED;

pub(super) async fn find(look: &Look<'_>, keep_promotions: usize) -> Result<Vec<Item>, Error> {
    let workspace = look.workspace;
    let history = promotion::history(workspace).await?;
    let mut items = Vec::new();
    let Some(current) = history.last() else {
        return Ok(items);
    };
    let promoted: HashSet<&str> = history.iter().map(|p| p.teacher.as_str()).collect();
    let kept: HashSet<&str> = history
        .iter()
        .rev()
        .take(keep_promotions + 1)
        .map(|p| p.teacher.as_str())
        .collect();
    let used = used(look).await?;
    for dataset in workspace.folders("datasets").await? {
        let replaced: HashSet<String> = churns(workspace, &dataset)
            .await?
            .into_iter()
            .filter_map(|churn| churn.before)
            .collect();
        let former: Vec<String> = labelled_by(workspace, &dataset)
            .await?
            .into_iter()
            .filter(|by| !by.pinned && !kept.contains(by.teacher.as_str()))
            .filter(|by| promoted.contains(by.teacher.as_str()) || replaced.contains(&by.teacher))
            .filter(|by| !used.contains(&(dataset.clone(), by.teacher.clone())))
            .map(|by| by.teacher)
            .collect();
        // The manifest is read where there is anything to decide.
        if former.is_empty() || stale(workspace, &dataset, &current.teacher).await?.images > 0 {
            continue;
        }
        for teacher in former {
            items.extend(of_teacher(look, &folder(&dataset, &teacher)).await?);
        }
    }
    Ok(items)
}

/// The labels in one folder: all, or where any is young none. What makes them visible goes first.
async fn of_teacher(look: &Look<'_>, place: &str) -> Result<Vec<Item>, Error> {
    let mut objects = look.below(place).await?;
    if !objects.iter().all(|(_, object)| look.is_old(object)) {
        return Ok(Vec::new());
    }
    let claimed = objects.iter().any(|(name, _)| name == SETTINGS);
    let reason = if claimed {
        Reason::FormerLabels
    } else {
        Reason::UnclaimedLabels
    };
    objects.sort_by_key(|(name, _)| name != SETTINGS);
    Ok(objects
        .iter()
        .map(|(name, object)| item(place, name, object, reason))
        .collect())
}

/// Datasets and teachers whose labels a selection was made of: by either of its teachers, noised or not.
async fn used(look: &Look<'_>) -> Result<HashSet<(String, String)>, Error> {
    let mut used = HashSet::new();
    for file in SelectionFile::list(look.workspace).await? {
        let Some(dataset) = file.input.dataset else {
            continue;
        };
        for teacher in [file.input.teacher, file.input.filter_teacher] {
            let clean = teacher.as_deref().and_then(|t| t.split(NOISED).next());
            used.extend(clean.map(|clean| (dataset.clone(), clean.to_owned())));
        }
    }
    Ok(used)
}
