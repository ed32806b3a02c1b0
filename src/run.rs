//! One arm a subcommand: parsed arguments → the stage that does it → what is printed. Data goes to standard output.

mod evaluate;
mod gc;
mod jobs;
mod pipeline;
mod promotion;
mod serve;
mod student;

use std::io::Write as _;
use std::path::Path;

use crate::catalog::{self, CatalogError, Limits};
use crate::cli::{
    Cli, Command, DoctorArgs, ExportArgs, LabelArgs, LineageArgs, ManifestArgs, ReportArgs,
    SelectArgs, SqlArgs, StorageArgs, TeachersCommand, TrainingRuntimeArgs, WorkspaceArgs,
};
use crate::config::{Config, ConfigError, parse_toml};
use crate::dataset;
use crate::doctor::{self, Verdict};
use crate::error::Error;
use crate::export::job::{ExportJob, Outcome};
use crate::jobs::JobsConfig;
use crate::label::job::LabelJob;
use crate::label::noise::TeacherNoise;
use crate::label::progress::{Summary, clock};
use crate::label::selection::OfSelection;
use crate::lineage;
use crate::manifest::{self, Refresh};
use crate::output;
use crate::pipeline::Pipeline;
use crate::promotion::GateFile;
use crate::report::{self, ReportJob, TrainingReport};
use crate::runtime::{Device, Runtime};
use crate::select::input::Labels;
use crate::select::job::SelectJob;
use crate::select::prepared::Prepared;
use crate::serve::ServeConfig;
use crate::shell::Shell;
use crate::source::Source;
use crate::store::{self, StorageOptions};
use crate::student::noise::Noise;
use crate::teacher::{self, TeacherConfig};
use crate::workspace::{Workspace, check_name};

/// Does what the arguments say.
///
/// # Errors
/// Any stage's; [`Error::exit_code`] tells the process's exit code.
pub async fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Init(at) => init(&at).await,
        Command::Teachers(command) => teachers(command).await,
        Command::Promote(args) => Box::pin(promotion::promote(*args)).await,
        Command::Relabel(args) => Box::pin(jobs::relabel(args)).await,
        Command::Jobs(command) => jobs::jobs(command).await,
        Command::Worker(args) => Box::pin(jobs::worker(args)).await,
        Command::Gc(args) => Box::pin(gc::gc(args)).await,
        Command::Manifest(args) => refresh(&args).await,
        Command::Label(args) => Box::pin(label(args)).await,
        Command::Evaluate(args) => evaluate::evaluate(*args).await,
        Command::Select(args) => select(&args).await,
        Command::Export(args) => export(args).await,
        Command::Report(args) => report(args).await,
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

async fn teachers(command: TeachersCommand) -> Result<(), Error> {
    match command {
        TeachersCommand::Add {
            name,
            model,
            config,
            onnxruntime,
            at,
        } => {
            let config = TeacherConfig::read(&config)?;
            let workspace = open(&at).await?;
            let opened = store::open(&model, &options(&at.storage))?;
            let bytes = store::read(&*opened.store, &opened.path, &opened.url()).await?;
            let runtime = Runtime::load(onnxruntime.as_deref(), Device::Cpu)?;
            let (record, new) = teacher::add(&workspace, &runtime, &name, bytes, &config).await?;
            say(if new {
                format!("added {record}: {} classes", record.classes)
            } else {
                format!("{record} is this very model and configuration already")
            });
            output::line(&record.to_string())
        }
        TeachersCommand::List { json, at } => {
            let records = teacher::list(&open(&at).await?).await?;
            if json {
                return output::json(&records);
            }
            for r in &records {
                let description = r.description.as_deref().unwrap_or("");
                output::line(&format!(
                    "{:<24} {:>6} classes {:>8.1} MB  {}  {description}",
                    r.to_string(),
                    r.classes,
                    r.model_bytes as f64 / 1e6,
                    &r.model_sha256[..12.min(r.model_sha256.len())],
                ))?;
            }
            if records.is_empty() {
                say(
                    "no teachers yet; add one with `understudy teachers add NAME --model FILE --config teacher.toml`",
                );
            }
            Ok(())
        }
        TeachersCommand::Show { teacher, at } => {
            let teacher = teacher::get(&open(&at).await?, &teacher).await?;
            let r = &teacher.record;
            output::line(&format!(
                "# {r}\n# model sha256 {}, {} bytes\n# config sha256 {}\n# added by understudy {}",
                r.model_sha256, r.model_bytes, r.config_sha256, r.understudy
            ))?;
            let text = toml::to_string_pretty(&teacher.config)
                .map_err(|e| Error::Output(std::io::Error::other(e)))?;
            output::line(text.trim_end())
        }
        TeachersCommand::Diff { a, b, json, at } => promotion::diff((&a, &b), json, &at).await,
        TeachersCommand::Current { json, at } => promotion::current(json, &at).await,
        TeachersCommand::History { json, at } => promotion::history(json, &at).await,
        TeachersCommand::Rollback { to, note, json, at } => {
            promotion::rollback(to, note, json, &at).await
        }
    }
}

async fn refresh(args: &ManifestArgs) -> Result<(), Error> {
    let config = config(args.config.as_deref())?;
    let storage = options(&args.at.storage);
    let workspace = open(&args.at).await?;
    if let Some(url) = &args.source {
        let reading = config.source.clone().unwrap_or_default();
        Source::open(url, &storage, &reading)?.check().await?;
    }
    let dataset = dataset::remember(
        &workspace,
        &args.dataset,
        args.source.as_deref(),
        config.source.as_ref(),
        config.manifest.as_ref(),
    )
    .await?;
    let source = Source::open(&dataset.source, &storage, &dataset.reading)?;
    let refreshed = manifest::refresh(
        &workspace,
        &dataset.name,
        &source,
        &dataset.manifest,
        &|_| {},
    )
    .await?;
    let generations = manifest::generations(&workspace, &dataset.name).await?;
    if args.json {
        return output::json(&generations);
    }
    match refreshed {
        Refresh::Added(g) => output::line(&format!(
            "generation {}: {} new, {} changed, {} gone, {} unchanged, {} shards",
            g.generation, g.new, g.changed, g.gone, g.unchanged, g.shards
        )),
        Refresh::Unchanged => output::line(&format!(
            "nothing has changed since generation {}",
            generations.len()
        )),
    }
}

async fn label(args: LabelArgs) -> Result<(), Error> {
    let noise = args.noise.as_deref().map(TeacherNoise::read).transpose()?;
    if let Some(left_out) = noise.as_ref().and_then(TeacherNoise::left_out) {
        say(format!("note: {left_out}"));
    }
    let mut config = config(args.config.as_deref())?;
    let label = &mut config.label;
    label.encoding = args.encoding.unwrap_or(label.encoding);
    label.batch = args.batch.unwrap_or(label.batch);
    label.workers = args.workers.unwrap_or(label.workers);
    config.validate()?;
    let workspace = open(&args.at).await?;
    let job = LabelJob {
        dataset: args.dataset,
        source: args.source,
        teacher: args.teacher,
        selection: args.selection,
        noise,
        retry_rejects: args.retry_rejects,
        newest_first: args.newest_first,
        pin: args.pin,
        device: args.runtime.device,
        onnxruntime: args.runtime.onnxruntime,
        config,
        storage: options(&args.at.storage),
        visible: true,
    };
    let summary = job.run(&workspace).await?;
    say(describe(&summary, job.retry_rejects));
    let printed = if args.json {
        output::json(&summary)
    } else {
        Ok(())
    };
    if summary.interrupted {
        // Ctrl-C ends the reader of a pipe as well: that is no reason to call the run finished.
        return Err(Error::Interrupted);
    }
    match summary.unfinished() {
        Some(unfinished) => Err(unfinished.into()),
        None => printed,
    }
}

fn describe(s: &Summary, retry: bool) -> String {
    let mut lines = vec![describe_work(s, retry)];
    lines.extend(s.selection.iter().flat_map(OfSelection::left_out));
    lines.join("\n")
}

fn describe_work(s: &Summary, retry: bool) -> String {
    if s.images == 0 {
        if let Some(selection) = &s.selection {
            return selection.nothing_to_do(&s.teacher);
        }
        return if retry {
            format!(
                "no rejects to label again for {} by {}",
                s.dataset, s.teacher
            )
        } else {
            format!(
                "all of {} is labelled by {} already ({} shards)",
                s.dataset, s.teacher, s.shards_before
            )
        };
    }
    format!(
        "{} of {} images labelled, {} rejected, in {} at {:.0} images/s on {}; {} shards, {} before\n\
         time: fetch {:.0} %, decode {:.0} %, infer {:.0} %; write {:.0} %; the bottleneck is {}",
        s.labelled,
        s.images,
        s.rejected,
        clock(s.seconds),
        s.images_per_second,
        s.device,
        s.shards,
        s.shards_before,
        s.time.fetch * 100.0,
        s.time.decode * 100.0,
        s.time.infer * 100.0,
        s.time.write * 100.0,
        s.bottleneck
    )
}

async fn select(args: &SelectArgs) -> Result<(), Error> {
    let job = select_job(args)?;
    let workspace = open(&args.at).await?;
    if args.plans {
        return plans(&job.prepare(&workspace).await?).await;
    }
    let (file, new) = job.run(&workspace).await?;
    say(file.describe(new));
    if args.json {
        output::json(&file)?;
    }
    Ok(())
}

/// What the arguments of `select` ask for.
///
/// # Errors
/// [`ConfigError`].
pub fn select_job(args: &SelectArgs) -> Result<SelectJob, ConfigError> {
    // `ID@N` is what a re-labelling makes of a selection.
    check_name("selection", &args.name).map_err(|e| ConfigError::Value {
        key: "--name",
        value: format!("`{}`", args.name),
        advice: e.hint().unwrap_or_default(),
    })?;
    let mut rules = config(args.config.as_deref())?.select;
    rules.threshold = args.threshold.unwrap_or(rules.threshold);
    rules.per_class = args.per_class.unwrap_or(rules.per_class);
    rules.balance = args.balance.unwrap_or(rules.balance);
    rules.targets = args.targets.unwrap_or(rules.targets);
    rules.method = args.method.unwrap_or(rules.method);
    rules.seed = args.seed.unwrap_or(rules.seed);
    rules.max_distance = args.max_distance.unwrap_or(rules.max_distance);
    rules.keep_duplicates |= args.keep_duplicates;
    rules.materialize |= args.materialize;
    rules.fraction = args.fraction.unwrap_or(rules.fraction);
    rules.interval = args.interval.or(rules.interval);
    rules.per_interval = args.per_interval.or(rules.per_interval);
    if !args.exclude.is_empty() {
        rules.exclude.clone_from(&args.exclude);
    }
    let labels = match (&args.labels, &args.dataset, &args.teacher) {
        (Some(files), _, _) => Labels::Files(files.clone()),
        (None, Some(dataset), Some(teacher)) => Labels::Dataset {
            dataset: dataset.clone(),
            teacher: teacher.clone(),
            filter: args.filter_teacher.clone(),
        },
        (None, _, _) => {
            return Err(ConfigError::missing(
                "--dataset",
                "name --dataset and --teacher, or Parquet files with --labels",
            ));
        }
    };
    Ok(SelectJob {
        id: args.name.clone(),
        labels,
        config: rules,
        explain: args.explain,
        queries: args.queries.clone(),
        storage: options(&args.at.storage),
    })
}

async fn plans(selection: &Prepared<'_>) -> Result<(), Error> {
    for file in selection.files() {
        let frame = selection.query(file).await?;
        let plan = frame.explain(false, false).map_err(CatalogError::from)?;
        output::line(&format!("-- {file}"))?;
        output::plan(catalog::execute(plan).await?).await?;
    }
    Ok(())
}

async fn export(args: ExportArgs) -> Result<(), Error> {
    let workspace = open(&args.at).await?;
    let job = ExportJob {
        selection: args.selection,
        format: args.format,
        out: args.out,
        copies: args.copies,
        order: args.order,
        seed: args.seed,
        shard_mib: args.shard_mib,
        config: config(args.config.as_deref())?,
        storage: options(&args.at.storage),
        visible: true,
    };
    match job.run(&workspace).await? {
        Outcome::Interrupted => Err(Error::Interrupted),
        Outcome::Done { file, url, new } => {
            say(file.describe(&url, new));
            if args.json {
                output::json(&file)?;
            }
            Ok(())
        }
    }
}

async fn report(args: ReportArgs) -> Result<(), Error> {
    let workspace = open(&args.at).await?;
    let storage = options(&args.at.storage);
    let (html, what) = if let Some(training) = args.training {
        let page = TrainingReport { training }.run(&workspace).await?;
        let what = format!("{} of {} steps", page.recorded, page.steps);
        (page.html, what)
    } else {
        let job = ReportJob {
            selection: args.selection.unwrap_or_default(),
            classes: args.classes,
            storage: storage.clone(),
        };
        let page = job.run(&workspace).await?;
        let lost = match page.unreadable {
            0 => String::new(),
            lost => format!(", {lost} that could not be read"),
        };
        (page.html, format!("{} images{lost}", page.shown))
    };
    if args.out == "-" {
        output::text(&html)?;
    } else {
        report::put(&html, &args.out, &storage).await?;
    }
    let size = html.len().div_ceil(1000);
    say(format!("{}: {what}, {size} kB", args.out));
    Ok(())
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
    } else if Pipeline::is_meant(&table) {
        Pipeline::read(file, &[])?;
        "pipeline"
    } else {
        Config::read(file)?;
        "pipeline"
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

fn say(text: impl AsRef<str>) {
    // Nobody reads standard error any more: the work goes on.
    let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
}
