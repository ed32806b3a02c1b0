//! Results → standard output, as a table, CSV, JSON lines or Parquet.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
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
use crate::say::escaped;

/// A list of as many elements is shown whole in a table.
const LONGEST_LIST: usize = 8;
/// The first elements of a longer list, which a table shows with its length.
const SHOWN_OF_A_LONG_LIST: usize = 3;

/// Prints a line for people: what would steer their terminal is written out.
///
/// # Errors
/// [`Error::Output`].
pub fn line(text: &str) -> Result<(), Error> {
    Ok(writeln!(std::io::stdout(), "{}", escaped(text))?)
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
    let json = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    Ok(writeln!(std::io::stdout(), "{json}")?)
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
        let mut shown = batches.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        if shown.is_empty() {
            shown.push(RecordBatch::new_empty(Arc::clone(schema)));
        }
        return Ok(pretty_format_batches(&shown)?.to_string());
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

/// A batch of the texts that a table shows.
fn shown(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = escaped(field.name());
        fields.push(Field::new(name, DataType::Utf8, true));
        let texts = StringArray::from_iter_values(texts(column)?);
        columns.push(Arc::new(texts) as ArrayRef);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// The values of a column as a table shows them, a null as nothing. Of a long list, at whatever depth, the first elements are shown: a table would be as wide as
/// the longest.
fn texts(column: &ArrayRef) -> Result<Vec<String>, ArrowError> {
    match column.data_type() {
        DataType::List(_) => lists(column.as_list::<i32>().iter()),
        DataType::LargeList(_) => lists(column.as_list::<i64>().iter()),
        DataType::ListView(_) => lists(column.as_list_view::<i32>().iter()),
        DataType::LargeListView(_) => lists(column.as_list_view::<i64>().iter()),
        DataType::FixedSizeList(..) => lists(column.as_fixed_size_list().iter()),
        DataType::Map(..) => {
            let maps = column.as_map().iter().map(|entries| match entries {
                None => Ok(String::new()),
                Some(entries) => {
                    let (keys, values) = (first(entries.column(0))?, first(entries.column(1))?);
                    let pairs = keys.into_iter().zip(values);
                    let pairs = pairs.map(|(key, value)| format!("{key}: {value}"));
                    Ok(format!("{{{}}}", joined(pairs.collect(), entries.len())))
                }
            });
            maps.collect()
        }
        DataType::Struct(fields) => {
            let column = column.as_struct();
            let mut structs = vec![Vec::new(); column.len()];
            for (field, values) in fields.iter().zip(column.columns()) {
                for (words, value) in structs.iter_mut().zip(texts(values)?) {
                    words.push(format!("{}: {value}", escaped(field.name())));
                }
            }
            let shown = structs.into_iter().enumerate().map(|(row, words)| {
                let is_valid = column.is_valid(row);
                is_valid.then(|| format!("{{{}}}", words.join(", ")))
            });
            Ok(shown.map(Option::unwrap_or_default).collect())
        }
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let text = |row| escaped(&formatter.value(row).to_string()).into_owned();
            Ok((0..column.len()).map(text).collect())
        }
    }
}

fn lists(rows: impl Iterator<Item = Option<ArrayRef>>) -> Result<Vec<String>, ArrowError> {
    rows.map(|list| match list {
        None => Ok(String::new()),
        Some(list) => Ok(format!("[{}]", joined(first(&list)?, list.len()))),
    })
    .collect()
}

/// The elements of a list that are shown.
fn first(list: &ArrayRef) -> Result<Vec<String>, ArrowError> {
    let shown = if list.len() <= LONGEST_LIST {
        list.len()
    } else {
        SHOWN_OF_A_LONG_LIST
    };
    texts(&list.slice(0, shown))
}

/// These elements of a list that has so many.
fn joined(mut words: Vec<String>, all: usize) -> String {
    if words.len() < all {
        words.push(format!("… {all} in all"));
    }
    words.join(", ")
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
    use arrow::array::{
        FixedSizeListArray, Int64Builder, ListArray, ListBuilder, MapBuilder, StringBuilder,
        StructArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Float32Type;

    /// The cells of a table of one column.
    fn cells(column: ArrayRef) -> Vec<String> {
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let text = table(&batch.schema(), &[batch]).unwrap();
        let rows = text.lines().skip(3).filter(|line| line.starts_with('|'));
        rows.map(|line| line.trim_matches(['|', ' ']).to_owned())
            .collect()
    }

    #[test]
    fn a_table_cuts_long_lists_of_any_kind_at_any_depth() {
        let row = |n: usize| Some((0..n).map(|i| Some(i as f32)));
        let inner = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            (0..12).map(|_| row(20)),
            20,
        );
        let item = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([10, 2]);
        let outer = ListArray::new(item, offsets, Arc::new(inner), None);
        let long = "[0.0, 1.0, 2.0, … 20 in all]";
        assert_eq!(
            cells(Arc::new(outer)),
            [
                format!("[{long}, {long}, {long}, … 10 in all]"),
                format!("[{long}, {long}]")
            ]
        );

        let mut names = ListBuilder::new(StringBuilder::new());
        names.append_value((0..9).map(|n| Some(format!("k{n}"))));
        names.append_value([Some("a\u{1b}[31m".to_owned()), None]);
        let names = names.finish();
        let shown = ["[k0, k1, k2, … 9 in all]", "[a\\u{1b}[31m, ]"];
        assert_eq!(cells(Arc::new(names.clone())), shown);

        let field = Field::new("names", names.data_type().clone(), true);
        let nulls = Some(vec![true, false].into());
        let structs = StructArray::new(vec![field].into(), vec![Arc::new(names)], nulls);
        let shown = ["{names: [k0, k1, k2, … 9 in all]}", ""];
        assert_eq!(cells(Arc::new(structs)), shown);

        let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        for n in [2, 9] {
            for i in 0..n {
                map.keys().append_value(format!("k{i}"));
                map.values().append_value(i);
            }
            map.append(true).unwrap();
        }
        let shown = ["{k0: 0, k1: 1}", "{k0: 0, k1: 1, k2: 2, … 9 in all}"];
        assert_eq!(cells(Arc::new(map.finish())), shown);
    }

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
