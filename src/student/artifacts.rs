//! The network → what ONNX Runtime trains with, by the Python tool `tools/student_artifacts.py`, which is part of this executable.
//!
//! Run once, when a student is made: the library's gradient builder can be reached from Python only. The Python is looked for in this order: `--python FILE`, the environment
//! variable `UNDERSTUDY_PYTHON`, and where `make setup` puts it (`~/.cache/understudy/venv-student`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::config::{Optimizer, StudentConfig};
use super::error::StudentError;
use super::graph::Form;
use super::initial;
use crate::runtime::cache;

/// The tool.
const TOOL: &str = include_str!("../../tools/student_artifacts.py");

/// What ONNX Runtime trains with.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// Forward, loss and gradients.
    pub training_model: Bytes,
    /// Forward and loss.
    pub eval_model: Bytes,
    /// The optimizer.
    pub optimizer_model: Bytes,
    /// The first weights.
    pub checkpoint: Bytes,
    /// What made them.
    pub versions: Versions,
}

/// With what artifacts were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The version of Python.
    pub python: String,
    /// The version of ONNX Runtime.
    pub onnxruntime: String,
    /// The version of the package `onnx`.
    pub onnx: String,
}

/// What the tool is told.
#[derive(Debug, Serialize)]
struct Settings<'a> {
    trainable: Vec<&'a str>,
    frozen: Vec<&'a str>,
    optimizer: Optimizer,
    clip_norm: Option<f32>,
}

/// The Python that is used.
pub fn python(explicit: Option<&Path>) -> PathBuf {
    if let Some(path) = explicit {
        return path.to_owned();
    }
    if let Some(path) = std::env::var_os("UNDERSTUDY_PYTHON").filter(|p| !p.is_empty()) {
        return path.into();
    }
    let made = cache().map(|cache| cache.join("venv-student/bin/python"));
    made.unwrap_or_else(|| "python3".into())
}

/// Makes a student's artifacts. Takes seconds for a small network, and some twenty bytes of memory a parameter. Blocks.
///
/// # Errors
/// [`StudentError::NoPython`], [`StudentError::Tool`] with the tool's own words, or [`StudentError::Temporary`].
pub fn make(config: &StudentConfig, python: &Path) -> Result<Artifacts, StudentError> {
    let graph = config.graph(Form::Training);
    let folder = tempfile::tempdir().map_err(StudentError::Temporary)?;
    let path = |name: &str| folder.path().join(name);
    let values = |parameter: &_| Ok::<_, StudentError>(initial::values(parameter, config.seed));
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(path(name), bytes).map_err(StudentError::Temporary)
    };
    write("forward.onnx", &graph.model(values)?.to_bytes())?;
    let (trainable, frozen) = graph
        .parameters
        .iter()
        .partition::<Vec<_>, _>(|p| config.trains(p));
    let settings = Settings {
        trainable: trainable.iter().map(|p| &*p.name).collect(),
        frozen: frozen.iter().map(|p| &*p.name).collect(),
        optimizer: config.optimizer,
        clip_norm: config.clip_norm,
    };
    write("settings.json", &crate::workspace::to_json(&settings))?;
    let versions = run(
        python,
        &[
            path("forward.onnx"),
            path("settings.json"),
            folder.path().to_owned(),
        ],
    )?;
    let read = |name: &str| {
        let bytes = std::fs::read(path(name)).map_err(StudentError::Temporary)?;
        Ok::<_, StudentError>(Bytes::from(bytes))
    };
    Ok(Artifacts {
        training_model: read("training_model.onnx")?,
        eval_model: read("eval_model.onnx")?,
        optimizer_model: read("optimizer_model.onnx")?,
        checkpoint: read("checkpoint")?,
        versions,
    })
}

/// Whether a Python can make artifacts, and with what.
///
/// # Errors
/// [`StudentError::NoPython`], or [`StudentError::Tool`] with what it lacks.
pub fn check(python: &Path) -> Result<Versions, StudentError> {
    run(python, &["--check".into()])
}

fn run(python: &Path, args: &[PathBuf]) -> Result<Versions, StudentError> {
    let output = Command::new(python)
        .args(["-I", "-c", TOOL])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| StudentError::NoPython {
            python: python.to_owned(),
            source,
        })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.trim_end().lines().next_back().unwrap_or_default();
        let refused = last.strip_prefix("error: ");
        return Err(StudentError::Tool {
            detail: refused.unwrap_or(last).to_owned(),
            packages: refused.is_none(),
        });
    }
    serde_json::from_slice(&output.stdout).map_err(|e| StudentError::Tool {
        detail: format!(
            "`{}` printed something else than versions: {e}",
            python.display()
        ),
        packages: false,
    })
}
