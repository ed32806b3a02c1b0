//! The table `jobs`: what was submitted to workers and how it is, of the journals below `jobs/`, read when the table is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::Result;
use serde::Serialize;

use super::{lazy, records};
use crate::jobs::{self, Ended, Job, JobView};
use crate::workspace::Workspace;

#[derive(Serialize)]
struct Row<'a> {
    job: &'a str,
    #[serde(flatten)]
    view: JobView<'a>,
    done: Option<u64>,
    total: Option<u64>,
    message: Option<&'a str>,
    settings: String,
    outcome: Option<String>,
}

impl<'a> Row<'a> {
    fn new(job: &'a Job) -> Self {
        let view = job.view();
        Self {
            job: view.id,
            done: view.progress.map(|p| p.done),
            total: view.progress.map(|p| p.total),
            message: view.error.map(|e| e.message.as_str()),
            settings: serde_json::to_string(view.work).unwrap_or_default(),
            outcome: view.result.map(ToString::to_string),
            view,
        }
    }
}

/// Its columns.
pub(super) fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        Field::new("job", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("state", DataType::Utf8, false),
        Field::new("key", DataType::Utf8, true),
        Field::new("by", DataType::Utf8, true),
        Field::new("submitted", time(), false),
        Field::new("started", time(), true),
        Field::new("finished", time(), true),
        Field::new("attempts", DataType::UInt32, false),
        Field::new("holder", DataType::Utf8, true),
        Field::new("cancel_requested", DataType::Boolean, false),
        Field::new("done", DataType::UInt64, true),
        Field::new("total", DataType::UInt64, true),
        Field::new("message", DataType::Utf8, true),
        Field::new("settings", DataType::Utf8, false),
        Field::new("outcome", DataType::Utf8, true),
    ]))
}

/// Its rows.
pub(super) async fn rows(workspace: Workspace, ended: Ended) -> Result<RecordBatch> {
    let jobs = jobs::list_again(&workspace, &ended).await;
    let jobs = jobs.map_err(lazy::unreadable)?;
    let rows: Vec<Row> = jobs.iter().map(Row::new).collect();
    Ok(records::batch(&schema(), &rows)?)
}
