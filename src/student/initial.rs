//! Where a network begins: every number is a hash of (seed, name of the parameter, its place), so the same seed gives the same network anywhere.

use std::f64::consts::TAU;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::graph::{Initial, Parameter};

/// The first values of a parameter, in the order of its elements.
pub fn values(parameter: &Parameter, seed: u64) -> Vec<f32> {
    let stream = xxh3_64_with_seed(parameter.name.as_bytes(), seed);
    let uniform = |place: usize| unit(xxh3_64_with_seed(&(place as u64).to_le_bytes(), stream));
    let count = parameter.count();
    match parameter.initial {
        Initial::Constant(value) => vec![value; count],
        Initial::Uniform { bound } => (0..count)
            .map(|place| ((2.0 * uniform(place) - 1.0) * f64::from(bound)) as f32)
            .collect(),
        Initial::Normal { deviation } => (0..count)
            .map(|place| {
                // Box and Muller: two uniform numbers make two normal ones. `libm` gives the same digits on every machine.
                let pair = place & !1;
                let radius = libm::sqrt(-2.0 * libm::log(uniform(pair)));
                let angle = TAU * uniform(pair + 1);
                let normal = if place == pair {
                    radius * libm::cos(angle)
                } else {
                    radius * libm::sin(angle)
                };
                (normal * f64::from(deviation)) as f32
            })
            .collect(),
    }
}

/// A hash as a number above 0 and below 1, with 53 bits.
fn unit(hash: u64) -> f64 {
    ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::student::graph::Role;

    fn parameter(name: &str, initial: Initial) -> Parameter {
        Parameter {
            name: name.into(),
            dims: vec![100, 201],
            role: Role::Trainable,
            initial,
            stage: 0,
        }
    }

    /// Mean, standard deviation, least and greatest.
    fn moments(values: &[f32]) -> [f32; 4] {
        let n = values.len() as f32;
        let mean = values.iter().sum::<f32>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        [mean, variance.sqrt(), least, greatest]
    }

    #[test]
    fn the_values_have_the_distribution_that_was_asked_for() {
        let normal = parameter("w", Initial::Normal { deviation: 0.5 });
        let [mean, deviation, least, greatest] = moments(&values(&normal, 1));
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((deviation - 0.5).abs() < 0.01, "{deviation}");
        assert!(least < -1.5 && greatest > 1.5, "{least} {greatest}");
        let uniform = parameter("w", Initial::Uniform { bound: 0.3 });
        let [mean, deviation, least, greatest] = moments(&values(&uniform, 1));
        assert!(mean.abs() < 0.01, "{mean}");
        assert!(
            (deviation - 0.3 / 3.0_f32.sqrt()).abs() < 0.005,
            "{deviation}"
        );
        assert!(least > -0.3 && greatest < 0.3, "{least} {greatest}");
    }

    #[test]
    fn a_seed_and_a_name_decide_the_values() {
        let w = parameter("w", Initial::Normal { deviation: 1.0 });
        let v = parameter("v", Initial::Normal { deviation: 1.0 });
        assert_eq!(values(&w, 7), values(&w, 7));
        assert_ne!(values(&w, 7), values(&w, 8));
        assert_ne!(values(&w, 7), values(&v, 7));
        // A change here makes other networks of the same seeds.
        assert_eq!(
            values(&w, 7)[..3],
            [0.708_655_6, -0.025_543_457, -1.390_189_6]
        );
    }
}
