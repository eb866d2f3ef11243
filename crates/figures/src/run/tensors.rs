//! What the formats do to each tensor.

use systoliq_fxp::Format;
use systoliq_nn::{EntryName, Extended, SqnrSteps};
use systoliq_run::comparison::Histogram;
use systoliq_run::trainer::Sqnr;

use super::report::{DrawnCompared, DrawnReport, DrawnTensor, DrawnTensorHistogram};
use crate::PageFigure;
use crate::chart::{
    Bins, DotColumn, DotMark, LineChart, LinePoint, LineSeries, Row, histograms, rows,
};
use crate::number::{count, decimal, percent, sum};
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis};

pub(super) fn figures(report: &DrawnReport) -> Vec<PageFigure> {
    let mut figures = vec![conversions(report)];
    let mut layers: Vec<EntryName> =
        report.comparison.tensors.iter().map(|tensor| tensor.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    for layer in layers {
        let both = [Weights::Own, Weights::Golden];
        figures.extend(both.into_iter().filter_map(|weights| sqnr(report, layer, weights)));
    }
    figures
}

/// A ratio in decibels: infinite where nothing was lost.
fn decibels(ratio: Option<Extended>) -> String {
    match ratio.map(|ratio| ratio.0) {
        None => "all zero".to_owned(),
        Some(f64::INFINITY) => "exact".to_owned(),
        Some(ratio) => format!("{} dB", decimal(ratio, 2)),
    }
}

/// The ratio of a run's conversions: where no error was seen in some steps, there may be others.
fn conversion_noise(ratio: Sqnr) -> String {
    match ratio {
        Sqnr::Sampled(None | Some(Extended(f64::INFINITY))) => "no error seen".to_owned(),
        ratio => decibels(*ratio.get()),
    }
}

fn conversions(report: &DrawnReport) -> PageFigure {
    let mut table =
        Table::new(&["tensor", "role", "format", "SQNR", "saturated", "underflow", "stalled"]);
    let mut lines = Vec::new();
    let mut layer = None;
    for tensor in &report.precision {
        let DrawnTensor { name, role, format, .. } = tensor;
        let stalled = tensor.stalled_rate.map_or("-".to_owned(), percent);
        let rates = [tensor.saturation_rate, tensor.underflow_rate].map(percent);
        let [saturated, underflow] = rates.clone();
        table.row([
            name.clone(),
            role.clone(),
            format.clone(),
            conversion_noise(tensor.sqnr),
            saturated,
            underflow,
            stalled,
        ]);
        let dot = |style: usize, value: f64, said: String| DotMark {
            value,
            half: None,
            style,
            title: format!("{name}, {role}, {format}\n{said}"),
        };
        let rate = |style: usize, rate: f64, what: &str| {
            vec![dot(style, 100.0 * rate, format!("{what}: {}", percent(rate)))]
        };
        let ratio = tensor.sqnr.get().filter(|ratio| ratio.0.is_finite());
        let sqnr = ratio.map(|ratio| dot(0, ratio.0, format!("SQNR: {}", decibels(Some(ratio)))));
        let cells = vec![
            sqnr.into_iter().collect(),
            rate(1, tensor.saturation_rate, "saturated"),
            rate(2, tensor.underflow_rate, "underflow"),
            tensor.stalled_rate.map_or(Vec::new(), |stalled| rate(3, stalled, "stalled updates")),
        ];
        let begins = layer.replace(tensor.layer) != Some(tensor.layer);
        lines.push(Row { label: name.clone(), begins, cells, note: format.clone() });
    }
    let names = ["SQNR (dB)", "saturated (%)", "underflow (%)", "stalled updates (%)"];
    let column = |(at, name): (usize, &str)| {
        let values = lines.iter().flat_map(|row| &row.cells[at]).map(|dot| dot.value);
        let most = values.clone().fold(0.0, f64::max);
        let axis = match at {
            0 => ChartAxis::from_zero(AxisScale::Linear, values),
            _ => ChartAxis::new(AxisScale::Linear, 0.0, if most > 0.0 { 1.08 * most } else { 1.0 }),
        };
        DotColumn { name: name.to_owned(), axis, stem: Some(0.0) }
    };
    let columns: Vec<DotColumn> = names.into_iter().enumerate().map(column).collect();
    let steps = match report.experiment.training.sqnr {
        SqnrSteps::Exact => "",
        SqnrSteps::Sampled => "of 1 step of 16; ",
    };
    PageFigure {
        name: "conversions".to_owned(),
        title: "What rounding did to each tensor".to_owned(),
        caption: format!(
            "Over all conversions of the training: signal-to-quantization-noise ratio ({steps}none where \
             all was exact or zero), elements that left the range, elements that became zero, and \
             updates that changed nothing; lines part the layers."
        ),
        drawing: rows(&columns, &lines, &[]),
        table,
    }
}

/// Under whose weights a tensor is compared.
#[derive(Clone, Copy)]
enum Weights {
    Own,
    Golden,
}

impl Weights {
    fn of(self, tensor: &DrawnCompared) -> &[Option<Extended>] {
        match self {
            Self::Own => &tensor.own.sqnr_db,
            Self::Golden => &tensor.teacher_forced.sqnr_db,
        }
    }
}

fn sqnr(report: &DrawnReport, layer: EntryName, weights: Weights) -> Option<PageFigure> {
    let epochs = &report.comparison.epoch;
    let of_layer = report.comparison.tensors.iter().filter(|tensor| tensor.layer == layer);
    let tensors: Vec<&DrawnCompared> = of_layer.collect();
    let line = |(style, tensor): (usize, &&DrawnCompared)| {
        let point = |(&epoch, ratio): (&usize, &Option<Extended>)| {
            let y = ratio.filter(|ratio| ratio.0.is_finite())?.0;
            let DrawnCompared { name, role, .. } = tensor;
            let title = format!("{name}, {role}, epoch {epoch}: {}", decibels(*ratio));
            Some(LinePoint { x: epoch as f64, y, title, ..LinePoint::default() })
        };
        let points = epochs.iter().zip(weights.of(tensor)).filter_map(point).collect();
        let name = tensor.name.clone();
        LineSeries { name, style, line: true, markers: true, points, ..LineSeries::default() }
    };
    let mut series: Vec<LineSeries> = tensors.iter().enumerate().map(line).collect();
    series.retain(|series| !series.points.is_empty());
    if series.is_empty() {
        return None;
    }
    let mut table = Table::new(&["epoch"]);
    table.head.extend(tensors.iter().map(|tensor| tensor.name.clone()));
    for (at, epoch) in epochs.iter().enumerate() {
        let cell =
            |tensor: &&DrawnCompared| decibels(weights.of(tensor).get(at).copied().flatten());
        table.row([epoch.to_string()].into_iter().chain(tensors.iter().map(cell)));
    }
    let chart = LineChart {
        x_name: "epoch",
        y_name: "SQNR against float (dB)",
        x: ChartAxis::new(AxisScale::Linear, 0.0, epochs.last().copied().unwrap_or(0) as f64),
        y: ChartAxis::from_zero(AxisScale::Linear, series.iter().flat_map(LineSeries::extent)),
        columns: &[],
        ticks: &[],
        height: 250.0,
        series: &series,
        rule: None,
    };
    let (name, title, how) = match weights {
        Weights::Own => ("sqnr", "Distance from float", "with the weights that each has learned"),
        Weights::Golden => (
            "sqnr-step",
            "Distance from float within one step",
            "with the weights of that model in both: what one step alone loses",
        ),
    };
    Some(PageFigure {
        name: format!("{name}-layer-{layer}"),
        title: format!("{title}: layer {layer}"),
        caption: format!(
            "Signal-to-quantization-noise ratio of each tensor of one batch against the \
             floating-point model, {how}. Tensors that are exact have none."
        ),
        drawing: chart.drawing(),
        table,
    })
}

pub(super) fn codes(report: &DrawnReport) -> Option<PageFigure> {
    let all = &report.comparison.histograms;
    let mut table = Table::new(&[
        "tensor",
        "format",
        "smallest code",
        "largest code",
        "different codes",
        "occurrences",
    ]);
    for DrawnTensorHistogram { name, histogram } in all {
        let different = histogram.counts.iter().filter(|&&times| times > 0).count();
        let (first, width) = (histogram.first as f64, bin_width(histogram));
        let last = (first + histogram.counts.len() as f64) * width - 1.0;
        let [first, last] = [first * width, last].map(|code| code.to_string());
        let occurrences = count(sum(histogram.counts.iter().copied()));
        table.row([
            name.clone(),
            histogram.format.clone(),
            first,
            last,
            count(different as u64),
            occurrences,
        ]);
    }
    let bins: Vec<Bins> = all.iter().map(of_tensor).collect();
    let caption = "How often each code occurs in one batch after the last epoch; of codes of more than 8 \
                   bits, each value of the upper 8. Each axis has all codes of the format.";
    (!bins.is_empty()).then(|| PageFigure {
        name: "codes".to_owned(),
        title: "Codes of each tensor".to_owned(),
        caption: caption.to_owned(),
        drawing: histograms(&bins, "raw code"),
        table,
    })
}

/// How many codes a bin holds.
fn bin_width(histogram: &Histogram) -> f64 {
    2f64.powi(histogram.dropped_bits.min(64) as i32)
}

fn of_tensor(DrawnTensorHistogram { name, histogram }: &DrawnTensorHistogram) -> Bins {
    let width = bin_width(histogram);
    let start = |at: usize| (histogram.first as f64 + at as f64) * width;
    let format: Option<Format> = histogram.format.parse().ok();
    let ends = format.map_or([start(0), start(histogram.counts.len())], |format| {
        [format.min_raw() as f64, format.max_raw() as f64 + 1.0]
    });
    let bin = |(at, &times): (usize, &u64)| {
        let (from, to) = (start(at), start(at + 1) - 1.0);
        let codes =
            if from == to { format!("code {from}") } else { format!("codes {from} to {to}") };
        let title = format!("{name}, {}\n{codes}: {}", histogram.format, count(times));
        (start(at), times, title)
    };
    let bins = histogram.counts.iter().enumerate().filter(|bin| *bin.1 > 0).map(bin).collect();
    Bins { label: format!("{name}  {}", histogram.format), ends, width, bins, style: 0 }
}
