//! A whole export: what it is made of, its shards, and the put that makes them visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::AsArray;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt, future};

use super::fetch::Images;
use super::index::{Begun, ExportFile, Inputs};
use super::merge::{Places, Sides};
use super::places::Named;
use super::progress::Progress;
use super::rows::{self, Rows};
use super::selection::{self, Selected};
use super::shard::Shards;
use super::{
    Copies, DEFAULT_SHARD_MIB, ExportError, ExportFormat, LARGEST_SHARD_MIB, Order,
    SHARDS_IN_FLIGHT, place,
};
use crate::catalog::images;
use crate::child;
use crate::config::{Config, ConfigError};
use crate::manifest;
use crate::select;
use crate::select::foreign;
use crate::source::Source;
use crate::store::{self, Created, StorageOptions};
use crate::workspace::{Workspace, to_json};

/// What an export is asked to be.
#[derive(Debug, Clone)]
pub struct ExportJob {
    /// The selection's name.
    pub selection: String,
    /// What a shard is.
    pub format: ExportFormat,
    /// Where it goes.
    pub out: String,
    /// Whether a row with copies comes as often, or once with their number.
    pub copies: Copies,
    /// How rows are ordered.
    pub order: Order,
    /// Of the shuffle.
    pub seed: u64,
    /// Bytes of a shard, in MiB; none for [`DEFAULT_SHARD_MIB`].
    pub shard_mib: Option<u32>,
    /// How images are read: `decode.max_bytes`, `label.attempts` and `label.read_timeout_s`.
    pub config: Config,
    /// For all stores.
    pub storage: StorageOptions,
    /// Whether progress and notes are written to standard error.
    pub visible: bool,
}

/// What became of an export.
#[derive(Debug)]
pub enum Outcome {
    /// It is there; `new` where this run finished it.
    Done {
        /// `export.json`.
        file: Box<ExportFile>,
        /// Where it is.
        url: String,
        /// Whether it was not there before.
        new: bool,
    },
    /// Ctrl-C.
    Interrupted,
}

impl ExportJob {
    /// Writes the export, goes on with one that was interrupted, or finds it done.
    ///
    /// # Errors
    /// [`ExportError`]; what is written stays, and the same job goes on from there.
    pub async fn run(&self, workspace: &Workspace) -> Result<Outcome, ExportError> {
        let selected = selection::selected(workspace, &self.selection).await?;
        let inputs = self.inputs(&selected)?;
        let out = Workspace::folder(store::open(&self.out, &self.storage)?);
        let done = |file: ExportFile, new| Outcome::Done {
            file: Box::new(file),
            url: out.at.url(),
            new,
        };
        if let Some(file) = out.find_json::<ExportFile>("export.json").await? {
            place::taken(&out, &inputs, &file.inputs)?;
            return Ok(done(file, false));
        }
        let (source, newest) = self.source(workspace, &selected, &out).await?;
        let begun = match out.find_json::<Begun>("_begun.json").await? {
            None => Begun {
                inputs,
                generation: newest,
            },
            Some(begun) => {
                place::taken(&out, &inputs, &begun.inputs)?;
                begun
            }
        };
        let context = images::sorting_context(workspace)?;
        let (sides, sources) = self
            .sides(workspace, &context, &selected, source, begun.generation)
            .await?;
        place::begin(&out, &begun).await?;
        let total = match self.copies {
            Copies::Repeat => selected.file.totals.copies,
            Copies::Column => selected.file.parts.iter().map(|p| p.rows).sum(),
        };
        let progress = Arc::new(Progress::new(total, self.visible));
        let shards = Shards {
            out: &out,
            format: self.format,
            images: Images::of(sources, &self.config, &progress),
            done: place::done_shards(&out).await?,
            names: Arc::new(selected.names.clone()),
            soft: sides.selected.schema().as_arrow().index_of("probs").is_ok(),
            progress: Arc::clone(&progress),
        };
        let mut file = ExportFile::new(begun.inputs, &selected, shards.soft);
        let rows = rows::rows(&context, sides, self.order, selected.classes).await?;
        if !self.write(rows, &shards, &mut file).await? {
            return Ok(Outcome::Interrupted);
        }
        if file.totals.rows == 0 {
            return Err(ExportError::Nothing {
                rows: total,
                left_out: select::listed(&file.left_out),
            });
        }
        if self.format == ExportFormat::WebDataset {
            let place = "_info.json";
            let created = out.create(place, to_json(&file.timm_info())).await?;
            if created == Created::Other {
                return Err(ExportError::OtherShard {
                    url: out.url(place),
                });
            }
        }
        if out.create("export.json", to_json(&file)).await? == Created::Other {
            // Another process was first.
            let there: ExportFile = out.read_json("export.json").await?;
            place::taken(&out, &file.inputs, &there.inputs)?;
            return Ok(done(there, false));
        }
        Ok(done(file, true))
    }

    /// Writes all shards; `false` where Ctrl-C ended it early.
    async fn write(
        &self,
        rows: Rows,
        shards: &Shards<'_>,
        file: &mut ExportFile,
    ) -> Result<bool, ExportError> {
        let bytes = u64::from(file.inputs.shard_mib) * 1024 * 1024;
        let stop = AtomicBool::new(false);
        let work = async {
            let mut reports = rows::shards(shards.images.sized(rows), bytes)
                .take_while(|_| future::ready(!stop.load(Ordering::Relaxed)))
                .enumerate()
                .map(|(number, rows)| shards.write(number as u32, rows))
                .buffered(SHARDS_IN_FLIGHT);
            while let Some(report) = reports.try_next().await? {
                file.add(report);
            }
            Ok(!stop.load(Ordering::Relaxed))
        };
        let finished = tokio::select! {
            finished = work => finished,
            () = shards.progress.show(self.visible) => Ok(false),
            () = self.interrupts(&stop) => Ok(false),
        };
        shards.progress.finish();
        finished
    }

    /// Waits for Ctrl-C, says so by `stop`, and waits for a second one.
    async fn interrupts(&self, stop: &AtomicBool) {
        if child::interrupted().await.is_err() {
            // No signal can be heard here: the export goes on to its end.
            return std::future::pending::<()>().await;
        }
        stop.store(true, Ordering::Relaxed);
        if self.visible {
            use std::io::Write as _;
            // Nobody reads standard error any more: the work goes on.
            let _ = writeln!(
                std::io::stderr(),
                "stopping after the shards that are under way; Ctrl-C again leaves them out"
            );
        }
        let _ = tokio::signal::ctrl_c().await;
    }

    /// The dataset's source, checked, and its newest generation; none for labels of another system.
    async fn source(
        &self,
        workspace: &Workspace,
        selected: &Selected,
        out: &Workspace,
    ) -> Result<(Option<Source>, Option<u32>), ExportError> {
        let Some((dataset, source)) = selected.source(workspace, &self.storage).await? else {
            return Ok((None, None));
        };
        let at = store::open(&dataset.source, &self.storage)?;
        place::outside(&out.at, &at, &dataset)?;
        source.check().await?;
        let generations = manifest::generations(workspace, &dataset.name).await?;
        Ok((Some(source), generations.last().map(|g| g.generation)))
    }

    fn inputs(&self, selected: &Selected) -> Result<Inputs, ExportError> {
        let shard_mib = self.shard_mib.unwrap_or(DEFAULT_SHARD_MIB);
        if !(1..=LARGEST_SHARD_MIB).contains(&shard_mib) {
            return Err(ConfigError::Value {
                key: "--shard-mib",
                value: shard_mib.to_string(),
                advice: format!("give 1 to {LARGEST_SHARD_MIB} MiB: a shard is held in memory"),
            }
            .into());
        }
        Ok(Inputs {
            selection: self.selection.clone(),
            selection_sha256: selected.sha256.clone(),
            format: self.format,
            copies: self.copies,
            order: self.order,
            seed: (self.order == Order::Shuffled).then_some(self.seed),
            shard_mib,
        })
    }

    /// What the rows are made of, and the sources that they name.
    async fn sides(
        &self,
        workspace: &Workspace,
        context: &SessionContext,
        selected: &Selected,
        source: Option<Source>,
        generation: Option<u32>,
    ) -> Result<(Sides, Vec<Source>), ExportError> {
        let frame = images::selected(workspace, context, &selected.file).await?;
        let of_dataset = selected.of_dataset(workspace, context, generation).await?;
        let (fingerprints, places, sources) =
            if let (Some((hashes, places)), Some(source)) = (of_dataset, source) {
                (Some(hashes), places, vec![source])
            } else {
                let mut named = self.named(&frame).await?;
                let hashes = match &selected.file.input.labels {
                    None => None,
                    Some(files) => foreign::fingerprints(files, &self.storage, context).await?,
                };
                let hashes = hashes.map(images::fingerprints).transpose()?;
                let sources = std::mem::take(&mut named.sources);
                let members = named.has_containers().then(|| named.members(&self.storage));
                (hashes, Places::Keys(named, members), sources)
            };
        let sides = Sides {
            selected: frame,
            fingerprints,
            places,
            copies: self.copies,
            seed: self.seed,
        };
        Ok((sides, sources))
    }

    /// What the keys of another system name.
    async fn named(&self, rows: &DataFrame) -> Result<Named, ExportError> {
        let mut named = Named::default();
        let keys = rows.clone().select_columns(&["key"])?;
        let mut batches = keys.execute_stream().await?;
        while let Some(batch) = batches.try_next().await? {
            for key in batch.column(0).as_string::<i32>().iter().flatten() {
                named.note(key, &self.storage)?;
            }
        }
        Ok(named)
    }
}
