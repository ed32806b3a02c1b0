//! A whole evaluation: the models, the data, one pass for each model, the comparison.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use futures::stream::StreamExt;

use super::answers::{Answer, compare};
use super::model::{Model, ModelSpec};
use super::predictions::Predictions;
use super::tally::Tally;
use super::{DataFigures, EvaluateError, Evaluation, ModelFigures};
use crate::config::Config;
use crate::error::Error;
use crate::label::classifiers;
use crate::label::infer::{Outcome, Workers};
use crate::label::progress::{Progress, Timings};
use crate::labelled::Labelled;
use crate::runtime::{Device, Runtime};
use crate::say::say;
use crate::store::StorageOptions;
use crate::teacher::differing_classes;
use crate::workspace::Workspace;

/// What an evaluation is asked to do.
#[derive(Debug, Clone)]
pub struct EvaluateJob {
    /// The model, A.
    pub model: ModelSpec,
    /// The model it is compared with, B.
    pub against: Option<ModelSpec>,
    /// `[data]`, `[decode]` and `[label]`.
    pub config: Config,
    /// Where the models run.
    pub device: Device,
    /// A libonnxruntime.so to be used rather than the one found.
    pub onnxruntime: Option<PathBuf>,
    /// For all stores.
    pub storage: StorageOptions,
    /// Where each image's predictions are written.
    pub predictions: Option<String>,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
}

impl EvaluateJob {
    /// Runs the job.
    ///
    /// # Errors
    /// Any stage's.
    pub async fn run(&self, workspace: Option<&Workspace>) -> Result<Evaluation, Error> {
        let data = self.config.data.as_ref().filter(|d| !d.url.is_empty());
        let data = data.ok_or(EvaluateError::NoData)?;
        let runtime = Runtime::load(self.onnxruntime.as_deref(), self.device)?;
        if let Device::Cuda(id) = self.device {
            runtime.try_cuda(id)?;
        }
        let mut models = Vec::new();
        for spec in std::iter::once(&self.model).chain(&self.against) {
            models.push(spec.read(workspace, &self.storage, &runtime).await?);
        }
        let (device, why) = runtime.resolve(self.device);
        if self.device == Device::Auto {
            self.note(&format!("device {device}: {why}"));
        }
        same_classes(&models)?;
        let names = &models[0].config.classes.names;
        let labelled = Labelled::open(data, Some(names), &self.config, &self.storage).await?;
        let figures = DataFigures {
            url: data.url.clone(),
            images: labelled.images(),
            unlabelled: labelled.unlabelled(),
            classes: labelled.counts().iter().filter(|n| **n > 0).count(),
            fingerprint: labelled.fingerprint().to_owned(),
        };
        let mut predictions = match &self.predictions {
            None => None,
            Some(_) => Some(Predictions::new(&figures, &labelled)?),
        };
        let (mut evaluated, mut answers) = (Vec::new(), Vec::new());
        for model in &models {
            let (of_model, answered) = self
                .evaluate(model, &labelled, &runtime, device, predictions.as_mut())
                .await?;
            evaluated.push(of_model);
            answers.push(answered);
        }
        let comparison = match (&evaluated[..], &answers[..]) {
            ([a, b], [of_a, of_b]) => Some(compare((&a.model, of_a), (&b.model, of_b))?),
            _ => None,
        };
        if let (Some(predictions), Some(place)) = (predictions, &self.predictions) {
            predictions.finish(place, &self.storage).await?;
        }
        Ok(Evaluation {
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
            data: figures,
            models: evaluated,
            comparison,
        })
    }

    /// One pass over the data.
    async fn evaluate(
        &self,
        model: &Model,
        labelled: &Labelled,
        runtime: &Runtime,
        device: Device,
        mut predictions: Option<&mut Predictions>,
    ) -> Result<(ModelFigures, Vec<Answer>), Error> {
        let label = &self.config.label;
        let (classifiers, batch) =
            classifiers(runtime, device, &model.bytes, &model.config, label)?;
        let timings = Arc::new(Timings::default());
        let decode = &self.config.decode;
        let workers = Workers::start(classifiers, &model.config, decode, None, &timings);
        let fetcher = labelled.fetcher(label, batch, Arc::clone(&timings));
        let progress = Progress::new(labelled.images(), workers.len(), timings, self.visible);
        let ahead = workers.len() * label.prefetch;
        let name: Arc<str> = Arc::from(model.name.as_str());
        let mut tally = Tally::default();
        let mut answers = Vec::new();
        let work = async {
            let outcomes = labelled
                .batches(&fetcher, ahead)
                .map(|batch| async {
                    let batch = batch?;
                    let (about, fetched): (Vec<_>, Vec<_>) = batch
                        .into_iter()
                        .map(|s| ((s.key, s.class), s.fetched))
                        .unzip();
                    let outcomes = workers.label(fetched).await?;
                    Ok::<Vec<((String, u16), Outcome)>, Error>(
                        about.into_iter().zip(outcomes).collect(),
                    )
                })
                .buffered(ahead);
            let mut outcomes = std::pin::pin!(outcomes);
            while let Some(batch) = outcomes.try_next().await? {
                for ((key, class), outcome) in batch {
                    let judged = match &outcome.label {
                        Ok(prediction) => Some(tally.push(class, prediction)),
                        Err(reject) => {
                            tally.reject(reject);
                            None
                        }
                    };
                    let good = u64::from(judged.is_some());
                    progress.count(good, 1 - good);
                    if self.against.is_some() {
                        answers.push(match judged {
                            None => Answer::None,
                            Some(judged) if judged.rank == 1 => Answer::Right,
                            Some(_) => Answer::Wrong,
                        });
                    }
                    if let Some(predictions) = &mut predictions {
                        predictions.push(key, &name, class, outcome, judged)?;
                    }
                }
            }
            Ok::<(), Error>(())
        };
        let outcome = tokio::select! {
            done = work => done,
            () = progress.show(self.visible) => Ok(()),
        };
        progress.finish();
        outcome?;
        let seconds = progress.seconds();
        if tally.images() == 0 {
            return Err(EvaluateError::Nothing {
                model: model.name.clone(),
                images: labelled.images(),
                reasons: super::table::reasons(tally.rejected()),
            }
            .into());
        }
        let figures = tally.finish(labelled.classes());
        Ok((
            ModelFigures {
                model: model.name.clone(),
                model_sha256: model.sha256.clone(),
                device: device.to_string(),
                seconds,
                images_per_second: progress.done() as f64 / seconds.max(1e-9),
                figures,
            },
            answers,
        ))
    }

    fn note(&self, text: &str) {
        if self.visible {
            say(text);
        }
    }
}

/// Models that are compared have to have the same classes in the same order.
fn same_classes(models: &[Model]) -> Result<(), EvaluateError> {
    let [a, b] = models else {
        return Ok(());
    };
    let (of_a, of_b) = (&a.config.classes.names, &b.config.classes.names);
    let Some(detail) = differing_classes(of_a, of_b) else {
        return Ok(());
    };
    Err(EvaluateError::OtherClasses {
        a: a.name.clone(),
        b: b.name.clone(),
        detail,
    })
}
