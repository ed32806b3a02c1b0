//! Students in the workspace: made once, listed, read.
//!
//! ```text
//! students/NAME/training_model-0123456789abcdef.onnx      and eval_model-….onnx, optimizer_model-….onnx, checkpoint-…: named by their content
//! students/NAME/student.json                              their commit, which names them: what it does not name does not exist
//! ```

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::artifacts::{self, Artifacts, Versions};
use super::config::StudentConfig;
use super::error::StudentError;
use super::graph::Form;
use super::ort::{On, OrtTrainer};
use super::trainer::{Batch, StudentTrainer, TrainerError};
use crate::hex::hex;
use crate::runtime::{Device, Runtime};
use crate::store::Created;
use crate::workspace::{Workspace, WorkspaceError, check_name, to_json};

/// What `student.json`, the commit of a student, says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentRecord {
    /// The name.
    pub name: String,
    /// The network and what trains it.
    pub config: StudentConfig,
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// How many numbers gradients may change, frozen ones among them: what papers count.
    pub parameters: usize,
    /// How many numbers the classifier sees of an image: the width of the dropout mask.
    pub features: usize,
    /// How many blocks stochastic depth can leave out: the width of the depth mask.
    pub depth: usize,
    /// The files that it is trained with.
    pub files: Files,
    /// What made them.
    pub made_with: Versions,
    /// The understudy that made the student.
    pub understudy: String,
}

/// The files of a student, beside `student.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Forward, loss and gradients.
    pub training_model: FileRecord,
    /// Forward and loss.
    pub eval_model: FileRecord,
    /// The optimizer.
    pub optimizer_model: FileRecord,
    /// The first weights.
    pub checkpoint: FileRecord,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name.
    pub name: String,
    /// In hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

impl FileRecord {
    /// Named by its content, so that a folder that a killed `init` left behind is in nobody's way.
    pub(crate) fn new(stem: &str, suffix: &str, bytes: &Bytes) -> Self {
        let sha256 = hex(&Sha256::digest(bytes));
        Self {
            name: format!("{stem}-{}{suffix}", &sha256[..16]),
            bytes: bytes.len() as u64,
            sha256,
        }
    }

    /// Whether these are its bytes.
    pub(crate) fn is_of(&self, bytes: &Bytes) -> bool {
        hex(&Sha256::digest(bytes)) == self.sha256
    }
}

/// `understudy student init`.
#[derive(Debug, Clone)]
pub struct InitJob {
    /// The student's name.
    pub name: String,
    /// What it is.
    pub config: StudentConfig,
    /// What makes its artifacts ([`artifacts::python`]).
    pub python: PathBuf,
    /// The training library that was named, if one was.
    pub training_library: Option<PathBuf>,
    /// Whether the artifacts are tried out with one step, which needs the library, and the memory of a step over two images.
    pub trial: bool,
}

impl InitJob {
    /// Makes the student: its network, its training artifacts, a trial step with them, and the commit. Where the very same student is there already, that one and `false`.
    ///
    /// # Errors
    /// [`StudentError`]; nothing is visible in the workspace then.
    pub async fn run(self, workspace: &Workspace) -> Result<(StudentRecord, bool), StudentError> {
        check_name("student", &self.name)?;
        self.config.validate()?;
        if let Some(there) = workspace.find_json(&commit_of(&self.name)).await? {
            return same(there, &self.config).map(|record| (record, false));
        }
        let (name, config) = (self.name.clone(), self.config.clone());
        let artifacts = tokio::task::spawn_blocking(move || self.make()).await??;
        let record = describe(name, config, &artifacts);
        for (file, bytes) in [
            (&record.files.training_model, artifacts.training_model),
            (&record.files.eval_model, artifacts.eval_model),
            (&record.files.optimizer_model, artifacts.optimizer_model),
            (&record.files.checkpoint, artifacts.checkpoint),
        ] {
            let place = format!("students/{}/{}", record.name, file.name);
            if workspace.create(&place, bytes).await? == Created::Other {
                // By its name it is the same: it is damaged.
                record.file(workspace, file).await?;
            }
        }
        match workspace
            .create(&commit_of(&record.name), to_json(&record))
            .await?
        {
            Created::New => Ok((record, true)),
            Created::Same => Ok((record, false)),
            Created::Other => {
                let there = read(workspace, &record.name).await?;
                same(there, &record.config).map(|record| (record, false))
            }
        }
    }

    fn make(&self) -> Result<Artifacts, StudentError> {
        // Before the minutes that a large network takes.
        let runtime = self
            .trial
            .then(|| Runtime::load_training(self.training_library.as_deref()))
            .transpose()
            .map_err(TrainerError::from)?;
        let artifacts = artifacts::make(&self.config, &self.python)?;
        if let Some(runtime) = runtime {
            trial(&runtime, &self.config, &artifacts)?;
        }
        Ok(artifacts)
    }
}

fn describe(name: String, config: StudentConfig, artifacts: &Artifacts) -> StudentRecord {
    let graph = config.graph(Form::Training);
    StudentRecord {
        name,
        config,
        input: graph.input,
        parameters: graph.trainable(),
        features: graph.features,
        depth: graph.depth.len(),
        files: Files {
            training_model: FileRecord::new("training_model", ".onnx", &artifacts.training_model),
            eval_model: FileRecord::new("eval_model", ".onnx", &artifacts.eval_model),
            optimizer_model: FileRecord::new(
                "optimizer_model",
                ".onnx",
                &artifacts.optimizer_model,
            ),
            checkpoint: FileRecord::new("checkpoint", "", &artifacts.checkpoint),
        },
        made_with: artifacts.versions.clone(),
        understudy: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// One step over two grey images, and one evaluation: whether the library runs the artifacts at all.
fn trial(
    runtime: &Runtime,
    config: &StudentConfig,
    artifacts: &Artifacts,
) -> Result<(), StudentError> {
    let on = On {
        device: Device::Cpu,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut trainer = OrtTrainer::new(runtime, config, artifacts, on)?;
    let shape = trainer.shape().clone();
    let images: Vec<f32> = (0..2 * shape.image_len())
        .map(|place| (place % 251) as f32 / 251.0)
        .collect();
    let batch = Batch {
        images: &images,
        targets: &vec![1.0 / shape.classes as f32; 2 * shape.classes],
        weights: &[0.5, 0.5],
        dropout: &vec![1.0; 2 * shape.features],
        depth: &vec![1.0; 2 * shape.depth],
    };
    let loss = trainer.step(&batch)?.loss;
    trainer.apply(0.0)?;
    let mut logits = Vec::new();
    trainer.logits(&images, &mut logits)?;
    if loss.is_finite() && logits.iter().all(|z| z.is_finite()) {
        Ok(())
    } else {
        Err(StudentError::Tool {
            detail: format!("a trial step gave the loss {loss}"),
            packages: true,
        })
    }
}

/// Whether the student that is there is the one that was asked for.
fn same(there: StudentRecord, config: &StudentConfig) -> Result<StudentRecord, StudentError> {
    if there.config == *config {
        return Ok(there);
    }
    let text = |config: &StudentConfig| toml::to_string(config).unwrap_or_default();
    let (old, new) = (text(&there.config), text(config));
    // A key that is left out has its default.
    let alone = |lines: &str, others: &str| {
        let lines = lines.lines().filter(|l| !others.lines().any(|o| o == *l));
        let lines = lines.collect::<Vec<_>>().join(", ");
        if lines.is_empty() {
            "the default".to_owned()
        } else {
            format!("`{lines}`")
        }
    };
    Err(StudentError::Taken {
        name: there.name,
        difference: format!(
            "it has {}, {} was asked for",
            alone(&old, &new),
            alone(&new, &old)
        ),
    })
}

fn commit_of(name: &str) -> String {
    format!("students/{name}/student.json")
}

async fn read(workspace: &Workspace, name: &str) -> Result<StudentRecord, WorkspaceError> {
    workspace.read_json(&commit_of(name)).await
}

/// All committed students, by name.
///
/// # Errors
/// The store's.
pub async fn list(workspace: &Workspace) -> Result<Vec<StudentRecord>, WorkspaceError> {
    let mut records = Vec::new();
    for name in workspace.folders("students").await? {
        records.extend(
            workspace
                .find_json::<StudentRecord>(&commit_of(&name))
                .await?,
        );
    }
    Ok(records)
}

/// Reads a student.
///
/// # Errors
/// [`WorkspaceError::Unknown`] with a name that is near, or those that exist.
pub async fn get(workspace: &Workspace, name: &str) -> Result<StudentRecord, WorkspaceError> {
    check_name("student", name)?;
    if let Some(record) = workspace.find_json(&commit_of(name)).await? {
        return Ok(record);
    }
    let records = list(workspace).await?;
    let names: Vec<&str> = records.iter().map(|r| r.name.as_str()).collect();
    let none = "make one with `understudy student init NAME --architecture small --classes N`";
    Err(WorkspaceError::unknown("student", name, &names, none))
}

impl StudentRecord {
    /// In a line.
    pub fn line(&self) -> String {
        let [channels, height, width] = self.input;
        let millions = self.parameters as f64 / 1e6;
        format!(
            "{}: {}, {channels}x{height}x{width}, {} classes, {millions:.2}M parameters",
            self.name, self.config.architecture, self.config.classes
        )
    }

    /// Reads what the student is trained with, and checks the hashes.
    ///
    /// # Errors
    /// [`StudentError::Damaged`], or the store's.
    pub async fn artifacts(&self, workspace: &Workspace) -> Result<Artifacts, StudentError> {
        let files = &self.files;
        Ok(Artifacts {
            training_model: self.file(workspace, &files.training_model).await?,
            eval_model: self.file(workspace, &files.eval_model).await?,
            optimizer_model: self.file(workspace, &files.optimizer_model).await?,
            checkpoint: self.file(workspace, &files.checkpoint).await?,
            versions: self.made_with.clone(),
        })
    }

    async fn file(&self, workspace: &Workspace, file: &FileRecord) -> Result<Bytes, StudentError> {
        let place = format!("students/{}/{}", self.name, file.name);
        let bytes = workspace.read(&place).await?;
        let found = hex(&Sha256::digest(&bytes));
        if found == file.sha256 {
            Ok(bytes)
        } else {
            Err(StudentError::Damaged {
                url: workspace.url(&place),
                found,
                expected: file.sha256.clone(),
            })
        }
    }
}
