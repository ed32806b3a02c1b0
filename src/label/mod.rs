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

pub(crate) mod format;
mod jpeg;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use datafusion::error::DataFusionError;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use self::commit::{LabelsObject, ObjectWriter, Row, Storage};
use self::decode::DecodeConfig;
use self::fetch::Fetcher;
use self::fingerprint::GRADIENT_HASH;
use self::infer::{Classifier, Outcome, Workers};
use self::noise::NoiseSettings;
use self::progress::{Progress, Timings};
use crate::config::{Config, DEFAULT_CPU_BATCH, DEFAULT_CUDA_BATCH, LabelConfig};
use crate::runtime::{Device, Runtime, RuntimeError};
use crate::schema::Encoding;
use crate::source::{ImageRef, Source};
use crate::store::Created;
use crate::teacher::model::OrtClassifier;
use crate::teacher::{Teacher, TeacherConfig, TeacherError};
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// Shards that are worked on side by side: the next one's images arrive while the last one's batches are finished.
pub const SHARDS_IN_FLIGHT: usize = 2;

/// What can go wrong with the label stage as a whole. What goes wrong with one image is a [`infer::Reject`].
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The store refused the credentials in the middle of the run.
    #[error("the store refused the credentials for `{key}`: {detail}")]
    Credentials {
        /// The image.
        key: String,
        /// The store's words.
        detail: String,
    },
    /// These labels were begun with other settings.
    #[error("dataset `{dataset}` was labelled by `{teacher}` with {key} = {found}, not {wanted}")]
    OtherSettings {
        /// The dataset.
        dataset: String,
        /// NAME@VERSION.
        teacher: String,
        /// The setting that differs.
        key: String,
        /// What the labels have.
        found: String,
        /// What was asked for now.
        wanted: String,
    },
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The selection is another dataset's.
    #[error("selection `{selection}` is of dataset `{of}`, not `{typed}`")]
    OtherDataset {
        /// The selection.
        selection: String,
        /// Its dataset.
        of: String,
        /// The dataset as typed.
        typed: String,
    },
    /// Images of a selection that other labels, begun before, are to have.
    #[error(
        "{images} images of selection `{selection}` are not labelled by {teacher} yet: they belong to its labels of {others}, which are not finished"
    )]
    Unfinished {
        /// The selection.
        selection: String,
        /// NAME@VERSION.
        teacher: String,
        /// How many.
        images: u64,
        /// Whose they are.
        others: String,
        /// The flags that finish them.
        finish: String,
    },
    /// An object cannot be encoded.
    #[error("cannot encode `{object}`: {source}")]
    Encode {
        /// The object.
        object: LabelsObject,
        /// Parquet's words.
        source: parquet::errors::ParquetError,
    },
    /// Fewer or more outcomes than rows: nothing is committed, since labels could stand beside the wrong keys.
    #[error(
        "`{object}` has {rows} outcomes for {expected} images; this is a defect, please report it"
    )]
    Shifted {
        /// The object.
        object: LabelsObject,
        /// Outcomes.
        rows: u64,
        /// Images.
        expected: u64,
    },
    /// The plan.
    #[error("cannot run the label plan: {0}")]
    Plan(#[source] DataFusionError),
    /// The manifest's rows.
    #[error(transparent)]
    Manifest(#[from] crate::manifest::ManifestError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl From<DataFusionError> for LabelError {
    /// The plan carries the stage's own errors as external ones: they come out as what they were.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Plan(DataFusionError::External(other)),
            },
            DataFusionError::Context(_, inner) => Self::from(*inner),
            other => Self::Plan(other),
        }
    }
}

impl LabelError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Credentials { .. } => Some("what was committed stays; renew the credentials and run the same command again".into()),
            Self::OtherSettings { key, .. } if key == "noise" => Some("use the noise file of the labels that are there, or give this one another name: it is part of the teacher's".into()),
            Self::OtherSettings { .. } => Some("use the settings of the labels that are there, or add the teacher under another name to label with others".into()),
            Self::OtherDataset { of, .. } => Some(format!("give --dataset {of}, or another selection")),
            Self::Unfinished { finish, .. } => Some(format!(
                "finish them with `understudy label {finish}`; or add the teacher under another name, to label the selection apart"
            )),
            Self::Runtime(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Manifest(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
            Self::Encode { .. } | Self::Shifted { .. } | Self::Plan(_) => None,
        }
    }
}

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
        let place = format!("{}/_labels.json", folder(dataset, teacher));
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
        let place = format!("{}/_labels.json", folder(dataset, teacher));
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
    let names = workspace.names(&folder(dataset, teacher)).await?;
    Ok(names
        .iter()
        .filter_map(|n| LabelsObject::parse(n))
        .collect())
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
            stop: Arc::new(AtomicBool::new(false)),
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
