//! Which object it is that a query could not read. The engine's errors do not say: after one that is of an object's content, what the query reads is read once more, one object after the
//! other.

use std::sync::Arc;

use arrow::array::Array;
use arrow::error::ArrowError;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

use super::error::of_a_read;
use super::lazy::unreadable;
use super::ranges::Ranges;
use crate::workspace::WorkspaceError;

/// Whether an error is of what an object holds, and not of its store.
pub(crate) fn is_of_content(error: &DataFusionError) -> bool {
    let is_parquet = match error.find_root() {
        DataFusionError::ParquetError(_) => true,
        DataFusionError::ArrowError(e, _) => matches!(**e, ArrowError::ParquetError(_)),
        _ => false,
    };
    is_parquet && of_a_read(error).is_none()
}

/// Reads columns of an object, and counts keys that are null.
pub(crate) async fn null_keys(
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
    columns: &[&str],
) -> Result<usize, ParquetError> {
    let reader = Ranges {
        store: Arc::clone(store),
        meta: meta.clone(),
    };
    // As the engine reads it.
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let mut stream = builder.with_projection(mask).build()?;
    let mut nulls = 0;
    while let Some(batch) = stream.try_next().await? {
        nulls += batch.column_by_name("key").map_or(0, Array::null_count);
    }
    Ok(nulls)
}

/// The error of a plan, or one that names the object that it is of.
pub(super) async fn named(
    error: DataFusionError,
    plan: Arc<dyn ExecutionPlan>,
    runtime: Arc<RuntimeEnv>,
) -> DataFusionError {
    if !is_of_content(&error) {
        return error;
    }
    for scan in scans(&plan) {
        let Ok(store) = runtime.object_store(&scan.object_store_url) else {
            continue;
        };
        let Ok(schema) = scan.projected_schema() else {
            continue;
        };
        let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        for file in scan.file_groups.iter().flat_map(FileGroup::iter) {
            let (url, meta) = (&scan.object_store_url, &file.object_meta);
            if let Some(named) = damaged((url, &store), meta, &columns).await {
                return named;
            }
        }
    }
    error
}

/// The error that the footers of a table's objects gave where it was planned, or one that names the object that it is of.
pub(super) async fn named_of_table(
    error: DataFusionError,
    objects: &[ListingTableUrl],
    runtime: &RuntimeEnv,
) -> DataFusionError {
    if !is_of_content(&error) {
        return error;
    }
    for object in objects {
        let (url, Ok(store)) = (object.object_store(), runtime.object_store(object)) else {
            continue;
        };
        let Ok(meta) = store.head(object.prefix()).await else {
            continue;
        };
        if let Some(named) = damaged((&url, &store), &meta, &[]).await {
            return named;
        }
    }
    error
}

/// The error of an object of a store whose columns cannot be read.
async fn damaged(
    (url, store): (&ObjectStoreUrl, &Arc<dyn ObjectStore>),
    meta: &ObjectMeta,
    columns: &[&str],
) -> Option<DataFusionError> {
    let e = null_keys(store, meta, columns).await.err()?;
    Some(unreadable(WorkspaceError::Garbled {
        url: format!("{url}{}", meta.location),
        detail: e.to_string(),
    }))
}

/// The scans of a plan.
fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<FileScanConfig> {
    let mut scans = Vec::new();
    let walked = plan.apply(|node| {
        let source = node.downcast_ref::<DataSourceExec>();
        let scan = source.and_then(|source| source.data_source().downcast_ref::<FileScanConfig>());
        scans.extend(scan.cloned());
        Ok(TreeNodeRecursion::Continue)
    });
    // The closure gives no error.
    walked.map_or_else(|_| Vec::new(), |_| scans)
}
