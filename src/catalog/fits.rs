//! What is looked at of a query's plan before it runs: how often it calls functions that make much of little, and how large its constants are.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};

use super::bounded::{self, CALLS};
use super::concatenation;
use super::sizes::width;

/// Gives each call of a bounded function its part of the memory, and refuses more of those that make much of little than can be held at once, before any of them is folded into a constant.
#[derive(Debug)]
pub(super) struct CallsFit {
    /// Bytes of a query.
    pub(super) memory: usize,
}

impl AnalyzerRule for CallsFit {
    fn name(&self) -> &'static str {
        "calls_fit"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut calls = Calls::default();
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    calls.count(expr);
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        let Calls {
            all,
            multiply,
            wide,
        } = calls;
        let rows = config.execution.batch_size.get() as f64;
        if wide * rows > self.memory as f64 {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "casts to a fixed width would make {wide} bytes for each row"
            )));
        }
        if multiply > CALLS {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "the query has {multiply} calls of {}, and may have {CALLS}",
                bounded::that_multiply().join(", ")
            )));
        }
        if all == 0 {
            return Ok(plan);
        }
        let most = bounded::allowance(self.memory, all);
        let fitted = plan.transform_up_with_subqueries(|node| {
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let fitted = expr.transform_up(|expr| Ok(fitted(expr, most)))?;
                Ok(fitted.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(fitted.data)
    }
}

/// Calls of bounded functions in a query.
#[derive(Default)]
struct Calls {
    all: usize,
    /// Of those that make much of little.
    multiply: usize,
    /// Bytes that casts to a fixed width make of a row.
    wide: f64,
}

impl Calls {
    fn count(&mut self, expr: &Expr) {
        let name = match expr {
            Expr::ScalarFunction(call) => {
                self.wide += cast_to(call).map_or(0.0, |of| wide(&of));
                call.func.name()
            }
            Expr::Cast(cast) => {
                self.wide += wide(cast.field.data_type());
                return;
            }
            Expr::TryCast(cast) => {
                self.wide += wide(cast.field.data_type());
                return;
            }
            Expr::BinaryExpr(binary) if binary.op == Operator::StringConcat => concatenation::NAME,
            _ => return,
        };
        self.all += usize::from(bounded::is_bounded(name));
        self.multiply += usize::from(bounded::that_multiply().contains(&name));
    }
}

/// Bytes of a value of a fixed width, where these are more than any number has.
fn wide(of: &DataType) -> f64 {
    const OF_A_NUMBER: f64 = 32.0;
    Some(width(of))
        .filter(|bytes| *bytes > OF_A_NUMBER)
        .unwrap_or(0.0)
}

/// The type that `arrow_cast` and its like are told in words.
fn cast_to(call: &ScalarFunction) -> Option<DataType> {
    let is_cast = ["arrow_cast", "arrow_try_cast"].contains(&call.func.name());
    match call.args.get(1).filter(|_| is_cast)? {
        Expr::Literal(value, _) => value.try_as_str()??.parse().ok(),
        _ => None,
    }
}

/// A call that makes at most so many bytes of a batch, where it is one of a function that can be bounded.
fn fitted(expr: Expr, most: usize) -> Transformed<Expr> {
    match concatenation::as_function(expr) {
        Expr::ScalarFunction(call) => match bounded::fitted(&call.func, most) {
            Some(func) => {
                let func = Arc::new(func);
                Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, ..call }))
            }
            None => Transformed::no(Expr::ScalarFunction(call)),
        },
        other => Transformed::no(other),
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
