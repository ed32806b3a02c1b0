//! Where a teacher, a selection or an image's labels come from, and what was made of them: read from what each commit records.

mod key;
mod selection;
mod table;
mod teacher;
mod training;

use clap::ValueEnum;
use serde::Serialize;

pub use self::key::{Labelled, Listed, OfKey, Rejected, Selected};
pub use self::selection::OfSelection;
pub use self::table::table;
pub use self::teacher::{Labels, OfTeacher};
pub(crate) use self::training::of_training;
pub use self::training::{FromSelection, Trained};

use crate::catalog::CatalogError;
use crate::manifest::ManifestError;
use crate::select::report::folder;
use crate::teacher::{TeacherError, TeacherRef};
use crate::workspace::{Workspace, WorkspaceError, check_name};

/// What can go wrong with a lineage.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// Nothing is called so.
    #[error("the workspace has no teacher, selection or key `{name}`")]
    Unknown {
        /// As typed.
        name: String,
    },
    /// A teacher and a selection are.
    #[error("`{name}` is a teacher and a selection")]
    Ambiguous {
        /// As typed.
        name: String,
    },
    /// The tables.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl LineageError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some(
                "`understudy teachers list` has the teachers, `understudy sql \"SELECT DISTINCT selection FROM selections\"` the selections, and the table `manifest` the keys".into(),
            ),
            Self::Ambiguous { .. } => {
                Some("say which is meant with --as teacher or --as selection".into())
            }
            Self::Catalog(e) => e.hint(),
            Self::Manifest(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
        }
    }
}

/// What a name is meant as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Meant {
    /// NAME, NAME@VERSION or current.
    Teacher,
    /// A selection's name.
    Selection,
    /// An image's key.
    Key,
}

/// A lineage; `--json` prints it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Lineage {
    /// A teacher's.
    Teacher(Box<OfTeacher>),
    /// A selection's.
    Selection(Box<OfSelection>),
    /// An image's.
    Key(Box<OfKey>),
}

/// The lineage of what is called so.
///
/// # Errors
/// [`LineageError`].
pub async fn lineage(
    workspace: &Workspace,
    name: &str,
    meant: Option<Meant>,
) -> Result<Lineage, LineageError> {
    let meant = match meant {
        Some(meant) => meant,
        None => find(workspace, name).await?,
    };
    Ok(match meant {
        Meant::Teacher => {
            let wanted: TeacherRef = name.parse()?;
            Lineage::Teacher(Box::new(OfTeacher::read(workspace, &wanted).await?))
        }
        Meant::Selection => Lineage::Selection(Box::new(OfSelection::read(workspace, name).await?)),
        Meant::Key => Lineage::Key(Box::new(OfKey::read(workspace, name).await?)),
    })
}

/// What the workspace has by this name: keys are URLs, and everything else is a name that can stand in a path.
async fn find(workspace: &Workspace, name: &str) -> Result<Meant, LineageError> {
    let teacher = match name.parse::<TeacherRef>() {
        // With a version only a selection that was made anew can be meant as well; otherwise the teacher's own error tells the versions.
        Ok(wanted) if wanted.version.is_some() => {
            let selection = format!("{}/selection.json", folder(name));
            let made_anew = workspace.exists(&selection).await?;
            return Ok(if made_anew {
                Meant::Selection
            } else {
                Meant::Teacher
            });
        }
        Ok(_) => match crate::teacher::get(workspace, &name.parse()?).await {
            Ok(_) => true,
            Err(TeacherError::Workspace(WorkspaceError::Unknown { .. })) => false,
            Err(e) => return Err(e.into()),
        },
        Err(_) => false,
    };
    let selection = check_name("selection", name).is_ok()
        && workspace
            .exists(&format!("{}/selection.json", folder(name)))
            .await?;
    match (teacher, selection) {
        (true, true) => Err(LineageError::Ambiguous {
            name: name.to_owned(),
        }),
        (true, false) => Ok(Meant::Teacher),
        (false, true) => Ok(Meant::Selection),
        (false, false) => Ok(Meant::Key),
    }
}
