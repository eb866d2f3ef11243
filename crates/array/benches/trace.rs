//! How fast cycles are reached and written down, in PE-cycles per second.

use std::hint::black_box;
use std::io;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use systoliq_array::{Array, Instants, Mapping, Stationary, Trace};
use systoliq_fxp::{Accumulator, Adder, Overflow, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{GemmTask, Operand};

/// Hands over a GEMM of random 8-bit codes with 32-bit accumulators.
fn with_task(shape: GemmShape, run: impl FnOnce(&GemmTask<'_>)) {
    let format = "Q1.7".parse().expect("a format");
    let tensor = |rows: usize, cols: usize, key: Key| {
        let code = |at: usize| i64::from(key.word(at as u64) as i8);
        let codes: Vec<i64> = (0..rows * cols).map(code).collect();
        Tensor::from_codes(format, rows, cols, &codes)
    };
    let a = tensor(shape.m, shape.k, Key::new(1));
    let b = tensor(shape.k, shape.n, Key::new(2));
    let accumulator = Accumulator::new(32, None, Rounding::Floor, Overflow::Saturate);
    let operand = |tensor| Operand::new(tensor, false);
    run(&GemmTask::new(
        operand(&a),
        operand(&b),
        Adder::new(&accumulator.expect("an accumulator"), 14, Key::new(3)),
        None,
    ));
}

/// One cycle, early and late, gone to directly.
fn jumps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one cycle of 4096 x 256 x 4096 on 16 x 16");
    for stationary in [Stationary::Output, Stationary::Weight] {
        let name = stationary.name();
        let array = Array::new(16, 16).expect("an array");
        with_task(GemmShape { m: 4096, k: 256, n: 4096 }, |task| {
            let instants = Instants::new(task, &Mapping::new(&array, task.shape(), stationary));
            let instants = instants.expect("cycles that fit 64 bits");
            group.throughput(Throughput::Elements(256));
            // The last PE works at the last step of its first, or its last, fold.
            let period = instants.cycles() / instants.schedule().count();
            for (when, cycle) in [("early", period - 20), ("late", instants.cycles() - 20)] {
                group.bench_function(format!("{name} {when}"), |bencher| {
                    bencher.iter(|| instants.at(black_box(cycle)));
                });
            }
        });
    }
}

/// All cycles one after the other, and their traces.
fn traces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("all cycles of 64 x 64 x 64 on 16 x 16");
    for stationary in [Stationary::Output, Stationary::Weight] {
        let name = stationary.name();
        let array = Array::new(16, 16).expect("an array");
        with_task(GemmShape { m: 64, k: 64, n: 64 }, |task| {
            let instants = Instants::new(task, &Mapping::new(&array, task.shape(), stationary));
            let instants = instants.expect("cycles that fit 64 bits");
            let cycles = 0..instants.cycles();
            group.throughput(Throughput::Elements(256 * cycles.end));
            group.bench_function(format!("{name} seen"), |bencher| {
                bencher.iter(|| {
                    let mut cursor = instants.over(cycles.clone()).expect("its cycles");
                    while let Some(instant) = cursor.advance() {
                        black_box(instant);
                    }
                });
            });
            let trace = Trace::new(&instants, cycles.clone()).expect("its cycles");
            group.bench_function(format!("{name} vcd"), |bencher| {
                bencher.iter(|| trace.vcd(&mut io::sink(), &mut |_| ()));
            });
            group.bench_function(format!("{name} fst"), |bencher| {
                let mut bytes = io::Cursor::new(Vec::new());
                bencher.iter(|| {
                    bytes.set_position(0);
                    trace.fst(&mut bytes, &mut |_| ())
                });
            });
        });
    }
}

criterion_group!(benches, jumps, traces);
criterion_main!(benches);
