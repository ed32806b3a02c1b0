//! What SQL gets besides tables: `soft_label`, `entropy`, `seeded_hash`, and the table function `churn`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float32Builder, ListBuilder, StructBuilder,
    UInt16Builder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{JoinType, ScalarValue, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{avg, count};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarUDF, Signature, SimpleScalarUDF, Volatility, col, lit,
};
use datafusion::prelude::SessionContext;

use crate::label::soft_label::{scalars, top_k};
use crate::schema::topk_fields;

/// Registers them all; `labels` is the table that `churn` compares.
pub(super) fn register(context: &SessionContext, labels: DataFrame) {
    context.register_udf(soft_label());
    context.register_udf(entropy());
    context.register_udf(crate::select::seeded_hash_udf());
    context.register_udtf("churn", Arc::new(Churn { labels }));
}

/// Probabilities of row `i`; `None` where it has none.
fn probabilities(column: &ArrayRef) -> Result<impl Fn(usize) -> Option<Vec<f32>>> {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let lists = cast(column, &DataType::List(item))?;
    Ok(move |i: usize| {
        let lists = lists.as_list::<i32>();
        lists.is_valid(i).then(|| {
            let row = lists.value(i);
            row.as_primitive::<Float32Type>().values().to_vec()
        })
    })
}

/// `soft_label(probs, k)`: the k most probable classes, most probable first, as a list of (class, p).
fn soft_label() -> ScalarUDF {
    let entry = Arc::new(Field::new("item", DataType::Struct(topk_fields()), true));
    let udf = SimpleScalarUDF::new_with_signature(
        "soft_label",
        Signature::any(2, Volatility::Immutable),
        DataType::List(entry),
        Arc::new(|args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let row = probabilities(&arrays[0])?;
            let k = cast(&arrays[1], &DataType::Int64)?;
            let k = k.as_primitive::<Int64Type>();
            let fields: Vec<Box<dyn arrow::array::ArrayBuilder>> = vec![
                Box::new(UInt16Builder::new()),
                Box::new(Float32Builder::new()),
            ];
            let mut lists = ListBuilder::new(StructBuilder::new(topk_fields(), fields));
            for i in 0..k.len() {
                let Some(p) = row(i) else {
                    lists.append_null();
                    continue;
                };
                for (class, p) in top_k(&p, usize::try_from(k.value(i)).unwrap_or(0)).0 {
                    let entry = lists.values();
                    if let Some(classes) = entry.field_builder::<UInt16Builder>(0) {
                        classes.append_value(class);
                    }
                    if let Some(ps) = entry.field_builder::<Float32Builder>(1) {
                        ps.append_value(p);
                    }
                    entry.append(true);
                }
                lists.append(true);
            }
            Ok(ColumnarValue::Array(Arc::new(lists.finish())))
        }),
    );
    udf.into()
}

/// `entropy(probs)`: −Σ p ln p, in nats.
fn entropy() -> ScalarUDF {
    let udf = SimpleScalarUDF::new_with_signature(
        "entropy",
        Signature::any(1, Volatility::Immutable),
        DataType::Float32,
        Arc::new(|args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let row = probabilities(&arrays[0])?;
            let entropies: Float32Array = (0..arrays[0].len())
                .map(|i| Some(scalars(&row(i)?)?.entropy))
                .collect();
            Ok(ColumnarValue::Array(Arc::new(entropies)))
        }),
    );
    udf.into()
}

/// `churn('A@1', 'B@1')`: how labels moved between two teachers: dataset, from, to, images, and the mean shift of the confidence. Images that
/// both have labelled, by dataset and key.
#[derive(Debug)]
struct Churn {
    labels: DataFrame,
}

impl TableFunctionImpl for Churn {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let names: Vec<&str> = args
            .exprs()
            .iter()
            .filter_map(|e| match e {
                Expr::Literal(ScalarValue::Utf8(Some(name)), _) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let [before, after] = names[..] else {
            return plan_err!("churn takes two teachers, such as churn('b0@1', 'b0@2')");
        };
        let of = |teacher: &str, side: &str| {
            let name = |column: &str| format!("{side}_{column}");
            self.labels
                .clone()
                .filter(col("teacher").eq(lit(teacher)))?
                .select(["dataset", "key", "label", "confidence"].map(|c| col(c).alias(name(c))))
        };
        let moved = of(before, "before")?
            .join(
                of(after, "after")?,
                JoinType::Inner,
                &["before_dataset", "before_key"],
                &["after_dataset", "after_key"],
                None,
            )?
            .aggregate(
                vec![
                    col("before_dataset").alias("dataset"),
                    col("before_label").alias("from"),
                    col("after_label").alias("to"),
                ],
                vec![
                    count(lit(1)).alias("images"),
                    avg(col("after_confidence") - col("before_confidence")).alias("shift"),
                ],
            )?;
        Ok(moved.into_view())
    }
}
