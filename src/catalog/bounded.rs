//! Functions that make much of little, and those that add up what they get, within a query's memory. A batch that a function makes is outside of the pool that
//! counts sorts, joins and groups, and an allocation that fails ends the process: so what they would make is reckoned before they do.
//!
//! One call makes at most a quarter of the memory of a batch, and all calls of a query together at most 32 quarters. Of those that make much of little there are no
//! more; of those that add there may be many, and the more calls there are, the less each may make. So much is there at once only where calls stand side by side in
//! one projection, whose results are all held until the last one is made. Of calls within one another, and of projections above one another, a result goes when the
//! next one has taken it: a chain in which each call doubles what it gets holds two results, and ends with an error at the first one that is too large. While a call
//! is under way it may hold as much again, for a constant that is written for each row or for a buffer that grows; and each thread of a query has a batch of its own.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use datafusion::prelude::SessionContext;

use super::concatenation;
use super::grows::Grows;

const FUNCTIONS: [(&str, Grows); 24] = [
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
    ("array_replace", Grows::Exchange),
    ("array_replace_n", Grows::Exchange),
    ("array_replace_all", Grows::Exchange),
    (concatenation::NAME, Grows::Texts),
    ("concat", Grows::Texts),
    ("concat_ws", Grows::Separated),
    ("overlay", Grows::Texts),
    ("encode", Grows::Digits),
    ("array_concat", Grows::Values),
    ("array_append", Grows::Values),
    ("array_prepend", Grows::Values),
    ("array_union", Grows::Values),
    ("arrays_zip", Grows::Values),
    ("make_array", Grows::Values),
];
/// Calls of those that make much of little in a query: the results of all may be there at once.
pub(super) const CALLS: usize = 32;
/// What one of so many calls makes of a batch is at most this part of a query's memory.
const PART: usize = 4;
/// A batch of short texts, however little memory there is.
const LEAST: usize = 1024 * 1024;
/// Where the values of a text or a list lie in a batch is mostly 32 bits.
const LARGEST: usize = i32::MAX as usize;

/// Those that make much of little.
pub(super) fn that_multiply() -> Vec<&'static str> {
    let multiply = FUNCTIONS.into_iter().filter(|(_, grows)| !grows.adds());
    multiply.map(|(name, _)| name).collect()
}

/// Whether a function's results can be bounded.
pub(super) fn is_bounded(name: &str) -> bool {
    FUNCTIONS.iter().any(|(own, _)| *own == name)
}

/// Bytes that one of so many calls in a query makes of a batch at most.
pub(super) fn allowance(memory: usize, calls: usize) -> usize {
    let one = (memory / PART).clamp(LEAST, LARGEST);
    one.saturating_mul(CALLS) / calls.max(CALLS)
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
pub(super) fn register(context: &SessionContext, memory: usize) {
    let state = context.state();
    for (name, _) in FUNCTIONS {
        let own = state.scalar_functions().get(name);
        if let Some(bounded) = own.and_then(|own| fitted(own, allowance(memory, 1))) {
            context.register_udf(bounded);
        }
    }
}

/// The same function, which makes so many bytes of a batch at most; `None` for one that is not bounded.
pub(super) fn fitted(function: &ScalarUDF, most: usize) -> Option<ScalarUDF> {
    let bounded = function.inner().downcast_ref::<Bounded>();
    let inner = bounded.map_or(function, |bounded| &bounded.inner).clone();
    let (_, grows) = FUNCTIONS
        .into_iter()
        .find(|(own, _)| *own == inner.name())?;
    Some(ScalarUDF::from(Bounded { inner, grows, most }))
}

impl Bounded {
    /// Refuses what would be made of these.
    fn check(&self, of: &[ArrayRef]) -> Result<()> {
        let bytes = self.grows.bytes(of)?;
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
        Ok(())
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        self.inner.schema_name(arguments)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
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
        // Constants side by side become one without a call, by a function that is not bounded.
        if self.grows.adds() {
            let constants = arguments.iter().map(|argument| match argument {
                Expr::Literal(value, _) => value.to_array(),
                _ => ScalarValue::Null.to_array(),
            });
            self.check(&constants.collect::<Result<Vec<_>>>()?)?;
        }
        Ok(match self.inner.simplify(arguments, context)? {
            ExprSimplifyResult::Simplified(Expr::ScalarFunction(mut call)) => {
                if let Some(bounded) = fitted(&call.func, self.most) {
                    call.func = Arc::new(bounded);
                }
                ExprSimplifyResult::Simplified(Expr::ScalarFunction(call))
            }
            other => other,
        })
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
        self.check(&values.collect::<Result<Vec<_>>>()?)?;
        self.inner.invoke_with_args(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fits::{CallsFit, ConstantsFit};
    use super::*;

    use arrow::array::RecordBatch;
    use datafusion::prelude::SessionConfig;

    /// A session without bounds.
    fn free() -> SessionContext {
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1))
    }

    /// A session of 16 MiB, or 16 MiB a call.
    fn session() -> SessionContext {
        let context = free();
        let most = 16 << 20;
        let memory = most * PART;
        register(&context, memory);
        context.add_analyzer_rule(Arc::new(CallsFit { memory }));
        context.add_optimizer_rule(Arc::new(ConstantsFit { most }));
        context
    }

    async fn rows(context: &SessionContext, query: &str) -> Result<Vec<RecordBatch>> {
        context.sql(query).await?.collect().await
    }

    /// What a query comes to.
    async fn answer(query: &str) -> std::result::Result<String, String> {
        let rows = rows(&session(), query).await;
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
            (
                "SELECT arrow_cast([1, 2], 'FixedSizeList(2, Int64)')",
                "[1, 2]",
            ),
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
    async fn what_adds_is_as_it_is_without_bounds() {
        let table = "WITH t AS (SELECT s, arrow_cast(s, 'LargeUtf8') AS large, arrow_cast(s, 'Utf8View') AS views, arrow_cast(s, 'Dictionary(Int32, Utf8)') AS dictionary, arrow_cast(s, 'Binary') AS bytes, n, l, arrow_cast(l, 'LargeList(Int64)') AS large_list FROM (VALUES ('a', 1, [1, 2]), (NULL, 2, NULL), ('a longer text than a view has in its place', NULL, [3])) AS t(s, n, l))";
        let mut differ = Vec::new();
        for query in [
            "SELECT s || s, s || n, n || s, s || 'x', 'x' || s || 'y', 'x' || 'y', 1 || 'y', s || NULL, NULL || s, NULL || 'x' FROM t",
            "SELECT large || large, large || s, views || views, views || s, views || large, dictionary || s, dictionary || dictionary, views || 'x' FROM t",
            "SELECT bytes || bytes, bytes || arrow_cast(bytes, 'BinaryView'), arrow_cast(bytes, 'LargeBinary') || bytes, arrow_cast(arrow_cast('ab', 'Binary'), 'FixedSizeBinary(2)') || arrow_cast(arrow_cast('abc', 'Binary'), 'FixedSizeBinary(3)') FROM t",
            "SELECT concat(s, n, 'x', 'y'), concat(large, views), concat('x', NULL, 'y', s), concat(bytes, bytes), concat('x', 'y'), concat(NULL) FROM t",
            "SELECT concat_ws('-', s, n, 'x', 'y'), concat_ws(s, large, views), concat_ws('', s, 'x'), concat_ws(NULL, s, s), concat_ws('-', 'x', 'y') FROM t",
            "SELECT overlay(s PLACING 'bc' FROM 1), encode(bytes, 'hex'), encode(s, 'base64') FROM t",
            "SELECT l || l, l || n, n || l, l || NULL, large_list || large_list, [1] || [2], [[1]] || [[2], [3]], [1] || 2, 1 || [2] FROM t",
            "SELECT array_concat(l, [4], l), array_append(l, n), array_prepend(n, l), array_union(l, [3, 4]), arrays_zip(l, [7]), make_array(s, 'x', s), [n, 2], [[s]], make_array(l, l), [], [NULL] FROM t",
            "SELECT array_replace(l, 1, 9), array_replace_n(l, 1, 9, 1), array_replace_all([s, 'a'], 'a', s || 'b') FROM t",
            "SELECT s || 'x', count(*), max(large || n), array_agg(DISTINCT s || s) FROM t GROUP BY s || 'x' HAVING s || 'x' <> 'x' ORDER BY s || 'x'",
            "SELECT a.s || b.s AS both FROM t a JOIN t b ON a.s || 'x' = b.s || 'x' WHERE a.s || 'x' = 'ax' AND EXISTS (SELECT 1 FROM t WHERE s || 'x' = a.s || 'x')",
            "SELECT row_number() OVER (PARTITION BY s || 'x' ORDER BY concat(s, n)), CASE WHEN s || 'x' = 'ax' THEN s || 'y' END, upper(s || 'x') || '-' FROM t ORDER BY s || 'z'",
            "SELECT (SELECT max(s) || 'x' FROM t) || s FROM t WHERE s IN (SELECT 'a' || '' FROM t)",
            "SELECT key || '', key || value FROM (VALUES (arrow_cast('a', 'LargeUtf8'), 1)) AS t(key, value)",
        ] {
            let query = format!("{table} {query}");
            let (made, expected) = (rows(&session(), &query).await, rows(&free(), &query).await);
            match (made, expected) {
                (Ok(made), Ok(expected)) if made == expected => {}
                both => differ.push(format!("{query}: {both:?}")),
            }
        }
        assert!(differ.is_empty(), "{differ:#?}");
        let header = "SELECT s || 'x' || 'y' FROM (VALUES ('a')) AS t(s)";
        let header = rows(&session(), header).await.unwrap()[0].schema();
        assert_eq!(header.field(0).name(), r#"t.s || Utf8("x") || Utf8("y")"#);
        let many = vec!["value || 'x'"; 2 * CALLS].join(" || ");
        let many = format!("SELECT length({many}) FROM range(1, 2)");
        assert_eq!(answer(&many).await.as_deref(), Ok("128"));
    }

    /// Each step takes what the one before made, twice.
    fn chain(first: &str, step: &str) -> String {
        let first = format!("WITH t0 AS (SELECT {first} AS s FROM generate_series(1, 1))");
        let steps = (1..=34).map(|i| format!(", t{i} AS (SELECT {step} AS s FROM t{})", i - 1));
        format!("{first}{} SELECT s FROM t34", steps.collect::<String>())
    }

    #[tokio::test]
    async fn what_doubles_is_refused_before_it_is_made() {
        let mut queries = Vec::new();
        for of in ["Utf8", "LargeUtf8", "Utf8View", "Binary"] {
            queries.push(chain(&format!("arrow_cast('ab', '{of}')"), "s || s"));
            let first = format!("arrow_cast(CAST(value AS TEXT), '{of}')");
            for step in ["s || s", "concat(s, s)", "concat_ws('-', s, s)"] {
                queries.push(chain(&first, step));
            }
        }
        for (first, step) in [
            ("CAST(value AS TEXT)", "overlay(s PLACING s FROM 1 FOR 0)"),
            ("CAST(value AS TEXT)", "encode(s, 'hex')"),
            ("[value]", "s || s"),
            ("[value]", "array_concat(s, s)"),
            (
                "arrow_cast([value], 'LargeList(Int64)')",
                "array_concat(s, s)",
            ),
            ("[value]", "make_array(s, s)"),
            ("value", "[s, s]"),
            ("[[value]]", "array_append(s, flatten(s))"),
            ("[[value]]", "array_prepend(flatten(s), s)"),
        ] {
            queries.push(chain(first, step));
        }
        for query in [
            "WITH RECURSIVE r AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM r) SELECT max(length(s)) FROM r",
            "WITH RECURSIVE r AS (SELECT [1] AS s UNION ALL SELECT s || s FROM r) SELECT max(cardinality(s)) FROM r",
            "SELECT length(repeat('x', 10000000) || repeat('y', 10000000))",
            "SELECT length(concat(repeat('x', 10000000), repeat('y', 10000000), value)) FROM range(1)",
            "SELECT length(concat_ws(repeat('x', 10000000), 'y', 'y', 'y', value)) FROM range(1)",
            "SELECT length(concat_ws('', repeat('x', 6000000), repeat('x', 6000000), repeat('y', 6000000), value)) FROM range(1)",
            "SELECT max(length(value || (SELECT max(repeat('x', n)) FROM range(100000, 100001) AS t(n)))) FROM range(1000)",
            "SELECT cardinality(array_replace_all(array_repeat('a', 10000), 'a', repeat('b', 10000)))",
        ] {
            queries.push(query.into());
        }
        for query in queries {
            let refused = answer(&query).await.unwrap_err();
            assert!(refused.contains("would make"), "{query}: {refused}");
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
            "SELECT arrow_cast(NULL, 'FixedSizeList(1000000000, Int64)')",
            "SELECT arrow_cast([value], 'FixedSizeList(1000000000, Int64)') FROM generate_series(1, 10)",
            "SELECT value FROM generate_series(1, 10) WHERE arrow_typeof(arrow_try_cast(NULL, 'FixedSizeBinary(2000000000)')) = ''",
            "SELECT CAST(NULL AS INT[100000000])",
            "SELECT repeat('x', 10000) FROM generate_series(1, 10)",
            "SELECT max(arrow_cast(repeat('x', 10000), 'LargeUtf8')) FROM generate_series(1, 10)",
            "SELECT value FROM generate_series(1, 10) ORDER BY length(repeat('x', value)), range(10000)",
        ] {
            let refused = answer(query).await.unwrap_err();
            assert!(refused.contains("for each row"), "{query}: {refused}");
        }
    }
}
