//! Objects that others name, as a table. DataFusion's own takes what is missing or empty for no rows; here it is an error.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::ListingTable;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use super::lazy::unreadable;
use crate::workspace::{Workspace, WorkspaceError, side_by_side};

/// See the module.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) workspace: Workspace,
    /// Where its objects are in the workspace.
    pub(super) places: Vec<String>,
    pub(super) table: ListingTable,
}

/// Checks that all of these objects are there.
pub(super) async fn check(workspace: &Workspace, places: &[String]) -> Result<(), WorkspaceError> {
    let require = |place: String| async move { workspace.require(&place).await };
    side_by_side(places.to_vec(), require).await?;
    Ok(())
}

#[async_trait]
impl TableProvider for Whole {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check(&self.workspace, &self.places)
            .await
            .map_err(unreadable)?;
        self.table.scan(state, projection, filters, limit).await
    }
}
