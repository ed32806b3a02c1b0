//! What a class looks like, from the image that the teacher is most sure of to the one that it is least sure of.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, UInt32Array};
use datafusion::common::ScalarValue;
use maud::html;
use serde::Deserialize;

use super::frame::{Frame, Section, link, teacher};
use super::query::{of_whom, query};
use super::{Place, View};
use crate::label::whose;
use crate::report::ReportError;
use crate::report::page::images::{decile, picture};
use crate::report::pictures::Pictures;
use crate::report::query::{Parameter, Query};
use crate::report::samples::{AtStep, Sample, Wanted, placed, register, wanted};
use crate::report::wording::{confidence, counted, plain};

/// Tenths of the way from the most to the least confident image.
const DECILES: u64 = 10;
/// The parameters of `places.sql`, one a step, and of `deciles.sql`, one a shard.
const EACH: [&str; 11] = [
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10",
];

/// In which shard an image that is wanted lies.
#[derive(Deserialize)]
struct Found {
    place: i64,
    shard: u32,
    confidence: f32,
    number: i64,
}

const STEPS: Query = query!("steps.sql");
const PLACES: Query = query!("places.sql");
const AT_DECILES: Query = query!("deciles.sql");

pub(super) async fn page(
    view: &View<'_>,
    dataset: &str,
    shown: &str,
    class: u16,
) -> Result<String, ReportError> {
    let [of_dataset, of_teacher] = of_whom(dataset, shown);
    let parameters = vec![of_dataset, of_teacher, ("class", ScalarValue::from(class))];
    let steps: Vec<AtStep> = view.rows(STEPS, &parameters).await?;
    let images: u64 = steps.iter().map(|step| step.images).sum();
    let confidence_sum: f64 = steps.iter().map(|step| step.confidence_sum).sum();
    let wanted = wanted(i64::from(class), &places(images), &steps);
    let samples = samples(view, &wanted, &parameters).await?;
    let keys: BTreeMap<&str, &str> = samples.iter().map(|s| (s.key.as_str(), dataset)).collect();
    let pictures = Pictures::of_keys(view.workspace, &view.context, &keys, view.storage).await?;
    let by = whose::teacher_of(view.workspace, shown).await?;
    let name = by.config.classes.names.get(usize::from(class));
    let place = Place::Dataset {
        dataset: dataset.into(),
        teacher: Some(shown.into()),
    };
    let frame = Frame {
        title: name.map_or_else(|| format!("class {class}"), |name| plain(name)),
        above: html! { (link(&place, dataset)) " · class " (class) },
        lede: html! {
            (counted(images, "label", "labels")) " by " (teacher(shown))
            @if images > 0 { ", " (format!("{:.3}", confidence_sum / images as f64)) " sure on average" }
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

/// The images that are wanted: their shards first, which takes no key.
async fn samples(
    view: &View<'_>,
    wanted: &[Wanted],
    of_class: &[Parameter],
) -> Result<Vec<Sample>, ReportError> {
    let steps = wanted.iter().map(|w| w.step);
    let parameters = with_each(of_class, steps, ScalarValue::Int64);
    let found: Vec<Found> = placed(&view.context, PLACES, wanted, &parameters).await?;
    let shards = found.iter().map(|f| f.shard);
    let parameters = with_each(of_class, shards, ScalarValue::UInt32);
    let column = |f: fn(&Found) -> i64| -> ArrayRef {
        Arc::new(found.iter().map(f).map(Some).collect::<Int64Array>())
    };
    let shards: UInt32Array = found.iter().map(|f| Some(f.shard)).collect();
    let confidences: Float32Array = found.iter().map(|f| Some(f.confidence)).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("place", column(|f| f.place)),
        ("shard", Arc::new(shards)),
        ("confidence", Arc::new(confidences)),
        ("number", column(|f| f.number)),
    ];
    register(&view.context, AT_DECILES, "found", columns)?;
    view.rows(AT_DECILES, &parameters).await
}

/// These parameters and one for each place: of few images several deciles are one, and of none there is nothing at all.
fn with_each<T: Copy>(
    parameters: &[Parameter],
    values: impl DoubleEndedIterator<Item = T> + Clone,
    value: fn(Option<T>) -> ScalarValue,
) -> Vec<Parameter> {
    let last = values.clone().next_back();
    let values = values.map(Some).chain(std::iter::repeat(last)).map(value);
    parameters
        .iter()
        .cloned()
        .chain(EACH.into_iter().zip(values))
        .collect()
}

/// The places of the deciles among so many images, counted from 1, each once.
fn places(images: u64) -> Vec<u64> {
    let last = images.saturating_sub(1);
    let mut places: Vec<u64> = (0..=DECILES)
        .map(|decile| 1 + (last * decile + DECILES / 2) / DECILES)
        .collect();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deciles_begin_with_the_first_image_and_end_with_the_last() {
        assert_eq!(places(101), [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101]);
        assert_eq!(places(2), [1, 2]);
        assert_eq!(places(1), [1]);
    }
}
