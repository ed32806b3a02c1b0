//! What the label stage scans besides a manifest's generations: the rows of its plans, and the keys of a selection.

use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;

use super::selections::row_schema;
use super::{CatalogError, generation, listing, union};
use crate::label::plan;
use crate::manifest::{Generation, plan_schema};
use crate::select::report::{SelectionFile, folder};
use crate::workspace::Workspace;

/// The rows of a plan's file, in the order they were written: by shard and row.
///
/// # Errors
/// DataFusion's.
pub fn plan_rows(
    workspace: &Workspace,
    context: &SessionContext,
    (dataset, teacher): (&str, &str),
    file: &str,
) -> Result<DataFrame, CatalogError> {
    let relative = format!("{}/{file}", plan::folder(dataset, teacher));
    listing(workspace, context, &[relative], plan_schema(), Vec::new())
}

/// The rows of a generation as a plan has them that takes all of it.
///
/// # Errors
/// DataFusion's.
pub fn whole_generation(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    of: &Generation,
) -> Result<DataFrame, CatalogError> {
    let rows = generation(workspace, context, dataset, of)?.filter(col("shard").is_not_null())?;
    as_planned(rows)
}

/// Manifest rows with a plan's columns, for the manifest's own shards.
///
/// # Errors
/// DataFusion's.
pub fn as_planned(rows: DataFrame) -> Result<DataFrame, CatalogError> {
    let columns = plan_schema();
    let columns = columns.fields().iter().map(|f| match f.name().as_str() {
        "plan" => lit(0_u32).alias("plan"),
        "part" => lit(datafusion::common::ScalarValue::UInt32(None)).alias("part"),
        name => col(name),
    });
    Ok(rows.select(columns.collect::<Vec<_>>())?)
}

/// The keys of a selection; none where it has no rows.
///
/// # Errors
/// DataFusion's.
pub fn selection_keys(
    workspace: &Workspace,
    context: &SessionContext,
    selection: &SelectionFile,
) -> Result<DataFrame, CatalogError> {
    let mut parts = Vec::new();
    for part in &selection.parts {
        let at = format!("{}/{}", folder(&selection.id), part.file);
        let rows = listing(workspace, context, &[at], row_schema(), Vec::new())?;
        parts.push(rows.select(vec![col("key")])?);
    }
    let none = arrow::array::RecordBatch::new_empty(row_schema());
    match union(parts)? {
        Some(keys) => Ok(keys),
        None => Ok(context.read_batch(none)?.select(vec![col("key")])?),
    }
}
