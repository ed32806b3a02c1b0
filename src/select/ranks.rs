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

/// Confidences of the best of every class, as bits, in lines of the processor's cache: a row's rank is what lies above its line, and
/// what of the line is higher. A binary search over all would miss the cache a dozen times a row.
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
        let (mut blocks, mut lines) = (Vec::new(), Vec::new());
        // The memory of many rows is waited for at once, where so little is done with it that none has to wait for another.
        for rows in rows.chunks(TOGETHER) {
            blocks.clear();
            blocks.extend(rows.iter().map(|(class, confidence)| {
                let class = &self.classes[*class as usize];
                (class, class.block(*confidence))
            }));
            let first = |(class, block): &(&Ranked, usize)| class.lows[*block][0];
            std::hint::black_box(blocks.iter().fold(0, |sum: u32, at| sum ^ first(at)));
            lines.clear();
            let at = blocks.iter().zip(rows);
            lines.extend(
                at.map(|((class, block), (_, confidence))| class.line(*block, *confidence)),
            );
            std::hint::black_box(lines.iter().fold(0, |sum: u32, (line, _)| sum ^ line.above));
            all.extend(lines.iter().map(|(line, distance)| line.higher(*distance)));
        }
        all
    }
}

/// The best of a class, falling.
#[derive(Debug)]
pub(super) struct Ranked {
    /// As many confidences to each as it has places for, however they are spread; the last one is empty, for what is below all.
    lines: Vec<Line>,
    /// The lowest confidence of each line, in blocks, and zeros.
    lows: Vec<[u32; BLOCK]>,
    /// The lowest one of each block: so few that they stay in the cache.
    lowest: Vec<u32>,
}

/// Lines of a block, whose lowest confidences are a line of the cache themselves.
const BLOCK: usize = 16;

/// A line of the processor's cache.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    /// How many confidences lie above the line.
    above: u32,
    /// Whether distances have 32 bits rather than 16.
    is_far: bool,
    /// Distances from the line's lowest confidence, and zeros. Of a far line two make one, the lower bits first.
    values: [u16; NEAR],
}

/// Places of a line: some 2 bytes a confidence, or 5 where they are far from each other.
const NEAR: usize = 28;
const FAR: usize = NEAR / 2;

impl Line {
    fn new(above: usize, own: &[u32], is_far: bool) -> Self {
        let mut values = [0; NEAR];
        let low = own.last().copied().unwrap_or(0);
        for (place, confidence) in own.iter().enumerate() {
            let distance = confidence - low;
            if is_far {
                values[2 * place] = distance as u16;
                values[2 * place + 1] = (distance >> u16::BITS) as u16;
            } else {
                values[place] = distance as u16;
            }
        }
        Self {
            above: above as u32,
            is_far,
            values,
        }
    }

    /// How many are higher than what lies so far above the lowest of the line.
    fn higher(&self, distance: u32) -> u32 {
        if self.is_far {
            let values = self.values.as_chunks::<2>().0.iter();
            let whole = |[low, high]: &[u16; 2]| u32::from(*low) | u32::from(*high) << u16::BITS;
            return self.above + values.map(|v| u32::from(whole(v) > distance)).sum::<u32>();
        }
        let distance = u16::try_from(distance).unwrap_or(u16::MAX);
        // Without a branch.
        let higher: u16 = self.values.iter().map(|v| u16::from(*v > distance)).sum();
        self.above + u32::from(higher)
    }
}

impl Ranked {
    /// Of confidences in any order.
    pub(super) fn new(mut top: Vec<u32>) -> Self {
        top.sort_unstable_by(|a, b| b.cmp(a));
        let mut lines = Vec::with_capacity(top.len() / NEAR + 2);
        let mut lows = Vec::with_capacity(top.len() / NEAR + BLOCK + 2);
        let mut rest = &top[..];
        while let Some(high) = rest.first() {
            let near = rest.iter().take(NEAR);
            let near = near
                .take_while(|c| u16::try_from(high - **c).is_ok())
                .count();
            let is_far = near < FAR.min(rest.len());
            let (own, others) = rest.split_at(if is_far { FAR.min(rest.len()) } else { near });
            lines.push(Line::new(top.len() - rest.len(), own, is_far));
            lows.extend(own.last());
            rest = others;
        }
        lines.push(Line::new(top.len(), &[], false));
        lines.shrink_to_fit();
        lows.resize((lows.len() / BLOCK + 1) * BLOCK, 0);
        let lows = lows.as_chunks::<BLOCK>().0.to_vec();
        Self {
            lines,
            lowest: lows.iter().map(|lows| lows[BLOCK - 1]).collect(),
            lows,
        }
    }

    /// The block with the line that is not wholly above a confidence.
    fn block(&self, confidence: u32) -> usize {
        self.lowest.partition_point(|low| *low > confidence)
    }

    /// That line, and how far the confidence lies above the line's lowest one.
    fn line(&self, block: usize, confidence: u32) -> (&Line, u32) {
        let lows = &self.lows[block];
        let above: usize = lows.iter().map(|low| usize::from(*low > confidence)).sum();
        // What lies below all finds a zero.
        (&self.lines[block * BLOCK + above], confidence - lows[above])
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
            let ranks = [others.to_vec(), top.clone(), others.to_vec()];
            let ranks = Ranks::of(ranks.map(Ranked::new).into());
            prop_assert_eq!(ranks.higher(&[(0, asked), (1, asked), (2, asked)]), counts);
        }
    }
}
