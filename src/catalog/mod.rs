//! The workspace as SQL tables and views, read only; `schemas/catalog.json` describes them all.
//!
//! `labels` and `rejects` are the two halves of the labels objects: of a key that changed in the bucket the newest generation, of a key
//! that was retried the latest attempt. All datasets and teachers are in them, as the columns `dataset` and `teacher`; a filter on these
//! leaves the other objects unread. `probs` is a list of Float32 whatever it is stored as; `topk` and `rest` are set where labels are
//! stored as top-k. `manifest` has each key once, `manifest_history` every generation.

mod arguments;
mod audit;
mod bins;
mod bounded;
mod churn;
mod churn_reports;
mod columns;
mod compared;
mod concatenation;
pub(crate) mod damage;
mod error;
pub(crate) mod files;
mod fits;
mod functions;
mod grows;
pub mod images;
mod jobs;
mod labels;
mod lazy;
mod manifests;
mod objects;
mod pipelines;
mod plans;
mod promotions;
mod query;
mod ranges;
mod read_only;
mod records;
pub mod reference;
mod rows;
mod runs;
mod selections;
mod session;
mod sizes;
mod superseded;
mod teachers;
mod trainings;
mod views;
mod whole;
mod windows;
mod wrapping;
mod yielding;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, SortExpr, Union};
use datafusion::prelude::SessionContext;
use futures::try_join;
use url::Url;

pub use self::churn::{churn_call, compared_call, literal};
pub use self::error::CatalogError;
pub use self::labels::labels_of;
pub use self::manifests::generation;
pub use self::plans::{as_planned, plan_rows, selection_keys, whole_generation};
pub(crate) use self::query::reads;
pub use self::query::{DEFAULT_ROWS, Limits, execute, query};
pub use self::rows::rows;
pub use self::session::{
    Cache, QUERY_MEMORY, context, fit_batches, join_by_sorting, join_few_partitions, read_lazily,
    selection_context,
};
use self::whole::{Lost, Whole};
use crate::manifest;
use crate::workspace::Workspace;

/// A context for people's queries, with all tables and views of the workspace, read only. `memory` is what a query may hold, in bytes.
///
/// # Errors
/// [`CatalogError`].
pub async fn open(workspace: &Workspace, memory: usize) -> Result<SessionContext, CatalogError> {
    let context = session::read_only(workspace, memory, None)?;
    opened(workspace, context, None).await
}

/// [`open`], for one query of many of the same process.
///
/// # Errors
/// [`CatalogError`].
pub async fn open_again(
    workspace: &Workspace,
    memory: usize,
    cache: &Cache,
) -> Result<SessionContext, CatalogError> {
    let context = session::read_only(workspace, memory, Some(cache))?;
    opened(workspace, context, Some(cache)).await
}

async fn opened(
    workspace: &Workspace,
    context: SessionContext,
    cache: Option<&Cache>,
) -> Result<SessionContext, CatalogError> {
    register_with(workspace, &context, cache).await?;
    views::register(&context).await?;
    Ok(context)
}

/// Registers all tables of the workspace.
///
/// # Errors
/// [`CatalogError`].
pub async fn register(workspace: &Workspace, context: &SessionContext) -> Result<(), CatalogError> {
    register_with(workspace, context, None).await
}

async fn register_with(
    workspace: &Workspace,
    context: &SessionContext,
    cache: Option<&Cache>,
) -> Result<(), CatalogError> {
    let of_datasets = async {
        let datasets = manifest::all(workspace).await?;
        manifests::register(workspace, context, &datasets)?;
        labels::register(workspace, context, &datasets, cache).await
    };
    try_join!(
        of_datasets,
        teachers::register(workspace, context),
        promotions::register(workspace, context),
        selections::register(workspace, context),
        trainings::register(workspace, context),
    )?;
    let (stages, models) = (pipelines::stages(), pipelines::models());
    lazy::register(workspace, context, "runs", runs::schema(), runs::rows)?;
    lazy::register(workspace, context, "audit", audit::schema(), audit::rows)?;
    let ended = cache.map(|cache| cache.ended_jobs.clone());
    let ended = ended.unwrap_or_default();
    let job_rows = move |workspace| jobs::rows(workspace, ended.clone());
    lazy::register(workspace, context, "jobs", jobs::schema(), job_rows)?;
    lazy::register(
        workspace,
        context,
        "churn_reports",
        churn_reports::schema(),
        churn_reports::rows,
    )?;
    lazy::register(
        workspace,
        context,
        "pipeline_stages",
        stages,
        pipelines::stage_rows,
    )?;
    lazy::register(
        workspace,
        context,
        "pipeline_models",
        models,
        pipelines::model_rows,
    )?;
    Ok(())
}

/// The URL of a place in the workspace, percent-encoded as DataFusion wants it.
fn encoded_url(workspace: &Workspace, relative: &str) -> Url {
    let mut url = workspace.at.encoded(&workspace.path(relative));
    if relative.ends_with('/')
        && let Ok(mut segments) = url.path_segments_mut()
    {
        segments.push("");
    }
    url
}

/// Parquet objects as a table of a known schema: no footer is read before the query. All of them must be there.
fn listing(
    workspace: &Workspace,
    context: &SessionContext,
    places: &[String],
    schema: SchemaRef,
    order: Vec<Vec<SortExpr>>,
) -> Result<DataFrame, CatalogError> {
    let config = parquet(workspace, places, order)?.with_schema(schema);
    let table = Whole {
        workspace: workspace.clone(),
        places: places.to_vec(),
        lost: None,
        table: ListingTable::try_new(config)?,
    };
    Ok(context.read_table(Arc::new(table))?)
}

/// [`listing`] of objects that have been looked for.
fn listed(
    workspace: &Workspace,
    context: &SessionContext,
    places: &[String],
    lost: Option<Lost>,
    schema: SchemaRef,
) -> Result<DataFrame, CatalogError> {
    let config = parquet(workspace, places, Vec::new())?.with_schema(schema);
    let table = Whole {
        workspace: workspace.clone(),
        places: Vec::new(),
        lost,
        table: ListingTable::try_new(config)?,
    };
    Ok(context.read_table(Arc::new(table))?)
}

/// Parquet objects, or all below folders, in this order.
fn parquet(
    workspace: &Workspace,
    places: &[String],
    order: Vec<Vec<SortExpr>>,
) -> Result<ListingTableConfig, CatalogError> {
    let urls = places
        .iter()
        .map(|place| ListingTableUrl::parse(encoded_url(workspace, place)))
        .collect::<Result<_, _>>()?;
    let options =
        ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let options = options.with_file_sort_order(order);
    Ok(ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options))
}

/// The rows of all of them. `None` of none.
pub(crate) fn union(frames: Vec<DataFrame>) -> Result<Option<DataFrame>, DataFusionError> {
    let mut frames = frames.into_iter().map(DataFrame::into_parts);
    let Some((state, first)) = frames.next() else {
        return Ok(None);
    };
    let others = frames.map(|(_, plan)| plan);
    let all = union_of(std::iter::once(first).chain(others).collect())?;
    Ok(all.map(|plan| DataFrame::new(state, plan)))
}

/// One union of all: to plan a chain of them takes the square of its length. `None` of none.
fn union_of(mut plans: Vec<LogicalPlan>) -> Result<Option<LogicalPlan>, DataFusionError> {
    if plans.len() < 2 {
        return Ok(plans.pop());
    }
    let plans = plans.into_iter().map(Arc::new).collect();
    let union = Union::try_new_with_loose_types(plans)?;
    Ok(Some(LogicalPlan::Union(union)))
}

fn view(context: &SessionContext, name: &str, frame: DataFrame) -> Result<(), CatalogError> {
    context.register_table(name, frame.into_view())?;
    Ok(())
}
