//! A whole label run: listing, what is left to do, the plan, progress, Ctrl-C, summary.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use serde::Serialize;

use super::decode::DecodeConfig;
use super::exec::LabelExec;
use super::infer::Classifier;
use super::noise::TeacherNoise;
use super::plan::{self, Plan, Planner};
use super::progress::Summary;
use super::selection::OfSelection;
use super::work::{Search, Work};
use super::{LabelError, LabelSettings, Labeller, LabellerParts, classifiers, whose};
use crate::catalog;
use crate::child;
use crate::config::{Config, LabelConfig};
use crate::dataset;
use crate::error::Error;
use crate::manifest::{self, ManifestError, Refresh};
use crate::relabel;
use crate::runs::RunRecord;
use crate::runtime::{Device, Runtime};
use crate::say::say;
use crate::select::report::SelectionFile;
use crate::source::Source;
use crate::store::StorageOptions;
use crate::teacher::{self, Teacher, TeacherRef};
use crate::workspace::Workspace;

/// What a run is asked to do.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct LabelJob {
    /// The dataset's name.
    pub dataset: String,
    /// Where its images are; not needed once the workspace knows.
    pub source: Option<String>,
    /// Which teacher.
    pub teacher: TeacherRef,
    /// The selection whose images alone are labelled.
    pub selection: Option<String>,
    /// What it sees images through; none for the clean teacher of the method.
    pub noise: Option<TeacherNoise>,
    /// The rejects alone, instead of what is not labelled yet.
    pub retry_rejects: bool,
    /// Whether the images that came last are labelled first.
    pub newest_first: bool,
    /// Whether the labels follow no promotion, and stay.
    pub pin: bool,
    /// Where the model runs.
    pub device: Device,
    /// A libonnxruntime.so to be used rather than the one found.
    pub onnxruntime: Option<PathBuf>,
    /// The settings file's sections.
    pub config: Config,
    /// For the source's store.
    pub storage: StorageOptions,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
    /// Set by whoever wants it to stop after the shards that are under way.
    pub stop: Arc<AtomicBool>,
}

/// How often a run plans anew because another process was first with a plan.
const TRIES: u32 = 10;

/// What a run was asked to do, for its record.
#[derive(Serialize)]
struct Settings<'a> {
    retry_rejects: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: Option<&'a str>,
    decode: &'a DecodeConfig,
    label: &'a LabelConfig,
}

/// What a run needs before it knows what is left to do.
struct Ready {
    record: RunRecord,
    runtime: Runtime,
    teacher: Teacher,
    /// NAME@VERSION, or NAME@VERSION+NOISE.
    name: String,
    settings: LabelSettings,
    context: SessionContext,
    selection: Option<SelectionFile>,
    part_images: u32,
}

/// The model on its device.
struct Model {
    classifiers: Vec<Box<dyn Classifier>>,
    batch: usize,
    device: Device,
}

impl LabelJob {
    /// Runs the job.
    ///
    /// # Errors
    /// Any stage's. What was committed before stays, and the same job goes on from there.
    pub async fn run(&self, workspace: &Workspace) -> Result<Summary, Error> {
        let record = RunRecord::begin("label");
        // What this machine lacks is said before anything is listed or remembered.
        let runtime = Runtime::load(self.onnxruntime.as_deref(), self.device)?;
        if let Device::Cuda(id) = self.device {
            runtime.try_cuda(id)?;
        }
        let dataset = dataset::remember(
            workspace,
            &self.dataset,
            self.source.as_deref(),
            self.config.source.as_ref(),
            self.config.manifest.as_ref(),
        );
        let teacher = teacher::get(workspace, &self.teacher).await?;
        let noise = self.noise.as_ref();
        let name = whose::name(&teacher.record, noise.map(|n| n.name.as_str()));
        let selection = self.selection(workspace).await?;
        if let Some(made) = selection.as_ref().filter(|s| s.is_of_labels_by(&name)) {
            let made_of = Some(OfSelection::made_of(made));
            return Ok(Summary::nothing_to_do(&self.dataset, &name, 0, made_of));
        }
        // The source is looked at before it is remembered, so that a typing error is not remembered.
        if let Some(url) = &self.source {
            let reading = self.config.source.clone().unwrap_or_default();
            Source::open(url, &self.storage, &reading)?.check().await?;
        }
        let settings = LabelSettings::new(
            &teacher,
            &self.config.decode,
            &self.config.label,
            noise.map(|n| &n.settings),
        );
        settings.check(workspace, &self.dataset, &name).await?;
        let dataset = dataset.await?;
        if self.pin {
            relabel::pin(workspace, &self.dataset, &name).await?;
        }
        let read_timeout = Duration::from_secs_f64(self.config.label.read_timeout_s);
        let source = Source::open(&dataset.source, &self.storage, &dataset.reading)?
            .with_limits(self.config.decode.max_bytes, read_timeout);
        if !workspace.file.create_only {
            self.note("warning: this store ignores create-only puts; run one understudy at a time on this workspace");
        }
        if !self.retry_rejects {
            self.refresh(workspace, &source, &dataset.manifest).await?;
        }
        let ready = Ready {
            record,
            runtime,
            teacher,
            name,
            settings,
            context: catalog::context(workspace, 1)?,
            selection,
            part_images: dataset.manifest.shard_images,
        };
        self.label(workspace, ready, source).await
    }

    /// The selection, checked to be of this dataset.
    async fn selection(&self, workspace: &Workspace) -> Result<Option<SelectionFile>, Error> {
        let Some(id) = &self.selection else {
            return Ok(None);
        };
        let selection = SelectionFile::read(workspace, id).await?;
        match &selection.input.dataset {
            Some(of) if *of != self.dataset => Err(LabelError::OtherDataset {
                selection: id.clone(),
                of: of.clone(),
                typed: self.dataset.clone(),
            }
            .into()),
            _ => Ok(Some(selection)),
        }
    }

    /// Labels what is left to do.
    async fn label(
        &self,
        workspace: &Workspace,
        ready: Ready,
        source: Source,
    ) -> Result<Summary, Error> {
        let search = Search {
            workspace,
            context: &ready.context,
            dataset: &self.dataset,
            teacher: &ready.name,
        };
        let (plans, mut work, model) = self.prepare(&ready, search).await?;
        let of_selection = match &ready.selection {
            Some(selection) if !self.retry_rejects => {
                let found = plans.iter().rfind(|p| p.is_for(Some(&selection.id)));
                found
                    .and_then(|p| p.chosen.clone())
                    .map(OfSelection::planned)
            }
            _ => None,
        };
        let (Some(input), Some(model)) = (work.input.take(), model) else {
            let before = work.shards_before;
            let summary = Summary::nothing_to_do(&self.dataset, &ready.name, before, of_selection);
            return self.with_unfinished(summary, search, &plans).await;
        };
        let (images, shards_before) = (work.images, work.shards_before);
        let parts = LabellerParts {
            workspace: workspace.clone(),
            dataset: &self.dataset,
            source,
            teacher: &ready.teacher,
            noise: self.noise.as_ref().map(|n| n.name.as_str()),
            config: &self.config,
            settings: &ready.settings,
            total: images,
            visible: self.visible,
            stop: Arc::clone(&self.stop),
        };
        let labeller = Arc::new(Labeller::new(parts, model.classifiers, model.batch));
        let plan: Arc<dyn ExecutionPlan> = Arc::new(LabelExec::new(
            input,
            Arc::clone(&labeller),
            Arc::new(work.objects),
        ));
        let executed = self.execute(&ready.context, &plan, &labeller).await;
        let progress = &labeller.progress;
        let seconds = progress.seconds();
        let time = progress.split();
        let summary = Summary {
            dataset: self.dataset.clone(),
            teacher: ready.name.clone(),
            selection: of_selection,
            device: model.device.to_string(),
            images,
            labelled: progress.counters.labelled.load(Ordering::Relaxed),
            rejected: progress.counters.rejected.load(Ordering::Relaxed),
            elsewhere: progress.counters.elsewhere.load(Ordering::Relaxed),
            repeated_reads: labeller.fetcher.repeated.load(Ordering::Relaxed),
            shards: progress.counters.shards.load(Ordering::Relaxed),
            shards_before,
            seconds,
            images_per_second: progress.done() as f64 / seconds.max(1e-9),
            time,
            bottleneck: time.bottleneck(),
            interrupted: *executed.as_ref().unwrap_or(&false),
        };
        let record = ready.record.clone();
        let record = record.labelled(&summary, executed.as_ref().err());
        let settings = Settings {
            retry_rejects: self.retry_rejects,
            selection: self.selection.as_deref(),
            decode: &self.config.decode,
            label: &self.config.label,
        };
        record.end(workspace, &settings).await;
        if executed? {
            return Ok(summary);
        }
        self.with_unfinished(summary, search, &plans).await
    }

    /// Plans, finds what is left to do, and where anything is loads the model; then, when nothing can fail any more that a run needs to begin, makes a
    /// new plan visible.
    async fn prepare(
        &self,
        ready: &Ready,
        search: Search<'_>,
    ) -> Result<(Vec<Plan>, Work, Option<Model>), Error> {
        if self.retry_rejects {
            let work = search.rejects(ready.selection.as_ref()).await?;
            let model = self.model(&work, ready, search.workspace).await?;
            return Ok((Vec::new(), work, model));
        }
        let id = ready.selection.as_ref().map(|s| s.id.as_str());
        for _ in 0..TRIES {
            let generations = manifest::generations(search.workspace, &self.dataset).await?;
            let there = plan::plans(search.workspace, &self.dataset, &ready.name).await?;
            let planner = Planner {
                workspace: search.workspace,
                dataset: &self.dataset,
                teacher: &ready.name,
                generations: &generations,
                part_images: ready.part_images,
            };
            let known = there.len();
            let plans = match &ready.selection {
                None => planner.everything(there).await?,
                Some(selection) => {
                    let finding = format!("finding the images of selection {}", selection.id);
                    self.spinning(&finding, planner.selection(there, selection))
                        .await?
                }
            };
            // Who labels everything finishes what was begun of selections as well.
            let mine = |p: &Plan| id.is_none() || p.is_for(id);
            let work = search.pending(&generations, &plans, mine).await?;
            let model = self.model(&work, ready, search.workspace).await?;
            let mut visible = true;
            for new in &plans[known..] {
                visible = visible && planner.commit(new).await?;
            }
            if visible {
                return Ok((plans, work, model));
            }
        }
        Err(ManifestError::Busy {
            dataset: self.dataset.clone(),
        }
        .into())
    }

    /// Adds to the summary of a selection's labelling whose images were left to other plans that are not done.
    async fn with_unfinished(
        &self,
        mut summary: Summary,
        search: Search<'_>,
        plans: &[Plan],
    ) -> Result<Summary, Error> {
        if let Some(of) = &mut summary.selection {
            for (number, images) in search.elsewhere(&of.id, plans).await? {
                let theirs = plans.iter().find(|p| p.number == number);
                let selection = theirs.and_then(|p| p.chosen.as_ref());
                of.unfinished += images;
                of.others.push(selection.map(|c| c.selection.clone()));
            }
        }
        Ok(summary)
    }

    /// Brings the manifest up to date with the bucket.
    async fn refresh(
        &self,
        workspace: &Workspace,
        source: &Source,
        config: &manifest::ManifestConfig,
    ) -> Result<(), Error> {
        let spinner = self.spinner();
        let show = |listed: u64| {
            if let Some(spinner) = &spinner {
                spinner.set_message(format!("listing: {listed} images"));
            }
        };
        let refreshed = manifest::refresh(workspace, &self.dataset, source, config, &show).await?;
        if let Some(spinner) = &spinner {
            spinner.finish_and_clear();
        }
        if let Refresh::Added(g) = refreshed {
            let skipped: Vec<String> = g
                .skipped
                .iter()
                .map(|(why, n)| format!("{n} {why}"))
                .collect();
            self.note(&format!(
                "manifest generation {}: {} new, {} changed, {} gone, {} unchanged, in {} shards{}",
                g.generation,
                g.new,
                g.changed,
                g.gone,
                g.unchanged,
                g.shards,
                if skipped.is_empty() {
                    String::new()
                } else {
                    format!("; not images, skipped: {}", skipped.join(", "))
                }
            ));
        }
        Ok(())
    }

    fn spinner(&self) -> Option<indicatif::ProgressBar> {
        self.visible.then(|| {
            let spinner = indicatif::ProgressBar::new_spinner();
            spinner.enable_steady_tick(Duration::from_millis(200));
            spinner
        })
    }

    async fn spinning<T>(&self, text: &str, work: impl Future<Output = T>) -> T {
        let spinner = self.spinner();
        if let Some(spinner) = &spinner {
            spinner.set_message(text.to_owned());
        }
        let done = work.await;
        if let Some(spinner) = &spinner {
            spinner.finish_and_clear();
        }
        done
    }

    /// Loads the model and claims the settings, where there is anything to do.
    async fn model(
        &self,
        work: &Work,
        ready: &Ready,
        workspace: &Workspace,
    ) -> Result<Option<Model>, Error> {
        if work.input.is_none() {
            return Ok(None);
        }
        let (device, why) = ready.runtime.resolve(self.device);
        if self.device == Device::Auto {
            self.note(&format!("device {device}: {why}"));
        }
        let bytes = ready.teacher.model(workspace).await?;
        let (classifiers, batch) = classifiers(
            &ready.runtime,
            device,
            &bytes,
            &ready.teacher.config,
            &self.config.label,
        )?;
        ready
            .settings
            .claim(workspace, &self.dataset, &ready.name)
            .await?;
        Ok(Some(Model {
            classifiers,
            batch,
            device,
        }))
    }

    /// Runs the plan's partitions one after the other; `true` where Ctrl-C ended it early.
    async fn execute(
        &self,
        context: &SessionContext,
        plan: &Arc<dyn ExecutionPlan>,
        labeller: &Labeller,
    ) -> Result<bool, Error> {
        let work = async {
            let count = plan.output_partitioning().partition_count();
            for n in 0..count {
                // They are in the order of plans and generations.
                let partition = if self.newest_first { count - 1 - n } else { n };
                let mut reports = plan
                    .execute(partition, context.task_ctx())
                    .map_err(LabelError::from)?;
                while reports
                    .try_next()
                    .await
                    .map_err(LabelError::from)?
                    .is_some()
                {}
            }
            Ok::<_, Error>(())
        };
        let interrupts = async {
            if child::interrupted().await.is_err() {
                // No signal can be heard here: the run goes on to its end.
                return std::future::pending::<()>().await;
            }
            labeller.stop.store(true, Ordering::Relaxed);
            self.note("stopping after the shards that are under way; Ctrl-C again leaves them out");
            let _ = tokio::signal::ctrl_c().await;
        };
        let outcome = tokio::select! {
            done = work => done,
            () = labeller.progress.show(self.visible) => Ok(()),
            () = interrupts => Ok(()),
        };
        labeller.progress.finish();
        outcome.map(|()| labeller.stop.load(Ordering::Relaxed) && labeller.progress.left() > 0)
    }

    fn note(&self, text: &str) {
        if self.visible {
            say(text);
        }
    }
}
