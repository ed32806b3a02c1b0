//! A Parquet file with image bytes → its images: the footer alone is read for the index, the bytes column alone for the images.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use futures::{TryFutureExt, TryStreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::list::Object;
use super::read::{Reader, listing_error, with_retries};
use super::{Entry, ImageRef, ReadError, ReadErrorKind, SourceConfig, SourceError};

/// A Parquet file of the source, read by range.
struct File {
    reader: Reader,
    object: String,
    size: u64,
    etag: Option<String>,
}

impl AsyncFileReader for File {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.reader
            .range(&self.object, range, self.etag.as_deref())
            .map_err(|e| ParquetError::External(Box::new(e)))
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size = self.size;
            let metadata = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .load_and_finish(self, size)
                .await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}

type Builder = ParquetRecordBatchStreamBuilder<File>;

/// The rows of a file, as images.
pub(super) fn index(
    reader: Reader,
    key: String,
    object: Object,
    config: SourceConfig,
) -> BoxStream<'static, Result<Entry, SourceError>> {
    let rows = async move {
        let broken = |reason: &str, detail: String| (1, Some((reason.to_owned(), detail)));
        let opened = with_retries(|| {
            open(&reader, &object.path, object.size, object.etag.as_deref()).map_err(failed)
        })
        .await;
        let (rows, problem) = match opened {
            Err(e) if e.kind == ReadErrorKind::Unreadable => broken("not-parquet", e.detail),
            Err(e) => return Err(listing_error(key, e)),
            Ok(builder) => match image_column(builder.schema(), &config) {
                Err(detail) => broken("no-image-column", detail),
                Ok(_) => (
                    u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0),
                    None,
                ),
            },
        };
        let entries = (0..rows).map(move |row| {
            Ok(Entry {
                key: if problem.is_some() {
                    key.clone()
                } else {
                    format!("{key}#{row}")
                },
                position: row,
                offset: None,
                size: None,
                problem: problem.clone(),
            })
        });
        Ok::<_, SourceError>(stream::iter(entries))
    };
    stream::once(rows).try_flatten().boxed()
}

async fn open(
    reader: &Reader,
    object: &str,
    size: Option<u64>,
    etag: Option<&str>,
) -> Result<Builder, ParquetError> {
    Builder::new(File {
        reader: reader.clone(),
        object: object.to_owned(),
        size: size.unwrap_or(0),
        etag: etag.map(str::to_owned),
    })
    .await
}

/// The bytes of neighbouring rows, in order.
pub(super) async fn rows(
    reader: &Reader,
    images: &[ImageRef],
    config: &SourceConfig,
) -> Result<Vec<Result<Bytes, ReadError>>, ReadError> {
    let (Some(first), Some(last)) = (images.first(), images.last()) else {
        return Ok(Vec::new());
    };
    let builder = open(reader, &first.object, first.object_size, first.etag.as_deref())
        .await
        .map_err(failed)?;
    let (column, field) = image_column(builder.schema(), config).map_err(|detail| ReadError {
        kind: ReadErrorKind::Changed,
        detail,
    })?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
    let (from, to) = (first.position as usize, last.position as usize + 1);
    let selection = RowSelection::from(vec![
        RowSelector::skip(from),
        RowSelector::select(to - from),
    ]);
    let mut stream = builder
        .with_projection(mask)
        .with_row_selection(selection)
        .with_batch_size(to - from)
        .build()
        .map_err(failed)?;
    let mut found: Vec<Option<Bytes>> = Vec::with_capacity(to - from);
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        let mut values = Arc::clone(batch.column(0));
        if let Some(field) = &field {
            let member = values.as_struct().column_by_name(field).cloned();
            values = member.unwrap_or(values);
        }
        found.extend((0..values.len()).map(|i| binary(&values, i)));
    }
    Ok(images
        .iter()
        .map(|image| {
            let row = image.position as usize - from;
            match found.get(row) {
                Some(Some(bytes)) => Ok(bytes.clone()),
                Some(None) => Err(ReadError {
                    kind: ReadErrorKind::Unreadable,
                    detail: format!("row {} has no bytes", image.position),
                }),
                None => Err(ReadError {
                    kind: ReadErrorKind::Changed,
                    detail: format!("the file has no row {} any more", image.position),
                }),
            }
        })
        .collect())
}

fn binary(values: &ArrayRef, row: usize) -> Option<Bytes> {
    if values.is_null(row) {
        return None;
    }
    Some(Bytes::copy_from_slice(match values.data_type() {
        DataType::LargeBinary => values.as_binary::<i64>().value(row),
        DataType::BinaryView => values.as_binary_view().value(row),
        _ => values.as_binary::<i32>().value(row),
    }))
}

/// The column with the bytes, and for a struct the name of its member.
fn image_column(schema: &Schema, config: &SourceConfig) -> Result<(usize, Option<String>), String> {
    let is_binary = |t: &DataType| {
        matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
    };
    let usable: Vec<(usize, Option<String>)> = schema
        .fields()
        .iter()
        .enumerate()
        .filter_map(|(i, field)| match field.data_type() {
            t if is_binary(t) => Some((i, None)),
            DataType::Struct(members) => members
                .iter()
                .find(|m| m.name() == "bytes" && is_binary(m.data_type()))
                .map(|m| (i, Some(m.name().clone()))),
            _ => None,
        })
        .collect();
    let name = |i: usize| format!("`{}`", schema.field(i).name());
    if let Some(wanted) = &config.image_column {
        return usable
            .into_iter()
            .find(|(i, _)| schema.field(*i).name() == wanted)
            .ok_or_else(|| format!("source.image_column is `{wanted}`, which is no binary column of the file"));
    }
    let structs: Vec<_> = usable.iter().filter(|(_, member)| member.is_some()).collect();
    match (&structs[..], &usable[..]) {
        ([one], _) => Ok((*one).clone()),
        (_, [one]) => Ok(one.clone()),
        (_, []) => Err("it has no binary column, and no struct column with `bytes`".into()),
        (_, several) => Err(format!(
            "the bytes may be in {}: name one in source.image_column",
            several.iter().map(|(i, _)| name(*i)).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// The reader's own errors come out as they went in; Parquet's are final.
fn failed(error: ParquetError) -> ReadError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<ReadError>() {
            Ok(read) => *read,
            Err(other) => ReadError {
                kind: ReadErrorKind::Retryable,
                detail: other.to_string(),
            },
        },
        other => ReadError {
            kind: ReadErrorKind::Unreadable,
            detail: other.to_string(),
        },
    }
}
