//! SQL of clients: read only, on threads of its own, within limits of memory, time, rows and bytes.
//!
//! Each query opens the catalog anew: it sees what was committed before it began, and its memory is its own.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::ServeError;
use super::config::SqlConfig;
use super::problem::Problem;
use crate::catalog::{self, CatalogError};
use crate::error::Error;
use crate::workspace::Workspace;

/// Threads beyond one a core: a query that does not yield keeps its thread, and the others go on.
const SPARE_THREADS: usize = 2;

/// Rows of an answer.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    /// Whether there were more.
    pub(super) cut: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queries {
    threads: Option<Runtime>,
    places: Arc<Semaphore>,
    limits: SqlConfig,
}

impl Drop for Queries {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Stops a query whose client has left.
struct Stopped(AbortHandle);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Queries {
    pub(super) fn start(limits: SqlConfig) -> Result<Self, ServeError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores + SPARE_THREADS)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(ServeError::Threads)?;
        Ok(Self {
            threads: Some(threads),
            places: Arc::new(Semaphore::new(limits.concurrent)),
            limits,
        })
    }

    /// Runs a query of a person, and makes its answer of at most so many rows.
    ///
    /// # Errors
    /// 429 where as many run as may, 422 for one that needs too much, else the query's own.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        workspace: &Workspace,
        sql: String,
        rows: Option<usize>,
        make: impl FnOnce(Rows) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, Problem> {
        let most = rows.unwrap_or(usize::MAX).min(self.limits.rows);
        let bytes = self.limits.result_bytes;
        self.run(workspace, move |context| async move {
            let frame = catalog::query(&context, &sql).await?;
            let stream = catalog::execute(frame).await?;
            make(collect(stream, &context, most, bytes).await?)
        })
        .await
    }

    /// The rows of a table or view with these values, in the order of a column.
    ///
    /// # Errors
    /// As [`Queries::answer`].
    pub(super) async fn rows<T: DeserializeOwned + Send + 'static>(
        &self,
        workspace: &Workspace,
        table: &'static str,
        equal: Vec<(&'static str, String)>,
        shape: impl FnOnce(DataFrame) -> datafusion::error::Result<DataFrame> + Send + 'static,
    ) -> Result<Vec<T>, Problem> {
        self.run(workspace, move |context| async move {
            let mut frame = context.table(table).await?;
            for (column, value) in equal {
                frame = frame.filter(col(column).eq(lit(value)))?;
            }
            catalog::rows(shape(frame)?).await
        })
        .await
    }

    /// Runs what asks the catalog.
    ///
    /// # Errors
    /// As [`Queries::answer`].
    pub(super) async fn run<T, E, F>(
        &self,
        workspace: &Workspace,
        work: impl FnOnce(SessionContext) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: From<CatalogError> + Into<Error> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send,
    {
        let busy = || Problem::busy("as many queries run as may");
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| busy())?;
        let threads = self.threads.as_ref().ok_or_else(busy)?;
        let (workspace, memory) = (workspace.clone(), self.limits.memory);
        let limit = Duration::from_secs_f64(self.limits.time_s);
        let task = threads.spawn(async move {
            // Given back when the query has really ended, not when nobody waits for it any more.
            let _place = place;
            let context = catalog::open(&workspace, memory).await?;
            work(context).await
        });
        let stopped = Stopped(task.abort_handle());
        let done = tokio::time::timeout(limit, task).await;
        drop(stopped);
        match done {
            Ok(done) => done.map_err(CatalogError::from)?.map_err(Problem::from),
            Err(_) => Err(CatalogError::Time { limit }.into()),
        }
    }
}

/// The first rows of a stream, which have to fit into the query's memory and into `bytes`.
async fn collect(
    mut stream: SendableRecordBatchStream,
    context: &SessionContext,
    most: usize,
    bytes: usize,
) -> Result<Rows, CatalogError> {
    let pool = &context.runtime_env().memory_pool;
    let room = MemoryConsumer::new("the answer").register(pool);
    let mut rows = Rows {
        schema: stream.schema(),
        batches: Vec::new(),
        cut: false,
    };
    let mut left = most;
    let failed = |e| CatalogError::of_query(&e);
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        rows.cut = batch.num_rows() > left;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        room.try_grow(batch.get_array_memory_size())
            .map_err(failed)?;
        if room.size() > bytes {
            return Err(CatalogError::Memory {
                detail: format!("its answer has more than {bytes} bytes"),
            });
        }
        rows.batches.push(batch);
        if rows.cut {
            break;
        }
    }
    Ok(rows)
}
