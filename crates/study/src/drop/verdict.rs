//! What an interval says of a margin, and what would decide it.

use serde::{Deserialize, Serialize};

use super::{Level, Spread};

/// What is said of a loss and a margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropVerdict {
    /// The interval lies below the margin, no seed fails, and there are so many that at most 10 % do.
    Confirmed,
    /// The interval lies below the margin. That speaks of the seeds that were trained.
    Within,
    /// The interval lies above the margin.
    Beyond,
    /// The margin lies in the interval.
    CannotTell,
}

/// What would decide where the margin lies in the interval, if everything else stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// So many seeds in all.
    Seeds(u64),
    /// So many samples, with the seeds that there are.
    Samples(u64),
    /// Neither [`SEEDS_MAX`] seeds nor [`SAMPLES_MAX`] samples.
    More,
}

/// Of so many seeds of which none fails, at most 10 % of all do, one-sided 95 %: 0.9²⁹ = 4.7 %.
pub const SEEDS_CONFIRMED: u64 = 29;

/// More seeds than these are not asked for.
pub const SEEDS_MAX: u64 = 1_000;

/// More samples than these are not asked for.
pub const SAMPLES_MAX: u64 = 1_000_000_000;

impl DropVerdict {
    /// Of the interval mean ± half around a margin, and so many seeds, of which some fail.
    pub fn new(mean: f64, half: f64, margin: f64, seeds: u64, failing: u64) -> Self {
        if mean + half < margin {
            let confirmed = seeds >= SEEDS_CONFIRMED && failing == 0;
            return if confirmed { Self::Confirmed } else { Self::Within };
        }
        if mean - half > margin { Self::Beyond } else { Self::CannotTell }
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Within => "within",
            Self::Beyond => "beyond",
            Self::CannotTell => "cannot_tell",
        }
    }

    /// Whether the interval lies on one side of the margin.
    pub fn is_decided(self) -> bool {
        self != Self::CannotTell
    }
}

impl Needs {
    /// The least that would decide a margin if mean, s² and discordance stayed: seeds, beyond those that
    /// there are; or, where these cannot, or where s² is not known, samples.
    pub fn new(spread: &Spread, margin: f64, seeds: u64, samples: u64, level: Level) -> Self {
        let decided = |seeds, samples| {
            let half = spread.half_width(seeds, samples, level);
            DropVerdict::new(spread.mean, half, margin, seeds, 0).is_decided()
        };
        let of_seeds = || least(seeds + 1, SEEDS_MAX, |seeds| decided(seeds, samples));
        let of_samples = || least(samples + 1, SAMPLES_MAX, |samples| decided(seeds, samples));
        match spread.variance.and_then(|_| of_seeds()) {
            Some(seeds) => Self::Seeds(seeds),
            None => of_samples().map_or(Self::More, Self::Samples),
        }
    }
}

/// The least number from `first` to `last` of which `holds`, which holds of all after one.
fn least(first: u64, last: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if first > last || !holds(last) {
        return None;
    }
    let (mut low, mut high) = (first, last);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_below_a_margin_above_it_or_around_it() {
        use DropVerdict::{Beyond, CannotTell, Confirmed, Within};
        for (mean, half, seeds, failing, expected) in [
            (0.25, 0.125, 28, 0, Within),
            (0.25, 0.125, 29, 0, Confirmed),
            (0.25, 0.125, 29, 1, Within),
            (0.25, 0.25, 29, 0, CannotTell),
            (0.25, 0.5, 116, 0, CannotTell),
            (0.75, 0.25, 5, 0, CannotTell),
            (0.75, 0.125, 5, 0, Beyond),
            (0.75, 0.125, 29, 29, Beyond),
        ] {
            let found = DropVerdict::new(mean, half, 0.5, seeds, failing);
            assert_eq!(found, expected, "{mean} +- {half}, {failing} of {seeds}");
            assert_eq!(serde_json::to_value(found).unwrap(), found.name());
        }
    }

    #[test]
    fn what_is_needed_decides_and_one_less_does_not() {
        for (mean, deviation, discordance) in [
            (0.0, Some(0.005), 0.02),
            (0.0, Some(0.0), 0.06),
            (0.02, Some(0.02), 0.02),
            (0.004, Some(0.005), 0.02),
            (0.0, None, 0.0),
            (0.0033, None, 0.01),
        ] {
            let variance = deviation.map(|deviation: f64| deviation * deviation);
            let spread = Spread { mean, variance, discordance };
            let (seeds, samples) = (if deviation.is_some() { 2 } else { 1 }, 300);
            let decided = |seeds, samples| {
                let half = spread.half_width(seeds, samples, Level::Once);
                (mean - 0.005).abs() > half
            };
            match Needs::new(&spread, 0.005, seeds, samples, Level::Once) {
                Needs::Seeds(needed) => {
                    assert!(deviation.is_some() && needed > seeds);
                    assert!(decided(needed, samples), "{spread:?}");
                    assert!(needed == seeds + 1 || !decided(needed - 1, samples), "{spread:?}");
                }
                Needs::Samples(needed) => {
                    assert!(needed > samples && decided(seeds, needed), "{spread:?}");
                    assert!(!decided(seeds, needed - 1), "{spread:?}");
                    assert!(deviation.is_none() || !decided(SEEDS_MAX, samples), "{spread:?}");
                }
                Needs::More => panic!("{spread:?}"),
            }
        }
    }

    #[test]
    fn one_seed_without_a_discordant_sample_needs_393_samples_for_half_a_point() {
        let spread = Spread { mean: 0.0, variance: None, discordance: 0.0 };
        let needs = |samples| Needs::new(&spread, 0.005, 1, samples, Level::Once);
        assert_eq!(needs(300), Needs::Samples(393));
        assert_eq!(needs(12), Needs::Samples(393));
    }

    #[test]
    fn a_mean_at_the_margin_is_never_decided() {
        for variance in [None, Some(0.0), Some(1e-4)] {
            let spread = Spread { mean: 0.005, variance, discordance: 0.02 };
            let seeds = if variance.is_some() { 5 } else { 1 };
            assert_eq!(Needs::new(&spread, 0.005, seeds, 300, Level::Once), Needs::More);
        }
    }
}
