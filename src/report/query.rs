//! A .sql file and its parameters → its rows.

use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use serde::de::DeserializeOwned;

use super::ReportError;

/// A .sql file: its name and its text.
pub(crate) type Query = (&'static str, &'static str);

/// A `$parameter` of a query, and its value.
pub(crate) type Parameter = (&'static str, ScalarValue);

/// The rows of a query. They are few: sums, or a stated number of examples.
pub(crate) async fn rows<T: DeserializeOwned>(
    context: &SessionContext,
    (file, text): (&'static str, &str),
    parameters: &[Parameter],
) -> Result<Vec<T>, ReportError> {
    let failed = |source: DataFusionError| ReportError::Query { file, source };
    let frame = context.sql(text).await.map_err(failed)?;
    let frame = frame
        .with_param_values(parameters.to_vec())
        .map_err(failed)?;
    let mut batches = frame.execute_stream().await.map_err(failed)?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        let mut json = arrow::json::LineDelimitedWriter::new(Vec::new());
        let written = json.write(&batch).and_then(|()| json.finish());
        written.map_err(|e| failed(e.into()))?;
        for row in serde_json::Deserializer::from_slice(&json.into_inner()).into_iter() {
            rows.push(row.map_err(|source| ReportError::Rows { file, source })?);
        }
    }
    Ok(rows)
}
