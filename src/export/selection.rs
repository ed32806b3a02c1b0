//! A selection's name → `selection.json`, and the teachers that it names.

use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use sha2::{Digest, Sha256};

use super::ExportError;
use super::merge::Places;
use crate::catalog::images;
use crate::dataset::{self, Dataset};
use crate::hex::hex;
use crate::label::whose;
use crate::manifest;
use crate::select::report::{self, SelectionFile};
use crate::source::Source;
use crate::store::{StorageOptions, StoreError};
use crate::workspace::{Workspace, WorkspaceError};

/// A selection, and what the workspace knows of it.
pub(crate) struct Selected {
    pub(crate) file: SelectionFile,
    /// Of its `selection.json`, in hexadecimal.
    pub(crate) sha256: String,
    /// Class names, where the teacher is known.
    pub(crate) names: Vec<String>,
    /// C, where the teacher is known.
    pub(crate) classes: Option<usize>,
}

/// The selection of this name.
///
/// # Errors
/// [`WorkspaceError::Unknown`] with a name that is near.
pub(crate) async fn selected(workspace: &Workspace, id: &str) -> Result<Selected, ExportError> {
    report::check_id(id)?;
    let place = format!("{}/selection.json", report::folder(id));
    let bytes = match workspace.read(&place).await {
        Ok(bytes) => bytes,
        Err(WorkspaceError::Store(StoreError::NotFound { .. })) => {
            return Err(SelectionFile::unknown(workspace, id).await?.into());
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

impl Selected {
    /// The dataset that it is of, with its source; none for labels of another system.
    pub(crate) async fn source(
        &self,
        workspace: &Workspace,
        storage: &StorageOptions,
    ) -> Result<Option<(Dataset, Source)>, ExportError> {
        let Some(name) = &self.file.input.dataset else {
            return Ok(None);
        };
        let dataset = dataset::remember(workspace, name, None, None, None).await?;
        let source = Source::open(&dataset.source, storage, &dataset.reading)?;
        Ok(Some((dataset, source)))
    }

    /// What the labels that chose its rows say of the images' bytes, and where the dataset's images were by the generations up to
    /// this one; none for labels of another system.
    pub(crate) async fn of_dataset(
        &self,
        workspace: &Workspace,
        context: &SessionContext,
        generation: Option<u32>,
    ) -> Result<Option<(DataFrame, Places)>, ExportError> {
        let input = &self.file.input;
        // The labels that chose the rows are of the images as they were then.
        let chooser = input.filter_teacher.as_ref().or(input.teacher.as_ref());
        let (Some(dataset), Some(teacher)) = (&input.dataset, chooser) else {
            return Ok(None);
        };
        let classes = self.names.len();
        let hashes = images::fingerprinted(workspace, context, dataset, teacher, classes).await?;
        let mut generations = manifest::generations(workspace, dataset).await?;
        generations.retain(|g| Some(g.generation) <= generation);
        let places = images::places(workspace, context, dataset, &generations)?;
        Ok(Some((hashes, Places::Manifest(places))))
    }
}
