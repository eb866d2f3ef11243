//! What a run found, as tables for a person.

mod energy;
mod target;

use std::fmt::Write as _;

use systoliq_array::{Activity, CyclesByCause, Dataflow, Stationary};
use systoliq_nn::{Extended, SqnrSteps};
use systoliq_program::Pass;
use systoliq_run::Prepared;
use systoliq_run::activity::ActivityReport;
use systoliq_run::trainer::Sqnr;
use systoliq_study::Report;
use systoliq_study::diagnosis::{Cause, Finding, Reason};
use systoliq_study::drop::words;
use systoliq_study::mcnemar::McNemar;
use systoliq_study::report::{ComparisonReport, CurveReport, LayerReport, Series};

use crate::commands::table::{
    self, Columns, UNLIMITED, conversions, decibels, grouped, percent, points, real, time,
};
use crate::failure::one_line;

/// Epochs shown before the table is thinned out.
const EPOCHS_SHOWN: usize = 20;

/// The tables of a run.
pub(super) fn summary(prepared: &Prepared, report: &Report) -> String {
    let mut text = heading(prepared);
    text.push_str(&epochs(report));
    text.push_str(&verdict(report));
    text.push_str(&comparison(&report.comparison));
    text.push_str(&cycles(prepared, report));
    text.push_str(&energy::tables(report));
    text.push_str(&tensors(report));
    text.push_str(&accumulators(report));
    text.push_str(&diagnosis(report));
    text
}

/// Appends a line.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {
        writeln!($text, $($format)*).expect("writing to a string")
    };
}

fn heading(prepared: &Prepared) -> String {
    let experiment = &prepared.experiment;
    let array = &experiment.accelerator.array;
    format!(
        "{}: {}, {} epochs in batches of {}, seed {}, on {} x {} PEs\n\n",
        one_line(&experiment.name),
        prepared.graph.sizes(),
        experiment.training.epochs,
        experiment.training.batch,
        experiment.seed,
        array.rows,
        array.cols
    )
}

fn epochs(report: &Report) -> String {
    let classes = report.fixed.initial.error_rate.is_some();
    let mut table = if classes {
        Columns::new(&["epoch", "golden loss", "error", "fixed loss", "error"])
    } else {
        Columns::new(&["epoch", "golden loss", "fixed loss"])
    };
    let row = |name: String, golden: (Extended, Option<f64>), fixed: (Extended, Option<f64>)| {
        let cells = |(loss, error): (Extended, Option<f64>)| {
            [Some(real(loss.0)), error.map(percent)].into_iter().flatten()
        };
        [name].into_iter().chain(cells(golden)).chain(cells(fixed)).collect::<Vec<_>>()
    };
    let initial = |curve: &CurveReport| (curve.initial.loss_bits, curve.initial.error_rate);
    table.line(row("0".into(), initial(&report.golden), initial(&report.fixed)));
    let count = report.fixed.loss_bits.len();
    let every = count.div_ceil(EPOCHS_SHOWN).max(1);
    for at in (0..count).filter(|at| (at + 1) % every == 0 || at + 1 == count) {
        let of = |curve: &CurveReport| (curve.loss_bits[at], curve.error_rate[at]);
        table.line(row((at + 1).to_string(), of(&report.golden), of(&report.fixed)));
    }
    let unit =
        if classes { "loss in bits and error rate" } else { "loss, half the squared error," };
    format!("{}\n {unit} on the test part; epoch 0: initial weights\n\n", table.text())
}

/// What a finding says of its worst tensor.
fn suffers(finding: &Finding) -> String {
    match finding.cause {
        Cause::AccumulatorOverflow => {
            format!("{} of sums overflow", percent(finding.accumulator_overflow_rate))
        }
        Cause::CoarseSums => "the accumulator is too coarse".to_owned(),
        Cause::Range if finding.lacks_sign => "no sign for negative values".to_owned(),
        Cause::Range => format!("{} leave the range", percent(finding.saturation_rate)),
        Cause::Resolution => {
            format!("too coarse, {} become zero", percent(finding.underflow_rate))
        }
        Cause::StalledUpdates => {
            format!("{} of updates are lost", percent(finding.stalled_rate.unwrap_or(0.0)))
        }
    }
}

/// What explains most of what a regression loses: `: stalled updates in m0, m1, 35.00 %`.
fn worst(report: &Report) -> String {
    report.diagnosis.findings.first().map_or(String::new(), |finding| {
        let tensors = finding.tensors.join(", ");
        let (what, rate) = match finding.cause {
            Cause::AccumulatorOverflow => {
                ("sums that overflow in", finding.accumulator_overflow_rate)
            }
            Cause::CoarseSums => ("sums that drop bits in", 0.0),
            Cause::Range if finding.lacks_sign => ("no sign for negative values in", 0.0),
            Cause::Range => ("values beyond the range of", finding.saturation_rate),
            Cause::Resolution => ("too coarse a format of", 0.0),
            Cause::StalledUpdates => ("stalled updates in", finding.stalled_rate.unwrap_or(0.0)),
        };
        let rate = if rate > 0.0 { format!(", {}", percent(rate)) } else { String::new() };
        format!(": {what} {tensors}{rate}")
    })
}

/// Which networks had a loss above that of their initial weights, and whether they ended so.
fn diverged(report: &Report) -> String {
    let mut text = String::new();
    for (name, curve) in [("golden", &report.golden), ("fixed", &report.fixed)] {
        let Some(epoch) = curve.diverged_at_epoch else { continue };
        if curve.ended_worse {
            line!(
                text,
                "DIVERGED: the {name} loss of epoch {epoch} is above that of the initial weights, and so \
                 is the last"
            );
        } else {
            line!(
                text,
                "the {name} loss of epoch {epoch} is above that of the initial weights; it ended below"
            );
        }
    }
    for seed in report.seeds.iter().skip(1) {
        for (name, outcome) in [("golden", &seed.golden), ("fixed", &seed.fixed)] {
            if let Some(epoch) = outcome.diverged_at_epoch.filter(|_| outcome.ended_worse) {
                line!(text, "DIVERGED with seed {}: {name}, at epoch {epoch}", seed.seed);
            }
        }
    }
    text
}

/// Accuracy lost, divergence, best epochs, cost to target.
fn verdict(report: &Report) -> String {
    let mut text = diverged(report);
    let last = |curve: &CurveReport| curve.error_rate.last().copied().flatten();
    if let (Some(loss), Some(fixed), Some(golden)) =
        (report.accuracy_loss, last(&report.fixed), last(&report.golden))
    {
        let (fixed, golden) = (percent(fixed), percent(golden));
        line!(text, "accuracy lost  {} (error {fixed} fixed, {golden} golden)", points(loss));
        if let Some(rate) = report.comparison.mismatch_rate.last().copied().flatten() {
            line!(text, "mismatch       {} of the test samples get another class", percent(rate));
        }
        if let Some(McNemar { only_golden_right, only_fixed_right, p_value }) = report.mcnemar {
            line!(
                text,
                "McNemar        p = {} of these two networks: golden alone is right on \
                 {only_golden_right} samples, fixed alone on {only_fixed_right}",
                real(p_value)
            );
        }
    }
    match &report.judged {
        Some(judged) if report.seeds.is_empty() => {
            line!(text, "{:15}{}", "", words::lost(judged));
            line!(text, "{:15}{}", "", words::verdict(judged));
        }
        None if report.seeds.is_empty() && report.accuracy_loss.is_some() => {
            line!(text, "{:15}{}", "", words::NO_REFERENCE);
        }
        _ => {}
    }
    if let Some(found) = &report.regression {
        let explained = if found.is_worse() { worst(report) } else { String::new() };
        line!(text, "{}{explained}", found.sentence());
    }
    if let Some(found) = &report.regression_over_seeds {
        line!(text, "over {:<9} {}", format!("{} seeds", report.seeds.len()), found.sentence());
    }
    if let (Some(over), Some(judged)) = (&report.accuracy_loss_over_seeds, &report.judged) {
        let average = |rates: &[f64]| percent(rates.iter().sum::<f64>() / rates.len() as f64);
        line!(
            text,
            "over {:<9} {} (error {} fixed, {} golden)",
            format!("{} seeds", over.seeds.len()),
            words::lost(judged),
            average(&over.fixed_error_rate),
            average(&over.golden_error_rate)
        );
        for said in words::judged(judged) {
            line!(text, "{:15}{said}", "");
        }
    } else if !report.seeds.is_empty() && report.accuracy_loss.is_some() {
        line!(text, "over {} seeds  {} with each seed", report.seeds.len(), words::NO_REFERENCE);
    }
    text.push_str(&target::best(report));
    text.push_str(&target::cost(report));
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Each tensor against golden's at the end.
fn comparison(found: &ComparisonReport) -> String {
    let whole = found.tensors.iter().any(|tensor| tensor.steps.is_some());
    let ours = if whole { "steps" } else { "own" };
    let [decibel, cosines] = ["dB", "cosine"].map(|figure| format!("{ours} {figure}"));
    let names = ["against golden", "pass", &decibel, "forced dB", &cosines, "forced cosine"];
    let mut table = Columns::new(&names);
    let last = |values: &[Option<Extended>]| values.last().copied().flatten();
    let cosine = |of: &Series| last(&of.cosine).map_or("-".into(), |Extended(c)| format!("{c:.4}"));
    for tensor in &found.tensors {
        let ours = tensor.steps.as_ref().unwrap_or(&tensor.own);
        table.line([
            tensor.name.clone(),
            tensor.pass.name().replace('_', " "),
            decibels(last(&ours.sqnr_db)),
            decibels(last(&tensor.teacher_forced.sqnr_db)),
            cosine(ours),
            cosine(&tensor.teacher_forced),
        ]);
    }
    let mut text = table.text();
    line!(
        text,
        " after the last epoch, on the first {} training samples; {}, forced: golden's",
        found.probe_samples,
        if whole { "steps: all steps of that epoch" } else { "own: the run's weights" }
    );
    for layer in &found.units {
        let dead = layer.dead.map_or(String::new(), |dead| format!("{dead} dead, "));
        if layer.dead.unwrap_or(0) + layer.saturated > 0 {
            line!(
                text,
                " layer {}: of {} units, {dead}{} saturated for every test sample",
                layer.layer,
                layer.units,
                layer.saturated
            );
        }
    }
    text.push('\n');
    text
}

fn cycles(prepared: &Prepared, report: &Report) -> String {
    let names = ["cycles", "preload", "stream", "skew", "drain", "vector", "stall", "total"];
    let mut table = Columns::new(&names);
    let row = |name: &str, causes: &CyclesByCause| {
        let CyclesByCause { preload, stream, skew, drain, vector, stall } = *causes;
        let busy = [preload, stream, skew, drain, vector].map(|cycles| grouped(cycles.0));
        let stall = table::stalls(stall.0, &prepared.experiment.accelerator.dram);
        let name = [name.replace('_', " ")].into_iter();
        name.chain(busy).chain([stall, grouped(causes.total().0)]).collect::<Vec<_>>()
    };
    for pass in Pass::ALL {
        table.line(row(pass.name(), &report.cycles.by_pass_and_cause[&pass]));
    }
    table.line(row("total", &report.cycles.by_cause));
    let mhz = prepared.experiment.accelerator.clock_mhz();
    format!(
        "{}\n {} MACs, {:.1} % utilization, {} at {mhz} MHz\n{}{}{}\n",
        table.text(),
        grouped(report.macs),
        100.0 * report.utilization,
        time(report.hardware.seconds),
        dataflows(prepared, report),
        stalls(prepared, report),
        report.activity.as_ref().map_or(String::new(), |found| activity(found, report.macs))
    )
}

/// Which dataflow was chosen for what, where the array is free to.
fn dataflows(prepared: &Prepared, report: &Report) -> String {
    if prepared.experiment.accelerator.array.dataflow != Dataflow::Auto {
        return String::new();
    }
    let of = |stationary: Stationary| {
        let rows = report.layers.iter().filter(|row| row.dataflow == Some(stationary));
        let mut made: Vec<String> = rows.map(|row| product(report, row)).collect();
        made.dedup();
        (!made.is_empty()).then(|| format!("{} for {}", stationary.name(), made.join(", ")))
    };
    let chosen: Vec<String> = Stationary::ALL.into_iter().filter_map(of).collect();
    format!(" dataflow: {}\n", chosen.join("; "))
}

/// What a product makes; where a batch of another size has another dataflow, with its sizes.
fn product(report: &Report, row: &LayerReport) -> String {
    let LayerReport { output, m, n, k, .. } = row;
    let other = |of: &LayerReport| of.output == *output && of.dataflow != row.dataflow;
    match (m, n, k) {
        (Some(m), Some(n), Some(k)) if report.layers.iter().any(other) => {
            format!("{output} ({m} x {n} x {k})")
        }
        _ => output.clone(),
    }
}

/// How many of those that own stalls are named.
const OWNERS_SHOWN: usize = 4;

fn stalls(prepared: &Prepared, report: &Report) -> String {
    if prepared.experiment.accelerator.dram.is_ideal() {
        return UNLIMITED.to_owned();
    }
    let owners = report.dram_bytes.iter().flat_map(|of| {
        [("reading", of.read_stall_cycles), ("writing", of.write_stall_cycles)]
            .map(|(what, cycles)| (cycles, what, of.tensor.as_str()))
    });
    let mut owners: Vec<_> = owners.filter(|&(cycles, ..)| cycles > 0).collect();
    if owners.is_empty() {
        return String::new();
    }
    owners.sort_by_key(|&(cycles, ..)| std::cmp::Reverse(cycles));
    let total = report.cycles.by_cause.stall.0 as f64;
    let named = owners.iter().take(OWNERS_SHOWN).map(|&(cycles, what, tensor)| {
        format!("{what} {tensor} {:.0} %", 100.0 * cycles as f64 / total)
    });
    let rest = if owners.len() > OWNERS_SHOWN { ", ..." } else { "" };
    format!(" stalls: {}{rest}\n", named.collect::<Vec<_>>().join(", "))
}

fn activity(found: &ActivityReport, macs: u64) -> String {
    let per_mac = |toggles: u64, macs: u64| toggles as f64 / macs.max(1) as f64;
    let Activity { zero_operand_macs, a_toggles, b_toggles } = found.operands;
    let sums = match (found.accumulator_toggles, found.accumulator_toggles_sampled) {
        (Some(toggles), _) => format!(", {:.2} of sums", per_mac(toggles, macs)),
        (None, Some(sample)) if sample.macs > 0 => {
            format!(", {:.2} of sums (1 step of 64)", per_mac(sample.toggles, sample.macs))
        }
        _ => String::new(),
    };
    format!(
        " {:.1} % of MACs with a zero operand; bits flipped per MAC: {:.2} of A, {:.2} of B{sums}\n",
        100.0 * per_mac(zero_operand_macs, macs),
        per_mac(a_toggles, macs),
        per_mac(b_toggles, macs),
    )
}

fn tensors(report: &Report) -> String {
    let names =
        ["tensor", "role", "format", "at last", "SQNR dB", "saturated", "underflow", "stalled"];
    let mut table = Columns::new(&names);
    for tensor in &report.precision {
        table.line([
            tensor.name.clone(),
            tensor.role.replace('_', " "),
            tensor.format.clone(),
            tensor.last_format.clone(),
            conversions(tensor.sqnr),
            percent(tensor.saturation_rate),
            percent(tensor.underflow_rate),
            tensor.stalled_rate.map_or("-".to_owned(), percent),
        ]);
    }
    let mut text = table.text();
    if report.precision.iter().any(|tensor| matches!(tensor.sqnr, Sqnr::Sampled(_))) {
        line!(
            text,
            " SQNR of 1 step of 16, which tells little of the rest; of all with training.sqnr=exact"
        );
    }
    for tensor in &report.precision {
        if let Some(initial) = tensor.initial.filter(|initial| initial.saturation_rate > 0.0) {
            let rate = percent(initial.saturation_rate);
            line!(text, " {}: {rate} of its initial values are outside its range", tensor.name);
        }
    }
    text.push('\n');
    text
}

/// How wide accumulators are, and how wide they have to be.
fn accumulators(report: &Report) -> String {
    let names =
        ["accumulators of", "terms", "bits", "always enough", "for these weights", "overflowed"];
    let mut table = Columns::new(&names);
    for row in &report.accumulators {
        let bits = |bits: Option<u32>| bits.map_or("-".to_owned(), |bits| bits.to_string());
        let bias =
            if row.safe_bits.is_some() && !row.safe_bits_count_bias { " and bias" } else { "" };
        table.line([
            row.output.clone(),
            row.k.to_string(),
            row.bits.to_string(),
            bits(row.safe_bits) + bias,
            bits(row.bits_for_weights),
            percent(row.overflow_rate),
        ]);
    }
    table.text()
}

/// Why nothing is explained.
fn unexplained(report: &Report) -> &'static str {
    match report.regression.map(|found| found.p_value) {
        _ if report.golden.ended_worse && report.fixed.ended_worse => {
            "golden diverged, too: there is nothing to explain the loss by"
        }
        _ if report.golden.ended_worse => "golden diverged: there is nothing to explain a loss by",
        Some(None) => "a loss that cannot be judged is not explained",
        _ => "these samples show no loss beyond chance, which is not to say that there is none",
    }
}

/// What explains what was lost.
fn diagnosis(report: &Report) -> String {
    let found = &report.diagnosis;
    let Some(reason) = found.significant else {
        return format!("\n diagnosis: {}\n", unexplained(report));
    };
    let reason = match reason {
        Reason::Diverged => "fixed point diverged, and golden did not",
        Reason::Mcnemar => "a loss beyond chance (McNemar p < 0.05 of these two networks)",
        Reason::PairedT => "a loss beyond chance (paired t, p < 0.05)",
        Reason::Seeds => "a loss beyond chance (over the seeds, the interval lies above golden)",
    };
    let mut text = format!("\n diagnosis: {reason}\n");
    if found.sqnr == SqnrSteps::Sampled {
        line!(
            text,
            " judged from the noise of conversions in 1 step of 16, and from all that is counted"
        );
    }
    if found.findings.is_empty() {
        line!(text, " no tensor stands out: try wider formats, role by role");
    }
    for (at, finding) in found.findings.iter().enumerate() {
        let tensors = finding.tensors.join(", ");
        let suffers = suffers(finding);
        let severity = finding.severity;
        line!(text, " {}. {tensors} ({}): {suffers}, severity {severity:.2}", at + 1, finding.role);
        if finding.set.is_empty() {
            let found = match finding.noise_taken_away {
                Some(_) => "that takes noise from the logits in a trial of a few steps",
                None => "that the program would not warn of",
            };
            line!(text, "    no change of this format alone {found}");
            continue;
        }
        line!(text, "    {}", finding.arguments());
        if let Some(taken) = finding.noise_taken_away {
            line!(
                text,
                "    takes {taken:.2e} from noise over signal of the logits in a few steps"
            );
        }
        if let Some(check) = finding.check {
            line!(
                text,
                "    tried for {} epochs: error {} instead of {}, golden {}: {} regained",
                check.epochs,
                percent(check.changed_error_rate),
                percent(check.error_rate),
                percent(check.golden_error_rate),
                points(check.regained)
            );
        }
    }
    text
}
