//! Dropout (Srivastava et al., 2014) as a mask that is an input of the graph.

use crate::random::Draws;

/// One row of a dropout mask [N, F]: each feature is 0 with probability `rate`, else 1 / (1 − `rate`), so that its mean stays.
///
/// `rate` is 0 or more and below 1; at 0 the mask is ones.
pub fn mask(rate: f64, draws: Draws, row: &mut [f32]) {
    let draws = draws.branch("dropout", 0);
    let kept = (1.0 / (1.0 - rate)) as f32;
    for (feature, value) in row.iter_mut().enumerate() {
        *value = if draws.unit(feature as u64) < rate {
            0.0
        } else {
            kept
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_drops_at_its_rate_and_keeps_the_mean() {
        let mut row = vec![0.0; 1280];
        let (mut dropped, mut sum) = (0, 0.0);
        for image in 0..100 {
            mask(0.3, Draws::of_row(5, 1, image), &mut row);
            dropped += row.iter().filter(|v| **v == 0.0).count();
            sum += row.iter().map(|v| f64::from(*v)).sum::<f64>();
        }
        // Of 128,000; standard deviations are 0.0013 and 0.0018.
        assert!(
            (dropped as f64 / 128_000.0 - 0.3).abs() < 0.006,
            "{dropped}"
        );
        assert!((sum / 128_000.0 - 1.0).abs() < 0.008, "{sum}");
    }

    #[test]
    fn a_mask_is_the_same_again_and_another_for_every_row_and_step() {
        let drawn = |step, row| {
            let mut mask = vec![0.0; 64];
            super::mask(0.5, Draws::of_row(0, step, row), &mut mask);
            mask
        };
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert_ne!(drawn(1, 2), drawn(1, 3));
        assert_ne!(drawn(1, 2), drawn(2, 2));
    }

    #[test]
    fn without_a_rate_the_mask_is_ones() {
        let mut row = vec![0.0; 9];
        mask(0.0, Draws::of_row(0, 0, 0), &mut row);
        assert!(row.iter().all(|v| (v - 1.0).abs() < f32::EPSILON));
    }
}
