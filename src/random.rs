//! Random choices that are the same in every run: hashes of what a choice is about. There is no generator and so no state to lose.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// XXH3 (64 bits) of the key's bytes with the seed.
#[inline]
pub fn seeded_hash(seed: u64, key: &str) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), seed)
}

/// The draws of one image, at one time: any number of them, each with a number of its own, in any order.
///
/// A draw is a hash of the image's identity and the draw's number, so whoever asks again gets the same, and asking for one changes no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws(u64);

impl Draws {
    /// Of an image that is seen once, known by its key: labelling.
    pub fn of_key(seed: u64, key: &str) -> Self {
        Self::of("key", [seeded_hash(seed, key), seed, 0])
    }

    /// Of the image in row `row` of the batch of step `step` (or of row `row` in epoch `step`): training.
    pub fn of_row(seed: u64, step: u64, row: u64) -> Self {
        Self::of("row", [seed, step, row])
    }

    /// Draws of their own for a purpose, so that one purpose's numbers never meet another's.
    #[must_use]
    pub fn branch(self, purpose: &str, n: u64) -> Self {
        Self::of(purpose, [self.0, n, 0])
    }

    fn of(what: &str, numbers: [u64; 3]) -> Self {
        // Numbers are hashed as bytes, none as XXH3's seed: of a short input the seed is hardly more than added to it.
        let mut bytes = [0; 32];
        let words = [seeded_hash(0, what), numbers[0], numbers[1], numbers[2]];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        Self(xxh3_64(&bytes))
    }

    /// 64 even bits.
    pub fn bits(self, n: u64) -> u64 {
        xxh3_64_with_seed(&n.to_le_bytes(), self.0)
    }

    /// Evenly from 0 on and below 1, in steps of 2⁻⁵³.
    pub fn unit(self, n: u64) -> f64 {
        (self.bits(n) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly from `low` on and below `high`; `low` where they are the same.
    pub fn between(self, n: u64, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit(n)
    }

    /// Evenly one of 0, 1, …, `bound` − 1; 0 where `bound` is 0. Off from even by less than `bound` / 2⁶⁴.
    pub fn below(self, n: u64, bound: u32) -> u32 {
        ((u128::from(self.bits(n)) * u128::from(bound)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far counts are from even, as the chi-square statistic over its degrees of freedom: about 1 for even draws.
    fn unevenness(counts: &[u32]) -> f64 {
        let all: u32 = counts.iter().sum();
        let expected = f64::from(all) / counts.len() as f64;
        let sum: f64 = counts
            .iter()
            .map(|c| (f64::from(*c) - expected).powi(2) / expected)
            .sum();
        sum / (counts.len() - 1) as f64
    }

    #[test]
    fn the_hash_is_xxh3_so_that_others_can_make_it_as_well() {
        // From xxHash's own vectors: the empty input without a seed.
        assert_eq!(seeded_hash(0, ""), 0x2D06_8005_38D3_94C2);
        assert_ne!(seeded_hash(0, "a"), seeded_hash(1, "a"));
    }

    #[test]
    fn draws_are_even_along_every_number_that_they_depend_on() {
        type Draw = fn(u64) -> u64;
        let along: [(&str, Draw); 6] = [
            ("seed", |i| Draws::of_row(i, 3, 5).bits(0)),
            ("step", |i| Draws::of_row(7, i, 5).bits(0)),
            ("row", |i| Draws::of_row(7, 3, i).bits(0)),
            ("number", |i| Draws::of_row(7, 3, 5).bits(i)),
            ("branch", |i| Draws::of_row(7, 3, 5).branch("x", i).bits(0)),
            ("key", |i| Draws::of_key(7, &i.to_string()).bits(0)),
        ];
        for (name, draw) in along {
            for shift in [56, 28, 0] {
                let mut counts = [0; 256];
                for i in 0..50_000 {
                    counts[(draw(i) >> shift) as usize & 255] += 1;
                }
                let u = unevenness(&counts);
                // 255 degrees of freedom: a standard deviation is 0.09.
                assert!((0.6..1.4).contains(&u), "{name}, bits {shift}…: {u}");
            }
        }
    }

    #[test]
    fn neighbours_share_nothing() {
        let pairs: [fn(u64) -> [f64; 2]; 4] = [
            |i| [0, 1].map(|d| Draws::of_row(1, 1, i + d).unit(0)),
            |i| [0, 1].map(|d| Draws::of_row(1, i + d, 1).unit(0)),
            |i| [0, 1].map(|d| Draws::of_row(1, 1, i).unit(d)),
            |i| [0, 1].map(|d| Draws::of_row(1 + d, 1, i).unit(0)),
        ];
        for (n, pair) in pairs.iter().enumerate() {
            let count = 50_000;
            let sum: f64 = (0..count)
                .map(|i| pair(i).iter().map(|u| u - 0.5).product::<f64>())
                .sum();
            let correlation = 12.0 * sum / count as f64;
            // A standard deviation is 1/√50,000 = 0.0045.
            assert!(correlation.abs() < 0.02, "pair {n}: {correlation}");
        }
    }

    #[test]
    fn a_draw_is_within_its_range_whatever_the_range() {
        let draws = Draws::of_row(0, 0, 0);
        for n in 0..1000 {
            assert!((0.0..1.0).contains(&draws.unit(n)));
            assert!((0.2..0.8).contains(&draws.between(n, [0.2, 0.8])));
            assert!(draws.below(n, 3) < 3);
        }
        assert_eq!(draws.below(0, 1), 0);
        assert_eq!(draws.between(0, [0.5, 0.5]).to_bits(), 0.5_f64.to_bits());
        let mut counts = [0; 16];
        (0..16_000).for_each(|n| counts[draws.below(n, 16) as usize] += 1);
        assert!(unevenness(&counts) < 2.5, "{counts:?}");
    }
}
