//! Results → standard output, as a table, CSV, JSON lines or Parquet.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde::Serialize;

use crate::catalog::CatalogError;
use crate::cli::Format;
use crate::error::Error;

/// Prints a line.
///
/// # Errors
/// [`Error::Output`].
pub fn line(text: &str) -> Result<(), Error> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Prints a value as pretty JSON.
///
/// # Errors
/// [`Error::Output`].
pub fn json<T: Serialize>(value: &T) -> Result<(), Error> {
    line(&serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)
}

/// Prints a query's result. All formats but the table are written as the rows come.
///
/// # Errors
/// [`CatalogError::Query`] where the query fails on the way, [`Error::Output`].
pub async fn result(mut rows: SendableRecordBatchStream, format: Format) -> Result<(), Error> {
    let schema = rows.schema();
    let failed = |e: datafusion::error::DataFusionError| CatalogError::Query {
        detail: e.strip_backtrace(),
    };
    let out = BufWriter::new(std::io::stdout());
    match format {
        Format::Table => {
            let mut batches: Vec<RecordBatch> = rows.try_collect().await.map_err(failed)?;
            if batches.is_empty() {
                batches.push(RecordBatch::new_empty(schema));
            }
            line(&pretty_format_batches(&batches).map_err(io)?.to_string())
        }
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new()
                .with_header(true)
                .build(out);
            writer
                .write(&flat(&RecordBatch::new_empty(schema)).map_err(io)?)
                .map_err(io)?;
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                writer.write(&flat(&batch).map_err(io)?).map_err(io)?;
            }
            Ok(writer.into_inner().flush()?)
        }
        Format::Json => {
            let mut writer = arrow::json::LineDelimitedWriter::new(out);
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                writer.write(&batch).map_err(io)?;
            }
            writer.finish().map_err(io)?;
            Ok(writer.into_inner().flush()?)
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(out, schema, None).map_err(parquet)?;
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                writer.write(&batch).map_err(parquet)?;
            }
            Ok(writer.into_inner().map_err(parquet)?.flush()?)
        }
    }
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

/// A batch whose nested columns are text, since CSV has no nesting.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
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
