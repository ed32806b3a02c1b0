//! A query, and its rows as a table with bars.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use maud::{Markup, html};

use super::frame::{Frame, Section};
use crate::report::ReportError;
use crate::report::charts;
use crate::report::page::plot::ornament;
use crate::report::palette::Ink;
use crate::report::wording::{counted, plain};

/// Of a bar.
const BAR: u32 = 8;
/// What the console begins with.
const EXAMPLE: &str = "SELECT dataset, teacher, label, count(*) AS images, avg(confidence) AS confidence\nFROM labels\nGROUP BY 1, 2, 3\nORDER BY images DESC\nLIMIT 20";

/// What became of a query.
#[derive(Debug)]
pub enum Answer {
    /// Its rows; `cut` where there are more.
    Rows {
        /// The rows.
        batches: Vec<RecordBatch>,
        /// Whether a limit cut them off.
        cut: bool,
        /// How long it took.
        seconds: f64,
    },
    /// Why there are none.
    Failed {
        /// A sentence.
        message: String,
        /// What can be done about it.
        hint: Option<String>,
    },
}

/// The page with a query and what became of it.
///
/// # Errors
/// [`ReportError::Chart`], or [`ReportError::Query`] for a value that cannot be shown.
pub fn console(query: Option<&str>, answer: Option<&Answer>) -> Result<String, ReportError> {
    let result = match answer {
        None => Vec::new(),
        Some(Answer::Failed { message, hint }) => vec![Section {
            title: "Error",
            lead: html! {},
            content: html! {
                pre.failed role="alert" { (plain_lines(message)) }
                @if let Some(hint) = hint { p { (plain(hint)) } }
            },
        }],
        Some(Answer::Rows {
            batches,
            cut,
            seconds,
        }) => {
            let rows: u64 = batches.iter().map(|b| b.num_rows() as u64).sum();
            vec![Section {
                title: "Result",
                lead: html! {
                    p { (counted(rows, "row", "rows")) " in " (format!("{seconds:.2} s")) }
                    @if *cut { p.remark { "There are more: these are as many as one answer may have." } }
                },
                content: table(batches)?,
            }]
        }
    };
    let mut sections = vec![Section {
        title: "Query",
        lead: html! {
            p { "DataFusion’s SQL, read only. " code { "SHOW TABLES" } " tells the tables, " code { "DESCRIBE labels" } " the columns of one." }
        },
        content: html! {
            form.console method="get" action="/sql" {
                label.hidden for="query" { "Query" }
                textarea id="query" name="q" spellcheck="false" { (query.unwrap_or(EXAMPLE)) }
                button { "Run" }
            }
        },
    }];
    sections.extend(result);
    let frame = Frame {
        title: "SQL".into(),
        above: html! { "Console" },
        lede: html! { "Manifests, labels, rejects, selections, trainings, promotions and runs as tables." },
        sections,
        script: None,
    };
    Ok(frame.render())
}

fn failed(source: arrow::error::ArrowError) -> ReportError {
    ReportError::Query {
        file: "the query",
        source: source.into(),
    }
}

/// The rows; beside the first column of numbers that are not below 0 lies a bar each.
fn table(batches: &[RecordBatch]) -> Result<Markup, ReportError> {
    let Some(first) = batches.first() else {
        return Ok(html! { p.note { "No rows." } });
    };
    let schema = first.schema();
    let measured = measured(batches)?;
    let longest = measured.as_ref().and_then(|(_, values)| {
        let values = values.iter().flatten().copied();
        values
            .max_by(f64::total_cmp)
            .filter(|longest| *longest > 0.0)
    });
    let options = FormatOptions::default().with_null("");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        for row in 0..batch.num_rows() {
            let mut cells = Vec::with_capacity(columns.len());
            for (place, column) in columns.iter().enumerate() {
                let text = column.value(row).try_to_string().map_err(failed)?;
                let number = schema.field(place).data_type().is_numeric();
                let bar = match (&measured, longest) {
                    (Some((of, values)), Some(longest)) if *of == place => {
                        let value = values.get(rows.len()).copied().flatten().unwrap_or(0.0);
                        // A thousand steps are finer than a bar's pixels.
                        let steps = (value / longest * 1000.0).round() as u64;
                        Some(charts::row(&[(Ink::Kept, steps)], 1000, BAR)?)
                    }
                    _ => None,
                };
                cells.push(html! {
                    td.number[number] { (plain(&text)) @if let Some(bar) = &bar { (ornament("bar", bar, BAR)) } }
                });
            }
            rows.push(html! { tr { @for cell in &cells { (cell) } } });
        }
    }
    Ok(html! {
        div.scroll tabindex="0" role="region" aria-label="Rows" {
            table.rows {
                thead { tr {
                    @for field in schema.fields() { th.number[field.data_type().is_numeric()] scope="col" { (plain(field.name())) } }
                } }
                tbody { @for row in &rows { (row) } }
            }
        }
    })
}

/// A column, and its values; null where there is none.
type Measured = (usize, Vec<Option<f64>>);

/// The first column of numbers that are not below 0.
fn measured(batches: &[RecordBatch]) -> Result<Option<Measured>, ReportError> {
    use arrow::array::AsArray as _;
    use arrow::datatypes::{DataType, Float64Type};

    let Some(first) = batches.first() else {
        return Ok(None);
    };
    let schema = first.schema();
    let fields = schema.fields().iter().enumerate();
    for (place, _) in fields.filter(|(_, f)| f.data_type().is_numeric()) {
        let mut values = Vec::new();
        for batch in batches {
            let column = arrow::compute::cast(batch.column(place), &DataType::Float64);
            let column = column.map_err(failed)?;
            values.extend(column.as_primitive::<Float64Type>().iter());
        }
        if values.iter().flatten().all(|v| *v >= 0.0 && v.is_finite()) {
            return Ok(Some((place, values)));
        }
    }
    Ok(None)
}

/// Text of several lines.
fn plain_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plain).collect();
    lines.join("\n")
}
