//! Selections as tables: their rows, their classes, and what they found of held-out images.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;

use super::{CatalogError, listing, union, view};
use crate::select::report::{ClassRecord, SelectionFile, folder};
use crate::store::StoreError;
use crate::workspace::{Workspace, WorkspaceError};

/// Registers `selections`, `selection_classes` and `leakage`.
pub(super) async fn register(
    workspace: &Workspace,
    context: &SessionContext,
) -> Result<(), CatalogError> {
    let (mut rows, mut hits, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for id in workspace.folders("selections").await? {
        let place = folder(&id);
        let file: SelectionFile = match workspace
            .read_json(&format!("{place}/selection.json"))
            .await
        {
            Ok(file) => file,
            // A selection that is being made, or was given up: it does not exist.
            Err(WorkspaceError::Store(StoreError::NotFound { .. })) => continue,
            Err(e) => return Err(e.into()),
        };
        for part in &file.parts {
            let at = format!("{place}/{}", part.file);
            rows.push(named(
                &id,
                listing(workspace, context, &at, row_schema(), Vec::new())?,
            )?);
        }
        let names = workspace.names(&place).await?;
        for name in names.iter().filter(|n| n.starts_with("leakage-")) {
            let at = format!("{place}/{name}");
            hits.push(named(
                &id,
                listing(workspace, context, &at, hit_schema(), Vec::new())?,
            )?);
        }
        classes.extend(file.classes.into_iter().map(|c| (id.clone(), c)));
    }
    let or_empty = |frames: Vec<DataFrame>, schema: SchemaRef| match union(frames)? {
        Some(frame) => Ok::<_, CatalogError>(frame),
        None => named("", context.read_batch(RecordBatch::new_empty(schema))?),
    };
    view(context, "selections", or_empty(rows, row_schema())?)?;
    view(context, "leakage", or_empty(hits, hit_schema())?)?;
    let batch = class_batch(&classes).map_err(DataFusionError::from)?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    context.register_table("selection_classes", Arc::new(table))?;
    Ok(())
}

/// The columns of a selection's rows, soft labels left out: these are of a type of their own in every selection.
fn row_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("class", DataType::Int64, false),
        Field::new("confidence", DataType::Float32, false),
        Field::new("copies", DataType::UInt32, true),
        Field::new("rank", DataType::UInt32, true),
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

fn class_batch(classes: &[(String, ClassRecord)]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |f: &dyn Fn(&(String, ClassRecord)) -> Option<String>| -> ArrayRef {
        Arc::new(classes.iter().map(f).collect::<StringArray>())
    };
    let count = |f: &dyn Fn(&ClassRecord) -> u64| -> ArrayRef {
        Arc::new(
            classes
                .iter()
                .map(|c| Some(f(&c.1)))
                .collect::<UInt64Array>(),
        )
    };
    let numbers: Int64Array = classes.iter().map(|c| Some(c.1.class)).collect();
    let cut_offs: Float32Array = classes.iter().map(|c| Some(c.1.cut_off)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("selection", text(&|c| Some(c.0.clone())), false),
        ("class", Arc::new(numbers) as ArrayRef, false),
        ("label", text(&|c| c.1.label.clone()), true),
        ("available", count(&|c| c.available), false),
        ("kept", count(&|c| c.kept), false),
        ("copies", count(&|c| c.copies), false),
        ("cut_off", Arc::new(cut_offs) as ArrayRef, false),
    ])
}
