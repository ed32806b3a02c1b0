//! `training.json`: what a training is. `done.json`: what became of it.

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::{TrainError, folder};
use crate::labelled::DataConfig;
use crate::store::Created;
use crate::student::noise::Noise;
use crate::workspace::{Workspace, WorkspaceError, as_read, check_name, side_by_side, to_json};

/// `trainings/NAME/training.json`. Nothing in it depends on time or speed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Its name, and that of the teacher that it becomes.
    pub name: String,
    /// The student.
    pub student: String,
    /// Of the student's training model, in hexadecimal.
    pub training_model_sha256: String,
    /// How it is trained.
    pub train: TrainConfig,
    /// What it is noised with.
    pub noise: Noise,
    /// How its images are decoded.
    #[serde(default)]
    pub decode: Decoding,
    /// The classes' names.
    pub classes: Vec<String>,
    /// The labelled images.
    pub labelled: Option<LabelledRecord>,
    /// The pseudo-labelled images.
    pub pseudo: Option<PseudoRecord>,
    /// NAME@VERSION of the teacher whose weights it begins with.
    pub begins_from: Option<String>,
    /// How many steps.
    pub steps: u64,
    /// Labelled and pseudo-labelled images a step.
    pub rows: [usize; 2],
    /// The understudy that began it.
    pub understudy: String,
}

/// What of `[decode]` shows in a decoded image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Decoding {
    /// Whether EXIF's orientation is honoured.
    pub exif_orientation: bool,
    /// Whether large JPEGs are decoded at a fraction of their size.
    pub scaled_jpeg: bool,
}

/// What labelled images a training has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledRecord {
    /// As they were named.
    pub data: DataConfig,
    /// How many.
    pub images: u64,
    /// A hash of their names and classes ([`crate::labelled::Labelled::fingerprint`]).
    pub fingerprint: String,
}

/// What pseudo-labelled images a training has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PseudoRecord {
    /// The selection.
    pub selection: String,
    /// How many images.
    pub images: u64,
    /// How many with their copies.
    pub rows: u64,
    /// The generation of the dataset's manifest by which they were found: a run that goes on later finds the same ones.
    #[serde(default)]
    pub generation: Option<u32>,
    /// Images of the selection that were gone when the training began.
    pub missing: u64,
    /// A hash of what is learned of them ([`crate::pseudo::PseudoLabelled::fingerprint`]).
    pub fingerprint: String,
}

/// `trainings/NAME/done.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// NAME@VERSION of the teacher that it became.
    pub teacher: String,
    /// Steps.
    pub steps: u64,
    /// Images that were left out because they could not be fetched or decoded, as often as they came.
    pub left_out: u64,
    /// The mean cross entropy of the held-out images at the end.
    pub held_out_loss: Option<f32>,
    /// How many of them are right, from 0 to 1.
    pub held_out_top1: Option<f32>,
}

impl Done {
    /// A line for people.
    pub fn describe(&self, name: &str, new: bool) -> String {
        let what = if new {
            format!("{name}: {} steps, now teacher {}", self.steps, self.teacher)
        } else {
            format!("{name} is trained already: teacher {}", self.teacher)
        };
        let worth = self
            .held_out_top1
            .map(|top1| format!("; held-out top-1 {:.2} %", top1 * 100.0));
        let left_out = (self.left_out > 0)
            .then(|| format!("; {} images left out that could not be read", self.left_out));
        [Some(what), worth, left_out]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl TrainingRecord {
    /// The training of this name, where it was begun.
    pub(super) async fn begun(
        workspace: &Workspace,
        name: &str,
    ) -> Result<Option<Self>, WorkspaceError> {
        let at = format!("{}/training.json", folder(name));
        workspace.find_json(&at).await
    }

    /// Commits the training, or finds that it is there already.
    ///
    /// # Errors
    /// [`TrainError::Taken`] where another one has the name.
    pub(super) async fn claim(&self, workspace: &Workspace) -> Result<(), TrainError> {
        let at = format!("{}/training.json", folder(&self.name));
        if workspace.create(&at, to_json(self)).await? != Created::Other {
            return Ok(());
        }
        let there: Self = workspace.read_json(&at).await?;
        match self.difference(&there) {
            None => Ok(()),
            Some(difference) => Err(TrainError::Taken {
                name: self.name.clone(),
                difference,
            }),
        }
    }

    /// The first thing in which another one differs, in words.
    fn difference(&self, there: &Self) -> Option<String> {
        let values = [&as_read(self), there].map(|r| serde_json::to_value(r).unwrap_or_default());
        differing("", &values[0], &values[1])
    }
}

fn differing(path: &str, now: &serde_json::Value, then: &serde_json::Value) -> Option<String> {
    // Who began it does not matter, nor how the teachers were spelled that its classes and first weights are of: these are in the record.
    let spelled = ["understudy", "train.classes_of", "train.begin_from"];
    if now == then || spelled.contains(&path) {
        return None;
    }
    if let (Some(a), Some(b)) = (now.as_object(), then.as_object()) {
        let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        return keys.into_iter().find_map(|key| {
            let path = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            let none = serde_json::Value::Null;
            differing(
                &path,
                a.get(key).unwrap_or(&none),
                b.get(key).unwrap_or(&none),
            )
        });
    }
    Some(format!("`{path}` is {now}, it was {then}"))
}

/// What became of a training; none while it has not ended.
pub(super) async fn done(
    workspace: &Workspace,
    name: &str,
) -> Result<Option<Done>, WorkspaceError> {
    let at = format!("{}/done.json", folder(name));
    workspace.find_json(&at).await
}

/// A training, and what became of it; none where there is none of this name.
///
/// # Errors
/// The store's.
pub async fn find(
    workspace: &Workspace,
    name: &str,
) -> Result<Option<(TrainingRecord, Option<Done>)>, WorkspaceError> {
    let at = format!("{}/training.json", folder(name));
    match workspace.find_json(&at).await? {
        Some(record) => Ok(Some((record, done(workspace, name).await?))),
        None => Ok(None),
    }
}

/// As [`find`], where there has to be one.
///
/// # Errors
/// [`WorkspaceError::Unknown`], with what could be meant.
pub async fn get(
    workspace: &Workspace,
    name: &str,
) -> Result<(TrainingRecord, Option<Done>), WorkspaceError> {
    check_name("training", name)?;
    if let Some(found) = find(workspace, name).await? {
        return Ok(found);
    }
    let all = list(workspace).await?;
    let names: Vec<&str> = all.iter().map(|(record, _)| record.name.as_str()).collect();
    let none = "begin one with `understudy train`";
    Err(WorkspaceError::unknown("training", name, &names, none))
}

/// All trainings, and what became of them.
///
/// # Errors
/// The store's.
pub async fn list(
    workspace: &Workspace,
) -> Result<Vec<(TrainingRecord, Option<Done>)>, WorkspaceError> {
    let names = workspace.folders("trainings").await?;
    let of_name = |name: String| async move { find(workspace, &name).await };
    let found = side_by_side(names, of_name).await?;
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_no_other_one_for_having_been_written_and_read() {
        let record = json!({
            "name": "t", "student": "s", "training_model_sha256": "", "train": {"steps": 1}, "noise": {}, "classes": [], "labelled": null,
            "pseudo": null, "begins_from": null, "steps": 1, "rows": [1, 0], "understudy": "0.1.0",
        });
        let mut record: TrainingRecord = serde_json::from_value(record).unwrap();
        let mut moved = 0;
        let odd = [14.399_999_999_999_999, 0.001_125_000_000_000_000_1];
        for peak in (1..2000).map(|n| 0.1 / f64::from(n)).chain(odd) {
            record.train.learning_rate.peak = peak;
            let there: TrainingRecord = serde_json::from_slice(&to_json(&record)).unwrap();
            moved += u32::from(there.train.learning_rate.peak.to_bits() != peak.to_bits());
            assert_eq!(record.difference(&there), None, "{peak}");
        }
        // Otherwise nothing was tried.
        assert!(moved > 0);
        record.train.batch += 1;
        let other = as_read(&record);
        record.train.batch += 1;
        assert!(record.difference(&other).unwrap().contains("train.batch"));
    }
}
