//! Joins that let go: what makes many rows of few gives way to the scheduler, so that a query that is stopped stops.
//!
//! DataFusion's scans yield by themselves. A join may multiply one batch of a scan by a million rows before it asks for the next, and a task that is
//! dropped ends at its next yield.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Operators that may give many batches for one.
const MULTIPLYING: [&str; 5] = [
    "CrossJoinExec",
    "NestedLoopJoinExec",
    "HashJoinExec",
    "SortMergeJoinExec",
    "UnnestExec",
];

/// See the module.
#[derive(Debug)]
pub(super) struct YieldInJoins;

impl PhysicalOptimizerRule for YieldInJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            if MULTIPLYING.contains(&plan.name()) {
                let yielding = CooperativeExec::new(plan);
                return Ok(Transformed::yes(Arc::new(yielding) as _));
            }
            Ok(Transformed::no(plan))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "yield_in_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
