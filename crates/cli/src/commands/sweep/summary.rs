//! What a sweep found, as tables for a person.

use std::fmt::Write as _;

use systoliq_energy::Picojoules;
use systoliq_explore::{
    Analysis, CostKind, Lost, Measure, PointAnalysis, SelectedOn, Sweep, shown,
};
use systoliq_nn::Extended;
use systoliq_study::drop::words;

use crate::commands::table::{Columns, grouped, joules, percent, real};
use crate::failure::one_line;

/// Points of a front that are shown before the table is thinned out.
const SHOWN: usize = 30;

/// Reasons of failures that are shown.
const FAILURES_SHOWN: usize = 5;

/// The values of a point in a few words.
pub(super) fn point(sweep: &Sweep, at: usize) -> String {
    let levels = sweep.axes().iter().zip(sweep.point(at));
    let values =
        levels.map(|(axis, level)| format!("{} {}", axis.name, axis.levels[level].label()));
    values.collect::<Vec<_>>().join(", ")
}

/// The tables of a sweep.
pub(super) fn summary(sweep: &Sweep, analysis: &Analysis) -> String {
    let mut text = heading(sweep, analysis);
    text += &front(analysis);
    text += &cheapest(analysis);
    text += &sensitivity(analysis);
    text += &failures(analysis);
    text
}

/// Appends a line.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {
        writeln!($text, $($format)*).expect("writing to a string")
    };
}

fn heading(sweep: &Sweep, analysis: &Analysis) -> String {
    let count = |of: fn(&PointAnalysis) -> usize| analysis.points.iter().map(of).sum::<usize>();
    let ended = [
        (count(|point| point.failed.len()), "failed"),
        (count(|point| point.diverged.len()), "diverged"),
        (count(|point| point.golden_diverged.len()), "diverged in float, and are left out"),
    ];
    let ended = ended.iter().filter(|(count, _)| *count > 0);
    let ended: String = ended.map(|(count, how)| format!(", {count} {how}")).collect();
    let points = if sweep.points() == 1 { "point" } else { "points" };
    let seeds = match analysis.seeds.len() {
        1 => "1 seed".to_owned(),
        several => format!("{several} seeds each"),
    };
    let experiment = sweep.spec().experiment["name"].as_str().unwrap_or("an experiment");
    format!(
        "{}: {} {points} of {experiment}, {seeds}{ended}\n\n",
        one_line(&analysis.name),
        sweep.points()
    )
}

/// The points that no other beats in loss and energy.
fn front(analysis: &Analysis) -> String {
    if analysis.energy_unit().is_none() && analysis.points.iter().any(|p| p.costs.is_some()) {
        let how = "points count energy in different units, so that none takes least";
        return format!(" no Pareto front over energy: {how}\n\n");
    }
    let front = &analysis.fronts[&CostKind::EnergyPj];
    let names = analysis.axes.iter().map(|axis| axis.name.as_str());
    let part = selected_on(analysis);
    let selected = format!("lost, {part}");
    let validated = (analysis.selected_on == SelectedOn::Validation).then_some(selected.as_str());
    // Where float itself is not the same at all points, its loss says less than its own.
    let goldens: Vec<f64> =
        analysis.points.iter().filter_map(|point| Some(point.test.as_ref()?.golden.0)).collect();
    let level = match analysis.measure {
        Measure::ErrorRate => "errors, test",
        Measure::Loss => "loss, test",
    };
    let level = goldens.iter().any(|golden| *golden != goldens[0]).then_some(level);
    let rest = ["energy", "float32", "cycles"];
    let heading = names.chain(validated).chain(["lost, test"]).chain(level).chain(rest);
    let mut table = Columns::new(&heading.collect::<Vec<_>>());
    let every = front.len().div_ceil(SHOWN).max(1);
    for &at in front.iter().step_by(every) {
        let point = &analysis.points[at];
        let (Some(selecting), Some(test), Some(costs)) =
            (analysis.selecting(point), point.test.as_ref(), point.costs)
        else {
            continue;
        };
        let selected = validated.map(|_| lost(analysis.measure, selecting.mean, None));
        let quoted = lost(analysis.measure, test.mean, test.ci95);
        let level = level.map(|_| match analysis.measure {
            Measure::ErrorRate => percent(test.fixed.0),
            Measure::Loss => real(test.fixed.0),
        });
        let figures = [
            joules(Picojoules(costs.energy_pj), costs.energy_unit),
            percent(costs.energy_pj / costs.float32_energy_pj),
            grouped(costs.cycles.round() as u64),
        ];
        let values = analysis.axes.iter().map(|axis| shown(&point.settings[&axis.name]));
        table.line(values.chain(selected).chain([quoted]).chain(level).chain(figures));
    }
    let mut text = table.text();
    let shown = if every > 1 { format!(", one of {every}") } else { String::new() };
    line!(
        text,
        " the Pareto front{shown}: no other point loses as little on the {part} part for as little \
         energy\n float32: share of the energy that float32 hardware takes; {}\n",
        words::legend(analysis.seeds.len())
    );
    text
}

/// The cheapest points whose mean loss is within the margin, by every cost that varies, and what is
/// judged of them.
fn cheapest(analysis: &Analysis) -> String {
    let within = within(analysis);
    let mut text = String::new();
    let mut told = Vec::new();
    for (cost, name) in [
        (CostKind::EnergyPj, "least energy"),
        (CostKind::Cycles, "fewest cycles"),
        (CostKind::StepBits, "fewest bits"),
        (CostKind::AreaMm2, "least area"),
    ] {
        let comparable = cost != CostKind::EnergyPj || analysis.energy_unit().is_some();
        // Of points that all cost the same, the one that loses least is named once.
        if !comparable || cost != CostKind::EnergyPj && !analysis.varies(cost) {
            continue;
        }
        let Some(&at) = analysis.within.cheapest.get(&cost) else {
            line!(text, " {name:13} no point's {within}");
            continue;
        };
        let point = &analysis.points[at];
        let (Some(test), Some(costs)) = (&point.test, point.costs) else { continue };
        let cost = match cost {
            CostKind::EnergyPj => {
                let share = percent(costs.energy_pj / costs.float32_energy_pj);
                format!(
                    "{}, {share} of float32's",
                    joules(Picojoules(costs.energy_pj), costs.energy_unit)
                )
            }
            CostKind::Cycles => format!("{} cycles", grouped(costs.cycles.round() as u64)),
            CostKind::AreaMm2 => format!("{:.3} mm2", costs.area_mm2),
            CostKind::StepBits => {
                format!("{} bits in a step", grouped(costs.step_bits.round() as u64))
            }
        };
        line!(text, " {name:13} {}; {cost}", settings(analysis, point));
        if !told.contains(&at) {
            text += &quoted(analysis, at, test);
            told.push(at);
        }
    }
    line!(text, " of the points whose {within}");
    let unselected = analysis.points.iter().filter(|point| !point.golden_diverged.is_empty());
    match unselected.count() {
        0 => {}
        1 => line!(text, " 1 point cannot be selected, as golden diverged with seeds of it"),
        points => {
            line!(
                text,
                " {points} points cannot be selected, as golden diverged with seeds of them"
            );
        }
    }
    text + "\n"
}

/// What is said of a point that was chosen: with the seeds of the sweep, and with others.
fn quoted(analysis: &Analysis, at: usize, test: &Lost) -> String {
    let said = |test: &Lost| {
        let mean = || lost(analysis.measure, test.mean, test.ci95);
        let mean = test.judged.as_ref().map_or_else(mean, words::lost);
        [mean].into_iter().chain(test.said()).collect::<Vec<_>>()
    };
    let mut told = vec![("lost, test".to_owned(), said(test))];
    for looked in analysis.looked_at.iter().filter(|looked| looked.point == at) {
        let failed = || vec!["a run failed: nothing is said".to_owned()];
        let seeds = format!("lost, test, {} other seeds", looked.seeds.len());
        told.push((seeds, looked.test.as_ref().map_or_else(failed, said)));
    }
    let mut text = String::new();
    for (seeds, lines) in told {
        for (row, said) in lines.iter().enumerate() {
            let seeds = if row == 0 { &seeds } else { "" };
            line!(text, "   {seeds:28} {said}");
        }
    }
    text
}

/// What points are selected by.
fn within(analysis: &Analysis) -> String {
    let (margin, part) = (analysis.within.margin, selected_on(analysis));
    match analysis.measure {
        Measure::ErrorRate => {
            format!("mean loss on the {part} part is at most {}", words::margin(margin))
        }
        Measure::Loss => format!(
            "mean loss on the {part} part is at most {} above float's, a difference that judges nothing",
            real(margin)
        ),
    }
}

/// What one step down each axis does.
fn sensitivity(analysis: &Analysis) -> String {
    if analysis.sensitivity.is_empty() {
        return String::new();
    }
    let part = selected_on(analysis);
    let heading = format!("lost, {part}");
    let mut table = Columns::new(&["one step down", "from", "to", "pairs", &heading, "energy"]);
    for step in &analysis.sensitivity {
        table.line([
            step.axis.clone(),
            shown(&step.from),
            shown(&step.to),
            step.pairs.to_string(),
            lost(analysis.measure, step.loss, step.loss_ci95),
            step.energy_factor
                .map_or("-".to_owned(), |factor| format!("{:+.1} %", 100.0 * (factor - 1.0))),
        ]);
    }
    table.text() + " means over all pairs of points that differ in this step alone\n\n"
}

fn failures(analysis: &Analysis) -> String {
    let mut text = String::new();
    // By reason: the first run, and how many in all.
    let mut reasons: Vec<(&str, String, usize)> = Vec::new();
    for point in &analysis.points {
        for (seed, reason) in &point.failed {
            match reasons.iter_mut().find(|(known, ..)| known == reason) {
                Some((.., runs)) => *runs += 1,
                None => {
                    let first = format!("{}, seed {seed}", settings(analysis, point));
                    reasons.push((reason, first, 1));
                }
            }
        }
    }
    for (reason, first, runs) in reasons.iter().take(FAILURES_SHOWN) {
        let runs = match runs {
            1 => "1 run".to_owned(),
            several => format!("{several} runs, the first"),
        };
        line!(text, " FAILED {runs} {first}: {reason}");
    }
    if reasons.len() > FAILURES_SHOWN {
        line!(text, " and for {} other reasons", reasons.len() - FAILURES_SHOWN);
    }
    text
}

fn selected_on(analysis: &Analysis) -> &'static str {
    match analysis.selected_on {
        SelectedOn::Validation => "validation",
        SelectedOn::Test => "test",
    }
}

fn settings(analysis: &Analysis, point: &PointAnalysis) -> String {
    let named = analysis
        .axes
        .iter()
        .map(|axis| format!("{} {}", axis.name, shown(&point.settings[&axis.name])));
    named.collect::<Vec<_>>().join(", ")
}

/// What was lost, with half the width of its interval.
fn lost(measure: Measure, Extended(mean): Extended, ci95: Option<Extended>) -> String {
    if mean.is_nan() {
        return "undefined".to_owned();
    }
    let ci95 = ci95.map(|Extended(ci95)| ci95).filter(|ci95| ci95.is_finite());
    match measure {
        Measure::ErrorRate => words::interval(mean, ci95),
        Measure::Loss => {
            let interval = ci95.map_or(String::new(), |ci95| format!(" +- {}", real(ci95)));
            real(mean) + &interval
        }
    }
}
