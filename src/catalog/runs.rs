//! The table `runs`: what label, select and train runs did, of the JSON files below `runs/`, read when the table is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::Result;
use serde::Serialize;

use super::{lazy, records};
use crate::runs::{self, RunRecord};
use crate::workspace::Workspace;

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    record: RunRecord,
    settings: String,
}

/// Its columns.
pub(super) fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        Field::new("run", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("outcome", DataType::Utf8, false),
        Field::new("error", DataType::Utf8, true),
        Field::new("started", time(), false),
        Field::new("finished", time(), false),
        Field::new("dataset", DataType::Utf8, true),
        Field::new("teacher", DataType::Utf8, true),
        Field::new("selection", DataType::Utf8, true),
        Field::new("images", DataType::UInt64, false),
        Field::new("labelled", DataType::UInt64, true),
        Field::new("rejected", DataType::UInt64, true),
        Field::new("chosen", DataType::UInt64, true),
        Field::new("copies", DataType::UInt64, true),
        Field::new("seconds", DataType::Float64, false),
        Field::new("images_per_second", DataType::Float64, false),
        Field::new("device", DataType::Utf8, true),
        Field::new("bottleneck", DataType::Utf8, true),
        Field::new("understudy", DataType::Utf8, false),
        Field::new("settings", DataType::Utf8, false),
    ]))
}

/// Its rows.
pub(super) async fn rows(workspace: Workspace) -> Result<RecordBatch> {
    let records = runs::list(&workspace).await.map_err(lazy::unreadable)?;
    let rows: Vec<Row> = records
        .into_iter()
        .map(|mut record| Row {
            settings: record.settings.take().to_string(),
            record,
        })
        .collect();
    Ok(records::batch(&schema(), &rows)?)
}
