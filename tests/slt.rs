//! The files of `tests/slt/`: SQL over real labels objects, and each query of `pipelines/select/` as `select` executes it.
//!
//! Besides SQL, which the catalog answers, a record may be
//!
//! ```text
//! COPY (…) TO '$DIR/….parquet'      by plain DataFusion: labels that another system wrote
//! understudy select …               as typed, its passes alone with --plans; other commands as typed
//! execute FILE.sql | COLUMNS        a query of the last selection with --plans: its rows, or some columns of them
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use clap::Parser as _;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner, strict_column_validator};
use understudy::Error;
use understudy::catalog::{self, Cache, CatalogError};
use understudy::cli::{Cli, Command};
use understudy::run::select_job;
use understudy::select::job::SelectJob;
use understudy::workspace::Workspace;

use crate::support::{Place, labels};

/// Queries that were executed, by any file.
static EXECUTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Engine {
    place: Place,
    workspace: Workspace,
    selection: Option<SelectJob>,
    cache: Option<Cache>,
}

impl Engine {
    async fn command(&mut self, line: &str) -> Result<(), Error> {
        let url = self.workspace.at.url();
        let words = line.split_whitespace().chain(["--workspace", &url]);
        let args = match Cli::parse_from(words).command {
            Command::Select(args) => args,
            command => return Box::pin(understudy::run::run(Cli { command })).await,
        };
        let job = select_job(&args)?;
        if args.plans {
            self.selection = Some(job);
        } else {
            job.run(&self.workspace).await?;
        }
        Ok(())
    }

    async fn rows(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
        let frame = match (sql.strip_prefix("execute "), &self.selection) {
            (Some(line), Some(selection)) => {
                let (name, columns) = line.split_once('|').unwrap_or((line, "*"));
                let prepared = selection.prepare(&self.workspace).await?;
                let files = prepared.files();
                let file = files.into_iter().find(|f| *f == name.trim());
                let file = file.expect("the selection has no such query");
                EXECUTED.lock().unwrap().push(file.to_owned());
                let frame = prepared.query(file).await?;
                let schema = Arc::clone(frame.schema().inner());
                let rows = frame.collect().await.map_err(CatalogError::from)?;
                return some(schema, rows, columns).await;
            }
            (Some(_), None) => panic!("`{sql}` comes before a selection"),
            (None, _) => {
                let (workspace, memory) = (&self.workspace, catalog::QUERY_MEMORY);
                let context = match &self.cache {
                    None => catalog::open(workspace, memory).await?,
                    Some(cache) => catalog::open_again(workspace, memory, cache).await?,
                };
                catalog::query(&context, sql).await?
            }
        };
        let schema = Arc::clone(frame.schema().inner());
        let rows = catalog::execute(frame).await?.try_collect().await;
        Ok((schema, rows.map_err(|e| CatalogError::of_query(&e))?))
    }
}

/// Some columns, and perhaps some rows, of a result.
async fn some(
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
    columns: &str,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let context = SessionContext::new();
    let (columns, filter) = columns.split_once(" WHERE ").unwrap_or((columns, "true"));
    let table = MemTable::try_new(schema, vec![rows]).map_err(CatalogError::from)?;
    let table = context.register_table("rows", Arc::new(table));
    table.map_err(CatalogError::from)?;
    let sql = format!("SELECT {columns} FROM rows WHERE {filter}");
    let frame = context.sql(&sql).await.map_err(CatalogError::from)?;
    let schema = Arc::clone(frame.schema().inner());
    let rows = frame.collect().await.map_err(CatalogError::from)?;
    Ok((schema, rows))
}

#[async_trait]
impl AsyncDB for Engine {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let folder = self.place.dir.path().display().to_string();
        let sql = sql.replace("$DIR", &folder);
        if sql.starts_with("COPY") {
            let frame = SessionContext::new().sql(&sql).await;
            let done = frame.map_err(CatalogError::from)?.collect().await;
            done.map_err(CatalogError::from)?;
            return Ok(DBOutput::StatementComplete(0));
        }
        if sql.starts_with("understudy ") {
            self.command(&sql).await?;
            return Ok(DBOutput::StatementComplete(0));
        }
        let (schema, batches) = self.rows(&sql).await?;
        let types = schema.fields().iter().map(|f| kind(f.data_type()));
        let types = types.collect();
        let rows = batches.iter().flat_map(texts).collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "understudy"
    }
}

fn kind(of: &DataType) -> DefaultColumnType {
    match of {
        t if t.is_integer() => DefaultColumnType::Integer,
        t if t.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn texts(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref() as &dyn Array, &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|i| columns.iter().map(|c| c.value(i).to_string()).collect())
        .collect()
}

/// Runs a file, with what a process keeps between queries or without; what it says where it fails.
fn run(file: &Path, cache: Option<&Cache>) -> Option<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut runner = Runner::new(|| async {
            let (place, workspace) = labels::workspace_with_labels().await;
            Ok(Engine {
                place,
                workspace,
                selection: None,
                cache: cache.cloned(),
            })
        });
        runner.with_column_validator(strict_column_validator);
        let outcome = runner.run_file_async(file).await;
        runner.shutdown_async().await;
        outcome.err().map(|e| e.display(false).to_string())
    })
}

fn run_all(folder: &str, cache: Option<&Cache>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/slt")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let failures: Vec<_> = files.iter().filter_map(|file| run(file, cache)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_catalog_answers_as_its_slt_files_say() {
    run_all("catalog", None);
}

#[test]
fn the_catalog_answers_the_same_from_memory() {
    run_all("catalog", Some(&Cache::new(1 << 20, 1 << 20)));
}

#[test]
fn the_catalog_answers_the_same_where_memory_has_room_for_some_objects() {
    run_all("catalog", Some(&Cache::new(1 << 20, 2000)));
}

#[test]
fn every_query_of_a_selection_gives_what_its_slt_file_says() {
    run_all("select", None);
    let executed = EXECUTED.lock().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/select");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(executed.contains(&name), "no .slt file executes {name}");
    }
}
