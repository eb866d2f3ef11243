//! Where cycles and energy go, and what bounds each product.

use systoliq_energy::EnergyUnit;
use systoliq_nn::EntryName;

use super::report::{DrawnEnergy, DrawnReport, DrawnWork};
use crate::PageFigure;
use crate::chart::{
    DotColumn, DotMark, LineChart, LinePoint, LineSeries, Row, Stack, rows, stacks,
};
use crate::number::{UnitSize, count, digits, energy, percent, sum};
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis};

pub(super) fn figures(report: &DrawnReport) -> Vec<PageFigure> {
    let mut figures = vec![
        energy_by_component(report),
        energy_of_each_component(report),
        energy_by_pass(report),
        cycles_by_pass(report),
        cycles_by_layer(report),
    ];
    figures.extend(roofline(report));
    figures
}

/// A name of the data in words.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// The share of a part.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A bar of energies by key, to be drawn in a unit of another size.
pub(crate) fn energy_stack(
    label: String,
    parts: &[(String, f64)],
    unit: EnergyUnit,
    drawn: UnitSize,
) -> Stack {
    let total: f64 = parts.iter().map(|part| part.1).sum();
    let part = |(key, (name, spent)): (usize, &(String, f64))| {
        let (of_all, spent_text) = (percent(share(*spent, total)), energy(*spent, unit));
        (key, spent / drawn.size, format!("{label}\n{}: {spent_text}, {of_all}", words(name)))
    };
    let parts = parts.iter().enumerate().map(part).collect();
    Stack { parts, total: energy(total, unit), label }
}

fn energy_by_component(report: &DrawnReport) -> PageFigure {
    let spent = &report.energy_pj;
    let unit = spent.unit;
    let drawn = UnitSize::of_energy(spent.total.max(spent.float32_total), unit);
    let keys: Vec<String> = spent.by_component.0.iter().map(|part| words(&part.0)).collect();
    let both = [("fixed point", &spent.by_component), ("float32", &spent.float32_by_component)];
    let bars = both.map(|(label, parts)| energy_stack(label.to_owned(), &parts.0, unit, drawn));
    let mut table = Table::new(&["component", "fixed point", "share", "float32", "share"]);
    for (name, pj) in &spent.by_component.0 {
        let other = spent.float32_by_component.of(name);
        table.row([
            words(name),
            energy(*pj, unit),
            percent(share(*pj, spent.total)),
            energy(other, unit),
            percent(share(other, spent.float32_total)),
        ]);
    }
    PageFigure {
        name: "energy-components".to_owned(),
        title: "Energy by component".to_owned(),
        caption: "Energy of the training, beside that of the same program on float32 hardware."
            .to_owned(),
        drawing: stacks(&keys, &bars, &format!("energy ({})", drawn.name)),
        table,
    }
}

fn energy_of_each_component(report: &DrawnReport) -> PageFigure {
    let spent = &report.energy_pj;
    let mut table = Table::new(&["component", "fixed point", "float32", "float32 / fixed point"]);
    let mut lines = Vec::new();
    let pairs = spent
        .by_component
        .0
        .iter()
        .map(|(name, pj)| (words(name), *pj, spent.float32_by_component.of(name)));
    let total = ("total".to_owned(), spent.total, spent.float32_total);
    let unit = spent.unit;
    let drawn = UnitSize::of_energy(spent.total.max(spent.float32_total), unit);
    for (label, fixed, float32) in pairs.chain([total]) {
        let factor = if fixed > 0.0 && float32 > 0.0 {
            format!("{} ×", digits(float32 / fixed, 3))
        } else {
            String::new()
        };
        table.row([label.clone(), energy(fixed, unit), energy(float32, unit), factor.clone()]);
        let dot = |(style, name, pj): (usize, &str, f64)| DotMark {
            value: pj / drawn.size,
            half: None,
            style,
            title: format!("{label}, {name}: {}", energy(pj, unit)),
        };
        let dots = [(0, "fixed point", fixed), (1, "float32", float32)];
        let dots = dots.into_iter().filter(|dot| dot.2 > 0.0).map(dot).collect::<Vec<_>>();
        if !dots.is_empty() {
            lines.push(Row { begins: label == "total", label, cells: vec![dots], note: factor });
        }
    }
    let values: Vec<f64> =
        lines.iter().flat_map(|row| &row.cells[0]).map(|dot| dot.value).collect();
    let column = DotColumn {
        name: format!("energy ({}, logarithmic)", drawn.name),
        axis: ChartAxis::around(AxisScale::Log, values),
        stem: None,
    };
    PageFigure {
        name: "energy-factors".to_owned(),
        title: "What float32 takes of each component".to_owned(),
        caption:
            "The same energies one by one, and at the end of each line how many times as much \
                  float32 hardware takes."
                .to_owned(),
        drawing: rows(&[column], &lines, &["fixed point", "float32"]),
        table,
    }
}

/// Sums over works by pass, in the order of the report.
fn by_pass<'r>(report: &'r DrawnReport) -> impl Iterator<Item = (&'r str, Vec<&'r DrawnWork>)> {
    let of = |pass: &'r str| report.layers.iter().filter(move |work| work.pass == pass).collect();
    report.energy_pj.by_pass.0.iter().map(move |(pass, _)| (pass.as_str(), of(pass)))
}

/// The layers that there are.
fn layers(report: &DrawnReport) -> Vec<EntryName> {
    let mut layers: Vec<EntryName> = report.layers.iter().map(|work| work.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

fn energy_by_pass(report: &DrawnReport) -> PageFigure {
    let DrawnEnergy { unit, by_pass: fixed, float32_by_pass: float32, .. } = &report.energy_pj;
    let both = fixed.0.iter().chain(&float32.0).map(|pass| pass.1);
    let drawn = UnitSize::of_energy(both.fold(0.0, f64::max), *unit);
    let layers = layers(report);
    let keys: Vec<String> = layers.iter().map(|layer| format!("layer {layer}")).collect();
    let mut table = Table::new(&["pass"]);
    table.head.extend(keys.iter().cloned().chain(["total".to_owned()]));
    let mut bars = Vec::new();
    for (pass, works) in by_pass(report) {
        let spent = works.iter().map(|work| (work.layer, [work.energy_pj, work.float32_energy_pj]));
        let spent: Vec<(EntryName, [f64; 2])> = spent.collect();
        let hardware = [
            (words(pass), fixed.of(pass)),
            (format!("{}, float32", words(pass)), float32.of(pass)),
        ];
        for (on, (label, total)) in hardware.into_iter().enumerate() {
            let of = |layer: &EntryName| {
                spent.iter().filter(|work| work.0 == *layer).map(|work| work.1[on]).sum()
            };
            let parts: Vec<(String, f64)> =
                keys.iter().cloned().zip(layers.iter().map(of)).collect();
            let cells = parts.iter().map(|part| part.1).chain([total]);
            let cells = cells.map(|spent| energy(spent, *unit));
            table.row([label.clone()].into_iter().chain(cells));
            bars.push(energy_stack(label, &parts, *unit, drawn));
        }
    }
    PageFigure {
        name: "energy-passes".to_owned(),
        title: "Energy by pass and layer".to_owned(),
        caption: "Energy of the training, beside that of the same program on float32 hardware."
            .to_owned(),
        drawing: stacks(&keys, &bars, &format!("energy ({})", drawn.name)),
        table,
    }
}

/// A figure of cycles by cause, of bars with their causes in the order of `causes`.
fn cycles(causes: &[String], bars: &[(String, Vec<u64>)], words_of: [&str; 3]) -> PageFigure {
    let totals = bars.iter().map(|bar| sum(bar.1.iter().copied()));
    let unit = UnitSize::of_count(totals.max().unwrap_or(0) as f64);
    let keys: Vec<String> = causes.iter().map(|cause| words(cause)).collect();
    let mut table = Table::new(&["of"]);
    table.head.extend(keys.iter().cloned().chain(["total".to_owned()]));
    let stack = |(label, parts): &(String, Vec<u64>)| {
        let total = sum(parts.iter().copied());
        let part = |(key, &cycles): (usize, &u64)| {
            let of_all = percent(share(cycles as f64, total as f64));
            let title = format!("{label}\n{}: {} cycles, {of_all}", keys[key], count(cycles));
            (key, cycles as f64 / unit.size, title)
        };
        let parts = parts.iter().enumerate().map(part).collect();
        Stack { label: label.clone(), parts, total: count(total) }
    };
    for (label, parts) in bars {
        let cells = parts.iter().copied().chain([sum(parts.iter().copied())]);
        table.row([label.clone()].into_iter().chain(cells.map(count)));
    }
    let stacked: Vec<Stack> = bars.iter().map(stack).collect();
    let name =
        if unit.name.is_empty() { "cycles".to_owned() } else { format!("{} cycles", unit.name) };
    let [name_of, title, caption] = words_of.map(str::to_owned);
    PageFigure { name: name_of, title, caption, drawing: stacks(&keys, &stacked, &name), table }
}

fn cycles_by_pass(report: &DrawnReport) -> PageFigure {
    let causes = causes(report);
    let bars = report.cycles.by_pass_and_cause.0.iter();
    let bars = bars
        .map(|(pass, found)| (words(pass), causes.iter().map(|cause| found.of(cause)).collect()));
    let bars: Vec<(String, Vec<u64>)> = bars.collect();
    let title = "Cycles by pass and cause";
    cycles(&causes, &bars, ["cycles-passes", title, "Clock cycles of the training in fixed point."])
}

fn causes(report: &DrawnReport) -> Vec<String> {
    report.cycles.by_cause.0.iter().map(|cause| cause.0.clone()).collect()
}

/// The cycles of a work by cause: of a product what the array counts, its stalls, and for the rest the
/// vector unit.
fn by_cause(work: &DrawnWork, causes: &[String]) -> Vec<u64> {
    let counted = |cause: &str| match (cause, &work.counts) {
        ("stall", _) => work.stall_cycles,
        ("vector", _) | (_, None) => 0,
        (cause, Some(counts)) => counts.cycles.of(cause),
    };
    let mut found: Vec<u64> = causes.iter().map(|cause| counted(cause)).collect();
    let rest = work.cycles.saturating_sub(sum(found.iter().copied()));
    if let Some(vector) = causes.iter().position(|cause| cause == "vector") {
        found[vector] = rest;
    }
    found
}

fn cycles_by_layer(report: &DrawnReport) -> PageFigure {
    let causes = causes(report);
    let mut bars = Vec::new();
    for layer in layers(report) {
        for (pass, works) in by_pass(report) {
            let works: Vec<_> = works.into_iter().filter(|work| work.layer == layer).collect();
            if works.is_empty() {
                continue;
            }
            let mut sums = vec![0u64; causes.len()];
            for work in works {
                sums.iter_mut()
                    .zip(by_cause(work, &causes))
                    .for_each(|(sum, one)| *sum = sum.saturating_add(one));
            }
            bars.push((format!("layer {layer}, {}", words(pass)), sums));
        }
    }
    let title = "Cycles by layer, pass and cause";
    cycles(&causes, &bars, ["cycles-layers", title, "The same cycles layer by layer."])
}

fn roofline(report: &DrawnReport) -> Option<PageFigure> {
    let products: Vec<(&DrawnWork, _)> =
        report.layers.iter().filter_map(|work| Some((work, work.roofline?))).collect();
    if products.is_empty() {
        return None;
    }
    let machine = &report.experiment.accelerator;
    let peak = machine.array.pes() as f64;
    let mut table =
        Table::new(&["product", "m × k × n", "calls", "MACs per byte", "MACs per cycle", "bound"]);
    let mut series: Vec<LineSeries> = Vec::new();
    let passes = by_pass(report).map(|(pass, _)| pass);
    for (style, pass) in passes.enumerate() {
        let of_pass = products.iter().filter(|(work, _)| work.pass == pass);
        let points: Vec<LinePoint> = of_pass
            .map(|(work, roof)| {
                let size = [work.m, work.k, work.n].map(|size| size.map_or(String::new(), |size| size.to_string()));
                let (name, size) = (format!("{}, layer {}", work.output, work.layer), size.join(" × "));
                let [intensity, made, bound] = [roof.macs_per_byte, roof.macs_per_cycle, roof.bound_macs_per_cycle].map(|v| digits(v, 4));
                let title = format!("{name}, {}\n{size}, {} calls\n{intensity} MACs per byte\n{made} of {bound} MACs per cycle", words(pass), count(work.calls));
                table.row([name, size, count(work.calls), intensity, made, bound]);
                LinePoint { x: roof.macs_per_byte, y: roof.macs_per_cycle, title, ..LinePoint::default() }
            })
            .collect();
        if !points.is_empty() {
            series.push(LineSeries {
                name: words(pass),
                style,
                markers: true,
                points,
                ..LineSeries::default()
            });
        }
    }
    let x = products.iter().map(|(_, roof)| roof.macs_per_byte);
    let bandwidth = machine.dram.bytes_per_cycle.map(|bytes| bytes as f64);
    let ridge = bandwidth.map(|bytes| peak / bytes);
    let x = ChartAxis::around(AxisScale::Log, x.flat_map(|x| [x / 1.5, x * 1.5]).chain(ridge));
    let [low, high] = x.values();
    let roof_at = |x: f64| bandwidth.map_or(peak, |bytes| peak.min(x * bytes));
    let corners = [Some(low), ridge, Some(high)].into_iter().flatten();
    let roof = corners.map(|x| LinePoint { x, y: roof_at(x), ..LinePoint::default() }).collect();
    let y = products.iter().map(|(_, roof)| roof.macs_per_cycle);
    let y = ChartAxis::around(AxisScale::Log, y.chain([peak * 1.15]));
    let memory = bandwidth
        .map_or("no limit of DRAM".to_owned(), |bytes| format!("{bytes} bytes of DRAM per cycle"));
    let name = format!("bound: {} PEs, {memory}", count(machine.array.pes()));
    series.insert(
        0,
        LineSeries { name, style: 12, line: true, points: roof, ..LineSeries::default() },
    );
    let chart = LineChart {
        x_name: "arithmetic intensity (MACs per byte of DRAM, logarithmic)",
        y_name: "MACs per cycle (logarithmic)",
        x,
        y,
        columns: &[],
        ticks: &[],
        height: 280.0,
        series: &series,
        rule: None,
    };
    Some(PageFigure {
        name: "roofline".to_owned(),
        title: "Roofline of the matrix products".to_owned(),
        caption:
            "What each product makes of the array, under what PEs and memory allow; one point for \
                  each size of work."
                .to_owned(),
        drawing: chart.drawing(),
        table,
    })
}
