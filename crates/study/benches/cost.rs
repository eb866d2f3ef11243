//! What it takes to price the commands of a network's training step, and of networks given layer by layer.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use systoliq_hardware::Accelerator;
use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::single::GemmWidths;
use systoliq_import::scalesim::topology::{OutputSize, Topology};
use systoliq_run::Prepared;
use systoliq_study::workload::{Workload, WorkloadReport};

/// The machine, which chooses the dataflow of each product and waits for its memory.
const MACHINE: &str = include_str!("../../../models/accelerators/edge-16x16.json");

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("JSON of its type")
}

/// Every write of a step once, none of them known.
fn network(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cost");
    for hidden in [100, 1000] {
        let mut experiment: Value = read(include_str!("../../../models/mnist-mlp.json"));
        experiment["accelerator"] = read(MACHINE);
        experiment["network"]["layers"][0] = json!({ "dense": { "units": hidden } });
        let experiment = serde_json::from_value(experiment).expect("an experiment");
        let prepared = Prepared::new(experiment).expect("a possible experiment");
        let (program, batch) = (&prepared.program, prepared.experiment.training.batch);
        group.throughput(Throughput::Elements(program.all_writes().count() as u64));
        let id = BenchmarkId::new("training step", format!("784-{hidden}-10"));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
                for (at, ..) in program.all_writes() {
                    black_box(costs.of(at, program.work(at, batch), false)).expect("a small step");
                }
            });
        });
    }
    group.finish();
}

/// Networks of many layers, read, lowered and priced.
fn topologies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cost of topologies");
    group.sample_size(10);
    let machine: Accelerator = read(MACHINE);
    let widths = GemmWidths { a: 8, b: 8, accumulator: 32, output: 8 };
    for (name, text) in [
        ("resnet50", include_str!("../../../models/topologies/resnet50.csv")),
        ("bert_base", include_str!("../../../models/topologies/bert_base.csv")),
    ] {
        for (what, training) in [("inference", false), ("training", true)] {
            group.bench_function(BenchmarkId::new(what, name), |bencher| {
                bencher.iter(|| {
                    let topology = Topology::parse(black_box(text)).expect("a topology");
                    let size = OutputSize::Floor;
                    let workload = Workload::new(&topology, size, training, widths);
                    WorkloadReport::new(&machine, &workload.expect("widths in range"))
                        .expect("a report")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, network, topologies);
criterion_main!(benches);
