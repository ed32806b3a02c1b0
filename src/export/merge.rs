//! Selection ⋈ hashes ⋈ places: three sides that come sorted by key, merged as they come.
//!
//! In memory are a batch of each side and what is known of one key. A key of the selection without a place is an image that is gone.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, RecordBatch, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema, SchemaRef, UInt32Type};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};

use super::places::{Named, unplaced};
use super::table::{once, sorted_by};
use super::{Copies, ExportError};
use crate::manifest;
use crate::select::repeat::{self, Repeated};
use crate::select::seeded_hash;
use crate::source::{ImageRef, Kind};

/// Images of containers that become a batch.
const BATCH: usize = 1024;
const BY_KEY: &[&str] = &["key"];

/// What is merged.
pub(crate) struct Sides {
    /// As [`crate::catalog::images::selected`] gives it.
    pub(crate) selected: DataFrame,
    /// As [`crate::catalog::images::fingerprints`]; none where nothing is known of the bytes.
    pub(crate) fingerprints: Option<DataFrame>,
    /// Where images are.
    pub(crate) places: Places,
    pub(crate) copies: Copies,
    /// Of the hash that shuffles.
    pub(crate) seed: u64,
}

/// Where images are.
pub(crate) enum Places {
    /// A dataset's: as [`crate::catalog::images::places`].
    Manifest(DataFrame),
    /// What keys of another system say, and what their containers have.
    Keys(
        Named,
        Option<BoxStream<'static, Result<(u32, ImageRef), ExportError>>>,
    ),
}

/// The three sides merged by key, as a table that can be read once.
pub(super) async fn merged(
    context: &SessionContext,
    sides: Sides,
) -> Result<Arc<StreamingTable>, ExportError> {
    let schema = sides.selected.schema().as_arrow().clone();
    let schema = match (schema.index_of("copy").is_ok(), sides.copies) {
        // Rows of a materialized selection are repeated already.
        (true, _) | (false, Copies::Column) => Arc::new(schema),
        (false, Copies::Repeat) => repeat::schema(&schema).map_err(arrow)?,
    };
    let repeated = sides.copies == Copies::Repeat;
    let selected = sorted_by(sides.selected, BY_KEY).await?;
    let selected = selected.map_err(ExportError::from).map_ok(move |batch| {
        let whole = batch.column_by_name("copy").is_some() || !repeated;
        let batches: BoxStream<'static, Result<RecordBatch, ExportError>> = if whole {
            stream::iter([Ok(batch)]).boxed()
        } else {
            match Repeated::of(batch) {
                Ok(all) => stream::iter(all.map(|b| b.map_err(arrow))).boxed(),
                Err(e) => stream::iter([Err(arrow(e))]).boxed(),
            }
        };
        batches
    });
    let fingerprints = match sides.fingerprints {
        Some(frame) => Some(Side::new(sorted_by(frame, BY_KEY).await?)),
        None => None,
    };
    let (keys, places) = match sides.places {
        Places::Manifest(frame) => {
            let rows = sorted_by(frame, BY_KEY).await?;
            (None, Some(Side::new(rows)))
        }
        Places::Keys(named, None) => (Some(named), None),
        Places::Keys(named, Some(members)) => {
            let table = context.read_table(members_table(members)?)?;
            let rows = sorted_by(table, BY_KEY).await?;
            (Some(named), Some(Side::new(rows)))
        }
    };
    let merge = Merge {
        fingerprints,
        keys,
        places,
        seed: sides.seed,
        last: None,
    };
    let out = out_schema(&schema);
    let batches = stream::try_unfold(
        (selected.try_flatten().boxed(), merge, Arc::clone(&out)),
        |(mut selected, mut merge, out)| async move {
            match selected.try_next().await? {
                None => Ok(None),
                Some(batch) => {
                    let batch = merge.next(&batch, &out).await?;
                    Ok::<_, ExportError>(Some((batch, (selected, merge, out))))
                }
            }
        },
    );
    once(out, batches.boxed())
}

/// The columns of merged rows: those of a manifest, and of the selection all but the key.
fn out_schema(selected: &Schema) -> SchemaRef {
    let manifest = manifest::schema();
    let mut fields: Vec<_> = manifest.fields().iter().cloned().collect();
    let kept = |f: &&Arc<Field>| f.name() != "key" && f.name() != "copy";
    fields.extend(selected.fields().iter().filter(kept).cloned());
    fields.extend(
        [
            Field::new("copy", DataType::UInt32, false),
            Field::new("source", DataType::UInt32, false),
            Field::new("order", DataType::UInt64, false),
            Field::new("hashes", DataType::Binary, false),
        ]
        .map(Arc::new),
    );
    Arc::new(Schema::new(fields))
}

/// A side of the merge, sorted by key.
struct Side<T> {
    rows: SendableRecordBatchStream,
    next: VecDeque<T>,
}

/// A row of a side.
trait Keyed: Sized {
    /// The rows of a batch, but those without a key.
    fn rows(batch: &RecordBatch) -> Result<Vec<Self>, ExportError>;

    fn key(&self) -> &str;
}

/// A label's hash of its image's bytes.
struct Fingerprint {
    key: String,
    class: i64,
    confidence: f32,
    sha256: Option<[u8; 32]>,
}

impl Keyed for Fingerprint {
    fn rows(batch: &RecordBatch) -> Result<Vec<Self>, ExportError> {
        let keys = batch.column(0).as_string::<i32>();
        let class = batch.column(1).as_primitive::<Int64Type>();
        let confidence = batch.column(2).as_primitive::<Float32Type>();
        let sha256 = batch.column(3).as_binary::<i32>();
        let valid = |i: &usize| keys.is_valid(*i) && class.is_valid(*i) && confidence.is_valid(*i);
        let rows = (0..batch.num_rows()).filter(valid).map(|i| Self {
            key: keys.value(i).to_owned(),
            class: class.value(i),
            confidence: confidence.value(i),
            sha256: sha256
                .is_valid(i)
                .then(|| sha256.value(i).try_into().ok())
                .flatten(),
        });
        Ok(rows.collect())
    }

    fn key(&self) -> &str {
        &self.key
    }
}

/// An image, and the source that has it.
struct Placed {
    source: u32,
    image: ImageRef,
}

impl Keyed for Placed {
    fn rows(batch: &RecordBatch) -> Result<Vec<Self>, ExportError> {
        let images = manifest::rows(batch)?;
        let status = batch
            .column_by_name("status")
            .map(AsArray::as_string::<i32>);
        let sources = batch
            .column_by_name("source")
            .map(AsArray::as_primitive::<UInt32Type>);
        let rows = images.into_iter().enumerate().map(|(i, image)| Self {
            source: sources.map_or(0, |s| s.value(i)),
            image: if status.is_some_and(|s| s.value(i) == "gone") {
                ImageRef {
                    generation: image.generation,
                    ..gone(&image.key)
                }
            } else {
                image
            },
        });
        Ok(rows.collect())
    }

    fn key(&self) -> &str {
        &self.image.key
    }
}

impl<T: Keyed> Side<T> {
    fn new(rows: SendableRecordBatchStream) -> Self {
        Self {
            rows,
            next: VecDeque::new(),
        }
    }

    /// All rows of a key. Keys are asked for in rising order.
    async fn of(&mut self, key: &str) -> Result<Vec<T>, ExportError> {
        let mut found = Vec::new();
        loop {
            while let Some(next) = self.next.front() {
                if next.key() > key {
                    return Ok(found);
                }
                let row = self.next.pop_front();
                found.extend(row.filter(|row| row.key() == key));
            }
            match self.rows.try_next().await? {
                None => return Ok(found),
                Some(batch) => self.next.extend(T::rows(&batch)?),
            }
        }
    }
}

/// The merge of a selection with what else is known.
struct Merge {
    fingerprints: Option<Side<Fingerprint>>,
    keys: Option<Named>,
    places: Option<Side<Placed>>,
    seed: u64,
    /// What was found for the last key: a materialized selection has it again.
    last: Option<Found>,
}

/// What is known of a key.
struct Found {
    key: String,
    source: u32,
    image: ImageRef,
    fingerprints: Vec<Fingerprint>,
}

impl Merge {
    /// A batch of the selection → its rows with all that is known.
    async fn next(
        &mut self,
        selected: &RecordBatch,
        out: &SchemaRef,
    ) -> Result<RecordBatch, ExportError> {
        let column = |name: &str| {
            let missing = || DataFusionError::Internal(format!("a selection has no `{name}`"));
            selected.column_by_name(name).ok_or_else(missing)
        };
        let keys = column("key")?.as_string::<i32>();
        let class = column("class")?.as_primitive::<Int64Type>();
        let confidence = column("confidence")?.as_primitive::<Float32Type>();
        let copy = match selected.column_by_name("copy") {
            Some(copy) => copy.as_primitive::<UInt32Type>().clone(),
            None => UInt32Array::from(vec![0; selected.num_rows()]),
        };
        let (mut images, mut sources, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        let mut hashes = BinaryBuilder::new();
        for i in 0..selected.num_rows() {
            let found = self.find(keys.value(i)).await?;
            // The label that was selected: an image that changed since has another one as well.
            let ours = found.fingerprints.iter().filter(|f| {
                f.class == class.value(i) && f.confidence.to_bits() == confidence.value(i).to_bits()
            });
            let ours: Vec<u8> = ours.filter_map(|f| f.sha256).flatten().collect();
            hashes.append_value(&ours);
            let mut image = found.image.clone();
            if image.kind == Kind::Object && !ours.is_empty() {
                // Its bytes tell whether it is the image that was labelled: a file that was copied or touched since still is.
                image.etag = None;
            }
            images.push(image);
            sources.push(found.source);
            let name = format!("{}#{}", keys.value(i), copy.value(i));
            orders.push(seeded_hash(self.seed, &name));
        }
        let images = manifest::batch_of(images).map_err(DataFusionError::from)?;
        let ours: [(&str, ArrayRef); 4] = [
            ("copy", Arc::new(copy.clone())),
            ("source", Arc::new(UInt32Array::from(sources))),
            ("order", Arc::new(UInt64Array::from(orders))),
            ("hashes", Arc::new(hashes.finish())),
        ];
        let columns = out.fields().iter().map(|field| {
            let name = field.name().as_str();
            let ours = ours
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, column)| column);
            match ours.or_else(|| images.column_by_name(name)) {
                Some(column) => Ok(Arc::clone(column)),
                None => column(name).map(Arc::clone),
            }
        });
        let columns: Result<Vec<_>, DataFusionError> = columns.collect();
        RecordBatch::try_new(Arc::clone(out), columns?).map_err(arrow)
    }

    async fn find(&mut self, key: &str) -> Result<&Found, ExportError> {
        if self.last.as_ref().is_none_or(|last| last.key != key) {
            let fingerprints = match &mut self.fingerprints {
                Some(side) => side.of(key).await?,
                None => Vec::new(),
            };
            let placed = match &mut self.places {
                Some(side) => side.of(key).await?,
                None => Vec::new(),
            };
            let by_key = self.keys.as_ref().and_then(|named| named.object(key));
            // Of an image that changed the newest generation tells where it is now.
            let newest = placed.into_iter().max_by_key(|p| p.image.generation);
            let (source, image) = newest
                .map(|p| (p.source, p.image))
                .or(by_key)
                .unwrap_or_else(|| (0, gone(key)));
            self.last = Some(Found {
                key: key.to_owned(),
                source,
                image,
                fingerprints,
            });
        }
        let lost = || engine(DataFusionError::Internal("a key was lost".into()));
        self.last.as_ref().ok_or_else(lost)
    }
}

/// An image that is not there any more: a reject that the listing alone shows.
fn gone(key: &str) -> ImageRef {
    ImageRef {
        key: key.to_owned(),
        problem: Some("not-found".to_owned()),
        detail: Some("the source has it no more".to_owned()),
        ..unplaced(Kind::Object)
    }
}

/// The images of containers as a table: the columns of a manifest, and `source`.
fn members_table(
    members: BoxStream<'static, Result<(u32, ImageRef), ExportError>>,
) -> Result<Arc<StreamingTable>, ExportError> {
    let manifest = manifest::schema();
    let mut fields: Vec<_> = manifest.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("source", DataType::UInt32, false)));
    let schema = Arc::new(Schema::new(fields));
    let made = Arc::clone(&schema);
    let batches = members.try_chunks(BATCH).map(move |chunk| {
        let (sources, images): (Vec<u32>, Vec<ImageRef>) =
            chunk.map_err(|e| e.1)?.into_iter().unzip();
        let batch = manifest::batch_of(images).map_err(|e| engine(e.into()))?;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt32Array::from(sources)));
        RecordBatch::try_new(Arc::clone(&made), columns).map_err(arrow)
    });
    once(schema, batches.boxed())
}

fn engine(error: DataFusionError) -> ExportError {
    error.into()
}

fn arrow(error: arrow::error::ArrowError) -> ExportError {
    DataFusionError::from(error).into()
}
