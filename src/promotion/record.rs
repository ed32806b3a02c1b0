//! `promotions/000001.json`: who was promoted, when, and why it was allowed. The highest number is the current teacher.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{PromotionError, Verdict};
use crate::runs;
use crate::store::Created;
use crate::teacher::TeacherRecord;
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// What stands for the promoted teacher wherever a teacher is named. No teacher has this name.
pub const CURRENT: &str = "current";

const FOLDER: &str = "promotions";

/// What made a teacher the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `promote`.
    Promotion,
    /// `teachers rollback`.
    Rollback,
}

/// `promotions/NUMBER.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    /// From 1 on, without gaps.
    pub number: u32,
    /// Tells it from another one of the same moment.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// NAME@VERSION: the current teacher from here on.
    pub teacher: String,
    /// Of its ONNX file, in hexadecimal.
    pub model_sha256: String,
    /// NAME@VERSION of the current teacher before; none of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Of a rollback: the promotion whose teacher is current again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// RFC 3339, in UTC, to the millisecond.
    pub promoted: String,
    /// The gate refused it, and `--force` promoted it nevertheless.
    pub forced: bool,
    /// What the gate said; none where there was no gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Verdict>,
    /// What a person said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The understudy that promoted it.
    pub understudy: String,
}

impl Promotion {
    /// The one that comes after `last`, now.
    pub(super) fn after(last: Option<&Self>, kind: Kind, teacher: &TeacherRecord) -> Self {
        let salt = format!("{:?}", (std::process::id(), SystemTime::now()));
        Self {
            number: last.map_or(1, |last| last.number + 1),
            id: format!("{:016x}", xxh3_64(salt.as_bytes())),
            kind,
            teacher: teacher.to_string(),
            model_sha256: teacher.model_sha256.clone(),
            previous: last.map(|last| last.teacher.clone()),
            to: None,
            promoted: runs::now(),
            forced: false,
            gate: None,
            note: None,
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Commits it, if nobody else committed this number.
    ///
    /// # Errors
    /// [`PromotionError::Overtaken`], or the store's.
    pub(super) async fn commit(&self, workspace: &Workspace) -> Result<(), PromotionError> {
        let place = place(self.number);
        match workspace.create(&place, to_json(self)).await? {
            Created::New | Created::Same => Ok(()),
            Created::Other => {
                let winner: Self = workspace.read_json(&place).await?;
                Err(PromotionError::Overtaken {
                    teacher: self.teacher.clone(),
                    winner: winner.teacher,
                    number: winner.number,
                    promoted: winner.promoted,
                })
            }
        }
    }
}

fn place(number: u32) -> String {
    format!("{FOLDER}/{number:06}.json")
}

/// The numbers that there are, ascending.
async fn numbers(workspace: &Workspace) -> Result<Vec<u32>, WorkspaceError> {
    let names = workspace.names(FOLDER).await?;
    let number = |name: &String| name.strip_suffix(".json")?.parse().ok();
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest promotion: its teacher is the current one. None before the first.
///
/// # Errors
/// The store's, or [`WorkspaceError::Damaged`].
pub async fn current(workspace: &Workspace) -> Result<Option<Promotion>, WorkspaceError> {
    match numbers(workspace).await?.pop() {
        Some(number) => workspace.read_json(&place(number)).await.map(Some),
        None => Ok(None),
    }
}

/// The number of the newest promotion, where it is later than this one.
///
/// # Errors
/// The store's.
pub async fn later(workspace: &Workspace, than: u32) -> Result<Option<u32>, WorkspaceError> {
    Ok(numbers(workspace)
        .await?
        .pop()
        .filter(|newest| *newest > than))
}

/// All promotions, oldest first.
///
/// # Errors
/// The store's, or [`WorkspaceError::Damaged`].
pub async fn history(workspace: &Workspace) -> Result<Vec<Promotion>, WorkspaceError> {
    let numbers = numbers(workspace).await?;
    let places = numbers.into_iter().map(place).collect();
    workspace.read_all_json(places).await
}
