//! How a teacher was trained: from training to selection to the teacher before it, back to those that came as a file.

use std::collections::{HashSet, VecDeque};

use serde::Serialize;

use crate::select::report::{InputRecord, SelectionFile, Totals, folder};
use crate::teacher::NOISED;
use crate::train::{self, Done, TrainingRecord};
use crate::workspace::{Workspace, WorkspaceError};

/// A teacher or a training that has not ended, and what it was made of.
#[derive(Debug, Clone, Serialize)]
pub struct Trained {
    /// NAME@VERSION; none of a training that has not ended.
    pub teacher: Option<String>,
    /// `training.json`; none of a teacher that came as an ONNX file.
    pub training: Option<TrainingRecord>,
    /// `done.json`; none of a training that has not ended, and of a teacher that came as an ONNX file.
    pub done: Option<Done>,
    /// What its selection was made of; none without one, and where it is not there any more.
    pub selection: Option<FromSelection>,
}

/// What a training's selection was made of.
#[derive(Debug, Clone, Serialize)]
pub struct FromSelection {
    /// The selection.
    pub id: String,
    /// Its dataset, the generation of it, and whose labels.
    pub input: InputRecord,
    /// Its sums.
    pub totals: Totals,
}

impl FromSelection {
    /// In words.
    pub(crate) fn sentence(&self) -> String {
        let input = &self.input;
        let parts = [
            input.dataset.as_ref().map(|d| format!("dataset {d}")),
            input.generation.map(|g| format!("generation {g}")),
            input.labels.as_ref().map(|l| format!("labels {l}")),
            input.teacher.as_ref().map(|t| format!("labels by {t}")),
            input
                .filter_teacher
                .as_ref()
                .map(|t| format!("chosen by {t}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Trained {
    /// What there is to say of a teacher that came as a file.
    pub(crate) const UNKNOWN: &str =
        "elsewhere: it came as an ONNX file, and how it was trained is not known";

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        let teacher = self.teacher.as_deref().unwrap_or("no teacher yet");
        let Some(record) = &self.training else {
            return format!("{teacher}, trained {}", Self::UNKNOWN);
        };
        let selection = record.pseudo.as_ref().map(|p| {
            let of = self.selection.as_ref().map(FromSelection::sentence);
            let of = of.map_or(String::new(), |of| format!(" ({of})"));
            format!("selection {}{of}", p.selection)
        });
        let labelled = record
            .labelled
            .as_ref()
            .map(|l| format!("{} labelled images of {}", l.images, l.data.url));
        let begins = record
            .begins_from
            .as_ref()
            .map(|t| format!("the weights of {t}"));
        let parts = [labelled, selection, begins].into_iter().flatten();
        let parts = parts.collect::<Vec<_>>().join(", ");
        format!("{teacher}, student {}, trained on {parts}", record.student)
    }

    async fn of_record(
        workspace: &Workspace,
        record: TrainingRecord,
        done: Option<Done>,
    ) -> Result<Self, WorkspaceError> {
        let selection = match &record.pseudo {
            Some(pseudo) => from_selection(workspace, &pseudo.selection).await?,
            None => None,
        };
        Ok(Self {
            teacher: done.as_ref().map(|d| d.teacher.clone()),
            training: Some(record),
            done,
            selection,
        })
    }

    /// A teacher's. A training and its teacher have one name, but another version may have come as a file.
    async fn of_teacher(workspace: &Workspace, teacher: String) -> Result<Self, WorkspaceError> {
        let name = teacher.split('@').next().unwrap_or_default();
        if let Some((record, Some(done))) = train::find(workspace, name).await?
            && done.teacher == teacher
        {
            return Self::of_record(workspace, record, Some(done)).await;
        }
        Ok(Self {
            teacher: Some(teacher),
            training: None,
            done: None,
            selection: None,
        })
    }

    /// The teachers that it was made with.
    fn parents(&self) -> Vec<String> {
        let weights = self.training.iter().flat_map(|t| &t.begins_from).cloned();
        let input = self.selection.iter().map(|s| &s.input);
        let labels = input.flat_map(|i| i.filter_teacher.iter().chain(&i.teacher));
        // Of noised images or not: the teacher is the same.
        let teachers = labels.filter_map(|name| name.split(NOISED).next());
        weights.chain(teachers.map(str::to_owned)).collect()
    }
}

async fn from_selection(
    workspace: &Workspace,
    id: &str,
) -> Result<Option<FromSelection>, WorkspaceError> {
    let place = format!("{}/selection.json", folder(id));
    let file = workspace.find_json::<SelectionFile>(&place).await?;
    Ok(file.map(|file| FromSelection {
        id: file.id,
        input: file.input,
        totals: file.totals,
    }))
}

/// These teachers after those that are `found` already, and then the ones that they go back to: the nearest first, each once.
pub(super) async fn ancestry(
    workspace: &Workspace,
    mut found: Vec<Trained>,
    teachers: impl IntoIterator<Item = String>,
) -> Result<Vec<Trained>, WorkspaceError> {
    let mut waiting: VecDeque<String> = teachers.into_iter().collect();
    let mut seen: HashSet<String> = HashSet::new();
    while let Some(teacher) = waiting.pop_front() {
        if seen.insert(teacher.clone()) {
            let trained = Trained::of_teacher(workspace, teacher).await?;
            waiting.extend(trained.parents());
            found.push(trained);
        }
    }
    Ok(found)
}

/// A training, ended or not, and the teachers that it goes back to.
///
/// # Errors
/// The store's.
pub(crate) async fn of_training(
    workspace: &Workspace,
    record: TrainingRecord,
    done: Option<Done>,
) -> Result<Vec<Trained>, WorkspaceError> {
    let first = Trained::of_record(workspace, record, done).await?;
    let parents = first.parents();
    ancestry(workspace, vec![first], parents).await
}

/// The trainings that learn from one of these selections, or begin with the weights of this teacher.
pub(super) async fn learned_from(
    workspace: &Workspace,
    selections: &[String],
    teacher: Option<&str>,
) -> Result<Vec<String>, WorkspaceError> {
    let trainings = train::list(workspace).await?.into_iter();
    let learns = trainings.filter(|(record, _)| {
        let selection = record.pseudo.as_ref().map(|p| &p.selection);
        selection.is_some_and(|s| selections.contains(s))
            || teacher.is_some_and(|t| record.begins_from.as_deref() == Some(t))
    });
    Ok(learns.map(|(record, _)| record.name).collect())
}
