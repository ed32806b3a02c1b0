//! A job → the command line that does it: what a user would type, with its sections in a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Work, WorkerConfig, work};
use crate::config::Config;
use crate::store::StorageOptions;

/// A command, and the folder with its files, which goes when this does.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) args: Vec<OsString>,
    _files: TempDir,
}

/// Where a worker works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    /// The workspace, as typed.
    pub(super) workspace: &'a str,
    pub(super) storage: &'a StorageOptions,
    pub(super) config: &'a WorkerConfig,
}

struct Builder<'a> {
    here: Here<'a>,
    args: Vec<OsString>,
    files: TempDir,
}

/// The command of a job.
///
/// # Errors
/// The temporary directory's.
pub(super) fn command(work: &Work, here: Here<'_>) -> std::io::Result<Command> {
    let mut to = Builder {
        here,
        args: Vec::new(),
        files: tempfile::Builder::new()
            .prefix("understudy-job-")
            .tempdir()?,
    };
    match work {
        Work::Label {
            dataset,
            source,
            teacher,
            selection,
            retry_rejects,
            pin,
            config,
        } => {
            to.words(&["label", "--dataset", dataset, "--teacher", teacher]);
            to.option("--source", source.as_ref());
            to.option("--selection", selection.as_ref());
            to.flag("--retry-rejects", *retry_rejects);
            to.flag("--pin", *pin);
            to.config(config)?;
            to.runtime();
        }
        Work::Select {
            name,
            dataset,
            teacher,
            filter_teacher,
            explain,
            config,
        } => {
            to.words(&["select", "--name", name, "--dataset", dataset]);
            to.words(&["--teacher", teacher]);
            to.option("--filter-teacher", filter_teacher.as_ref());
            to.flag("--explain", *explain);
            to.config(config)?;
        }
        Work::Train {
            name,
            student,
            config,
        } => {
            to.words(&["train", name, "--student", student]);
            to.config(config)?;
            to.words(&["--device", &here.config.train_device.to_string()]);
            to.training();
        }
        Work::Evaluate {
            model,
            against,
            config,
        } => {
            to.words(&["evaluate", "--model", model]);
            to.option("--against", against.as_ref());
            to.config(config)?;
            to.runtime();
        }
        Work::Run {
            pipeline,
            from,
            round,
        } => {
            let text = work::tables(pipeline).map_err(std::io::Error::other)?;
            let file = to.file("pipeline.toml", &text.to_string())?;
            to.args.extend(["run".into(), file.into()]);
            to.option("--from", from.as_ref());
            to.option("--round", round.as_ref());
            to.runtime();
            to.words(&["--train-device", &here.config.train_device.to_string()]);
            to.training();
        }
        Work::Relabel {
            dataset,
            promotion,
            newest_first,
        } => {
            to.words(&["relabel"]);
            to.option("--dataset", dataset.as_ref());
            to.option("--promotion", promotion.as_ref());
            to.flag("--newest-first", *newest_first);
            to.runtime();
        }
    }
    to.words(&["--workspace", here.workspace, "--json"]);
    for (key, value) in &here.storage.pairs {
        to.words(&["--storage-option", &format!("{key}={value}")]);
    }
    Ok(Command {
        args: to.args,
        _files: to.files,
    })
}

impl Builder<'_> {
    fn words(&mut self, words: &[&str]) {
        self.args.extend(words.iter().map(OsString::from));
    }

    fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.words(&[name]);
        }
    }

    /// `--name=value`, so that a value may begin with a hyphen.
    fn option(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.words(&[&format!("{name}={}", value.to_string())]);
        }
    }

    fn path(&mut self, name: &str, path: Option<&Path>) {
        if let Some(path) = path {
            self.args.extend([name.into(), path.into()]);
        }
    }

    fn runtime(&mut self) {
        let config = self.here.config;
        self.words(&["--device", &config.device.to_string()]);
        self.path("--onnxruntime", config.onnxruntime.as_deref());
    }

    fn training(&mut self) {
        let config = self.here.config;
        self.words(&["--threads", &config.threads.to_string()]);
        let library = config.onnxruntime_training.as_deref();
        self.path("--onnxruntime-training", library);
    }

    fn config(&mut self, config: &Config) -> std::io::Result<()> {
        let text = toml::to_string(config).map_err(std::io::Error::other)?;
        let file = self.file("config.toml", &text)?;
        self.path("--config", Some(&file));
        Ok(())
    }

    fn file(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.files.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::config::parse_toml;
    use crate::jobs::Submission;
    use clap::Parser as _;

    #[test]
    fn each_kind_of_job_is_a_command_that_understudy_understands() {
        let train = "[config.train]\nselection = \"s\"\nsteps = 3\n";
        let files = [
            "kind = \"label\"\ndataset = \"d\"\nsource = \"-x\"\nteacher = \"t@2\"\nselection = \"s\"\nretry_rejects = true\npin = true\n".to_owned(),
            "kind = \"select\"\nname = \"s\"\ndataset = \"d\"\nteacher = \"t+n\"\nfilter_teacher = \"f\"\nexplain = true\n".into(),
            format!("kind = \"train\"\nname = \"n\"\nstudent = \"s\"\n{train}"),
            "kind = \"evaluate\"\nmodel = \"a\"\nagainst = \"b\"\n[config.data]\nurl = \"u\"\n".into(),
            std::fs::read_to_string("pipelines/fashion-mnist-short.toml").unwrap(),
            "kind = \"relabel\"\ndataset = \"d\"\npromotion = 3\nnewest_first = true\n".into(),
        ];
        let config = WorkerConfig {
            onnxruntime: Some("a.so".into()),
            onnxruntime_training: Some("b.so".into()),
            ..WorkerConfig::default()
        };
        let mut storage = StorageOptions::default();
        storage.pairs.insert("region".into(), "r".into());
        let here = Here {
            workspace: "w",
            storage: &storage,
            config: &config,
        };
        for file in files {
            let table = parse_toml("job.toml", &file).unwrap();
            let work = Submission::of_file("job.toml".as_ref(), table)
                .unwrap()
                .work;
            let command = command(&work, here).unwrap();
            let words = std::iter::once("understudy".into()).chain(command.args);
            Cli::try_parse_from(words).unwrap();
        }
    }
}
