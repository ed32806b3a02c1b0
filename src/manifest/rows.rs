//! Manifest rows ↔ Arrow batches ↔ the Parquet object of a generation.

use std::fs::File;
use std::io::Read as _;
use std::path::Path as FsPath;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringBuilder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type};
use object_store::buffered::BufWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use super::ManifestError;
use crate::hex::hex;
use crate::source::{ImageRef, Kind};
use crate::store::StoreError;
use crate::workspace::Workspace;

/// Rows of a row group: small enough that a later run reads little to reach its first open shard.
const ROW_GROUP: usize = 65_536;
/// Rows that become columns at a time.
const BATCH: usize = 8192;

/// The columns of a manifest. `shard` and `row` are null for what is gone.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("object", DataType::Utf8, false),
        Field::new("position", DataType::UInt64, false),
        Field::new("generation", DataType::UInt32, false),
        Field::new("shard", DataType::UInt32, true),
        Field::new("row", DataType::UInt32, true),
        Field::new("kind", DataType::Utf8, false),
        Field::new("offset", DataType::UInt64, true),
        Field::new("size", DataType::UInt64, true),
        Field::new("object_size", DataType::UInt64, true),
        Field::new("etag", DataType::Utf8, true),
        Field::new("problem", DataType::Utf8, true),
        Field::new("detail", DataType::Utf8, true),
        Field::new("status", DataType::Utf8, false),
    ]))
}

/// The rows of a batch with this schema; rows of what is gone have no shard and are refused.
///
/// # Errors
/// [`ManifestError::BadRow`].
pub fn rows(batch: &RecordBatch) -> Result<Vec<ImageRef>, ManifestError> {
    let column = |name: &'static str, of: &DataType| -> Result<ArrayRef, ManifestError> {
        let bad = ManifestError::BadRow { column: name };
        let found = batch.column_by_name(name).ok_or(bad)?;
        // DataFusion may hand out strings as views.
        arrow::compute::cast(found, of).map_err(|_| ManifestError::BadRow { column: name })
    };
    let text = |name| column(name, &DataType::Utf8);
    let (key, object, kind) = (text("key")?, text("object")?, text("kind")?);
    let (etag, problem, detail) = (text("etag")?, text("problem")?, text("detail")?);
    let number = |name| column(name, &DataType::UInt64);
    let (position, offset) = (number("position")?, number("offset")?);
    let (size, object_size) = (number("size")?, number("object_size")?);
    let small = |name| column(name, &DataType::UInt32);
    let (generation, shard, row) = (small("generation")?, small("shard")?, small("row")?);
    let string = |a: &ArrayRef, i: usize| {
        a.is_valid(i)
            .then(|| a.as_string::<i32>().value(i).to_owned())
    };
    let long = |a: &ArrayRef, i: usize| {
        a.is_valid(i)
            .then(|| a.as_primitive::<UInt64Type>().value(i))
    };
    let short = |a: &ArrayRef, i: usize, column: &'static str| {
        a.is_valid(i)
            .then(|| a.as_primitive::<UInt32Type>().value(i))
            .ok_or(ManifestError::BadRow { column })
    };
    (0..batch.num_rows())
        .map(|i| {
            Ok(ImageRef {
                key: string(&key, i).ok_or(ManifestError::BadRow { column: "key" })?,
                object: string(&object, i).ok_or(ManifestError::BadRow { column: "object" })?,
                position: long(&position, i).unwrap_or(0),
                generation: short(&generation, i, "generation")?,
                shard: short(&shard, i, "shard")?,
                row: short(&row, i, "row")?,
                kind: string(&kind, i)
                    .and_then(|k| Kind::parse(&k))
                    .ok_or(ManifestError::BadRow { column: "kind" })?,
                offset: long(&offset, i),
                size: long(&size, i),
                object_size: long(&object_size, i),
                etag: string(&etag, i),
                problem: string(&problem, i),
                detail: string(&detail, i),
            })
        })
        .collect()
}

/// Whether a row is there, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    New,
    Changed,
    Gone,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

/// Manifest rows on their way into a temporary file.
pub(super) struct Sheet {
    parquet: ArrowWriter<NamedTempFile>,
}

impl Sheet {
    pub(super) fn new(schema: SchemaRef) -> Result<Self, ManifestError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_created_by(format!("understudy {}", env!("CARGO_PKG_VERSION")))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .build();
        let file = NamedTempFile::with_prefix("understudy-manifest-")?;
        Ok(Self {
            parquet: ArrowWriter::try_new(file, schema, Some(properties))?,
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ManifestError> {
        Ok(self.parquet.write(batch)?)
    }

    /// The file, and 16 hexadecimal digits of its content's hash.
    pub(super) fn finish(self) -> Result<(NamedTempFile, String), ManifestError> {
        let file = self.parquet.into_inner()?;
        let mut hash = Sha256::new();
        let mut reader = File::open(file.path())?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = reader.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
        }
        Ok((file, hex(&hash.finalize()[..8])))
    }
}

/// Writes the rows of a generation, a batch at a time.
pub(super) struct Writer {
    sheet: Sheet,
    pending: Vec<(ImageRef, Status)>,
}

impl Writer {
    pub(super) fn new() -> Result<Self, ManifestError> {
        Ok(Self {
            sheet: Sheet::new(schema())?,
            pending: Vec::with_capacity(BATCH),
        })
    }

    pub(super) fn push(&mut self, row: ImageRef, status: Status) -> Result<(), ManifestError> {
        self.pending.push((row, status));
        if self.pending.len() == BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ManifestError> {
        if !self.pending.is_empty() {
            self.sheet.write(&batch(&self.pending)?)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// As [`Sheet::finish`].
    pub(super) fn finish(mut self) -> Result<(NamedTempFile, String), ManifestError> {
        self.flush()?;
        self.sheet.finish()
    }
}

/// Images that are there, as the rows of a manifest.
///
/// # Errors
/// Arrow's.
pub(crate) fn batch_of(images: Vec<ImageRef>) -> Result<RecordBatch, ParquetError> {
    let rows: Vec<_> = images.into_iter().map(|i| (i, Status::New)).collect();
    batch(&rows)
}

fn batch(rows: &[(ImageRef, Status)]) -> Result<RecordBatch, ParquetError> {
    let text = |f: &dyn Fn(&ImageRef) -> Option<&str>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        rows.iter().for_each(|(r, _)| builder.append_option(f(r)));
        Arc::new(builder.finish())
    };
    let long = |f: &dyn Fn(&ImageRef) -> Option<u64>| -> ArrayRef {
        let mut builder = UInt64Builder::with_capacity(rows.len());
        rows.iter().for_each(|(r, _)| builder.append_option(f(r)));
        Arc::new(builder.finish())
    };
    let short = |f: &dyn Fn(&ImageRef) -> u32, always: bool| -> ArrayRef {
        let mut builder = UInt32Builder::with_capacity(rows.len());
        for (r, status) in rows {
            builder.append_option((always || *status != Status::Gone).then(|| f(r)));
        }
        Arc::new(builder.finish())
    };
    let status: ArrayRef = {
        let mut builder = StringBuilder::new();
        rows.iter()
            .for_each(|(_, s)| builder.append_value(s.name()));
        Arc::new(builder.finish())
    };
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            text(&|r| Some(&r.key)),
            text(&|r| Some(&r.object)),
            long(&|r| Some(r.position)),
            short(&|r| r.generation, true),
            short(&|r| r.shard, false),
            short(&|r| r.row, false),
            text(&|r| Some(r.kind.name())),
            long(&|r| r.offset),
            long(&|r| r.size),
            long(&|r| r.object_size),
            text(&|r| r.etag.as_deref()),
            text(&|r| r.problem.as_deref()),
            text(&|r| r.detail.as_deref()),
            status,
        ],
    )?)
}

/// Uploads a generation's or a plan's file. Its name holds its hash, so that a second upload of the same name has the same bytes.
pub(crate) async fn upload(
    workspace: &Workspace,
    relative: &str,
    file: &NamedTempFile,
) -> Result<(), ManifestError> {
    let path = workspace.path(relative);
    let url = workspace.at.key(&path);
    let fail = |e: std::io::Error| {
        let error = object_store::Error::Generic {
            store: "upload",
            source: Box::new(e),
        };
        crate::workspace::WorkspaceError::from(StoreError::from_object_store("write", &url, &error))
    };
    let local: &FsPath = file.path();
    let mut reader = tokio::fs::File::open(local).await?;
    let mut writer = BufWriter::new(Arc::clone(&workspace.at.store), path);
    tokio::io::copy(&mut reader, &mut writer)
        .await
        .map_err(fail)?;
    writer.shutdown().await.map_err(fail)?;
    Ok(workspace.settle(relative).await?)
}
