//! Stochastic depth (Huang et al., 2016) with the linear rule, as a mask that is an input of the graph.

use crate::random::Draws;

/// The probability that block `block` of `blocks`, counted from 0, is not passed over: 1 for the first, 1 − `rate` for the last, linear between.
///
/// The paper has 0.8 for the last layer (A.2), a rate of 0.2. Its published code divides by the number of blocks, with which the last one's is a
/// little higher than what the paper says. Where there is one block, it is the last.
pub fn survival(rate: f64, block: usize, blocks: usize) -> f64 {
    if blocks <= 1 {
        return 1.0 - rate;
    }
    1.0 - rate * block as f64 / (blocks - 1) as f64
}

/// One row of a depth mask [N, blocks]: a block is 0, passed over, or 1 / survival, so that its mean stays.
///
/// `rate` is 0 or more and below 1; at 0 the mask is ones.
pub fn mask(rate: f64, draws: Draws, row: &mut [f32]) {
    let draws = draws.branch("depth", 0);
    let blocks = row.len();
    for (block, value) in row.iter_mut().enumerate() {
        let survival = survival(rate, block, blocks);
        *value = if draws.unit(block as u64) < survival {
            (1.0 / survival) as f32
        } else {
            0.0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survival_falls_in_a_line_from_1_at_the_first_block_to_the_papers_0_8_at_the_last() {
        let all: Vec<f64> = (0..5).map(|block| survival(0.2, block, 5)).collect();
        for (found, expected) in all.iter().zip([1.0, 0.95, 0.9, 0.85, 0.8]) {
            assert!((found - expected).abs() < 1e-12, "{all:?}");
        }
        assert!((survival(0.2, 0, 1) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn a_mask_passes_each_block_over_as_often_as_the_rule_says() {
        let mut row = [0.0; 16];
        let mut kept = [0_u32; 16];
        for image in 0..10_000 {
            mask(0.5, Draws::of_row(2, 7, image), &mut row);
            for (block, value) in row.iter().enumerate() {
                let expected = 1.0 / survival(0.5, block, 16) as f32;
                assert!(*value == 0.0 || (*value - expected).abs() < 1e-6);
                kept[block] += u32::from(*value > 0.0);
            }
        }
        for (block, kept) in kept.iter().enumerate() {
            let rate = f64::from(*kept) / 10_000.0;
            // A standard deviation is at most 0.005.
            assert!(
                (rate - survival(0.5, block, 16)).abs() < 0.02,
                "{block}: {rate}"
            );
        }
    }

    #[test]
    fn without_a_rate_every_block_is_kept() {
        let mut row = [0.0; 7];
        mask(0.0, Draws::of_row(0, 0, 0), &mut row);
        assert!(row.iter().all(|v| (v - 1.0).abs() < f32::EPSILON));
    }
}
