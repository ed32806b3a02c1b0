//! A key: when it was listed, what each teacher said of it, and which selections contain it.

use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::LineageError;
use crate::catalog::{self, CatalogError, QUERY_MEMORY};
use crate::workspace::Workspace;

/// What is known of an image.
#[derive(Debug, Clone, Serialize)]
pub struct OfKey {
    /// Its key.
    pub key: String,
    /// When it was listed, by dataset and generation.
    pub listed: Vec<Listed>,
    /// Its labels of the newest generation, by dataset and teacher.
    pub labels: Vec<Labelled>,
    /// Where it has none, why.
    pub rejects: Vec<Rejected>,
    /// The selections that contain it.
    pub selections: Vec<Selected>,
}

/// A row of `manifest_history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The dataset.
    pub dataset: String,
    /// The generation of its manifest.
    pub generation: u32,
    /// new, changed or gone.
    pub status: String,
    /// The object that has its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The object's entity tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// A row of `labels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// The dataset.
    pub dataset: String,
    /// NAME@VERSION, with +NOISE where it saw it noised.
    pub teacher: String,
    /// The most probable class.
    pub class: u16,
    /// Its name.
    pub label: String,
    /// Its probability.
    pub confidence: f32,
    /// The labels object's shard.
    pub shard: u32,
    /// Its retry.
    pub retry: u16,
}

/// A row of `rejects`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The dataset.
    pub dataset: String,
    /// As [`Labelled::teacher`].
    pub teacher: String,
    /// Where it failed.
    pub stage: String,
    /// Why.
    pub reason: String,
}

/// A row of `selections`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// The selection.
    pub selection: String,
    /// The class it was chosen for.
    pub class: i64,
    /// Its confidence.
    pub confidence: f32,
    /// How often it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<u32>,
}

impl OfKey {
    pub(super) async fn read(workspace: &Workspace, key: &str) -> Result<Self, LineageError> {
        let context = catalog::open(workspace, QUERY_MEMORY).await?;
        let about = About {
            context: &context,
            key,
        };
        let found = Self {
            key: key.to_owned(),
            listed: about
                .rows(
                    "manifest_history",
                    &["dataset", "generation", "status", "object", "etag"],
                    2,
                )
                .await?,
            labels: about
                .rows(
                    "labels",
                    &[
                        "dataset",
                        "teacher",
                        "class",
                        "label",
                        "confidence",
                        "shard",
                        "retry",
                    ],
                    2,
                )
                .await?,
            rejects: about
                .rows("rejects", &["dataset", "teacher", "stage", "reason"], 2)
                .await?,
            selections: about.selections().await?,
        };
        // Labels of another system have no manifest, but selections.
        if found.listed.is_empty() && found.labels.is_empty() && found.selections.is_empty() {
            return Err(LineageError::Unknown {
                name: key.to_owned(),
            });
        }
        Ok(found)
    }
}

struct About<'a> {
    context: &'a SessionContext,
    key: &'a str,
}

impl About<'_> {
    /// The key's rows of a table, in the order of its first columns.
    async fn rows<T: DeserializeOwned>(
        &self,
        table: &str,
        columns: &[&str],
        ordered: usize,
    ) -> Result<Vec<T>, CatalogError> {
        let order = columns[..ordered].iter();
        let order = order.map(|name| col(*name).sort(true, false)).collect();
        let frame = self.of(table).await?.select_columns(columns)?.sort(order)?;
        Ok(catalog::rows(frame).await?)
    }

    /// The selections that contain it, whether its copies are a number there or rows.
    async fn selections(&self) -> Result<Vec<Selected>, CatalogError> {
        let of = ["selection", "class", "confidence"].map(col).to_vec();
        let copies = sum(col("copies")).alias("copies");
        let frame = self.of("selections").await?.aggregate(of, vec![copies])?;
        let frame = frame.sort(vec![col("selection").sort(true, false)])?;
        Ok(catalog::rows(frame).await?)
    }

    /// The key's rows of a table.
    async fn of(&self, table: &str) -> Result<DataFrame, CatalogError> {
        let frame = self.context.table(table).await?;
        Ok(frame.filter(col("key").eq(lit(self.key)))?)
    }
}
