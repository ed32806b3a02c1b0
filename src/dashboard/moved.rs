//! Images whose label moved from one class to another between two teachers.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use maud::html;
use serde::Deserialize;

use super::frame::{Frame, Section, link};
use super::place::Between;
use super::query::{COMPARED, query};
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
    let from = classes(view, before, from).await?;
    let to = classes(view, after, to).await?;
    if from.is_empty() || to.is_empty() {
        return Ok(Vec::new());
    }
    let (from, to) = (list(&from), list(&to));
    let call = catalog::compared_call(before, after);
    let most = ("most", ScalarValue::from(MOST));
    let mut names = vec![(COMPARED, call.as_str()), ("$from", &from), ("$to", &to)];
    let parameters = [most.clone()];
    let shards: Vec<Found> = view.rows_with(SHARDS, &names, &parameters).await?;
    if shards.is_empty() {
        return Ok(Vec::new());
    }
    let shards: Vec<u32> = shards.iter().map(|found| found.shard).collect();
    let shards = list(&shards);
    names.push(("$shards", &shards));
    let parameters = [
        most,
        ("before", ScalarValue::from(before)),
        ("after", ScalarValue::from(after)),
    ];
    view.rows_with(MOVED, &names, &parameters).await
}

/// As SQL's `IN` takes it.
fn list<T: ToString>(numbers: &[T]) -> String {
    let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
    numbers.join(", ")
}

/// The numbers of a teacher's classes of this name, which may be several: ImageNet has two kinds of crane.
async fn classes(view: &View<'_>, teacher: &str, name: &str) -> Result<Vec<u16>, ReportError> {
    let names = whose::teacher_of(view.workspace, teacher).await?;
    let all = (0..).zip(&names.config.classes.names);
    let of_name = all.filter(|(_, n)| *n == name);
    Ok(of_name.map(|(class, _)| class).collect())
}
