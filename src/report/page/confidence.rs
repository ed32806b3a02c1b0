//! How confident the labels are, and which of them were kept.

use maud::{Markup, html};

use super::Section;
use super::plot::{Around, legend, plot};
use crate::report::ReportError;
use crate::report::charts;
use crate::report::figures::{BINS, Figures};
use crate::report::palette::Ink;
use crate::report::wording::{count, counted, plain, share, short};

/// Of the drawing, in pixels.
const HEIGHT: u32 = 300;

/// The histogram, and its numbers as a table.
pub(super) fn section(figures: &Figures) -> Result<Section, ReportError> {
    let file = &figures.file;
    let none = vec![0; BINS];
    let labels = figures.labels.as_ref();
    // A mark in per cent of the width, and what it says.
    let marks: Vec<(f64, String)> = match file.config.interval {
        Some([from, to]) => vec![
            (per_cent(from), format!("from {from}")),
            (per_cent(to), format!("to {to}")),
        ],
        None => vec![(
            per_cent(file.config.threshold),
            format!("threshold {}", file.config.threshold),
        )],
    };
    let places: Vec<f64> = marks
        .iter()
        .map(|(at, _)| at * BINS as f64 / 100.0)
        .collect();
    let inks = [Ink::Available, Ink::Kept];
    let drawn = charts::histogram(
        labels.unwrap_or(&none),
        &figures.kept,
        inks,
        &places,
        HEIGHT,
    )?;
    let in_bin = |bin: usize| {
        let kept = count(figures.kept[bin]);
        match labels {
            Some(labels) => format!("{} labels, {kept} kept", count(labels[bin])),
            None => format!("{kept} kept"),
        }
    };
    let stripes: Vec<String> = (0..BINS)
        .map(|bin| format!("{} to {}: {}", edge(bin), edge(bin + 1), in_bin(bin)))
        .collect();
    let below: Vec<(f64, String)> = (0..=5_u32)
        .map(|n| (f64::from(n) * 20.0, format!("{:.1}", f64::from(n) / 5.0)))
        .collect();
    let around = Around {
        label: "Histogram of the confidence of all labels and of the kept ones; the table below has its numbers",
        below: &below,
        above: &marks,
        scale: short,
        stripes: &stripes,
    };
    let mut entries = vec![(Ink::Kept, "kept".to_owned())];
    if labels.is_some() {
        entries.insert(0, (Ink::Available, "all labels".to_owned()));
    }
    let content = html! {
        figure {
            (legend(&entries))
            (plot(&drawn, &around))
            figcaption { "Labels by confidence, in bins of 0.02" }
        }
        (table(figures))
    };
    Ok((lead(figures), content))
}

fn lead(figures: &Figures) -> Markup {
    let (file, labels) = (&figures.file, figures.labels.as_ref());
    let t = &file.totals;
    let sure = t.candidates + beside_threshold(figures);
    html! {
        p {
            @match (file.config.interval, labels) {
                (Some([from, to]), _) => { "Only confidences from " (from) " to " (to) " were looked for: " (share(sure, t.labels)) " of the labels." }
                (None, _) => { (share(sure, t.labels)) " of the labels are more confident than the threshold of " (file.config.threshold) "." }
            }
        }
        @if labels.is_none() {
            p {
                "How confident the labels are that were left out is not known here: they are another system’s, in "
                code { (plain(file.input.labels.as_deref().unwrap_or_default())) }
                ", and the workspace has what was kept of them."
            }
        }
        @if let Some(now) = labels.map(|l| l.iter().sum::<u64>()).filter(|now| *now != t.labels) {
            p.remark {
                "The labels have changed since: the selection was made of " (counted(t.labels, "label", "labels")) ", the histogram is of the "
                (count(now)) " that are there now."
            }
        }
    }
}

fn table(figures: &Figures) -> Markup {
    let labels = figures.labels.as_ref();
    html! {
        details {
            summary { "The numbers as a table" }
            div.scroll tabindex="0" role="region" aria-label="Labels by confidence" {
                table {
                    thead { tr {
                        th scope="col" { "Confidence" }
                        @if labels.is_some() { th.number scope="col" { "Labels" } }
                        th.number scope="col" { "Kept" }
                    } }
                    tbody {
                        @for bin in (0..BINS).rev() {
                            tr {
                                th scope="row" { (edge(bin)) " to " (edge(bin + 1)) }
                                @if let Some(labels) = labels { td.number { (count(labels[bin])) } }
                                td.number { (count(figures.kept[bin])) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The lower edge of a bin.
fn edge(bin: usize) -> String {
    format!("{:.2}", bin as f64 / BINS as f64)
}

/// Labels above the threshold that are no candidates: duplicates and held-out images.
fn beside_threshold(figures: &Figures) -> u64 {
    let rows = |reason: &str| figures.file.left_out.get(reason).copied().unwrap_or(0);
    rows("duplicate") + rows("leaked")
}

fn per_cent(confidence: f32) -> f64 {
    f64::from(confidence) * 100.0
}
