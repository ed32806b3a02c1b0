//! `understudy relabel`: what is stale of the datasets that follow, labelled by the current teacher.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::follow::{before, followers, labelled_by};
use super::{Churn, Refreshed, RelabelError, Stale, churn, refresh, stale};
use crate::child;
use crate::config::Config;
use crate::dataset;
use crate::error::Error;
use crate::label::LabelSettings;
use crate::label::decode::DecodeConfig;
use crate::label::job::LabelJob;
use crate::promotion::{self, Promotion, PromotionError};
use crate::runs;
use crate::runtime::Device;
use crate::store::StorageOptions;
use crate::teacher::TeacherError;
use crate::workspace::{Workspace, WorkspaceError};

/// How often a re-labelling that is under way looks whether somebody else has become current.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a re-labelling is asked to do.
#[derive(Debug, Clone)]
pub struct RelabelJob {
    /// The dataset; all that follow promotions where none is named.
    pub dataset: Option<String>,
    /// The promotion that is followed: where a later one has come it has nothing to do. None for the newest.
    pub promotion: Option<u32>,
    /// Whether the images that came last are labelled first.
    pub newest_first: bool,
    /// Only say what would be labelled.
    pub dry_run: bool,
    /// Where the model runs.
    pub device: Device,
    /// A libonnxruntime.so to be used rather than the one found.
    pub onnxruntime: Option<PathBuf>,
    /// For all stores.
    pub storage: StorageOptions,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
}

/// What came of it; `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Relabelled {
    /// The promotion that was followed.
    pub promotion: u32,
    /// NAME@VERSION of the current teacher.
    pub teacher: String,
    /// The newer promotion that made this one needless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u32>,
    /// Each dataset.
    pub datasets: Vec<DatasetRelabel>,
}

/// What came of a dataset.
#[derive(Debug, Clone, Serialize)]
pub struct DatasetRelabel {
    /// Its name.
    pub dataset: String,
    /// What the current teacher had not labelled, before.
    pub stale: Stale,
    /// Images that were labelled or rejected now; none of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Shards that were committed now; none of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
    /// What moved; none of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
    /// Selections that were made anew.
    pub selections: Vec<Refreshed>,
}

impl RelabelJob {
    /// Runs the job.
    ///
    /// # Errors
    /// Any stage's. What was committed before stays, and the same job goes on from there.
    pub async fn run(&self, workspace: &Workspace) -> Result<Relabelled, Error> {
        let history = promotion::history(workspace)
            .await
            .map_err(RelabelError::from)?;
        let current = history.last();
        let current = current.ok_or(RelabelError::from(TeacherError::NonePromoted))?;
        let number = self.promotion.unwrap_or(current.number);
        if number > current.number || number == 0 {
            return Err(RelabelError::from(PromotionError::UnknownNumber { number }).into());
        }
        let mut relabelled = Relabelled {
            promotion: number,
            teacher: history[number as usize - 1].teacher.clone(),
            superseded_by: (number < current.number).then_some(current.number),
            datasets: Vec::new(),
        };
        if relabelled.superseded_by.is_some() {
            return Ok(relabelled);
        }
        for dataset in self.datasets(workspace).await? {
            let done = Box::pin(self.dataset(workspace, &dataset, &history, current)).await?;
            relabelled.datasets.push(done);
            relabelled.superseded_by = promotion::later(workspace, number).await?;
            if relabelled.superseded_by.is_some() {
                break;
            }
        }
        Ok(relabelled)
    }

    async fn datasets(&self, workspace: &Workspace) -> Result<Vec<String>, RelabelError> {
        let Some(dataset) = &self.dataset else {
            return Ok(followers(workspace).await?);
        };
        dataset::remember(workspace, dataset, None, None, None).await?;
        let labels = labelled_by(workspace, dataset).await?;
        let does_not = |why| RelabelError::DoesNotFollow {
            dataset: dataset.clone(),
            why,
        };
        if labels.is_empty() {
            return Err(does_not("it has no labels yet"));
        }
        if labels.iter().all(|by| by.pinned) {
            return Err(does_not("its labels are pinned"));
        }
        Ok(vec![dataset.clone()])
    }

    async fn dataset(
        &self,
        workspace: &Workspace,
        dataset: &str,
        history: &[Promotion],
        current: &Promotion,
    ) -> Result<DatasetRelabel, Error> {
        let mut done = DatasetRelabel {
            dataset: dataset.to_owned(),
            stale: stale(workspace, dataset, &current.teacher).await?,
            images: None,
            shards: None,
            churn: None,
            selections: Vec::new(),
        };
        if self.dry_run {
            return Ok(done);
        }
        let before = before(workspace, dataset, history).await?;
        let job = LabelJob {
            dataset: dataset.to_owned(),
            source: None,
            teacher: current.teacher.parse()?,
            selection: None,
            noise: None,
            retry_rejects: false,
            newest_first: self.newest_first,
            pin: false,
            device: self.device,
            onnxruntime: self.onnxruntime.clone(),
            config: settings(workspace, dataset, before.as_deref(), &current.teacher).await?,
            storage: self.storage.clone(),
            visible: self.visible,
            stop: Arc::new(AtomicBool::new(false)),
        };
        let summary = {
            let mut work = std::pin::pin!(job.run(workspace));
            tokio::select! {
                summary = &mut work => summary?,
                () = overtaken(workspace, current.number) => {
                    job.stop.store(true, Ordering::Relaxed);
                    work.await?
                }
            }
        };
        let newer = promotion::later(workspace, current.number).await?;
        if newer.is_none() && summary.interrupted {
            return Err(Error::Interrupted);
        }
        done.images = Some(summary.labelled + summary.rejected);
        done.shards = Some(summary.shards);
        if newer.is_some() {
            // What moved, and what its selections are, is for the newer one's job to say.
            return Ok(done);
        }
        let rest = async {
            let there = churn::find(workspace, dataset, current.number).await?;
            let churn = match there {
                Some(there) => there,
                None => churn::commit(workspace, dataset, before, current).await?,
            };
            let made = refresh::refresh(workspace, dataset, current, &self.storage).await?;
            Ok::<_, Error>((churn, made))
        };
        let (churn, made) = tokio::select! {
            rest = rest => rest?,
            // What is committed is found again by the same command.
            _ = child::interrupted() => return Err(Error::Interrupted),
        };
        done.churn = Some(churn);
        done.selections = made;
        Ok(done)
    }
}

/// Waits until there is a later promotion than this one.
async fn overtaken(workspace: &Workspace, number: u32) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // A store that fails for a moment is asked again.
        if let Ok(Some(_)) = promotion::later(workspace, number).await {
            return;
        }
    }
}

/// How the dataset was labelled before: by the current teacher itself where it has begun, otherwise by the former one.
async fn settings(
    workspace: &Workspace,
    dataset: &str,
    before: Option<&str>,
    current: &str,
) -> Result<Config, Error> {
    let mut config = Config::default();
    for teacher in std::iter::once(current).chain(before) {
        let Some(found) = LabelSettings::find(workspace, dataset, teacher).await? else {
            continue;
        };
        config.label.encoding = found.encoding;
        config.label.top_k = found.top_k.unwrap_or(config.label.top_k);
        config.decode = limits(workspace, dataset, teacher).await?;
        config.decode.exif_orientation = found.exif_orientation;
        config.decode.scaled_jpeg = found.scaled_jpeg;
        break;
    }
    Ok(config)
}

/// The widest limits on images that a run had which labelled the dataset by this teacher: what they let through another teacher labels as well.
async fn limits(
    workspace: &Workspace,
    dataset: &str,
    teacher: &str,
) -> Result<DecodeConfig, WorkspaceError> {
    let runs = runs::list(workspace).await?;
    let of_it = runs.into_iter().filter(|run| {
        run.kind == "label"
            && run.dataset.as_deref() == Some(dataset)
            && run.teacher.as_deref() == Some(teacher)
    });
    let limits = of_it.filter_map(|run| {
        let decode = run.settings.get("decode")?.clone();
        serde_json::from_value::<DecodeConfig>(decode).ok()
    });
    let widest = limits.reduce(|a, b| DecodeConfig {
        max_bytes: a.max_bytes.max(b.max_bytes),
        max_pixels: a.max_pixels.max(b.max_pixels),
        max_memory: a.max_memory.max(b.max_memory),
        ..a
    });
    Ok(widest.unwrap_or_default())
}

impl Relabelled {
    /// Some lines for people, without a line end.
    pub fn describe(&self) -> String {
        let after = |newer| {
            format!(
                "promotion {newer} has come after promotion {}",
                self.promotion
            )
        };
        if let (Some(newer), []) = (self.superseded_by, &self.datasets[..]) {
            return format!("{}: nothing to do for it", after(newer));
        }
        if self.datasets.is_empty() {
            return "no dataset follows promotions yet: one does that has labels which are not pinned".into();
        }
        let datasets = self.datasets.iter().map(|d| d.describe(&self.teacher));
        let left = self
            .superseded_by
            .map(|newer| format!("{}, which the rest is left to", after(newer)));
        datasets.chain(left).collect::<Vec<_>>().join("\n")
    }
}

impl DatasetRelabel {
    fn describe(&self, teacher: &str) -> String {
        let Self { dataset, stale, .. } = self;
        let Some(images) = self.images else {
            return format!(
                "{dataset}: {teacher} would label {} images in {} of {} shards",
                stale.images, stale.shards, stale.of
            );
        };
        let mut text = format!(
            "{dataset}: {teacher} labelled {images} images in {} shards",
            self.shards.unwrap_or(0)
        );
        if let Some(churn) = self.churn.as_ref().filter(|churn| churn.images > 0) {
            text = format!(
                "{text}; {} of {} labels are others than {} gave ({:.2} %), confidence {:+.3} on average",
                churn.changed,
                churn.images,
                churn.before.as_deref().unwrap_or_default(),
                churn.changed as f64 * 100.0 / churn.images as f64,
                churn.shift.unwrap_or(0.0)
            );
        }
        for selection in &self.selections {
            let line = match selection {
                Refreshed::Made {
                    of,
                    selection,
                    rows,
                } => format!("selection {of} is {selection} now: {rows} rows"),
                Refreshed::Stays { of, error } => {
                    format!("selection {of} stays as it is: {error}")
                }
            };
            text = format!("{text}\n  {line}");
        }
        text
    }
}
