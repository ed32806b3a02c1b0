//! What could stand at the cursor: names of tables, columns and functions, SQL's words, the session's commands.

use std::collections::BTreeSet;

use datafusion::prelude::SessionContext;

use super::commands;
use crate::catalog::reference::{self, Table};

/// SQL's words that queries are made of.
const WORDS: [&str; 52] = [
    "ALL",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "INTERSECT",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "SHOW",
    "TABLES",
    "THEN",
    "TRUE",
    "UNION",
    "USING",
    "WHEN",
    "WHERE",
    "WITH",
];
/// Words after which a table is named.
const BEFORE_TABLES: [&str; 4] = ["FROM", "JOIN", "DESCRIBE", "TABLE"];

/// The names that there are.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tables: &'static [Table],
    /// With their opening bracket.
    functions: BTreeSet<String>,
    table_functions: BTreeSet<String>,
}

impl Vocabulary {
    pub(super) fn of(context: &SessionContext) -> Self {
        let state = context.state();
        let scalars = state.scalar_functions().keys();
        let functions = scalars
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys());
        let called = |name: &String| format!("{name}(");
        Self {
            tables: &reference::reference().tables,
            functions: functions.map(called).collect(),
            table_functions: state.table_functions().keys().map(called).collect(),
        }
    }

    /// The place where the word at the end of `before` begins, and what could stand there instead of it.
    pub(super) fn complete(&self, before: &str) -> (usize, Vec<String>) {
        if before.trim_start().starts_with('\\') {
            return self.complete_command(before);
        }
        if before.matches('\'').count() % 2 == 1 {
            return (before.len(), Vec::new());
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let start = before.trim_end_matches(is_word).len();
        let word = &before[start..];
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut offer = |name: &str| {
            let begins = name.get(..word.len());
            if begins.is_some_and(|begin| begin.eq_ignore_ascii_case(word)) {
                found.insert(name.to_owned());
            }
        };
        let front = before[..start].trim_end_matches(' ');
        if let Some(qualified) = before[..start].strip_suffix('.') {
            let name = &qualified[qualified.trim_end_matches(is_word).len()..];
            self.columns(name).for_each(&mut offer);
            return (start, found.into_iter().collect());
        }
        let last = front.rsplit(|c| !is_word(c)).next().unwrap_or_default();
        let names_table = BEFORE_TABLES.iter().any(|w| w.eq_ignore_ascii_case(last));
        if names_table && front.len() < start {
            self.tables.iter().for_each(|t| offer(&t.name));
            self.table_functions.iter().for_each(|f| offer(f));
        } else if !word.is_empty() {
            self.columns(before).for_each(&mut offer);
            self.tables.iter().for_each(|t| offer(&t.name));
            self.functions.iter().for_each(|f| offer(f));
            for name in WORDS {
                if word.chars().all(char::is_lowercase) {
                    offer(&name.to_lowercase());
                } else {
                    offer(name);
                }
            }
        }
        (start, found.into_iter().collect())
    }

    /// The columns of the tables that a text names; of all where it names none.
    fn columns<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let names = |table: &Table| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == table.name)
        };
        let any = self.tables.iter().any(names);
        let tables = self.tables.iter().filter(move |t| !any || names(t));
        tables.flat_map(|t| t.columns.iter().map(|c| c.name.as_str()))
    }

    fn complete_command(&self, before: &str) -> (usize, Vec<String>) {
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        let (command, word) = (before[..start].trim(), &before[start..]);
        let all: Vec<&str> = match command {
            "" => commands::NAMES.to_vec(),
            "\\d" => self.tables.iter().map(|t| t.name.as_str()).collect(),
            "\\format" => commands::FORMATS.to_vec(),
            _ => Vec::new(),
        };
        let fitting = all.into_iter().filter(|name| name.starts_with(word));
        (start, fitting.map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(before: &str) -> Vec<String> {
        let (start, found) = Vocabulary::of(&SessionContext::new()).complete(before);
        assert!(start <= before.len());
        found
    }

    #[test]
    fn tables_are_offered_after_from_and_columns_of_the_tables_that_are_named() {
        assert_eq!(complete("SELECT * FROM rej"), ["reject_reasons", "rejects"]);
        assert_eq!(
            complete("SELECT * FROM rejects WHERE sta"),
            ["stage", "starts_with("]
        );
        assert_eq!(
            complete("SELECT labels.second_"),
            ["second_class", "second_label"]
        );
        assert_eq!(
            complete("SELECT l.cut"),
            ["cut_off"],
            "an alias may be any table"
        );
        assert!(complete("SELECT * FROM ").contains(&"labels".to_owned()));
    }

    #[test]
    fn functions_and_words_are_offered_in_the_case_that_was_begun() {
        assert_eq!(complete("SELECT approx_dis"), ["approx_distinct("]);
        assert_eq!(
            complete("sel"),
            ["select", "selection", "selection_classes", "selections"]
        );
        assert_eq!(complete("DESCRIB"), ["DESCRIBE"]);
        assert_eq!(complete("SELECT * FROM generate_s"), ["generate_series("]);
    }

    #[test]
    fn nothing_is_offered_within_a_text_and_commands_have_their_own_names() {
        assert!(complete("SELECT * FROM labels WHERE key = 'sel").is_empty());
        assert_eq!(complete("\\ti"), ["\\timeout", "\\timing"]);
        assert_eq!(complete("\\format c"), ["csv"]);
        assert_eq!(complete("\\d man"), ["manifest", "manifest_history"]);
    }
}
