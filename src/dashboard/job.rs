//! A job: what it does, how far it is, what it came to.

use maud::{Markup, html};

use super::frame::{Frame, Section, moment, table};
use super::place::Place;
use crate::jobs::{self, Job, State};
use crate::report::ReportError;
use crate::report::wording::{count, counted, plain};
use crate::workspace::Workspace;

/// Keeps the page as the job goes on; without it the page says how it was.
const SCRIPT: &str = include_str!("job.js");

pub(super) async fn page(workspace: &Workspace, id: &str) -> Result<String, ReportError> {
    let job = jobs::get(workspace, id).await?;
    let state = job.state();
    let shown = job.view();
    let (result, error) = (shown.result, shown.error);
    let mut facts = vec![("submitted", shown.submitted.to_owned())];
    let text = |name, value: Option<&str>| value.map(|value| (name, value.to_owned()));
    facts.extend(text("by", shown.by));
    facts.extend(text("started", shown.started));
    facts.extend(text("ended", shown.finished));
    facts.extend(text("key", shown.key));
    facts.extend(text("works on it", shown.holder));
    if shown.attempts > 1 {
        facts.push(("begun", format!("{} times", shown.attempts)));
    }
    let rows: Vec<Markup> = facts
        .iter()
        .map(|(name, value)| html! { th scope="row" { (name) } td { (plain(value)) } })
        .collect();
    let mut sections = vec![Section {
        title: "Progress",
        lead: html! {},
        content: html! {
            div #job data-events=[(!state.is_final()).then(|| format!("/v1/jobs/{}/events", job.file.id))] {
                (progress(&job))
            }
            @if let Some(error) = error {
                pre.failed role="alert" { (error.message.lines().map(plain).collect::<Vec<_>>().join("\n")) }
                @if let Some(hint) = &error.hint { p { (plain(hint)) } }
            }
            (table("Facts", &[("", false), ("", false)], &rows))
        },
    }];
    sections.push(json("Work", &shown.work));
    sections.extend(result.map(|result| json("Result", result)));
    let frame = Frame {
        title: format!("{} job", job.file.work.kind()),
        above: html! { (job.file.id) },
        lede: html! { (words(&job)) },
        sections,
        script: (!state.is_final()).then_some(SCRIPT),
    };
    Ok(frame.render())
}

/// A job's state as a person says it.
pub(super) fn words(job: &Job) -> &'static str {
    match job.state() {
        State::Queued => "It waits for a worker.",
        State::Running if job.cancel => "It is being cancelled.",
        State::Running => "A worker is on it.",
        State::Done => "It is done.",
        State::Failed => "It failed.",
        State::Cancelled => "It was cancelled.",
    }
}

fn progress(job: &Job) -> Markup {
    let progress = job.last.as_ref().and_then(|entry| entry.progress.as_ref());
    html! {
        @if let Some(of) = progress {
            progress max=(of.total) value=(of.done) aria-label="Progress" {}
            p.note { (count(of.done)) " of " (count(of.total)) " " (plain(&of.unit)) }
        } @else {
            p.note { (words(job)) }
        }
    }
}

/// The jobs, as a section of the overview.
pub(super) fn section(all: &[Job], most: usize) -> Section {
    let waiting = all.iter().filter(|j| !j.state().is_final()).count() as u64;
    let rows: Vec<Markup> = all
        .iter()
        .rev()
        .take(most)
        .map(|job| {
            let place = Place::Job {
                job: job.file.id.clone(),
            };
            html! {
                th scope="row" { a href=(place.link()) { (job.file.work.kind()) } " " span.note { (job.file.id) } }
                td.failed[job.state() == State::Failed] { (job.state().name()) }
                td { (progress(job)) }
                td.number { (moment(&job.file.submitted)) }
            }
        })
        .collect();
    let columns = [
        ("Job", false),
        ("State", false),
        ("Progress", false),
        ("Submitted (UTC)", true),
    ];
    Section {
        title: "Jobs",
        lead: html! { @if waiting > 0 { p { (counted(waiting, "job has", "jobs have")) " not ended." } } },
        content: html! {
            @if rows.is_empty() { p.note { "None yet: " code { "understudy jobs submit" } " and " code { "POST /v1/jobs" } " submit one." } }
            @else { (table("Jobs", &columns, &rows)) }
        },
    }
}

fn json(title: &'static str, value: &impl serde::Serialize) -> Section {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    Section {
        title,
        lead: html! {},
        content: html! { pre tabindex="0" { (text) } },
    }
}
