//! `/v1/teachers`.

use axum::extract::State;
use serde::Serialize;

use crate::promotion;
use crate::serve::extract::{Asked, At, Json};
use crate::serve::page::{Items, Page};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;
use crate::teacher::{self, TeacherConfig, TeacherRecord, TeacherRef};

#[derive(Serialize)]
pub(super) struct Listed {
    /// NAME@VERSION.
    teacher: String,
    #[serde(flatten)]
    record: TeacherRecord,
    current: bool,
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    listed: Listed,
    config: TeacherConfig,
}

pub(super) async fn list(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<Listed>>, Problem> {
    let workspace = &service.workspace;
    let records = teacher::list(workspace).await?;
    let current = promotion::current(workspace).await?.map(|p| p.teacher);
    let turned = page.turn(records, ToString::to_string)?.page();
    Ok(Json(Items {
        items: turned
            .items
            .into_iter()
            .map(|record| listed(record, current.as_deref()))
            .collect(),
        next_page_token: turned.next_page_token,
    }))
}

pub(super) async fn show(
    State(service): State<Shared>,
    At(name): At<String>,
) -> Result<Json<Shown>, Problem> {
    let wanted: TeacherRef = name.parse()?;
    let teacher = teacher::get(&service.workspace, &wanted).await?;
    let current = promotion::current(&service.workspace).await?;
    let current = current.map(|p| p.teacher);
    Ok(Json(Shown {
        listed: listed(teacher.record, current.as_deref()),
        config: teacher.config,
    }))
}

fn listed(record: TeacherRecord, current: Option<&str>) -> Listed {
    let teacher = record.to_string();
    Listed {
        current: current == Some(teacher.as_str()),
        teacher,
        record,
    }
}
