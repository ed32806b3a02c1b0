//! The table `teachers`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use serde::Serialize;

use super::{CatalogError, records};
use crate::teacher::{self, TeacherRecord};
use crate::workspace::Workspace;

#[derive(Serialize)]
struct Row<'a> {
    teacher: String,
    #[serde(flatten)]
    record: &'a TeacherRecord,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("teacher", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("version", DataType::UInt32, false),
        Field::new("classes", DataType::UInt64, false),
        Field::new("model_bytes", DataType::UInt64, false),
        Field::new("model_sha256", DataType::Utf8, false),
        Field::new("description", DataType::Utf8, true),
    ]))
}

/// Registers `teachers`.
pub(super) async fn register(
    workspace: &Workspace,
    context: &SessionContext,
) -> Result<(), CatalogError> {
    let records = teacher::list(workspace).await?;
    let rows: Vec<Row> = records
        .iter()
        .map(|record| Row {
            teacher: record.to_string(),
            record,
        })
        .collect();
    let batch = records::batch(&schema(), &rows).map_err(DataFusionError::from)?;
    context.register_batch("teachers", batch)?;
    Ok(())
}
