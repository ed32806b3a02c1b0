//! `evaluate`.

use super::{config, options};
use crate::cli::EvaluateArgs;
use crate::config::ConfigError;
use crate::error::Error;
use crate::evaluate::{self, EvaluateJob, ModelRef, ModelSpec};
use crate::output;
use crate::workspace::Workspace;

pub(super) async fn evaluate(args: EvaluateArgs) -> Result<(), Error> {
    let mut config = config(args.config.as_deref())?;
    let label = &mut config.label;
    label.batch = args.batch.unwrap_or(label.batch);
    label.workers = args.workers.unwrap_or(label.workers);
    let data = config.data.get_or_insert_default();
    data.url = args.data.unwrap_or_else(|| std::mem::take(&mut data.url));
    data.label_column = args.label_column.or(data.label_column.take());
    data.image_column = args.image_column.or(data.image_column.take());
    data.matching = args.matching.unwrap_or(data.matching);
    data.split = args.split.or(data.split);
    data.per_class = args.per_class.or(data.per_class);
    data.skip_unlabelled |= args.skip_unlabelled;
    if let Some(path) = args.classes {
        let text =
            std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?;
        data.classes = text.lines().map(|l| l.trim_end().to_owned()).collect();
    }
    config.validate()?;
    let storage = options(&args.storage);
    // Files need no workspace, even where the environment names one.
    let teachers = std::iter::once(&args.model)
        .chain(&args.against)
        .any(|model| matches!(model, ModelRef::Teacher(_)));
    let workspace = match args.workspace.filter(|_| teachers) {
        Some(url) => Some(Workspace::open(&url, &storage).await?),
        None => None,
    };
    let job = EvaluateJob {
        model: ModelSpec {
            model: args.model,
            config: args.model_config,
        },
        against: args.against.map(|model| ModelSpec {
            model,
            config: args.against_config,
        }),
        config,
        device: args.runtime.device,
        onnxruntime: args.runtime.onnxruntime,
        storage,
        predictions: args.predictions,
        visible: true,
    };
    let evaluation = job.run(workspace.as_ref()).await?;
    if let Some(path) = args.plot {
        std::fs::write(path, evaluate::plot(&evaluation)?)?;
    }
    if args.json {
        return output::json(&evaluation);
    }
    output::line(&evaluate::table(&evaluation))
}
