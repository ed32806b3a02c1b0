//! The rows of a query → Parquet objects beside `selection.json`, one a partition, written as they come.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float32Type, SchemaRef, UInt32Type};
use bytes::Bytes;
use object_store::buffered::BufWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use tokio::io::AsyncWriteExt as _;

use super::columns::{Texts, classes};
use super::hash::seeded_hash;
use super::ranks::ClassIndex;
use super::repeat::{self, Repeated};
use super::report::PartRecord;
use super::sweep::{Query, partitions};
use super::{SelectError, report};
use crate::workspace::Workspace;

/// Rows of a row group: keys of 46 bytes and soft labels of 1,000 half-precision numbers are 64 MB before compression.
const ROW_GROUP: usize = 32 * 1024;
/// Rows of a row group without soft labels.
const ROW_GROUP_OF_SCALARS: usize = 128 * 1024;

/// Values of a column that are encoded together, before the size of a page is looked at.
const WRITE_BATCH: usize = 8 * 1024;

/// Where rows go, and what their objects are called: `KIND00000-TAG.parquet`.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) workspace: Workspace,
    pub(super) id: String,
    /// Such as [`report::PARTS`].
    pub(super) kind: &'static str,
    /// Follows from all that the run has found: two of the same name at the same time write the same bytes, or other objects.
    pub(super) tag: String,
    /// Whether rows are written as often as their copies say.
    pub(super) materialize: bool,
}

/// A part that was written.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) record: PartRecord,
    /// Rows of the query, before they are repeated.
    pub(super) chosen: u64,
    index: ClassIndex,
    classes: Vec<(i64, OfClass)>,
    /// Hashes of some of the keys.
    sampled: Vec<u64>,
}

/// Whether one of so many keys comes twice is looked at: of labels that came twice as a whole, as a file and its copy, that shows at once.
const SAMPLED: u64 = 64;

/// How many keys were looked at, and how many of them are distinct.
pub(super) fn sampled_keys(parts: &[Part]) -> (usize, usize) {
    let mut all: Vec<u64> = parts.iter().flat_map(|p| &p.sampled).copied().collect();
    let sampled = all.len();
    all.sort_unstable();
    all.dedup();
    (sampled, all.len())
}

/// What they are called.
pub(super) fn files(parts: Vec<Part>) -> Vec<String> {
    parts.into_iter().map(|part| part.record.file).collect()
}

/// What was written of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfClass {
    pub(super) rows: u64,
    /// Rows with their copies.
    pub(super) copies: u64,
    /// The lowest confidence.
    pub(super) lowest: f32,
}

impl OfClass {
    const NOTHING: Self = Self {
        rows: 0,
        copies: 0,
        lowest: f32::INFINITY,
    };

    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.copies += other.copies;
        self.lowest = self.lowest.min(other.lowest);
    }
}

/// What was written of each class in all parts.
pub(super) fn by_class(parts: &[Part]) -> HashMap<i64, OfClass> {
    let mut all = HashMap::new();
    for (class, sums) in parts.iter().flat_map(|p| &p.classes) {
        all.entry(*class).or_insert(OfClass::NOTHING).add(*sums);
    }
    all
}

/// Runs the query and writes a part for each of its partitions that has rows. How the rows fall into partitions follows from the input
/// alone, so the parts are the same bytes whatever the number of threads.
pub(super) async fn parts(query: Query, target: &Target) -> Result<Vec<Part>, SelectError> {
    let target = target.clone();
    let written = partitions(query.without_views()?, move |mut rows| {
        let target = target.clone();
        async move {
            let mut writer = None;
            while let Some(batch) = rows.next().await? {
                if batch.num_rows() == 0 {
                    continue;
                }
                let writer = match &mut writer {
                    Some(writer) => writer,
                    None => writer.insert(Writer::new(&target, rows.partition, &batch.schema())?),
                };
                if let Err(e) = writer.write(batch).await {
                    // What a bucket has of it would stay, unseen and paid for.
                    let _ = writer.upload.abort().await;
                    return Err(e.into());
                }
            }
            Ok(match writer {
                Some(writer) => Some(writer.finish().await?),
                None => None,
            })
        }
    });
    Ok(written.await?.into_iter().flatten().collect())
}

/// A part that is being written.
struct Writer {
    parquet: ArrowWriter<Pieces>,
    upload: BufWriter,
    part: Part,
    materialize: bool,
}

impl Writer {
    fn new(target: &Target, partition: usize, rows: &SchemaRef) -> Result<Self, ParquetError> {
        let schema = if target.materialize {
            repeat::schema(rows)?
        } else {
            Arc::clone(rows)
        };
        let file = format!("{}{partition:05}-{}.parquet", target.kind, target.tag);
        let place = format!("{}/{file}", report::folder(&target.id));
        let path = target.workspace.path(&place);
        let soft = schema
            .field_with_name("probs")
            .is_ok_and(|f| f.data_type().is_nested());
        let probs = [
            "probs.list.item",
            "probs.list.item.p",
            "probs.list.item.class",
        ];
        let mut properties = WriterProperties::builder()
            .set_compression(if soft {
                Compression::ZSTD(ZstdLevel::try_new(1)?)
            } else {
                // What a key shares with the one before is not written, and numbers hardly shrink: a codec would find nothing more.
                Compression::UNCOMPRESSED
            })
            .set_created_by(format!("understudy {}", env!("CARGO_PKG_VERSION")))
            .set_column_dictionary_enabled(ColumnPath::from("key"), false)
            .set_column_encoding(ColumnPath::from("key"), Encoding::DELTA_BYTE_ARRAY)
            .set_column_dictionary_enabled(ColumnPath::from("confidence"), false)
            .set_column_dictionary_enabled(ColumnPath::from("rank"), false)
            .set_write_batch_size(WRITE_BATCH)
            .set_max_row_group_row_count(Some(if soft {
                ROW_GROUP
            } else {
                ROW_GROUP_OF_SCALARS
            }));
        // Hardly any two classes side by side are the same, and a look into a dictionary costs more than a number of a few bits.
        for name in ["class", "copies"] {
            let of = schema.field_with_name(name);
            if of.is_ok_and(|field| field.data_type().is_integer()) {
                properties = properties
                    .set_column_dictionary_enabled(ColumnPath::from(name), false)
                    .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
            }
        }
        for path in probs {
            let path = ColumnPath::from(path.split('.').map(str::to_owned).collect::<Vec<_>>());
            properties = properties.set_column_dictionary_enabled(path, false);
        }
        let upload = BufWriter::new(Arc::clone(&target.workspace.at.store), path);
        Ok(Self {
            parquet: ArrowWriter::try_new(Pieces::default(), schema, Some(properties.build()))?,
            upload,
            part: Part {
                record: PartRecord {
                    file,
                    rows: 0,
                    copies: 0,
                },
                chosen: 0,
                index: ClassIndex::default(),
                classes: Vec::new(),
                sampled: Vec::new(),
            },
            materialize: target.materialize,
        })
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), ParquetError> {
        self.part.count(&batch);
        if !self.materialize {
            return self.encode(&batch).await;
        }
        for repeated in Repeated::of(batch)? {
            self.encode(&repeated?).await?;
        }
        Ok(())
    }

    async fn encode(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        self.part.record.rows += rows.num_rows() as u64;
        self.parquet.write(rows)?;
        let ready = std::mem::take(&mut self.parquet.inner_mut().full);
        self.send(ready).await
    }

    async fn send(&mut self, pieces: Vec<Bytes>) -> Result<(), ParquetError> {
        for piece in pieces {
            self.upload.put(piece).await.map_err(external)?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Part, ParquetError> {
        self.parquet.finish()?;
        let pieces = std::mem::take(self.parquet.inner_mut());
        self.send(pieces.all()).await?;
        self.upload.shutdown().await.map_err(external)?;
        Ok(self.part)
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Bytes of a piece of an object, if no page is larger.
const PIECE: usize = 1024 * 1024;

/// The bytes of a Parquet file, in pieces that an upload takes as they are: a page is copied once.
#[derive(Default)]
struct Pieces {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Pieces {
    fn all(mut self) -> Vec<Bytes> {
        self.full.push(self.last.into());
        self.full
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.last.len() + bytes.len() > self.last.capacity() {
            let next = Vec::with_capacity(PIECE.max(bytes.len()));
            let full = std::mem::replace(&mut self.last, next);
            if !full.is_empty() {
                self.full.push(full.into());
            }
        }
        self.last.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Part {
    fn count(&mut self, batch: &RecordBatch) {
        self.chosen += batch.num_rows() as u64;
        let column = |name| batch.column_by_name(name);
        if let Some(keys) = column("key").and_then(|keys| Texts::of(keys).ok()) {
            let keys = (0..batch.num_rows()).filter_map(|i| keys.get(i));
            let hashes = keys.map(|key| seeded_hash(0, key));
            self.sampled.extend(hashes.filter(|h| h % SAMPLED == 0));
        }
        let Some(classes) = column("class").and_then(|c| classes(c).ok()) else {
            return;
        };
        let copies = column("copies").and_then(|c| c.as_primitive_opt::<UInt32Type>());
        // A user's own query may know no copies: each row is one.
        let (values, no_copies) = match copies {
            Some(copies) => (Some(copies.values()), copies.nulls()),
            None => (None, None),
        };
        let confidences = column("confidence").and_then(|c| c.as_primitive_opt::<Float32Type>());
        let no_class = classes.nulls();
        let is_null = |nulls: Option<&NullBuffer>, row| nulls.is_some_and(|n| n.is_null(row));
        for (row, class) in classes.values().iter().enumerate() {
            let copies = if is_null(no_copies, row) {
                0
            } else {
                values.map_or(1, |values| u64::from(values[row]))
            };
            self.record.copies += copies;
            let class = if is_null(no_class, row) { -1 } else { *class };
            let number = self.index.number(class);
            if number == self.classes.len() {
                self.classes.push((class, OfClass::NOTHING));
            }
            self.classes[number].1.add(OfClass {
                rows: 1,
                copies,
                lowest: confidences.map_or(f32::INFINITY, |c| c.value(row)),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn pieces_are_what_was_written_and_no_larger_than_they_have_to_be() {
        let mut pieces = Pieces::default();
        let mut written = Vec::new();
        for (byte, many) in [
            (1, 10),
            (2, PIECE - 10),
            (3, 1),
            (4, 3 * PIECE),
            (5, 0),
            (6, PIECE),
        ] {
            let bytes = vec![byte; many];
            pieces.write_all(&bytes).unwrap();
            written.extend(bytes);
        }
        let pieces = pieces.all();
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE, 1, 3 * PIECE, PIECE]);
        assert_eq!(pieces.concat(), written);
    }
}
