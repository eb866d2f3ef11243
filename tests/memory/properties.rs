//! What holds of any memory, over random GEMMs and over a training run.

use crate::support::{WITHOUT_BUFFER, prepared, train};
use serde_json::Value;
use systoliq_array::{Dataflow, Mapping};
use systoliq_hardware::accelerator::Scratchpads;
use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::memory::Moment;
use systoliq_hardware::single::GemmReport;
use systoliq_program::GemmShape;
use systoliq_run::trainer::Record;
use systoliq_run::{EngineKind, Prepared};
use systoliq_study::Report;

use super::Case;

const BANDWIDTHS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
const LATENCIES: [u64; 4] = [0, 1, 16, 200];

#[test]
fn neither_less_bandwidth_nor_more_latency_shortens_a_gemm_or_moves_other_bytes() {
    let mut run = 0;
    for number in 0..1500 {
        // Less memory may mean another dataflow.
        let Some(mut case) = Case::draw(number).pinned() else { continue };
        let mut reports = |bytes_per_cycle: Option<u64>, latency_cycles: u64| {
            case.accelerator.dram.bytes_per_cycle = bytes_per_cycle;
            case.accelerator.dram.latency_cycles = latency_cycles;
            case.report()
        };
        let Some(ideal_but_one) = reports(Some(1 << 20), 0) else { continue };
        let by_bandwidth: Vec<GemmReport> =
            BANDWIDTHS.iter().filter_map(|&bytes| reports(Some(bytes), 3)).collect();
        let by_latency: Vec<GemmReport> =
            LATENCIES.iter().filter_map(|&cycles| reports(Some(8), cycles)).collect();
        let without = reports(None, 0).expect("a GEMM that ran");
        let shown = || format!("case {number}: {case:?}");
        let totals = |reports: &[GemmReport]| -> Vec<u64> {
            reports.iter().map(|report| report.cycles.total).collect()
        };
        assert!(totals(&by_bandwidth).is_sorted_by(|slow, fast| slow >= fast), "{}", shown());
        assert!(totals(&by_latency).is_sorted(), "{}", shown());
        assert_eq!(without.cycles.by_cause.stall.0, 0, "{}", shown());
        for report in by_bandwidth.iter().chain(&by_latency).chain([&ideal_but_one]) {
            assert_eq!(report.dram_bytes_by_matrix, without.dram_bytes_by_matrix, "{}", shown());
            let causes = report.cycles.by_cause;
            assert_eq!(causes.total().0, report.cycles.total);
            let array = report.cycles.total - causes.stall.0;
            assert_eq!(array, without.cycles.total, "{}", shown());
            let owned = report.stall_cycles_by_matrix;
            assert_eq!(owned.a + owned.b + owned.c, causes.stall.0, "{}", shown());
        }
        // The roofline is never beaten.
        for (report, bytes) in by_bandwidth.iter().zip(BANDWIDTHS) {
            assert!(report.cycles.total >= report.dram_bytes.div_ceil(bytes), "{}", shown());
        }
        run += 1;
    }
    assert!(run > 700, "{run}");
}

#[test]
fn each_operand_is_fetched_and_each_result_written_at_least_once_and_at_most_by_every_fold() {
    for number in 0..3000 {
        let case = Case::draw(number);
        let Some(report) = case.report() else { continue };
        let shown = || format!("case {number}: {case:?}");
        let burst = case.accelerator.dram.burst_bytes;
        let mapping: Mapping =
            case.accelerator.mapping(case.shape, case.widths.accumulator, report.dataflow);
        let bytes = report.dram_bytes_by_matrix;
        let (m, k, n) = (report.m as u64, report.k as u64, report.n as u64);
        let once = |elements: u64, bits: u32| (elements * u64::from(bits)).div_ceil(8);
        assert!(bytes.a >= once(m * k, case.widths.a), "{}", shown());
        assert!(bytes.b >= once(k * n, case.widths.b), "{}", shown());
        assert!(bytes.c >= once(m * n, case.widths.output), "{}", shown());
        // A tile in pieces of one step rounds up once a step.
        let steps = report.folds * mapping.extents().time as u64;
        let most = |tile: u64, bits: u32| report.folds * once(tile, bits) + steps * burst;
        let (rows, cols) = (mapping.rows as u64, mapping.cols as u64);
        let tile = mapping.extents().time as u64 * rows.max(cols) + rows * cols;
        assert!(bytes.a <= most(tile, case.widths.a), "{}", shown());
        assert!(bytes.b <= most(tile, case.widths.b), "{}", shown());
        // Results leave once, whatever the folds.
        let padding = steps * burst;
        assert!(bytes.c <= once(m * n, case.widths.output) + padding, "{}", shown());
        let pads = &case.accelerator.scratchpad;
        let all_fit = pads.a_bytes.min(pads.b_bytes) == 1 << 20;
        if all_fit && burst == 1 {
            let [a, b] = [once(m * k, case.widths.a), once(k * n, case.widths.b)];
            // A tile ends on a byte.
            assert!(bytes.a < a + report.folds && bytes.b < b + report.folds, "{}", shown());
        }
    }
}

/// Static scales, so that no step takes a second pass, and one epoch.
const STATIC: [(&str, &str); 5] = [
    ("training.epochs", "1"),
    ("precision.activations", "UQ3.5"),
    ("precision.logits", "Q6.2"),
    ("precision.gradients", "Q2.6"),
    ("precision.weight_gradients", "Q2.14"),
];

pub(crate) fn experiment(overrides: &[(&str, &str)]) -> Prepared {
    prepared("digits-mlp", &[&STATIC, &WITHOUT_BUFFER[..], overrides].concat())
}

/// What a run costs on other memory.
fn report(record: &Record, overrides: &[(&str, &str)]) -> Value {
    let prepared = experiment(overrides);
    let report = Report::new(&prepared, std::slice::from_ref(record)).expect("a report");
    serde_json::to_value(report).expect("JSON")
}

#[test]
fn neither_less_bandwidth_nor_more_latency_shortens_a_training_run_or_moves_other_bytes() {
    let record = train(&experiment(&[]), 1, EngineKind::Fast, 1);
    for array in [
        r#"{"rows": 8, "cols": 8}"#,
        r#"{"rows": 5, "cols": 16, "dataflow": "ws", "overlap": "pipelined", "partial_folds": "trimmed"}"#,
        r#"{"rows": 16, "cols": 4, "dataflow": "is", "overlap": "double-buffered"}"#,
    ] {
        for pads in [2048, 1 << 20] {
            let pads = format!(r#"{{"a_bytes": {pads}, "b_bytes": {pads}, "c_bytes": {pads}}}"#);
            let on = |dram: &str| {
                let dram = format!(r#"{{"kind": "lpddr4", "burst_bytes": 32{dram}}}"#);
                report(
                    &record,
                    &[
                        ("accelerator.array", array),
                        ("accelerator.scratchpad", &pads),
                        ("accelerator.dram", &dram),
                    ],
                )
            };
            let number = |report: &Value, path: &str| {
                report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"))
            };
            let bytes = |report: &Value| -> u64 {
                let each = |row: &Value| number(row, "/read") + number(row, "/written");
                report["dram_bytes"].as_array().expect("rows").iter().map(each).sum()
            };
            let ideal = on("");
            assert_eq!(number(&ideal, "/cycles/by_cause/stall"), 0);
            let checked = |report: &Value| {
                assert_eq!(bytes(report), bytes(&ideal));
                let (total, stall) =
                    (number(report, "/cycles/total"), number(report, "/cycles/by_cause/stall"));
                assert_eq!(total - stall, number(&ideal, "/cycles/total"));
                let causes = report["cycles"]["by_cause"].as_object().expect("causes");
                assert_eq!(causes.values().filter_map(Value::as_u64).sum::<u64>(), total);
                let rows = |list: &str, keys: &[&str]| -> u64 {
                    let rows = report[list].as_array().expect("rows").iter();
                    rows.flat_map(|row| keys.iter().map(move |key| row[*key].as_u64()))
                        .map(|value| value.expect("a number"))
                        .sum()
                };
                let owned = ["read_stall_cycles", "write_stall_cycles"];
                assert_eq!(rows("dram_bytes", &owned), stall);
                assert_eq!(rows("layers", &["stall_cycles"]), stall);
                assert_eq!(rows("layers", &["dram_bytes"]), bytes(report));
                total
            };
            let totals = |drams: Vec<String>| -> Vec<u64> {
                drams.iter().map(|dram| checked(&on(dram))).collect()
            };
            let bandwidths = BANDWIDTHS.map(|by| format!(r#", "bytes_per_cycle": {by}"#));
            let by_bandwidth = totals(bandwidths.to_vec());
            assert!(by_bandwidth.is_sorted_by(|slow, fast| slow >= fast), "{by_bandwidth:?}");
            for (total, by) in by_bandwidth.iter().zip(BANDWIDTHS) {
                assert!(*total >= bytes(&ideal).div_ceil(by), "{total} at {by} bytes per cycle");
            }
            let with = |by: u64| format!(r#", "bytes_per_cycle": 8, "latency_cycles": {by}"#);
            let by_latency = totals(LATENCIES.map(with).to_vec());
            assert!(by_latency.is_sorted(), "{by_latency:?}");
            assert!(by_bandwidth[0] > number(&ideal, "/cycles/total"), "{by_bandwidth:?}");
        }
    }
}

#[test]
fn a_watched_command_shows_every_transfer_once_one_after_the_other_and_costs_the_same() {
    for array in [
        r#"{"rows": 8, "cols": 8}"#,
        r#"{"rows": 5, "cols": 16, "dataflow": "ws", "overlap": "pipelined"}"#,
        r#"{"rows": 16, "cols": 4, "dataflow": "is", "overlap": "double-buffered"}"#,
    ] {
        for (pad, latency, per_cycle) in [(1024, 0, 1), (2048, 7, 3), (1 << 16, 100, 16)] {
            let mut experiment = experiment(&[("accelerator.array", array)]).experiment;
            let accelerator = &mut experiment.accelerator;
            accelerator.scratchpad =
                Scratchpads { a_bytes: pad, b_bytes: pad, c_bytes: pad, ..Scratchpads::default() };
            accelerator.dram.latency_cycles = latency;
            accelerator.dram.bytes_per_cycle = Some(per_cycle);
            let prepared = Prepared::new(experiment).expect("an experiment");
            let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
            for (at, write, _) in prepared.program.all_writes() {
                for second_pass in [false, true] {
                    let work = prepared.program.work(at, 32);
                    let mut moments = Vec::new();
                    let mut see = |moment: Moment| moments.push(moment);
                    let watched = costs.watch(at, work, second_pass, &mut see).expect("a cost");
                    let cost = costs.of(at, work, second_pass).expect("a cost");
                    assert_eq!(watched, cost, "{write:?} on {array}");
                    let (mut free, mut before, mut bytes) = (0, 0, 0);
                    for Moment { start, transfers, .. } in moments {
                        for (transfer, cycles) in transfers {
                            let moved = transfer.bytes.div_ceil(per_cycle);
                            assert_eq!(cycles.end - cycles.start, latency + moved);
                            assert!(free <= cycles.start && cycles.end <= start, "{write:?}");
                            assert!(transfer.write || before <= cycles.start, "{write:?}");
                            (free, bytes) = (cycles.end, bytes + transfer.bytes);
                        }
                        before = start;
                    }
                    let moved: u64 = cost.moved.iter().map(|moved| moved.bytes).sum();
                    assert_eq!(bytes, moved, "{write:?} on {array}");
                }
            }
        }
    }
}

/// Bytes from and to DRAM of one training step on a batch.
fn step_bytes(prepared: &Prepared, batch: usize) -> u64 {
    let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
    let bytes = prepared.program.all_writes().map(|(at, ..)| {
        let work = prepared.program.work(at, batch);
        let cost = costs.of(at, work, false).expect("a cost");
        cost.moved.iter().map(|moved| moved.bytes).sum::<u64>()
    });
    bytes.sum()
}

#[test]
fn bytes_per_sample_are_a_constant_and_what_the_weights_cost_over_the_batch() {
    let pads = r#"{"a_bytes": 262144, "b_bytes": 262144, "c_bytes": 262144}"#;
    let batches = [8usize, 16, 32, 64, 128];
    let one = ("accelerator.dram", r#"{"kind": "lpddr4", "burst_bytes": 1}"#);
    let bursts = ("accelerator.dram", r#"{"kind": "lpddr4", "burst_bytes": 32}"#);
    for (dram, tolerance) in [(one, 1e-12), (bursts, 0.02)] {
        let per_sample = batches.map(|batch| {
            let size = batch.to_string();
            let overrides = [("training.batch", &*size), ("accelerator.scratchpad", pads), dram];
            let prepared = experiment(&overrides);
            let record = train(&prepared, 1, EngineKind::Fast, 1);
            let report = Report::new(&prepared, &[record]).expect("a report");
            let moved: u64 = report.dram_bytes.iter().map(|row| row.read + row.written).sum();
            // The short last batch apart, an epoch is so many equal steps.
            let (full, rest) = (1197 / batch as u64, 1197 % batch);
            let step = step_bytes(&prepared, batch);
            assert_eq!(moved, full * step + step_bytes(&prepared, rest), "batch {batch}");
            step as f64 / batch as f64
        });
        // a + b / B through the smallest and the largest batch.
        let [inverse_8, inverse_128] = [8.0, 128.0].map(f64::recip);
        let slope = (per_sample[0] - per_sample[4]) / (inverse_8 - inverse_128);
        let constant = per_sample[0] - slope * inverse_8;
        for (batch, bytes) in batches.iter().zip(per_sample) {
            let predicted = constant + slope / *batch as f64;
            let off = (bytes / predicted - 1.0).abs();
            assert!(off <= tolerance, "batch {batch}: {bytes} bytes, {predicted} predicted");
        }
        // Per weight and step: W read; dW written and read, 2 bytes each; the master read and
        // written, 2 each; W written. The second layer's W once more, for the input gradient. Per
        // bias: read; db written and read; the bias read and written, all of 2 bytes.
        let (layer_0, layer_1, biases) = (64.0 * 64.0, 64.0 * 10.0, 74.0);
        let expected = (layer_0 + layer_1) * 10.0 + layer_1 + biases * 10.0;
        let off = (slope / expected - 1.0).abs();
        assert!(off <= tolerance, "{slope} bytes a step, {expected} expected");
    }
}

#[test]
fn a_gemm_is_refused_for_a_scratchpad_that_no_step_fits_and_runs_with_what_the_message_asks_for() {
    let mut refused = 0;
    for number in 0..3000 {
        let mut case = Case::draw(number);
        if case.accelerator.array.dataflow == Dataflow::Auto {
            continue; // another scratchpad may mean another dataflow
        }
        case.accelerator.array.rows += 20;
        case.accelerator.array.cols += 20;
        // Once for each scratchpad at most.
        for _ in 0..3 {
            let Case { accelerator, shape, widths, .. } = &mut case;
            let Err(error) = GemmReport::new(accelerator, *shape, *widths) else { break };
            let message = error.to_string();
            let GemmShape { m, k, n } = *shape;
            let (key, rest) = message.split_once(": ").expect("a place");
            let start = format!("one step of a GEMM of m = {m}, k = {k}, n = {n} needs ");
            let rest = rest.strip_prefix(&start).expect(&message);
            let (needed, rest) = rest.split_once(" bytes at once, ").expect(&message);
            let needed: u64 = needed.parse().expect(&message);
            let pads = &mut accelerator.scratchpad;
            let pad = match key {
                "accelerator.scratchpad.a_bytes" => &mut pads.a_bytes,
                "accelerator.scratchpad.b_bytes" => &mut pads.b_bytes,
                "accelerator.scratchpad.c_bytes" => &mut pads.c_bytes,
                _ => panic!("{message}"),
            };
            let (half, least) = (*pad / 2, 2 * needed);
            let rule = format!("half the scratchpad has {half}: expected at least {least}");
            assert_eq!(rest, rule, "{message}");
            *pad = least - 2;
            let again = GemmReport::new(accelerator, *shape, *widths);
            assert!(again.expect_err("too small by one byte").to_string().contains(key));
            let pads = &mut accelerator.scratchpad;
            match key.as_bytes()[key.len() - "a_bytes".len()] {
                b'a' => pads.a_bytes = least,
                b'b' => pads.b_bytes = least,
                _ => pads.c_bytes = least,
            }
            refused += 1;
        }
        case.report().expect("room for every step");
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn where_a_full_batch_runs_a_short_last_one_is_not_refused_in_mid_run() {
    let mut run = 0;
    for array in [
        r#"{"rows": 8, "cols": 8, "dataflow": "auto"}"#,
        r#"{"rows": 32, "cols": 16, "dataflow": "auto", "fold_order": "columns-first"}"#,
        r#"{"rows": 16, "cols": 64, "dataflow": "auto", "overlap": "pipelined"}"#,
    ] {
        for pad in (1024..20_000).step_by(512) {
            let mut experiment = experiment(&[("accelerator.array", array)]).experiment;
            let accelerator = &mut experiment.accelerator;
            accelerator.scratchpad =
                Scratchpads { a_bytes: pad, b_bytes: pad, c_bytes: pad, ..Scratchpads::default() };
            accelerator.dram.bytes_per_cycle = Some(4);
            let batch = experiment.training.batch;
            let Ok(prepared) = Prepared::new(experiment) else { continue };
            (1..batch).for_each(|rest| assert!(step_bytes(&prepared, rest) > 0));
            run += 1;
        }
    }
    assert!(run > 50, "{run}");
}
