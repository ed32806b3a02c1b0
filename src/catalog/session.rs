//! DataFusion sessions over a workspace's store: for the stages, for a selection, and, read only, for people.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigNonZeroUsize;
use datafusion::execution::cache::cache_manager::{
    CacheManagerConfig, CachedFileMetadataEntry, FileMetadataCache,
};
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::path::Path;

use super::CatalogError;
use super::bounded;
use super::columns::Columns;
use super::fits::{CallsFit, ConstantsFit};
use super::read_only::ReadOnly;
use super::superseded::Superseded;
use super::windows::COUNT_WINDOWS;
use super::yielding::YIELD_IN_JOINS;
use crate::jobs::Ended;
use crate::store;
use crate::workspace::Workspace;

/// Memory of a query before it spills to the temporary directory: 256 MiB.
pub const QUERY_MEMORY: usize = 256 * 1024 * 1024;

/// What queries have read of objects, for the next ones. An object never changes under its name, and size and time are compared nevertheless.
#[derive(Clone)]
pub struct Cache {
    footers: Arc<FileMetadataCache>,
    bytes: usize,
    pub(super) columns: Columns,
    pub(super) superseded: Superseded,
    /// Of the workspace.
    pub(crate) ended_jobs: Ended,
}

impl Cache {
    /// So many bytes of footers of Parquet files at most, of which those go first that were not asked for the longest; and so many of the short columns of labels, 8 a label.
    pub fn new(footers: usize, columns: usize) -> Self {
        let all = DefaultCache::<Path, CachedFileMetadataEntry>::new(footers);
        Self {
            footers: Arc::new(all),
            bytes: footers,
            columns: Columns::new(columns),
            superseded: Superseded::default(),
            ended_jobs: Ended::default(),
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "footers of {} bytes at most, {:?}, {:?}, {:?}",
            self.bytes, self.columns, self.superseded, self.ended_jobs
        )
    }
}

/// A context with the workspace's store and no tables. `partitions` is how many threads a query may use.
///
/// # Errors
/// DataFusion's, where its temporary directory cannot be made.
pub fn context(workspace: &Workspace, partitions: usize) -> Result<SessionContext, CatalogError> {
    with_memory(workspace, partitions, QUERY_MEMORY)
}

fn with_memory(
    workspace: &Workspace,
    partitions: usize,
    memory: usize,
) -> Result<SessionContext, CatalogError> {
    let runtime = runtime(memory, None)?;
    let context = SessionContext::new_with_config_rt(config(partitions), runtime);
    context.register_object_store(&workspace.at.root, Arc::clone(&workspace.at.store));
    Ok(context)
}

/// Rows of a selection's batches, which are narrow: what a batch costs, however many it has, is shared by these.
const ROWS: usize = 16 * 1024;

/// A context for selections, whose queries hold so many bytes at most: rows keep the order of the files, and how they fall into partitions follows from the files alone.
///
/// # Errors
/// DataFusion's, where its temporary directory cannot be made.
pub fn selection_context(
    workspace: &Workspace,
    partitions: usize,
    memory: usize,
) -> Result<SessionContext, CatalogError> {
    let context = with_memory(workspace, partitions, memory)?;
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    options.optimizer.repartition_joins = false;
    options.optimizer.enable_round_robin_repartition = false;
    options.execution.enable_file_stream_work_stealing = false;
    // A join that filters its other side waits for all of its partitions, and a selection reads some of them after the others.
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.execution.batch_size = ConfigNonZeroUsize::try_new(ROWS)?;
    drop(state);
    Ok(context)
}

/// Lets a context read columns for the rows alone that a filter leaves.
pub fn read_lazily(context: &SessionContext, lazily: bool) {
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    options.execution.parquet.pushdown_filters = lazily;
    options.execution.parquet.reorder_filters = false;
}

/// Partitions of a join: each reads both sides, and has a sort of either where it is joined by sorting.
const JOINED: usize = 8;

/// Lets a context's queries have no more partitions than those of a join, which are all read at the same time and share the memory.
pub fn join_few_partitions(context: &SessionContext) {
    let state = context.state_ref();
    let mut state = state.write();
    let partitions = &mut state.config_mut().options_mut().execution.target_partitions;
    *partitions = JOINED.min(*partitions);
}

/// What each sort of a join keeps for merging what it spilled: there are two a partition, which share the memory.
const MERGED: usize = 1024 * 1024;

/// Lets a context join by sorting both sides, which spill, instead of holding one of them in memory. Rows then come out by key, in partitions by its hash.
pub fn join_by_sorting(context: &SessionContext) {
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    options.execution.sort_spill_reservation_bytes = MERGED;
    options.optimizer.repartition_joins = true;
    options.optimizer.prefer_hash_join = false;
}

/// Bytes of a batch of wide rows: 1 MiB.
const WIDE_BATCH: usize = 1024 * 1024;
/// Fewest rows of a batch, however wide.
const FEWEST_ROWS: usize = 16;

/// Lets a context's batches of such rows have no more than about 1 MiB: each partition that is read holds some. And a sort needs room for twice the first one, of its share of the memory, and cannot spill before.
pub fn fit_batches(context: &SessionContext, rows: &Schema) {
    let bytes: usize = rows.fields().iter().map(|f| bytes_of(f.data_type())).sum();
    let fits = (WIDE_BATCH / bytes.max(1)).max(FEWEST_ROWS);
    let state = context.state_ref();
    let mut state = state.write();
    let size = &mut state.config_mut().options_mut().execution.batch_size;
    if let Ok(fits) = ConfigNonZeroUsize::try_new(fits.min(size.get())) {
        *size = fits;
    }
}

/// Bytes of a value, about; those of texts and lists, which have any length, by experience.
pub(super) fn bytes_of(value: &DataType) -> usize {
    const OF_TEXT: usize = 64;
    const OF_LIST: usize = 32;
    match value {
        DataType::FixedSizeList(item, n) => {
            bytes_of(item.data_type()) * usize::try_from(*n).unwrap_or(0)
        }
        DataType::List(item) | DataType::LargeList(item) => bytes_of(item.data_type()) * OF_LIST,
        DataType::Struct(members) => members.iter().map(|m| bytes_of(m.data_type())).sum(),
        other => other.primitive_width().unwrap_or(OF_TEXT),
    }
}

/// A context for queries of people: it knows no way to write a file or to open another one, and its one store is the workspace, read only.
pub(super) fn read_only(
    workspace: &Workspace,
    memory: usize,
    cache: Option<&Cache>,
) -> Result<SessionContext, CatalogError> {
    let partitions = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = runtime(memory, cache)?;
    // The local disk is there by default.
    runtime.deregister_object_store(&store::parse_url("/")?)?;
    let at = &workspace.at;
    let store = ReadOnly::new(Arc::clone(&at.store), at.path.clone());
    runtime.register_object_store(&at.root, Arc::new(store));
    let state = SessionStateBuilder::new()
        .with_config(config(partitions))
        .with_runtime_env(runtime)
        .with_default_features()
        // What COPY writes with, and CREATE EXTERNAL TABLE reads with.
        .with_file_formats(Vec::new())
        .with_table_factories(HashMap::new())
        .with_analyzer_rule(Arc::new(CallsFit { memory }))
        .with_optimizer_rule(Arc::new(ConstantsFit { most: memory }))
        .with_physical_optimizer_rule(Arc::new(YIELD_IN_JOINS))
        .with_physical_optimizer_rule(Arc::new(COUNT_WINDOWS))
        .build();
    let context = SessionContext::new_with_state(state);
    bounded::register(&context, memory);
    Ok(context)
}

fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_information_schema(true)
        .with_collect_statistics(false);
    config.options_mut().execution.parquet.pushdown_filters = false;
    config
}

fn runtime(memory: usize, cache: Option<&Cache>) -> Result<Arc<RuntimeEnv>, CatalogError> {
    let pool = Arc::new(FairSpillPool::new(memory));
    let mut caches = CacheManagerConfig::default();
    if let Some(cache) = cache {
        caches.file_metadata_cache = Some(Arc::clone(&cache.footers));
        caches.metadata_cache_limit = cache.bytes;
    }
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_cache_manager(caches)
        .build_arc()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float16Array, RecordBatch, StringArray};
    use arrow::datatypes::Field;
    use datafusion::datasource::MemTable;

    /// Soft labels of 1,000 classes, in several batches of the size that the context asks for.
    fn soft_labels(context: &SessionContext) -> Vec<Vec<RecordBatch>> {
        const CLASSES: i32 = 1000;
        const ROWS: usize = 4096;
        let item = Arc::new(Field::new("item", DataType::Float16, true));
        let zeros = Float16Array::from(vec![half::f16::ZERO; ROWS * CLASSES as usize]);
        let probs = arrow::array::FixedSizeListArray::new(item, CLASSES, Arc::new(zeros), None);
        let probs: ArrayRef = Arc::new(probs);
        let of = |partition: usize| {
            let keys = (0..ROWS).map(|row| Some(format!("{partition}/{row}")));
            let keys: ArrayRef = Arc::new(keys.collect::<StringArray>());
            let columns = [("key", keys), ("probs", Arc::clone(&probs))];
            let all = RecordBatch::try_from_iter(columns).unwrap();
            let size = context.copied_config().batch_size();
            let cut = (0..ROWS).step_by(size);
            cut.map(|at| all.slice(at, size.min(ROWS - at))).collect()
        };
        (0..8).map(of).collect()
    }

    #[tokio::test]
    async fn soft_labels_are_joined_by_sorting_within_the_memory_of_a_selection() {
        let at = store::open("memory:///w", &store::StorageOptions::default()).unwrap();
        let (workspace, _) = Workspace::init_at(at).await.unwrap();
        let join = async |fitted: bool| {
            let context = selection_context(&workspace, 16, QUERY_MEMORY).unwrap();
            join_few_partitions(&context);
            join_by_sorting(&context);
            let rows = soft_labels(&context)[0][0].schema();
            if fitted {
                fit_batches(&context, &rows);
            }
            for name in ["candidates", "targets"] {
                let table = MemTable::try_new(Arc::clone(&rows), soft_labels(&context)).unwrap();
                context.register_table(name, Arc::new(table)).unwrap();
            }
            let query =
                "SELECT c.key, t.probs FROM candidates c LEFT JOIN targets t ON c.key = t.key";
            let joined = context.sql(query).await.unwrap().collect().await?;
            Ok::<_, datafusion::error::DataFusionError>(
                joined.iter().map(RecordBatch::num_rows).sum::<usize>(),
            )
        };
        // As wide rows would be without it: the first batch of a sort is larger than its share.
        let error = join(false).await.unwrap_err();
        assert!(
            matches!(
                error.find_root(),
                datafusion::error::DataFusionError::ResourcesExhausted(_)
            ),
            "{error}"
        );
        assert_eq!(join(true).await.unwrap(), 8 * 4096);
    }
}
