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

/// Confidences of the best of every class, as bits, in lines that one look at the memory gives: a row's rank is what lies above its line, and
/// what of the line is higher. A binary search would miss the cache a dozen times a row.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    classes: Vec<Ranked>,
}

/// Rows whose lines are asked of the memory together: more would not find room in the cache.
const TOGETHER: usize = 1024;

impl Ranks {
    /// Of classes with their numbers.
    pub(super) fn of(classes: Vec<Ranked>) -> Self {
        Self { classes }
    }

    /// How many confidences of the class with this number are higher, row by row.
    pub(super) fn higher(&self, rows: &[(u32, u32)]) -> Vec<u32> {
        let mut all = Vec::with_capacity(rows.len());
        let mut looks = Vec::with_capacity(TOGETHER);
        for rows in rows.chunks(TOGETHER) {
            looks.clear();
            looks.extend(rows.iter().map(|(class, confidence)| {
                let class = &self.classes[*class as usize];
                class.look(*confidence)
            }));
            // The memory of many rows is waited for at once, where so little is done with it that none has to wait for another.
            let above = looks.iter().fold(0, |sum: u32, (line, _)| sum ^ line.above);
            std::hint::black_box(above);
            let looks = looks.iter().zip(rows);
            all.extend(
                looks.map(|((line, distance), (class, confidence))| match line.kind {
                    Kind::Near => line.above + line.near(*distance),
                    Kind::Far => line.above + line.far(*distance),
                    Kind::Crowd => self.classes[*class as usize].crowd(line, *confidence),
                }),
            );
        }
        all
    }
}

/// The best of a class.
#[derive(Debug)]
pub(super) struct Ranked {
    /// What confidences below all find, then a line for each stretch of the confidences from the lowest up, and an empty one for what is above all.
    lines: Vec<Line>,
    /// What finds no room in its line.
    crowds: Vec<u32>,
    /// The lowest confidence.
    low: u32,
    /// How many different confidences a line may have.
    stretch: u32,
}

/// A line of the processor's cache.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    /// How many confidences lie above the line; of a crowd, where it begins.
    above: u32,
    kind: Kind,
    /// Distances from the line's lowest confidence, and zeros.
    values: [u16; NEAR_PLACES],
}

#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u32)]
enum Kind {
    /// Of 16 bits each.
    Near,
    /// Of 32 bits each, the lower ones first.
    Far,
    /// More confidences than it has room for are among the class's crowds, falling. Before them stand how many lie above them and how many they are.
    Crowd,
}

const NEAR_PLACES: usize = 28;
const FAR_PLACES: usize = NEAR_PLACES / 2;
/// Confidences of a line on average: where they are spread evenly hardly a line has too many then, though floats lie twice as close above a half as below it. Near ones come
/// to 5 bytes each, far ones to 10.
const NEAR: usize = 13;
const FAR: usize = 6;
/// The longest stretch whose distances have 16 bits.
const NEAR_STRETCH: u32 = 1 << u16::BITS;
/// Numbers before a crowd.
const HEAD: usize = 2;

impl Line {
    fn set(&mut self, place: usize, distance: u32) {
        if self.kind == Kind::Near {
            self.values[place] = distance as u16;
        } else {
            self.values[2 * place] = distance as u16;
            self.values[2 * place + 1] = (distance >> u16::BITS) as u16;
        }
    }

    /// How many are higher. Without a branch.
    fn near(&self, distance: u32) -> u32 {
        let distance = distance as u16;
        let higher: u16 = self.values.iter().map(|v| u16::from(*v > distance)).sum();
        u32::from(higher)
    }

    fn far(&self, distance: u32) -> u32 {
        let values = self.values.as_chunks::<2>().0.iter();
        let values = values.map(|[low, high]| u32::from(*low) | u32::from(*high) << u16::BITS);
        values.map(|value| u32::from(value > distance)).sum()
    }
}

impl Ranked {
    /// Of confidences in any order.
    pub(super) fn new(top: &[u32]) -> Self {
        let low = top.iter().copied().min().unwrap_or(0);
        let high = top.iter().copied().max().unwrap_or(0);
        // So long that no more lines are needed than confidences of this number to each.
        let stretch = |to_each: usize| (high - low) / (top.len() / to_each + 1) as u32 + 1;
        let (kind, stretch) = if stretch(FAR) <= NEAR_STRETCH {
            (Kind::Near, stretch(NEAR).min(NEAR_STRETCH))
        } else {
            (Kind::Far, stretch(FAR))
        };
        let line = |above| Line {
            above,
            kind,
            values: [0; NEAR_PLACES],
        };
        let mut lines = vec![line(0); ((high - low) / stretch) as usize + 3];
        lines[0] = line(top.len() as u32);
        let mut ranked = Self {
            lines,
            crowds: Vec::new(),
            low,
            stretch,
        };
        ranked.fill(top);
        ranked
    }

    fn fill(&mut self, top: &[u32]) {
        let place = |confidence: u32| {
            let distance = confidence - self.low;
            let number = (distance / self.stretch) as usize + 1;
            (number, distance % self.stretch)
        };
        let mut counts = vec![0_u32; self.lines.len()];
        for confidence in top {
            counts[place(*confidence).0] += 1;
        }
        let (mut above, crowds) = (0, &mut self.crowds);
        for (line, count) in self.lines[1..].iter_mut().zip(&counts[1..]).rev() {
            line.above = above;
            let places = match line.kind {
                Kind::Near => NEAR_PLACES,
                _ => FAR_PLACES,
            };
            if *count as usize > places {
                line.kind = Kind::Crowd;
                line.above = crowds.len() as u32;
                crowds.extend([above, *count]);
                crowds.resize(crowds.len() + *count as usize, 0);
            }
            above += count;
        }
        let mut taken = counts;
        taken.fill(0);
        for confidence in top {
            let (number, distance) = place(*confidence);
            let (line, taken) = (&mut self.lines[number], &mut taken[number]);
            match line.kind {
                Kind::Crowd => {
                    crowds[line.above as usize + HEAD + *taken as usize] = *confidence;
                }
                _ => line.set(*taken as usize, distance),
            }
            *taken += 1;
        }
        let mut rest = &mut crowds[..];
        while let [_, count, own @ ..] = rest {
            let (own, others) = own.split_at_mut(*count as usize);
            own.sort_unstable_by(|a, b| b.cmp(a));
            rest = others;
        }
    }

    /// A confidence's line, and its distance from the line's lowest one.
    fn look(&self, confidence: u32) -> (&Line, u32) {
        let Some(distance) = confidence.checked_sub(self.low) else {
            return (&self.lines[0], u32::MAX);
        };
        let number = (distance / self.stretch) as usize + 1;
        let line = &self.lines[number.min(self.lines.len() - 1)];
        (line, distance % self.stretch)
    }

    /// How many are higher than a confidence whose line is crowded.
    fn crowd(&self, line: &Line, confidence: u32) -> u32 {
        let (head, rest) = self.crowds[line.above as usize..].split_at(HEAD);
        let own = &rest[..head[1] as usize];
        head[0] + own.partition_point(|c| *c > confidence) as u32
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
        ) {
            let top: Vec<u32> = top.iter().map(|c| (c % distinct) << spread).collect();
            let asked = asked << spread;
            let others = [5, 1 << 30, 3];
            let count = |top: &[u32]| top.iter().filter(|c| **c > asked).count() as u32;
            let counts = [count(&others), count(&top), count(&others)];
            let ranks = [&others[..], &top, &others].map(Ranked::new);
            let ranks = Ranks::of(ranks.into());
            prop_assert_eq!(ranks.higher(&[(0, asked), (1, asked), (2, asked)]), counts);
        }
    }
}
