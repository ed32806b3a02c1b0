//! What a job does: a command with its settings, as JSON or TOML.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::JobError;
use crate::config::{Config, ConfigError, parse_table};
use crate::label::whose::Whose;
use crate::pipeline::Pipeline;
use crate::student::noise::Noise;
use crate::teacher::TeacherRef;
use crate::workspace::check_name;

/// A command of understudy. Sections of a settings file are in `config`, as the file has them; what a flag would say of them is said there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Work {
    /// `understudy label`.
    Label {
        /// The dataset's name.
        dataset: String,
        /// Where its images are; needed the first time only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// NAME, NAME@VERSION or current.
        teacher: String,
        /// The selection whose images alone are labelled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selection: Option<String>,
        /// The rejects alone.
        #[serde(default)]
        retry_rejects: bool,
        /// Whether these labels follow no promotion.
        #[serde(default)]
        pin: bool,
        /// `[source]`, `[manifest]`, `[decode]` and `[label]`.
        #[serde(default)]
        config: Box<Config>,
    },
    /// `understudy select`.
    Select {
        /// The selection's name.
        name: String,
        /// The dataset whose labels are selected.
        dataset: String,
        /// Whose labels.
        teacher: String,
        /// Whose class and confidence choose the rows, where not the same teacher's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter_teacher: Option<String>,
        /// Whether every row that is left out is listed.
        #[serde(default)]
        explain: bool,
        /// `[select]`.
        #[serde(default)]
        config: Box<Config>,
    },
    /// `understudy train`.
    Train {
        /// The training's name, and that of the teacher that it becomes.
        name: String,
        /// The student.
        student: String,
        /// `[train]`, `[data]`, `[noise]`, `[decode]` and `[label]`.
        config: Box<Config>,
    },
    /// `understudy evaluate`.
    Evaluate {
        /// NAME, NAME@VERSION or current.
        model: String,
        /// Another one, to compare it with on the same images.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        against: Option<String>,
        /// `[data]`, `[decode]` and `[label]`.
        config: Box<Config>,
    },
    /// `understudy run`.
    Run {
        /// The pipeline file's tables.
        pipeline: Value,
        /// The stage to begin with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The last round.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<usize>,
    },
    /// `understudy relabel`.
    Relabel {
        /// The dataset; all that follow promotions where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dataset: Option<String>,
        /// The promotion that it follows: a later one makes it needless. None for what is current when it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        promotion: Option<u32>,
        /// Whether the images that came last are labelled first.
        #[serde(default)]
        newest_first: bool,
    },
}

impl Work {
    /// label, select, train, evaluate, run or relabel.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Label { .. } => "label",
            Self::Select { .. } => "select",
            Self::Train { .. } => "train",
            Self::Evaluate { .. } => "evaluate",
            Self::Run { .. } => "run",
            Self::Relabel { .. } => "relabel",
        }
    }

    /// Whether it may add a version to a teacher of this name: a training becomes the teacher that is called as it is, a pipeline's are called after the pipeline.
    pub(crate) fn may_become(&self, teacher: &str) -> bool {
        match self {
            Self::Train { name, .. } => name == teacher,
            Self::Run { pipeline, .. } => {
                let run = pipeline.get("run");
                let name = run.and_then(|run| run.get("name")?.as_str());
                let rest = name.and_then(|name| teacher.strip_prefix(name));
                rest.is_some_and(|rest| rest.starts_with('-'))
            }
            _ => false,
        }
    }

    /// Whether a network is trained, which takes all of a machine.
    pub fn trains(&self) -> bool {
        matches!(self, Self::Train { .. } | Self::Run { .. })
    }

    /// The paths and URLs of images that it reads, as written: all that it reads besides its workspace. Whoever takes jobs from strangers looks at them first.
    pub fn places(&self) -> Vec<String> {
        fn walk(value: &Value, places: &mut Vec<String>) {
            match value {
                Value::Object(keys) => {
                    for (key, value) in keys {
                        match value {
                            Value::String(place) if key == "url" || key == "source" => {
                                places.push(place.clone());
                            }
                            other => walk(other, places),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, places)),
                _ => {}
            }
        }
        let mut places = Vec::new();
        walk(&serde_json::to_value(self).unwrap_or_default(), &mut places);
        places
    }

    /// The pure checks: nothing outside is looked at.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let name = |key: &'static str, name: &str| {
            let good = check_name(key, name);
            good.map_err(|e| value(key, name, &e.hint().unwrap_or_default()))
        };
        let teacher = |key: &'static str, text: &str| {
            let good = text.parse::<TeacherRef>();
            let good = good.map_err(|e| value(key, text, &e.hint().unwrap_or_default()));
            good.map(drop)
        };
        let whose = |key: &'static str, text: &str| {
            let good = text.parse::<Whose>();
            let good = good.map_err(|e| value(key, text, &e.hint().unwrap_or_default()));
            good.map(drop)
        };
        match self {
            Self::Label {
                dataset,
                teacher: by,
                config,
                ..
            } => {
                name("dataset", dataset)?;
                teacher("teacher", by)?;
                config.validate()
            }
            Self::Select {
                name: id,
                dataset,
                teacher: by,
                filter_teacher,
                config,
                ..
            } => {
                name("name", id)?;
                name("dataset", dataset)?;
                whose("teacher", by)?;
                if let Some(filter) = filter_teacher {
                    whose("filter_teacher", filter)?;
                }
                config.validate()
            }
            Self::Train {
                name: training,
                student,
                config,
            } => {
                name("name", training)?;
                name("student", student)?;
                if config.train.is_none() {
                    return Err(ConfigError::missing("config.train", "write the section"));
                }
                config.validate()
            }
            Self::Evaluate {
                model,
                against,
                config,
            } => {
                teacher("model", model)?;
                if let Some(against) = against {
                    teacher("against", against)?;
                }
                if config.data.as_ref().is_none_or(|data| data.url.is_empty()) {
                    let advice = "say where the labelled images are";
                    return Err(ConfigError::missing("config.data.url", advice));
                }
                config.validate()
            }
            Self::Run { pipeline, .. } => {
                let table = tables(pipeline)?;
                if names_a_file(pipeline) {
                    return Err(ConfigError::Value {
                        key: "noise_file",
                        value: "there, and a job has no files beside it".into(),
                        advice: "write the noise itself, as the table `noise`, or submit the file with `understudy jobs submit`; a teacher's noise is only to be had with `understudy run`".into(),
                    });
                }
                parse_table::<Pipeline>("pipeline", table).map(drop)
            }
            Self::Relabel { dataset, .. } => dataset
                .as_ref()
                .map_or(Ok(()), |dataset| name("dataset", dataset)),
        }
    }
}

fn value(key: &'static str, value: &str, advice: &str) -> ConfigError {
    ConfigError::Value {
        key,
        value: format!("`{value}`"),
        advice: advice.to_owned(),
    }
}

/// Puts what noise files say in the place of their names: `noise_file` becomes `noise`. Where there is one already, both stay, and are refused.
fn bring_noise(table: &mut toml::Table, beside: &Path) -> Result<(), ConfigError> {
    if !table.contains_key("noise")
        && let Some(toml::Value::String(file)) = table.get("noise_file")
    {
        let noise = Noise::read(&beside.join(file))?;
        let noise = toml::Value::try_from(noise).map_err(|e| no_table(&e))?;
        table.remove("noise_file");
        table.insert("noise".into(), noise);
    }
    table.iter_mut().try_for_each(|(_, value)| match value {
        toml::Value::Table(table) => bring_noise(table, beside),
        toml::Value::Array(items) => items
            .iter_mut()
            .filter_map(toml::Value::as_table_mut)
            .try_for_each(|table| bring_noise(table, beside)),
        _ => Ok(()),
    })
}

/// Whether a key anywhere in it names a noise file: `noise_file`, `teacher_noise_file`.
fn names_a_file(value: &Value) -> bool {
    match value {
        Value::Object(keys) => keys
            .iter()
            .any(|(key, value)| key.ends_with("noise_file") || names_a_file(value)),
        Value::Array(items) => items.iter().any(names_a_file),
        _ => false,
    }
}

/// A pipeline as the file that it would be.
///
/// # Errors
/// [`ConfigError::Parse`] for what no file can say.
pub(super) fn tables(pipeline: &Value) -> Result<toml::Table, ConfigError> {
    toml::Table::try_from(pipeline).map_err(|e| no_table(&e))
}

fn no_table(e: &toml::ser::Error) -> ConfigError {
    ConfigError::Parse {
        file: "pipeline".into(),
        detail: e.to_string().replace('\n', " "),
        near: None,
    }
}

/// A job as it is submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What it does.
    pub work: Work,
    /// Two submissions with the same key are one job; without one each is a job of its own.
    pub key: Option<String>,
    /// Who submits it.
    pub by: Option<String>,
}

impl Submission {
    /// A job's file: the keys of [`Work`], and `key` where it has one. A pipeline file is a job as it stands, of the kind `run`. Noise files that it names are read from
    /// beside it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn of_file(file: &Path, mut table: toml::Table) -> Result<Self, JobError> {
        bring_noise(&mut table, file.parent().unwrap_or(Path::new("")))?;
        let file = &file.display().to_string();
        if !table.contains_key("kind") && Pipeline::is_meant(&table) {
            let pipeline = serde_json::to_value(table).unwrap_or_default();
            let work = Work::Run {
                pipeline,
                from: None,
                round: None,
            };
            return Self::of(work, None);
        }
        let key = match table.remove("key") {
            None => None,
            Some(toml::Value::String(key)) => Some(key),
            Some(other) => {
                return Err(value("key", &other.to_string(), "write a text").into());
            }
        };
        Self::of(parse_table(file, table)?, key)
    }

    fn of(work: Work, key: Option<String>) -> Result<Self, JobError> {
        work.validate()?;
        Ok(Self {
            work,
            key,
            by: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_toml;

    fn of(text: &str) -> Result<Submission, JobError> {
        let file = Path::new("pipelines/job.toml");
        Submission::of_file(file, parse_toml("job.toml", text).unwrap())
    }

    #[test]
    fn a_file_says_what_a_command_would() {
        let text = "kind = \"label\"\nkey = \"k\"\ndataset = \"d\"\nteacher = \"b0\"\n[config.label]\nbatch = 2\n";
        let job = of(text).unwrap();
        assert_eq!((job.work.kind(), job.key.as_deref()), ("label", Some("k")));
        // It comes back from the bucket as it was.
        let json = serde_json::to_value(&job.work).unwrap();
        let back: Work = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), json);
        assert_eq!(json["config"]["label"]["batch"], 2);
    }

    #[test]
    fn a_pipeline_file_is_a_job_and_brings_its_noise_along() {
        let text = std::fs::read_to_string("pipelines/fashion-mnist.toml").unwrap();
        let work = of(&text).unwrap().work;
        let job = serde_json::to_value(&work).unwrap();
        // Its teachers are called after it.
        let name = job["pipeline"]["run"]["name"].as_str().unwrap();
        let [own, others] = ["-r1", "b-r1"].map(|rest| format!("{name}{rest}"));
        assert!(work.may_become(&own) && !work.may_become(&others));
        let noise = Noise::read(Path::new("pipelines/noise/fashion-mnist.toml")).unwrap();
        let noise = serde_json::to_value(noise).unwrap();
        let rounds = job["pipeline"]["round"].as_array().unwrap();
        assert!(!rounds.is_empty());
        for round in rounds {
            assert_eq!(round["noise"], noise);
            assert!(round.get("noise_file").is_none());
        }
    }

    #[test]
    fn a_job_tells_what_it_reads_besides_the_workspace() {
        let pipeline = std::fs::read_to_string("pipelines/fashion-mnist-short.toml").unwrap();
        let label = "kind = \"label\"\ndataset = \"d\"\nsource = \"/etc\"\nteacher = \"t\"\n";
        let train = "kind = \"train\"\nname = \"n\"\nstudent = \"s\"\n[config.data]\nurl = \"a\"\n[config.train]\nsteps = 1\nheld_out = { url = \"b\" }\n";
        for (text, places) in [
            (label, &["/etc"][..]),
            (train, &["a", "b"]),
            ("kind = \"relabel\"", &[]),
        ] {
            assert_eq!(of(text).unwrap().work.places(), places);
        }
        // The unlabelled images, the labelled ones, the held-out ones.
        assert_eq!(of(&pipeline).unwrap().work.places().len(), 3);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        for (text, words) in [
            ("kind = \"lable\"", "unknown variant `lable`"),
            ("dataset = \"d\"", "missing field `kind`"),
            (
                "kind = \"label\"\ndatset = \"d\"\nteacher = \"t\"",
                "unknown field `datset`",
            ),
            (
                "kind = \"label\"\ndataset = \"a/b\"\nteacher = \"t\"",
                "`dataset` is `a/b`",
            ),
            (
                "kind = \"label\"\ndataset = \"d\"\nteacher = \"t@x\"",
                "`teacher` is `t@x`",
            ),
            (
                "kind = \"label\"\ndataset = \"d\"\nteacher = \"t\"\n[config.label]\nattempts = 0",
                "`label.attempts` is 0",
            ),
            (
                "kind = \"train\"\nname = \"n\"\nstudent = \"s\"\n[config]",
                "`config.train` is missing",
            ),
            (
                "kind = \"evaluate\"\nmodel = \"n\"\n[config]",
                "`config.data.url` is missing",
            ),
            ("kind = \"run\"\n[pipeline]", "missing field `run`"),
            (
                "kind = \"run\"\n[pipeline.teacher]\nnoise = {}\nnoise_file = \"noise/svhn.toml\"",
                "a job has no files beside it",
            ),
            (
                "kind = \"run\"\n[[pipeline.round]]\nteacher_noise_file = \"x\"",
                "a job has no files beside it",
            ),
            (
                "kind = \"run\"\n[pipeline.filter.finetune]\nnoise_file = \"no/such.toml\"",
                "cannot read `pipelines/no/such.toml`",
            ),
            ("kind = \"relabel\"\nkey = 5", "`key` is `5`"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
