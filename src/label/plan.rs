//! Who labels which rows: the numbered plans of a dataset and a teacher.
//!
//! ```text
//! manifests/dataset=D/teacher=NAME@V/plan-000001.json               everything up to a generation, or a selection's images
//! manifests/dataset=D/teacher=NAME@V/plan-000002-….parquet          its rows, where they are not just a generation's
//! ```
//! A plan takes the rows that it names and no earlier plan has taken, so a row is in one plan, and its label in one object. The next number is
//! created, never written over: of two runs that plan at the same time one is second, looks again, and takes what is left.

use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::commit::LabelsObject;
use crate::catalog::{self, CatalogError};
use crate::error::Error;
use crate::manifest::{self, Found, Generation, Wanted};
use crate::select::report::SelectionFile;
use crate::store::Created;
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// `plan-000001.json`, whose put makes the plan visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// From 1 on.
    pub number: u32,
    /// The newest generation of the manifest that it knows.
    pub generation: u32,
    /// The object beside this one that has its rows; none for all rows of the generations after the last plan for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The selection whose images it takes; none for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
}

/// What a plan takes of a selection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The selection.
    pub selection: String,
    /// What became of its keys.
    #[serde(flatten)]
    pub found: Found,
}

impl Plan {
    /// Whether it is for this selection; `None` for everything.
    pub fn is_for(&self, selection: Option<&str>) -> bool {
        self.chosen.as_ref().map(|c| c.selection.as_str()) == selection
    }

    /// Images that it takes of a selection.
    fn rows(&self) -> u64 {
        self.chosen.as_ref().map_or(0, |c| c.found.rows)
    }
}

/// Where the plans of a dataset and a teacher lie in the workspace.
pub fn folder(dataset: &str, teacher: &str) -> String {
    format!("{}/teacher={teacher}", manifest::folder(dataset))
}

fn place(dataset: &str, teacher: &str, number: u32) -> String {
    format!("{}/plan-{number:06}.json", folder(dataset, teacher))
}

/// The generation up to which plans for everything reach; 0 where there are none.
pub fn reach(plans: &[Plan]) -> u32 {
    let everything = plans.iter().filter(|p| p.is_for(None));
    everything.map(|p| p.generation).max().unwrap_or(0)
}

fn next(plans: &[Plan]) -> u32 {
    plans.last().map_or(1, |p| p.number + 1)
}

/// The plans, in their order.
///
/// # Errors
/// The store's.
pub async fn plans(
    workspace: &Workspace,
    dataset: &str,
    teacher: &str,
) -> Result<Vec<Plan>, WorkspaceError> {
    let names = workspace.names(&folder(dataset, teacher)).await?;
    let numbers = names.iter().filter_map(|name| {
        let number = name.strip_prefix("plan-")?.strip_suffix(".json")?;
        number.parse().ok()
    });
    let places = numbers.map(|number| place(dataset, teacher, number));
    let mut plans: Vec<Plan> = workspace.read_all_json(places.collect()).await?;
    plans.sort_by_key(|p| p.number);
    Ok(plans)
}

/// Plans for a dataset and a teacher.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'a> {
    /// Where they lie.
    pub workspace: &'a Workspace,
    /// The dataset.
    pub dataset: &'a str,
    /// NAME@VERSION.
    pub teacher: &'a str,
    /// The manifest, oldest first; not empty.
    pub generations: &'a [Generation],
    /// The most images a part of a selection: as of a shard.
    pub part_images: u32,
}

impl Planner<'_> {
    /// The plans that there are, and as the last one, not visible yet, what is new since.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn everything(&self, mut plans: Vec<Plan>) -> Result<Vec<Plan>, Error> {
        let (reach, newest) = (reach(&plans), self.newest());
        if reach < newest {
            let number = next(&plans);
            let file = self.rest(&plans, number, reach).await?;
            plans.push(Plan {
                number,
                generation: newest,
                file,
                chosen: None,
            });
        }
        Ok(plans)
    }

    /// The rows of the generations after `reach` that earlier selections have left, and no later generation has made void; `None` for all of them.
    async fn rest(&self, plans: &[Plan], number: u32, reach: u32) -> Result<Option<String>, Error> {
        // A plan that knows no later generation has no row of one.
        let concerned = |p: &&Plan| p.generation > reach;
        let context = self.context()?;
        let taken = self.taken(&context, plans.iter().filter(concerned))?;
        let later = self.generations.iter().filter(|g| g.generation > reach);
        let is_void = |g: &Generation| g.changed + g.gone > 0;
        let void = later.clone().skip(1).any(is_void);
        if taken.is_none() && !void {
            return Ok(None);
        }
        let history = self.history(&context, later)?;
        let (file, hash) = manifest::rest(history, taken, void).await?;
        Ok(Some(self.upload(number, &hash, &file).await?))
    }

    /// The plans that there are, and as the last one, not visible yet, a plan for this selection; not where the last one for it knows the
    /// newest generation.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn selection(
        &self,
        mut plans: Vec<Plan>,
        selection: &SelectionFile,
    ) -> Result<Vec<Plan>, Error> {
        if plans.is_empty() {
            plans.extend(self.begun().await?);
        }
        let mut of_it = plans.iter().filter(|p| p.is_for(Some(&selection.id)));
        if of_it.any(|p| p.generation == self.newest()) {
            return Ok(plans);
        }
        let number = next(&plans);
        let context = self.context()?;
        let wanted = Wanted {
            keys: catalog::selection_keys(self.workspace, &context, selection)?,
            taken: self.taken(&context, plans.iter())?,
            taken_to: reach(&plans),
            known_to: selection.input.generation.unwrap_or(u32::MAX),
            plan: number,
            part_images: self.part_images,
        };
        let history = self.history(&context, self.generations.iter())?;
        let (file, hash, found) = manifest::choose(history, wanted).await?;
        plans.push(Plan {
            number,
            generation: self.newest(),
            file: Some(self.upload(number, &hash, &file).await?),
            chosen: Some(Chosen {
                selection: selection.id.clone(),
                found,
            }),
        });
        Ok(plans)
    }

    /// The plan that labels are of which were begun by an understudy that wrote none.
    async fn begun(&self) -> Result<Option<Plan>, Error> {
        let committed = super::committed(self.workspace, self.dataset, self.teacher).await?;
        let shards = committed.iter().filter_map(|object| match object {
            LabelsObject::Shard { shard } => Some(*shard),
            _ => None,
        });
        let of = |shard: &u32| {
            let mut newest_first = self.generations.iter().rev();
            newest_first.find(|g| g.first_shard <= *shard)
        };
        Ok(shards.max().as_ref().and_then(of).map(|g| Plan {
            number: 1,
            generation: g.generation,
            file: None,
            chosen: None,
        }))
    }

    /// Makes a plan visible; `false` where another process was first with a plan of this number.
    ///
    /// # Errors
    /// The store's.
    pub async fn commit(&self, plan: &Plan) -> Result<bool, WorkspaceError> {
        let place = place(self.dataset, self.teacher, plan.number);
        let created = self.workspace.create(&place, to_json(plan)).await?;
        Ok(created != Created::Other)
    }

    fn newest(&self) -> u32 {
        self.generations.last().map_or(0, |g| g.generation)
    }

    /// A context whose sorts are bounded, with the workspace's store.
    fn context(&self) -> Result<SessionContext, CatalogError> {
        let context = manifest::context()?;
        let at = &self.workspace.at;
        context.register_object_store(&at.root, Arc::clone(&at.store));
        Ok(context)
    }

    /// The rows that selections have taken; `None` for none.
    fn taken<'b>(
        &self,
        context: &SessionContext,
        plans: impl Iterator<Item = &'b Plan>,
    ) -> Result<Option<DataFrame>, CatalogError> {
        let mut all = Vec::new();
        for plan in plans.filter(|p| p.rows() > 0) {
            let Some(file) = &plan.file else { continue };
            let rows =
                catalog::plan_rows(self.workspace, context, (self.dataset, self.teacher), file)?;
            all.push(rows.filter(col("plan").eq(lit(plan.number)))?);
        }
        Ok(catalog::union(all)?)
    }

    fn history<'b>(
        &self,
        context: &SessionContext,
        generations: impl Iterator<Item = &'b Generation>,
    ) -> Result<Vec<DataFrame>, CatalogError> {
        generations
            .map(|g| catalog::generation(self.workspace, context, self.dataset, g))
            .collect()
    }

    async fn upload(&self, number: u32, hash: &str, file: &NamedTempFile) -> Result<String, Error> {
        let name = format!("plan-{number:06}-{hash}.parquet");
        let place = format!("{}/{name}", folder(self.dataset, self.teacher));
        manifest::upload(self.workspace, &place, file).await?;
        Ok(name)
    }
}
