//! Stochastic depth (Huang et al., 2016) with the linear rule, as a mask that is an input of the graph.

use crate::random::Draws;

/// The probability that a block is not passed over which lies at `place`, from 0 for the first of all blocks to 1 for the last: 1 − `place` · `rate`.
///
/// The paper has 0.8 for the last layer (A.2), a rate of 0.2.
pub fn survival(rate: f64, place: f64) -> f64 {
    1.0 - rate * place
}

/// One row of a depth mask [N, columns]: a block is 0, passed over, or 1 / survival, so that its mean stays. `places` says where each column's block lies
/// ([`crate::student::graph::Graph::depth`]).
///
/// `rate` is 0 or more and below 1; at 0 the mask is ones.
pub fn mask(rate: f64, places: &[f32], draws: Draws, row: &mut [f32]) {
    let draws = draws.branch("depth", 0);
    for (column, (value, place)) in row.iter_mut().zip(places).enumerate() {
        let survival = survival(rate, f64::from(*place));
        *value = if draws.unit(column as u64) < survival {
            (1.0 / survival) as f32
        } else {
            0.0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [f32; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];

    #[test]
    fn survival_falls_in_a_line_from_1_before_the_first_block_to_the_papers_0_8_at_the_last() {
        for (place, expected) in [(0.0, 1.0), (0.25, 0.95), (0.5, 0.9), (1.0, 0.8)] {
            assert!((survival(0.2, place) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_mask_passes_each_block_over_as_often_as_the_rule_says() {
        let mut row = [0.0; 5];
        let mut kept = [0_u32; 5];
        for image in 0..10_000 {
            mask(0.5, &PLACES, Draws::of_row(2, 7, image), &mut row);
            for ((kept, value), place) in kept.iter_mut().zip(row).zip(PLACES) {
                let expected = 1.0 / survival(0.5, f64::from(place)) as f32;
                assert!(value == 0.0 || (value - expected).abs() < 1e-6);
                *kept += u32::from(value > 0.0);
            }
        }
        for (kept, place) in kept.iter().zip(PLACES) {
            let rate = f64::from(*kept) / 10_000.0;
            // A standard deviation is at most 0.005.
            assert!(
                (rate - survival(0.5, f64::from(place))).abs() < 0.02,
                "{place}: {rate}"
            );
        }
    }

    #[test]
    fn without_a_rate_every_block_is_kept() {
        let mut row = [0.0; 5];
        mask(0.0, &PLACES, Draws::of_row(0, 0, 0), &mut row);
        assert!(row.iter().all(|v| (v - 1.0).abs() < f32::EPSILON));
    }
}
