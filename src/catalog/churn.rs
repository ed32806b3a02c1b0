//! The table functions that compare two teachers: `compared`, an image a row, and `churn`, its sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{JoinType, ScalarValue, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{avg, count};
use datafusion::logical_expr::{
    EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit,
};
use datafusion::prelude::SessionContext;

use super::compared::{ByShard, Compared};
use super::labels::class_name;
use super::objects::Folder;
use super::union_of;
use crate::error::nearest;

/// Classes are 16 bits: a pair of them is one number, which is quicker to group by than two.
const CLASSES: u32 = 1 << 16;

/// The labels of a dataset by a teacher.
#[derive(Debug)]
pub(super) struct Labels {
    pub(super) folder: Folder,
    /// Its classes.
    pub(super) names: Arc<Vec<String>>,
    /// The rows that are labels, each key once.
    pub(super) rows: LogicalPlan,
    /// Which shards have rows that all count.
    pub(super) by_shard: ByShard,
}

/// Those of all teachers, by dataset.
pub(super) type Labelled = BTreeMap<String, BTreeMap<String, Labels>>;

/// Registers both.
pub(super) fn register(context: &SessionContext, labelled: Labelled) {
    let labelled = Arc::new(labelled);
    let of = |name, plan| {
        let labelled = Arc::clone(&labelled);
        Arc::new(Function {
            name,
            plan,
            labelled,
        })
    };
    context.register_udtf("compared", of("compared", compared));
    context.register_udtf("churn", of("churn", churn));
}

/// A call of `churn`, for a query: a table function takes literals alone, no parameters.
pub fn churn_call(before: &str, after: &str) -> String {
    call("churn", before, after)
}

/// A call of `compared`.
pub fn compared_call(before: &str, after: &str) -> String {
    call("compared", before, after)
}

fn call(name: &str, before: &str, after: &str) -> String {
    format!("{name}({}, {})", literal(before), literal(after))
}

/// A text as SQL writes it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A table function of two teachers, and what it makes of a dataset that both have labelled.
#[derive(Debug)]
struct Function {
    name: &'static str,
    plan: fn(&str, &Labels, &Labels) -> Result<LogicalPlan>,
    labelled: Arc<Labelled>,
}

impl TableFunctionImpl for Function {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let given: Vec<&str> = args
            .exprs()
            .iter()
            .filter_map(|e| match e {
                Expr::Literal(ScalarValue::Utf8(Some(name)), _) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let name = self.name;
        let [before, after] = given[..] else {
            return plan_err!("{name} takes two teachers, such as {name}('b0@1', 'b0@2')");
        };
        let (some_before, some_after) = (self.any(before)?, self.any(after)?);
        let plans = self.labelled.iter().filter_map(|(dataset, by)| {
            let (before, after) = (by.get(before)?, by.get(after)?);
            Some((self.plan)(dataset, before, after))
        });
        let plan = match union_of(plans.collect::<Result<_>>()?)? {
            Some(plan) => plan,
            // No dataset that both have labelled: no rows, of the columns that there would be.
            None => LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: false,
                schema: Arc::clone((self.plan)("", some_before, some_after)?.schema()),
            }),
        };
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

impl Function {
    /// Labels of some dataset by a teacher.
    fn any(&self, teacher: &str) -> Result<&Labels> {
        if let Some(labels) = self.labelled.values().find_map(|by| by.get(teacher)) {
            return Ok(labels);
        }
        let teachers = self.labelled.values().flat_map(BTreeMap::keys);
        let near = nearest(teacher, teachers.map(String::as_str));
        let near = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        plan_err!("there are no labels by `{teacher}`{near}")
    }
}

/// A row an image: `shard`, `from_class`, `to_class`, `before`, `after`.
fn rows(before: &Labels, after: &Labels) -> Result<LogicalPlanBuilder> {
    // Which rows count is a matter of the dataset, not of its labels.
    let by_shard = match (&before.by_shard, &after.by_shard) {
        (ByShard::All, ByShard::All) => ByShard::All,
        (ByShard::Except(shards, before), ByShard::Except(_, after)) => {
            ByShard::Except(shards.clone(), joined(before, after)?)
        }
        _ => ByShard::None,
    };
    let compared = Compared {
        before: before.folder.clone(),
        after: after.folder.clone(),
        joined: joined(&before.rows, &after.rows)?,
        by_shard,
    };
    LogicalPlanBuilder::scan("compared", provider_as_source(Arc::new(compared)), None)
}

/// The same, by a join.
fn joined(before: &LogicalPlan, after: &LogicalPlan) -> Result<LogicalPlan> {
    let side = |labels: &LogicalPlan, side: &str| {
        let columns = ["key", "shard", "class", "confidence"];
        let columns = columns.map(|c| col(c).alias(format!("{side}_{c}")));
        let rows = LogicalPlanBuilder::from(labels.clone()).project(columns)?;
        rows.build()
    };
    let keys = (vec!["before_key"], vec!["after_key"]);
    LogicalPlanBuilder::from(side(before, "before")?)
        .join(side(after, "after")?, JoinType::Inner, keys, None)?
        .project([
            col("before_shard").alias("shard"),
            col("before_class").alias("from_class"),
            col("after_class").alias("to_class"),
            col("before_confidence").alias("before"),
            col("after_confidence").alias("after"),
        ])?
        .build()
}

fn named(labels: &Labels, class: Expr, name: &str) -> Expr {
    let class_name = class_name(Arc::clone(&labels.names));
    class_name.call(vec![class]).alias(name)
}

/// `compared('A@1', 'B@1')`: each image that both have labelled: `dataset`, `shard`, `from_class`, `from`, `to_class`, `to`, and both confidences, `before` and `after`. It has no key: what would be read
/// for each image is asked of `labels` for the shards that matter.
fn compared(dataset: &str, before: &Labels, after: &Labels) -> Result<LogicalPlan> {
    rows(before, after)?
        .project([
            lit(dataset).alias("dataset"),
            col("shard"),
            col("from_class"),
            named(before, col("from_class"), "from"),
            col("to_class"),
            named(after, col("to_class"), "to"),
            col("before"),
            col("after"),
        ])?
        .build()
}

/// `churn('A@1', 'B@1')`: how labels moved between two teachers: dataset, from, to, images, and the mean shift of the confidence.
fn churn(dataset: &str, before: &Labels, after: &Labels) -> Result<LogicalPlan> {
    let number = |class: &str| cast(col(class), DataType::UInt32);
    let class = |number: Expr| cast(number, DataType::UInt16);
    let double = |confidence: &str| cast(col(confidence), DataType::Float64);
    let pair = number("from_class") * lit(CLASSES) + number("to_class");
    rows(before, after)?
        .aggregate(
            [pair.alias("pair")],
            [
                count(lit(1)).alias("images"),
                avg(double("after") - double("before")).alias("shift"),
            ],
        )?
        .project([
            lit(dataset).alias("dataset"),
            named(before, class(col("pair") / lit(CLASSES)), "from"),
            named(after, class(col("pair") % lit(CLASSES)), "to"),
            col("images"),
            col("shift"),
        ])?
        .build()
}
