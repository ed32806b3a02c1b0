//! `_labels.json`: how labels are made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decode::DecodeConfig;
use super::fingerprint::GRADIENT_HASH;
use super::noise::NoiseSettings;
use super::{LabelError, folder};
use crate::config::LabelConfig;
use crate::schema::Encoding;
use crate::teacher::Teacher;
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// What the settings are called, beside the labels objects.
pub(crate) const SETTINGS: &str = "_labels.json";

/// `_labels.json`: how the labels of a dataset by a teacher are made. All of them are made the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelSettings {
    /// Of the model, in hexadecimal.
    pub model_sha256: String,
    /// [`crate::teacher::TeacherConfig::preprocessing_hash`].
    pub preprocessing: String,
    /// How soft labels are stored.
    pub encoding: Encoding,
    /// Classes kept by top-k; none otherwise.
    pub top_k: Option<usize>,
    /// Which gradient hash `phash` is; none where images are decoded at a smaller scale.
    pub phash: Option<String>,
    /// Whether EXIF orientation is applied.
    pub exif_orientation: bool,
    /// Whether large JPEGs are decoded at a smaller scale.
    pub scaled_jpeg: bool,
    /// What images are noised with; none for the clean teacher of the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseSettings>,
}

impl LabelSettings {
    /// What a configuration comes to for a teacher.
    pub fn new(
        teacher: &Teacher,
        decode: &DecodeConfig,
        label: &LabelConfig,
        noise: Option<&NoiseSettings>,
    ) -> Self {
        let mut decoding = format!(
            "exif_orientation={} scaled_jpeg={}",
            decode.exif_orientation, decode.scaled_jpeg
        );
        if let Some(noise) = noise {
            decoding += " noise=";
            decoding += &serde_json::to_string(noise).unwrap_or_default();
        }
        Self {
            model_sha256: teacher.record.model_sha256.clone(),
            preprocessing: teacher.config.preprocessing_hash(&decoding),
            encoding: label.encoding,
            top_k: (label.encoding == Encoding::TopK).then_some(label.top_k),
            phash: (!decode.scaled_jpeg).then(|| GRADIENT_HASH.to_owned()),
            exif_orientation: decode.exif_orientation,
            scaled_jpeg: decode.scaled_jpeg,
            noise: noise.cloned(),
        }
    }

    /// Where `_labels.json` of a dataset's labels by a teacher lies in the workspace.
    pub fn place(dataset: &str, teacher: &str) -> String {
        format!("{}/{SETTINGS}", folder(dataset, teacher))
    }

    /// How a dataset was labelled by a teacher, where it was begun.
    ///
    /// # Errors
    /// The store's, or [`WorkspaceError::Damaged`].
    pub async fn find(
        workspace: &Workspace,
        dataset: &str,
        teacher: &str,
    ) -> Result<Option<Self>, WorkspaceError> {
        workspace.find_json(&Self::place(dataset, teacher)).await
    }

    /// Creates `_labels.json`, or checks that the one there says the same.
    ///
    /// # Errors
    /// [`LabelError::OtherSettings`], naming the first setting that differs.
    pub async fn claim(
        &self,
        workspace: &Workspace,
        dataset: &str,
        teacher: &str,
    ) -> Result<(), LabelError> {
        let place = Self::place(dataset, teacher);
        workspace.create(&place, to_json(self)).await?;
        self.check(workspace, dataset, teacher).await
    }

    /// Checks that `_labels.json`, where there is one, says the same.
    ///
    /// # Errors
    /// [`LabelError::OtherSettings`], naming the first setting that differs.
    pub async fn check(
        &self,
        workspace: &Workspace,
        dataset: &str,
        teacher: &str,
    ) -> Result<(), LabelError> {
        let place = Self::place(dataset, teacher);
        let found: Option<BTreeMap<String, serde_json::Value>> =
            workspace.find_json(&place).await?;
        let Some(found) = found else {
            return Ok(());
        };
        let wanted: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&to_json(self)).unwrap_or_default();
        // The preprocessing hash differs with any of the others: it is named last.
        let differs = |key: &&String| found.get(*key) != wanted.get(*key);
        let key = wanted
            .keys()
            .filter(|k| *k != "preprocessing")
            .find(differs)
            .or_else(|| wanted.keys().find(differs));
        match key {
            None => Ok(()),
            Some(key) => Err(LabelError::OtherSettings {
                dataset: dataset.to_owned(),
                teacher: teacher.to_owned(),
                key: key.clone(),
                found: found.get(key).map_or("nothing".into(), ToString::to_string),
                wanted: wanted[key].to_string(),
            }),
        }
    }
}
