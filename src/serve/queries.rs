//! SQL of clients: read only, on threads of its own, within limits of memory, time, rows and bytes.
//!
//! Each query opens the catalog anew: it sees what was committed before it began, and its memory is its own.

use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::{TableType, col, lit};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt as _;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use super::ServeError;
use super::config::{FlightConfig, SqlConfig};
use super::plain;
use super::problem::Problem;
use crate::catalog::{self, Cache, CatalogError};
use crate::error::Error;
use crate::workspace::Workspace;

/// Threads beyond one a core: a query that does not yield keeps its thread, and the others go on.
const SPARE_THREADS: usize = 2;
/// Batches of a stream that wait for a client.
const BATCHES_AHEAD: usize = 2;

/// Bytes of a batch of a stream, or one row.
const BATCH_BYTES: usize = 8 << 20;

/// Rows of an answer.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    /// Whether there were more.
    pub(super) cut: bool,
}

/// What is known of a query before it runs.
#[derive(Debug)]
pub(super) struct Planned {
    /// Of its rows.
    pub(super) schema: SchemaRef,
    /// A column a parameter, in their order.
    pub(super) parameters: Schema,
}

/// Rows of an answer as they come.
pub(super) struct Streamed {
    pub(super) schema: SchemaRef,
    pub(super) batches: BoxStream<'static, Result<RecordBatch, Problem>>,
}

/// A table or view of the catalog.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) is_view: bool,
    pub(super) schema: Schema,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queries {
    threads: Option<Runtime>,
    places: Arc<Semaphore>,
    /// Of streams, which last as long as their clients take rows: pages and other queries go on beside them.
    streams: Arc<Semaphore>,
    limits: SqlConfig,
    /// For the next query.
    pub(super) cache: Cache,
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
    pub(super) fn start(limits: SqlConfig, streams: usize) -> Result<Self, ServeError> {
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
            streams: Arc::new(Semaphore::new(streams)),
            cache: Cache::new(limits.footers, limits.columns),
            limits,
        })
    }

    /// Reads what most queries ask of labels before the first one does.
    pub(super) fn warm(&self, workspace: &Workspace) {
        let Some(threads) = &self.threads else { return };
        let (workspace, memory, cache) =
            (workspace.clone(), self.limits.memory, self.cache.clone());
        threads.spawn(async move {
            let started = Instant::now();
            let read = async {
                let context = catalog::open_again(&workspace, memory, &cache).await?;
                Ok::<_, CatalogError>(context.table("class_bins").await?.count().await?)
            };
            let read = read.await;
            let seconds = started.elapsed().as_secs_f64();
            match read {
                Ok(_) => tracing::debug!(seconds, "labels are read"),
                // A query says what is wrong, to whoever asks.
                Err(error) => tracing::debug!(%error, "labels are not read"),
            }
        });
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
            Ok(catalog::rows(shape(frame)?).await?)
        })
        .await
    }

    /// Plans a query for a program, with these values for its parameters, or with none.
    ///
    /// # Errors
    /// As [`Queries::answer`].
    pub(super) async fn plan(
        &self,
        workspace: &Workspace,
        sql: String,
        values: Vec<ScalarValue>,
    ) -> Result<Planned, Problem> {
        self.run(workspace, move |context| async move {
            let frame = catalog::query(&context, &sql).await?;
            let plan = frame.logical_plan();
            let mut parameters: Vec<_> = plan.get_parameter_types()?.into_iter().collect();
            parameters.sort_by_key(|(name, _)| name[1..].parse().unwrap_or(usize::MAX));
            let parameters = parameters.into_iter().map(|(name, kind)| {
                // Of a type that the query leaves open any text will do.
                Field::new(name, kind.unwrap_or(DataType::Utf8), true)
            });
            let parameters = Schema::new(parameters.collect::<Vec<_>>());
            let schema = if values.is_empty() && !parameters.fields.is_empty() {
                Arc::new(frame.schema().as_arrow().clone())
            } else {
                bound(frame, values)?.create_physical_plan().await?.schema()
            };
            Ok(Planned {
                schema: Arc::new(plain::schema(&schema)),
                parameters,
            })
        })
        .await
    }

    /// Runs a query of a program, and gives its rows as they come, in types that all readers of Arrow know. It ends with an error where there are more
    /// than may be: programs do not see that an answer was cut.
    ///
    /// # Errors
    /// As [`Queries::answer`].
    pub(super) async fn stream(
        &self,
        workspace: &Workspace,
        sql: String,
        values: Vec<ScalarValue>,
        limits: &FlightConfig,
    ) -> Result<Streamed, Problem> {
        let place = place(&self.streams)?;
        let threads = self.threads.as_ref().ok_or_else(busy)?;
        let (workspace, memory, most) = (workspace.clone(), self.limits.memory, limits.rows);
        let cache = self.cache.clone();
        let limit = Duration::from_secs_f64(limits.time_s);
        let (begun, schema) = oneshot::channel();
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let task = threads.spawn(
            async move {
                let (rows, failed) = (sender.clone(), sender);
                let mut begun = Some(begun);
                let work = async {
                    let context = catalog::open_again(&workspace, memory, &cache).await?;
                    let frame = bound(catalog::query(&context, &sql).await?, values)?;
                    let stream = catalog::execute(frame).await?;
                    let schema = Arc::new(plain::schema(&stream.schema()));
                    let begun = begun
                        .take()
                        .map(|begun| begun.send(Ok(Arc::clone(&schema))));
                    if begun.is_some_and(|told| told.is_err()) {
                        return Ok(());
                    }
                    send(stream, &schema, most, &rows).await
                };
                let done = tokio::time::timeout(limit, work).await;
                let done = done.unwrap_or(Err(CatalogError::Time { limit }));
                // Not after the client has taken what is left, which may be never.
                drop(place);
                if let Err(e) = done {
                    // To whom still waits for it, if anybody does.
                    let problem = Problem::from(e);
                    match begun {
                        Some(begun) => drop(begun.send(Err(problem))),
                        None => drop(failed.send(Err(problem)).await),
                    }
                }
            }
            .instrument(tracing::info_span!("query")),
        );
        let stopped = Stopped(task.abort_handle());
        let ended = || Problem::unavailable("the query was ended");
        let schema = schema.await.map_err(|_| ended())??;
        let state = (batches, stopped);
        let batches = stream::unfold(state, |(mut batches, stopped)| async move {
            let batch: Result<RecordBatch, Problem> = batches.recv().await?;
            Some((batch, (batches, stopped)))
        });
        Ok(Streamed {
            schema,
            batches: batches.boxed(),
        })
    }

    /// All tables and views, by name.
    ///
    /// # Errors
    /// As [`Queries::answer`].
    pub(super) async fn tables(&self, workspace: &Workspace) -> Result<Vec<Table>, Problem> {
        self.run(workspace, |context| async move {
            let state = context.state();
            let schema = state.schema_for_ref("labels")?;
            let mut names = schema.table_names();
            names.sort();
            let mut tables = Vec::with_capacity(names.len());
            for name in names {
                let Some(table) = schema.table(&name).await? else {
                    continue;
                };
                tables.push(Table {
                    is_view: table.table_type() == TableType::View,
                    schema: plain::schema(&table.schema()),
                    name,
                });
            }
            Ok(tables)
        })
        .await
    }

    async fn run<T, F>(
        &self,
        workspace: &Workspace,
        work: impl FnOnce(SessionContext) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CatalogError>> + Send,
    {
        let (workspace, memory) = (workspace.clone(), self.limits.memory);
        let cache = self.cache.clone();
        self.limited(async move {
            let context = catalog::open_again(&workspace, memory, &cache).await?;
            work(context).await
        })
        .await
    }

    /// Does what asks the catalog by itself, as a query: on the queries' threads, within their number and time.
    ///
    /// # Errors
    /// As [`Queries::answer`].
    pub(super) async fn limited<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        let place = place(&self.places)?;
        let threads = self.threads.as_ref().ok_or_else(busy)?;
        let limit = Duration::from_secs_f64(self.limits.time_s);
        let task = threads.spawn(
            async move {
                // Given back when the query has really ended, not when nobody waits for it any more.
                let _place = place;
                work.await
            }
            .instrument(tracing::info_span!("query")),
        );
        let stopped = Stopped(task.abort_handle());
        let done = tokio::time::timeout(limit, task).await;
        drop(stopped);
        match done {
            Ok(done) => done.map_err(CatalogError::from)?.map_err(Problem::from),
            Err(_) => Err(CatalogError::Time { limit }.into()),
        }
    }
}

fn place(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(of).try_acquire_owned().map_err(|_| busy())
}

fn busy() -> Problem {
    Problem::busy("as many queries run as may")
}

/// The query with its parameters' values.
fn bound(frame: DataFrame, values: Vec<ScalarValue>) -> Result<DataFrame, CatalogError> {
    if values.is_empty() {
        return Ok(frame);
    }
    let bound = frame.with_param_values(values);
    bound.map_err(|e| CatalogError::of_query(&e))
}

/// Sends rows until there are no more, too many, or nobody takes them.
async fn send(
    mut rows: SendableRecordBatchStream,
    schema: &SchemaRef,
    most: usize,
    to: &mpsc::Sender<Result<RecordBatch, Problem>>,
) -> Result<(), CatalogError> {
    let mut left = most;
    let failed = |e| CatalogError::of_query(&e);
    while let Some(batch) = rows.try_next().await.map_err(failed)? {
        let Some(after) = left.checked_sub(batch.num_rows()) else {
            return Err(CatalogError::Memory {
                detail: format!("its answer has more than {most} rows"),
            });
        };
        left = after;
        // What many rows share is written for each: never for all of them at once.
        let pieces = plain::bytes(&batch).div_ceil(BATCH_BYTES).max(1);
        let rows = batch.num_rows().div_ceil(pieces).max(1);
        for first in (0..batch.num_rows()).step_by(rows) {
            let piece = batch.slice(first, rows.min(batch.num_rows() - first));
            let piece = plain::batch(&piece, schema).map_err(|e| failed(e.into()))?;
            if to.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
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
        let written = plain::bytes(&batch);
        room.try_grow(batch.get_array_memory_size().max(written))
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
