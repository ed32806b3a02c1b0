//! Images whose label moved from one class to another between two teachers.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use maud::html;
use serde::Deserialize;

use super::frame::{Frame, Section, link};
use super::place::Between;
use super::query::query;
use super::{Place, View};
use crate::report::ReportError;
use crate::report::page::images::picture;
use crate::report::pictures::Pictures;
use crate::report::query::Query;
use crate::report::wording::{confidence, plain};

/// Images that are shown.
const MOST: i64 = 36;

const MOVED: Query = query!("moved.sql");

#[derive(Deserialize)]
struct Image {
    dataset: String,
    key: String,
    before: f32,
    after: f32,
}

pub(super) async fn page(
    view: &View<'_>,
    between: &Between,
    from: &str,
    to: &str,
) -> Result<String, ReportError> {
    let text = |text: &str| ScalarValue::from(text);
    let parameters = [
        ("before", text(&between.before)),
        ("after", text(&between.after)),
        ("from", text(from)),
        ("to", text(to)),
        ("most", ScalarValue::from(MOST)),
    ];
    let images: Vec<Image> = view.rows(MOVED, &parameters).await?;
    let keys: BTreeMap<&str, &str> = images
        .iter()
        .map(|i| (i.key.as_str(), i.dataset.as_str()))
        .collect();
    let pictures = Pictures::of_keys(view.workspace, &view.context, &keys, view.storage).await?;
    let place = Place::Churn {
        between: Some(between.clone()),
    };
    let frame = Frame {
        title: format!("{} → {}", plain(from), plain(to)),
        above: link(&place, &format!("{} → {}", between.before, between.after)),
        lede: html! {
            @if images.is_empty() { "No image moved so." }
            @else { "Those first of which " (between.after) " is most sure; both confidences are below each image." }
        },
        sections: vec![Section {
            title: "Images",
            lead: html! { @if images.len() as i64 == MOST { p { "The first " (MOST) "." } } },
            content: html! {
                ol.samples {
                    @for image in &images {
                        @let (before, after) = (confidence(image.before), confidence(image.after));
                        li { figure {
                            (picture(&pictures, &image.key, &format!("confidence {before} before, {after} after")))
                            figcaption { span.note { (before) " → " } b.number { (after) } }
                        } }
                    }
                }
            },
        }],
        script: None,
    };
    Ok(frame.render())
}
