//! Entropy, cross-entropy and Kullback–Leibler divergence, in bits, and the argmax.
//!
//! A distribution is a slice of probabilities; `0·log 0 = 0`, as the limit has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extended::{self, ExtendedShape};

/// What predictions say about labels, in bits: means over the samples.
///
/// Where a predicted probability of a true class is zero, cross-entropy and divergence are
/// infinite; JSON then says `"inf"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Information {
    /// `H(P)` of the labels' distributions; 0 where they are one-hot.
    pub label_entropy_bits: f64,
    /// `H(P, P̃)` of labels and predictions.
    #[serde(with = "extended")]
    #[schemars(with = "ExtendedShape")]
    pub cross_entropy_bits: f64,
    /// `D_KL(P‖P̃) = H(P, P̃) − H(P)`.
    #[serde(with = "extended")]
    #[schemars(with = "ExtendedShape")]
    pub kl_divergence_bits: f64,
    /// `H(P̃)` of the predictions: how unsure the network is.
    #[serde(with = "extended")]
    #[schemars(with = "ExtendedShape")]
    pub prediction_entropy_bits: f64,
}

/// Sums [`Information`] over samples.
#[derive(Clone, Debug, Default)]
pub struct InformationSum {
    samples: u64,
    label_entropy_bits: f64,
    cross_entropy_bits: f64,
    kl_divergence_bits: f64,
    prediction_entropy_bits: f64,
}

impl InformationSum {
    /// Adds a sample of true class `class`, whose classes were predicted with `probabilities`.
    ///
    /// # Panics
    ///
    /// If `class` is not below the number of probabilities.
    pub fn add(&mut self, class: usize, probabilities: &[f64]) {
        let mut label = vec![0.0; probabilities.len()];
        label[class] = 1.0;
        self.samples += 1;
        self.label_entropy_bits += entropy_bits(&label);
        self.cross_entropy_bits += cross_entropy_bits(&label, probabilities);
        self.kl_divergence_bits += kl_divergence_bits(&label, probabilities);
        self.prediction_entropy_bits += entropy_bits(probabilities);
    }

    /// The means, or `None` without samples.
    pub fn mean(&self) -> Option<Information> {
        let samples = self.samples as f64;
        (self.samples > 0).then(|| Information {
            label_entropy_bits: self.label_entropy_bits / samples,
            cross_entropy_bits: self.cross_entropy_bits / samples,
            kl_divergence_bits: self.kl_divergence_bits / samples,
            prediction_entropy_bits: self.prediction_entropy_bits / samples,
        })
    }
}

/// `H(P) = Σ P log₂(1/P)`: the least mean number of bits that tell which symbol of `P` came.
///
/// ```
/// assert_eq!(systoliq_nn::metrics::entropy_bits(&[0.5, 0.5]), 1.0);
/// assert_eq!(systoliq_nn::metrics::entropy_bits(&[1.0, 0.0]), 0.0);
/// ```
pub fn entropy_bits(p: &[f64]) -> f64 {
    cross_entropy_bits(p, p)
}

/// `H(P, Q) = Σ P log₂(1/Q)`: the mean number of bits of a code made for `Q` where `P` holds.
///
/// ```
/// assert_eq!(systoliq_nn::metrics::cross_entropy_bits(&[0.5, 0.5], &[1.0, 0.0]), f64::INFINITY);
/// assert_eq!(systoliq_nn::metrics::cross_entropy_bits(&[1.0, 0.0], &[0.25, 0.75]), 2.0);
/// ```
///
/// # Panics
///
/// If the lengths differ.
pub fn cross_entropy_bits(p: &[f64], q: &[f64]) -> f64 {
    expectation(p, q, |_, q| -libm::log2(q))
}

/// `D_KL(P‖Q) = Σ P log₂(P/Q)`: what it costs in bits to take `Q` for `P`.
///
/// ```
/// assert_eq!(systoliq_nn::metrics::kl_divergence_bits(&[0.5, 0.5], &[1.0, 0.0]), f64::INFINITY);
/// assert_eq!(systoliq_nn::metrics::kl_divergence_bits(&[1.0, 0.0], &[0.5, 0.5]), 1.0);
/// ```
///
/// # Panics
///
/// If the lengths differ.
pub fn kl_divergence_bits(p: &[f64], q: &[f64]) -> f64 {
    expectation(p, q, |p, q| libm::log2(p / q))
}

/// `Σ P·f(P, Q)` over the symbols that `P` does not rule out. Adding to 0.0 keeps −0.0 away.
fn expectation(p: &[f64], q: &[f64], f: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!(p.len(), q.len(), "distributions over different numbers of symbols");
    let possible = p.iter().zip(q).filter(|(p, _)| **p != 0.0);
    possible.fold(0.0, |sum, (&p, &q)| sum + p * f(p, q))
}

/// The index of the largest value; of equal ones the lowest.
///
/// Values that compare with none (NaN) never win over one before them.
///
/// ```
/// assert_eq!(systoliq_nn::metrics::argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
/// ```
///
/// # Panics
///
/// If there are no values.
pub fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    assert!(!values.is_empty(), "the argmax of no values");
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_keyed_random::Key;

    #[test]
    fn two_equally_likely_symbols_carry_one_bit_and_a_q_that_rules_one_out_costs_infinitely() {
        let (p, q) = ([0.5, 0.5], [1.0, 0.0]);
        assert_eq!(entropy_bits(&p), 1.0);
        assert_eq!(cross_entropy_bits(&p, &q), f64::INFINITY);
        assert_eq!(kl_divergence_bits(&p, &q), f64::INFINITY);
        // The other way round nothing is ruled out: H(Q, P) = 1, D(Q‖P) = 1 − H(Q) = 1.
        assert_eq!(cross_entropy_bits(&q, &p), 1.0);
        assert_eq!(kl_divergence_bits(&q, &p), 1.0);
        assert_eq!(entropy_bits(&q).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn divergence_is_cross_entropy_less_entropy_and_never_negative() {
        let seed = 5;
        let draw = |stream: u64, count: u64| {
            let key = Key::new(seed).with(stream);
            let raw: Vec<f64> = (0..count).map(|i| f64::from(key.word(i)) + 1.0).collect();
            let sum: f64 = raw.iter().sum();
            raw.into_iter().map(|value| value / sum).collect::<Vec<_>>()
        };
        for case in 0..200 {
            let count = 2 + case % 9;
            let (p, q) = (draw(2 * case, count), draw(2 * case + 1, count));
            let (h, cross, kl) =
                (entropy_bits(&p), cross_entropy_bits(&p, &q), kl_divergence_bits(&p, &q));
            assert!((cross - h - kl).abs() < 1e-12, "case {case}: {cross} − {h} ≠ {kl}");
            assert!(kl >= 0.0 && h <= (count as f64).log2() + 1e-12, "case {case}: {kl}, {h}");
        }
    }

    #[test]
    fn means_over_samples_are_infinite_once_a_true_class_is_ruled_out() {
        let mut sum = InformationSum::default();
        assert_eq!(sum.mean(), None);
        sum.add(0, &[0.25, 0.75]);
        sum.add(1, &[0.5, 0.5]);
        let mean = sum.mean().unwrap();
        assert_eq!((mean.label_entropy_bits, mean.cross_entropy_bits), (0.0, 1.5));
        sum.add(1, &[1.0, 0.0]);
        let mean = sum.mean().unwrap();
        assert_eq!(mean.cross_entropy_bits, f64::INFINITY);
        let json = serde_json::to_string(&mean).unwrap();
        assert!(json.contains(r#""kl_divergence_bits":"inf""#), "{json}");
        assert_eq!(serde_json::from_str::<Information>(&json).unwrap(), mean);
    }
}
