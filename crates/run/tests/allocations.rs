//! A command on a store that has run before takes no memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};
use systoliq_engine::Fast;
use systoliq_nn::{epoch_order, initial_weights};
use systoliq_program::{Engine, Step, Store};
use systoliq_run::Prepared;

/// Samples of a batch, where there are as many.
const BATCH: usize = 16;

/// Steps after which scales have seen as many as they remember, and memory has its size.
const WARM: u64 = 18;

/// Steps that are looked at.
const STEPS: u64 = 4;

/// Pieces that a command takes at most with blocks: each tensor with blocks is made anew, what is summed of its squares
/// is laid out by exponent, and exponents are laid out for a product.
const BLOCK_PIECES: u64 = 150;

/// Pieces that a product takes at most where its terms are rounded: both operands as words, the random words of each k, and
/// who adds them.
const ROUNDED_PIECES: u64 = 4;

/// An experiment of `models/` with settings by their pointers; null removes one.
fn prepared(model: &str, settings: &[(&str, Value)]) -> Prepared {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let text = std::fs::read_to_string(models.join(model)).expect("a file of models");
    let mut experiment: Value = serde_json::from_str(&text).expect("JSON");
    experiment["accelerator"] = json!({ "array": { "rows": 8, "cols": 8 } });
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

/// The most pieces that a command of an experiment takes once it is warm, with what it writes.
fn most_pieces(model: &str, settings: &[(&str, Value)]) -> (u64, String) {
    let prepared = prepared(model, settings);
    let program = &prepared.program;
    let seed = prepared.experiment.seed;
    let open = &mut |name: &str| Ok(Box::new(File::open(name)?) as Box<dyn Read>);
    let data = prepared.load(seed, open).expect("data");
    let mut store = Store::new(program, &initial_weights(&prepared.graph, seed), seed);
    let (mut engine, mut most) = (Fast::default(), (0, String::new()));
    let batch = BATCH.min(data.train.len());
    let orders = (0..).map(|epoch| epoch_order(seed, epoch, data.train.len()));
    let batches =
        orders.flat_map(|order| order.chunks_exact(batch).map(Vec::from).collect::<Vec<_>>());
    for (number, rows) in (0..WARM + STEPS).zip(batches) {
        let step = Step::training(seed, number);
        store.load(&data.train.batch(&rows), &step);
        for &command in &program.step {
            let taken = allocation_counter::measure(|| {
                engine.run(command, &mut store, &step);
            });
            if number >= WARM && taken.count_total > most.0 {
                let name = program.writes_of(command).next().expect("a write").1.name.clone();
                most = (taken.count_total, format!("{name} in step {number}: {taken:?}"));
            }
        }
    }
    most
}

#[test]
fn a_warmed_command_takes_no_memory() {
    let images = ("/dataset/dir", json!("../../tests/data/fashion-mnist"));
    let saturating = json!({ "bits": 17, "overflow": "saturate" });
    let residual = json!({ "bits": 8, "frac": 14 });
    let momentum = [
        ("/training/rate", json!(0.05)),
        ("/training/momentum", json!(0.9)),
        ("/training/weight_decay", json!(0.001)),
    ];
    let remainder = [("/precision/master", Value::Null), ("/precision/residual", residual)];
    let both = [&momentum[..], &remainder].concat();
    let cases: [(&str, &[(&str, Value)]); 9] = [
        ("digits-mlp.json", &[]),
        ("digits-mlp.json", &momentum),
        ("digits-mlp.json", &remainder),
        ("digits-mlp.json", &both),
        ("digits-mlp.json", &[("/precision/accumulator", saturating)]),
        ("mnist-mlp.json", &[images, ("/dataset/validation", json!(100))]),
        ("lms.json", &[]),
        ("binary-classifier.json", &[]),
        ("ten-way-classifier.json", &[]),
    ];
    for (model, settings) in cases {
        let (pieces, of) = most_pieces(model, settings);
        assert_eq!(pieces, 0, "{model} with {settings:?}: {of}");
    }
}

#[test]
fn what_has_no_memory_of_its_own_takes_few_pieces() {
    let rounded = json!({ "bits": 20, "frac": 12, "rounding": "stochastic", "overflow": "wrap" });
    for (model, settings, most) in [
        ("digits-mxint8.json", &[][..], BLOCK_PIECES),
        ("digits-mlp.json", &[("/precision/accumulator", rounded)], ROUNDED_PIECES),
    ] {
        let (pieces, of) = most_pieces(model, settings);
        assert!((1..=most).contains(&pieces), "{model} with {settings:?}: {of}");
    }
}
