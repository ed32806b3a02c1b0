//! The second pass over the candidates, for what a key decides: ties at a cut-off, samples, and who gets a copy more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::hash::{NotFound, Quantile, seeded_hash};
use super::topk::{Choice, bits};

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
                .is_sampled()
                .then(|| Quantile::new(choice.sampled_overall.unwrap_or(0), choice.candidates())),
            choice: Arc::clone(choice),
        }
    }

    /// A candidate.
    #[inline]
    pub(super) fn push(&mut self, class: i64, confidence: f32, key: &str) {
        let Some(i) = self.choice.index.get(class) else {
            return;
        };
        if let Some(overall) = &mut self.overall {
            overall.push(seeded_hash(self.choice.rules.seed, key));
            return;
        }
        let (keys, confidence) = (self.choice.keys_of(i), bits(confidence));
        // A user's own query may let other rows through.
        if !keys.decide(confidence) {
            return;
        }
        let order = &mut self.classes[i];
        if keys.is_tied(confidence) {
            // Hashes of tied rows wait until it is known which of them are in.
            order.tied.insert(key.to_owned());
            if order.tied.len() as u64 > self.choice.classes[i].tie.unwrap_or(0) {
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
