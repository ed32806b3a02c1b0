//! `/v1/lineage`: where a teacher, a selection or a key comes from.

use axum::extract::State;
use clap::ValueEnum as _;
use serde::Deserialize;

use crate::lineage::{self, Lineage, Meant};
use crate::serve::extract::{Asked, Json};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

/// Of what. Keys have slashes, so that they are no part of a path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    of: String,
    r#as: Option<String>,
}

pub(super) async fn lineage(
    State(service): State<Shared>,
    Asked(asked): Asked<Of>,
) -> Result<Json<Lineage>, Problem> {
    let meant = asked.r#as.as_deref().map(|text| {
        Meant::from_str(text, false).map_err(|_| {
            Problem::bad_request(format!("`as` is `{text}`"))
                .with_hint("use teacher, selection or key")
        })
    });
    let meant = meant.transpose()?;
    let workspace = service.workspace.clone();
    let work = async move { Box::pin(lineage::lineage(&workspace, &asked.of, meant)).await };
    Ok(Json(service.queries.limited(work).await?))
}
