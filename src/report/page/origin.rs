//! How the selection was made: settings, where its labels come from, the command.

use maud::{Markup, html};

use super::Section;
use crate::report::command::command;
use crate::report::figures::{Figures, TeacherFacts};
use crate::report::wording::{count, plain};
use crate::schema::Encoding;
use crate::select::{Balance, Method, SelectConfig, Targets};

/// A name, and what it is.
pub(super) type Row = (&'static str, Markup);

/// The section.
pub(super) fn section(figures: &Figures) -> Section {
    let lead = html! {
        p { "The same labels and settings give the same selection, byte for byte." }
    };
    let content = html! {
        div.columns {
            div { h3 { "Settings" } (list(&settings(&figures.file.config))) }
            div {
                h3 { "Labels" }
                (list(&labels(figures)))
            }
            @for (i, teacher) in figures.teachers.iter().enumerate() {
                div {
                    h3 {
                        "Teacher " (teacher.name)
                        @if figures.teachers.len() > 1 { " " span.note { @if i == 0 { "chose the rows" } @else { "gave the soft labels" } } }
                    }
                    (list(&of_teacher(teacher)))
                }
            }
        }
        h3 { "Command" }
        pre tabindex="0" { code { (plain(&command(&figures.file))) } }
        p.small { "Written from selection.json. Queries of one’s own (--queries) are not in it; the input’s hash covers them." }
    };
    (lead, content)
}

/// Names and what they are.
pub(super) fn list(rows: &[Row]) -> Markup {
    html! {
        dl.facts { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } }
    }
}

fn settings(config: &SelectConfig) -> Vec<Row> {
    let text = |text: &str| html! { (text) };
    let mut rows = Vec::new();
    if let (Some([from, to]), Some(n)) = (config.interval, config.per_interval) {
        rows.push((
            "Interval",
            html! { (from) " to " (to) ", " (count(n)) " rows" },
        ));
    } else {
        rows.extend([
            ("Threshold", html! { "above " (config.threshold) }),
            ("Images a class", html! { (count(config.per_class)) }),
            (
                "Balance",
                text(match config.balance {
                    Balance::Duplicate => "small classes are filled up with copies",
                    Balance::None => "none",
                }),
            ),
            (
                "Method",
                text(match config.method {
                    Method::Exact => "the most confident, exactly",
                    Method::Histogram => "101 bins and a sample",
                }),
            ),
        ]);
    }
    if config.fraction < 1.0 {
        rows.push(("Fraction", html! { (config.fraction) }));
    }
    let held_out = if config.exclude.is_empty() {
        text("none named")
    } else {
        html! { (config.exclude.join(", ")) ", up to " (config.max_distance) " bits apart" }
    };
    rows.extend([
        (
            "Targets",
            text(match config.targets {
                Targets::Soft => "soft",
                Targets::Hard => "hard",
            }),
        ),
        (
            "Duplicates",
            text(if config.keep_duplicates {
                "kept"
            } else {
                "kept once"
            }),
        ),
        ("Held out", held_out),
        ("Seed", html! { (config.seed) }),
    ]);
    rows
}

fn labels(figures: &Figures) -> Vec<Row> {
    let input = &figures.file.input;
    let code = |text: &str| html! { code { (plain(text)) } };
    let mut rows = Vec::new();
    if let Some(name) = &input.dataset {
        rows.push(("Dataset", html! { (name) }));
    }
    if let Some(dataset) = &figures.dataset {
        rows.push(("Source", code(&dataset.source)));
    }
    if let Some(files) = &input.labels {
        rows.push(("Labels", code(files)));
    }
    rows.extend([
        ("Objects", html! { (count(input.files)) }),
        ("Workspace", code(&figures.workspace)),
        ("Input SHA-256", code(&input.sha256)),
        (
            "Selected by",
            html! { "understudy " (figures.file.understudy) },
        ),
    ]);
    rows
}

fn of_teacher(teacher: &TeacherFacts) -> Vec<Row> {
    let record = &teacher.record;
    let code = |text: &str| html! { code { (text) } };
    let mut rows = Vec::new();
    if let Some(description) = &record.description {
        rows.push(("Description", html! { (plain(description)) }));
    }
    rows.extend([
        ("Classes", html! { (count(record.classes as u64)) }),
        ("Model SHA-256", code(&record.model_sha256)),
        ("Config SHA-256", code(&record.config_sha256)),
    ]);
    if let Some(settings) = &teacher.settings {
        let encoding = match settings.encoding {
            Encoding::Float16 => "Float16".to_owned(),
            Encoding::Float32 => "Float32".to_owned(),
            Encoding::TopK => format!("top {}", settings.top_k.unwrap_or_default()),
        };
        rows.push(("Preprocessing", code(&settings.preprocessing)));
        rows.push(("Soft labels", html! { (encoding) }));
        rows.push((
            "Gradient hash",
            html! { (settings.phash.as_deref().unwrap_or("none: JPEGs were decoded at a smaller scale")) },
        ));
    }
    rows.push(("Added by", html! { "understudy " (record.understudy) }));
    rows
}
