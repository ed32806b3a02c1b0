//! Who was right where: two models' predictions on the same images → the comparison.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::UInt16Type;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use xxhash_rust::xxh3::Xxh3;

use super::predictions::{CLASS_NAMES, DATA_FINGERPRINT};
use super::statistics::{Pairs, Share};
use super::{Comparison, EvaluateError};
use crate::error::Error;
use crate::labelled::LabelledError;
use crate::store::{self, StorageOptions, StoreError};

/// What a model made of an image: all that a comparison needs, a byte an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    Wrong,
    None,
}

/// A model's file of predictions as answers.
#[derive(Debug, Clone)]
pub struct Answers {
    /// The model.
    model: String,
    /// Of the data.
    fingerprint: String,
    /// The classes' names, as the footer has them.
    classes: String,
    /// XXH3 of the keys in their order: answers of other images, or in another order, are not compared.
    keys: u64,
    /// In the order of the images.
    of_images: Vec<Answer>,
}

impl Answers {
    /// Reads the predictions of a model; none where there is no such file. In memory is the file as it lies there, some 50 bytes an image.
    ///
    /// # Errors
    /// The store's, or [`EvaluateError::Unreadable`].
    pub async fn read(
        model: &str,
        place: &str,
        storage: &StorageOptions,
    ) -> Result<Option<Self>, EvaluateError> {
        let opened = store::open(place, storage)?;
        let bytes = match store::read(&*opened.store, &opened.path, &opened.url()).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let parsed = Self::parse(model, bytes).map_err(|source| EvaluateError::Unreadable {
            place: place.to_owned(),
            source,
        });
        parsed.map(Some)
    }

    fn parse(model: &str, bytes: Bytes) -> Result<Self, ParquetError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let said = |key: &str| builder.schema().metadata().get(key).cloned();
        let (fingerprint, classes) = (said(DATA_FINGERPRINT), said(CLASS_NAMES));
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["key", "label", "class"]);
        let (mut keys, mut answers) = (Xxh3::new(), Vec::new());
        for batch in builder.with_projection(mask).build()? {
            push(&batch?, &mut keys, &mut answers)?;
        }
        Ok(Self {
            model: model.to_owned(),
            fingerprint: fingerprint.unwrap_or_default(),
            classes: classes.unwrap_or_default(),
            keys: keys.digest(),
            of_images: answers,
        })
    }

    /// Of the data that they are about ([`crate::labelled::Labelled::fingerprint`]).
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Right answers, of the images that have one; none where no image has.
    pub fn top1(&self) -> Option<Share> {
        let count = |wanted: Answer| self.of_images.iter().filter(|a| **a == wanted).count() as u64;
        let (right, wrong) = (count(Answer::Right), count(Answer::Wrong));
        (right + wrong > 0).then(|| Share::new(right, right + wrong))
    }

    /// Compares a model (A) with another one (B).
    ///
    /// # Errors
    /// [`EvaluateError`] or [`LabelledError`], where their images or classes are not the same.
    pub fn compare(&self, other: &Self) -> Result<Comparison, Error> {
        if self.classes != other.classes {
            return Err(EvaluateError::OtherClasses {
                a: self.model.clone(),
                b: other.model.clone(),
                detail: format!("{} and {}", self.classes, other.classes),
            }
            .into());
        }
        if self.keys != other.keys {
            return Err(LabelledError::Shifted.into());
        }
        compare(
            (&self.model, &self.of_images),
            (&other.model, &other.of_images),
        )
    }
}

/// The answers of some rows.
fn push(
    batch: &RecordBatch,
    hash: &mut Xxh3,
    answers: &mut Vec<Answer>,
) -> Result<(), ParquetError> {
    let column = |name: &str| {
        let missing = || ParquetError::General(format!("it has no column `{name}`"));
        batch.column_by_name(name).ok_or_else(missing)
    };
    let other = || ParquetError::General("its columns have other types".into());
    let keys = column("key")?.as_string_opt::<i32>().ok_or_else(other)?;
    let number = |name| {
        let column = column(name)?.as_primitive_opt::<UInt16Type>();
        column.ok_or_else(other)
    };
    let (labels, classes) = (number("label")?, number("class")?);
    for row in 0..batch.num_rows() {
        // No text has this byte, so that no two lists of keys are the same when written together.
        hash.update(keys.value(row).as_bytes());
        hash.update(&[0xff]);
        answers.push(if classes.is_null(row) {
            Answer::None
        } else if classes.value(row) == labels.value(row) {
            Answer::Right
        } else {
            Answer::Wrong
        });
    }
    Ok(())
}

/// Counts who was right on the images that both models answered.
pub(super) fn compare(
    (a, of_a): (&str, &[Answer]),
    (b, of_b): (&str, &[Answer]),
) -> Result<Comparison, Error> {
    if of_a.len() != of_b.len() {
        return Err(LabelledError::Shifted.into());
    }
    let mut pairs = Pairs::default();
    for answers in of_a.iter().zip(of_b) {
        match answers {
            (Answer::Right, Answer::Right) => pairs.both_right += 1,
            (Answer::Right, Answer::Wrong) => pairs.only_a += 1,
            (Answer::Wrong, Answer::Right) => pairs.only_b += 1,
            (Answer::Wrong, Answer::Wrong) => pairs.both_wrong += 1,
            (Answer::None, _) | (_, Answer::None) => {}
        }
    }
    if pairs.images() == 0 {
        return Err(EvaluateError::NothingCommon {
            a: a.to_owned(),
            b: b.to_owned(),
        }
        .into());
    }
    Ok(Comparison {
        a: a.to_owned(),
        b: b.to_owned(),
        images: pairs.images(),
        pairs,
        test: pairs.compare(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(model: &str, keys: u64, answers: &[Answer]) -> Answers {
        Answers {
            model: model.to_owned(),
            fingerprint: "f".to_owned(),
            classes: "[\"a\",\"b\"]".to_owned(),
            keys,
            of_images: answers.to_vec(),
        }
    }

    #[test]
    fn answers_on_the_same_images_are_compared_and_others_are_not() {
        use Answer::{None, Right, Wrong};
        let a = answers("a@1", 7, &[Right, Right, Wrong, None, Wrong]);
        let b = answers("b@1", 7, &[Right, Wrong, Right, Right, Wrong]);
        let both = a.compare(&b).unwrap();
        assert_eq!(
            (both.a.as_str(), both.b.as_str(), both.images),
            ("a@1", "b@1", 4)
        );
        let pairs = both.pairs;
        assert_eq!(
            [
                pairs.both_right,
                pairs.only_a,
                pairs.only_b,
                pairs.both_wrong
            ],
            [1, 1, 1, 1]
        );
        let top1 = a.top1().unwrap();
        assert_eq!((top1.count, top1.of), (2, 4));
        assert!(answers("c@1", 7, &[None]).top1().is_none());

        let shifted = answers("b@1", 8, &b.of_images);
        assert!(a.compare(&shifted).is_err());
        let other = Answers {
            classes: "[\"b\",\"a\"]".to_owned(),
            ..b
        };
        let error = a.compare(&other).unwrap_err().to_string();
        assert!(
            error.starts_with("`a@1` and `b@1` have other classes"),
            "{error}"
        );
    }
}
