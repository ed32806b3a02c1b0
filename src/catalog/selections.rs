//! Selections as tables: their rows, their classes, and what they found of held-out images.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use futures::try_join;
use serde::Serialize;

use super::whole::Lost;
use super::{CatalogError, listed, records, union, view};
use crate::select::report::{ClassRecord, LEAKAGE, SelectionFile, folder};
use crate::workspace::{Workspace, WorkspaceError, side_by_side};

/// Registers `selections`, `selection_classes` and `leakage`.
pub(super) async fn register(
    workspace: &Workspace,
    context: &SessionContext,
) -> Result<(), CatalogError> {
    let (mut rows, mut hits, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    let ids = workspace.folders("selections").await?;
    let find = |id: String| async move {
        let place = folder(&id);
        let file = format!("{place}/selection.json");
        let (file, there) = try_join!(workspace.find_json(&file), workspace.listed(&place))?;
        // Without the file it is being made, or was given up: it does not exist.
        Ok::<_, WorkspaceError>(file.map(|file: SelectionFile| (id, place, file, there)))
    };
    let found = side_by_side(ids, find).await?;
    for (id, place, file, there) in found.into_iter().flatten() {
        let parts: Vec<&String> = file.parts.iter().map(|p| &p.file).collect();
        let leakage = file.others(LEAKAGE, &there);
        for (names, schema, into) in [
            (parts, row_schema(), &mut rows),
            (leakage, hit_schema(), &mut hits),
        ] {
            let places: Vec<_> = names.iter().map(|name| format!("{place}/{name}")).collect();
            if !places.is_empty() {
                let lost = Lost::find(workspace, &place, names, &there);
                let frame = listed(workspace, context, &places, lost, schema)?;
                into.push(named(&id, frame)?);
            }
        }
        classes.extend(file.classes.into_iter().map(|record| ClassRow {
            selection: id.clone(),
            record,
        }));
    }
    let or_empty = |frames: Vec<DataFrame>, schema: SchemaRef| match union(frames)? {
        Some(frame) => Ok::<_, CatalogError>(frame),
        None => named("", context.read_batch(RecordBatch::new_empty(schema))?),
    };
    view(context, "selections", or_empty(rows, row_schema())?)?;
    view(context, "leakage", or_empty(hits, hit_schema())?)?;
    let batch = records::batch(&class_schema(), &classes).map_err(DataFusionError::from)?;
    context.register_batch("selection_classes", batch)?;
    Ok(())
}

/// The columns of a selection's rows, soft labels left out: these are of a type of their own in every selection.
pub(super) fn row_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("class", DataType::Int64, false),
        Field::new("confidence", DataType::Float32, false),
        Field::new("copies", DataType::UInt32, true),
        Field::new("rank", DataType::UInt32, true),
        Field::new("copy", DataType::UInt32, true),
    ]))
}

fn hit_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("held_out", DataType::Utf8, false),
        Field::new("distance", DataType::UInt32, false),
        Field::new("same_bytes", DataType::Boolean, false),
        Field::new("dropped", DataType::Boolean, false),
    ]))
}

/// The rows with the selection's name before them.
fn named(id: &str, frame: DataFrame) -> Result<DataFrame, CatalogError> {
    let mut columns = vec![lit(id).alias("selection")];
    columns.extend(frame.schema().fields().iter().map(|f| col(f.name())));
    Ok(frame.select(columns)?)
}

#[derive(Serialize)]
struct ClassRow {
    selection: String,
    #[serde(flatten)]
    record: ClassRecord,
}

fn class_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("selection", DataType::Utf8, false),
        Field::new("class", DataType::Int64, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("available", DataType::UInt64, false),
        Field::new("kept", DataType::UInt64, false),
        Field::new("copies", DataType::UInt64, false),
        Field::new("cut_off", DataType::Float32, true),
    ]))
}
