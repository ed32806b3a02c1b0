//! A .sql file and its parameters → its rows.

use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use serde::de::DeserializeOwned;

use super::ReportError;
use crate::catalog::{self, CatalogError};

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
    let failed = failed(file);
    let frame = context.sql(text).await.map_err(failed)?;
    let frame = frame
        .with_param_values(parameters.to_vec())
        .map_err(failed)?;
    catalog::rows(frame).await.map_err(failed)
}

/// An error of the query in `file`.
pub(crate) fn failed(file: &'static str) -> impl Fn(DataFusionError) -> ReportError + Copy {
    move |source| match CatalogError::of_query(&source) {
        CatalogError::Query { .. } => ReportError::Query { file, source },
        // No fault of the query.
        e => e.into(),
    }
}
