//! The table `runs`: what label and select runs did, of the JSON files below `runs/`, read when the table is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use serde::Serialize;

use super::records;
use crate::runs::{self, RunRecord};
use crate::workspace::Workspace;

/// See the module.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) workspace: Workspace,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    record: RunRecord,
    settings: String,
}

fn schema() -> SchemaRef {
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

#[async_trait]
impl TableProvider for Runs {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let records = runs::list(&self.workspace).await;
        let records = records.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let rows: Vec<Row> = records
            .into_iter()
            .map(|mut record| Row {
                settings: record.settings.take().to_string(),
                record,
            })
            .collect();
        let batch = records::batch(&schema(), &rows)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}
