//! Labels that are, or look like, images of a held-out dataset, each pair side by side.

use maud::{Markup, html};

use super::Section;
use super::images::picture;
use super::plot::{Around, legend, plot};
use crate::report::ReportError;
use crate::report::charts;
use crate::report::figures::{Figures, Pair};
use crate::report::palette::Ink;
use crate::report::pictures::Pictures;
use crate::report::wording::{count, counted, file_name, plain, short};
use crate::select::REPORTED_DISTANCE;
use crate::select::report::LeakageRecord;

/// Of the drawing, in pixels.
const HEIGHT: u32 = 160;

/// The section; a sentence where nothing was looked for.
pub(super) fn section(figures: &Figures, pictures: &Pictures) -> Result<Section, ReportError> {
    let Some(leakage) = &figures.file.leakage else {
        let lead = html! {
            p { "No held-out dataset was named, so none was looked for. " code { "--exclude DATASET" } " of " code { "understudy select" } " names one." }
        };
        return Ok((lead, html! {}));
    };
    let most = figures.file.config.max_distance;
    let lead = html! {
        p {
            (counted(leakage.near, "label is", "labels are")) " within " (REPORTED_DISTANCE) " bits of one of "
            (counted(leakage.held_out, "held-out image", "held-out images")) " of " b { (figures.file.config.exclude.join(", ")) } ". "
            (count(leakage.dropped)) " were dropped: the same bytes, or at most " (counted(most.into(), "bit", "bits")) " apart."
        }
        (unknown(leakage))
    };
    let content = html! {
        @if leakage.near > 0 {
            (distances(figures, most)?)
            (pairs(figures, pictures, true, leakage.dropped))
            (pairs(figures, pictures, false, leakage.near - leakage.dropped))
        }
    };
    Ok((lead, content))
}

fn unknown(leakage: &LeakageRecord) -> Markup {
    let (held_out, labels) = (leakage.unfingerprinted, leakage.unfingerprinted_labels);
    html! {
        @if held_out > 0 || labels > 0 {
            p.remark {
                "Not compared, for want of a fingerprint: " (counted(held_out, "held-out image", "held-out images")) " and "
                (counted(labels, "label", "labels")) "."
            }
        }
        @if leakage.bytes_only > 0 || leakage.bytes_only_labels > 0 {
            p.remark {
                "Without a gradient hash, so that only the same bytes were found: " (counted(leakage.bytes_only, "held-out image", "held-out images")) " and "
                (counted(leakage.bytes_only_labels, "label", "labels")) "."
            }
        }
    }
}

fn distances(figures: &Figures, most: u32) -> Result<Markup, ReportError> {
    let bins = REPORTED_DISTANCE as usize + 1;
    let (mut near, mut dropped) = (vec![0; bins], vec![0; bins]);
    let mut same_bytes = 0;
    for d in &figures.distances {
        let bin = (d.distance as usize).min(bins - 1);
        near[bin] += d.images;
        dropped[bin] += if d.dropped { d.images } else { 0 };
        same_bytes += d.same_bytes;
    }
    let inks = [Ink::Available, Ink::Mark];
    let drawn = charts::histogram(&near, &dropped, inks, &[f64::from(most) + 1.0], HEIGHT)?;
    let middle = |bin: usize| (bin as f64 + 0.5) * 100.0 / bins as f64;
    let below: Vec<(f64, String)> = (0..bins)
        .map(|bin| (middle(bin), bin.to_string()))
        .collect();
    let stripes: Vec<String> = (0..bins)
        .map(|bin| {
            format!(
                "{bin} bits: {} labels, {} dropped",
                count(near[bin]),
                count(dropped[bin])
            )
        })
        .collect();
    let label: Vec<String> = (0..bins)
        .map(|bin| format!("{} at {bin}", count(near[bin])))
        .collect();
    let around = Around {
        label: &format!("Labels by their distance in bits: {}", label.join(", ")),
        below: &below,
        above: &[],
        scale: short,
        stripes: &stripes,
    };
    Ok(html! {
        figure {
            (legend(&[(Ink::Mark, "dropped".to_owned()), (Ink::Available, "near, and not dropped".to_owned())]))
            (plot(&drawn, &around))
            figcaption {
                "Bits in which the gradient hashes differ. "
                (counted(same_bytes, "label is a held-out image", "labels are held-out images")) " to the byte."
            }
        }
    })
}

/// The pairs of one kind that are shown, and how many there are.
fn pairs(figures: &Figures, pictures: &Pictures, dropped: bool, all: u64) -> Markup {
    let shown: Vec<&Pair> = figures
        .pairs
        .iter()
        .filter(|p| p.dropped == dropped)
        .collect();
    let rest = all.saturating_sub(shown.len() as u64);
    html! {
        @if !shown.is_empty() {
            h3 { @if dropped { "Dropped" } @else { "Near, and not dropped" } " " span.note { "the most doubtful first" } }
            ul.pairs {
                @for pair in &shown {
                    li.dropped[dropped] {
                        div.two {
                            figure { (picture(pictures, &pair.key, "the label’s image")) figcaption { bdi title=(plain(&pair.key)) { (file_name(&pair.key)) } } }
                            figure { (picture(pictures, &pair.held_out, "the held-out image")) figcaption { bdi title=(plain(&pair.held_out)) { (file_name(&pair.held_out)) } } }
                        }
                        p { b { @if pair.same_bytes { "the same bytes" } @else { (counted(pair.distance.into(), "bit", "bits")) " apart" } } }
                    }
                }
            }
            @if rest > 0 { p.small { "and " (count(rest)) " more" } }
        }
    }
}
