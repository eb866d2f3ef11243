//! What conversions and updates take per element, all their counts included.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use systoliq_fxp::{
    Conversion, Converter, Format, LinearForm, Multiplier, Overflow, Rounding, Tensor,
};
use systoliq_keyed_random::Key;

/// Elements of a tensor that stays in a near cache.
const ELEMENTS: usize = 1 << 14;

/// Elements of an update that are computed at once.
const STRIP: usize = 1 << 10;

fn format(notation: &str) -> Format {
    notation.parse().expect("a format")
}

fn conversion(from_frac: i32, to: Format, rounding: Rounding) -> Conversion {
    let (overflow, key) = (Overflow::Saturate, Key::new(1));
    Conversion { from_frac, scale: 1, to, rounding, overflow, key, squares: true }
}

/// Codes of a format, uniform over a part of its range.
fn codes(format: Format, seed: u64, part: i64) -> Tensor {
    let key = Key::new(seed);
    let range = ((format.max_raw() - format.min_raw()) / part) as u32;
    let code = |at| i64::from(key.below(at, range)) - i64::from(range / 2);
    let codes: Vec<i64> = (0..ELEMENTS as u64).map(code).collect();
    Tensor::from_codes(format, 1, ELEMENTS, &codes)
}

/// Sums of 32 bits into 8 bits.
fn convert(c: &mut Criterion) {
    let mut group = c.benchmark_group("convert");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    let sums: Vec<i32> =
        codes(format("Q18.6"), 1, 8).to_codes().iter().map(|&sum| sum as i32).collect();
    let to = format("Q1.7");
    for rounding in [Rounding::Floor, Rounding::NearestEven, Rounding::Stochastic] {
        let conversion = conversion(20, to, rounding);
        let mut tensor = Tensor::zeros(to, 1, ELEMENTS);
        group.bench_function(BenchmarkId::from_parameter(format!("{rounding:?}")), |b| {
            b.iter(|| conversion.write(black_box(&sums), tensor.whole_mut()));
        });
    }
    group.finish();
}

/// Weights of 16 bits less the rate times gradients of 16 bits, rounded stochastically.
fn update(c: &mut Criterion) {
    let mut group = c.benchmark_group("update");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    let (weights, gradients) = (codes(format("Q1.15"), 2, 2), codes(format("Q-4.20"), 3, 2));
    let rate = Multiplier::nearest(0.1, 16).expect("a rate");
    let conversion = conversion(0, weights.format(), Rounding::Stochastic);
    let mut after = Tensor::zeros(weights.format(), 1, ELEMENTS);
    group.bench_function("16 bits", |b| {
        b.iter(|| {
            let terms = [(Multiplier::ONE, &weights, false), (rate, &gradients, true)];
            let form = LinearForm::new(terms);
            let (mut room, mut converter) = ([0; STRIP], Converter::new(conversion));
            for first in (0..ELEMENTS).step_by(STRIP) {
                let exact = form.at(first..first + STRIP, black_box(&mut room));
                let mut whole = after.whole_mut();
                exact.write(&mut converter, whole.at(first..first + STRIP));
            }
            black_box(converter.end());
        });
    });
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = quick(); targets = convert, update }
criterion_main!(benches);
