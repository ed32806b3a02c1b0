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

/// Confidences of the best of every class, as bits, with a table of where to look: a binary search alone would miss the cache a dozen times a row.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    /// Of each class, falling, and followed by [`WINDOW`] zeros. Not one after the other: they are most of what a selection holds, and would be there twice.
    top: Vec<Vec<u32>>,
    /// Of one class after the other: how many confidences there are, then, for each step of their range from the lowest up, how many lie above the
    /// step.
    above: Vec<u32>,
    classes: Vec<Steps>,
}

/// Where a class lies in the table.
#[derive(Debug, Clone, Copy)]
struct Steps {
    /// Its place in `above`.
    above: usize,
    /// The last of its steps.
    last: u32,
    /// Its lowest confidence.
    low: u32,
    /// Bits of a step are shifted by this.
    shift: u32,
}

/// Up to so many confidences of a step are all looked at, without a branch: so the processor waits for the memory of many rows at once.
pub(super) const WINDOW: usize = 16;
/// Confidences that share a step, where they are spread evenly.
const PER_STEP: usize = 8;

impl Ranks {
    /// Room for so many confidences of so many classes.
    pub(super) fn with_capacity(confidences: usize, classes: usize) -> Self {
        Self {
            top: Vec::with_capacity(classes),
            above: Vec::with_capacity(confidences / PER_STEP + classes * 4),
            classes: Vec::with_capacity(classes),
        }
    }

    /// Adds the next class, whose confidences are falling.
    pub(super) fn push(&mut self, mut top: Vec<u32>) {
        let (high, low) = top
            .first()
            .copied()
            .zip(top.last().copied())
            .unwrap_or_default();
        let wanted = u64::try_from(top.len() / PER_STEP + 1).unwrap_or(1);
        let mut shift = 0;
        while u64::from((high - low) >> shift) >= wanted {
            shift += 1;
        }
        let steps = Steps {
            above: self.above.len(),
            last: ((high - low) >> shift) + 1,
            low,
            shift,
        };
        self.above.resize(steps.above + steps.last as usize + 2, 0);
        let above = &mut self.above[steps.above..];
        // Counted at their own step, and added up from the highest.
        for confidence in &top {
            above[((confidence - low) >> shift) as usize] += 1;
        }
        for step in (0..above.len() - 1).rev() {
            above[step] += above[step + 1];
        }
        top.reserve_exact(WINDOW);
        top.resize(top.len() + WINDOW, 0);
        top.shrink_to_fit();
        self.top.push(top);
        self.classes.push(steps);
    }

    /// How many confidences of the class with this number are higher, row by row.
    pub(super) fn higher(&self, rows: &[(u32, u32)]) -> Vec<u32> {
        let mut places = Vec::with_capacity(rows.len());
        places.extend(rows.iter().map(|(class, confidence)| {
            let steps = &self.classes[*class as usize];
            let step = (confidence.saturating_sub(steps.low) >> steps.shift).min(steps.last);
            let above = &self.above[steps.above + step as usize..][..2];
            (above[1], above[0])
        }));
        let near = places.iter().zip(rows);
        near.map(|((from, to), (class, confidence))| {
            let top = &self.top[*class as usize][*from as usize..];
            let here = (to - from) as usize;
            from + if here <= WINDOW {
                // What follows the step is lower, and the zeros are.
                top[..WINDOW]
                    .iter()
                    .map(|c| u32::from(c > confidence))
                    .sum::<u32>()
            } else {
                top[..here].partition_point(|c| c > confidence) as u32
            }
        })
        .collect()
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
            let others = [1 << 30, 5, 3];
            let count = |top: &[u32]| top.iter().filter(|c| **c > asked).count() as u32;
            let counts = [count(&others), count(&top), count(&others)];
            let mut ranks = Ranks::default();
            let mut top = top;
            top.sort_unstable_by(|a, b| b.cmp(a));
            [others.to_vec(), top, others.to_vec()].into_iter().for_each(|t| ranks.push(t));
            prop_assert_eq!(ranks.higher(&[(0, asked), (1, asked), (2, asked)]), counts);
        }
    }
}
