//! The Arrow schemas of what understudy writes; `schemas/*.json` say the same, and a test compares them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

/// How soft labels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// All classes as `FixedSizeList<Float16, C>`: 2 bytes a class, relative error below 2⁻¹¹.
    #[default]
    Float16,
    /// All classes as `FixedSizeList<Float32, C>`: for engines without half precision, such as Spark.
    Float32,
    /// The most probable classes with their probabilities, and `rest`, the sum of all others.
    TopK,
}

impl std::str::FromStr for Encoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "float16" => Ok(Self::Float16),
            "float32" => Ok(Self::Float32),
            "topk" => Ok(Self::TopK),
            _ => Err("use float16, float32 or topk".into()),
        }
    }
}

/// The most classes a teacher may have: `class` is a UInt16.
pub const MAX_CLASSES: usize = 65_536;

/// The fields of one entry of a top-k soft label.
pub fn topk_fields() -> Fields {
    Fields::from(vec![
        Field::new("class", DataType::UInt16, false),
        Field::new("p", DataType::Float32, false),
    ])
}

/// The item of a dense soft label.
pub fn probs_item(encoding: Encoding) -> Arc<Field> {
    Arc::new(match encoding {
        Encoding::Float16 => Field::new("item", DataType::Float16, true),
        Encoding::Float32 => Field::new("item", DataType::Float32, true),
        Encoding::TopK => Field::new("item", DataType::Struct(topk_fields()), true),
    })
}

/// The columns of a labels object for a teacher with `classes` classes.
///
/// A labelled row has `reason` null and all label columns set; a rejected row has `stage`, `reason` and `attempts` set and the label
/// columns null (`sha256` is kept where the bytes were read).
pub fn labels(encoding: Encoding, classes: usize) -> SchemaRef {
    let probs = match encoding {
        Encoding::Float16 | Encoding::Float32 => {
            DataType::FixedSizeList(probs_item(encoding), i32::try_from(classes).unwrap_or(0))
        }
        Encoding::TopK => DataType::List(probs_item(encoding)),
    };
    let mut fields = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("shard", DataType::UInt32, false),
        Field::new("retry", DataType::UInt16, false),
        Field::new("sha256", DataType::FixedSizeBinary(32), true),
        Field::new("phash", DataType::UInt64, true),
        Field::new("width", DataType::UInt32, true),
        Field::new("height", DataType::UInt32, true),
        Field::new("class", DataType::UInt16, true),
        Field::new("confidence", DataType::Float32, true),
        Field::new("second_class", DataType::UInt16, true),
        Field::new("margin", DataType::Float32, true),
        Field::new("entropy", DataType::Float32, true),
        Field::new("probs", probs, true),
    ];
    if encoding == Encoding::TopK {
        fields.push(Field::new("rest", DataType::Float32, true));
    }
    fields.extend([
        Field::new("stage", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("detail", DataType::Utf8, true),
        Field::new("attempts", DataType::UInt16, true),
    ]);
    Arc::new(Schema::new(fields))
}

/// The row of figures that labelling an object's rows gives.
pub fn shard_report() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("object", DataType::Utf8, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("labelled", DataType::UInt64, false),
        Field::new("rejected", DataType::UInt64, false),
        Field::new("bytes_written", DataType::UInt64, false),
        Field::new("outcome", DataType::Utf8, false),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Documented {
        columns: Vec<Column>,
    }

    #[derive(Deserialize)]
    struct Column {
        name: String,
        r#type: String,
        nullable: bool,
    }

    fn compare(text: &str, schema: &Schema) {
        let documented: Documented = serde_json::from_str(text).unwrap();
        let documented: Vec<_> = documented
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.r#type.clone(), c.nullable))
            .collect();
        let code: Vec<_> = schema
            .fields()
            .iter()
            .map(|f| (f.name().clone(), f.data_type().to_string(), f.is_nullable()))
            .collect();
        assert_eq!(documented, code);
    }

    #[test]
    fn the_documented_labels_schema_is_the_one_written() {
        compare(
            include_str!("../schemas/labels.json"),
            &labels(Encoding::Float16, 1000),
        );
        compare(
            include_str!("../schemas/labels.topk.json"),
            &labels(Encoding::TopK, 1000),
        );
    }

    #[test]
    fn the_documented_manifest_schema_is_the_one_written() {
        compare(
            include_str!("../schemas/manifest.json"),
            &crate::manifest::schema(),
        );
        compare(
            include_str!("../schemas/plan.json"),
            &crate::manifest::plan_schema(),
        );
    }
}
