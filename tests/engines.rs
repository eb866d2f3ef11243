//! Engines must agree in every bit, cycle and count on a real network.

use systoliq_array::{Array, ArrayCounts, Fast, Mapping, Register};
use systoliq_nn::{epoch_order, initial_weights};
use systoliq_program::machine::Outcome;
use systoliq_program::{Engine, GemmTask, Machine, Reference, Step, Sums};
use systoliq_sim::{EngineKind, Prepared, Report};
use systoliq_tests::{data, prepared, train};

/// Every tensor after every command of the first `steps` steps.
fn tensors(
    prepared: &Prepared,
    steps: usize,
    engine: &mut dyn Engine,
) -> Vec<(String, Vec<i64>, Outcome)> {
    let seed = prepared.experiment.seed;
    let data = data(prepared, seed);
    let layers = 0..prepared.graph.layers.len();
    let initial: Vec<_> =
        layers.map(|layer| initial_weights(&prepared.graph, layer, seed)).collect();
    let mut machine = Machine::new(&prepared.program, &initial, seed);
    let order = epoch_order(seed, 0, data.train.len());
    let mut found = Vec::new();
    for (number, rows) in order.chunks(prepared.experiment.training.batch).take(steps).enumerate() {
        let step = Step::training(seed, number as u64);
        machine.load(&data.train.batch(rows), &step);
        for command in &prepared.program.commands {
            let outcome = machine.execute(command, &step, engine);
            let tensor = machine.tensor(command.operation.output()).unwrap();
            found.push((
                format!("{number} {} {}", command.name, tensor.format()),
                tensor.to_codes(),
                outcome,
            ));
        }
    }
    found
}

/// The register engine, held to the closed forms of another array shape's counts.
struct Stepped(Array, Register);

impl Engine for Stepped {
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums {
        let sums = self.1.gemm(task);
        assert_eq!(self.1.counts(), ArrayCounts::of(&Mapping::new(&self.0, task.shape())).unwrap());
        sums
    }
}

#[test]
fn three_steps_of_the_digits_give_the_same_tensors_on_every_engine_and_array() {
    let narrow = r#"{"bits": 10, "frac": 9, "rounding": "stochastic", "overflow": "saturate"}"#;
    for accumulator in ["{}", narrow] {
        let prepared = prepared("digits-mlp", &[("precision.accumulator", accumulator)]);
        let expected = tensors(&prepared, 3, &mut Reference);
        assert_eq!(expected.len(), 3 * prepared.program.commands.len());
        let overflowed: u64 = expected.iter().map(|(_, _, outcome)| outcome.overflowed_sums).sum();
        assert_eq!(overflowed > 0, accumulator == narrow, "{overflowed} sums overflowed");
        let fast = tensors(&prepared, 3, &mut Fast::default());
        for (ours, theirs) in fast.iter().zip(&expected) {
            assert_eq!(ours, theirs, "{}", theirs.0);
        }
        for (rows, cols) in [(8, 8), (3, 5), (16, 2)] {
            let array = Array::new(rows, cols).unwrap();
            let mut engine = Stepped(array, Register::new(array).unwrap());
            for (ours, theirs) in tensors(&prepared, 3, &mut engine).iter().zip(&expected) {
                assert_eq!(ours, theirs, "{} on {rows} x {cols}", theirs.0);
            }
        }
    }
}

#[test]
fn reports_are_the_same_bytes_on_every_engine_and_number_of_threads() {
    let prepared = prepared("digits-mlp", &[("training.epochs", "2")]);
    let report = |engine, parallel| {
        let record = train(&prepared, 1, engine, parallel);
        let records = [record];
        let json = serde_json::to_string(&Report::new(&prepared, &records).unwrap()).unwrap();
        json + &Report::curves_csv(&records)
    };
    let expected = report(EngineKind::Fast, false);
    assert_eq!(report(EngineKind::Fast, false), expected);
    assert_eq!(report(EngineKind::Fast, true), expected);
    assert_eq!(report(EngineKind::Register, true), expected);
    assert_eq!(report(EngineKind::Reference, false), expected);
}
