//! What the arguments of table functions may call. They are made into constants while a query is planned, before its calls can be counted and what they make be shared out.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, TableFactor, Visit as _, Visitor};

use super::CatalogError;

/// What each call makes is bounded by a part of the memory, and of so many all may be there at once.
const CALLS: usize = 4;

/// Refuses a query whose table functions have more calls in their arguments.
pub(super) fn check(statement: &Statement) -> Result<(), CatalogError> {
    let calls = calls(statement);
    if calls > CALLS {
        return Err(CatalogError::Arguments { calls, most: CALLS });
    }
    Ok(())
}

/// How many calls they have.
fn calls(statement: &Statement) -> usize {
    let mut arguments = Arguments::default();
    match statement {
        Statement::Explain(explain) => return calls(&explain.statement),
        // The visitor goes on to the end.
        Statement::Statement(statement) => drop(statement.visit(&mut arguments)),
        _ => {}
    }
    arguments.calls
}

#[derive(Default)]
struct Arguments {
    /// Table functions around what is visited.
    within: usize,
    calls: usize,
}

fn is_function(table: &TableFactor) -> bool {
    matches!(
        table,
        TableFactor::Table { args: Some(_), .. }
            | TableFactor::Function { .. }
            | TableFactor::TableFunction { .. }
    )
}

impl Visitor for Arguments {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        self.within += usize::from(is_function(table));
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        self.within -= usize::from(is_function(table));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let is_call = match expr {
            Expr::Function(_) => true,
            Expr::BinaryOp { op, .. } => *op == BinaryOperator::StringConcat,
            _ => false,
        };
        self.calls += usize::from(is_call && self.within > 0);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::config::Dialect;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn calls_are_counted_in_the_arguments_of_table_functions_alone() {
        let state = SessionContext::new().state();
        for (query, expected) in [
            (
                "SELECT concat('a', 'b') || 'c' FROM t WHERE length(s) > 1",
                0,
            ),
            ("SELECT * FROM range(1, 10 * 5)", 0),
            (
                "SELECT * FROM range(now(), date_trunc('day', now()), INTERVAL '1' DAY) WHERE f(value)",
                3,
            ),
            (
                "SELECT * FROM (SELECT f(x) FROM range(length('a' || 'b')))",
                2,
            ),
            ("SELECT * FROM t CROSS JOIN LATERAL range(f(t.x))", 1),
            (
                "EXPLAIN SELECT (SELECT max(value) FROM range(f(g(h(i(j(1)))))))",
                5,
            ),
        ] {
            let statement = state.sql_to_statement(query, &Dialect::Generic).unwrap();
            assert_eq!(calls(&statement), expected, "{query}");
            let refused = check(&statement).err().map(|e| e.to_string());
            let said = (expected > CALLS).then(|| {
                format!("the arguments of table functions have {expected} calls of functions, and {CALLS} are the most")
            });
            assert_eq!(refused, said, "{query}");
        }
    }
}
