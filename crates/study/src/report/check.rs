//! Whether a report that was read can be that of a run: lengths are those of its epochs, shares are
//! shares, and sums are the sums of their parts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use systoliq_array::CyclesByCause;
use systoliq_program::Pass;

use super::{CyclesReport, EnergyReport, SCHEMA_VERSION};
use crate::panel::MachinePanel;
use systoliq_energy::Picojoules;
use systoliq_hardware::{events::Component, events::EnergyByComponent};
use systoliq_nn::Extended;
use systoliq_run::Right;

/// Nothing, or a key and what is wrong with it.
pub type CheckResult = Result<(), String>;

/// Checks that something holds of what was found under a key.
///
/// # Errors
///
/// If it does not.
pub fn expect(holds: bool, key: &str, found: impl std::fmt::Debug, expected: &str) -> CheckResult {
    if holds { Ok(()) } else { Err(format!("{key}: {found:?}, expected {expected}")) }
}

/// Puts a key before the one at fault.
///
/// # Errors
///
/// If `check` is one.
pub fn within(key: &str, check: CheckResult) -> CheckResult {
    check.map_err(|problem| format!("{key}.{problem}"))
}

/// Checks an amount of something: finite and not negative.
///
/// # Errors
///
/// If it is not.
pub fn amount(key: &str, found: f64) -> CheckResult {
    expect(found.is_finite() && found >= 0.0, key, found, "a number that is not negative")
}

/// Checks a share of something.
///
/// # Errors
///
/// If it is not from 0 to 1, to the last digits.
pub fn share(key: &str, found: f64) -> CheckResult {
    expect((0.0..=1.0 + 1e-9).contains(&found), key, found, "0 to 1")
}

/// Checks losses: not negative, or no numbers where a training went astray.
///
/// # Errors
///
/// If one is negative.
pub fn losses(key: &str, losses: &[Extended]) -> CheckResult {
    let negative = losses.iter().map(|loss| loss.0).find(|&loss| loss < 0.0);
    expect(negative.is_none(), key, negative, "losses that are not negative")
}

/// Checks a sum, to the last digits.
fn sum(key: &str, found: f64, parts: impl Iterator<Item = f64>) -> CheckResult {
    let sum: f64 = parts.sum();
    expect((found - sum).abs() <= 1e-9 * sum, key, found, &format!("{sum}, the sum of its parts"))
}

impl CyclesReport {
    /// Checks that there are cycles, and that every division of them sums up to all.
    ///
    /// # Errors
    ///
    /// The first member at fault, with what was found and what was expected.
    pub fn check(&self) -> CheckResult {
        let Self { total, by_cause, by_pass, by_pass_and_cause } = self;
        let sum = |by: &CyclesByCause| {
            let CyclesByCause { preload, stream, skew, drain, vector, stall } = *by;
            let all = [preload, stream, skew, drain, vector, stall];
            all.iter().map(|cycles| u128::from(cycles.0)).sum::<u128>()
        };
        expect(*total > 0, "total", total, "1 or more")?;
        let whole = u128::from(*total);
        expect(sum(by_cause) == whole, "by_cause", sum(by_cause), &format!("a sum of {whole}"))?;
        let passes: u128 = by_pass.values().map(|&cycles| u128::from(cycles)).sum();
        expect(passes == whole, "by_pass", passes, &format!("a sum of {whole}"))?;
        let causes: BTreeMap<Pass, u128> =
            by_pass_and_cause.iter().map(|(&pass, by)| (pass, sum(by))).collect();
        let passes = by_pass.iter().map(|(&pass, &cycles)| (pass, u128::from(cycles))).collect();
        expect(causes == passes, "by_pass_and_cause", &causes, &format!("sums of {passes:?}"))
    }
}

impl EnergyReport {
    /// Checks that every division of energy sums up to all of it.
    ///
    /// # Errors
    ///
    /// The first member at fault, with what was found and what was expected.
    pub fn check(&self) -> CheckResult {
        whole("", self.total, &self.by_component, &self.by_pass)?;
        let (parts, passes) = (&self.float32_by_component, &self.float32_by_pass);
        whole("float32_", self.float32_total, parts, passes)?;
        self.data_dependent
            .as_ref()
            .map_or(Ok(()), |of| whole("data_dependent.", of.total, &of.by_component, &of.by_pass))
    }
}

/// Energy by component and by pass.
fn whole(
    of: &str,
    Picojoules(total): Picojoules,
    by_component: &EnergyByComponent,
    by_pass: &BTreeMap<Pass, Picojoules>,
) -> CheckResult {
    let key = format!("{of}total");
    amount(&key, total)?;
    let parts = Component::ALL.map(|component| by_component.of(component).0);
    Component::ALL.iter().zip(parts).try_for_each(|(of, part)| amount(of.name(), part))?;
    sum(&key, total, parts.into_iter())?;
    let key = format!("{of}by_pass");
    by_pass.values().try_for_each(|energy| amount(&key, energy.0))?;
    sum(&key, total, by_pass.values().map(|energy| energy.0))
}

/// What is checked of a report; the rest is passed over.
#[derive(Deserialize)]
struct Read {
    experiment: CheckedExperiment,
    golden: CheckedCurve,
    fixed: CheckedCurve,
    accuracy_loss: Option<f64>,
    seeds: Vec<CheckedSeed>,
    cycles: CyclesReport,
    utilization: f64,
    macs: u64,
    energy_pj: EnergyReport,
    precision: Vec<CheckedTensor>,
    comparison: CheckedComparison,
    layers: Vec<CheckedLayer>,
    panel: Option<MachinePanel>,
}

#[derive(Deserialize)]
struct CheckedExperiment {
    seed: u64,
    training: CheckedTraining,
}

#[derive(Deserialize)]
struct CheckedTraining {
    epochs: usize,
}

#[derive(Deserialize)]
struct CheckedCurve {
    error_rate: Vec<Option<f64>>,
    loss_bits: Vec<Extended>,
    training_loss: Vec<Extended>,
    validation_error_rate: Vec<Option<f64>>,
    initial: CheckedInitial,
    diverged_at_epoch: Option<usize>,
}

#[derive(Deserialize)]
struct CheckedInitial {
    error_rate: Option<f64>,
    loss_bits: Extended,
}

#[derive(Deserialize)]
struct CheckedSeed {
    seed: u64,
    golden: CheckedOutcome,
    fixed: CheckedOutcome,
}

#[derive(Deserialize)]
struct CheckedOutcome {
    error_rate: Option<f64>,
    right: Option<Right>,
}

#[derive(Deserialize)]
struct CheckedTensor {
    name: String,
    saturation_rate: f64,
    underflow_rate: f64,
    stalled_rate: Option<f64>,
    by_epoch: CheckedTensorByEpoch,
}

#[derive(Deserialize)]
struct CheckedTensorByEpoch {
    saturation_rate: Vec<f64>,
    underflow_rate: Vec<f64>,
    stalled_rate: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct CheckedComparison {
    epoch: Vec<usize>,
    mismatch_rate: Vec<Option<f64>>,
    tensors: Vec<CheckedTensorComparison>,
}

#[derive(Deserialize)]
struct CheckedTensorComparison {
    own: CheckedSeries,
    teacher_forced: CheckedSeries,
}

#[derive(Deserialize)]
struct CheckedSeries {
    sqnr_db: Vec<Option<Extended>>,
}

#[derive(Deserialize)]
struct CheckedLayer {
    cycles: u64,
    energy_pj: f64,
    float32_energy_pj: f64,
}

/// Checks that a report is of the layout that is known.
///
/// # Errors
///
/// If it states another [`SCHEMA_VERSION`], or none.
pub fn check_layout(report: &Value) -> CheckResult {
    let found = report.get("schema_version").unwrap_or(&Value::Null);
    let known = *found == SCHEMA_VERSION;
    if known {
        Ok(())
    } else {
        Err(format!("schema_version is {found}, expected {SCHEMA_VERSION}"))
    }
}

/// Checks a report as `report.json` holds it.
///
/// # Errors
///
/// The first member at fault, with what was found and what was expected.
pub fn check(report: &Value) -> CheckResult {
    let read = Read::deserialize(report).map_err(|error| error.to_string())?;
    let epochs = read.experiment.training.epochs;
    expect(epochs > 0, "experiment.training.epochs", epochs, "1 or more")?;
    within("golden", read.golden.check(epochs))?;
    within("fixed", read.fixed.check(epochs))?;
    let lost = read.fixed.last().zip(read.golden.last()).map(|(fixed, golden)| fixed - golden);
    let same = match (lost, read.accuracy_loss) {
        (Some(lost), Some(found)) => (lost - found).abs() <= 1e-9,
        (lost, found) => lost.is_some() == found.is_some(),
    };
    expect(same, "accuracy_loss", read.accuracy_loss, &format!("{lost:?} by the error rates"))?;
    within("seeds", check_seeds(&read))?;
    within("cycles", read.cycles.check())?;
    share("utilization", read.utilization)?;
    expect(read.macs > 0, "macs", read.macs, "1 or more")?;
    within("energy_pj", read.energy_pj.check())?;
    let names: BTreeSet<&str> = read.precision.iter().map(|tensor| tensor.name.as_str()).collect();
    let tensors = read.precision.len();
    let distinct = tensors > 0 && names.len() == tensors;
    expect(distinct, "precision", &names, &format!("{tensors} names, each of its own"))?;
    read.precision.iter().try_for_each(|tensor| {
        within(&format!("precision.{}", tensor.name), tensor.check(epochs))
    })?;
    within("comparison", read.comparison.check(epochs))?;
    read.panel.as_ref().map_or(Ok(()), |panel| within("panel", panel.check()))?;
    check_layers(&read)
}

fn check_seeds(read: &Read) -> CheckResult {
    let Some(first) = read.seeds.first() else { return Ok(()) };
    let own = read.experiment.seed;
    expect(first.seed == own, "0.seed", first.seed, &format!("{own}, that of the experiment"))?;
    let seeds: BTreeSet<u64> = read.seeds.iter().map(|seed| seed.seed).collect();
    expect(seeds.len() == read.seeds.len(), "seed", &seeds, "each once")?;
    let curves = [("golden", &first.golden, &read.golden), ("fixed", &first.fixed, &read.fixed)];
    for (key, outcome, curve) in curves {
        let (found, last) = (outcome.error_rate, curve.last());
        expect(found == last, &format!("0.{key}.error_rate"), found, &format!("{last:?}"))?;
    }
    read.seeds.iter().enumerate().try_for_each(|(at, seed)| {
        within(&format!("{at}.golden"), seed.golden.check())?;
        within(&format!("{at}.fixed"), seed.fixed.check())
    })
}

fn check_layers(read: &Read) -> CheckResult {
    let amounts = |layer: &CheckedLayer| [layer.energy_pj, layer.float32_energy_pj];
    let mut energies = read.layers.iter().flat_map(amounts);
    energies.try_for_each(|energy| amount("layers.energy_pj", energy))?;
    let (found, total) = (
        read.layers.iter().map(|layer| u128::from(layer.cycles)).sum::<u128>(),
        u128::from(read.cycles.total),
    );
    expect(found == total, "layers.cycles", found, &format!("a sum of {total}"))?;
    let energy = &read.energy_pj;
    let of = |energy: fn(&CheckedLayer) -> f64| read.layers.iter().map(energy);
    sum("layers.energy_pj", energy.total.0, of(|layer| layer.energy_pj))?;
    sum("layers.float32_energy_pj", energy.float32_total.0, of(|layer| layer.float32_energy_pj))
}

impl CheckedCurve {
    fn check(&self, epochs: usize) -> CheckResult {
        let lengths = [
            ("error_rate", self.error_rate.len()),
            ("loss_bits", self.loss_bits.len()),
            ("training_loss", self.training_loss.len()),
            ("validation_error_rate", self.validation_error_rate.len()),
        ];
        lengths.into_iter().try_for_each(|(key, found)| check_length(key, found, epochs))?;
        let rates = [("error_rate", &self.error_rate)]
            .into_iter()
            .chain([("validation_error_rate", &self.validation_error_rate)]);
        for (key, rates) in rates {
            rates.iter().flatten().try_for_each(|&rate| share(key, rate))?;
        }
        self.initial.error_rate.map_or(Ok(()), |rate| share("initial.error_rate", rate))?;
        losses("loss_bits", &self.loss_bits)?;
        losses("training_loss", &self.training_loss)?;
        losses("initial.loss_bits", &[self.initial.loss_bits])?;
        let diverged = self.diverged_at_epoch;
        let possible = diverged.is_none_or(|epoch| epoch <= epochs);
        expect(possible, "diverged_at_epoch", diverged, &format!("one of {epochs} epochs"))
    }

    /// The error rate after the last epoch.
    fn last(&self) -> Option<f64> {
        self.error_rate.last().copied().flatten()
    }
}

impl CheckedOutcome {
    fn check(&self) -> CheckResult {
        self.error_rate.map_or(Ok(()), |rate| share("error_rate", rate))?;
        let counted = self.right.as_ref().map(|right| right.errors() as f64 / right.len() as f64);
        let same = counted == self.error_rate;
        expect(same, "right", counted, &format!("an error rate of {:?}", self.error_rate))
    }
}

impl CheckedTensor {
    fn check(&self, epochs: usize) -> CheckResult {
        let by_epoch = &self.by_epoch;
        let rates = [
            ("saturation_rate", Some(self.saturation_rate), Some(&by_epoch.saturation_rate)),
            ("underflow_rate", Some(self.underflow_rate), Some(&by_epoch.underflow_rate)),
            ("stalled_rate", self.stalled_rate, by_epoch.stalled_rate.as_ref()),
        ];
        for (key, rate, rates) in rates {
            rate.map_or(Ok(()), |rate| share(key, rate))?;
            let Some(rates) = rates else { continue };
            within("by_epoch", check_length(key, rates.len(), epochs))?;
            rates.iter().try_for_each(|&rate| within("by_epoch", share(key, rate)))?;
        }
        Ok(())
    }
}

impl CheckedComparison {
    fn check(&self, epochs: usize) -> CheckResult {
        let rising = self.epoch.is_sorted_by(|one, next| one < next);
        let possible = rising && self.epoch.last().is_none_or(|&last| last <= epochs);
        expect(possible, "epoch", &self.epoch, &format!("numbers of {epochs} epochs, rising"))?;
        check_length("mismatch_rate", self.mismatch_rate.len(), self.epoch.len())?;
        for series in self.tensors.iter().flat_map(|tensor| [&tensor.own, &tensor.teacher_forced]) {
            check_length("tensors.sqnr_db", series.sqnr_db.len(), self.epoch.len())?;
        }
        self.mismatch_rate.iter().flatten().try_for_each(|&rate| share("mismatch_rate", rate))
    }
}

fn check_length(key: &str, found: usize, expected: usize) -> CheckResult {
    let holds = found == expected;
    expect(holds, key, found, &format!("as many values as epochs, {expected}"))
}
