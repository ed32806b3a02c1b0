//! A whole label run: listing, what is left to do, the plan, progress, Ctrl-C, summary.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use datafusion::arrow::array::{Array, UInt32Array};
use datafusion::logical_expr::{JoinType, col, lit};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use serde::Serialize;

use super::decode::DecodeConfig;
use super::exec::LabelExec;
use super::progress::Summary;
use super::{LabelSettings, Labeller, LabellerParts, classifiers, committed};
use crate::catalog;
use crate::config::{Config, LabelConfig};
use crate::dataset;
use crate::error::Error;
use crate::manifest::{self, Generation, Refresh};
use crate::runs::RunRecord;
use crate::runtime::{Device, Runtime};
use crate::source::Source;
use crate::store::StorageOptions;
use crate::teacher::{self, Teacher, TeacherRef};
use crate::workspace::Workspace;

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct LabelJob {
    /// The dataset's name.
    pub dataset: String,
    /// Where its images are; not needed once the workspace knows.
    pub source: Option<String>,
    /// Which teacher.
    pub teacher: TeacherRef,
    /// The rejects alone, instead of what is not labelled yet.
    pub retry_rejects: bool,
    /// Where the model runs.
    pub device: Device,
    /// A libonnxruntime.so to be used rather than the one found.
    pub onnxruntime: Option<PathBuf>,
    /// The pipeline file's sections.
    pub config: Config,
    /// For the source's store.
    pub storage: StorageOptions,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
}

/// What a run was asked to do, for its record.
#[derive(Serialize)]
struct Settings<'a> {
    retry_rejects: bool,
    decode: &'a DecodeConfig,
    label: &'a LabelConfig,
}

/// Rows to label, as an input of [`LabelExec`].
struct Work {
    input: Option<Arc<dyn ExecutionPlan>>,
    images: u64,
    shards_before: u64,
    committed: HashSet<u32>,
    retries: HashMap<u32, u16>,
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
        // The source is looked at before it is remembered, so that a typing error is not remembered.
        if let Some(url) = &self.source {
            let reading = self.config.source.clone().unwrap_or_default();
            Source::open(url, &self.storage, &reading)?.check().await?;
        }
        let settings = LabelSettings::new(&teacher, &self.config.decode, &self.config.label);
        let name = teacher.record.to_string();
        settings.check(workspace, &self.dataset, &name).await?;
        let dataset = dataset.await?;
        let read_timeout = Duration::from_secs_f64(self.config.label.read_timeout_s);
        let source = Source::open(&dataset.source, &self.storage, &dataset.reading)?
            .with_limits(self.config.decode.max_bytes, read_timeout);
        if !workspace.file.create_only {
            self.note("warning: this store ignores create-only puts; run one understudy at a time on this workspace");
        }
        if !self.retry_rejects {
            self.refresh(workspace, &source, &dataset.manifest).await?;
        }
        let context = catalog::context(workspace, 1)?;
        let generations = manifest::generations(workspace, &self.dataset).await?;
        let work = if self.retry_rejects {
            self.rejects(workspace, &context, &name).await?
        } else {
            self.pending(workspace, &context, &generations, &name)
                .await?
        };
        let Some(input) = work.input else {
            return Ok(self.nothing_to_do(&name, work.shards_before));
        };
        let (labeller, device) = self
            .labeller(
                workspace,
                source,
                &teacher,
                &settings,
                &runtime,
                work.images,
            )
            .await?;
        settings.claim(workspace, &self.dataset, &name).await?;
        let labeller = Arc::new(labeller);
        let plan: Arc<dyn ExecutionPlan> = Arc::new(LabelExec::new(
            input,
            Arc::clone(&labeller),
            Arc::new(work.committed),
            Arc::new(work.retries),
        ));
        let executed = self.execute(&context, &plan, &labeller).await;
        let progress = &labeller.progress;
        let seconds = progress.seconds();
        let time = progress.split();
        let summary = Summary {
            dataset: self.dataset.clone(),
            teacher: name,
            device: device.to_string(),
            images: work.images,
            labelled: progress.counters.labelled.load(Ordering::Relaxed),
            rejected: progress.counters.rejected.load(Ordering::Relaxed),
            elsewhere: progress.counters.elsewhere.load(Ordering::Relaxed),
            repeated_reads: labeller.fetcher.repeated.load(Ordering::Relaxed),
            shards: progress.counters.shards.load(Ordering::Relaxed),
            shards_before: work.shards_before,
            seconds,
            images_per_second: progress.done() as f64 / seconds.max(1e-9),
            time,
            bottleneck: time.bottleneck(),
            interrupted: *executed.as_ref().unwrap_or(&false),
        };
        let record = record.labelled(&summary, executed.as_ref().err());
        let settings = Settings {
            retry_rejects: self.retry_rejects,
            decode: &self.config.decode,
            label: &self.config.label,
        };
        record.end(workspace, &settings).await;
        executed.map(|_| summary)
    }

    /// Brings the manifest up to date with the bucket.
    async fn refresh(
        &self,
        workspace: &Workspace,
        source: &Source,
        config: &manifest::ManifestConfig,
    ) -> Result<(), Error> {
        let spinner = self.visible.then(|| {
            let spinner = indicatif::ProgressBar::new_spinner();
            spinner.enable_steady_tick(std::time::Duration::from_millis(200));
            spinner
        });
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

    /// The shards without an object: a scan of each generation that has any, from its first such shard on.
    async fn pending(
        &self,
        workspace: &Workspace,
        context: &SessionContext,
        generations: &[Generation],
        teacher: &str,
    ) -> Result<Work, Error> {
        let committed: HashSet<u32> = committed(workspace, &self.dataset, teacher)
            .await?
            .into_keys()
            .collect();
        let mut inputs = Vec::new();
        let mut images = 0;
        for g in generations {
            let shards = g.first_shard..g.first_shard + g.shards;
            let Some(first) = shards.clone().find(|s| !committed.contains(s)) else {
                continue;
            };
            let rows = catalog::generation(workspace, context, &self.dataset, g)?
                .filter(col("shard").gt_eq(lit(first)))
                .map_err(catalog::CatalogError::from)?;
            images += self.count(rows.clone(), &committed).await?;
            inputs.push(plan(rows).await?);
        }
        let input = match inputs.len() {
            0 => None,
            1 => inputs.pop(),
            _ => Some(UnionExec::try_new(inputs).map_err(catalog::CatalogError::from)?),
        };
        Ok(Work {
            input,
            images,
            shards_before: committed.len() as u64,
            committed,
            retries: HashMap::new(),
        })
    }

    /// How many of the rows lie in shards that are not committed: only the column `shard` is read.
    async fn count(
        &self,
        rows: datafusion::dataframe::DataFrame,
        committed: &HashSet<u32>,
    ) -> Result<u64, Error> {
        let engine = catalog::CatalogError::from;
        let shards = rows.select(vec![col("shard")]).map_err(engine)?;
        let mut stream = shards.execute_stream().await.map_err(engine)?;
        let mut count = 0;
        while let Some(batch) = stream.try_next().await.map_err(engine)? {
            if let Some(shards) = batch.column(0).as_any().downcast_ref::<UInt32Array>() {
                let pending = |s: Option<u32>| s.is_some_and(|s| !committed.contains(&s));
                count += shards.iter().filter(|s| pending(*s)).count() as u64;
            }
        }
        Ok(count)
    }

    /// The manifest rows of the rejects, by shard and row, each shard with the number of its next retry.
    async fn rejects(
        &self,
        workspace: &Workspace,
        context: &SessionContext,
        teacher: &str,
    ) -> Result<Work, Error> {
        let committed = committed(workspace, &self.dataset, teacher).await?;
        catalog::register(workspace, context).await?;
        let engine = catalog::CatalogError::from;
        let this = col("dataset").eq(lit(self.dataset.as_str()));
        let rejects = context
            .table("rejects")
            .await
            .map_err(engine)?
            .filter(this.clone().and(col("teacher").eq(lit(teacher))))
            .and_then(|frame| {
                frame.select(vec![
                    col("key").alias("rejected_key"),
                    col("shard").alias("rejected_shard"),
                ])
            })
            .map_err(engine)?;
        let columns: Vec<_> = manifest::schema()
            .fields()
            .iter()
            .map(|f| col(f.name()))
            .collect();
        let rows = context
            .table("manifest")
            .await
            .map_err(engine)?
            .filter(this)
            .and_then(|manifest| {
                // The side that a hash join holds in memory is its left one: the rejects are few.
                rejects.join(
                    manifest,
                    JoinType::RightSemi,
                    &["rejected_key", "rejected_shard"],
                    &["key", "shard"],
                    None,
                )
            })
            .and_then(|frame| frame.select(columns))
            .and_then(|frame| {
                frame.sort(vec![
                    col("shard").sort(true, false),
                    col("row").sort(true, false),
                ])
            })
            .map_err(engine)?;
        let images = rows.clone().count().await.map_err(engine)? as u64;
        Ok(Work {
            input: if images == 0 {
                None
            } else {
                Some(plan(rows).await?)
            },
            images,
            shards_before: committed.len() as u64,
            committed: HashSet::new(),
            retries: committed
                .into_iter()
                .map(|(shard, retry)| (shard, retry + 1))
                .collect(),
        })
    }

    /// Loads the runtime and the model, and starts the workers.
    async fn labeller(
        &self,
        workspace: &Workspace,
        source: Source,
        teacher: &Teacher,
        settings: &LabelSettings,
        runtime: &Runtime,
        images: u64,
    ) -> Result<(Labeller, Device), Error> {
        let (device, why) = runtime.resolve(self.device);
        if self.device == Device::Auto {
            self.note(&format!("device {device}: {why}"));
        }
        let model = teacher.model(workspace).await?;
        let (classifiers, batch) =
            classifiers(runtime, device, &model, teacher, &self.config.label)?;
        drop(model);
        let parts = LabellerParts {
            workspace: workspace.clone(),
            dataset: &self.dataset,
            source,
            teacher,
            config: &self.config,
            settings,
            total: images,
            visible: self.visible,
        };
        Ok((Labeller::new(parts, classifiers, batch), device))
    }

    /// Runs the plan's partitions one after the other; `true` where Ctrl-C ended it early.
    async fn execute(
        &self,
        context: &SessionContext,
        plan: &Arc<dyn ExecutionPlan>,
        labeller: &Labeller,
    ) -> Result<bool, Error> {
        let work = async {
            for partition in 0..plan.output_partitioning().partition_count() {
                let mut reports = plan
                    .execute(partition, context.task_ctx())
                    .map_err(super::LabelError::from)?;
                while reports
                    .try_next()
                    .await
                    .map_err(super::LabelError::from)?
                    .is_some()
                {}
            }
            Ok::<_, Error>(())
        };
        let interrupts = async {
            if tokio::signal::ctrl_c().await.is_err() {
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

    fn nothing_to_do(&self, teacher: &str, shards_before: u64) -> Summary {
        let idle = super::progress::Split {
            fetch: 0.0,
            decode: 0.0,
            infer: 0.0,
            write: 0.0,
        };
        Summary {
            dataset: self.dataset.clone(),
            teacher: teacher.to_owned(),
            device: "none".into(),
            images: 0,
            labelled: 0,
            rejected: 0,
            elsewhere: 0,
            repeated_reads: 0,
            shards: 0,
            shards_before,
            seconds: 0.0,
            images_per_second: 0.0,
            time: idle,
            bottleneck: "none",
            interrupted: false,
        }
    }

    fn note(&self, text: &str) {
        if self.visible {
            use std::io::Write as _;
            // Nobody reads standard error any more: the work goes on.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

async fn plan(rows: datafusion::dataframe::DataFrame) -> Result<Arc<dyn ExecutionPlan>, Error> {
    Ok(rows
        .create_physical_plan()
        .await
        .map_err(catalog::CatalogError::from)?)
}
