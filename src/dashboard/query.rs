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
}

/// The parameters that say whose labels are meant.
pub(super) fn of_whom(dataset: &str, teacher: &str) -> [Parameter; 2] {
    [
        ("dataset", ScalarValue::from(dataset)),
        ("teacher", ScalarValue::from(teacher)),
    ]
}
