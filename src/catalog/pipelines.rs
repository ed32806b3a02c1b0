//! Pipelines as tables: what their stages came to, and how good their models are.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use serde::Serialize;

use super::records;
use crate::pipeline::{self, Made, Recorded};
use crate::workspace::Workspace;

/// One of the two tables, of the JSON files below `pipelines/`, read when the table is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    /// A row a record.
    Stages,
    /// A row a model of an evaluation.
    Models,
}

/// See [`Of`].
#[derive(Debug)]
pub(super) struct Pipelines {
    pub(super) workspace: Workspace,
    pub(super) of: Of,
}

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

fn stages() -> SchemaRef {
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

fn models() -> SchemaRef {
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
fn model_rows(record: &Recorded) -> Vec<ModelRow<'_>> {
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

#[async_trait]
impl TableProvider for Pipelines {
    fn schema(&self) -> SchemaRef {
        match self.of {
            Of::Stages => stages(),
            Of::Models => models(),
        }
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
        let all = pipeline::records(&self.workspace).await;
        let all = all.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let batch = match self.of {
            Of::Stages => {
                let rows = all.iter().map(|record| StageRow {
                    place: Place::of(record),
                    made: &record.made,
                });
                records::batch(&stages(), &rows.collect::<Vec<_>>())?
            }
            Of::Models => {
                let rows = all.iter().flat_map(model_rows);
                records::batch(&models(), &rows.collect::<Vec<_>>())?
            }
        };
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}
