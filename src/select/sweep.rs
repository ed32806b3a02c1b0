//! One pass over a query's rows: its partitions side by side, and what is added up over all of them.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{cast, ident};
use futures::TryStreamExt;
use tokio::task::JoinSet;

use super::SelectError;
use crate::catalog::CatalogError;

/// A query that is ready to run, and the file that its errors name.
pub(super) struct Query {
    pub(super) file: &'static str,
    pub(super) frame: DataFrame,
}

impl Query {
    /// A selection's rows as they are, or without soft labels.
    pub(super) fn with_rows(mut self, soft: bool) -> Result<Self, SelectError> {
        for name in ["key", "class", "confidence"] {
            let field = self.frame.schema().field_with_unqualified_name(name);
            field.map_err(failed(self.file))?;
        }
        if !soft {
            let frame = self.frame.drop_columns(&["probs"]);
            self.frame = frame.map_err(failed(self.file))?;
        }
        Ok(self)
    }

    /// The query with its texts as plain ones: how the engine happens to hold them is nothing that a file should say.
    pub(super) fn without_views(mut self) -> Result<Self, SelectError> {
        let plain = |of: &DataType| match of {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            of => of.clone(),
        };
        let fields = self.frame.schema().fields();
        if fields
            .iter()
            .any(|field| *field.data_type() != plain(field.data_type()))
        {
            let columns = fields.iter().map(|field| {
                let own = ident(field.name());
                let to = plain(field.data_type());
                if to == *field.data_type() {
                    own
                } else {
                    cast(own, to).alias(field.name())
                }
            });
            let columns: Vec<_> = columns.collect();
            self.frame = self.frame.select(columns).map_err(failed(self.file))?;
        }
        Ok(self)
    }

    /// The query, if it gives these columns, with them first to last: who looks at its rows knows them by their places.
    pub(super) fn with_columns(mut self, names: &[&str]) -> Result<Self, SelectError> {
        let given = self.frame.schema().fields().iter();
        if !given
            .map(|field| field.name().as_str())
            .eq(names.iter().copied())
        {
            let frame = self.frame.select_columns(names);
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
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Partitions that are read beside those that the cores work on: while one waits for its store, another has rows.
const AHEAD: usize = 2;

/// Runs a query, works on some of its partitions side by side, the first ones first, and gives what comes of each, in their order.
pub(super) async fn partitions<T, W>(
    query: Query,
    work: impl Fn(Rows) -> W + Clone + Send + 'static,
) -> Result<Vec<T>, SelectError>
where
    T: Send + 'static,
    W: Future<Output = Result<T, SelectError>> + Send,
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
    // Who drops the set, as an error of one of them does, ends the others.
    let mut tasks = JoinSet::new();
    for _ in 0..workers() + AHEAD {
        let (waiting, work) = (Arc::clone(&waiting), work.clone());
        tasks.spawn(async move {
            let mut done = Vec::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((partition, stream)) = next else {
                    return Ok::<_, SelectError>(done);
                };
                let rows = Rows {
                    partition,
                    file,
                    stream,
                };
                done.push((partition, work(rows).await?));
            }
        });
    }
    let mut all = Vec::new();
    while let Some(task) = tasks.join_next().await {
        all.extend(task??);
    }
    all.sort_unstable_by_key(|(partition, _)| *partition);
    Ok(all.into_iter().map(|(_, done)| done).collect())
}

/// What comes of each of these, in their order, on all cores: nothing else is under way between two passes.
pub(super) fn side_by_side<T: Send, R: Send>(all: Vec<T>, of: impl Fn(T) -> R + Sync) -> Vec<R> {
    let waiting = Mutex::new(all.into_iter().enumerate());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next()
    };
    let done = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..workers() {
            threads.spawn(|| {
                while let Some((place, one)) = next() {
                    let one = (place, of(one));
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push(one);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, one)| one).collect()
}

/// What is added up over all rows: a part for each thread that adds at the same time, however many partitions they read.
pub(super) struct Sums<A> {
    make: Box<dyn Fn() -> A + Send + Sync>,
    idle: Mutex<Vec<A>>,
}

impl<A> Sums<A> {
    pub(super) fn new(make: impl Fn() -> A + Send + Sync + 'static) -> Self {
        Self {
            make: Box::new(make),
            idle: Mutex::default(),
        }
    }

    /// Adds to a part that no other thread is adding to.
    pub(super) fn add<R>(&self, add: impl FnOnce(&mut A) -> R) -> R {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut part = taken.unwrap_or_else(&self.make);
        let added = add(&mut part);
        idle().push(part);
        added
    }

    /// The parts, in no order.
    pub(super) fn parts(self) -> Vec<A> {
        self.idle
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pass over a query's rows that adds them up; gives the parts of the [`Sums`].
pub(super) async fn sweep<A: Send + 'static>(
    query: Query,
    make: impl Fn() -> A + Send + Sync + 'static,
    step: impl Fn(&mut A, &RecordBatch) -> Result<()> + Clone + Send + 'static,
) -> Result<Vec<A>, SelectError> {
    let file = query.file;
    let sums = Arc::new(Sums::new(make));
    let shared = Arc::clone(&sums);
    let swept = partitions(query, move |mut rows| {
        let (step, sums) = (step.clone(), Arc::clone(&shared));
        async move {
            while let Some(batch) = rows.next().await? {
                sums.add(|part| step(part, &batch)).map_err(failed(file))?;
            }
            Ok(())
        }
    });
    swept.await?;
    Ok(unshared(sums, file)?.parts())
}

/// What the workers of a pass have shared and hold no more.
pub(super) fn unshared<T>(shared: Arc<T>, file: &'static str) -> Result<T, SelectError> {
    let held = || failed(file)(DataFusionError::Internal("a worker is still there".into()));
    Arc::into_inner(shared).ok_or_else(held)
}
