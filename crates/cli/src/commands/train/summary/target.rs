//! The best epochs of a run, and what it took to reach an error rate.

use std::fmt::Write as _;

use systoliq_energy::Picojoules;
use systoliq_study::Report;
use systoliq_study::report::{
    BestEpoch, CurveReport, Judging, Reached, ReachedOverSeeds, ToTarget, WINDOW,
};

use crate::commands::table::{grouped, joules, percent, real, time};

/// The best epoch of each network, where a validation part chooses it.
pub(super) fn best(report: &Report) -> String {
    let of = |curve: &CurveReport| {
        let BestEpoch { epoch, error_rate, loss_bits, .. } = curve.best?;
        let found = error_rate.map_or_else(
            || format!("loss {}", real(loss_bits.0)),
            |rate| format!("error {}", percent(rate)),
        );
        Some(format!("epoch {epoch}, {found}"))
    };
    let [fixed, golden] = [&report.fixed, &report.golden]
        .map(|curve| of(curve).unwrap_or_else(|| "no epoch with a finite loss".to_owned()));
    if report.fixed.best.or(report.golden.best).is_none() {
        return String::new();
    }
    let seed = match report.seeds.first() {
        Some(first) => format!("of seed {}, ", first.seed),
        None => String::new(),
    };
    format!(
        "best           fixed: {fixed}; golden: {golden}\n{:15}{seed}chosen on the validation part, quoted \
         on the test part\n",
        ""
    )
}

/// What it took to reach the target.
pub(super) fn cost(report: &Report) -> String {
    let training = &report.experiment.training;
    let Some(found) = &report.to_target else {
        let stated = training.target_error_rate.filter(|_| training.teacher_forced);
        return stated.map_or_else(String::new, |rate| {
            let why = "not asked of a teacher-forced network, which does not learn by itself";
            format!("to {} error  {why}\n", percent(rate))
        });
    };
    let ToTarget { error_rate, stated, part, fixed, golden, over_seeds } = found;
    let [fixed, golden] = match over_seeds {
        None => [fixed, golden].map(|of| first(report, of.as_ref())),
        Some(over) => [&over.fixed, &over.golden].map(|of| reached(report, of)),
    };
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("writing to a string");
    };
    line(format_args!("to {} error  fixed: {fixed}", percent(*error_rate)));
    line(format_args!("{:15}float32: {golden}", ""));
    let part = match part {
        Judging::Validation => "the validation part",
        Judging::Test => "the test part, as there is no validation part",
    };
    let whence =
        if *stated { "" } else { "; the target is golden's end, the median over the seeds" };
    line(format_args!("{:15}by the mean error of {WINDOW} epochs on {part}{whence}", ""));
    text
}

/// Where one run reached the target.
fn first(report: &Report, reached: Option<&Reached>) -> String {
    match reached {
        None => format!("not reached{}", too_few_epochs(report)),
        Some(Reached { epochs, cycles, seconds, energy_pj }) => format!(
            "epoch {epochs}, {} cycles, {}, {}",
            grouped(*cycles),
            time(*seconds),
            joules(*energy_pj, report.hardware.energy_unit)
        ),
    }
}

/// Why nothing could be reached, where there are too few epochs: `: 2 epochs have no mean of 3`.
fn too_few_epochs(report: &Report) -> String {
    let epochs = report.experiment.training.epochs;
    if (epochs as usize) < WINDOW {
        format!(": {epochs} epochs have no mean of {WINDOW}")
    } else {
        String::new()
    }
}

/// How often runs reached it.
fn reached(report: &Report, found: &ReachedOverSeeds) -> String {
    let ReachedOverSeeds { seeds, reached, energy_pj } = found;
    if *reached == 0 {
        return format!("reached 0 of {seeds}{}", too_few_epochs(report));
    }
    let energy = |value: f64| {
        if value.is_finite() {
            joules(Picojoules(value), report.hardware.energy_unit)
        } else {
            "never".to_owned()
        }
    };
    let [lower, median, upper] = [energy_pj.lower, energy_pj.median, energy_pj.upper].map(energy);
    format!("reached {reached} of {seeds}, median {median}, quartiles {lower} and {upper}")
}
