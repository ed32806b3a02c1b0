//! How a training begins: batches that are made ahead, Ctrl-C, and the thread that the trainer stays on.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::TrainError;
use super::batch::{Batches, Rows};
use super::checkpoint::Restored;
use super::config::TrainConfig;
use super::ema::Ema;
use super::learn::{HeldOut, Learner};
use super::progress::Progress;
use super::schedule::Length;
use crate::child;
use crate::runtime::Runtime;
use crate::student::artifacts::Artifacts;
use crate::student::config::StudentConfig;
use crate::student::export::weights;
use crate::student::ort::{On, OrtTrainer};
use crate::student::trainer::StudentTrainer;
use crate::workspace::Workspace;

/// Batches that are made ahead of the step.
const BATCHES_AHEAD: usize = 2;

/// Makes the batches of the steps from `from` on, ahead of who takes them.
pub(super) fn feed(
    mut batches: Batches,
    from: u64,
    steps: u64,
) -> (JoinHandle<()>, mpsc::Receiver<Result<Rows, TrainError>>) {
    let (give, take) = mpsc::channel(BATCHES_AHEAD);
    let feed = tokio::spawn(async move {
        for step in from..steps {
            let Some(rows) = batches.next(step).await.transpose() else {
                break;
            };
            let failed = rows.is_err();
            if give.send(rows).await.is_err() || failed {
                break;
            }
        }
    });
    (feed, take)
}

/// Sets `stop` at Ctrl-C.
pub(super) async fn interrupts(stop: Arc<AtomicBool>, visible: bool) {
    if child::interrupted().await.is_ok() {
        stop.store(true, Ordering::Relaxed);
        if visible {
            let _ = writeln!(
                std::io::stderr(),
                "stopping: this step is being finished, and a checkpoint made"
            );
        }
    }
}

/// What a training begins with, on the thread that it stays on.
pub(super) struct Start {
    pub(super) runtime: Runtime,
    pub(super) on: On,
    pub(super) student: StudentConfig,
    pub(super) artifacts: Artifacts,
    /// An exported student whose weights it begins with.
    pub(super) initial: Option<Bytes>,
    pub(super) held_out: Option<HeldOut>,
    pub(super) handle: Handle,
    pub(super) workspace: Workspace,
    pub(super) name: String,
    pub(super) train: TrainConfig,
    pub(super) length: Length,
    pub(super) progress: Progress,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) restored: Option<Restored>,
}

impl Start {
    pub(super) fn learner(mut self) -> Result<Learner, TrainError> {
        let (mut ema, mut last, mut pending) = (None, None, Vec::new());
        if let Some(restored) = self.restored {
            self.artifacts.checkpoint = restored.state;
            ema = restored.ema;
            (last, pending) = (restored.checkpoint.last, restored.checkpoint.metrics);
        }
        let mut trainer = OrtTrainer::new(&self.runtime, &self.student, &self.artifacts, self.on)?;
        if let Some(model) = self.initial {
            let infos = trainer.parameters();
            let wanted = infos.iter().map(|p| (p.name.as_str(), p.dims.as_slice()));
            let values = weights(model, wanted)?;
            trainer.write(&values)?;
        }
        let ema = if self.train.ema > 0.0 {
            let mut values = ema.unwrap_or_default();
            if values.is_empty() {
                trainer.read(&mut values)?;
            }
            Some(Ema::new(self.train.ema, values))
        } else {
            None
        };
        Ok(Learner {
            handle: self.handle,
            workspace: self.workspace,
            name: self.name,
            train: self.train,
            length: self.length,
            trainer,
            ema,
            last,
            pending,
            held_out: self.held_out,
            progress: self.progress,
            stop: self.stop,
        })
    }
}
