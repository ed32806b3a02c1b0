//! `[worker]` and `[[schedule]]` of `serve.toml`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::schedule::Schedule;
use crate::config::{ConfigError, check, parse_table, parse_toml};
use crate::error::nearest;
use crate::runtime::Device;

/// Jobs at once.
const DEFAULT_JOBS: usize = 2;
/// Of them, those that train: a training takes all cores.
const DEFAULT_TRAINING: usize = 1;
/// Seconds of a lease: what passes before a dead worker's job goes on elsewhere, and the longest that a bucket may be out of reach before a job is given up. Renewed every quarter of it.
const DEFAULT_LEASE_S: f64 = 20.0;
/// Seconds between two looks at the workspace: promotions are noticed within one, and the listing of the jobs.
const DEFAULT_POLL_S: f64 = 2.0;
/// Seconds that a job has at a shutdown to finish its shards or to make a checkpoint.
const DEFAULT_GRACE_S: f64 = 30.0;
/// A machine may be taken away a few times in a row before a job gets any further.
const DEFAULT_LOSSES: u32 = 5;
/// Bytes of memory below which no job can begin: the executable and a model.
const LEAST_MEMORY: u64 = 64 * 1024 * 1024;

/// `[worker]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Jobs at once; 0 for none: a replica that only serves.
    pub jobs: usize,
    /// Of them, those that train.
    pub training: usize,
    /// Seconds of a lease.
    pub lease_s: f64,
    /// Seconds between two looks at the workspace, at most 5.
    pub poll_s: f64,
    /// Seconds that a job has at a shutdown.
    pub grace_s: f64,
    /// Bytes of memory that a job's processes may hold together; 0 for as much as there is.
    pub memory: u64,
    /// How often in a row a job's worker may be gone without having got any further, until the job is given up: it may be what ends them.
    pub losses: u32,
    /// Whether what is stale is labelled again after a promotion.
    pub relabel: bool,
    /// Whether the images that came last are labelled first then.
    pub newest_first: bool,
    /// Where models label and are evaluated.
    pub device: Device,
    /// A libonnxruntime.so to be used for that rather than the one found.
    pub onnxruntime: Option<PathBuf>,
    /// Where students are trained.
    pub train_device: Device,
    /// Threads of the CPU that train; 0 for one a core.
    pub threads: usize,
    /// A training build of ONNX Runtime to be used rather than the one found.
    pub onnxruntime_training: Option<PathBuf>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            jobs: DEFAULT_JOBS,
            training: DEFAULT_TRAINING,
            lease_s: DEFAULT_LEASE_S,
            poll_s: DEFAULT_POLL_S,
            grace_s: DEFAULT_GRACE_S,
            memory: 0,
            losses: DEFAULT_LOSSES,
            relabel: true,
            newest_first: false,
            device: Device::Auto,
            onnxruntime: None,
            train_device: Device::Cpu,
            threads: 0,
            onnxruntime_training: None,
        }
    }
}

impl WorkerConfig {
    /// [`WorkerConfig::lease_s`].
    pub fn lease(&self) -> Duration {
        Duration::from_secs_f64(self.lease_s)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        check(
            self.jobs <= 256,
            "worker.jobs",
            self.jobs,
            "use 0 to 256 jobs at once",
        )?;
        check(
            (1.0..=3600.0).contains(&self.lease_s),
            "worker.lease_s",
            self.lease_s,
            "use 1 to 3600 seconds",
        )?;
        check(
            (0.1..=5.0).contains(&self.poll_s),
            "worker.poll_s",
            self.poll_s,
            "use 0.1 to 5 seconds",
        )?;
        check(
            self.memory == 0 || self.memory >= LEAST_MEMORY,
            "worker.memory",
            self.memory,
            "use 67108864 bytes (64 MiB) or more, or 0 for no limit",
        )?;
        check(
            (1..=1000).contains(&self.losses),
            "worker.losses",
            self.losses,
            "use 1 to 1000",
        )?;
        check(
            (0.0..=3600.0).contains(&self.grace_s),
            "worker.grace_s",
            self.grace_s,
            "use 0 to 3600 seconds",
        )
    }
}

/// What of `serve.toml` is about jobs.
#[derive(Debug, Clone, Default)]
pub struct JobsConfig {
    /// `[worker]`
    pub worker: WorkerConfig,
    /// `[[schedule]]`
    pub schedules: Vec<Schedule>,
}

/// The two tables alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    worker: WorkerConfig,
    #[serde(default)]
    schedule: Vec<Schedule>,
}

const KEYS: [&str; 2] = ["worker", "schedule"];

impl JobsConfig {
    /// Takes `worker` and `schedule` out of a file's table, and checks them; what is left is others'.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn take(file: &str, table: &mut toml::Table) -> Result<Self, ConfigError> {
        let own = KEYS.iter().filter_map(|key| table.remove_entry(*key));
        let Tables { worker, schedule } = parse_table(file, own.collect())?;
        worker.validate()?;
        for (n, one) in schedule.iter().enumerate() {
            one.validate()?;
            check(
                schedule[..n].iter().all(|other| other.name != one.name),
                "schedule.name",
                format!("`{}` twice", one.name),
                "give each schedule a name of its own",
            )?;
        }
        Ok(Self {
            worker,
            schedules: schedule,
        })
    }

    /// Reads a file for a worker, whose other sections it leaves alone. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let file = path.display().to_string();
        let mut table: toml::Table = parse_toml(&file, &text)?;
        let mut config = Self::take(&file, &mut table)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let worker = &mut config.worker;
        let libraries = [&mut worker.onnxruntime, &mut worker.onnxruntime_training];
        for library in libraries.into_iter().flatten() {
            *library = folder.join(&*library);
        }
        for key in table.keys() {
            if let Some(near) = nearest(key, KEYS.into_iter()) {
                return Err(ConfigError::Parse {
                    file,
                    detail: format!("unknown field `{key}`"),
                    near: Some(near),
                });
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<JobsConfig, ConfigError> {
        let mut table = parse_toml("serve.toml", text).unwrap();
        JobsConfig::take("serve.toml", &mut table)
    }

    #[test]
    fn the_tables_of_jobs_are_taken_and_others_are_left() {
        let text = "listen = \"x\"\n[worker]\njobs = 3\n[[schedule]]\nname = \"n\"\ncron = \"0 3 * * *\"\n[schedule.job]\nkind = \"relabel\"\n[auth]\na = 1\n";
        let mut table: toml::Table = parse_toml("serve.toml", text).unwrap();
        let config = JobsConfig::take("serve.toml", &mut table).unwrap();
        assert_eq!((config.worker.jobs, config.schedules.len()), (3, 1));
        let left: Vec<_> = table.keys().collect();
        assert_eq!(left, ["auth", "listen"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let schedule = |name: &str, cron: &str| {
            format!(
                "[[schedule]]\nname = \"{name}\"\ncron = \"{cron}\"\njob = {{ kind = \"relabel\" }}\n"
            )
        };
        let twice = schedule("a", "0 3 * * *").repeat(2);
        for (text, words) in [
            ("[worker]\njbos = 1".to_owned(), "unknown field `jbos`"),
            ("[worker]\npoll_s = 60.0".into(), "`worker.poll_s` is 60"),
            ("[worker]\nlease_s = 0.0".into(), "`worker.lease_s` is 0"),
            (schedule("a b", "0 3 * * *"), "`schedule.name` is `a b`"),
            (schedule("a", "0 3 * *"), "`schedule.cron` is `0 3 * *`"),
            (schedule("a", "0 3 * * 1"), "`schedule.cron` is `0 3 * * 1`"),
            (twice, "`schedule.name` is `a` twice"),
        ] {
            let error = of(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
