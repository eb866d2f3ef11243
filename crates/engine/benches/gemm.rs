//! How many multiply-accumulates per second the integer GEMM makes on products of perceptrons and convolutions, beside
//! `matrixmultiply` in `f32` and what the processor could do at most.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use systoliq_engine::{Fast, KernelLevel};
use systoliq_fxp::{Accumulator, Adder, Format, Overflow, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::store::Version;
use systoliq_program::view::{Sliding, View, Windows};
use systoliq_program::{GemmShape, GemmTask, Operand, Reading, TensorId};

/// An operand: whether its codes are signed, and whether it is the transpose of what is stored.
#[derive(Clone, Copy)]
struct Side {
    signed: bool,
    transposed: bool,
}

const UNSIGNED: Side = Side { signed: false, transposed: false };
const SIGNED: Side = Side { signed: true, transposed: false };
const TRANSPOSED: Side = Side { signed: true, transposed: true };

/// A product of a training step.
struct Product {
    pass: &'static str,
    /// m, k, n.
    sizes: [usize; 3],
    a: Side,
    b: Side,
    /// Whether B are weights, which are packed once.
    kept: bool,
}

const fn forward(sizes: [usize; 3]) -> Product {
    Product { pass: "forward", sizes, a: UNSIGNED, b: TRANSPOSED, kept: true }
}

const fn back(sizes: [usize; 3]) -> Product {
    Product { pass: "dX", sizes, a: SIGNED, b: SIGNED, kept: true }
}

const fn weights(sizes: [usize; 3]) -> Product {
    Product { pass: "dW", sizes, a: TRANSPOSED, b: UNSIGNED, kept: false }
}

/// The products of 784-100-10 and 784-1000-1000-10 at batch 100, and a large one.
const PRODUCTS: [Product; 9] = [
    forward([100, 784, 100]),
    weights([100, 100, 784]),
    forward([100, 100, 10]),
    back([100, 10, 100]),
    forward([100, 784, 1000]),
    forward([100, 1000, 1000]),
    back([100, 1000, 1000]),
    weights([1000, 100, 1000]),
    forward([1024, 1024, 1024]),
];

/// What is summed: bits of operands and the accumulator.
struct Kind {
    name: &'static str,
    operand_bits: u32,
    accumulator: (u32, Overflow),
    /// Codes are so many bits shorter than their format allows.
    spare_bits: u32,
}

const KINDS: [Kind; 6] = [
    kind("i8, 32 bits", 8, (32, Overflow::Wrap), 0),
    kind("i16, 32 bits", 16, (32, Overflow::Wrap), 6),
    kind("i16, 48 bits", 16, (48, Overflow::Wrap), 0),
    kind("i8, saturates at 24 bits", 8, (24, Overflow::Saturate), 0),
    kind("i8, saturates at 20 bits", 8, (20, Overflow::Saturate), 0),
    kind("i8, saturates at 17 bits", 8, (17, Overflow::Saturate), 0),
];

const fn kind(
    name: &'static str,
    operand_bits: u32,
    accumulator: (u32, Overflow),
    spare_bits: u32,
) -> Kind {
    Kind { name, operand_bits, accumulator, spare_bits }
}

fn tensor(kind: &Kind, side: Side, [rows, cols]: [usize; 2]) -> Tensor {
    let format = Format::new(kind.operand_bits, 0, side.signed).expect("a format of 2 to 32 bits");
    let key = Key::new(rows as u64).with(cols as u64);
    let bits = kind.operand_bits - kind.spare_bits;
    let code = |at| match side.signed {
        true => i64::from(key.word(at) as i32 >> (32 - bits)),
        // As after a ReLU, half of the codes are 0.
        false => i64::from((key.word(at) as i32).max(0) >> (31 - bits)),
    };
    let codes: Vec<i64> = (0..(rows * cols) as u64).map(code).collect();
    Tensor::from_codes(format, rows, cols, &codes)
}

fn task<'a>(kind: &Kind, a: Operand<'a>, b: Operand<'a>) -> GemmTask<'a> {
    let (bits, overflow) = kind.accumulator;
    let accumulator = Accumulator::new(bits, None, Rounding::Floor, overflow);
    let adder = Adder::new(&accumulator.expect("a width of 2 to 64"), 0, Key::new(2));
    GemmTask::new(a, b, adder, None)
}

/// Sums a product over and over; what is kept of B is packed once.
fn measure(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    id: BenchmarkId,
    (task, kept): (&GemmTask<'_>, bool),
    level: KernelLevel,
) {
    let mut engine = Fast::at(level);
    let source = kept.then(|| (TensorId(0), Version::next()));
    group.throughput(Throughput::Elements(task.shape().macs()));
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            engine.sum(black_box(task), source, &mut |_, sums| {
                black_box(sums);
            })
        });
    });
}

/// The same of `matrixmultiply` in `f32`; the operands are stored as they are read, or transposed.
fn measure_float(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    size: &str,
    [m, k, n]: [usize; 3],
    [a_transposed, b_transposed]: [bool; 2],
) {
    let (left, right) = (vec![1.0f32; m * k], vec![1.0f32; k * n]);
    let mut sums = vec![0.0f32; m * n];
    let strides = |cols: usize, rows: usize, transposed: bool| match transposed {
        true => (1, rows as isize),
        false => (cols as isize, 1),
    };
    let ((rsa, csa), (rsb, csb)) = (strides(k, m, a_transposed), strides(n, k, b_transposed));
    group.throughput(Throughput::Elements(GemmShape { m, k, n }.macs()));
    group.bench_function(BenchmarkId::new("f32, matrixmultiply", size), |bencher| {
        bencher.iter(|| {
            let (a, b, c) = (left.as_ptr(), right.as_ptr(), sums.as_mut_ptr());
            // SAFETY: the matrices have as many elements.
            unsafe {
                matrixmultiply::sgemm(
                    m, k, n, 1.0, a, rsa, csa, b, rsb, csb, 0.0, c, n as isize, 1,
                );
            }
            black_box(&mut sums);
        });
    });
}

fn stored(rows: usize, cols: usize, transposed: bool) -> [usize; 2] {
    if transposed { [cols, rows] } else { [rows, cols] }
}

fn dense(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dense");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    for Product { pass, sizes: [m, k, n], a, b, kept } in PRODUCTS {
        let size = format!("{pass} {m}x{k}x{n}");
        measure_float(&mut group, &size, [m, k, n], [a.transposed, b.transposed]);
        for kind in &KINDS {
            let a_signed = Side { signed: a.signed || kind.operand_bits > 8, ..a };
            let b_signed = Side { signed: b.signed || kind.operand_bits > 8, ..b };
            let left = tensor(kind, a_signed, stored(m, k, a.transposed));
            let right = tensor(kind, b_signed, stored(k, n, b.transposed));
            let operands = (Operand::new(&left, a.transposed), Operand::new(&right, b.transposed));
            let task = task(kind, operands.0, operands.1);
            let id = BenchmarkId::new(kind.name, &size);
            measure(&mut group, id, (&task, kept), KernelLevel::available()[0]);
        }
    }
    group.finish();
}

/// A convolution of square images.
struct Layer {
    net: &'static str,
    /// Side of the image, and of the window.
    side: usize,
    taps: usize,
    /// Channels of input and output.
    inputs: usize,
    outputs: usize,
    step: usize,
    pad: usize,
}

const fn lenet(side: usize, inputs: usize, outputs: usize, pad: usize) -> Layer {
    Layer { net: "LeNet", side, taps: 5, inputs, outputs, step: 1, pad }
}

const fn resnet8(side: usize, inputs: usize, outputs: usize, step: usize) -> Layer {
    Layer { net: "ResNet-8", side, taps: 3, inputs, outputs, step, pad: 1 }
}

/// Those of LeNet, and those of 3 × 3 taps of ResNet-8.
const CONVOLUTIONS: [Layer; 8] = [
    lenet(28, 1, 6, 2),
    lenet(14, 6, 16, 0),
    resnet8(32, 3, 16, 1),
    resnet8(32, 16, 16, 1),
    resnet8(32, 16, 32, 2),
    resnet8(16, 32, 32, 1),
    resnet8(16, 32, 64, 2),
    resnet8(8, 64, 64, 1),
];

/// Images of a batch.
const IMAGES: usize = 64;

fn convolutions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convolution");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    for Layer { net, side, taps, inputs, outputs, step, pad } in CONVOLUTIONS {
        let positions = (side + 2 * pad - taps) / step + 1;
        let pad = pad as isize;
        let axis = Sliding { positions, taps, step, tap_step: 1, spread: 1, pad, extent: side };
        let view = View::Windows(Windows { down: axis, along: axis });
        let (rows, k) = (IMAGES * positions * positions, taps * taps * inputs);
        let kind = &KINDS[0];
        let image = tensor(kind, UNSIGNED, [IMAGES * side * side, inputs]);
        let windows = tensor(kind, UNSIGNED, [rows, k]);
        let weights = tensor(kind, SIGNED, [outputs, k]);
        let gradient = tensor(kind, SIGNED, [rows, outputs]);
        let viewed = |transposed| Operand::read(&image, Reading { view, transposed });
        let b = Operand::new(&weights, true);
        let size = format!("{net}, {inputs} to {outputs} channels at {side}x{side}");
        let forward = task(kind, viewed(false), b);
        let level = KernelLevel::available()[0];
        measure(&mut group, BenchmarkId::new("forward", &size), (&forward, true), level);
        let forward = task(kind, Operand::new(&windows, false), b);
        measure(&mut group, BenchmarkId::new("the same stored", &size), (&forward, true), level);
        measure_float(
            &mut group,
            &format!("forward, stored, {size}"),
            [rows, k, outputs],
            [false, true],
        );
        let by_weights = task(kind, Operand::new(&gradient, true), viewed(false));
        measure(&mut group, BenchmarkId::new("dW", &size), (&by_weights, false), level);
        measure_float(
            &mut group,
            &format!("dW, stored, {size}"),
            [outputs, rows, k],
            [true, false],
        );
    }
    group.finish();
}

fn levels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("level");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    let (left, right) =
        (tensor(&KINDS[0], UNSIGNED, [100, 784]), tensor(&KINDS[0], SIGNED, [1000, 784]));
    let task = task(&KINDS[0], Operand::new(&left, false), Operand::new(&right, true));
    for level in KernelLevel::available() {
        measure(
            &mut group,
            BenchmarkId::new("i8, 32 bits", format!("{level:?}")),
            (&task, true),
            level,
        );
    }
    group.finish();
}

/// What `vpdpbusd` does at most: in registers alone.
#[cfg(target_arch = "x86_64")]
fn ceiling(criterion: &mut Criterion) {
    use std::arch::x86_64::*;

    const STEPS: u64 = 100_000;
    const SUMS: usize = 24;

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn multiply(seed: i32) -> [__m512i; SUMS] {
        let mut sums = [_mm512_setzero_si512(); SUMS];
        let (a, b) = (_mm512_set1_epi32(seed), _mm512_set1_epi32(!seed));
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        sums
    }

    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512vnni") {
        return;
    }
    let mut group = criterion.benchmark_group("ceiling");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    group.throughput(Throughput::Elements(STEPS * SUMS as u64 * 64));
    // SAFETY: the features were just detected.
    group.bench_function("vpdpbusd", |bencher| bencher.iter(|| unsafe { multiply(black_box(3)) }));
    group.finish();
}

#[cfg(not(target_arch = "x86_64"))]
fn ceiling(_: &mut Criterion) {}

criterion_group!(benches, ceiling, dense, convolutions, levels);
criterion_main!(benches);
