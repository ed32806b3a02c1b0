//! Places in the manifest with a plan, sorted, merged with the manifest → the rows of a plan's file.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, RecordBatch, StringArray, UInt32Array, UInt32Builder,
};
use arrow::compute::{cast, filter};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::col;
use futures::TryStreamExt;
use tempfile::NamedTempFile;

use super::ManifestError;
use super::rows::Sheet;
use super::subset::plan_schema;
use crate::source::Kind;

/// The columns of marks.
pub(super) fn schema() -> SchemaRef {
    let field = |name: &str, nullable| Field::new(name, DataType::UInt32, nullable);
    Arc::new(Schema::new(vec![
        field("shard", false),
        field("row", false),
        field("plan", false),
        field("part", true),
    ]))
}

/// A place in the manifest, and the plan whose labels it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) shard: u32,
    pub(super) row: u32,
    pub(super) plan: u32,
    pub(super) part: Option<u32>,
}

/// Marks as columns.
pub(super) fn columns(marks: &[Mark]) -> Result<RecordBatch, DataFusionError> {
    let column = |f: fn(&Mark) -> Option<u32>| -> ArrayRef {
        Arc::new(marks.iter().map(f).collect::<UInt32Array>())
    };
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            column(|m| Some(m.shard)),
            column(|m| Some(m.row)),
            column(|m| Some(m.plan)),
            column(|m| m.part),
        ],
    )?)
}

/// Marks, as they come.
struct Marks {
    batches: SendableRecordBatchStream,
    ahead: VecDeque<Mark>,
}

impl Marks {
    /// The mark of this place, where it has one; those before it are passed over.
    async fn of(&mut self, place: (u32, u32)) -> Result<Option<Mark>, ManifestError> {
        loop {
            match self.ahead.front() {
                Some(mark) if (mark.shard, mark.row) < place => {
                    self.ahead.pop_front();
                }
                Some(mark) => return Ok(((mark.shard, mark.row) == place).then_some(*mark)),
                None => match self.batches.try_next().await? {
                    None => return Ok(None),
                    Some(batch) => self.fill(&batch),
                },
            }
        }
    }

    fn fill(&mut self, batch: &RecordBatch) {
        let [shards, rows, plans, parts] =
            std::array::from_fn(|i| batch.column(i).as_primitive::<UInt32Type>());
        self.ahead.extend((0..batch.num_rows()).map(|i| Mark {
            shard: shards.value(i),
            row: rows.value(i),
            plan: plans.value(i),
            part: parts.is_valid(i).then(|| parts.value(i)),
        }));
    }
}

/// Writes the manifest rows that `decide` gives a plan, with the part where it gives one. It is told a row's mark, and whether its object is the image.
pub(super) async fn sift(
    history: Vec<DataFrame>,
    marks: SendableRecordBatchStream,
    mut decide: impl FnMut(Option<Mark>, bool) -> Option<(u32, Option<u32>)>,
) -> Result<(NamedTempFile, String), ManifestError> {
    let mut sheet = Sheet::new(plan_schema())?;
    let mut marks = Marks {
        batches: marks,
        ahead: VecDeque::new(),
    };
    for generation in history {
        let there = col("shard").is_not_null();
        let mut batches = generation.filter(there)?.execute_stream().await?;
        while let Some(batch) = batches.try_next().await? {
            let columns = manifest_columns(&batch)?;
            let (shards, rows) = (number(&columns, "shard")?, number(&columns, "row")?);
            let kinds = text(&columns, "kind")?;
            let mut kept = BooleanBuilder::with_capacity(batch.num_rows());
            let (mut plans, mut parts) = (UInt32Builder::new(), UInt32Builder::new());
            for i in 0..batch.num_rows() {
                let mark = marks.of((shards.value(i), rows.value(i))).await?;
                let placed = decide(mark, kinds.value(i) == Kind::Object.name());
                kept.append_value(placed.is_some());
                if let Some((plan, part)) = placed {
                    plans.append_value(plan);
                    parts.append_option(part);
                }
            }
            let kept = kept.finish();
            let arrow = DataFusionError::from;
            let mut all: Vec<ArrayRef> = columns
                .columns()
                .iter()
                .map(|c| filter(c, &kept))
                .collect::<Result<_, _>>()
                .map_err(arrow)?;
            all.push(Arc::new(plans.finish()));
            all.push(Arc::new(parts.finish()));
            sheet.write(&RecordBatch::try_new(plan_schema(), all).map_err(arrow)?)?;
        }
    }
    // Where no row is there nobody has asked for a mark, and keys are counted on their way to one.
    while marks.batches.try_next().await?.is_some() {}
    sheet.finish()
}

/// A batch with the manifest's own types, whatever DataFusion made of them.
fn manifest_columns(batch: &RecordBatch) -> Result<RecordBatch, ManifestError> {
    let schema = super::schema();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| {
            let column = batch.schema().index_of(field.name())?;
            cast(batch.column(column), field.data_type())
        })
        .collect::<Result<_, _>>()
        .map_err(DataFusionError::from)?;
    Ok(RecordBatch::try_new(schema, columns).map_err(DataFusionError::from)?)
}

pub(super) fn number<'a>(
    batch: &'a RecordBatch,
    column: &'static str,
) -> Result<&'a UInt32Array, ManifestError> {
    let found = batch.column_by_name(column);
    found
        .and_then(|c| c.as_primitive_opt::<UInt32Type>())
        .ok_or(ManifestError::BadRow { column })
}

fn text<'a>(
    batch: &'a RecordBatch,
    column: &'static str,
) -> Result<&'a StringArray, ManifestError> {
    let found = batch.column_by_name(column);
    found
        .and_then(|c| c.as_string_opt::<i32>())
        .ok_or(ManifestError::BadRow { column })
}
