//! Outcomes of a shard, or of a part of a selection → one Parquet object, committed by one create-only put.
//!
//! Rows are encoded as they come, some hundred at a time; in memory is the encoded object: with 2,048 images, 1,000 classes and
//! half precision below 4 MiB. The bytes depend on the rows and the metadata alone: no time, no host, no order of arrival.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBufferBuilder, FixedSizeBinaryBuilder, FixedSizeListArray, Float16Array,
    Float32Array, Float32Builder, ListArray, RecordBatch, StringBuilder, StructArray, UInt16Array,
    UInt16Builder, UInt32Array, UInt32Builder, UInt64Builder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::infer::{Outcome, SoftLabel};
use super::soft_label::top_k;
use crate::schema::{self, Encoding, probs_item, topk_fields};

/// Rows that are turned into columns at a time. Fixed, since it shapes the bytes.
const ROWS_AT_A_TIME: usize = 256;

/// The object that holds a row of the labels: what is committed together, by one put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LabelsObject {
    /// A manifest shard's rows, less those that a plan of a selection has taken.
    Shard {
        /// Its number.
        shard: u32,
    },
    /// The rows of a manifest shard that are labelled again.
    Retry {
        /// The shard's number.
        shard: u32,
        /// From 1 on.
        retry: u16,
    },
    /// A part of a selection's images; they are of any shards.
    Part {
        /// The plan's number ([`super::plan::Plan::number`]).
        plan: u32,
        /// From 0 on.
        part: u32,
    },
}

impl LabelsObject {
    /// Which retry wrote the rows; 0 for the first labelling.
    pub fn retry(self) -> u16 {
        match self {
            Self::Shard { .. } | Self::Part { .. } => 0,
            Self::Retry { retry, .. } => retry,
        }
    }

    /// The manifest shard that its rows are of; none where they are of any.
    pub fn shard(self) -> Option<u32> {
        match self {
            Self::Shard { shard } | Self::Retry { shard, .. } => Some(shard),
            Self::Part { .. } => None,
        }
    }

    /// What an object's name says.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".parquet")?;
        if let Some(rest) = stem.strip_prefix("plan-") {
            let (plan, part) = rest.split_once(".part-")?;
            return Some(Self::Part {
                plan: plan.parse().ok()?,
                part: part.parse().ok()?,
            });
        }
        let rest = stem.strip_prefix("shard-")?;
        Some(match rest.split_once(".retry-") {
            None => Self::Shard {
                shard: rest.parse().ok()?,
            },
            Some((shard, retry)) => Self::Retry {
                shard: shard.parse().ok()?,
                retry: retry.parse().ok()?,
            },
        })
    }
}

/// The object's name.
impl fmt::Display for LabelsObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard { shard } => write!(f, "shard-{shard:06}.parquet"),
            Self::Retry { shard, retry } => {
                write!(f, "shard-{shard:06}.retry-{retry:03}.parquet")
            }
            Self::Part { plan, part } => write!(f, "plan-{plan:06}.part-{part:06}.parquet"),
        }
    }
}

/// A row of the labels on its way into its object.
#[derive(Debug)]
pub struct Row {
    /// The image.
    pub key: String,
    /// The manifest shard that it belongs to.
    pub shard: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// Writes one object.
pub struct ObjectWriter {
    schema: SchemaRef,
    encoding: Encoding,
    k: usize,
    retry: u16,
    parquet: ArrowWriter<Vec<u8>>,
    rows: Vec<Row>,
}

/// How the soft labels of an object are stored.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    /// Dense or top-k.
    pub encoding: Encoding,
    /// Classes kept by top-k.
    pub k: usize,
    /// C.
    pub classes: usize,
}

impl ObjectWriter {
    /// An empty object. `metadata` goes into the file's footer and the Arrow schema.
    ///
    /// # Errors
    /// Parquet's.
    pub fn new(
        storage: Storage,
        retry: u16,
        metadata: &HashMap<String, String>,
    ) -> Result<Self, ParquetError> {
        let schema = schema::labels(storage.encoding, storage.classes);
        let schema = Arc::new(schema.as_ref().clone().with_metadata(metadata.clone()));
        let plain = |properties: parquet::file::properties::WriterPropertiesBuilder, path: &str| {
            let path = ColumnPath::from(path.split('.').map(str::to_owned).collect::<Vec<_>>());
            // Probabilities and hashes hardly repeat: a dictionary would only be built to be thrown away.
            properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None)
        };
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_created_by(format!("understudy {}", env!("CARGO_PKG_VERSION")));
        for path in [
            "probs.list.item",
            "probs.list.item.p",
            "probs.list.item.class",
            "sha256",
        ] {
            properties = plain(properties, path);
        }
        let parquet =
            ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties.build()))?;
        Ok(Self {
            schema,
            encoding: storage.encoding,
            k: storage.k,
            retry,
            parquet,
            rows: Vec::with_capacity(ROWS_AT_A_TIME),
        })
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// Parquet's.
    pub fn push(&mut self, row: Row) -> Result<(), ParquetError> {
        self.rows.push(row);
        if self.rows.len() == ROWS_AT_A_TIME {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let batch = self.columns(&rows)?;
        self.parquet.write(&batch)
    }

    /// The object's bytes.
    ///
    /// # Errors
    /// Parquet's.
    pub fn finish(mut self) -> Result<Bytes, ParquetError> {
        self.flush()?;
        Ok(self.parquet.into_inner()?.into())
    }

    fn columns(&self, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
        let n = rows.len();
        let mut key = StringBuilder::new();
        let mut sha256 = FixedSizeBinaryBuilder::with_capacity(n, 32);
        let mut phash = UInt64Builder::with_capacity(n);
        let (mut width, mut height) = (UInt32Builder::new(), UInt32Builder::new());
        let (mut class, mut second_class) = (UInt16Builder::new(), UInt16Builder::new());
        let mut confidence = Float32Builder::with_capacity(n);
        let (mut margin, mut entropy) = (Float32Builder::new(), Float32Builder::new());
        let (mut stage, mut reason) = (StringBuilder::new(), StringBuilder::new());
        let mut detail = StringBuilder::new();
        for Row {
            key: name,
            outcome: row,
            ..
        } in rows
        {
            key.append_value(name);
            match &row.sha256 {
                Some(hash) => sha256.append_value(hash)?,
                None => sha256.append_null(),
            }
            let label = row.label.as_ref().ok();
            phash.append_option(label.and_then(|l| l.phash));
            width.append_option(label.map(|l| l.width));
            height.append_option(label.map(|l| l.height));
            class.append_option(label.map(|l| l.scalars.class));
            confidence.append_option(label.map(|l| l.scalars.confidence));
            second_class.append_option(label.and_then(|l| l.scalars.second_class));
            margin.append_option(label.map(|l| l.scalars.margin));
            entropy.append_option(label.map(|l| l.scalars.entropy));
            let reject = row.label.as_ref().err();
            stage.append_option(reject.map(|r| r.stage));
            reason.append_option(reject.map(|r| r.reason.as_str()));
            detail.append_option(reject.map(|r| r.detail.as_str()));
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(key.finish()),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.shard))),
            Arc::new(UInt16Array::from(vec![self.retry; n])),
            Arc::new(sha256.finish()),
            Arc::new(phash.finish()),
            Arc::new(width.finish()),
            Arc::new(height.finish()),
            Arc::new(class.finish()),
            Arc::new(confidence.finish()),
            Arc::new(second_class.finish()),
            Arc::new(margin.finish()),
            Arc::new(entropy.finish()),
        ];
        columns.extend(self.soft_labels(rows)?);
        columns.extend([
            Arc::new(stage.finish()) as ArrayRef,
            Arc::new(reason.finish()),
            Arc::new(detail.finish()),
            Arc::new(
                rows.iter()
                    .map(|row| &row.outcome)
                    // A label is the same bytes whether its image came at once or not: what a reject took is told alone.
                    .map(|row| row.label.is_err().then_some(row.attempts))
                    .collect::<UInt16Array>(),
            ),
        ]);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    fn soft_labels(&self, rows: &[Row]) -> Result<Vec<ArrayRef>, ArrowError> {
        let labels = || rows.iter().map(|row| row.outcome.label.as_ref().ok());
        let mut valid = BooleanBufferBuilder::new(rows.len());
        labels().for_each(|label| valid.append(label.is_some()));
        let nulls = Some(NullBuffer::new(valid.finish()));
        let item = probs_item(self.encoding);
        if self.encoding == Encoding::TopK {
            return self.top_k(labels(), item, nulls);
        }
        let DataType::FixedSizeList(_, classes) =
            self.schema.field_with_name("probs")?.data_type().clone()
        else {
            return Err(ArrowError::SchemaError(
                "probs is no fixed-size list".into(),
            ));
        };
        // A rejected row's slot holds zeros under its null.
        let zeros = vec![0.0; classes as usize];
        let numbers = labels().flat_map(|l| l.map_or(&zeros, |l| &l.probabilities));
        let values: ArrayRef = if self.encoding == Encoding::Float16 {
            Arc::new(
                numbers
                    .map(|p| Some(f16::from_f32(*p)))
                    .collect::<Float16Array>(),
            )
        } else {
            Arc::new(numbers.map(|p| Some(*p)).collect::<Float32Array>())
        };
        Ok(vec![Arc::new(FixedSizeListArray::try_new(
            item, classes, values, nulls,
        )?)])
    }

    fn top_k<'a>(
        &self,
        labels: impl Iterator<Item = Option<&'a SoftLabel>>,
        item: Arc<arrow::datatypes::Field>,
        nulls: Option<NullBuffer>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let (mut lengths, mut rest) = (Vec::new(), Float32Builder::new());
        let (mut classes, mut ps) = (Vec::new(), Vec::new());
        for label in labels {
            let Some(label) = label else {
                lengths.push(0);
                rest.append_null();
                continue;
            };
            let (top, others) = top_k(&label.probabilities, self.k);
            lengths.push(top.len());
            rest.append_value(others);
            for (class, p) in top {
                classes.push(class);
                ps.push(p);
            }
        }
        let entries = StructArray::try_new(
            topk_fields(),
            vec![
                Arc::new(UInt16Array::from(classes)),
                Arc::new(Float32Array::from(ps)),
            ],
            None,
        )?;
        let list = ListArray::try_new(
            item,
            OffsetBuffer::from_lengths(lengths),
            Arc::new(entries),
            nulls,
        )?;
        Ok(vec![Arc::new(list), Arc::new(rest.finish())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_name_is_parsed_back() {
        let shard = 1_234_567;
        for object in [
            LabelsObject::Shard { shard: 42 },
            LabelsObject::Retry { shard, retry: 1234 },
            LabelsObject::Part { plan: 3, part: 7 },
        ] {
            let name = object.to_string();
            assert_eq!(LabelsObject::parse(&name), Some(object), "{name}");
        }
        for name in [
            "_labels.json",
            "shard-x.parquet",
            "shard-000001.parquet#1",
            "plan-000001.parquet",
        ] {
            assert_eq!(LabelsObject::parse(name), None, "{name}");
        }
    }
}
