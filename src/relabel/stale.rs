//! How much of a dataset a teacher has not labelled, as its manifest stands.

use serde::Serialize;

use crate::catalog;
use crate::error::Error;
use crate::label::plan::{self, Plan};
use crate::label::work::Search;
use crate::manifest;
use crate::workspace::Workspace;

/// What a teacher has not labelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stale {
    /// Shards whose object is still to be made.
    pub shards: u64,
    /// Shards of the manifest.
    pub of: u64,
    /// Images of these. Of what came since the teacher labelled last, those are among them that a selection has taken before or that changed again.
    pub images: u64,
}

/// Looks at the manifest and the labels, and not at the source: images that came since are found when it is labelled.
///
/// # Errors
/// [`Error`].
pub async fn stale(workspace: &Workspace, dataset: &str, teacher: &str) -> Result<Stale, Error> {
    let context = catalog::context(workspace, 1)?;
    let generations = manifest::generations(workspace, dataset).await?;
    let mut plans = plan::plans(workspace, dataset, teacher).await?;
    if let Some(newest) = generations.last()
        && plan::reach(&plans) < newest.generation
    {
        // As the next run plans, but for what selections have taken of it and what is void: to know that takes a look at all keys.
        plans.push(Plan {
            number: u32::MAX,
            generation: newest.generation,
            file: None,
            chosen: None,
        });
    }
    let search = Search {
        workspace,
        context: &context,
        dataset,
        teacher,
    };
    let (shards, images) = search.open(&generations, &plans).await?;
    Ok(Stale {
        shards,
        of: generations.iter().map(|g| u64::from(g.shards)).sum(),
        images,
    })
}
