//! A listing in any order → the same sorted by object, in bounded memory: DataFusion's external sort, which spills.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder, UInt64Builder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::col;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::ManifestError;
use crate::source::{Kind, Listed, ListedObject, SourceError};

/// Memory of a sort before it spills to the temporary directory: 64 MiB, some 500,000 objects.
const SORT_MEMORY: usize = 64 * 1024 * 1024;
/// Listed objects that become columns at a time.
const BATCH: usize = 4096;

/// What was passed over, by why.
pub(crate) type Skipped = Arc<Mutex<BTreeMap<String, u64>>>;

/// A context whose sorts are bounded in memory.
pub(crate) fn context() -> Result<SessionContext, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(SORT_MEMORY)))
        .build_arc()?;
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_collect_statistics(false);
    config.options_mut().execution.sort_spill_reservation_bytes = SORT_MEMORY / 8;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// The objects of a listing, sorted by path in bytes. What is passed over is counted in `skipped`.
pub(crate) async fn sorted(
    listing: BoxStream<'static, Result<Listed, SourceError>>,
    skipped: &Skipped,
) -> Result<BoxStream<'static, Result<ListedObject, ManifestError>>, ManifestError> {
    let skipped = Arc::clone(skipped);
    let batches = listing
        .try_filter_map(move |listed| {
            let object = match listed {
                Listed::Object(object) => Some(object),
                Listed::Skipped { why } => {
                    let mut counts = skipped.lock().unwrap_or_else(PoisonError::into_inner);
                    *counts.entry(why).or_insert(0) += 1;
                    None
                }
            };
            futures::future::ready(Ok(object))
        })
        .try_chunks(BATCH)
        .map(|chunk| {
            let chunk = chunk.map_err(|e| DataFusionError::External(Box::new(e.1)))?;
            columns(&chunk)
        });
    let batches = once(&context()?, schema(), batches.boxed())?
        .sort(vec![col("path").sort(true, false)])?
        .execute_stream()
        .await?;
    Ok(batches
        .map_err(ManifestError::from)
        .map_ok(|batch| stream::iter(objects(&batch).into_iter().map(Ok)))
        .try_flatten()
        .boxed())
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("size", DataType::UInt64, true),
        Field::new("etag", DataType::Utf8, true),
        Field::new("kind", DataType::Utf8, false),
        Field::new("problem", DataType::Utf8, true),
        Field::new("detail", DataType::Utf8, true),
    ]))
}

fn columns(objects: &[ListedObject]) -> Result<RecordBatch, DataFusionError> {
    let text = |f: &dyn Fn(&ListedObject) -> Option<&str>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        objects.iter().for_each(|o| builder.append_option(f(o)));
        Arc::new(builder.finish())
    };
    let mut size = UInt64Builder::with_capacity(objects.len());
    objects.iter().for_each(|o| size.append_option(o.size));
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            text(&|o| Some(&o.path)),
            Arc::new(size.finish()),
            text(&|o| o.etag.as_deref()),
            text(&|o| Some(o.kind.name())),
            text(&|o| o.problem.as_ref().map(|p| p.0.as_str())),
            text(&|o| o.problem.as_ref().map(|p| p.1.as_str())),
        ],
    )?)
}

fn objects(batch: &RecordBatch) -> Vec<ListedObject> {
    let text = |column: usize, i: usize| {
        let column = batch.column(column);
        column
            .is_valid(i)
            .then(|| column.as_string::<i32>().value(i).to_owned())
    };
    let size = batch.column(1).as_primitive::<UInt64Type>();
    (0..batch.num_rows())
        .map(|i| ListedObject {
            path: text(0, i).unwrap_or_default(),
            size: size.is_valid(i).then(|| size.value(i)),
            etag: text(2, i),
            kind: text(3, i)
                .and_then(|k| Kind::parse(&k))
                .unwrap_or(Kind::Object),
            problem: text(4, i).zip(text(5, i)),
        })
        .collect()
}

/// Batches that come from elsewhere, as a table that can be read once.
pub(super) fn once(
    context: &SessionContext,
    schema: SchemaRef,
    batches: Batches,
) -> Result<DataFrame, DataFusionError> {
    let partition = Once {
        schema: Arc::clone(&schema),
        batches: Mutex::new(Some(batches)),
    };
    let table = StreamingTable::try_new(schema, vec![Arc::new(partition)])?;
    context.read_table(Arc::new(table))
}

/// What [`once`] reads.
pub(super) type Batches = BoxStream<'static, Result<RecordBatch, DataFusionError>>;

struct Once {
    schema: SchemaRef,
    batches: Mutex<Option<Batches>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let taken = self
            .batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let again = || Err(DataFusionError::Internal("it is read once".into()));
        let batches = taken.unwrap_or_else(|| stream::once(async move { again() }).boxed());
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        ))
    }
}
