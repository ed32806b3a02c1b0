//! The most confident K of each class, and how many copies each row gets: two passes over the candidates, then plain functions of a row.
//!
//! Pass 1 ([`Tally`](super::tally::Tally)) sees class and confidence and keeps, for each class, the confidences of its best K: 4 bytes a chosen row and a
//! worker's share of as much again; [`Ranks`] has them in some 4. Pass 2 ([`Order`](super::order::Order)) sees keys, where they decide: the tie at a class's cut-off, and the hashes that say who
//! gets a copy more or belongs to a sample. What both come to, [`Choice`], answers for each row by itself whether it is chosen, its
//! rank and its copies, so that the rows are the same for any number of threads, partitions and files. Pass 1 must see all rows
//! before pass 2 begins, and pass 2 before the first row is chosen.

use arrow::array::UInt32Array;
use serde::{Deserialize, Serialize};

use super::hash::seeded_hash;
use super::order::Found;
use super::ranks::{ClassIndex, Ranks};
use super::sweep::side_by_side;
use super::tally::Best;

/// How classes are evened out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// Rows of a class with fewer than K get copies, up to exactly K.
    #[default]
    Duplicate,
    /// Every row once.
    None,
}

impl std::str::FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "duplicate" => Ok(Self::Duplicate),
            "none" => Ok(Self::None),
            _ => Err("use duplicate or none".into()),
        }
    }
}

/// How rows are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    /// K.
    pub(super) per_class: u64,
    pub(super) balance: Balance,
    pub(super) seed: u64,
    /// The part of the best K that is sampled, above 0 and up to 1.
    pub(super) fraction: f64,
}

impl Rules {
    /// K, as far as so many can be held.
    pub(super) fn most(&self) -> usize {
        usize::try_from(self.per_class).unwrap_or(usize::MAX)
    }

    /// Rows that a class comes to with its copies.
    fn target(&self) -> u64 {
        (self.per_class as f64 * self.fraction).round() as u64
    }

    /// How many of `n` rows a sample keeps: a class that has any keeps one.
    fn sampled(&self, n: u64) -> u64 {
        if self.fraction >= 1.0 {
            return n;
        }
        ((n as f64 * self.fraction).round() as u64).clamp(u64::from(n > 0), n)
    }
}

/// Confidences of valid rows are not negative: their bits are in the order of their values. −0 is 0.
#[inline]
pub(super) fn bits(confidence: f32) -> u32 {
    (confidence + 0.0).to_bits()
}

/// What is chosen, as functions of a row.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) rules: Rules,
    /// How many rows of all classes together are sampled, where that is asked for.
    pub(super) sampled_overall: Option<u64>,
    /// Whether that leaves any out.
    pub(super) is_sampled: bool,
    /// Rows whose hash is at most this are in that sample.
    overall_hash: Option<u64>,
    /// By class.
    pub(super) classes: Vec<ClassChoice>,
    pub(super) index: ClassIndex,
    /// By class, the confidences of the best K.
    ranks: Ranks,
    /// What every row asks, side by side: the cut-off by the class itself, where it is a small number, and none that can be reached for classes that are not there,
    reach: Vec<u32>,
    /// how keys decide in each class,
    keys: Vec<Keys>,
    /// and its rows' copies, with the hash up to which a row gets one more.
    extras: Vec<(u32, Option<u64>)>,
}

impl Choice {
    /// What the workers of the first pass have found, class by class in their order; with `sample` so many of all candidates are chosen, by hash, whatever their class.
    pub(super) fn new(rules: &Rules, classes: Vec<(i64, Vec<Best>)>, sample: Option<u64>) -> Self {
        let looked_at = side_by_side(classes, |(class, parts)| {
            let best = Best::of(parts, rules.most());
            (ClassChoice::new(class, &best, rules), best.top)
        });
        let (classes, mut ranks): (Vec<ClassChoice>, Vec<Vec<u32>>) = looked_at.into_iter().unzip();
        ranks.push(Vec::new());
        let candidates: u64 = classes.iter().map(|c| c.available).sum();
        let mut index = ClassIndex::default();
        for class in &classes {
            index.number(class.class);
        }
        let sampled_overall = sample.map(|n| n.min(candidates));
        let is_sampled = sampled_overall.is_some_and(|n| n < candidates);
        Self {
            rules: *rules,
            sampled_overall,
            is_sampled,
            overall_hash: None,
            ranks: Ranks::of(ranks),
            keys: classes.iter().map(ClassChoice::keys).collect(),
            reach: index.small(|number| classes[number].cut, u32::MAX),
            extras: classes.iter().map(|c| (c.base, c.extra_hash)).collect(),
            index,
            classes,
        }
    }

    /// Whether pass 2 is needed.
    pub(super) fn needs_keys(&self) -> bool {
        self.is_sampled || self.classes.iter().any(ClassChoice::needs_keys)
    }

    /// How many candidates' keys decide something.
    pub(super) fn decided(&self) -> u64 {
        if self.is_sampled {
            return self.candidates();
        }
        self.classes.iter().map(ClassChoice::decided).sum()
    }

    pub(super) fn candidates(&self) -> u64 {
        self.classes.iter().map(|c| c.available).sum()
    }

    /// Candidates among the best K of their classes.
    pub(super) fn best(&self) -> u64 {
        self.classes.iter().map(|c| c.best).sum()
    }

    /// Rows that are chosen.
    pub(super) fn expected(&self) -> u64 {
        let kept = self.classes.iter().map(|c| c.kept).sum();
        self.sampled_overall.unwrap_or(kept)
    }

    /// The first class whose copies do not come to what they have to, and what that is.
    pub(super) fn uneven(&self, copies: impl Fn(i64) -> u64) -> Option<(i64, u64)> {
        let evened = self.rules.balance == Balance::Duplicate && self.sampled_overall.is_none();
        let mut classes = self.classes.iter().filter(|c| evened && c.kept > 0);
        let expected = |c: &ClassChoice| (c.class, self.rules.target().max(c.kept));
        classes.find_map(|c| Some(expected(c)).filter(|(class, all)| copies(*class) != *all))
    }

    /// Takes over what pass 2 has found.
    pub(super) fn complete(&mut self, found: Found) {
        for (class, found) in self.classes.iter_mut().zip(found.classes) {
            class.tie_key = found.tie_key;
            class.sample_hash = found.sample;
            class.extra_hash = found.extra;
        }
        self.extras = self
            .classes
            .iter()
            .map(|c| (c.base, c.extra_hash))
            .collect();
        self.overall_hash = found.overall;
    }

    /// Whether the second pass has to see a candidate's key.
    #[inline]
    pub(super) fn is_decided_by_key(&self, class: i64, confidence: f32) -> bool {
        let class = self.index.get(class);
        class.is_some_and(|i| self.is_sampled || self.keys[i].decide(bits(confidence)))
    }

    /// How keys decide in the class of this number, where all classes together are not sampled.
    #[inline]
    pub(super) fn keys_of(&self, number: usize) -> Keys {
        self.keys[number]
    }

    /// Whether a candidate may be chosen, whatever its key.
    #[inline]
    pub(super) fn is_within_reach(&self, class: i64, confidence: f32) -> bool {
        let small = usize::try_from(class).ok();
        if let Some(cut) = small.and_then(|class| self.reach.get(class)) {
            return bits(confidence) >= *cut;
        }
        let class = self.index.get(class).map(|i| self.keys[i]);
        class.is_some_and(|keys| bits(confidence) >= keys.cut)
    }

    /// Whether a candidate is chosen.
    #[inline]
    pub(super) fn is_chosen<'a>(
        &self,
        class: i64,
        confidence: f32,
        key: impl Fn() -> &'a str,
    ) -> bool {
        let Some(i) = self.index.get(class) else {
            return false;
        };
        let (keys, confidence) = (self.keys[i], bits(confidence));
        if confidence < keys.cut {
            return false;
        }
        let is_plain = (confidence > keys.cut || !keys.tied)
            && self.rules.fraction >= 1.0
            && self.overall_hash.is_none();
        is_plain || {
            let (c, key) = (&self.classes[i], key());
            let within = |last: Option<u64>| {
                last.is_none_or(|last| seeded_hash(self.rules.seed, key) <= last)
            };
            c.is_best(confidence, key) && within(c.sample_hash) && within(self.overall_hash)
        }
    }

    /// Whether a candidate is among the best K of its class, chosen or not.
    pub(super) fn is_best(&self, class: i64, confidence: f32, key: &str) -> bool {
        let (class, confidence) = (self.index.get(class), bits(confidence));
        let class = class.map(|i| &self.classes[i]);
        class.is_some_and(|class| confidence >= class.cut && class.is_best(confidence, key))
    }

    /// 1 and the number of more confident candidates of the class, as SQL's `rank()`, for rows of the best K; null for other classes.
    pub(super) fn ranks(&self, rows: impl Iterator<Item = (i64, f32)>) -> UInt32Array {
        // The last number is that of no class.
        let none = self.classes.len() as u32;
        let rows = rows.map(|(class, confidence)| {
            let number = self.index.get(class).map_or(none, |number| number as u32);
            (number, bits(confidence))
        });
        let rows: Vec<(u32, u32)> = rows.collect();
        let mut ranks = self.ranks.higher(&rows);
        ranks.iter_mut().for_each(|rank| *rank += 1);
        let unknown = rows.iter().any(|(class, _)| *class == none);
        let known = unknown.then(|| rows.iter().map(|(class, _)| *class != none).collect());
        UInt32Array::new(ranks.into(), known)
    }

    /// Copies of a chosen row.
    #[inline]
    pub(super) fn copies(&self, class: i64, key: &str) -> u32 {
        let Some(i) = self.index.get(class) else {
            return 0;
        };
        let (base, extra_hash) = self.extras[i];
        let more = extra_hash.is_some_and(|last| seeded_hash(self.rules.seed, key) <= last);
        base + u32::from(more)
    }
}

/// What is known of a class.
#[derive(Debug)]
pub(super) struct ClassChoice {
    pub(super) class: i64,
    /// Candidates.
    pub(super) available: u64,
    /// Rows that are chosen.
    pub(super) kept: u64,
    /// How many are among the best K.
    pub(super) best: u64,
    /// The bits of the lowest confidence of these.
    pub(super) cut: u32,
    /// Copies of every chosen row.
    base: u32,
    /// How many chosen rows get one more.
    pub(super) extra: u64,
    /// Of the rows at the cut-off, how many are in, where not all are.
    pub(super) tie: Option<u64>,
    /// The last key, in order, that is in at the cut-off.
    tie_key: Option<String>,
    /// Rows whose hash is at most this are in the sample.
    sample_hash: Option<u64>,
    /// Rows whose hash is at most this get a copy more.
    extra_hash: Option<u64>,
}

impl ClassChoice {
    /// Of the best of a class.
    fn new(class: i64, best: &Best, rules: &Rules) -> Self {
        let cut = best.top.iter().copied().min().unwrap_or(0);
        let at_cut = best.top.iter().filter(|c| **c == cut).count() as u64;
        let tie = (best.dropped == Some(cut)).then_some(at_cut);
        let kept = rules.sampled(best.top.len() as u64);
        let (base, extra) = match rules.balance {
            Balance::Duplicate if kept > 0 => {
                let target = rules.target().max(kept);
                ((target / kept) as u32, target % kept)
            }
            Balance::Duplicate | Balance::None => (1, 0),
        };
        Self {
            class,
            available: best.available,
            kept,
            best: best.top.len() as u64,
            cut,
            base,
            extra,
            tie,
            tie_key: None,
            sample_hash: None,
            extra_hash: None,
        }
    }

    /// The confidence down to which rows are chosen.
    pub(super) fn cut_off(&self) -> f32 {
        f32::from_bits(self.cut)
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.kept < self.best
    }

    fn needs_keys(&self) -> bool {
        self.tie.is_some() || self.needs_hashes()
    }

    fn needs_hashes(&self) -> bool {
        self.extra > 0 || self.is_sampled()
    }

    /// How many rows' keys decide something.
    fn decided(&self) -> u64 {
        if self.needs_hashes() {
            self.best
        } else {
            self.tie.unwrap_or(0)
        }
    }

    /// How keys decide.
    fn keys(&self) -> Keys {
        let tied = self.tie.is_some();
        Keys {
            cut: self.cut,
            tied,
            decided: if self.needs_hashes() {
                (self.cut, u32::MAX)
            } else if tied {
                (self.cut, self.cut)
            } else {
                (u32::MAX, 0)
            },
        }
    }

    /// Whether a row at the cut-off or above is among the best K.
    fn is_best(&self, confidence: u32, key: &str) -> bool {
        confidence > self.cut
            || self.tie.is_none()
            || self.tie_key.as_deref().is_some_and(|last| key <= last)
    }
}

/// How keys decide in a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    /// The bits of the cut-off.
    cut: u32,
    /// Not all rows at the cut-off are in.
    tied: bool,
    /// Between these confidences keys decide: of all rows of the best K, whose hashes are asked for, at the cut-off alone, or nowhere.
    decided: (u32, u32),
}

impl Keys {
    /// Whether the key of a row with such a confidence decides anything.
    #[inline]
    pub(super) fn decide(self, confidence: u32) -> bool {
        let (from, to) = self.decided;
        (from..=to).contains(&confidence)
    }

    /// Whether it decides if the row is in.
    #[inline]
    pub(super) fn is_tied(self, confidence: u32) -> bool {
        self.tied && confidence == self.cut
    }
}
