//! What is looked at of a query's plan before it runs: how often it calls functions that make much of little, and how large its constants are.

use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};

use super::bounded;

/// Calls of bounded functions in a query: the results of all may be there at once.
pub(super) const CALLS: usize = 32;

/// Refuses more calls of bounded functions than can be held at once, before any of them is folded into a constant.
#[derive(Debug)]
pub(super) struct CallsFit;

impl AnalyzerRule for CallsFit {
    fn name(&self) -> &'static str {
        "calls_fit"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut all = 0;
        plan.apply_with_subqueries(|node| {
            all += node.expressions().iter().map(calls).sum::<usize>();
            Ok(TreeNodeRecursion::Continue)
        })?;
        if all > CALLS {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "the query has {all} calls of {}, and may have {CALLS}",
                bounded::names().join(", ")
            )));
        }
        Ok(plan)
    }
}

/// Refuses constants that would fill the memory where they are written for each row of a batch.
#[derive(Debug)]
pub(super) struct ConstantsFit {
    /// Bytes of a batch of them.
    pub(super) most: usize,
}

impl OptimizerRule for ConstantsFit {
    fn name(&self) -> &'static str {
        "constants_fit"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let rows = config.options().execution.batch_size.get();
        plan.apply_with_subqueries(|node| {
            let one_row = |input: &&LogicalPlan| {
                matches!(input, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row)
            };
            let compares = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
            if compares || node.inputs().iter().all(one_row) {
                return Ok(TreeNodeRecursion::Continue);
            }
            let bytes: usize = node.expressions().iter().map(constants).sum();
            if bytes.saturating_mul(rows) > self.most {
                return Err(DataFusionError::ResourcesExhausted(format!(
                    "constants of {bytes} bytes would be written for each row"
                )));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Transformed::no(plan))
    }
}

/// How often an expression calls one of the functions.
fn calls(of: &Expr) -> usize {
    let mut calls = 0;
    let done = of.apply(|expr| {
        if let Expr::ScalarFunction(call) = expr {
            calls += usize::from(bounded::names().contains(&call.func.name()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // The closure gives no error.
    done.map_or(0, |_| calls)
}

/// Bytes of the constants of an expression, but for those that a value is looked for among.
fn constants(of: &Expr) -> usize {
    let mut bytes = 0;
    let done = of.apply(|expr| {
        Ok(match expr {
            Expr::InList(_) => TreeNodeRecursion::Jump,
            Expr::Literal(value, _) => {
                bytes += value.size().saturating_sub(size_of::<ScalarValue>());
                TreeNodeRecursion::Continue
            }
            _ => TreeNodeRecursion::Continue,
        })
    });
    // The closure gives no error.
    done.map_or(0, |_| bytes)
}
