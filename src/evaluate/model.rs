//! Which model is evaluated: a teacher of the workspace, or an ONNX file with its `teacher.toml`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::EvaluateError;
use crate::error::Error;
use crate::hex::hex;
use crate::runtime::{Device, Runtime};
use crate::store::{self, StorageOptions};
use crate::teacher::model::{OrtClassifier, trial};
use crate::teacher::{self, TeacherConfig, TeacherError, TeacherRef};
use crate::workspace::Workspace;

/// The configuration that is taken where none is named: the file of this name beside the model.
const BESIDE: &str = "teacher.toml";

/// A model as typed: NAME, NAME@VERSION, or an ONNX file's path or URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A teacher of the workspace.
    Teacher(TeacherRef),
    /// A file: what has a `/` or ends in `.onnx`.
    File(String),
}

impl FromStr for ModelRef {
    type Err = TeacherError;

    fn from_str(text: &str) -> Result<Self, TeacherError> {
        if text.contains('/') || Path::new(text).extension().is_some_and(|e| e == "onnx") {
            return Ok(Self::File(text.to_owned()));
        }
        text.parse().map(Self::Teacher)
    }
}

/// Which model, and for a file its configuration.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    /// The model.
    pub model: ModelRef,
    /// The `teacher.toml` of a file; `teacher.toml` beside it where none is named.
    pub config: Option<PathBuf>,
}

/// A model that was read.
#[derive(Debug, Clone)]
pub struct Model {
    /// NAME@VERSION, or the file as typed.
    pub name: String,
    /// Of the ONNX file, in hexadecimal.
    pub sha256: String,
    /// What it sees and says.
    pub config: TeacherConfig,
    /// The ONNX file.
    pub bytes: Bytes,
}

impl ModelSpec {
    /// A teacher of the workspace.
    pub fn teacher(teacher: TeacherRef) -> Self {
        Self {
            model: ModelRef::Teacher(teacher),
            config: None,
        }
    }

    /// Reads the model. A file is tried out as a teacher is before it is added.
    ///
    /// # Errors
    /// The teacher's, the store's, or [`EvaluateError`] where something is not named.
    pub async fn read(
        &self,
        workspace: Option<&Workspace>,
        storage: &StorageOptions,
        runtime: &Runtime,
    ) -> Result<Model, Error> {
        match &self.model {
            ModelRef::Teacher(wanted) => {
                if self.config.is_some() {
                    return Err(EvaluateError::NeedlessConfig {
                        teacher: wanted.name.clone(),
                    }
                    .into());
                }
                let workspace = workspace.ok_or_else(|| EvaluateError::NoWorkspace {
                    teacher: wanted.name.clone(),
                })?;
                let teacher = teacher::get(workspace, wanted).await?;
                let bytes = teacher.model(workspace).await?;
                Ok(Model {
                    name: teacher.record.to_string(),
                    sha256: teacher.record.model_sha256,
                    config: teacher.config,
                    bytes,
                })
            }
            ModelRef::File(file) => {
                let opened = store::open(file, storage)?;
                let config = TeacherConfig::read(&self.config_of(file, opened.is_local())?)?;
                let bytes = store::read(&*opened.store, &opened.path, &opened.url()).await?;
                let mut classifier = OrtClassifier::new(runtime, &bytes, &config, Device::Cpu, 1)?;
                trial(&mut classifier, &config)?;
                Ok(Model {
                    name: file.clone(),
                    sha256: hex(&Sha256::digest(&bytes)),
                    config,
                    bytes,
                })
            }
        }
    }

    fn config_of(&self, file: &str, local: bool) -> Result<PathBuf, EvaluateError> {
        if let Some(config) = &self.config {
            return Ok(config.clone());
        }
        let missing = || EvaluateError::NoConfig {
            model: file.to_owned(),
        };
        if !local {
            return Err(missing());
        }
        let path = Path::new(file.strip_prefix("file://").unwrap_or(file));
        let beside = path.with_file_name(BESIDE);
        if beside.is_file() {
            Ok(beside)
        } else {
            Err(missing())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_teacher_or_a_file() {
        let file = |text: &str| matches!(text.parse().unwrap(), ModelRef::File(_));
        for text in ["b0.onnx", "models/b0", "./b0", "s3://bucket/b0.onnx"] {
            assert!(file(text), "{text}");
        }
        for text in ["b0", "b0@2", "b0.v1"] {
            assert!(!file(text), "{text}");
        }
        assert!("b0@x".parse::<ModelRef>().is_err());
    }
}
