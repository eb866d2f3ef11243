//! What a search found, as tables for a person.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use systoliq_energy::{EnergyUnit, Picojoules};
use systoliq_explore::{
    CostKind, FoundPlan, HeldBack, How, Lost, MeanCosts, Measure, PlanVerdict, SearchReport,
    SearchStep, SelectedOn, StartName,
};
use systoliq_study::drop::words;
use systoliq_study::panel::why_here;

use crate::commands::table::{Columns, grouped, joules, percent, points, real};
use crate::failure::one_line;

/// The tables of a search; there may be a reason why none of its starts is by analysis.
pub(super) fn summary(
    report: &SearchReport,
    found: &FoundPlan,
    no_analysis: Option<&str>,
) -> String {
    let mut text = heading(report);
    if let Some(reason) = no_analysis {
        text += &format!(" no plan by analysis: {reason}\n\n");
    }
    text += &steps(report);
    text += &widths(found);
    text += &answer(report, found);
    text
}

/// Appends a line.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {
        writeln!($text, $($format)*).expect("writing to a string")
    };
}

/// That there is no plan, and what came nearest.
pub(super) fn nothing(report: &SearchReport) -> String {
    let budget = budget(report);
    let trained = report.trainings.total;
    match &report.nothing_within {
        Some(nearest) => format!(
            "nothing is surely within {budget} of float: what came nearest, from the plan {}, loses {}{}, \
             lately {}, with {} {}; {trained} runs are in the store",
            of_start(nearest.start),
            with_error(report, nearest.lost.0, nearest.lost_error.map(|error| error.0)),
            if nearest.lost_error.is_some() { " (the mean and its standard error)" } else { "" },
            with_error(
                report,
                nearest.lost_lately.0,
                nearest.lost_lately_error.map(|error| error.0)
            ),
            nearest.seeds,
            if nearest.seeds == 1 { "seed" } else { "seeds" },
        ),
        None if report.trainings.failed == trained => {
            format!("nothing is within {budget} of float: no run could be trained")
        }
        None => format!(
            "nothing is within {budget} of float: no loss against float is a number, as where float \
             itself diverges"
        ),
    }
}

/// A step in a few words.
pub(super) fn step(step: &SearchStep) -> String {
    format!("{}: {}", lowered(step), verdict(step.verdict))
}

fn heading(report: &SearchReport) -> String {
    let what = match report.cost {
        CostKind::EnergyPj => "least energy",
        CostKind::Cycles => "fewest cycles",
        CostKind::StepBits => "fewest bits of a step",
        CostKind::AreaMm2 => "least area",
    };
    let budget = budget(report);
    let seeds = match report.seeds.len() {
        1 => "1 seed".to_owned(),
        several => format!("the mean of {several} seeds with its standard error"),
    };
    let part = part(report);
    format!(
        "{}: {what} for a loss of at most {budget}, {seeds} on the {part} part\n\n",
        one_line(&report.name)
    )
}

/// Whole plans; widths that were lowered alone are only counted.
fn steps(report: &SearchReport) -> String {
    let lost = format!("lost, {} + s.e.", part(report));
    let cost = cost_name(report.cost);
    let names = ["start", "lowered", "seeds", &lost, "lately + s.e.", cost, "", "runs so far"];
    let mut table = Columns::new(&names);
    let alone = |step: &&SearchStep| step.how == How::Alone;
    for step in report.steps.iter().filter(|step| !alone(step)) {
        table.line([
            start_name(step.start).to_owned(),
            lowered(step),
            step.seeds.to_string(),
            with_error(report, step.lost.0, step.lost_error.map(|error| error.0)),
            with_error(report, step.lost_lately.0, step.lost_lately_error.map(|error| error.0)),
            step.cost.map_or_else(|| "-".to_owned(), |cost| cost_text(report, cost)),
            verdict(step.verdict).to_owned(),
            step.trainings.to_string(),
        ]);
    }
    let count = report.steps.iter().filter(alone).count();
    let mut text = table.text();
    line!(
        text,
        " and {count} times one width alone, with the first seeds (search.json has them)\n \
         s.e.: standard error of the mean; accepted are plans with all seeds of which both sums are at \
         most {}\n",
        budget(report)
    );
    text
}

/// A mean loss with its standard error.
fn with_error(report: &SearchReport, mean: f64, error: Option<f64>) -> String {
    if mean.is_nan() {
        return "undefined".to_owned();
    }
    let error = error.filter(|error| error.is_finite());
    match (report.measure, error) {
        (_, None) => amount(report, mean),
        (Some(Measure::Loss), Some(error)) => format!("{} + {}", real(mean), real(error)),
        (_, Some(error)) => format!("{:+.2} + {:.2} points", 100.0 * mean, 100.0 * error),
    }
}

/// The bits of every role, layer by layer.
fn widths(found: &FoundPlan) -> String {
    let layers: BTreeSet<usize> = found.widths.iter().map(|width| width.place.layer).collect();
    let names = layers.iter().map(|layer| format!("layer {layer}"));
    let names: Vec<String> = ["bits".to_owned()].into_iter().chain(names).collect();
    let mut table = Columns::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut roles: Vec<&str> = Vec::new();
    for width in &found.widths {
        if !roles.contains(&width.place.role.as_str()) {
            roles.push(&width.place.role);
        }
    }
    for role in roles {
        let of = |layer: &usize| {
            let mut widths = found.widths.iter();
            let width =
                widths.find(|width| width.place.role == role && width.place.layer == *layer);
            width.map_or_else(|| "-".to_owned(), |width| width.bits.to_string())
        };
        table.line([role.to_owned()].into_iter().chain(layers.iter().map(of)));
    }
    table.text() + "\n"
}

fn answer(report: &SearchReport, found: &FoundPlan) -> String {
    let mut text = String::new();
    let levels = |lost: &Lost| {
        let levels = [lost.fixed, lost.golden].map(|level| match report.measure {
            Some(Measure::Loss) => real(level.0),
            _ => percent(level.0),
        });
        format!("{} in fixed point, {} in float", levels[0], levels[1])
    };
    let mean = |lost: &Lost| match (report.measure, lost.ci95) {
        (Some(Measure::Loss), Some(ci95)) => format!("{} +- {}", real(lost.mean.0), real(ci95.0)),
        (Some(Measure::Loss), None) => real(lost.mean.0),
        (_, ci95) => words::interval(lost.mean.0, ci95.map(|ci95| ci95.0)),
    };
    let count = |seeds: &[u64]| match seeds.len() {
        1 => "1 seed".to_owned(),
        several => format!("{several} seeds"),
    };
    if let Some(lost) = &found.validation {
        let seeds = count(&report.seeds);
        let lost = format!("{}; {}", mean(lost), levels(lost));
        line!(text, " lost on validation, {seeds} of the search: {lost}");
    }
    match &found.held_back {
        Some(HeldBack { test, .. }) => {
            let seeds = count(&report.held_back);
            let said = test.judged.as_ref().map_or_else(|| mean(test), words::lost);
            line!(text, " lost on test, {seeds} held back: {said}; {}", levels(test));
            for said in test.said() {
                line!(text, "   {said}");
            }
        }
        None => line!(text, " a run with a seed that was held back failed: nothing is proved"),
    }
    line!(text, " costs {}", costs(&found.costs));
    let shown = |energy: f64| joules(Picojoules(energy), found.costs.energy_unit);
    if let Some(said) = found.bits_worth.as_ref().and_then(|worth| why_here(worth, shown)) {
        line!(text, "   {said}");
    }
    let trainings = &report.trainings;
    let given_up = report.steps.iter().filter(|step| step.verdict == PlanVerdict::GivenUp).count();
    line!(
        text,
        " {} runs: {} to search, {} with seeds held back; {given_up} of {} plans given up, {} runs before \
         their last epoch{}",
        trainings.total,
        trainings.search,
        trainings.held_back,
        report.steps.len(),
        trainings.stopped,
        if trainings.failed > 0 { format!(", {} failed", trainings.failed) } else { String::new() },
    );
    if trainings.ran_out {
        line!(text, " widths might go further with more --runs; --resume goes on from here");
    }
    text
}

fn costs(costs: &MeanCosts) -> String {
    format!(
        "{}, {} of float32's; {} cycles; {} bits in a step",
        joules(Picojoules(costs.energy_pj), costs.energy_unit),
        percent(costs.energy_pj / costs.float32_energy_pj),
        grouped(costs.cycles.round() as u64),
        grouped(costs.step_bits.round() as u64),
    )
}

/// Widths that a table names before it counts them.
const NAMED: usize = 3;

fn lowered(step: &SearchStep) -> String {
    match (step.how, step.changes.as_slice()) {
        (How::Start, _) | (_, []) => "nothing".to_owned(),
        (How::Uniform, changes) => {
            let most = changes.iter().map(|change| change.from - change.to).max().unwrap_or(0);
            format!("all by up to {most} bits")
        }
        (_, changes) if changes.len() > NAMED => format!("{} widths", changes.len()),
        (_, changes) => {
            let named = changes.iter().map(|change| {
                let (role, layer) = (&change.place.role, change.place.layer);
                format!("{role} {layer} to {}", change.to)
            });
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

fn verdict(verdict: PlanVerdict) -> &'static str {
    match verdict {
        PlanVerdict::Within => "accepted",
        PlanVerdict::Beyond => "rejected",
        PlanVerdict::GivenUp => "given up",
        PlanVerdict::Open => "open",
    }
}

fn start_name(name: StartName) -> &'static str {
    match name {
        StartName::Analysis => "analysis",
        StartName::Own => "own",
    }
}

fn of_start(name: StartName) -> &'static str {
    match name {
        StartName::Analysis => "by analysis",
        StartName::Own => "of the experiment",
    }
}

fn cost_name(cost: CostKind) -> &'static str {
    match cost {
        CostKind::EnergyPj => "energy",
        CostKind::Cycles => "cycles",
        CostKind::StepBits => "bits of a step",
        CostKind::AreaMm2 => "area",
    }
}

fn cost_text(report: &SearchReport, value: f64) -> String {
    cost(report.cost, value, report.energy_unit.unwrap_or_default())
}

/// A cost with its unit, where energy has this one.
pub(super) fn cost(cost: CostKind, value: f64, energy_unit: EnergyUnit) -> String {
    match cost {
        CostKind::EnergyPj => joules(Picojoules(value), energy_unit),
        CostKind::AreaMm2 => format!("{value:.3} mm2"),
        CostKind::Cycles | CostKind::StepBits => grouped(value.round() as u64),
    }
}

fn part(report: &SearchReport) -> &'static str {
    match report.selected_on {
        Some(SelectedOn::Test) => "test",
        Some(SelectedOn::Validation) | None => "validation",
    }
}

/// What may be lost.
fn budget(report: &SearchReport) -> String {
    match report.measure {
        Some(Measure::Loss) => {
            format!("{} (a difference that judges nothing)", real(report.margin))
        }
        _ => words::margin(report.margin),
    }
}

/// A loss in points, or as it is.
fn amount(report: &SearchReport, loss: f64) -> String {
    match report.measure {
        Some(Measure::Loss) => real(loss),
        _ => points(loss),
    }
}
