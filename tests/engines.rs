//! Engines must agree in every bit, cycle and count on a real network.

use crate::support::{data, prepared, train};
use systoliq_array::{Array, ArrayCounts, Mapping, Overlap, PartialFolds, Register, Stationary};
use systoliq_engine::Fast;
use systoliq_nn::{epoch_order, initial_weights};
use systoliq_program::{Engine, GemmTask, Reference, Step, Store, Sums, Written};
use systoliq_run::{EngineKind, Prepared, trainer::Record};
use systoliq_study::Report;

/// Every tensor after every command of the first `steps` steps.
fn tensors(
    prepared: &Prepared,
    steps: usize,
    engine: &mut dyn Engine,
) -> Vec<(String, Vec<i64>, Written)> {
    let seed = prepared.experiment.seed;
    let data = data(prepared, seed);
    let initial = initial_weights(&prepared.graph, seed);
    let mut store = Store::new(&prepared.program, &initial, seed);
    let order = epoch_order(seed, 0, data.train.len());
    let mut found = Vec::new();
    for (number, rows) in order.chunks(prepared.experiment.training.batch).take(steps).enumerate() {
        let step = Step::training(seed, number as u64);
        store.load(&data.train.batch(rows), &step);
        for &command in &prepared.program.step {
            let outcome = engine.run(command, &mut store, &step);
            for (written, (_, write)) in
                outcome.written.into_iter().zip(prepared.program.writes_of(command))
            {
                let tensor = store.tensor(write.tensor).unwrap();
                let name = format!("{number} {} {}", write.name, tensor.format());
                found.push((name, tensor.to_codes(), written));
            }
        }
    }
    found
}

/// The register engine, held to the closed forms of another array shape's counts.
struct Stepped {
    array: Array,
    stationary: Stationary,
    engine: Register,
}

impl Stepped {
    fn new(array: Array, stationary: Stationary) -> Self {
        Self { array, stationary, engine: Register::new(array, stationary).unwrap() }
    }
}

impl Engine for Stepped {
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums {
        let sums = self.engine.gemm(task);
        let mapping = Mapping::new(&self.array, task.shape(), self.stationary);
        assert_eq!(self.engine.seen().counts, ArrayCounts::of(&mapping).unwrap());
        sums
    }
}

#[test]
fn three_steps_of_the_digits_give_the_same_tensors_on_every_engine_and_array() {
    let narrow = r#"{"bits": 11, "frac": 8, "rounding": "stochastic", "overflow": "saturate"}"#;
    let chunks = r#"{"bits": 17, "overflow": "saturate", "chunk": 5}"#;
    let late = r#"{"bits": 17, "overflow": "saturate", "overflow_at": "end"}"#;
    let all = r#"{"bits": 11, "frac": 8, "rounding": "stochastic", "overflow": "saturate-symmetric",
        "overflow_at": "end", "chunk": 7}"#;
    for accumulator in ["{}", narrow, chunks, late, all] {
        let prepared = prepared("digits-mlp", &[("precision.accumulator", accumulator)]);
        let expected = tensors(&prepared, 3, &mut Reference);
        assert_eq!(expected.len(), 3 * prepared.program.writes.len());
        let overflowed: u64 = expected.iter().map(|(_, _, outcome)| outcome.overflowed_sums).sum();
        assert_eq!(overflowed > 0, accumulator != "{}", "{overflowed} sums overflowed");
        let fast = tensors(&prepared, 3, &mut Fast::default());
        for (ours, theirs) in fast.iter().zip(&expected) {
            assert_eq!(ours, theirs, "{}", theirs.0);
        }
        for (rows, cols) in [(8, 8), (3, 5), (16, 2)] {
            let array = Array::new(rows, cols).unwrap();
            let mut engine = Stepped::new(array, Stationary::Output);
            for (ours, theirs) in tensors(&prepared, 3, &mut engine).iter().zip(&expected) {
                assert_eq!(ours, theirs, "{} on {rows} x {cols}", theirs.0);
            }
        }
    }
}

/// A probe has other weights under the same ids, written as often.
#[test]
fn a_probe_between_two_steps_changes_no_bit_of_what_an_engine_has_packed() {
    let prepared = prepared("digits-mlp", &[]);
    let seed = prepared.experiment.seed;
    let data = data(&prepared, seed);
    let initial = initial_weights(&prepared.graph, seed);
    let other: Vec<_> = initial.iter().map(|weights| -weights).collect();
    let order = epoch_order(seed, 0, data.train.len());
    let run = |engine: &mut dyn Engine, probes: bool| {
        let mut store = Store::new(&prepared.program, &initial, seed);
        let mut probe = Store::new(&prepared.program, &other, seed);
        for (number, rows) in (0..).zip(order.chunks(32).take(4)) {
            let (batch, step) = (data.train.batch(rows), Step::training(seed, number));
            if probes {
                for probe in [&mut probe, &mut store.clone()] {
                    let looking = Step::probe(seed, number);
                    probe.load(&batch, &looking);
                    probe.judge(&looking, engine);
                    let step = Step::training(seed, 100 + number);
                    prepared.program.step.iter().for_each(|&command| {
                        engine.run(command, probe, &step);
                    });
                }
            }
            store.load(&batch, &step);
            prepared.program.step.iter().for_each(|&command| {
                engine.run(command, &mut store, &step);
            });
        }
        store.snapshot()
    };
    let expected = run(&mut Reference, false);
    assert_eq!(run(&mut Fast::default(), false), expected, "without probes");
    assert_eq!(run(&mut Fast::default(), true), expected, "with probes");
}

#[test]
fn a_training_step_gives_the_same_tensors_in_every_dataflow_on_every_array_and_policy() {
    let narrow = r#"{"bits": 11, "frac": 8, "rounding": "stochastic", "overflow": "saturate"}"#;
    let prepared = prepared("digits-mlp", &[("precision.accumulator", narrow)]);
    let expected = tensors(&prepared, 1, &mut Reference);
    let overlaps = [Overlap::None, Overlap::DoubleBuffered, Overlap::Pipelined];
    let mut policies = overlaps.into_iter().cycle();
    for (rows, cols) in [(1, 1), (3, 5), (16, 16), (128, 8)] {
        for stationary in Stationary::ALL {
            for partial_folds in [PartialFolds::Full, PartialFolds::Trimmed] {
                let overlap = policies.next().unwrap();
                let array = Array { overlap, partial_folds, ..Array::new(rows, cols).unwrap() };
                let mut engine = Stepped::new(array, stationary);
                for (ours, theirs) in tensors(&prepared, 1, &mut engine).iter().zip(&expected) {
                    assert_eq!(ours, theirs, "{} on {array:?}, {stationary:?}", theirs.0);
                }
            }
        }
    }
}

#[test]
fn auto_takes_the_dataflow_of_fewest_cycles_of_each_layer_and_pass_and_says_which() {
    let layers = |dataflow: &str| {
        let overrides = [("training.epochs", "1"), ("accelerator.array.dataflow", dataflow)];
        let prepared = prepared("digits-mlp", &overrides);
        let record = train(&prepared, 1, EngineKind::Fast, 1);
        let report = serde_json::to_value(Report::new(&prepared, &[record]).unwrap()).unwrap();
        report["layers"].as_array().unwrap().clone()
    };
    let fixed = ["os", "ws", "is"].map(|dataflow| (dataflow, layers(dataflow)));
    let mut chosen = std::collections::BTreeSet::new();
    for (at, row) in layers("auto").iter().enumerate().filter(|(_, row)| row["k"].is_u64()) {
        let cycles = |rows: &[serde_json::Value]| rows[at]["cycles"].as_u64().unwrap();
        let fewest = fixed.iter().map(|(_, rows)| cycles(rows)).min().unwrap();
        assert_eq!(row["cycles"].as_u64().unwrap(), fewest, "{row}");
        let name = row["dataflow"].as_str().unwrap().to_owned();
        let same = fixed.iter().find(|(dataflow, _)| *dataflow == name).unwrap();
        assert_eq!(cycles(&same.1), fewest, "{row}");
        chosen.insert(name);
    }
    assert!(chosen.len() > 1, "only {chosen:?}");
}

/// All that is said of a run, and all that is kept of it.
fn report(prepared: &Prepared, record: Record) -> String {
    let records = [record];
    let json = serde_json::to_string(&Report::new(prepared, &records).unwrap()).unwrap();
    let kept = serde_json::to_string(&records).unwrap();
    json + &Report::curves_csv(prepared, &records) + &kept
}

/// Products and updates of these are large enough to be shared.
#[test]
fn one_training_in_many_threads_has_the_bytes_of_one_thread() {
    let layers = r#"[{ "dense": { "units": 512 } }, "relu", { "dense": { "units": 512 } }, "relu",
        { "dense": { "units": 10 } }]"#;
    let residual = r#"{ "bits": 8, "frac": 14 }"#;
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("digits-mlp", &[]),
        ("digits-mlp", &[("training.momentum", "0.9"), ("training.weight_decay", "0.001")]),
        ("digits-mlp", &[("precision.master", "null"), ("precision.residual", residual)]),
        (
            "digits-mlp",
            &[("precision.accumulator.bits", "16"), ("precision.accumulator.overflow", "saturate")],
        ),
        ("digits-mlp", &[("training.teacher_forced", "true")]),
        ("digits-mxint8", &[]),
    ];
    for (name, others) in cases {
        let mut settings = vec![
            ("network.layers", layers),
            ("training.epochs", "1"),
            ("training.batch", "150"),
            ("training.sqnr", "exact"),
        ];
        settings.extend(others);
        let prepared = prepared(name, &settings);
        let trained = |threads| train(&prepared, 1, EngineKind::Fast, threads);
        let record = trained(1);
        let overflowed = record.tensors.values().any(|of| of.total().overflowed_sums > 0);
        assert_eq!(
            overflowed,
            others.iter().any(|(path, _)| path.ends_with("overflow")),
            "{others:?}"
        );
        let expected = report(&prepared, record);
        for threads in [2, 3, 5] {
            let found = report(&prepared, trained(threads));
            assert!(found == expected, "{name} with {others:?} in {threads} threads");
        }
    }
}

#[test]
fn reports_are_the_same_bytes_on_every_engine_and_number_of_threads() {
    let prepared = prepared("digits-mlp", &[("training.epochs", "2")]);
    let report = |engine, threads| report(&prepared, train(&prepared, 1, engine, threads));
    let expected = report(EngineKind::Fast, 1);
    assert_eq!(report(EngineKind::Fast, 1), expected);
    assert_eq!(report(EngineKind::Fast, 2), expected);
    assert_eq!(report(EngineKind::Register, 2), expected);
    assert_eq!(report(EngineKind::Reference, 1), expected);
}
