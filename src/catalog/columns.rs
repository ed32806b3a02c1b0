//! Short columns of labels objects, which a process that answers many queries keeps in memory: what most sums and filters are of.
//!
//! An object never changes under its name, so what was read of it stays true. With millions of labels in thousands of objects it is opening them that a query waits for, not their
//! columns: 8 bytes a label hold these.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, Scalar};
use arrow::compute::{cast, concat_batches, is_null, kernels::cmp};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::metadata::ParquetMetaData;

use super::ranges::Ranges;

/// Those columns.
pub(super) const SHORT: [&str; 6] = ["shard", "retry", "class", "confidence", "stage", "reason"];
/// Objects that are read side by side.
pub(super) const READERS: usize = 16;

/// What is kept of all objects.
#[derive(Clone)]
pub(super) struct Columns {
    shared: Arc<Shared>,
}

struct Shared {
    /// At most.
    bytes: usize,
    kept: Mutex<Kept>,
    /// Held by the query that reads objects, so that another one does not read the same.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    folders: HashMap<Path, HashMap<Path, Object>>,
    bytes: usize,
    /// Whether there was no room for an object.
    full: bool,
}

struct Object {
    meta: ObjectMeta,
    columns: Arc<Short>,
}

/// The short columns of an object, or what its name says of them.
#[derive(Debug)]
pub(super) struct Short {
    rows: usize,
    /// A hash of its first and its last key, where its statistics tell them.
    keys: Option<u64>,
    columns: [Option<Column>; SHORT.len()],
}

#[derive(Debug)]
enum Column {
    /// All rows have it.
    Same(ScalarValue),
    /// Texts as numbers of a dictionary.
    Coded(ArrayRef),
    Plain(ArrayRef),
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Columns of {} bytes at most", self.shared.bytes)
    }
}

impl Kept {
    /// There is room again.
    fn forgot(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.full &= bytes == 0;
    }
}

impl Columns {
    /// So many bytes of them at most. What there is no room for is read by each query.
    pub(super) fn new(bytes: usize) -> Self {
        let shared = Shared {
            bytes,
            kept: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Forgets what is not there any more, of a folder that has just been listed.
    pub(super) fn listed(&self, folder: &Path, objects: &[ObjectMeta]) {
        self.with(|kept| {
            let Some(known) = kept.folders.get_mut(folder) else {
                return;
            };
            let there: HashSet<&Path> = objects.iter().map(|meta| &meta.location).collect();
            let gone = known.extract_if(|path, _| !there.contains(path));
            let bytes = gone.map(|(_, object)| object.columns.bytes()).sum();
            kept.forgot(bytes);
        });
    }

    /// Forgets folders that are not there any more, of which these are all.
    pub(super) fn folders(&self, there: &HashSet<&Path>) {
        self.with(|kept| {
            let gone = kept.folders.extract_if(|folder, _| !there.contains(folder));
            let objects = gone.flat_map(|(_, objects)| objects.into_values());
            let bytes = objects.map(|object| object.columns.bytes()).sum();
            kept.forgot(bytes);
        });
    }

    /// What is known of these objects of a folder.
    pub(super) fn known(&self, folder: &Path, objects: &[ObjectMeta]) -> Vec<Option<Arc<Short>>> {
        self.with(|kept| {
            let known = kept.folders.get(folder);
            let of = |meta: &ObjectMeta| {
                let object = known?.get(&meta.location)?;
                let same = object.meta.size == meta.size
                    && object.meta.last_modified == meta.last_modified;
                same.then(|| Arc::clone(&object.columns))
            };
            objects.iter().map(of).collect()
        })
    }

    /// The same, after reading what was not known, as far as there is room. What cannot be read stays unknown: who reads it after all learns why.
    pub(super) async fn read(
        &self,
        store: &Arc<dyn ObjectStore>,
        folder: &Path,
        objects: &[ObjectMeta],
    ) -> Vec<Option<Arc<Short>>> {
        let known = self.known(folder, objects);
        if known.iter().all(Option::is_some) || self.with(|kept| kept.full) {
            return known;
        }
        let _alone = self.shared.reading.lock().await;
        let known = self.known(folder, objects);
        let unknown: Vec<ObjectMeta> = objects
            .iter()
            .zip(known)
            .filter(|(_, columns)| columns.is_none())
            .map(|(meta, _)| meta.clone())
            .collect();
        let read = |meta: ObjectMeta| {
            let store = Arc::clone(store);
            async move {
                let columns = SpawnedTask::spawn(Short::read(store, meta.clone()));
                (meta, columns.join().await)
            }
        };
        let mut read = stream::iter(unknown).map(read).buffer_unordered(READERS);
        while !self.with(|kept| kept.full)
            && let Some((meta, columns)) = read.next().await
        {
            let ended = |e| DataFusionError::ExecutionJoin(Box::new(e));
            match columns.map_err(ended).flatten() {
                Ok(columns) => self.keep(folder, meta, columns),
                Err(error) => tracing::debug!(object = %meta.location, %error, "not kept"),
            }
        }
        self.known(folder, objects)
    }

    fn keep(&self, folder: &Path, meta: ObjectMeta, columns: Short) {
        let bytes = columns.bytes();
        self.with(|kept| {
            if kept.bytes + bytes > self.shared.bytes {
                kept.full = true;
                return;
            }
            let object = Object {
                columns: Arc::new(columns),
                meta,
            };
            let of_folder = kept.folders.entry(folder.clone()).or_default();
            let before = of_folder.insert(object.meta.location.clone(), object);
            kept.bytes += bytes;
            kept.bytes -= before.map_or(0, |before| before.columns.bytes());
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self
            .shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

impl Short {
    /// What an object's name says, as one row that stands for all of them.
    pub(super) fn named(shard: Option<u32>, retry: u16) -> Self {
        let mut columns = [const { None }; SHORT.len()];
        columns[0] = shard.map(|shard| Column::Same(shard.into()));
        columns[1] = Some(Column::Same(retry.into()));
        Self {
            rows: 1,
            keys: None,
            columns,
        }
    }

    pub(super) async fn read(store: Arc<dyn ObjectStore>, meta: ObjectMeta) -> Result<Self> {
        let (batch, keys) = read(store, meta, &SHORT).await?;
        let schema = batch.schema();
        let mut columns = [const { None }; SHORT.len()];
        for (name, column) in SHORT.into_iter().zip(&mut columns) {
            let index = schema.index_of(name)?;
            *column = Some(Column::of(batch.column(index))?);
        }
        Ok(Self {
            rows: batch.num_rows(),
            keys,
            columns,
        })
    }

    /// Whether its rows are of the same images as another object's, in the same order, as far as can be told without the keys. A shard has its manifest's rows whoever labels it: this
    /// tells an object that was made otherwise, or without what a selection has taken.
    pub(super) fn has_rows_of(&self, other: &Self) -> bool {
        self.rows == other.rows && self.keys.is_some() && self.keys == other.keys
    }

    /// Which rows are labels rather than rejects; none where all are.
    pub(super) fn labelled(&self) -> Result<Option<BooleanArray>> {
        match self.column("reason") {
            Some(Column::Same(reason)) if reason.is_null() => Ok(None),
            _ => Ok(Some(is_null(&self.array("reason", &DataType::Utf8)?)?)),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether it knows a column.
    pub(super) fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    /// The columns of a schema of such.
    pub(super) fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch> {
        let fields = schema.fields().iter();
        let arrays = fields.map(|field| self.array(field.name(), field.data_type()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(schema),
            arrays,
            &options,
        )?)
    }

    /// One of its columns, as a type that is like its own.
    pub(super) fn array(&self, name: &str, kind: &DataType) -> Result<ArrayRef> {
        let column = self
            .column(name)
            .ok_or_else(|| DataFusionError::Internal(format!("`{name}` is not kept")));
        column?.array(self.rows, kind)
    }

    fn column(&self, name: &str) -> Option<&Column> {
        let place = SHORT.iter().position(|short| *short == name)?;
        self.columns[place].as_ref()
    }

    fn bytes(&self) -> usize {
        let columns = self.columns.iter().flatten().map(Column::bytes);
        size_of::<Object>() + size_of::<Self>() + columns.sum::<usize>()
    }
}

/// Columns of a whole object, and a hash of its first and its last key, where its statistics tell them.
pub(super) async fn read(
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    names: &[&str],
) -> Result<(RecordBatch, Option<u64>)> {
    let location = meta.location.clone();
    let read = async {
        let reader = Ranges { store, meta };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await?;
        let rows = usize::try_from(builder.metadata().file_metadata().num_rows())
            .map_err(|e| DataFusionError::External(e.into()))?;
        let keys = keys(builder.metadata());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
        let stream = builder
            .with_projection(mask)
            .with_batch_size(rows)
            .build()?;
        let schema = Arc::clone(stream.schema());
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        Ok((concat_batches(&schema, &batches)?, keys))
    };
    let read: Result<_> = read.await;
    read.map_err(|e| e.context(format!("cannot read `{location}`")))
}

fn keys(of: &ParquetMetaData) -> Option<u64> {
    let schema = of.file_metadata().schema_descr();
    let place = (0..schema.num_columns()).find(|i| schema.column(*i).path().string() == "key")?;
    let mut hash = DefaultHasher::new();
    for group in of.row_groups() {
        let statistics = group.column(place).statistics()?;
        statistics.min_bytes_opt()?.hash(&mut hash);
        statistics.max_bytes_opt()?.hash(&mut hash);
    }
    Some(hash.finish())
}

impl Column {
    fn of(array: &ArrayRef) -> Result<Self> {
        let rows = array.len();
        let same = match array.null_count() {
            0 if rows > 0 => cmp::eq(array, &Scalar::new(array.slice(0, 1)))?.true_count() == rows,
            nulls => nulls == rows && rows > 0,
        };
        if same {
            return Ok(Self::Same(ScalarValue::try_from_array(array, 0)?));
        }
        if array.data_type() == &DataType::Utf8 {
            let coded = DataType::Dictionary(DataType::UInt8.into(), DataType::Utf8.into());
            // More than 256 reasons there are not, but a file may say what it likes.
            if let Ok(coded) = cast(array, &coded) {
                return Ok(Self::Coded(coded));
            }
        }
        Ok(Self::Plain(Arc::clone(array)))
    }

    fn array(&self, rows: usize, kind: &DataType) -> Result<ArrayRef> {
        Ok(match self {
            Self::Same(value) => value.to_array_of_size(rows)?,
            Self::Coded(array) => cast(array, kind)?,
            Self::Plain(array) => Arc::clone(array),
        })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Same(_) => 0,
            Self::Coded(array) | Self::Plain(array) => array.get_array_memory_size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_gives_its_room_back() {
        let short = || Short::named(Some(0), 0);
        let columns = Columns::new(short().bytes());
        let [a, b] = ["a", "b"].map(Path::from);
        let object = |folder: &Path| ObjectMeta {
            location: folder.clone().join("shard-000000.parquet"),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: 1,
            e_tag: None,
            version: None,
        };
        let keep = |folder: &Path| {
            columns.keep(folder, object(folder), short());
            columns.known(folder, &[object(folder)])[0].is_some()
        };
        assert!(keep(&a) && !keep(&b));
        columns.folders(&HashSet::from([&a, &b]));
        assert!(!keep(&b));
        columns.folders(&HashSet::from([&b]));
        assert!(keep(&b) && !keep(&a));
        columns.listed(&b, &[object(&b)]);
        assert!(!keep(&a));
        columns.listed(&b, &[]);
        assert!(keep(&a));
        assert!(!columns.with(|kept| kept.full));
    }
}
