//! A selection: what it was made of, with which settings, and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::LineageError;
use super::training::learned_from;
use crate::dataset::Dataset;
use crate::label::whose;
use crate::manifest::{self, Generation};
use crate::select::SelectConfig;
use crate::select::report::{InputRecord, SelectionFile, Totals};
use crate::teacher::TeacherRecord;
use crate::workspace::Workspace;

/// What is known of a selection.
#[derive(Debug, Clone, Serialize)]
pub struct OfSelection {
    /// Its name.
    pub id: String,
    /// The understudy that made it.
    pub understudy: String,
    /// What it was made of.
    pub input: InputRecord,
    /// Where the dataset's images are; none for labels of another system.
    pub dataset: Option<Dataset>,
    /// The newest generation of the dataset's manifest when it was made.
    pub generation: Option<Generation>,
    /// The teachers of its labels and of its choice.
    pub teachers: Vec<TeacherRecord>,
    /// What was asked for.
    pub config: SelectConfig,
    /// The sums.
    pub totals: Totals,
    /// Rows that are left out, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// The trainings that learn from it.
    pub trainings: Vec<String>,
}

impl OfSelection {
    pub(super) async fn read(workspace: &Workspace, id: &str) -> Result<Self, LineageError> {
        let file = SelectionFile::read(workspace, id).await?;
        let input = &file.input;
        let (dataset, generation) = match &input.dataset {
            Some(name) => {
                let place = format!("datasets/{name}/000001.json");
                let generations = manifest::generations(workspace, name).await?;
                let of = |g: &Generation| Some(g.generation) == input.generation;
                (
                    Some(workspace.read_json(&place).await?),
                    generations.into_iter().find(of),
                )
            }
            None => (None, None),
        };
        let mut teachers = Vec::new();
        for name in input.teacher.iter().chain(&input.filter_teacher) {
            teachers.push(whose::teacher_of(workspace, name).await?.record);
        }
        let trainings = learned_from(workspace, std::slice::from_ref(&file.id), None).await?;
        Ok(Self {
            trainings,
            id: file.id,
            understudy: file.understudy,
            input: file.input,
            dataset,
            generation,
            teachers,
            config: file.config,
            totals: file.totals,
            left_out: file.left_out,
        })
    }
}
