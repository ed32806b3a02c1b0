//! The queries of `pipelines/dashboard/`, and what several pages ask.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use serde::de::DeserializeOwned;

use super::View;
use crate::report::ReportError;
use crate::report::query::{Parameter, Query, failed, rows};

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

/// What a query names, and what is written in its place.
pub(super) type Named<'a> = (&'a str, &'a str);

/// How a query calls this table function, whose arguments cannot be parameters.
pub(super) const COMPARED: &str = "compared($before, $after)";

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
        names: &[Named<'_>],
        parameters: &[Parameter],
    ) -> Result<Vec<T>, ReportError> {
        rows(&self.context, (file, &with(text, names)), parameters).await
    }

    /// The same of a query whose rows are many, as they come.
    pub(super) async fn batches_with(
        &self,
        (file, text): Query,
        names: &[Named<'_>],
    ) -> Result<Vec<RecordBatch>, ReportError> {
        let failed = failed(file);
        let frame = self.context.sql(&with(text, names)).await.map_err(failed)?;
        frame.collect().await.map_err(failed)
    }
}

fn with(text: &str, names: &[Named<'_>]) -> String {
    let written = |text: String, (name, value): &Named<'_>| text.replace(name, value);
    names.iter().fold(text.to_owned(), written)
}

/// The parameters that say whose labels are meant.
pub(super) fn of_whom(dataset: &str, teacher: &str) -> [Parameter; 2] {
    [
        ("dataset", ScalarValue::from(dataset)),
        ("teacher", ScalarValue::from(teacher)),
    ]
}
