//! Functions that make much of little, and constants that are written for each row, within a query's memory. A batch that a function makes is outside of the pool that counts sorts, joins and groups, and an
//! allocation that fails ends the process: so what they would make is reckoned before they do.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::{cast, kernels::length::length};
use arrow::datatypes::{
    DataType, FieldRef, Float64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::prelude::SessionContext;

const FUNCTIONS: [(&str, Grows); 7] = [
    ("repeat", Grows::Repeat),
    ("lpad", Grows::Pad),
    ("rpad", Grows::Pad),
    ("range", Grows::Range),
    ("generate_series", Grows::Range),
    ("array_repeat", Grows::Elements),
    ("array_resize", Grows::Elements),
];

/// What a result's size follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Grows {
    /// A text, so many times.
    Repeat,
    /// So many characters.
    Pad,
    /// From, to and step.
    Range,
    /// An element, or those of a list, so many times.
    Elements,
}

/// One of these functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: ScalarUDF,
    grows: Grows,
    /// Bytes of a batch of results.
    most: usize,
}

/// Puts bounded functions in the place of a context's own.
pub(super) fn register(context: &SessionContext, most: usize) {
    let state = context.state();
    for (name, grows) in FUNCTIONS {
        if let Some(inner) = state.scalar_functions().get(name) {
            let inner = ScalarUDF::clone(inner);
            context.register_udf(ScalarUDF::from(Bounded { inner, grows, most }));
        }
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        self.inner.simplify(arguments, context)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = ColumnarValue::values_to_arrays(&arguments.args)?;
        let bytes = self.grows.bytes(&values)?;
        if bytes > self.most as f64 {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} would make {:.0} MiB of a batch of rows",
                self.name(),
                bytes / f64::from(1 << 20)
            )));
        }
        self.inner.invoke_with_args(arguments)
    }
}

impl Grows {
    /// Bytes of the results; what is null counts for nothing.
    fn bytes(self, of: &[ArrayRef]) -> Result<f64> {
        let count = |i: usize| numbers(of.get(i));
        match self {
            Self::Repeat => match of.first() {
                Some(texts) => Ok(product(&numbers(Some(&length(texts)?))?, &count(1)?)),
                None => Ok(0.0),
            },
            // A character has up to four bytes.
            Self::Pad => Ok(count(1)?.iter().flatten().map(|n| n.max(0.0) * 4.0).sum()),
            Self::Elements => {
                let each = of.first().map_or(0.0, element);
                Ok(count(1)?.iter().flatten().map(|n| n.max(0.0) * each).sum())
            }
            Self::Range => range(of),
        }
    }
}

/// As numbers in double precision; none where there is no such column.
fn numbers(of: Option<&ArrayRef>) -> Result<Float64Array> {
    let Some(of) = of else {
        return Ok(Float64Array::from(Vec::<f64>::new()));
    };
    let whole = match of.data_type() {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            &cast(of, &DataType::Int64)?
        }
        _ => of,
    };
    Ok(cast(whole, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

fn product(a: &Float64Array, b: &Float64Array) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.filter_map(|(a, b)| Some(a? * b?.max(0.0))).sum()
}

/// Bytes of an element: of a list's, where it is one.
fn element(of: &ArrayRef) -> f64 {
    let values = match of.data_type() {
        DataType::List(_) => of.as_list::<i32>().values(),
        DataType::LargeList(_) => of.as_list::<i64>().values(),
        _ => of,
    };
    // Eight for what a result has besides, be it null.
    8.0 + values.to_data().get_slice_memory_size().unwrap_or(0) as f64 / values.len().max(1) as f64
}

/// Bytes of ranges: of [to], [from, to] or [from, to, step].
fn range(of: &[ArrayRef]) -> Result<f64> {
    let (from, to) = match of {
        [] => return Ok(0.0),
        [to] => (None, to),
        [from, to, ..] => (Some(from), to),
    };
    let (to_numbers, from) = (numbers(Some(to))?, from.map(|from| numbers(Some(from))));
    let (from, steps) = (
        from.transpose()?,
        of.get(2).map(|step| steps(step, to.data_type())),
    );
    let steps = steps.transpose()?;
    let at = |of: &Option<Float64Array>, i: usize, or: f64| match of {
        None => Some(or),
        Some(of) => of.is_valid(i).then(|| of.value(i)),
    };
    let elements = (0..to_numbers.len()).filter_map(|i| {
        let to = to_numbers.is_valid(i).then(|| to_numbers.value(i))?;
        let elements = (to - at(&from, i, 0.0)?) / at(&steps, i, 1.0)?;
        elements.is_finite().then(|| elements.max(0.0))
    });
    Ok(elements.sum::<f64>() * 8.0)
}

/// Steps in the unit of what is stepped through; of a month as of 28 days, its least.
fn steps(of: &ArrayRef, through: &DataType) -> Result<Float64Array> {
    if !matches!(
        of.data_type(),
        DataType::Interval(IntervalUnit::MonthDayNano)
    ) {
        return numbers(Some(of));
    }
    let a_second = match through {
        DataType::Date32 => 1.0 / 86_400.0,
        DataType::Timestamp(TimeUnit::Second, _) => 1.0,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1e6,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1e9,
        _ => 1e3,
    };
    let steps = of.as_primitive::<IntervalMonthDayNanoType>();
    let steps = steps.iter().map(|step| {
        let step = step?;
        let days = f64::from(step.months) * 28.0 + f64::from(step.days);
        Some((days * 86_400.0 + step.nanoseconds as f64 / 1e9) * a_second)
    });
    Ok(steps.collect())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What a query comes to in a session of 16 MiB.
    async fn answer(query: &str) -> std::result::Result<String, String> {
        let context = SessionContext::new();
        let most = 16 << 20;
        register(&context, most);
        context.add_optimizer_rule(Arc::new(ConstantsFit { most }));
        let rows = async { context.sql(query).await?.collect().await }.await;
        let rows = rows.map_err(|e| e.strip_backtrace())?;
        let format = arrow::util::display::FormatOptions::default();
        let column = rows[0].column(0);
        let shown = arrow::util::display::ArrayFormatter::try_new(column, &format).unwrap();
        Ok(shown.value(0).to_string())
    }

    #[tokio::test]
    async fn what_fits_is_made() {
        for (query, expected) in [
            ("SELECT repeat('ab', 3)", "ababab"),
            ("SELECT repeat('ab', -3)", ""),
            ("SELECT repeat(NULL, 3)", ""),
            ("SELECT lpad('7', 3, '0')", "007"),
            ("SELECT rpad('7', 3)", "7  "),
            ("SELECT range(3)", "[0, 1, 2]"),
            ("SELECT range(5, 0, -2)", "[5, 3, 1]"),
            ("SELECT generate_series(1, 3)", "[1, 2, 3]"),
            ("SELECT length(repeat('x', 10000000))", "10000000"),
            (
                "SELECT count(*) FROM (SELECT unnest(range(0, 50000)))",
                "50000",
            ),
            ("SELECT cardinality(array_repeat(0, 300000))", "300000"),
            ("SELECT array_repeat(1, 2)", "[1, 1]"),
            ("SELECT list_repeat('a', 2)", "[a, a]"),
            ("SELECT array_resize([1], 2, 0)", "[1, 0]"),
            (
                "SELECT sum(length(repeat('x', value))) FROM generate_series(1, 1000)",
                "500500",
            ),
            (
                "SELECT cardinality(generate_series(DATE '2026-01-01', DATE '2026-03-01', INTERVAL '1' MONTH))",
                "3",
            ),
            (
                "SELECT cardinality(range(TIMESTAMP '2026-01-01T00:00:00', TIMESTAMP '2026-05-01T00:00:00', INTERVAL '1' DAY))",
                "120",
            ),
        ] {
            assert_eq!(answer(query).await.as_deref(), Ok(expected), "{query}");
        }
    }

    #[tokio::test]
    async fn what_does_not_is_refused_before_it_is_made() {
        for query in [
            "SELECT repeat('x', 1000000000)",
            "SELECT repeat(arrow_cast('x', 'LargeUtf8'), 100000000000000)",
            "SELECT length(repeat('0123456789', value)) FROM generate_series(1000000, 1000010)",
            "SELECT length(lpad('x', CAST(value AS INT))) FROM generate_series(10000000, 10000010)",
            "SELECT cardinality(range(0, 2000000000))",
            "SELECT cardinality(range(2000000000, 0, -1))",
            "SELECT cardinality(generate_series(0, value)) FROM generate_series(10000000, 10000001)",
            "SELECT cardinality(generate_series(DATE '0001-01-01', DATE '9999-01-01', INTERVAL '1' DAY))",
            "SELECT cardinality(array_repeat('x', 100000000))",
            "SELECT cardinality(array_resize([1, 2], 100000000, 0))",
        ] {
            let refused = answer(query).await.unwrap_err();
            assert!(refused.contains("would make"), "{query}: {refused}");
        }
        for query in [
            "SELECT repeat('x', 10000) FROM generate_series(1, 10)",
            "SELECT max(arrow_cast(repeat('x', 10000), 'LargeUtf8')) FROM generate_series(1, 10)",
            "SELECT value FROM generate_series(1, 10) ORDER BY length(repeat('x', value)), range(10000)",
        ] {
            let refused = answer(query).await.unwrap_err();
            assert!(refused.contains("for each row"), "{query}: {refused}");
        }
    }
}
