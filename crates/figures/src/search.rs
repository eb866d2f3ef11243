//! The figures of a search.

use systoliq_explore::{
    CostKind, FoundPlan, How, Measure, PlanVerdict, SearchReport, SearchStep, SelectedOn,
    WidthChange,
};

use systoliq_study::panel::why_here;

use crate::chart::{HeatCell, HeatMap, LineChart, LinePoint, LineSeries};
use crate::number::{count, difference, loss, loss_unit, percent, plural};
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis};
use crate::sweep::{
    cost_unit, half_width, loss_name, loss_scale, loss_title, name, part, quoted, spent,
};
use crate::{Page, PageFigure};

/// The page of a search.
pub fn of_search(report: &SearchReport) -> Page {
    let measure = measure(report);
    let budget = loss(report.margin, measure);
    let part = part(report.selected_on.unwrap_or(SelectedOn::Validation));
    let note = format!(
        "A search for the plan of least {} within {budget} of float, by the mean of {} on the {part} \
         part.",
        name(report.cost),
        plural(report.seeds.len(), "seed"),
    );
    let mut figures = Vec::new();
    if let Some(found) = &report.found {
        figures.extend([proof(report, found), widths(found)]);
    }
    figures.extend([descent(report), plans(report)].into_iter().flatten());
    Page { title: report.name.clone(), note, facts: facts(report), figures }
}

fn measure(report: &SearchReport) -> Measure {
    report.measure.unwrap_or(Measure::ErrorRate)
}

fn facts(report: &SearchReport) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let measure = measure(report);
    match &report.found {
        Some(found) => {
            let costs = &found.costs;
            let cost = said(report, costs.of(report.cost));
            fact(&format!("Least {} within the budget", name(report.cost)), cost);
            if costs.float32_energy_pj > 0.0 {
                let share = percent(costs.energy_pj / costs.float32_energy_pj);
                fact("Share of float32's energy", share);
            }
            let shown = |energy: f64| spent(CostKind::EnergyPj, energy, costs.energy_unit);
            if let Some(said) = found.bits_worth.as_ref().and_then(|worth| why_here(worth, shown)) {
                fact("What a bit is worth", said);
            }
            if let Some(held_back) = &found.held_back {
                fact("Lost on the test part, seeds held back", quoted(&held_back.test, measure));
                for said in held_back.test.said() {
                    fact("What that says", said);
                }
            }
        }
        None => {
            let nearest = report.nothing_within.as_ref();
            let nearest = nearest.map_or("no run could be trained".to_owned(), |nearest| {
                format!("the nearest lost {}", difference(nearest.lost.0, None, measure))
            });
            fact("Nothing is surely within the budget", nearest);
        }
    }
    let trainings = &report.trainings;
    fact("Runs: to search, held back", format!("{}, {}", trainings.search, trainings.held_back));
    facts
}

/// So much of what is to be least.
fn said(report: &SearchReport, value: f64) -> String {
    spent(report.cost, value, report.energy_unit.unwrap_or_default())
}

/// What the plan loses, with the seeds that chose it and with others.
fn proof(report: &SearchReport, found: &FoundPlan) -> PageFigure {
    let measure = measure(report);
    let unit = loss_unit(measure);
    let seeds = |part: &str, seeds: &[u64], how: &str| format!("{part}, {} {how}", seeds.len());
    let searched = &report.seeds;
    let losses = [
        found
            .validation
            .as_ref()
            .map(|lost| (seeds("validation", searched, "of the search"), lost)),
        Some((seeds("test", searched, "of the search"), &found.test)),
        found
            .held_back
            .as_ref()
            .map(|held_back| (seeds("test", &report.held_back, "held back"), &held_back.test)),
    ];
    let mut table = Table::new(&["part and seeds", "lost", "fixed point", "float"]);
    let mut series = Vec::new();
    let mut columns = Vec::new();
    for (at, (name, lost)) in losses.into_iter().flatten().enumerate() {
        let said = quoted(lost, measure);
        let level = |level: f64| match measure {
            Measure::ErrorRate => percent(level),
            Measure::Loss => loss(level, measure),
        };
        table.row([name.clone(), said.clone(), level(lost.fixed.0), level(lost.golden.0)]);
        let mean = LinePoint {
            x: at as f64,
            y: lost.mean.0 / unit.size,
            half: half_width(lost).map(|half| half / unit.size),
            title: format!("{name}\nlost: {said}"),
            ..LinePoint::default()
        };
        let by_seed = lost.by_seed.iter().map(|lost| LinePoint {
            x: at as f64,
            y: lost.0 / unit.size,
            title: format!("{name}\none seed: {}", difference(lost.0, None, measure)),
            ..LinePoint::default()
        });
        let single = LineSeries {
            style: 12,
            faint: true,
            markers: true,
            shift: 14.0,
            ..LineSeries::default()
        };
        series.push(LineSeries { points: by_seed.collect(), ..single });
        series.push(LineSeries {
            points: vec![mean],
            style: 0,
            markers: true,
            ..LineSeries::default()
        });
        columns.push(name);
    }
    for (series, name) in series.iter_mut().zip(["single seeds", "means with 95 % intervals"]) {
        series.name = name.to_owned();
    }
    let extent = || series.iter().flat_map(LineSeries::extent);
    let (scale, y_name) = loss_scale(measure, loss_name(measure), extent());
    let budget = report.margin / unit.size;
    let chart = LineChart {
        x_name: "part of the data and seeds",
        y_name: &y_name,
        x: ChartAxis::bands(columns.len()),
        y: ChartAxis::around(scale, extent().chain([0.0, budget])),
        columns: &columns,
        ticks: &[],
        height: 260.0,
        series: &series,
        rule: Some((budget, format!("the budget, {}", loss(report.margin, measure)))),
    };
    PageFigure {
        name: "proof".to_owned(),
        title: format!("{} by the plan", loss_title(measure)),
        caption:
            "What the plan loses against float, with the seeds that it was chosen by, and with \
                  seeds that took no part."
                .to_owned(),
        drawing: chart.drawing(),
        table,
    }
}

/// The bits of every role, layer by layer.
fn widths(found: &FoundPlan) -> PageFigure {
    let (mut layers, mut roles) = (Vec::new(), Vec::new());
    for width in &found.widths {
        layers.push(width.place.layer);
        if !roles.contains(&width.place.role) {
            roles.push(width.place.role.clone());
        }
    }
    layers.sort_unstable();
    layers.dedup();
    let mut table = Table::new(&["role", "layer", "bits", "at the start"]);
    let mut cells = Vec::new();
    for width in &found.widths {
        let (role, layer) = (&width.place.role, width.place.layer);
        let (bits, from) = (width.bits.to_string(), width.from.to_string());
        let places = (layers.binary_search(&layer), roles.iter().position(|one| one == role));
        table.row([words(role), layer.to_string(), bits.clone(), from.clone()]);
        let (Ok(column), Some(row)) = places else { continue };
        cells.push(HeatCell {
            at: [column, row],
            value: f64::from(width.bits),
            title: format!("{}, layer {layer}: {bits} bits\nat the start: {from}", words(role)),
            text: bits,
            chosen: false,
        });
    }
    let bits = || cells.iter().map(|cell| cell.value);
    let ends = [bits().fold(f64::INFINITY, f64::min), bits().fold(0.0, f64::max)];
    let columns: Vec<String> = layers.iter().map(|layer| format!("layer {layer}")).collect();
    let rows: Vec<String> = roles.iter().map(|role| words(role)).collect();
    let map = HeatMap {
        names: ["layer with weights", "role"],
        columns: &columns,
        rows: &rows,
        shade: ChartAxis::around(AxisScale::Log, bits()),
        ends: ends.map(|bits| format!("{bits} bits")),
        cells: &cells,
    };
    PageFigure {
        name: "widths".to_owned(),
        title: "Bits of the plan".to_owned(),
        caption: "Bits of an element of each role, and of each product's accumulators.".to_owned(),
        drawing: map.drawing(),
        table,
    }
}

/// A name of the data in words.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// What came of a step, and its colour: those that stand back are drawn faint.
struct StepKind {
    name: &'static str,
    style: usize,
    faint: bool,
    has: fn(&SearchStep) -> bool,
}

const KINDS: [StepKind; 3] = [
    StepKind {
        name: "one width alone, first seeds",
        style: 12,
        faint: true,
        has: |step| step.how == How::Alone,
    },
    StepKind {
        name: "beyond the budget",
        style: 1,
        faint: false,
        has: |step| step.how != How::Alone && step.verdict != PlanVerdict::Within,
    },
    StepKind {
        name: "within the budget",
        style: 2,
        faint: false,
        has: |step| step.how != How::Alone && step.verdict == PlanVerdict::Within,
    },
];

/// All steps with a cost, as points of one series for each kind.
fn steps(report: &SearchReport, place: impl Fn(&SearchStep, f64) -> (f64, f64)) -> Vec<LineSeries> {
    let of = |kind: &StepKind| {
        let points = report.steps.iter().filter(|step| (kind.has)(step)).filter_map(|step| {
            let (x, y) = place(step, step.cost?);
            Some(LinePoint { x, y, title: title(report, step), ..LinePoint::default() })
        });
        let (name, points) = (kind.name.to_owned(), points.collect());
        LineSeries {
            name,
            style: kind.style,
            faint: kind.faint,
            markers: true,
            points,
            ..LineSeries::default()
        }
    };
    KINDS.iter().map(of).collect()
}

/// The most changes that a mark tells.
const CHANGES_TOLD: usize = 12;

/// Everything about a step, a line each.
fn title(report: &SearchReport, step: &SearchStep) -> String {
    let measure = measure(report);
    let mut lines = vec![lowered(step)];
    let change = |WidthChange { place, from, to }: &WidthChange| {
        format!("{}, layer {}: {from} → {to} bits", words(&place.role), place.layer)
    };
    lines.extend(step.changes.iter().take(CHANGES_TOLD).map(change));
    if step.changes.len() > CHANGES_TOLD {
        lines.push(format!("and {} more", step.changes.len() - CHANGES_TOLD));
    }
    let seeds = plural(step.seeds, "seed");
    lines.push(format!("lost: {} with {seeds}", difference(step.lost.0, None, measure)));
    lines.push(format!("lost lately: {}", difference(step.lost_lately.0, None, measure)));
    lines.extend(step.cost.map(|cost| said(report, cost)));
    lines.push(verdict(step.verdict).to_owned());
    lines.join("\n")
}

fn lowered(step: &SearchStep) -> String {
    match step.how {
        How::Start => "a plan to start from".to_owned(),
        How::Uniform => "all widths of the start".to_owned(),
        How::Alone => "one width alone".to_owned(),
        How::Together => format!("{} widths together", step.changes.len()),
    }
}

fn verdict(verdict: PlanVerdict) -> &'static str {
    match verdict {
        PlanVerdict::Within => "within the budget",
        PlanVerdict::Beyond => "beyond the budget",
        PlanVerdict::GivenUp => "given up",
        PlanVerdict::Open => "not given up with the first seeds",
    }
}

/// What plans cost over the runs that were spent; nothing where no run was trained to its end.
fn descent(report: &SearchReport) -> Option<PageFigure> {
    let costs = report.steps.iter().filter_map(|step| step.cost);
    let most = costs.max_by(f64::total_cmp)?;
    let (unit, y_name) = cost_unit(report.cost, most, report.energy_unit.unwrap_or_default());
    let mut series = steps(report, |step, cost| (step.trainings as f64, cost / unit.size));
    let mut least = f64::INFINITY;
    let mut best = Vec::new();
    for step in report.steps.iter().filter(|step| step.verdict == PlanVerdict::Within) {
        let cost = step.cost.filter(|&cost| cost < least);
        least = cost.unwrap_or(least);
        best.extend(cost.map(|cost| (step.trainings as f64, cost / unit.size)));
    }
    best.extend(best.last().map(|&(_, cost)| (report.trainings.search as f64, cost)));
    let best = best.into_iter().map(|(x, y)| LinePoint { x, y, ..LinePoint::default() });
    series.push(LineSeries {
        name: "the cheapest within the budget so far".to_owned(),
        style: 2,
        line: true,
        steps: true,
        points: best.collect(),
        ..LineSeries::default()
    });
    let points = || series.iter().flat_map(|series| &series.points);
    let chart = LineChart {
        x_name: "runs in fixed point so far",
        y_name: &y_name,
        x: ChartAxis::new(AxisScale::Linear, 0.0, report.trainings.search as f64),
        y: ChartAxis::around(AxisScale::Linear, points().map(|point| point.y)),
        columns: &[],
        ticks: &[],
        height: 300.0,
        series: &series,
        rule: None,
    };
    Some(PageFigure {
        name: "descent".to_owned(),
        title: format!("How {} went down", name(report.cost)),
        caption: "Every plan that was trained to its end with the seeds that it was tried with."
            .to_owned(),
        drawing: chart.drawing(),
        table: table(report),
    })
}

/// What plans lose over what they cost.
fn plans(report: &SearchReport) -> Option<PageFigure> {
    let costs = report.steps.iter().filter_map(|step| step.cost);
    let most = costs.max_by(f64::total_cmp)?;
    let measure = measure(report);
    let (cost, losses) =
        (cost_unit(report.cost, most, report.energy_unit.unwrap_or_default()), loss_unit(measure));
    let mut series = steps(report, |step, spent| (spent / cost.0.size, step.lost.0 / losses.size));
    if let Some(found) = &report.found {
        let lost = found.validation.as_ref().unwrap_or(&found.test);
        series.push(LineSeries {
            style: 0,
            markers: true,
            points: vec![LinePoint {
                x: found.costs.of(report.cost) / cost.0.size,
                y: lost.mean.0 / losses.size,
                half: half_width(lost).map(|half| half / losses.size),
                title: format!(
                    "the plan\nlost: {}\n{}",
                    quoted(lost, measure),
                    said(report, found.costs.of(report.cost))
                ),
                label: Some("the plan".to_owned()),
            }],
            ..LineSeries::default()
        });
    }
    let extent = || series.iter().flat_map(LineSeries::extent);
    let (scale, y_name) = loss_scale(measure, loss_name(measure), extent());
    let budget = report.margin / losses.size;
    let xs = series.iter().flat_map(|series| &series.points).map(|point| point.x);
    let chart = LineChart {
        x_name: &cost.1,
        y_name: &y_name,
        x: ChartAxis::around(AxisScale::Linear, xs),
        y: ChartAxis::around(scale, extent().chain([0.0, budget])),
        columns: &[],
        ticks: &[],
        height: 320.0,
        series: &series,
        rule: Some((budget, format!("the budget, {}", loss(report.margin, measure)))),
    };
    let part = part(report.selected_on.unwrap_or(SelectedOn::Validation));
    Some(PageFigure {
        name: "plans".to_owned(),
        title: format!("{} against {}", loss_title(measure), name(report.cost)),
        caption: format!(
            "Every plan by its mean loss on the {part} part with the seeds that it was tried with; a plan is within \
             the budget only with all seeds, its standard error added, and also lately."
        ),
        drawing: chart.drawing(),
        table: Table::default(),
    })
}

fn table(report: &SearchReport) -> Table {
    let measure = measure(report);
    let mut table = Table::new(&[
        "lowered",
        "seeds",
        "lost",
        "lost lately",
        name(report.cost),
        "verdict",
        "runs so far",
    ]);
    for step in &report.steps {
        table.row([
            lowered(step),
            step.seeds.to_string(),
            difference(step.lost.0, None, measure),
            difference(step.lost_lately.0, None, measure),
            step.cost.map_or("-".to_owned(), |cost| said(report, cost)),
            verdict(step.verdict).to_owned(),
            count(step.trainings as u64),
        ]);
    }
    table
}
