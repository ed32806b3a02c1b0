//! What a class looks like, from the image that the teacher is most sure of to the one that it is least sure of.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use maud::html;

use super::frame::{Frame, Section, link, teacher};
use super::query::{of_whom, query};
use super::{Place, View};
use crate::label::whose;
use crate::report::ReportError;
use crate::report::page::images::{decile, picture};
use crate::report::pictures::Pictures;
use crate::report::query::Query;
use crate::report::samples::{AtStep, placed, wanted};
use crate::report::wording::{confidence, counted, plain};

/// Tenths of the way from the most to the least confident image.
const DECILES: u64 = 10;
/// The parameters of `deciles.sql`, one a step.
const AT_STEPS: [&str; 11] = [
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10",
];

const STEPS: Query = query!("steps.sql");
const AT_DECILES: Query = query!("deciles.sql");

pub(super) async fn page(
    view: &View<'_>,
    dataset: &str,
    shown: &str,
    class: u16,
) -> Result<String, ReportError> {
    let [of_dataset, of_teacher] = of_whom(dataset, shown);
    let mut parameters = vec![of_dataset, of_teacher, ("class", ScalarValue::from(class))];
    let steps: Vec<AtStep> = view.rows(STEPS, &parameters).await?;
    let images: u64 = steps.iter().map(|step| step.images).sum();
    let confidence_sum: f64 = steps.iter().map(|step| step.confidence_sum).sum();
    let wanted = wanted(i64::from(class), &places(images), &steps);
    // Of few images several deciles are one, and of none there is no step at all.
    let last = wanted.last().map(|w| w.step);
    let at = wanted.iter().map(|w| Some(w.step));
    let at = at.chain(std::iter::repeat(last)).map(ScalarValue::Int64);
    parameters.extend(AT_STEPS.into_iter().zip(at));
    let samples = placed(&view.context, AT_DECILES, &wanted, &parameters).await?;
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
