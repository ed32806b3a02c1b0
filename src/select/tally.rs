//! The first pass over the candidates: how many a class has, and the confidences of its best.

use std::collections::BTreeMap;

use arrow::buffer::BooleanBuffer;

use super::ranks::ClassIndex;
use super::topk::{Choice, Rules, bits};

/// Beside the best K of a class a K-th of this many wait until all of them are sorted out: fewer cost time, more are held by every worker.
const SLACK: usize = 4;

/// Pass 1 of one worker.
#[derive(Debug)]
pub(super) struct Tally {
    per_class: usize,
    index: ClassIndex,
    /// By the class's number, side by side, what every row asks: how many candidates there are,
    available: Vec<u64>,
    /// and below what a confidence is looked at no more.
    floors: Vec<u32>,
    classes: Vec<(i64, Best)>,
    /// Of the rows that are looked at, those that may be among the best: the class's number, and the confidence.
    promising: Vec<(u32, u32)>,
    /// Rows left out, by reason.
    left_out: BTreeMap<String, u64>,
}

/// The best of a class so far.
#[derive(Debug, Default)]
pub(super) struct Best {
    pub(super) available: u64,
    /// Bits of confidences, in no order: K and a [`SLACK`]-th at most.
    pub(super) top: Vec<u32>,
    /// The highest confidence that was dropped.
    pub(super) dropped: Option<u32>,
}

impl Best {
    fn push(&mut self, confidence: u32, per_class: usize) {
        self.make_room(per_class);
        self.top.push(confidence);
    }

    /// For one more, and never for more than there are at most.
    fn make_room(&mut self, per_class: usize) {
        let len = self.top.len();
        if len < self.top.capacity() {
            return;
        }
        let most = per_class.saturating_add((per_class / SLACK).max(1024));
        if len < most {
            self.top.reserve_exact(len.max(4).min(most - len));
        } else {
            self.trim(per_class);
        }
    }

    /// What all workers have of a class: the best K.
    pub(super) fn of(parts: Vec<Self>, per_class: usize) -> Self {
        let mut parts = parts.into_iter();
        let mut all = parts.next().unwrap_or_default();
        parts.for_each(|theirs| all.merge(theirs, per_class));
        all.trim(per_class);
        all.top.shrink_to_fit();
        all
    }

    /// Those of another worker as well. They are sorted out beside the two, and what stays of a class with K of them finds room where one was: what is held does not grow, class by class, between what the other one leaves.
    fn merge(&mut self, mut theirs: Self, per_class: usize) {
        self.trim(per_class);
        theirs.trim(per_class);
        let mut both = Self {
            available: self.available + theirs.available,
            top: [self.top.as_slice(), &theirs.top].concat(),
            dropped: self.dropped.max(theirs.dropped),
        };
        both.trim(per_class);
        if both.top.len() > self.top.capacity() {
            *self = both;
            return;
        }
        self.top.clear();
        self.top.extend_from_slice(&both.top);
        (self.available, self.dropped) = (both.available, both.dropped);
    }

    /// Drops all but the best K.
    fn trim(&mut self, per_class: usize) {
        if self.top.len() <= per_class {
            return;
        }
        let (_, cut, below) = self
            .top
            .select_nth_unstable_by(per_class - 1, |a, b| b.cmp(a));
        let cut = *cut;
        self.dropped = self.dropped.max(below.iter().copied().max());
        debug_assert!(self.dropped <= Some(cut));
        self.top.truncate(per_class);
    }

    /// From what confidence on a row may be among the best, or tell anything: of those like the highest that was dropped one is enough.
    fn floor(&self) -> u32 {
        self.dropped.map_or(0, |dropped| dropped.saturating_add(1))
    }
}

impl Tally {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            per_class: rules.most(),
            index: ClassIndex::default(),
            available: Vec::new(),
            floors: Vec::new(),
            classes: Vec::new(),
            promising: Vec::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Those of these rows that are candidates.
    pub(super) fn push(
        &mut self,
        classes: &[i64],
        confidences: &[f32],
        candidates: &BooleanBuffer,
    ) {
        let mut promising = std::mem::take(&mut self.promising);
        promising.resize(classes.len().max(promising.len()), (0, 0));
        let mut found = 0;
        for row in candidates.set_indices() {
            let (number, confidence) = (self.number(classes[row]), bits(confidences[row]));
            self.available[number] += 1;
            // Each is put down, and the next one in its place if it is none: a processor that had to guess would be wrong every few rows.
            promising[found] = (number as u32, confidence);
            found += usize::from(confidence >= self.floors[number]);
        }
        for (number, confidence) in &promising[..found] {
            let number = *number as usize;
            let best = &mut self.classes[number].1;
            best.push(*confidence, self.per_class);
            self.floors[number] = best.floor();
        }
        self.promising = promising;
    }

    #[inline]
    fn number(&mut self, class: i64) -> usize {
        let number = self.index.number(class);
        if number == self.classes.len() {
            self.classes.push((class, Best::default()));
            self.available.push(0);
            self.floors.push(0);
        }
        number
    }

    /// Rows that are left out.
    pub(super) fn leave_out(&mut self, reason: &str, rows: u64) {
        *self.left_out.entry(reason.to_owned()).or_default() += rows;
    }

    /// What pass 2 has to find out, and what is known without it, of the parts of all workers; and the rows that were left out, by reason.
    ///
    /// With `sample` so many of all candidates are chosen, by hash, whatever their class.
    pub(super) fn finish(
        parts: Vec<Self>,
        rules: &Rules,
        sample: Option<u64>,
    ) -> (Choice, BTreeMap<String, u64>) {
        let mut classes: BTreeMap<i64, Vec<Best>> = BTreeMap::new();
        let mut left_out = BTreeMap::new();
        for part in parts {
            for ((class, mut best), available) in part.classes.into_iter().zip(part.available) {
                best.available = available;
                classes.entry(class).or_default().push(best);
            }
            for (reason, rows) in part.left_out {
                *left_out.entry(reason).or_default() += rows;
            }
        }
        let classes = classes.into_iter().collect();
        (Choice::new(rules, classes, sample), left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::topk::Balance;
    use proptest::prelude::*;

    /// Candidates, cut into what two workers see, batch by batch.
    fn tallied(rows: &[(i64, f32, bool)], per_class: u64, batch: usize) -> Vec<Tally> {
        let rules = Rules {
            per_class,
            balance: Balance::None,
            seed: 0,
            fraction: 1.0,
        };
        let mut workers = [Tally::new(&rules), Tally::new(&rules)];
        for (i, rows) in rows.chunks(batch).enumerate() {
            let classes: Vec<i64> = rows.iter().map(|(class, ..)| *class).collect();
            let confidences: Vec<f32> = rows.iter().map(|(_, c, _)| *c).collect();
            let candidates: BooleanBuffer = rows.iter().map(|(.., is)| *is).collect();
            workers[i % 2].push(&classes, &confidences, &candidates);
        }
        workers.into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_best_of_many_batches_are_those_of_a_sort(
            seed in any::<u64>(),
            per_class in 1_u64..1500,
            batch in 1_usize..3000,
            steps in prop_oneof![1_u32..4, 4_u32..5000],
        ) {
            // Far more than are kept while they wait to be sorted out, in two classes, some of them no candidates, with as many ties as there are few steps.
            let random = |i: u64| crate::random::seeded_hash(seed, &i.to_string());
            let rows: Vec<(i64, f32, bool)> = (0..12_000_u64)
                .map(|i| {
                    let step = (random(3 * i) % u64::from(steps)) as f32;
                    let class = if random(3 * i + 1) % 5 == 0 { -7 } else { 70_000 };
                    (class, step / steps as f32, random(3 * i + 2) % 9 > 0)
                })
                .collect();
            let tallies = tallied(&rows, per_class, batch);
            for class in [-7, 70_000] {
                let of_class = rows.iter().filter(|(c, _, is)| *is && *c == class);
                let mut sorted: Vec<u32> = of_class.map(|(_, c, _)| bits(*c)).collect();
                sorted.sort_unstable_by(|a, b| b.cmp(a));
                let available: u64 = tallies
                    .iter()
                    .filter_map(|tally| Some(tally.available[tally.index.get(class)?]))
                    .sum();
                prop_assert_eq!(available, sorted.len() as u64);
                let parts = tallies.iter().filter_map(|tally| {
                    let best = &tally.classes[tally.index.get(class)?].1;
                    Some(Best { top: best.top.clone(), ..*best })
                });
                let mut best = Best::of(parts.collect(), per_class as usize);
                best.top.sort_unstable_by(|a, b| b.cmp(a));
                let kept = sorted.len().min(per_class as usize);
                prop_assert_eq!(&best.top, &sorted[..kept]);
                // What is next: so a tie at the cut-off is known.
                prop_assert_eq!(best.dropped, sorted.get(kept).copied());
            }
        }
    }
}
