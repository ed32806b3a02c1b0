//! `POST /v1/sql`: one query, its answer as JSON, CSV, an Arrow stream or Parquet.

use std::io::{self, Write};

use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use arrow::record_batch::RecordBatch;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use datafusion::error::DataFusionError;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use super::answer;
use crate::catalog::CatalogError;
use crate::output::flat;
use crate::serve::extract::Json;
use crate::serve::problem::Problem;
use crate::serve::queries::Rows;
use crate::serve::service::Shared;

/// Whether there were more rows than the answer has.
const TRUNCATED: HeaderName = HeaderName::from_static("understudy-truncated");

/// A query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    sql: String,
    /// Rows at most.
    max_rows: Option<usize>,
}

/// What an answer is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    Arrow,
    Parquet,
}

const FORMS: [(Form, &str); 4] = [
    (Form::Json, "application/json"),
    (Form::Csv, "text/csv"),
    (Form::Arrow, "application/vnd.apache.arrow.stream"),
    (Form::Parquet, "application/vnd.apache.parquet"),
];

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    r#type: String,
    nullable: bool,
}

pub(super) async fn sql(
    State(service): State<Shared>,
    headers: HeaderMap,
    Json(query): Json<Query>,
) -> Result<Response, Problem> {
    let (form, kind) = form(&headers)?;
    if query.max_rows == Some(0) {
        return Err(Problem::bad_request("`max_rows` is 0").with_hint("use 1 or more"));
    }
    let (workspace, rows) = (&service.workspace, query.max_rows);
    let most = service.config.sql.result_bytes;
    let make = move |rows: Rows| Ok((rows.cut, write(&rows, form, most)?));
    let (cut, body) = service
        .queries
        .answer(workspace, query.sql, rows, make)
        .await?;
    let mut response = answer(kind, Body::from(body));
    let cut = HeaderValue::from_static(if cut { "true" } else { "false" });
    response.headers_mut().insert(TRUNCATED, cut);
    Ok(response)
}

/// The first form that a client takes, JSON where it takes any.
fn form(headers: &HeaderMap) -> Result<(Form, &'static str), Problem> {
    let accepted: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let unwanted = |parameters: &str| {
        parameters
            .split(';')
            .filter_map(|p| p.trim().strip_prefix("q="))
            .any(|q| q.parse() == Ok(0.0))
    };
    for range in &accepted {
        let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
        if unwanted(parameters) {
            continue;
        }
        let kind = kind.trim().to_ascii_lowercase();
        let takes = |known: &str| match kind.strip_suffix("/*") {
            Some("*") => true,
            Some(main) => known.split('/').next() == Some(main),
            None => known == kind,
        };
        if let Some((form, known)) = FORMS.iter().find(|(_, known)| takes(known)) {
            return Ok((*form, known));
        }
    }
    if accepted.is_empty() {
        return Ok(FORMS[0]);
    }
    let known: Vec<&str> = FORMS.iter().map(|(_, known)| *known).collect();
    Err(Problem::new(
        StatusCode::NOT_ACCEPTABLE,
        "an answer is not to be had in what `Accept` names",
    )
    .with_hint(format!("there are {}", known.join(", "))))
}

/// How much larger a text may be than its rows are in Arrow's form: names of columns are repeated in JSON, and some characters escaped.
const TEXT: usize = 4;

/// An answer as it is written, up to a limit.
struct Bounded {
    out: Vec<u8>,
    most: usize,
    /// Whether it was reached.
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.full |= bytes.len() > self.most - self.out.len();
        if self.full {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The answer in a form. `most` is what its rows may have in bytes.
fn write(rows: &Rows, form: Form, most: usize) -> Result<Vec<u8>, CatalogError> {
    let mut out = Bounded {
        out: Vec::new(),
        most: most.saturating_mul(TEXT),
        full: false,
    };
    let written: Result<(), DataFusionError> = match form {
        Form::Json => json(rows, &mut out).map_err(Into::into),
        Form::Csv => csv(rows, &mut out).map_err(Into::into),
        Form::Arrow => stream(rows, &mut out).map_err(Into::into),
        Form::Parquet => parquet(rows, &mut out).map_err(Into::into),
    };
    match written {
        Ok(()) => Ok(out.out),
        Err(_) if out.full => Err(CatalogError::Memory {
            detail: format!("its answer has more than {} bytes in this form", out.most),
        }),
        Err(e) => Err(CatalogError::Query {
            detail: format!(
                "its answer cannot be written in this form: {}",
                e.strip_backtrace()
            ),
        }),
    }
}

fn csv(rows: &Rows, out: &mut Bounded) -> Result<(), ArrowError> {
    let mut writer = arrow::csv::WriterBuilder::new()
        .with_header(true)
        .build(out);
    // The header is there where no row is.
    let empty = RecordBatch::new_empty(rows.schema.clone());
    for batch in std::iter::once(&empty).chain(&rows.batches) {
        writer.write(&flat(batch)?)?;
    }
    Ok(())
}

fn stream(rows: &Rows, out: &mut Bounded) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(out, &rows.schema)?;
    for batch in &rows.batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn parquet(rows: &Rows, out: &mut Bounded) -> Result<(), ParquetError> {
    let mut writer = ArrowWriter::try_new(out, rows.schema.clone(), None)?;
    for batch in &rows.batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}

/// `{"columns": […], "rows": […], "truncated": …}`, rows as objects in which nulls are named.
fn json(rows: &Rows, out: &mut Bounded) -> Result<(), ArrowError> {
    let columns: Vec<Column> = rows
        .schema
        .fields()
        .iter()
        .map(|field| Column {
            name: field.name(),
            r#type: field.data_type().to_string(),
            nullable: field.is_nullable(),
        })
        .collect();
    out.write_all(b"{\"columns\":")?;
    serde_json::to_writer(&mut *out, &columns).map_err(io::Error::from)?;
    out.write_all(b",\"rows\":")?;
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, JsonArray>(&mut *out);
    for batch in &rows.batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    write!(out, ",\"truncated\":{}}}", rows.cut)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_first_one_that_a_client_takes() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            form(&headers).map(|(form, _)| form).ok()
        };
        assert_eq!(form(&HeaderMap::new()).unwrap().0, Form::Json);
        assert_eq!(of("*/*"), Some(Form::Json));
        assert_eq!(of("text/csv"), Some(Form::Csv));
        assert_eq!(of("text/*;q=0.5, application/json"), Some(Form::Csv));
        assert_eq!(
            of("image/png, application/vnd.apache.parquet"),
            Some(Form::Parquet)
        );
        assert_eq!(of("application/vnd.apache.arrow.stream"), Some(Form::Arrow));
        assert_eq!(of("application/json;q=0, text/csv"), Some(Form::Csv));
        assert_eq!(of("image/png"), None);
    }
}
