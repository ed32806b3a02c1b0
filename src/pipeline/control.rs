//! The supervised control of a round.

use crate::train::{Decay, Loss, TrainConfig};

/// How a student is trained without pseudo-labels, so that these are the only difference: as many steps of as many images in all, and at each step the learning rate that the student
/// had. Epochs are those of labelled images, which come round faster where all images of a step are labelled: what is given in epochs is stretched.
pub fn control(train: &TrainConfig, steps: u64) -> TrainConfig {
    let [labelled, pseudo] = train.rows(true, true);
    let stretch = (labelled + pseudo) as f64 / labelled as f64;
    let mut rate = train.learning_rate;
    if rate.per_batch > 0 {
        rate.peak *= labelled as f64 / rate.per_batch as f64;
        rate.per_batch = 0;
    }
    rate.warmup_epochs *= stretch;
    if let Decay::Exponential { epochs, .. } = &mut rate.decay {
        *epochs *= stretch;
    }
    TrainConfig {
        selection: None,
        batch: labelled + pseudo,
        ratio: 1.0,
        steps: Some(steps),
        epochs: None,
        loss: Loss::Average,
        learning_rate: rate,
        ..train.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Length, Schedule};

    #[test]
    fn the_control_learns_as_fast_at_each_step() {
        for decay in [
            Decay::Cosine { floor: 0.1 },
            Decay::Exponential {
                factor: 0.97,
                epochs: 2.4,
            },
        ] {
            let train = TrainConfig {
                batch: 128,
                ratio: 7.0,
                epochs: Some(40.0),
                learning_rate: Schedule {
                    peak: 0.016,
                    per_batch: 256,
                    warmup_epochs: 5.0,
                    decay,
                },
                ..TrainConfig::default()
            };
            let (images, steps) = (1000.0, 313);
            let control = control(&train, steps);
            assert_eq!((control.batch, control.steps), (1024, Some(steps)));
            let length = |batch: usize| Length {
                steps,
                steps_per_epoch: images / batch as f64,
                batch: batch as u64,
            };
            for step in 0..steps {
                let a = train.learning_rate.at(step, &length(train.batch));
                let b = control.learning_rate.at(step, &length(control.batch));
                assert!((a - b).abs() < 1e-7, "step {step}: {a} {b}");
            }
        }
    }
}
