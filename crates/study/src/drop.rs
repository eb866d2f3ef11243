//! What is said of the accuracy that fixed point loses.
//!
//! A seed loses `(b − c)/n` on a part of n samples, of which golden alone gets b right and fixed point
//! alone c; one that diverges counts with what it lost. A [`Judgement`] is all that may be said of some
//! seeds and a margin:
//!
//! - an [interval](Spread::half_width) of the mean over seeds, on this part; and [another](new_samples)
//!   for seeds and samples drawn anew;
//! - which seeds [fail](SeedLoss::fails), and how many of all [may](failing_at_most), as no interval of a
//!   mean tells of one seed in twenty that loses 10 points;
//! - a [verdict](DropVerdict), and [what would decide](Needs) where there is none.
//!
//! [`words`] has the sentence for each, so that every command says the same. A seed of which golden
//! diverged is no reference: it is left out, and that is said. [`looks`] tells when a plan has been looked
//! at for long enough. Losses that are no error rates have [an interval](of_values) and no margin; of a
//! regression, [`ratio`] judges how many times golden's its loss is.
//!
//! *Invariant:* no sentence says more than simulated sweeps bear out (`tests/drop_simulation.rs`).

mod crossed;
mod interval;
pub mod looks;
mod quantile;
pub mod ratio;
mod verdict;
pub mod words;

use serde::{Deserialize, Serialize};
use systoliq_run::Right;

pub use crossed::new_samples;
pub use interval::{Spread, of_counts, of_values};
pub use quantile::{Level, failing_at_most};
pub use ratio::{LossRatio, RatioOverSeeds};
pub use verdict::{DropVerdict, Needs, SAMPLES_MAX, SEEDS_CONFIRMED, SEEDS_MAX};

/// The margin that is meant where none is stated: half a point.
pub const MARGIN: f64 = 0.005;

/// What one seed lost against golden of the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedLoss {
    /// The seed.
    pub seed: u64,
    /// Samples that golden alone gets right.
    pub only_golden_right: u64,
    /// Samples that fixed point alone gets right.
    pub only_fixed_right: u64,
    /// Whether fixed point ended with a loss above that of its initial weights, or not finite.
    pub diverged: bool,
}

impl SeedLoss {
    /// Of two networks on one part.
    ///
    /// # Panics
    ///
    /// If they have not as many samples.
    pub fn new(seed: u64, golden: &Right, fixed: &Right, diverged: bool) -> Self {
        let [only_golden_right, only_fixed_right] = golden.alone(fixed);
        Self { seed, only_golden_right, only_fixed_right, diverged }
    }

    /// Samples that one network alone gets right.
    pub fn discordant(&self) -> u64 {
        self.only_golden_right + self.only_fixed_right
    }

    /// What was lost, as a fraction of so many samples.
    pub fn lost(&self, samples: u64) -> f64 {
        (self.only_golden_right as f64 - self.only_fixed_right as f64) / samples as f64
    }

    /// Whether it diverged, or lost more than each of: the margin, 2 points, and three standard deviations
    /// of what its discordant samples alone explain, 3·√(b + c)/n.
    pub fn fails(&self, samples: u64, margin: f64) -> bool {
        let chance = 3.0 * (self.discordant() as f64).sqrt() / samples as f64;
        self.diverged || self.lost(samples) > margin.max(FAILS_BEYOND).max(chance)
    }
}

/// The two networks of one seed on one part.
#[derive(Clone, Copy, Debug)]
pub struct Networks<'a> {
    /// The seed.
    pub seed: u64,
    /// What golden gets right.
    pub golden: &'a Right,
    /// What fixed point gets right.
    pub fixed: &'a Right,
    /// Whether golden ended with a loss above that of its initial weights, or not finite.
    pub golden_diverged: bool,
    /// Whether fixed point did.
    pub diverged: bool,
}

/// No seed that loses less fails.
const FAILS_BEYOND: f64 = 0.02;

/// What some seeds lost, and what that says of a margin. All losses are fractions of the part's samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// What may be lost.
    pub margin: f64,
    /// Samples of the part.
    pub samples: u64,
    /// What each seed lost.
    pub by_seed: Vec<SeedLoss>,
    /// The seeds that are left out, as golden diverged.
    pub golden_diverged: Vec<u64>,
    /// The mean over the seeds.
    pub mean: f64,
    /// How often the interval holds the truth.
    pub level: Level,
    /// Half the width of the interval of the mean, for seeds drawn anew and the samples of this part.
    pub half_width: f64,
    /// The same for samples drawn anew, too; nothing for one seed, or where it was not asked for.
    pub half_width_new_samples: Option<f64>,
    /// The median over the seeds.
    pub median: f64,
    /// The seed that lost most.
    pub worst: SeedLoss,
    /// The seeds that fail.
    pub failing: Vec<u64>,
    /// The share of all seeds that may, one-sided 95 %.
    pub failing_at_most: f64,
    /// What the interval says of the margin.
    pub verdict: DropVerdict,
    /// What would decide where it says nothing.
    pub needs: Option<Needs>,
}

impl Judgement {
    /// Of what seeds lost on a part of so many samples; nothing if there are none. Of seeds in
    /// `golden_diverged` nothing may be known.
    ///
    /// # Panics
    ///
    /// If there are no samples, or a seed has more discordant ones.
    pub fn new(
        by_seed: Vec<SeedLoss>,
        golden_diverged: Vec<u64>,
        samples: u64,
        margin: f64,
        level: Level,
    ) -> Option<Self> {
        let fits = |seed: &SeedLoss| samples > 0 && seed.discordant() <= samples;
        assert!(by_seed.iter().all(fits), "{by_seed:?} of {samples} samples");
        let most = |best: SeedLoss, &seed: &SeedLoss| {
            if seed.lost(samples) > best.lost(samples) { seed } else { best }
        };
        let worst = by_seed.iter().fold(*by_seed.first()?, most);
        let spread = Spread::new(&by_seed, samples);
        let seeds = by_seed.len() as u64;
        let half_width = spread.half_width(seeds, samples, level);
        let fails = |seed: &&SeedLoss| seed.fails(samples, margin);
        let failing: Vec<u64> = by_seed.iter().filter(fails).map(|seed| seed.seed).collect();
        let failures = failing.len() as u64;
        let verdict = DropVerdict::new(spread.mean, half_width, margin, seeds, failures);
        let needs =
            (!verdict.is_decided()).then(|| Needs::new(&spread, margin, seeds, samples, level));
        Some(Self {
            margin,
            samples,
            golden_diverged,
            mean: spread.mean,
            level,
            half_width,
            half_width_new_samples: None,
            median: median(by_seed.iter().map(|seed| seed.lost(samples)).collect()),
            worst,
            failing,
            failing_at_most: failing_at_most(failures, seeds),
            verdict,
            needs,
            by_seed,
        })
    }

    /// Of the networks of some seeds on one part; nothing if golden diverged with each.
    ///
    /// # Panics
    ///
    /// If networks have other numbers of samples.
    pub fn of(networks: &[Networks<'_>], margin: f64, level: Level) -> Option<Self> {
        let (without, references): (Vec<&Networks<'_>>, Vec<&Networks<'_>>) =
            networks.iter().partition(|networks| networks.golden_diverged);
        let loss = |networks: &&Networks<'_>| {
            let &&Networks { seed, golden, fixed, diverged, .. } = networks;
            SeedLoss::new(seed, golden, fixed, diverged)
        };
        let samples = references.first()?.golden.len() as u64;
        let by_seed = references.iter().map(loss).collect();
        let without = without.iter().map(|networks| networks.seed).collect();
        Self::new(by_seed, without, samples, margin, level)
    }

    /// The same, quoted: with the interval for samples drawn anew, from the networks that it is of.
    ///
    /// # Panics
    ///
    /// Those of [`new_samples`].
    pub fn quoted(self, networks: &[Networks<'_>]) -> Self {
        let references = || networks.iter().filter(|networks| !networks.golden_diverged);
        let golden: Vec<_> = references().map(|networks| networks.golden).collect();
        let fixed: Vec<_> = references().map(|networks| networks.fixed).collect();
        let half_width_new_samples = new_samples(&golden, &fixed, self.half_width, self.level);
        Self { half_width_new_samples, ..self }
    }

    /// The same of another margin.
    pub fn against(self, margin: f64) -> Self {
        let half_width_new_samples = self.half_width_new_samples;
        let Self { by_seed, golden_diverged, samples, level, .. } = self;
        let judged = Self::new(by_seed, golden_diverged, samples, margin, level);
        Self { half_width_new_samples, ..judged.expect("the same seeds") }
    }

    /// The number of seeds that are judged.
    pub fn seeds(&self) -> u64 {
        self.by_seed.len() as u64
    }
}

/// The median; of an even number, the mean of both in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests;
