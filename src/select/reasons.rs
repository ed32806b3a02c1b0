//! `first_reason(condition, 'reason', …)`: the reason of the first condition that holds, null where none does.
//!
//! It is what `CASE WHEN condition THEN 'reason' …` says. DataFusion evaluates a CASE branch by branch, on copies of the rows that are left, and puts
//! its texts together again; this function evaluates each condition on all rows, and gives a dictionary of the few texts there are.

use std::ops::{BitAnd, BitOr, Not};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray, UInt16Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, UInt16Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, Volatility};

/// The function, for SQL.
pub(super) fn udf() -> ScalarUDF {
    let of = |args: &[ColumnarValue]| Ok(ColumnarValue::Array(first_reason(args)?));
    let signature = Signature::variadic_any(Volatility::Immutable);
    let returns = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
    SimpleScalarUDF::new_with_signature("first_reason", signature, returns, Arc::new(of)).into()
}

fn first_reason(args: &[ColumnarValue]) -> Result<ArrayRef> {
    let rows = args.iter().find_map(|arg| match arg {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let rows = rows.unwrap_or(1);
    let mut numbers: Option<Vec<u16>> = None;
    let mut taken = BooleanBuffer::new_unset(rows);
    let mut reasons = Vec::new();
    for pair in args.chunks(2) {
        let [condition, ColumnarValue::Scalar(reason)] = pair else {
            return Err(wrong("each condition is followed by its reason, a text"));
        };
        let Some(Some(reason)) = reason.try_as_str() else {
            return Err(wrong("each reason is a text"));
        };
        let number = u16::try_from(reasons.len());
        let number = number.map_err(|_| wrong("there are too many conditions"))?;
        reasons.push(reason);
        let Some(holds) = holds(condition, rows)? else {
            continue;
        };
        let here = holds.bitand(&taken.not());
        if here.count_set_bits() == 0 {
            continue;
        }
        match &mut numbers {
            // What is not taken is null, whatever its number: most often one reason is the only one.
            None => numbers = Some(vec![number; rows]),
            Some(numbers) => here.set_indices().for_each(|row| numbers[row] = number),
        }
        taken = taken.bitor(&here);
    }
    let numbers = numbers.unwrap_or_else(|| vec![0; rows]);
    let numbers = UInt16Array::new(numbers.into(), Some(NullBuffer::new(taken)));
    let reasons = Arc::new(StringArray::from(reasons));
    Ok(Arc::new(DictionaryArray::<UInt16Type>::try_new(
        numbers, reasons,
    )?))
}

/// The rows in which a condition holds; `None` where it is false for all.
fn holds(condition: &ColumnarValue, rows: usize) -> Result<Option<BooleanBuffer>> {
    match condition {
        ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) => {
            Ok(Some(BooleanBuffer::new_set(rows)))
        }
        ColumnarValue::Scalar(ScalarValue::Boolean(_) | ScalarValue::Null) => Ok(None),
        ColumnarValue::Array(array) => {
            let Some(array) = array.as_boolean_opt() else {
                return Err(wrong("each condition is true or false"));
            };
            let values = array.values().clone();
            Ok(Some(match array.nulls() {
                Some(nulls) => values.bitand(nulls.inner()),
                None => values,
            }))
        }
        ColumnarValue::Scalar(_) => Err(wrong("each condition is true or false")),
    }
}

fn wrong(what: &str) -> DataFusionError {
    DataFusionError::Execution(format!("first_reason(condition, 'reason', …): {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::BooleanArray;

    fn text(text: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(text))
    }

    #[test]
    fn the_first_condition_that_holds_gives_the_reason_and_null_is_not_true() {
        let conditions = [
            [Some(true), None, Some(false), Some(false)],
            [Some(true), Some(true), Some(false), None],
        ];
        let column = |c: [Option<bool>; 4]| {
            ColumnarValue::Array(Arc::new(BooleanArray::from(c.to_vec())) as ArrayRef)
        };
        let args = [
            ColumnarValue::Scalar(ScalarValue::from(false)),
            text("never"),
            column(conditions[0]),
            text("first"),
            column(conditions[1]),
            text("second"),
        ];
        let reasons = first_reason(&args).unwrap();
        let reasons = reasons.as_dictionary::<UInt16Type>();
        let reasons: Vec<_> = reasons
            .downcast_dict::<StringArray>()
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(reasons, [Some("first"), Some("second"), None, None]);
    }

    #[test]
    fn what_is_neither_a_condition_nor_a_reason_is_told() {
        for args in [vec![text("x"), text("y")], vec![text("x")]] {
            let error = first_reason(&args).unwrap_err().to_string();
            assert!(error.contains("each condition is"), "{error}");
        }
    }
}
