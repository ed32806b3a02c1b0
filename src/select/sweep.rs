//! One pass over a query's rows by several workers, each with something of its own to add up.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::SelectError;
use crate::catalog::CatalogError;

/// A query that is ready to run, and the file that its errors name.
pub(super) struct Query {
    pub(super) file: &'static str,
    pub(super) frame: DataFrame,
}

impl Query {
    /// The query as it is, or without soft labels.
    pub(super) fn with_targets(mut self, soft: bool) -> Result<Self, SelectError> {
        if !soft {
            let frame = self.frame.drop_columns(&["probs"]);
            self.frame = frame.map_err(failed(self.file))?;
        }
        Ok(self)
    }
}

/// The rows of one of a query's partitions.
pub(super) struct Rows {
    /// Which one, from 0.
    pub(super) partition: usize,
    file: &'static str,
    stream: SendableRecordBatchStream,
}

impl Rows {
    /// The next rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, SelectError> {
        self.stream.try_next().await.map_err(failed(self.file))
    }
}

/// An error of the query in `file`.
pub(super) fn failed(file: &'static str) -> impl Fn(DataFusionError) -> SelectError + Copy {
    move |source| match CatalogError::of_query(&source) {
        CatalogError::Query { .. } => SelectError::Query { file, source },
        // No fault of the query.
        e => e.into(),
    }
}

/// Threads that work side by side.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a query and hands its partitions to workers, the first one first. Gives what each worker made of its own, in no order.
pub(super) async fn partitions<A, W>(
    query: Query,
    make: impl Fn() -> A,
    work: impl Fn(A, Rows) -> W + Clone + Send + 'static,
) -> Result<Vec<A>, SelectError>
where
    A: Send + 'static,
    W: Future<Output = Result<A, SelectError>> + Send,
{
    let Query { file, frame } = query;
    let streams = frame.execute_stream_partitioned().await;
    let mut waiting: Vec<_> = streams
        .map_err(failed(file))?
        .into_iter()
        .enumerate()
        .collect();
    waiting.reverse();
    let waiting = Arc::new(Mutex::new(waiting));
    let tasks: Vec<_> = (0..workers())
        .map(|_| {
            let (waiting, mut own, work) = (Arc::clone(&waiting), make(), work.clone());
            tokio::spawn(async move {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((partition, stream)) = next else {
                        return Ok::<A, SelectError>(own);
                    };
                    let rows = Rows {
                        partition,
                        file,
                        stream,
                    };
                    own = work(own, rows).await?;
                }
            })
        })
        .collect();
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        all.push(task.await??);
    }
    Ok(all)
}

/// [`partitions`], where a worker takes the rows as they come.
pub(super) async fn sweep<A: Send + 'static>(
    query: Query,
    make: impl Fn() -> A,
    step: impl Fn(&mut A, &RecordBatch) -> Result<()> + Clone + Send + 'static,
) -> Result<Vec<A>, SelectError> {
    let file = query.file;
    partitions(query, make, move |mut own, mut rows| {
        let step = step.clone();
        async move {
            while let Some(batch) = rows.next().await? {
                step(&mut own, &batch).map_err(failed(file))?;
            }
            Ok(own)
        }
    })
    .await
}
