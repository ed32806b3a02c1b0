//! A whole run: one stage after the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::outcome::{self, Finished, Outcome};
use super::record::{self, Made};
use super::task::{Task, task};
use super::{Pipeline, PipelineError, Stage, What, find, stages};
use crate::error::Error;
use crate::manifest;
use crate::runtime::Device;
use crate::select;
use crate::store::StorageOptions;
use crate::workspace::Workspace;

/// Which stages are run.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// The first; those before it have to be done.
    pub from: Option<String>,
    /// The last round.
    pub round: Option<usize>,
}

/// `understudy run`.
#[derive(Debug, Clone)]
pub struct RunJob {
    /// The file.
    pub pipeline: Pipeline,
    /// Which of its stages.
    pub bounds: Bounds,
    /// The workspace, as typed: children are told.
    pub workspace: String,
    /// Where models label and are evaluated.
    pub device: Device,
    /// A libonnxruntime.so to be used for that rather than the one found.
    pub onnxruntime: Option<PathBuf>,
    /// Where students are trained.
    pub train_device: Device,
    /// Threads of the CPU that train; 0 for one a core.
    pub threads: usize,
    /// A training build of ONNX Runtime to be used rather than the one found.
    pub training_library: Option<PathBuf>,
    /// For all stores.
    pub storage: StorageOptions,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
}

/// A stage that comes up.
pub(super) struct Next {
    /// What it is asked to do; none where a stage that it needs is not done.
    pub(super) task: Option<Task>,
    /// Where its record lies.
    pub(super) place: Option<String>,
    /// What it came to, where it is done.
    pub(super) made: Option<Made>,
}

impl RunJob {
    /// Runs the stages that are not done, and tells of each when it is.
    ///
    /// # Errors
    /// Any stage's. What is done stays, and the same job goes on from there.
    pub async fn run(
        &self,
        workspace: &Workspace,
        mut tell: impl FnMut(&Finished) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let (stages, begin) = self.stages()?;
        // What a selection would miss after days is told at once.
        for stage in stages.iter().filter(|stage| stage.what == What::Select) {
            let exclude = self.pipeline.select(stage.part).exclude;
            select::check_held_out(workspace, &exclude).await?;
        }
        let mut made = BTreeMap::new();
        let mut all = Vec::new();
        for (n, &stage) in stages.iter().enumerate() {
            let next = self.next(workspace, stage, &made).await?;
            let started = Instant::now();
            let (now, came_to) = match (next.made, next.task, next.place) {
                (Some(came_to), ..) => (false, came_to),
                (None, Some(task), Some(place)) if n >= begin => {
                    let came_to = Box::pin(self.execute(workspace, task)).await?;
                    (true, record::commit(workspace, &place, came_to).await?)
                }
                _ => return Err(missing(&stages, begin, n)),
            };
            let finished = Finished {
                stage: stage.to_string(),
                now,
                seconds: now.then(|| started.elapsed().as_secs_f64()),
                made: came_to.clone(),
            };
            tell(&finished)?;
            all.push(finished);
            made.insert(stage, came_to);
        }
        Ok(Outcome {
            name: self.pipeline.run.name.clone(),
            stages: all,
            models: outcome::models(&made),
        })
    }

    /// All stages, and the place of the one to begin with.
    pub(super) fn stages(&self) -> Result<(Vec<Stage>, usize), PipelineError> {
        let stages = stages(&self.pipeline, self.bounds.round)?;
        let begin = match &self.bounds.from {
            Some(name) => find(&stages, name)?,
            None => 0,
        };
        Ok((stages, begin))
    }

    /// Looks at a stage.
    pub(super) async fn next(
        &self,
        workspace: &Workspace,
        stage: Stage,
        made: &BTreeMap<Stage, Made>,
    ) -> Result<Next, Error> {
        let task = task(&self.pipeline, stage, made);
        let mut next = Next {
            task,
            place: None,
            made: None,
        };
        if let Some(task) = &next.task {
            let settings = serde_json::to_value(task).map_err(std::io::Error::from)?;
            let place = record::place(&self.pipeline.run.name, stage, &settings);
            next.made = workspace.find_json(&place).await?;
            next.place = Some(place);
        }
        Ok(next)
    }
}

/// The error of a run that cannot begin where it is told to.
pub(super) fn missing(stages: &[Stage], begin: usize, missing: usize) -> Error {
    PipelineError::Missing {
        from: stages[begin].to_string(),
        missing: stages[missing].to_string(),
    }
    .into()
}

/// How many images a dataset has; none where it is not listed yet.
pub(super) async fn listed(workspace: &Workspace, dataset: &str) -> Result<Option<u64>, Error> {
    let generations = manifest::generations(workspace, dataset).await?;
    Ok((!generations.is_empty()).then(|| manifest::images(&generations)))
}
