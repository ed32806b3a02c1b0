//! One arm a subcommand: parsed arguments → the stage that does it → what is printed. Data goes to standard output.

mod evaluate;
mod gc;
mod jobs;
mod label;
mod pipeline;
mod promotion;
mod select;
mod serve;
mod student;
mod teachers;

use std::path::Path;

pub use self::select::select_job;
use crate::catalog::Limits;
use crate::cli::{
    Cli, Command, DoctorArgs, LineageArgs, SqlArgs, StorageArgs, TrainingRuntimeArgs, WorkspaceArgs,
};
use crate::config::{Config, ConfigError, parse_toml};
use crate::doctor::{self, Verdict};
use crate::error::Error;
use crate::jobs::{JobsConfig, Submission};
use crate::lineage;
use crate::output;
use crate::pipeline::Pipeline;
use crate::promotion::GateFile;
use crate::runtime::Runtime;
use crate::say::say;
use crate::serve::ServeConfig;
use crate::shell::Shell;
use crate::store::StorageOptions;
use crate::student::noise::Noise;
use crate::teacher::TeacherConfig;
use crate::workspace::Workspace;

/// Does what the arguments say.
///
/// # Errors
/// Any stage's; [`Error::exit_code`] tells the process's exit code.
pub async fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Init(at) => init(&at).await,
        Command::Teachers(command) => teachers::teachers(command).await,
        Command::Promote(args) => Box::pin(promotion::promote(*args)).await,
        Command::Relabel(args) => Box::pin(jobs::relabel(args)).await,
        Command::Jobs(command) => jobs::jobs(command).await,
        Command::Worker(args) => Box::pin(jobs::worker(args)).await,
        Command::Gc(args) => Box::pin(gc::gc(args)).await,
        Command::Manifest(args) => label::refresh(&args).await,
        Command::Label(args) => Box::pin(label::label(args)).await,
        Command::Evaluate(args) => evaluate::evaluate(*args).await,
        Command::Select(args) => select::select(&args).await,
        Command::Export(args) => select::export(args).await,
        Command::Report(args) => select::report(args).await,
        Command::Lineage(args) => Box::pin(lineage(args)).await,
        Command::Sql(args) => sql(args).await,
        Command::Student(command) => student::student(command).await,
        Command::Train(args) => Box::pin(student::train(*args)).await,
        Command::Run(args) => Box::pin(pipeline::run(*args)).await,
        Command::Serve(args) => Box::pin(serve::serve(*args)).await,
        Command::Tokens(command) => serve::tokens(&command),
        Command::Validate { file } => validate(&file),
        Command::Doctor(args) => examine(&args).await,
        Command::TrainingRuntime(args) => training_runtime(&args),
    }
}

async fn init(at: &WorkspaceArgs) -> Result<(), Error> {
    let (workspace, new) = Workspace::init(&at.workspace, &options(&at.storage)).await?;
    let url = workspace.at.url();
    say(if new {
        format!("made the workspace `{url}`")
    } else {
        format!("the workspace `{url}` is there already")
    });
    if !workspace.file.create_only {
        say(
            "note: this store ignores create-only puts (a second put overwrote the first), so that exactly-once holds for one writer at a time only; see `understudy doctor`",
        );
    }
    Ok(())
}

async fn open(at: &WorkspaceArgs) -> Result<Workspace, Error> {
    Ok(Workspace::open(&at.workspace, &options(&at.storage)).await?)
}

async fn lineage(args: LineageArgs) -> Result<(), Error> {
    let workspace = open(&args.at).await?;
    let lineage = lineage::lineage(&workspace, &args.name, args.meant).await?;
    if args.json {
        return output::json(&lineage);
    }
    output::line(&lineage::table(&lineage))
}

async fn sql(args: SqlArgs) -> Result<(), Error> {
    let limits = Limits {
        memory: args.memory,
        time: args.timeout,
        rows: args.max_rows,
    };
    let mut shell = Shell::open(open(&args.at).await?, args.format, limits).await?;
    match &args.query {
        Some(query) => shell.answer(query).await,
        None => shell.run().await,
    }
}

fn validate(file: &Path) -> Result<(), Error> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read {
        path: file.to_owned(),
        source,
    })?;
    let name = file.display().to_string();
    // A file with these tables is meant as a teacher.toml; its errors are then a teacher's.
    let table: toml::Table = parse_toml(&name, &text)?;
    let kind = if ["input", "preprocess", "output", "classes"]
        .iter()
        .any(|key| table.contains_key(*key))
    {
        TeacherConfig::read(file)?;
        "teacher"
    } else if Noise::is_meant(&table) {
        Noise::read(file)?;
        "noise"
    } else if GateFile::is_meant(&table) {
        GateFile::read(file)?;
        "gate"
    } else if ServeConfig::is_meant(&table) {
        ServeConfig::read(file)?;
        JobsConfig::read(file)?;
        "server"
    } else if table.contains_key("kind") {
        Submission::of_file(file, table)?;
        "job"
    } else if Pipeline::is_meant(&table) {
        Pipeline::read(file, &[])?;
        "pipeline"
    } else {
        Config::read(file)?;
        "settings"
    };
    output::line(&format!("`{name}` is a valid {kind} file"))
}

async fn examine(args: &DoctorArgs) -> Result<(), Error> {
    let checks = doctor::examine(
        args.workspace.as_deref(),
        &options(&args.storage),
        args.runtime.onnxruntime.as_deref(),
        args.runtime.device,
        args.training.onnxruntime_training.as_deref(),
    )
    .await;
    if args.json {
        output::json(&checks)?;
    } else {
        output::line(doctor::render(&checks).trim_end())?;
    }
    match checks
        .iter()
        .filter(|c| c.verdict == Verdict::Problem)
        .count()
    {
        0 => Ok(()),
        problems => Err(Error::Doctor { problems }),
    }
}

fn training_runtime(args: &TrainingRuntimeArgs) -> Result<(), Error> {
    let runtime = Runtime::load_training(args.onnxruntime_training.as_deref())?;
    // The compiler's flags, which come last, tell a user nothing.
    let build = runtime.build_info();
    let build = build.split(", cmake").next().unwrap_or(build);
    output::line(&format!("`{}`, {build}", runtime.library.display()))
}

fn config(file: Option<&Path>) -> Result<Config, ConfigError> {
    file.map_or_else(|| Ok(Config::default()), Config::read)
}

fn options(args: &StorageArgs) -> StorageOptions {
    StorageOptions {
        pairs: args.options.iter().cloned().collect(),
        retries: None,
    }
}
