//! Objects whose commit was never put, and what nobody reads any more.

use std::collections::{HashMap, HashSet};

use super::{Item, Look, Reason, item};
use crate::error::Error;
use crate::jobs;
use crate::manifest::{self, Generation};

/// Folders whose commit is one JSON in each of their folders: the folder, how deep those are, and the JSON's name.
const COMMITTED: [(&str, usize, &str); 3] = [
    ("selections", 1, "selection.json"),
    ("teachers", 2, "teacher.json"),
    ("students", 1, "student.json"),
];

pub(super) async fn find(look: &Look<'_>) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    for (place, depth, commit) in COMMITTED {
        items.extend(without_commit(look, place, depth, commit).await?);
    }
    for dataset in look.workspace.folders("datasets").await? {
        items.extend(of_manifest(look, &dataset).await?);
    }
    items.extend(of_jobs(look).await?);
    for (name, object) in look.below("probes").await? {
        if look.is_old(&object) {
            items.push(item("probes", &name, &object, Reason::Probe));
        }
    }
    items.extend(look.half_written());
    Ok(items)
}

/// All objects of folders without their commit; of a folder with a young object none.
async fn without_commit(
    look: &Look<'_>,
    place: &str,
    depth: usize,
    commit: &str,
) -> Result<Vec<Item>, Error> {
    let objects = look.below(place).await?;
    let of = |name: &str| {
        let parts: Vec<&str> = name.split('/').collect();
        (parts.len() > depth).then(|| (parts[..depth].join("/"), parts[depth..].join("/")))
    };
    let mut busy = HashSet::new();
    for (name, object) in &objects {
        if let Some((folder, rest)) = of(name)
            && (rest == commit || !look.is_old(object))
        {
            busy.insert(folder);
        }
    }
    let left = objects.iter().filter(|(name, _)| {
        let folder = of(name).map(|(folder, _)| folder);
        folder.is_some_and(|folder| !busy.contains(&folder))
    });
    Ok(left
        .map(|(name, object)| item(place, name, object, Reason::Uncommitted))
        .collect())
}

/// Rows of generations and plans that no generation and no plan names.
async fn of_manifest(look: &Look<'_>, dataset: &str) -> Result<Vec<Item>, Error> {
    let place = manifest::folder(dataset);
    let objects = look.below(&place).await?;
    let mut named: HashSet<String> = HashSet::new();
    let generations = manifest::generations(look.workspace, dataset).await?;
    named.extend(generations.into_iter().map(|g: Generation| g.file));
    for (name, _) in &objects {
        if let Some((folder, file)) = name.split_once('/')
            && file.strip_suffix(".json").is_some()
            && let Some(teacher) = folder.strip_prefix("teacher=")
        {
            // Once a teacher, whichever of its plans comes first.
            if named.insert(format!("{folder}/")) {
                let plans = crate::label::plan::plans(look.workspace, dataset, teacher).await?;
                let files = plans.into_iter().filter_map(|plan| plan.file);
                named.extend(files.map(|file| format!("{folder}/{file}")));
            }
        }
    }
    let left = objects.iter().filter(|(name, object)| {
        name.strip_suffix(".parquet").is_some() && !named.contains(name) && look.is_old(object)
    });
    Ok(left
        .map(|(name, object)| item(&place, name, object, Reason::Uncommitted))
        .collect())
}

/// Entries of the journals of jobs that have ended, but for the last.
async fn of_jobs(look: &Look<'_>) -> Result<Vec<Item>, Error> {
    let ended: HashMap<String, u32> = jobs::list(look.workspace)
        .await?
        .into_iter()
        .filter(|job| job.state().is_final())
        .map(|job| (job.file.id.clone(), job.number()))
        .collect();
    let mut items = Vec::new();
    for (name, object) in look.below("jobs").await? {
        let earlier = name.split_once('/').is_some_and(|(id, file)| {
            let (last, entry) = (ended.get(id), jobs::number_of(file));
            last.zip(entry).is_some_and(|(last, entry)| entry < *last)
        });
        if earlier && look.is_old(&object) {
            items.push(item("jobs", &name, &object, Reason::Journal));
        }
    }
    Ok(items)
}
