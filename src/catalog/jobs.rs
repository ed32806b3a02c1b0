//! The table `jobs`: what was submitted to workers and how it is, of the journals below `jobs/`, read when the table is.

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
use crate::jobs::{self, Job, JobView};
use crate::workspace::Workspace;

/// See the module.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) workspace: Workspace,
}

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

fn schema() -> SchemaRef {
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

#[async_trait]
impl TableProvider for Jobs {
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
        let jobs = jobs::list(&self.workspace).await;
        let jobs = jobs.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let rows: Vec<Row> = jobs.iter().map(Row::new).collect();
        let batch = records::batch(&schema(), &rows)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}
