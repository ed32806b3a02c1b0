//! The table `churn_reports`: what re-labellings moved, of the JSON files below `relabels/`, read when the table is.

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
use crate::relabel;
use crate::workspace::{Workspace, WorkspaceError};

/// See the module.
#[derive(Debug)]
pub(super) struct ChurnReports {
    pub(super) workspace: Workspace,
}

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

fn schema() -> SchemaRef {
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

async fn reports(workspace: &Workspace) -> Result<Vec<relabel::Churn>, WorkspaceError> {
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

#[async_trait]
impl TableProvider for ChurnReports {
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
        let reports = reports(&self.workspace).await;
        let reports = reports.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let rows: Vec<Row> = reports.iter().flat_map(of_report).collect();
        let batch = records::batch(&schema(), &rows)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}
