//! The evaluation at the end of a round: each model once, and comparisons from their predictions, which stay in the workspace.

use sha2::{Digest, Sha256};

use super::RunJob;
use super::record::{Judged, Made};
use crate::config::Config;
use crate::error::Error;
use crate::evaluate::{Answers, EvaluateError, EvaluateJob, ModelSpec};
use crate::hex::hex;
use crate::workspace::{Workspace, to_json};

impl RunJob {
    /// Evaluates the models that are not yet, and compares each (A) with the last (B).
    pub(super) async fn evaluate(
        &self,
        workspace: &Workspace,
        models: &[String],
        config: &Config,
    ) -> Result<Made, Error> {
        let [others @ .., last] = models else {
            return Ok(Made::Evaluation {
                models: Vec::new(),
                comparisons: Vec::new(),
            });
        };
        // The last is new, and tells what the data are now: predictions on other ones are made again.
        let of_last = self.predict(workspace, last, config).await?;
        let (mut judged, mut comparisons) = (Vec::new(), Vec::new());
        for model in others {
            let place = self.predictions(workspace, model, config);
            let there = Answers::read(model, &place, &self.storage).await?;
            let answers = match there.filter(|a| a.fingerprint() == of_last.fingerprint()) {
                Some(answers) => answers,
                None => self.predict(workspace, model, config).await?,
            };
            judged.extend(figures(model, &answers));
            comparisons.push(answers.compare(&of_last)?);
        }
        judged.extend(figures(last, &of_last));
        Ok(Made::Evaluation {
            models: judged,
            comparisons,
        })
    }

    async fn predict(
        &self,
        workspace: &Workspace,
        model: &str,
        config: &Config,
    ) -> Result<Answers, Error> {
        let place = self.predictions(workspace, model, config);
        let job = EvaluateJob {
            model: ModelSpec::teacher(model.parse()?),
            against: None,
            config: config.clone(),
            device: self.device,
            onnxruntime: self.onnxruntime.clone(),
            storage: self.storage.clone(),
            predictions: Some(place.clone()),
            visible: self.visible,
        };
        job.run(Some(workspace)).await?;
        let answers = Answers::read(model, &place, &self.storage).await?;
        answers.ok_or_else(|| EvaluateError::Vanished { place }.into())
    }

    /// Where a model's predictions on these held-out images lie.
    fn predictions(&self, workspace: &Workspace, model: &str, config: &Config) -> String {
        let hash = hex(&Sha256::digest(to_json(config)));
        let run = &self.pipeline.run.name;
        workspace.url(&format!(
            "pipelines/{run}/predictions/{model}-{}.parquet",
            &hash[..16]
        ))
    }
}

fn figures(model: &str, answers: &Answers) -> Option<Judged> {
    Some(Judged {
        model: model.to_owned(),
        top1: answers.top1()?,
    })
}
