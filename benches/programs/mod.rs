//! What the benchmarks share: programs run as processes and measured, and a report of ratios.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Why a benchmark could not be run.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// How often a running process's peak memory is read.
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// One run of a program.
pub(crate) struct Measured {
    /// What it printed on standard output.
    pub(crate) json: serde_json::Value,
    /// Images a second by its own clock, without start-up; 0 where it gave none.
    pub(crate) rate: f64,
    /// Seconds of the whole process.
    pub(crate) wall: f64,
    /// Peak resident memory in MB, as the kernel counts it (`VmHWM`).
    pub(crate) peak_mb: f64,
}

fn measured(mut command: Command) -> Result<Measured, Failure> {
    let shown = format!("{command:?}");
    let started = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let drain = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_string(&mut text);
            }
            text
        })
    };
    let out = drain(child.stdout.take().map(|p| Box::new(p) as Box<_>));
    let err = drain(child.stderr.take().map(|p| Box::new(p) as Box<_>));
    let status_file = format!("/proc/{}/status", child.id());
    let (over, is_over) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let mut peak_kb = 0.0_f64;
        loop {
            if let Ok(text) = std::fs::read_to_string(&status_file) {
                let high = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
                let kb = high.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
                peak_kb = peak_kb.max(kb.unwrap_or(0.0));
            }
            if is_over.recv_timeout(WATCH_EVERY) != Err(RecvTimeoutError::Timeout) {
                return peak_kb;
            }
        }
    });
    let status = child.wait()?;
    let wall = started.elapsed().as_secs_f64();
    drop(over);
    let peak_kb = watch.join().unwrap_or_default();
    let (out, err) = (
        out.join().unwrap_or_default(),
        err.join().unwrap_or_default(),
    );
    if !status.success() {
        return Err(format!("{shown}: {status}\n{err}").into());
    }
    let json = serde_json::from_str(&out).unwrap_or(serde_json::Value::String(out));
    Ok(Measured {
        rate: json["images_per_second"].as_f64().unwrap_or(0.0),
        json,
        wall,
        peak_mb: peak_kb * 1024.0 / 1e6,
    })
}

/// Runs understudy on a workspace.
pub(crate) fn understudy(workspace: &Path, arguments: &[&str]) -> Result<Measured, Failure> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command
        .args(arguments)
        .env("UNDERSTUDY_WORKSPACE", workspace)
        .env_remove("RUST_LOG");
    measured(command)
}

/// Runs a program of `benches/` with the Python that `make setup` made.
pub(crate) fn python(program: &str, arguments: &[&str]) -> Result<Measured, Failure> {
    python_of("venv-test", program, arguments)
}

/// The same with one of the other Pythons that it made.
pub(crate) fn python_of(
    environment: &str,
    program: &str,
    arguments: &[&str],
) -> Result<Measured, Failure> {
    let python = cache().join(environment).join("bin/python");
    if !python.exists() {
        return Err(format!("`{}` is missing: run `make setup`", python.display()).into());
    }
    let mut command = Command::new(python);
    command
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("benches")
                .join(program),
        )
        .args(arguments);
    measured(command)
}

/// The rows of a query.
pub(crate) fn rows(workspace: &Path, query: &str) -> Result<Vec<serde_json::Value>, Failure> {
    let out = understudy(workspace, &["sql", "--format", "json", query])?.json;
    match out {
        serde_json::Value::String(lines) => Ok(lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?),
        one => Ok(vec![one]),
    }
}

/// The column `n` of a query with one row.
pub(crate) fn count(workspace: &Path, query: &str) -> Result<u64, Failure> {
    let rows = rows(workspace, query)?;
    rows.first()
        .and_then(|row| row["n"].as_u64())
        .ok_or_else(|| format!("`{query}` gave no number").into())
}

/// The median of a figure over runs.
pub(crate) fn median(runs: &[Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    middle(runs.iter().map(figure).collect())
}

/// The median of numbers, of which there is at least one.
pub(crate) fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Where `make setup` puts things.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("UNDERSTUDY_CACHE").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/understudy"),
        PathBuf::from,
    )
}

/// A part's figures and ratios.
pub(crate) struct Report {
    text: String,
}

impl Report {
    pub(crate) fn new(title: &str) -> Self {
        Self {
            text: format!("\n{title}\n"),
        }
    }

    pub(crate) fn line(&mut self, name: &str, figure: &str) {
        self.text = format!("{}  {name:<54} {figure}\n", self.text);
    }

    /// A ratio with its target; whether it was met is said, not enforced: machines differ.
    pub(crate) fn ratio(&mut self, name: &str, ratio: f64, target: &str, met: fn(f64) -> bool) {
        let verdict = if met(ratio) { "met" } else { "MISSED" };
        self.line(name, &format!("{ratio:.2}   target {target}: {verdict}"));
    }

    #[allow(clippy::print_stdout, reason = "the benchmark's result")]
    pub(crate) fn print(&self) {
        print!("{}", self.text);
    }
}
