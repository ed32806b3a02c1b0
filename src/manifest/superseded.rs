//! The rows of a manifest whose image has a later one: it changed, or it is gone.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt32Type};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::col;
use futures::{StreamExt, TryStreamExt, stream};

use super::marks::{self, Mark};
use super::sort::{Batches, context, once};
use crate::catalog::union;

/// Marks of such rows in these generations, in no order. Keys meet in a sort that spills.
pub(super) async fn superseded(history: &[DataFrame]) -> Result<DataFrame, DataFusionError> {
    let context = context()?;
    let columns = ["key", "generation", "shard", "row"].map(col);
    let rows = history
        .iter()
        .map(|rows| rows.clone().select(columns.clone()));
    let all = union(rows.collect::<Result<_, _>>()?)?;
    let Some(all) = all.filter(|_| history.len() > 1) else {
        let none = stream::empty().boxed();
        return once(&context, marks::schema(), none);
    };
    let newest_first = vec![
        col("key").sort(true, false),
        col("generation").sort(false, false),
    ];
    let rows = all.sort(newest_first)?.execute_stream().await?;
    once(&context, marks::schema(), older(rows))
}

/// Of each key, the newest row first, the others.
fn older(rows: SendableRecordBatchStream) -> Batches {
    stream::try_unfold((rows, None), |(mut rows, mut key)| async move {
        let Some(batch) = rows.try_next().await? else {
            return Ok(None);
        };
        let marks = marks::columns(&see(&batch, &mut key)?)?;
        Ok(Some((marks, (rows, key))))
    })
    .boxed()
}

fn see(batch: &RecordBatch, key: &mut Option<String>) -> Result<Vec<Mark>, DataFusionError> {
    let keys = cast(batch.column(0), &DataType::Utf8)?;
    let keys = keys.as_string::<i32>();
    let [shards, rows] = [2, 3].map(|i| batch.column(i).as_primitive::<UInt32Type>());
    let mut marks = Vec::new();
    for i in 0..batch.num_rows() {
        if key.as_deref() != Some(keys.value(i)) {
            *key = Some(keys.value(i).to_owned());
        } else if shards.is_valid(i) {
            marks.push(Mark {
                shard: shards.value(i),
                row: rows.value(i),
                plan: 0,
                part: None,
            });
        }
    }
    Ok(marks)
}
