//! The loop over steps. It runs on a thread of its own, which the trainer stays on; batches come through a bounded channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;

use super::batch::{Position, Rows};
use super::checkpoint::{self, State};
use super::config::TrainConfig;
use super::ema::Ema;
use super::examples::{Look, Raw, examples};
use super::metrics::{self, Metrics, Sums};
use super::progress::Progress;
use super::schedule::Length;
use super::spent::Spent;
use super::{TrainError, folder};
use crate::label::fetch::Fetcher;
use crate::labelled::Labelled;
use crate::student::ort::OrtTrainer;
use crate::student::trainer::{ParameterInfo, StudentTrainer};
use crate::workspace::Workspace;

/// Images of an evaluation that are in the network at once.
const EVALUATED: usize = 128;
/// Batches of held-out images that are fetched ahead.
const AHEAD: usize = 4;

/// Images that are never learned from.
pub(super) struct HeldOut {
    pub(super) data: Arc<Labelled>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) look: Look,
    pub(super) workers: usize,
}

/// A training under way.
pub(super) struct Learner {
    pub(super) handle: Handle,
    pub(super) workspace: Workspace,
    pub(super) name: String,
    pub(super) train: TrainConfig,
    pub(super) length: Length,
    pub(super) trainer: OrtTrainer,
    pub(super) ema: Option<Ema>,
    /// The last step's.
    pub(super) last: Option<Metrics>,
    /// Of a stretch that is not at its end.
    pub(super) pending: Vec<Metrics>,
    pub(super) held_out: Option<HeldOut>,
    pub(super) progress: Progress,
    pub(super) stop: Arc<AtomicBool>,
}

/// How a training came to its end, or to its interruption.
pub(super) struct End {
    /// All parameters.
    pub(super) infos: Vec<ParameterInfo>,
    /// The weights that become the teacher: the averaged ones, where there is an average.
    pub(super) values: Vec<f32>,
    pub(super) position: Position,
    /// The last step's; none where none was ever done.
    pub(super) last: Option<Metrics>,
    pub(super) interrupted: bool,
    pub(super) spent: Spent,
}

impl Learner {
    /// Learns from step `from` on.
    pub(super) fn learn(
        mut self,
        from: u64,
        mut position: Position,
        batches: &mut Receiver<Result<Rows, TrainError>>,
    ) -> Result<End, TrainError> {
        let mut values = Vec::new();
        let mut done = from;
        let mut interrupted = false;
        let mut spent = Spent::default();
        while done < self.length.steps {
            let rows = timed(&mut spent.images, || batches.blocking_recv());
            let rows = rows.ok_or(TrainError::Ended { step: done })??;
            let mut metrics = timed(&mut spent.network, || self.step(done, &rows))?;
            spent.learned += rows.len() as u64;
            if let Some(ema) = &mut self.ema {
                timed(&mut spent.average, || {
                    self.trainer.read(&mut values)?;
                    ema.follow(done, &values);
                    Ok::<_, TrainError>(())
                })?;
            }
            position = rows.next;
            done += 1;
            interrupted = self.stop.load(Ordering::Relaxed) && done < self.length.steps;
            let ends =
                done == self.length.steps || done.is_multiple_of(self.train.checkpoint_steps);
            if ends && let Some(figures) = timed(&mut spent.held_out, || self.evaluate())? {
                metrics.held_out_loss = figures.mean_loss();
                metrics.held_out_top1 = figures.top1();
            }
            self.progress.step(&metrics);
            self.last = Some(metrics.clone());
            self.pending.push(metrics);
            if ends || interrupted {
                timed(&mut spent.checkpoints, || {
                    self.checkpoint(done, position, ends)
                })?;
            }
            if interrupted {
                break;
            }
        }
        self.progress.finish();
        if let Some(ema) = &self.ema {
            values.clear();
            values.extend_from_slice(ema.values());
        } else {
            self.trainer.read(&mut values)?;
        }
        Ok(End {
            infos: self.trainer.parameters().to_vec(),
            values,
            position,
            last: self.last,
            interrupted,
            spent,
        })
    }

    /// One step.
    fn step(&mut self, step: u64, rows: &Rows) -> Result<Metrics, TrainError> {
        let shape = self.trainer.shape().clone();
        let (mut loss, mut logits) = (0.0, Vec::with_capacity(rows.targets.len()));
        for pass in rows.passes(&shape) {
            let passed = self.trainer.step(&pass)?;
            loss += passed.loss;
            logits.extend(passed.logits);
        }
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step, loss });
        }
        let learning_rate = self.train.learning_rate.at(step, &self.length);
        self.trainer.apply(learning_rate)?;
        let [labelled, pseudo] = metrics::sums(rows, &logits, shape.classes);
        Ok(Metrics {
            step,
            epoch: (step as f64 / self.length.steps_per_epoch) as f32,
            learning_rate,
            loss,
            labelled_loss: labelled.mean_loss(),
            labelled_top1: labelled.top1(),
            pseudo_loss: pseudo.mean_loss(),
            pseudo_top1: pseudo.top1(),
            held_out_loss: None,
            held_out_top1: None,
        })
    }

    /// What the averaged weights are worth on the held-out images.
    fn evaluate(&mut self) -> Result<Option<Sums>, TrainError> {
        let Some(held_out) = &self.held_out else {
            return Ok(None);
        };
        let mut own = Vec::new();
        if let Some(ema) = &self.ema {
            self.trainer.read(&mut own)?;
            self.trainer.write(ema.values())?;
        }
        let shape = self.trainer.shape().clone();
        let trainer = &mut self.trainer;
        let sums = self.handle.block_on(async {
            let batches = held_out.data.batches(&held_out.fetcher, AHEAD);
            let raw = batches
                .map_err(TrainError::from)
                .map_ok(|samples| {
                    futures::stream::iter(samples.into_iter().map(|s| Ok(Raw::from(s))))
                })
                .try_flatten();
            let examples = examples(Box::pin(raw), held_out.look.clone(), held_out.workers);
            let mut chunks = examples.try_chunks(EVALUATED);
            let mut sums = Sums::default();
            let (mut images, mut logits) = (Vec::new(), Vec::new());
            while let Some(chunk) = chunks.try_next().await.map_err(|e| e.1)? {
                images.clear();
                let mut targets = vec![0.0; chunk.len() * shape.classes];
                for (example, row) in chunk.iter().zip(targets.chunks_exact_mut(shape.classes)) {
                    images.extend_from_slice(&example.pixels);
                    example.target.write(0.0, row);
                }
                trainer.logits(&images, &mut logits)?;
                sums.add(&logits, &targets, shape.classes);
            }
            Ok::<_, TrainError>(sums)
        })?;
        if self.ema.is_some() {
            self.trainer.write(&own)?;
        }
        Ok(Some(sums))
    }

    /// Commits what is done; at the end of a stretch with its metrics.
    fn checkpoint(&mut self, step: u64, position: Position, ends: bool) -> Result<(), TrainError> {
        if ends {
            let first = self.pending.first().map_or(step, |m| m.step);
            let at = format!("{}/metrics-{first:08}.parquet", folder(&self.name));
            let bytes = metrics::encode(&self.pending)?;
            // Of a training that goes on with another number of threads the last bits may differ: the file that is there stays.
            self.handle.block_on(self.workspace.create(&at, bytes))?;
            if let Some(Metrics {
                held_out_top1: Some(top1),
                held_out_loss: Some(loss),
                ..
            }) = self.pending.last()
            {
                self.progress.note(&format!(
                    "step {step}: held-out top-1 {:.2} %, loss {loss:.3}",
                    top1 * 100.0
                ));
            }
            self.pending.clear();
        }
        let state = State {
            step,
            position,
            metrics: self.pending.clone(),
            last: self.last.clone(),
            trainer: self.trainer.save()?,
            ema: self.ema.as_ref().map(|e| checkpoint::to_bytes(e.values())),
        };
        let commit = checkpoint::commit(&self.workspace, &self.name, state);
        self.handle.block_on(commit)
    }
}

/// Does it, and adds how long that took.
fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    *spent += begun.elapsed();
    done
}
