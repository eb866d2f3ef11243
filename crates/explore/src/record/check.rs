//! Whether a line that was read can be that of a run: shares are shares, counts are no more than what
//! they are counted of, and sums are the sums of their parts.

use std::collections::BTreeMap;

use systoliq_array::CyclesByCause;
use systoliq_program::Pass;
use systoliq_sim::Prepared;
use systoliq_sim::energy::Picojoules;
use systoliq_sim::events::{Component, EnergyByComponent};
use systoliq_sim::report::{CyclesReport, EnergyReport};

use super::{Found, FoundTensor, Learning, Line, Outcome, Scores, Stopped};

/// A key of a line and what is wrong with it.
type Check = Result<(), String>;

fn expect(holds: bool, key: &str, found: impl std::fmt::Debug, expected: &str) -> Check {
    if holds { Ok(()) } else { Err(format!("{key}: {found:?}, expected {expected}")) }
}

/// Puts a key before the one at fault.
fn within(key: &str, check: Check) -> Check {
    check.map_err(|problem| format!("{key}.{problem}"))
}

impl Line {
    /// Checks all that is read of it but its key.
    ///
    /// # Errors
    ///
    /// The first member at fault, with what was found and what was expected.
    pub(crate) fn check(&self) -> Check {
        let epochs = self.experiment["training"]["epochs"].as_u64();
        match &self.outcome {
            Outcome::Done(found) if !found.has_epochs(epochs) => {
                Err("its losses and errors are not those of every epoch".to_owned())
            }
            Outcome::Done(found) => within("outcome.done", found.check()),
            Outcome::Stopped(stopped) => within("outcome.stopped", stopped.check(epochs)),
            Outcome::Failed(_) => Ok(()),
        }
    }
}

impl Stopped {
    fn check(&self, epochs: Option<u64>) -> Check {
        check_fingerprint(&self.data)?;
        let before_the_last = epochs.is_some_and(|all| (1..all).contains(&u64::from(self.epochs)));
        expect(before_the_last, "epochs", self.epochs, "some, but not all of the experiment's")?;
        expect(self.allowed.is_finite(), "allowed", self.allowed, "a finite number")
    }
}

impl Found {
    fn check(&self) -> Check {
        check_fingerprint(&self.data)?;
        within("golden", self.golden.check())?;
        within("fixed", self.fixed.check())?;
        within("cycles", check_cycles(&self.cycles))?;
        // A quotient of exact counts.
        let busy = (0.0..=1.0 + 1e-9).contains(&self.utilization);
        expect(busy, "utilization", self.utilization, "0 to 1")?;
        within("energy_pj", check_energy(&self.energy_pj))?;
        check_amount("area_mm2", self.area_mm2)?;
        let mut elements = 0u64;
        for (at, tensor) in self.tensors.iter().enumerate() {
            within(&format!("tensors[{at}]"), tensor.check())?;
            elements = elements.saturating_add(tensor.step_elements);
        }
        let most = Prepared::ELEMENTS_MAX;
        expect(elements <= most, "tensors", elements, &format!("at most {most} elements in a step"))
    }
}

impl FoundTensor {
    fn check(&self) -> Check {
        expect((1..=64).contains(&self.bits), "bits", self.bits, "1 to 64")?;
        let most = Prepared::ELEMENTS_MAX;
        let possible = self.step_elements <= most;
        expect(possible, "step_elements", self.step_elements, &format!("at most {most}"))?;
        let rates = [
            ("saturation_rate", Some(self.saturation_rate)),
            ("underflow_rate", Some(self.underflow_rate)),
            ("stalled_rate", self.stalled_rate),
        ];
        rates.into_iter().try_for_each(|(key, rate)| {
            expect(rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)), key, rate, "0 to 1")
        })
    }
}

impl Learning {
    fn check(&self) -> Check {
        let classes = self.test.errors.is_some();
        let initial = self.initial.errors;
        let possible = initial.map_or(!classes, |errors| classes && errors <= self.test.count);
        expect(
            possible,
            "initial.errors",
            initial,
            "at most one a sample, where there are classes",
        )?;
        within("test", self.test.check())?;
        within("validation", self.validation.as_ref().map_or(Ok(()), Scores::check))?;
        let diverged = self.curve().and_then(|curve| curve.diverged());
        let (found, expected) = (self.diverged_at_epoch, format!("{diverged:?} by its losses"));
        expect(found == diverged, "diverged_at_epoch", found, &expected)
    }
}

impl Scores {
    fn check(&self) -> Check {
        let most = self.errors.iter().flatten().max().copied().unwrap_or(0);
        expect(most <= self.count, "errors", most, &format!("at most {} samples", self.count))
    }
}

fn check_fingerprint(data: &str) -> Check {
    let digits = data.len() == 16 && data.bytes().all(|byte| byte.is_ascii_hexdigit());
    expect(digits, "data", data, "16 hexadecimal digits")
}

/// An amount of something: finite and not negative.
fn check_amount(key: &str, found: f64) -> Check {
    expect(found.is_finite() && found >= 0.0, key, found, "a number that is not negative")
}

fn check_cycles(cycles: &CyclesReport) -> Check {
    let CyclesReport { total, by_cause, by_pass, by_pass_and_cause } = cycles;
    let sum = |by: &CyclesByCause| {
        let CyclesByCause { preload, stream, skew, drain, vector, stall } = *by;
        let all = [preload, stream, skew, drain, vector, stall];
        all.iter().map(|cycles| u128::from(cycles.0)).sum::<u128>()
    };
    let whole = u128::from(*total);
    expect(sum(by_cause) == whole, "by_cause", sum(by_cause), &format!("a sum of {whole}"))?;
    let passes: u128 = by_pass.values().map(|&cycles| u128::from(cycles)).sum();
    expect(passes == whole, "by_pass", passes, &format!("a sum of {whole}"))?;
    let causes: BTreeMap<Pass, u128> =
        by_pass_and_cause.iter().map(|(&pass, by)| (pass, sum(by))).collect();
    let passes = by_pass.iter().map(|(&pass, &cycles)| (pass, u128::from(cycles))).collect();
    expect(causes == passes, "by_pass_and_cause", &causes, &format!("sums of {passes:?}"))
}

fn check_energy(energy: &EnergyReport) -> Check {
    let wholes = [
        ("total", &energy.total, &energy.by_component, &energy.by_pass),
        (
            "float32_total",
            &energy.float32_total,
            &energy.float32_by_component,
            &energy.float32_by_pass,
        ),
    ];
    let dependent = energy.data_dependent.as_ref();
    let dependent =
        dependent.map(|of| ("data_dependent.total", &of.total, &of.by_component, &of.by_pass));
    for (key, total, by_component, by_pass) in wholes.into_iter().chain(dependent) {
        check_whole(key, *total, by_component)?;
        by_pass.values().try_for_each(|energy| check_amount("by_pass", energy.0))?;
    }
    Ok(())
}

/// A sum over components, to the last digits.
fn check_whole(key: &str, Picojoules(total): Picojoules, parts: &EnergyByComponent) -> Check {
    check_amount(key, total)?;
    for component in Component::ALL {
        check_amount(component.name(), parts.of(component).0)?;
    }
    let sum = parts.total().0;
    expect((total - sum).abs() <= 1e-9 * sum, key, total, &format!("{sum}, the sum of its parts"))
}
