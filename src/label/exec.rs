//! `LabelExec`: a DataFusion operator over a scan of the manifest. Manifest rows in, one row of figures a shard out.
//!
//! Each input partition holds whole shards, a shard's rows together and in order; the operator does not repartition or sort, so that
//! the plan runs the same in one process and on a cluster. It must see all rows of a shard before that shard is labelled: at most
//! `manifest.shard_images` rows a shard and [`SHARDS_IN_FLIGHT`] shards a partition are in memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{RecordBatch, StringArray, UInt32Array, UInt64Array};
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

use super::{LabelError, Labeller, SHARDS_IN_FLIGHT, ShardReport};
use crate::manifest;
use crate::schema::shard_report;
use crate::source::ImageRef;

/// Labels the shards that its input has rows of.
#[derive(Debug)]
pub struct LabelExec {
    input: Arc<dyn ExecutionPlan>,
    labeller: Arc<Labeller>,
    /// Shards that have an object already: their rows are passed over.
    committed: Arc<HashSet<u32>>,
    /// The number of each shard's object: 0, or the number of the retry.
    retries: Arc<HashMap<u32, u16>>,
    properties: Arc<PlanProperties>,
}

impl LabelExec {
    /// An operator over manifest rows. A shard that `retries` does not name is labelled for the first time.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        labeller: Arc<Labeller>,
        committed: Arc<HashSet<u32>>,
        retries: Arc<HashMap<u32, u16>>,
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
            committed,
            retries,
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
            Arc::clone(&self.committed),
            Arc::clone(&self.retries),
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let labeller = Arc::clone(&self.labeller);
        let retries = Arc::clone(&self.retries);
        let stop = Arc::clone(&self.labeller.stop);
        let reports = shards(rows, Arc::clone(&self.committed))
            .take_while(move |_| std::future::ready(!stop.load(Ordering::Relaxed)))
            .map(move |shard| {
                let labeller = Arc::clone(&labeller);
                let retries = Arc::clone(&retries);
                async move {
                    let shard = shard?;
                    let retry = shard
                        .first()
                        .and_then(|i| retries.get(&i.shard))
                        .copied()
                        .unwrap_or(0);
                    labeller.label_shard(shard, retry).await
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

/// Manifest rows → the rows of each shard that is not committed.
fn shards(
    input: SendableRecordBatchStream,
    committed: Arc<HashSet<u32>>,
) -> impl Stream<Item = Result<Vec<ImageRef>, LabelError>> + Send {
    struct State {
        input: SendableRecordBatchStream,
        committed: Arc<HashSet<u32>>,
        rows: VecDeque<ImageRef>,
        ended: bool,
    }
    let state = State {
        input,
        committed,
        rows: VecDeque::new(),
        ended: false,
    };
    stream::try_unfold(state, |mut state| async move {
        loop {
            if let Some(first) = state.rows.front() {
                let shard = first.shard;
                let next = state.rows.iter().position(|r| r.shard != shard);
                if next.is_some() || state.ended {
                    let end = next.unwrap_or(state.rows.len());
                    let rows = state.rows.drain(..end).collect();
                    return Ok(Some((rows, state)));
                }
            } else if state.ended {
                return Ok(None);
            }
            match state.input.try_next().await? {
                Some(batch) => {
                    let rows = manifest::rows(&live(batch)?)?;
                    let committed = &state.committed;
                    let open = rows.into_iter().filter(|r| !committed.contains(&r.shard));
                    state.rows.extend(open);
                }
                None => state.ended = true,
            }
        }
    })
}

/// A batch without the rows of what is gone, which belong to no shard.
fn live(batch: RecordBatch) -> Result<RecordBatch, DataFusionError> {
    let shard = batch
        .column_by_name("shard")
        .map(|s| arrow::compute::is_not_null(s));
    match shard {
        Some(mask) => Ok(arrow::compute::filter_record_batch(&batch, &mask?)?),
        None => Ok(batch),
    }
}

fn figures(report: ShardReport) -> Result<RecordBatch, arrow::error::ArrowError> {
    let count = |n: u64| Arc::new(UInt64Array::from(vec![n]));
    RecordBatch::try_new(
        shard_report(),
        vec![
            Arc::new(UInt32Array::from(vec![report.shard])),
            count(report.rows),
            count(report.labelled),
            count(report.rejected),
            count(report.bytes_written),
            Arc::new(StringArray::from(vec![report.outcome])),
        ],
    )
}
