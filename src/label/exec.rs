//! `LabelExec`: a DataFusion operator over a scan of the manifest. Planned rows in, one row of figures an object out.
//!
//! An object is a shard, or a part of a selection's images. Each input partition holds whole ones, an object's rows together and in order; the
//! operator does not repartition or sort, so that the plan runs the same in one process and on a cluster. It must see all rows of an object
//! before that is labelled: at most `manifest.shard_images` rows an object and [`SHARDS_IN_FLIGHT`] objects a partition are in memory.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::commit::LabelsObject;
use super::work::Objects;
use super::{LabelError, Labeller, SHARDS_IN_FLIGHT, ShardReport};
use crate::manifest;
use crate::schema::shard_report;
use crate::source::ImageRef;

/// Labels the objects that its input has rows of.
#[derive(Debug)]
pub struct LabelExec {
    input: Arc<dyn ExecutionPlan>,
    labeller: Arc<Labeller>,
    objects: Arc<Objects>,
    properties: Arc<PlanProperties>,
}

impl LabelExec {
    /// An operator over planned rows.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        labeller: Arc<Labeller>,
        objects: Arc<Objects>,
    ) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(shard_report()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            input,
            labeller,
            objects,
            properties,
        }
    }
}

impl DisplayAs for LabelExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "LabelExec: dataset={}, teacher={}, batches_ahead={}",
            self.labeller.dataset,
            self.labeller.teacher,
            self.labeller.batches_ahead()
        )
    }
}

impl ExecutionPlan for LabelExec {
    fn name(&self) -> &'static str {
        "LabelExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return Err(DataFusionError::Internal("LabelExec has one child".into()));
        };
        Ok(Arc::new(Self::new(
            input,
            Arc::clone(&self.labeller),
            Arc::clone(&self.objects),
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let labeller = Arc::clone(&self.labeller);
        let stop = Arc::clone(&self.labeller.stop);
        let reports = shards(rows, Arc::clone(&self.objects))
            .take_while(move |_| std::future::ready(!stop.load(Ordering::Relaxed)))
            .map(move |shard| {
                let labeller = Arc::clone(&labeller);
                async move {
                    let (object, images) = shard?;
                    labeller.label_shard(object, images).await
                }
            })
            .buffered(SHARDS_IN_FLIGHT)
            .map(|report| {
                let report = report.map_err(|e| DataFusionError::External(Box::new(e)))?;
                Ok(figures(report)?)
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            shard_report(),
            reports,
        )))
    }
}

/// Planned rows → the rows of each object that is not there.
fn shards(
    input: SendableRecordBatchStream,
    objects: Arc<Objects>,
) -> impl Stream<Item = Result<(LabelsObject, Vec<ImageRef>), LabelError>> + Send {
    struct State {
        input: SendableRecordBatchStream,
        objects: Arc<Objects>,
        rows: VecDeque<(LabelsObject, ImageRef)>,
        ended: bool,
    }
    let state = State {
        input,
        objects,
        rows: VecDeque::new(),
        ended: false,
    };
    stream::try_unfold(state, |mut state| async move {
        loop {
            if let Some((object, _)) = state.rows.front() {
                let object = *object;
                let next = state.rows.iter().position(|(o, _)| *o != object);
                if next.is_some() || state.ended {
                    let end = next.unwrap_or(state.rows.len());
                    let rows = state.rows.drain(..end).map(|(_, row)| row).collect();
                    return Ok(Some(((object, rows), state)));
                }
            } else if state.ended {
                return Ok(None);
            }
            match state.input.try_next().await? {
                Some(batch) => {
                    let of = state.objects.of(&batch)?.into_iter();
                    let rows = of.zip(manifest::rows(&batch)?);
                    let objects = &state.objects;
                    state
                        .rows
                        .extend(rows.filter(|(object, _)| objects.is_open(*object)));
                }
                None => state.ended = true,
            }
        }
    })
}

fn figures(report: ShardReport) -> Result<RecordBatch, arrow::error::ArrowError> {
    let count = |n: u64| Arc::new(UInt64Array::from(vec![n]));
    RecordBatch::try_new(
        shard_report(),
        vec![
            Arc::new(StringArray::from(vec![report.object.to_string()])),
            count(report.rows),
            count(report.labelled),
            count(report.rejected),
            count(report.bytes_written),
            Arc::new(StringArray::from(vec![report.outcome])),
        ],
    )
}
