//! Datasets: a name, and the source that the workspace remembers for it.

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use url::{Position, Url};

use crate::error::nearest;
use crate::manifest::ManifestConfig;
use crate::source::SourceConfig;
use crate::store::{Created, StoreError, parse_url};
use crate::workspace::{Workspace, WorkspaceError, check_name, to_json};

/// What can go wrong with a dataset.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Never labelled, and no `--source`.
    #[error("the workspace has no dataset `{name}`")]
    NoSource {
        /// The dataset.
        name: String,
        /// A name that is near.
        near: Option<String>,
    },
    /// The dataset has another source.
    #[error("dataset `{name}` reads `{remembered}`, not `{typed}`")]
    OtherSource {
        /// The dataset.
        name: String,
        /// What the workspace remembers.
        remembered: String,
        /// What was typed.
        typed: String,
    },
    /// The dataset is read or cut in another way.
    #[error("dataset `{name}` was made with another `[{section}]` section")]
    OtherReading {
        /// The dataset.
        name: String,
        /// source or manifest.
        section: &'static str,
    },
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The source's URL.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DatasetError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSource { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::NoSource { .. } => Some("say where its images are with --source URL".into()),
            Self::OtherSource { .. } => Some(
                "leave --source out, or use another name: a dataset keeps its source, so that its labels mean one thing".into(),
            ),
            Self::OtherReading { section, .. } => Some(format!(
                "leave `[{section}]` out, or use another dataset name: what is listed already stays as it was listed"
            )),
            Self::Workspace(e) => e.hint(),
            Self::Store(e) => e.hint(),
        }
    }
}

/// `datasets/NAME/000001.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// The source's URL.
    pub source: String,
    /// What is read as an image.
    pub reading: SourceConfig,
    /// How the manifest is cut.
    pub manifest: ManifestConfig,
}

/// Gives the dataset that the workspace remembers, or remembers a new one.
///
/// The cut of a manifest and the reading of a source stay as they were when the dataset was made.
///
/// # Errors
/// [`DatasetError::NoSource`] for an unknown dataset without a source, [`DatasetError::OtherSource`] and
/// [`DatasetError::OtherReading`] for what is not as it was remembered.
pub async fn remember(
    workspace: &Workspace,
    name: &str,
    source: Option<&str>,
    reading: Option<&SourceConfig>,
    manifest: Option<&ManifestConfig>,
) -> Result<Dataset, DatasetError> {
    check_name("dataset", name)?;
    let place = format!("datasets/{name}/000001.json");
    let source = source
        .map(|s| parse_url(s).map(|url| spelled(&url)))
        .transpose()?;
    let known: Option<Dataset> = workspace.find_json(&place).await?;
    let known = match (known, &source) {
        (Some(known), _) => known,
        (None, None) => {
            let names = workspace.folders("datasets").await?;
            return Err(DatasetError::NoSource {
                name: name.to_owned(),
                near: nearest(name, names.iter().map(String::as_str)),
            });
        }
        (None, Some(source)) => {
            let dataset = Dataset {
                name: name.to_owned(),
                source: source.clone(),
                reading: reading.cloned().unwrap_or_default(),
                manifest: manifest.cloned().unwrap_or_default(),
            };
            match workspace.create(&place, to_json(&dataset)).await? {
                Created::New | Created::Same => dataset,
                // Another process was first: what it remembered counts.
                Created::Other => workspace.read_json(&place).await?,
            }
        }
    };
    let other = |section| DatasetError::OtherReading {
        name: name.to_owned(),
        section,
    };
    match source {
        Some(typed) if known.source != typed => Err(DatasetError::OtherSource {
            name: name.to_owned(),
            remembered: known.source,
            typed,
        }),
        _ if reading.is_some_and(|r| *r != known.reading) => Err(other("source")),
        _ if manifest.is_some_and(|m| *m != known.manifest) => Err(other("manifest")),
        _ => Ok(known),
    }
}

/// A URL for people and files, which [`parse_url`] takes for the same one: paths and a bucket's names without percent-encoding, no slash at the end.
fn spelled(url: &Url) -> String {
    let text = match url.scheme() {
        "file" => url.to_file_path().map_or_else(
            |()| url.to_string(),
            |path| format!("file://{}", path.display()),
        ),
        "http" | "https" => url.to_string(),
        _ => match Path::from_url_path(url.path()) {
            Ok(path) => format!("{}/{path}", &url[..Position::BeforePath]),
            Err(_) => url.to_string(),
        },
    };
    text.strip_suffix('/').map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_means_what_was_typed() {
        for (typed, remembered) in [
            ("s3://b/My Photos/", "s3://b/My Photos"),
            ("s3://b/My%20Photos", "s3://b/My%20Photos"),
            ("gs://b/set#2/a?b/{c}", "gs://b/set#2/a?b/{c}"),
            ("az://b/фото/ü", "az://b/фото/ü"),
            ("s3://b/", "s3://b"),
            ("s3://b", "s3://b"),
            ("file:///a b/c%20d#1/", "file:///a b/c%20d#1"),
            ("https://host/a%20b?c=d#e", "https://host/a%20b?c=d#e"),
        ] {
            let once = parse_url(typed).unwrap();
            assert_eq!(spelled(&once), remembered);
            let again = parse_url(remembered).unwrap();
            assert_eq!(spelled(&again), remembered, "{typed}");
        }
    }
}
