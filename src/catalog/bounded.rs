//! Functions that make much of little, and constants that are written for each row, within a query's memory. A batch that a function makes is outside of the pool that counts sorts, joins and groups, and an
//! allocation that fails ends the process: so what they would make is reckoned before they do.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::{cast, kernels::length::length};
use arrow::datatypes::{
    DataType, FieldRef, Float64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};
use datafusion::prelude::SessionContext;

const FUNCTIONS: [(&str, Grows); 10] = [
    ("repeat", Grows::Repeat),
    ("lpad", Grows::Pad),
    ("rpad", Grows::Pad),
    ("range", Grows::Range),
    ("generate_series", Grows::Range),
    ("array_repeat", Grows::Elements),
    ("array_resize", Grows::Resize),
    ("array_to_string", Grows::Join),
    ("replace", Grows::Replace),
    ("regexp_replace", Grows::Rewrite),
];
/// What one call makes of a batch is at most this part of a query's memory,
const PART: usize = 4;
/// and a query has so many calls at most, whose results may all be there at once.
const CALLS: usize = 32;

/// What a result's size follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Grows {
    /// A text, so many times.
    Repeat,
    /// A value, so many times.
    Elements,
    /// So many characters.
    Pad,
    /// From, to and step.
    Range,
    /// So many elements of a list, and what fills it up.
    Resize,
    /// A list's texts, and what stands between them.
    Join,
    /// A text for each place of another.
    Replace,
    /// The same for a pattern, which may match anywhere, and whose groups may be repeated.
    Rewrite,
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
            let most = most / PART;
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
        // What is the same for each row is looked at once.
        let values = arguments.args.iter().map(|value| match value {
            ColumnarValue::Array(array) => Ok(Arc::clone(array)),
            ColumnarValue::Scalar(scalar) => scalar.to_array_of_size(1),
        });
        let bytes = self.grows.bytes(&values.collect::<Result<Vec<_>>>()?)?;
        if bytes.is_infinite() {
            return Err(DataFusionError::Execution(format!(
                "the step of {} is nothing, or its parts have two signs: it might not end",
                self.name()
            )));
        }
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

/// A number for each row, or the same one for all.
struct Each(Vec<f64>);

impl Each {
    fn of(&self, row: usize) -> f64 {
        let place = row.min(self.0.len().saturating_sub(1));
        self.0.get(place).copied().unwrap_or(0.0)
    }
}

impl Grows {
    /// Bytes of the results.
    fn bytes(self, of: &[ArrayRef]) -> Result<f64> {
        if self == Self::Range {
            return range(of);
        }
        let rows = 0..of.iter().map(Array::len).max().unwrap_or(0);
        let size = |i: usize| of.get(i).map_or(Ok(Vec::new()), sizes).map(Each);
        let length = |i: usize| of.get(i).map_or(Ok(Vec::new()), lengths).map(Each);
        let times = |i: usize| {
            let times = numbers(of.get(i))?;
            let times = times.iter().map(|n| n.unwrap_or(0.0).max(0.0));
            Ok::<_, DataFusionError>(Each(times.collect()))
        };
        Ok(match self {
            Self::Range => 0.0,
            Self::Repeat => {
                let (text, times) = (length(0)?, times(1)?);
                rows.map(|i| OF_A_VALUE + text.of(i) * times.of(i)).sum()
            }
            Self::Elements => {
                let (element, times) = (size(0)?, times(1)?);
                rows.map(|i| element.of(i) * times.of(i)).sum()
            }
            // A character has up to four bytes.
            Self::Pad => {
                let characters = times(1)?;
                rows.map(|i| OF_A_VALUE + characters.of(i) * 4.0).sum()
            }
            Self::Resize => {
                let (list, times, fill) = (size(0)?, times(1)?, size(2)?);
                let least = match of.first().map(Array::data_type) {
                    Some(DataType::List(item) | DataType::LargeList(item)) => {
                        width(item.data_type())
                    }
                    _ => 0.0,
                };
                let each = |i: usize| OF_A_VALUE + fill.of(i).max(least);
                rows.map(|i| list.of(i) + times.of(i) * each(i)).sum()
            }
            Self::Join => {
                let (list, between, null) = (size(0)?, length(1)?, length(2)?);
                let values = Each(of.first().map_or(Ok(Vec::new()), values)?);
                let each = |i: usize| OF_A_NUMBER + between.of(i) + null.of(i);
                rows.map(|i| list.of(i) + values.of(i) * each(i)).sum()
            }
            Self::Replace => {
                let (text, what, by) = (length(0)?, length(1)?, length(2)?);
                let places = |i: usize| text.of(i) / what.of(i).max(1.0) + 1.0;
                rows.map(|i| text.of(i) + places(i) * by.of(i)).sum()
            }
            Self::Rewrite => {
                let (text, by) = (length(0)?, length(2)?);
                let count = |i: usize, signs: &'static [char]| {
                    of.get(i)
                        .map_or(Ok(Vec::new()), |of| occurrences(of, signs))
                };
                let groups = Each(count(2, &['\\', '$'])?);
                let everywhere = Each(count(3, &['g'])?);
                let places = |i: usize| {
                    if everywhere.of(i) > 0.0 {
                        text.of(i) + 1.0
                    } else {
                        1.0
                    }
                };
                let all = |i: usize| text.of(i) * (1.0 + groups.of(i)) + places(i) * by.of(i);
                rows.map(all).sum()
            }
        })
    }
}

/// Bytes of what a value has besides itself: its place, and whether it is null.
const OF_A_VALUE: f64 = 16.0;
/// Characters of the longest number: 1e-308 is written out.
const OF_A_NUMBER: f64 = 330.0;

/// The values of each list, by where each ends: all that lists hold among them.
fn ends(of: &ArrayRef) -> Option<(&ArrayRef, Vec<usize>)> {
    match of.data_type() {
        DataType::List(_) => {
            let list = of.as_list::<i32>();
            let ends = list.value_offsets().iter().map(|end| *end as usize);
            Some((list.values(), ends.collect()))
        }
        DataType::LargeList(_) => {
            let list = of.as_list::<i64>();
            let ends = list.value_offsets().iter().map(|end| *end as usize);
            Some((list.values(), ends.collect()))
        }
        DataType::FixedSizeList(_, width) => {
            let (list, width) = (of.as_fixed_size_list(), *width as usize);
            Some((list.values(), (0..=list.len()).map(|i| i * width).collect()))
        }
        _ => None,
    }
}

/// Sums of what a list's values come to.
fn sums(of_values: &[f64], ends: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in of_values {
        sums.push(sums.last().copied().unwrap_or(0.0) + value);
    }
    let sum = |ends: &[usize]| sums[ends[1]] - sums[ends[0]];
    ends.windows(2).map(sum).collect()
}

/// Bytes of each row.
fn sizes(of: &ArrayRef) -> Result<Vec<f64>> {
    if let Some((values, ends)) = ends(of) {
        let lists = sums(&sizes(values)?, &ends);
        return Ok(lists.into_iter().map(|bytes| OF_A_VALUE + bytes).collect());
    }
    Ok(match of.data_type() {
        DataType::Struct(_) => {
            let mut all = vec![OF_A_VALUE; of.len()];
            for column in of.as_struct().columns() {
                let column = sizes(column)?;
                all.iter_mut()
                    .zip(column)
                    .for_each(|(all, own)| *all += own);
            }
            all
        }
        DataType::Dictionary(..) => {
            let all = of.as_any_dictionary();
            let values = sizes(all.values())?;
            let own = |key: usize| values.get(key).copied().unwrap_or(OF_A_VALUE);
            all.normalized_keys().into_iter().map(own).collect()
        }
        DataType::Map(..) => {
            let map = of.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let ends: Vec<_> = map.offsets().iter().map(|end| *end as usize).collect();
            let maps = sums(&sizes(&entries)?, &ends);
            maps.into_iter().map(|bytes| OF_A_VALUE + bytes).collect()
        }
        of_texts if is_text(of_texts) => {
            let lengths = lengths(of)?.into_iter();
            lengths.map(|bytes| OF_A_VALUE + bytes).collect()
        }
        flat => vec![OF_A_VALUE + width(flat); of.len()],
    })
}

/// Bytes of a value of a type whose values are all as large, be they null.
fn width(of: &DataType) -> f64 {
    match of {
        DataType::FixedSizeBinary(bytes) => f64::from(*bytes),
        DataType::FixedSizeList(item, values) => f64::from(*values) * width(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|f| width(f.data_type())).sum(),
        of => of.primitive_width().map_or(0.0, |bytes| bytes as f64),
    }
}

fn is_text(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}

/// Bytes of each text; of what is none, nothing.
fn lengths(of: &ArrayRef) -> Result<Vec<f64>> {
    if let DataType::Dictionary(_, values) = of.data_type()
        && is_text(values)
    {
        return sizes(of);
    }
    if !is_text(of.data_type()) {
        return Ok(vec![0.0; of.len()]);
    }
    let lengths = numbers(Some(&length(of)?))?;
    Ok(lengths.iter().map(|n| n.unwrap_or(0.0)).collect())
}

/// How many values each row has that are no lists.
fn values(of: &ArrayRef) -> Result<Vec<f64>> {
    match ends(of) {
        Some((inner, ends)) => Ok(sums(&values(inner)?, &ends)),
        None => Ok(vec![1.0; of.len()]),
    }
}

/// How often each text has one of these characters.
fn occurrences(of: &ArrayRef, signs: &[char]) -> Result<Vec<f64>> {
    let texts = cast(of, &DataType::LargeUtf8)?;
    let count = |text: Option<&str>| text.map_or(0, |text| text.matches(signs).count()) as f64;
    Ok(texts.as_string::<i64>().iter().map(count).collect())
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

/// Bytes of ranges: of [to], [from, to] or [from, to, step]; without end where a step leads nowhere.
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
    // What has one row stands for all.
    let at = |of: &Option<Float64Array>, i: usize, or: f64| match of {
        None => Some(or),
        Some(of) => {
            let i = i.min(of.len().checked_sub(1)?);
            of.is_valid(i).then(|| of.value(i))
        }
    };
    let rows = of.iter().map(Array::len).max().unwrap_or(0);
    let to_numbers = Some(to_numbers);
    let elements = (0..rows).filter_map(|i| {
        let to = at(&to_numbers, i, 0.0)?;
        let elements = (to - at(&from, i, 0.0)?) / at(&steps, i, 1.0)?;
        Some(if elements.is_finite() {
            elements.max(0.0)
        } else {
            f64::INFINITY
        })
    });
    Ok(elements.sum::<f64>() * 8.0)
}

/// Steps in the unit of what is stepped through; of a month as of 28 days, its least. One whose parts go both ways is none.
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
        let parts = [step.months.into(), step.days.into(), step.nanoseconds];
        if parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0) {
            return Some(0.0);
        }
        let days = f64::from(step.months) * 28.0 + f64::from(step.days);
        Some((days * 86_400.0 + step.nanoseconds as f64 / 1e9) * a_second)
    });
    Ok(steps.collect())
}

/// Refuses more calls of these functions than can be held at once, before any of them is folded into a constant.
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
            let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
            return Err(DataFusionError::ResourcesExhausted(format!(
                "the query has {all} calls of {}, and may have {CALLS}",
                names.join(", ")
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
            calls += usize::from(FUNCTIONS.iter().any(|(name, _)| *name == call.func.name()));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a query comes to in a session of 16 MiB, or 16 MiB a call.
    async fn answer(query: &str) -> std::result::Result<String, String> {
        let context = SessionContext::new();
        let most = 16 << 20;
        register(&context, most * PART);
        context.add_analyzer_rule(Arc::new(CallsFit));
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
            ("SELECT array_repeat([1, 2], 2)", "[[1, 2], [1, 2]]"),
            ("SELECT array_to_string([1, 2], '-')", "1-2"),
            (
                "SELECT sum(length(repeat('█', 150))) FROM generate_series(1, 8192)",
                "1228800",
            ),
            (
                "SELECT max(regexp_replace(repeat('a', 100), '^a', repeat('https://', 6), 'g')) = '' FROM generate_series(1, 1000)",
                "false",
            ),
            (
                "SELECT count(*) FROM generate_series(1, 100) WHERE replace(CAST(value AS TEXT), repeat('x', 1000000), '') = '1'",
                "1",
            ),
            ("SELECT replace('banana', 'an', 'n')", "bnna"),
            ("SELECT regexp_replace('a/b/c.jpg', '.*/', '')", "c.jpg"),
            ("SELECT regexp_replace('abc', 'b', '[\\0]', 'g')", "a[b]c"),
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
            "SELECT cardinality(array_repeat(range(0, 100000), 1000))",
            "SELECT cardinality(array_repeat(repeat('x', CASE WHEN value = 1 THEN 1000000 ELSE 0 END), CASE WHEN value = 1 THEN 1000 ELSE 0 END)) FROM generate_series(1, 8192)",
            "SELECT cardinality(array_resize([''], 1000, repeat('x', 1000000)))",
            "SELECT cardinality(array_resize([arrow_cast(arrow_cast(repeat('x', 1000), 'Binary'), 'FixedSizeBinary(1000)')], 100000))",
            "SELECT cardinality(array_repeat(named_struct('a', repeat('x', CASE WHEN value = 1 THEN 1000000 ELSE 0 END)), CASE WHEN value = 1 THEN 1000 ELSE 0 END)) FROM generate_series(1, 8192)",
            "SELECT length(array_to_string(range(0, 10000), repeat('x', 10000)))",
            "SELECT length(array_to_string([range(0, 10000)], repeat('x', 10000)))",
            "SELECT length(array_to_string(array_repeat(CAST(NULL AS INT), 10000), ',', repeat('x', 10000)))",
            "SELECT length(replace(repeat('a', 100000), 'a', repeat('b', 100000)))",
            "SELECT length(regexp_replace(repeat('a', 100000), '', repeat('b', 100000), 'g'))",
            "SELECT length(regexp_replace(repeat('a', 100000), '(.*)', repeat('\\1', 10000)))",
        ] {
            let refused = answer(query).await.unwrap_err();
            assert!(refused.contains("would make"), "{query}: {refused}");
        }
        for query in [
            "SELECT generate_series(DATE '2026-01-01', DATE '2026-01-02', INTERVAL '1 day -24 hours')",
            "SELECT generate_series(DATE '2026-01-31', DATE '2026-01-01', INTERVAL '1 month -28 days')",
            "SELECT generate_series(DATE '2026-01-01', DATE '2026-01-01', INTERVAL '0 days')",
        ] {
            let refused = answer(query).await.unwrap_err();
            assert!(refused.contains("might not end"), "{query}: {refused}");
        }
        let many = vec!["repeat(chr(95 + value), 100)"; CALLS + 1].join(" || ");
        let many = format!("SELECT {many} FROM generate_series(1, 2)");
        let refused = answer(&many).await.unwrap_err();
        assert!(refused.contains("has 33 calls of"), "{refused}");
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
