//! `serve.toml`: what a server may use, and what it offers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, check, check_batches, parse_toml};
use crate::label::decode::DecodeConfig;
use crate::teacher::TeacherRef;

/// Connections side by side; each may hold a request that is being read or answered.
const CONNECTIONS: usize = 256;
/// A client that is alive sends a request's header in one piece.
const HEADER_TIMEOUT_S: f64 = 10.0;
/// 64 MiB in a minute are 9 Mbit/s.
const BODY_TIMEOUT_S: f64 = 60.0;
/// Seconds without a byte that the client takes.
const WRITE_TIMEOUT_S: f64 = 30.0;
/// 64 MiB: the largest image, or a tar of some hundred photos.
const BODY_BYTES: usize = 64 * 1024 * 1024;
/// 256 MiB of bodies at the same time.
const BODIES_BYTES: usize = 256 * 1024 * 1024;
/// How long requests that are under way may take once the server stops.
const SHUTDOWN_S: f64 = 30.0;
/// 256 MiB a query, as at the command line.
const SQL_MEMORY: usize = crate::catalog::QUERY_MEMORY;
/// 256 MiB for all queries together.
const SQL_FOOTERS: usize = 256 * 1024 * 1024;
const SQL_COLUMNS: usize = 256 * 1024 * 1024;
const SQL_TIME_S: f64 = 30.0;
/// Rows of an answer at most.
const SQL_ROWS: usize = 100_000;
/// 64 MiB of columns; as JSON they are two or three times that.
const SQL_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// Queries side by side: memory is at most this times `memory`.
const SQL_CONCURRENT: usize = 4;
/// Rows of a stream at most.
const FLIGHT_ROWS: usize = 20_000_000;
/// A stream goes on as long as its client takes rows.
const FLIGHT_TIME_S: f64 = 600.0;
/// Streams side by side.
const FLIGHT_CONCURRENT: usize = 4;
/// Images that wait for a model. Half a second of work of two cores with a small network: a longer queue would be a longer wait, not more labels.
const QUEUE: usize = 64;
/// Milliseconds for which the first image of a batch waits for others while a worker is free.
const WAIT_MS: f64 = 2.0;
/// Teachers that requests name and that stay in memory, each with a copy of its model a worker.
const MODELS: usize = 1;

/// A whole `serve.toml`. Every section may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// HTTPS, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Who may do what.
    pub access: AccessConfig,
    /// What bounds connections and requests.
    pub limits: LimitsConfig,
    /// What bounds a query.
    pub sql: SqlConfig,
    /// What bounds a query of Flight SQL, besides the memory of `sql`.
    pub flight: FlightConfig,
    /// How images of requests are labelled.
    pub label: LabelConfig,
    /// What bounds the decoding of an image, as in a settings file.
    pub decode: DecodeConfig,
    /// What a promotion has to pass.
    pub promote: PromoteConfig,
    /// What jobs of clients may read.
    pub jobs: ClientJobsConfig,
    /// The jobs' own, which [`crate::jobs::JobsConfig`] reads.
    #[serde(skip_serializing)]
    pub worker: IgnoredAny,
    /// As `worker`.
    #[serde(skip_serializing)]
    pub schedule: IgnoredAny,
}

/// The `[tls]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file: the certificate, then its chain.
    pub cert: PathBuf,
    /// A PEM file: its private key.
    pub key: PathBuf,
}

/// The `[access]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// The file of hashes that `understudy tokens new` prints lines for; it is read again when it changes. Without one everything is allowed, on loopback alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PathBuf>,
}

/// The `[limits]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections side by side; more wait until one ends.
    pub connections: usize,
    /// Seconds in which a request's header has to come, from the connection or the last answer on.
    pub header_timeout_s: f64,
    /// Seconds in which a request's body has to come.
    pub body_timeout_s: f64,
    /// Seconds after which a client that takes no byte of its answer is given up.
    pub write_timeout_s: f64,
    /// The largest body of `POST /v1/label`, in bytes; others may have 1 MiB.
    pub body_bytes: usize,
    /// Bytes of all bodies that are in memory together, at least `body_bytes`; what comes beyond is answered with 429.
    pub bodies_bytes: usize,
    /// Seconds that requests under way may take once the server stops.
    pub shutdown_s: f64,
}

/// The `[sql]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqlConfig {
    /// Bytes that a query may hold; what can spill goes to the temporary directory above that.
    pub memory: usize,
    /// Bytes of Parquet files' footers that are kept for the next query: some 10 KB a labels object of 1,000 classes.
    pub footers: usize,
    /// Bytes of classes, confidences and reasons that are kept for the next query: 8 a label. What there is no room for is read by each query.
    pub columns: usize,
    /// Seconds after which it is stopped.
    pub time_s: f64,
    /// Rows of an answer at most; it says where there were more.
    pub rows: usize,
    /// Bytes of an answer's columns at most.
    pub result_bytes: usize,
    /// Queries side by side; more are answered with 429.
    pub concurrent: usize,
}

/// The `[flight]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlightConfig {
    /// Rows of a query at most; beyond, it ends with an error.
    pub rows: usize,
    /// Seconds after which it is stopped, the time in which its client takes the rows included.
    pub time_s: f64,
    /// Streams side by side, besides the queries of `sql`, which they may outlast; more are refused. Memory is at most this times `sql.memory`.
    pub concurrent: usize,
}

/// The `[label]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelConfig {
    /// Who labels where a request does not say: NAME, NAME@VERSION or current. It is loaded before the server is ready. Where it is left out, it is the current
    /// teacher, loaded at the first request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Images in a batch at most; 0 for 4 on the CPU and 64 on CUDA.
    pub batch: usize,
    /// Milliseconds for which the first image of a batch waits for others.
    pub wait_ms: f64,
    /// Threads that decode, and on the CPU infer as well; 0 for one a core. Each CPU thread holds a copy of the model.
    pub workers: usize,
    /// Images that wait at most; more are answered with 429. It bounds the wait: `queue` ÷ images a second.
    pub queue: usize,
    /// Teachers that requests name, in memory at most, besides the one that labels where a request does not say.
    pub models: usize,
}

/// The `[promote]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromoteConfig {
    /// The gate file that every promotion through this server is held against. A request names no gate of its own, since a gate reads files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<PathBuf>,
}

/// The `[jobs]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientJobsConfig {
    /// Prefixes below which jobs that clients submit may read images, such as `s3://my-photos/2026`, besides the sources of datasets that the workspace has.
    pub sources: Vec<String>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            header_timeout_s: HEADER_TIMEOUT_S,
            body_timeout_s: BODY_TIMEOUT_S,
            write_timeout_s: WRITE_TIMEOUT_S,
            body_bytes: BODY_BYTES,
            bodies_bytes: BODIES_BYTES,
            shutdown_s: SHUTDOWN_S,
        }
    }
}

impl Default for SqlConfig {
    fn default() -> Self {
        Self {
            memory: SQL_MEMORY,
            footers: SQL_FOOTERS,
            columns: SQL_COLUMNS,
            time_s: SQL_TIME_S,
            rows: SQL_ROWS,
            result_bytes: SQL_RESULT_BYTES,
            concurrent: SQL_CONCURRENT,
        }
    }
}

impl Default for FlightConfig {
    fn default() -> Self {
        Self {
            rows: FLIGHT_ROWS,
            time_s: FLIGHT_TIME_S,
            concurrent: FLIGHT_CONCURRENT,
        }
    }
}

impl Default for LabelConfig {
    fn default() -> Self {
        Self {
            teacher: None,
            batch: 0,
            wait_ms: WAIT_MS,
            workers: 0,
            queue: QUEUE,
            models: MODELS,
        }
    }
}

impl ServeConfig {
    /// Whether a TOML file is meant as a server's.
    pub fn is_meant(table: &toml::Table) -> bool {
        let has =
            |table: &toml::Table, keys: &[&str]| keys.iter().any(|key| table.contains_key(*key));
        let label = table.get("label").and_then(toml::Value::as_table);
        has(
            table,
            &[
                "tls", "access", "limits", "sql", "flight", "promote", "jobs", "worker", "schedule",
            ],
        ) || label.is_some_and(|label| has(label, &["teacher", "wait_ms", "queue", "models"]))
    }

    /// Reads and checks a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = parse_toml(&path.display().to_string(), &text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |file: &mut PathBuf| *file = folder.join(&*file);
        config.access.tokens.iter_mut().for_each(beside);
        config.promote.gate.iter_mut().for_each(beside);
        if let Some(tls) = &mut config.tls {
            beside(&mut tls.cert);
            beside(&mut tls.key);
        }
        config.validate()?;
        Ok(config)
    }

    /// The checks that need nothing but the values.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (limits, sql, label) = (&self.limits, &self.sql, &self.label);
        for (key, seconds) in [
            ("limits.header_timeout_s", limits.header_timeout_s),
            ("limits.body_timeout_s", limits.body_timeout_s),
            ("limits.write_timeout_s", limits.write_timeout_s),
            ("limits.shutdown_s", limits.shutdown_s),
            ("sql.time_s", sql.time_s),
            ("flight.time_s", self.flight.time_s),
        ] {
            check(
                seconds > 0.0 && seconds <= 86_400.0,
                key,
                seconds,
                "give seconds, more than 0 and at most 86400",
            )?;
        }
        for (key, number, most) in [
            ("limits.connections", limits.connections, 65_536),
            ("limits.body_bytes", limits.body_bytes, 1 << 32),
            ("sql.memory", sql.memory, usize::MAX),
            ("sql.footers", sql.footers, usize::MAX),
            ("sql.columns", sql.columns, usize::MAX),
            ("sql.rows", sql.rows, usize::MAX),
            ("sql.result_bytes", sql.result_bytes, usize::MAX),
            ("sql.concurrent", sql.concurrent, 1024),
            ("flight.rows", self.flight.rows, usize::MAX),
            ("flight.concurrent", self.flight.concurrent, 1024),
            ("label.queue", label.queue, 65_536),
            ("label.models", label.models, 64),
        ] {
            check(
                (1..=most).contains(&number),
                key,
                number,
                &format!("use 1 to {most}"),
            )?;
        }
        check(
            limits.bodies_bytes >= limits.body_bytes && limits.bodies_bytes <= 1 << 40,
            "limits.bodies_bytes",
            limits.bodies_bytes,
            "give at least `limits.body_bytes`: one body has to fit",
        )?;
        check_batches(label.batch, label.workers)?;
        check(
            (0.0..=1000.0).contains(&label.wait_ms),
            "label.wait_ms",
            label.wait_ms,
            "wait 0 to 1000 milliseconds",
        )?;
        let teacher = label.teacher.as_deref();
        check(
            teacher.is_none_or(|text| text.parse::<TeacherRef>().is_ok()),
            "label.teacher",
            teacher.unwrap_or_default(),
            "write NAME, NAME@VERSION or current",
        )?;
        let decode = &self.decode;
        check(
            decode.max_bytes > 0 && decode.max_pixels > 0 && decode.max_memory > 0,
            "decode",
            "limited to nothing",
            "max_bytes, max_pixels and max_memory have to be more than 0",
        )
    }
}

impl LimitsConfig {
    /// Until a header has to be there.
    pub(super) fn header_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.header_timeout_s)
    }

    /// Until a body has to be there.
    pub(super) fn body_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.body_timeout_s)
    }

    /// Until a client that takes nothing is given up.
    pub(super) fn write_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.write_timeout_s)
    }

    /// Until requests under way are given up.
    pub(super) fn shutdown(&self) -> Duration {
        Duration::from_secs_f64(self.shutdown_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults_and_a_value_out_of_range_is_named() {
        let parse = |text: &str| parse_toml::<ServeConfig>("serve.toml", text);
        let defaults = parse("").unwrap();
        assert_eq!(defaults, ServeConfig::default());
        let shipped = include_str!("../../pipelines/serve.toml");
        assert_eq!(parse(shipped).unwrap(), defaults);
        defaults.validate().unwrap();
        for (text, message) in [
            ("[sql]\nrows = 0\n", "`sql.rows` is 0"),
            ("[limits]\nshutdown_s = -1.0\n", "`limits.shutdown_s` is -1"),
            ("[limits]\nbodies_bytes = 5\n", "`limits.bodies_bytes` is 5"),
            ("[label]\nteacher = \"a/b\"\n", "`label.teacher` is a/b"),
        ] {
            let error = parse(text).unwrap().validate().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let error = parse("[sql]\nrow = 5\n").unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `rows`?");
    }
}
