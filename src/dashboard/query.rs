//! The queries of `pipelines/dashboard/`, and what several pages ask.

use datafusion::common::ScalarValue;
use serde::de::DeserializeOwned;

use super::View;
use crate::report::ReportError;
use crate::report::query::{Parameter, Query, rows};

/// Names a file of `pipelines/dashboard/`.
macro_rules! query {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../pipelines/dashboard/", $name)),
        )
    };
}
pub(super) use query;

impl View<'_> {
    /// The rows of a query.
    pub(super) async fn rows<T: DeserializeOwned>(
        &self,
        query: Query,
        parameters: &[Parameter],
    ) -> Result<Vec<T>, ReportError> {
        rows(&self.context, query, parameters).await
    }

    /// The rows of a query that names something for which there is no parameter: the arguments of a table function, or a list.
    pub(super) async fn rows_with<T: DeserializeOwned>(
        &self,
        (file, text): Query,
        (name, value): (&str, &str),
        parameters: &[Parameter],
    ) -> Result<Vec<T>, ReportError> {
        let text = text.replace(name, value);
        rows(&self.context, (file, &text), parameters).await
    }
}

/// The parameters that say whose labels are meant.
pub(super) fn of_whom(dataset: &str, teacher: &str) -> [Parameter; 2] {
    [
        ("dataset", ScalarValue::from(dataset)),
        ("teacher", ScalarValue::from(teacher)),
    ]
}
