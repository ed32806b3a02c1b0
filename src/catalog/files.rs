//! Parquet objects that were found already, as a table: those and no others, whatever comes, goes or is emptied meanwhile.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat as _;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;

/// See the module.
#[derive(Debug)]
pub(crate) struct Files {
    /// The store's.
    pub(crate) url: ObjectStoreUrl,
    /// What a file has not is null; what it has in another type is cast.
    pub(crate) schema: SchemaRef,
    pub(crate) found: Vec<ObjectMeta>,
}

#[async_trait]
impl TableProvider for Files {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.found.iter().cloned();
        let files = files.map(PartitionedFile::new_from_meta).collect();
        let of = (self.url.clone(), &self.schema);
        scan(state, of, files, projection, limit).await
    }
}

/// Reads files of a store as rows of a schema, in as many groups as there are partitions.
pub(super) async fn scan(
    state: &dyn Session,
    (store, schema): (ObjectStoreUrl, &SchemaRef),
    files: Vec<PartitionedFile>,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let format = ParquetFormat::default();
    let source = format.file_source(TableSchema::from(schema));
    let partitions = state.config().target_partitions();
    let scan = FileScanConfigBuilder::new(store, source)
        .with_file_groups(FileGroup::new(files).split_files(partitions))
        .with_projection_indices(projection.cloned())?
        .with_limit(limit)
        .build();
    format.create_physical_plan(state, scan).await
}
