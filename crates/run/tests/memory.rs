//! Bytes that a run takes for each weight, golden's own among them.

use std::path::Path;

use serde_json::{Value, json};
use systoliq_engine::Fast;
use systoliq_nn::{DataSet, epoch_order, initial_weights};
use systoliq_program::{Engine, Step, Store};
use systoliq_run::trainer::Conduct;
use systoliq_run::{EngineKind, Prepared, Trainer};

/// Units of each of two hidden layers.
const UNITS: usize = 960;

/// Samples of a batch: what these take is little beside the weights.
const BATCH: usize = 8;

const WEIGHTS: usize = 64 * UNITS + UNITS * UNITS + UNITS * 10;

/// Golden's weights and their gradients, in `f32`.
const GOLDEN_BYTES: f64 = 8.0;

fn prepared() -> (Prepared, DataSet) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits-mlp.json");
    let text = std::fs::read_to_string(path).expect("a file of models");
    let mut experiment: Value = serde_json::from_str(&text).expect("JSON");
    experiment["accelerator"] = json!({ "array": { "rows": 8, "cols": 8 } });
    let hidden = json!({ "dense": { "units": UNITS } });
    experiment["network"]["layers"] =
        json!([hidden, "relu", hidden, "relu", { "dense": { "units": 10 } }]);
    experiment["training"]["batch"] = json!(BATCH);
    experiment["training"]["epochs"] = json!(1);
    let prepared = Prepared::new(serde_json::from_value(experiment).expect("an experiment"));
    let prepared = prepared.expect("possible");
    let data = prepared.load(1, &mut |name| panic!("{name}")).expect("digits");
    (prepared, data)
}

/// The most bytes at once, for each weight.
fn per_weight(work: impl FnOnce()) -> f64 {
    allocation_counter::measure(work).bytes_max as f64 / WEIGHTS as f64
}

#[test]
fn steps_take_11_bytes_for_each_weight() {
    let (prepared, data) = prepared();
    let Prepared { graph, program, .. } = &prepared;
    let initial = initial_weights(graph, 1);
    let found = per_weight(|| {
        let (mut store, mut engine) = (Store::new(program, &initial, 1), Fast::default());
        let order = epoch_order(1, 0, data.train.len());
        for (number, rows) in order.chunks_exact(BATCH).take(3).enumerate() {
            let step = Step::training(1, number as u64);
            store.load(&data.train.batch(rows), &step);
            for &command in &program.step {
                engine.run(command, &mut store, &step);
            }
        }
    });
    assert!(found < 11.0, "{found}");
}

#[test]
fn a_run_takes_15_bytes_for_each_weight_beside_golden() {
    let (prepared, data) = prepared();
    let conduct = Conduct { threads: 1, progress: &|_| {} };
    let begun = || Trainer::new(&prepared, &data, 1, EngineKind::Fast);
    // What golden's products are packed in has one size, and a thread keeps it.
    drop(begun());
    let (mut entries, mut state) = (Vec::new(), Vec::new());
    let whole = per_weight(|| {
        let mut trainer = begun();
        trainer.epoch(&conduct, None).expect("an epoch");
        entries.extend(trainer.record().latest_entry());
        state = trainer.state();
    });
    let resumed = per_weight(|| {
        let (mut trainer, state) = (begun(), state.clone());
        trainer.restore(entries, &state).expect("a state that fits");
    });
    let most = GOLDEN_BYTES + 15.0;
    assert!(whole < most && resumed < most, "whole {whole}, resumed {resumed}");
}
