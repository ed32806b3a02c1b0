//! The queries of `pipelines/dashboard/`, and the rows of those that several pages ask for.

use datafusion::common::ScalarValue;
use serde::Deserialize;
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

const LABELS: Query = query!("labels.sql");

/// A teacher's labels of a dataset.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Labelled {
    pub(super) dataset: String,
    pub(super) teacher: String,
    pub(super) labels: u64,
    pub(super) confidence: f64,
}

impl View<'_> {
    /// The rows of a query.
    pub(super) async fn rows<T: DeserializeOwned>(
        &self,
        query: Query,
        parameters: &[Parameter],
    ) -> Result<Vec<T>, ReportError> {
        rows(&self.context, query, parameters).await
    }

    /// All labels, by dataset and teacher.
    pub(super) async fn labelled(&self) -> Result<Vec<Labelled>, ReportError> {
        self.rows(LABELS, &[]).await
    }
}

/// The parameters that say whose labels are meant.
pub(super) fn whose(dataset: &str, teacher: &str) -> [Parameter; 2] {
    [
        ("dataset", ScalarValue::from(dataset)),
        ("teacher", ScalarValue::from(teacher)),
    ]
}
