//! What an export has to know of a workspace: the rows of a selection, what labels say of their images' bytes, and where images are.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{Expr, cast, col, lit, when};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::manifests::history;
use super::objects::{Folder, LabelsObjects, Of, Which};
use super::session::fit_batches;
use super::{CatalogError, encoded_url, parquet, whole};
use crate::label::{LabelSettings, folder};
use crate::manifest::{self, Generation};
use crate::schema;
use crate::select::report::{self, PartRecord, SelectionFile};
use crate::workspace::Workspace;

/// Memory of all sorts of an export before they spill to the temporary directory: 128 MiB.
const SORT_MEMORY: usize = 128 * 1024 * 1024;
/// What a sort keeps for merging what it spilled.
const MERGE_MEMORY: usize = 8 * 1024 * 1024;
/// Rows of a batch, where soft labels do not make them fewer.
const BATCH: usize = 1024;

/// A context for sorts of wide rows, one thread each. What they spill is bounded by the disk alone: soft labels of 80 million images are
/// 160 GB, and the images themselves fifty times that.
///
/// # Errors
/// DataFusion's, where its temporary directory cannot be made.
pub fn sorting_context(workspace: &Workspace) -> Result<SessionContext, CatalogError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(SORT_MEMORY)))
        .with_max_temp_directory_size(u64::MAX)
        .build_arc()?;
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH)
        .with_collect_statistics(false);
    let options = config.options_mut();
    options.execution.sort_spill_reservation_bytes = MERGE_MEMORY;
    // One sort over all generations, rather than a sort of each that shares the memory with the others.
    options.optimizer.repartition_sorts = false;
    let context = SessionContext::new_with_config_rt(config, runtime);
    context.register_object_store(&workspace.at.root, Arc::clone(&workspace.at.store));
    Ok(context)
}

/// The rows of a selection: `key`, `class` (Int64), `confidence`, `copies`, and where the selection has them `copy` and `probs`.
///
/// # Errors
/// DataFusion's.
pub async fn selected(
    workspace: &Workspace,
    context: &SessionContext,
    file: &SelectionFile,
) -> Result<DataFrame, CatalogError> {
    let place = report::folder(&file.id);
    let at = |part: &PartRecord| format!("{place}/{}", part.file);
    let parts: Vec<_> = file.parts.iter().map(at).collect();
    whole::check(workspace, &parts).await?;
    let config = parquet(workspace, &parts, Vec::new())?;
    let config = config.infer_schema(&context.state()).await?;
    if let Some(schema) = &config.file_schema {
        // Before there is a frame, which has settings of its own.
        fit_batches(context, schema);
    }
    let rows = context.read_table(Arc::new(ListingTable::try_new(config)?))?;
    let has = |name: &str| rows.schema().as_arrow().field_with_name(name).is_ok();
    let mut columns = vec![
        as_type("key", DataType::Utf8),
        as_type("class", DataType::Int64),
        as_type("confidence", DataType::Float32),
        if has("copies") {
            as_type("copies", DataType::UInt32)
        } else {
            lit(1_u32).alias("copies")
        },
    ];
    if has("copy") {
        columns.push(col("copy"));
    }
    if has("probs") {
        columns.push(col("probs"));
    }
    Ok(rows.select(columns)?)
}

/// What every label that a teacher ever gave says of its image's bytes: `key`, `class` (Int64), `confidence`, `sha256`. Of an image that
/// changed there are several.
///
/// # Errors
/// [`CatalogError`].
pub async fn fingerprinted(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    teacher: &str,
    classes: usize,
) -> Result<DataFrame, CatalogError> {
    let place = folder(dataset, teacher);
    let settings = LabelSettings::find(workspace, dataset, teacher).await?;
    let raw = if let Some(settings) = settings {
        let objects = LabelsObjects {
            folder: Folder::new(
                ListingTableUrl::parse(encoded_url(workspace, &format!("{place}/")))?,
                schema::labels(settings.encoding, classes),
                None,
            ),
            which: Which::All,
            of: Of::All,
        };
        context.read_table(Arc::new(objects))?
    } else {
        // The labels are gone: nothing is known of the bytes.
        let schema = schema::labels(schema::Encoding::Float32, classes);
        context.read_batch(RecordBatch::new_empty(schema))?
    };
    fingerprints(raw.filter(col("reason").is_null())?)
}

/// `key`, `class` (Int64), `confidence`, `sha256` (Binary) of any labels.
///
/// # Errors
/// DataFusion's.
pub fn fingerprints(labels: DataFrame) -> Result<DataFrame, CatalogError> {
    Ok(labels.select(vec![
        as_type("key", DataType::Utf8),
        as_type("class", DataType::Int64),
        as_type("confidence", DataType::Float32),
        as_type("sha256", DataType::Binary),
    ])?)
}

/// Where the images of a dataset were, by these generations: the columns of the manifest, those that are gone among them.
///
/// # Errors
/// DataFusion's.
pub fn places(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    generations: &[Generation],
) -> Result<DataFrame, CatalogError> {
    let all = history(workspace, context, dataset, generations)?;
    // What is gone has no shard.
    let columns = manifest::schema()
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            name @ ("shard" | "row") => Ok(when(col(name).is_null(), lit(0_u32))
                .otherwise(col(name))?
                .alias(name)),
            name => Ok(as_type(name, field.data_type().clone())),
        })
        .collect::<Result<Vec<_>, DataFusionError>>()?;
    Ok(all.select(columns)?)
}

fn as_type(name: &str, of: DataType) -> Expr {
    cast(col(name), of).alias(name)
}
