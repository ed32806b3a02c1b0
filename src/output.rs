//! Results → standard output, as a table, CSV, JSON lines or Parquet.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde::Serialize;

use crate::catalog::CatalogError;
use crate::cli::Format;
use crate::error::Error;

/// Numbers that a table shows of a list as they are.
const LONGEST_LIST: usize = 8;
/// The first numbers of a longer list, which a table shows with its length.
const NUMBERS_OF_A_LONG_LIST: usize = 3;

/// Prints a line.
///
/// # Errors
/// [`Error::Output`].
pub fn line(text: &str) -> Result<(), Error> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Prints a text as it is.
///
/// # Errors
/// [`Error::Output`].
pub fn text(text: &str) -> Result<(), Error> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Prints a value as pretty JSON.
///
/// # Errors
/// [`Error::Output`].
pub fn json<T: Serialize>(value: &T) -> Result<(), Error> {
    line(&serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)
}

/// How much of a result was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printed {
    /// Rows.
    pub rows: usize,
    /// Whether a table was cut off after them.
    pub cut: bool,
}

/// Prints a query's result. All formats but the table are written as the rows come; a table shows at most `most` rows (all where that is 0), which `memory`
/// has to have room for.
///
/// # Errors
/// [`CatalogError::Query`] or [`CatalogError::Memory`] where the query fails on the way, [`Error::Output`].
pub async fn result(
    mut rows: SendableRecordBatchStream,
    format: Format,
    most: usize,
    memory: &Arc<dyn MemoryPool>,
) -> Result<Printed, Error> {
    let schema = rows.schema();
    let failed = |e: DataFusionError| CatalogError::of_query(&e);
    let out = BufWriter::new(std::io::stdout());
    let most = if most == 0 { usize::MAX } else { most };
    let mut printed = Printed {
        rows: 0,
        cut: false,
    };
    match format {
        Format::Table => {
            let room = MemoryConsumer::new("the printed table").register(memory);
            let mut batches = Vec::new();
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                let left = most - printed.rows;
                printed.cut = batch.num_rows() > left;
                let batch = if printed.cut {
                    batch.slice(0, left)
                } else {
                    batch
                };
                room.try_grow(batch.get_array_memory_size())
                    .map_err(failed)?;
                printed.rows += batch.num_rows();
                batches.push(batch);
                if printed.cut {
                    break;
                }
            }
            line(&table(&schema, &batches).map_err(io)?)?;
        }
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new()
                .with_header(true)
                .build(out);
            writer
                .write(&flat(&RecordBatch::new_empty(schema)).map_err(io)?)
                .map_err(io)?;
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                printed.rows += batch.num_rows();
                writer.write(&flat(&batch).map_err(io)?).map_err(io)?;
            }
            writer.into_inner().flush()?;
        }
        Format::Json => {
            // Nulls are written: a reader takes the columns from the first rows.
            let mut writer = arrow::json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, LineDelimited>(out);
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                printed.rows += batch.num_rows();
                writer.write(&batch).map_err(io)?;
            }
            writer.finish().map_err(io)?;
            writer.into_inner().flush()?;
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(out, schema, None).map_err(parquet)?;
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                printed.rows += batch.num_rows();
                writer.write(&batch).map_err(parquet)?;
            }
            writer.into_inner().map_err(parquet)?.flush()?;
        }
    }
    Ok(printed)
}

/// Prints what EXPLAIN gives.
///
/// # Errors
/// [`CatalogError::Query`], [`Error::Output`].
pub async fn plan(rows: SendableRecordBatchStream) -> Result<(), Error> {
    let schema = rows.schema();
    let batches: Vec<RecordBatch> = rows
        .try_collect()
        .await
        .map_err(|e| CatalogError::of_query(&e))?;
    line(&table(&schema, &batches).map_err(io)?)
}

/// A table for people. The plans of EXPLAIN are lines by themselves: a box around them would be as wide as the longest.
fn table(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    if names != ["plan_type", "plan"] {
        let mut short = batches.iter().map(short).collect::<Result<Vec<_>, _>>()?;
        if short.is_empty() {
            short.push(RecordBatch::new_empty(Arc::clone(schema)));
        }
        return Ok(pretty_format_batches(&short)?.to_string());
    }
    let options = FormatOptions::default();
    let mut text = String::new();
    for batch in batches {
        let kinds = ArrayFormatter::try_new(batch.column(0), &options)?;
        let plans = ArrayFormatter::try_new(batch.column(1), &options)?;
        for i in 0..batch.num_rows() {
            let plan = plans.value(i).to_string();
            let _ = write!(text, "{}\n{}\n\n", kinds.value(i), plan.trim_end());
        }
    }
    Ok(text.trim_end().to_owned())
}

/// A batch in which long lists of numbers, such as soft labels, are cut: a table would be as wide as the longest.
fn short(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::default();
    let cut = |item: &FieldRef, column: &ArrayRef| {
        let lists = cast(column, &DataType::List(Arc::clone(item)))?;
        let lists = lists.as_list::<i32>();
        let mut texts = StringBuilder::new();
        for list in lists.iter() {
            let Some(list) = list else {
                texts.append_null();
                continue;
            };
            let shown = if list.len() <= LONGEST_LIST {
                list.len()
            } else {
                NUMBERS_OF_A_LONG_LIST
            };
            let formatter = ArrayFormatter::try_new(&list, &options)?;
            let mut words: Vec<_> = (0..shown).map(|i| formatter.value(i).to_string()).collect();
            if shown < list.len() {
                words.push(format!("… {} in all", list.len()));
            }
            texts.append_value(format!("[{}]", words.join(", ")));
        }
        Ok::<ArrayRef, ArrowError>(Arc::new(texts.finish()))
    };
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match field.data_type() {
            DataType::List(item) | DataType::FixedSizeList(item, _)
                if item.data_type().is_numeric() =>
            {
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
                columns.push(cut(item, column)?);
            }
            _ => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The stream's error behind Arrow's, so that a reader that has gone (`| head`) is told from a full disk.
fn io(error: ArrowError) -> std::io::Error {
    match error {
        ArrowError::IoError(_, inner) => inner,
        ArrowError::CsvError(text) if text.contains("Broken pipe") => {
            std::io::ErrorKind::BrokenPipe.into()
        }
        other => std::io::Error::other(other.to_string()),
    }
}

/// As [`io`], for Parquet's errors.
fn parquet(error: ParquetError) -> std::io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(inner) => *inner,
            Err(other) => std::io::Error::other(other.to_string()),
        },
        other => std::io::Error::other(other.to_string()),
    }
}

/// Rows as columns of even width.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A batch whose nested columns are text, since CSV has no nesting.
pub(crate) fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let text: StringArray = (0..column.len())
                .map(|i| column.is_valid(i).then(|| formatter.value(i).to_string()))
                .collect();
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(text));
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{FixedSizeListArray, ListArray};
    use arrow::datatypes::Float32Type;

    #[test]
    fn a_table_cuts_long_lists_of_numbers_and_shows_short_ones_whole() {
        let row = |n: usize| Some((0..n).map(|i| Some(i as f32)));
        let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([row(8), None, row(9)]);
        let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            [row(1000), row(1000), None],
            1000,
        );
        let batch = RecordBatch::try_from_iter([
            ("lists", Arc::new(lists) as ArrayRef),
            ("fixed", Arc::new(fixed)),
        ])
        .unwrap();
        let text = table(&batch.schema(), &[batch]).unwrap();
        let cells: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        let long = "[0.0, 1.0, 2.0, … 1000 in all]";
        assert_eq!(cells[3][1], "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]");
        assert_eq!((cells[3][2], cells[4][1], cells[4][2]), (long, "", long));
        assert_eq!(
            (cells[5][1], cells[5][2]),
            ("[0.0, 1.0, 2.0, … 9 in all]", "")
        );
    }
}
