//! `--dry-run`: what a run would do, and with how much.

use std::collections::BTreeMap;

use serde::Serialize;

use super::job::{listed, missing};
use super::{Made, Part, Pipeline, RunJob, Stage, What, control};
use crate::error::Error;
use crate::select::{Balance, Method};
use crate::student::config::StudentConfig;
use crate::student::graph::Form;
use crate::train::TrainConfig;
use crate::workspace::Workspace;

/// How much a stage has to do, as far as the file and the workspace know it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Amount {
    /// Numbers that gradients change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Images to label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Rows of a selection with their copies, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Steps of a training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// How often it sees each labelled image, where steps are not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Labelled and pseudo-labelled images a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_images: Option<[usize; 2]>,
}

/// A stage that a run would come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// Its name.
    pub stage: String,
    /// What it came to, where it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// How much it has to do.
    pub amount: Amount,
}

impl Amount {
    /// In words.
    pub fn describe(&self) -> String {
        let parts = [
            self.parameters
                .map(|n| format!("{:.2}M parameters", n as f64 / 1e6)),
            self.images.map(|n| format!("{n} images")),
            self.rows.map(|n| format!("at most {n} rows")),
            self.steps.map(|n| format!("{n} steps")),
            self.epochs.map(|n| format!("{n} epochs")),
            self.step_images.map(|[labelled, pseudo]| match pseudo {
                0 => format!("{labelled} labelled images a step"),
                _ if labelled == 0 => format!("{pseudo} pseudo-labelled images a step"),
                _ => format!("{labelled} labelled and {pseudo} pseudo-labelled images a step"),
            }),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl RunJob {
    /// What [`RunJob::run`] would do. Writes nothing.
    ///
    /// # Errors
    /// As of a run that cannot begin.
    pub async fn plan(&self, workspace: &Workspace) -> Result<Vec<Planned>, Error> {
        let (stages, begin) = self.stages()?;
        let images = listed(workspace, &self.pipeline.run.dataset).await?;
        let mut made = BTreeMap::new();
        let mut all = Vec::new();
        for (n, &stage) in stages.iter().enumerate() {
            let next = self.next(workspace, stage, &made).await?;
            if next.made.is_none() && n < begin {
                return Err(missing(&stages, begin, n));
            }
            all.push(Planned {
                stage: stage.to_string(),
                made: next.made.clone(),
                amount: amount(&self.pipeline, stage, images, &made),
            });
            made.extend(next.made.map(|made| (stage, made)));
        }
        Ok(all)
    }
}

fn amount(
    pipeline: &Pipeline,
    stage: Stage,
    images: Option<u64>,
    made: &BTreeMap<Stage, Made>,
) -> Amount {
    let part = stage.part;
    let (first, round) = (pipeline.first(part), pipeline.round(part));
    let none = Amount::default();
    let student = |student: &StudentConfig| Amount {
        parameters: Some(student.graph(Form::Training).trainable() as u64),
        ..Amount::default()
    };
    match stage.what {
        What::Student => pipeline.student(part).map_or(none, student),
        What::FinetuneStudent => {
            let (first, second) = (pipeline.student(part), pipeline.finetune(part));
            let both = first.zip(second);
            both.map_or(none, |(first, second)| student(&second.student(first)))
        }
        What::Label => Amount {
            images: match &pipeline.filter {
                Some(_) if part != Part::Filter => chosen(made),
                _ => images,
            },
            ..none
        },
        What::Select => {
            let select = pipeline.select(part);
            let classes = pipeline.round.first().map(|r| r.student.classes);
            // Exactly so many of a class that has any; the published code's method only comes near.
            let balanced = select.interval.is_none()
                && select.balance == Balance::Duplicate
                && select.method == Method::Exact;
            let of_class = (select.per_class as f64 * select.fraction).round() as u64;
            let all = classes.filter(|_| balanced);
            let all = all.map(|classes| classes as u64 * of_class);
            Amount {
                rows: select.per_interval.or(all),
                ..none
            }
        }
        What::Train => match (first, round) {
            (Some(first), _) => first
                .train
                .as_ref()
                .map_or(none, |t| training(t, [true, false])),
            (_, Some(round)) => training(&round.train, [round.joint, true]),
            (None, None) => none,
        },
        What::Finetune | What::FinetuneControl => {
            let second = pipeline.finetune(part);
            second.map_or(none, |second| training(&second.train, [true, false]))
        }
        What::Control => round.map_or(none, |round| {
            let of_student = training(&round.train, [true, true]);
            let rows = control(&round.train, 1).rows(true, false);
            Amount {
                step_images: Some(rows),
                ..of_student
            }
        }),
        What::Choose | What::Evaluate => none,
    }
}

/// How many images the filter has chosen.
fn chosen(made: &BTreeMap<Stage, Made>) -> Option<u64> {
    let (part, what) = (Part::Filter, What::Select);
    match made.get(&Stage { part, what }) {
        Some(Made::Selection { rows, .. }) => Some(*rows),
        _ => None,
    }
}

/// `kinds`: whether it learns labelled images, and pseudo-labelled ones.
fn training(train: &TrainConfig, [labelled, pseudo]: [bool; 2]) -> Amount {
    Amount {
        steps: train.steps,
        epochs: train.epochs,
        step_images: Some(train.rows(labelled, pseudo)),
        ..Amount::default()
    }
}
