//! Small look-ups that every row makes: a class's place in a table, and a confidence's rank among the best of its class.

use std::collections::HashMap;

use super::sweep::side_by_side;

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

/// Confidences of the best of every class, as bits: a row's rank is what lies in the buckets above its own, and what of its bucket is higher. What the classes
/// have lies one behind the other, so that a look is two places in memory, whatever the class.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    classes: Vec<Place>,
    /// How many confidences of the class lie in its buckets before each, and after the last one twice all of them, for what is below all.
    before: Vec<u32>,
    /// Distances from the beginning of their buckets, bucket by bucket, of 2 bytes: in order where a bucket has more than [`FEW`]. After the last one [`FEW`] more can be read.
    near: Vec<u16>,
    /// Distances of 4 bytes, in order, of classes whose confidences are so few, or so far from each other, that there would be more buckets than confidences. After the last one, one more can be read.
    far: Vec<u32>,
}

/// Where to look for the confidences of a class, which lie by their distance from the highest one in buckets of as wide a range each: one is found without a search.
#[derive(Debug)]
struct Place {
    highest: u32,
    /// A bucket is so many bits of a distance wide.
    width: u32,
    /// The bucket of what is below all.
    last: u32,
    is_far: bool,
    /// Where its buckets begin,
    buckets: usize,
    /// and where its distances.
    distances: usize,
}

/// What is asked for a row.
#[derive(Debug)]
struct Asked {
    bucket: usize,
    distances: usize,
    distance: u32,
    is_far: bool,
}

/// Rows whose buckets are asked of the memory together, so that the wait for one is that for many.
const TOGETHER: usize = 512;

impl Ranks {
    /// Of the confidences of each class, in any order.
    pub(super) fn of(classes: Vec<Vec<u32>>) -> Self {
        let mut all = Self::default();
        let (mut buckets, mut near, mut far) = (0, 0, 0);
        all.classes.extend(classes.iter().map(|confidences| {
            let mut place = Place::of(confidences);
            let distances = if place.is_far { &mut far } else { &mut near };
            (place.buckets, place.distances) = (buckets, *distances);
            buckets += place.last as usize + 2;
            *distances += confidences.len();
            place
        }));
        all.before = vec![0; buckets];
        all.near = vec![0; near + FEW];
        all.far = vec![0; far + 1];
        let (mut before, mut near, mut far) =
            (&mut all.before[..], &mut all.near[..], &mut all.far[..]);
        let classes = all.classes.iter().zip(classes).map(|(place, confidences)| {
            // There is room for all of them.
            let many = confidences.len();
            let before = before.split_off_mut(..place.last as usize + 2);
            let distances = if place.is_far {
                Distances::Far(far.split_off_mut(..many).unwrap_or_default())
            } else {
                Distances::Near(near.split_off_mut(..many).unwrap_or_default())
            };
            (place, confidences, before.unwrap_or_default(), distances)
        });
        side_by_side(
            classes.collect(),
            |(place, confidences, before, distances)| match distances {
                Distances::Near(near) => place.fill(&confidences, before, near, |d| d as u16),
                Distances::Far(far) => place.fill(&confidences, before, far, |d| d),
            },
        );
        all
    }

    /// How many confidences of the class with this number are higher, row by row.
    pub(super) fn higher(&self, rows: &[(u32, u32)]) -> Vec<u32> {
        let mut all = Vec::with_capacity(rows.len());
        let (mut asked, mut buckets) = (Vec::new(), Vec::new());
        // The memory of many rows is waited for at once, where so little is done with it that none has to wait for another.
        for rows in rows.chunks(TOGETHER) {
            asked.clear();
            asked.extend(rows.iter().map(|(class, confidence)| {
                let class = &self.classes[*class as usize];
                class.asked(*confidence)
            }));
            let before = |of: &Asked| self.before[of.bucket];
            std::hint::black_box(asked.iter().fold(0, |sum, of| sum ^ before(of)));
            buckets.clear();
            let bucket = |of: &Asked| (self.before[of.bucket], self.before[of.bucket + 1]);
            buckets.extend(asked.iter().map(bucket));
            let both = asked.iter().zip(&buckets);
            let first = |(of, (from, _)): (&Asked, &(u32, u32))| self.distance(of, *from);
            std::hint::black_box(both.clone().fold(0, |sum, of| sum ^ first(of)));
            all.extend(both.map(|(of, (from, to))| from + self.within(of, *from, *to)));
        }
        all
    }

    /// The one with this number, of the class that a row asks.
    #[inline]
    fn distance(&self, of: &Asked, number: u32) -> u32 {
        let at = of.distances + number as usize;
        if of.is_far {
            self.far[at]
        } else {
            self.near[at].into()
        }
    }

    /// How many of its bucket are higher than what a row asks for.
    #[inline]
    fn within(&self, of: &Asked, from: u32, to: u32) -> u32 {
        let (at, many) = (of.distances + from as usize, (to - from) as usize);
        if of.is_far {
            return self.far[at..at + many].partition_point(|d| *d < of.distance) as u32;
        }
        let distance = of.distance as u16;
        if many > FEW {
            return self.near[at..at + many].partition_point(|d| *d < distance) as u32;
        }
        // All that can be read, and without a branch.
        let count = |near: &[u16; FEW]| {
            let near = near.iter().zip(&LOOKED_AT[many]);
            near.map(|(d, is)| u16::from(*d < distance) & is)
                .sum::<u16>()
        };
        self.near[at..].first_chunk().map_or(0, count).into()
    }
}

/// Where the distances of a class go.
enum Distances<'a> {
    Near(&'a mut [u16]),
    Far(&'a mut [u32]),
}

/// What a bucket has that all of it is looked at.
const FEW: usize = 8;
/// What a bucket has at least, if confidences are spread evenly: up to twice as much, since widths are powers of two.
const FILL: usize = 2;

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

impl Place {
    /// The buckets that confidences need; where they lie is not known yet.
    fn of(confidences: &[u32]) -> Self {
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
        Self {
            highest,
            width,
            last: (u64::from(range) >> width) as u32 + 1,
            is_far: width > u16::BITS,
            buckets: 0,
            distances: 0,
        }
    }

    /// The bucket that a distance from the highest confidence lies in.
    #[inline]
    fn bucket(&self, distance: u32) -> usize {
        let bucket = (u64::from(distance) >> self.width) as u32;
        bucket.min(self.last) as usize
    }

    /// A distance from the beginning of its bucket.
    #[inline]
    fn within(&self, distance: u32) -> u32 {
        (u64::from(distance) & ((1 << self.width) - 1)) as u32
    }

    /// Puts confidences into their buckets.
    fn fill<D: Copy + Ord>(
        &self,
        confidences: &[u32],
        before: &mut [u32],
        distances: &mut [D],
        of: impl Fn(u32) -> D,
    ) {
        let distance = |confidence: &u32| self.highest - confidence;
        for confidence in confidences {
            before[self.bucket(distance(confidence)) + 2] += 1;
        }
        for at in 1..before.len() {
            before[at] += before[at - 1];
        }
        // Each is put where the next one of its bucket goes: what was the beginning of a bucket becomes its end, which is the beginning of the one after.
        for confidence in confidences {
            let distance = distance(confidence);
            let next = &mut before[self.bucket(distance) + 1];
            distances[*next as usize] = of(self.within(distance));
            *next += 1;
        }
        for bucket in before.windows(2) {
            let bucket = &mut distances[bucket[0] as usize..bucket[1] as usize];
            if self.is_far || bucket.len() > FEW {
                bucket.sort_unstable();
            }
        }
    }

    /// What to look for where a confidence would lie.
    #[inline]
    fn asked(&self, confidence: u32) -> Asked {
        let distance = self.highest.saturating_sub(confidence);
        Asked {
            bucket: self.buckets + self.bucket(distance),
            distances: self.distances,
            distance: self.within(distance),
            is_far: self.is_far,
        }
    }
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
            outlier in prop::option::of(0_u32..1 << 22),
        ) {
            // An outlier makes buckets wide, and what lies together crowded.
            let top = top.iter().map(|c| (c % distinct) << spread);
            let top: Vec<u32> = top.chain(outlier).collect();
            let asked = asked << spread;
            let others = [5, 1 << 30, 3];
            let count = |top: &[u32]| top.iter().filter(|c| **c > asked).count() as u32;
            let counts = [count(&others), count(&top), count(&others)];
            let ranks = [others.to_vec(), top.clone(), others.to_vec()];
            let ranks = Ranks::of(ranks.to_vec());
            prop_assert_eq!(ranks.higher(&[(0, asked), (1, asked), (2, asked)]), counts);
        }
    }
}
