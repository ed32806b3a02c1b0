//! Types that every reader of Arrow knows: text and bytes without views, values without dictionaries. And how large rows are once they are written so.

use std::sync::Arc;

use arrow::array::{Array, AsArray, GenericListArray, GenericListViewArray, OffsetSizeTrait};
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

/// Bytes of rows in the types of [`schema`]: what is one value in memory, that many rows share, is written as often.
pub(super) fn bytes(of: &RecordBatch) -> usize {
    of.columns()
        .iter()
        .map(|column| size(column.as_ref()))
        .sum()
}

fn size(of: &dyn Array) -> usize {
    let rows = of.len();
    let texts = |lengths: &mut dyn Iterator<Item = usize>| lengths.sum::<usize>() + 4 * rows;
    match of.data_type() {
        DataType::Utf8View => texts(&mut of.as_string_view().lengths().map(|n| n as usize)),
        DataType::BinaryView => texts(&mut of.as_binary_view().lengths().map(|n| n as usize)),
        DataType::Dictionary(..) => {
            let of = of.as_any_dictionary();
            if of.values().is_empty() {
                return 4 * rows;
            }
            let values: Vec<usize> = (0..of.values().len())
                .map(|i| size(of.values().slice(i, 1).as_ref()))
                .collect();
            let size = |key: &usize| values.get(*key).copied().unwrap_or_default();
            of.normalized_keys().iter().map(size).sum()
        }
        DataType::List(_) => list(of.as_list::<i32>()),
        DataType::LargeList(_) => list(of.as_list::<i64>()),
        DataType::ListView(_) => list_view(of.as_list_view::<i32>()),
        DataType::LargeListView(_) => list_view(of.as_list_view::<i64>()),
        DataType::FixedSizeList(..) => size(of.as_fixed_size_list().values().as_ref()),
        DataType::Struct(_) => of
            .as_struct()
            .columns()
            .iter()
            .map(|c| size(c.as_ref()))
            .sum(),
        _ => of.to_data().get_slice_memory_size().unwrap_or_default(),
    }
}

fn list<O: OffsetSizeTrait>(of: &GenericListArray<O>) -> usize {
    let offsets = of.value_offsets();
    let (first, last) = (offsets[0].as_usize(), offsets[of.len()].as_usize());
    size(of.values().slice(first, last - first).as_ref()) + size_of::<O>() * of.len()
}

/// Rows may share values.
fn list_view<O: OffsetSizeTrait>(of: &GenericListViewArray<O>) -> usize {
    (0..of.len()).map(|i| size(of.value(i).as_ref())).sum()
}

/// Rows in the types of [`schema`].
pub(super) fn batch(of: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = of.columns().iter().zip(&schema.fields);
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<_, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(of.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray, StringViewArray};

    use super::*;

    /// A batch of one column.
    fn of(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("x", column)]).unwrap()
    }

    #[test]
    fn what_many_rows_share_counts_for_each() {
        let long = "x".repeat(1000);
        let once: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
        let keys = Int32Array::from(vec![0; 100]);
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, once));
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str(); 100]));
        for shared in [dictionary, views] {
            let shared = of(shared);
            let written = batch(&shared, &Arc::new(schema(&shared.schema()))).unwrap();
            let size = bytes(&shared);
            assert!((100_000..=101_000).contains(&size), "{size}");
            assert!((100_000..=101_000).contains(&bytes(&written)));
            assert!((5_000..=5_100).contains(&bytes(&shared.slice(7, 5))));
        }
        let empty: ArrayRef = Arc::new(StringViewArray::from(Vec::<&str>::new()));
        assert_eq!(bytes(&of(empty)), 0);
        let nulls: ArrayRef = Arc::new(StringArray::new_null(3));
        let nulls = cast(
            &nulls,
            &DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
        );
        assert_eq!(bytes(&of(nulls.unwrap())), 12);
    }
}
