//! A stream of rows as a table that can be read once, and tables sorted in bounded memory.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::col;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::TryStreamExt;
use futures::future;
use futures::stream::{self, BoxStream, StreamExt};

use super::ExportError;
use crate::catalog::CatalogError;

/// The rows of a table, sorted by these columns, nulls last.
pub(super) async fn sorted_by(
    frame: DataFrame,
    columns: &[&str],
) -> Result<SendableRecordBatchStream, ExportError> {
    let columns = columns.iter().map(|name| col(*name).sort(true, false));
    Ok(frame.sort(columns.collect())?.execute_stream().await?)
}

/// Rows that are made as they are asked for.
pub(super) type Batches = BoxStream<'static, Result<RecordBatch, ExportError>>;

/// A stream as a table that can be read once.
pub(super) fn once(
    schema: SchemaRef,
    batches: Batches,
) -> Result<Arc<StreamingTable>, ExportError> {
    let partition = Once {
        schema: Arc::clone(&schema),
        batches: Mutex::new(Some(batches)),
    };
    let table = StreamingTable::try_new(schema, vec![Arc::new(partition)]);
    Ok(Arc::new(table?))
}

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
        let mut taken = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = taken.take().map_or_else(
            || {
                let error = DataFusionError::Internal("the rows are read once".into());
                stream::once(future::ready(Err(error))).boxed()
            },
            |batches| {
                let wrapped = batches.map_err(|e| DataFusionError::External(Box::new(e)));
                wrapped.boxed()
            },
        );
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        ))
    }
}

impl From<DataFusionError> for ExportError {
    /// A sort carries the errors of what it sorts as external ones: they come out as what they were.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => CatalogError::Engine(DataFusionError::External(other)).into(),
            },
            DataFusionError::Context(_, inner) => Self::from(*inner),
            other => CatalogError::Engine(other).into(),
        }
    }
}
