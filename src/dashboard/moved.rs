//! Images whose label moved from one class to another between two teachers.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use maud::html;
use serde::Deserialize;

use super::frame::{Frame, Section, link};
use super::place::Between;
use super::query::query;
use super::{Place, View};
use crate::catalog;
use crate::label::whose;
use crate::report::ReportError;
use crate::report::page::images::picture;
use crate::report::pictures::Pictures;
use crate::report::query::Query;
use crate::report::wording::{confidence, plain};

/// Images that are shown.
const MOST: i64 = 36;

const SHARDS: Query = query!("moved_shards.sql");
const MOVED: Query = query!("moved.sql");

#[derive(Deserialize)]
struct Found {
    shard: u32,
}

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
    let images = images(view, between, from, to).await?;
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

/// The images: their shards first, which takes no key.
async fn images(
    view: &View<'_>,
    between: &Between,
    from: &str,
    to: &str,
) -> Result<Vec<Image>, ReportError> {
    let (before, after) = (between.before.as_str(), between.after.as_str());
    let from = class_of(view, before, from).await?;
    let to = class_of(view, after, to).await?;
    let (Some(from), Some(to)) = (from, to) else {
        return Ok(Vec::new());
    };
    let mut parameters = vec![
        ("from", ScalarValue::from(from)),
        ("to", ScalarValue::from(to)),
        ("most", ScalarValue::from(MOST)),
    ];
    let call = catalog::compared_call(before, after);
    let call = ("compared($before, $after)", call.as_str());
    let shards: Vec<Found> = view.rows_with(SHARDS, call, &parameters).await?;
    if shards.is_empty() {
        return Ok(Vec::new());
    }
    let shards: Vec<String> = shards.iter().map(|found| found.shard.to_string()).collect();
    parameters.push(("before", ScalarValue::from(before)));
    parameters.push(("after", ScalarValue::from(after)));
    let shards = shards.join(", ");
    view.rows_with(MOVED, ("$shards", &shards), &parameters)
        .await
}

/// The number of a teacher's class of this name.
async fn class_of(view: &View<'_>, teacher: &str, name: &str) -> Result<Option<u16>, ReportError> {
    let names = whose::teacher_of(view.workspace, teacher).await?;
    let place = names.config.classes.names.iter().position(|n| n == name);
    Ok(place.and_then(|place| place.try_into().ok()))
}
