//! `seeded_hash` for SQL, and quantiles of hashes in bounded memory.

use std::sync::Arc;

use arrow::array::{AsArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, Volatility};

pub use crate::random::seeded_hash;

/// How many standard deviations around its expected place a quantile is looked for.
const SIGMAS: f64 = 8.0;
/// A quantile of so few hashes is found by keeping them all.
const FEW: u64 = 4096;

/// `seeded_hash(seed, key)` for SQL: of any integer and any text.
pub fn udf() -> ScalarUDF {
    let udf = SimpleScalarUDF::new_with_signature(
        "seeded_hash",
        Signature::any(2, Volatility::Immutable),
        DataType::UInt64,
        Arc::new(|args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let seeds = cast(&arrays[0], &DataType::UInt64)?;
            let keys = cast(&arrays[1], &DataType::Utf8)?;
            let hashes: UInt64Array = seeds
                .as_primitive::<UInt64Type>()
                .iter()
                .zip(keys.as_string::<i32>())
                .map(|(seed, key)| Some(seeded_hash(seed?, key?)))
                .collect();
            Ok::<_, DataFusionError>(ColumnarValue::Array(Arc::new(hashes)))
        }),
    );
    udf.into()
}

/// The `rank`-th smallest of `count` hashes, found in one pass. Hashes are even, so their `rank`-th lies near `rank / count` of the whole range:
/// only those within [`SIGMAS`] standard deviations of there are kept, some 16·√count of them.
#[derive(Debug, Clone)]
pub(super) struct Quantile {
    /// Those are kept that lie from here
    from: u64,
    /// to here.
    to: u64,
    below: u64,
    rank: u64,
    inside: Vec<u64>,
}

impl Quantile {
    /// `rank` counts from 1 and is at most `count`.
    pub(super) fn new(rank: u64, count: u64) -> Self {
        let (from, to) = if count <= FEW {
            (0, u64::MAX)
        } else {
            let (rank, count) = (rank as f64, count as f64);
            let at = rank / count;
            let margin = SIGMAS * (at * (1.0 - at) / count).sqrt() + SIGMAS / count;
            let place = |fraction: f64| (fraction.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
            (place(at - margin), place(at + margin))
        };
        Self {
            from,
            to,
            below: 0,
            rank,
            inside: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, hash: u64) {
        // Nearly always below or above, and never known which.
        self.below += u64::from(hash < self.from);
        if (self.from..=self.to).contains(&hash) {
            self.inside.push(hash);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.below += other.below;
        self.inside.extend(other.inside);
    }

    /// The hash up to which, itself included, `rank` hashes lie.
    ///
    /// # Errors
    /// [`NotFound`].
    pub(super) fn find(mut self) -> Result<u64, NotFound> {
        let before = self.rank.checked_sub(self.below + 1).ok_or(NotFound)?;
        let within = usize::try_from(before).map_err(|_| NotFound)?;
        if within >= self.inside.len() {
            return Err(NotFound);
        }
        Ok(*self.inside.select_nth_unstable(within).1)
    }
}

/// A quantile lies outside of its window, as it does where keys are not distinct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotFound;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quantile_of_many_hashes_is_exact_and_keeps_few_of_them() {
        let hashes: Vec<u64> = (0..200_000)
            .map(|i| seeded_hash(7, &i.to_string()))
            .collect();
        let mut sorted = hashes.clone();
        sorted.sort_unstable();
        for rank in [1, 17, 100_000, 199_999, 200_000] {
            let mut parts = [(); 2].map(|()| Quantile::new(rank, 200_000));
            for (i, hash) in hashes.iter().enumerate() {
                parts[i % 2].push(*hash);
            }
            let [mut one, two] = parts;
            one.merge(two);
            assert!(one.inside.len() < 8000, "{} were kept", one.inside.len());
            assert_eq!(one.find(), Ok(sorted[rank as usize - 1]));
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_what_a_sort_gives(hashes in prop::collection::vec(any::<u64>(), 1..200), pick in 0_usize..200) {
            let rank = pick % hashes.len() + 1;
            let mut quantile = Quantile::new(rank as u64, hashes.len() as u64);
            hashes.iter().for_each(|h| quantile.push(*h));
            let mut sorted = hashes.clone();
            sorted.sort_unstable();
            prop_assert_eq!(quantile.find(), Ok(sorted[rank - 1]));
        }
    }
}
