//! A selection's name → `selection.json`, and the teachers that it names.

use sha2::{Digest, Sha256};

use super::ExportError;
use crate::error::nearest;
use crate::label::whose;
use crate::select::report::{self, SelectionFile};
use crate::store::StoreError;
use crate::teacher::config::hex;
use crate::workspace::{Workspace, WorkspaceError, check_name};

/// A selection, and what the workspace knows of it.
pub(super) struct Selected {
    pub(super) file: SelectionFile,
    /// Of its `selection.json`, in hexadecimal.
    pub(super) sha256: String,
    /// Class names, where the teacher is known.
    pub(super) names: Vec<String>,
    /// C, where the teacher is known.
    pub(super) classes: Option<usize>,
}

/// The selection of this name.
///
/// # Errors
/// [`WorkspaceError::Unknown`] with a name that is near.
pub(super) async fn selected(workspace: &Workspace, id: &str) -> Result<Selected, ExportError> {
    check_name("selection", id)?;
    let place = format!("{}/selection.json", report::folder(id));
    let bytes = match workspace.read(&place).await {
        Ok(bytes) => bytes,
        Err(WorkspaceError::Store(StoreError::NotFound { .. })) => {
            return Err(unknown(workspace, id).await?.into());
        }
        Err(e) => return Err(e.into()),
    };
    let file: SelectionFile = serde_json::from_slice(&bytes).map_err(|source| {
        let url = workspace.url(&place);
        WorkspaceError::Damaged { url, source }
    })?;
    let labelled = match &file.input.teacher {
        None => None,
        Some(name) => Some(whose::teacher_of(workspace, name).await?),
    };
    let names = match &file.input.filter_teacher {
        None => labelled.as_ref().map(|t| t.config.classes.names.clone()),
        Some(name) => Some(
            whose::teacher_of(workspace, name)
                .await?
                .config
                .classes
                .names,
        ),
    };
    Ok(Selected {
        sha256: hex(&Sha256::digest(&bytes)),
        names: names.unwrap_or_default(),
        classes: labelled.map(|t| t.record.classes),
        file,
    })
}

/// The error for a selection that is not there.
async fn unknown(workspace: &Workspace, name: &str) -> Result<WorkspaceError, WorkspaceError> {
    let mut names = workspace.folders("selections").await?;
    let hint = if let Some(near) = nearest(name, names.iter().map(String::as_str)) {
        format!("did you mean `{near}`?")
    } else if names.is_empty() {
        "make one with `understudy select`".into()
    } else {
        names.truncate(8);
        format!("it has {}", names.join(", "))
    };
    Ok(WorkspaceError::Unknown {
        what: "selection",
        name: name.to_owned(),
        hint,
    })
}
