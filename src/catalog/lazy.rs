//! Tables of few rows, of the workspace's small JSON files, which are read when the table is.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use futures::future::{BoxFuture, FutureExt};

use crate::workspace::Workspace;

/// See the module.
struct Lazy {
    workspace: Workspace,
    schema: SchemaRef,
    #[allow(clippy::type_complexity, reason = "named once, here")]
    read: Box<dyn Fn(Workspace) -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync>,
}

/// Registers a table of these columns, whose rows `read` reads.
pub(super) fn register<F>(
    workspace: &Workspace,
    context: &SessionContext,
    name: &str,
    schema: SchemaRef,
    read: impl Fn(Workspace) -> F + Send + Sync + 'static,
) -> Result<()>
where
    F: Future<Output = Result<RecordBatch>> + Send + 'static,
{
    let table = Lazy {
        workspace: workspace.clone(),
        schema,
        read: Box::new(move |workspace| read(workspace).boxed()),
    };
    context.register_table(name, Arc::new(table))?;
    Ok(())
}

/// What a query says where a file cannot be read.
pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Lazy {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let batch = (self.read)(self.workspace.clone()).await?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}
