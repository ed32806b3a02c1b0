//! Trainings as tables: what they were made of and became, and what each of their steps was like.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;
use serde::Serialize;

use super::whole::Lost;
use super::{CatalogError, listed, records, union, view};
use crate::train::{self, folder, metrics_schema};
use crate::workspace::{Workspace, WorkspaceError, side_by_side};

#[derive(Serialize)]
struct Row {
    training: String,
    student: String,
    selection: Option<String>,
    labelled_images: Option<u64>,
    pseudo_images: Option<u64>,
    pseudo_rows: Option<u64>,
    steps: u64,
    begins_from: Option<String>,
    teacher: Option<String>,
    held_out_loss: Option<f32>,
    held_out_top1: Option<f32>,
    left_out: Option<u64>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("training", DataType::Utf8, false),
        Field::new("student", DataType::Utf8, false),
        Field::new("selection", DataType::Utf8, true),
        Field::new("labelled_images", DataType::UInt64, true),
        Field::new("pseudo_images", DataType::UInt64, true),
        Field::new("pseudo_rows", DataType::UInt64, true),
        Field::new("steps", DataType::UInt64, false),
        Field::new("begins_from", DataType::Utf8, true),
        Field::new("teacher", DataType::Utf8, true),
        Field::new("held_out_loss", DataType::Float32, true),
        Field::new("held_out_top1", DataType::Float32, true),
        Field::new("left_out", DataType::UInt64, true),
    ]))
}

/// Registers `trainings` and `training_metrics`.
pub(super) async fn register(
    workspace: &Workspace,
    context: &SessionContext,
) -> Result<(), CatalogError> {
    let (mut rows, mut metrics) = (Vec::new(), Vec::new());
    let trainings = train::list(workspace).await?;
    let folders: Vec<String> = trainings
        .iter()
        .map(|(record, _)| folder(&record.name))
        .collect();
    let list = |place: String| async move {
        let there = workspace.listed(&place).await?;
        Ok::<_, WorkspaceError>((place, there))
    };
    let folders = side_by_side(folders, list).await?;
    for ((record, done), (place, there)) in trainings.into_iter().zip(folders) {
        let names = there.iter().map(|(name, _)| name);
        let names: Vec<&String> = names.filter(|n| n.starts_with("metrics-")).collect();
        let files: Vec<_> = names.iter().map(|name| format!("{place}/{name}")).collect();
        if !files.is_empty() {
            let lost = Lost::find(workspace, &place, names, &there);
            let frame = listed(workspace, context, &files, lost, metrics_schema())?;
            metrics.push(named(&record.name, frame)?);
        }
        rows.push(Row {
            training: record.name,
            student: record.student,
            selection: record.pseudo.as_ref().map(|p| p.selection.clone()),
            labelled_images: record.labelled.map(|l| l.images),
            pseudo_images: record.pseudo.as_ref().map(|p| p.images),
            pseudo_rows: record.pseudo.as_ref().map(|p| p.rows),
            steps: record.steps,
            begins_from: record.begins_from,
            held_out_loss: done.as_ref().and_then(|d| d.held_out_loss),
            held_out_top1: done.as_ref().and_then(|d| d.held_out_top1),
            left_out: done.as_ref().map(|d| d.left_out),
            teacher: done.map(|d| d.teacher),
        });
    }
    let batch = records::batch(&schema(), &rows).map_err(DataFusionError::from)?;
    context.register_batch("trainings", batch)?;
    let metrics = match union(metrics)? {
        Some(metrics) => metrics,
        None => named(
            "",
            context.read_batch(RecordBatch::new_empty(metrics_schema()))?,
        )?,
    };
    view(context, "training_metrics", metrics)?;
    Ok(())
}

fn named(training: &str, metrics: DataFrame) -> Result<DataFrame, CatalogError> {
    let mut columns: Vec<Expr> = vec![lit(training).alias("training")];
    let schema = metrics_schema();
    columns.extend(schema.fields().iter().map(|f| col(f.name())));
    Ok(metrics.select(columns)?)
}
