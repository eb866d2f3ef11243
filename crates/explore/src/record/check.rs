//! Whether a line that was read can be that of a run: shares are shares, counts are no more than what
//! they are counted of, sums are the sums of their parts, and what follows from the experiment does.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use systoliq_hardware::cost::Arithmetic;
use systoliq_run::{Experiment, Prepared};
use systoliq_study::report::check::{CheckResult, amount, expect, losses, share, within};

use super::{Found, FoundTensor, LearningCurves, Line, RunOutcome, Scores, Stopped};

/// What follows of an experiment before it is run, with any seed. That of the last one is remembered,
/// as lines of one point follow each other.
#[derive(Default)]
pub(crate) struct Plans(Option<(Value, PointPlan)>);

struct PointPlan {
    tensors: Vec<FoundTensor>,
    pes: f64,
    area_mm2: f64,
}

impl Plans {
    fn of(&mut self, experiment: &Value) -> Result<&PointPlan, String> {
        let mut seedless = experiment.clone();
        if let Some(members) = seedless.as_object_mut() {
            members.remove("seed");
        }
        if self.0.as_ref().is_none_or(|(of, _)| *of != seedless) {
            let plan =
                PointPlan::new(experiment).map_err(|problem| format!("experiment: {problem}"))?;
            self.0 = Some((seedless, plan));
        }
        let (_, plan) = self.0.as_ref().expect("a plan just made");
        Ok(plan)
    }
}

/// The area of the machine, which does not depend on how many samples there are.
fn area_mm2(prepared: &Prepared) -> Result<f64, systoliq_run::Error> {
    let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
    let profile = prepared.experiment.accelerator.profile()?;
    Ok(prepared.prices_by(profile, &costs)?.silicon().total_mm2())
}

impl PointPlan {
    fn new(experiment: &Value) -> Result<Self, String> {
        let experiment: Experiment =
            serde_json::from_value(experiment.clone()).map_err(|error| error.to_string())?;
        let of = |error: systoliq_run::Error| error.to_string();
        let prepared = Prepared::new(experiment).map_err(of)?;
        let Experiment { training, accelerator, .. } = &prepared.experiment;
        let tensors = prepared.program.tensors.iter();
        Ok(Self {
            tensors: tensors.map(|decl| FoundTensor::planned(decl, training)).collect(),
            pes: accelerator.array.pes() as f64,
            area_mm2: area_mm2(&prepared).map_err(of)?,
        })
    }
}

impl Line {
    /// Checks all that is read of it but its key.
    ///
    /// # Errors
    ///
    /// The first member at fault, with what was found and what was expected.
    pub(crate) fn check(&self, plans: &mut Plans) -> CheckResult {
        let epochs = self.experiment["training"]["epochs"].as_u64();
        match &self.outcome {
            RunOutcome::Done(found) if !found.has_epochs(epochs) => {
                Err("its losses and errors are not those of every epoch".to_owned())
            }
            RunOutcome::Done(found) => {
                within("outcome.done", found.check(plans.of(&self.experiment)?))
            }
            RunOutcome::Stopped(stopped) => within("outcome.stopped", stopped.check(epochs)),
            RunOutcome::Failed(_) => Ok(()),
        }
    }
}

impl Stopped {
    fn check(&self, epochs: Option<u64>) -> CheckResult {
        check_fingerprint(&self.data)?;
        let before_the_last = epochs.is_some_and(|all| (1..all).contains(&u64::from(self.epochs)));
        expect(before_the_last, "epochs", self.epochs, "some, but not all of the experiment's")?;
        expect(self.allowed.is_finite(), "allowed", self.allowed, "a finite number")
    }
}

impl Found {
    fn check(&self, plan: &PointPlan) -> CheckResult {
        check_fingerprint(&self.data)?;
        within("golden", self.golden.check())?;
        within("fixed", self.fixed.check())?;
        within("cycles", self.cycles.check())?;
        within("energy_pj", self.energy_pj.check())?;
        expect(self.macs > 0, "macs", self.macs, "1 or more")?;
        let busy = self.macs as f64 / (plan.pes * self.cycles.total as f64);
        share("utilization", self.utilization)?;
        check_same("utilization", self.utilization, busy)?;
        check_same("area_mm2", self.area_mm2, plan.area_mm2)?;
        expect(!self.tensors.is_empty(), "tensors", 0, "1 or more")?;
        let mut names = BTreeSet::new();
        self.tensors.iter().enumerate().try_for_each(|(at, tensor)| {
            let key = format!("tensors[{at}]");
            let name = &tensor.name;
            expect(names.insert(name), &key, name, "every name once")?;
            within(&key, tensor.check(plan))
        })
    }
}

impl FoundTensor {
    fn check(&self, plan: &PointPlan) -> CheckResult {
        let Some(planned) = plan.tensors.iter().find(|planned| planned.name == self.name) else {
            return expect(false, "name", &self.name, "that of a tensor of the experiment");
        };
        let [found, planned] = [self, planned].map(|tensor| json!(tensor));
        for key in ["role", "layer", "format", "bits", "step_elements"] {
            if found[key] != planned[key] {
                let (found, planned) = (&found[key], &planned[key]);
                return Err(format!("{key}: {found}, expected {planned}, as it is planned"));
            }
        }
        let rates = [
            ("saturation_rate", Some(self.saturation_rate)),
            ("underflow_rate", Some(self.underflow_rate)),
            ("stalled_rate", self.stalled_rate),
        ];
        rates.into_iter().try_for_each(|(key, rate)| rate.map_or(Ok(()), |rate| share(key, rate)))
    }
}

/// Checks what follows from other figures, to the last digits.
fn check_same(key: &str, found: f64, expected: f64) -> CheckResult {
    amount(key, found)?;
    let same = (found - expected).abs() <= 1e-9 * expected;
    expect(same, key, found, &format!("{expected}, by its experiment"))
}

impl LearningCurves {
    fn check(&self) -> CheckResult {
        let classes = self.test.errors.is_some();
        let initial = self.initial.errors;
        let possible = initial.map_or(!classes, |errors| classes && errors <= self.test.count);
        expect(
            possible,
            "initial.errors",
            initial,
            "at most one a sample, where there are classes",
        )?;
        losses("initial.loss", &[self.initial.loss])?;
        losses("training_loss", &self.training_loss)?;
        within("test", self.test.check())?;
        within("validation", self.validation.as_ref().map_or(Ok(()), Scores::check))?;
        let diverged = self.curve().and_then(|curve| curve.diverged());
        let (found, expected) = (self.diverged_at_epoch, format!("{diverged:?} by its losses"));
        expect(found == diverged, "diverged_at_epoch", found, &expected)
    }
}

impl Scores {
    fn check(&self) -> CheckResult {
        losses("loss", &self.loss)?;
        let most = self.errors.iter().flatten().max().copied().unwrap_or(0);
        expect(most <= self.count, "errors", most, &format!("at most {} samples", self.count))
    }
}

fn check_fingerprint(data: &str) -> CheckResult {
    let digits = data.len() == 16 && data.bytes().all(|byte| byte.is_ascii_hexdigit());
    expect(digits, "data", data, "16 hexadecimal digits")
}
