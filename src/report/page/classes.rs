//! The classes: all in one drawing, the extremes in lists, each one in a table.

use maud::{Markup, html};

use super::Section;
use super::plot::{Around, legend, ornament, plot};
use super::summary::known_classes;
use crate::report::ReportError;
use crate::report::charts::{self, WIDTH};
use crate::report::figures::Figures;
use crate::report::palette::Ink;
use crate::report::strips::ranking;
use crate::report::wording::{confidence, count, counted, plain, share, short};
use crate::select::report::ClassRecord;

/// Up to so many classes each has its bar in the table; more are drawn in one chart.
const ROWS_WITH_BARS: usize = 40;
/// From so many classes on the extremes are listed, and the table can be searched.
const MANY: usize = 12;
/// Classes of a list of extremes.
const LISTED: usize = 6;
/// Rows of the table: 25,000 are some 5 MB of HTML.
const MOST_ROWS: usize = 25_000;
/// Heights in pixels.
const AREAS: u32 = 280;
const CUT_OFFS: u32 = 130;
const BAR: u32 = 10;

/// The section.
pub(super) fn section(figures: &Figures) -> Result<Section, ReportError> {
    let file = &figures.file;
    let ranking = ranking(&file.classes);
    let with_bars = ranking.len() <= ROWS_WITH_BARS;
    let copied = ranking.iter().any(|c| c.copies > c.kept);
    let content = html! {
        @if !with_bars { (all(figures, &ranking, copied)?) }
        @if ranking.len() > MANY { (extremes(&ranking)) }
        @if with_bars { (key(copied)) }
        (table(figures, &ranking, with_bars)?)
        @if !file.empty_classes.is_empty() {
            details {
                summary { (counted(file.empty_classes.len() as u64, "class has", "classes have")) " no candidates" }
                ul.names { @for name in &file.empty_classes { li { bdi { (plain(name)) } } } }
            }
        }
    };
    Ok((lead(figures, &ranking), content))
}

fn lead(figures: &Figures, ranking: &[&ClassRecord]) -> Markup {
    let file = &figures.file;
    let filled = ranking.iter().filter(|c| c.kept > 0).count() as u64;
    let cut = ranking.iter().filter(|c| c.available > c.kept).count() as u64;
    let copied = ranking.iter().filter(|c| c.copies > c.kept && c.kept > 0);
    let most = copied.max_by_key(|c| c.copies / c.kept);
    html! {
        p {
            (count(filled))
            @if let Some(all) = known_classes(file) { " of " (count(all)) }
            " classes have images. "
            @if cut == 0 { "None has" } @else { (counted(cut, "has", "have")) }
            " more candidates than were kept."
        }
        @if let Some(class) = most {
            p {
                b { (name(class)) } " needs copies the most: " (counted(class.kept, "image stands", "images stand"))
                " for " (count(class.copies)) "."
            }
        }
    }
}

/// The name of a class, or its number.
pub(super) fn name(class: &ClassRecord) -> Markup {
    html! {
        @match &class.label {
            Some(label) => { bdi { (plain(label)) } }
            None => { "class " (class.class) }
        }
    }
}

fn key(copied: bool) -> Markup {
    let mut entries = vec![
        (Ink::Kept, "kept".to_owned()),
        (Ink::Available, "candidates beyond those".to_owned()),
    ];
    if copied {
        entries.push((Ink::Copies, "copies that fill the class up".to_owned()));
    }
    legend(&entries)
}

/// All classes by rank: how many, and down to which confidence.
fn all(figures: &Figures, ranking: &[&ClassRecord], copied: bool) -> Result<Markup, ReportError> {
    // A class has at least a unit of the drawing's width.
    let most = WIDTH as usize;
    let drawn: Vec<&ClassRecord> = if ranking.len() <= most {
        ranking.to_vec()
    } else {
        (0..most)
            .map(|i| ranking[i * ranking.len() / most])
            .collect()
    };
    let layer = |of: fn(&ClassRecord) -> u64| drawn.iter().map(|c| of(c)).collect::<Vec<u64>>();
    let areas = charts::ranking(
        &[
            (Ink::Copies, layer(|c| c.copies)),
            (Ink::Available, layer(|c| c.available)),
            (Ink::Kept, layer(|c| c.kept)),
        ],
        AREAS,
    )?;
    let config = &figures.file.config;
    let line = config.interval.map_or(config.threshold, |[from, _]| from);
    let cut_offs: Vec<Option<f32>> = drawn.iter().map(|c| c.cut_off).collect();
    let dashes = charts::dashes(&cut_offs, line.into(), CUT_OFFS)?;
    let below: Vec<(f64, String)> = [0, 25, 50, 75, 100]
        .map(|percent: usize| {
            let rank = (ranking.len() * percent / 100).max(1);
            (percent as f64, count(rank as u64))
        })
        .to_vec();
    let around = |label| Around {
        label,
        below: &below,
        above: &[],
        scale: short,
        stripes: &[],
    };
    Ok(html! {
        figure {
            (key(copied))
            (plot(&areas, &around("Candidates, kept images and copies of every class, by the rank of its candidates; the table below has the numbers")))
            figcaption {
                "Images of each class, the class with the most candidates first"
                @if areas.log { ", on a logarithmic scale" }
                @if drawn.len() < ranking.len() { "; " (count(drawn.len() as u64)) " of the classes are drawn, evenly spread" }
            }
        }
        figure {
            (plot(&dashes, &around("The cut-off of every class in the same order; the table below has the numbers")))
            figcaption { "Cut-off: the confidence down to which images of the class were kept, in the same order. The line is the threshold, or where the interval begins." }
        }
    })
}

/// A list of extremes: its title, its classes, and the number that each of them shows.
type List<'a> = (
    &'static str,
    Vec<&'a ClassRecord>,
    fn(&ClassRecord) -> String,
);

fn first<'a>(classes: &[&'a ClassRecord]) -> Vec<&'a ClassRecord> {
    classes.iter().copied().take(LISTED).collect()
}

fn last<'a>(classes: &[&'a ClassRecord]) -> Vec<&'a ClassRecord> {
    classes.iter().rev().copied().take(LISTED).collect()
}

fn extremes(ranking: &[&ClassRecord]) -> Markup {
    let kept: Vec<&ClassRecord> = ranking.iter().copied().filter(|c| c.kept > 0).collect();
    let mut by_cut_off = kept.clone();
    by_cut_off.sort_by(|a, b| b.lowest().total_cmp(&a.lowest()));
    let candidates = |c: &ClassRecord| count(c.available);
    let cut_off = |c: &ClassRecord| c.cut_off.map(confidence).unwrap_or_default();
    let lists: [List<'_>; 4] = [
        ("Most candidates", first(&kept), candidates),
        ("Fewest candidates", last(&kept), candidates),
        ("Highest cut-off", first(&by_cut_off), cut_off),
        ("Lowest cut-off", last(&by_cut_off), cut_off),
    ];
    html! {
        div.lists {
            @for (title, classes, number) in &lists {
                div {
                    h3 { (title) }
                    ol { @for class in classes { li { span { (name(class)) } span.number { (number(class)) } } } }
                }
            }
        }
    }
}

fn table(
    figures: &Figures,
    ranking: &[&ClassRecord],
    with_bars: bool,
) -> Result<Markup, ReportError> {
    let config = &figures.file.config;
    let line = config.interval.map_or(config.threshold, |[from, _]| from);
    let longest = ranking.iter().map(|c| c.available.max(c.copies)).max();
    let mut rows = Vec::new();
    for class in ranking.iter().take(MOST_ROWS) {
        let bar = if with_bars {
            let layers = [
                (Ink::Copies, class.copies),
                (Ink::Available, class.available),
                (Ink::Kept, class.kept),
            ];
            Some(ornament(
                "bar",
                &charts::row(&layers, longest.unwrap_or(0), BAR)?,
                BAR,
            ))
        } else {
            None
        };
        let track = match class.cut_off {
            Some(cut_off) if with_bars => {
                let track = charts::track(cut_off.into(), line.into(), BAR)?;
                Some(ornament("track", &track, BAR))
            }
            _ => None,
        };
        rows.push(html! {
            tr {
                th scope="row" {
                    (name(class))
                    @if class.label.is_some() { " " span.note { (class.class) } }
                    @if let Some(bar) = &bar { (bar) }
                }
                td.number data-value=(class.available) { (count(class.available)) }
                td.number data-value=(class.kept) { (count(class.kept)) }
                td.number data-value=(class.copies) { (count(class.copies)) }
                td.number data-value=(class.lowest()) { @if let Some(cut_off) = class.cut_off { (confidence(cut_off)) } @if let Some(track) = &track { (track) } }
            }
        });
    }
    let shown = rows.len() as u64;
    Ok(html! {
        @if ranking.len() > MANY {
            // The script shows it: without one it could do nothing.
            div.tools #class-tools hidden {
                label for="class-filter" { "Find a class" }
                input #class-filter type="search" autocomplete="off" spellcheck="false";
                output #class-tally for="class-filter" { (counted(shown, "class", "classes")) }
            }
        }
        div.scroll.tall[ranking.len() > MANY] tabindex="0" role="region" aria-label="Classes" {
            table.classes.barred[with_bars] #classes-table {
                caption.hidden { "Classes, the one with the most candidates first" }
                thead { tr {
                    th scope="col" { "Class" }
                    th.number scope="col" { "Candidates" }
                    th.number scope="col" { "Kept" }
                    th.number scope="col" { "Copies" }
                    th.number scope="col" { "Cut-off" }
                } }
                tbody { @for row in &rows { (row) } }
            }
        }
        @if (shown as usize) < ranking.len() {
            p.small {
                (count(shown)) " of " (count(ranking.len() as u64)) " classes (" (share(shown, ranking.len() as u64))
                "); all are in the table selection_classes of " code { "understudy sql" } "."
            }
        }
    })
}
