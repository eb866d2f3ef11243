//! A command on a store that has run before takes no memory for whole tensors.

use std::path::Path;

use serde_json::{Value, json};
use systoliq_engine::Fast;
use systoliq_nn::{epoch_order, initial_weights};
use systoliq_program::{Engine, Step, Store};
use systoliq_run::Prepared;

/// Units of each hidden layer; a tensor of weights between two has the square of them.
const UNITS: usize = 512;

/// Samples of a batch.
const BATCH: usize = 32;

/// Bytes that may be taken for a row or a column: some numbers of 64 bits.
const LINE_BYTES: usize = 64;

/// Bytes that may be taken for elements that are computed at once, and for whatever has one size.
const FIXED_BYTES: usize = 48 << 10;

/// Pieces of memory: some for a command, and one for each sample where the loss begins.
const PIECES: usize = 40 + 3 * BATCH;

/// Two hidden layers on the digits, with settings by their pointers; null removes one.
fn prepared(settings: &[(&str, Value)]) -> Prepared {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits-mlp.json");
    let text = std::fs::read_to_string(path).expect("a file of models");
    let mut experiment: Value = serde_json::from_str(&text).expect("JSON");
    experiment["accelerator"] = json!({ "array": { "rows": 8, "cols": 8 } });
    let hidden = json!({ "dense": { "units": UNITS } });
    experiment["network"]["layers"] =
        json!([hidden, "relu", hidden, "relu", { "dense": { "units": 10 } }]);
    experiment["training"]["batch"] = json!(BATCH);
    for (pointer, value) in settings {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = experiment.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.expect("an object");
        match value {
            Value::Null => parent.remove(key),
            value => parent.insert(key.to_owned(), value.clone()),
        };
    }
    Prepared::new(serde_json::from_value(experiment).expect("an experiment")).expect("possible")
}

#[test]
fn a_warmed_command_takes_no_memory_for_whole_tensors() {
    let residual = json!({ "bits": 8, "frac": 14 });
    let cases: [&[(&str, Value)]; 4] = [
        &[],
        &[("/training/momentum", json!(0.9)), ("/training/weight_decay", json!(0.001))],
        &[("/precision/master", Value::Null), ("/precision/residual", residual)],
        &[("/precision/accumulator", json!({ "bits": 17, "overflow": "saturate" }))],
    ];
    for settings in cases {
        let prepared = prepared(settings);
        let program = &prepared.program;
        let seed = prepared.experiment.seed;
        let data = prepared.load(seed, &mut |name| panic!("{name}")).expect("digits");
        let mut store = Store::new(program, &initial_weights(&prepared.graph, seed), seed);
        let mut engine = Fast::default();
        let order = epoch_order(seed, 0, data.train.len());
        // Every scale has seen as many steps as it remembers.
        for (number, rows) in order.chunks_exact(BATCH).take(20).enumerate() {
            let step = Step::training(seed, number as u64);
            store.load(&data.train.batch(rows), &step);
            for &command in &program.step {
                let taken = allocation_counter::measure(|| {
                    engine.run(command, &mut store, &step);
                });
                let most = (FIXED_BYTES + LINE_BYTES * (BATCH + 2 * UNITS)) as u64;
                assert!(most < (UNITS * UNITS / 2) as u64, "less than half a tensor of bytes");
                if number >= 18 {
                    let name = program.writes_of(command).next().expect("a write").1.name.clone();
                    let case = format!("{settings:?}: {name} in step {number}: {taken:?}");
                    assert!(taken.bytes_total <= most, "{case}, expected at most {most} bytes");
                    assert!(taken.count_total <= PIECES as u64, "{case}");
                }
            }
        }
    }
}
