//! Two streams of examples → the batch of a step: labelled rows first, then pseudo-labelled ones, with their weights and masks.

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
    /// How many of them, the first ones, have real labels.
    pub(super) labelled: usize,
    /// Where the streams are after them.
    pub(super) next: Position,
}

impl Rows {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// The rows in passes of at most `pass` of them; 0 for all at once. A pass adds its share to the step's loss.
    pub(super) fn passes(&self, shape: &Shape, pass: usize) -> impl Iterator<Item = Batch<'_>> {
        let image = shape.image_len();
        let (classes, features, depth) = (shape.classes, shape.features, shape.depth);
        let all = self.len();
        let pass = if pass == 0 { all } else { pass };
        (0..all).step_by(pass.max(1)).map(move |start| {
            let end = (start + pass).min(all);
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
    /// Of the masks.
    pub(super) seed: u64,
    pub(super) labelled: Kind,
    pub(super) pseudo: Kind,
    pub(super) position: Position,
}

impl Batches {
    /// The batch of step `step`; `None` where a stream has ended, which those of a training do not.
    pub(super) async fn next(&mut self, step: u64) -> Result<Option<Rows>, TrainError> {
        let all = self.labelled.rows + self.pseudo.rows;
        let shape = &self.shape;
        let mut rows = Rows {
            images: Vec::with_capacity(all * shape.image_len()),
            targets: vec![0.0; all * shape.classes],
            weights: Vec::with_capacity(all),
            dropout: vec![0.0; all * shape.features],
            depth: vec![0.0; all * shape.depth],
            labelled: self.labelled.rows,
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
                rows.images.extend_from_slice(&example.pixels);
                let target = &mut rows.targets[row * shape.classes..][..shape.classes];
                example.target.write(self.label_smoothing, target);
                rows.weights.push(weight);
                let draws = Draws::of_row(self.seed, step, row as u64);
                let features = &mut rows.dropout[row * shape.features..][..shape.features];
                dropout::mask(kind.noise.dropout, draws, features);
                let depth = &mut rows.depth[row * shape.depth..][..shape.depth];
                stochastic_depth::mask(kind.noise.stochastic_depth, &self.places, draws, depth);
                row += 1;
            }
        }
        self.position = rows.next;
        Ok(Some(rows))
    }
}
