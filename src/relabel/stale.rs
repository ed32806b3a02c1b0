//! How much of a dataset a teacher has not labelled, as its manifest stands.

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use datafusion::logical_expr::col;
use futures::TryStreamExt;
use serde::Serialize;

use crate::catalog::{self, CatalogError};
use crate::error::Error;
use crate::label::commit::LabelsObject;
use crate::label::committed;
use crate::manifest;
use crate::workspace::Workspace;

/// What a teacher has not labelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stale {
    /// Shards of the manifest without an object.
    pub shards: u64,
    /// Shards of the manifest.
    pub of: u64,
    /// Rows of those without. Images that were labelled as part of a selection are among them where their shard has no object.
    pub images: u64,
}

/// Looks at the manifest and the labels, and not at the source: images that came since are found when it is labelled.
///
/// # Errors
/// [`Error`].
pub async fn stale(workspace: &Workspace, dataset: &str, teacher: &str) -> Result<Stale, Error> {
    let there = committed(workspace, dataset, teacher).await?;
    let open = |shard: u32| !there.contains(&LabelsObject::Shard { shard });
    let context = catalog::context(workspace, 1)?;
    let mut stale = Stale::default();
    for g in manifest::generations(workspace, dataset).await? {
        let shards = g.first_shard..g.first_shard + g.shards;
        stale.of += u64::from(g.shards);
        let before = stale.shards;
        stale.shards += shards.filter(|shard| open(*shard)).count() as u64;
        if stale.shards == before {
            continue;
        }
        let rows = catalog::whole_generation(workspace, &context, dataset, &g)?;
        let rows = rows.select(vec![col("shard")]);
        let rows = rows.map_err(CatalogError::from)?.execute_stream().await;
        let mut rows = rows.map_err(CatalogError::from)?;
        while let Some(batch) = rows.try_next().await.map_err(CatalogError::from)? {
            let shards = batch.column(0).as_primitive_opt::<UInt32Type>();
            let shards = shards
                .into_iter()
                .flat_map(|shards| shards.iter().flatten());
            stale.images += shards.filter(|shard| open(*shard)).count() as u64;
        }
    }
    Ok(stale)
}
