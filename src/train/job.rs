//! A whole training: what it is made of, its steps, and the teacher that it becomes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::batch::{Batches, Kind, Position};
use super::checkpoint::{self, Restored};
use super::config::TrainConfig;
use super::data::Data;
use super::examples::{Look, Raw, examples};
use super::learn::{End, HeldOut};
use super::progress::Progress;
use super::record::{self, Decoding, Done, LabelledRecord, PseudoRecord, TrainingRecord};
use super::schedule::Length;
use super::spent::Spent;
use super::start::{Start, feed, interrupts};
use super::{TrainError, folder};
use crate::config::{Config, ConfigError};
use crate::label::fetch::Fetcher;
use crate::label::progress::Timings;
use crate::labelled::Labelled;
use crate::random::Draws;
use crate::runs::RunRecord;
use crate::runtime::{Device, Runtime};
use crate::store::{Created, StorageOptions};
use crate::student::artifacts::Artifacts;
use crate::student::export::export;
use crate::student::graph::{Form, INPUT, LOGITS};
use crate::student::noise::Images;
use crate::student::ort::On;
use crate::student::record::{self as students, StudentRecord};
use crate::student::trainer::{Shape, TrainerError};
use crate::teacher::config::{ClassesConfig, InputConfig, Layout, OutputConfig, OutputKind};
use crate::teacher::{self, Teacher, TeacherConfig};
use crate::workspace::{Workspace, check_name, to_json};

/// Loose images that are fetched together.
const FETCHED: usize = 64;

/// `understudy train`.
#[derive(Debug, Clone)]
pub struct TrainJob {
    /// The training's name, and that of the teacher that it becomes.
    pub name: String,
    /// The student.
    pub student: String,
    /// The settings file's sections.
    pub config: Config,
    /// Where it is trained.
    pub device: Device,
    /// Threads of the CPU that train; 0 for one a core. Another number may change the last bits of the weights.
    pub threads: usize,
    /// A training build of ONNX Runtime to be used rather than the one found.
    pub training_library: Option<PathBuf>,
    /// For all stores.
    pub storage: StorageOptions,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
}

/// How a training ended.
#[derive(Debug)]
pub enum Outcome {
    /// It became a teacher.
    Done {
        /// What became of it.
        done: Done,
        /// Where this run's time went; none where it was a teacher before.
        spent: Option<Spent>,
    },
    /// Ctrl-C: the same command goes on from the checkpoint that was made.
    Interrupted {
        /// Steps that are done.
        step: u64,
        /// Of how many.
        steps: u64,
    },
}

impl TrainJob {
    /// Trains from the newest checkpoint, or from the beginning, to the end, and adds what came out as a teacher.
    ///
    /// # Errors
    /// [`TrainError`]. What was committed before stays, and the same job goes on from there.
    pub async fn run(&self, workspace: &Workspace) -> Result<Outcome, TrainError> {
        check_name("training", &self.name)?;
        let run = RunRecord::begin("train");
        let train = self.train()?;
        let runtime =
            Runtime::load_training(self.training_library.as_deref()).map_err(TrainerError::from)?;
        let student = students::get(workspace, &self.student).await?;
        let begun = TrainingRecord::begun(workspace, &self.name).await?;
        // Of a training that has begun, what the same name meant then: since then it may mean a newer teacher.
        let meant = begun
            .as_ref()
            .filter(|begun| begun.train.begin_from == train.begin_from)
            .map_or(&train.begin_from, |begun| &begun.begins_from);
        let begins_from = named(workspace, meant.as_deref()).await?;
        let classes_of = named(workspace, train.classes_of.as_deref()).await?;
        let teachers: Vec<&Teacher> = classes_of.iter().chain(&begins_from).collect();
        let generation = begun.and_then(|begun| begun.pseudo?.generation);
        let data = Data::open(
            workspace,
            &self.config,
            train,
            &student,
            &teachers,
            generation,
            &self.storage,
        )
        .await?;
        let (record, length) = self.describe(train, &student, &data, begins_from.as_ref())?;
        record.claim(workspace).await?;
        if let Some(done) = record::done(workspace, &self.name).await? {
            return Ok(Outcome::Done { done, spent: None });
        }
        let restored = checkpoint::newest(workspace, &self.name).await?;
        let artifacts = student.artifacts(workspace).await?;
        let initial = match begins_from.filter(|_| restored.is_none()) {
            Some(teacher) => Some(teacher.model(workspace).await?),
            None => None,
        };
        let started = Instant::now();
        let begun = Begun {
            student: &student,
            record: &record,
            length,
            data,
            restored,
        };
        let ended = self.train_on(workspace, &runtime, begun, artifacts, initial);
        let ended = ended.await;
        let seconds = started.elapsed().as_secs_f64();
        let run = match &ended {
            Ok((outcome, spent)) => run.trained(&record, outcome, spent, seconds),
            Err(e) => run.not_trained(&record, e, seconds),
        };
        run.end(workspace, &record.train).await;
        Ok(ended?.0)
    }

    /// The steps that are left, the teacher that comes of them, and where the time went.
    async fn train_on(
        &self,
        workspace: &Workspace,
        runtime: &Runtime,
        begun: Begun<'_>,
        artifacts: Artifacts,
        initial: Option<Bytes>,
    ) -> Result<(Outcome, Spent), TrainError> {
        let (student, record, steps) = (begun.student, begun.record, begun.length.steps);
        let from = begun.restored.as_ref().map_or(0, |r| r.checkpoint.step);
        let end = self.learn(workspace, runtime, begun, artifacts, initial);
        let end = end.await?;
        let spent = end.spent;
        if end.interrupted {
            let step = end.last.as_ref().map_or(from, |m| m.step + 1);
            return Ok((Outcome::Interrupted { step, steps }, spent));
        }
        let done = self.finish(workspace, runtime, student, record, &end);
        let outcome = Outcome::Done {
            done: done.await?,
            spent: Some(spent),
        };
        Ok((outcome, spent))
    }

    fn train(&self) -> Result<&TrainConfig, ConfigError> {
        let train = self.config.train.as_ref();
        train.ok_or_else(|| {
            ConfigError::missing(
                "[train]",
                "write the section into a settings file and give it with --config",
            )
        })
    }

    fn describe(
        &self,
        train: &TrainConfig,
        student: &StudentRecord,
        data: &Data,
        begins_from: Option<&Teacher>,
    ) -> Result<(TrainingRecord, Length), TrainError> {
        let rows = train.rows(data.labelled.is_some(), data.pseudo.is_some());
        let (counted, images) = match (&data.labelled, &data.pseudo) {
            (Some(labelled), _) => (rows[0], labelled.images()),
            (None, Some(pseudo)) => (rows[1], pseudo.rows()),
            (None, None) => return Err(TrainError::NoData),
        };
        let steps_per_epoch = images as f64 / counted as f64;
        // Multiplied first: of whole epochs the images are a whole number.
        let steps_of = |epochs: f64| (epochs * images as f64 / counted as f64).ceil() as u64;
        let length = Length {
            steps: match (train.steps, train.epochs) {
                (Some(steps), _) => steps,
                (None, epochs) => steps_of(epochs.unwrap_or(1.0)),
            },
            steps_per_epoch,
            batch: counted as u64,
        };
        let record = TrainingRecord {
            name: self.name.clone(),
            student: student.name.clone(),
            training_model_sha256: student.files.training_model.sha256.clone(),
            train: train.clone(),
            noise: self.config.noise.clone().unwrap_or_default(),
            decode: Decoding {
                exif_orientation: self.config.decode.exif_orientation,
                scaled_jpeg: self.config.decode.scaled_jpeg,
            },
            classes: data.classes.clone(),
            labelled: data.labelled.as_ref().map(|labelled| LabelledRecord {
                data: self.config.data.clone().unwrap_or_default(),
                images: labelled.images(),
                fingerprint: labelled.fingerprint().to_owned(),
            }),
            pseudo: data.pseudo.as_ref().map(|pseudo| PseudoRecord {
                selection: train.selection.clone().unwrap_or_default(),
                images: pseudo.images(),
                rows: pseudo.rows(),
                generation: pseudo.generation(),
                missing: pseudo.missing(),
                fingerprint: pseudo.fingerprint().to_owned(),
            }),
            begins_from: begins_from.map(|t| t.record.to_string()),
            steps: length.steps,
            rows,
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok((record, length))
    }

    /// All steps that are left.
    async fn learn(
        &self,
        workspace: &Workspace,
        runtime: &Runtime,
        begun: Begun<'_>,
        artifacts: Artifacts,
        initial: Option<Bytes>,
    ) -> Result<End, TrainError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.threads == 0 {
            cores
        } else {
            self.threads
        };
        let train = begun.record.train.clone();
        let (position, from) = begun
            .restored
            .as_ref()
            .map_or((Position::default(), 0), |r| {
                (r.checkpoint.position, r.checkpoint.step)
            });
        let (feed, mut take) = feed(
            self.batches(&begun, position, cores),
            from,
            begun.length.steps,
        );
        let stop = Arc::new(AtomicBool::new(false));
        let interrupts = tokio::spawn(interrupts(Arc::clone(&stop), self.visible));
        let on = On {
            device: match runtime.resolve(self.device) {
                (Device::Auto, _) => Device::Cpu,
                (device, _) => device,
            },
            threads,
        };
        let images = begun.record.rows[0] + begun.record.rows[1];
        let start = Start {
            runtime: runtime.clone(),
            on,
            student: begun.student.config.clone(),
            artifacts,
            initial,
            held_out: self.held_out(&begun, cores),
            handle: tokio::runtime::Handle::current(),
            workspace: workspace.clone(),
            name: self.name.clone(),
            train,
            length: begun.length,
            progress: Progress::new(begun.length.steps, from, images, self.visible),
            stop,
            restored: begun.restored,
        };
        let learned =
            tokio::task::spawn_blocking(move || start.learner()?.learn(from, position, &mut take));
        let end = learned.await;
        feed.abort();
        interrupts.abort();
        end?
    }

    fn held_out(&self, begun: &Begun<'_>, workers: usize) -> Option<HeldOut> {
        let data = begun.data.held_out.as_ref()?;
        let fetcher = Arc::new(self.fetcher(data));
        Some(HeldOut {
            data: Arc::clone(data),
            look: self.look(begun, (data.url(), &fetcher), None),
            fetcher,
            workers,
        })
    }

    fn fetcher(&self, data: &Labelled) -> Fetcher {
        data.fetcher(&self.config.label, FETCHED, Arc::new(Timings::default()))
    }

    /// How images are looked at; held-out ones without noise.
    fn look(
        &self,
        begun: &Begun<'_>,
        (of, fetcher): (&str, &Fetcher),
        images: Option<Images>,
    ) -> Look {
        let purpose = match images {
            Some(Images::Labelled) => 1,
            Some(Images::Unlabelled) => 2,
            None => 0,
        };
        Look {
            of: of.to_owned(),
            list: fetcher.source().is_list(),
            decode: self.config.decode.clone(),
            preprocess: begun.record.train.preprocess.clone(),
            input: begun.student.input,
            noise: images
                .map(|images| begun.record.noise.image(images))
                .filter(|noise| !noise.is_none()),
            seed: Draws::of_row(begun.record.train.seed, 0, purpose).bits(0),
        }
    }

    /// The streams of both kinds of images, from where a checkpoint was, and what makes batches of them.
    fn batches(&self, begun: &Begun<'_>, position: Position, workers: usize) -> Batches {
        let train = &begun.record.train;
        let noise = &begun.record.noise;
        let order = |n| Draws::of_row(train.seed, 1, n).bits(0);
        let labelled = begun.data.labelled.as_ref().map(|data| {
            let fetcher = Arc::new(self.fetcher(data));
            let raw = data
                .shuffled(&fetcher, order(0), position.labelled)
                .map_err(TrainError::from)
                .map_ok(Raw::from)
                .boxed();
            let look = self.look(begun, (data.url(), &fetcher), Some(Images::Labelled));
            examples(raw, look, workers)
        });
        let pseudo = begun.data.pseudo.as_ref().map(|data| {
            let timings = Arc::new(Timings::default());
            let fetcher = Arc::new(data.fetcher(&self.config.label, FETCHED, timings));
            let raw = data
                .shuffled(&fetcher, order(1), position.pseudo)
                .map_err(TrainError::from)
                .map_ok(Raw::from)
                .boxed();
            let of = train.selection.as_deref().unwrap_or_default();
            let look = self.look(begun, (of, &fetcher), Some(Images::Unlabelled));
            examples(raw, look, workers)
        });
        let graph = begun.student.config.graph(Form::Training);
        let kind = |images, rows, examples| Kind {
            rows,
            examples,
            noise: noise.model(images),
        };
        Batches {
            shape: Shape {
                input: graph.input,
                classes: graph.classes,
                features: graph.features,
                depth: graph.depth.len(),
            },
            places: graph.depth,
            loss: train.loss,
            label_smoothing: train.label_smoothing,
            pass: train.pass,
            seed: Draws::of_row(train.seed, 2, 0).bits(0),
            labelled: kind(Images::Labelled, begun.record.rows[0], labelled),
            pseudo: kind(Images::Unlabelled, begun.record.rows[1], pseudo),
            position,
        }
    }

    /// Adds what came out as a teacher, and says so.
    async fn finish(
        &self,
        workspace: &Workspace,
        runtime: &Runtime,
        student: &StudentRecord,
        record: &TrainingRecord,
        end: &End,
    ) -> Result<Done, TrainError> {
        let model = export(&student.config, &end.infos, &end.values)?;
        let [_, height, width] = student.input;
        let config = TeacherConfig {
            description: Some(format!(
                "{}, trained by understudy as {}",
                student.config.architecture, self.name
            )),
            input: InputConfig {
                name: Some(INPUT.to_owned()),
                layout: Layout::Nchw,
                size: [height as u32, width as u32],
            },
            preprocess: record.train.preprocess.clone(),
            output: OutputConfig {
                name: Some(LOGITS.to_owned()),
                kind: OutputKind::Logits,
            },
            classes: ClassesConfig {
                names: record.classes.clone(),
                file: None,
            },
        };
        let (teacher, _) = teacher::add(workspace, runtime, &self.name, model, &config).await?;
        let [labelled, pseudo] = record.rows.map(|rows| rows as u64 * record.steps);
        let last = end.last.as_ref();
        let done = Done {
            teacher: teacher.to_string(),
            steps: record.steps,
            left_out: (end.position.labelled + end.position.pseudo)
                .saturating_sub(labelled + pseudo),
            held_out_loss: last.and_then(|m| m.held_out_loss),
            held_out_top1: last.and_then(|m| m.held_out_top1),
        };
        let at = format!("{}/done.json", folder(&self.name));
        match workspace.create(&at, to_json(&done)).await? {
            Created::New | Created::Same => Ok(done),
            // Another process was first: what it says is what the training came to.
            Created::Other => Ok(workspace.read_json(&at).await?),
        }
    }
}

/// A training whose data are open.
struct Begun<'a> {
    student: &'a StudentRecord,
    record: &'a TrainingRecord,
    length: Length,
    data: Data,
    restored: Option<Restored>,
}

/// A teacher, where one is named.
async fn named(workspace: &Workspace, name: Option<&str>) -> Result<Option<Teacher>, TrainError> {
    match name {
        Some(name) => Ok(Some(teacher::get(workspace, &name.parse()?).await?)),
        None => Ok(None),
    }
}
