//! Jobs for people.

use super::record::{Job, JobProgress};
use crate::output::aligned;

/// All jobs, a line each, in the order in which they were submitted; without a line end.
pub fn table(jobs: &[Job]) -> String {
    let head = ["id", "kind", "state", "submitted", "progress", "by"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(jobs.iter().map(|job| {
        let view = job.view();
        let state = if view.cancel_requested {
            "to be cancelled"
        } else {
            view.state.name()
        };
        vec![
            view.id.to_owned(),
            view.kind.to_owned(),
            state.to_owned(),
            view.submitted.to_owned(),
            view.progress.map(progress).unwrap_or_default(),
            view.by.unwrap_or_default().to_owned(),
        ]
    }));
    aligned(&rows).trim_end().to_owned()
}

/// One job, with how it failed; without a line end.
pub fn describe(job: &Job) -> String {
    let view = job.view();
    let mut rows: Vec<(&str, String)> = vec![
        ("job", view.id.to_owned()),
        ("kind", view.kind.to_owned()),
        ("state", view.state.name().to_owned()),
        ("submitted", view.submitted.to_owned()),
    ];
    let mut more = |name, value: Option<String>| {
        rows.extend(value.map(|value| (name, value)));
    };
    more("by", view.by.map(str::to_owned));
    more("key", view.key.map(str::to_owned));
    more("started", view.started.map(str::to_owned));
    more("finished", view.finished.map(str::to_owned));
    more(
        "begun",
        (view.attempts > 1).then(|| format!("{} times", view.attempts)),
    );
    more("holder", view.holder.map(str::to_owned));
    more("progress", view.progress.map(progress));
    more("cancel", view.cancel_requested.then(|| "requested".into()));
    more("error", view.error.map(|e| e.message.clone()));
    more("hint", view.error.and_then(|e| e.hint.clone()));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    aligned(&rows).trim_end().to_owned()
}

fn progress(progress: &JobProgress) -> String {
    let JobProgress { unit, done, total } = progress;
    format!("{done} of {total} {unit}")
}
