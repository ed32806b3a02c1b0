//! The functions that the queries of `pipelines/select/` call, each a look-up in what earlier passes found.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Int64Array, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, Volatility};

use super::columns::{Shas, Texts, classes, confidences, phashes};
use super::duplicates::Duplicates;
use super::histogram::Histogram;
use super::leakage::Leaked;
use super::topk::Choice;

/// A function of `n` columns of any type.
fn function(
    name: &str,
    n: usize,
    returns: DataType,
    of: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let of = move |args: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(args)?;
        Ok(ColumnarValue::Array(of(&arrays)?))
    };
    let signature = Signature::any(n, Volatility::Immutable);
    SimpleScalarUDF::new_with_signature(name, signature, returns, Arc::new(of)).into()
}

/// An answer for each row, and no where a row has nothing valid.
fn yes_or_no(
    rows: usize,
    valid: Option<&NullBuffer>,
    answer: impl FnMut(usize) -> bool,
) -> ArrayRef {
    let mut answers = BooleanBuffer::collect_bool(rows, answer);
    if let Some(valid) = valid {
        answers = &answers & valid.inner();
    }
    Arc::new(BooleanArray::from(answers))
}

/// `is_duplicate(sha256, key)`: whether the image stays under another key.
pub(super) fn is_duplicate(duplicates: Arc<Duplicates>) -> ScalarUDF {
    function("is_duplicate", 2, DataType::Boolean, move |args| {
        let (shas, keys) = (Shas::of(&args[0])?, Texts::of(&args[1])?);
        Ok(yes_or_no(shas.len(), None, |i| {
            let image = shas.get(i).zip(keys.get(i));
            image.is_some_and(|(sha, key)| duplicates.is_duplicate(&sha, key))
        }))
    })
}

/// `is_leaked(sha256, phash)`: whether the image is a held-out one.
pub(super) fn is_leaked(leaked: Arc<Leaked>) -> ScalarUDF {
    function("is_leaked", 2, DataType::Boolean, move |args| {
        let (shas, phashes) = (Shas::of(&args[0])?, phashes(&args[1])?);
        Ok(yes_or_no(shas.len(), None, |i| {
            let phash = phashes.is_valid(i).then(|| phashes.value(i));
            leaked.is_leaked(shas.get(i).as_ref(), phash)
        }))
    })
}

/// `is_confidence(confidence)`: whether it is a number from 0 to 1. The engine's own comparisons copy the column each time, to take −0 for 0.
pub(super) fn is_confidence() -> ScalarUDF {
    function("is_confidence", 1, DataType::Boolean, |args| {
        let confidences = confidences(&args[0])?;
        let values = confidences.values();
        Ok(yes_or_no(values.len(), confidences.nulls(), |i| {
            (0.0..=1.0).contains(&values[i])
        }))
    })
}

/// `is_above(confidence, threshold)`: whether it is higher, in single precision, without such a copy either.
pub(super) fn is_above() -> ScalarUDF {
    function("is_above", 2, DataType::Boolean, |args| {
        let least = cast(&args[1], &DataType::Float32)?;
        let (of, least) = (confidences(&args[0])?, confidences(&least)?);
        let valid = NullBuffer::union(of.nulls(), least.nulls());
        let (of, least) = (of.values(), least.values());
        Ok(yes_or_no(of.len(), valid.as_ref(), |i| of[i] > least[i]))
    })
}

/// What the second pass asks of a row: `is_decided_by_key(class, confidence)`, whether its key decides anything, and `is_within_reach(class, confidence)`, whether it may be chosen.
pub(super) fn of_second_pass(choice: &Arc<Choice>) -> [ScalarUDF; 2] {
    [
        asked_of(choice, "is_decided_by_key", |choice, class, confidence| {
            choice.is_decided_by_key(class, confidence)
        }),
        asked_of(choice, "is_within_reach", |choice, class, confidence| {
            choice.is_within_reach(class, confidence)
        }),
    ]
}

/// A question about class and confidence that a choice answers, as a function of its own: each answer is a few instructions.
fn asked_of(
    choice: &Arc<Choice>,
    name: &str,
    answer: impl Fn(&Choice, i64, f32) -> bool + Send + Sync + 'static,
) -> ScalarUDF {
    // Not held beyond the pass: the choice is completed after it.
    let choice = Arc::downgrade(choice);
    function(name, 2, DataType::Boolean, move |args| {
        let gone = || DataFusionError::Internal("the pass is over".into());
        let choice = choice.upgrade().ok_or_else(gone)?;
        let (classes, confidences) = (classes(&args[0])?, confidences(&args[1])?);
        Ok(of_rows(&classes, confidences, |_, class, confidence| {
            answer(&choice, class, confidence)
        }))
    })
}

/// An answer for each row that has a class and a confidence, and no for the others.
fn of_rows(
    classes: &Int64Array,
    confidences: &Float32Array,
    answer: impl Fn(usize, i64, f32) -> bool,
) -> ArrayRef {
    let valid = NullBuffer::union(classes.nulls(), confidences.nulls());
    let (classes, confidences) = (classes.values(), confidences.values());
    yes_or_no(classes.len(), valid.as_ref(), |i| {
        answer(i, classes[i], confidences[i])
    })
}

/// How rows are chosen: exactly, or as the paper's published code does it.
#[derive(Debug)]
pub(super) enum Chosen {
    Exact(Arc<Choice>),
    Histogram(Histogram),
}

impl Chosen {
    #[inline]
    fn is_chosen<'a>(&self, class: i64, confidence: f32, key: impl Fn() -> &'a str) -> bool {
        match self {
            Self::Exact(choice) => choice.is_chosen(class, confidence, key),
            Self::Histogram(histogram) => histogram.is_chosen(class, confidence, key()),
        }
    }

    /// Whether a candidate may be chosen, whatever its key.
    fn is_within_reach(&self, class: i64, confidence: f32) -> bool {
        match self {
            Self::Exact(choice) => choice.is_within_reach(class, confidence),
            Self::Histogram(histogram) => histogram.is_within_reach(class, confidence),
        }
    }

    fn is_best(&self, class: i64, confidence: f32, key: &str) -> bool {
        match self {
            Self::Exact(choice) => choice.is_best(class, confidence, key),
            // Bins are filled by chance: what is not in is beyond K.
            Self::Histogram(_) => false,
        }
    }

    fn ranks(&self, classes: &Int64Array, confidences: &Float32Array) -> UInt32Array {
        match self {
            Self::Exact(choice) => choice.ranks(
                classes
                    .values()
                    .iter()
                    .copied()
                    .zip(confidences.values().iter().copied()),
            ),
            Self::Histogram(_) => UInt32Array::new_null(classes.len()),
        }
    }

    fn copies(&self, class: i64, key: &str) -> u32 {
        match self {
            Self::Exact(choice) => choice.copies(class, key),
            Self::Histogram(histogram) => histogram.copies(class, key),
        }
    }
}

const NO_KEY: &str = "a label has no key: leave rows whose `key` is null out of the labels";

/// The error of labels whose key is null.
pub(super) fn no_key() -> DataFusionError {
    DataFusionError::Execution(NO_KEY.into())
}

pub(super) fn is_no_key(error: &DataFusionError) -> bool {
    matches!(error, DataFusionError::Execution(text) if text == NO_KEY)
}

/// `is_chosen(class, confidence, key)`, `is_best(class, confidence, key)`, `rank_in_class(class, confidence)`, `copies(class, key)`.
pub(super) fn of_chosen(chosen: &Arc<Chosen>) -> [ScalarUDF; 4] {
    let with_key =
        |name, answer: fn(&Chosen, &Int64Array, &Float32Array, &Texts<'_>) -> ArrayRef| {
            let chosen = Arc::clone(chosen);
            function(name, 3, DataType::Boolean, move |args| {
                let keys = Texts::of(&args[2])?;
                let (classes, confidences) = (classes(&args[0])?, confidences(&args[1])?);
                if keys.null_count() > 0 {
                    // Of a row that is beyond K anyway nobody asks it, whichever rows lie beside it.
                    let lacking = of_rows(&classes, confidences, |i, class, confidence| {
                        keys.get(i).is_none() && chosen.is_within_reach(class, confidence)
                    });
                    if lacking.as_boolean().has_true() {
                        return Err(no_key());
                    }
                }
                Ok(answer(&chosen, &classes, confidences, &keys))
            })
        };
    let is_chosen = with_key("is_chosen", |chosen, classes, confidences, keys| {
        of_rows(classes, confidences, |i, class, confidence| {
            chosen.is_chosen(class, confidence, || keys.get(i).unwrap_or_default())
        })
    });
    let is_best = with_key("is_best", |chosen, classes, confidences, keys| {
        of_rows(classes, confidences, |i, class, confidence| {
            chosen.is_best(class, confidence, keys.get(i).unwrap_or_default())
        })
    });
    let of = Arc::clone(chosen);
    let rank = function("rank_in_class", 2, DataType::UInt32, move |args| {
        let classes = classes(&args[0])?;
        let confidences = confidences(&args[1])?;
        Ok(Arc::new(of.ranks(&classes, confidences)))
    });
    let of = Arc::clone(chosen);
    let copies = function("copies", 2, DataType::UInt32, move |args| {
        let classes = classes(&args[0])?;
        let keys = Texts::of(&args[1])?;
        let mut copies = Vec::with_capacity(classes.len());
        for i in 0..classes.len() {
            copies.push(of.copies(classes.value(i), keys.get(i).ok_or_else(no_key)?));
        }
        Ok(Arc::new(UInt32Array::from(copies)))
    });
    [is_chosen, is_best, rank, copies]
}

/// `unsigned_bits(phash)`: 64 bits as they are. Spark, Java and the like know them as signed numbers only.
pub(super) fn unsigned_bits() -> ScalarUDF {
    function("unsigned_bits", 1, DataType::UInt64, |args| {
        Ok(match args[0].as_primitive_opt::<Int64Type>() {
            Some(signed) => Arc::new(signed.unary::<_, UInt64Type>(i64::cast_unsigned)) as ArrayRef,
            None => Arc::clone(&args[0]),
        })
    })
}

/// Keys that are named as examples.
const EXAMPLES: usize = 10;

/// Keys that were chosen and have no soft label.
#[derive(Debug, Clone, Default)]
pub(super) struct Missing(Arc<Mutex<Keys>>);

/// How many keys there are, each once, and the first of them in order.
#[derive(Debug, Default)]
struct Keys {
    count: u64,
    first: BTreeSet<String>,
}

impl Missing {
    /// How many, and the first of them.
    pub(super) fn found(&self) -> (u64, Vec<String>) {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (keys.count, keys.first.iter().cloned().collect())
    }
}

impl Keys {
    fn note(&mut self, key: &str) {
        self.count += 1;
        let is_among = self.first.len() < EXAMPLES
            || self.first.last().is_some_and(|last| key < last.as_str());
        if is_among {
            self.first.insert(key.to_owned());
            if self.first.len() > EXAMPLES {
                self.first.pop_last();
            }
        }
    }
}

/// `is_labelled(key, found)`: whether the other teacher has the key; notes it where not.
pub(super) fn is_labelled(missing: &Missing) -> ScalarUDF {
    let missing = missing.clone();
    function("is_labelled", 2, DataType::Boolean, move |args| {
        let (keys, found) = (Texts::of(&args[0])?, &args[1]);
        let mut missing = missing.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = (0..found.len()).map(|i| {
            if found.is_null(i) {
                missing.note(keys.get(i).unwrap_or_default());
            }
            Some(found.is_valid(i))
        });
        Ok(Arc::new(answers.collect::<BooleanArray>()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::RecordBatch;
    use datafusion::prelude::SessionContext;

    #[tokio::test]
    async fn a_threshold_is_any_number_and_itself_not_above_it() {
        let context = SessionContext::new();
        context.register_udf(is_above());
        let confidences = [
            Some(0.3),
            Some(0.3_f32.next_up()),
            Some(-0.0),
            Some(f32::NAN),
            None,
        ];
        let confidences: ArrayRef = Arc::new(Float32Array::from(confidences.to_vec()));
        let rows = RecordBatch::try_from_iter_with_nullable([("confidence", confidences, true)]);
        context.register_batch("rows", rows.unwrap()).unwrap();
        for (threshold, above) in [
            ("0.3", [false, true, false, false, false]),
            ("CAST(0.3 AS FLOAT)", [false, true, false, false, false]),
            ("0", [true, true, false, false, false]),
        ] {
            let query = format!("SELECT is_above(confidence, {threshold}) FROM rows");
            let answers = context.sql(&query).await.unwrap().collect().await.unwrap();
            let answers = answers[0].column(0).as_boolean();
            assert_eq!(
                answers.iter().collect::<Vec<_>>(),
                above.map(Some),
                "{query}"
            );
        }
    }
}
