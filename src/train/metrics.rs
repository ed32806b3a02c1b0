//! What each step was like: `trainings/NAME/metrics-00000000.parquet`, one file for each stretch of `checkpoint_steps` steps, named by its first one.
//!
//! Nothing in them depends on time or speed: a training that was killed and went on leaves the files of an undisturbed one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use super::batch::Rows;

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Counted from 0.
    pub step: u64,
    /// How often each image had been seen before it, of the kind that epochs are counted in.
    pub epoch: f32,
    /// The learning rate.
    pub learning_rate: f32,
    /// What was minimised, under noise, before the weights changed.
    pub loss: f32,
    /// The mean cross entropy of the images with real labels, under noise and label smoothing.
    pub labelled_loss: Option<f32>,
    /// How many of them were taken for their class, under noise.
    pub labelled_top1: Option<f32>,
    /// The mean cross entropy of those with pseudo-labels.
    pub pseudo_loss: Option<f32>,
    /// How many of them were taken for the class of their pseudo-label.
    pub pseudo_top1: Option<f32>,
    /// The mean cross entropy of the held-out images, of the averaged weights, after this step; where it ends a stretch.
    pub held_out_loss: Option<f32>,
    /// How many of them are right.
    pub held_out_top1: Option<f32>,
}

/// Cross entropy and hits of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    rows: u64,
    loss: f64,
    hits: u64,
}

impl Sums {
    /// Adds rows: `logits` and `targets` are [rows, classes].
    pub(super) fn add(&mut self, logits: &[f32], targets: &[f32], classes: usize) {
        for (logits, target) in logits
            .chunks_exact(classes)
            .zip(targets.chunks_exact(classes))
        {
            let highest = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits.iter().map(|l| f64::from(l - highest).exp()).sum();
            let logsum = sum.ln() + f64::from(highest);
            let loss = target.iter().zip(logits);
            self.loss += loss
                .filter(|(t, _)| **t > 0.0)
                .map(|(t, l)| f64::from(*t) * (logsum - f64::from(*l)))
                .sum::<f64>();
            self.hits += u64::from(first_highest(logits) == first_highest(target));
            self.rows += 1;
        }
    }

    pub(super) fn mean_loss(&self) -> Option<f32> {
        (self.rows > 0).then(|| (self.loss / self.rows as f64) as f32)
    }

    pub(super) fn top1(&self) -> Option<f32> {
        (self.rows > 0).then(|| (self.hits as f64 / self.rows as f64) as f32)
    }
}

fn first_highest(values: &[f32]) -> usize {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best
}

/// The sums of a step's labelled and pseudo-labelled rows, of its logits [rows, classes].
pub(super) fn sums(rows: &Rows, logits: &[f32], classes: usize) -> [Sums; 2] {
    let mut sums = [Sums::default(); 2];
    let each = logits
        .chunks_exact(classes)
        .zip(rows.targets.chunks_exact(classes));
    for ((logits, targets), labelled) in each.zip(&rows.labelled) {
        sums[usize::from(!labelled)].add(logits, targets, classes);
    }
    sums
}

/// The columns.
pub fn schema() -> SchemaRef {
    let field = |name: &str, of: &DataType, null| Field::new(name, of.clone(), null);
    let (float, optional) = (DataType::Float32, true);
    Arc::new(Schema::new(vec![
        field("step", &DataType::UInt64, false),
        field("epoch", &float, false),
        field("learning_rate", &float, false),
        field("loss", &float, false),
        field("labelled_loss", &float, optional),
        field("labelled_top1", &float, optional),
        field("pseudo_loss", &float, optional),
        field("pseudo_top1", &float, optional),
        field("held_out_loss", &float, optional),
        field("held_out_top1", &float, optional),
    ]))
}

/// The file.
pub(super) fn encode(rows: &[Metrics]) -> Result<Bytes, ParquetError> {
    let optional = |of: fn(&Metrics) -> Option<f32>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Float32Array>())
    };
    let float = |of: fn(&Metrics) -> f32| -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(rows.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.step))),
        float(|r| r.epoch),
        float(|r| r.learning_rate),
        float(|r| r.loss),
        optional(|r| r.labelled_loss),
        optional(|r| r.labelled_top1),
        optional(|r| r.pseudo_loss),
        optional(|r| r.pseudo_top1),
        optional(|r| r.held_out_loss),
        optional(|r| r.held_out_top1),
    ];
    let batch = RecordBatch::try_new(schema(), columns)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), None)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_and_hits_are_those_of_the_definition() {
        let mut sums = Sums::default();
        // softmax of [0, ln 3] is [1/4, 3/4].
        let logits = [0.0, 3.0_f32.ln(), 0.0, 3.0_f32.ln()];
        sums.add(&logits, &[0.0, 1.0, 0.5, 0.5], 2);
        let (quarter, most) = (0.25_f64.ln(), 0.75_f64.ln());
        let expected = (-most - f64::midpoint(quarter, most)) / 2.0;
        assert!((f64::from(sums.mean_loss().unwrap()) - expected).abs() < 1e-6);
        // Of the second target both are highest: the first counts.
        assert_eq!(sums.top1(), Some(0.5));
        assert_eq!(Sums::default().top1(), None);
    }
}
