//! One pass over a query's rows by several workers, each with something of its own to add up.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

/// Partitions that wait for a worker, the first at the end.
type Queue = Arc<Mutex<Vec<SendableRecordBatchStream>>>;

/// Threads that work side by side.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a query, and gives what each worker made of its share of the rows, in no order.
pub(super) async fn sweep<A: Send + 'static>(
    frame: DataFrame,
    make: impl Fn() -> A,
    step: impl Fn(&mut A, &RecordBatch) -> Result<()> + Clone + Send + 'static,
) -> Result<Vec<A>> {
    let mut partitions = frame.execute_stream_partitioned().await?;
    partitions.reverse();
    let queue: Queue = Arc::new(Mutex::new(partitions));
    let tasks: Vec<_> = (0..workers())
        .map(|_| {
            let (queue, mut own, step) = (Arc::clone(&queue), make(), step.clone());
            tokio::spawn(async move {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(mut rows) = next else {
                        return Ok::<A, DataFusionError>(own);
                    };
                    while let Some(batch) = rows.try_next().await? {
                        step(&mut own, &batch)?;
                    }
                }
            })
        })
        .collect();
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        all.push(
            task.await
                .map_err(|e| DataFusionError::External(Box::new(e)))??,
        );
    }
    Ok(all)
}
