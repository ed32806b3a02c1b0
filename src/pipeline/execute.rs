//! A stage's work, as the command of its own does it.

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::job::listed;
use super::record::Made;
use super::task::Task;
use super::{PipelineError, RunJob};
use crate::catalog::QUERY_MEMORY;
use crate::child::{self, ChildError};
use crate::config::Config;
use crate::error::{Error, INTERRUPTED};
use crate::label::job::LabelJob;
use crate::label::noise::TeacherNoise;
use crate::say::say;
use crate::select::input::Labels;
use crate::select::job::SelectJob;
use crate::student::config::StudentConfig;
use crate::student::record as students;
use crate::teacher;
use crate::train;
use crate::workspace::Workspace;

impl RunJob {
    /// Does what a stage is asked to do.
    pub(super) async fn execute(&self, workspace: &Workspace, task: Task) -> Result<Made, Error> {
        match task {
            Task::Choose { teacher } => {
                let teacher = teacher::get(workspace, &teacher.parse()?).await?;
                Ok(Made::Chosen {
                    teacher: teacher.record.to_string(),
                })
            }
            Task::Student { name, config } => self.make(workspace, name, config).await,
            Task::Label {
                dataset,
                source,
                teacher,
                selection,
                noise,
                config,
            } => {
                let job = LabelJob {
                    dataset,
                    source: Some(source),
                    teacher: teacher.parse()?,
                    selection,
                    noise,
                    retry_rejects: false,
                    newest_first: false,
                    pin: false,
                    device: self.device,
                    onnxruntime: self.onnxruntime.clone(),
                    config: *config,
                    storage: self.storage.clone(),
                    visible: self.visible,
                    stop: Arc::default(),
                };
                self.label(workspace, &job).await
            }
            Task::Select {
                selection,
                dataset,
                teacher,
                filter,
                config,
            } => {
                let job = SelectJob {
                    id: selection,
                    labels: Labels::Dataset {
                        dataset,
                        teacher: teacher.parse()?,
                        filter: filter.map(|filter| filter.parse()).transpose()?,
                    },
                    config,
                    explain: false,
                    queries: None,
                    storage: self.storage.clone(),
                    memory: QUERY_MEMORY,
                };
                let (file, _) =
                    stoppable(async { Ok(Box::pin(job.run(workspace)).await?) }).await?;
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
            } => self.train(workspace, &training, &student, &config).await,
            Task::Evaluate { models, config } => {
                stoppable(self.evaluate(workspace, &models, &config)).await
            }
        }
    }

    async fn make(
        &self,
        workspace: &Workspace,
        student: String,
        config: StudentConfig,
    ) -> Result<Made, Error> {
        let config = Config {
            student: Some(config),
            ..Config::default()
        };
        self.child(&["student", "init", &student], &config).await?;
        let record = students::get(workspace, &student).await?;
        Ok(Made::Student {
            student,
            parameters: record.parameters,
        })
    }

    async fn label(&self, workspace: &Workspace, job: &LabelJob) -> Result<Made, Error> {
        if let Some(left_out) = job.noise.as_ref().and_then(TeacherNoise::left_out) {
            self.note(&format!("note: {left_out}"));
        }
        // It listens to Ctrl-C itself, and finishes the shards under way.
        let summary = job.run(workspace).await?;
        if summary.interrupted {
            return Err(Error::Interrupted);
        }
        if let Some(unfinished) = summary.unfinished() {
            return Err(unfinished.into());
        }
        let images = match &summary.selection {
            Some(selection) => {
                let left_out = selection.left_out();
                left_out.iter().for_each(|line| self.note(line));
                selection.images
            }
            None => listed(workspace, &job.dataset).await?.unwrap_or(0),
        };
        Ok(Made::Labels {
            teacher: summary.teacher,
            images,
        })
    }

    async fn train(
        &self,
        workspace: &Workspace,
        training: &str,
        student: &str,
        config: &Config,
    ) -> Result<Made, Error> {
        let (device, threads) = (self.train_device.to_string(), self.threads.to_string());
        let command = [
            "train",
            training,
            "--student",
            student,
            "--device",
            &device,
            "--threads",
            &threads,
        ];
        self.child(&command, config).await?;
        let done = format!("{}/done.json", train::folder(training));
        Ok(Made::Training(workspace.read_json(&done).await?))
    }

    fn note(&self, text: &str) {
        if self.visible {
            say(text);
        }
    }

    /// Runs a command of this executable, with a settings file of these sections.
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
        _ = child::interrupted() => Err(Error::Interrupted),
    }
}
