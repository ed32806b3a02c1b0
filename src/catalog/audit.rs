//! The table `audit`: what was changed through the service, of the JSON files below `audit/`, read when the table is.

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
use crate::audit::{self, AuditEntry};
use crate::workspace::{Workspace, WorkspaceError};

/// See the module.
#[derive(Debug)]
pub(super) struct Audit {
    pub(super) workspace: Workspace,
}

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

fn schema() -> SchemaRef {
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

impl Audit {
    async fn rows(&self) -> std::result::Result<Vec<Row>, WorkspaceError> {
        let names = audit::names(&self.workspace).await?;
        let entries = audit::read(&self.workspace, names).await?;
        Ok(entries.into_iter().map(Row::from).collect())
    }
}

#[async_trait]
impl TableProvider for Audit {
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
        let rows = self.rows().await;
        let rows = rows.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let batch = records::batch(&schema(), &rows)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}
