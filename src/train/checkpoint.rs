//! Checkpoints: where a training goes on after any end. `checkpoints/00000500.json` is the commit of one; its files are named by their content.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::batch::Position;
use super::metrics::Metrics;
use super::{TrainError, folder};
use crate::store::Created;
use crate::student::record::FileRecord;
use crate::workspace::{Workspace, to_json};

/// How many are kept: the newest, and the one before it.
const KEPT: usize = 2;

/// A checkpoint's commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Steps that are done.
    pub step: u64,
    /// Where the streams of images go on.
    pub position: Position,
    /// Parameters, running statistics and the optimizer's moments, as the training library writes them.
    pub state: FileRecord,
    /// The moving average of the parameters, 4 bytes each, little-endian, in the order of the training model; none where there is no average.
    pub ema: Option<FileRecord>,
    /// The last step.
    pub last: Option<Metrics>,
    /// Steps of a stretch that is not at its end, and so has no metrics file yet. Single precision survives JSON to the bit.
    pub metrics: Vec<Metrics>,
}

/// What a checkpoint restores.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) checkpoint: Checkpoint,
    pub(super) state: Bytes,
    pub(super) ema: Option<Vec<f32>>,
}

/// What is kept of a training at one time.
#[derive(Debug)]
pub(super) struct State {
    pub(super) step: u64,
    pub(super) position: Position,
    pub(super) last: Option<Metrics>,
    pub(super) metrics: Vec<Metrics>,
    pub(super) trainer: Bytes,
    pub(super) ema: Option<Bytes>,
}

fn place(training: &str) -> String {
    format!("{}/checkpoints", folder(training))
}

fn is_commit(name: &str) -> bool {
    name.strip_suffix(".json").is_some()
}

/// Parameters as the file has them.
pub(super) fn to_bytes(values: &[f32]) -> Bytes {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn from_bytes(bytes: &Bytes) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// The newest checkpoint of a training, if it has one.
///
/// # Errors
/// [`TrainError::Damaged`], and the store's.
pub(super) async fn newest(
    workspace: &Workspace,
    training: &str,
) -> Result<Option<Restored>, TrainError> {
    let place = place(training);
    let names = workspace.names(&place).await?;
    let Some(name) = names.iter().rfind(|n| is_commit(n)) else {
        return Ok(None);
    };
    let checkpoint: Checkpoint = workspace.read_json(&format!("{place}/{name}")).await?;
    let read = async |file: &FileRecord| {
        let at = format!("{place}/{}", file.name);
        let bytes = workspace.read(&at).await?;
        if file.is_of(&bytes) {
            Ok(bytes)
        } else {
            Err(TrainError::Damaged {
                url: workspace.url(&at),
            })
        }
    };
    let state = read(&checkpoint.state).await?;
    let ema = match &checkpoint.ema {
        Some(file) => Some(from_bytes(&read(file).await?)),
        None => None,
    };
    Ok(Some(Restored {
        checkpoint,
        state,
        ema,
    }))
}

/// Commits a checkpoint, and removes those that are older than the one before it.
///
/// # Errors
/// The store's.
pub(super) async fn commit(
    workspace: &Workspace,
    training: &str,
    state: State,
) -> Result<(), TrainError> {
    let place = place(training);
    let stem = format!("{:08}", state.step);
    let put = async |suffix: &str, bytes: Bytes| {
        let file = FileRecord::new(&stem, suffix, &bytes);
        let at = format!("{place}/{}", file.name);
        if workspace.create(&at, bytes.clone()).await? == Created::Other {
            // Its name says what it holds: what holds something else is damaged, and is made anew.
            workspace.remove(&at).await?;
            if workspace.create(&at, bytes).await? == Created::Other {
                return Err(TrainError::Damaged {
                    url: workspace.url(&at),
                });
            }
        }
        Ok(file)
    };
    let checkpoint = Checkpoint {
        step: state.step,
        position: state.position,
        state: put(".state", state.trainer).await?,
        ema: match state.ema {
            Some(bytes) => Some(put(".ema", bytes).await?),
            None => None,
        },
        last: state.last,
        metrics: state.metrics,
    };
    let commit = format!("{place}/{stem}.json");
    // Where another process was first with this step, its checkpoint is as good.
    workspace.create(&commit, to_json(&checkpoint)).await?;
    remove_old(workspace, &place).await
}

/// Removes all but the newest checkpoints, each commit before its files.
async fn remove_old(workspace: &Workspace, place: &str) -> Result<(), TrainError> {
    let names = workspace.names(place).await?;
    let commits: Vec<&String> = names.iter().filter(|n| is_commit(n)).collect();
    let Some(oldest_kept) = commits.iter().rev().nth(KEPT - 1) else {
        return Ok(());
    };
    let stem = oldest_kept.trim_end_matches(".json");
    let mut old: Vec<&String> = names.iter().filter(|n| n.as_str() < stem).collect();
    old.sort_by_key(|name| !is_commit(name));
    for name in old {
        workspace.remove(&format!("{place}/{name}")).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_back_to_the_bit() {
        let values = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::MAX];
        let back = from_bytes(&to_bytes(&values));
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&values));
    }
}
