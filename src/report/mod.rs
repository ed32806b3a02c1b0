//! A selection → one HTML page that a person looks at: what was kept, of which classes, how sure, what it looks like, what was left out. Or a
//! training → another one: how its loss and its hits went, step by step, and what it goes back to (`course.rs`, `curves.rs`).
//!
//! ```text
//! selection.json, the catalog
//!   │ figures.rs     pipelines/report/*.sql: sums, never rows, whatever the number of labels
//!   │ strips.rs      which classes show images, and which of their images; samples.rs finds these
//!   │ pictures.rs    those images from the source bucket, as thumbnails
//!   │ charts.rs      the drawings, as SVG without text; palette.rs has their colours
//!   │ page/          the HTML, its style and a few lines of script
//!   ▼ put.rs         to its place, at once
//! report.html
//! ```
//! The page is one file that asks nothing of any network, and the same bytes for the same inputs. In memory are the classes, some hundred
//! thumbnails of a few kB, and the images that are being decoded.

pub(crate) mod charts;
mod command;
mod course;
mod curves;
mod figures;
pub(crate) mod page;
pub(crate) mod palette;
pub(crate) mod pictures;
mod put;
pub(crate) mod query;
pub(crate) mod samples;
mod strips;
pub(crate) mod wording;

use datafusion::error::DataFusionError;
use maud::Markup;

pub use self::course::{TrainingPage, TrainingReport};
use self::figures::Figures;
pub(crate) use self::page::{head, policy};
use self::pictures::Pictures;
pub use self::put::put;
use crate::catalog::{self, CatalogError};
use crate::dataset::DatasetError;
use crate::jobs::JobError;
use crate::label::LabelSettings;
use crate::lineage::LineageError;
use crate::manifest::ManifestError;
use crate::select::report::SelectionFile;
use crate::store::{StorageOptions, StoreError};
use crate::teacher::TeacherError;
use crate::workspace::{Workspace, WorkspaceError};

/// What can go wrong with a report. An image that cannot be read is no error: the page says so in its place.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A class that the selection does not know.
    #[error("selection `{selection}` has no class `{class}`")]
    UnknownClass {
        /// The selection.
        selection: String,
        /// As typed.
        class: String,
        /// A name that is near.
        near: Option<String>,
    },
    /// A class of the teacher of which nothing was kept.
    #[error("selection `{selection}` kept no image of class `{class}`")]
    NothingKept {
        /// The selection.
        selection: String,
        /// As typed.
        class: String,
    },
    /// A query.
    #[error("cannot run `{file}`: {source}")]
    Query {
        /// The .sql file.
        file: &'static str,
        /// DataFusion's words.
        source: DataFusionError,
    },
    /// A chart.
    #[error("cannot draw a chart: {detail}")]
    Chart {
        /// The library's words.
        detail: String,
    },
    /// The manifest, where images are looked up.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A lineage.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The place of the page.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReportError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownClass {
                near: Some(near), ..
            } => Some(format!("did you mean `{near}`?")),
            Self::UnknownClass { selection, .. } => Some(format!(
                "`understudy sql \"SELECT class, label FROM selection_classes WHERE selection = '{selection}'\"` lists its classes"
            )),
            Self::NothingKept { .. } => {
                Some("leave the class out: the page lists it among those without images".into())
            }
            Self::Query { .. } | Self::Chart { .. } => None,
            Self::Manifest(e) => e.hint(),
            Self::Catalog(e) => e.hint(),
            Self::Job(e) => e.hint(),
            Self::Lineage(e) => e.hint(),
            Self::Dataset(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
            Self::Store(e) => e.hint(),
        }
    }
}

/// A report that is asked for.
#[derive(Debug, Clone)]
pub struct ReportJob {
    /// The selection.
    pub selection: String,
    /// Classes whose images are shown besides the usual ones: names, or numbers.
    pub classes: Vec<String>,
    /// For the stores of the images.
    pub storage: StorageOptions,
    /// Bytes that a query may hold.
    pub memory: usize,
}

/// A finished page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The HTML.
    pub html: String,
    /// Images that it shows.
    pub shown: usize,
    /// Images that it would show, had they been readable.
    pub unreadable: usize,
}

impl ReportJob {
    /// Makes the page.
    ///
    /// # Errors
    /// [`ReportError`].
    pub async fn run(&self, workspace: &Workspace) -> Result<Page, ReportError> {
        self.below(workspace, Markup::default()).await
    }

    /// Makes the page with something above everything else.
    pub(crate) async fn below(
        &self,
        workspace: &Workspace,
        above: Markup,
    ) -> Result<Page, ReportError> {
        let file = SelectionFile::read(workspace, &self.selection).await?;
        let picked = strips::pick(&file, &self.classes)?;
        let context = catalog::open(workspace, self.memory).await?;
        // Of rejects and of single keys only the rows that a filter leaves are read whole.
        catalog::read_lazily(&context, true);
        let figures = Figures::collect(workspace, &context, file, picked).await?;
        let decode = figures.chooser().and_then(|t| t.settings.as_ref());
        let turned = decode.is_some_and(|s: &LabelSettings| s.exif_orientation);
        let pictures =
            Pictures::fetch(workspace, &context, &figures, &self.storage, turned).await?;
        Ok(Page {
            html: page::render(&figures, &pictures, above)?,
            shown: pictures.shown(),
            unreadable: pictures.unreadable(),
        })
    }
}
