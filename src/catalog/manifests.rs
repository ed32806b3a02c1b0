//! The generations of manifests as tables: `manifest`, each key once, and `manifest_history`, every generation.

use arrow::array::RecordBatch;
use datafusion::common::JoinType;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, col, lit, when};
use datafusion::prelude::SessionContext;

use super::{CatalogError, listing, union, view};
use crate::manifest::{self, Generation};
use crate::workspace::Workspace;

/// Registers `manifest` and `manifest_history`.
pub(super) fn register(
    workspace: &Workspace,
    context: &SessionContext,
    datasets: &[(String, Vec<Generation>)],
) -> Result<(), CatalogError> {
    let (mut histories, mut current) = (Vec::new(), Vec::new());
    for (name, generations) in datasets {
        if generations.is_empty() {
            continue;
        }
        let history = history(workspace, context, name, generations)?;
        current.push(without_superseded(
            history.clone().filter(col("status").not_eq(lit("gone")))?,
            &history,
            generations,
            col("generation"),
        )?);
        histories.push(history);
    }
    let empty = || Ok::<_, CatalogError>(empty_manifest(context)?);
    view(
        context,
        "manifest_history",
        union(histories)?.map_or_else(empty, Ok)?,
    )?;
    view(context, "manifest", union(current)?.map_or_else(empty, Ok)?)
}

/// The rows of one generation in the order they were written: by shard and row, those that are gone among them.
///
/// # Errors
/// DataFusion's.
pub fn generation(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    generation: &Generation,
) -> Result<DataFrame, CatalogError> {
    let relative = format!("manifests/dataset={dataset}/{}", generation.file);
    // A generation is written sorted by object, and all of its rows have its number: merging generations needs no sort.
    let order = vec![
        col("object").sort(true, false),
        col("generation").sort(false, false),
    ];
    listing(
        workspace,
        context,
        &[relative],
        manifest::schema(),
        vec![order],
    )
}

pub(super) fn history(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    generations: &[Generation],
) -> Result<DataFrame, CatalogError> {
    let mut frames = Vec::new();
    for g in generations {
        frames.push(generation(workspace, context, dataset, g)?);
    }
    let all = union(frames)?.map_or_else(|| empty_manifest(context), Ok)?;
    let mut columns = vec![lit(dataset).alias("dataset")];
    columns.extend(manifest::schema().fields().iter().map(|f| col(f.name())));
    Ok(all.select(columns)?)
}

fn empty_manifest(context: &SessionContext) -> Result<DataFrame, DataFusionError> {
    let mut columns = vec![lit("").alias("dataset")];
    columns.extend(manifest::schema().fields().iter().map(|f| col(f.name())));
    context
        .read_batch(RecordBatch::new_empty(manifest::schema()))?
        .select(columns)
}

/// Whether a later generation has something that is not new.
pub(super) fn any_superseded(generations: &[Generation]) -> bool {
    let mut later = generations.iter().skip(1);
    later.any(|g| g.changed + g.gone > 0)
}

/// The keys and generations, as `later_key` and `later_generation`, of what is not new.
pub(super) fn changed_or_gone(history: &DataFrame) -> Result<DataFrame, DataFusionError> {
    history
        .clone()
        .filter(col("status").not_eq(lit("new")))?
        .select(vec![
            col("key").alias("later_key"),
            col("generation").alias("later_generation"),
        ])
}

/// Rows less those whose key has a row in a later generation: it changed, or it is gone.
pub(super) fn without_superseded(
    rows: DataFrame,
    history: &DataFrame,
    generations: &[Generation],
    generation: Expr,
) -> Result<DataFrame, CatalogError> {
    if !any_superseded(generations) {
        return Ok(rows);
    }
    let later = changed_or_gone(history)?;
    // The side that a hash join holds in memory is its left one: what changed or is gone is less than what is there.
    Ok(later.join_on(
        rows,
        JoinType::RightAnti,
        [
            col("key").eq(col("later_key")),
            col("later_generation").gt(generation),
        ],
    )?)
}

/// The generation that a shard belongs to: shard numbers never restart.
pub(super) fn generation_of_shard(generations: &[Generation]) -> Result<Expr, CatalogError> {
    let mut newest_first = generations.iter().rev();
    let Some(newest) = newest_first.next() else {
        return Ok(lit(1_u32));
    };
    let from = |g: &Generation| col("shard").gt_eq(lit(g.first_shard));
    let mut cases = when(from(newest), lit(newest.generation));
    for g in newest_first {
        cases = cases.when(from(g), lit(g.generation));
    }
    Ok(cases.otherwise(lit(1_u32))?)
}
