//! The selection of the paper's published code, so that results can be compared: 101 bins of confidence a class.
//!
//! A class's cut-off is the highest bin from which on upwards at least K rows lie; where more than K do, each of them stays with probability
//! K / n. Where fewer lie above the threshold, each gets K / n copies, the fraction by chance. So a class comes to K only about, and
//! not to its most confident. Chance is a hash of (seed, key) here, where the published code draws without a seed.

use std::collections::{BTreeMap, HashMap};

use super::hash::seeded_hash;
use super::topk::Balance;

/// 0.00, 0.01, …, 1.00.
const BINS: usize = 101;

/// The bin of a confidence.
fn bin(confidence: f32) -> usize {
    ((confidence * 100.0) as usize).min(BINS - 1)
}

/// The pass of one worker.
#[derive(Debug, Clone, Default)]
pub(super) struct Bins {
    classes: BTreeMap<i64, Vec<u64>>,
}

impl Bins {
    pub(super) fn push(&mut self, class: i64, confidence: f32) {
        let bins = self.classes.entry(class).or_insert_with(|| vec![0; BINS]);
        bins[bin(confidence)] += 1;
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (class, theirs) in other.classes {
            let ours = self.classes.entry(class).or_insert_with(|| vec![0; BINS]);
            ours.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }

    pub(super) fn finish(self, per_class: u64, balance: Balance, seed: u64) -> Histogram {
        let classes = self.classes.into_iter().map(|(class, bins)| {
            let mut above = 0;
            let mut cut = 0;
            for (i, rows) in bins.iter().enumerate().rev() {
                above += rows;
                cut = i;
                if above >= per_class {
                    break;
                }
            }
            let of = ClassBins {
                available: bins.iter().sum(),
                cut,
                share: per_class as f64 / above.max(1) as f64,
            };
            (class, of)
        });
        Histogram {
            classes: classes.collect(),
            balance,
            seed,
        }
    }
}

/// What is known of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClassBins {
    /// Candidates.
    pub(super) available: u64,
    /// The lowest bin that is in.
    pub(super) cut: usize,
    /// K over the rows in it and above.
    share: f64,
}

/// What is chosen, as functions of a row.
#[derive(Debug)]
pub(super) struct Histogram {
    pub(super) classes: HashMap<i64, ClassBins>,
    balance: Balance,
    seed: u64,
}

impl Histogram {
    /// The row's draw, from 0 to 1.
    fn draw(&self, key: &str) -> f64 {
        seeded_hash(self.seed, key) as f64 / u64::MAX as f64
    }

    /// Whether a candidate may be chosen, whatever its key.
    pub(super) fn is_within_reach(&self, class: i64, confidence: f32) -> bool {
        let class = self.classes.get(&class);
        class.is_some_and(|c| bin(confidence) >= c.cut)
    }

    pub(super) fn is_chosen(&self, class: i64, confidence: f32, key: &str) -> bool {
        self.classes.get(&class).is_some_and(|c| {
            bin(confidence) >= c.cut && (c.share >= 1.0 || self.draw(key) < c.share)
        })
    }

    pub(super) fn copies(&self, class: i64, key: &str) -> u32 {
        let share = self.classes.get(&class).map_or(1.0, |c| c.share);
        if share <= 1.0 || self.balance == Balance::None {
            return 1;
        }
        share as u32 + u32::from(self.draw(key) < share.fract())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_class_is_sampled_from_its_cut_off_bin_and_a_small_one_is_duplicated() {
        let mut bins = Bins::default();
        for i in 0..1000 {
            bins.push(0, 0.5 + (i % 50) as f32 / 100.0);
        }
        (0..4).for_each(|_| bins.push(1, 0.9));
        let uneven = bins.clone().finish(100, Balance::None, 7);
        assert_eq!(uneven.copies(1, "any"), 1);
        let histogram = bins.finish(100, Balance::Duplicate, 7);
        let full = histogram.classes[&0];
        assert_eq!(full.available, 1000);
        assert!((full.share - 1.0).abs() < 1e-9);
        let small = histogram.classes[&1];
        assert_eq!(small.available, 4);
        assert_eq!(histogram.copies(1, "any"), 25);
        assert!(!histogram.is_chosen(0, 0.6, "any"));
        assert!(histogram.is_chosen(0, 0.991, "any"));
    }
}
