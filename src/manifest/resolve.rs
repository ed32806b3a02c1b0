//! A selection's keys, the manifest's and those that are taken, sorted → which row each selected key means, and whose it is.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt32Type};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::marks::{self, Mark};
use super::sort::Batches;
use super::subset::Found;

/// What a row of the sort by key is: a selection's key, a manifest row, or a row that a plan has taken.
pub(super) const KEY: u32 = 0;
pub(super) const ROW: u32 = 1;
pub(super) const TAKEN: u32 = 2;

/// Rows sorted by key → a mark for each key that means an image.
pub(super) struct Resolver {
    taken_to: u32,
    known_to: u32,
    plan: u32,
    found: Arc<Mutex<Found>>,
    /// The key that is looked at, and what was seen of it.
    key: String,
    wanted: bool,
    newest: Option<Newest>,
    taken: Vec<Mark>,
    marks: Vec<Mark>,
}

/// The newest row of a key, and its place where it is not gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Newest {
    generation: u32,
    place: Option<(u32, u32)>,
}

impl Resolver {
    /// As [`super::subset::Wanted`] has the numbers; `found` is added up on the way.
    pub(super) fn new(
        (taken_to, known_to, plan): (u32, u32, u32),
        found: Arc<Mutex<Found>>,
    ) -> Self {
        Self {
            taken_to,
            known_to,
            plan,
            found,
            key: String::new(),
            wanted: false,
            newest: None,
            taken: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// The marks, sorted by key: key, [`KEY`] and so on, generation, shard, row, plan, part come in.
    pub(super) fn marks(self, rows: SendableRecordBatchStream) -> Batches {
        stream::try_unfold((rows, Some(self)), |(mut rows, resolver)| async move {
            let Some(mut resolver) = resolver else {
                return Ok(None);
            };
            let next = rows.try_next().await?;
            let more = next.is_some();
            match next {
                Some(batch) => resolver.see(&batch)?,
                None => resolver.decide(),
            }
            let marks = marks::columns(&std::mem::take(&mut resolver.marks))?;
            Ok(Some((marks, (rows, more.then_some(resolver)))))
        })
        .boxed()
    }

    fn see(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        let keys = cast(batch.column(0), &DataType::Utf8)?;
        let keys = keys.as_string::<i32>();
        let [sides, generations, shards, rows, plans, parts] =
            std::array::from_fn(|i| batch.column(i + 1).as_primitive::<UInt32Type>());
        for i in 0..batch.num_rows() {
            if keys.value(i) != self.key {
                self.decide();
                self.key.clear();
                self.key.push_str(keys.value(i));
            }
            let place = shards.is_valid(i).then(|| (shards.value(i), rows.value(i)));
            match sides.value(i) {
                KEY => self.wanted = true,
                ROW => {
                    let generation = generations.value(i);
                    self.newest = self.newest.max(Some(Newest { generation, place }));
                }
                _ => self.taken.extend(place.map(|(shard, row)| Mark {
                    shard,
                    row,
                    plan: plans.value(i),
                    part: parts.is_valid(i).then(|| parts.value(i)),
                })),
            }
        }
        Ok(())
    }

    /// All of a key was seen.
    fn decide(&mut self) {
        let (wanted, newest) = (std::mem::take(&mut self.wanted), self.newest.take());
        let mut taken = std::mem::take(&mut self.taken).into_iter();
        if !wanted {
            return;
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Newest { generation, place }) = newest else {
            return found.unknown.add(&self.key);
        };
        let Some((shard, row)) = place else {
            return found.gone.add(&self.key);
        };
        if generation > self.known_to {
            return found.changed.add(&self.key);
        }
        let earlier = taken
            .find(|t| (t.shard, t.row) == (shard, row))
            .or_else(|| {
                (generation <= self.taken_to).then_some(Mark {
                    shard,
                    row,
                    plan: 0,
                    part: None,
                })
            });
        match earlier {
            Some(_) => found.before += 1,
            None => found.rows += 1,
        }
        self.marks.push(earlier.unwrap_or(Mark {
            shard,
            row,
            plan: self.plan,
            part: None,
        }));
    }
}
