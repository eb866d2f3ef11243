//! Why fixed point lost accuracy: the tensors that explain it, the worst first, each with the change
//! of format that should help.
//!
//! The *severity* of a finding is an error energy over a signal energy, at most 1:
//!
//! | cause | severity |
//! | --- | --- |
//! | `coarse_sums` | the noise of the sums of a matrix product whose accumulator states its fraction bits or drops low bits: that of its output in the teacher-forced probes, beyond that of its operands and of its conversion |
//! | `accumulator_overflow` | the share of sums that overflowed, 16 times where they wrap: a sum that wraps is off by the whole range, some four times a typical one |
//! | `range`, `resolution` | the noise of the tensor's conversions: over the steps of the run of which it is kept, or over the teacher-forced probes, whichever is larger. Of masters, biases and weights in a probe, that of golden's parameters as they are converted. It is a matter of range where elements left it and golden's exceed it, or where golden has negative ones and the format no sign, else of resolution |
//! | `stalled_updates` | the share of updates lost, where rounding is not stochastic: stochastic rounding loses none in the mean |
//!
//! Of a run that diverged, only the probes count for range and resolution: its own conversions show
//! what divergence did. Findings of one cause in several layers are one, where one setting mends
//! them. A suggestion is a guess from these figures: [`Diagnosis::weigh`] drops those that the program
//! itself would warn of and orders the rest by what they do in a short trial, [`check`] trains with one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use systoliq_fxp::{Overflow, Rounding};
use systoliq_nn::{DataSet, Extended, SqnrSteps};
use systoliq_program::{Command, Role, TensorDecl, TensorId};

use crate::drop::LossRatio;
use crate::drop::ratio::SIGNIFICANT;
use crate::mcnemar::McNemar;
use systoliq_run::comparison::Figures;
use systoliq_run::{EngineKind, Error, Experiment, Prepared, Trainer};
use systoliq_run::{trainer::Conduct, trainer::Record, trainer::TensorRecord};

mod remedy;
mod trial;

use remedy::Remedies;
pub use remedy::SettingChange;

/// The least severity that is named.
const SEVERITY_MIN: f64 = 0.01;

/// The most findings.
const FINDINGS_MAX: usize = 6;

/// Error energy of a wrapped sum, over that of a typical sum.
const WRAPPED: f64 = 16.0;

/// What explains the accuracy lost.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Why the loss is not put down to chance; nothing where it is.
    pub significant: Option<Reason>,
    /// The worst first; none where nothing significant was lost.
    pub findings: Vec<Finding>,
    /// Of which steps the noise of a run's conversions is that they are judged from.
    pub sqnr: SqnrSteps,
}

/// Why a loss is not put down to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The fixed-point run ended above its initial loss, and the golden model did not.
    Diverged,
    /// McNemar's exact test on the first seed's test samples.
    Mcnemar,
    /// A paired t-test on the squared errors of the first seed's test samples, of a regression.
    PairedT,
    /// The 95 % interval over several seeds lies above 0.
    Seeds,
}

/// What a tensor suffers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Accumulators left their range.
    AccumulatorOverflow,
    /// Accumulators drop bits that count.
    CoarseSums,
    /// Values are too large for the format, or negative, and it has no sign.
    Range,
    /// Values are too small for the format, or it is too coarse.
    Resolution,
    /// Updates are too small for the format.
    StalledUpdates,
}

/// What explains a part of the loss.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The tensors, the worst first.
    pub tensors: Vec<String>,
    /// The role of the worst.
    pub role: &'static str,
    /// What they suffer from.
    pub cause: Cause,
    /// How badly: that of the worst.
    pub severity: f64,
    /// Of the worst: the share of elements that left its range.
    pub saturation_rate: f64,
    /// Of the worst: whether golden has negative values in its place, and its format has no sign.
    pub lacks_sign: bool,
    /// Of the worst: the share of elements that rounded to zero.
    pub underflow_rate: f64,
    /// Of the worst: the share of updates that changed nothing.
    pub stalled_rate: Option<f64>,
    /// Of the worst: the share of its sums that overflowed.
    pub accumulator_overflow_rate: f64,
    /// What should help, as arguments of `--set`; nothing where the program would warn of it, or it
    /// takes nothing away.
    pub set: Vec<SettingChange>,
    /// How much of the noise-to-signal ratio of the logits that takes away in a trial of a few steps;
    /// nothing where it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_taken_away: Option<f64>,
    /// What it did, where it was tried.
    pub check: Option<ShortRun>,
}

/// A short run with a suggestion, on the same seed, against the run as it is after as many epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ShortRun {
    /// Epochs of the short run.
    pub epochs: usize,
    /// Error rate of the golden model after these.
    pub golden_error_rate: f64,
    /// Error rate in fixed point as it is.
    pub error_rate: f64,
    /// Error rate in fixed point with the suggestion.
    pub changed_error_rate: f64,
    /// The difference that the suggestion made, positive if it helped.
    pub regained: f64,
}

/// What one tensor suffers from.
struct Symptom<'a> {
    id: TensorId,
    decl: &'a TensorDecl,
    cause: Cause,
    severity: f64,
}

impl Diagnosis {
    /// Of the first seed's record, and of whether its losses, or those over several seeds, are no chance.
    pub(crate) fn new(
        prepared: &Prepared,
        record: &Record,
        regression: Option<&LossRatio>,
        worse_over_seeds: bool,
    ) -> Self {
        let significant = reason(record, regression, worse_over_seeds);
        let sqnr = prepared.experiment.training.sqnr;
        if significant.is_none() {
            return Self { significant, findings: Vec::new(), sqnr };
        }
        let mut groups: BTreeMap<(Cause, Role), Vec<Symptom<'_>>> = BTreeMap::new();
        for symptom in symptoms(prepared, record) {
            groups.entry((symptom.cause, symptom.decl.role)).or_default().push(symptom);
        }
        let mut findings: Vec<Finding> = groups
            .into_values()
            .flat_map(|mut group| {
                group.sort_by(|a, b| b.severity.total_cmp(&a.severity));
                findings(prepared, record, &group)
            })
            .collect();
        findings.sort_by(|a, b| b.severity.total_cmp(&a.severity));
        Self { significant, findings: merged(findings), sqnr }
    }
}

/// Joins findings that the same settings mend, and keeps the worst few.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        let paths = |set: &[SettingChange]| set.iter().map(|c| c.path.clone()).collect::<Vec<_>>();
        let same = |known: &&mut Finding| {
            known.cause == finding.cause && paths(&known.set) == paths(&finding.set)
        };
        match kept.iter_mut().find(same) {
            Some(known) => known.tensors.extend(finding.tensors),
            None => kept.push(finding),
        }
    }
    kept.truncate(FINDINGS_MAX);
    kept
}

fn reason(
    record: &Record,
    regression: Option<&LossRatio>,
    worse_over_seeds: bool,
) -> Option<Reason> {
    let over_seeds = worse_over_seeds.then_some(Reason::Seeds);
    if record.golden.ended_worse() {
        return over_seeds;
    }
    if record.fixed.ended_worse() {
        return Some(Reason::Diverged);
    }
    let test = record.comparison.predictions.as_ref().map(McNemar::of);
    if test.is_some_and(|t| t.only_golden_right > t.only_fixed_right && t.p_value < SIGNIFICANT) {
        return Some(Reason::Mcnemar);
    }
    if regression.is_some_and(LossRatio::is_worse) {
        return Some(Reason::PairedT);
    }
    over_seeds
}

/// What every tensor suffers from that is bad enough.
fn symptoms<'a>(prepared: &'a Prepared, record: &Record) -> Vec<Symptom<'a>> {
    let diverged = record.fixed.ended_worse();
    let mut found = Vec::new();
    for (at, decl) in prepared.program.tensors.iter().enumerate() {
        let id = TensorId(at);
        let Some(seen) = record.tensors.get(&decl.name).map(TensorRecord::total) else { continue };
        let mut add = |cause, severity: f64| {
            if severity >= SEVERITY_MIN {
                found.push(Symptom { id, decl, cause, severity: severity.min(1.0) });
            }
        };
        let overflow = seen.accumulator_overflow_rate();
        let wraps = maker(prepared, id).and_then(accumulator_overflow) == Some(Overflow::Wrap);
        add(Cause::AccumulatorOverflow, overflow * if wraps { WRAPPED } else { 1.0 });
        if overflow < SEVERITY_MIN / WRAPPED {
            let made = seen.conversion.sqnr_db().map_or(0.0, noise);
            let made = if diverged { 0.0 } else { made };
            let left = seen.conversion.overflowed > 0 || decl.role == Role::Master;
            let exceeds =
                fitting_frac(record, decl).is_some_and(|fit| fit < decl.plan.format.frac());
            let moving = decl.plan.scale != systoliq_fxp::Scale::Static;
            let mostly = seen.conversion.overflowed > seen.conversion.underflowed;
            let range = is_cut(record, decl) || left && if moving { mostly } else { exceeds };
            let cause = if range { Cause::Range } else { Cause::Resolution };
            add(cause, made.max(converted(prepared, record, id)));
            add(Cause::CoarseSums, of_sums(prepared, record, id));
        }
        if let Some(stalled_rate) = seen.stalled_rate()
            && decl.plan.rounding != Rounding::Stochastic
        {
            add(Cause::StalledUpdates, stalled_rate);
        }
    }
    found
}

/// Noise over signal of so many decibels, at most 1.
fn noise(sqnr_db: f64) -> f64 {
    if sqnr_db.is_nan() { 1.0 } else { libm::pow(10.0, -sqnr_db / 10.0).min(1.0) }
}

/// Noise over signal of a tensor in the teacher-forced probes together, by decibels of each.
fn probed(record: &Record, name: &str, decibels: fn(&Figures) -> Option<Extended>) -> f64 {
    let (mut signal, mut error) = (0.0, 0.0);
    for probe in &record.comparison.probes {
        let Some(found) = probe.teacher_forced.as_ref().and_then(|all| all.get(name)) else {
            continue;
        };
        let energy = found.golden_rms.0 * found.golden_rms.0;
        if let Some(sqnr) = decibels(found).filter(|_| energy.is_finite()) {
            signal += energy;
            error += energy * libm::pow(10.0, -sqnr.0 / 10.0);
        }
    }
    if signal > 0.0 { (error / signal).min(1.0) } else { 0.0 }
}

/// The noise that conversion alone adds to a tensor in these probes.
fn converted(prepared: &Prepared, record: &Record, id: TensorId) -> f64 {
    let of_parameter =
        |id: TensorId| probed(record, &prepared.program.tensor(id).name, |found| found.sqnr_db);
    let decl = prepared.program.tensor(id);
    match decl.role {
        Role::Input | Role::Master | Role::Bias => of_parameter(id),
        Role::Weights => {
            let master = prepared.program.find(Role::Master, decl.entry);
            (of_parameter(id) - master.map_or(0.0, of_parameter)).max(0.0)
        }
        _ => probed(record, &decl.name, |found| found.conversion_db),
    }
}

/// The noise that sums alone add to a tensor in these probes, where a matrix product's accumulator
/// drops bits: relative errors of factors add up in products.
fn of_sums(prepared: &Prepared, record: &Record, id: TensorId) -> f64 {
    let gemm = maker(prepared, id).and_then(|command| command.operation.product());
    let Some(gemm) = gemm.filter(|gemm| gemm.accumulator.aligns()) else { return 0.0 };
    let all =
        |id: TensorId| probed(record, &prepared.program.tensor(id).name, |found| found.sqnr_db);
    let brought = all(gemm.a.tensor) + all(gemm.b.tensor);
    (all(id) - brought - converted(prepared, record, id)).max(0.0)
}

/// The command that makes a tensor.
fn maker(prepared: &Prepared, id: TensorId) -> Option<&Command> {
    prepared.program.made(id).map(|(_, command)| command)
}

fn accumulator_overflow(command: &Command) -> Option<Overflow> {
    command.operation.accumulator().map(|accumulator| accumulator.overflow)
}

/// What golden had in place of a tensor in each probe.
fn goldens<'a>(record: &'a Record, decl: &'a TensorDecl) -> impl Iterator<Item = &'a Figures> {
    let forced = record.comparison.probes.iter().filter_map(|probe| probe.teacher_forced.as_ref());
    forced.filter_map(|all| all.get(&decl.name))
}

/// Whether golden had negative values where the format has no sign.
fn is_cut(record: &Record, decl: &TensorDecl) -> bool {
    !decl.plan.format.is_signed() && goldens(record, decl).any(|found| found.golden_negative)
}

/// The most fraction bits with which a tensor's format holds twice the largest value that golden
/// had in any probe.
fn fitting_frac(record: &Record, decl: &TensorDecl) -> Option<i32> {
    let largest = goldens(record, decl).map(|found| found.golden_max.0).fold(0.0, f64::max);
    let room = decl.plan.format.max_raw() as f64 / (2.0 * largest);
    (largest > 0.0 && largest.is_finite()).then(|| libm::floor(libm::log2(room)) as i32)
}

/// The findings of symptoms of one cause and role, the worst first: one for each remedy.
fn findings(prepared: &Prepared, record: &Record, group: &[Symptom<'_>]) -> Vec<Finding> {
    let worst = &group[0];
    let seen = record.tensors[&worst.decl.name].total();
    let finding = |set: Vec<SettingChange>| Finding {
        tensors: group.iter().map(|symptom| symptom.decl.name.clone()).collect(),
        role: worst.decl.role.name(),
        cause: worst.cause,
        severity: worst.severity,
        saturation_rate: seen.conversion.saturation_rate(),
        lacks_sign: is_cut(record, worst.decl),
        underflow_rate: seen.conversion.underflow_rate(),
        stalled_rate: seen.stalled_rate(),
        accumulator_overflow_rate: seen.accumulator_overflow_rate(),
        set,
        noise_taken_away: None,
        check: None,
    };
    let remedies = Remedies { prepared, record }.of(group);
    remedies.into_iter().filter(|set| apply(prepared, set).is_ok()).map(finding).collect()
}

/// The experiment with some settings changed.
///
/// # Errors
///
/// If that is no possible experiment.
pub fn apply(prepared: &Prepared, set: &[SettingChange]) -> Result<Prepared, Error> {
    let impossible = |error: serde_json::Error| Error::at("precision", error);
    let mut value = serde_json::to_value(&prepared.experiment).map_err(impossible)?;
    set.iter().for_each(|change| change.put(&mut value));
    let experiment: Experiment = serde_json::from_value(value).map_err(impossible)?;
    Prepared::new(experiment)
}

/// Epochs of a check: half of the run's, rounded up.
pub fn check_epochs(prepared: &Prepared) -> usize {
    prepared.experiment.training.epochs.div_ceil(2) as usize
}

/// Trains with some settings changed, on the seed of `record` and for [`check_epochs`], and
/// compares the error rates after these; nothing for a regression.
///
/// # Errors
///
/// If the changed experiment is impossible, or its run fails.
pub fn check(
    prepared: &Prepared,
    data: &DataSet,
    record: &Record,
    set: &[SettingChange],
    (engine, conduct): (EngineKind, &Conduct<'_>),
) -> Result<Option<ShortRun>, Error> {
    let changed = apply(prepared, set)?;
    let epochs = check_epochs(prepared);
    let mut trainer = Trainer::new(&changed, data, record.seed, engine);
    for _ in 0..epochs {
        trainer.epoch(conduct, None)?;
    }
    let rate = |curve: &systoliq_run::trainer::Curve| curve.epochs[epochs - 1].test.error_rate();
    let rates = [&record.golden, &record.fixed, &trainer.record().fixed].map(rate);
    let [Some(golden_error_rate), Some(error_rate), Some(changed_error_rate)] = rates else {
        return Ok(None);
    };
    let regained = error_rate - changed_error_rate;
    Ok(Some(ShortRun { epochs, golden_error_rate, error_rate, changed_error_rate, regained }))
}

impl Finding {
    /// The arguments that should help, as a command line has them.
    pub fn arguments(&self) -> String {
        let set = self.set.iter().map(|change| format!("--set {change}"));
        set.collect::<Vec<_>>().join(" ")
    }
}

impl Serialize for SettingChange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::String(self.to_string()).serialize(serializer)
    }
}
