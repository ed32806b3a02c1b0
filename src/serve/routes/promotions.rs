//! `/v1/promotions` and `/v1/rollbacks`: who is current, who was, and who shall be.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::audit::Outcome;
use crate::promotion::{
    self, Outcome as Promoting, PromoteJob, Promoted, Promotion, PromotionError,
};
use crate::runtime::Device;
use crate::serve::change::{Asker, change, turn};
use crate::serve::extract::{Asked, At, Json};
use crate::serve::page::{Items, Page};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;
use crate::teacher::TeacherRef;

/// Characters of a note at most: it is a line for people, in every listing.
const LONGEST_NOTE: usize = 1000;

/// What a promotion is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    teacher: String,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    note: Option<String>,
}

/// What a rollback is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    #[serde(default)]
    to: Option<u32>,
    #[serde(default)]
    note: Option<String>,
}

pub(super) async fn list(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<Promotion>>, Problem> {
    let mut history = promotion::history(&service.workspace).await?;
    history.reverse();
    let turned = page.turn(history, |promotion| promotion.number.to_string())?;
    Ok(Json(turned.page()))
}

pub(super) async fn show(
    State(service): State<Shared>,
    At(number): At<u32>,
) -> Result<Json<Promotion>, Problem> {
    let history = promotion::history(&service.workspace).await?;
    let found = history.into_iter().find(|p| p.number == number);
    Ok(Json(found.ok_or(PromotionError::UnknownNumber { number })?))
}

pub(super) async fn promote(
    State(service): State<Shared>,
    asker: Asker,
    Json(ask): Json<Ask>,
) -> Result<(StatusCode, Json<Promoted>), Problem> {
    check(ask.note.as_deref())?;
    if ask.force && service.gate.is_none() {
        return Err(
            Problem::bad_request("there is no gate that `force` could overrule")
                .with_hint("a server has one by `promote.gate` of its serve.toml"),
        );
    }
    let teacher: TeacherRef = ask.teacher.parse()?;
    let job = PromoteJob {
        teacher,
        gate: service.gate.clone(),
        dry_run: ask.dry_run,
        force: ask.force,
        note: ask.note.clone(),
        device: Device::Auto,
        onnxruntime: service.onnxruntime.clone(),
        storage: service.storage.clone(),
        visible: false,
    };
    let workspace = service.workspace.clone();
    let turn = turn(&service)?;
    if ask.dry_run {
        let promoted = Box::pin(job.run(&workspace)).await?;
        return Ok((StatusCode::OK, Json(promoted)));
    }
    let work = async move {
        let promoted = Box::pin(job.run(&workspace)).await?;
        drop(turn);
        promoted.checked()?;
        Ok((outcome(&promoted), promoted))
    };
    let promoted = change(&service, asker, "promote", &ask, work).await?;
    Ok(made(promoted))
}

pub(super) async fn rollback(
    State(service): State<Shared>,
    asker: Asker,
    Json(back): Json<Back>,
) -> Result<(StatusCode, Json<Promoted>), Problem> {
    check(back.note.as_deref())?;
    let workspace = service.workspace.clone();
    let (to, note) = (back.to, back.note.clone());
    let work = async move {
        let rolled = promotion::rollback(&workspace, to, note).await?;
        Ok((outcome(&rolled), rolled))
    };
    let rolled = change(&service, asker, "rollback", &back, work).await?;
    Ok(made(rolled))
}

fn check(note: Option<&str>) -> Result<(), Problem> {
    let length = note.map_or(0, |note| note.chars().count());
    if length <= LONGEST_NOTE {
        return Ok(());
    }
    let detail = format!("`note` has {length} characters");
    Err(Problem::bad_request(detail).with_hint(format!("write at most {LONGEST_NOTE}")))
}

fn outcome(promoted: &Promoted) -> Outcome {
    match promoted.outcome {
        Promoting::Promoted => Outcome::Done,
        Promoting::WouldBePromoted | Promoting::AlreadyCurrent | Promoting::Refused => {
            Outcome::Nothing
        }
    }
}

/// 201 where there is a new promotion, 200 where there need not be one.
fn made(promoted: Promoted) -> (StatusCode, Json<Promoted>) {
    let status = match promoted.outcome {
        Promoting::Promoted => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    (status, Json(promoted))
}
