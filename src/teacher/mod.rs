//! Teachers: a model, its preprocessing and its classes, as immutable numbered versions in the workspace.

pub mod config;
mod diff;
pub mod model;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use config::TeacherConfig;
pub use diff::{Difference, diff, differences};

use crate::config::{ConfigError, parse_toml};
use crate::error::nearest;
use crate::hex::hex;
use crate::promotion::{self, CURRENT};
use crate::runtime::{Device, Runtime, RuntimeError};
use crate::store::Created;
use crate::workspace::{Workspace, WorkspaceError, check_name, side_by_side, to_json};
use model::OrtClassifier;

/// What is between a teacher and the name of its noise, where labels are meant that it made of noised images. It can stand in no name.
pub const NOISED: char = '+';

/// What can go wrong with a teacher.
#[derive(Debug, thiserror::Error)]
pub enum TeacherError {
    /// A value of `teacher.toml` that makes no sense.
    #[error("`{key}` {what}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The model and `teacher.toml` do not agree.
    #[error("the model's {which} {found}")]
    Mismatch {
        /// input or output.
        which: &'static str,
        /// What the model has.
        found: String,
        /// What was expected, and what to do.
        advice: String,
    },
    /// The trial run gave nonsense.
    #[error("the trial run failed: {what}")]
    Trial {
        /// What came out.
        what: String,
        /// What to do.
        advice: String,
    },
    /// `NAME@VERSION` does not parse.
    #[error("`{text}` does not name a teacher")]
    BadReference {
        /// As typed.
        text: String,
    },
    /// `NAME+NOISE`, which labels have and no teacher.
    #[error("`{text}` names labels of noised images; a teacher is NAME or NAME@VERSION")]
    Noised {
        /// As typed.
        text: String,
    },
    /// `current` as a name, or with a version.
    #[error("`{text}` cannot be a teacher's name: `{CURRENT}` stands for the one that is promoted")]
    Reserved {
        /// As typed.
        text: String,
    },
    /// `current` before the first promotion.
    #[error("no teacher is promoted yet, so that `{CURRENT}` is none")]
    NonePromoted,
    /// The model in the workspace is not the one that was added.
    #[error("the model of `{teacher}` is damaged: its sha256 is {found}, {expected} was recorded")]
    Damaged {
        /// NAME@VERSION.
        teacher: String,
        /// The hash of what is there.
        found: String,
        /// The hash that was recorded.
        expected: String,
    },
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A file.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl TeacherError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config { advice, .. }
            | Self::Mismatch { advice, .. }
            | Self::Trial { advice, .. } => Some(advice.clone()),
            Self::BadReference { .. } => Some("write NAME, or NAME@VERSION such as `b0@2`".into()),
            Self::Noised { .. } => Some("give the noise with `label --noise FILE`".into()),
            Self::Reserved { .. } => Some(
                "write `current` for the promoted teacher, and another name for one of your own"
                    .into(),
            ),
            Self::NonePromoted => Some(
                "promote one with `understudy promote NAME@VERSION`, or name the teacher".into(),
            ),
            Self::Damaged { .. } => {
                Some("restore the object from the bucket's versions, or add the model again".into())
            }
            Self::Runtime(e) => e.hint(),
            Self::File(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}

/// `NAME`, `NAME@VERSION` or `current`, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeacherRef {
    /// The name; [`CURRENT`] for the promoted teacher.
    pub name: String,
    /// The version; the newest where none is given, and the promoted one's of `current`.
    pub version: Option<u32>,
}

impl FromStr for TeacherRef {
    type Err = TeacherError;

    fn from_str(text: &str) -> Result<Self, TeacherError> {
        let bad = || TeacherError::BadReference {
            text: text.to_owned(),
        };
        if text.contains(NOISED) {
            return Err(TeacherError::Noised {
                text: text.to_owned(),
            });
        }
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => (name, Some(version.parse().map_err(|_| bad())?)),
        };
        check_name("teacher", name).map_err(|_| bad())?;
        if name == CURRENT && version.is_some() {
            return Err(TeacherError::Reserved {
                text: text.to_owned(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            version,
        })
    }
}

/// What `teacher.json`, the commit of a version, says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeacherRecord {
    /// The name.
    pub name: String,
    /// From 1 on.
    pub version: u32,
    /// Of `model.onnx`, in hexadecimal.
    pub model_sha256: String,
    /// Of `model.onnx`.
    pub model_bytes: u64,
    /// Of the resolved `teacher.toml`, in hexadecimal.
    pub config_sha256: String,
    /// How many classes.
    pub classes: usize,
    /// A line for people.
    pub description: Option<String>,
    /// The understudy that added it.
    pub understudy: String,
}

impl fmt::Display for TeacherRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl TeacherRecord {
    fn folder(&self) -> String {
        format!("teachers/{}/{}", self.name, self.version)
    }
}

/// A teacher that was read from the workspace.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// Its commit.
    pub record: TeacherRecord,
    /// Its resolved `teacher.toml`.
    pub config: TeacherConfig,
}

/// Checks a model against its configuration with a trial run, and adds it as the next version of `name`.
///
/// The very same model and configuration as the newest version's are not added again: `false`, and that version.
///
/// # Errors
/// [`TeacherError`]; nothing is visible in the workspace then.
pub async fn add(
    workspace: &Workspace,
    runtime: &Runtime,
    name: &str,
    model: Bytes,
    config: &TeacherConfig,
) -> Result<(TeacherRecord, bool), TeacherError> {
    check_name("teacher", name)?;
    if name == CURRENT {
        return Err(TeacherError::Reserved {
            text: name.to_owned(),
        });
    }
    let mut classifier = OrtClassifier::new(runtime, &model, config, Device::Cpu, 1)?;
    model::trial(&mut classifier, config)?;
    let toml = toml::to_string_pretty(config).map_err(|e| TeacherError::Config {
        key: "teacher.toml",
        what: e.to_string(),
        advice: "this is a defect, please report it".into(),
    })?;
    let mut record = TeacherRecord {
        name: name.to_owned(),
        version: 1,
        model_sha256: hex(&Sha256::digest(&model)),
        model_bytes: model.len() as u64,
        config_sha256: hex(&Sha256::digest(toml.as_bytes())),
        classes: config.classes.names.len(),
        description: config.description.clone(),
        understudy: env!("CARGO_PKG_VERSION").to_owned(),
    };
    if let Some(newest) = versions(workspace, name).await?.pop() {
        let newest: TeacherRecord = workspace
            .read_json(&format!("teachers/{name}/{newest}/teacher.json"))
            .await?;
        if newest.model_sha256 == record.model_sha256
            && newest.config_sha256 == record.config_sha256
        {
            return Ok((newest, false));
        }
        record.version = newest.version + 1;
    }
    loop {
        let folder = record.folder();
        let files = [
            ("model.onnx", model.clone()),
            ("teacher.toml", Bytes::from(toml.clone())),
            ("teacher.json", to_json(&record)),
        ];
        let mut taken = false;
        for (file, bytes) in files {
            if workspace.create(&format!("{folder}/{file}"), bytes).await? == Created::Other {
                taken = true;
                break;
            }
        }
        if !taken {
            return Ok((record, true));
        }
        record.version += 1;
    }
}

/// The committed versions of a teacher, ascending.
async fn versions(workspace: &Workspace, name: &str) -> Result<Vec<u32>, WorkspaceError> {
    let folders = workspace.folders(&format!("teachers/{name}")).await?;
    let version = |folder: String| async move {
        let Ok(version) = folder.parse() else {
            return Ok(None);
        };
        let files = workspace
            .names(&format!("teachers/{name}/{folder}"))
            .await?;
        let is_whole = files.iter().any(|f| f == "teacher.json");
        Ok::<_, WorkspaceError>(is_whole.then_some(version))
    };
    let versions = side_by_side(folders, version).await?;
    let mut versions: Vec<u32> = versions.into_iter().flatten().collect();
    versions.sort_unstable();
    Ok(versions)
}

/// All committed teachers, by name and version.
///
/// # Errors
/// The store's.
pub async fn list(workspace: &Workspace) -> Result<Vec<TeacherRecord>, WorkspaceError> {
    let names = workspace.folders("teachers").await?;
    let of_name = |name: String| async move {
        let versions = versions(workspace, &name).await?;
        let place = |version| format!("teachers/{name}/{version}/teacher.json");
        Ok::<_, WorkspaceError>(versions.into_iter().map(place).collect::<Vec<_>>())
    };
    let places = side_by_side(names, of_name).await?;
    workspace.read_all_json(places.concat()).await
}

/// Reads a teacher; the newest version where none is named, and the promoted teacher for `current`.
///
/// # Errors
/// [`WorkspaceError::Unknown`] with the names that exist, or [`TeacherError::NonePromoted`].
pub async fn get(workspace: &Workspace, wanted: &TeacherRef) -> Result<Teacher, TeacherError> {
    let promoted: TeacherRef;
    let wanted = if wanted.name == CURRENT {
        let promotion = promotion::current(workspace).await?;
        promoted = promotion
            .ok_or(TeacherError::NonePromoted)?
            .teacher
            .parse()?;
        &promoted
    } else {
        wanted
    };
    let versions = versions(workspace, &wanted.name).await?;
    let version = match wanted.version {
        Some(version) if versions.contains(&version) => version,
        None if !versions.is_empty() => versions[versions.len() - 1],
        _ => return Err(unknown(workspace, wanted, &versions).await?.into()),
    };
    let folder = format!("teachers/{}/{version}", wanted.name);
    let record: TeacherRecord = workspace
        .read_json(&format!("{folder}/teacher.json"))
        .await?;
    let text = workspace.read(&format!("{folder}/teacher.toml")).await?;
    let config = parse_toml(
        &workspace.url(&format!("{folder}/teacher.toml")),
        &String::from_utf8_lossy(&text),
    )?;
    Ok(Teacher { record, config })
}

async fn unknown(
    workspace: &Workspace,
    wanted: &TeacherRef,
    versions: &[u32],
) -> Result<WorkspaceError, WorkspaceError> {
    let names = workspace.folders("teachers").await?;
    let hint = if !versions.is_empty() {
        format!(
            "it has the versions {}",
            versions
                .iter()
                .map(|v| format!("{}@{v}", wanted.name))
                .collect::<Vec<_>>()
                .join(", ")
        )
    } else if let Some(near) = nearest(&wanted.name, names.iter().map(String::as_str)) {
        format!("did you mean `{near}`?")
    } else if names.is_empty() {
        "add one with `understudy teachers add NAME --model FILE --config teacher.toml`".into()
    } else {
        format!("it has {}", names.join(", "))
    };
    Ok(WorkspaceError::Unknown {
        what: "teacher",
        name: match wanted.version {
            Some(version) => format!("{}@{version}", wanted.name),
            None => wanted.name.clone(),
        },
        hint,
    })
}

impl Teacher {
    /// Reads the model's bytes and checks their hash.
    ///
    /// # Errors
    /// [`TeacherError::Damaged`], or the store's.
    pub async fn model(&self, workspace: &Workspace) -> Result<Bytes, TeacherError> {
        let bytes = workspace
            .read(&format!("{}/model.onnx", self.record.folder()))
            .await?;
        let found = hex(&Sha256::digest(&bytes));
        if found == self.record.model_sha256 {
            Ok(bytes)
        } else {
            Err(TeacherError::Damaged {
                teacher: self.record.to_string(),
                found,
                expected: self.record.model_sha256.clone(),
            })
        }
    }
}

/// In what the classes of two teachers differ; nothing where they are the same ones in the same order, so that their numbers mean the same.
pub fn differing_classes(a: &[String], b: &[String]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} and {} classes", a.len(), b.len()));
    }
    let class = a.iter().zip(b).position(|(a, b)| a != b)?;
    Some(format!(
        "class {class} is `{}` and `{}`",
        a[class], b[class]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_with_or_without_a_version() {
        let b0: TeacherRef = "b0".parse().unwrap();
        assert_eq!((b0.name.as_str(), b0.version), ("b0", None));
        let b0: TeacherRef = "b0@12".parse().unwrap();
        assert_eq!((b0.name.as_str(), b0.version), ("b0", Some(12)));
        let current: TeacherRef = "current".parse().unwrap();
        assert_eq!((current.name.as_str(), current.version), (CURRENT, None));
        for text in ["", "b0@", "b0@x", "../b0", "a/b", "current@1"] {
            assert!(text.parse::<TeacherRef>().is_err(), "{text}");
        }
    }
}
