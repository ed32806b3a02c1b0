//! `/v1/runs` and `/v1/audit`: what was done, and what was changed, the newest first.

use axum::extract::State;

use crate::audit::{self, AuditEntry};
use crate::runs::{self, RunRecord};
use crate::serve::extract::{Asked, At, Json};
use crate::serve::page::{Items, Page};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;
use crate::workspace::WorkspaceError;

pub(super) async fn runs(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<RunRecord>>, Problem> {
    let mut names = runs::names(&service.workspace).await?;
    names.reverse();
    let turned = page.turn(names, Clone::clone)?;
    let records = runs::read(&service.workspace, turned.items.clone()).await?;
    Ok(Json(turned.with(records)))
}

pub(super) async fn run(
    State(service): State<Shared>,
    At(name): At<String>,
) -> Result<Json<RunRecord>, Problem> {
    // Looked up among the names there are, so that nothing of a path is made of what was typed.
    let names = runs::names(&service.workspace).await?;
    if !names.contains(&name) {
        let known: Vec<&str> = Vec::new();
        let hint = "GET /v1/runs lists them";
        return Err(WorkspaceError::unknown("run", &name, &known, hint).into());
    }
    let mut records = runs::read(&service.workspace, vec![name]).await?;
    records
        .pop()
        .map(Json)
        .ok_or_else(|| Problem::not_found("the run is gone"))
}

pub(super) async fn audit(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<AuditEntry>>, Problem> {
    let mut names = audit::names(&service.workspace).await?;
    names.reverse();
    let turned = page.turn(names, Clone::clone)?;
    let entries = audit::read(&service.workspace, turned.items.clone()).await?;
    Ok(Json(turned.with(entries)))
}
