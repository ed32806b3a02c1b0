//! The moving average of the weights, which is what becomes the teacher.

/// An exponential moving average over all parameters, running statistics among them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ema {
    decay: f32,
    values: Vec<f32>,
}

impl Ema {
    /// Begins with these values, before the first step.
    pub(super) fn new(decay: f32, values: Vec<f32>) -> Self {
        Self { decay, values }
    }

    /// Follows the weights after step `step`, counted from 0: the early ones, which are far off, are forgotten faster, with
    /// `min(decay, (1 + step) / (10 + step))`, as the published code's averages do.
    pub(super) fn follow(&mut self, step: u64, values: &[f32]) {
        let early = (1.0 + step as f64) / (10.0 + step as f64);
        let decay = self.decay.min(early as f32);
        for (mean, value) in self.values.iter_mut().zip(values) {
            *mean += (1.0 - decay) * (value - *mean);
        }
    }

    /// The average.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_follows_fast_at_first_and_slowly_later() {
        let mut ema = Ema::new(0.99, vec![0.0, 1.0]);
        ema.follow(0, &[1.0, 1.0]);
        assert!((ema.values()[0] - 0.9).abs() < 1e-6);
        assert!((ema.values()[1] - 1.0).abs() < f32::EPSILON);
        let mut late = Ema::new(0.99, vec![0.0]);
        late.follow(1_000_000, &[1.0]);
        assert!((late.values()[0] - 0.01).abs() < 1e-6);
    }

    #[test]
    fn a_constant_is_its_own_average() {
        let mut ema = Ema::new(0.9, vec![3.0]);
        for step in 0..100 {
            ema.follow(step, &[3.0]);
        }
        assert!((ema.values()[0] - 3.0).abs() < f32::EPSILON);
    }
}
