//! McNemar's exact test: whether two classifiers of the same samples differ by more than chance.

use serde::{Deserialize, Serialize};

use systoliq_run::comparison::Predictions;

/// Two classifiers on the same samples: only those count on which one alone is right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McNemar {
    /// Samples that the golden model alone takes for their class.
    pub only_golden_right: u64,
    /// Samples that the fixed-point network alone takes for their class.
    pub only_fixed_right: u64,
    /// The chance of a split at least as uneven were both equally good.
    pub p_value: f64,
}

impl McNemar {
    /// Whether the networks of a run differ by more than chance.
    pub fn of(Predictions { labels, golden, fixed }: &Predictions) -> Self {
        Self::new(labels, golden, fixed)
    }

    /// The test on samples of classes `labels` that the networks take for classes `golden` and
    /// `fixed`; `None` stands for no class.
    pub fn new(labels: &[u32], golden: &[Option<u32>], fixed: &[Option<u32>]) -> Self {
        let [only_golden_right, only_fixed_right] = discordant(labels, golden, fixed);
        let p_value = exact_p(only_golden_right, only_fixed_right);
        Self { only_golden_right, only_fixed_right, p_value }
    }
}

/// Samples that `first` alone gets right, and those that `second` alone does.
///
/// # Panics
///
/// If there are not as many predictions as labels.
pub fn discordant(labels: &[u32], first: &[Option<u32>], second: &[Option<u32>]) -> [u64; 2] {
    assert!(first.len() == labels.len() && second.len() == labels.len(), "unpaired predictions");
    let mut counts = [0; 2];
    for ((&label, &first), &second) in labels.iter().zip(first).zip(second) {
        let (first, second) = (first == Some(label), second == Some(label));
        counts[0] += u64::from(first && !second);
        counts[1] += u64::from(second && !first);
    }
    counts
}

/// The two-sided p-value of a split into `a` and `b` where each of the `n = a + b` samples falls on
/// either side with equal chance: `min(1, 2·Σ_{i ≤ min(a, b)} C(n, i) / 2ⁿ)`; 1 without samples.
///
/// All terms are positive, and each follows from the one before by a ratio of integers: the result
/// is exact while numerators stay below 2⁵³; beyond, its relative error is below `2·min(a, b)` units
/// in the last place.
///
/// ```
/// use systoliq_study::mcnemar::exact_p;
/// assert_eq!(exact_p(8, 2), 2.0 * (1.0 + 10.0 + 45.0) / 1024.0);
/// assert_eq!(exact_p(3, 3), 1.0);
/// ```
pub fn exact_p(a: u64, b: u64) -> f64 {
    let (n, k) = (a + b, a.min(b));
    if a == b {
        return 1.0;
    }
    // C(n, i) and the sum of these so far, both in units of 2^exponent.
    let (mut term, mut sum, mut exponent) = (1.0f64, 1.0f64, 0i64);
    for i in 1..=k {
        term = term * (n - i + 1) as f64 / i as f64;
        sum += term;
        if term > 2f64.powi(500) {
            term *= 2f64.powi(-500);
            sum *= 2f64.powi(-500);
            exponent += 500;
        }
    }
    // Below 2⁻¹⁰⁷⁴ any exponent gives 0.
    let shift = (exponent + 1 - n as i64).clamp(-4000, 4000) as i32;
    libm::ldexp(sum, shift).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_splits_have_the_p_values_worked_out_by_hand() {
        for (a, b, expected) in [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (0, 5, 2.0 / 32.0),
            (6, 1, 2.0 * 8.0 / 128.0),
            (4, 3, 1.0),
            (2, 8, 112.0 / 1024.0),
            (12, 3, 2.0 * (1.0 + 15.0 + 105.0 + 455.0) / 32768.0),
        ] {
            assert_eq!(exact_p(a, b), expected, "{a}, {b}");
            assert_eq!(exact_p(b, a), expected, "{b}, {a}");
        }
    }

    #[test]
    fn large_splits_have_the_p_values_of_exact_rational_arithmetic() {
        // 2·ΣC(n, i) / 2ⁿ in Python's integers and fractions, to 15 digits.
        for (a, b, expected) in [
            (40, 60, 5.688793364098079e-2),
            (450, 550, 1.730536084976318e-3),
            (4900, 5100, 4.658552770494739e-2),
            (0, 60, 1.734723475976807e-18),
            (500, 300, 1.526315558153978e-12),
            (29700, 30300, 1.446818681386394e-2),
            (900, 100, 1.340343558001259e-161),
            (30, 1000, 1.070531856177509e-252),
        ] {
            let found = exact_p(a, b);
            assert!((found / expected - 1.0).abs() < 1e-11, "{a}, {b}: {found:e}, {expected:e}");
        }
        assert_eq!(exact_p(0, 5000), 0.0);
    }

    #[test]
    fn p_values_fall_as_the_split_becomes_uneven() {
        for n in [9, 64, 1001] {
            let p: Vec<f64> = (0..=n / 2).map(|k| exact_p(k, n - k)).collect();
            assert!(p.windows(2).all(|pair| pair[0] <= pair[1]), "{n}");
        }
    }

    #[test]
    fn only_samples_that_one_alone_gets_right_count() {
        let right = |class| Some(class);
        let golden = [right(0), right(1), None, right(3), right(0)];
        let fixed = [right(0), right(2), right(2), right(0), None];
        let found = McNemar::new(&[0, 1, 2, 3, 4], &golden, &fixed);
        assert_eq!((found.only_golden_right, found.only_fixed_right), (2, 1));
        assert_eq!(found.p_value, 1.0);
    }
}
