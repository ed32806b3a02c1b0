//! Intervals of shares and the paired test: what makes "better" mean something.
//!
//! Checked against published figures: the tables of R's `mcnemar.test` and of Fagerland, Lydersen and Laake, *Statistical Analysis of
//! Contingency Tables* (2017).

use serde::{Deserialize, Serialize};

/// The 97.5 % point of the normal distribution: all intervals are of 95 %.
const Z: f64 = 1.959_963_984_540_054;
/// With fewer discordant pairs the test is exact: below 25 the χ² approximation is poor, and the exact test costs nothing.
pub const EXACT_BELOW: u64 = 25;

/// A share with its 95 % interval by Wilson's score method (Wilson 1927).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// `count / of`, from 0 to 1.
    pub share: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Share {
    /// `count` of `of`, which is more than 0.
    pub fn new(count: u64, of: u64) -> Self {
        let n = of as f64;
        let p = count as f64 / n;
        let z2 = Z * Z;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        Self {
            count,
            of,
            share: p,
            low: (centre - half).max(0.0),
            high: (centre + half).min(1.0),
        }
    }
}

/// Two models on the same images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pairs {
    /// Both right.
    pub both_right: u64,
    /// A right, B wrong.
    pub only_a: u64,
    /// B right, A wrong.
    pub only_b: u64,
    /// Both wrong.
    pub both_wrong: u64,
}

/// Which form of McNemar's test was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// The two-sided binomial test of the discordant pairs against 1/2.
    ExactBinomial,
    /// χ² with one degree of freedom and Edwards' continuity correction.
    ContinuityCorrected,
}

/// Whether two models differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// Which form.
    pub test: Test,
    /// χ²; none where the test is exact.
    pub chi_squared: Option<f64>,
    /// Two-sided.
    pub p_value: f64,
    /// B's share of right answers less A's.
    pub difference: f64,
    /// The lower end of the difference's 95 % interval: Newcombe's method 10 for paired shares (1998).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Pairs {
    /// All of them.
    pub fn images(&self) -> u64 {
        self.both_right + self.only_a + self.only_b + self.both_wrong
    }

    /// McNemar's test (McNemar 1947; the correction is Edwards 1948), as Dietterich (1998) recommends it for two classifiers on one
    /// test set: only the images that one of them gets right can tell them apart. With [`EXACT_BELOW`] such images or more
    /// χ² = (|b − c| − 1)² / (b + c), with fewer the exact binomial test.
    pub fn compare(&self) -> PairedTest {
        let (b, c) = (self.only_a, self.only_b);
        let discordant = b + c;
        let (test, chi_squared, p_value) = if discordant < EXACT_BELOW {
            (Test::ExactBinomial, None, binomial(b.min(c), discordant))
        } else {
            let distance = (b.abs_diff(c) as f64 - 1.0).max(0.0);
            let chi = distance * distance / discordant as f64;
            // The upper tail of χ² with one degree of freedom.
            let p = libm::erfc((chi / 2.0).sqrt());
            (Test::ContinuityCorrected, Some(chi), p)
        };
        let (low, high) = self.interval();
        PairedTest {
            test,
            chi_squared,
            p_value,
            difference: (c as f64 - b as f64) / self.images() as f64,
            low,
            high,
        }
    }

    /// Newcombe's square-and-add interval of B's share less A's: Wilson's intervals of both, joined by the correlation of the pairs.
    fn interval(&self) -> (f64, f64) {
        let n = self.images();
        let a = Share::new(self.both_right + self.only_a, n);
        let b = Share::new(self.both_right + self.only_b, n);
        let [right, only_a, only_b, wrong] =
            [self.both_right, self.only_a, self.only_b, self.both_wrong].map(|n| n as f64);
        let margins = (right + only_a) * (only_b + wrong) * (right + only_b) * (only_a + wrong);
        let product = right * wrong - only_a * only_b;
        // Newcombe's own correction for continuity of φ.
        let product = if product > 0.0 {
            (product - n as f64 / 2.0).max(0.0)
        } else {
            product
        };
        let phi = if margins > 0.0 {
            product / margins.sqrt()
        } else {
            0.0
        };
        let joined = |x: f64, y: f64| (x * x - 2.0 * phi * x * y + y * y).max(0.0).sqrt();
        let difference = b.share - a.share;
        let below = joined(b.share - b.low, a.high - a.share);
        let above = joined(b.high - b.share, a.share - a.low);
        (
            (difference - below).max(-1.0),
            (difference + above).min(1.0),
        )
    }
}

/// Two-sided: twice the probability of `least` or fewer heads in `tosses` tosses of a fair coin, at most 1.
fn binomial(least: u64, tosses: u64) -> f64 {
    let n = tosses as f64;
    let log_choose =
        |k: f64| libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let tail: f64 = (0..=least)
        .map(|k| (log_choose(k as f64) - n * std::f64::consts::LN_2).exp())
        .sum();
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(both_right: u64, only_a: u64, only_b: u64, both_wrong: u64) -> Pairs {
        Pairs {
            both_right,
            only_a,
            only_b,
            both_wrong,
        }
    }

    fn close(found: f64, expected: f64, within: f64) {
        assert!(
            (found - expected).abs() <= within,
            "{found} is not {expected}"
        );
    }

    #[test]
    fn wilsons_interval_is_the_published_one() {
        // Newcombe (1998), Two-sided confidence intervals for the single proportion, table I: 81 of 263, and 15 of 148; 0 of 20.
        let share = Share::new(81, 263);
        close(share.low, 0.2553, 5e-5);
        close(share.high, 0.3662, 5e-5);
        let share = Share::new(15, 148);
        close(share.low, 0.0624, 5e-5);
        close(share.high, 0.1605, 5e-5);
        let none = Share::new(0, 20);
        close(none.low, 0.0, 1e-12);
        close(none.high, 0.1611, 5e-5);
        close(Share::new(20, 20).high, 1.0, 1e-12);
    }

    #[test]
    fn many_discordant_pairs_are_tested_as_r_does() {
        // R: mcnemar.test(matrix(c(794, 86, 150, 570), 2)), Agresti (1990), p. 350: 16.818, p = 4.115e-05 (4.114562e-05).
        let test = pairs(794, 150, 86, 570).compare();
        assert_eq!(test.test, Test::ContinuityCorrected);
        close(test.chi_squared.unwrap(), 16.818, 5e-4);
        close(test.p_value, 4.114_562e-5, 5e-11);
        close(test.difference, -0.04, 1e-12);
    }

    #[test]
    fn few_discordant_pairs_are_tested_exactly() {
        // Cavo et al. (2012), in Fagerland et al., chapter 8: 59, 6, 16, 80: P = 0.052479 by the exact conditional test.
        let test = pairs(59, 6, 16, 80).compare();
        assert_eq!((test.test, test.chi_squared), (Test::ExactBinomial, None));
        close(test.p_value, 0.052_479, 5e-7);
        // By hand: b = 1, c = 11: 2 · (1 + 12) / 2¹².
        close(pairs(0, 1, 11, 0).compare().p_value, 26.0 / 4096.0, 1e-12);
        // As many on both sides: no difference at all; and no discordant pair.
        close(pairs(5, 4, 4, 5).compare().p_value, 1.0, 1e-12);
        close(pairs(5, 0, 0, 5).compare().p_value, 1.0, 1e-12);
    }

    #[test]
    fn where_the_two_forms_meet_they_nearly_agree() {
        let exact = binomial(7, 25);
        let approximate = pairs(100, 7, 18, 100).compare();
        assert_eq!(approximate.test, Test::ContinuityCorrected);
        close(approximate.p_value, exact, 0.003);
        assert_eq!(pairs(100, 7, 17, 100).compare().test, Test::ExactBinomial);
    }

    #[test]
    fn a_table_of_chi_squared_is_met() {
        // The 5 %, 1 % and 0.1 % points of χ² with one degree of freedom.
        for (chi, p) in [(3.841_459, 0.05), (6.634_897, 0.01), (10.827_566, 0.001)] {
            close(libm::erfc(f64::sqrt(chi / 2.0)), p, 1e-7);
        }
    }

    #[test]
    fn newcombes_interval_of_a_paired_difference_is_the_published_one() {
        // Fagerland et al., chapter 8, Cavo et al.: π₁₊ − π₊₁ = −0.0621 (−0.1186 to −0.0046). Ours is B less A, which turns the sign.
        let test = pairs(59, 6, 16, 80).compare();
        close(test.difference, 0.0621, 5e-5);
        close(test.low, 0.0046, 5e-5);
        close(test.high, 0.1186, 5e-5);
        let turned = pairs(59, 16, 6, 80).compare();
        close(turned.low, -0.1186, 5e-5);
        close(turned.high, -0.0046, 5e-5);
        // Models that are always right.
        let perfect = pairs(10, 0, 0, 0).compare();
        assert!(perfect.low <= 0.0 && perfect.high >= 0.0);
    }
}
