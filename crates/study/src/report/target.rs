//! What learning takes: the first epoch at an error rate, in one run and over seeds, and the best epoch.
//!
//! An error rate is reached where the mean of [`WINDOW`] epochs is, so that one lucky epoch is not
//! an arrival. Epochs are chosen on the validation part; there, no test sample has a say.

use std::cmp::Ordering;

use serde::Serialize;
use systoliq_nn::Evaluation;

use systoliq_energy::Picojoules;
use systoliq_nn::Extended;
use systoliq_run::Prepared;
use systoliq_run::{trainer::Curve, trainer::Epoch, trainer::Record, trainer::Spent};

/// Epochs in the mean that has to be at the target: an epoch and those before it.
pub const WINDOW: usize = 3;

/// Seeds that are needed to take the target from golden.
const SEEDS: usize = 3;

/// What it took to reach an error rate first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToTarget {
    /// The target, one for all seeds.
    pub error_rate: f64,
    /// Whether the experiment states it; else it is the median over seeds of the mean of golden's
    /// last [`WINDOW`] error rates.
    pub stated: bool,
    /// The part whose errors count.
    pub part: Judging,
    /// In fixed point with the first seed, if it was reached.
    pub fixed: Option<Reached>,
    /// With float32 hardware and the first seed, if the golden model reached it.
    pub golden: Option<Reached>,
    /// Where several seeds ran, all of them.
    pub over_seeds: Option<TargetOverSeeds>,
}

/// The part of the data on which epochs are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judging {
    /// The validation part.
    Validation,
    /// The test part, where there is no validation part.
    Test,
}

/// Where an error rate was reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// Epochs trained.
    pub epochs: usize,
    /// Cycles until then.
    pub cycles: u64,
    /// Time until then, at the accelerator's clock.
    pub seconds: f64,
    /// Energy until then.
    pub energy_pj: Picojoules,
}

/// How often an error rate was reached, by network.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct TargetOverSeeds {
    pub fixed: ReachedOverSeeds,
    pub golden: ReachedOverSeeds,
}

/// How often one network reached an error rate, and what that took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReachedOverSeeds {
    /// Runs.
    pub seeds: usize,
    /// Those that reached it.
    pub reached: usize,
    /// Energy until then over all runs; one that never arrives takes more than any other.
    pub energy_pj: Quartiles,
}

/// The values below which a quarter, half and three quarters lie, linear between two; infinite where
/// a run that never arrives has a share in one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quartiles {
    /// A quarter of the way.
    #[serde(with = "systoliq_nn::extended")]
    pub lower: f64,
    /// Half of the way.
    #[serde(with = "systoliq_nn::extended")]
    pub median: f64,
    /// Three quarters of the way.
    #[serde(with = "systoliq_nn::extended")]
    pub upper: f64,
}

/// The epoch that is best on the validation part, the first of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BestEpoch {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Its error rate on the validation part, which chose it; nothing for a regression, whose loss chooses.
    pub validation_error_rate: Option<f64>,
    /// Its error rate on the test part; nothing for a regression.
    pub error_rate: Option<f64>,
    /// Its loss on the test part.
    pub loss_bits: Extended,
}

/// The curves of one seed, and what its epochs took.
#[derive(Clone, Copy)]
struct Learned<'a> {
    golden: &'a Curve,
    fixed: &'a Curve,
    spent: &'a [Spent],
}

impl<'a> From<&'a Record> for Learned<'a> {
    fn from(record: &'a Record) -> Self {
        Self { golden: &record.golden, fixed: &record.fixed, spent: &record.spent }
    }
}

impl ToTarget {
    /// Nothing without a target, and where fixed point does not learn by itself.
    pub(super) fn new(prepared: &Prepared, records: &[Record]) -> Option<Self> {
        let training = &prepared.experiment.training;
        if training.teacher_forced {
            return None;
        }
        let runs: Vec<Learned<'_>> = records.iter().map(Learned::from).collect();
        let clock_mhz = prepared.experiment.accelerator.clock_mhz();
        Self::of(&runs, training.target_error_rate, clock_mhz)
    }

    fn of(runs: &[Learned<'_>], stated: Option<f64>, clock_mhz: f64) -> Option<Self> {
        let error_rate = stated.or_else(|| goldens(runs))?;
        let reached = |at: usize, cycles: u64, energy_pj: Picojoules| {
            let seconds = cycles as f64 / (clock_mhz * 1e6);
            Reached { epochs: at + 1, cycles, seconds, energy_pj }
        };
        let fixed = |run: &Learned<'_>| {
            let at = first(run.fixed, error_rate)?;
            Some(reached(at, run.spent[at].cycles, run.spent[at].energy_pj))
        };
        let golden = |run: &Learned<'_>| {
            let at = first(run.golden, error_rate)?;
            Some(reached(at, run.spent[at].float32_cycles, run.spent[at].float32_energy_pj))
        };
        let validated = runs[0].golden.epochs.iter().any(|epoch| epoch.validation.is_some());
        Some(Self {
            error_rate,
            stated: stated.is_some(),
            part: if validated { Judging::Validation } else { Judging::Test },
            fixed: fixed(&runs[0]),
            golden: golden(&runs[0]),
            over_seeds: (runs.len() > 1).then(|| TargetOverSeeds {
                fixed: ReachedOverSeeds::new(runs.iter().map(fixed).collect()),
                golden: ReachedOverSeeds::new(runs.iter().map(golden).collect()),
            }),
        })
    }
}

impl ReachedOverSeeds {
    fn new(runs: Vec<Option<Reached>>) -> Self {
        let energy = |run: &Option<Reached>| run.map_or(f64::INFINITY, |at| at.energy_pj.0);
        Self {
            seeds: runs.len(),
            reached: runs.iter().flatten().count(),
            energy_pj: Quartiles::new(runs.iter().map(energy).collect()),
        }
    }
}

impl Quartiles {
    fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| {
            let steps = quarters * (values.len() - 1);
            let (below, share) = (steps / 4, (steps % 4) as f64 / 4.0);
            // An infinite value with no share in it would make it 0 times infinity.
            if share == 0.0 {
                values[below]
            } else {
                values[below] * (1.0 - share) + values[below + 1] * share
            }
        };
        Self { lower: at(1), median: at(2), upper: at(3) }
    }
}

impl BestEpoch {
    /// Nothing without a validation part, or where no epoch has a finite loss there.
    pub(super) fn new(curve: &Curve) -> Option<Self> {
        let validation = |at: usize| curve.epochs[at].validation.as_ref();
        let judged = (0..curve.epochs.len())
            .filter_map(|at| Some((at, validation(at)?)))
            .filter(|(_, found)| found.loss.is_finite());
        let (at, found) = judged.min_by(|(_, one), (_, other)| better(one, other))?;
        let test = &curve.epochs[at].test;
        Some(Self {
            epoch: at + 1,
            validation_error_rate: found.error_rate(),
            error_rate: test.error_rate(),
            loss_bits: Extended(test.loss),
        })
    }
}

/// By errors, or by the loss of a regression.
fn better(one: &Evaluation, other: &Evaluation) -> Ordering {
    match (one.errors, other.errors) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.loss.total_cmp(&other.loss),
    }
}

/// The target that golden sets: nothing with few seeds, or few epochs.
fn goldens(runs: &[Learned<'_>]) -> Option<f64> {
    if runs.len() < SEEDS {
        return None;
    }
    let last = |run: &Learned<'_>| mean(run.golden.epochs.windows(WINDOW).last()?);
    let means = runs.iter().map(last).collect::<Option<Vec<_>>>()?;
    Some(Quartiles::new(means).median)
}

/// The first epoch, from 0, that ends a window whose mean error is at most `error_rate`.
fn first(curve: &Curve, error_rate: f64) -> Option<usize> {
    let arrived = |window: &[Epoch]| mean(window).is_some_and(|mean| mean <= error_rate);
    Some(curve.epochs.windows(WINDOW).position(arrived)? + WINDOW - 1)
}

/// The mean error rate of some epochs, from sums of counts, so that 27 of 900 samples are at a target
/// of 0.03; nothing for a regression.
fn mean(epochs: &[Epoch]) -> Option<f64> {
    let judged = || epochs.iter().map(|epoch| epoch.validation.as_ref().unwrap_or(&epoch.test));
    let errors = judged().map(|found| found.errors).sum::<Option<u64>>()?;
    Some(errors as f64 / judged().map(|found| found.count).sum::<u64>() as f64)
}

#[cfg(test)]
mod tests;
