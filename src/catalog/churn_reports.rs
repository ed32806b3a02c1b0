//! The table `churn_reports`: what re-labellings moved, of the JSON files below `relabels/`, read when the table is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::Result;
use serde::Serialize;

use super::{lazy, records};
use crate::relabel;
use crate::workspace::{Workspace, WorkspaceError};

#[derive(Serialize)]
struct Row<'a> {
    promotion: u32,
    dataset: &'a str,
    before: &'a str,
    after: &'a str,
    from: &'a str,
    to: &'a str,
    images: u64,
    shift: f64,
    finished: &'a str,
}

/// Its columns.
pub(super) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        Field::new("promotion", DataType::UInt32, false),
        Field::new("dataset", DataType::Utf8, false),
        Field::new("before", DataType::Utf8, false),
        Field::new("after", DataType::Utf8, false),
        Field::new("from", DataType::Utf8, false),
        Field::new("to", DataType::Utf8, false),
        Field::new("images", DataType::UInt64, false),
        Field::new("shift", DataType::Float64, false),
        Field::new("finished", time, false),
    ]))
}

async fn reports(
    workspace: &Workspace,
) -> std::result::Result<Vec<relabel::Churn>, WorkspaceError> {
    let mut all = Vec::new();
    for part in workspace.folders("relabels").await? {
        if let Some(dataset) = part.strip_prefix("dataset=") {
            all.extend(relabel::churns(workspace, dataset).await?);
        }
    }
    Ok(all)
}

fn of_report(report: &relabel::Churn) -> impl Iterator<Item = Row<'_>> {
    report.moved.iter().map(|moved| Row {
        promotion: report.promotion,
        dataset: &report.dataset,
        before: report.before.as_deref().unwrap_or_default(),
        after: &report.after,
        from: &moved.from,
        to: &moved.to,
        images: moved.images,
        shift: moved.shift,
        finished: &report.finished,
    })
}

/// Its rows.
pub(super) async fn rows(workspace: Workspace) -> Result<RecordBatch> {
    let reports = reports(&workspace).await.map_err(lazy::unreadable)?;
    let rows: Vec<Row> = reports.iter().flat_map(of_report).collect();
    Ok(records::batch(&schema(), &rows)?)
}
