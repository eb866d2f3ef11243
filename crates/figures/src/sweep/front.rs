//! Pareto fronts, and where the energy of their points goes.

use systoliq_explore::{Analysis, CostKind, Lines, Lost, MeanCosts, PointAnalysis, SelectedOn};

use super::{
    axis_name, cost_unit, loss_name, loss_scale, loss_title, name, on_test, part, said, settings,
    told,
};
use crate::PageFigure;
use crate::chart::{LineChart, LinePoint, LineSeries, Stack, fits_beside, stacks};
use systoliq_explore::shown;

use crate::number::{UnitSize, difference, energy, loss, loss_unit};
use crate::page::Table;
use crate::run::energy_stack;
use crate::scale::{AxisScale, ChartAxis};

/// The points of the front of a cost.
fn on_front(analysis: &Analysis, cost: CostKind) -> Vec<(usize, &PointAnalysis)> {
    let front = analysis.fronts.get(&cost).into_iter().flatten();
    front.filter_map(|&at| Some((at, analysis.points.get(at)?))).collect()
}

/// The front of a cost with all points; nothing where there is no front, or all cost the same.
pub(super) fn figure(analysis: &Analysis, cost: CostKind) -> Option<PageFigure> {
    let front = on_front(analysis, cost);
    let costs = || analysis.points.iter().filter_map(|point| point.costs);
    let by_size = |a: &MeanCosts, b: &MeanCosts| a.of(cost).total_cmp(&b.of(cost));
    let (least, most) = (costs().min_by(by_size)?, costs().max_by(by_size)?);
    let (unit, x_name) = cost_unit(cost, most.of(cost), most.energy_unit);
    let (least, most) = (least.of(cost), most.of(cost));
    if front.is_empty() || least == most {
        return None;
    }
    let chosen = analysis.within.cheapest.get(&cost).copied();
    let series = series(analysis, cost, &front, unit);
    let extent = || series.iter().flat_map(LineSeries::extent);
    let (scale, y_name) = loss_scale(analysis.measure, loss_name(analysis.measure), extent());
    let (spread, x_name) = match most > 8.0 * least {
        true => (AxisScale::Log, x_name.replace(')', ", logarithmic)")),
        false => (AxisScale::Linear, x_name),
    };
    let xs = series.iter().flat_map(|series| &series.points).map(|point| point.x);
    let within = analysis.within.margin / loss_unit(analysis.measure).size;
    let within_text = loss(analysis.within.margin, analysis.measure);
    let chart = LineChart {
        x_name: &x_name,
        y_name: &y_name,
        x: ChartAxis::around(spread, xs),
        y: ChartAxis::around(scale, extent().chain([0.0, within])),
        columns: &[],
        ticks: &[],
        height: 320.0,
        series: &series,
        rule: Some((within, format!("at most {within_text}"))),
    };
    let part = part(analysis.selected_on);
    let as_few = match cost {
        CostKind::EnergyPj => "for as little energy",
        CostKind::Cycles => "in as few cycles",
        CostKind::StepBits => "with as few bits in the tensors of a step",
        CostKind::AreaMm2 => "on as little area",
    };
    let ring = match chosen {
        Some(_) => format!("The ring is around the cheapest that loses at most {within_text}."),
        None => format!("None loses at most {within_text}."),
    };
    let aside = match analysis.selected_on {
        SelectedOn::Validation => " What it loses on the test part stands a little to the right.",
        SelectedOn::Test => "",
    };
    Some(PageFigure {
        name: format!("front-{}", name(cost).replace(' ', "-")),
        title: format!("{} against {}", loss_title(analysis.measure), name(cost)),
        caption: format!(
            "The Pareto front: no other point loses as little on the {part} part {as_few}.{aside} {ring}"
        ),
        drawing: chart.drawing(),
        table: table(analysis, cost, &front, chosen),
    })
}

/// The points that are not on the front, those that are, and what these lose on the test part, where
/// that is another.
fn series(
    analysis: &Analysis,
    cost: CostKind,
    front: &[(usize, &PointAnalysis)],
    unit: UnitSize,
) -> Vec<LineSeries> {
    let chosen = analysis.within.cheapest.get(&cost).copied();
    let selecting = |at: usize, point: &PointAnalysis| {
        let (lost, spent) = (analysis.selecting(point)?, point.costs?.of(cost));
        Some(LinePoint {
            x: spent / unit.size,
            y: lost.mean.0 / loss_unit(analysis.measure).size,
            title: told(analysis, point),
            label: (Some(at) == chosen).then(|| settings(analysis, point)),
            ..LinePoint::default()
        })
    };
    let all = analysis.points.iter().enumerate();
    let others = all.filter(|(at, _)| front.iter().all(|(on, _)| on != at));
    let part = part(analysis.selected_on);
    let others = LineSeries {
        name: format!("other points, {part} part"),
        style: 12,
        markers: true,
        faint: true,
        points: others.filter_map(|(at, point)| selecting(at, point)).collect(),
        ..LineSeries::default()
    };
    let mut selected = LineSeries {
        name: format!("the Pareto front, {part} part"),
        line: true,
        steps: true,
        markers: true,
        points: front.iter().filter_map(|&(at, point)| selecting(at, point)).collect(),
        ..LineSeries::default()
    };
    let on_test = |&(_, point): &(usize, &PointAnalysis)| {
        on_test(analysis, point, point.costs?.of(cost) / unit.size)
    };
    let quoted: Vec<LinePoint> = front.iter().filter_map(on_test).collect();
    if analysis.selected_on == SelectedOn::Test {
        selected.points.iter_mut().zip(&quoted).for_each(|(point, on)| point.half = on.half);
        return vec![others, selected];
    }
    let quoted = LineSeries {
        name: "the same points, test part with 95 % intervals".to_owned(),
        style: 1,
        shift: 5.0,
        markers: true,
        points: quoted,
        ..LineSeries::default()
    };
    vec![others, selected, quoted]
}

fn table(
    analysis: &Analysis,
    cost: CostKind,
    front: &[(usize, &PointAnalysis)],
    chosen: Option<usize>,
) -> Table {
    let mut table =
        Table::new(&["on the front", "cost", "lost, validation", "lost, test", "chosen"]);
    let lost = |lost: &Option<Lost>| {
        lost.as_ref().map_or("-".to_owned(), |lost| {
            difference(lost.mean.0, lost.ci95.map(|half| half.0), analysis.measure)
        })
    };
    for &(at, point) in front {
        let spent = point.costs.map_or(String::new(), |costs| said(cost, &costs));
        let mark = if Some(at) == chosen { "yes" } else { "" };
        table.row([
            settings(analysis, point),
            spent,
            lost(&point.validation),
            lost(&point.test),
            mark.to_owned(),
        ]);
    }
    table
}

/// Labels of points beside bars, and what the caption has to say of them: their settings, or, where
/// these are too long to stand there, the values alone.
fn labels(analysis: &Analysis, points: &[(usize, &PointAnalysis)]) -> (Vec<String>, String) {
    let full: Vec<String> = points.iter().map(|(_, point)| settings(analysis, point)).collect();
    if full.iter().all(|label| fits_beside(label)) {
        return (full, String::new());
    }
    let value = |point: &PointAnalysis, name: &str| point.settings.get(name).map(shown);
    let values = points.iter().map(|(_, point)| {
        let values = analysis.axes.iter().filter_map(|axis| value(point, &axis.name));
        values.collect::<Vec<_>>().join(" / ")
    });
    let names = analysis.axes.iter().map(|axis| axis_name(analysis, axis));
    let names = names.collect::<Vec<_>>().join(" / ");
    (values.collect(), format!(" Points are named by their {names}."))
}

/// Where the energy goes at each point of the front of energy: means over the seeds.
pub(super) fn components(analysis: &Analysis, lines: &Lines) -> Option<PageFigure> {
    let front = on_front(analysis, CostKind::EnergyPj);
    let unit = front.first()?.1.costs?.energy_unit;
    let (labels, how) = labels(analysis, &front);
    let points: Vec<(String, Vec<(String, f64)>)> = labels
        .into_iter()
        .zip(&front)
        .filter_map(|(label, (_, point))| Some((label, mean_energy(point, lines)?)))
        .collect();
    let keys: Vec<String> = points.first()?.1.iter().map(|part| part.0.replace('_', " ")).collect();
    let totals = points.iter().map(|(_, parts)| parts.iter().map(|part| part.1).sum::<f64>());
    let drawn = UnitSize::of_energy(totals.fold(0.0, f64::max), unit);
    let stack = |(label, parts): &(String, Vec<_>)| energy_stack(label.clone(), parts, unit, drawn);
    let bars: Vec<Stack> = points.iter().map(stack).collect();
    let mut table = Table::new(&["point"]);
    table.head.extend(keys.iter().cloned());
    for (label, parts) in &points {
        table.row([label.clone()].into_iter().chain(parts.iter().map(|part| energy(part.1, unit))));
    }
    Some(PageFigure {
        name: "front-components".to_owned(),
        title: "Energy by component on the front".to_owned(),
        caption: format!(
            "Where the energy of the training goes at each point of the front of energy; means of the \
             seeds.{how}"
        ),
        drawing: stacks(&keys, &bars, &format!("energy ({})", drawn.name)),
        table,
    })
}

/// The mean energy by component over the seeds of a point, in the order of the store.
fn mean_energy(point: &PointAnalysis, lines: &Lines) -> Option<Vec<(String, f64)>> {
    let mut sums: Vec<(String, f64)> = Vec::new();
    for &key in &point.keys {
        let found = lines.get(key)?.found()?;
        // As JSON names and orders them, so that each component that there is has its part.
        let text = serde_json::to_string(&found.energy_pj.by_component).ok()?;
        let parts: crate::run::Named<f64> = serde_json::from_str(&text).ok()?;
        match sums.is_empty() {
            true => sums = parts.0,
            false => sums.iter_mut().zip(parts.0).for_each(|(sum, part)| sum.1 += part.1),
        }
    }
    let seeds = point.keys.len() as f64;
    sums.iter_mut().for_each(|sum| sum.1 /= seeds);
    (!sums.is_empty()).then_some(sums)
}
