//! A query that a person wrote: planned, if it is a read, and run within limits.

use std::sync::Arc;
use std::time::Duration;

use datafusion::config::Dialect;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SQLOptions, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use futures::TryStreamExt as _;

use super::session::QUERY_MEMORY;
use super::{CatalogError, arguments, damage};

/// Rows that a table for people shows.
pub const DEFAULT_ROWS: usize = 1000;

/// What a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that sorts, joins, groups and a table that is printed may hold together; what can spill goes to the temporary directory above that.
    pub memory: usize,
    /// How long it may take.
    pub time: Option<Duration>,
    /// Rows of a printed table; 0 for all.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: QUERY_MEMORY,
            time: None,
            rows: DEFAULT_ROWS,
        }
    }
}

/// Plans a query: reads only.
///
/// # Errors
/// [`CatalogError::Refused`] for anything but a query, [`CatalogError::Several`] for more than one, [`CatalogError::Query`] for one that does not plan.
pub async fn query(context: &SessionContext, sql: &str) -> Result<DataFrame, CatalogError> {
    let failed = |e: DataFusionError| CatalogError::of_query(&e);
    check_words(sql)?;
    let state = context.state();
    let statement = state.sql_to_statement(sql, &Dialect::Generic);
    let statement = statement.map_err(failed)?;
    // The session has no format to copy to, which is not the reason that a person should read.
    if is_copy(&statement) {
        return Err(CatalogError::Refused {
            detail: "COPY writes".into(),
        });
    }
    arguments::check(&statement)?;
    let plan = state.statement_to_plan(statement).await.map_err(failed)?;
    reads()
        .verify_plan(&plan)
        .map_err(|e| CatalogError::Refused {
            detail: match e {
                DataFusionError::Plan(detail) => detail,
                other => other.strip_backtrace(),
            },
        })?;
    context.execute_logical_plan(plan).await.map_err(failed)
}

/// What a query of a person may do: read.
pub(crate) fn reads() -> SQLOptions {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
}

/// The most operators of a query: a chain of them is a tree as deep, which is planned by functions that call themselves.
const MOST_OPERATORS: usize = 1000;

/// Refuses several queries, and one of so many operators that planning it, or dropping its plan, could overflow a thread's stack. The parser itself bounds parentheses.
fn check_words(sql: &str) -> Result<(), CatalogError> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        // What cannot be cut into words is the parser's to say.
        return Ok(());
    };
    let is_word = |token: &Token| !matches!(token, Token::Whitespace(_) | Token::EOF);
    let queries = tokens.split(|token| *token == Token::SemiColon);
    if queries.filter(|q| q.iter().any(is_word)).nth(1).is_some() {
        return Err(CatalogError::Several);
    }
    let mut places = Places::default();
    let deepens = |token: &&Token| places.deepens(token);
    let operators = tokens.iter().filter(deepens).count();
    if operators > MOST_OPERATORS {
        return Err(CatalogError::Deep {
            operators,
            most: MOST_OPERATORS,
        });
    }
    Ok(())
}

/// Where a query's word stands.
#[derive(Default)]
struct Places {
    /// Of each open parenthesis, whether tables are listed there: a comma between them joins.
    outer: Vec<bool>,
    /// Of the innermost one.
    tables: bool,
}

impl Places {
    /// Whether a word makes a tree deeper, with what came before it.
    fn deepens(&mut self, token: &Token) -> bool {
        match token {
            Token::Word(word) => self.keyword(word.keyword),
            Token::LParen => {
                self.outer.push(self.tables);
                self.tables = false;
                false
            }
            Token::RParen => {
                self.tables = self.outer.pop().unwrap_or_default();
                false
            }
            Token::Comma => self.tables,
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Whitespace(_)
            | Token::Period
            | Token::SemiColon
            | Token::Placeholder(_)
            | Token::EOF => false,
            _ => true,
        }
    }

    fn keyword(&mut self, keyword: Keyword) -> bool {
        match keyword {
            Keyword::FROM => {
                self.tables = true;
                return true;
            }
            Keyword::SELECT
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::WINDOW
            | Keyword::QUALIFY
            | Keyword::ORDER => self.tables = false,
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                self.tables = false;
                return true;
            }
            _ => {}
        }
        matches!(
            keyword,
            Keyword::AND
                | Keyword::AT
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::DIV
                | Keyword::ILIKE
                | Keyword::IN
                | Keyword::IS
                | Keyword::JOIN
                | Keyword::LATERAL
                | Keyword::LIKE
                | Keyword::MATCH
                | Keyword::MEMBER
                | Keyword::NOT
                | Keyword::NOTNULL
                | Keyword::OR
                | Keyword::OVERLAPS
                | Keyword::REGEXP
                | Keyword::RLIKE
                | Keyword::SIMILAR
                | Keyword::XOR
        )
    }
}

fn is_copy(statement: &Statement) -> bool {
    match statement {
        Statement::CopyTo(_) => true,
        Statement::Explain(explain) => is_copy(&explain.statement),
        _ => false,
    }
}

/// Runs a planned query.
///
/// # Errors
/// [`CatalogError::Query`], or [`CatalogError::Memory`].
pub async fn execute(frame: DataFrame) -> Result<SendableRecordBatchStream, CatalogError> {
    let failed = |e: DataFusionError| CatalogError::of_query(&e);
    let context = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await.map_err(failed)?;
    let rows = execute_stream(Arc::clone(&plan), Arc::clone(&context)).map_err(failed)?;
    let schema = rows.schema();
    let rows = rows.or_else(move |e| {
        let (plan, runtime) = (Arc::clone(&plan), context.runtime_env());
        async move { Err(damage::named(e, plan, runtime).await) }
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}
