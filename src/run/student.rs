//! `student …` and `train`.

use serde::Serialize;

use super::{config, open, options, say};
use crate::cli::{StudentCommand, StudentInitArgs, TrainArgs};
use crate::config::ConfigError;
use crate::error::Error;
use crate::output;
use crate::student::config::StudentConfig;
use crate::student::noise::Noise;
use crate::student::record::InitJob;
use crate::student::{artifacts, record};
use crate::train::{self, Done, Shares, TrainJob};

pub(super) async fn student(command: StudentCommand) -> Result<(), Error> {
    match command {
        StudentCommand::Init(args) => student_init(*args).await,
        StudentCommand::List { json, at } => {
            let records = record::list(&open(&at).await?).await?;
            if json {
                return output::json(&records);
            }
            for r in &records {
                output::line(&r.line())?;
            }
            if records.is_empty() {
                say(
                    "no students yet; make one with `understudy student init NAME --architecture small --classes N`",
                );
            }
            Ok(())
        }
        StudentCommand::Show { name, json, at } => {
            let r = record::get(&open(&at).await?, &name).await?;
            if json {
                return output::json(&r);
            }
            let text =
                toml::to_string(&r.config).map_err(|e| Error::Output(std::io::Error::other(e)))?;
            output::line(&format!("# {}\n{}", r.line(), text.trim_end()))
        }
    }
}

async fn student_init(args: StudentInitArgs) -> Result<(), Error> {
    let section = config(args.config.as_deref())?.student;
    let mut student = match (section, args.architecture, args.classes) {
        (Some(section), _, _) => section,
        (None, Some(architecture), Some(classes)) => StudentConfig::new(architecture, classes),
        (None, _, _) => {
            return Err(ConfigError::missing(
                "[student]",
                "write the section, or give --architecture and --classes",
            )
            .into());
        }
    };
    student.architecture = args.architecture.unwrap_or(student.architecture);
    student.classes = args.classes.unwrap_or(student.classes);
    student.input = args.input.or(student.input);
    student.width = args.width.unwrap_or(student.width);
    student.seed = args.seed.unwrap_or(student.seed);
    student.frozen_blocks = args.frozen_blocks.unwrap_or(student.frozen_blocks);
    let job = InitJob {
        name: args.name,
        config: student,
        python: artifacts::python(args.python.as_deref()),
        training_library: args.training.onnxruntime_training,
        trial: !args.skip_trial,
    };
    let (record, new) = job.run(&open(&args.at).await?).await?;
    say(if new {
        format!("made the student {}", record.line())
    } else {
        format!("the student {} is there already", record.line())
    });
    if args.json {
        output::json(&record)?;
    }
    Ok(())
}

/// What `train --json` prints: done.json, and how fast it went where it was not done before.
#[derive(Serialize)]
struct Trained {
    #[serde(flatten)]
    done: Done,
    #[serde(skip_serializing_if = "Option::is_none")]
    images_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Shares>,
}

pub(super) async fn train(args: TrainArgs) -> Result<(), Error> {
    let mut config = config(Some(&args.config))?;
    if let Some(train) = &mut config.train {
        train.selection = args.selection.or(train.selection.take());
        train.seed = args.seed.unwrap_or(train.seed);
        if args.steps.is_some() {
            (train.steps, train.epochs) = (args.steps, None);
        }
    }
    if let Some(url) = args.data {
        config.data.get_or_insert_default().url = url;
    }
    if let Some(file) = &args.noise {
        config.noise = Some(Noise::read(file)?);
    }
    config.validate()?;
    let job = TrainJob {
        name: args.name,
        student: args.student,
        config,
        device: args.device,
        threads: args.threads.unwrap_or(0),
        training_library: args.training.onnxruntime_training,
        storage: options(&args.at.storage),
        visible: true,
    };
    match job.run(&open(&args.at).await?).await? {
        train::Outcome::Done { done, spent } => {
            say(done.describe(&job.name, spent.is_some()));
            if let Some(spent) = &spent {
                say(spent.describe());
            }
            if args.json {
                output::json(&Trained {
                    done,
                    images_per_second: spent.map(|s| s.rate()),
                    time: spent.map(|s| s.shares()),
                })?;
            }
            Ok(())
        }
        train::Outcome::Interrupted { step, steps } => {
            say(format!(
                "{}: stopped after {step} of {steps} steps; the same command goes on",
                job.name
            ));
            Err(Error::Interrupted)
        }
    }
}
