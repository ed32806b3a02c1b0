//! The tables `pipeline_stages` and `pipeline_models`: what the stages of pipelines came to, and how good their models are, of the JSON files below `pipelines/`, read when the table is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use serde::Serialize;

use super::{lazy, records};
use crate::pipeline::{self, Made, Recorded};
use crate::workspace::Workspace;

/// Where a row comes from.
#[derive(Serialize)]
struct Place<'a> {
    pipeline: &'a str,
    stage: &'a str,
    round: Option<u32>,
    settings: &'a str,
}

impl<'a> Place<'a> {
    fn of(record: &'a Recorded) -> Self {
        let round = record.stage.strip_prefix("round-");
        let round = round.and_then(|rest| rest.split('/').next()?.parse().ok());
        Self {
            pipeline: &record.pipeline,
            stage: &record.stage,
            round,
            settings: &record.settings,
        }
    }
}

#[derive(Serialize)]
struct StageRow<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    /// `kind`, and what it came to: the columns are named as the record's keys.
    #[serde(flatten)]
    made: &'a Made,
}

#[derive(Serialize)]
struct ModelRow<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    model: &'a str,
    images: u64,
    right: u64,
    top1: f64,
    top1_low: f64,
    top1_high: f64,
    compared_with: Option<&'a str>,
    gain: Option<f64>,
    gain_low: Option<f64>,
    gain_high: Option<f64>,
    p_value: Option<f64>,
}

/// Where a stage's row and a model's come from.
fn place() -> Vec<Field> {
    vec![
        Field::new("pipeline", DataType::Utf8, false),
        Field::new("stage", DataType::Utf8, false),
        Field::new("round", DataType::UInt32, true),
        Field::new("settings", DataType::Utf8, false),
    ]
}

/// The columns of `pipeline_stages`.
pub(super) fn stages() -> SchemaRef {
    let mut fields = place();
    fields.extend([
        Field::new("kind", DataType::Utf8, false),
        Field::new("teacher", DataType::Utf8, true),
        Field::new("student", DataType::Utf8, true),
        Field::new("parameters", DataType::UInt64, true),
        Field::new("selection", DataType::Utf8, true),
        Field::new("images", DataType::UInt64, true),
        Field::new("labels", DataType::UInt64, true),
        Field::new("rows", DataType::UInt64, true),
        Field::new("copies", DataType::UInt64, true),
        Field::new("steps", DataType::UInt64, true),
        Field::new("left_out", DataType::UInt64, true),
        Field::new("held_out_loss", DataType::Float32, true),
        Field::new("held_out_top1", DataType::Float32, true),
    ]);
    Arc::new(Schema::new(fields))
}

/// The columns of `pipeline_models`.
pub(super) fn models() -> SchemaRef {
    let mut fields = place();
    fields.extend([
        Field::new("model", DataType::Utf8, false),
        Field::new("images", DataType::UInt64, false),
        Field::new("right", DataType::UInt64, false),
        Field::new("top1", DataType::Float64, false),
        Field::new("top1_low", DataType::Float64, false),
        Field::new("top1_high", DataType::Float64, false),
        Field::new("compared_with", DataType::Utf8, true),
        Field::new("gain", DataType::Float64, true),
        Field::new("gain_low", DataType::Float64, true),
        Field::new("gain_high", DataType::Float64, true),
        Field::new("p_value", DataType::Float64, true),
    ]);
    Arc::new(Schema::new(fields))
}

/// The last model of an evaluation once for each one that it is compared with, all others once.
fn models_of(record: &Recorded) -> Vec<ModelRow<'_>> {
    let Made::Evaluation {
        models,
        comparisons,
    } = &record.made
    else {
        return Vec::new();
    };
    let rows = models.iter().flat_map(|judged| {
        let against = comparisons.iter().filter(|c| c.b == judged.model);
        let mut against: Vec<_> = against.map(Some).collect();
        if against.is_empty() {
            against.push(None);
        }
        against.into_iter().map(|comparison| ModelRow {
            place: Place::of(record),
            model: &judged.model,
            images: judged.top1.of,
            right: judged.top1.count,
            top1: judged.top1.share,
            top1_low: judged.top1.low,
            top1_high: judged.top1.high,
            compared_with: comparison.map(|c| c.a.as_str()),
            gain: comparison.map(|c| c.test.difference),
            gain_low: comparison.map(|c| c.test.low),
            gain_high: comparison.map(|c| c.test.high),
            p_value: comparison.map(|c| c.test.p_value),
        })
    });
    rows.collect()
}

/// The rows of `pipeline_stages`: one a record.
pub(super) async fn stage_rows(workspace: Workspace) -> Result<RecordBatch> {
    let all = pipeline::records(&workspace)
        .await
        .map_err(lazy::unreadable)?;
    let rows = all.iter().map(|record| StageRow {
        place: Place::of(record),
        made: &record.made,
    });
    Ok(records::batch(&stages(), &rows.collect::<Vec<_>>())?)
}

/// The rows of `pipeline_models`: one a model of an evaluation.
pub(super) async fn model_rows(workspace: Workspace) -> Result<RecordBatch> {
    let all = pipeline::records(&workspace)
        .await
        .map_err(lazy::unreadable)?;
    let rows = all.iter().flat_map(models_of);
    Ok(records::batch(&models(), &rows.collect::<Vec<_>>())?)
}
