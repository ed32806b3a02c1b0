//! Images that the unlabelled set has more than once, by SHA-256, in memory that grows with the duplicates, and up to some 100 million rows not with these.
//!
//! Pass 1 ([`Seen`]) sets four bits a row in a filter of fixed size and notes the hashes that met only set bits: all repeated ones, and one in some
//! thousands of the others, at 80 million rows one in 70: beyond that the filter fills up, and most are suspected. Pass 2 ([`Suspects`]) looks at these alone and keeps, for each hash that really came twice, its first key: the row
//! that stays.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// 2²³ words of 64 bits are 64 MiB: with four bits a row 20 million rows fill an eighth of it, and of three thousand rows one is suspected for nothing.
const WORDS: usize = 1 << 23;

/// SHA-256 of an image.
pub(super) type Sha = [u8; 32];

/// Eight bytes of it: it is even already, so that they are a hash of it.
fn part(sha: &Sha, from: usize) -> u64 {
    sha[from..from + 8]
        .iter()
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Pass 1, shared by all workers: a Bloom filter of blocks (Putze, Sanders and Singler 2007), each of one word.
#[derive(Debug)]
pub(super) struct Seen {
    words: Vec<AtomicU64>,
}

impl Seen {
    pub(super) fn new() -> Self {
        let words = std::iter::repeat_with(|| AtomicU64::new(0));
        Self {
            words: words.take(WORDS).collect(),
        }
    }

    /// Whether a hash may have come before. Of two workers that have the same one at the same time the second is told so: all bits are set at once.
    pub(super) fn again(&self, sha: &Sha) -> bool {
        let word = &self.words[part(sha, 0) as usize % WORDS];
        let bits = part(sha, 8);
        let bits = (0..4).fold(0, |all, i| all | 1 << (bits >> (6 * i) & 63));
        word.fetch_or(bits, Ordering::Relaxed) & bits == bits
    }
}

/// The hashes that may be repeated, as a part of each: a filter may take some for others.
#[derive(Debug, Default)]
pub(super) struct Suspects(HashSet<u64>);

impl Suspects {
    pub(super) fn insert(&mut self, sha: &Sha) {
        self.0.insert(part(sha, 0));
    }

    /// What two workers have.
    pub(super) fn merged(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn has(&self, sha: &Sha) -> bool {
        self.0.contains(&part(sha, 0))
    }
}

/// Pass 2 of one worker: of each suspect the first key and how often it came.
#[derive(Debug, Default)]
pub(super) struct Repeated(HashMap<Sha, (String, u64)>);

impl Repeated {
    pub(super) fn push(&mut self, suspects: &Suspects, sha: &Sha, key: &str) {
        if suspects.has(sha) {
            self.add(*sha, key, 1);
        }
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
    use std::sync::Barrier;

    use sha2::{Digest as _, Sha256};

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
            let mut suspects = Suspects::default();
            for (sha, _) in rows.iter().filter(|(s, _)| seen.again(s)) {
                suspects.insert(sha);
            }
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

    /// SHA-256 of a number.
    fn sha(of: u32) -> Sha {
        Sha256::digest(of.to_le_bytes()).into()
    }

    #[test]
    fn what_comes_twice_is_seen_whoever_brings_it() {
        const IMAGES: u32 = 20_000;
        let (seen, begin) = (Seen::new(), Barrier::new(4));
        let again: usize = std::thread::scope(|threads| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    threads.spawn(|| {
                        begin.wait();
                        (0..IMAGES).filter(|n| seen.again(&sha(*n))).count()
                    })
                })
                .collect();
            workers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert!(again >= 3 * IMAGES as usize, "{again}");
    }

    #[test]
    fn few_are_suspected_for_nothing() {
        // A hundredth of the words with a hundredth of 20 million rows.
        let seen = Seen::new();
        let sha = |n: &u32| {
            let mut sha = sha(*n);
            let word = part(&sha, 0) % (WORDS as u64 / 100);
            sha[..8].copy_from_slice(&word.to_be_bytes());
            sha
        };
        let suspected = (0..200_000).filter(|n| seen.again(&sha(n))).count();
        assert!((20..400).contains(&suspected), "{suspected}");
    }
}
