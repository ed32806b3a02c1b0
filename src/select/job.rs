//! A whole selection: the passes in their order, and the put that makes it visible.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::fingerprints::{HeldOutImages, NearHit};
use super::functions::{self, Chosen};
use super::input::{Input, Labels};
use super::kept::Kept;
use super::passes::ChosenRows;
use super::queries::Queries;
use super::report::{LEAKAGE, LEFT_OUT, LeakageRecord, SelectionFile, check_id, folder};
use super::sweep::{Query, failed};
use super::{Method, SelectConfig, SelectError, Targets, damage, listed, reasons};
use crate::catalog::{self, CatalogError};
use crate::hex::hex;
use crate::runs::RunRecord;
use crate::store::{Created, StorageOptions};
use crate::workspace::{Workspace, as_read, lost, to_json};

/// Partitions of every query, whatever the number of threads: how rows fall into parts is then the same everywhere.
pub(super) const PARTITIONS: usize = 16;
/// Chosen rows that are held in memory while another teacher's soft labels are joined to them: at some 200 bytes a row 100 MB.
const HELD_ROWS: u64 = 500_000;

/// What a selection is asked to be.
#[derive(Debug, Clone)]
pub struct SelectJob {
    /// Its name.
    pub id: String,
    /// Which labels.
    pub labels: Labels,
    /// The rules.
    pub config: SelectConfig,
    /// Whether every row that is left out is listed with its reason.
    pub explain: bool,
    /// A folder with the user's own queries.
    pub queries: Option<PathBuf>,
    /// For the store of foreign labels.
    pub storage: StorageOptions,
    /// Bytes that a query may hold.
    pub memory: usize,
}

impl SelectJob {
    /// Makes the selection; `false` where it was there already, made of the same.
    ///
    /// # Errors
    /// [`SelectError`]; nothing is visible then.
    pub async fn run(&self, workspace: &Workspace) -> Result<(SelectionFile, bool), SelectError> {
        let (run, input) = self.begin(workspace).await?;
        if let Some(there) = self.there(workspace, &input).await? {
            return Ok((there, false));
        }
        let (record, started) = (RunRecord::begin("select"), Instant::now());
        let made = self.make(workspace, &run, &input).await;
        let seconds = started.elapsed().as_secs_f64();
        let record = match &made {
            Ok(file) => record.selected(file, seconds),
            Err(e) => record.not_selected(&self.id, &input.record, e, seconds),
        };
        let settings = Settings {
            labels: input.record.labels.as_deref(),
            filter_teacher: input.record.filter_teacher.as_deref(),
            explain: self.explain,
            queries: self.queries.as_deref(),
            select: &self.config,
        };
        record.end(workspace, &settings).await;
        Ok((made?, true))
    }

    /// Makes the selection, and its objects visible.
    async fn make(
        &self,
        workspace: &Workspace,
        run: &Run<'_>,
        input: &Input,
    ) -> Result<SelectionFile, SelectError> {
        let file = async { run.finish(input, run.passes(input).await?).await };
        let file = match file.await {
            Ok(file) => file,
            Err(e) => return Err(damage::named(e, &input.found).await),
        };
        let tag = file.tag.clone();
        let place = format!("{}/selection.json", folder(&self.id));
        let visible = match workspace.create(&place, to_json(&file)).await? {
            Created::New | Created::Same => file,
            Created::Other => workspace.read_json(&place).await?,
        };
        let beside = run.sweep_leftovers(&visible).await;
        // Of the same tag are the same rows: those that another version of understudy had made, and were lost.
        if visible.tag != tag {
            return Err(taken(
                &self.id,
                "input, by another process at the same time",
            ));
        }
        self.check_explained(&visible, &beside)?;
        Ok(visible)
    }

    /// Finds the labels and reads the queries.
    pub(super) async fn begin<'a>(
        &'a self,
        workspace: &'a Workspace,
    ) -> Result<(Run<'a>, Input), SelectError> {
        self.config.validate()?;
        check_id(&self.id)?;
        let queries = Queries::read(self.queries.as_deref())?;
        let context = catalog::selection_context(workspace, PARTITIONS, self.memory)?;
        let mut input = self.labels.open(workspace, &self.storage, &context).await?;
        let lazily = input.soft && self.config.targets == Targets::Soft;
        catalog::read_lazily(&context, lazily);
        let mut hash = Sha256::new();
        hash.update(&input.record.sha256);
        queries.all.values().for_each(|text| hash.update(text));
        input.record.own_queries = self.queries.is_some();
        let mut run = Run {
            job: self,
            workspace,
            context,
            lazily,
            queries,
            knows: Knows {
                duplicates: !self.config.keep_duplicates && input.fingerprints,
                leaks: !self.config.exclude.is_empty(),
            },
            held_out: None,
        };
        run.held_out = run.read_held_out().await?;
        run.held_out
            .iter()
            .for_each(|held_out| hash.update(held_out.sha256));
        input.record.sha256 = hex(&hash.finalize());
        Ok((run, input))
    }

    /// The selection of this name, where there is one of the same inputs and all of its rows are.
    async fn there(
        &self,
        workspace: &Workspace,
        input: &Input,
    ) -> Result<Option<SelectionFile>, SelectError> {
        let place = format!("{}/selection.json", folder(&self.id));
        let Some(there) = workspace.find_json::<SelectionFile>(&place).await? else {
            return Ok(None);
        };
        let (old, new) = (&there.input, &input.record);
        let now = as_read(&self.config);
        if there.config != now {
            let differs = differing(&there.config, &now);
            return Err(taken(&self.id, &format!("configuration: {differs}")));
        }
        for (what, old, new) in [
            ("dataset", &old.dataset, &new.dataset),
            ("teacher", &old.teacher, &new.teacher),
            ("filter teacher", &old.filter_teacher, &new.filter_teacher),
            ("--labels", &old.labels, &new.labels),
        ] {
            if old != new {
                let was = old.as_deref().unwrap_or("none");
                return Err(taken(&self.id, &format!("{what}: it was {was}")));
            }
        }
        if old.sha256 != new.sha256 {
            let state = if self.config.exclude.is_empty() {
                "state of the labels: there are new ones, images changed or went, or the queries are others"
            } else {
                "state of the labels or of the held-out images: there are new ones, images changed or went, or the queries are others"
            };
            return Err(taken(&self.id, state));
        }
        let objects = workspace.listed(&folder(&self.id)).await?;
        self.check_explained(&there, &objects)?;
        let mut needed: Vec<&String> = there.parts.iter().map(|part| &part.file).collect();
        needed.extend(there.others(LEAKAGE, &objects));
        if self.explain {
            needed.extend(there.others(LEFT_OUT, &objects));
        }
        if let Some((lost, _)) = lost(needed, &objects) {
            // As after a power failure, since parts are not synced: they are made again, the same bytes under the same names.
            tracing::warn!("`{lost}` of selection `{}` is lost", self.id);
            return Ok(None);
        }
        Ok(Some(there))
    }

    /// Whether the rows that are left out are listed, where that is asked for. `beside` it lie these.
    fn check_explained(
        &self,
        there: &SelectionFile,
        beside: &[(String, u64)],
    ) -> Result<(), SelectError> {
        let is_listed = || !there.others(LEFT_OUT, beside).is_empty();
        if self.explain && !there.left_out.is_empty() && !is_listed() {
            return Err(SelectError::NotExplained {
                id: self.id.clone(),
            });
        }
        Ok(())
    }
}

/// What a run was asked to do, for its record.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_teacher: Option<&'a str>,
    explain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    queries: Option<&'a Path>,
    select: &'a SelectConfig,
}

fn taken(id: &str, what: &str) -> SelectError {
    SelectError::Taken {
        id: id.to_owned(),
        what: what.to_owned(),
    }
}

/// The settings that differ, and what they were.
fn differing(old: &SelectConfig, new: &SelectConfig) -> String {
    let [old, new] = [old, new].map(|config| serde_json::to_value(config).unwrap_or_default());
    let keys = old.as_object().into_iter().chain(new.as_object());
    let keys: BTreeSet<&String> = keys.flat_map(|keys| keys.keys()).collect();
    let differing = keys.into_iter().filter(|key| old.get(key) != new.get(key));
    let was = differing.map(|key| match old.get(key) {
        None | Some(serde_json::Value::Null) => format!("{key} was not given"),
        Some(value) => format!("{key} was {value}"),
    });
    was.collect::<Vec<_>>().join(", ")
}

/// A selection that is being made.
pub(super) struct Run<'a> {
    pub(super) job: &'a SelectJob,
    pub(super) workspace: &'a Workspace,
    pub(super) context: SessionContext,
    /// As [`catalog::read_lazily`] has them for the rows that are written.
    pub(super) lazily: bool,
    queries: Queries,
    pub(super) knows: Knows,
    pub(super) held_out: Option<HeldOutImages>,
}

/// Which of the fingerprint functions are asked at all: what is not leaves its columns unread.
#[derive(Clone, Copy)]
pub(super) struct Knows {
    pub(super) duplicates: bool,
    pub(super) leaks: bool,
}

impl Run<'_> {
    /// All passes but the writing: what is chosen, as functions that the queries call.
    pub(super) async fn passes(&self, input: &Input) -> Result<Passes, SelectError> {
        let config = &self.job.config;
        self.view("input", input.rows.clone())?;
        for function in [
            reasons::udf(),
            functions::is_confidence(),
            functions::is_above(),
        ] {
            self.context.register_udf(function);
        }
        let (leakage, hits) = self.fingerprints().await?;
        let candidates = self.query(self.candidates_file()).await?;
        self.view("candidates", candidates.frame)?;
        let (chosen, left_out) = match config.method {
            Method::Exact => self.exact().await?,
            Method::Histogram => self.histogram().await?,
        };
        if chosen.classes.iter().all(|c| c.available == 0) {
            return Err(SelectError::Empty {
                rows: left_out.values().sum(),
                left_out: listed(&left_out),
            });
        }
        if let Chosen::Exact(choice) = &*chosen.rows {
            for function in functions::of_second_pass(choice) {
                self.context.register_udf(function);
            }
        }
        for function in functions::of_chosen(&chosen.rows) {
            self.context.register_udf(function);
        }
        if self.lazily {
            catalog::fit_batches(&self.context, input.rows.schema().as_arrow());
        }
        let missing = functions::Missing::default();
        if let Some(targets) = &input.targets {
            self.view("targets", targets.clone())?;
            catalog::join_few_partitions(&self.context);
            if chosen.expected.is_none_or(|rows| rows > HELD_ROWS) {
                catalog::join_by_sorting(&self.context);
                catalog::fit_batches(&self.context, targets.schema().as_arrow());
            }
            self.context.register_udf(functions::is_labelled(&missing));
        }
        Ok(Passes {
            chosen,
            left_out,
            leakage,
            hits,
            missing,
        })
    }

    fn view(&self, name: &str, frame: DataFrame) -> Result<(), SelectError> {
        let register = self.context.register_table(name, frame.into_view());
        register.map_err(CatalogError::from)?;
        Ok(())
    }

    /// One of the queries, with its parameters.
    pub(super) async fn query(&self, name: &'static str) -> Result<Query, SelectError> {
        self.query_with(name, Vec::new()).await
    }

    pub(super) async fn query_with(
        &self,
        file: &'static str,
        more: Vec<(String, ScalarValue)>,
    ) -> Result<Query, SelectError> {
        let config = &self.job.config;
        let text = self.queries.all.get(file).map_or("", String::as_str);
        // Strictly above the threshold is from the next number on.
        let [from, to] = config.interval.unwrap_or([config.threshold.next_up(), 1.0]);
        let mut parameters = vec![
            ("threshold".to_owned(), ScalarValue::from(config.threshold)),
            ("from".to_owned(), ScalarValue::from(from)),
            ("to".to_owned(), ScalarValue::from(to)),
            (
                "duplicates".to_owned(),
                ScalarValue::from(self.knows.duplicates),
            ),
            ("leaks".to_owned(), ScalarValue::from(self.knows.leaks)),
        ];
        parameters.extend(more);
        parameters.retain(|(name, _)| text.contains(&format!("${name}")));
        // The context writes parts of a selection: what a user's own query may not do is said here.
        let frame = self.context.sql_with_options(text, catalog::reads()).await;
        let mut frame = frame.map_err(failed(file))?;
        if !parameters.is_empty() {
            frame = frame.with_param_values(parameters).map_err(failed(file))?;
        }
        Ok(Query { file, frame })
    }

    pub(super) fn candidates_file(&self) -> &'static str {
        match self.job.config.interval {
            Some(_) => "candidates_interval.sql",
            None => "candidates.sql",
        }
    }

    pub(super) fn selected_file(input: &Input) -> &'static str {
        match input.targets {
            Some(_) => "selected_filtered.sql",
            None => "selected.sql",
        }
    }

    /// The chosen rows, with their soft labels where these are wanted.
    pub(super) async fn selected(
        &self,
        input: &Input,
        chosen: &ChosenRows,
    ) -> Result<Query, SelectError> {
        let soft = self.job.config.targets == Targets::Soft && input.soft;
        let file = Self::selected_file(input);
        let query = match &chosen.kept {
            Some(kept) => self.query_of(file, kept).await?,
            None => self.query(file).await?,
        };
        query.with_rows(soft)
    }

    /// A query whose candidates are those that were kept.
    async fn query_of(&self, file: &'static str, kept: &Kept) -> Result<Query, SelectError> {
        let failed = failed(file);
        let name = "candidates";
        let all = self.context.table_provider(name).await.map_err(failed)?;
        let rows = self.context.read_table(kept.table().map_err(failed)?);
        let null = |column: &str| {
            let schema = all.schema();
            let null = ScalarValue::try_from(schema.field_with_name(column)?.data_type())?;
            Ok(lit(null).alias(column))
        };
        let columns = [Ok(col("key")), Ok(col("class")), Ok(col("confidence"))];
        let columns = columns.into_iter().chain(["probs", "reason"].map(null));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let rows = rows.and_then(|rows| rows.select(columns)).map_err(failed)?;
        self.context.deregister_table(name).map_err(failed)?;
        self.view(name, rows)?;
        let query = self.query(file).await;
        self.context.deregister_table(name).map_err(failed)?;
        self.context.register_table(name, all).map_err(failed)?;
        query
    }

    /// Deletes what killed runs left beside the selection that is visible now, and gives what of it lies there. What cannot be listed or deleted stays: selection.json names what counts.
    async fn sweep_leftovers(&self, visible: &SelectionFile) -> Vec<(String, u64)> {
        let place = folder(&self.job.id);
        let mut beside = self.workspace.listed(&place).await.unwrap_or_default();
        for (name, _) in &beside {
            if name.ends_with(".parquet") && !visible.is_object(name) {
                let _ = self.workspace.remove(&format!("{place}/{name}")).await;
            }
        }
        beside.retain(|(name, _)| visible.is_object(name));
        beside
    }
}

/// What the passes come to.
pub(super) struct Passes {
    pub(super) chosen: ChosenRows,
    /// Rows that are no candidates, by reason.
    pub(super) left_out: BTreeMap<String, u64>,
    pub(super) leakage: Option<LeakageRecord>,
    pub(super) hits: Vec<NearHit>,
    /// Fills up while the rows are written.
    pub(super) missing: functions::Missing,
}
