//! Where a training's time goes.

use std::time::Duration;

use serde::Serialize;

/// How long the thread of the steps did what, in this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Waiting for the next step's images: they are fetched, decoded and noised beside it, and so this is what is too slow there.
    pub images: Duration,
    /// Forward, backward, and changing the weights.
    pub network: Duration,
    /// Following the weights' moving average.
    pub average: Duration,
    /// Evaluating on the held-out images.
    pub held_out: Duration,
    /// Committing checkpoints and metrics.
    pub checkpoints: Duration,
    /// Images that were learned from.
    pub learned: u64,
}

/// What `--json` prints of it: shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    /// See [`Spent::images`].
    pub images: f64,
    /// See [`Spent::network`].
    pub network: f64,
    /// See [`Spent::average`].
    pub average: f64,
    /// See [`Spent::held_out`].
    pub held_out: f64,
    /// See [`Spent::checkpoints`].
    pub checkpoints: f64,
}

impl Spent {
    /// All of it.
    pub fn seconds(&self) -> f64 {
        self.parts()
            .iter()
            .map(|(_, part)| part.as_secs_f64())
            .sum()
    }

    /// Images a second.
    pub fn rate(&self) -> f64 {
        self.learned as f64 / self.seconds().max(1e-9)
    }

    /// What part has which share.
    pub fn shares(&self) -> Shares {
        let all = self.seconds().max(1e-9);
        let [images, network, average, held_out, checkpoints] =
            self.parts().map(|(_, part)| part.as_secs_f64() / all);
        Shares {
            images,
            network,
            average,
            held_out,
            checkpoints,
        }
    }

    /// The part that takes most.
    pub fn bottleneck(&self) -> &'static str {
        let longest = self.parts().into_iter().max_by_key(|(_, part)| *part);
        longest.map_or("network", |(name, _)| name)
    }

    /// A line for people.
    pub fn describe(&self) -> String {
        let all = self.seconds().max(1e-9);
        let parts = self
            .parts()
            .map(|(name, part)| format!("{name} {:.0} %", part.as_secs_f64() / all * 100.0));
        format!("time: {}; {:.0} images/s", parts.join(", "), self.rate())
    }

    fn parts(&self) -> [(&'static str, Duration); 5] {
        [
            ("images", self.images),
            ("network", self.network),
            ("average", self.average),
            ("held-out", self.held_out),
            ("checkpoints", self.checkpoints),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_whole_and_the_longest_part_is_the_bottleneck() {
        let spent = Spent {
            images: Duration::from_secs(1),
            network: Duration::from_secs(6),
            checkpoints: Duration::from_secs(3),
            learned: 500,
            ..Spent::default()
        };
        let shares = spent.shares();
        assert!((shares.images - 0.1).abs() < 1e-9 && (shares.checkpoints - 0.3).abs() < 1e-9);
        assert_eq!(spent.bottleneck(), "network");
        assert_eq!(
            spent.describe(),
            "time: images 10 %, network 60 %, average 0 %, held-out 0 %, checkpoints 30 %; 50 images/s"
        );
    }
}
