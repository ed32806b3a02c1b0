//! Joins that let go: what makes many rows of few gives way to the scheduler, so that a query that is stopped stops.
//!
//! DataFusion's scans yield by themselves. A join may multiply one batch of a scan by a million rows before it asks for the next, and a task that is
//! dropped ends at its next yield.

use std::sync::Arc;

use datafusion::physical_plan::coop::CooperativeExec;

use super::wrapping::Wrapping;

/// Operators that may give many batches for one.
const MULTIPLYING: [&str; 5] = [
    "CrossJoinExec",
    "NestedLoopJoinExec",
    "HashJoinExec",
    "SortMergeJoinExec",
    "UnnestExec",
];

/// See the module.
pub(super) const YIELD_IN_JOINS: Wrapping = Wrapping {
    name: "yield_in_joins",
    is_of: |plan| MULTIPLYING.contains(&plan.name()),
    with: |plan| Arc::new(CooperativeExec::new(plan)),
};
