//! A column of a Parquet file that is not the images': where the labels are.

use std::sync::Arc;

use arrow::array::ArrayRef;
use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;

use super::SourceError;
use super::list::Object;
use super::parquet::{failed, file, footer};
use super::read::{Reader, listing_error};

/// Values of a column of labels that are decoded at a time.
const LABELS: usize = 8192;
/// The key of a file's metadata under which Hugging Face's `datasets` describes the columns.
const HUGGING_FACE: &str = "huggingface";

/// A column beside that of the images.
pub(crate) enum Column {
    /// It is there.
    Found {
        /// Its name.
        name: String,
        /// Its values in the order of the rows.
        values: BoxStream<'static, Result<ArrayRef, SourceError>>,
        /// What Hugging Face's `datasets` wrote into the file's metadata, as JSON.
        described: Option<String>,
    },
    /// The file has none of these names.
    Missing {
        /// The columns it has; none where it is no Parquet file, which the index of its images says.
        columns: Vec<String>,
    },
}

/// The first column of these names.
pub(super) async fn column(
    reader: Reader,
    key: String,
    object: &Object,
    names: &[&str],
) -> Result<Column, SourceError> {
    let metadata = match footer(&reader, object).await {
        Ok(Ok(metadata)) => metadata,
        Ok(Err(_)) => {
            return Ok(Column::Missing {
                columns: Vec::new(),
            });
        }
        Err(e) => return Err(listing_error(key, e)),
    };
    let fields = metadata.schema().fields();
    let found = names
        .iter()
        .find_map(|name| fields.iter().position(|f| f.name() == name));
    let Some(root) = found else {
        let columns = fields.iter().map(|f| f.name().clone()).collect();
        return Ok(Column::Missing { columns });
    };
    let name = fields[root].name().clone();
    let described = metadata
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .into_iter()
        .flatten()
        .find(|pair| pair.key == HUGGING_FACE)
        .and_then(|pair| pair.value.clone());
    let failed_here = move |e: ParquetError| listing_error(key.clone(), failed(e));
    let file = file(&reader, &object.path, object.size, object.etag.as_deref());
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(file, metadata);
    let mask = ProjectionMask::roots(builder.parquet_schema(), [root]);
    let values = builder
        .with_projection(mask)
        .with_batch_size(LABELS)
        .build()
        .map_err(&failed_here)?
        .map_ok(|batch| Arc::clone(batch.column(0)))
        .map_err(failed_here)
        .boxed();
    Ok(Column::Found {
        name,
        values,
        described,
    })
}
