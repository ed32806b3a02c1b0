//! The table `audit`: what was changed through the service, of the JSON files below `audit/`, read when the table is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::Result;
use serde::Serialize;

use super::{lazy, records};
use crate::audit::{self, AuditEntry};
use crate::workspace::Workspace;

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    entry: AuditEntry,
    request: String,
    result: Option<String>,
}

impl From<AuditEntry> for Row {
    fn from(mut entry: AuditEntry) -> Self {
        let result = entry.result.take();
        Self {
            request: entry.request.take().to_string(),
            result: (!result.is_null()).then(|| result.to_string()),
            entry,
        }
    }
}

/// Its columns.
pub(super) fn schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        text("entry", false),
        Field::new("at", time, false),
        text("action", false),
        text("who", true),
        text("role", true),
        text("outcome", false),
        text("error", true),
        text("request", false),
        text("result", true),
        text("request_id", false),
        text("peer", true),
        text("understudy", false),
    ]))
}

/// Its rows.
pub(super) async fn rows(workspace: Workspace) -> Result<RecordBatch> {
    let entries = audit::list(&workspace).await.map_err(lazy::unreadable)?;
    let rows: Vec<Row> = entries.into_iter().map(Row::from).collect();
    Ok(records::batch(&schema(), &rows)?)
}
