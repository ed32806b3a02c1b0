//! The images at the deciles of a class: order statistics, found by counting first and sorting little.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use datafusion::prelude::SessionContext;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ReportError;
use super::query::{Parameter, Query, failed, rows};
use super::strips::Picked;

const STEPS: Query = (
    "steps.sql",
    include_str!("../../pipelines/report/steps.sql"),
);
const DECILES: Query = (
    "deciles.sql",
    include_str!("../../pipelines/report/deciles.sql"),
);

/// A class, and its images from the most confident on.
#[derive(Debug)]
pub(super) struct Strip {
    pub(super) picked: Picked,
    pub(super) images: Vec<Sample>,
}

/// An image.
#[derive(Debug, Deserialize)]
pub(crate) struct Sample {
    class: i64,
    /// Counted from the most confident one of the class on, which is 1.
    pub(crate) place: u64,
    pub(crate) key: String,
    pub(crate) confidence: f32,
    #[serde(default)]
    pub(super) copies: u32,
}

/// How many images of a class lie at a step of confidence.
#[derive(Debug, Deserialize)]
pub(crate) struct AtStep {
    class: i64,
    step: i64,
    pub(crate) images: u64,
    #[serde(default)]
    pub(crate) confidence_sum: f64,
}

/// Where an image that is wanted lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    class: i64,
    place: u64,
    pub(crate) step: i64,
    place_in_step: u64,
}

/// Finds the images of the classes that are shown.
pub(super) async fn find(
    context: &SessionContext,
    picked: Vec<Picked>,
    selection: &[Parameter],
) -> Result<Vec<Strip>, ReportError> {
    let classes = picked.iter().map(|p| p.class.class).collect();
    register(context, STEPS, "shown", [("class", ints(classes))])?;
    let steps: Vec<AtStep> = rows(context, STEPS, selection).await?;
    let wanted: Vec<Wanted> = picked
        .iter()
        .flat_map(|p| wanted(p.class.class, &p.places, &steps))
        .collect();
    let mut samples: Vec<Sample> = placed(context, DECILES, &wanted, selection).await?;
    Ok(picked
        .into_iter()
        .map(|picked| {
            let of_class = |s: &mut Sample| s.class == picked.class.class;
            let images = samples.extract_if(.., of_class).collect();
            Strip { picked, images }
        })
        .collect())
}

/// The images that are wanted, by a query that joins them as `wanted`.
pub(crate) async fn placed<T: DeserializeOwned>(
    context: &SessionContext,
    query: Query,
    wanted: &[Wanted],
    parameters: &[Parameter],
) -> Result<Vec<T>, ReportError> {
    let of = |f: fn(&Wanted) -> i64| ints(wanted.iter().map(f).collect());
    let places = |f: fn(&Wanted) -> u64| -> ArrayRef {
        Arc::new(wanted.iter().map(f).map(Some).collect::<UInt64Array>())
    };
    let columns = [
        ("class", of(|w| w.class)),
        ("place", places(|w| w.place)),
        ("step", of(|w| w.step)),
        ("place_in_step", places(|w| w.place_in_step)),
    ];
    register(context, query, "wanted", columns)?;
    rows(context, query, parameters).await
}

/// Where the images at these ascending places of a class lie. The steps of a class come from the most confident one on.
pub(crate) fn wanted(class: i64, places: &[u64], steps: &[AtStep]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut before = 0;
    let mut places = places.iter().copied().peekable();
    for step in steps.iter().filter(|s| s.class == class) {
        let last = before + step.images;
        while let Some(place) = places.next_if(|place| *place <= last) {
            wanted.push(Wanted {
                class,
                place,
                step: step.step,
                place_in_step: place - before,
            });
        }
        before = last;
    }
    wanted
}

fn ints(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

/// A small table for a query to join with.
pub(crate) fn register<const N: usize>(
    context: &SessionContext,
    (file, _): Query,
    name: &str,
    columns: [(&str, ArrayRef); N],
) -> Result<(), ReportError> {
    let failed = failed(file);
    let batch = RecordBatch::try_from_iter(columns).map_err(|e| failed(e.into()))?;
    context.register_batch(name, batch).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_lies_at_the_step_that_reaches_it() {
        let step = |class, step, images| AtStep {
            class,
            step,
            images,
            confidence_sum: 0.0,
        };
        let steps = [
            step(1, 4095, 3),
            step(1, 4000, 1),
            step(1, 7, 6),
            step(2, 9, 5),
        ];
        let found: Vec<(u64, i64, u64)> = wanted(1, &[1, 3, 4, 5, 10], &steps)
            .iter()
            .map(|w| (w.place, w.step, w.place_in_step))
            .collect();
        assert_eq!(
            found,
            [
                (1, 4095, 1),
                (3, 4095, 3),
                (4, 4000, 1),
                (5, 7, 1),
                (10, 7, 6)
            ]
        );
        assert_eq!(wanted(3, &[1], &steps), []);
    }
}
