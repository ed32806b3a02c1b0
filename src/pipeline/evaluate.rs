//! The evaluation at the end of a round.

use super::RunJob;
use super::record::{Judged, Made};
use crate::config::Config;
use crate::error::Error;
use crate::evaluate::{EvaluateJob, Evaluation, ModelFigures, ModelSpec};
use crate::workspace::Workspace;

impl RunJob {
    /// Evaluates the models, and compares each (A) with the last (B).
    pub(super) async fn evaluate(
        &self,
        workspace: &Workspace,
        models: &[String],
        config: &Config,
    ) -> Result<Made, Error> {
        let mut judged = Vec::new();
        let mut comparisons = Vec::new();
        if let [others @ .., last] = models {
            for other in others {
                let mut both = self.pair(workspace, other, Some(last), config).await?;
                let student = both.models.pop();
                judged.extend(figures(both.models));
                comparisons.extend(both.comparison);
                if comparisons.len() == others.len() {
                    judged.extend(figures(student.into_iter().collect()));
                }
            }
            if others.is_empty() {
                judged = figures(self.pair(workspace, last, None, config).await?.models);
            }
        }
        Ok(Made::Evaluation {
            models: judged,
            comparisons,
        })
    }

    async fn pair(
        &self,
        workspace: &Workspace,
        model: &str,
        against: Option<&String>,
        config: &Config,
    ) -> Result<Evaluation, Error> {
        let against = against.map(|name| name.parse()).transpose()?;
        let job = EvaluateJob {
            model: ModelSpec::teacher(model.parse()?),
            against: against.map(ModelSpec::teacher),
            config: config.clone(),
            device: self.device,
            onnxruntime: self.onnxruntime.clone(),
            storage: self.storage.clone(),
            predictions: None,
            visible: self.visible,
        };
        job.run(Some(workspace)).await
    }
}

fn figures(models: Vec<ModelFigures>) -> Vec<Judged> {
    let judged = models.into_iter().map(|m| Judged {
        model: m.model,
        top1: m.figures.top1,
    });
    judged.collect()
}
