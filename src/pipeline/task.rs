//! What a stage is asked to do, which follows from the file and from what the stages before it came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Finetune, Made, Part, Pipeline, Stage, What, control};
use crate::config::Config;
use crate::label::noise::TeacherNoise;
use crate::select::{SelectConfig, Targets};
use crate::student::config::StudentConfig;
use crate::student::noise::Noise;
use crate::teacher::NOISED;
use crate::train::TrainConfig;

/// A stage's work with all that its result depends on: its hash names the stage's record. A key that came later is left out where it is not used, so that
/// the records of files without it stay.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Task {
    /// Finds out which version is meant.
    Choose { teacher: String },
    /// Makes a student.
    Student { name: String, config: StudentConfig },
    /// Labels a dataset, or a selection's images of it.
    Label {
        dataset: String,
        source: String,
        teacher: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        selection: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        noise: Option<TeacherNoise>,
        config: Box<Config>,
    },
    /// Selects from its labels.
    Select {
        selection: String,
        dataset: String,
        teacher: String,
        /// Whose class and confidence choose, where not the teacher's.
        #[serde(skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
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

/// What a part's student, training, selection and teacher are called.
pub(super) fn name(pipeline: &Pipeline, part: Part) -> String {
    let run = &pipeline.run.name;
    match part {
        Part::Filter => format!("{run}-filter"),
        Part::Teacher => format!("{run}-teacher"),
        Part::Round(round) => format!("{run}-r{round}"),
    }
}

/// What a stage is asked to do; none where a stage that it needs is not done.
pub(super) fn task(
    pipeline: &Pipeline,
    stage: Stage,
    made: &BTreeMap<Stage, Made>,
) -> Option<Task> {
    let planner = Planner {
        pipeline,
        part: stage.part,
        own: name(pipeline, stage.part),
        made,
    };
    match stage.what {
        What::Choose => Some(Task::Choose {
            teacher: pipeline.first(stage.part)?.name.clone()?,
        }),
        What::Student => Some(Task::Student {
            name: planner.own.clone(),
            config: pipeline.student(stage.part)?.clone(),
        }),
        What::FinetuneStudent => {
            let first = pipeline.student(stage.part)?;
            Some(Task::Student {
                name: finetuned(&planner.own),
                config: pipeline.finetune(stage.part)?.student(first),
            })
        }
        What::Label => planner.label(),
        What::Select => planner.select(),
        What::Train => planner.train(),
        What::Finetune => planner.finetune(What::Train, &planner.own),
        What::Control => planner.control(),
        What::FinetuneControl => {
            planner.finetune(What::Control, &format!("{}-control", planner.own))
        }
        What::Evaluate => planner.evaluate(),
    }
}

/// The name of the second phase of a training.
fn finetuned(training: &str) -> String {
    format!("{training}-finetuned")
}

/// The model that a part came to: of a trained one that of its last phase.
pub(super) fn model(made: &BTreeMap<Stage, Made>, part: Part) -> Option<&str> {
    let stages = [What::Finetune, What::Train, What::Choose];
    let mut found = stages.iter().map(|&what| made.get(&Stage { part, what }));
    found.find_map(|made| made?.teacher())
}

/// The control of a round, likewise.
pub(super) fn controlled(made: &BTreeMap<Stage, Made>, part: Part) -> Option<&str> {
    let stages = [What::FinetuneControl, What::Control];
    let mut found = stages.iter().map(|&what| made.get(&Stage { part, what }));
    found.find_map(|made| made?.teacher())
}

/// What the stages of a part are made of.
struct Planner<'a> {
    pipeline: &'a Pipeline,
    part: Part,
    own: String,
    made: &'a BTreeMap<Stage, Made>,
}

impl Planner<'_> {
    fn came_to(&self, what: What) -> Option<&Made> {
        let part = self.part;
        self.made.get(&Stage { part, what })
    }

    /// Who labels: the filter for itself, else the teacher of the round.
    fn teacher(&self) -> Option<String> {
        let part = match self.part {
            Part::Filter => Part::Filter,
            part => part.before(),
        };
        model(self.made, part).map(str::to_owned)
    }

    fn noise(&self) -> Option<TeacherNoise> {
        self.pipeline.round(self.part)?.teacher_noise.clone()
    }

    /// Whether a filter has chosen the images that this part labels.
    fn is_filtered(&self) -> bool {
        self.part != Part::Filter && self.pipeline.filter.is_some()
    }

    /// Whether that filter is one that the workspace has, whose classes are then those of all rows.
    fn has_named_filter(&self) -> bool {
        let filter = self.pipeline.filter.as_ref();
        self.is_filtered() && filter.is_some_and(|filter| filter.name.is_some())
    }

    fn label(&self) -> Option<Task> {
        let run = &self.pipeline.run;
        let selection = if self.is_filtered() {
            let (part, what) = (Part::Filter, What::Select);
            self.made.get(&Stage { part, what })?;
            Some(name(self.pipeline, part))
        } else {
            None
        };
        Some(Task::Label {
            dataset: run.dataset.clone(),
            source: run.source.clone(),
            teacher: self.teacher()?,
            selection,
            noise: self.noise(),
            config: Box::new(self.pipeline.config()),
        })
    }

    fn select(&self) -> Option<Task> {
        self.came_to(What::Label)?;
        let mut teacher = self.teacher()?;
        if let Some(noise) = self.noise() {
            teacher = format!("{teacher}{NOISED}{}", noise.name);
        }
        let mut config = self.pipeline.select(self.part);
        if self.part == Part::Filter {
            // It says which images; what they are labelled with, the rounds' teachers do.
            config.targets = Targets::Hard;
            config.materialize = false;
        }
        let filter = if self.is_filtered() {
            Some(model(self.made, Part::Filter)?.to_owned())
        } else {
            None
        };
        Some(Task::Select {
            selection: self.own.clone(),
            dataset: self.pipeline.run.dataset.clone(),
            filter: filter.filter(|filter| *filter != teacher),
            teacher,
            config,
        })
    }

    fn train(&self) -> Option<Task> {
        let Some(round) = self.pipeline.round(self.part) else {
            let first = self.pipeline.first(self.part)?;
            let mut train = first.train.clone()?;
            if self.has_named_filter() {
                // The filter's classes are those of the rows that it chooses.
                train.classes_of = Some(model(self.made, Part::Filter)?.to_owned());
            }
            let config = self.training(train, first.noise.as_ref());
            return Some(trained(self.own.clone(), self.own.clone(), config));
        };
        self.came_to(What::Select)?;
        let mut train = round.train.clone();
        train.selection = Some(self.own.clone());
        if round.warm_start {
            train.begin_from = Some(self.teacher()?);
        }
        let mut config = self.training(train, round.noise.as_ref());
        if !round.joint {
            config.data = None;
        }
        Some(trained(self.own.clone(), self.own.clone(), config))
    }

    fn control(&self) -> Option<Task> {
        let Made::Training(student) = self.came_to(What::Train)? else {
            return None;
        };
        let round = self.pipeline.round(self.part)?;
        let mut train = control(&round.train, student.steps);
        if round.warm_start {
            train.begin_from = Some(self.teacher()?);
        } else if self.pipeline.teacher.name.is_some() || self.has_named_filter() {
            // As the student's, which are its selection's: the data may number theirs in another way.
            train.classes_of = Some(self.teacher()?);
        }
        let config = self.training(train, round.noise.as_ref());
        Some(trained(
            format!("{}-control", self.own),
            self.own.clone(),
            config,
        ))
    }

    /// The second phase of what a stage trained.
    fn finetune(&self, first: What, training: &str) -> Option<Task> {
        let Finetune { train, noise, .. } = self.pipeline.finetune(self.part)?;
        self.came_to(What::FinetuneStudent)?;
        let train = TrainConfig {
            begin_from: Some(self.came_to(first)?.teacher()?.to_owned()),
            ..train.clone()
        };
        let config = self.training(train, noise.as_ref());
        Some(trained(finetuned(training), finetuned(&self.own), config))
    }

    fn evaluate(&self) -> Option<Task> {
        let mut models = Vec::new();
        if let Some(round) = self.pipeline.round(self.part) {
            models.push(self.teacher()?);
            if round.control {
                models.push(controlled(self.made, self.part)?.to_owned());
            }
        }
        if self.pipeline.finetune(self.part).is_some() {
            models.push(self.came_to(What::Train)?.teacher()?.to_owned());
        }
        models.push(model(self.made, self.part)?.to_owned());
        Some(Task::Evaluate {
            models,
            config: Box::new(Config {
                data: Some(self.pipeline.held_out.clone()),
                ..self.pipeline.config()
            }),
        })
    }

    fn training(&self, train: TrainConfig, noise: Option<&Noise>) -> Config {
        Config {
            data: Some(self.pipeline.data.clone()),
            train: Some(train),
            noise: noise.cloned(),
            ..self.pipeline.config()
        }
    }
}

fn trained(training: String, student: String, config: Config) -> Task {
    Task::Train {
        training,
        student,
        config: Box::new(config),
    }
}
