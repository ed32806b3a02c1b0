//! The manifest rows that a plan of labelling names: those that a selection's keys mean, or all that no selection has taken.
//!
//! ```text
//! a selection's keys ──┐
//! every generation  ───┼─ sort by key ─▶ which row a key means, and who has it ─▶ sort by place ─▶ merge with the manifest ─▶ rows
//! rows that are taken ─┘
//! ```
//! Keys come in the order of the labels they were chosen from, or in none, and members lie in their container's order: so both meet in a
//! sort by key. It holds six numbers a row beside the key, and spills above 64 MiB. Nothing is held of the keys but the one that is
//! looked at.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{SortExpr, col, lit};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::ManifestError;
use super::marks::{self, sift};
use super::resolve::{KEY, ROW, Resolver, TAKEN};
use super::sort::{context, once};
use super::superseded::superseded;
use crate::catalog::union;

/// How many keys are named of those that have no label to come.
const EXAMPLES: usize = 10;
/// The columns of a plan's rows: a manifest's, the plan whose labels they are in (0 for the manifest's own shards), and the part of it.
pub fn plan_schema() -> SchemaRef {
    let mut fields: Vec<_> = super::schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("plan", DataType::UInt32, false)));
    fields.push(Arc::new(Field::new("part", DataType::UInt32, true)));
    Arc::new(Schema::new(fields))
}

/// Keys of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// How many.
    pub keys: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

impl Keys {
    pub(super) fn add(&mut self, key: &str) {
        self.keys += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(key.to_owned());
        }
    }
}

/// What became of a selection's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Images that the plan labels.
    pub rows: u64,
    /// The parts they are cut into.
    pub parts: u32,
    /// Images that earlier plans label.
    pub before: u64,
    /// Keys that the manifest has never had.
    pub unknown: Keys,
    /// Keys whose image is another than the one that was selected.
    pub changed: Keys,
    /// Keys whose image is not there any more.
    pub gone: Keys,
}

/// What a plan for a selection takes.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// `key`.
    pub(crate) keys: DataFrame,
    /// Rows of earlier selections' plans, as [`plan_schema`] has them.
    pub(crate) taken: Option<DataFrame>,
    /// The generation up to which everything else is taken; 0 for nothing.
    pub(crate) taken_to: u32,
    /// The newest generation that the selection can know of.
    pub(crate) known_to: u32,
    /// The plan's number.
    pub(crate) plan: u32,
    /// The most images a part.
    pub(crate) part_images: u32,
}

/// Finds the rows that a selection's keys mean, those among them that earlier plans label. `history` are the generations, oldest first.
///
/// # Errors
/// [`ManifestError`].
pub(crate) async fn choose(
    history: Vec<DataFrame>,
    wanted: Wanted,
) -> Result<(NamedTempFile, String, Found), ManifestError> {
    let keys = side(wanted.keys, KEY, &[])?;
    let mut others = Vec::new();
    for generation in &history {
        let columns = ["generation", "shard", "row"];
        others.push(side(generation.clone(), ROW, &columns)?);
    }
    if let Some(taken) = wanted.taken {
        others.push(side(taken, TAKEN, &["shard", "row", "plan", "part"])?);
    }
    let all = match union(others)? {
        Some(others) => keys.union(others)?,
        None => keys,
    };
    let by_key = all.sort(vec![col("key").sort(true, false)])?;
    let found = Arc::new(Mutex::new(Found::default()));
    let numbers = (wanted.taken_to, wanted.known_to, wanted.plan);
    let marks = Resolver::new(numbers, Arc::clone(&found)).marks(by_key.execute_stream().await?);
    let by_place = once(&context()?, marks::schema(), marks)?.sort(by_place())?;
    let mut parts = Parts {
        most: wanted.part_images,
        number: 0,
        rows: 0,
        loose: false,
    };
    let (file, hash) = sift(
        history,
        by_place.execute_stream().await?,
        |mark, loose| match mark? {
            mark if mark.plan == wanted.plan => Some((mark.plan, Some(parts.place(loose)))),
            mark => Some((mark.plan, mark.part)),
        },
    )
    .await?;
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    found.parts = parts.number + u32::from(parts.rows > 0);
    Ok((file, hash, found))
}

/// The rows of generations that selections' plans have not taken, less those whose image has a later one, where `void` says that there are such.
/// `taken` are the rows of these plans, as [`plan_schema`] has them.
///
/// # Errors
/// [`ManifestError`].
pub(crate) async fn rest(
    history: Vec<DataFrame>,
    taken: Option<DataFrame>,
    void: bool,
) -> Result<(NamedTempFile, String), ManifestError> {
    // A sort of all keys, which only what changed or went is worth.
    let concerned = if void { &history[..] } else { &[] };
    let mut marks = superseded(concerned).await?;
    if let Some(taken) = taken {
        // It comes first: its context is the one with the workspace's store.
        let taken = taken.select(["shard", "row", "plan", "part"].map(col))?;
        marks = taken.union(marks)?;
    }
    let marks = marks.sort(by_place())?.execute_stream().await?;
    sift(history, marks, |mark, _| match mark {
        None => Some((0, None)),
        Some(_) => None,
    })
    .await
}

/// A table as one of the sides of the sort by key: these columns of it, the others null.
fn side(frame: DataFrame, side: u32, columns: &[&str]) -> Result<DataFrame, DataFusionError> {
    let mut all = vec![col("key"), lit(side).alias("side")];
    for name in ["generation", "shard", "row", "plan", "part"] {
        let value = if columns.contains(&name) {
            col(name)
        } else {
            lit(ScalarValue::UInt32(None))
        };
        all.push(value.alias(name));
    }
    frame.select(all)
}

fn by_place() -> Vec<SortExpr> {
    ["shard", "row"].map(|c| col(c).sort(true, false)).to_vec()
}

/// Cuts rows into parts: as full as may be, and loose objects apart from containers, which are read in another way.
struct Parts {
    most: u32,
    number: u32,
    rows: u32,
    loose: bool,
}

impl Parts {
    /// The part of the next row.
    fn place(&mut self, loose: bool) -> u32 {
        if self.rows > 0 && (self.rows == self.most || self.loose != loose) {
            self.number += 1;
            self.rows = 0;
        }
        self.rows += 1;
        self.loose = loose;
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use arrow::array::{
        Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder, UInt32Array,
    };
    use arrow::compute::cast;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::marks::number;

    /// Keys are numbers, as long as those of a bucket.
    fn name(key: u8) -> String {
        format!("s3://bucket/photos/{key:03}.jpg")
    }

    /// A generation's row: key, and its place where it is there.
    type Row = (u8, Option<(u32, u32)>);

    fn generation(number: u32, rows: &[Row]) -> RecordBatch {
        let n = rows.len();
        let columns: Vec<ArrayRef> = crate::manifest::schema()
            .fields()
            .iter()
            .map(|field| {
                let value = |(key, place): &Row| match field.name().as_str() {
                    "generation" => Some(number),
                    "shard" => place.map(|p| p.0),
                    "row" => place.map(|p| p.1),
                    "size" | "offset" | "object_size" => None,
                    _ => Some(u32::from(*key)),
                };
                if field.data_type() == &DataType::Utf8 {
                    let mut text = StringBuilder::new();
                    for (key, _) in rows {
                        match field.name().as_str() {
                            // A third of the keys are members of containers.
                            "kind" if key % 3 == 0 => text.append_value("tar"),
                            "kind" => text.append_value("object"),
                            _ => text.append_value(name(*key)),
                        }
                    }
                    return Arc::new(text.finish()) as ArrayRef;
                }
                let numbers: UInt32Array = rows.iter().map(value).collect();
                cast(&numbers, field.data_type()).unwrap()
            })
            .collect();
        assert_eq!(columns[0].len(), n);
        RecordBatch::try_new(crate::manifest::schema(), columns).unwrap()
    }

    /// Key, place, plan and part.
    type Planned = (String, (u32, u32), u32, Option<u32>);

    /// The rows of a file of [`plan_schema`].
    fn read(file: &NamedTempFile) -> Vec<Planned> {
        let reader = ParquetRecordBatchReader::try_new(file.reopen().unwrap(), 1024).unwrap();
        let mut rows = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            let keys = batch.column(0).as_string::<i32>();
            let [shard, row, plan, part] =
                ["shard", "row", "plan", "part"].map(|c| number(&batch, c).unwrap());
            rows.extend((0..batch.num_rows()).map(|i| {
                (
                    keys.value(i).to_owned(),
                    (shard.value(i), row.value(i)),
                    plan.value(i),
                    part.is_valid(i).then(|| part.value(i)),
                )
            }));
        }
        rows
    }

    /// Generations in which every key is new, changed, gone or as it was, three rows a shard.
    fn history(states: &[Vec<(u8, bool)>]) -> Vec<Vec<Row>> {
        let mut shard = 0;
        let mut all = Vec::new();
        for states in states {
            let (mut rows, mut at): (Vec<Row>, (u32, u32)) = (Vec::new(), (shard, 0));
            for (key, there) in states.iter().copied().collect::<BTreeMap<_, _>>() {
                rows.push((key, there.then_some(at)));
                if there {
                    shard = at.0 + 1;
                    at = if at.1 == 2 {
                        (at.0 + 1, 0)
                    } else {
                        (at.0, at.1 + 1)
                    };
                }
            }
            all.push(rows);
        }
        all
    }

    proptest! {
        #[test]
        fn a_selections_keys_are_found_as_looking_each_up_would_find_them(
            states in prop::collection::vec(prop::collection::vec((0_u8..40, prop::bool::weighted(0.8)), 0..40), 1..4),
            keys in prop::collection::hash_set(0_u8..45, 0..30),
            taken in prop::collection::hash_set(0_u8..40, 0..15),
            (taken_to, known_to) in (0_u32..3, 1_u32..5),
        ) {
            let history = history(&states);
            let newest: BTreeMap<u8, (u32, Option<(u32, u32)>)> = (1..)
                .zip(&history)
                .flat_map(|(g, rows)| rows.iter().map(move |(key, place)| (*key, (g, *place))))
                .collect();
            let context = context().unwrap();
            let frame = |batch| context.read_batch(batch).unwrap();
            let frames: Vec<DataFrame> = (1..)
                .zip(&history)
                .map(|(g, rows)| frame(generation(g, rows)))
                .collect();
            // In no order, as another system's labels may be.
            let column: StringArray = keys.iter().map(|k| Some(name(*k))).collect();
            let selected = RecordBatch::try_from_iter([("key", Arc::new(column) as ArrayRef)]).unwrap();
            let before: Vec<Row> = newest
                .iter()
                .filter(|(key, (_, place))| taken.contains(key) && place.is_some())
                .map(|(key, (_, place))| (*key, *place))
                .collect();
            let mut planned = generation(0, &before).columns().to_vec();
            planned.push(Arc::new(UInt32Array::from(vec![2; before.len()])));
            planned.push(Arc::new(UInt32Array::from(vec![7; before.len()])));
            let wanted = Wanted {
                keys: frame(selected),
                taken: Some(frame(RecordBatch::try_new(plan_schema(), planned).unwrap())),
                taken_to,
                known_to,
                plan: 3,
                part_images: 4,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (file, _, found) = runtime.block_on(choose(frames.clone(), wanted)).unwrap();

            let mut expected = BTreeMap::new();
            let (mut unknown, mut gone, mut changed, mut own) = (0, 0, 0, 0);
            for key in &keys {
                match newest.get(key) {
                    None => unknown += 1,
                    Some((_, None)) => gone += 1,
                    Some((g, _)) if *g > known_to => changed += 1,
                    Some((g, Some(place))) => {
                        let plan = match taken.contains(key) {
                            true => 2,
                            false if *g <= taken_to => 0,
                            false => 3,
                        };
                        own += u64::from(plan == 3);
                        expected.insert(*place, (name(*key), plan));
                    }
                }
            }
            let rows = read(&file);
            let places: Vec<(u32, u32)> = rows.iter().map(|r| r.1).collect();
            prop_assert!(places.is_sorted());
            let by_place: BTreeMap<_, _> = rows.iter().map(|r| (r.1, (r.0.clone(), r.2))).collect();
            prop_assert_eq!(&by_place, &expected);
            prop_assert_eq!(rows.len(), expected.len());
            prop_assert_eq!(
                (found.rows, found.before + found.rows, found.unknown.keys, found.gone.keys, found.changed.keys),
                (own, expected.len() as u64, unknown, gone, changed)
            );
            // Parts are numbered without a gap, none has too many rows, none mixes loose objects with containers.
            let mut parts: BTreeMap<u32, Vec<bool>> = BTreeMap::new();
            for (key, _, plan, part) in &rows {
                match plan {
                    3 => {
                        let member = key[key.len() - 7..key.len() - 4].parse::<u32>().unwrap() % 3 == 0;
                        parts.entry(part.unwrap()).or_default().push(member);
                    }
                    plan => prop_assert_eq!(*part, (*plan == 2).then_some(7)),
                }
            }
            prop_assert!(parts.keys().copied().eq(0..found.parts));
            for members in parts.values() {
                prop_assert!(members.len() <= 4 && members.iter().collect::<BTreeSet<_>>().len() == 1);
            }

            // What is left for a plan for everything: the newest row of each key that is there, but for those.
            let taken: BTreeSet<(u32, u32)> = before.iter().filter_map(|r| r.1).collect();
            let mut planned = generation(0, &before).columns().to_vec();
            planned.push(Arc::new(UInt32Array::from(vec![2; before.len()])));
            planned.push(Arc::new(UInt32Array::from(vec![7; before.len()])));
            let planned = frame(RecordBatch::try_new(plan_schema(), planned).unwrap());
            for taken in [Some((planned, taken)), None] {
                let (planned, taken) = taken.unzip();
                let (file, _) = runtime.block_on(rest(frames.clone(), planned, true)).unwrap();
                let left: Vec<(u32, u32)> = read(&file).into_iter().map(|r| r.1).collect();
                let all: BTreeSet<_> = newest.values().filter_map(|(_, place)| *place).collect();
                let taken = taken.unwrap_or_default();
                prop_assert_eq!(left, all.difference(&taken).copied().collect::<Vec<_>>());
            }
        }
    }
}
