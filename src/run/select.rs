//! `select`, and what is made of a selection: `report` and `export`.

use super::{config, open, options, say};
use crate::catalog::{self, CatalogError};
use crate::cli::{ExportArgs, ReportArgs, SelectArgs};
use crate::config::ConfigError;
use crate::error::Error;
use crate::export::job::{ExportJob, Outcome};
use crate::output;
use crate::report::{self, ReportJob, TrainingReport};
use crate::select::input::Labels;
use crate::select::job::SelectJob;
use crate::select::prepared::Prepared;
use crate::workspace::check_name;

pub(super) async fn select(args: &SelectArgs) -> Result<(), Error> {
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
        memory: args.memory,
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

pub(super) async fn export(args: ExportArgs) -> Result<(), Error> {
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

pub(super) async fn report(args: ReportArgs) -> Result<(), Error> {
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
            memory: args.memory,
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
