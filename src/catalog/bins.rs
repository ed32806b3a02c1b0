//! `class_bins`: how many labels each class has in each twentieth of the confidence, which the views sum up further.
//!
//! Summed below the constants and names that `labels` has: no text is made or compared for a row, so that millions of them are a matter of reading two columns.

use std::sync::Arc;

use arrow::array::{AsArray, UInt32Array};
use arrow::compute::binary;
use arrow::datatypes::{DataType, Float32Type, UInt16Type, UInt32Type};
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{count, max, sum};
use datafusion::logical_expr::{
    ColumnarValue, ScalarUDF, SimpleScalarUDF, Volatility, cast, col, lit,
};

use super::labels::class_name;

/// Bins of 0.05.
const BINS: u32 = 20;

/// Where bins begin, in single precision, as confidences are stored.
const EDGES: [f32; BINS as usize] = {
    let mut edges = [0.0; BINS as usize];
    let mut bin = 0;
    while bin < edges.len() {
        edges[bin] = bin as f32 / BINS as f32;
        bin += 1;
    }
    edges
};

/// The bin of a confidence: closed below, open above, the last one closed at 1.
fn bin(confidence: f32) -> u32 {
    let guess = ((confidence * BINS as f32) as u32).min(BINS - 1);
    // By rounding a confidence just below an edge may seem to be on it; nothing is below the first one.
    let below = confidence < EDGES[guess as usize];
    guess - u32::from(below && guess > 0)
}

/// The bins of the labels of a dataset by a teacher, of which `raw` are the objects' rows.
pub(super) fn class_bins(
    raw: DataFrame,
    dataset: &str,
    teacher: &str,
    names: &Arc<Vec<String>>,
) -> Result<DataFrame> {
    let place = place().call(vec![col("class"), col("confidence")]);
    let class = place_class().call(vec![col("place")]);
    let bin = cast(col("place") % lit(BINS), DataType::UInt8);
    raw.filter(col("reason").is_null())?
        .aggregate(
            vec![place.alias("place")],
            vec![
                count(lit(1)).alias("images"),
                sum(cast(col("confidence"), DataType::Float64)).alias("confidence_sum"),
                max(col("confidence")).alias("confidence_max"),
            ],
        )?
        .select(vec![
            lit(dataset).alias("dataset"),
            lit(teacher).alias("teacher"),
            class.clone().alias("class"),
            class_name(Arc::clone(names))
                .call(vec![class])
                .alias("label"),
            bin.alias("bin"),
            col("images"),
            col("confidence_sum"),
            col("confidence_max"),
        ])
}

/// A class and a bin as one number, which is quicker to group by than two.
fn place() -> ScalarUDF {
    SimpleScalarUDF::new(
        "class_bin",
        vec![DataType::UInt16, DataType::Float32],
        DataType::UInt32,
        Volatility::Immutable,
        Arc::new(|args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let classes = arrays[0].as_primitive::<UInt16Type>();
            let confidences = arrays[1].as_primitive::<Float32Type>();
            let places: UInt32Array = binary(classes, confidences, |class, confidence| {
                u32::from(class) * BINS + bin(confidence)
            })?;
            Ok(ColumnarValue::Array(Arc::new(places)))
        }),
    )
    .into()
}

/// The class of such a number.
fn place_class() -> ScalarUDF {
    SimpleScalarUDF::new(
        "class_of_bin",
        vec![DataType::UInt32],
        DataType::UInt16,
        Volatility::Immutable,
        Arc::new(|args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let places = arrays[0].as_primitive::<UInt32Type>();
            let classes = places.unary_opt::<_, UInt16Type>(|place| (place / BINS).try_into().ok());
            Ok(ColumnarValue::Array(Arc::new(classes)))
        }),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_belong_to_the_bin_above_and_what_is_just_below_does_not() {
        for edge in 1..BINS {
            let at = edge as f32 / BINS as f32;
            assert_eq!(bin(at), edge);
            assert_eq!(bin(at.next_down()), edge - 1);
        }
        assert_eq!((bin(0.0), bin(1.0), bin(1.0_f32.next_down())), (0, 19, 19));
    }
}
