//! What a training's page says: `training.json`, `done.json`, the curves of its steps, and what it goes back to.

use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;
use maud::Markup;
use serde::Deserialize;

use super::query::{Parameter, Query, rows};
use super::{ReportError, page};
use crate::catalog;
use crate::lineage::{self, Trained};
use crate::train::{self, Done, TrainingRecord};
use crate::workspace::Workspace;

/// The most points of a drawn curve: of noisy steps more of them are a band and no line.
const POINTS: u64 = 160;
/// The most stretches of steps in the table, and of those that a pointer is told.
pub(super) const STRETCHES: u64 = 40;

const CURVES: Query = (
    "curves.sql",
    include_str!("../../pipelines/report/curves.sql"),
);
const EVALUATIONS: Query = (
    "evaluations.sql",
    include_str!("../../pipelines/report/evaluations.sql"),
);

/// A training's page that is asked for.
#[derive(Debug, Clone)]
pub struct TrainingReport {
    /// The training.
    pub training: String,
}

/// A finished page of a training.
#[derive(Debug, Clone)]
pub struct TrainingPage {
    /// The HTML.
    pub html: String,
    /// Steps whose metrics are recorded.
    pub recorded: u64,
    /// Of how many.
    pub steps: u64,
}

impl TrainingReport {
    /// Makes the page, whether the training has ended or not.
    ///
    /// # Errors
    /// [`ReportError`].
    pub async fn run(&self, workspace: &Workspace) -> Result<TrainingPage, ReportError> {
        self.below(workspace, Markup::default()).await
    }

    /// Makes the page with something above everything else.
    pub(crate) async fn below(
        &self,
        workspace: &Workspace,
        above: Markup,
    ) -> Result<TrainingPage, ReportError> {
        let (record, done) = train::get(workspace, &self.training).await?;
        let context = catalog::open(workspace, catalog::QUERY_MEMORY).await?;
        let course = Course::collect(workspace, &context, record, done).await?;
        Ok(TrainingPage {
            html: page::render_training(&course, above)?,
            recorded: course.recorded,
            steps: course.record.steps,
        })
    }
}

/// Everything that the page says.
#[derive(Debug)]
pub(super) struct Course {
    /// The workspace's URL.
    pub(super) workspace: String,
    pub(super) record: TrainingRecord,
    pub(super) done: Option<Done>,
    /// The training, then the teachers that it goes back to.
    pub(super) ancestry: Vec<Trained>,
    /// Steps whose metrics are recorded.
    pub(super) recorded: u64,
    /// The curves.
    pub(super) points: Vec<Point>,
    /// The same, thinned further.
    pub(super) stretches: Vec<Point>,
    /// The newest evaluation on held-out images.
    pub(super) newest: Option<Evaluation>,
    /// The best one.
    pub(super) best: Option<Evaluation>,
}

/// Means over a stretch of steps.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Point {
    /// Which stretch, from 0.
    pub(super) bucket: u64,
    /// Its first step, counted from 0.
    pub(super) first: u64,
    /// Its last one.
    pub(super) last: u64,
    pub(super) learning_rate: Option<f64>,
    pub(super) loss: Option<f64>,
    pub(super) labelled_loss: Option<f64>,
    pub(super) labelled_top1: Option<f64>,
    pub(super) pseudo_loss: Option<f64>,
    pub(super) pseudo_top1: Option<f64>,
    pub(super) held_out_loss: Option<f64>,
    pub(super) held_out_top1: Option<f64>,
    /// Steps that were done when the held-out images were evaluated.
    pub(super) held_out_after: Option<f64>,
}

impl Point {
    /// Its middle, in steps.
    pub(super) fn middle(&self) -> f64 {
        (self.first + self.last + 1) as f64 / 2.0
    }
}

/// An evaluation on held-out images.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Evaluation {
    /// The step after which it was made, counted from 0.
    pub(super) step: u64,
    pub(super) held_out_loss: Option<f64>,
    pub(super) held_out_top1: f64,
}

impl Course {
    async fn collect(
        workspace: &Workspace,
        context: &SessionContext,
        record: TrainingRecord,
        done: Option<Done>,
    ) -> Result<Self, ReportError> {
        let name: Parameter = ("training", ScalarValue::from(record.name.as_str()));
        let curves = async |most: u64| -> Result<Vec<Point>, ReportError> {
            let number = |n: u64| ScalarValue::UInt64(Some(n));
            let parameters = [
                name.clone(),
                ("buckets", number(most.min(record.steps))),
                ("steps", number(record.steps)),
            ];
            rows(context, CURVES, &parameters).await
        };
        let points = curves(POINTS).await?;
        let stretches = curves(STRETCHES).await?;
        let evaluations: Vec<Evaluation> =
            rows(context, EVALUATIONS, std::slice::from_ref(&name)).await?;
        let better = |a: &&Evaluation, b: &&Evaluation| {
            let by_top1 = a.held_out_top1.total_cmp(&b.held_out_top1);
            by_top1.then(b.step.cmp(&a.step))
        };
        Ok(Self {
            workspace: workspace.at.url(),
            ancestry: lineage::of_training(workspace, record.clone(), done.clone()).await?,
            recorded: points.last().map_or(0, |p| p.last + 1),
            points,
            stretches,
            newest: evaluations.last().copied(),
            best: evaluations.iter().max_by(better).copied(),
            record,
            done,
        })
    }

    /// How many stretches there are, those among them that are not reached yet.
    pub(super) fn all_stretches(&self) -> u64 {
        STRETCHES.min(self.record.steps)
    }

    /// Epochs of the recorded steps, of the kind of images that epochs are counted in.
    pub(super) fn epochs(&self) -> f64 {
        let [labelled, pseudo] = self.record.rows;
        let (rows, images) = match (&self.record.labelled, &self.record.pseudo) {
            (Some(of), _) => (labelled, of.images),
            (None, Some(of)) => (pseudo, of.rows),
            (None, None) => (0, 1),
        };
        self.recorded as f64 * rows as f64 / images.max(1) as f64
    }
}
