//! Unlabelled images that are held-out ones: the same bytes, or a gradient hash within a few bits.
//!
//! Near hashes are found by multi-index hashing (Norouzi, Punjani and Fleet 2012): of two 64-bit hashes that differ in at most 10 bits one of three
//! 16-bit parts differs in at most 2, or the fourth in at most 1, since otherwise they would differ in 3 + 3 + 3 + 2. So a row looks at 137 places in
//! each of three tables and at 17 in a fourth, whatever the number of held-out images.

use std::collections::{HashMap, HashSet};

use super::duplicates::Sha;

/// Up to this distance the nearest held-out image is reported, whether the row is dropped or not.
pub const REPORTED_DISTANCE: u32 = 10;

/// Bits in which each part of two near hashes differs at most, unless another one does.
const PART_DISTANCES: [u32; 4] = [2, 2, 2, 1];
const _: () = {
    let [a, b, c, d] = PART_DISTANCES;
    // Hashes of which every part differs in more.
    assert!(a + b + c + d + 4 > REPORTED_DISTANCE);
};
/// Values of a part.
const VALUES: usize = 1 << 16;

/// A held-out image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldOut {
    pub(super) key: String,
    pub(super) sha256: Option<Sha>,
    pub(super) phash: Option<u64>,
}

/// The held-out images, indexed.
#[derive(Debug)]
pub(super) struct Index {
    images: Vec<HeldOut>,
    by_sha: HashMap<Sha, u32>,
    tables: Vec<Table>,
    /// Of every part the 16-bit numbers with at most as many bits as [`PART_DISTANCES`] says.
    masks: [Vec<u16>; PART_DISTANCES.len()],
}

/// The images by one part of their hashes.
#[derive(Debug)]
struct Table {
    /// Where the images of each value begin in `images`.
    starts: Vec<u32>,
    images: Vec<(u64, u32)>,
}

impl Table {
    fn new(hashes: &[(u64, u32)], part: u32) -> Self {
        let mut images = hashes.to_vec();
        images.sort_unstable_by_key(|(hash, image)| (value(*hash, part), *image));
        let mut starts = vec![0; VALUES + 1];
        for (hash, _) in &images {
            starts[usize::from(value(*hash, part)) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        Self { starts, images }
    }

    fn of(&self, value: u16) -> &[(u64, u32)] {
        let at = usize::from(value);
        &self.images[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

fn value(hash: u64, part: u32) -> u16 {
    (hash >> (16 * part)) as u16
}

/// The nearest held-out image of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// Its key.
    pub(super) held_out: String,
    /// Bits in which the hashes differ; 0 for the same bytes.
    pub(super) distance: u32,
    /// Whether the bytes are the same.
    pub(super) same_bytes: bool,
}

impl Index {
    /// The images are taken in the order of their keys, so that of two that are equally near the first is reported.
    pub(super) fn new(mut images: Vec<HeldOut>) -> Self {
        // One teacher may know hashes of an image that another does not: each row that says something else stays.
        images.sort_by(|a, b| (&a.key, a.sha256, a.phash).cmp(&(&b.key, b.sha256, b.phash)));
        images.dedup();
        let number = |i: usize| u32::try_from(i).unwrap_or(u32::MAX);
        let mut by_sha = HashMap::new();
        let mut hashes = Vec::new();
        for (i, image) in images.iter().enumerate() {
            if let Some(sha) = image.sha256 {
                by_sha.entry(sha).or_insert(number(i));
            }
            hashes.extend(image.phash.map(|hash| (hash, number(i))));
        }
        Self {
            by_sha,
            tables: (0..PART_DISTANCES.len() as u32)
                .map(|part| Table::new(&hashes, part))
                .collect(),
            masks: PART_DISTANCES.map(|most| {
                let all = 0..=u16::MAX;
                all.filter(|mask| mask.count_ones() <= most).collect()
            }),
            images,
        }
    }

    /// Distinct held-out images.
    pub(super) fn keys(&self) -> u64 {
        let mut keys = self.images.iter().map(|i| &i.key).collect::<Vec<_>>();
        keys.dedup();
        keys.len() as u64
    }

    /// Those without a gradient hash.
    pub(super) fn bytes_only(&self) -> u64 {
        let of_one = self.images.chunk_by(|a, b| a.key == b.key);
        of_one
            .filter(|i| i.iter().all(|i| i.phash.is_none()))
            .count() as u64
    }

    /// The nearest held-out image within [`REPORTED_DISTANCE`]; the same bytes are nearest of all.
    pub(super) fn nearest(&self, sha: Option<&Sha>, phash: Option<u64>) -> Option<Hit> {
        let hit = |image: u32, distance, same_bytes| Hit {
            held_out: self.images[image as usize].key.clone(),
            distance,
            same_bytes,
        };
        if let Some(image) = sha.and_then(|sha| self.by_sha.get(sha)) {
            return Some(hit(*image, 0, true));
        }
        let hash = phash?;
        let mut best: Option<(u32, u32)> = None;
        for ((part, table), masks) in (0..).zip(&self.tables).zip(&self.masks) {
            let own = value(hash, part);
            for mask in masks {
                for (other, image) in table.of(own ^ mask) {
                    let distance = (hash ^ other).count_ones();
                    if distance <= REPORTED_DISTANCE
                        && best.is_none_or(|best| (distance, *image) < best)
                    {
                        best = Some((distance, *image));
                    }
                }
            }
        }
        best.map(|(distance, image)| hit(image, distance, false))
    }
}

/// The fingerprints of rows that are dropped as leaked.
#[derive(Debug, Default)]
pub(super) struct Leaked {
    pub(super) shas: HashSet<Sha>,
    pub(super) phashes: HashSet<u64>,
}

impl Leaked {
    pub(super) fn is_leaked(&self, sha: Option<&Sha>, phash: Option<u64>) -> bool {
        sha.is_some_and(|sha| self.shas.contains(sha))
            || phash.is_some_and(|hash| self.phashes.contains(&hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held_out(n: usize, phash: u64) -> HeldOut {
        HeldOut {
            key: format!("{n:05}"),
            sha256: Some([n as u8; 32]),
            phash: Some(phash),
        }
    }

    #[test]
    fn the_same_bytes_are_nearest_whatever_the_hash() {
        let index = Index::new(vec![held_out(1, 0), held_out(2, u64::MAX)]);
        let hit = index.nearest(Some(&[2; 32]), Some(0)).unwrap();
        assert_eq!(
            (hit.held_out.as_str(), hit.distance, hit.same_bytes),
            ("00002", 0, true)
        );
        assert_eq!(index.nearest(None, None), None);
        assert_eq!(index.nearest(Some(&[9; 32]), Some(0x7FF)), None);
    }

    #[test]
    fn an_image_is_known_by_all_that_any_teacher_knows_of_it() {
        let reject = HeldOut {
            phash: None,
            ..held_out(1, 7)
        };
        for images in [
            [held_out(1, 7), reject.clone()],
            [reject.clone(), held_out(1, 7)],
        ] {
            let index = Index::new(images.to_vec());
            let hit = index.nearest(None, Some(6)).unwrap();
            assert_eq!((hit.held_out.as_str(), hit.distance), ("00001", 1));
            assert_eq!((index.keys(), index.bytes_only()), (1, 0));
        }
        assert_eq!(Index::new(vec![reject]).bytes_only(), 1);
    }

    proptest! {
        #[test]
        fn the_index_finds_what_looking_at_every_pair_finds(
            hashes in prop::collection::vec(any::<u64>(), 1..60),
            flips in prop::collection::vec(0_u32..64, 0..14),
            pick in 0_usize..60,
        ) {
            let near = flips.iter().fold(hashes[pick % hashes.len()], |h, bit| h ^ (1 << bit));
            let images: Vec<HeldOut> = hashes.iter().enumerate().map(|(n, h)| held_out(n, *h)).collect();
            let expected = images
                .iter()
                .map(|i| ((near ^ i.phash.unwrap()).count_ones(), i.key.clone()))
                .filter(|(distance, _)| *distance <= REPORTED_DISTANCE)
                .min();
            let found = Index::new(images).nearest(None, Some(near));
            prop_assert_eq!(found.map(|hit| (hit.distance, hit.held_out)), expected);
        }
    }
}
