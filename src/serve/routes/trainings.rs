//! `/v1/trainings` and `/v1/evaluations`.

use axum::extract::State;
use serde::Serialize;

use crate::pipeline::{self, Evaluated};
use crate::serve::extract::{Asked, At, Json};
use crate::serve::page::{Items, Page};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;
use crate::train::{self, Done, TrainingRecord};
use crate::workspace::side_by_side;

#[derive(Serialize)]
pub(super) struct Listed {
    name: String,
    student: String,
    steps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: Option<String>,
    /// What it became; none while it is not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Done>,
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    record: TrainingRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Done>,
}

pub(super) async fn list(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<Listed>>, Problem> {
    let workspace = &service.workspace;
    let turned = page.turn(workspace.folders("trainings").await?, Clone::clone)?;
    let find = |name: String| async move { train::find(workspace, &name).await };
    let found = side_by_side(turned.items.clone(), find).await?;
    let items = found
        .into_iter()
        .flatten()
        .map(|(record, done)| Listed {
            name: record.name,
            student: record.student,
            steps: record.steps,
            selection: record.pseudo.map(|p| p.selection),
            done,
        })
        .collect();
    Ok(Json(turned.with(items)))
}

pub(super) async fn show(
    State(service): State<Shared>,
    At(name): At<String>,
) -> Result<Json<Shown>, Problem> {
    let (record, done) = train::get(&service.workspace, &name).await?;
    Ok(Json(Shown { record, done }))
}

pub(super) async fn evaluations(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<Evaluated>>, Problem> {
    let all = pipeline::evaluations(&service.workspace).await?;
    let name = |e: &Evaluated| format!("{}/{}/{}", e.pipeline, e.stage, e.settings);
    Ok(Json(page.turn(all, name)?.page()))
}
