//! What is lost along one axis of a sweep: where the cliff is.

use std::collections::BTreeMap;

use serde_json::Value;
use systoliq_explore::Analysis;

use super::{axis_name, loss_name, loss_scale, loss_title, on_test, part};
use crate::PageFigure;
use crate::chart::{LineChart, LinePoint, LineSeries, MARKERS};
use systoliq_explore::shown;

use crate::number::difference;
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis, tick_text};

/// The most lines, one for each combination of the other settings and each with a marker of its own;
/// of more, only the best is drawn.
const LINES_MAX: usize = MARKERS;

/// Where the values of an axis stand: numbers where they are, others in turn.
struct Places<'a> {
    values: &'a [Value],
    numbers: bool,
}

impl Places<'_> {
    fn of(&self, value: &Value) -> Option<f64> {
        match self.numbers {
            true => value.as_f64(),
            false => self.values.iter().position(|one| one == value).map(|at| at as f64),
        }
    }
}

/// Points along the axis with one combination of the other settings: its name, and beside each point
/// the loss that it is selected by.
type AxisLine = (String, Vec<(f64, LinePoint)>);

/// The figure of one axis; nothing where it has a single value, or no point of it is done.
pub(super) fn figure(analysis: &Analysis, at: usize) -> Option<PageFigure> {
    let axis = &analysis.axes[at];
    if axis.values.len() < 2 {
        return None;
    }
    let numbers = axis.values.iter().all(Value::is_number);
    let places = Places { values: &axis.values, numbers };
    let lines = lines(analysis, at, &places);
    let series = match lines.len() {
        0 => return None,
        1..=LINES_MAX => every(lines),
        _ => best(analysis, lines),
    };
    let extent = || series.iter().flat_map(LineSeries::extent);
    let (scale, y_name) = loss_scale(analysis.measure, loss_name(analysis.measure), extent());
    let columns: Vec<String> =
        if numbers { Vec::new() } else { axis.values.iter().map(shown).collect() };
    let mut xs: Vec<f64> =
        series.iter().flat_map(|series| &series.points).map(|point| point.x).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let spacing = spacing(&xs);
    let ticks: Vec<(f64, String)> =
        if numbers { xs.iter().map(|&x| (x, tick_text(x))).collect() } else { Vec::new() };
    let name = axis_name(analysis, axis);
    let log = if numbers && spacing == AxisScale::Log { " (logarithmic)" } else { "" };
    let chart = LineChart {
        x_name: &format!("{name}{log}"),
        y_name: &y_name,
        x: if numbers { ChartAxis::around(spacing, xs) } else { ChartAxis::bands(columns.len()) },
        y: ChartAxis::around(scale, extent().chain([0.0])),
        columns: &columns,
        ticks: &ticks,
        height: 320.0,
        series: &series,
        rule: Some((0.0, "as good as float".to_owned())),
    };
    let one_seed = analysis.seeds.len() < 2;
    let what = if one_seed { "one seed" } else { "means of the seeds" };
    let beside = if series.iter().any(|series| series.shift != 0.0) {
        " Points of several lines at one value stand side by side."
    } else {
        ""
    };
    Some(PageFigure {
        name: format!("lost-axis-{}", at + 1),
        title: format!("{} over {name}", loss_title(analysis.measure)),
        caption: format!(
            "What fixed point loses against float on the test part; {what} with 95 % intervals.{beside} Sets {}.",
            axis.paths.join(", ")
        ),
        drawing: chart.drawing(),
        table: table(analysis),
    })
}

/// Numbers over several powers of two stand by their logarithms; `sorted` are all that have points.
fn spacing(sorted: &[f64]) -> AxisScale {
    match sorted {
        [low, .., high] if *low > 0.0 && *high > 20.0 * low => AxisScale::Log,
        _ => AxisScale::Linear,
    }
}

/// The points along the axis for each combination of the other settings, with its name. Where some
/// combinations have several points, those of a single one are left out.
fn lines(analysis: &Analysis, at: usize, places: &Places<'_>) -> Vec<AxisLine> {
    let axis = &analysis.axes[at];
    let others = || analysis.axes.iter().enumerate().filter(|(other, _)| *other != at);
    // By the numbers of the other values, so that lines come in their order.
    let mut lines: BTreeMap<Vec<usize>, AxisLine> = BTreeMap::new();
    for point in &analysis.points {
        let value = |axis: &systoliq_explore::AnalysedAxis| point.settings.get(&axis.name);
        let level = |axis: &systoliq_explore::AnalysedAxis| {
            axis.values.iter().position(|one| Some(one) == value(axis)).unwrap_or(0)
        };
        let found = value(axis).and_then(|value| places.of(value));
        let Some(one) = found.and_then(|x| on_test(analysis, point, x)) else { continue };
        let key = others().map(|(_, axis)| level(axis)).collect();
        let name = others().map(|(_, axis)| {
            let value = value(axis).map_or(String::new(), shown);
            format!("{} {value}", axis_name(analysis, axis))
        });
        let line =
            lines.entry(key).or_insert_with(|| (name.collect::<Vec<_>>().join(", "), Vec::new()));
        let selected = analysis.selecting(point).map_or(f64::INFINITY, |lost| lost.mean.0);
        line.1.push((selected, one));
    }
    let several = lines.values().any(|line| line.1.len() > 1);
    let mut lines: Vec<_> =
        lines.into_values().filter(|line| !several || line.1.len() > 1).collect();
    for (_, points) in &mut lines {
        points.sort_by(|a, b| a.1.x.total_cmp(&b.1.x));
    }
    lines
}

/// A line for each combination.
fn every(lines: Vec<AxisLine>) -> Vec<LineSeries> {
    let middle = (lines.len() - 1) as f64 / 2.0;
    let line = |(style, (name, points)): (usize, AxisLine)| LineSeries {
        name,
        style,
        line: true,
        shift: 4.0 * (style as f64 - middle),
        markers: true,
        points: points.into_iter().map(|(_, point)| point).collect(),
        ..LineSeries::default()
    };
    lines.into_iter().enumerate().map(line).collect()
}

/// All points, and the line of those that are selected at each value.
fn best(analysis: &Analysis, lines: Vec<AxisLine>) -> Vec<LineSeries> {
    let mut all: Vec<(f64, LinePoint)> = lines.into_iter().flat_map(|line| line.1).collect();
    all.sort_by(|a, b| a.1.x.total_cmp(&b.1.x).then(a.0.total_cmp(&b.0)));
    let mut all: Vec<LinePoint> = all.into_iter().map(|(_, point)| point).collect();
    let mut least = all.clone();
    least.dedup_by(|next, kept| next.x == kept.x);
    all.iter_mut().for_each(|point| point.half = None);
    let all = LineSeries {
        name: "every point".to_owned(),
        style: 12,
        markers: true,
        faint: true,
        points: all,
        ..LineSeries::default()
    };
    let least = LineSeries {
        name: format!("that which loses least on the {} part", part(analysis.selected_on)),
        line: true,
        markers: true,
        points: least,
        ..LineSeries::default()
    };
    vec![all, least]
}

/// Every point with its settings and losses.
pub(super) fn table(analysis: &Analysis) -> Table {
    let mut table = Table::default();
    table.head.extend(analysis.axes.iter().map(|axis| axis.name.clone()));
    table.head.extend(["lost, validation", "lost, test", "diverged", "failed"].map(str::to_owned));
    for point in &analysis.points {
        let values = analysis.axes.iter().map(|axis| point.settings.get(&axis.name));
        let values = values.map(|value| value.map_or(String::new(), shown));
        let losses = [&point.validation, &point.test].map(|lost| {
            lost.as_ref().map_or("-".to_owned(), |lost| {
                difference(lost.mean.0, lost.ci95.map(|half| half.0), analysis.measure)
            })
        });
        let failed = match point.failed.iter().next() {
            None => "0".to_owned(),
            Some((seed, reason)) => format!("{}; seed {seed}: {reason}", point.failed.len()),
        };
        let ended = [point.diverged.len().to_string(), failed];
        table.row(values.chain(losses).chain(ended));
    }
    table
}
