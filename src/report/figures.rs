//! What a report says: `selection.json`, and sums over the catalog's tables by the queries of `pipelines/report/`.

use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;
use serde::Deserialize;

use super::ReportError;
use super::query::{Parameter, Query, rows};
use super::samples::{self, Strip};
use super::strips::Picked;
use crate::dataset::{self, Dataset, DatasetError};
use crate::label::{LabelSettings, whose};
use crate::select::report::SelectionFile;
use crate::teacher::TeacherRecord;
use crate::workspace::Workspace;

/// Bins of the confidence histogram, as `confidence.sql` and `kept.sql` have them.
pub(super) const BINS: usize = 50;
/// How many pairs are shown of those that were dropped, and as many of those that were not.
const PAIRS: u64 = 12;

const CONFIDENCE: Query = (
    "confidence.sql",
    include_str!("../../pipelines/report/confidence.sql"),
);
const KEPT: Query = ("kept.sql", include_str!("../../pipelines/report/kept.sql"));
const REJECTS: Query = (
    "rejects.sql",
    include_str!("../../pipelines/report/rejects.sql"),
);
const DISTANCES: Query = (
    "distances.sql",
    include_str!("../../pipelines/report/distances.sql"),
);
const PAIRS_QUERY: Query = (
    "pairs.sql",
    include_str!("../../pipelines/report/pairs.sql"),
);

/// Everything that the page says.
#[derive(Debug)]
pub(super) struct Figures {
    /// The workspace's URL.
    pub(super) workspace: String,
    /// `selection.json`.
    pub(super) file: SelectionFile,
    /// The dataset; none for foreign labels, or where the workspace has lost it.
    pub(super) dataset: Option<Dataset>,
    /// The teachers of a dataset's labels: whose class and confidence chose the rows comes first.
    pub(super) teachers: Vec<TeacherFacts>,
    /// All labels by confidence; none for foreign labels.
    pub(super) labels: Option<Vec<u64>>,
    /// Kept rows by confidence.
    pub(super) kept: Vec<u64>,
    /// Images that have no label; none for foreign labels.
    pub(super) rejects: Option<Vec<Rejected>>,
    /// Labels near held-out images, by distance.
    pub(super) distances: Vec<AtDistance>,
    /// Some of them.
    pub(super) pairs: Vec<Pair>,
    /// Classes and the images that show them.
    pub(super) strips: Vec<Strip>,
}

/// A teacher of the labels.
#[derive(Debug)]
pub(super) struct TeacherFacts {
    /// NAME@VERSION, or NAME@VERSION+NOISE: under which its labels lie.
    pub(super) name: String,
    pub(super) record: TeacherRecord,
    /// How its labels of the dataset were made.
    pub(super) settings: Option<LabelSettings>,
}

/// Images without a label, for one reason.
#[derive(Debug, Deserialize)]
pub(super) struct Rejected {
    pub(super) teacher: String,
    pub(super) stage: String,
    pub(super) reason: String,
    pub(super) images: u64,
    pub(super) example: String,
    #[serde(default)]
    pub(super) detail: Option<String>,
}

/// Labels at one distance from a held-out image.
#[derive(Debug, Deserialize)]
pub(super) struct AtDistance {
    /// In bits, 0 to 10.
    pub(super) distance: u32,
    pub(super) dropped: bool,
    pub(super) images: u64,
    /// Those that are the held-out image to the byte.
    pub(super) same_bytes: u64,
}

/// A label and the held-out image that it is near to.
#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) held_out: String,
    pub(super) distance: u32,
    pub(super) same_bytes: bool,
    pub(super) dropped: bool,
}

#[derive(Deserialize)]
struct Bin {
    bin: usize,
    images: u64,
}

impl Figures {
    /// Asks the catalog.
    pub(super) async fn collect(
        workspace: &Workspace,
        context: &SessionContext,
        file: SelectionFile,
        picked: Vec<Picked>,
    ) -> Result<Self, ReportError> {
        let teachers = teachers(workspace, &file).await?;
        let dataset = match &file.input.dataset {
            Some(name) => known(workspace, name).await?,
            None => None,
        };
        let selection = [("selection", ScalarValue::from(file.id.as_str()))];
        let (mut labels, mut rejects) = (None, None);
        if let (Some(dataset), Some(first), Some(last)) =
            (&file.input.dataset, teachers.first(), teachers.last())
        {
            let text = |text: &str| ScalarValue::from(text);
            let (first, last) = (&first.name, &last.name);
            let of_labels = [("dataset", text(dataset)), ("teacher", text(first))];
            labels = Some(bins(context, CONFIDENCE, &of_labels).await?);
            let of_rejects = [
                ("dataset", text(dataset)),
                ("teacher", text(first)),
                ("filter", text(last)),
            ];
            rejects = Some(rows(context, REJECTS, &of_rejects).await?);
        }
        let (mut distances, mut pairs) = (Vec::new(), Vec::new());
        if file.leakage.is_some() {
            distances = rows(context, DISTANCES, &selection).await?;
            // Half a bit beyond the last distance that is dropped.
            let limit = f64::from(file.config.max_distance) + 0.5;
            let [id] = selection.clone();
            let of_pairs = [
                id,
                ("limit", ScalarValue::from(limit)),
                ("pairs", ScalarValue::from(PAIRS)),
            ];
            pairs = rows(context, PAIRS_QUERY, &of_pairs).await?;
        }
        Ok(Self {
            workspace: workspace.at.url(),
            dataset,
            teachers,
            labels,
            kept: bins(context, KEPT, &selection).await?,
            rejects,
            distances,
            pairs,
            strips: samples::find(context, picked, &selection).await?,
            file,
        })
    }

    /// Whose class and confidence chose the rows.
    pub(super) fn chooser(&self) -> Option<&TeacherFacts> {
        self.teachers.first()
    }
}

/// The teachers of the labels, the one that chose the rows first; one where the same did both.
async fn teachers(
    workspace: &Workspace,
    file: &SelectionFile,
) -> Result<Vec<TeacherFacts>, ReportError> {
    let mut teachers = Vec::new();
    let Some(dataset) = &file.input.dataset else {
        return Ok(teachers);
    };
    for name in [&file.input.filter_teacher, &file.input.teacher]
        .into_iter()
        .flatten()
    {
        teachers.push(TeacherFacts {
            name: name.clone(),
            record: whose::teacher_of(workspace, name).await?.record,
            settings: LabelSettings::find(workspace, dataset, name).await?,
        });
    }
    Ok(teachers)
}

/// The dataset of this name, where the workspace has it.
pub(super) async fn known(
    workspace: &Workspace,
    name: &str,
) -> Result<Option<Dataset>, ReportError> {
    match dataset::remember(workspace, name, None, None, None).await {
        Ok(dataset) => Ok(Some(dataset)),
        Err(DatasetError::NoSource { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

async fn bins(
    context: &SessionContext,
    query: Query,
    parameters: &[Parameter],
) -> Result<Vec<u64>, ReportError> {
    let mut bins = vec![0; BINS];
    for Bin { bin, images } in rows(context, query, parameters).await? {
        if let Some(sum) = bins.get_mut(bin) {
            *sum = images;
        }
    }
    Ok(bins)
}
