//! The head of the page: the key figures; and below it what became of each label.

use maud::{Markup, html};

use super::Section;
use super::plot::{drawing, swatch};
use crate::report::ReportError;
use crate::report::charts;
use crate::report::figures::Figures;
use crate::report::palette::Ink;
use crate::report::wording::{count, counted, plain, share};
use crate::select::Method;
use crate::select::report::SelectionFile;

/// Height of the bar of what became of the labels, in pixels.
const BAR: u32 = 36;

/// The title and the key figures.
pub(super) fn header(figures: &Figures) -> Markup {
    let file = &figures.file;
    let t = &file.totals;
    let filled = file.classes.iter().filter(|c| c.kept > 0).count() as u64;
    let with_copies = file.classes.iter().filter(|c| c.copies > c.kept).count() as u64;
    let left_out = file.left_out.values().sum::<u64>();
    let tiles = [
        ("labels looked at", count(t.labels), String::new()),
        (
            "candidates",
            count(t.candidates),
            format!("{} of the labels", share(t.candidates, t.labels)),
        ),
        (
            "kept",
            count(t.rows),
            format!("{} of the candidates", share(t.rows, t.candidates)),
        ),
        (
            "with copies",
            count(t.copies),
            "rows that a student sees in an epoch".to_owned(),
        ),
        (
            "classes filled",
            count(filled),
            classes_note(known_classes(file), with_copies),
        ),
        ("left out", count(left_out), main_reason(file)),
    ];
    html! {
        header {
            p.eyebrow { "understudy · selection report" }
            h1 { (file.id) }
            p.lede { (lede(file)) }
            dl.tiles {
                @for (name, number, note) in &tiles {
                    div {
                        dt { (name) }
                        dd { span.number.long[number.len() > 10] { (number) } @if !note.is_empty() { " " span.note { (note) } } }
                    }
                }
            }
        }
    }
}

fn classes_note(all: Option<u64>, with_copies: u64) -> String {
    let all = all.map(|all| format!("of {}", count(all)));
    let copies =
        (with_copies > 0).then(|| format!("{} with the help of copies", count(with_copies)));
    all.into_iter().chain(copies).collect::<Vec<_>>().join("; ")
}

/// How many classes the teacher knows; none where it is another system's.
pub(super) fn known_classes(file: &SelectionFile) -> Option<u64> {
    file.input
        .dataset
        .as_ref()
        .map(|_| (file.classes.len() + file.empty_classes.len()) as u64)
}

fn lede(file: &SelectionFile) -> Markup {
    let input = &file.input;
    let chooser = input.filter_teacher.as_ref().or(input.teacher.as_ref());
    html! {
        "Of " (counted(file.totals.labels, "label", "labels")) " "
        @match (&input.dataset, chooser) {
            (Some(dataset), Some(teacher)) => { "that " b { (teacher) } " gave the images of " b { (dataset) } }
            _ => { "in " code { (plain(input.labels.as_deref().unwrap_or_default())) } }
        }
        ", " (counted(file.totals.rows, "is", "are")) " kept"
        @if input.filter_teacher.is_some() {
            "; their soft labels are those of " b { (input.teacher.as_deref().unwrap_or_default()) }
        }
        "."
    }
}

fn main_reason(file: &SelectionFile) -> String {
    let largest = file.left_out.iter().max_by_key(|(_, rows)| **rows);
    largest.map_or(String::new(), |(reason, rows)| {
        format!("{} of them: {}", count(*rows), name(reason, file).1)
    })
}

/// Of a reason: its colour, its name, and what it means.
fn name<'a>(reason: &'a str, file: &SelectionFile) -> (Ink, &'a str) {
    match reason {
        "threshold" if file.config.interval.is_some() => (Ink::Unsure, "outside the interval"),
        "threshold" => (Ink::Unsure, "not sure enough"),
        "duplicate" => (Ink::Duplicate, "duplicates"),
        "leaked" => (Ink::Mark, "held out"),
        "beyond-k" if file.config.method == Method::Histogram => (Ink::Beyond, "not drawn"),
        "beyond-k" => (Ink::Beyond, "beyond the best of their class"),
        "sampled-out" => (Ink::Sampled, "not in the sample"),
        "invalid" => (Ink::Invalid, "invalid"),
        other => (Ink::Invalid, other),
    }
}

fn meaning(reason: &str, file: &SelectionFile) -> String {
    let config = &file.config;
    match reason {
        "threshold" => match config.interval {
            Some([from, to]) => format!("confidence outside {from} to {to}"),
            None => format!("confidence not above {}", config.threshold),
        },
        "duplicate" => "the same bytes as an image with an earlier key".to_owned(),
        "leaked" => format!(
            "an image of {}, or within {} of one",
            config.exclude.join(", "),
            counted(config.max_distance.into(), "bit", "bits")
        ),
        "beyond-k" if config.method == Method::Histogram => format!(
            "below the bin down to which their class has {}, or left out by a hash of seed and key",
            count(config.per_class)
        ),
        "beyond-k" => format!(
            "{} of their class are more confident",
            count(config.per_class)
        ),
        "sampled-out" => "a hash of seed and key left them out".to_owned(),
        "invalid" => "no class, or no confidence from 0 to 1".to_owned(),
        _ => String::new(),
    }
}

/// What became of the labels: one bar, and its parts in words.
pub(super) fn fate(figures: &Figures) -> Result<Section, ReportError> {
    let file = &figures.file;
    let t = &file.totals;
    let mut parts = vec![(Ink::Kept, "kept", "in the selection".to_owned(), t.rows)];
    // The other way round than they apply: what was nearest to being kept comes first.
    let known = [
        "beyond-k",
        "sampled-out",
        "leaked",
        "duplicate",
        "threshold",
        "invalid",
    ];
    let others = file.left_out.keys().map(String::as_str);
    let others = others.filter(|reason| !known.contains(reason));
    for reason in known.into_iter().chain(others) {
        if let Some(rows) = file.left_out.get(reason) {
            let (ink, name) = name(reason, file);
            parts.push((ink, name, meaning(reason, file), *rows));
        }
    }
    if let Some(unlabelled) = file.unlabelled.as_ref().filter(|u| u.keys > 0) {
        let teacher = file.input.teacher.as_deref().unwrap_or_default();
        let meaning = format!("chosen, but {teacher} has not labelled them");
        parts.push((
            Ink::Invalid,
            "without a soft label",
            meaning,
            unlabelled.keys,
        ));
    }
    let bar: Vec<(Ink, u64)> = parts.iter().map(|p| (p.0, p.3)).collect();
    let label = parts
        .iter()
        .map(|(_, name, _, rows)| format!("{} {name}", count(*rows)))
        .collect::<Vec<_>>()
        .join(", ");
    let plot = charts::stack(&bar, BAR)?;
    let lead = html! {
        p {
            "Each label is kept, or left out for the first reason that applies. "
            (share(t.rows, t.labels)) " of the labels are kept."
        }
    };
    let content = html! {
        div.stack style={ "--height:" (BAR) "px" } { (drawing(&plot.svg, BAR, &label)) }
        table.plain {
            caption.hidden { "Labels by what became of them" }
            thead { tr { th scope="col" { "What became of them" } th.number scope="col" { "Labels" } th.number scope="col" { "Share" } } }
            tbody {
                @for (ink, name, meaning, rows) in &parts {
                    tr {
                        th scope="row" { div.item { (swatch(*ink)) div { b { (name) } " " span.note { (meaning) } } } }
                        td.number { (count(*rows)) }
                        td.number { (share(*rows, t.labels)) }
                    }
                }
            }
        }
        @if let Some(unlabelled) = file.unlabelled.as_ref().filter(|u| u.keys > 0) {
            details {
                summary { "Some of the " (counted(unlabelled.keys, "image", "images")) " without a soft label" }
                ul.keys { @for key in &unlabelled.examples { li { bdi { (plain(key)) } } } }
            }
        }
    };
    Ok((lead, content))
}
