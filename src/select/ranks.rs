//! Small look-ups that every row makes: a class's place in a table, and a confidence's rank among the best of its class.

use std::collections::HashMap;

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
    pub(super) fn get(&self, class: i64) -> Option<usize> {
        let found = match usize::try_from(class) {
            Ok(place) if class < SMALL => self.small.get(place).copied().unwrap_or(0),
            _ => self.other.get(&class).copied().unwrap_or(0),
        };
        found.checked_sub(1).map(|number| number as usize)
    }

    /// The number of a class; the next one where it is new.
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

/// Confidences of the best of a class, as bits, with a table of where to look: a binary search alone would miss the cache a dozen times a row.
#[derive(Debug)]
pub(super) struct Ranks {
    /// Falling.
    top: Vec<u32>,
    /// For each step of the range, from the lowest up, how many confidences lie above the step.
    above: Vec<u32>,
    /// Bits of a step are shifted by this.
    shift: u32,
}

/// Up to so many confidences are all looked at.
const COUNTED: usize = 64;
/// Confidences that share a step, where they are spread evenly.
const PER_STEP: usize = 8;

impl Ranks {
    pub(super) fn new(mut top: Vec<u32>) -> Self {
        top.sort_unstable_by(|a, b| b.cmp(a));
        top.shrink_to_fit();
        let range = top
            .first()
            .zip(top.last())
            .map_or(0, |(high, low)| high - low);
        let wanted = u64::try_from(top.len() / PER_STEP + 1).unwrap_or(1);
        let mut shift = 0;
        while u64::from(range >> shift) >= wanted {
            shift += 1;
        }
        let mut ranks = Self {
            above: vec![0; (range >> shift) as usize + 2],
            shift,
            top,
        };
        // Counted a step lower, and added up from above.
        for i in 0..ranks.top.len() {
            let step = ranks.step(ranks.top[i]);
            ranks.above[step] += 1;
        }
        let mut sum = 0;
        for step in (0..ranks.above.len()).rev() {
            let here = ranks.above[step];
            ranks.above[step] = sum;
            sum += here;
        }
        ranks
    }

    fn step(&self, confidence: u32) -> usize {
        let low = self.top.last().copied().unwrap_or(0);
        (confidence.saturating_sub(low) >> self.shift) as usize
    }

    pub(super) fn len(&self) -> usize {
        self.top.len()
    }

    /// The lowest of them.
    pub(super) fn last(&self) -> Option<u32> {
        self.top.last().copied()
    }

    /// How many are higher.
    pub(super) fn higher(&self, confidence: u32) -> usize {
        let step = self.step(confidence);
        let Some(from) = self.above.get(step) else {
            return 0;
        };
        let from = *from as usize;
        let to = match step.checked_sub(1) {
            Some(below) => self.above[below] as usize,
            None => self.top.len(),
        };
        let near = &self.top[from..to];
        from + if near.len() <= COUNTED {
            // Without branches, so that the processor can wait for the memory of several rows at once.
            near.iter()
                .map(|c| usize::from(*c > confidence))
                .sum::<usize>()
        } else {
            near.partition_point(|c| *c > confidence)
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
        ) {
            let top: Vec<u32> = top.iter().map(|c| c << spread).collect();
            let asked = asked << spread;
            let higher = top.iter().filter(|c| **c > asked).count();
            prop_assert_eq!(Ranks::new(top).higher(asked), higher);
        }
    }
}
