//! Quantiles, and how sure an interval is.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF as _, Normal, StudentsT};

/// How often an interval holds the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// 95 %, of one look.
    Once,
    /// 1 − 0.05/3 each, so that three looks together hold it with 95 %, by Bonferroni.
    ThreeLooks,
}

/// By custom, and not 1.959964: 393 samples, not 392, are needed for half a point.
const Z_ONCE: f64 = 1.96;

impl Level {
    /// The share of either side that is left out.
    fn tail(self) -> f64 {
        match self {
            Self::Once => 0.025,
            Self::ThreeLooks => 0.025 / 3.0,
        }
    }

    /// The quantile of Student's t for so many degrees of freedom, to six digits up to 100,000 of them.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn t(self, degrees: u64) -> f64 {
        let t = StudentsT::new(0.0, 1.0, degrees as f64).expect("degrees of freedom");
        t.inverse_cdf(1.0 - self.tail())
    }

    /// The quantile of the normal distribution.
    pub fn z(self) -> f64 {
        match self {
            Self::Once => Z_ONCE,
            Self::ThreeLooks => Normal::standard().inverse_cdf(1.0 - self.tail()),
        }
    }
}

/// The share of all seeds that may fail where `failing` of `seeds` do: the one-sided 95 % upper bound
/// of Clopper and Pearson, the 95 % quantile of Beta(k + 1, S − k).
///
/// ```
/// use systoliq_study::drop::failing_at_most;
/// // Of none that fails, 1 − 0.05^(1/S).
/// assert!((failing_at_most(0, 5) - 0.4507).abs() < 1e-4);
/// assert!((failing_at_most(0, 29) - 0.0981).abs() < 1e-4);
/// assert_eq!(failing_at_most(3, 3), 1.0);
/// ```
///
/// # Panics
///
/// If more fail than there are.
pub fn failing_at_most(failing: u64, seeds: u64) -> f64 {
    assert!(failing <= seeds, "{failing} of {seeds} seeds");
    if failing == seeds {
        return 1.0;
    }
    let bound = Beta::new(failing as f64 + 1.0, (seeds - failing) as f64);
    bound.expect("positive shapes").inverse_cdf(0.95)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
        for (degrees, expected) in
            [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (28, 2.048), (100, 1.984)]
        {
            let found = Level::Once.t(degrees);
            assert!((found - expected).abs() < 6e-4, "{degrees}: {found}");
        }
        // With one degree, t is tan(π·(p − 1/2)); with two, it is (2p − 1)·√(2 / (1 − (2p − 1)²)).
        let p = 1.0 - 0.025 / 3.0;
        let one = (std::f64::consts::PI * (p - 0.5)).tan();
        let two = (2.0 * p - 1.0) * (2.0 / (1.0 - (2.0 * p - 1.0_f64).powi(2))).sqrt();
        for (degrees, expected) in [(1, one), (2, two)] {
            assert!((Level::ThreeLooks.t(degrees) / expected - 1.0).abs() < 1e-9, "{degrees}");
        }
        assert!((Level::ThreeLooks.z() - 2.394).abs() < 5e-4);
        for level in [Level::Once, Level::ThreeLooks] {
            assert!((1..2000).all(|degrees| level.t(degrees) > level.t(degrees + 1)));
            assert!((level.t(10_000) - level.z()).abs() < 5e-4);
        }
    }

    /// At the bound p, so few failures have a chance of 5 %: Σ_{i ≤ k} C(S, i) pⁱ (1 − p)^(S − i).
    #[test]
    fn the_bound_of_failures_is_where_so_few_have_a_chance_of_5_percent() {
        for (failing, seeds) in [(0, 1), (0, 5), (1, 5), (4, 5), (0, 29), (1, 40), (3, 116)] {
            let p = failing_at_most(failing, seeds);
            let (mut term, mut chance) = ((1.0 - p).powi(seeds as i32), 0.0);
            for i in 0..=failing {
                chance += term;
                term *= (seeds - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
            }
            assert!((chance - 0.05).abs() < 1e-9, "{failing} of {seeds}: {p}, {chance}");
        }
    }
}
