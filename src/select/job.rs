//! A whole selection: the passes in their order, the parts, and the put that makes them visible.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};

use super::columns::{Texts, classes, confidences};
use super::functions::{self, Chosen};
use super::hash::NotFound;
use super::histogram::Bins;
use super::input::{Input, Labels};
use super::order::Order;
use super::queries::Queries;
use super::report::{ClassRecord, SelectionFile, Totals, Unlabelled, folder};
use super::sweep::{Query, failed, sweep};
use super::tally::Tally;
use super::topk::{Balance, Choice, Rules};
use super::write::{self, Part, Target};
use super::{Method, SelectConfig, SelectError, Targets, listed, reasons};
use crate::catalog::{self, CatalogError};
use crate::store::{Created, StorageOptions, StoreError};
use crate::teacher::config::hex;
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// Partitions of every query, whatever the number of threads: how rows fall into parts is then the same everywhere.
const PARTITIONS: usize = 8;
/// How many unlabelled keys are named.
const EXAMPLES: usize = 10;

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
}

impl SelectJob {
    /// Makes the selection; `false` where it was there already, made of the same.
    ///
    /// # Errors
    /// [`SelectError`]; nothing is visible then.
    pub async fn run(&self, workspace: &Workspace) -> Result<(SelectionFile, bool), SelectError> {
        self.config.validate()?;
        crate::workspace::check_name("selection", &self.id)?;
        let queries = Queries::read(self.queries.as_deref())?;
        let context = catalog::selection_context(workspace, PARTITIONS)?;
        let mut input = self.labels.open(workspace, &self.storage, &context).await?;
        let (lazily, sort_joins) = (
            input.soft && self.config.targets == Targets::Soft,
            input.targets.is_some(),
        );
        catalog::read_lazily(&context, lazily, sort_joins);
        let mut hash = Sha256::new();
        hash.update(&input.record.sha256);
        queries.all.values().for_each(|text| hash.update(text));
        input.record.sha256 = hex(&hash.finalize());
        if let Some(there) = self.there(workspace, &input).await? {
            return Ok((there, false));
        }
        let run = Run {
            job: self,
            workspace,
            context,
            lazily,
            sort_joins,
            queries,
            knows: Knows {
                duplicates: !self.config.keep_duplicates && input.fingerprints,
                leaks: !self.config.exclude.is_empty(),
            },
        };
        let file = run.select(input).await?;
        let place = format!("{}/selection.json", folder(&self.id));
        let created = workspace.create(&place, to_json(&file)).await?;
        let visible = match created {
            Created::New | Created::Same => file,
            Created::Other => workspace.read_json(&place).await?,
        };
        run.sweep_leftovers(&visible).await?;
        if created == Created::Other {
            return Err(taken(
                &self.id,
                "input, by another process at the same time",
            ));
        }
        Ok((visible, true))
    }

    /// The selection of this name, where there is one of the same inputs.
    async fn there(
        &self,
        workspace: &Workspace,
        input: &Input,
    ) -> Result<Option<SelectionFile>, SelectError> {
        let place = format!("{}/selection.json", folder(&self.id));
        let there: SelectionFile = match workspace.read_json(&place).await {
            Ok(there) => there,
            Err(WorkspaceError::Store(StoreError::NotFound { .. })) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let (old, new) = (&there.input, &input.record);
        let same_source = (&old.dataset, &old.teacher, &old.filter_teacher, &old.labels)
            == (&new.dataset, &new.teacher, &new.filter_teacher, &new.labels);
        if there.config != self.config {
            return Err(taken(&self.id, "configuration"));
        }
        if !same_source {
            return Err(taken(&self.id, "dataset or teacher"));
        }
        if old.sha256 != new.sha256 {
            return Err(taken(&self.id, "state of the labels: there are new ones"));
        }
        Ok(Some(there))
    }
}

fn taken(id: &str, what: &str) -> SelectError {
    SelectError::Taken {
        id: id.to_owned(),
        what: what.to_owned(),
    }
}

/// A selection that is being made.
pub(super) struct Run<'a> {
    pub(super) job: &'a SelectJob,
    pub(super) workspace: &'a Workspace,
    pub(super) context: SessionContext,
    /// As [`catalog::read_lazily`] has them for the rows that are written.
    lazily: bool,
    sort_joins: bool,
    queries: Queries,
    pub(super) knows: Knows,
}

/// Which of the fingerprint functions are asked at all: what is not leaves its columns unread.
#[derive(Clone, Copy)]
pub(super) struct Knows {
    pub(super) duplicates: bool,
    leaks: bool,
}

impl Run<'_> {
    async fn select(&self, input: Input) -> Result<SelectionFile, SelectError> {
        let config = &self.job.config;
        self.view("input", input.rows.clone())?;
        self.context.register_udf(reasons::udf());
        let (leakage, hits) = self.fingerprints().await?;
        let candidates = match config.interval {
            Some(_) => self.query("candidates_interval.sql").await?,
            None => self.query("candidates.sql").await?,
        };
        self.view("candidates", candidates.frame)?;
        let (chosen, mut left_out) = match config.method {
            Method::Exact => self.exact().await?,
            Method::Histogram => self.histogram().await?,
        };
        let available: u64 = chosen.classes.iter().map(|c| c.available).sum();
        let labels = available + left_out.values().sum::<u64>();
        if available == 0 {
            return Err(SelectError::Empty {
                rows: labels,
                left_out: listed(&left_out),
            });
        }
        let chosen_rows = Arc::new(chosen.rows);
        for function in functions::of_chosen(&chosen_rows) {
            self.context.register_udf(function);
        }
        let (parts, unlabelled) = self.write(&input).await?;
        let rows: u64 = parts.iter().map(|p| p.record.rows).sum();
        let unlabelled_keys = unlabelled.as_ref().map_or(0, |u| u.keys);
        if let Some(expected) = chosen.expected
            && rows + unlabelled_keys != expected
        {
            return Err(SelectError::NotDistinct {
                chosen: rows + unlabelled_keys,
                expected,
            });
        }
        let best: u64 = chosen.best.unwrap_or(rows);
        left_out.insert("beyond-k".into(), available - best);
        left_out.insert("sampled-out".into(), best - rows - unlabelled_keys);
        left_out.retain(|_, rows| *rows > 0);
        if self.job.explain {
            let query = self.query("left_out.sql").await?;
            write::parts(query, &self.target("left_out")).await?;
        }
        self.write_hits(hits).await?;
        let by_class = write::by_class(&parts);
        let label = |class: i64| {
            let name = usize::try_from(class).ok().and_then(|c| input.names.get(c));
            name.cloned()
        };
        let empty_classes = (0..)
            .zip(&input.names)
            .filter(|(class, _)| !chosen.classes.iter().any(|c| c.class == *class))
            .map(|(_, name)| name.clone())
            .collect();
        Ok(SelectionFile {
            id: self.job.id.clone(),
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
            config: config.clone(),
            input: input.record,
            totals: Totals {
                labels,
                candidates: available,
                rows,
                copies: parts.iter().map(|p| p.record.copies).sum(),
            },
            left_out,
            classes: chosen
                .classes
                .into_iter()
                .map(|c| {
                    let (kept, copies) = by_class.get(&c.class).copied().unwrap_or_default();
                    ClassRecord {
                        label: label(c.class),
                        kept,
                        copies,
                        ..c
                    }
                })
                .collect(),
            empty_classes,
            leakage,
            unlabelled,
            parts: parts.into_iter().map(|p| p.record).collect(),
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
        let [from, to] = config.interval.unwrap_or([config.threshold, 1.0]);
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
        let mut frame = self.context.sql(text).await.map_err(failed(file))?;
        if !parameters.is_empty() {
            frame = frame.with_param_values(parameters).map_err(failed(file))?;
        }
        Ok(Query { file, frame })
    }

    /// The two passes of the exact method, or the sample of an interval.
    async fn exact(&self) -> Result<(ChosenRows, BTreeMap<String, u64>), SelectError> {
        let config = &self.job.config;
        let rules = match config.per_interval {
            // An interval is one sample over all classes, without copies: all candidates are its best.
            Some(_) => Rules {
                per_class: u64::from(u32::MAX),
                balance: Balance::None,
                seed: config.seed,
                fraction: 1.0,
            },
            None => Rules {
                per_class: config.per_class,
                balance: config.balance,
                seed: config.seed,
                fraction: config.fraction,
            },
        };
        let (choice, left_out) = self.tally(rules).await?;
        let choice = if choice.needs_keys() {
            self.order(choice).await?
        } else {
            choice
        };
        let classes = choice.classes.iter().map(|c| ClassRecord {
            class: c.class,
            label: None,
            available: c.available,
            kept: 0,
            copies: 0,
            cut_off: c.cut_off(),
        });
        let chosen = ChosenRows {
            classes: classes.collect(),
            expected: Some(choice.expected()),
            best: Some(choice.best()),
            rows: Chosen::Exact(Box::new(choice)),
        };
        Ok((chosen, left_out))
    }

    /// The first pass.
    async fn tally(&self, rules: Rules) -> Result<(Choice, BTreeMap<String, u64>), SelectError> {
        let step = |tally: &mut Tally, batch: &RecordBatch| {
            let (classes, confidences) = (classes(batch.column(0))?, confidences(batch.column(1))?);
            let reasons = Texts::of(batch.column(2))?;
            for i in 0..batch.num_rows() {
                match reasons.get(i) {
                    None => tally.push(classes.value(i), confidences.value(i)),
                    Some(reason) => tally.leave_out(reason),
                }
            }
            Ok(())
        };
        let query = self.query("tally.sql").await?;
        let tallies = sweep(query, move || Tally::new(&rules), step).await?;
        let mut all = Tally::new(&rules);
        tallies.into_iter().for_each(|t| all.merge(t));
        let left_out = all.take_left_out();
        Ok((all.finish(&rules, self.job.config.per_interval), left_out))
    }

    /// The second pass.
    async fn order(&self, choice: Choice) -> Result<Choice, SelectError> {
        let step = |order: &mut Order, batch: &RecordBatch| {
            let keys = Texts::of(batch.column(0))?;
            let (classes, confidences) = (classes(batch.column(1))?, confidences(batch.column(2))?);
            for i in 0..batch.num_rows() {
                let no_key = || DataFusionError::Execution("a label has no key".into());
                let key = keys.get(i).ok_or_else(no_key)?;
                order.push(classes.value(i), confidences.value(i), key);
            }
            Ok(())
        };
        let expected = choice.expected();
        let choice = Arc::new(choice);
        let make = {
            let choice = Arc::clone(&choice);
            move || Order::new(&choice)
        };
        self.context
            .register_udf(functions::is_decided_by_key(&choice));
        // The keys that decide are few: the others are not read.
        catalog::read_lazily(&self.context, true, false);
        let query = self.query("order.sql").await?;
        let over = failed(query.file);
        let orders = sweep(query, make, step).await?;
        let mut all = Order::new(&choice);
        orders.into_iter().for_each(|o| all.merge(o));
        catalog::read_lazily(&self.context, self.lazily, self.sort_joins);
        let found = all.finish().map_err(|NotFound| SelectError::NotDistinct {
            chosen: 0,
            expected,
        })?;
        // The workers are done, and with them their shares of it; the function is forgotten.
        self.context.deregister_udf("is_decided_by_key");
        let mut choice = Arc::into_inner(choice)
            .ok_or_else(|| over(DataFusionError::Internal("a worker is still there".into())))?;
        choice.complete(found);
        Ok(choice)
    }

    /// The pass of the published code's method.
    async fn histogram(&self) -> Result<(ChosenRows, BTreeMap<String, u64>), SelectError> {
        let step = |(bins, left_out): &mut (Bins, BTreeMap<String, u64>), batch: &RecordBatch| {
            let (classes, confidences) = (classes(batch.column(0))?, confidences(batch.column(1))?);
            let reasons = Texts::of(batch.column(2))?;
            for i in 0..batch.num_rows() {
                match reasons.get(i) {
                    None => bins.push(classes.value(i), confidences.value(i)),
                    Some(reason) => *left_out.entry(reason.to_owned()).or_insert(0) += 1,
                }
            }
            Ok(())
        };
        let query = self.query("tally.sql").await?;
        let workers = sweep(query, Default::default, step).await?;
        let (mut bins, mut left_out) = (Bins::default(), BTreeMap::new());
        for (theirs, reasons) in workers {
            bins.merge(theirs);
            for (reason, rows) in reasons {
                *left_out.entry(reason).or_insert(0) += rows;
            }
        }
        let histogram = bins.finish(self.job.config.per_class, self.job.config.seed);
        let mut classes: Vec<ClassRecord> = histogram
            .classes
            .iter()
            .map(|(class, c)| ClassRecord {
                class: *class,
                label: None,
                available: c.available,
                kept: 0,
                copies: 0,
                cut_off: c.cut as f32 / 100.0,
            })
            .collect();
        classes.sort_by_key(|c| c.class);
        Ok((
            ChosenRows {
                rows: Chosen::Histogram(histogram),
                classes,
                expected: None,
                best: None,
            },
            left_out,
        ))
    }

    pub(super) fn target(&self, name: &'static str) -> Target {
        Target {
            workspace: self.workspace.clone(),
            id: self.job.id.clone(),
            name,
        }
    }

    /// Writes the chosen rows.
    async fn write(&self, input: &Input) -> Result<(Vec<Part>, Option<Unlabelled>), SelectError> {
        let soft = self.job.config.targets == Targets::Soft && input.soft;
        let Some(targets) = &input.targets else {
            let query = self.query("selected.sql").await?;
            let parts = write::parts(query.with_targets(soft)?, &self.target("part")).await?;
            return Ok((parts, None));
        };
        self.view("targets", targets.clone())?;
        let missing = functions::Missing::default();
        self.context.register_udf(functions::is_labelled(&missing));
        let query = self.query("selected_filtered.sql").await?;
        let parts = write::parts(query.with_targets(soft)?, &self.target("part")).await?;
        let (keys, examples) = missing.found(EXAMPLES);
        Ok((parts, Some(Unlabelled { keys, examples })))
    }

    /// Deletes what a killed run left beside the selection that is visible now.
    async fn sweep_leftovers(&self, visible: &SelectionFile) -> Result<(), SelectError> {
        let place = folder(&self.job.id);
        for name in self.workspace.names(&place).await? {
            let known = visible.parts.iter().any(|p| p.file == name);
            if name.starts_with("part-") && !known {
                let path = self.workspace.path(&format!("{place}/{name}"));
                // What cannot be deleted stays: selection.json names what counts.
                let _ = self.workspace.at.store.delete(&path).await;
            }
        }
        Ok(())
    }
}

/// What is chosen, and what is known of it before the rows are written.
struct ChosenRows {
    rows: Chosen,
    classes: Vec<ClassRecord>,
    /// How many rows there have to be, where the method is exact.
    expected: Option<u64>,
    /// How many candidates are among the best K, before a sample of these.
    best: Option<u64>,
}
