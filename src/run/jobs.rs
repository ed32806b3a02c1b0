//! `jobs …`, `worker` and `relabel`.

use super::{open, options, say};
use crate::child;
use crate::cli::{JobsCommand, RelabelArgs, WorkerArgs};
use crate::config::{ConfigError, parse_toml};
use crate::error::Error;
use crate::jobs::{self, Job, JobsConfig, State, Submission, Worker};
use crate::output;
use crate::relabel::RelabelJob;

pub(super) async fn jobs(command: JobsCommand) -> Result<(), Error> {
    match command {
        JobsCommand::Submit {
            file,
            key,
            json,
            at,
        } => {
            let text = std::fs::read_to_string(&file).map_err(|source| ConfigError::Read {
                path: file.clone(),
                source,
            })?;
            let name = file.display().to_string();
            let mut submission = Submission::of_file(&file, parse_toml(&name, &text)?)?;
            submission.key = key.or(submission.key);
            let (job, new) = jobs::submit(&open(&at).await?, submission).await?;
            let state = job.state().name();
            say(if new {
                format!(
                    "submitted, to be done by a worker: {}",
                    job.file.work.kind()
                )
            } else {
                format!("the job with this key is there already: {state}")
            });
            print(&job, json, |job| job.file.id.clone())
        }
        JobsCommand::List { json, at } => {
            let all = jobs::list(&open(&at).await?).await?;
            if json {
                let views: Vec<_> = all.iter().map(Job::view).collect();
                return output::json(&views);
            }
            if all.is_empty() {
                say("no jobs yet; submit one with `understudy jobs submit FILE`");
                return Ok(());
            }
            output::line(&jobs::table(&all))
        }
        JobsCommand::Show { id, json, at } => {
            let job = jobs::get(&open(&at).await?, &id).await?;
            print(&job, json, jobs::describe)
        }
        JobsCommand::Cancel { id, json, at } => {
            let job = jobs::cancel(&open(&at).await?, &id, None).await?;
            say(match job.state() {
                State::Cancelled => format!("{id} is cancelled"),
                State::Running => format!("{id} is running; its worker has been asked to end it"),
                other => format!("{id} is {} already", other.name()),
            });
            if json {
                output::json(&job.view())?;
            }
            Ok(())
        }
    }
}

fn print(job: &Job, json: bool, text: impl FnOnce(&Job) -> String) -> Result<(), Error> {
    if json {
        output::json(&job.view())
    } else {
        output::line(&text(job))
    }
}

pub(super) async fn worker(args: WorkerArgs) -> Result<(), Error> {
    let config = match &args.config {
        Some(file) => JobsConfig::read(file)?,
        None => JobsConfig::default(),
    };
    let workspace = open(&args.at).await?;
    if !workspace.file.create_only {
        say(
            "warning: this store ignores create-only puts; run one worker at a time on this workspace",
        );
    }
    let storage = options(&args.at.storage);
    let worker = Worker::new(workspace, &args.at.workspace, storage, config)?;
    say(format!(
        "working on the jobs of `{}`; Ctrl-C hands them back",
        worker.workspace.at.url()
    ));
    worker.run(child::terminated()).await;
    Ok(())
}

pub(super) async fn relabel(args: RelabelArgs) -> Result<(), Error> {
    let job = RelabelJob {
        dataset: args.dataset,
        promotion: args.promotion,
        newest_first: args.newest_first,
        dry_run: args.dry_run,
        device: args.runtime.device,
        onnxruntime: args.runtime.onnxruntime,
        storage: options(&args.at.storage),
        visible: true,
    };
    let relabelled = Box::pin(job.run(&open(&args.at).await?)).await?;
    if args.json {
        output::json(&relabelled)
    } else {
        output::line(&relabelled.describe())
    }
}
