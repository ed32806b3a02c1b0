//! The rows of a selection → what is to be exported, in its order: each copy with its image's place and the hash that its bytes must have.
//!
//! ```text
//! selection ─┐ sorted by key
//! hashes    ─┼─▶ merge.rs ─▶ sorted by (hash of seed, key and copy) or (source, object, position) ─▶ cut into shards
//! places    ─┘
//! ```
//! The sorts spill to the temporary directory. It sees all rows before it gives one.

use arrow::array::{AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int64Type, UInt32Type};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use futures::{TryStreamExt, future};

use super::merge::{Sides, merged};
use super::soft_label::SoftLabels;
use super::table::sorted_by;
use super::{ExportError, Order};
use crate::manifest;
use crate::source::ImageRef;

/// What an image counts as in a shard whose size even its server does not tell: 256 KiB, a photo of the web.
const UNKNOWN_SIZE: u64 = 256 * 1024;
/// What a row counts as beside its image and its soft label: key, scalars, the headers of a tar.
const ROW_BYTES: u64 = 3 * 1024;

/// A row that is to be exported.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its place in the export, from 0.
    pub(crate) number: u64,
    /// Which of the sources has it.
    pub(crate) source: u32,
    pub(crate) image: ImageRef,
    pub(crate) class: i64,
    pub(crate) confidence: f32,
    /// Which repetition of the image it is, from 0.
    pub(crate) copy: u32,
    /// How often it counts.
    pub(crate) copies: u32,
    /// The soft label, where the selection has them.
    pub(crate) probs: Option<Vec<f32>>,
    /// The SHA-256 that its bytes must have: one of these, if there are any.
    pub(crate) hashes: Vec<[u8; 32]>,
}

/// The rows of an export.
pub(crate) type Rows = BoxStream<'static, Result<Row, ExportError>>;

/// All rows in their order. `classes` is C, where the teacher is known.
pub(crate) async fn rows(
    context: &SessionContext,
    sides: Sides,
    order: Order,
    classes: Option<usize>,
) -> Result<Rows, ExportError> {
    let order = match order {
        Order::Shuffled => vec!["order", "key", "copy"],
        Order::Source => vec!["source", "object", "position", "key", "copy"],
    };
    let merged = merged(context, sides).await?;
    let batches = sorted_by(context.read_table(merged)?, &order).await?;
    let (mut number, mut classes) = (0, classes);
    Ok(batches
        .map_err(ExportError::from)
        .and_then(move |batch| future::ready(of_batch(&batch, &mut classes, &mut number)))
        .map_ok(|rows| stream::iter(rows.into_iter().map(Ok)))
        .try_flatten()
        .boxed())
}

/// Rows → those of one shard each: some `bytes` together, by the sizes that are known before anything is read.
pub(super) fn shards<'a>(
    rows: impl Stream<Item = Result<Row, ExportError>> + Send + 'a,
    bytes: u64,
) -> BoxStream<'a, Result<Vec<Row>, ExportError>> {
    let state = (Box::pin(rows), None::<Row>);
    stream::try_unfold(state, move |(mut rows, mut first)| async move {
        let (mut shard, mut sum) = (Vec::new(), 0);
        loop {
            let next = match first.take() {
                Some(row) => Some(row),
                None => rows.try_next().await?,
            };
            let Some(row) = next else { break };
            let size = row.size();
            if !shard.is_empty() && sum + size > bytes {
                return Ok(Some((shard, (rows, Some(row)))));
            }
            sum += size;
            shard.push(row);
        }
        Ok((!shard.is_empty()).then_some((shard, (rows, None))))
    })
    .boxed()
}

impl Row {
    fn size(&self) -> u64 {
        let probs = self
            .probs
            .as_ref()
            .map_or(0, |p| size_of_val(&p[..]) as u64);
        let image = match self.image.problem {
            Some(_) => 0,
            None => self.image.size.unwrap_or(UNKNOWN_SIZE),
        };
        image + probs + ROW_BYTES
    }
}

/// The rows of a sorted batch.
fn of_batch(
    batch: &RecordBatch,
    classes: &mut Option<usize>,
    number: &mut u64,
) -> Result<Vec<Row>, ExportError> {
    let images = manifest::rows(batch)?;
    let column = |name: &str| {
        let missing = || DataFusionError::Internal(format!("a row has no `{name}`"));
        batch.column_by_name(name).ok_or_else(missing)
    };
    let class = column("class")?.as_primitive::<Int64Type>();
    let confidence = column("confidence")?.as_primitive::<Float32Type>();
    let source = column("source")?.as_primitive::<UInt32Type>();
    let copy = column("copy")?.as_primitive::<UInt32Type>();
    let copies = column("copies")?.as_primitive::<UInt32Type>();
    let hashes: &BinaryArray = column("hashes")?.as_binary();
    let bad = |key: &str, problem| ExportError::SoftLabel {
        key: key.to_owned(),
        problem,
    };
    let mut soft = match batch.column_by_name("probs") {
        None => None,
        Some(probs) => {
            let key = images.first().map_or("", |i| i.key.as_str());
            Some(SoftLabels::of(probs, *classes).map_err(|problem| bad(key, problem))?)
        }
    };
    let rows = images.into_iter().enumerate().map(|(i, image)| {
        let probs = match &mut soft {
            None => None,
            Some(soft) => Some(soft.get(i).map_err(|problem| bad(&image.key, problem))?),
        };
        *number += 1;
        Ok(Row {
            number: *number - 1,
            source: source.value(i),
            class: class.value(i),
            confidence: confidence.value(i),
            copy: copy.value(i),
            copies: copies.value(i),
            probs,
            hashes: hashes
                .value(i)
                .chunks_exact(32)
                .filter_map(|hash| hash.try_into().ok())
                .collect(),
            image,
        })
    });
    let rows = rows.collect();
    *classes = soft.and_then(|soft| soft.classes).or(*classes);
    rows
}
