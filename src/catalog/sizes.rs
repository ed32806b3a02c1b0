//! How large the values of a column are, row by row: for what a function would make of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, GenericListArray, OffsetSizeTrait};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, kernels::length::length};
use arrow::datatypes::{ArrowNativeType, DataType, Float64Type};
use datafusion::error::Result;

/// Bytes of what a value has besides itself: its place, and whether it is null.
pub(super) const OF_A_VALUE: f64 = 16.0;

/// The values of all lists, and where those of each end.
fn ends(of: &ArrayRef) -> Option<(ArrayRef, Vec<usize>)> {
    fn list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> (ArrayRef, Vec<usize>) {
        let ends = list.value_offsets().iter().map(|end| end.as_usize());
        (Arc::clone(list.values()), ends.collect())
    }
    Some(match of.data_type() {
        DataType::List(_) => list(of.as_list::<i32>()),
        DataType::LargeList(_) => list(of.as_list::<i64>()),
        DataType::FixedSizeList(_, width) => {
            let (list, width) = (of.as_fixed_size_list(), *width as usize);
            let ends = (0..=list.len()).map(|i| i * width);
            (Arc::clone(list.values()), ends.collect())
        }
        DataType::Map(..) => {
            let map = of.as_map();
            let ends = map.offsets().iter().map(|end| end.as_usize());
            (Arc::new(map.entries().clone()), ends.collect())
        }
        _ => return None,
    })
}

/// Sums of what a list's values come to.
fn sums(of_values: &[f64], ends: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in of_values {
        sums.push(sums.last().copied().unwrap_or(0.0) + value);
    }
    let sum = |ends: &[usize]| sums[ends[1]] - sums[ends[0]];
    ends.windows(2).map(sum).collect()
}

/// Bytes of each row.
pub(super) fn sizes(of: &ArrayRef) -> Result<Vec<f64>> {
    if let Some((values, ends)) = ends(of) {
        let lists = sums(&sizes(&values)?, &ends);
        return Ok(lists.into_iter().map(|bytes| OF_A_VALUE + bytes).collect());
    }
    Ok(match of.data_type() {
        DataType::Struct(_) => {
            let mut all = vec![OF_A_VALUE; of.len()];
            for column in of.as_struct().columns() {
                let column = sizes(column)?;
                all.iter_mut()
                    .zip(column)
                    .for_each(|(all, own)| *all += own);
            }
            all
        }
        DataType::Dictionary(..) => {
            let all = of.as_any_dictionary();
            let values = sizes(all.values())?;
            let own = |key: usize| values.get(key).copied().unwrap_or(OF_A_VALUE);
            all.normalized_keys().into_iter().map(own).collect()
        }
        of_texts if is_text(of_texts) => {
            let lengths = lengths(of)?.into_iter();
            lengths.map(|bytes| OF_A_VALUE + bytes).collect()
        }
        flat => vec![OF_A_VALUE + width(flat); of.len()],
    })
}

/// Bytes of all rows together, without a look at each.
pub(super) fn total(of: &ArrayRef) -> Result<f64> {
    fn between<O: OffsetSizeTrait>(ends: &OffsetBuffer<O>) -> (usize, usize) {
        let start = ends[0].as_usize();
        (start, ends[ends.len() - 1].as_usize() - start)
    }
    fn texts<O: OffsetSizeTrait>(ends: &OffsetBuffer<O>) -> f64 {
        between(ends).1 as f64
    }
    fn views(lengths: impl Iterator<Item = u32>) -> f64 {
        lengths.map(u64::from).sum::<u64>() as f64
    }
    fn list<O: OffsetSizeTrait>(values: &dyn Array, ends: &OffsetBuffer<O>) -> Result<f64> {
        let (start, length) = between(ends);
        total(&values.slice(start, length))
    }
    let own = match of.data_type() {
        DataType::Utf8 => texts(of.as_string::<i32>().offsets()),
        DataType::LargeUtf8 => texts(of.as_string::<i64>().offsets()),
        DataType::Binary => texts(of.as_binary::<i32>().offsets()),
        DataType::LargeBinary => texts(of.as_binary::<i64>().offsets()),
        DataType::Utf8View => views(of.as_string_view().lengths()),
        DataType::BinaryView => views(of.as_binary_view().lengths()),
        DataType::List(_) => {
            let of = of.as_list::<i32>();
            list(of.values(), of.offsets())?
        }
        DataType::LargeList(_) => {
            let of = of.as_list::<i64>();
            list(of.values(), of.offsets())?
        }
        DataType::Map(..) => {
            let of = of.as_map();
            list(of.entries(), of.offsets())?
        }
        DataType::FixedSizeList(..) => total(of.as_fixed_size_list().values())?,
        DataType::Struct(_) => {
            let columns = of.as_struct().columns().iter().map(total);
            columns.sum::<Result<f64>>()?
        }
        DataType::Dictionary(..) => return Ok(sizes(of)?.iter().sum()),
        flat => width(flat) * of.len() as f64,
    };
    Ok(OF_A_VALUE * of.len() as f64 + own)
}

/// Bytes of a value of a type whose values are all as large, be they null.
pub(super) fn width(of: &DataType) -> f64 {
    match of {
        DataType::FixedSizeBinary(bytes) => f64::from(*bytes),
        DataType::FixedSizeList(item, values) => f64::from(*values) * width(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|f| width(f.data_type())).sum(),
        of => of.primitive_width().map_or(0.0, |bytes| bytes as f64),
    }
}

fn is_text(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}

/// Bytes of each text; of what is none, nothing.
pub(super) fn lengths(of: &ArrayRef) -> Result<Vec<f64>> {
    if let DataType::Dictionary(_, values) = of.data_type()
        && is_text(values)
    {
        return sizes(of);
    }
    if !is_text(of.data_type()) {
        return Ok(vec![0.0; of.len()]);
    }
    let lengths = numbers(Some(&length(of)?))?;
    Ok(lengths.iter().map(|n| n.unwrap_or(0.0)).collect())
}

/// How many values each row has that are no lists.
pub(super) fn values(of: &ArrayRef) -> Result<Vec<f64>> {
    match ends(of) {
        Some((inner, ends)) => Ok(sums(&values(&inner)?, &ends)),
        None => Ok(vec![1.0; of.len()]),
    }
}

/// How often each text has one of these characters.
pub(super) fn occurrences(of: &ArrayRef, signs: &[char]) -> Result<Vec<f64>> {
    let texts = cast(of, &DataType::LargeUtf8)?;
    let count = |text: Option<&str>| text.map_or(0, |text| text.matches(signs).count()) as f64;
    Ok(texts.as_string::<i64>().iter().map(count).collect())
}

/// As numbers in double precision; none where there is no such column.
pub(super) fn numbers(of: Option<&ArrayRef>) -> Result<Float64Array> {
    let Some(of) = of else {
        return Ok(Float64Array::from(Vec::<f64>::new()));
    };
    let whole = match of.data_type() {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            &cast(of, &DataType::Int64)?
        }
        _ => of,
    };
    Ok(cast(whole, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}
