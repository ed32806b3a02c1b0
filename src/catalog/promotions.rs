//! The table `promotions`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use serde::Serialize;

use super::{CatalogError, records};
use crate::promotion::{self, Promotion, Rule, Verdict};
use crate::workspace::Workspace;

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    promotion: &'a Promotion,
    current: bool,
    rolled_back_to: Option<u32>,
    passed: Option<bool>,
    top1: Option<f64>,
    gain: Option<f64>,
    p_value: Option<f64>,
    class_fall: Option<f64>,
    verdict: Option<String>,
}

impl<'a> Row<'a> {
    fn new(promotion: &'a Promotion, current: bool) -> Self {
        let gate = promotion.gate.as_ref();
        let found = |rule: Rule| {
            let mut checks = gate?.checks.iter();
            checks.find(|check| check.rule == rule)?.found
        };
        Self {
            promotion,
            current,
            rolled_back_to: promotion.to,
            passed: gate.map(|gate| gate.passed),
            top1: gate.map(|gate| gate.candidate.top1.share),
            gain: found(Rule::MinGain),
            p_value: found(Rule::MaxP),
            class_fall: found(Rule::MaxClassFall),
            verdict: gate.map(text),
        }
    }
}

fn text(verdict: &Verdict) -> String {
    serde_json::to_string(verdict).unwrap_or_default()
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        Field::new("number", DataType::UInt32, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("teacher", DataType::Utf8, false),
        Field::new("previous", DataType::Utf8, true),
        Field::new("current", DataType::Boolean, false),
        Field::new("promoted", time, false),
        Field::new("rolled_back_to", DataType::UInt32, true),
        Field::new("passed", DataType::Boolean, true),
        Field::new("forced", DataType::Boolean, false),
        Field::new("top1", DataType::Float64, true),
        Field::new("gain", DataType::Float64, true),
        Field::new("p_value", DataType::Float64, true),
        Field::new("class_fall", DataType::Float64, true),
        Field::new("note", DataType::Utf8, true),
        Field::new("model_sha256", DataType::Utf8, false),
        Field::new("understudy", DataType::Utf8, false),
        Field::new("verdict", DataType::Utf8, true),
    ]))
}

/// Registers `promotions`.
pub(super) async fn register(
    workspace: &Workspace,
    context: &SessionContext,
) -> Result<(), CatalogError> {
    let history = promotion::history(workspace).await?;
    let last = history.len();
    let rows: Vec<Row> = history
        .iter()
        .zip(1..)
        .map(|(promotion, n)| Row::new(promotion, n == last))
        .collect();
    let batch = records::batch(&schema(), &rows).map_err(DataFusionError::from)?;
    context.register_batch("promotions", batch)?;
    Ok(())
}
