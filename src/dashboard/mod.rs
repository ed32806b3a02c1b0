//! The workspace as pages for a browser: what there is, how sure the teachers are, where they differ, and what it looks like.
//!
//! ```text
//! a path and its parameters
//!   │ place.rs       which page that is
//!   │ overview.rs    teachers, datasets, selections, trainings, runs
//!   │ dataset.rs     a teacher's labels: confidence, classes, rejects; class.rs a class's images; rejects.rs a reason's
//!   │ churn.rs       what moved between two teachers, moved.rs which images
//!   │ teacher.rs     a model and all that it goes back to
//!   │ job.rs         what workers do
//!   │ console.rs     a query and its rows
//!   │ query.rs       pipelines/dashboard/*.sql
//!   ▼ frame.rs       what all pages have around them
//! HTML
//! ```
//! Pages are made here, and whole: they need no script, ask nothing of any other host, and a link says all that a page shows. Selections and trainings have the pages
//! that `understudy report` writes.

mod churn;
mod class;
mod console;
mod dataset;
mod frame;
mod job;
mod moved;
mod overview;
mod place;
mod query;
mod rejects;
mod teacher;

use datafusion::prelude::SessionContext;

pub use self::console::{Answer, console};
use self::frame::navigation;
pub use self::frame::{failed, login};
pub use self::place::Place;
use crate::catalog::{self, Cache, QUERY_MEMORY};
use crate::jobs::Ended;
use crate::report::{ReportError, ReportJob, TrainingReport};
use crate::store::StorageOptions;
use crate::workspace::Workspace;

/// Makes pages.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Of this workspace.
    pub workspace: Workspace,
    /// For the stores of the images.
    pub storage: StorageOptions,
    /// What a page's queries may hold, in bytes.
    pub memory: usize,
    /// What they know of objects from those before.
    pub cache: Cache,
}

impl Dashboard {
    /// The HTML of a page.
    ///
    /// # Errors
    /// [`ReportError`]: what is asked for is not there, or the workspace cannot be read.
    pub async fn page(&self, place: &Place) -> Result<String, ReportError> {
        let workspace = &self.workspace;
        match place {
            Place::Overview => overview::page(&self.view().await?).await,
            Place::Dataset { dataset, teacher } => {
                dataset::page(&self.view().await?, dataset, teacher.as_deref()).await
            }
            Place::Class {
                dataset,
                teacher,
                class,
            } => class::page(&self.view().await?, dataset, teacher, *class).await,
            Place::Rejects {
                dataset,
                teacher,
                reason,
            } => rejects::page(&self.view().await?, dataset, teacher, reason).await,
            Place::Churn { between } => churn::page(&self.view().await?, between.as_ref()).await,
            Place::Moved { between, from, to } => {
                moved::page(&self.view().await?, between, from, to).await
            }
            Place::Job { job } => job::page(workspace, job).await,
            Place::Teacher { teacher } => teacher::page(workspace, teacher).await,
            Place::Selection { selection } => {
                let job = ReportJob {
                    selection: selection.clone(),
                    classes: Vec::new(),
                    storage: self.storage.clone(),
                    memory: QUERY_MEMORY,
                };
                Ok(job.below(workspace, navigation()).await?.html)
            }
            Place::Training { training } => {
                let report = TrainingReport {
                    training: training.clone(),
                };
                Ok(report.below(workspace, navigation()).await?.html)
            }
        }
    }

    /// For the pages that ask the catalog; the others need none, or open it themselves.
    async fn view(&self) -> Result<View<'_>, ReportError> {
        let context = catalog::open_again(&self.workspace, self.memory, &self.cache).await?;
        // Of labels of a class or a key only the rows that a filter leaves are read whole.
        catalog::read_lazily(&context, true);
        Ok(View {
            workspace: &self.workspace,
            storage: &self.storage,
            ended_jobs: &self.cache.ended_jobs,
            context,
        })
    }
}

/// What a page is made of.
struct View<'a> {
    workspace: &'a Workspace,
    storage: &'a StorageOptions,
    ended_jobs: &'a Ended,
    context: SessionContext,
}
