//! Functions that make much of little, within a query's memory. A batch that a function makes is outside of the pool that counts sorts, joins and groups, and an
//! allocation that fails ends the process: so what they would make is reckoned before they do.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use datafusion::prelude::SessionContext;

use super::sizes::{OF_A_VALUE, lengths, numbers, occurrences, sizes, values, width};

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
/// What one call makes of a batch is at most this part of a query's memory.
const PART: usize = 4;

/// What they are called.
pub(super) fn names() -> [&'static str; FUNCTIONS.len()] {
    FUNCTIONS.map(|(name, _)| name)
}

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

/// Characters of the longest number: 1e-308 is written out.
const OF_A_NUMBER: f64 = 330.0;

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
        let rows = 0..of.iter().map(Array::len).max().unwrap_or(0);
        let each = |i: usize, what: fn(&ArrayRef) -> Result<Vec<f64>>| {
            of.get(i).map_or(Ok(Vec::new()), what).map(Each)
        };
        let (size, length) = (|i| each(i, sizes), |i| each(i, lengths));
        let times = |i: usize| {
            let times = numbers(of.get(i))?;
            let times = times.iter().map(|n| n.unwrap_or(0.0).max(0.0));
            Ok::<_, DataFusionError>(Each(times.collect()))
        };
        Ok(match self {
            Self::Range => return range(of),
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
                let one = |i: usize| OF_A_VALUE + fill.of(i).max(least);
                rows.map(|i| list.of(i) + times.of(i) * one(i)).sum()
            }
            Self::Join => {
                let (list, between, null) = (size(0)?, length(1)?, length(2)?);
                let values = each(0, values)?;
                let one = |i: usize| OF_A_NUMBER + between.of(i) + null.of(i);
                rows.map(|i| list.of(i) + values.of(i) * one(i)).sum()
            }
            Self::Replace => {
                let (text, what, by) = (length(0)?, length(1)?, length(2)?);
                let places = |i: usize| text.of(i) / what.of(i).max(1.0) + 1.0;
                rows.map(|i| text.of(i) + places(i) * by.of(i)).sum()
            }
            Self::Rewrite => {
                let (text, by) = (length(0)?, length(2)?);
                let groups = each(2, |of| occurrences(of, &['\\', '$']))?;
                let everywhere = each(3, |of| occurrences(of, &['g']))?;
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

#[cfg(test)]
mod tests {
    use super::super::fits::{CALLS, CallsFit, ConstantsFit};
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
