//! Images that have no label for one reason.

use datafusion::common::ScalarValue;
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Frame, Section, link, table, teacher};
use super::query::{of_whom, query};
use super::{Place, View};
use crate::report::ReportError;
use crate::report::query::Query;
use crate::report::wording::plain;

/// Images that are listed.
const MOST: u64 = 200;

const REJECTS: Query = query!("rejects.sql");

#[derive(Deserialize)]
struct Rejected {
    key: String,
    stage: String,
    detail: Option<String>,
    attempts: u64,
}

pub(super) async fn page(
    view: &View<'_>,
    dataset: &str,
    shown: &str,
    reason: &str,
) -> Result<String, ReportError> {
    let [of_dataset, of_teacher] = of_whom(dataset, shown);
    let parameters = [
        of_dataset,
        of_teacher,
        ("reason", ScalarValue::from(reason)),
        ("most", ScalarValue::from(MOST as i64)),
    ];
    let rejects: Vec<Rejected> = view.rows(REJECTS, &parameters).await?;
    let full = rejects.len() as u64 == MOST;
    let rows: Vec<Markup> = rejects
        .iter()
        .map(|r| {
            html! {
                th scope="row" { bdi { (plain(&r.key)) } @if let Some(detail) = &r.detail { div.note { (plain(detail)) } } }
                td { (r.stage) }
                td.number { (r.attempts) }
            }
        })
        .collect();
    let place = Place::Dataset {
        dataset: dataset.into(),
        teacher: Some(shown.into()),
    };
    let frame = Frame {
        title: reason.into(),
        above: html! { (link(&place, dataset)) " · rejects" },
        lede: html! {
            @if rows.is_empty() { "No image of this dataset was rejected by " (teacher(shown)) " for this reason." }
            @else { "Images that " (teacher(shown)) " gave no label. Once the cause is gone, " code { "understudy label --retry-rejects" } " labels them." }
        },
        sections: vec![Section {
            title: "Images",
            lead: html! { @if full { p { "The first " (MOST) " by key; the table " code { "rejects" } " has all of them." } } },
            content: table(
                "Rejects",
                &[("Image", false), ("Stage", false), ("Attempts", true)],
                &rows,
            ),
        }],
        script: None,
    };
    Ok(frame.render())
}
