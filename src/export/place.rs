//! Where an export goes: what is there already, and whether it may go there.

use std::collections::BTreeSet;

use super::ExportError;
use super::index::{Begun, Inputs};
use crate::dataset;
use crate::store::{Created, Opened};
use crate::workspace::{Workspace, to_json};

/// Refuses a place that the dataset's next listing would find.
pub(super) fn outside(
    out: &Opened,
    source: &Opened,
    dataset: &dataset::Dataset,
) -> Result<(), ExportError> {
    if out.root == source.root && out.path.prefix_matches(&source.path) {
        return Err(ExportError::InsideSource {
            out: out.url(),
            dataset: dataset.name.clone(),
            source_url: dataset.source.clone(),
        });
    }
    Ok(())
}

/// Refuses a place that holds another export.
pub(super) fn taken(out: &Workspace, ours: &Inputs, theirs: &Inputs) -> Result<(), ExportError> {
    match ours.difference(theirs) {
        None => Ok(()),
        Some(what) => Err(ExportError::Taken {
            url: out.at.url(),
            what,
        }),
    }
}

/// Creates `_begun.json`, or finds that this very export was begun already.
pub(super) async fn begin(out: &Workspace, begun: &Begun) -> Result<(), ExportError> {
    if out.create("_begun.json", to_json(begun)).await? != Created::Other {
        return Ok(());
    }
    let there: Begun = out.read_json("_begun.json").await?;
    taken(out, &begun.inputs, &there.inputs)?;
    if there.generation == begun.generation {
        return Ok(());
    }
    Err(ExportError::Taken {
        url: out.at.url(),
        what: "state of the source, begun by another process at the same time",
    })
}

/// The numbers of the shards that have a record.
pub(super) async fn done_shards(out: &Workspace) -> Result<BTreeSet<u32>, ExportError> {
    let names = out.names("_shards").await?;
    let number = |name: &String| name.strip_suffix(".json")?.parse().ok();
    Ok(names.iter().filter_map(number).collect())
}
