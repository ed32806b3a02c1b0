//! The workspace as SQL tables: `manifest`, `labels`, `rejects`, `teachers`, `selections`, `selection_classes`, `leakage`, read only.
//!
//! `labels` and `rejects` are the two halves of the labels objects: of a key that changed in the bucket the newest generation, of a key
//! that was retried the latest attempt. All datasets and teachers are in them, as the columns `dataset` and `teacher`; a filter on these
//! leaves the other objects unread. `probs` is a list of Float32 whatever it is stored as; `topk` and `rest` are set where labels are
//! stored as top-k. `manifest` has each key once, `manifest_history` every generation.

mod functions;
mod selections;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt16Array, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field};
use datafusion::catalog::TableProvider;
use datafusion::common::{JoinType, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarUDF, SimpleScalarUDF, SortExpr, Volatility, cast, col, lit, when,
};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use url::Url;

use crate::label::{LabelSettings, folder};
use crate::manifest::{self, Generation, ManifestError};
use crate::schema::{self, Encoding, MAX_CLASSES, topk_fields};
use crate::store::StoreError;
use crate::teacher::{self, TeacherError};
use crate::workspace::{Workspace, WorkspaceError};

/// Memory of a query before it spills to the temporary directory: 256 MiB.
const QUERY_MEMORY: usize = 256 * 1024 * 1024;

/// What can go wrong with SQL.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The query does not parse or plan.
    #[error("cannot run the query: {detail}")]
    Query {
        /// DataFusion's words.
        detail: String,
    },
    /// The query is not a read.
    #[error("only queries are allowed here: {detail}")]
    Refused {
        /// DataFusion's words.
        detail: String,
    },
    /// DataFusion, with a plan of ours.
    #[error("cannot read the workspace's tables: {0}")]
    Engine(#[from] DataFusionError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The teachers.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CatalogError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Query { .. } => Some(
                "the tables are labels, rejects, manifest, manifest_history, teachers, selections, selection_classes and leakage; `DESCRIBE labels` tells the columns".into(),
            ),
            Self::Refused { .. } => Some("write a SELECT; `--format parquet > file.parquet` keeps its result".into()),
            Self::Engine(_) => None,
            Self::Manifest(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
            Self::Store(e) => e.hint(),
        }
    }
}

/// A context with the workspace's store and no tables. `partitions` is how many threads a query may use.
///
/// # Errors
/// DataFusion's, where its temporary directory cannot be made.
pub fn context(workspace: &Workspace, partitions: usize) -> Result<SessionContext, CatalogError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(QUERY_MEMORY)))
        .build_arc()?;
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_information_schema(true)
        .with_collect_statistics(false);
    config.options_mut().execution.parquet.pushdown_filters = false;
    let context = SessionContext::new_with_config_rt(config, runtime);
    context.register_object_store(&workspace.at.root, Arc::clone(&workspace.at.store));
    Ok(context)
}

/// A context for selections: rows keep the order of the files, and how they fall into partitions follows from the files alone.
///
/// # Errors
/// DataFusion's, where its temporary directory cannot be made.
pub fn selection_context(
    workspace: &Workspace,
    partitions: usize,
) -> Result<SessionContext, CatalogError> {
    let context = context(workspace, partitions)?;
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    options.optimizer.repartition_joins = false;
    options.optimizer.enable_round_robin_repartition = false;
    options.execution.enable_file_stream_work_stealing = false;
    drop(state);
    Ok(context)
}

/// Lets a context read columns for the rows alone that a filter leaves, and join big tables by sorting, in bounded memory.
pub fn read_lazily(context: &SessionContext, lazily: bool, sort_joins: bool) {
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    options.execution.parquet.pushdown_filters = lazily;
    options.execution.parquet.reorder_filters = false;
    options.optimizer.prefer_hash_join = !sort_joins;
}

/// A context with all tables of the workspace.
///
/// # Errors
/// [`CatalogError`].
pub async fn open(workspace: &Workspace) -> Result<SessionContext, CatalogError> {
    let partitions = std::thread::available_parallelism().map_or(1, usize::from);
    let context = context(workspace, partitions)?;
    register(workspace, &context).await?;
    Ok(context)
}

/// Registers all tables of the workspace.
///
/// # Errors
/// [`CatalogError`].
pub async fn register(workspace: &Workspace, context: &SessionContext) -> Result<(), CatalogError> {
    let mut datasets = Vec::new();
    for name in workspace.folders("datasets").await? {
        let generations = manifest::generations(workspace, &name).await?;
        datasets.push((name, generations));
    }
    let mut histories = Vec::new();
    let mut current = Vec::new();
    for (name, generations) in &datasets {
        if generations.is_empty() {
            continue;
        }
        let history = history(workspace, context, name, generations)?;
        current.push(without_superseded(
            history.clone().filter(col("status").not_eq(lit("gone")))?,
            &history,
            generations,
            col("generation"),
        )?);
        histories.push(history);
    }
    let empty = || Ok::<_, CatalogError>(empty_manifest(context)?);
    view(
        context,
        "manifest_history",
        union(histories)?.map_or_else(empty, Ok)?,
    )?;
    view(context, "manifest", union(current)?.map_or_else(empty, Ok)?)?;

    let teachers = teacher::list(workspace).await?;
    context.register_table("teachers", teachers_table(&teachers)?)?;

    let (mut labels, mut rejects) = (Vec::new(), Vec::new());
    for (dataset, generations) in &datasets {
        let parent = format!("labels/dataset={dataset}");
        for part in workspace.folders(&parent).await? {
            let Some(teacher) = part.strip_prefix("teacher=") else {
                continue;
            };
            let reference = teacher.parse()?;
            let teacher_found = teacher::get(workspace, &reference).await?;
            let names = teacher_found.config.classes.names;
            let Some((settings, raw)) = raw_labels(
                workspace,
                context,
                dataset,
                generations,
                teacher,
                names.len(),
            )
            .await?
            else {
                continue;
            };
            labels.push(labels_half(
                raw.clone(),
                dataset,
                teacher,
                settings.encoding,
                names,
            )?);
            rejects.push(rejects_half(raw, dataset, teacher)?);
        }
    }
    if labels.is_empty() {
        let schema = schema::labels(Encoding::Float32, 1);
        let none = context.read_batch(RecordBatch::new_empty(schema))?;
        labels.push(labels_half(
            none.clone(),
            "",
            "",
            Encoding::Float32,
            Vec::new(),
        )?);
        rejects.push(rejects_half(none, "", "")?);
    }
    if let (Some(labels), Some(rejects)) = (union(labels)?, union(rejects)?) {
        functions::register(context, labels.clone());
        view(context, "labels", labels)?;
        view(context, "rejects", rejects)?;
    }
    selections::register(workspace, context).await
}

/// The labels objects of a dataset by a teacher, of each key the newest generation, and how they were made.
async fn raw_labels(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    generations: &[Generation],
    teacher: &str,
    classes: usize,
) -> Result<Option<(LabelSettings, DataFrame)>, CatalogError> {
    let place = folder(dataset, teacher);
    let settings: LabelSettings = match workspace.read_json(&format!("{place}/_labels.json")).await
    {
        Ok(settings) => settings,
        Err(WorkspaceError::Store(StoreError::NotFound { .. })) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let schema = schema::labels(settings.encoding, classes);
    let raw = listing(workspace, context, &format!("{place}/"), schema, Vec::new())?;
    if generations.len() < 2 {
        return Ok(Some((settings, raw)));
    }
    let history = history(workspace, context, dataset, generations)?;
    let shards = generation_of_shard(generations)?;
    let newest = without_superseded(raw, &history, generations, shards)?;
    Ok(Some((settings, newest)))
}

/// The labels of a dataset by a teacher, each key once, as they are stored: `probs` is of the type that was written.
///
/// # Errors
/// [`CatalogError`].
pub async fn labels_of(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    teacher: &teacher::TeacherRecord,
) -> Result<DataFrame, CatalogError> {
    let generations = manifest::generations(workspace, dataset).await?;
    let name = teacher.to_string();
    let raw = raw_labels(
        workspace,
        context,
        dataset,
        &generations,
        &name,
        teacher.classes,
    )
    .await?;
    let Some((_, raw)) = raw else {
        return Ok(context.read_batch(RecordBatch::new_empty(schema::labels(
            Encoding::Float32,
            teacher.classes,
        )))?);
    };
    Ok(raw.filter(col("reason").is_null())?)
}

/// Runs a query that a user wrote: reads only.
///
/// # Errors
/// [`CatalogError::Refused`] for anything but a query, [`CatalogError::Query`] for one that does not plan.
pub async fn query(context: &SessionContext, sql: &str) -> Result<DataFrame, CatalogError> {
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    context.sql_with_options(sql, options).await.map_err(|e| {
        let detail = e.strip_backtrace();
        if detail.contains("not supported:") && detail.contains("plan") {
            CatalogError::Refused { detail }
        } else {
            CatalogError::Query { detail }
        }
    })
}

/// Runs a planned query.
///
/// # Errors
/// [`CatalogError::Query`].
pub async fn execute(frame: DataFrame) -> Result<SendableRecordBatchStream, CatalogError> {
    frame
        .execute_stream()
        .await
        .map_err(|e| CatalogError::Query {
            detail: e.strip_backtrace(),
        })
}

/// The URL of a place in the workspace, percent-encoded as DataFusion wants it.
fn encoded_url(workspace: &Workspace, relative: &str) -> Url {
    let mut url = workspace.at.encoded(&workspace.path(relative));
    if relative.ends_with('/')
        && let Ok(mut segments) = url.path_segments_mut()
    {
        segments.push("");
    }
    url
}

/// The Parquet objects below a folder (or the one object) as a table of a known schema: no footer is read before the query.
fn listing(
    workspace: &Workspace,
    context: &SessionContext,
    relative: &str,
    schema: arrow::datatypes::SchemaRef,
    order: Vec<Vec<SortExpr>>,
) -> Result<DataFrame, CatalogError> {
    let url = ListingTableUrl::parse(encoded_url(workspace, relative))?;
    let options =
        ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let options = options.with_file_sort_order(order);
    let config = ListingTableConfig::new(url)
        .with_listing_options(options)
        .with_schema(schema);
    Ok(context.read_table(Arc::new(ListingTable::try_new(config)?))?)
}

/// The rows of one generation in the order they were written: by shard and row, those that are gone among them.
///
/// # Errors
/// DataFusion's.
pub fn generation(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    generation: &Generation,
) -> Result<DataFrame, CatalogError> {
    let relative = format!("manifests/dataset={dataset}/{}", generation.file);
    // A generation is written sorted by object, and all of its rows have its number: merging generations needs no sort.
    let order = vec![
        col("object").sort(true, false),
        col("generation").sort(false, false),
    ];
    listing(
        workspace,
        context,
        &relative,
        manifest::schema(),
        vec![order],
    )
}

fn history(
    workspace: &Workspace,
    context: &SessionContext,
    dataset: &str,
    generations: &[Generation],
) -> Result<DataFrame, CatalogError> {
    let mut frames = Vec::new();
    for g in generations {
        frames.push(generation(workspace, context, dataset, g)?);
    }
    let all = union(frames)?.map_or_else(|| empty_manifest(context), Ok)?;
    let mut columns = vec![lit(dataset).alias("dataset")];
    columns.extend(manifest::schema().fields().iter().map(|f| col(f.name())));
    Ok(all.select(columns)?)
}

fn empty_manifest(context: &SessionContext) -> Result<DataFrame, DataFusionError> {
    let mut columns = vec![lit("").alias("dataset")];
    columns.extend(manifest::schema().fields().iter().map(|f| col(f.name())));
    context
        .read_batch(RecordBatch::new_empty(manifest::schema()))?
        .select(columns)
}

/// Rows less those whose key has a row in a later generation: it changed, or it is gone.
fn without_superseded(
    rows: DataFrame,
    history: &DataFrame,
    generations: &[Generation],
    generation: Expr,
) -> Result<DataFrame, CatalogError> {
    if generations.len() < 2 {
        return Ok(rows);
    }
    let later = history
        .clone()
        .filter(col("status").not_eq(lit("new")))?
        .select(vec![
            col("key").alias("later_key"),
            col("generation").alias("later_generation"),
        ])?;
    // The side that a hash join holds in memory is its left one: what changed or is gone is less than what is there.
    Ok(later.join_on(
        rows,
        JoinType::RightAnti,
        [
            col("key").eq(col("later_key")),
            col("later_generation").gt(generation),
        ],
    )?)
}

/// The generation that a shard belongs to: shard numbers never restart.
fn generation_of_shard(generations: &[Generation]) -> Result<Expr, CatalogError> {
    let mut newest_first = generations.iter().rev();
    let Some(newest) = newest_first.next() else {
        return Ok(lit(1_u32));
    };
    let from = |g: &Generation| col("shard").gt_eq(lit(g.first_shard));
    let mut cases = when(from(newest), lit(newest.generation));
    for g in newest_first {
        cases = cases.when(from(g), lit(g.generation));
    }
    Ok(cases.otherwise(lit(1_u32))?)
}

fn labels_half(
    raw: DataFrame,
    dataset: &str,
    teacher: &str,
    encoding: Encoding,
    names: Vec<String>,
) -> Result<DataFrame, CatalogError> {
    let class_name = class_name(names);
    let dense = DataType::List(Arc::new(Field::new("item", DataType::Float32, true)));
    let topk = DataType::List(Arc::new(Field::new(
        "item",
        DataType::Struct(topk_fields()),
        true,
    )));
    let null = |of: &DataType| ScalarValue::try_from(of).map(lit);
    let (probs, topk, rest) = match encoding {
        Encoding::Float16 | Encoding::Float32 => (
            cast(col("probs"), dense),
            null(&topk)?,
            null(&DataType::Float32)?,
        ),
        Encoding::TopK => (null(&dense)?, col("probs"), col("rest")),
    };
    let mut columns = vec![
        lit(dataset).alias("dataset"),
        lit(teacher).alias("teacher"),
        col("key"),
        col("class"),
        class_name.call(vec![col("class")]).alias("label"),
        col("confidence"),
        col("second_class"),
        class_name
            .call(vec![col("second_class")])
            .alias("second_label"),
    ];
    columns.extend(
        [
            "margin", "entropy", "width", "height", "sha256", "phash", "shard", "retry",
        ]
        .map(col),
    );
    columns.extend([
        col("attempts"),
        probs.alias("probs"),
        topk.alias("topk"),
        rest.alias("rest"),
    ]);
    Ok(raw.filter(col("reason").is_null())?.select(columns)?)
}

fn rejects_half(raw: DataFrame, dataset: &str, teacher: &str) -> Result<DataFrame, CatalogError> {
    let later = raw
        .clone()
        .filter(col("retry").gt(lit(0_u16)))?
        .select(vec![
            col("key").alias("later_key"),
            col("shard").alias("later_shard"),
            col("retry").alias("later_retry"),
        ])?;
    let mut columns = vec![lit(dataset).alias("dataset"), lit(teacher).alias("teacher")];
    columns.extend(
        [
            "key", "stage", "reason", "detail", "attempts", "sha256", "shard", "retry",
        ]
        .map(col),
    );
    Ok(raw
        .filter(col("reason").is_not_null())?
        .join_on(
            later,
            JoinType::LeftAnti,
            [
                col("key").eq(col("later_key")),
                col("shard").eq(col("later_shard")),
                col("later_retry").gt(col("retry")),
            ],
        )?
        .select(columns)?)
}

/// `class_name(class)`: the teacher's name of a class.
fn class_name(names: Vec<String>) -> ScalarUDF {
    let names = Arc::new(names);
    SimpleScalarUDF::new(
        "class_name",
        vec![DataType::UInt16],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(move |args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let classes = arrays[0]
                .as_any()
                .downcast_ref::<UInt16Array>()
                .ok_or_else(|| DataFusionError::Internal("class is no UInt16".into()))?;
            let named: StringArray = classes
                .iter()
                .map(|c| c.and_then(|c| names.get(usize::from(c)).map(String::as_str)))
                .collect();
            Ok(ColumnarValue::Array(Arc::new(named)))
        }),
    )
    .into()
}

fn teachers_table(
    records: &[teacher::TeacherRecord],
) -> Result<Arc<dyn TableProvider>, CatalogError> {
    debug_assert!(records.iter().all(|r| r.classes <= MAX_CLASSES));
    let text = |f: &dyn Fn(&teacher::TeacherRecord) -> Option<String>| -> ArrayRef {
        Arc::new(records.iter().map(f).collect::<StringArray>())
    };
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("teacher", text(&|r| Some(r.to_string())), false),
        ("name", text(&|r| Some(r.name.clone())), false),
        (
            "version",
            Arc::new(
                records
                    .iter()
                    .map(|r| Some(r.version))
                    .collect::<UInt32Array>(),
            ) as ArrayRef,
            false,
        ),
        (
            "classes",
            Arc::new(
                records
                    .iter()
                    .map(|r| Some(r.classes as u64))
                    .collect::<UInt64Array>(),
            ),
            false,
        ),
        (
            "model_bytes",
            Arc::new(
                records
                    .iter()
                    .map(|r| Some(r.model_bytes))
                    .collect::<UInt64Array>(),
            ),
            false,
        ),
        (
            "model_sha256",
            text(&|r| Some(r.model_sha256.clone())),
            false,
        ),
        ("description", text(&|r| r.description.clone()), true),
    ])
    .map_err(DataFusionError::from)?;
    Ok(Arc::new(MemTable::try_new(
        batch.schema(),
        vec![vec![batch]],
    )?))
}

fn union(frames: Vec<DataFrame>) -> Result<Option<DataFrame>, CatalogError> {
    let mut all: Option<DataFrame> = None;
    for frame in frames {
        all = Some(match all {
            None => frame,
            Some(before) => before.union(frame)?,
        });
    }
    Ok(all)
}

fn view(context: &SessionContext, name: &str, frame: DataFrame) -> Result<(), CatalogError> {
    context.register_table(name, frame.into_view())?;
    Ok(())
}
