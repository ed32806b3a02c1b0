//! `POST /v1/sql`: one query, its answer as JSON, CSV, an Arrow stream or Parquet.

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
    let make = move |rows: Rows| Ok((rows.cut, write(&rows, form)?));
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

fn write(rows: &Rows, form: Form) -> Result<Vec<u8>, CatalogError> {
    let of_arrow = |e: ArrowError| CatalogError::Query {
        detail: format!("its answer cannot be written in this form: {e}"),
    };
    let of_parquet = |e: ParquetError| CatalogError::Query {
        detail: format!("its answer cannot be written in this form: {e}"),
    };
    let mut out = Vec::new();
    match form {
        Form::Json => json(rows).map_err(of_arrow),
        Form::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new()
                .with_header(true)
                .build(&mut out);
            // The header is there where no row is.
            let empty = RecordBatch::new_empty(rows.schema.clone());
            for batch in std::iter::once(&empty).chain(&rows.batches) {
                let batch = flat(batch).map_err(of_arrow)?;
                writer.write(&batch).map_err(of_arrow)?;
            }
            drop(writer);
            Ok(out)
        }
        Form::Arrow => {
            let mut writer = StreamWriter::try_new(out, &rows.schema).map_err(of_arrow)?;
            for batch in &rows.batches {
                writer.write(batch).map_err(of_arrow)?;
            }
            writer.into_inner().map_err(of_arrow)
        }
        Form::Parquet => {
            let mut writer =
                ArrowWriter::try_new(out, rows.schema.clone(), None).map_err(of_parquet)?;
            for batch in &rows.batches {
                writer.write(batch).map_err(of_parquet)?;
            }
            writer.into_inner().map_err(of_parquet)
        }
    }
}

/// `{"columns": […], "rows": […], "truncated": …}`, rows as objects in which nulls are named.
fn json(rows: &Rows) -> Result<Vec<u8>, ArrowError> {
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
    let columns = serde_json::to_vec(&columns).map_err(|e| ArrowError::ExternalError(e.into()))?;
    let mut out = b"{\"columns\":".to_vec();
    out.extend(columns);
    out.extend(b",\"rows\":");
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, JsonArray>(out);
    for batch in &rows.batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    let mut out = writer.into_inner();
    out.extend(format!(",\"truncated\":{}}}", rows.cut).bytes());
    Ok(out)
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
