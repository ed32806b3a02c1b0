//! Images of the dataset that have no label, by reason.

use maud::html;

use super::Section;
use super::plot::ornament;
use crate::report::ReportError;
use crate::report::charts;
use crate::report::figures::Figures;
use crate::report::palette::Ink;
use crate::report::wording::{count, counted, file_name, plain, share};

/// Height of a row's bar in pixels.
const BAR: u32 = 10;

/// The section; a sentence for foreign labels.
pub(super) fn section(figures: &Figures) -> Result<Section, ReportError> {
    let Some(rejects) = &figures.rejects else {
        let lead = html! {
            p { "Which images have no label is not known here: labels of another system name what was labelled alone." }
        };
        return Ok((lead, html! {}));
    };
    let all: u64 = rejects.iter().map(|r| r.images).sum();
    let lead = html! {
        p {
            @if all == 0 { "Every image that was looked at has a label." }
            @else {
                (counted(all, "image has", "images have")) " no label. Once the cause is gone, "
                code { "understudy label --retry-rejects" } " labels them, and a new selection takes them in."
            }
        }
    };
    let several = figures.teachers.len() > 1;
    let longest = rejects.iter().map(|r| r.images).max().unwrap_or(0);
    let mut rows = Vec::new();
    for reject in rejects {
        let bar = charts::row(&[(Ink::Beyond, reject.images)], longest, BAR)?;
        rows.push(html! {
            tr {
                th scope="row" {
                    (reject.reason)
                    " " span.note { (reject.stage) @if several { ", " (reject.teacher) } }
                    (ornament("bar", &bar, BAR))
                }
                td.number { (count(reject.images)) }
                td.number { (share(reject.images, all)) }
                td.example {
                    bdi title=(plain(&reject.example)) { (file_name(&reject.example)) }
                    @if let Some(detail) = &reject.detail { " " span.note { (plain(detail)) } }
                }
            }
        });
    }
    let content = html! {
        @if !rows.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Rejects by reason" {
                table.plain.barred {
                    thead { tr {
                        th scope="col" { "Reason" }
                        th.number scope="col" { "Images" }
                        th.number scope="col" { "Share" }
                        th.example scope="col" { "For example" }
                    } }
                    tbody { @for row in &rows { (row) } }
                }
            }
        }
    };
    Ok((lead, content))
}
