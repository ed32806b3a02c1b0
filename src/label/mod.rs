//! Manifest → fetch → decode → infer → labels and rejects: the main job, on one screen.
//!
//! ```text
//! plan.rs, work.rs              who labels which rows, and what of it is left to do
//! LabelExec (exec.rs)           a shard's manifest rows come in, a row of figures goes out
//!   └─ Labeller::label_shard    per shard, in manifest order
//!        fetch.rs               neighbours in groups, retries, 128 MiB in flight
//!        infer.rs               batches on threads: decode.rs, fingerprint.rs, preprocess.rs, the model; noise.rs where it is asked for
//!        soft_label.rs          outputs → probabilities, confidence, margin, entropy
//!        commit.rs              rows → Parquet → one create-only put
//! ```
//! Which batch an image falls in follows from the manifest alone, so that a killed run, started again, gives the same bytes. Of a selection's
//! images its parts are the shards, and its plan the manifest.

pub mod commit;
pub mod decode;
pub mod exec;
pub mod fetch;
pub mod fingerprint;
pub mod infer;
pub mod job;
pub mod noise;
pub mod plan;
pub mod preprocess;
pub mod progress;
pub mod selection;
pub mod soft_label;
pub mod whose;
pub mod work;

mod error;
pub(crate) mod format;
mod jpeg;
mod settings;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};

pub use self::error::LabelError;
pub use self::settings::LabelSettings;
pub(crate) use self::settings::SETTINGS;

use self::commit::{LabelsObject, ObjectWriter, Row, Storage};
use self::fetch::Fetcher;
use self::infer::{Classifier, Outcome, Workers};
use self::progress::{Progress, Timings};
use crate::config::{Config, DEFAULT_CPU_BATCH, DEFAULT_CUDA_BATCH, LabelConfig};
use crate::runtime::{Device, Runtime};
use crate::source::{ImageRef, Source};
use crate::store::Created;
use crate::teacher::model::OrtClassifier;
use crate::teacher::{Teacher, TeacherConfig};
use crate::workspace::{Workspace, WorkspaceError};

/// Shards that are worked on side by side: the next one's images arrive while the last one's batches are finished.
pub const SHARDS_IN_FLIGHT: usize = 2;

/// Where the labels of a dataset by a teacher lie in the workspace.
pub fn folder(dataset: &str, teacher: &str) -> String {
    format!("labels/dataset={dataset}/teacher={teacher}")
}

/// The labels objects that are there.
///
/// # Errors
/// The store's.
pub async fn committed(
    workspace: &Workspace,
    dataset: &str,
    teacher: &str,
) -> Result<HashSet<LabelsObject>, WorkspaceError> {
    let folder = folder(dataset, teacher);
    let listed = workspace.listed(&folder).await?;
    let named = |(name, size): &(String, u64)| match LabelsObject::parse(name) {
        Some(_) if *size == 0 => Some(Err(WorkspaceError::Empty {
            url: workspace.url(&format!("{folder}/{name}")),
        })),
        object => object.map(Ok),
    };
    listed.iter().filter_map(named).collect()
}

/// What became of an object's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardReport {
    /// The object.
    pub object: LabelsObject,
    /// Its rows.
    pub rows: u64,
    /// Rows with a label.
    pub labelled: u64,
    /// Rows without.
    pub rejected: u64,
    /// Size of its object.
    pub bytes_written: u64,
    /// What the put did: `new`, `same` or `other`; `there` where another process had committed it before it was begun.
    pub outcome: &'static str,
}

/// Everything that labelling a shard needs; shared by all shards of a process.
#[derive(Debug)]
pub struct Labeller {
    workspace: Workspace,
    /// The dataset.
    pub dataset: String,
    /// NAME@VERSION, or NAME@VERSION+NOISE.
    pub teacher: String,
    storage: Storage,
    metadata: HashMap<String, String>,
    batch: usize,
    prefetch: usize,
    /// Reads the images.
    pub fetcher: Fetcher,
    workers: Workers,
    /// Where the run is.
    pub progress: Progress,
    /// Set by Ctrl-C: no new shard is begun.
    pub stop: Arc<AtomicBool>,
}

/// What a [`Labeller`] is made of.
#[derive(Debug)]
pub struct LabellerParts<'a> {
    /// Where labels are committed.
    pub workspace: Workspace,
    /// The dataset.
    pub dataset: &'a str,
    /// Its source.
    pub source: Source,
    /// The teacher.
    pub teacher: &'a Teacher,
    /// The name of its noise.
    pub noise: Option<&'a str>,
    /// `[decode]` and `[label]`.
    pub config: &'a Config,
    /// The settings that were claimed.
    pub settings: &'a LabelSettings,
    /// Images that have to be done, for the progress.
    pub total: u64,
    /// Whether the progress is shown.
    pub visible: bool,
    /// As [`job::LabelJob::stop`].
    pub stop: Arc<AtomicBool>,
}

impl Labeller {
    /// Starts the worker threads on classifiers, one each.
    pub fn new(
        parts: LabellerParts<'_>,
        classifiers: Vec<Box<dyn Classifier>>,
        batch: usize,
    ) -> Self {
        let timings = Arc::new(Timings::default());
        let label = &parts.config.label;
        let teacher = whose::name(&parts.teacher.record, parts.noise);
        let workers = Workers::start(
            classifiers,
            &parts.teacher.config,
            &parts.config.decode,
            parts.settings.noise.as_ref(),
            &timings,
        );
        let names = &parts.teacher.config.classes.names;
        let mut metadata = HashMap::from([
            ("understudy.dataset".to_owned(), parts.dataset.to_owned()),
            ("understudy.teacher".to_owned(), teacher.clone()),
            (
                "understudy.config_sha256".to_owned(),
                parts.teacher.record.config_sha256.clone(),
            ),
            (
                "understudy.class_names".to_owned(),
                serde_json::to_string(names).unwrap_or_default(),
            ),
            (
                "understudy.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
        ]);
        let settings = serde_json::to_value(parts.settings).unwrap_or_default();
        for (key, value) in settings.as_object().into_iter().flatten() {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            metadata.insert(format!("understudy.{key}"), text);
        }
        let fetcher = Fetcher::new(parts.source, label.attempts, batch, Arc::clone(&timings));
        let progress = Progress::new(parts.total, workers.len(), timings, parts.visible);
        Self {
            workspace: parts.workspace,
            dataset: parts.dataset.to_owned(),
            teacher,
            storage: Storage {
                encoding: label.encoding,
                k: label.top_k,
                classes: names.len(),
            },
            metadata,
            batch,
            prefetch: label.prefetch,
            fetcher,
            workers,
            progress,
            stop: parts.stop,
        }
    }

    /// Labels the rows of one object and commits them.
    ///
    /// # Errors
    /// [`LabelError`]; nothing of the object is visible then.
    pub async fn label_shard(
        &self,
        object: LabelsObject,
        images: Vec<ImageRef>,
    ) -> Result<ShardReport, LabelError> {
        let place = format!("{}/{object}", folder(&self.dataset, &self.teacher));
        if self.workspace.exists(&place).await? {
            // Another process was here since this run began.
            self.progress.count_elsewhere(images.len() as u64);
            return Ok(ShardReport {
                object,
                rows: images.len() as u64,
                labelled: 0,
                rejected: 0,
                bytes_written: 0,
                outcome: "there",
            });
        }
        let encode = |source| LabelError::Encode { object, source };
        let mut writer =
            ObjectWriter::new(self.storage, object.retry(), &self.metadata).map_err(encode)?;
        let ahead = self.batches_ahead();
        let expected = images.len() as u64;
        let groups = self.fetcher.groups(&images, ahead);
        let groups_ahead = groups.ahead;
        let most = groups.most_bytes;
        let places: Vec<(String, u32)> = images.into_iter().map(|i| (i.key, i.shard)).collect();
        let fetched = stream::iter(groups.images)
            .map(|group| self.fetcher.fetch(group, most))
            .buffered(groups_ahead)
            .map_ok(|group| stream::iter(group.into_iter().map(Ok::<_, LabelError>)))
            .try_flatten();
        let outcomes = fetched
            .try_chunks(self.batch)
            .map_err(|e| e.1)
            .map(|batch| async {
                let outcomes = self.workers.label(batch?).await?;
                let labelled = outcomes.iter().filter(|o| o.label.is_ok()).count() as u64;
                self.progress
                    .count(labelled, outcomes.len() as u64 - labelled);
                Ok::<Vec<Outcome>, LabelError>(outcomes)
            })
            .buffered(ahead);
        let mut outcomes = std::pin::pin!(outcomes);
        let mut places = places.into_iter();
        let (mut rows, mut labelled) = (0, 0);
        while let Some(batch) = outcomes.try_next().await? {
            let writing = Instant::now();
            for (outcome, (key, shard)) in batch.into_iter().zip(&mut places) {
                rows += 1;
                labelled += u64::from(outcome.label.is_ok());
                let row = Row {
                    key,
                    shard,
                    outcome,
                };
                writer.push(row).map_err(encode)?;
            }
            self.progress.timings.write.add(writing.elapsed());
        }
        if rows != expected {
            return Err(LabelError::Shifted {
                object,
                rows,
                expected,
            });
        }
        let writing = Instant::now();
        let bytes = writer.finish().map_err(encode)?;
        let bytes_written = bytes.len() as u64;
        let created = self.workspace.create(&place, bytes).await?;
        self.progress.timings.write.add(writing.elapsed());
        self.progress
            .counters
            .shards
            .fetch_add(1, Ordering::Relaxed);
        Ok(ShardReport {
            object,
            rows,
            labelled,
            rejected: rows - labelled,
            bytes_written,
            outcome: match created {
                Created::New => "new",
                Created::Same => "same",
                Created::Other => "other",
            },
        })
    }

    /// Batches of one shard that are on their way at most: fetched, being worked on, or waiting for an earlier one.
    pub fn batches_ahead(&self) -> usize {
        self.workers.len() * self.prefetch
    }
}

/// The classifiers of a device and the batch size: on the CPU one single-threaded session a worker, on CUDA one session for all.
///
/// # Errors
/// [`LabelError::Teacher`].
pub fn classifiers(
    runtime: &Runtime,
    device: Device,
    model: &[u8],
    teacher: &TeacherConfig,
    label: &LabelConfig,
) -> Result<(Vec<Box<dyn Classifier>>, usize), LabelError> {
    let workers = match label.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let mut fixed = None;
    let mut boxed = |threads| -> Result<Box<dyn Classifier>, LabelError> {
        let classifier = OrtClassifier::new(runtime, model, teacher, device, threads)?;
        fixed = classifier.signature().fixed_batch;
        Ok(Box::new(classifier))
    };
    let classifiers = if matches!(device, Device::Cuda(_)) {
        let shared = Arc::new(std::sync::Mutex::new(boxed(1)?));
        (0..workers)
            .map(|_| Box::new(Arc::clone(&shared)) as Box<dyn Classifier>)
            .collect()
    } else {
        (0..workers).map(|_| boxed(1)).collect::<Result<_, _>>()?
    };
    // A model that demands a batch gets whole ones: what is lacking would be filled up with zeros.
    let default = fixed.unwrap_or(match device {
        Device::Cuda(_) => DEFAULT_CUDA_BATCH,
        Device::Auto | Device::Cpu => DEFAULT_CPU_BATCH,
    });
    let batch = match label.batch {
        0 => default,
        asked => asked,
    };
    Ok((classifiers, batch))
}
