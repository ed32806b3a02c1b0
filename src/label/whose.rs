//! Whose labels: a teacher's, or those of the same teacher seeing noised images.

use std::str::FromStr;

use crate::teacher::{self, NOISED, Teacher, TeacherError, TeacherRecord, TeacherRef};
use crate::workspace::{Workspace, WorkspaceError, check_name};

/// `NAME` or `NAME@VERSION`, with `+NOISE` where the teacher was noised, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// The teacher.
    pub teacher: TeacherRef,
    /// The name of its noise.
    pub noise: Option<String>,
}

impl FromStr for Whose {
    type Err = TeacherError;

    fn from_str(text: &str) -> Result<Self, TeacherError> {
        let (teacher, noise) = match text.split_once(NOISED) {
            None => (text, None),
            Some((teacher, noise)) => {
                check_name("noise", noise).map_err(|_| TeacherError::BadReference {
                    text: text.to_owned(),
                })?;
                (teacher, Some(noise.to_owned()))
            }
        };
        Ok(Self {
            teacher: teacher.parse()?,
            noise,
        })
    }
}

/// The name that labels are kept under: `NAME@VERSION`, or `NAME@VERSION+NOISE`.
pub fn name(teacher: &TeacherRecord, noise: Option<&str>) -> String {
    match noise {
        Some(noise) => format!("{teacher}{NOISED}{noise}"),
        None => teacher.to_string(),
    }
}

/// The names under which a dataset has labels, or is about to, in order.
///
/// # Errors
/// The store's.
pub async fn labellers(
    workspace: &Workspace,
    dataset: &str,
) -> Result<Vec<String>, WorkspaceError> {
    let place = format!("labels/dataset={dataset}");
    let folders = workspace.folders(&place).await?.into_iter();
    Ok(folders
        .filter_map(|folder| folder.strip_prefix("teacher=").map(str::to_owned))
        .collect())
}

/// The teacher of labels that are kept under this name.
///
/// # Errors
/// [`TeacherError`], where the name is none or the workspace has no such teacher.
pub async fn teacher_of(workspace: &Workspace, name: &str) -> Result<Teacher, TeacherError> {
    let whose: Whose = name.parse()?;
    teacher::get(workspace, &whose.teacher).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_named_by_a_teacher_with_or_without_its_noise() {
        for (text, version, noise) in [
            ("b0", None, None),
            ("b0@2", Some(2), None),
            ("b0+b7", None, Some("b7")),
            ("b0@2+table-6.v1", Some(2), Some("table-6.v1")),
        ] {
            let whose: Whose = text.parse().unwrap();
            assert_eq!(
                (whose.teacher.name.as_str(), whose.teacher.version),
                ("b0", version)
            );
            assert_eq!(whose.noise.as_deref(), noise, "{text}");
        }
        for text in ["b0+", "+b7", "b0@2+b7+b7", "b0@x+b7", "b0@2+../b7"] {
            assert!(text.parse::<Whose>().is_err(), "{text}");
        }
    }
}
