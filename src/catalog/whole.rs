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

use super::damage;
use super::lazy::unreadable;
use crate::workspace::{Workspace, WorkspaceError, lost, side_by_side};

/// See the module.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) workspace: Workspace,
    /// Where those of its objects are in the workspace that have not been looked for.
    pub(super) places: Vec<String>,
    /// The first of those that have been looked for and are not there.
    pub(super) lost: Option<Lost>,
    pub(super) table: ListingTable,
}

/// An object that is not there, or has no bytes.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub(super) url: String,
    pub(super) is_empty: bool,
}

impl Lost {
    /// The first of these objects that a listing of their folder, names and sizes, does not have, or has without bytes.
    pub(super) fn find<'a>(
        workspace: &Workspace,
        folder: &str,
        names: impl IntoIterator<Item = &'a String>,
        listed: &[(String, u64)],
    ) -> Option<Self> {
        let (name, is_empty) = lost(names, listed)?;
        Some(Self {
            url: workspace.url(&format!("{folder}/{name}")),
            is_empty,
        })
    }
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
        if let Some(Lost { url, is_empty }) = self.lost.clone() {
            return Err(unreadable(if is_empty {
                WorkspaceError::Empty { url }
            } else {
                WorkspaceError::Missing { url }
            }));
        }
        check(&self.workspace, &self.places)
            .await
            .map_err(unreadable)?;
        let scan = self.table.scan(state, projection, filters, limit).await;
        match scan {
            Ok(scan) => Ok(scan),
            Err(e) => {
                let objects = self.table.table_paths();
                Err(damage::named_of_table(e, objects, state.runtime_env()).await)
            }
        }
    }
}
