//! The passes over all candidates that find out what is chosen: two of the exact method, one of the published code's.

use std::collections::BTreeMap;
use std::ops::Not as _;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::buffer::BooleanBuffer;
use datafusion::common::ScalarValue;

use super::SelectError;
use super::columns::{Texts, by_text, classes, confidences};
use super::functions::{self, Chosen};
use super::hash::NotFound;
use super::histogram::Bins;
use super::job::Run;
use super::kept::{self, Keeping, Kept};
use super::order::Order;
use super::report::ClassRecord;
use super::sweep::{Query, Sums, failed, partitions, sweep, unshared};
use super::tally::Tally;
use super::topk::{Balance, Choice, Rules};
use crate::catalog;

/// One key in so many that decides makes it worth reading them all: leaving single ones out costs more than they do.
const MANY: u64 = 20;

/// What is chosen, and what is known of it before the rows are written.
pub(super) struct ChosenRows {
    pub(super) rows: Arc<Chosen>,
    pub(super) classes: Vec<ClassRecord>,
    /// How many rows there have to be, where the method is exact.
    pub(super) expected: Option<u64>,
    /// How many candidates are among the best K, before a sample of these.
    pub(super) best: Option<u64>,
    /// Those that may be chosen, where the second pass has kept them.
    pub(super) kept: Option<Kept>,
}

/// The rows that have a reason to be left out, and those that have none.
fn told_apart(reasons: &ArrayRef) -> (BooleanBuffer, BooleanBuffer) {
    let left_out = match reasons.logical_nulls() {
        Some(nulls) => nulls.into_inner(),
        None => BooleanBuffer::new_set(reasons.len()),
    };
    let candidates = left_out.not();
    (left_out, candidates)
}

impl Run<'_> {
    /// The two passes of the exact method, or the sample of an interval.
    pub(super) async fn exact(&self) -> Result<(ChosenRows, BTreeMap<String, u64>), SelectError> {
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
        let (choice, kept) = if choice.needs_keys() {
            self.order(choice).await?
        } else {
            (choice, None)
        };
        let classes = choice.classes.iter().map(|c| ClassRecord {
            class: c.class,
            label: None,
            available: c.available,
            kept: 0,
            copies: 0,
            cut_off: Some(c.cut_off()),
        });
        let chosen = ChosenRows {
            classes: classes.collect(),
            expected: Some(choice.expected()),
            best: Some(choice.best()),
            rows: Arc::new(Chosen::Exact(Arc::new(choice))),
            kept,
        };
        Ok((chosen, left_out))
    }

    /// The first pass.
    async fn tally(&self, rules: Rules) -> Result<(Choice, BTreeMap<String, u64>), SelectError> {
        let step = |tally: &mut Tally, batch: &RecordBatch| {
            let (classes, confidences) = (classes(batch.column(0))?, confidences(batch.column(1))?);
            let (left_out, candidates) = told_apart(batch.column(2));
            tally.push(classes.values(), confidences.values(), &candidates);
            by_text(batch.column(2), &left_out, |reason, rows| {
                tally.leave_out(reason, rows);
            })
        };
        let query = self.tally_query().await?;
        let tallies = sweep(query, move || Tally::new(&rules), step).await?;
        let sample = self.job.config.per_interval;
        Ok(Tally::finish(tallies, &rules, sample))
    }

    async fn tally_query(&self) -> Result<Query, SelectError> {
        let columns = ["class", "confidence", "reason"];
        self.query("tally.sql").await?.with_columns(&columns)
    }

    /// The second pass.
    async fn order(&self, choice: Choice) -> Result<(Choice, Option<Kept>), SelectError> {
        let step = |order: &mut Order, batch: &RecordBatch| {
            let keys = Texts::of(batch.column(0))?;
            let (classes, confidences) = (classes(batch.column(1))?, confidences(batch.column(2))?);
            if keys.null_count() > 0 {
                return Err(functions::no_key());
            }
            let key = |row| keys.get(row).unwrap_or_default();
            order.push(classes.values(), confidences.values(), key);
            Ok(())
        };
        let expected = choice.expected();
        let choice = Arc::new(choice);
        let asked = functions::of_second_pass(&choice);
        for function in &asked {
            self.context.register_udf(function.clone());
        }
        let keeps = self.keeps_rows();
        let read = if keeps {
            choice.best()
        } else {
            choice.decided()
        };
        let query = self.order_query(read * MANY < choice.candidates()).await?;
        let file = query.file;
        let over = failed(file);
        let schema = kept::schema(query.frame.schema().as_arrow());
        let orders = {
            let choice = Arc::clone(&choice);
            Arc::new(Sums::new(move || Order::new(&choice)))
        };
        let (written, shared) = (Arc::clone(&schema), Arc::clone(&orders));
        let kept = partitions(query, move |mut rows| {
            let (schema, orders) = (Arc::clone(&written), Arc::clone(&shared));
            async move {
                let keeping = keeps.then(|| Keeping::new(&schema)).transpose();
                let mut keeping = keeping.map_err(over)?;
                while let Some(batch) = rows.next().await? {
                    orders.add(|order| step(order, &batch)).map_err(over)?;
                    if let Some(keeping) = &mut keeping {
                        keeping.push(&batch).map_err(over)?;
                    }
                }
                let kept = keeping.map(Keeping::finish);
                kept.transpose().map_err(over)
            }
        });
        let kept = kept.await?;
        let mut all = Order::new(&choice);
        let orders = unshared(orders, file)?.parts();
        orders.into_iter().for_each(|o| all.merge(o));
        let found = all.finish().map_err(|NotFound| SelectError::NotDistinct {
            chosen: 0,
            expected,
        })?;
        // The workers are done, and with them their shares of it; the functions are forgotten.
        for function in &asked {
            self.context.deregister_udf(function.name());
        }
        let mut choice = unshared(choice, file)?;
        choice.complete(found);
        let kept = keeps.then(|| Kept::new(schema, kept.into_iter().flatten().collect()));
        Ok((choice, kept))
    }

    /// Whether the second pass keeps the rows that may be chosen. A user's own queries may ask more of the third one than these have.
    fn keeps_rows(&self) -> bool {
        !self.lazily && self.job.queries.is_none()
    }

    /// The query of the second pass. Where the keys that are wanted are few the others are not read.
    pub(super) async fn order_query(&self, few: bool) -> Result<Query, SelectError> {
        let kept = ScalarValue::from(self.keeps_rows());
        catalog::read_lazily(&self.context, few);
        let query = self.query_with("order.sql", vec![("kept".to_owned(), kept)]);
        let query = query.await;
        catalog::read_lazily(&self.context, self.lazily);
        query?.with_columns(&["key", "class", "confidence"])
    }

    /// The pass of the published code's method.
    pub(super) async fn histogram(
        &self,
    ) -> Result<(ChosenRows, BTreeMap<String, u64>), SelectError> {
        let step = |(bins, left_out): &mut (Bins, BTreeMap<String, u64>), batch: &RecordBatch| {
            let (classes, confidences) = (classes(batch.column(0))?, confidences(batch.column(1))?);
            let (without, candidates) = told_apart(batch.column(2));
            for i in candidates.set_indices() {
                bins.push(classes.value(i), confidences.value(i));
            }
            by_text(batch.column(2), &without, |reason, rows| {
                *left_out.entry(reason.to_owned()).or_insert(0) += rows;
            })
        };
        let query = self.tally_query().await?;
        let workers = sweep(query, Default::default, step).await?;
        let (mut bins, mut left_out) = (Bins::default(), BTreeMap::new());
        for (theirs, reasons) in workers {
            bins.merge(theirs);
            for (reason, rows) in reasons {
                *left_out.entry(reason).or_insert(0) += rows;
            }
        }
        let config = &self.job.config;
        let histogram = bins.finish(config.per_class, config.balance, config.seed);
        let mut classes: Vec<ClassRecord> = histogram
            .classes
            .iter()
            .map(|(class, c)| ClassRecord {
                class: *class,
                label: None,
                available: c.available,
                kept: 0,
                copies: 0,
                cut_off: None,
            })
            .collect();
        classes.sort_by_key(|c| c.class);
        Ok((
            ChosenRows {
                rows: Arc::new(Chosen::Histogram(histogram)),
                classes,
                expected: None,
                best: None,
                kept: None,
            },
            left_out,
        ))
    }
}
