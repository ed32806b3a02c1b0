//! A teacher's labels of a dataset: how sure they are, which classes they fall into, and what has none.

use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Frame, Section, link, table, teacher};
use super::query::{of_whom, query};
use super::{Place, View};
use crate::label::whose;
use crate::promotion;
use crate::report::ReportError;
use crate::report::charts;
use crate::report::page::plot::{Around, ornament, plot};
use crate::report::palette::Ink;
use crate::report::query::Query;
use crate::report::wording::{count, counted, plain, share, short};
use crate::workspace::{WorkspaceError, check_name};

/// Bins of the histogram, as `bins.sql` has them.
const BINS: usize = 20;
/// Of the histogram, in pixels.
const HEIGHT: u32 = 240;
/// Of a class's bar.
const BAR: u32 = 8;

const OF_BINS: Query = query!("bins.sql");
const REASONS: Query = query!("reasons.sql");

/// Labels of a class in a bin of the confidence.
#[derive(Deserialize)]
struct OfBin {
    class: u16,
    label: Option<String>,
    bin: usize,
    images: u64,
    confidence_sum: f64,
}

/// The bins of a class together.
struct OfClass<'a> {
    class: u16,
    label: Option<&'a str>,
    images: u64,
    confidence_sum: f64,
}

#[derive(Deserialize)]
struct Rejected {
    stage: String,
    reason: String,
    images: u64,
}

pub(super) async fn page(
    view: &View<'_>,
    dataset: &str,
    wanted: Option<&str>,
) -> Result<String, ReportError> {
    known(view, dataset).await?;
    let of = whose::labellers(view.workspace, dataset).await?;
    let current = promotion::current(view.workspace).await?;
    let current = of
        .iter()
        .find(|of| current.as_ref().is_some_and(|c| c.teacher == **of));
    let Some(shown) = wanted.or(current.or(of.last()).map(String::as_str)) else {
        let frame = Frame {
            title: dataset.into(),
            above: html! { "Dataset" },
            lede: html! { "Nobody has labelled it yet." },
            sections: Vec::new(),
            script: None,
        };
        return Ok(frame.render());
    };
    let parameters = of_whom(dataset, shown);
    let bins: Vec<OfBin> = view.rows(OF_BINS, &parameters).await?;
    let classes = classes_of(&bins);
    let reasons: Vec<Rejected> = view.rows(REASONS, &parameters).await?;
    let labels: u64 = classes.iter().map(|c| c.images).sum();
    let rejects: u64 = reasons.iter().map(|r| r.images).sum();
    let frame = Frame {
        title: dataset.into(),
        above: html! { "Dataset" },
        lede: html! {
            (counted(labels, "label", "labels")) " by " (teacher(shown)) " in " (counted(classes.len() as u64, "class", "classes"))
            @if rejects > 0 { "; " (counted(rejects, "image has", "images have")) " none" }
        },
        sections: vec![
            Section {
                title: "Teacher",
                lead: html! {},
                content: choice(dataset, &of, shown),
            },
            Section {
                title: "Confidence",
                lead: html! { p { "Labels by the probability of their class." } },
                content: histogram(&bins)?,
            },
            Section {
                title: "Classes",
                lead: html! { p { "Largest first. A class’s name leads to its images." } },
                content: balance(dataset, shown, &classes, labels)?,
            },
            Section {
                title: "Rejects",
                lead: html! { p { "Images without a label, by reason." } },
                content: rejected(dataset, shown, &reasons),
            },
        ],
        script: None,
    };
    Ok(frame.render())
}

/// Checks that there is a dataset of this name.
async fn known(view: &View<'_>, dataset: &str) -> Result<(), ReportError> {
    check_name("dataset", dataset)?;
    let names = view.workspace.folders("datasets").await?;
    if names.iter().any(|name| name == dataset) {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Err(WorkspaceError::unknown("dataset", dataset, &names, "`understudy label` makes one").into())
}

/// The classes, largest first.
fn classes_of(bins: &[OfBin]) -> Vec<OfClass<'_>> {
    let mut classes: Vec<OfClass> = bins
        .chunk_by(|a, b| a.class == b.class)
        .map(|bins| OfClass {
            class: bins[0].class,
            label: bins[0].label.as_deref(),
            images: bins.iter().map(|bin| bin.images).sum(),
            confidence_sum: bins.iter().map(|bin| bin.confidence_sum).sum(),
        })
        .collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.images));
    classes
}

fn choice(dataset: &str, of: &[String], shown: &str) -> Markup {
    html! {
        ul.choice {
            @for teacher in of {
                @let place = Place::Dataset { dataset: dataset.into(), teacher: Some(teacher.clone()) };
                li { a href=(place.link()) aria-current=[(teacher == shown).then_some("page")] { (teacher) } }
            }
        }
    }
}

fn histogram(bins: &[OfBin]) -> Result<Markup, ReportError> {
    let mut images = vec![0; BINS];
    for bin in bins {
        if let Some(sum) = images.get_mut(bin.bin) {
            *sum += bin.images;
        }
    }
    let none = vec![0; BINS];
    let inks = [Ink::Kept, Ink::Kept];
    let drawn = charts::histogram(&images, &none, inks, &[], HEIGHT)?;
    let edge = |bin: usize| format!("{:.2}", bin as f64 / BINS as f64);
    let stripes: Vec<String> = images
        .iter()
        .enumerate()
        .map(|(bin, images)| {
            let images = counted(*images, "label", "labels");
            format!("{} to {}: {images}", edge(bin), edge(bin + 1))
        })
        .collect();
    let below: Vec<(f64, String)> = (0..=5_u32)
        .map(|n| (f64::from(n) * 20.0, format!("{:.1}", f64::from(n) / 5.0)))
        .collect();
    let around = Around {
        label: "Histogram of the labels' confidence; the table below has its numbers",
        below: &below,
        above: &[],
        scale: short,
        stripes: &stripes,
    };
    let rows: Vec<Markup> = (0..BINS)
        .rev()
        .map(|bin| {
            html! {
                th scope="row" { (edge(bin)) " to " (edge(bin + 1)) }
                td.number { (count(images[bin])) }
            }
        })
        .collect();
    Ok(html! {
        figure { (plot(&drawn, &around)) figcaption { "Labels by confidence, in bins of 0.05" } }
        details {
            summary { "The numbers as a table" }
            (table("Labels by confidence", &[("Confidence", false), ("Labels", true)], &rows))
        }
    })
}

fn balance(
    dataset: &str,
    shown: &str,
    classes: &[OfClass<'_>],
    labels: u64,
) -> Result<Markup, ReportError> {
    let longest = classes.first().map_or(0, |c| c.images);
    let mut rows = Vec::with_capacity(classes.len());
    for class in classes {
        let place = Place::Class {
            dataset: dataset.into(),
            teacher: shown.into(),
            class: class.class,
        };
        let name = match class.label {
            Some(label) => plain(label),
            None => class.class.to_string(),
        };
        let bar = charts::row(&[(Ink::Kept, class.images)], longest, BAR)?;
        rows.push(html! {
            th scope="row" { (link(&place, &name)) (ornament("bar", &bar, BAR)) }
            td.number { (count(class.images)) }
            td.number { (share(class.images, labels)) }
            td.number { (format!("{:.3}", class.confidence_sum / class.images as f64)) }
        });
    }
    let columns = [
        ("Class", false),
        ("Labels", true),
        ("Share", true),
        ("Mean confidence", true),
    ];
    Ok(html! { div.tall-rows { (table("Classes", &columns, &rows)) } })
}

fn rejected(dataset: &str, shown: &str, reasons: &[Rejected]) -> Markup {
    let rows: Vec<Markup> = reasons
        .iter()
        .map(|r| {
            let place = Place::Rejects {
                dataset: dataset.into(),
                teacher: shown.into(),
                reason: r.reason.clone(),
            };
            html! {
                th scope="row" { (link(&place, &r.reason)) " " span.note { (r.stage) } }
                td.number { (count(r.images)) }
            }
        })
        .collect();
    html! {
        @if rows.is_empty() { p.note { "Every image that was looked at has a label." } }
        @else { (table("Rejects by reason", &[("Reason", false), ("Images", true)], &rows)) }
    }
}
