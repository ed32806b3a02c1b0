//! What a stage is asked to do, which follows from the file and from what the stages before it came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Made, Pipeline, Stage, What, control};
use crate::config::Config;
use crate::select::SelectConfig;
use crate::student::config::StudentConfig;
use crate::student::noise::Noise;
use crate::train::TrainConfig;

/// A stage's work with all that its result depends on: its hash names the stage's record.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Task {
    /// Finds out which version is meant.
    Choose { teacher: String },
    /// Makes a student.
    Student { name: String, config: StudentConfig },
    /// Labels a dataset.
    Label {
        dataset: String,
        source: String,
        teacher: String,
        config: Box<Config>,
    },
    /// Selects from its labels.
    Select {
        selection: String,
        dataset: String,
        teacher: String,
        config: SelectConfig,
    },
    /// Trains a student.
    Train {
        training: String,
        student: String,
        config: Box<Config>,
    },
    /// Evaluates models, and compares the last with each other one.
    Evaluate {
        models: Vec<String>,
        config: Box<Config>,
    },
}

/// What the first teacher, or the student of a round, is called.
pub(super) fn name(pipeline: &Pipeline, round: usize) -> String {
    let run = &pipeline.run.name;
    match round {
        0 => format!("{run}-teacher"),
        round => format!("{run}-r{round}"),
    }
}

/// What a stage is asked to do; none where a stage that it needs is not done.
pub(super) fn task(
    pipeline: &Pipeline,
    stage: Stage,
    made: &BTreeMap<Stage, Made>,
) -> Option<Task> {
    let run = &pipeline.run;
    let came_to = |round, what| made.get(&Stage { round, what });
    // What labels in the round after this one.
    let teacher_of = |round| {
        let teacher = came_to(round, What::Train).or_else(|| came_to(round, What::Choose));
        teacher.and_then(Made::teacher).map(str::to_owned)
    };
    let own = name(pipeline, stage.round);
    let round = stage.round.checked_sub(1).map(|n| &pipeline.round[n]);
    let first = &pipeline.teacher;
    Some(match stage.what {
        What::Choose => Task::Choose {
            teacher: first.name.clone()?,
        },
        What::Student => Task::Student {
            name: own,
            config: round
                .map_or(first.student.as_ref(), |r| Some(&r.student))?
                .clone(),
        },
        What::Label => Task::Label {
            dataset: run.dataset.clone(),
            source: run.source.clone(),
            teacher: teacher_of(stage.round - 1)?,
            config: Box::new(pipeline.config()),
        },
        What::Select => Task::Select {
            selection: own,
            dataset: run.dataset.clone(),
            teacher: teacher_of(stage.round - 1)?,
            config: round?.select.clone(),
        },
        What::Train => {
            let (train, noise) = match round {
                None => (first.train.clone()?, &first.noise),
                Some(round) => {
                    came_to(stage.round, What::Select)?;
                    let selection = Some(own.clone());
                    let train = TrainConfig {
                        selection,
                        ..round.train.clone()
                    };
                    (train, &round.noise)
                }
            };
            Task::Train {
                training: own.clone(),
                student: own,
                config: training(pipeline, train, noise.as_ref()),
            }
        }
        What::Control => {
            let Made::Training(student) = came_to(stage.round, What::Train)? else {
                return None;
            };
            let round = round?;
            let train = control(&round.train, student.steps);
            Task::Train {
                training: format!("{own}-control"),
                student: own,
                config: training(pipeline, train, round.noise.as_ref()),
            }
        }
        What::Evaluate => {
            let mut models = Vec::new();
            if let Some(round) = round {
                models.push(teacher_of(stage.round - 1)?);
                if round.control {
                    let control = came_to(stage.round, What::Control)?;
                    models.push(control.teacher()?.to_owned());
                }
            }
            models.push(teacher_of(stage.round)?);
            Task::Evaluate {
                models,
                config: Box::new(Config {
                    data: Some(pipeline.held_out.clone()),
                    ..pipeline.config()
                }),
            }
        }
    })
}

fn training(pipeline: &Pipeline, train: TrainConfig, noise: Option<&Noise>) -> Box<Config> {
    Box::new(Config {
        data: Some(pipeline.data.clone()),
        train: Some(train),
        noise: noise.cloned(),
        ..pipeline.config()
    })
}
