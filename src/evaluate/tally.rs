//! Labels and predictions, one image after another → a model's figures.
//!
//! In memory: 15 bins, and a counter for each pair of label and prediction that was met, so at most one an image.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::statistics::Share;
use crate::label::infer::{Reject, SoftLabel};

/// Bins of a calibration: 15 equally wide ones, as Guo et al., On Calibration of Modern Neural Networks (2017), use them.
pub const BINS: usize = 15;
/// How many of the most probable classes count as the second measure.
pub(super) const TOP: usize = 5;
/// Probabilities below this, the smallest normal number of single precision, count as it: −ln p is then 87.3, not infinite.
const LEAST: f32 = f32::MIN_POSITIVE;

/// The figures of a model on labelled images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Images with a prediction: what all shares are of.
    pub images: u64,
    /// Images without one, by `stage: reason`.
    pub rejected: BTreeMap<String, u64>,
    /// The most probable class is the label.
    pub top1: Share,
    /// The label is among the five most probable classes; none where there are no more than five.
    pub top5: Option<Share>,
    /// Mean of −ln p(label), in nats.
    pub nll: f64,
    /// Images whose p(label) was below 1.2·10⁻³⁸ and counts as that.
    pub nll_clipped: u64,
    /// Mean probability of the most probable class.
    pub confidence: f64,
    /// Expected calibration error: the mean distance of a bin's accuracy from its confidence, weighted by its images.
    pub ece: f64,
    /// Maximum calibration error: the largest of these distances.
    pub mce: f64,
    /// The reliability diagram.
    pub calibration: Vec<Bin>,
    /// Each class, by number.
    pub classes: Vec<ClassFigures>,
    /// The mean recall of the classes that have images: what the accuracy were if all had as many.
    pub balanced_accuracy: f64,
    /// The confusion matrix: every cell that is not zero, by label and prediction.
    pub confusion: Vec<Cell>,
}

/// A bin of the calibration: predictions whose confidence is above `from` and at most `to`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The lower end, which does not belong to it.
    pub from: f64,
    /// The upper end, which does.
    pub to: f64,
    /// Images.
    pub images: u64,
    /// Share of right predictions; none of no images.
    pub accuracy: Option<f64>,
    /// Mean confidence; none of no images.
    pub confidence: Option<f64>,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// Its number.
    pub class: u16,
    /// Its name.
    pub name: String,
    /// Images that have it as their label.
    pub images: u64,
    /// Images for which it is predicted.
    pub predicted: u64,
    /// Both.
    pub correct: u64,
    /// `correct / images`: the accuracy on the images of the class; none of no images.
    pub recall: Option<f64>,
    /// `correct / predicted`; none where it is never predicted.
    pub precision: Option<f64>,
    /// The harmonic mean of both: `2 · correct / (images + predicted)`; none where both are zero.
    pub f1: Option<f64>,
}

/// A cell of the confusion matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The images' class.
    pub label: u16,
    /// The predicted class.
    pub predicted: u16,
    /// How many.
    pub images: u64,
}

/// What the tally makes of one prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    /// The place of the label among the classes, most probable first, ties by number; 1 where the prediction is right.
    pub(super) rank: u32,
    /// The label's probability.
    pub(super) p: f32,
}

/// Gathers predictions.
#[derive(Debug, Default)]
pub(super) struct Tally {
    images: u64,
    top5: u64,
    nll: f64,
    clipped: u64,
    confidence: f64,
    /// Images, right ones, sum of confidences.
    bins: [(u64, u64, f64); BINS],
    cells: HashMap<(u16, u16), u64>,
    rejected: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a prediction for an image of class `label`.
    pub(super) fn push(&mut self, label: u16, prediction: &SoftLabel) -> Judged {
        let probabilities = &prediction.probabilities;
        let p = probabilities[usize::from(label)];
        let better = probabilities
            .iter()
            .enumerate()
            .filter(|(class, other)| match other.total_cmp(&p) {
                Ordering::Greater => true,
                Ordering::Equal => *class < usize::from(label),
                Ordering::Less => false,
            })
            .count();
        let judged = Judged {
            rank: better as u32 + 1,
            p,
        };
        let confidence = f64::from(prediction.scalars.confidence);
        self.images += 1;
        self.top5 += u64::from(better < TOP);
        self.nll -= f64::from(p.max(LEAST)).ln();
        self.clipped += u64::from(p < LEAST);
        self.confidence += confidence;
        let bin = &mut self.bins[bin(confidence)];
        bin.0 += 1;
        bin.1 += u64::from(better == 0);
        bin.2 += confidence;
        let cell = (label, prediction.scalars.class);
        *self.cells.entry(cell).or_insert(0) += 1;
        judged
    }

    /// Counts an image without a prediction.
    pub(super) fn reject(&mut self, reject: &Reject) {
        let reason = format!("{}: {}", reject.stage, reject.reason);
        *self.rejected.entry(reason).or_insert(0) += 1;
    }

    /// Images with a prediction so far.
    pub(super) fn images(&self) -> u64 {
        self.images
    }

    /// Images without one, by reason.
    pub(super) fn rejected(&self) -> &BTreeMap<String, u64> {
        &self.rejected
    }

    /// The figures; there is at least one prediction.
    pub(super) fn finish(self, names: &[String]) -> Figures {
        let n = self.images as f64;
        let mut cells: Vec<Cell> = self
            .cells
            .into_iter()
            .map(|((label, predicted), images)| Cell {
                label,
                predicted,
                images,
            })
            .collect();
        cells.sort_unstable_by_key(|c| (c.label, c.predicted));
        let classes = classes(&cells, names);
        let correct = classes.iter().map(|c| c.correct).sum();
        let recalls: Vec<f64> = classes.iter().filter_map(|c| c.recall).collect();
        let calibration: Vec<Bin> = self.bins.iter().enumerate().map(described).collect();
        let gaps = || {
            let gap = |b: &Bin| Some((b.images, (b.accuracy? - b.confidence?).abs()));
            calibration.iter().filter_map(gap)
        };
        Figures {
            images: self.images,
            rejected: self.rejected,
            top1: Share::new(correct, self.images),
            top5: (names.len() > TOP).then(|| Share::new(self.top5, self.images)),
            nll: self.nll / n,
            nll_clipped: self.clipped,
            confidence: self.confidence / n,
            ece: gaps().map(|(images, gap)| images as f64 / n * gap).sum(),
            mce: gaps().map(|(_, gap)| gap).fold(0.0, f64::max),
            calibration,
            balanced_accuracy: recalls.iter().sum::<f64>() / recalls.len() as f64,
            classes,
            confusion: cells,
        }
    }
}

/// The bin of a confidence: bin m of 0 … 14 has what is above m/15 and at most (m + 1)/15; 0 itself is in the first.
fn bin(confidence: f64) -> usize {
    let place = (confidence * BINS as f64).ceil() as usize;
    place.clamp(1, BINS) - 1
}

fn described((m, (images, correct, confidence)): (usize, &(u64, u64, f64))) -> Bin {
    let of_images = |sum: f64| (*images > 0).then(|| sum / *images as f64);
    Bin {
        from: m as f64 / BINS as f64,
        to: (m + 1) as f64 / BINS as f64,
        images: *images,
        accuracy: of_images(*correct as f64),
        confidence: of_images(*confidence),
    }
}

fn classes(cells: &[Cell], names: &[String]) -> Vec<ClassFigures> {
    let mut counts = vec![(0, 0, 0); names.len()];
    for cell in cells {
        counts[usize::from(cell.label)].0 += cell.images;
        counts[usize::from(cell.predicted)].1 += cell.images;
        if cell.label == cell.predicted {
            counts[usize::from(cell.label)].2 += cell.images;
        }
    }
    let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    let figures = |(class, (images, predicted, correct)): (usize, (u64, u64, u64))| ClassFigures {
        class: class as u16,
        name: names[class].clone(),
        images,
        predicted,
        correct,
        recall: share(correct, images),
        precision: share(correct, predicted),
        f1: share(2 * correct, images + predicted),
    };
    counts.into_iter().enumerate().map(figures).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::soft_label::scalars;

    fn label(probabilities: &[f32]) -> SoftLabel {
        SoftLabel {
            phash: None,
            width: 1,
            height: 1,
            probabilities: probabilities.to_vec(),
            scalars: scalars(probabilities).unwrap(),
        }
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("c{n}")).collect()
    }

    /// Four images of three classes, worked out by hand.
    fn by_hand() -> Figures {
        let mut tally = Tally::default();
        tally.push(0, &label(&[0.7, 0.2, 0.1]));
        tally.push(0, &label(&[0.3, 0.6, 0.1]));
        tally.push(1, &label(&[0.1, 0.9, 0.0]));
        tally.push(2, &label(&[0.5, 0.5, 0.0]));
        tally.reject(&Reject {
            stage: "decode",
            reason: "corrupt".into(),
            detail: String::new(),
        });
        tally.finish(&names(3))
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn accuracy_and_the_confusion_matrix_are_as_by_hand() {
        let figures = by_hand();
        assert_eq!((figures.top1.count, figures.images), (2, 4));
        assert_eq!(figures.top5, None);
        assert_eq!(figures.rejected["decode: corrupt"], 1);
        let cells: Vec<(u16, u16, u64)> = figures
            .confusion
            .iter()
            .map(|c| (c.label, c.predicted, c.images))
            .collect();
        // Of two equal probabilities the lower class is predicted.
        assert_eq!(cells, [(0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 0, 1)]);
        let of = |c: &ClassFigures| (c.recall, c.precision, c.f1);
        let classes: Vec<_> = figures.classes.iter().map(of).collect();
        assert_eq!(classes[0], (Some(0.5), Some(0.5), Some(0.5)));
        assert_eq!(classes[1], (Some(1.0), Some(0.5), Some(2.0 / 3.0)));
        assert_eq!(classes[2], (Some(0.0), None, Some(0.0)));
        close(figures.balanced_accuracy, 0.5);
    }

    #[test]
    fn calibration_and_likelihood_are_as_by_hand() {
        let figures = by_hand();
        // Bins: 0.7 in (10/15, 11/15], 0.6 and 0.9 at the upper ends of their bins up to single precision, 0.5 in (7/15, 8/15].
        // Gaps: |1 − 0.7|, |0 − 0.6|, |1 − 0.9|, |0 − 0.5|, a quarter of the images each.
        close(figures.ece, (0.3 + 0.6 + 0.1 + 0.5) / 4.0);
        close(figures.mce, 0.6);
        close(figures.confidence, 2.7 / 4.0);
        let logs = -(0.7_f64.ln() + 0.3_f64.ln() + 0.9_f64.ln());
        close(figures.nll, (logs - f64::from(LEAST).ln()) / 4.0);
        assert_eq!(figures.nll_clipped, 1);
        assert_eq!(figures.calibration.iter().map(|b| b.images).sum::<u64>(), 4);
    }

    #[test]
    fn a_confidence_at_a_bins_upper_end_belongs_to_it() {
        assert_eq!(bin(0.0), 0);
        assert_eq!(bin(1.0 / 15.0), 0);
        assert_eq!(bin(1.0 / 15.0 + 1e-9), 1);
        assert_eq!(bin(1.0), 14);
        assert_eq!(bin(14.0 / 15.0 + 1e-9), 14);
    }

    #[test]
    fn the_label_may_be_any_of_the_five_most_probable_classes() {
        let mut tally = Tally::default();
        let p = label(&[0.3, 0.2, 0.15, 0.12, 0.1, 0.1, 0.03]);
        assert_eq!(tally.push(0, &p).rank, 1);
        assert_eq!(tally.push(4, &p).rank, 5);
        // Of equal ones the lower number comes first.
        assert_eq!(tally.push(5, &p).rank, 6);
        assert_eq!(tally.push(6, &p).rank, 7);
        let figures = tally.finish(&names(7));
        assert_eq!(figures.top5.unwrap().count, 2);
        assert_eq!(figures.top1.count, 1);
    }

    #[test]
    fn a_calibrated_model_has_no_calibration_error() {
        let mut tally = Tally::default();
        for n in 0..10 {
            // 0.8 sure, and right 8 times of 10.
            tally.push(u16::from(n >= 8), &label(&[0.8, 0.2]));
        }
        close(tally.finish(&names(2)).ece, 0.0);
    }
}
