//! The most confident K of each class, and how many copies each row gets: two passes over the candidates, then plain functions of a row.
//!
//! Pass 1 ([`Tally`]) sees class and confidence and keeps, for each class, the confidences of its best K: 4 bytes a chosen row and a
//! worker's share of as much again. Pass 2 ([`Order`]) sees keys, where they decide: the tie at a class's cut-off, and the hashes that say who
//! gets a copy more or belongs to a sample. What both come to, [`Choice`], answers for each row by itself whether it is chosen, its
//! rank and its copies, so that the rows are the same for any number of threads, partitions and files. Pass 1 must see all rows
//! before pass 2 begins, and pass 2 before the first row is chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hash::{NotFound, Quantile, seeded_hash};
use super::ranks::{ClassIndex, Ranks};

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
fn bits(confidence: f32) -> u32 {
    (confidence + 0.0).to_bits()
}

/// Pass 1 of one worker.
#[derive(Debug)]
pub(super) struct Tally {
    per_class: usize,
    index: ClassIndex,
    classes: Vec<(i64, Best)>,
    /// Rows left out, by reason.
    pub(super) left_out: BTreeMap<String, u64>,
}

/// The best of a class so far.
#[derive(Debug, Default)]
struct Best {
    available: u64,
    /// Bits of confidences, in no order: at most twice K.
    top: Vec<u32>,
    /// The highest confidence that was dropped, and how many rows with it.
    dropped: (u32, u64),
}

impl Best {
    fn push(&mut self, confidence: u32, per_class: usize) {
        self.available += 1;
        if confidence < self.dropped.0 {
            return;
        }
        self.top.push(confidence);
        if self.top.len() >= per_class.saturating_mul(2).max(1024) {
            self.trim(per_class);
        }
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
        if let Some(highest) = below.iter().copied().max() {
            let ties = below.iter().filter(|b| **b == highest).count() as u64;
            self.note_dropped(highest, ties);
        }
        debug_assert!(self.dropped.0 <= cut);
        self.top.truncate(per_class);
    }

    fn note_dropped(&mut self, confidence: u32, rows: u64) {
        match confidence.cmp(&self.dropped.0) {
            std::cmp::Ordering::Greater => self.dropped = (confidence, rows),
            std::cmp::Ordering::Equal => self.dropped.1 += rows,
            std::cmp::Ordering::Less => {}
        }
    }
}

impl Tally {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            per_class: usize::try_from(rules.per_class).unwrap_or(usize::MAX),
            index: ClassIndex::default(),
            classes: Vec::new(),
            left_out: BTreeMap::new(),
        }
    }

    fn class(&mut self, class: i64) -> &mut Best {
        let number = self.index.number(class);
        if number == self.classes.len() {
            self.classes.push((class, Best::default()));
        }
        &mut self.classes[number].1
    }

    /// A candidate.
    pub(super) fn push(&mut self, class: i64, confidence: f32) {
        let per_class = self.per_class;
        self.class(class).push(bits(confidence), per_class);
    }

    /// A row that is left out.
    pub(super) fn leave_out(&mut self, reason: &str) {
        match self.left_out.get_mut(reason) {
            Some(rows) => *rows += 1,
            None => {
                self.left_out.insert(reason.to_owned(), 1);
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        let per_class = self.per_class;
        for (class, theirs) in other.classes {
            let ours = self.class(class);
            ours.available += theirs.available;
            ours.top.extend(theirs.top);
            ours.note_dropped(theirs.dropped.0, theirs.dropped.1);
            ours.trim(per_class);
        }
        for (reason, rows) in other.left_out {
            *self.left_out.entry(reason).or_insert(0) += rows;
        }
    }

    /// What pass 2 has to find out, and what is known without it.
    ///
    /// With `sample` so many of all candidates are chosen, by hash, whatever their class.
    pub(super) fn finish(self, rules: &Rules, sample: Option<u64>) -> Choice {
        let per_class = self.per_class;
        let mut classes: Vec<ClassChoice> = self
            .classes
            .into_iter()
            .map(|(class, mut best)| {
                best.trim(per_class);
                ClassChoice::new(class, best, rules)
            })
            .collect();
        classes.sort_by_key(|c| c.class);
        let candidates: u64 = classes.iter().map(|c| c.available).sum();
        Choice {
            rules: *rules,
            sampled_overall: sample.map(|n| n.min(candidates)),
            overall_hash: None,
            index: classes
                .iter()
                .fold(ClassIndex::default(), |mut index, class| {
                    index.number(class.class);
                    index
                }),
            cuts: classes.iter().map(|c| c.top.last().unwrap_or(0)).collect(),
            extras: classes.iter().map(|c| (c.base, c.extra_hash)).collect(),
            classes,
        }
    }
}

/// What is known of a class.
#[derive(Debug)]
pub(super) struct ClassChoice {
    pub(super) class: i64,
    /// Candidates.
    pub(super) available: u64,
    /// Rows that are chosen.
    kept: u64,
    /// The confidences of the best K.
    top: Ranks,
    /// Copies of every chosen row.
    base: u32,
    /// How many chosen rows get one more.
    extra: u64,
    /// Of the rows at the cut-off, how many are in, where not all are.
    tie: Option<u64>,
    /// The last key, in order, that is in at the cut-off.
    tie_key: Option<String>,
    /// Rows whose hash is at most this are in the sample.
    sample_hash: Option<u64>,
    /// Rows whose hash is at most this get a copy more.
    extra_hash: Option<u64>,
}

impl ClassChoice {
    fn new(class: i64, best: Best, rules: &Rules) -> Self {
        let top = Ranks::new(best.top);
        let cut = top.last().unwrap_or(0);
        let at_cut = (top.len() - top.higher(cut)) as u64;
        let tie = (best.dropped.1 > 0 && best.dropped.0 == cut).then_some(at_cut);
        let kept = rules.sampled(top.len() as u64);
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
            top,
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
        f32::from_bits(self.top.last().unwrap_or(0))
    }

    fn is_sampled(&self) -> bool {
        self.kept < self.top.len() as u64
    }

    fn needs_keys(&self) -> bool {
        self.tie.is_some() || self.needs_hashes()
    }

    fn needs_hashes(&self) -> bool {
        self.extra > 0 || self.is_sampled()
    }

    /// Whether the key of a row decides anything.
    fn is_decided_by_key(&self, confidence: u32) -> bool {
        let cut = self.top.last().unwrap_or(0);
        confidence == cut && self.tie.is_some() || confidence >= cut && self.needs_hashes()
    }

    /// Whether a row is among the best K.
    fn is_best(&self, confidence: u32, key: &str) -> bool {
        match self.top.last() {
            None => false,
            Some(cut) if confidence == cut => {
                self.tie.is_none() || self.tie_key.as_deref().is_some_and(|last| key <= last)
            }
            Some(cut) => confidence > cut,
        }
    }
}

/// Pass 2 of one worker.
#[derive(Debug)]
pub(super) struct Order {
    choice: Arc<Choice>,
    classes: Vec<ClassOrder>,
    overall: Option<Quantile>,
}

#[derive(Debug, Default)]
struct ClassOrder {
    /// The first keys at the cut-off, as many as are in.
    tied: BTreeSet<String>,
    sample: Option<Quantile>,
    extra: Option<Quantile>,
}

impl Order {
    pub(super) fn new(choice: &Arc<Choice>) -> Self {
        let classes = choice.classes.iter().map(|c| {
            // Those that get a copy more are the first of the sample.
            let quantile = |rank| Quantile::new(rank, c.top.len() as u64);
            ClassOrder {
                tied: BTreeSet::new(),
                sample: c.is_sampled().then(|| quantile(c.kept)),
                extra: (c.extra > 0).then(|| quantile(c.extra)),
            }
        });
        Self {
            classes: classes.collect(),
            overall: choice
                .is_sampled()
                .then(|| Quantile::new(choice.sampled_overall.unwrap_or(0), choice.candidates())),
            choice: Arc::clone(choice),
        }
    }

    /// A candidate.
    pub(super) fn push(&mut self, class: i64, confidence: f32, key: &str) {
        let Some(i) = self.choice.index.get(class) else {
            return;
        };
        if let Some(overall) = &mut self.overall {
            overall.push(seeded_hash(self.choice.rules.seed, key));
            return;
        }
        let (known, order) = (&self.choice.classes[i], &mut self.classes[i]);
        let confidence = bits(confidence);
        if !known.is_decided_by_key(confidence) {
            return;
        }
        if let Some(most) = known.tie
            && known.top.last() == Some(confidence)
        {
            // Hashes of tied rows wait until it is known which of them are in.
            order.tied.insert(key.to_owned());
            if order.tied.len() as u64 > most {
                order.tied.pop_last();
            }
            return;
        }
        order.hash(seeded_hash(self.choice.rules.seed, key));
    }

    pub(super) fn merge(&mut self, other: Self) {
        if let (Some(a), Some(b)) = (&mut self.overall, other.overall) {
            a.merge(b);
        }
        for ((ours, theirs), known) in self
            .classes
            .iter_mut()
            .zip(other.classes)
            .zip(&self.choice.classes)
        {
            ours.tied.extend(theirs.tied);
            while ours.tied.len() as u64 > known.tie.unwrap_or(0) {
                ours.tied.pop_last();
            }
            if let (Some(a), Some(b)) = (&mut ours.sample, theirs.sample) {
                a.merge(b);
            }
            if let (Some(a), Some(b)) = (&mut ours.extra, theirs.extra) {
                a.merge(b);
            }
        }
    }

    /// What the pass has found.
    ///
    /// # Errors
    /// [`NotFound`].
    pub(super) fn finish(self) -> Result<Found, NotFound> {
        let find = |quantile: Option<Quantile>| quantile.map(Quantile::find).transpose();
        let seed = self.choice.rules.seed;
        let classes = self.classes.into_iter().map(|mut order| {
            for key in std::mem::take(&mut order.tied) {
                order.hash(seeded_hash(seed, &key));
                order.tied.insert(key);
            }
            Ok(FoundClass {
                tie_key: order.tied.pop_last(),
                sample: find(order.sample)?,
                extra: find(order.extra)?,
            })
        });
        Ok(Found {
            classes: classes.collect::<Result<_, NotFound>>()?,
            overall: find(self.overall)?,
        })
    }
}

impl ClassOrder {
    fn hash(&mut self, hash: u64) {
        for quantile in [&mut self.sample, &mut self.extra].into_iter().flatten() {
            quantile.push(hash);
        }
    }
}

/// What pass 2 comes to.
#[derive(Debug)]
pub(super) struct Found {
    classes: Vec<FoundClass>,
    overall: Option<u64>,
}

#[derive(Debug)]
struct FoundClass {
    tie_key: Option<String>,
    sample: Option<u64>,
    extra: Option<u64>,
}

/// What is chosen, as functions of a row.
#[derive(Debug)]
pub(super) struct Choice {
    rules: Rules,
    /// How many rows of all classes together are sampled, where that is asked for.
    sampled_overall: Option<u64>,
    /// Rows whose hash is at most this are in that sample.
    overall_hash: Option<u64>,
    /// By class.
    pub(super) classes: Vec<ClassChoice>,
    index: ClassIndex,
    /// What every row asks, side by side: each class's cut-off,
    cuts: Vec<u32>,
    /// and its rows' copies, with the hash up to which a row gets one more.
    extras: Vec<(u32, Option<u64>)>,
}

impl Choice {
    /// Whether pass 2 is needed.
    pub(super) fn needs_keys(&self) -> bool {
        self.is_sampled() || self.classes.iter().any(ClassChoice::needs_keys)
    }

    fn candidates(&self) -> u64 {
        self.classes.iter().map(|c| c.available).sum()
    }

    /// Candidates among the best K of their classes.
    pub(super) fn best(&self) -> u64 {
        self.classes.iter().map(|c| c.top.len() as u64).sum()
    }

    /// Rows that are chosen.
    pub(super) fn expected(&self) -> u64 {
        let kept = self.classes.iter().map(|c| c.kept).sum();
        self.sampled_overall.unwrap_or(kept)
    }

    fn is_sampled(&self) -> bool {
        self.sampled_overall.is_some_and(|n| n < self.candidates())
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
    pub(super) fn is_decided_by_key(&self, class: i64, confidence: f32) -> bool {
        let class = self.index.get(class).map(|i| &self.classes[i]);
        class.is_some_and(|c| self.is_sampled() || c.is_decided_by_key(bits(confidence)))
    }

    /// Whether a candidate is chosen.
    pub(super) fn is_chosen(&self, class: i64, confidence: f32, key: &str) -> bool {
        let Some(i) = self.index.get(class) else {
            return false;
        };
        if bits(confidence) < self.cuts[i] {
            return false;
        }
        let is_plain = bits(confidence) > self.cuts[i]
            && self.rules.fraction >= 1.0
            && self.overall_hash.is_none();
        is_plain || {
            let c = &self.classes[i];
            let within = |last: Option<u64>| {
                last.is_none_or(|last| seeded_hash(self.rules.seed, key) <= last)
            };
            c.is_best(bits(confidence), key) && within(c.sample_hash) && within(self.overall_hash)
        }
    }

    /// 1 and the number of more confident candidates of the class, as SQL's `rank()`; of the best K alone.
    pub(super) fn rank(&self, class: i64, confidence: f32) -> Option<u32> {
        let top = &self.classes[self.index.get(class)?].top;
        Some(top.higher(bits(confidence)) as u32 + 1)
    }

    /// Copies of a chosen row.
    pub(super) fn copies(&self, class: i64, key: &str) -> u32 {
        let Some(i) = self.index.get(class) else {
            return 0;
        };
        let (base, extra_hash) = self.extras[i];
        let more = extra_hash.is_some_and(|last| seeded_hash(self.rules.seed, key) <= last);
        base + u32::from(more)
    }
}
