//! What is left to do: the rows of plans whose objects are not there yet, or the rejects, as an input of [`super::exec::LabelExec`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{JoinType, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::commit::LabelsObject;
use super::plan::{Plan, reach};
use super::{committed, folder};
use crate::catalog::{self, CatalogError};
use crate::error::Error;
use crate::manifest::{Generation, ManifestError};
use crate::select::report::SelectionFile;
use crate::workspace::Workspace;

/// Rows to label.
#[derive(Debug, Default)]
pub struct Work {
    /// They, an object's together; none where nothing is left.
    pub input: Option<Arc<dyn ExecutionPlan>>,
    /// How many they are.
    pub images: u64,
    /// Objects of the same plans that are there already.
    pub shards_before: u64,
    /// Which objects they belong into.
    pub objects: Objects,
}

/// Which objects rows belong into, and which of these are there.
#[derive(Debug, Default)]
pub struct Objects {
    /// Their rows are passed over.
    there: HashSet<LabelsObject>,
    /// Where rejects are labelled again: the number of each shard's last retry, where it has one.
    last_retries: Option<HashMap<u32, u16>>,
}

impl Objects {
    fn not(there: HashSet<LabelsObject>) -> Self {
        Self {
            there,
            last_retries: None,
        }
    }

    fn retries(after: &HashSet<LabelsObject>) -> Self {
        let mut last = HashMap::new();
        for object in after {
            if let LabelsObject::Retry { shard, retry } = object {
                let highest = last.entry(*shard).or_insert(*retry);
                *highest = (*retry).max(*highest);
            }
        }
        Self {
            there: HashSet::new(),
            last_retries: Some(last),
        }
    }

    /// Whether an object is still to be made.
    pub fn is_open(&self, object: LabelsObject) -> bool {
        !self.there.contains(&object)
    }

    /// The objects of planned rows.
    ///
    /// # Errors
    /// [`ManifestError::BadRow`] for what are no planned rows.
    pub fn of(&self, rows: &RecordBatch) -> Result<Vec<LabelsObject>, ManifestError> {
        let column = |column: &'static str| {
            let found = rows.column_by_name(column);
            found
                .and_then(|c: &ArrayRef| c.as_primitive_opt::<UInt32Type>())
                .ok_or(ManifestError::BadRow { column })
        };
        let (shards, plans, parts) = (column("shard")?, column("plan")?, column("part")?);
        Ok((0..rows.num_rows())
            .map(|i| {
                let shard = shards.value(i);
                match &self.last_retries {
                    Some(last) => LabelsObject::Retry {
                        shard,
                        retry: last.get(&shard).map_or(1, |last| last + 1),
                    },
                    None if parts.is_valid(i) => LabelsObject::Part {
                        plan: plans.value(i),
                        part: parts.value(i),
                    },
                    None => LabelsObject::Shard { shard },
                }
            })
            .collect())
    }
}

/// Looks for work of a dataset and a teacher.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// A context with its store.
    pub context: &'a SessionContext,
    /// The dataset.
    pub dataset: &'a str,
    /// NAME@VERSION.
    pub teacher: &'a str,
}

impl Search<'_> {
    /// The rows of those plans that `mine` says, in objects that are not there: of each plan a scan from its first such object on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pending(
        &self,
        generations: &[Generation],
        plans: &[Plan],
        mine: impl Fn(&Plan) -> bool,
    ) -> Result<Work, Error> {
        let there = committed(self.workspace, self.dataset, self.teacher).await?;
        let folder = folder(self.dataset, self.teacher);
        for object in &there {
            // Who was killed right after a commit has not done it.
            self.workspace.sweep(&format!("{folder}/{object}"));
        }
        let everything = plans.iter().any(|p| p.is_for(None) && mine(p));
        let is_mine = |plan: &u32| plans.iter().any(|p| p.number == *plan && mine(p));
        let before = |object: &&LabelsObject| match object {
            LabelsObject::Shard { .. } => everything,
            LabelsObject::Part { plan, .. } => is_mine(plan),
            LabelsObject::Retry { .. } => false,
        };
        let shards_before = there.iter().filter(before).count() as u64;
        let objects = Objects::not(there);
        let (mut inputs, mut images) = (Vec::new(), 0);
        for (i, plan) in plans.iter().enumerate().filter(|(_, p)| mine(p)) {
            for rows in self.rows(generations, &plans[..i], plan, &objects)? {
                let before = images;
                each_open(&objects, rows.clone(), |_| images += 1).await?;
                if images > before {
                    inputs.push(physical(rows).await?);
                }
            }
        }
        let input = match inputs.len() {
            0 => None,
            1 => inputs.pop(),
            _ => Some(UnionExec::try_new(inputs).map_err(CatalogError::from)?),
        };
        Ok(Work {
            input,
            images,
            shards_before,
            objects,
        })
    }

    /// How many objects and images of the plans for everything are still to be made.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(
        &self,
        generations: &[Generation],
        plans: &[Plan],
    ) -> Result<(u64, u64), Error> {
        let objects = Objects::not(committed(self.workspace, self.dataset, self.teacher).await?);
        let (mut open, mut images) = (HashSet::new(), 0);
        for (i, plan) in plans.iter().enumerate().filter(|(_, p)| p.is_for(None)) {
            for rows in self.rows(generations, &plans[..i], plan, &objects)? {
                let see = |object| {
                    images += 1;
                    open.insert(object);
                };
                each_open(&objects, rows, see).await?;
            }
        }
        Ok((open.len() as u64, images))
    }

    /// The rows that a plan takes, a frame a file, each from its first object on that is not there; none of files that are done.
    fn rows(
        &self,
        generations: &[Generation],
        earlier: &[Plan],
        plan: &Plan,
        objects: &Objects,
    ) -> Result<Vec<DataFrame>, CatalogError> {
        let (workspace, context) = (self.workspace, self.context);
        let of_file = |file: &String| {
            catalog::plan_rows(workspace, context, (self.dataset, self.teacher), file)
        };
        if let (Some(chosen), Some(file)) = (&plan.chosen, &plan.file) {
            let number = plan.number;
            let part = |part: u32| LabelsObject::Part { plan: number, part };
            let Some(first) = (0..chosen.found.parts).find(|p| objects.is_open(part(*p))) else {
                return Ok(Vec::new());
            };
            let own = col("plan")
                .eq(lit(number))
                .and(col("part").gt_eq(lit(first)));
            return Ok(vec![of_file(file)?.filter(own)?]);
        }
        let reach = reach(earlier);
        let mut frames = Vec::new();
        for g in generations {
            if g.generation <= reach || g.generation > plan.generation {
                continue;
            }
            let mut shards = g.first_shard..g.first_shard + g.shards;
            let end = shards.end;
            let shard = |shard: u32| LabelsObject::Shard { shard };
            let Some(first) = shards.find(|s| objects.is_open(shard(*s))) else {
                continue;
            };
            let rows = match &plan.file {
                Some(file) => of_file(file)?,
                None => catalog::whole_generation(workspace, context, self.dataset, g)?,
            };
            let open = col("shard")
                .gt_eq(lit(first))
                .and(col("shard").lt(lit(end)));
            frames.push(rows.filter(open)?);
        }
        Ok(frames)
    }

    /// How many of a selection's images, as its last plan has them, are not done yet in another's plan; by that plan's number, 0 for everything.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn elsewhere(
        &self,
        selection: &str,
        plans: &[Plan],
    ) -> Result<BTreeMap<u32, u64>, Error> {
        let of_it = |p: &&Plan| p.is_for(Some(selection));
        let own: HashSet<u32> = plans.iter().filter(of_it).map(|p| p.number).collect();
        let last = plans.iter().rfind(of_it);
        let mut open = BTreeMap::new();
        let Some(Plan {
            file: Some(file), ..
        }) = last
        else {
            return Ok(open);
        };
        let there = committed(self.workspace, self.dataset, self.teacher).await?;
        let at = (self.dataset, self.teacher);
        let rows = catalog::plan_rows(self.workspace, self.context, at, file)?;
        each_open(&Objects::not(there), rows, |object| {
            let plan = match object {
                LabelsObject::Part { plan, .. } => plan,
                _ => 0,
            };
            if !own.contains(&plan) {
                *open.entry(plan).or_insert(0) += 1;
            }
        })
        .await?;
        Ok(open)
    }

    /// The manifest rows of the rejects, by shard and row, each shard with the number of its next retry; of a selection's images alone where
    /// one is given.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rejects(&self, selection: Option<&SelectionFile>) -> Result<Work, Error> {
        let (workspace, context) = (self.workspace, self.context);
        let committed = committed(workspace, self.dataset, self.teacher).await?;
        catalog::register(workspace, context).await?;
        let engine = CatalogError::from;
        let this = col("dataset").eq(lit(self.dataset));
        let mut rejects = context
            .table("rejects")
            .await
            .map_err(engine)?
            .filter(
                this.clone()
                    .and(col("teacher").eq(lit(self.teacher)))
                    // What the listing found wrong stays so until another listing.
                    .and(col("stage").not_eq(lit("list"))),
            )
            .and_then(|frame| {
                frame.select(vec![
                    col("key").alias("rejected_key"),
                    col("shard").alias("rejected_shard"),
                ])
            })
            .map_err(engine)?;
        if let Some(selection) = selection {
            let keys = catalog::selection_keys(workspace, context, selection)?;
            // As below: the left side is held in memory, and the rejects are few.
            rejects = rejects
                .join(keys, JoinType::LeftSemi, &["rejected_key"], &["key"], None)
                .map_err(engine)?;
        }
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
            .map_err(engine)?;
        let rows = catalog::as_planned(rows)?
            .sort(vec![
                col("shard").sort(true, false),
                col("row").sort(true, false),
            ])
            .map_err(engine)?;
        let images = rows.clone().count().await.map_err(engine)? as u64;
        Ok(Work {
            input: if images == 0 {
                None
            } else {
                Some(physical(rows).await?)
            },
            images,
            shards_before: committed.iter().filter(|o| o.retry() == 0).count() as u64,
            objects: Objects::retries(&committed),
        })
    }
}

/// Tells the object of each row whose object is still to be made; no other columns are read than say so.
async fn each_open(
    objects: &Objects,
    rows: DataFrame,
    mut see: impl FnMut(LabelsObject),
) -> Result<(), Error> {
    let engine = CatalogError::from;
    let rows = rows.select(["shard", "plan", "part"].map(col));
    let mut rows = rows
        .map_err(engine)?
        .execute_stream()
        .await
        .map_err(engine)?;
    while let Some(batch) = rows.try_next().await.map_err(engine)? {
        let all = objects.of(&batch)?.into_iter();
        all.filter(|o| objects.is_open(*o)).for_each(&mut see);
    }
    Ok(())
}

async fn physical(rows: DataFrame) -> Result<Arc<dyn ExecutionPlan>, Error> {
    Ok(rows
        .create_physical_plan()
        .await
        .map_err(CatalogError::from)?)
}
