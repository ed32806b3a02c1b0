//! A whole run: one stage after the other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use tempfile::NamedTempFile;

use super::outcome::{self, Finished, Outcome};
use super::record::{self, Made};
use super::task::{Task, task};
use super::{Pipeline, PipelineError, Stage, find, stages};
use crate::child::{self, ChildError};
use crate::config::Config;
use crate::error::Error;
use crate::label::job::LabelJob;
use crate::manifest;
use crate::runtime::Device;
use crate::select::input::Labels;
use crate::select::job::SelectJob;
use crate::store::StorageOptions;
use crate::student::record as students;
use crate::teacher;
use crate::train;
use crate::workspace::Workspace;

/// The exit code of a child that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

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

    async fn execute(&self, workspace: &Workspace, task: Task) -> Result<Made, Error> {
        match task {
            Task::Choose { teacher } => {
                let teacher = teacher::get(workspace, &teacher.parse()?).await?;
                Ok(Made::Chosen {
                    teacher: teacher.record.to_string(),
                })
            }
            Task::Student { name, config } => {
                let config = Config {
                    student: Some(config),
                    ..Config::default()
                };
                self.child(&["student", "init", &name], &config).await?;
                let record = students::get(workspace, &name).await?;
                Ok(Made::Student {
                    student: name,
                    parameters: record.parameters,
                })
            }
            Task::Label {
                dataset,
                source,
                teacher,
                config,
            } => {
                let job = LabelJob {
                    dataset,
                    source: Some(source),
                    teacher: teacher.parse()?,
                    selection: None,
                    noise: None,
                    retry_rejects: false,
                    device: self.device,
                    onnxruntime: self.onnxruntime.clone(),
                    config: *config,
                    storage: self.storage.clone(),
                    visible: self.visible,
                };
                // It listens to Ctrl-C itself, and finishes the shards under way.
                if job.run(workspace).await?.interrupted {
                    return Err(Error::Interrupted);
                }
                let images = listed(workspace, &job.dataset).await?.unwrap_or(0);
                Ok(Made::Labels { teacher, images })
            }
            Task::Select {
                selection,
                dataset,
                teacher,
                config,
            } => {
                let job = SelectJob {
                    id: selection,
                    labels: Labels::Dataset {
                        dataset,
                        teacher: teacher.parse()?,
                        filter: None,
                    },
                    config,
                    explain: false,
                    queries: None,
                    storage: self.storage.clone(),
                };
                let (file, _) = stoppable(async { Ok(job.run(workspace).await?) }).await?;
                Ok(Made::Selection {
                    selection: file.id,
                    labels: file.totals.labels,
                    rows: file.totals.rows,
                    copies: file.totals.copies,
                })
            }
            Task::Train {
                training,
                student,
                config,
            } => {
                let (device, threads) = (self.train_device.to_string(), self.threads.to_string());
                let command = [
                    "train",
                    &training,
                    "--student",
                    &student,
                    "--device",
                    &device,
                    "--threads",
                    &threads,
                ];
                self.child(&command, &config).await?;
                let done = format!("{}/done.json", train::folder(&training));
                Ok(Made::Training(workspace.read_json(&done).await?))
            }
            Task::Evaluate { models, config } => {
                stoppable(self.evaluate(workspace, &models, &config)).await
            }
        }
    }

    /// Runs a command of this executable, with a pipeline file of these sections.
    async fn child(&self, command: &[&str], config: &Config) -> Result<(), Error> {
        let file = written(config).map_err(PipelineError::from)?;
        let mut args: Vec<OsString> = command.iter().map(OsString::from).collect();
        args.extend(["--config".into(), file.path().into()]);
        args.extend(["--workspace".into(), self.workspace.clone().into()]);
        for (key, value) in &self.storage.pairs {
            args.extend(["--storage-option".into(), format!("{key}={value}").into()]);
        }
        if let Some(library) = &self.training_library {
            args.extend(["--onnxruntime-training".into(), library.into()]);
        }
        match child::run(&child::this()?, &args).await {
            Err(ChildError::Failed { code, .. }) if code == INTERRUPTED => Err(Error::Interrupted),
            ended => Ok(ended?),
        }
    }
}

fn written(config: &Config) -> std::io::Result<NamedTempFile> {
    let text = toml::to_string(config).map_err(std::io::Error::other)?;
    let mut file = tempfile::Builder::new()
        .prefix("understudy-")
        .suffix(".toml")
        .tempfile()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// A stage that Ctrl-C ends where it is. Once a process has listened to Ctrl-C, it has to.
async fn stoppable<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
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
    let newest = generations.last();
    Ok(newest.map(|g| g.new + g.changed + g.unchanged))
}
