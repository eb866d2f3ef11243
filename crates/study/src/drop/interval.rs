//! Half the widths of intervals.

use super::{Level, SeedLoss};

/// The mean of values, and half the width of its 95 % interval by Student's t, t·s/√S; nothing for one.
///
/// # Panics
///
/// If there are none.
pub fn of_values(values: &[f64]) -> (f64, Option<f64>) {
    let (mean, variance) = mean_and_variance(values);
    let seeds = values.len() as u64;
    let half = |variance: f64| Level::Once.t(seeds - 1) * (variance / seeds as f64).sqrt();
    (mean, variance.map(half))
}

/// The same of differences that are counts over `samples`, none of which is known better than to the
/// rounding of a count: that adds 1/(6n²) to s².
///
/// # Panics
///
/// If there are none.
pub fn of_counts(differences: &[f64], samples: u64) -> (f64, Option<f64>) {
    let (mean, variance) = mean_and_variance(differences);
    let seeds = differences.len() as u64;
    (mean, variance.map(|variance| over_seeds(variance, seeds, samples, Level::Once)))
}

/// t(S − 1)·√((s² + 1/(6n²))/S): two counts, each uniform within half a sample of what it would be of
/// ever more samples, have a difference of variance 2/12 samples².
fn over_seeds(variance: f64, seeds: u64, samples: u64, level: Level) -> f64 {
    let (seeds_real, samples) = (seeds as f64, samples as f64);
    level.t(seeds - 1) * ((variance + 1.0 / (6.0 * samples * samples)) / seeds_real).sqrt()
}

/// The mean, and the variance s² with S − 1 in its denominator; none of one value.
pub(super) fn mean_and_variance(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len();
    assert!(count > 0, "a mean of nothing");
    let mean = values.iter().sum::<f64>() / count as f64;
    let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    (mean, (count > 1).then(|| squares / (count - 1) as f64))
}

/// What the width of an interval depends on but the numbers of seeds and samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean of what seeds lose.
    pub mean: f64,
    /// Its variance s²; nothing for one seed.
    pub variance: Option<f64>,
    /// The share of samples that one network alone gets right.
    pub discordance: f64,
}

impl Spread {
    /// Of what seeds lost on so many samples.
    ///
    /// # Panics
    ///
    /// If there are no seeds.
    pub fn new(by_seed: &[SeedLoss], samples: u64) -> Self {
        let lost: Vec<f64> = by_seed.iter().map(|seed| seed.lost(samples)).collect();
        let (mean, variance) = mean_and_variance(&lost);
        let discordant: u64 = by_seed.iter().map(SeedLoss::discordant).sum();
        let seen = by_seed.len() as f64 * samples as f64;
        Self { mean, variance, discordance: discordant as f64 / seen }
    }

    /// Half the width of the interval of the mean with so many seeds and samples, the larger of two: by
    /// what seeds differ, t(S − 1)·√((s² + 1/(6n²))/S), and by what samples alone leave
    /// open, h_B = z·√((b + c + 1) − (b − c)²/(nS))/(nS) with b and c samples that one network alone gets
    /// right. Of one seed, the second.
    pub fn half_width(&self, seeds: u64, samples: u64, level: Level) -> f64 {
        let seen = seeds as f64 * samples as f64;
        // (b − c)²/(nS) is nS times the square of the mean.
        let discordant = self.discordance * seen + 1.0 - self.mean * self.mean * seen;
        let of_samples = level.z() * discordant.sqrt() / seen;
        match self.variance {
            Some(variance) if seeds > 1 => {
                of_samples.max(over_seeds(variance, seeds, samples, level))
            }
            _ => of_samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop::tests::seeds;

    #[test]
    fn intervals_of_values_are_those_of_the_textbook() {
        // Mean 3, s² = 2.5, t(4) = 2.7764: 2.7764 · √(2.5 / 5).
        let (mean, half) = of_values(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(mean, 3.0);
        assert!((half.unwrap() - 1.963_24).abs() < 1e-5);
        assert_eq!(of_values(&[7.0]), (7.0, None));
    }

    #[test]
    fn two_equal_seeds_are_not_known_for_sure() {
        // 12.706 · √(1/(6 · 300²)/2).
        let (mean, half) = of_counts(&[0.01, 0.01], 300);
        assert_eq!(mean, 0.01);
        assert!((half.unwrap() - 12.7062 / (12.0_f64.sqrt() * 300.0)).abs() < 1e-6);
        let spread = Spread::new(&seeds(&[(3, 3), (3, 3)]), 300);
        assert_eq!((spread.mean, spread.variance), (0.0, Some(0.0)));
        let half = spread.half_width(2, 300, Level::Once);
        assert!((half - 12.7062 / (12.0_f64.sqrt() * 300.0)).abs() < 1e-6, "{half}");
    }

    #[test]
    fn the_larger_interval_counts_and_one_seed_has_that_of_its_samples() {
        let spread = Spread::new(&seeds(&[(9, 3)]), 300);
        let half = 1.96 * (13.0_f64 - 36.0 / 300.0).sqrt() / 300.0;
        assert!((spread.half_width(1, 300, Level::Once) - half).abs() < 1e-12);
        // 29 seeds with 24 samples each and no difference: samples leave more open than seeds.
        let same = Spread::new(&seeds(&[(12, 12); 29]), 300);
        let half = 1.96 * (29.0_f64 * 24.0 + 1.0).sqrt() / (29.0 * 300.0);
        assert!((same.half_width(29, 300, Level::Once) - half).abs() < 1e-12);
        assert!(
            same.half_width(29, 300, Level::ThreeLooks) > same.half_width(29, 300, Level::Once)
        );
        // Losses of 0 and 4 points: s = 2.83 points, and seeds leave more open.
        let apart = Spread::new(&seeds(&[(6, 6), (15, 3)]), 300);
        let half = 12.7062 * ((8e-4 + 1.0 / (6.0 * 9e4)) / 2.0_f64).sqrt();
        assert!((apart.half_width(2, 300, Level::Once) / half - 1.0).abs() < 1e-5);
    }

    #[test]
    fn more_seeds_and_more_samples_never_widen_an_interval() {
        for counts in [&[(0, 0)][..], &[(5, 1)], &[(0, 0), (0, 0)], &[(9, 3), (2, 6), (4, 4)]] {
            let spread = Spread::new(&seeds(counts), 300);
            let half = |seeds, samples| spread.half_width(seeds, samples, Level::Once);
            let least = counts.len() as u64;
            assert!((least..1000).all(|seeds| half(seeds, 300) > half(seeds + 1, 300)));
            assert!((300..2000).all(|samples| half(least, samples) > half(least, samples + 1)));
        }
    }
}
