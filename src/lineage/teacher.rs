//! A teacher: what it is, when it was current, what it labelled, and which selections are of its labels.

use serde::Serialize;

use super::LineageError;
use super::training::{Trained, ancestry, learned_from};
use crate::label::committed;
use crate::label::whose::{self, Whose};
use crate::promotion;
use crate::select::report::SelectionFile;
use crate::teacher::{self, TeacherRecord, TeacherRef};
use crate::workspace::Workspace;

/// What is known of a teacher.
#[derive(Debug, Clone, Serialize)]
pub struct OfTeacher {
    /// Its commit.
    pub teacher: TeacherRecord,
    /// How it was trained, then the teachers that this goes back to, the nearest first, each once.
    pub ancestry: Vec<Trained>,
    /// The promotions that made it the current teacher.
    pub promotions: Vec<u32>,
    /// Whether it is.
    pub current: bool,
    /// What it labelled.
    pub labels: Vec<Labels>,
    /// The selections whose soft labels or whose choice is its.
    pub selections: Vec<String>,
    /// The trainings that learned from these, or began with its weights.
    pub trainings: Vec<String>,
}

/// A dataset that a teacher labelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Labels {
    /// The dataset.
    pub dataset: String,
    /// The name that the labels are kept under: with +NOISE where they are of noised images.
    pub teacher: String,
    /// Labels objects, retries among them.
    pub objects: usize,
}

impl OfTeacher {
    pub(super) async fn read(
        workspace: &Workspace,
        wanted: &TeacherRef,
    ) -> Result<Self, LineageError> {
        let teacher = teacher::get(workspace, wanted).await?.record;
        let name = teacher.to_string();
        let history = promotion::history(workspace).await?;
        let mut labels = Vec::new();
        for dataset in workspace.folders("datasets").await? {
            for of in whose::labellers(workspace, &dataset).await? {
                if is_by(&of, &teacher) {
                    labels.push(Labels {
                        objects: committed(workspace, &dataset, &of).await?.len(),
                        dataset: dataset.clone(),
                        teacher: of,
                    });
                }
            }
        }
        let files = SelectionFile::list(workspace).await?;
        let selections = files.into_iter().filter(|file| {
            let input = &file.input;
            let mut of = input.teacher.iter().chain(&input.filter_teacher);
            of.any(|of| is_by(of, &teacher))
        });
        let selections: Vec<String> = selections.map(|file| file.id).collect();
        Ok(Self {
            ancestry: ancestry(workspace, Vec::new(), [name.clone()]).await?,
            trainings: learned_from(workspace, &selections, Some(&name)).await?,
            promotions: history
                .iter()
                .filter(|p| p.teacher == name)
                .map(|p| p.number)
                .collect(),
            current: history.last().is_some_and(|p| p.teacher == name),
            labels,
            selections,
            teacher,
        })
    }
}

/// Whether labels that are kept under this name are the teacher's, noised or not.
fn is_by(name: &str, teacher: &TeacherRecord) -> bool {
    name.parse::<Whose>().is_ok_and(|whose| {
        whose.teacher.name == teacher.name && whose.teacher.version == Some(teacher.version)
    })
}
