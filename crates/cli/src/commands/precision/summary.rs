//! What a study found, in tables.

use systoliq_energy::EnergyUnit;
use systoliq_run::Prepared;
use systoliq_study::drop::words;
use systoliq_study::precision::{AssignmentReport, PrecisionReport, PricedRounding};

use crate::commands::check::word;
use crate::commands::table::{Columns, grouped, joules};
use crate::failure::one_line;

/// The tables of a study.
pub(super) fn summary(prepared: &Prepared, report: &PrecisionReport, unit: EnergyUnit) -> String {
    let tables = [
        heading(prepared, report),
        gains(report),
        assignments(report, unit),
        costs(report),
        plan(report),
        sums(report),
        roundings(report, unit),
        trained(report),
    ];
    tables.into_iter().filter(|table| !table.is_empty()).collect::<Vec<_>>().join("\n")
}

fn heading(prepared: &Prepared, report: &PrecisionReport) -> String {
    let experiment = &prepared.experiment;
    format!(
        "{}: {}, float run of {} epochs, seed {}: {} error on the test part\n",
        one_line(&experiment.name),
        prepared.graph.sizes(),
        experiment.training.epochs,
        experiment.seed,
        percent(report.float_error_rate)
    )
}

fn gains(report: &PrecisionReport) -> String {
    let mut table = Columns::new(&["tensor", "range", "E mean", "trimmed", "median", "offset"]);
    for tensor in &report.gains {
        let gain = tensor.gain;
        table.line([
            tensor.name.clone(),
            power(tensor.range_log2),
            real(gain.mean),
            real(gain.trimmed_mean),
            real(gain.median),
            format!("{:+}", tensor.offset),
        ]);
    }
    let requested = &report.requested;
    format!(
        "{} noise gains E on {} {} samples; trimmed: without the 1 % of least margin\n",
        table.text(),
        grouped(requested.samples as u64),
        requested.part
    )
}

fn assignments(report: &PrecisionReport, unit: EnergyUnit) -> String {
    let names = [
        "widths",
        "B_min",
        "bound",
        "on test",
        "mismatch",
        "error",
        "full adders",
        "storage bits",
        "step",
        "bits",
    ];
    let mut table = Columns::new(&names);
    let least = [&report.balanced, &report.uniform, &report.joules];
    for of in least.into_iter().chain(&report.sweep) {
        let bits: Vec<String> = of.assignment.bits.iter().map(u32::to_string).collect();
        table.line([
            format!("{:?}", of.assignment.allocation).to_lowercase(),
            of.assignment.b_min.to_string(),
            percent(of.assignment.bound),
            percent(of.bound_on_test),
            percent(of.mismatch_rate),
            percent(of.error_rate),
            grouped(of.total_cost.full_adders),
            grouped(of.total_cost.storage_bits),
            joules(of.step_energy_pj, unit),
            bits.join(" "),
        ]);
    }
    let names: Vec<&str> = report.gains.iter().map(|tensor| tensor.name.as_str()).collect();
    format!(
        "{} the least widths whose bound is at most {}{}; bits of {}\n \
         mismatch and error: trained weights in integers, on {} test samples; step: energy of a training step\n",
        table.text(),
        percent(report.requested.mismatch),
        if report.sweep.is_empty() { "" } else { ", and those asked for" },
        names.join(" "),
        grouped(report.balanced.measured.samples)
    )
}

fn costs(report: &PrecisionReport) -> String {
    let names = [
        "layer",
        "B_A x B_W",
        "full adders",
        "storage bits",
        "uniform",
        "full adders",
        "storage bits",
    ];
    let mut table = Columns::new(&names);
    let cells = |of: &AssignmentReport, layer: usize| {
        let cost = of.cost[layer];
        [
            format!("{} x {}", cost.input_bits, cost.weight_bits),
            grouped(cost.complexity.full_adders),
            grouped(cost.complexity.storage_bits),
        ]
    };
    for layer in 0..report.balanced.cost.len() {
        let (balanced, uniform) = (cells(&report.balanced, layer), cells(&report.uniform, layer));
        table.line([layer.to_string()].into_iter().chain(balanced).chain(uniform));
    }
    table.text()
}

fn plan(report: &PrecisionReport) -> String {
    let names = ["tensor", "role", "range", "step", "bits", "format", "offset", "criterion"];
    let mut table = Columns::new(&names);
    for tensor in &report.planned {
        table.line([
            tensor.name.clone(),
            tensor.role.name().replace('_', " "),
            power(tensor.grid.range_log2),
            power(tensor.grid.step_log2),
            tensor.bits.to_string(),
            tensor.format.clone(),
            tensor.offset.map_or("-".to_owned(), |offset| format!("{offset:+}")),
            tensor.criterion.to_owned(),
        ]);
    }
    table.text()
}

fn sums(report: &PrecisionReport) -> String {
    let names = [
        "sums of",
        "layer",
        "terms",
        "deviation",
        "head",
        "leaves",
        "drop",
        "rounding",
        "noise",
        "bits",
        "exact",
    ];
    let mut table = Columns::new(&names);
    for sum in &report.sums {
        table.line([
            sum.pass.name().replace('_', " "),
            sum.layer.to_string(),
            format!("{:.1}", sum.terms),
            real(sum.deviation),
            format!("{:.2}", sum.head),
            real(sum.saturation),
            sum.drop.to_string(),
            word(&sum.rounding),
            format!("{:.2}", sum.noise),
            sum.bits.to_string(),
            sum.bits_exact.to_string(),
        ]);
    }
    format!(
        "{} terms: products that are not zero; head: bits of the range above the deviation; leaves: how likely a \
         Gaussian sum leaves it\n drop: low bits of a product that are not kept; noise: its power beside that of the \
         result's conversion\n exact: bits with which nothing is dropped and no sum can overflow\n",
        table.text()
    )
}

/// What rounding in the PE costs beside the width that it saves.
fn roundings(report: &PrecisionReport, unit: EnergyUnit) -> String {
    let mut names = vec!["energy of".to_owned(), "layer".to_owned()];
    let modes = report.roundings.first().into_iter().flat_map(|sum| &sum.roundings);
    let name =
        |of: &PricedRounding| of.rounding.map_or("nothing dropped".to_owned(), |mode| word(&mode));
    names.extend(modes.map(name));
    let mut table = Columns::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for sum in &report.roundings {
        let cell = |of: &PricedRounding| {
            format!("{} bits {}", of.bits, joules(of.energy_pj_per_mac, unit))
        };
        let first = [sum.pass.name().replace('_', " "), sum.layer.to_string()];
        table.line(first.into_iter().chain(sum.roundings.iter().map(cell)));
    }
    format!(
        "{} width of the accumulator, and energy of the product for each multiplication, memories included,\n \
         with so much noise and range, by how products are rounded before they are added\n",
        table.text()
    )
}

fn trained(report: &PrecisionReport) -> String {
    let Some(trained) = &report.trained else { return String::new() };
    let said = match &trained.judged {
        Some(judged) => format!("{}\n {}", words::lost(judged), words::verdict(judged)),
        None => words::NO_REFERENCE.to_owned(),
    };
    format!(
        "trained with the plan, seed {}: error {} fixed, {} golden\n lost {said}\n",
        trained.seed,
        percent(trained.fixed_error_rate),
        percent(trained.golden_error_rate),
    )
}

fn percent(rate: f64) -> String {
    format!("{:.2} %", 100.0 * rate)
}

fn power(log2: i32) -> String {
    format!("2^{log2}")
}

fn real(value: f64) -> String {
    if value != 0.0 && !(1e-2..1e5).contains(&value) {
        format!("{value:.2e}")
    } else {
        format!("{value:.3}")
    }
}
