//! A .sql file and its parameters → its rows.

use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use serde::de::DeserializeOwned;

use super::ReportError;
use crate::catalog;

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
    catalog::rows(frame).await.map_err(failed)
}
