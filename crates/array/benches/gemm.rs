//! How many multiply-accumulates per second the engines make, beside ndarray's in `f32`, and how
//! many PEs the register engine clocks per second.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use std::hint::black_box;
use systoliq_array::activity::accumulator_toggles;
use systoliq_array::{Activity, Array, ArrayCounts, Mapping, Register, Stationary};
use systoliq_engine::Fast;
use systoliq_fxp::{Accumulator, Adder, Format, Overflow, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{Engine, GemmTask, Operand};

/// A layer's GEMMs at batch 32 and 128, a square one and a shallow one.
const SHAPES: [GemmShape; 5] = [
    GemmShape { m: 32, k: 64, n: 64 },
    GemmShape { m: 32, k: 784, n: 100 },
    GemmShape { m: 128, k: 784, n: 100 },
    GemmShape { m: 1000, k: 100, n: 1000 },
    GemmShape { m: 512, k: 512, n: 512 },
];

/// What is summed, and how.
struct Kind {
    name: &'static str,
    operand_bits: u32,
    /// Width of the accumulator and how many bits of each product it drops.
    bits: u32,
    dropped: i32,
    rounding: Rounding,
    overflow: Overflow,
}

const fn kind(
    name: &'static str,
    operand_bits: u32,
    (bits, dropped): (u32, i32),
    rounding: Rounding,
    overflow: Overflow,
) -> Kind {
    Kind { name, operand_bits, bits, dropped, rounding, overflow }
}

const KINDS: [Kind; 6] = [
    kind("i8 wrap 32", 8, (32, 0), Rounding::Floor, Overflow::Wrap),
    kind("i16 wrap 48", 16, (48, 0), Rounding::Floor, Overflow::Wrap),
    kind("i8 saturate 16", 8, (16, 0), Rounding::Floor, Overflow::Saturate),
    kind("i8 floor 4, saturate 16", 8, (16, 4), Rounding::Floor, Overflow::Saturate),
    kind("i8 nearest-even 4, wrap 16", 8, (16, 4), Rounding::NearestEven, Overflow::Wrap),
    kind("i8 stochastic 4, saturate 16", 8, (16, 4), Rounding::Stochastic, Overflow::Saturate),
];

/// The operands of a GEMM, B stored as weights are: transposed.
struct Operands {
    a: Tensor,
    b: Tensor,
}

impl Operands {
    fn new(shape: GemmShape, bits: u32) -> Self {
        let format = Format::new(bits, 0, true).expect("a format of 2 to 32 bits");
        let tensor = |name: &str, rows: usize, cols: usize| {
            let key = Key::new(1).with_name(name);
            let code = |at| i64::from(key.word(at) as i32 >> (32 - bits));
            let codes: Vec<i64> = (0..(rows * cols) as u64).map(code).collect();
            Tensor::from_codes(format, rows, cols, &codes)
        };
        Self { a: tensor("a", shape.m, shape.k), b: tensor("b", shape.n, shape.k) }
    }

    fn task(&self, kind: &Kind) -> GemmTask<'_> {
        let Kind { bits, dropped, rounding, overflow, .. } = *kind;
        let accumulator = Accumulator::new(bits, Some(-dropped), rounding, overflow);
        GemmTask::new(
            Operand::new(&self.a, false),
            Operand::new(&self.b, true),
            Adder::new(&accumulator.expect("a width of 2 to 64"), 0, Key::new(2)),
            None,
        )
    }
}

fn multiply_accumulates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm");
    for shape in SHAPES {
        let GemmShape { m, k, n } = shape;
        let size = format!("{m}x{k}x{n}");
        group.throughput(Throughput::Elements(shape.macs()));
        let (a, b) = (Array2::<f32>::ones((m, k)), Array2::<f32>::ones((n, k)));
        group.bench_function(BenchmarkId::new("ndarray f32", &size), |bencher| {
            bencher.iter(|| black_box(&a).dot(&black_box(&b).t()));
        });
        for kind in &KINDS {
            let operands = Operands::new(shape, kind.operand_bits);
            let task = operands.task(kind);
            let mut engine = Fast::default();
            group.bench_function(BenchmarkId::new(kind.name, &size), |bencher| {
                bencher.iter(|| engine.gemm(black_box(&task)));
            });
        }
    }
    group.finish();
}

fn pe_cycles(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("register");
    let shape = GemmShape { m: 32, k: 784, n: 32 };
    for (side, stationary) in
        [8, 16, 32].into_iter().flat_map(|side| Stationary::ALL.map(|kept| (side, kept)))
    {
        let array = Array::new(side, side).expect("a size in range");
        let mut engine = Register::new(array, stationary).expect("a size in range");
        let mapping = Mapping::new(&array, shape, stationary);
        let counts = ArrayCounts::of(&mapping).expect("a small GEMM");
        group.throughput(Throughput::Elements(counts.pe_cycles));
        for kind in &KINDS[..3] {
            let operands = Operands::new(shape, kind.operand_bits);
            let task = operands.task(kind);
            let id = BenchmarkId::new(kind.name, format!("{side}x{side} {}", stationary.name()));
            group.bench_function(id, |bencher| bencher.iter(|| engine.gemm(black_box(&task))));
        }
    }
    group.finish();
}

/// Operands per byte, and accumulators per multiply-accumulate.
fn toggles(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("toggles");
    let shape = GemmShape { m: 128, k: 784, n: 100 };
    for (side, stationary) in
        [8, 16, 128].into_iter().flat_map(|side| Stationary::ALL.map(|kept| (side, kept)))
    {
        let array = Array::new(side, side).expect("a size in range");
        let mapping = Mapping::new(&array, shape, stationary);
        for kind in &KINDS[..3] {
            let operands = Operands::new(shape, kind.operand_bits);
            let task = operands.task(kind);
            let name = |what: &str| format!("{what}, {side}x{side} {}", stationary.name());
            let codes = shape.k * (shape.m + shape.n);
            group.throughput(Throughput::Bytes(codes as u64 * u64::from(kind.operand_bits / 8)));
            group.bench_function(BenchmarkId::new(name("operands"), kind.name), |bencher| {
                bencher.iter(|| Activity::of(&mapping, black_box(&task)));
            });
            group.throughput(Throughput::Elements(shape.macs()));
            group.bench_function(BenchmarkId::new(name("accumulators"), kind.name), |bencher| {
                bencher.iter(|| accumulator_toggles(&mapping, black_box(&task)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, multiply_accumulates, pe_cycles, toggles);
criterion_main!(benches);
