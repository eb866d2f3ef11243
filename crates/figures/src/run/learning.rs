//! How both networks learn, epoch by epoch.

use super::report::{DrawnCurve, DrawnReport};
use crate::PageFigure;
use crate::chart::{LineChart, LinePoint, LineSeries};
use crate::number::{digits, percent};
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis};

/// One line: what it is, on which network's colour, whether on the test part, and its values from
/// epoch `first` on.
struct RunLine {
    name: String,
    style: usize,
    test: bool,
    first: usize,
    values: Vec<Option<f64>>,
}

/// Colours of the networks.
const FIXED: usize = 0;
const FLOAT: usize = 1;
const BOTH: usize = 2;

pub(super) fn figures(report: &DrawnReport) -> Vec<PageFigure> {
    let classes = report.fixed.initial.error_rate.is_some();
    let mut figures = vec![loss(report, classes)];
    if classes {
        figures.push(errors(report));
    }
    figures
}

/// The networks with their colours and names.
fn networks(report: &DrawnReport) -> [(&DrawnCurve, usize, &'static str); 2] {
    [(&report.fixed, FIXED, "fixed point"), (&report.golden, FLOAT, "float")]
}

fn loss(report: &DrawnReport, classes: bool) -> PageFigure {
    let mut lines = Vec::new();
    for (curve, style, name) in networks(report) {
        let all = |values: &[systoliq_nn::Extended]| -> Vec<Option<f64>> {
            values.iter().map(|loss| Some(loss.0)).collect()
        };
        let mut values = vec![Some(curve.initial.loss_bits.0)];
        values.extend(all(&curve.loss_bits));
        lines.push(RunLine { name: format!("{name}, test"), style, test: true, first: 0, values });
        let values = all(&curve.training_loss);
        lines.push(RunLine {
            name: format!("{name}, training"),
            style,
            test: false,
            first: 1,
            values,
        });
    }
    let number = |value: f64| digits(value, 4);
    let finite = lines.iter().flat_map(|line| &line.values).flatten().filter(|v| v.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, 0f64), |(low, high), &v| (low.min(v), high.max(v)));
    let scale = if low > 0.0 && high > 30.0 * low { AxisScale::Log } else { AxisScale::Linear };
    let y_name = match (classes, scale) {
        (true, AxisScale::Log) => "loss (bits per sample, logarithmic)",
        (true, _) => "loss (bits per sample)",
        (false, AxisScale::Log) => "loss (½Σe² per sample, logarithmic)",
        (false, _) => "loss (½Σe² per sample)",
    };
    let unit = if classes { " bits" } else { "" };
    drawn(
        &lines,
        scale,
        y_name,
        &number,
        unit,
        Words {
            name: "learning-loss",
            title: "Learning curves: loss",
            caption: "Mean loss on the test part after each epoch (epoch 0: the initial weights), and of \
                  the training samples, each before the update of its step.",
        },
    )
}

fn errors(report: &DrawnReport) -> PageFigure {
    let mut lines = Vec::new();
    for (curve, style, name) in networks(report) {
        let mut values = vec![curve.initial.error_rate];
        values.extend(&curve.error_rate);
        lines.push(RunLine { name: format!("{name}, test"), style, test: true, first: 0, values });
        let values = curve.validation_error_rate.clone();
        let name = format!("{name}, validation");
        lines.push(RunLine { name, style, test: false, first: 1, values });
    }
    lines.push(RunLine {
        name: "the two differ, test".to_owned(),
        style: BOTH,
        test: true,
        first: 0,
        values: report.comparison.mismatch_rate.clone(),
    });
    for line in &mut lines {
        line.values.iter_mut().flatten().for_each(|value| *value *= 100.0);
    }
    let number = |value: f64| percent(value / 100.0);
    let most = lines.iter().flat_map(|line| &line.values).flatten().copied().fold(0.0, f64::max);
    let scale = if most > 20.0 { AxisScale::SymmetricLog(5.0) } else { AxisScale::Linear };
    let name = if most > 20.0 { "samples (%, asinh scale)" } else { "samples (%)" };
    drawn(
        &lines,
        scale,
        name,
        &number,
        "",
        Words {
            name: "learning-errors",
            title: "Learning curves: error rate",
            caption: "Share of samples taken for another class after each epoch (epoch 0: the initial \
                  weights), and of test samples that the two networks take for different classes.",
        },
    )
}

struct Words {
    name: &'static str,
    title: &'static str,
    caption: &'static str,
}

fn drawn(
    lines: &[RunLine],
    scale: AxisScale,
    y_name: &str,
    number: &dyn Fn(f64) -> String,
    unit: &str,
    words: Words,
) -> PageFigure {
    let present = |line: &&RunLine| line.values.iter().any(Option::is_some);
    let lines: Vec<&RunLine> = lines.iter().filter(present).collect();
    let series: Vec<LineSeries> = lines
        .iter()
        .map(|line| LineSeries {
            name: line.name.clone(),
            style: line.style,
            dashed: !line.test,
            steps: false,
            shift: 0.0,
            line: true,
            markers: line.test,
            faint: false,
            points: points(line, number, unit),
        })
        .collect();
    let epochs = lines.iter().map(|line| line.first + line.values.len()).max().unwrap_or(1) - 1;
    let values = series.iter().flat_map(LineSeries::extent);
    let y = match scale {
        AxisScale::Log => ChartAxis::around(scale, values),
        _ => ChartAxis::from_zero(scale, values),
    };
    let chart = LineChart {
        x_name: "epoch",
        y_name,
        x: ChartAxis::new(AxisScale::Linear, 0.0, epochs as f64),
        y,
        columns: &[],
        ticks: &[],
        height: 280.0,
        series: &series,
        rule: None,
    };
    let mut table = Table::new(&["epoch"]);
    table.head.extend(lines.iter().map(|line| line.name.clone()));
    for epoch in 0..=epochs {
        let value = |line: &&RunLine| {
            let value = epoch.checked_sub(line.first).and_then(|at| *line.values.get(at)?);
            value.map_or(String::new(), number)
        };
        table.row([epoch.to_string()].into_iter().chain(lines.iter().map(value)));
    }
    PageFigure {
        name: words.name.to_owned(),
        title: words.title.to_owned(),
        caption: words.caption.to_owned(),
        drawing: chart.drawing(),
        table,
    }
}

fn points(line: &RunLine, number: &dyn Fn(f64) -> String, unit: &str) -> Vec<LinePoint> {
    let point = |(at, value): (usize, &Option<f64>)| {
        let (epoch, y) = (line.first + at, (*value)?);
        let title = format!("{}, epoch {epoch}: {}{unit}", line.name, number(y));
        Some(LinePoint { x: epoch as f64, y, title, ..LinePoint::default() })
    };
    line.values.iter().enumerate().filter_map(point).collect()
}
