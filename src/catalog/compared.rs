//! The images that two teachers have labelled, one teacher's label beside the other's.
//!
//! A shard's object has the rows of its manifest, in order, whoever labels it. So of two teachers' objects of a shard the rows of one place are of one image: what moved between millions
//! of labels is a matter of reading two columns of both, side by side, rather than a join. Where a shard was labelled in several pieces its keys are matched, a shard at a time. All
//! keys are joined only where an object has rows of several shards, or where of a key several generations are there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float32Array, RecordBatch, UInt16Array, UInt32Array,
};
use arrow::compute::{and, filter_record_batch, is_null};
use arrow::datatypes::{DataType, Float32Type, SchemaRef, UInt16Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::project_schema;
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::union::UnionExec;
use futures::{StreamExt as _, stream};
use object_store::{ObjectMeta, ObjectStore};

use super::columns::{READERS, Short, read};
use super::objects::Folder;
use super::superseded::Finding;

/// What is read of an object whose rows are matched by key.
const KEYED: [&str; 4] = ["key", "class", "confidence", "reason"];

/// See the module: a row for each image, with its shard, its class before and after, and how sure the teachers are of these.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) before: Folder,
    pub(super) after: Folder,
    /// The same rows, by a join.
    pub(super) joined: LogicalPlan,
    /// Of shards that cannot be compared one by one the rows are by a join as well.
    pub(super) by_shard: ByShard,
}

/// Shards whose rows all count, so that two teachers' are compared one by one.
#[derive(Debug)]
pub(super) enum ByShard {
    All,
    /// All but these, of which, and of the objects that have rows of any shards, the rows are those that count.
    Except(Finding, LogicalPlan),
    /// It is not known which.
    None,
}

/// What one teacher has of a shard.
type Pieces = Vec<Piece>;

#[derive(Debug)]
struct Piece {
    object: ObjectMeta,
    /// Where it is in memory.
    known: Option<Arc<Short>>,
}

/// A shard that both teachers have labelled.
#[derive(Debug)]
struct Shard {
    number: u32,
    before: Pieces,
    after: Pieces,
}

/// Some shards.
#[derive(Debug)]
struct SomeShards {
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    shards: Vec<Arc<Shard>>,
}

#[async_trait]
impl TableProvider for Compared {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.joined.schema().inner())
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = self.before.store(state)?;
        let except = match &self.by_shard {
            ByShard::All => None,
            ByShard::Except(finding, joined) => {
                let found = finding.clone().await;
                let Some(shards) = found else {
                    return planned(state, &self.joined, projection).await;
                };
                Some((shards, joined))
            }
            ByShard::None => return planned(state, &self.joined, projection).await,
        };
        let before = pieces(&self.before, &store).await?;
        let Some((before, mut after)) = before.zip(pieces(&self.after, &store).await?) else {
            return planned(state, &self.joined, projection).await;
        };
        let shards: Vec<Arc<Shard>> = before
            .into_iter()
            .filter(|(number, _)| {
                let except = except.as_ref();
                except.is_none_or(|(except, _)| !except.contains(number))
            })
            .filter_map(|(number, before)| {
                let after = after.remove(&number)?;
                Some(Arc::new(Shard {
                    number,
                    before,
                    after,
                }))
            })
            .collect();
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !shards.is_empty() {
            let partitions = state.config().target_partitions();
            let streams = shards
                .chunks(shards.len().div_ceil(partitions))
                .map(|shards| -> Arc<dyn PartitionStream> {
                    Arc::new(SomeShards {
                        schema: self.schema(),
                        store: Arc::clone(&store),
                        shards: shards.to_vec(),
                    })
                })
                .collect();
            let schema = self.schema();
            let streams =
                StreamingTableExec::try_new(schema, streams, projection, None, false, limit)?;
            plans.push(Arc::new(streams));
        }
        if let Some((_, joined)) = except {
            plans.push(planned(state, joined, projection).await?);
        }
        match plans.len() {
            0 => {
                let schema = project_schema(&self.schema(), projection)?;
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

/// A plan's columns.
async fn planned(
    state: &dyn Session,
    plan: &LogicalPlan,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(places) = projection else {
        return state.create_physical_plan(plan).await;
    };
    let schema = plan.schema();
    let columns = places
        .iter()
        .map(|i| Expr::from(schema.qualified_field(*i)));
    let plan = LogicalPlanBuilder::from(plan.clone()).project(columns)?;
    state.create_physical_plan(&plan.build()?).await
}

/// What a teacher has of each shard; none where an object has rows of several.
async fn pieces(
    folder: &Folder,
    store: &Arc<dyn ObjectStore>,
) -> Result<Option<BTreeMap<u32, Pieces>>> {
    let (mut shards, mut objects) = (Vec::new(), Vec::new());
    for object in folder.listed(store).await?.iter() {
        let Some(shard) = object.name.shard() else {
            return Ok(None);
        };
        shards.push(shard);
        objects.push(object.meta.clone());
    }
    let known = folder.short(store, &objects).await;
    let mut all: BTreeMap<u32, Pieces> = BTreeMap::new();
    for ((shard, object), known) in shards.into_iter().zip(objects).zip(known) {
        all.entry(shard).or_default().push(Piece { object, known });
    }
    Ok(Some(all))
}

impl PartitionStream for SomeShards {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, store) = (Arc::clone(&self.schema), Arc::clone(&self.store));
        let rows = stream::iter(self.shards.clone())
            .map(move |shard| {
                let (schema, store) = (Arc::clone(&schema), Arc::clone(&store));
                async move { shard.compare(&schema, &store).await }
            })
            .buffered(READERS);
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

impl Shard {
    async fn compare(
        &self,
        schema: &SchemaRef,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<RecordBatch> {
        if let ([before], [after]) = (&self.before[..], &self.after[..]) {
            let (before, after) = (before.columns(store).await?, after.columns(store).await?);
            if before.has_rows_of(&after) {
                return self.by_place(schema, &before, &after);
            }
        }
        self.by_key(schema, store).await
    }

    /// Row by row.
    fn by_place(&self, schema: &SchemaRef, before: &Short, after: &Short) -> Result<RecordBatch> {
        let columns = [
            before.array("class", &DataType::UInt16)?,
            after.array("class", &DataType::UInt16)?,
            before.array("confidence", &DataType::Float32)?,
            after.array("confidence", &DataType::Float32)?,
        ];
        let all = self.rows(schema, columns)?;
        let labelled = match (before.labelled()?, after.labelled()?) {
            (None, None) => return Ok(all),
            (Some(one), None) | (None, Some(one)) => one,
            (Some(one), Some(other)) => and(&one, &other)?,
        };
        Ok(filter_record_batch(&all, &labelled)?)
    }

    /// Its keys matched.
    async fn by_key(
        &self,
        schema: &SchemaRef,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<RecordBatch> {
        let mut labels: HashMap<String, Label> = HashMap::new();
        for piece in &self.before {
            let batch = piece.with_keys(store).await?;
            labels.extend(keyed(&batch)?.map(|(key, label)| (key.to_owned(), label)));
        }
        let (mut classes, mut confidences) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for piece in &self.after {
            let batch = piece.with_keys(store).await?;
            for (key, after) in keyed(&batch)? {
                if let Some(before) = labels.get(key) {
                    for (side, label) in [*before, after].into_iter().enumerate() {
                        classes[side].push(label.class);
                        confidences[side].push(label.confidence);
                    }
                }
            }
        }
        let [from, to] = classes.map(|of| Arc::new(UInt16Array::from(of)) as ArrayRef);
        let [before, after] = confidences.map(|of| Arc::new(Float32Array::from(of)) as ArrayRef);
        self.rows(schema, [from, to, before, after])
    }

    fn rows(&self, schema: &SchemaRef, columns: [ArrayRef; 4]) -> Result<RecordBatch> {
        let shard = UInt32Array::from_value(self.number, columns[0].len());
        let mut all: Vec<ArrayRef> = vec![Arc::new(shard)];
        all.extend(columns);
        Ok(RecordBatch::try_new(Arc::clone(schema), all)?)
    }
}

impl Piece {
    async fn columns(&self, store: &Arc<dyn ObjectStore>) -> Result<Arc<Short>> {
        if let Some(known) = &self.known {
            return Ok(Arc::clone(known));
        }
        let read = Short::read(Arc::clone(store), self.object.clone());
        Ok(Arc::new(read.await?))
    }

    async fn with_keys(&self, store: &Arc<dyn ObjectStore>) -> Result<RecordBatch> {
        let (rows, _) = read(Arc::clone(store), self.object.clone(), &KEYED).await?;
        Ok(rows)
    }
}

#[derive(Clone, Copy)]
struct Label {
    class: u16,
    confidence: f32,
}

/// The labels among an object's rows, by key.
fn keyed(batch: &RecordBatch) -> Result<impl Iterator<Item = (&str, Label)>> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| DataFusionError::Internal(format!("`{name}` was not read")))
    };
    let keys = column("key")?.as_string::<i32>();
    let classes = column("class")?.as_primitive::<UInt16Type>();
    let confidences = column("confidence")?.as_primitive::<Float32Type>();
    let labelled = is_null(column("reason")?)?;
    let label = move |row: usize| Label {
        class: classes.value(row),
        confidence: confidences.value(row),
    };
    Ok((0..batch.num_rows())
        .filter(move |row| labelled.value(*row))
        .map(move |row| (keys.value(row), label(row))))
}
