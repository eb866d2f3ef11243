//! How fast experiments and data are read.

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use systoliq_load::document::{Document, DocumentLayout};
use systoliq_load::typed;
use systoliq_nn::DataSpec;
use systoliq_nn::data::idx::parse_images;
use systoliq_run::{Experiment, Prepared};

/// From its files to its program.
fn experiments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load experiments");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    for name in ["digits-mlp", "digits-mxint8", "mnist-mlp"] {
        let file = models.join(name).with_extension("json");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let document = Document::read(&file, DocumentLayout::EXPERIMENT);
                let experiment: Experiment =
                    typed(&document.expect("a file")).expect("an experiment");
                Prepared::new(experiment).expect("a possible experiment")
            });
        });
    }
    group.finish();
}

/// 10,000 images of 28 × 28 pixels.
fn idx(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load data");
    let sizes = [2051, 10_000, 28, 28_u32];
    let pixels = (0..10_000 * 784_u32).map(|at| (at.wrapping_mul(37) >> 3) as u8);
    let plain: Vec<u8> = sizes.into_iter().flat_map(u32::to_be_bytes).chain(pixels).collect();
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("idx", |bencher| {
        bencher.iter(|| parse_images("images", black_box(&plain[..])).expect("images"));
    });
    group.finish();
}

/// A table of 20 columns.
fn csv(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load data");
    for rows in [1_000, 50_000_u32] {
        let line = |row: u32| {
            let cell = |column: u32| format!("{:.4},", f64::from(row * 19 + column).sin());
            (0..19).map(cell).collect::<String>() + &format!("{}\n", row % 10)
        };
        let text: String = (0..rows).map(line).collect();
        let spec = json!({"kind": "csv", "path": "x.csv", "classes": 10, "test": 0.2});
        let spec: DataSpec = serde_json::from_value(spec).expect("a data set");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("csv, rows", rows), |bencher| {
            let bytes: &'static [u8] = text.clone().leak().as_bytes();
            bencher.iter(|| spec.load(1, &mut |_| Ok(Box::new(bytes))).expect("a table"));
        });
    }
    group.finish();
}

criterion_group!(benches, experiments, idx, csv);
criterion_main!(benches);
