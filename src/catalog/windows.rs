//! Windows that are counted: what a window function holds is taken from the query's memory.
//!
//! DataFusion's window over a whole partition, such as `count(*) OVER ()`, collects its input, puts it together, and asks no memory pool. So its input passes through a node
//! that does, and grows by each batch; another one above the window holds that until the window is done with. A window that streams is not counted: it holds the rows that its frame reaches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array as _, ArrayData, RecordBatch};
use arrow::buffer::Buffer;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt as _;

use super::session::bytes_of;
use super::wrapping::Wrapping;

/// What a byte of input is held as: itself, and once more where all of it is put together.
const HELD: usize = 2;

/// See the module.
pub(super) const COUNT_WINDOWS: Wrapping = Wrapping {
    name: "count_windows",
    is_of: |plan| plan.is::<WindowAggExec>(),
    with: |plan| Arc::new(CountedExec::new(plan, None)),
};

/// A window, or while it runs its input: rows as they are.
#[derive(Debug)]
struct CountedExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    /// What the rows are added to; none above a window.
    counted: Option<Arc<Mutex<Counted>>>,
}

impl CountedExec {
    fn new(input: Arc<dyn ExecutionPlan>, counted: Option<Arc<Mutex<Counted>>>) -> Self {
        let properties = Arc::clone(input.properties());
        Self {
            input,
            properties,
            counted,
        }
    }

    /// Bytes of what the window adds to a row, about.
    fn result_bytes(&self) -> usize {
        let inputs = self.input.children().into_iter();
        let columns: usize = inputs.map(|input| input.schema().fields().len()).sum();
        let schema = self.input.schema();
        // The window's own columns come last.
        let added = schema.fields().iter().skip(columns);
        added.map(|field| bytes_of(field.data_type())).sum()
    }

    /// The window, over an input whose rows are added up.
    fn counting(&self, counted: &Arc<Mutex<Counted>>) -> Result<Arc<dyn ExecutionPlan>> {
        let inputs = self.input.children().into_iter().map(Arc::clone);
        let counting = inputs.map(|input| {
            let counted = Some(Arc::clone(counted));
            Arc::new(Self::new(input, counted)) as Arc<dyn ExecutionPlan>
        });
        let counting = counting.collect();
        replace_children_if_necessary(Arc::clone(&self.input), counting)
    }
}

impl DisplayAs for CountedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountedExec")
    }
}

impl ExecutionPlan for CountedExec {
    fn name(&self) -> &'static str {
        "CountedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
            let error = "CountedExec has one child".into();
            return Err(DataFusionError::Internal(error));
        };
        Ok(Arc::new(Self::new(input, self.counted.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.input.schema();
        let rows = if let Some(counted) = &self.counted {
            let counted = Arc::clone(counted);
            let rows = self.input.execute(partition, context)?;
            let rows = rows.map(move |batch| {
                let batch = batch?;
                let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
                counted.add(&batch)?;
                Ok(batch)
            });
            rows.boxed()
        } else {
            let consumer = MemoryConsumer::new(format!("window[{partition}]"));
            let counted = Arc::new(Mutex::new(Counted {
                held: consumer.register(context.memory_pool()),
                last: Vec::new(),
                result: self.result_bytes(),
            }));
            let rows = self.counting(&counted)?.execute(partition, context)?;
            // Held as long as there may be more rows.
            let rows = rows.inspect(move |_| {
                let _held = &counted;
            });
            rows.boxed()
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// What a window holds.
#[derive(Debug)]
struct Counted {
    held: MemoryReservation,
    /// The buffers of the last batch, of which the next one may share some.
    last: Vec<Buffer>,
    /// Bytes of what the window adds to a row.
    result: usize,
}

impl Counted {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut buffers = Vec::new();
        let columns = batch.columns().iter();
        columns.for_each(|column| add_buffers(&column.to_data(), &mut buffers));
        buffers.sort_unstable_by_key(Buffer::data_ptr);
        buffers.dedup_by_key(|buffer| buffer.data_ptr());
        let is_new = |buffer: &&Buffer| {
            let place = |last: &Buffer| last.data_ptr().cmp(&buffer.data_ptr());
            self.last.binary_search_by(place).is_err()
        };
        let bytes: usize = buffers.iter().filter(is_new).map(Buffer::capacity).sum();
        self.last = buffers;
        let result = batch.num_rows() * self.result;
        self.held.try_grow((bytes + result) * HELD)
    }
}

fn add_buffers(data: &ArrayData, all: &mut Vec<Buffer>) {
    all.extend(data.buffers().iter().cloned());
    all.extend(data.nulls().map(|nulls| nulls.inner().inner().clone()));
    let children = data.child_data().iter();
    children.for_each(|child| add_buffers(child, all));
}
