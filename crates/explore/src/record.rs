//! What is kept of a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use systoliq_nn::{Evaluation, Extended, Training};
use systoliq_program::{EntryName, TensorDecl};
use systoliq_run::Right;
use systoliq_run::trainer::Sqnr;
use systoliq_run::{Error, Prepared};
use systoliq_run::{
    trainer::Curve, trainer::Epoch, trainer::Record, trainer::RightByPart, trainer::Writes,
};
use systoliq_study::Report;
use systoliq_study::report::{CyclesReport, EnergyReport};

use crate::{Measure, RunKey};

mod check;

pub(crate) use check::Plans;

/// A line of the store: one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The key of the experiment.
    pub key: RunKey,
    /// The experiment with the seed of the run, as [`RunKey`] hashes it.
    pub experiment: Value,
    /// How the run ended.
    pub outcome: RunOutcome,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It was trained to its end, whether or not it learned.
    Done(Box<Found>),
    /// It was given up before, as a search does.
    Stopped(Stopped),
    /// It was not, for this reason.
    Failed(String),
}

impl Line {
    /// What the run found, if it was trained to its end.
    pub fn found(&self) -> Option<&Found> {
        match &self.outcome {
            RunOutcome::Done(found) => Some(found),
            RunOutcome::Stopped(_) | RunOutcome::Failed(_) => None,
        }
    }

    /// The hash of its data, if the run got as far as to train.
    pub(crate) fn data(&self) -> Option<&str> {
        match &self.outcome {
            RunOutcome::Done(found) => Some(&found.data),
            RunOutcome::Stopped(stopped) => Some(&stopped.data),
            RunOutcome::Failed(_) => None,
        }
    }
}

/// A run that lost too much to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    /// A hash of every sample and answer of its data, in hexadecimal.
    pub data: String,
    /// Epochs that were trained.
    pub epochs: u32,
    /// What fixed point lost against golden at least in the latest of these, as [`GiveUp`] counts.
    pub lost: Extended,
    /// More than this was too much.
    pub allowed: f64,
}

/// When a run is given up: once it has lost more in each of the latest epochs, against golden of the
/// same epoch, than may be lost in the end and what it may still make good.
///
/// The latest epochs are a quarter of all, rounded up, so that a single bad one does not count. After e
/// of E epochs, a run may make good a share (1 − e/E)/2 of what the initial weights get wrong (their
/// error rate, or loss, on the test part). No epoch proves how a run ends: whoever gives runs up has
/// to treat them as lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GiveUp {
    /// What may be lost in the end.
    pub loss: f64,
}

/// The share of the initial error that a run may make good in all its epochs.
const MADE_GOOD: f64 = 0.5;

impl GiveUp {
    /// What a run has lost at least in the latest epochs and what it may have lost, `(lost, allowed)`,
    /// if it is given up after the epochs of `record`, of so many in all.
    pub(crate) fn reached(self, record: &Record, epochs: u32) -> Option<(f64, f64)> {
        let (done, epochs) = (record.fixed.epochs.len(), epochs as usize);
        let first = done.checked_sub(latest(epochs)).filter(|_| done < epochs)?;
        let part = |epoch: &Epoch| epoch.validation.unwrap_or(epoch.test);
        let pairs = record.fixed.epochs.iter().zip(&record.golden.epochs).skip(first);
        let lost = pairs.map(|(fixed, golden)| lost(&part(fixed), &part(golden)));
        // What is no number is more than anything.
        let least = lost.fold(f64::NAN, f64::min);
        let initial = &record.golden.initial;
        let wrong = initial.error_rate().unwrap_or(initial.loss);
        let left = 1.0 - done as f64 / epochs as f64;
        let allowed = self.loss + MADE_GOOD * left * wrong;
        (least.is_nan() || least > allowed).then_some((least, allowed))
    }
}

/// How many epochs are the latest.
fn latest(epochs: usize) -> usize {
    epochs.div_ceil(4)
}

/// What fixed point loses against golden on one part of the data.
fn lost(fixed: &Evaluation, golden: &Evaluation) -> f64 {
    match (fixed.errors, golden.errors) {
        (Some(fixed_errors), Some(golden_errors)) => {
            (fixed_errors as f64 - golden_errors as f64) / fixed.count as f64
        }
        _ => fixed.loss - golden.loss,
    }
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// A hash of every sample and answer of its data, in hexadecimal.
    pub data: String,
    /// The golden model.
    pub golden: LearningCurves,
    /// The fixed-point network.
    pub fixed: LearningCurves,
    /// Clock cycles of the training.
    pub cycles: CyclesReport,
    /// MACs / (PEs × cycles).
    pub utilization: f64,
    /// Multiply-accumulates asked of the array.
    pub macs: u64,
    /// Energy of the training, also on float32 hardware.
    pub energy_pj: EnergyReport,
    /// Area of the machine.
    pub area_mm2: f64,
    /// Every tensor of a training step.
    pub tensors: Vec<FoundTensor>,
}

/// One network over its epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningCurves {
    /// On the test part, with the initial weights.
    pub initial: Initial,
    /// Mean losses of the training samples, each before its step's update, epoch by epoch.
    pub training_loss: Vec<Extended>,
    /// On the validation part after each epoch, if there is one.
    pub validation: Option<Scores>,
    /// On the test part after each epoch.
    pub test: Scores,
    /// The first epoch whose loss exceeds that of the initial weights, or is not finite.
    pub diverged_at_epoch: Option<usize>,
}

/// A network before training, on the test part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initial {
    /// Samples taken for another class; nothing for a regression.
    pub errors: Option<u64>,
    /// The mean loss.
    pub loss: Extended,
}

/// A network on one part of the data, epoch by epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Samples of the part.
    pub count: u64,
    /// Of these, those taken for another class; nothing for a regression.
    pub errors: Option<Vec<u64>>,
    /// Mean losses: cross-entropy in bits, or `½Σe²`.
    pub loss: Vec<Extended>,
    /// Which samples it gets right after the last epoch; nothing for a regression.
    pub right: Option<Right>,
}

impl Scores {
    fn new<'a>(
        evaluations: impl Iterator<Item = &'a Evaluation> + Clone,
        right: Option<&Right>,
    ) -> Option<Self> {
        let count = evaluations.clone().next()?.count;
        Some(Self {
            count,
            errors: evaluations.clone().map(|evaluation| evaluation.errors).collect(),
            loss: evaluations.map(|evaluation| Extended(evaluation.loss)).collect(),
            right: right.cloned(),
        })
    }

    /// Whether the samples that it gets right are as many as its errors after the last epoch leave.
    fn has_right(&self) -> bool {
        let errors = self.errors.as_ref().map(|errors| errors.last().copied());
        let right = self.right.as_ref();
        right.is_none_or(|right| right.len() as u64 == self.count)
            && right.map(|right| Some(right.errors())) == errors
    }

    /// The error rate after the last epoch; nothing for a regression.
    pub fn final_error_rate(&self) -> Option<f64> {
        Some(*self.errors.as_ref()?.last()? as f64 / self.count as f64)
    }

    /// The loss after the last epoch.
    pub fn final_loss(&self) -> Option<f64> {
        self.loss.last().map(|loss| loss.0)
    }

    /// What a measure is after the last epoch; nothing where there are no classes to have errors in.
    pub fn last(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::ErrorRate => self.final_error_rate(),
            Measure::Loss => self.final_loss(),
        }
    }

    fn evaluation(&self, at: usize) -> Evaluation {
        Evaluation {
            count: self.count,
            loss: self.loss[at].0,
            errors: self.errors.as_ref().map(|errors| errors[at]),
            information: None,
        }
    }
}

impl LearningCurves {
    /// What is kept of a curve.
    ///
    /// # Panics
    ///
    /// If it has no epochs.
    pub fn new(curve: &Curve) -> Self {
        let validation = curve.epochs.iter().filter_map(|epoch| epoch.validation.as_ref());
        let test = curve.epochs.iter().map(|epoch| &epoch.test);
        let right = curve.right.as_ref();
        Self {
            initial: Initial { errors: curve.initial.errors, loss: Extended(curve.initial.loss) },
            training_loss: curve.epochs.iter().map(|epoch| Extended(epoch.training_loss)).collect(),
            validation: Scores::new(validation, right.and_then(|right| right.validation.as_ref())),
            test: Scores::new(test, right.map(|right| &right.test))
                .expect("a curve of at least one epoch"),
            diverged_at_epoch: curve.diverged(),
        }
    }

    /// Whether its loss on the test part ended above that of the initial weights, or not finite.
    pub fn ended_worse(&self) -> bool {
        let last = self.test.final_loss().unwrap_or(f64::NAN);
        !last.is_finite() || last > self.initial.loss.0
    }

    /// The scores on the validation or the test part.
    pub(crate) fn part(&self, validation: bool) -> Option<&Scores> {
        if validation { self.validation.as_ref() } else { Some(&self.test) }
    }

    /// The curve that it was kept of, without what predictions say about labels; nothing where its
    /// parts do not have as many epochs, or other errors than samples that it gets right.
    pub fn curve(&self) -> Option<Curve> {
        let epochs = self.training_loss.len();
        let fits = |scores: &Scores| {
            scores.loss.len() == epochs
                && scores.has_right()
                && scores.errors.as_ref().is_none_or(|errors| errors.len() == epochs)
        };
        if !fits(&self.test) || !self.validation.as_ref().is_none_or(fits) {
            return None;
        }
        let epoch = |at: usize| Epoch {
            training_loss: self.training_loss[at].0,
            validation: self.validation.as_ref().map(|scores| scores.evaluation(at)),
            test: self.test.evaluation(at),
        };
        let initial = Evaluation {
            count: self.test.count,
            loss: self.initial.loss.0,
            errors: self.initial.errors,
            information: None,
        };
        let right = self.test.right.clone().map(|test| RightByPart {
            validation: self.validation.as_ref().and_then(|scores| scores.right.clone()),
            test,
        });
        Some(Curve { initial, epochs: (0..epochs).map(epoch).collect(), right })
    }
}

/// What happened to one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundTensor {
    /// Its name in the program.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The layer with weights that it belongs to.
    pub layer: EntryName,
    /// Its format as planned.
    pub format: String,
    /// Bits of an element.
    pub bits: u32,
    /// Elements in a step on a full batch.
    pub step_elements: u64,
    /// Signal-to-quantization-noise ratio of its conversions in training.
    #[serde(flatten)]
    pub sqnr: Sqnr,
    /// Share of elements that left the range.
    pub saturation_rate: f64,
    /// Share of elements that rounded to zero without being zero.
    pub underflow_rate: f64,
    /// Share of the updates asked for that changed nothing; nothing where there are no updates.
    pub stalled_rate: Option<f64>,
}

impl FoundTensor {
    fn new(decl: &TensorDecl, training: &Training, found: &Writes) -> Self {
        Self {
            sqnr: found.sqnr(training.sqnr),
            saturation_rate: found.conversion.saturation_rate(),
            underflow_rate: found.conversion.underflow_rate(),
            stalled_rate: found.stalled_rate(),
            ..Self::planned(decl, training)
        }
    }

    /// A tensor to which nothing has happened.
    fn planned(decl: &TensorDecl, training: &Training) -> Self {
        Self {
            name: decl.name.clone(),
            role: decl.role.name().to_owned(),
            layer: decl.entry,
            format: decl.plan.format_name(),
            bits: decl.plan.format.bits(),
            step_elements: (decl.rows.count(training.batch) * decl.cols) as u64,
            sqnr: Writes::default().sqnr(training.sqnr),
            saturation_rate: 0.0,
            underflow_rate: 0.0,
            stalled_rate: None,
        }
    }
}

impl Found {
    /// What is kept of a run that has been trained to its end on data of this fingerprint.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits.
    pub(crate) fn new(prepared: &Prepared, record: &Record, data: String) -> Result<Self, Error> {
        let report = Report::new(prepared, std::slice::from_ref(record))?;
        let training = &prepared.experiment.training;
        let tensors = prepared.program.tensors.iter();
        let seen = tensors.filter_map(|decl| Some((decl, record.tensors.get(&decl.name)?)));
        Ok(Self {
            data,
            golden: LearningCurves::new(&record.golden),
            fixed: LearningCurves::new(&record.fixed),
            cycles: report.cycles,
            utilization: report.utilization,
            macs: report.macs,
            energy_pj: report.energy_pj,
            area_mm2: report.hardware.area_mm2,
            tensors: seen
                .map(|(decl, found)| FoundTensor::new(decl, training, &found.total()))
                .collect(),
        })
    }

    /// Whether it has every score of so many epochs.
    pub(crate) fn has_epochs(&self, epochs: Option<u64>) -> bool {
        let (fixed, golden) = (&self.fixed, &self.golden);
        let same = |validation| {
            let scores = [fixed, golden].map(|learning| learning.part(validation));
            let kind = |scores: Option<&Scores>| scores.map(|s| (s.count, s.errors.is_some()));
            kind(scores[0]) == kind(scores[1]) && scores[0].is_none_or(|scores| scores.count > 0)
        };
        let whole = |learning: &LearningCurves| {
            learning.curve().is_some_and(|curve| Some(curve.epochs.len() as u64) == epochs)
        };
        epochs != Some(0) && [fixed, golden].into_iter().all(whole) && same(true) && same(false)
    }

    /// What fixed point lost against golden after the last epoch: in error rate, from whole numbers of
    /// errors, or in loss where there are no classes; on the validation part if there is one. Against a
    /// golden model that ended above its initial loss it is no number.
    pub fn lost(&self) -> Option<f64> {
        self.lost_in(self.measure(), self.fixed.validation.is_some())
    }

    /// Error rates of a classifier, else losses.
    pub fn measure(&self) -> Measure {
        if self.fixed.test.errors.is_some() { Measure::ErrorRate } else { Measure::Loss }
    }

    /// The mean of what fixed point lost after each of the latest epochs, a quarter of all rounded up.
    pub(crate) fn lost_lately(&self) -> Option<f64> {
        let validation = self.fixed.validation.is_some();
        let (fixed, golden) = (self.fixed.part(validation)?, self.golden.part(validation)?);
        let epochs = fixed.loss.len().min(golden.loss.len());
        let latest = epochs - latest(epochs)..epochs;
        let count = latest.len() as f64;
        let lost = latest.map(|at| lost(&fixed.evaluation(at), &golden.evaluation(at)));
        let lost = lost.sum::<f64>() / count;
        Some(if self.golden.ended_worse() { f64::NAN } else { lost })
    }

    /// What was lost in the end in one measure and on the validation or the test part; nothing where there is none.
    pub(crate) fn lost_in(&self, measure: Measure, validation: bool) -> Option<f64> {
        let (fixed, golden) = (self.fixed.part(validation)?, self.golden.part(validation)?);
        if self.golden.ended_worse() {
            return Some(f64::NAN);
        }
        match measure {
            Measure::ErrorRate => {
                let last = |scores: &Scores| scores.errors.as_ref()?.last().copied();
                Some((last(fixed)? as f64 - last(golden)? as f64) / fixed.count as f64)
            }
            Measure::Loss => Some(fixed.final_loss()? - golden.final_loss()?),
        }
    }

    /// Bits of all tensors of a training step on a full batch, each stored once.
    pub fn step_bits(&self) -> u64 {
        self.tensors.iter().map(|tensor| u64::from(tensor.bits) * tensor.step_elements).sum()
    }
}
