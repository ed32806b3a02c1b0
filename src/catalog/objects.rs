//! The labels objects of a folder as a table. Which objects a query reads follows from their names and, where a process keeps [`Columns`], from those: what can be answered from
//! memory opens no object at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::and_kleene;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::{ListingTableUrl, PartitionedFile};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use tokio::sync::Mutex;

use super::columns::{Columns, SHORT, Short};
use super::files::scan;
use super::lazy::unreadable;
use super::superseded::Finding;
use crate::label::commit::LabelsObject;
use crate::workspace::WorkspaceError;

/// For so long a listing counts, unless it was given: all tables of a query see the same objects, and a session that goes on sees what has come.
const LISTED_FOR: Duration = Duration::from_secs(1);

/// A folder of labels objects, listed once for all the tables of it in a query.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    url: ListingTableUrl,
    schema: SchemaRef,
    columns: Option<Columns>,
    listing: Arc<Mutex<Option<Listing>>>,
}

#[derive(Debug)]
struct Listing {
    /// None where it counts for good.
    when: Option<Instant>,
    objects: Arc<[Listed]>,
}

#[derive(Debug)]
pub(super) struct Listed {
    pub(super) meta: ObjectMeta,
    pub(super) name: LabelsObject,
    /// Whether some of its rejects may have been labelled again, by a retry of the same shard.
    retried: bool,
}

/// Which objects of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those whose rejects may have been labelled again.
    Retried,
    /// The others.
    Last,
}

/// Of which shards.
#[derive(Debug, Clone)]
pub(super) enum Of {
    All,
    /// These, and those that have rows of any; all, where they cannot be found.
    Some(Finding),
    /// The others.
    Others(Finding),
}

/// See the module.
#[derive(Debug)]
pub(super) struct LabelsObjects {
    pub(super) folder: Folder,
    pub(super) which: Which,
    pub(super) of: Of,
}

/// What filters say of the short columns.
struct Filters(Vec<Filter>);

struct Filter {
    columns: BTreeSet<String>,
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
}

impl Folder {
    pub(super) fn new(url: ListingTableUrl, schema: SchemaRef, columns: Option<Columns>) -> Self {
        Self {
            url,
            schema,
            columns,
            listing: Arc::default(),
        }
    }

    /// A folder of which these objects count, whatever comes meanwhile.
    pub(super) fn of(self, mut objects: Vec<ObjectMeta>) -> Result<Self> {
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        let objects = self.whole(objects)?;
        let listing = Listing {
            when: None,
            objects,
        };
        Ok(Self {
            listing: Arc::new(Mutex::new(Some(listing))),
            ..self
        })
    }

    /// Objects, by name, none of which is empty.
    fn whole(&self, objects: Vec<ObjectMeta>) -> Result<Arc<[Listed]>> {
        let objects: Arc<[Listed]> = listed(objects).into();
        if let Some(empty) = objects.iter().find(|object| object.meta.size == 0) {
            // A scan would take it for no rows.
            let mut url = self.url.as_str().to_owned();
            url.push_str(&empty.name.to_string());
            return Err(unreadable(WorkspaceError::Empty { url }));
        }
        Ok(objects)
    }

    /// Where it is in the store.
    pub(super) fn prefix(&self) -> &Path {
        self.url.prefix()
    }

    /// The store that a session reads it from.
    pub(super) fn store(&self, state: &dyn Session) -> Result<Arc<dyn ObjectStore>> {
        state.runtime_env().object_store(&self.url)
    }

    /// The short columns of its objects, as far as they are kept, or there is room for them.
    pub(super) async fn short(
        &self,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Vec<Option<Arc<Short>>> {
        match &self.columns {
            None => vec![None; objects.len()],
            Some(columns) => columns.read(store, self.url.prefix(), objects).await,
        }
    }

    /// Its objects, by name.
    pub(super) async fn listed(&self, store: &Arc<dyn ObjectStore>) -> Result<Arc<[Listed]>> {
        let mut last = self.listing.lock().await;
        if let Some(Listing { when, objects }) = &*last
            && when.is_none_or(|when| when.elapsed() < LISTED_FOR)
        {
            return Ok(Arc::clone(objects));
        }
        let listing = store.list(Some(self.url.prefix()));
        let mut objects: Vec<ObjectMeta> = listing.try_collect().await?;
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        if let Some(columns) = &self.columns {
            columns.listed(self.url.prefix(), &objects);
        }
        let objects = self.whole(objects)?;
        *last = Some(Listing {
            when: Some(Instant::now()),
            objects: Arc::clone(&objects),
        });
        Ok(objects)
    }
}

/// What the names say.
fn listed(objects: Vec<ObjectMeta>) -> Vec<Listed> {
    let named = |meta: ObjectMeta| {
        let name = LabelsObject::parse(meta.location.filename()?)?;
        Some((meta, name))
    };
    let named: Vec<_> = objects.into_iter().filter_map(named).collect();
    let mut last: HashMap<u32, u16> = HashMap::new();
    for (_, name) in &named {
        if let LabelsObject::Retry { shard, retry } = name {
            let last = last.entry(*shard).or_default();
            *last = (*last).max(*retry);
        }
    }
    let retried = |name: &LabelsObject| match name.shard() {
        Some(shard) => last.get(&shard).is_some_and(|last| *last > name.retry()),
        // It has rows of many shards.
        None => !last.is_empty(),
    };
    named
        .into_iter()
        .map(|(meta, name)| Listed {
            retried: retried(&name),
            meta,
            name,
        })
        .collect()
}

#[async_trait]
impl TableProvider for LabelsObjects {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.folder.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Folder {
            url,
            schema,
            columns,
            ..
        } = &self.folder;
        let store = self.folder.store(state)?;
        let filters = Filters::of(state, filters, schema)?;
        let found = match &self.of {
            Of::All => None,
            Of::Some(finding) | Of::Others(finding) => finding.clone().await,
        };
        let mut objects = Vec::new();
        for object in self.folder.listed(&store).await?.iter() {
            let shard = object.name.shard();
            let which = match self.which {
                Which::All => true,
                Which::Retried => object.retried,
                Which::Last => !object.retried,
            };
            let among = match (&found, shard) {
                (Some(found), Some(shard)) => found.contains(&shard),
                _ => true,
            };
            let of = match &self.of {
                Of::All => true,
                Of::Some(_) => among,
                Of::Others(_) => !among,
            };
            if which && of && filters.may_match(&Short::named(shard, object.name.retry())) {
                objects.push(object.meta.clone());
            }
        }
        let projected = project_schema(schema, projection)?;
        let short = projected
            .fields()
            .iter()
            .all(|field| SHORT.contains(&field.name().as_str()));
        let known = match columns {
            Some(columns) if !short => columns.known(url.prefix(), &objects),
            _ => self.folder.short(&store, &objects).await,
        };
        let (mut kept, mut files) = (Vec::new(), Vec::new());
        for (meta, known) in objects.into_iter().zip(known) {
            match known {
                // What is in memory the query filters itself, on all cores.
                Some(known) if short => kept.push(known),
                Some(known) if !filters.may_match(&known) => {}
                _ => files.push(PartitionedFile::new_from_meta(meta)),
            }
        }
        let partitions = state.config().target_partitions();
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !kept.is_empty() {
            let chunks = kept.chunks(kept.len().div_ceil(partitions));
            let batches = chunks
                .map(|chunk| chunk.iter().map(|short| short.batch(&projected)).collect())
                .collect::<Result<Vec<Vec<_>>>>()?;
            plans.push(MemorySourceConfig::try_new_exec(
                &batches,
                Arc::clone(&projected),
                None,
            )?);
        }
        if !files.is_empty() {
            let of = (url.object_store(), schema);
            plans.push(scan(state, of, files, projection, limit).await?);
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(projected))),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

impl Filters {
    /// Those of short columns alone; of the others nothing follows here.
    fn of(state: &dyn Session, filters: &[Expr], schema: &Schema) -> Result<Self> {
        let mut all = Vec::new();
        for filter in filters {
            let columns: BTreeSet<String> = filter
                .column_refs()
                .into_iter()
                .map(|column| column.name.clone())
                .collect();
            if filter.is_volatile() || !columns.iter().all(|c| SHORT.contains(&c.as_str())) {
                continue;
            }
            let fields = columns
                .iter()
                .map(|name| Ok(schema.field_with_name(name)?.clone()));
            let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?));
            let known = DFSchema::try_from(Arc::clone(&schema))?;
            let expr = state.create_physical_expr(unnormalize_col(filter.clone()), &known)?;
            all.push(Filter {
                columns,
                schema,
                expr,
            });
        }
        Ok(Self(all))
    }

    /// Whether there may be a row that passes them all.
    fn may_match(&self, of: &Short) -> bool {
        let mut passed: Option<BooleanArray> = None;
        let known = |filter: &&Filter| filter.columns.iter().all(|column| of.has(column));
        for filter in self.0.iter().filter(known) {
            let Some(pass) = filter.passed(of) else {
                continue;
            };
            let both = match passed {
                None => Ok(pass),
                Some(before) => and_kleene(&before, &pass),
            };
            passed = both.ok();
            if passed.as_ref().is_some_and(|pass| pass.true_count() == 0) {
                return false;
            }
        }
        true
    }
}

impl Filter {
    /// Which rows pass. Where it cannot be told here, the query tells.
    fn passed(&self, of: &Short) -> Option<BooleanArray> {
        let batch = of.batch(&self.schema).ok()?;
        let passed = self.expr.evaluate(&batch).ok()?;
        let passed = passed.into_array(of.rows()).ok()?;
        passed.as_boolean_opt().cloned()
    }
}
