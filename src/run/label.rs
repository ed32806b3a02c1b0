//! `manifest` and `label`.

use std::sync::Arc;

use super::{config, open, options, say};
use crate::cli::{LabelArgs, ManifestArgs};
use crate::dataset;
use crate::error::Error;
use crate::label::job::LabelJob;
use crate::label::noise::TeacherNoise;
use crate::label::progress::{Summary, clock};
use crate::label::selection::OfSelection;
use crate::manifest::{self, Refresh};
use crate::output;
use crate::source::Source;

pub(super) async fn refresh(args: &ManifestArgs) -> Result<(), Error> {
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

pub(super) async fn label(args: LabelArgs) -> Result<(), Error> {
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
        stop: Arc::default(),
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
