//! A model's output for one image → probabilities and the scalars that SQL filters by.

use crate::teacher::config::OutputKind;

/// The scalars of a soft label, computed in single precision before any rounding for storage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalars {
    /// The most probable class; the lowest number where several are equal.
    pub class: u16,
    /// Its probability.
    pub confidence: f32,
    /// The second most probable class; none where a model has one class.
    pub second_class: Option<u16>,
    /// `confidence` less the second's probability.
    pub margin: f32,
    /// −Σ p ln p, in nats: 0 for a certain label, ln C for an even one.
    pub entropy: f32,
}

/// One image's output `[C]` → its probabilities `[C]`: a softmax of logits, probabilities as they are.
pub fn probabilities(output: &[f32], kind: OutputKind) -> Vec<f32> {
    match kind {
        OutputKind::Probabilities => output.to_vec(),
        OutputKind::Logits => {
            let highest = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut exps: Vec<f32> = output.iter().map(|v| (v - highest).exp()).collect();
            let sum: f64 = exps.iter().map(|e| f64::from(*e)).sum();
            let scale = (1.0 / sum) as f32;
            exps.iter_mut().for_each(|e| *e *= scale);
            exps
        }
    }
}

/// The scalars of probabilities `[C]`; `None` where a number is not finite or there is none.
pub fn scalars(probabilities: &[f32]) -> Option<Scalars> {
    if probabilities.is_empty() || !probabilities.iter().all(|p| p.is_finite()) {
        return None;
    }
    let mut best = 0;
    let mut second: Option<usize> = None;
    for (class, &p) in probabilities.iter().enumerate().skip(1) {
        if p > probabilities[best] {
            second = Some(best);
            best = class;
        } else if second.is_none_or(|s| p > probabilities[s]) {
            second = Some(class);
        }
    }
    let confidence = probabilities[best];
    let entropy: f64 = probabilities
        .iter()
        .filter(|p| **p > 0.0)
        .map(|p| -f64::from(*p) * f64::from(*p).ln())
        .sum();
    Some(Scalars {
        class: best as u16,
        confidence,
        second_class: second.map(|s| s as u16),
        margin: confidence - second.map_or(0.0, |s| probabilities[s]),
        // A certain label's sum is −0.
        entropy: (entropy + 0.0) as f32,
    })
}

/// The `k` most probable classes, most probable first, ties by class number, and the sum of all others.
pub fn top_k(probabilities: &[f32], k: usize) -> (Vec<(u16, f32)>, f32) {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| {
        probabilities[*b]
            .total_cmp(&probabilities[*a])
            .then(a.cmp(b))
    });
    let k = k.min(order.len());
    let rest: f64 = order[k..]
        .iter()
        .map(|c| f64::from(probabilities[*c]))
        .sum();
    let top = order[..k]
        .iter()
        .map(|c| (*c as u16, probabilities[*c]))
        .collect();
    (top, rest as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_lowest_class() {
        let s = scalars(&[0.1, 0.4, 0.4, 0.1]).unwrap();
        assert_eq!((s.class, s.second_class), (1, Some(2)));
        assert!(s.margin.abs() < 1e-9);
    }

    #[test]
    fn a_label_that_is_not_finite_has_no_scalars() {
        assert_eq!(scalars(&[0.5, f32::NAN]), None);
        assert_eq!(
            scalars(&probabilities(&[f32::INFINITY, 0.0], OutputKind::Logits)),
            None
        );
        assert_eq!(scalars(&[]), None);
    }

    #[test]
    fn entropy_is_zero_for_a_certain_and_ln_c_for_an_even_label() {
        assert!(scalars(&[1.0, 0.0, 0.0]).unwrap().entropy.abs() < 1e-7);
        let even = scalars(&[0.25; 4]).unwrap().entropy;
        assert!((even - 4.0_f32.ln()).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn a_softmax_sums_to_one_and_its_scalars_agree_with_a_sort(
            logits in prop::collection::vec(-30.0_f32..30.0, 2..200)
        ) {
            let p = probabilities(&logits, OutputKind::Logits);
            prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            let s = scalars(&p).unwrap();
            let (top, rest) = top_k(&p, 2);
            prop_assert_eq!((s.class, s.confidence), top[0]);
            prop_assert_eq!(s.second_class, Some(top[1].0));
            prop_assert!((top[0].1 + top[1].1 + rest - 1.0).abs() < 1e-4);
        }
    }
}
