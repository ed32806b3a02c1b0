//! Images that the unlabelled set has more than once, by SHA-256, in memory that grows with the duplicates and not with the rows.
//!
//! Pass 1 ([`Seen`]) sets two bits a row in a filter of fixed size and notes the hashes that met only set bits: all repeated ones, and one in some
//! thousand others. Pass 2 ([`Suspects`]) looks at these alone and keeps, for each hash that really came twice, its first key: the row
//! that stays.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// 2³⁰ bits are 128 MiB: with two bits a row 20 million rows fill 4 % of it, and one row in 700 is suspected for nothing.
const FILTER_BITS: u64 = 1 << 30;

/// SHA-256 of an image.
pub(super) type Sha = [u8; 32];

/// Pass 1, shared by all workers.
#[derive(Debug)]
pub(super) struct Seen {
    words: Vec<AtomicU64>,
}

impl Seen {
    pub(super) fn new() -> Self {
        let words = std::iter::repeat_with(|| AtomicU64::new(0));
        Self {
            words: words.take((FILTER_BITS / 64) as usize).collect(),
        }
    }

    /// Whether a hash may have come before.
    pub(super) fn again(&self, sha: &Sha) -> bool {
        // A SHA-256 is even already: two parts of it are two hashes.
        let [first, second] = [&sha[..8], &sha[8..16]].map(|part| {
            let hash = part.iter().fold(0_u64, |h, b| h << 8 | u64::from(*b)) % FILTER_BITS;
            let bit = 1 << (hash % 64);
            self.words[(hash / 64) as usize].fetch_or(bit, Ordering::Relaxed) & bit != 0
        });
        first && second
    }
}

/// The hashes that may be repeated.
#[derive(Debug, Default)]
pub(super) struct Suspects(pub(super) HashSet<Sha>);

/// Pass 2 of one worker: of each suspect the first key and how often it came.
#[derive(Debug, Default)]
pub(super) struct Repeated(HashMap<Sha, (String, u64)>);

impl Repeated {
    pub(super) fn push(&mut self, suspects: &Suspects, sha: &Sha, key: &str) {
        if !suspects.0.contains(sha) {
            return;
        }
        self.add(*sha, key, 1);
    }

    fn add(&mut self, sha: Sha, key: &str, rows: u64) {
        match self.0.get_mut(&sha) {
            Some((first, count)) => {
                if key < first.as_str() {
                    key.clone_into(first);
                }
                *count += rows;
            }
            None => {
                self.0.insert(sha, (key.to_owned(), rows));
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (sha, (key, rows)) in other.0 {
            self.add(sha, &key, rows);
        }
    }

    pub(super) fn finish(self) -> Duplicates {
        let repeated = self.0.into_iter().filter(|(_, (_, rows))| *rows > 1);
        Duplicates(repeated.map(|(sha, (key, _))| (sha, key)).collect())
    }
}

/// The repeated images, each with the key that stays.
#[derive(Debug, Default)]
pub(super) struct Duplicates(HashMap<Sha, String>);

impl Duplicates {
    /// Whether a row is another of an image that stays under another key.
    pub(super) fn is_duplicate(&self, sha: &Sha, key: &str) -> bool {
        self.0.get(sha).is_some_and(|first| first != key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_image_the_first_key_stays_whatever_the_order() {
        let sha = |n: u8| [n; 32];
        let rows = [
            (sha(1), "b"),
            (sha(2), "c"),
            (sha(1), "a"),
            (sha(1), "d"),
            (sha(3), "e"),
        ];
        for turned in [false, true] {
            let mut rows = rows.to_vec();
            if turned {
                rows.reverse();
            }
            let seen = Seen::new();
            let suspects = rows.iter().filter(|(s, _)| seen.again(s)).map(|(s, _)| *s);
            let suspects = Suspects(suspects.collect());
            let mut workers = [Repeated::default(), Repeated::default()];
            for (i, (sha, key)) in rows.iter().enumerate() {
                workers[i % 2].push(&suspects, sha, key);
            }
            let [mut one, two] = workers;
            one.merge(two);
            let duplicates = one.finish();
            let out: Vec<&str> = rows
                .iter()
                .filter(|(s, k)| duplicates.is_duplicate(s, k))
                .map(|(_, k)| *k)
                .collect();
            assert_eq!(out.len(), 2);
            assert!(out.contains(&"b") && out.contains(&"d"));
        }
    }
}
