//! Types that every reader of Arrow knows: text and bytes without views, values without dictionaries.

use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

/// As it is written.
pub(super) fn schema(of: &Schema) -> Schema {
    let fields: Vec<FieldRef> = of.fields.iter().map(field).collect();
    Schema::new_with_metadata(fields, of.metadata.clone())
}

fn field(of: &FieldRef) -> FieldRef {
    let field = Field::new(of.name(), data_type(of.data_type()), of.is_nullable());
    Arc::new(field.with_metadata(of.metadata().clone()))
}

fn data_type(of: &DataType) -> DataType {
    match of {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => data_type(values),
        DataType::List(item) | DataType::ListView(item) => DataType::List(field(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::LargeList(field(item))
        }
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

/// Rows in the types of [`schema`].
pub(super) fn batch(of: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = of.columns().iter().zip(&schema.fields);
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<_, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(of.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)
}
