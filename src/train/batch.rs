//! Two streams of examples → the batch of a step, with weights and masks: labelled rows first, then pseudo-labelled ones, or of several passes each with its share of both.

use futures::stream::{BoxStream, StreamExt};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::config::Loss;
use super::examples::Example;
use crate::random::Draws;
use crate::student::noise::{ModelNoise, dropout, stochastic_depth};
use crate::student::trainer::{Batch, Shape};

/// How far the streams of images are: the places of the next ones. All that a training has to remember of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Of the labelled images.
    pub labelled: u64,
    /// Of the pseudo-labelled images.
    pub pseudo: u64,
}

/// The rows of a step.
#[derive(Debug)]
pub(super) struct Rows {
    images: Vec<f32>,
    pub(super) targets: Vec<f32>,
    weights: Vec<f32>,
    dropout: Vec<f32>,
    depth: Vec<f32>,
    /// Of each, whether its label is a real one.
    pub(super) labelled: Vec<bool>,
    /// In how many passes they go through the network.
    passes: usize,
    /// Where the streams are after them.
    pub(super) next: Position,
}

impl Rows {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// The rows, pass by pass. A pass adds its share to the step's loss.
    pub(super) fn passes(&self, shape: &Shape) -> impl Iterator<Item = Batch<'_>> {
        let image = shape.image_len();
        let (classes, features, depth) = (shape.classes, shape.features, shape.depth);
        let (all, passes) = (self.len(), self.passes);
        (0..passes).map(move |pass| {
            let (start, end) = (first(pass, all, passes), first(pass + 1, all, passes));
            Batch {
                images: &self.images[start * image..end * image],
                targets: &self.targets[start * classes..end * classes],
                weights: &self.weights[start..end],
                dropout: &self.dropout[start * features..end * features],
                depth: &self.depth[start * depth..end * depth],
            }
        })
    }
}

/// Where the rows of a pass begin: passes are as large as each other, or by one row.
fn first(pass: usize, all: usize, passes: usize) -> usize {
    pass * (all / passes) + pass.min(all % passes)
}

/// Where a step's row lies among its passes: neighbours lie in different ones, so that each pass has its share of both kinds of images, and batch normalisation sees them together (§3.1).
fn place(row: usize, all: usize, passes: usize) -> usize {
    first(row % passes, all, passes) + row / passes
}

/// A kind of images in a batch.
pub(super) struct Kind {
    /// How many of them.
    pub(super) rows: usize,
    pub(super) examples: Option<BoxStream<'static, Result<Example, TrainError>>>,
    /// What the student is noised with while it sees them.
    pub(super) noise: ModelNoise,
}

/// Makes the batches of a training, one after the other.
pub(super) struct Batches {
    pub(super) shape: Shape,
    /// Where the blocks of the depth mask's columns lie.
    pub(super) places: Vec<f32>,
    pub(super) loss: Loss,
    pub(super) label_smoothing: f32,
    /// The most rows of a pass; 0 for all at once.
    pub(super) pass: usize,
    /// Of the masks.
    pub(super) seed: u64,
    pub(super) labelled: Kind,
    pub(super) pseudo: Kind,
    pub(super) position: Position,
}

impl Batches {
    /// The batch of step `step`; `None` where a stream has ended, which those of a training do not.
    pub(super) async fn next(&mut self, step: u64) -> Result<Option<Rows>, TrainError> {
        let labelled = self.labelled.rows;
        let all = labelled + self.pseudo.rows;
        let shape = &self.shape;
        let image = shape.image_len();
        let passes = match self.pass {
            0 => 1,
            most => all.div_ceil(most),
        };
        let mut rows = Rows {
            images: vec![0.0; all * image],
            targets: vec![0.0; all * shape.classes],
            weights: vec![0.0; all],
            dropout: vec![0.0; all * shape.features],
            depth: vec![0.0; all * shape.depth],
            labelled: vec![false; all],
            passes,
            next: self.position,
        };
        let mut row = 0;
        for (kind, next) in [
            (&mut self.labelled, &mut rows.next.labelled),
            (&mut self.pseudo, &mut rows.next.pseudo),
        ] {
            let weight = match self.loss {
                Loss::Average => 1.0 / all as f32,
                Loss::Sum => 1.0 / kind.rows.max(1) as f32,
            };
            let Some(examples) = &mut kind.examples else {
                continue;
            };
            for _ in 0..kind.rows {
                let Some(example) = examples.next().await else {
                    return Ok(None);
                };
                let example = example?;
                *next = example.at + 1;
                let at = place(row, all, passes);
                rows.images[at * image..][..image].copy_from_slice(&example.pixels);
                let target = &mut rows.targets[at * shape.classes..][..shape.classes];
                example.target.write(self.label_smoothing, target);
                rows.weights[at] = weight;
                rows.labelled[at] = row < labelled;
                let draws = Draws::of_row(self.seed, step, row as u64);
                let features = &mut rows.dropout[at * shape.features..][..shape.features];
                dropout::mask(kind.noise.dropout, draws, features);
                let depth = &mut rows.depth[at * shape.depth..][..shape.depth];
                stochastic_depth::mask(kind.noise.stochastic_depth, &self.places, draws, depth);
                row += 1;
            }
        }
        self.position = rows.next;
        Ok(Some(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_has_its_share_of_both_kinds() {
        for (labelled, pseudo, most) in [
            (4, 12, 4),
            (3, 10, 4),
            (2, 7, 9),
            (1, 28, 5),
            (5, 0, 2),
            (2, 2, 1),
        ] {
            let all: usize = labelled + pseudo;
            let passes = all.div_ceil(most);
            let mut kinds = vec![None; all];
            for row in 0..all {
                let at = place(row, all, passes);
                assert_eq!(kinds[at].replace(row < labelled), None, "{row} of {all}");
            }
            for pass in 0..passes {
                let of = &kinds[first(pass, all, passes)..first(pass + 1, all, passes)];
                assert!((1..=most).contains(&of.len()));
                let share = of.iter().filter(|kind| **kind == Some(true)).count();
                let even = labelled / passes..=labelled.div_ceil(passes);
                assert!(
                    even.contains(&share),
                    "{labelled} + {pseudo} by {most}: {share}"
                );
            }
            assert_eq!(first(passes, all, passes), all);
        }
        assert!((0..9).all(|row| place(row, 9, 1) == row));
    }
}
