//! One row an image and model → a Parquet file at any path or URL.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Builder, RecordBatch, StringBuilder, UInt16Builder, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use object_store::buffered::BufWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use super::tally::Judged;
use super::{DataFigures, EvaluateError};
use crate::label::infer::Outcome;
use crate::labelled::Labelled;
use crate::store::{self, StorageOptions, StoreError};

/// Rows that become columns at a time.
const ROWS_AT_A_TIME: usize = 4096;

/// Keys of the footer: whose data, and which classes in which order.
pub(super) const DATA_FINGERPRINT: &str = "understudy.data_fingerprint";
pub(super) const CLASS_NAMES: &str = "understudy.class_names";

/// The columns of a file of predictions.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("model", DataType::Utf8, false),
        Field::new("label", DataType::UInt16, false),
        Field::new("class", DataType::UInt16, true),
        Field::new("confidence", DataType::Float32, true),
        Field::new("label_p", DataType::Float32, true),
        Field::new("label_rank", DataType::UInt32, true),
        Field::new("stage", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("detail", DataType::Utf8, true),
    ]))
}

/// A row.
struct Prediction {
    key: String,
    model: Arc<str>,
    label: u16,
    class: Option<(u16, f32, Judged)>,
    reject: Option<(&'static str, String, String)>,
}

/// Writes predictions to a temporary file, and at last to where they belong.
pub(super) struct Predictions {
    parquet: ArrowWriter<NamedTempFile>,
    pending: Vec<Prediction>,
}

impl Predictions {
    /// An empty file of predictions on these data.
    pub(super) fn new(data: &DataFigures, labelled: &Labelled) -> Result<Self, EvaluateError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_created_by(format!("understudy {}", env!("CARGO_PKG_VERSION")))
            .build();
        let file = NamedTempFile::with_prefix("understudy-predictions-")
            .map_err(EvaluateError::Temporary)?;
        let schema = schema()
            .as_ref()
            .clone()
            .with_metadata(metadata(data, labelled));
        Ok(Self {
            parquet: ArrowWriter::try_new(file, Arc::new(schema), Some(properties))?,
            pending: Vec::with_capacity(ROWS_AT_A_TIME),
        })
    }

    /// Adds a row.
    pub(super) fn push(
        &mut self,
        key: String,
        model: &Arc<str>,
        label: u16,
        outcome: Outcome,
        judged: Option<Judged>,
    ) -> Result<(), EvaluateError> {
        let (class, reject) = match outcome.label {
            Ok(soft) => {
                let scalars = soft.scalars;
                let class = judged.map(|j| (scalars.class, scalars.confidence, j));
                (class, None)
            }
            Err(reject) => (None, Some((reject.stage, reject.reason, reject.detail))),
        };
        self.pending.push(Prediction {
            key,
            model: Arc::clone(model),
            label,
            class,
            reject,
        });
        if self.pending.len() == ROWS_AT_A_TIME {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EvaluateError> {
        if !self.pending.is_empty() {
            self.parquet.write(&batch(&self.pending)?)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Puts the file at its place. One that is there is replaced.
    pub(super) async fn finish(
        mut self,
        place: &str,
        storage: &StorageOptions,
    ) -> Result<(), EvaluateError> {
        self.flush()?;
        let file = self.parquet.into_inner()?;
        let opened = store::open(place, storage)?;
        let failed = |e: std::io::Error| {
            let error = object_store::Error::Generic {
                store: "upload",
                source: Box::new(e),
            };
            StoreError::from_object_store("write", opened.url(), &error)
        };
        let mut reader = tokio::fs::File::open(file.path())
            .await
            .map_err(EvaluateError::Temporary)?;
        let mut writer = BufWriter::new(Arc::clone(&opened.store), opened.path.clone());
        tokio::io::copy(&mut reader, &mut writer)
            .await
            .map_err(failed)?;
        writer.shutdown().await.map_err(failed)?;
        Ok(())
    }
}

/// What the footer says.
fn metadata(data: &DataFigures, labelled: &Labelled) -> HashMap<String, String> {
    let names = serde_json::to_string(labelled.classes()).unwrap_or_default();
    HashMap::from([
        ("understudy.data".to_owned(), data.url.clone()),
        (DATA_FINGERPRINT.to_owned(), data.fingerprint.clone()),
        (CLASS_NAMES.to_owned(), names),
        (
            "understudy.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ])
}

fn batch(rows: &[Prediction]) -> Result<RecordBatch, parquet::errors::ParquetError> {
    let (mut key, mut model) = (StringBuilder::new(), StringBuilder::new());
    let (mut label, mut class) = (UInt16Builder::new(), UInt16Builder::new());
    let (mut confidence, mut label_p) = (Float32Builder::new(), Float32Builder::new());
    let mut rank = UInt32Builder::new();
    let (mut stage, mut reason) = (StringBuilder::new(), StringBuilder::new());
    let mut detail = StringBuilder::new();
    for row in rows {
        key.append_value(&row.key);
        model.append_value(&row.model);
        label.append_value(row.label);
        class.append_option(row.class.map(|c| c.0));
        confidence.append_option(row.class.map(|c| c.1));
        label_p.append_option(row.class.map(|c| c.2.p));
        rank.append_option(row.class.map(|c| c.2.rank));
        let reject = row.reject.as_ref();
        stage.append_option(reject.map(|r| r.0));
        reason.append_option(reject.map(|r| r.1.as_str()));
        detail.append_option(reject.map(|r| r.2.as_str()));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(key.finish()),
        Arc::new(model.finish()),
        Arc::new(label.finish()),
        Arc::new(class.finish()),
        Arc::new(confidence.finish()),
        Arc::new(label_p.finish()),
        Arc::new(rank.finish()),
        Arc::new(stage.finish()),
        Arc::new(reason.finish()),
        Arc::new(detail.finish()),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}
