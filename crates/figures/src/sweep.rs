//! The figures of a sweep.

mod axis;
mod front;
mod map;
mod sensitivity;

use systoliq_explore::{
    AnalysedAxis, Analysis, CostKind, Lines, Lost, MeanCosts, Measure, PointAnalysis, SelectedOn,
};

use systoliq_energy::EnergyUnit;
use systoliq_study::panel::MachinePanel;

use crate::chart::LinePoint;
use systoliq_explore::shown;

use crate::number::{
    UnitSize, count, difference, digits, energy, loss, loss_unit, percent, plural,
};
use crate::scale::AxisScale;
use crate::{Page, PageFigure, panel};

/// The page of a sweep, from its analysis and its store, and where its conclusions hold, if that is known.
pub fn of_sweep(analysis: &Analysis, lines: &Lines, machines: Option<&MachinePanel>) -> Page {
    let numeric = |at: &usize| analysis.axes[*at].values.iter().all(serde_json::Value::is_number);
    let axes = 0..analysis.axes.len();
    // Numbers first: that is where cliffs are.
    let ordered = axes.clone().filter(numeric).chain(axes.filter(|at| !numeric(at)));
    let mut figures: Vec<PageFigure> =
        ordered.filter_map(|at| axis::figure(analysis, at)).collect();
    figures.extend(map::figure(analysis));
    figures.extend(CostKind::ALL.into_iter().filter_map(|cost| front::figure(analysis, cost)));
    figures.extend(front::components(analysis, lines));
    figures.extend(sensitivity::figure(analysis));
    figures.extend(machines.into_iter().flat_map(panel::figures));
    let mut facts = facts(analysis);
    facts.extend(machines.into_iter().flat_map(panel::facts));
    Page { title: analysis.name.clone(), note: note(analysis), facts, figures }
}

fn note(analysis: &Analysis) -> String {
    let axes: Vec<String> = analysis
        .axes
        .iter()
        .map(|axis| format!("{} ({})", axis.name, plural(axis.values.len(), "value")))
        .collect();
    let part = part(analysis.selected_on);
    format!(
        "A sweep over {}: {}, each with {}, in fixed point beside float. Points are \
         selected by what they lose on the {part} part, and quoted on the test part.",
        axes.join(", "),
        plural(analysis.points.len(), "point"),
        plural(analysis.seeds.len(), "seed"),
    )
}

fn facts(analysis: &Analysis) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let within = loss(analysis.within.margin, analysis.measure);
    for (cost, at) in &analysis.within.cheapest {
        let Some(point) = analysis.points.get(*at).filter(|_| analysis.varies(*cost)) else {
            continue;
        };
        let spent = point.costs.map_or(String::new(), |costs| said(*cost, &costs));
        let name = format!("Least {} at a mean loss of at most {within}", name(*cost));
        fact(&name, format!("{} · {spent}", settings(analysis, point)));
    }
    let best = analysis.within.cheapest.get(&CostKind::EnergyPj);
    let best = best.filter(|_| analysis.varies(CostKind::EnergyPj));
    let best = best.and_then(|&at| Some((at, analysis.points.get(at)?)));
    if let Some((at, best)) = best {
        let looked_at = analysis.looked_at.iter().filter(|looked| looked.point == at);
        let others = looked_at
            .map(|looked| (format!(", {} other seeds", looked.seeds.len()), looked.test.as_ref()));
        for (seeds, test) in [(String::new(), best.test.as_ref())].into_iter().chain(others) {
            let Some(test) = test else {
                fact(
                    &format!("Least energy: lost on the test part{seeds}"),
                    "a run failed".to_owned(),
                );
                continue;
            };
            let lost = quoted(test, analysis.measure);
            fact(&format!("Least energy: lost on the test part{seeds}"), lost);
            for said in test.said() {
                fact("Least energy: what that says", said);
            }
        }
        if let Some(costs) = best.costs.filter(|costs| costs.float32_energy_pj > 0.0) {
            fact(
                "Least energy: share of float32's",
                percent(costs.energy_pj / costs.float32_energy_pj),
            );
        }
    }
    let diverged: usize = analysis.points.iter().map(|point| point.diverged.len()).sum();
    let failed: usize = analysis.points.iter().map(|point| point.failed.len()).sum();
    fact("Runs diverged, failed", format!("{diverged}, {failed}"));
    let undefined: usize = analysis.points.iter().map(|point| point.golden_diverged.len()).sum();
    if undefined > 0 {
        fact("Runs left out, as float diverged", undefined.to_string());
    }
    facts
}

/// Half the width of the interval that is judged by, or else of the mean's.
pub(crate) fn half_width(lost: &Lost) -> Option<f64> {
    let judged = lost.judged.as_ref().map(|judged| judged.half_width);
    judged.or(lost.ci95.map(|half| half.0))
}

/// A loss with its interval.
pub(crate) fn quoted(lost: &Lost, measure: Measure) -> String {
    difference(lost.mean.0, half_width(lost), measure)
}

/// What the part is called on which points are selected.
pub(crate) fn part(selected_on: SelectedOn) -> &'static str {
    match selected_on {
        SelectedOn::Validation => "validation",
        SelectedOn::Test => "test",
    }
}

/// What a cost is called.
pub(crate) fn name(cost: CostKind) -> &'static str {
    match cost {
        CostKind::EnergyPj => "energy",
        CostKind::Cycles => "cycles",
        CostKind::StepBits => "bits of a step",
        CostKind::AreaMm2 => "area",
    }
}

/// A cost with its unit.
fn said(cost: CostKind, costs: &MeanCosts) -> String {
    spent(cost, costs.of(cost), costs.energy_unit)
}

/// A mean of counts, without what is behind the point.
fn whole(value: f64) -> String {
    if value < 1e15 { count(value as u64) } else { digits(value, 4) }
}

/// So much of a cost, where energy is counted in a unit.
pub(crate) fn spent(cost: CostKind, value: f64, energy_unit: EnergyUnit) -> String {
    match cost {
        CostKind::EnergyPj => energy(value, energy_unit),
        CostKind::Cycles => format!("{} cycles", whole(value)),
        CostKind::StepBits => format!("{} bits", whole(value)),
        CostKind::AreaMm2 => format!("{} mm²", digits(value, 4)),
    }
}

/// What an axis is called: its name, or if that is its path, the last members of this that no other
/// axis ends with, at least two.
fn axis_name<'a>(analysis: &Analysis, axis: &'a AnalysedAxis) -> &'a str {
    if axis.paths != [axis.name.as_str()] {
        return &axis.name;
    }
    let starts = axis.name.rmatch_indices('.').map(|(at, _)| &axis.name[at + 1..]).skip(1);
    let unique = |ending: &&str| {
        analysis.axes.iter().filter(|other| other.name.ends_with(*ending)).count() == 1
    };
    starts.into_iter().find(unique).unwrap_or(&axis.name)
}

/// The settings of a point in the order of the axes, as `bits 5, gradients 4`.
fn settings(analysis: &Analysis, point: &PointAnalysis) -> String {
    let axes = analysis.axes.iter().filter_map(|axis| {
        let value = shown(point.settings.get(&axis.name)?);
        Some(format!("{} {value}", axis_name(analysis, axis)))
    });
    axes.collect::<Vec<_>>().join(", ")
}

/// Everything about a point, a line each.
fn told(analysis: &Analysis, point: &PointAnalysis) -> String {
    let mut lines = vec![settings(analysis, point)];
    for (part, lost) in [("validation", &point.validation), ("test", &point.test)] {
        if let Some(lost) = lost {
            let ci95 = lost.ci95.map(|half| half.0);
            lines
                .push(format!("lost, {part}: {}", difference(lost.mean.0, ci95, analysis.measure)));
        }
    }
    if let Some(costs) = point.costs {
        let of_float32 = match costs.float32_energy_pj > 0.0 {
            true => {
                format!(", {} of float32's", percent(costs.energy_pj / costs.float32_energy_pj))
            }
            false => String::new(),
        };
        lines.push(format!("{}{of_float32}", said(CostKind::EnergyPj, &costs)));
        lines.push(said(CostKind::Cycles, &costs));
        lines.push(format!("{} in a step", said(CostKind::StepBits, &costs)));
        lines.push(said(CostKind::AreaMm2, &costs));
    }
    if !point.diverged.is_empty() {
        lines.push(format!("diverged: {} of {} seeds", point.diverged.len(), point.keys.len()));
    }
    if !point.golden_diverged.is_empty() {
        let (diverged, all) = (point.golden_diverged.len(), point.keys.len());
        lines.push(format!("float diverged: {diverged} of {all} seeds"));
    }
    lines.join("\n")
}

/// What a point lost on the test part, at a place of x, in the unit of figures.
fn on_test(analysis: &Analysis, point: &PointAnalysis, x: f64) -> Option<LinePoint> {
    let unit = loss_unit(analysis.measure);
    let lost = point.test.as_ref()?;
    Some(LinePoint {
        x,
        y: lost.mean.0 / unit.size,
        half: lost.ci95.map(|half| half.0 / unit.size),
        title: told(analysis, point),
        label: None,
    })
}

/// How losses in the unit of figures are spread, with the name of an axis of `what`: by their inverse
/// hyperbolic sine, in multiples of a point, where some are far from zero.
pub(crate) fn loss_scale(
    measure: Measure,
    what: &str,
    values: impl IntoIterator<Item = f64>,
) -> (AxisScale, String) {
    let (linear, unit) = match measure {
        Measure::ErrorRate => (1.0, vec!["points".to_owned()]),
        Measure::Loss => (0.1, Vec::new()),
    };
    let scale = crate::chart::spread(values, linear);
    let far = matches!(scale, AxisScale::SymmetricLog(_));
    let how = far.then(|| "asinh scale".to_owned());
    let words: Vec<String> = unit.into_iter().chain(how).collect();
    let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
    (scale, format!("{what}{words}"))
}

/// What a point loses, as titles say it.
pub(crate) fn loss_name(measure: Measure) -> &'static str {
    match measure {
        Measure::ErrorRate => "accuracy lost",
        Measure::Loss => "loss above float",
    }
}

/// That, at the beginning of a title.
pub(crate) fn loss_title(measure: Measure) -> &'static str {
    match measure {
        Measure::ErrorRate => "Accuracy lost",
        Measure::Loss => "Loss above float",
    }
}

/// The size of units in which costs up to `most` are shown, with the name of its axis.
pub(crate) fn cost_unit(cost: CostKind, most: f64, energy_unit: EnergyUnit) -> (UnitSize, String) {
    let unit = match cost {
        CostKind::EnergyPj => UnitSize::of_energy(most, energy_unit),
        CostKind::Cycles | CostKind::StepBits => UnitSize::of_count(most),
        CostKind::AreaMm2 => UnitSize { name: "mm²", size: 1.0 },
    };
    let of = match cost {
        CostKind::EnergyPj => format!("energy of the training ({})", unit.name),
        CostKind::Cycles => format!("cycles of the training ({})", unit.name),
        CostKind::StepBits => format!("bits of all tensors of a step ({})", unit.name),
        CostKind::AreaMm2 => format!("area of the machine ({})", unit.name),
    };
    (unit, of.replace(" ()", ""))
}
