//! What a training step takes of MNIST's perceptrons on random pixels, by fixed point and by the golden model.
//!
//! Measured are epochs of [`STEPS`] steps, counts, ranges and comparisons of their steps included, and a test
//! part of one sample; the throughput is in steps.

use std::hint::black_box;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use systoliq_keyed_random::Key;
use systoliq_nn::{DataSet, Golden};
use systoliq_program::Workers;
use systoliq_run::Prepared;
use systoliq_run::trainer::{Curve, FixedRun};

/// Steps of an epoch: as many as the rarest counts are taken once in.
const STEPS: usize = 64;

/// Samples of a step.
const BATCH: usize = 100;

const SEED: u64 = 1;

/// Units of the hidden layers.
const HIDDEN: [&[usize]; 2] = [&[100], &[1000, 1000]];

/// MNIST's experiment with other hidden layers.
fn prepared(hidden: &[usize], toggles: &str) -> Prepared {
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let mut experiment = read(include_str!("../../../models/mnist-mlp.json"));
    let dense = |units: usize| json!({ "dense": { "units": units } });
    let mut layers = Vec::new();
    hidden.iter().for_each(|&units| layers.extend([dense(units), "relu".into()]));
    layers.push(dense(10));
    experiment["network"]["layers"] = layers.into();
    experiment["training"]["batch"] = BATCH.into();
    experiment["dataset"] = json!({ "kind": "idx", "dir": "random" });
    experiment["accelerator"] = read(include_str!("../../../models/accelerators/edge-16x16.json"));
    experiment["accelerator"]["toggles"] = toggles.into();
    let experiment = serde_json::from_value(experiment).expect("an experiment");
    Prepared::new(experiment).expect("a possible experiment")
}

/// Images and labels as idx files have them, half of the pixels 0.
fn file(name: &str) -> io::Result<Box<dyn Read>> {
    let samples = if name.contains("train") { (STEPS * BATCH) as u32 } else { 1 };
    let key = Key::new(1).with_name(name);
    let header = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
    let file = if name.ends_with("images-idx3-ubyte") {
        let pixels = (0..u64::from(samples) * 784).map(|at| (key.word(at) as i16).max(0) as u8);
        header(&[2051, samples, 28, 28]).into_iter().chain(pixels).collect::<Vec<_>>()
    } else if name.ends_with("labels-idx1-ubyte") {
        let labels = (0..samples).map(|at| (at % 10) as u8);
        header(&[2049, samples]).into_iter().chain(labels).collect()
    } else {
        return Err(io::ErrorKind::NotFound.into());
    };
    Ok(Box::new(Cursor::new(file)))
}

fn data(prepared: &Prepared) -> DataSet {
    prepared.load(SEED, &mut file).expect("data that fit")
}

fn train_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train_step");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(STEPS as u64));
    for hidden in HIDDEN {
        let hidden_text: String = hidden.iter().map(|units| format!("{units}-")).collect();
        let size = format!("784-{hidden_text}10");
        for (name, toggles, threads) in [
            ("fixed, default counts", "sampled", 1),
            ("fixed, default counts, two threads", "sampled", 2),
            ("fixed, no toggles", "off", 1),
        ] {
            let prepared = prepared(hidden, toggles);
            let data = data(&prepared);
            let golden = Golden::<f32>::new(&prepared.graph, SEED);
            let initial = golden.evaluate(&data.test, BATCH);
            let curve = Curve { initial, epochs: Vec::new(), right: None };
            let run = FixedRun::new(&prepared, &data, SEED, curve).expect("no teacher");
            let mut run = run.with_workers(Arc::new(Workers::new(threads)));
            group.bench_function(BenchmarkId::new(name, &size), |bencher| {
                bencher.iter(|| run.epoch(&|_| {}).expect("counts that fit 64 bits"));
            });
        }
        let prepared = prepared(hidden, "off");
        let data = data(&prepared);
        let mut golden = Golden::<f32>::new(&prepared.graph, SEED);
        group.bench_function(BenchmarkId::new("golden, f32", &size), |bencher| {
            let training = &prepared.experiment.training;
            bencher.iter(|| black_box(golden.train_epoch(&data.train, training, SEED, 0)));
        });
    }
    group.finish();
}

criterion_group!(benches, train_step);
criterion_main!(benches);
