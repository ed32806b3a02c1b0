//! Samples → a Parquet file as Hugging Face's `datasets` reads and writes them: `image: struct<bytes, path>`, `label`, `probs`, ….
//!
//! The bytes of images are stored as they are; pages of some MB and row groups of some hundred images let a reader fetch few of them. The
//! footer has the features under `huggingface`, so that `load_dataset("parquet", …)` gives images and class names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Float32Array, Float32Builder, Int32Array, Int64Array, ListBuilder,
    RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::json;

use super::fetch::Sample;
use crate::hex::hex;

/// Samples that become columns at a time, and the bytes of images after which there are enough of them. Fixed, since they shape the file.
const AT_A_TIME: usize = 64;
const BYTES_AT_A_TIME: usize = 16 * 1024 * 1024;
/// Rows of a row group: photos of 100 kB make 25 MB of it.
const ROW_GROUP: usize = 256;
/// Values after which the writer looks whether a page, of 1 MiB, is full.
const PAGE_CHECK: usize = 8;

/// The columns of a shard; without soft labels there is no `probs`.
pub(super) fn schema(soft: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("image", DataType::Struct(image_fields()), true),
        Field::new("label", DataType::Int64, true),
    ];
    if soft {
        fields.push(Field::new("probs", DataType::List(probs_item()), true));
    }
    fields.extend([
        Field::new("confidence", DataType::Float32, true),
        Field::new("key", DataType::Utf8, true),
        Field::new("copy", DataType::Int32, true),
        Field::new("copies", DataType::Int32, true),
        Field::new("sha256", DataType::Utf8, true),
    ]);
    Arc::new(Schema::new(fields))
}

fn image_fields() -> Fields {
    Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ])
}

fn probs_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, true))
}

/// The features of the columns, as `datasets` writes them into a footer. `Sequence` is what its versions before and after 4.0 both know.
fn features(soft: bool, names: &[String]) -> String {
    let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
    let distinct: HashSet<&String> = names.iter().collect();
    let label = if names.is_empty() || distinct.len() < names.len() {
        value("int64")
    } else {
        json!({"names": names, "_type": "ClassLabel"})
    };
    let mut features = json!({
        "image": {"_type": "Image"},
        "label": label,
        "confidence": value("float32"),
        "key": value("string"),
        "copy": value("int32"),
        "copies": value("int32"),
        "sha256": value("string"),
    });
    if soft {
        features["probs"] = json!({"feature": value("float32"), "_type": "Sequence"});
    }
    json!({"info": {"features": features}}).to_string()
}

/// The bytes of a shard. `names` are the classes', as far as they are known.
pub(super) fn encode(
    samples: Vec<Sample>,
    soft: bool,
    names: &[String],
) -> Result<Vec<u8>, ParquetError> {
    // In the Arrow schema, where readers look for it: with one in the footer they see nothing else of it.
    let metadata = HashMap::from([("huggingface".to_owned(), features(soft, names))]);
    let schema = Arc::new(schema(soft).as_ref().clone().with_metadata(metadata));
    let path =
        |name: &str| ColumnPath::from(name.split('.').map(str::to_owned).collect::<Vec<_>>());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_created_by(format!("understudy {}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_write_batch_size(PAGE_CHECK)
        // JPEG, PNG and WebP are compressed already.
        .set_column_compression(path("image.bytes"), Compression::UNCOMPRESSED);
    for name in [
        "image.bytes",
        "image.path",
        "probs.list.item",
        "confidence",
        "key",
        "sha256",
    ] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_statistics_enabled(path(name), EnabledStatistics::None);
    }
    let size: usize = samples.iter().map(|s| s.bytes.len()).sum();
    let out = Vec::with_capacity(size + size / 16);
    let mut writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties.build()))?;
    let mut samples = samples.into_iter();
    loop {
        let (mut some, mut bytes) = (Vec::with_capacity(AT_A_TIME), 0);
        while some.len() < AT_A_TIME && bytes < BYTES_AT_A_TIME {
            let Some(sample) = samples.next() else { break };
            bytes += sample.bytes.len();
            some.push(sample);
        }
        if some.is_empty() {
            return writer.into_inner();
        }
        writer.write(&columns(&some, &schema, soft)?)?;
    }
}

fn columns(
    samples: &[Sample],
    schema: &SchemaRef,
    soft: bool,
) -> Result<RecordBatch, ParquetError> {
    let text = |of: &dyn Fn(&Sample) -> String| -> ArrayRef {
        Arc::new(samples.iter().map(|s| Some(of(s))).collect::<StringArray>())
    };
    let mut bytes = BinaryBuilder::new();
    samples.iter().for_each(|s| bytes.append_value(&s.bytes));
    let image = StructArray::try_new(
        image_fields(),
        vec![
            Arc::new(bytes.finish()),
            text(&|s| format!("{:09}.{}", s.row.number, s.extension)),
        ],
        None,
    )?;
    let classes: Int64Array = samples.iter().map(|s| Some(s.row.class)).collect();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(image), Arc::new(classes)];
    if soft {
        let mut probs = ListBuilder::new(Float32Builder::new()).with_field(probs_item());
        for sample in samples {
            probs
                .values()
                .append_slice(sample.row.probs.as_deref().unwrap_or_default());
            probs.append(sample.row.probs.is_some());
        }
        columns.push(Arc::new(probs.finish()));
    }
    let confidences: Float32Array = samples.iter().map(|s| Some(s.row.confidence)).collect();
    let count = |of: &dyn Fn(&Sample) -> u32| -> ArrayRef {
        let counts = samples
            .iter()
            .map(|s| Some(i32::try_from(of(s)).unwrap_or(i32::MAX)));
        Arc::new(counts.collect::<Int32Array>())
    };
    columns.extend([
        Arc::new(confidences) as ArrayRef,
        text(&|s| s.row.image.key.clone()),
        count(&|s| s.row.copy),
        count(&|s| s.row.copies),
        text(&|s| hex(&s.sha256)),
    ]);
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_feature() {
        for soft in [false, true] {
            let features: serde_json::Value = serde_json::from_str(&features(soft, &[])).unwrap();
            let mut named: Vec<&String> = features["info"]["features"]
                .as_object()
                .unwrap()
                .keys()
                .collect();
            let schema = schema(soft);
            let mut columns: Vec<&String> = schema.fields().iter().map(|f| f.name()).collect();
            named.sort();
            columns.sort();
            assert_eq!(named, columns);
        }
    }

    #[test]
    fn class_names_that_come_twice_are_no_class_label() {
        let names = ["a", "b", "a"].map(str::to_owned);
        assert!(features(true, &names[..2]).contains("ClassLabel"));
        assert!(!features(true, &names).contains("ClassLabel"));
    }

    #[test]
    fn the_documented_columns_are_the_ones_written() {
        let documented: serde_json::Value =
            serde_json::from_str(include_str!("../../schemas/export.json")).unwrap();
        let documented: Vec<(&str, &str)> = documented["parquet"]["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c["name"].as_str().unwrap(), c["type"].as_str().unwrap()))
            .collect();
        let schema = schema(true);
        let types: Vec<String> = schema
            .fields()
            .iter()
            .map(|f| f.data_type().to_string())
            .collect();
        let written: Vec<(&str, &str)> = schema
            .fields()
            .iter()
            .zip(&types)
            .map(|(f, t)| (f.name().as_str(), t.as_str()))
            .collect();
        assert_eq!(documented, written);
    }
}
