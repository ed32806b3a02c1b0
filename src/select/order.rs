//! The second pass over the candidates, for what a key decides: ties at a cut-off, samples, and who gets a copy more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::hash::{NotFound, Quantile, seeded_hash};
use super::sweep::side_by_side;
use super::topk::{Choice, bits};

/// Pass 2 of one worker.
#[derive(Debug)]
pub(super) struct Order {
    choice: Arc<Choice>,
    classes: Vec<ClassOrder>,
    overall: Option<Quantile>,
    /// Of the rows that are looked at, those whose keys decide something: the class's number, and the row's.
    deciding: Vec<(u32, u32)>,
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
            let quantile = |rank| Quantile::new(rank, c.best);
            ClassOrder {
                tied: BTreeSet::new(),
                sample: c.is_sampled().then(|| quantile(c.kept)),
                extra: (c.extra > 0).then(|| quantile(c.extra)),
            }
        });
        Self {
            classes: classes.collect(),
            overall: choice
                .is_sampled
                .then(|| Quantile::new(choice.sampled_overall.unwrap_or(0), choice.candidates())),
            deciding: Vec::new(),
            choice: Arc::clone(choice),
        }
    }

    /// Candidates, and what a user's own query lets through besides.
    pub(super) fn push<'a>(
        &mut self,
        classes: &[i64],
        confidences: &[f32],
        key: impl Fn(usize) -> &'a str,
    ) {
        let choice = Arc::clone(&self.choice);
        let hash = |row: u32| seeded_hash(choice.rules.seed, key(row as usize));
        let mut deciding = std::mem::take(&mut self.deciding);
        deciding.resize(classes.len().max(deciding.len()), (0, 0));
        let mut found = 0;
        for (row, (class, confidence)) in (0..).zip(classes.iter().zip(confidences)) {
            let Some(number) = choice.index.get(*class) else {
                continue;
            };
            // As in a tally, without a guess.
            deciding[found] = (number as u32, row);
            let decides = choice.is_sampled || choice.keys_of(number).decide(bits(*confidence));
            found += usize::from(decides);
        }
        for (number, row) in &deciding[..found] {
            let (number, confidence) = (*number as usize, bits(confidences[*row as usize]));
            if let Some(overall) = &mut self.overall {
                overall.push(hash(*row));
            } else if choice.keys_of(number).is_tied(confidence) {
                // Hashes of tied rows wait until it is known which of them are in.
                let tied = &mut self.classes[number].tied;
                tied.insert(key(*row as usize).to_owned());
                if tied.len() as u64 > choice.classes[number].tie.unwrap_or(0) {
                    tied.pop_last();
                }
            } else {
                self.classes[number].hash(hash(*row));
            }
        }
        self.deciding = deciding;
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
        let classes = side_by_side(self.classes, |mut order| {
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
            classes: classes.into_iter().collect::<Result<_, NotFound>>()?,
            overall: find(self.overall)?,
        })
    }
}

impl ClassOrder {
    #[inline]
    fn hash(&mut self, hash: u64) {
        for quantile in [&mut self.sample, &mut self.extra].into_iter().flatten() {
            quantile.push(hash);
        }
    }
}

/// What pass 2 comes to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) classes: Vec<FoundClass>,
    pub(super) overall: Option<u64>,
}

#[derive(Debug)]
pub(super) struct FoundClass {
    pub(super) tie_key: Option<String>,
    pub(super) sample: Option<u64>,
    pub(super) extra: Option<u64>,
}
