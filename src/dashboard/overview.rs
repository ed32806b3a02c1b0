//! Everything at a glance.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Frame, Section, link, moment, table, teacher};
use super::query::query;
use super::{Place, View, job};
use crate::jobs;
use crate::manifest;
use crate::promotion::{self, Kind, Promotion};
use crate::report::ReportError;
use crate::report::query::Query;
use crate::report::wording::{count, counted, per_cent, plain, share};
use crate::teacher as teachers;

const LABELS: Query = query!("labels.sql");
const RUNS: Query = query!("runs.sql");
const SELECTIONS: Query = query!("selections.sql");
const TRAININGS: Query = query!("trainings.sql");

/// Jobs that are listed.
const JOBS: usize = 10;

/// A teacher's labels of a dataset.
#[derive(Deserialize)]
struct Labelled {
    dataset: String,
    teacher: String,
    labels: u64,
    confidence: f64,
}

#[derive(Deserialize)]
struct Run {
    kind: String,
    outcome: String,
    error: Option<String>,
    started: String,
    dataset: Option<String>,
    teacher: Option<String>,
    selection: Option<String>,
    images: u64,
    seconds: f64,
    images_per_second: f64,
}

#[derive(Deserialize)]
struct Chosen {
    selection: String,
    classes: u64,
    kept: u64,
    copies: u64,
}

#[derive(Deserialize)]
struct Taught {
    training: String,
    selection: Option<String>,
    teacher: Option<String>,
    steps: u64,
    held_out_top1: Option<f64>,
}

pub(super) async fn page(view: &View<'_>) -> Result<String, ReportError> {
    let history = promotion::history(view.workspace).await?;
    let labelled: Vec<Labelled> = view.rows(LABELS, &[]).await?;
    let all = manifest::all(view.workspace).await?.into_iter();
    let images: BTreeMap<String, u64> = all
        .map(|(dataset, generations)| (dataset, manifest::images(&generations)))
        .collect();
    let known = teachers::list(view.workspace).await?;
    let runs: Vec<Run> = view.rows(RUNS, &[]).await?;
    let jobs = jobs::list_again(view.workspace, view.ended_jobs).await?;
    let current = history.last();
    let all: u64 = images.values().sum();
    let frame = Frame {
        title: "Workspace".into(),
        above: html! { (view.workspace.at.url()) },
        lede: html! {
            (counted(all, "image", "images")) " in " (counted(images.len() as u64, "dataset", "datasets")) ", "
            (counted(known.len() as u64, "teacher", "teachers")) "; "
            @match current {
                Some(promotion) => { (teacher(&promotion.teacher)) " is current" }
                None => { "nobody is promoted yet" }
            }
        },
        sections: vec![
            datasets(&images, &labelled, current),
            job::section(&jobs, JOBS),
            Section {
                title: "Teachers",
                lead: html! { p { "Each version is immutable. The promoted one labels." } },
                content: promotions(&known, &history),
            },
            Section {
                title: "Selections",
                lead: html! { p { "Training sets that were chosen from labels." } },
                content: selections(&view.rows(SELECTIONS, &[]).await?),
            },
            Section {
                title: "Trainings",
                lead: html! { p { "Students, and the teachers that they became." } },
                content: trainings(&view.rows(TRAININGS, &[]).await?),
            },
            Section {
                title: "Runs",
                lead: html! { p { "The newest ones; a run that found nothing to do leaves none." } },
                content: all_runs(&runs),
            },
        ],
        script: None,
    };
    Ok(frame.render())
}

fn datasets(
    images: &BTreeMap<String, u64>,
    labelled: &[Labelled],
    current: Option<&Promotion>,
) -> Section {
    let rows: Vec<Markup> = images
        .iter()
        .flat_map(|(dataset, images)| {
            let mut of: Vec<Option<&Labelled>> = labelled
                .iter()
                .filter(|l| l.dataset == *dataset)
                .map(Some)
                .collect();
            if of.is_empty() {
                of.push(None);
            }
            of.into_iter().map(|of| row(dataset, *images, of, current))
        })
        .collect();
    Section {
        title: "Datasets",
        lead: html! { p { "A dataset’s images, and who has labelled how many of them." } },
        content: or(
            rows.is_empty(),
            "No dataset yet: `understudy label` makes one.",
            || {
                let columns = [
                    ("Dataset", false),
                    ("Images", true),
                    ("Labelled by", false),
                    ("Labels", true),
                    ("", true),
                    ("Mean confidence", true),
                ];
                table("Datasets", &columns, &rows)
            },
        ),
    }
}

fn row(dataset: &str, images: u64, of: Option<&Labelled>, current: Option<&Promotion>) -> Markup {
    let place = Place::Dataset {
        dataset: dataset.to_owned(),
        teacher: of.map(|of| of.teacher.clone()),
    };
    html! {
        th scope="row" { (link(&place, dataset)) }
        td.number { (count(images)) }
        @match of {
            Some(of) => {
                td {
                    (teacher(&of.teacher))
                    @if current.is_some_and(|c| c.teacher == of.teacher) { " " span.note { "current" } }
                }
                td.number { (count(of.labels)) }
                td.number { (share(of.labels, images)) }
                td.number { (format!("{:.3}", of.confidence)) }
            }
            None => { td.note colspan="4" { "not labelled yet" } }
        }
    }
}

fn promotions(known: &[teachers::TeacherRecord], history: &[Promotion]) -> Markup {
    let promoted: Vec<Markup> = history
        .iter()
        .rev()
        .map(|p| {
            html! {
                th.number scope="row" { (p.number) }
                td { (teacher(&p.teacher)) }
                td {
                    (match p.kind { Kind::Promotion => "promoted", Kind::Rollback => "rolled back to" })
                    @if p.forced { " " span.failed { "by force" } }
                }
                td.number { @if let Some(gate) = &p.gate { (per_cent(gate.candidate.top1.share)) } }
                td.number { (moment(&p.promoted)) }
                td { @if let Some(note) = &p.note { (plain(note)) } }
            }
        })
        .collect();
    html! {
        @if known.is_empty() { p.note { "None yet: " code { "understudy teachers add" } " adds a model." } }
        @else { p.choice { @for record in known { (teacher(&record.to_string())) } } }
        @if !promoted.is_empty() {
            (table("Promotions", &[("Promotion", true), ("Teacher", false), ("", false), ("Top-1 at the gate", true), ("When (UTC)", true), ("Note", false)], &promoted))
        }
    }
}

fn selections(found: &[Chosen]) -> Markup {
    let rows: Vec<Markup> = found
        .iter()
        .map(|s| {
            let place = Place::Selection {
                selection: s.selection.clone(),
            };
            html! {
                th scope="row" { (link(&place, &s.selection)) }
                td.number { (count(s.classes)) }
                td.number { (count(s.kept)) }
                td.number { (count(s.copies)) }
            }
        })
        .collect();
    or(
        rows.is_empty(),
        "None yet: `understudy select` makes one.",
        || {
            let columns = [
                ("Selection", false),
                ("Classes", true),
                ("Images", true),
                ("With copies", true),
            ];
            table("Selections", &columns, &rows)
        },
    )
}

fn trainings(found: &[Taught]) -> Markup {
    let rows: Vec<Markup> = found
        .iter()
        .map(|t| {
            let place = Place::Training {
                training: t.training.clone(),
            };
            html! {
                th scope="row" { (link(&place, &t.training)) }
                td {
                    @if let Some(selection) = &t.selection {
                        (link(&Place::Selection { selection: selection.clone() }, selection))
                    } @else { span.note { "labelled images alone" } }
                }
                td.number { (count(t.steps)) }
                td.number { @if let Some(top1) = t.held_out_top1 { (per_cent(top1)) } }
                td { @if let Some(name) = &t.teacher { (teacher(name)) } @else { span.note { "not finished" } } }
            }
        })
        .collect();
    or(
        rows.is_empty(),
        "None yet: `understudy train` makes one.",
        || {
            let columns = [
                ("Training", false),
                ("Selection", false),
                ("Steps", true),
                ("Held-out top-1", true),
                ("Became", false),
            ];
            table("Trainings", &columns, &rows)
        },
    )
}

fn all_runs(runs: &[Run]) -> Markup {
    let rows: Vec<Markup> = runs
        .iter()
        .map(|run| {
            let about = [&run.dataset, &run.selection, &run.teacher];
            let about: Vec<&str> = about.into_iter().flatten().map(String::as_str).collect();
            html! {
                th scope="row" { (run.kind) }
                td { (about.join(" · ")) @if let Some(error) = &run.error { div.note { (plain(error)) } } }
                td.failed[run.outcome == "failed"] { (run.outcome) }
                td.number { (count(run.images)) }
                td.number { (count(run.images_per_second.round() as u64)) "/s" }
                td.number { (format!("{:.1} s", run.seconds)) }
                td.number { (moment(&run.started)) }
            }
        })
        .collect();
    or(rows.is_empty(), "None yet.", || {
        let columns = [
            ("Run", false),
            ("", false),
            ("Outcome", false),
            ("Images", true),
            ("Speed", true),
            ("Time", true),
            ("Started (UTC)", true),
        ];
        table("Runs", &columns, &rows)
    })
}

/// A table, or a sentence in its place.
fn or(empty: bool, sentence: &str, table: impl FnOnce() -> Markup) -> Markup {
    if empty {
        html! { p.note { (sentence) } }
    } else {
        table()
    }
}
