//! Small look-ups that every row makes: a class's place in a table, and a confidence's rank among the best of its class.

use std::collections::HashMap;
use std::ops::Range;

/// Classes below this are looked up in an array.
const SMALL: i64 = 65_536;

/// Numbers for classes, from 0 in the order in which they were met.
#[derive(Debug, Clone, Default)]
pub(super) struct ClassIndex {
    /// For each small class its number and one, or 0.
    small: Vec<u32>,
    other: HashMap<i64, u32>,
    len: u32,
}

impl ClassIndex {
    /// The number of a class that was met.
    #[inline]
    pub(super) fn get(&self, class: i64) -> Option<usize> {
        let found = match usize::try_from(class) {
            Ok(place) if class < SMALL => self.small.get(place).copied().unwrap_or(0),
            _ => self.other.get(&class).copied().unwrap_or(0),
        };
        found.checked_sub(1).map(|number| number as usize)
    }

    /// Something of each small class by itself, up to the largest one.
    pub(super) fn small<T: Clone>(&self, of: impl Fn(usize) -> T, none: T) -> Vec<T> {
        let of = |number: &u32| match number.checked_sub(1) {
            Some(number) => of(number as usize),
            None => none.clone(),
        };
        self.small.iter().map(of).collect()
    }

    /// The number of a class; the next one where it is new.
    #[inline]
    pub(super) fn number(&mut self, class: i64) -> usize {
        if let Some(number) = self.get(class) {
            return number;
        }
        self.len += 1;
        match usize::try_from(class) {
            Ok(place) if class < SMALL => {
                if self.small.len() <= place {
                    self.small.resize(place + 1, 0);
                }
                self.small[place] = self.len;
            }
            _ => {
                self.other.insert(class, self.len);
            }
        }
        self.len as usize - 1
    }
}

/// Confidences of the best of every class, as bits: a row's rank is what lies in the buckets above its own, and what of its bucket is higher.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    classes: Vec<Ranked>,
}

/// Rows whose buckets are asked of the memory together, so that the wait for one is that for many.
const TOGETHER: usize = 1024;

impl Ranks {
    /// Of classes with their numbers.
    pub(super) fn of(classes: Vec<Ranked>) -> Self {
        Self { classes }
    }

    /// How many confidences of the class with this number are higher, row by row.
    pub(super) fn higher(&self, rows: &[(u32, u32)]) -> Vec<u32> {
        let mut all = Vec::with_capacity(rows.len());
        let (mut buckets, mut places) = (Vec::new(), Vec::new());
        // The memory of many rows is waited for at once, where so little is done with it that none has to wait for another.
        for rows in rows.chunks(TOGETHER) {
            buckets.clear();
            buckets.extend(rows.iter().map(|(class, confidence)| {
                let class = &self.classes[*class as usize];
                (class, class.bucket(*confidence))
            }));
            let before = |(class, (bucket, _)): &(&Ranked, (usize, u32))| class.before[*bucket];
            std::hint::black_box(buckets.iter().fold(0, |sum: u32, at| sum ^ before(at)));
            places.clear();
            places.extend(buckets.iter().map(|(class, (bucket, distance))| {
                let (from, to) = (class.before[*bucket], class.before[*bucket + 1]);
                (*class, from as usize..to as usize, *distance)
            }));
            let middle = |(class, place, _): &(&Ranked, Range<usize>, u32)| class.middle(place);
            std::hint::black_box(places.iter().fold(0, |sum: u32, at| sum ^ middle(at)));
            let places = places.drain(..);
            all.extend(places.map(|(class, place, distance)| class.higher(place, distance)));
        }
        all
    }
}

/// The best of a class, by their distance from the highest one: in buckets of as wide a range each, so that a bucket is found without a search.
#[derive(Debug)]
pub(super) struct Ranked {
    highest: u32,
    /// A bucket is so many bits of a distance wide.
    width: u32,
    /// How many confidences lie in the buckets before each, and after the last one twice all of them, for what is below all.
    before: Vec<u32>,
    distances: Distances,
}

/// Distances from the beginning of their buckets, bucket by bucket: in order where a bucket has more than [`FEW`]. After the last one [`FEW`] more can be read.
#[derive(Debug)]
enum Distances {
    /// 2 bytes each.
    Near(Vec<u16>),
    /// Of confidences that are so few, or so far from each other, that there would be more buckets than confidences.
    Far(Vec<u32>),
}

/// What a bucket has that all of it is looked at.
const FEW: usize = 16;
/// What a bucket has at least, if confidences are spread evenly: up to twice as much, since widths are powers of two.
const FILL: usize = 3;

/// By how many there are: which of [`FEW`] are looked at.
const LOOKED_AT: [[u16; FEW]; FEW + 1] = {
    let mut all = [[0; FEW]; FEW + 1];
    let mut many = 0;
    while many <= FEW {
        let mut at = 0;
        while at < many {
            all[many][at] = 1;
            at += 1;
        }
        many += 1;
    }
    all
};

impl Ranked {
    /// Of confidences in any order.
    pub(super) fn new(confidences: &[u32]) -> Self {
        let highest = confidences.iter().copied().max().unwrap_or(0);
        let lowest = confidences.iter().copied().min().unwrap_or(0);
        let range = highest - lowest;
        let wanted = (confidences.len() / FILL).max(1);
        let mut width = 0;
        while (u64::from(range) >> width) as usize >= wanted {
            width += 1;
        }
        if width > u16::BITS && ((range >> u16::BITS) as usize) < confidences.len() {
            width = u16::BITS;
        }
        let bucket = |distance: u32| (u64::from(distance) >> width) as usize;
        let mut before = vec![0; bucket(range) + 3];
        for confidence in confidences {
            before[bucket(highest - confidence) + 2] += 1;
        }
        for at in 1..before.len() {
            before[at] += before[at - 1];
        }
        // Each is put where the next one of its bucket goes: what was the beginning of a bucket becomes its end, which is the beginning of the one after.
        let mut sorted = vec![0; confidences.len() + FEW];
        for confidence in confidences {
            let distance = highest - confidence;
            let next = &mut before[bucket(distance) + 1];
            sorted[*next as usize] = within(distance, width);
            *next += 1;
        }
        for bucket in before.windows(2) {
            let bucket = &mut sorted[bucket[0] as usize..bucket[1] as usize];
            if bucket.len() > FEW {
                bucket.sort_unstable();
            }
        }
        Self {
            highest,
            width,
            before,
            distances: if width <= u16::BITS {
                Distances::Near(sorted.iter().map(|distance| *distance as u16).collect())
            } else {
                Distances::Far(sorted)
            },
        }
    }

    /// The bucket that a confidence would lie in, and its distance from the beginning.
    #[inline]
    fn bucket(&self, confidence: u32) -> (usize, u32) {
        let distance = self.highest.saturating_sub(confidence);
        let bucket = (u64::from(distance) >> self.width) as usize;
        let last = self.before.len() - 2;
        (bucket.min(last), within(distance, self.width))
    }

    /// A distance in the middle of a bucket, where a search begins.
    #[inline]
    fn middle(&self, bucket: &Range<usize>) -> u32 {
        let at = bucket.start.midpoint(bucket.end);
        match &self.distances {
            Distances::Near(all) => u32::from(all[at]),
            Distances::Far(all) => all[at],
        }
    }

    /// How many are higher than what lies so far from the beginning of this bucket.
    #[inline]
    fn higher(&self, bucket: Range<usize>, distance: u32) -> u32 {
        let before = bucket.start as u32;
        let higher = match &self.distances {
            Distances::Near(all) if bucket.len() <= FEW => {
                // All that can be read, and without a branch.
                let (distance, looked_at) = (distance as u16, &LOOKED_AT[bucket.len()]);
                let count = |near: &[u16; FEW]| {
                    let near = near.iter().zip(looked_at);
                    near.map(|(d, is)| u16::from(*d < distance) & is)
                        .sum::<u16>()
                };
                all[bucket.start..].first_chunk().map_or(0, count).into()
            }
            Distances::Near(all) => {
                all[bucket].partition_point(|d| u32::from(*d) < distance) as u32
            }
            Distances::Far(all) if bucket.len() <= FEW => {
                let few = all[bucket].iter();
                few.map(|d| u32::from(*d < distance)).sum()
            }
            Distances::Far(all) => all[bucket].partition_point(|d| *d < distance) as u32,
        };
        before + higher
    }
}

/// A distance from the beginning of its bucket.
fn within(distance: u32, width: u32) -> u32 {
    (u64::from(distance) & ((1 << width) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_of_any_size_and_sign_get_numbers() {
        let mut index = ClassIndex::default();
        for (class, number) in [
            (7, 0),
            (-3, 1),
            (1 << 40, 2),
            (7, 0),
            (65_535, 3),
            (65_536, 4),
        ] {
            assert_eq!(index.number(class), number);
            assert_eq!(index.get(class), Some(number));
        }
        assert_eq!((index.get(8), index.get(-4)), (None, None));
    }

    proptest! {
        #[test]
        fn the_table_counts_what_a_look_at_all_counts(
            top in prop::collection::vec(0_u32..2000, 0..300),
            asked in 0_u32..2100,
            spread in 0_u32..20,
            distinct in 1_u32..2000,
        ) {
            let top: Vec<u32> = top.iter().map(|c| (c % distinct) << spread).collect();
            let asked = asked << spread;
            let others = [5, 1 << 30, 3];
            let count = |top: &[u32]| top.iter().filter(|c| **c > asked).count() as u32;
            let counts = [count(&others), count(&top), count(&others)];
            let ranks = [others.to_vec(), top.clone(), others.to_vec()];
            let ranks = Ranks::of(ranks.iter().map(|top| Ranked::new(top)).collect());
            prop_assert_eq!(ranks.higher(&[(0, asked), (1, asked), (2, asked)]), counts);
        }
    }
}
