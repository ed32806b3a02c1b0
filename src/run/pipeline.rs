//! `run`.

use super::{open, options};
use crate::cli::RunArgs;
use crate::error::Error;
use crate::output;
use crate::pipeline::{self, Bounds, Pipeline, RunJob};

pub(super) async fn run(args: RunArgs) -> Result<(), Error> {
    let pipeline = Pipeline::read(&args.file, &args.settings)?;
    let workspace = open(&args.at).await?;
    let job = RunJob {
        pipeline,
        bounds: Bounds {
            from: args.from,
            round: args.round,
        },
        storage: options(&args.at.storage),
        workspace: args.at.workspace,
        device: args.runtime.device,
        onnxruntime: args.runtime.onnxruntime,
        train_device: args.train_device,
        threads: args.threads.unwrap_or(0),
        training_library: args.training.onnxruntime_training,
        visible: true,
    };
    if args.dry_run {
        let stages = job.plan(&workspace).await?;
        return if args.json {
            output::json(&stages)
        } else {
            output::line(&pipeline::planned(&stages))
        };
    }
    let tell = |finished: &pipeline::Finished| {
        if args.json {
            return Ok(());
        }
        output::line(&pipeline::line(finished))
    };
    let outcome = Box::pin(job.run(&workspace, tell)).await?;
    if args.json {
        return output::json(&outcome);
    }
    if outcome.models.is_empty() {
        return Ok(());
    }
    output::line(&format!("\n{}", pipeline::models(&outcome.models)))
}
