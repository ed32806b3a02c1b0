//! What a class looks like, from the image that the teacher is most sure of to the one that it is least sure of.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use maud::html;
use serde::Deserialize;

use super::frame::{Frame, Section, link, teacher};
use super::query::{query, whose};
use super::{Place, View};
use crate::report::ReportError;
use crate::report::page::images::{decile, picture};
use crate::report::pictures::Pictures;
use crate::report::query::Query;
use crate::report::wording::{confidence, counted, plain};

/// Tenths of the way from the most to the least confident image.
const DECILES: u64 = 10;
/// The parameters of `deciles.sql`, one a place.
const PLACES: [&str; 11] = [
    "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10",
];

const OF_CLASS: Query = query!("of_class.sql");
const AT_DECILES: Query = query!("deciles.sql");

#[derive(Deserialize)]
struct OfClass {
    label: Option<String>,
    images: u64,
    mean_confidence: f64,
}

#[derive(Deserialize)]
struct Image {
    key: String,
    confidence: f32,
    place: u64,
}

pub(super) async fn page(
    view: &View<'_>,
    dataset: &str,
    shown: &str,
    class: u16,
) -> Result<String, ReportError> {
    let [of_dataset, of_teacher] = whose(dataset, shown);
    let mut parameters = vec![of_dataset, of_teacher, ("class", ScalarValue::from(class))];
    let found: Vec<OfClass> = view.rows(OF_CLASS, &parameters).await?;
    let images: u64 = found.iter().map(|f| f.images).sum();
    parameters.extend(places(images));
    let samples: Vec<Image> = view.rows(AT_DECILES, &parameters).await?;
    let keys: BTreeMap<&str, &str> = samples.iter().map(|s| (s.key.as_str(), dataset)).collect();
    let pictures = Pictures::of_keys(view.workspace, &view.context, &keys, view.storage).await?;
    let name = found.iter().find_map(|f| f.label.as_deref());
    let place = Place::Dataset {
        dataset: dataset.into(),
        teacher: Some(shown.into()),
    };
    let frame = Frame {
        title: name.map_or_else(|| format!("class {class}"), plain),
        above: html! { (link(&place, dataset)) " · class " (class) },
        lede: html! {
            (counted(images, "label", "labels")) " by " (teacher(shown))
            @if let Some(of) = found.first() { ", " (format!("{:.3}", of.mean_confidence)) " sure on average" }
        },
        sections: vec![Section {
            title: "Images",
            lead: html! { p { "At the deciles of the confidence: the most confident first, the least confident last." } },
            content: html! {
                ol.samples {
                    @for image in &samples {
                        @let decile = decile(image.place, images);
                        li { figure {
                            (picture(&pictures, &image.key, &format!("{decile}, confidence {}", confidence(image.confidence))))
                            figcaption { b.number { (confidence(image.confidence)) } " " span.note { (decile) } }
                        } }
                    }
                }
            },
        }],
        script: None,
    };
    Ok(frame.render())
}

/// The places of the deciles among so many images, counted from 1.
fn places(images: u64) -> impl Iterator<Item = (&'static str, ScalarValue)> {
    let last = images.saturating_sub(1);
    (0..=DECILES).zip(PLACES).map(move |(decile, name)| {
        let place = 1 + (last * decile + DECILES / 2) / DECILES;
        (name, ScalarValue::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deciles_begin_with_the_first_image_and_end_with_the_last() {
        let of = |images| {
            places(images)
                .map(|(_, place)| place.to_string().parse().unwrap())
                .collect::<Vec<u64>>()
        };
        assert_eq!(of(101), [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101]);
        assert_eq!(of(2), [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(of(1), [1; 11]);
        assert_eq!(of(0), [1; 11]);
    }
}
