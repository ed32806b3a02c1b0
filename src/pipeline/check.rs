//! The pure checks of a pipeline file.

use super::{Finetune, First, Part, Pipeline, PipelineError, Round};
use crate::config::ConfigError;
use crate::error::Error;
use crate::student::config::StudentConfig;
use crate::student::noise::Noise;
use crate::teacher::TeacherRef;
use crate::train::TrainConfig;
use crate::workspace::check_name;

impl Pipeline {
    /// The pure checks.
    ///
    /// # Errors
    /// [`PipelineError`], or what a name is said to be.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_name("run", &self.run.name)?;
        // The longest name that is derived from it.
        let rounds = self.round.len();
        let longest = format!("{}-r{rounds}-control-finetuned", self.run.name);
        check_name("run", &longest)?;
        check_name("dataset", &self.run.dataset)?;
        self.config().validate()?;
        for (key, data) in [("data.url", &self.data), ("held_out.url", &self.held_out)] {
            data.validate()?;
            if data.url.is_empty() {
                return Err(ConfigError::missing(key, "say where the labelled images are").into());
            }
        }
        let firsts = [Part::Filter, Part::Teacher];
        let rounds = (1..=self.round.len()).map(Part::Round);
        let mut classes = None;
        for part in firsts.into_iter().chain(rounds) {
            let in_part = |source| PipelineError::Part {
                part: part.to_string(),
                source,
            };
            if let Some(first) = self.first(part) {
                if let Some(name) = &first.name {
                    name.parse::<TeacherRef>()?;
                }
                of_first(part, first).map_err(in_part)?;
            }
            if let Some(round) = self.round(part) {
                self.of_round(part, round).map_err(in_part)?;
            }
            if let Some(student) = self.student(part) {
                of_classes(student, &mut classes).map_err(in_part)?;
            }
        }
        Ok(())
    }

    fn of_round(&self, part: Part, round: &Round) -> Result<(), ConfigError> {
        if let Some(select) = &round.select {
            select.validate()?;
            refuse(
                self.filter.is_some(),
                "select",
                "there, and so is a filter",
                "write it into `[filter]`, which chooses the images of all rounds",
            )?;
        }
        let Round { student, train, .. } = round;
        trained(student, train, round.noise.as_ref())?;
        of_second_phase(student, round.finetune.as_ref())?;
        refuse(
            round.control && !round.joint,
            "control",
            "true in a round that is not joint",
            "leave one of the two out: without labelled images there are no steps and epochs of them that a control could have as well",
        )?;
        if !round.warm_start {
            return Ok(());
        }
        refuse(
            train.begin_from.is_some(),
            "warm_start",
            "true, and `train.begin_from` is there as well",
            "give one of the two",
        )?;
        let kind = |student: &StudentConfig| (student.architecture.to_string(), student.width);
        match self.student(part.before()) {
            Some(before) if kind(before) != kind(student) => Err(ConfigError::Value {
                key: "warm_start",
                value: format!("true, and the teacher is another network: {}", before.architecture),
                advice: "only a student of its teacher's architecture and width can begin with its weights".into(),
            }),
            _ => Ok(()),
        }
    }
}

fn of_first(part: Part, first: &First) -> Result<(), ConfigError> {
    if let Some(select) = &first.select {
        select.validate()?;
    }
    refuse(
        part == Part::Teacher && first.select.is_some(),
        "select",
        "there",
        "write it into `[filter]`, whose labels choose the images of all rounds, or into the rounds",
    )?;
    let trains = first.student.is_some()
        || first.train.is_some()
        || first.noise.is_some()
        || first.finetune.is_some();
    match (&first.name, &first.student, &first.train) {
        (Some(name), ..) if trains => Err(ConfigError::Value {
            key: "name",
            value: format!("`{name}`, and there is something to train as well"),
            advice: "give a name, or `student` and `train`".into(),
        }),
        (Some(_), ..) => Ok(()),
        (None, Some(student), Some(train)) => {
            trained(student, train, first.noise.as_ref())?;
            of_second_phase(student, first.finetune.as_ref())
        }
        (None, ..) => Err(ConfigError::missing(
            "name",
            "name a teacher of the workspace, or give `student` and `train`",
        )),
    }
}

fn of_second_phase(
    student: &StudentConfig,
    finetune: Option<&Finetune>,
) -> Result<(), ConfigError> {
    let Some(finetune) = finetune else {
        return Ok(());
    };
    refuse(
        finetune.train.begin_from.is_some(),
        "finetune.train.begin_from",
        "there",
        "leave it out: a second phase begins with the weights of the first",
    )?;
    let student = finetune.student(student);
    trained(&student, &finetune.train, finetune.noise.as_ref())
}

/// The checks of what is trained. Its selection is the round's own.
fn trained(
    student: &StudentConfig,
    train: &TrainConfig,
    noise: Option<&Noise>,
) -> Result<(), ConfigError> {
    student.validate()?;
    train.validate()?;
    if let Some(selection) = &train.selection {
        return Err(ConfigError::Value {
            key: "train.selection",
            value: format!("`{selection}`"),
            advice: "leave it out: a round trains with the selection that it makes".into(),
        });
    }
    noise.map_or(Ok(()), Noise::validate)
}

/// All networks have the classes of the first one.
fn of_classes(student: &StudentConfig, classes: &mut Option<usize>) -> Result<(), ConfigError> {
    let first = *classes.get_or_insert(student.classes);
    if student.classes == first {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: "student.classes",
        value: student.classes.to_string(),
        advice: format!("the student before it has {first}"),
    })
}

fn refuse(bad: bool, key: &'static str, value: &str, advice: &str) -> Result<(), ConfigError> {
    crate::config::check(!bad, key, value, advice)
}
