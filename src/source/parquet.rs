//! A Parquet file with image bytes → its images: the footer alone is read for the index, the pages with the wanted rows for the images.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader,
};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use tokio::sync::Mutex;

use super::list::Object;
use super::pieces::Pieces;
use super::read::{Reader, listing_error, with_retries};
use super::{
    Entry, GROUP_BYTES, ImageRef, ReadError, ReadErrorKind, SourceConfig, SourceError, pages,
};

/// Files whose footers are kept: two shards are worked on side by side, and a shard lies in one file.
const KEPT: usize = 4;
/// Rows that are decoded at a time.
const BATCH: usize = 16;

/// A Parquet file of the source, read by range.
pub(super) struct File {
    reader: Reader,
    object: String,
    size: u64,
    etag: Option<String>,
    /// Where its pages are large: what was read last.
    pieces: Option<Arc<Pieces>>,
}

impl AsyncFileReader for File {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        if range.end > self.size {
            // A footer that is made up could ask for any amount of memory.
            let error = ParquetError::General("a column lies beyond the end of the file".into());
            return futures::future::ready(Err(error)).boxed();
        }
        async move {
            let of = (self.object.as_str(), self.etag.as_deref());
            let kept = |pieces: &Arc<Pieces>| pieces.get(of, &range);
            if let Some(bytes) = self.pieces.as_ref().and_then(kept) {
                return Ok(bytes);
            }
            let read = self
                .reader
                .range(&self.object, range.clone(), self.etag.as_deref());
            let bytes = read
                .await
                .map_err(|e| ParquetError::External(Box::new(e)))?;
            if let Some(pieces) = &self.pieces {
                pieces.keep(of, range, bytes.clone());
            }
            Ok(bytes)
        }
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
                .with_offset_index_policy(PageIndexPolicy::Optional)
                .load_and_finish(self, size)
                .await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}

/// The footers of the files that were read last, with the places of their pages.
#[derive(Debug, Default)]
pub(super) struct Footers {
    kept: Mutex<Vec<Footer>>,
    pieces: Arc<Pieces>,
}

#[derive(Debug, Clone)]
struct Footer {
    object: String,
    etag: Option<String>,
    metadata: ArrowReaderMetadata,
    image: ImageColumn,
}

/// The column with the bytes.
#[derive(Debug, Clone)]
struct ImageColumn {
    /// The leaf's number in the Parquet schema.
    leaf: usize,
    /// The member, where the column is a struct.
    member: Option<String>,
}

impl Footers {
    /// The footer of a file; while one is read, whoever wants it as well waits for it.
    async fn of(
        &self,
        reader: &Reader,
        image: &ImageRef,
        config: &SourceConfig,
    ) -> Result<Footer, ReadError> {
        let mut kept = self.kept.lock().await;
        let this = |f: &Footer| f.object == image.object && f.etag == image.etag;
        if let Some(i) = kept.iter().position(this) {
            let footer = kept.remove(i);
            kept.push(footer.clone());
            return Ok(footer);
        }
        let mut file = file(
            reader,
            &image.object,
            image.object_size,
            image.etag.as_deref(),
        );
        let metadata = file.get_metadata(None).await.map_err(failed)?;
        let options = ArrowReaderOptions::new();
        let read = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.clone());
        let read = read.map_err(failed)?;
        let column =
            image_column(read.schema(), &metadata, config).map_err(|detail| ReadError {
                kind: ReadErrorKind::Changed,
                detail,
            })?;
        let metadata = if metadata.offset_index().is_some() {
            read
        } else {
            let walked = walked(reader, image, &metadata, column.leaf).await?;
            ArrowReaderMetadata::try_new(Arc::new(walked), options).map_err(failed)?
        };
        let footer = Footer {
            object: image.object.clone(),
            etag: image.etag.clone(),
            metadata,
            image: column,
        };
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(footer.clone());
        Ok(footer)
    }
}

/// The metadata with an offset index for one column, made by walking its pages.
async fn walked(
    reader: &Reader,
    image: &ImageRef,
    metadata: &ParquetMetaData,
    leaf: usize,
) -> Result<ParquetMetaData, ReadError> {
    let mut index = Vec::new();
    for group in metadata.row_groups() {
        let mut columns = Vec::new();
        for (n, column) in group.columns().iter().enumerate() {
            let page_locations = if n == leaf {
                let chunk = chunk(column, image.object_size.unwrap_or(0))?;
                pages::walk(reader, &image.object, image.etag.as_deref(), chunk).await?
            } else {
                Vec::new()
            };
            columns.push(OffsetIndexMetaData {
                page_locations,
                unencoded_byte_array_data_bytes: None,
            });
        }
        index.push(columns);
    }
    let builder = metadata.clone().into_builder();
    Ok(builder.set_offset_index(Some(index)).build())
}

/// Where a column of a row group lies, checked: the reader itself would panic on a negative length.
fn chunk(column: &ColumnChunkMetaData, size: u64) -> Result<Range<u64>, ReadError> {
    let start = column
        .dictionary_page_offset()
        .unwrap_or(column.data_page_offset());
    let range = u64::try_from(start)
        .ok()
        .zip(u64::try_from(column.compressed_size()).ok())
        .and_then(|(start, length)| Some(start..start.checked_add(length)?))
        .filter(|range| range.end <= size);
    range.ok_or_else(|| ReadError {
        kind: ReadErrorKind::Unreadable,
        detail: "its footer has a column beyond the end of the file".into(),
    })
}

/// A file's footer, or why it has none that can be read.
///
/// # Errors
/// The store's, whatever it refuses: a file that it does not give may be Parquet.
pub(super) async fn footer(
    reader: &Reader,
    object: &Object,
) -> Result<Result<ArrowReaderMetadata, String>, ReadError> {
    with_retries(|| async {
        let mut file = file(reader, &object.path, object.size, object.etag.as_deref());
        let metadata = file.get_metadata(None).await;
        let options = ArrowReaderOptions::new();
        match metadata.and_then(|metadata| ArrowReaderMetadata::try_new(metadata, options)) {
            Ok(opened) => Ok(Ok(opened)),
            Err(e @ ParquetError::External(_)) => Err(failed(e)),
            Err(e) => Ok(Err(e.to_string())),
        }
    })
    .await
}

/// The rows of a file, as images. `offset` is the first row of an image's row group, `size` the average of that group.
pub(super) fn index(
    reader: Reader,
    key: String,
    object: Object,
    config: SourceConfig,
) -> BoxStream<'static, Result<Entry, SourceError>> {
    let groups = async move {
        let problem = |reason: &str, detail: String| {
            let entry = Entry {
                size: object.size,
                problem: Some((reason.to_owned(), detail)),
                ..Entry::new(key.clone(), 0)
            };
            Ok(stream::iter([Ok(entry)]).boxed())
        };
        let opened = match footer(&reader, &object).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(detail)) => return problem("not-parquet", detail),
            Err(e) => return Err(listing_error(key, e)),
        };
        let metadata = Arc::clone(opened.metadata());
        let column = match image_column(opened.schema(), &metadata, &config) {
            Err(detail) => return problem("no-image-column", detail),
            Ok(column) => column,
        };
        let mut first = 0;
        let mut groups = Vec::new();
        for group in metadata.row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            match chunk(group.column(column.leaf), object.size.unwrap_or(0)) {
                Err(e) => return problem("not-parquet", e.detail),
                Ok(chunk) => groups.push((first, rows, (chunk.end - chunk.start) / rows.max(1))),
            }
            first += rows;
        }
        let rows = groups.into_iter().flat_map(move |(first, rows, average)| {
            let key = key.clone();
            (0..rows).map(move |row| {
                Ok(Entry {
                    offset: Some(first),
                    size: Some(average),
                    together: if row == 0 { rows } else { 0 },
                    ..Entry::new(format!("{key}#{}", first + row), first + row)
                })
            })
        });
        Ok::<_, SourceError>(stream::iter(rows).boxed())
    };
    stream::once(groups).try_flatten().boxed()
}

/// A file, not read yet.
pub(super) fn file(reader: &Reader, object: &str, size: Option<u64>, etag: Option<&str>) -> File {
    File {
        reader: reader.clone(),
        object: object.to_owned(),
        size: size.unwrap_or(0),
        etag: etag.map(str::to_owned),
        pieces: None,
    }
}

impl Footer {
    /// The bytes of the largest page that these images lie in, which are of one row group.
    fn largest_page(&self, images: &[ImageRef]) -> u64 {
        let metadata = self.metadata.metadata();
        let mut before = 0;
        let first_rows = metadata.row_groups().iter().map(|group| {
            let first = before;
            before += group.num_rows();
            first
        });
        let first_rows: Vec<i64> = first_rows.collect();
        let position = |image: &ImageRef| i64::try_from(image.position).unwrap_or(i64::MAX);
        let Some(first) = images.first().map(position) else {
            return 0;
        };
        let group = first_rows
            .partition_point(|row| *row <= first)
            .saturating_sub(1);
        let index = metadata
            .offset_index()
            .and_then(|index| index.get(group)?.get(self.image.leaf));
        let Some(pages) = index.map(|index| &index.page_locations) else {
            return 0;
        };
        let page_of = |image: &ImageRef| {
            let row = position(image) - first_rows[group];
            pages.partition_point(|page| page.first_row_index <= row)
        };
        let mut touched: Vec<usize> = images.iter().map(page_of).collect();
        touched.dedup();
        let bytes = |page: &usize| {
            pages
                .get(page.checked_sub(1)?)
                .map(|p| p.compressed_page_size)
        };
        let bytes = touched.iter().filter_map(bytes);
        bytes
            .map(|bytes| u64::try_from(bytes).unwrap_or(0))
            .max()
            .unwrap_or(0)
    }
}

/// The bytes of rows of one file, which are in ascending order.
pub(super) async fn rows(
    reader: &Reader,
    footers: &Footers,
    images: &[ImageRef],
    config: &SourceConfig,
    max_bytes: u64,
) -> Result<Vec<Result<Bytes, ReadError>>, ReadError> {
    let Some(first) = images.first() else {
        return Ok(Vec::new());
    };
    let footer = footers.of(reader, first, config).await?;
    let large = footer.largest_page(images) > GROUP_BYTES;
    let _turn = if large {
        Some(footers.pieces.turn.lock().await)
    } else {
        None
    };
    let mut selectors = Vec::new();
    let mut next = 0;
    for image in images {
        let row = image.position as usize;
        selectors.push(RowSelector::skip(row.saturating_sub(next)));
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    let mut file = file(
        reader,
        &first.object,
        first.object_size,
        first.etag.as_deref(),
    );
    file.pieces = large.then(|| Arc::clone(&footers.pieces));
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(file, footer.metadata.clone());
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [footer.image.leaf]);
    let mut stream = builder
        .with_projection(mask)
        .with_row_selection(RowSelection::from(selectors))
        .with_batch_size(BATCH)
        .build()
        .map_err(failed)?;
    let mut found: Vec<Option<Bytes>> = Vec::with_capacity(images.len());
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        let mut values = Arc::clone(batch.column(0));
        if let Some(member) = &footer.image.member {
            let inner = values.as_struct().column_by_name(member).cloned();
            values = inner.unwrap_or(values);
        }
        found.extend((0..values.len()).map(|i| binary(&values, i)));
    }
    let mut found = found.into_iter();
    Ok(images
        .iter()
        .map(|image| match found.next() {
            Some(Some(bytes)) if bytes.len() as u64 > max_bytes => {
                Err(ReadError::too_large(bytes.len() as u64, max_bytes))
            }
            Some(Some(bytes)) => Ok(bytes),
            Some(None) => Err(ReadError {
                kind: ReadErrorKind::Unreadable,
                detail: format!("row {} has no bytes", image.position),
            }),
            None => Err(ReadError {
                kind: ReadErrorKind::Changed,
                detail: format!("the file has no row {} any more", image.position),
            }),
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

/// The column with the bytes.
fn image_column(
    schema: &Schema,
    metadata: &ParquetMetaData,
    config: &SourceConfig,
) -> Result<ImageColumn, String> {
    let (column, member) = image_field(schema, config)?;
    let path: Vec<&str> = std::iter::once(schema.field(column).name().as_str())
        .chain(member.as_deref())
        .collect();
    let leaves = metadata.file_metadata().schema_descr().columns();
    let leaf = leaves
        .iter()
        .position(|leaf| leaf.path().parts() == path && leaf.max_rep_level() == 0)
        .ok_or_else(|| format!("`{}` is no plain column", path.join(".")))?;
    Ok(ImageColumn { leaf, member })
}

/// The number of the field with the bytes, and for a struct the name of its member.
fn image_field(schema: &Schema, config: &SourceConfig) -> Result<(usize, Option<String>), String> {
    let is_binary = |t: &DataType| {
        matches!(
            t,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        )
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
            .ok_or_else(|| {
                format!("source.image_column is `{wanted}`, which is no binary column of the file")
            });
    }
    let structs: Vec<_> = usable
        .iter()
        .filter(|(_, member)| member.is_some())
        .collect();
    match (&structs[..], &usable[..]) {
        ([one], _) => Ok((*one).clone()),
        (_, [one]) => Ok(one.clone()),
        (_, []) => Err("it has no binary column, and no struct column with `bytes`".into()),
        (_, several) => Err(format!(
            "the bytes may be in {}: name one in source.image_column, for a dataset of another name",
            several
                .iter()
                .map(|(i, _)| name(*i))
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

/// The reader's own errors come out as they went in; Parquet's are final.
pub(super) fn failed(error: ParquetError) -> ReadError {
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
