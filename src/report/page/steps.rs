//! The curves of a training: loss, top-1 and learning rate over its steps.

use maud::{Markup, html};

use super::Section;
use super::plot::{Around, legend, plot};
use crate::report::ReportError;
use crate::report::charts::Scale;
use crate::report::course::{Course, Point};
use crate::report::curves::{Curve, curves, steps};
use crate::report::palette::Ink;
use crate::report::wording::{count, counted, per_cent, real, short, whole_per_cent};

/// Of a drawing, in pixels.
const HEIGHT: u32 = 300;
/// Of one that has little to say.
const LOW: u32 = 160;
/// What a learning rate's scale leaves free above.
const HEADROOM: f64 = 1.06;

/// A value of a stretch of steps; none where there is nothing of its kind.
type Value = fn(&Point) -> Option<f64>;

/// How a value is written.
type Write = fn(f64) -> String;

/// A curve that a drawing has where there is anything of it.
struct Line {
    ink: Ink,
    name: &'static str,
    of: Value,
}

const LOSSES: [Line; 4] = [
    Line {
        ink: Ink::Total,
        name: "what is minimised",
        of: |p| p.loss,
    },
    Line {
        ink: Ink::Pseudo,
        name: "pseudo-labelled",
        of: |p| p.pseudo_loss,
    },
    Line {
        ink: Ink::Labelled,
        name: "labelled",
        of: |p| p.labelled_loss,
    },
    Line {
        ink: Ink::HeldOut,
        name: "held out",
        of: |p| p.held_out_loss,
    },
];

const TOP1: [Line; 3] = [
    Line {
        ink: Ink::Pseudo,
        name: "pseudo-labelled",
        of: |p| p.pseudo_top1,
    },
    Line {
        ink: Ink::Labelled,
        name: "labelled",
        of: |p| p.labelled_top1,
    },
    Line {
        ink: Ink::HeldOut,
        name: "held out",
        of: |p| p.held_out_top1,
    },
];

const RATE: [Line; 1] = [Line {
    ink: Ink::Labelled,
    name: "learning rate",
    of: |p| p.learning_rate,
}];

/// How the values of a drawing are shown.
struct Shown {
    scale: Scale,
    height: u32,
    /// A value at the axis, and one that a pointer is told.
    write: [Write; 2],
    label: &'static str,
}

/// The losses, and all numbers as a table.
pub(super) fn loss(course: &Course) -> Result<Section, ReportError> {
    let values = course.points.iter();
    let values = values.flat_map(|p| LOSSES.iter().filter_map(|line| (line.of)(p)));
    let shown = Shown {
        scale: Scale::of_reals(values),
        height: HEIGHT,
        write: [real; 2],
        label: "The losses over the steps; the table below has the numbers",
    };
    let record = &course.record;
    let lead = html! {
        p { "Cross entropy. What is learned from is measured under noise, before each step changes the weights; real labels are smoothed by " (record.train.label_smoothing) "." }
        @if record.train.held_out.is_some() {
            p { "Held-out images are seen without noise, by the averaged weights, every " (counted(record.train.checkpoint_steps, "step", "steps")) "." }
        } @else {
            p { "No held-out images were named." }
        }
    };
    let content = html! {
        (drawing(course, &LOSSES, &shown)?)
        (table(course))
    };
    Ok((lead, content))
}

/// How many images are taken for their class.
pub(super) fn top1(course: &Course) -> Result<Section, ReportError> {
    let lead = html! {
        p { "How many images are taken for their class: for the most probable one of their pseudo-label, where they have no other." }
        @if let (Some(best), Some(newest)) = (course.best, course.newest) {
            p {
                "Of the held-out images " b { (per_cent(newest.held_out_top1)) } " are right after step " (count(newest.step + 1))
                @if best.step == newest.step { ", the best there was." } @else { "; the best was " b { (per_cent(best.held_out_top1)) } " after step " (count(best.step + 1)) "." }
            }
        }
    };
    let shown = Shown {
        // A little more than 1, so that a line at 1 is seen.
        scale: Scale::Linear { top: 1.02 },
        height: HEIGHT,
        write: [whole_per_cent, per_cent],
        label: "Top-1 over the steps; the table of losses has these numbers as well",
    };
    Ok((lead, drawing(course, &TOP1, &shown)?))
}

/// The learning rate.
pub(super) fn learning_rate(course: &Course) -> Result<Section, ReportError> {
    let rates = course.points.iter().filter_map(|p| p.learning_rate);
    let highest = rates.fold(0.0, f64::max);
    let shown = Shown {
        scale: Scale::Linear {
            top: if highest > 0.0 {
                highest * HEADROOM
            } else {
                1.0
            },
        },
        height: LOW,
        write: [real; 2],
        label: "The learning rate over the steps; the table of losses has these numbers as well",
    };
    let lead = html! {
        @if highest > 0.0 { p { "At most " (real(highest)) " so far." } }
    };
    Ok((lead, drawing(course, &RATE, &shown)?))
}

fn drawing(course: &Course, lines: &[Line], shown: &Shown) -> Result<Markup, ReportError> {
    if course.points.is_empty() {
        return Ok(html! {
            p.note { "No step is recorded yet: there is a file after each " (counted(course.record.train.checkpoint_steps, "step", "steps")) "." }
        });
    }
    let both = course.record.labelled.is_some() && course.record.pseudo.is_some();
    let there: Vec<&Line> = lines
        .iter()
        // Of one kind of images alone, what is minimised is their loss.
        .filter(|line| both || line.ink != Ink::Total)
        .filter(|line| course.points.iter().any(|p| (line.of)(p).is_some()))
        .collect();
    let drawn: Vec<Curve> = there
        .iter()
        .map(|line| {
            let held_out = line.ink == Ink::HeldOut;
            let point = |p: &Point| {
                let at = if held_out {
                    p.held_out_after?
                } else {
                    p.middle()
                };
                Some((at, (line.of)(p)?))
            };
            Curve {
                ink: line.ink,
                points: course.points.iter().filter_map(point).collect(),
                dotted: held_out,
            }
        })
        .collect();
    let all = course.record.steps;
    let drawn = curves(&drawn, all as f64, shown.scale, shown.height)?;
    let below: Vec<(f64, String)> = steps(all, 5)
        .iter()
        .map(|tick| (tick.at, short(tick.value)))
        .collect();
    let stripes: Vec<String> = (0..course.all_stretches())
        .map(
            |bucket| match course.stretches.iter().find(|p| p.bucket == bucket) {
                Some(p) => told(p, &there, shown.write[1]),
                None => "not recorded yet".to_owned(),
            },
        )
        .collect();
    let around = Around {
        label: shown.label,
        below: &below,
        above: &[],
        scale: shown.write[0],
        stripes: &stripes,
    };
    let entries = there.iter().map(|line| (line.ink, line.name.to_owned()));
    let entries: Vec<(Ink, String)> = entries.collect();
    let width = course.points.iter().map(|p| p.last + 1 - p.first).max();
    Ok(html! {
        figure.curves {
            @if entries.len() > 1 { (legend(&entries)) }
            (plot(&drawn, &around))
            figcaption {
                "Steps"
                @if let Some(width) = width.filter(|width| *width > 1) { "; a point is the mean of up to " (count(width)) }
                @if drawn.log { "; the scale is logarithmic" }
                "."
            }
        }
    })
}

/// `steps 25 to 49: labelled 0.51, held out 0.43`.
fn told(point: &Point, lines: &[&Line], write: Write) -> String {
    let said = lines.iter().filter_map(|line| {
        let value = (line.of)(point)?;
        Some(format!("{} {}", line.name, write(value)))
    });
    let said: Vec<String> = said.collect();
    format!("{}: {}", stretch(point), said.join(", "))
}

/// Its steps, counted from 0 as the tables have them.
fn stretch(point: &Point) -> String {
    if point.first == point.last {
        format!("step {}", count(point.first))
    } else {
        format!("steps {} to {}", count(point.first), count(point.last))
    }
}

fn table(course: &Course) -> Markup {
    let columns: [(&str, Value, Write); 8] = [
        ("Learning rate", |p| p.learning_rate, real),
        ("Loss", |p| p.loss, real),
        ("Labelled", |p| p.labelled_loss, real),
        ("Labelled top-1", |p| p.labelled_top1, per_cent),
        ("Pseudo", |p| p.pseudo_loss, real),
        ("Pseudo top-1", |p| p.pseudo_top1, per_cent),
        ("Held out", |p| p.held_out_loss, real),
        ("Held-out top-1", |p| p.held_out_top1, per_cent),
    ];
    let there: Vec<_> = columns
        .iter()
        .filter(|(_, of, _)| course.stretches.iter().any(|p| of(p).is_some()))
        .collect();
    html! {
        @if !course.stretches.is_empty() {
            details {
                summary { "The numbers as a table" }
                div.scroll.wide tabindex="0" role="region" aria-label="Means over stretches of steps" {
                    table {
                        caption.hidden { "Means over stretches of steps, which are counted from 0" }
                        thead { tr { th scope="col" { "Steps" } @for (title, _, _) in &there { th.number scope="col" { (title) } } } }
                        tbody {
                            @for point in &course.stretches {
                                tr {
                                    th scope="row" { (stretch(point)) }
                                    @for (_, of, write) in &there { td.number { (of(point).map_or("–".to_owned(), write)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
