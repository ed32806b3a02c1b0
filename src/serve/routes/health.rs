//! `/healthz`, `/readyz`, `/metrics`: for those who watch the server.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::answer;
use crate::serve::extract::Json;
use crate::serve::metrics::OPENMETRICS;
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

/// A store that answers later is not there for those who wait for an answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Serialize)]
pub(super) struct Status {
    status: &'static str,
}

/// The process runs.
pub(super) async fn alive() -> Json<Status> {
    Json(Status { status: "alive" })
}

/// The store answers, and the teacher that was asked for is loaded.
pub(super) async fn ready(State(service): State<Shared>) -> Result<Json<Status>, Problem> {
    let reached = tokio::time::timeout(STORE_TIMEOUT, service.workspace.exists("workspace.json"));
    match reached.await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Err(Problem::unavailable("the workspace is gone")),
        Ok(Err(e)) => return Err(Problem::unavailable(e.to_string())),
        Err(_) => return Err(Problem::unavailable("the store does not answer in time")),
    }
    service.models.ready().map_err(Problem::unavailable)?;
    Ok(Json(Status { status: "ready" }))
}

/// The figures for Prometheus.
pub(super) async fn metrics(State(service): State<Shared>) -> Response {
    answer(OPENMETRICS, service.metrics.text())
}
