//! What the tables, views and functions are, in words: `schemas/catalog.json`, which a test compares with the tables themselves.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::Deserialize;

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let text = include_str!("../../schemas/catalog.json");
    serde_json::from_str(text).unwrap_or_default()
});

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// What the file is.
    pub description: String,
    /// In the order in which a reader meets them.
    pub tables: Vec<Table>,
    /// Those that understudy adds to DataFusion's.
    pub functions: Vec<Function>,
}

/// A table, or a view.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// What a row is.
    pub description: String,
    /// In the order of `SELECT *`.
    pub columns: Vec<Column>,
}

/// A column.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// As Arrow writes it.
    pub r#type: String,
    /// What it says.
    pub description: String,
}

/// A function.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// How it is called.
    pub name: String,
    /// What it gives.
    pub description: String,
}

/// All of it.
pub fn reference() -> &'static Reference {
    &REFERENCE
}

/// The tables' names, for a sentence.
pub fn names() -> String {
    let names: Vec<_> = REFERENCE.tables.iter().map(|t| t.name.as_str()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Tables and functions with their descriptions, a line each.
pub fn overview() -> String {
    let mut text = String::from("Tables and views:\n");
    for table in &REFERENCE.tables {
        let _ = writeln!(text, "  {:<28}{}", table.name, table.description);
    }
    text.push_str("\nFunctions, besides DataFusion's:\n");
    for function in &REFERENCE.functions {
        let _ = writeln!(text, "  {}\n      {}", function.name, function.description);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_valid_and_names_each_table_once() {
        let text = include_str!("../../schemas/catalog.json");
        let parsed: Reference = serde_json::from_str(text).unwrap();
        let mut names: Vec<_> = parsed.tables.iter().map(|t| &t.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), parsed.tables.len());
        assert!(!parsed.functions.is_empty());
    }
}
