//! All engines give the same bits, and the closed forms equal what stepping counts.

mod cases;

use std::num::NonZero;

use cases::{
    Case, accumulators, any_case, any_convolution, array, for_each_small_case, format, policies,
};
use systoliq_array::activity::accumulator_toggles;
use systoliq_array::register::Seen;
use systoliq_array::{Activity, Array, ArrayCounts, Mapping, Register};
use systoliq_engine::Fast;
use systoliq_fxp::vectors::{VectorLevel, limited_to};
use systoliq_fxp::{Accumulator, Adder, Format, Overflow, OverflowAt, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{Engine, GemmTask, Operand, Reference, Sums};

/// Runs a case on every engine and compares them with the reference.
fn check(case: &Case) {
    case.with_task(|task| check_task(case, task));
}

fn check_task(case: &Case, task: &GemmTask<'_>) {
    let expected = Reference.gemm(task);
    compare(case, "fast", &Fast::default().gemm(task), &expected);
    let mut register = case.register();
    compare(case, "register", &register.gemm(task), &expected);
    let mapping = case.mapping();
    let counts = ArrayCounts::of(&mapping).unwrap();
    let expected = Seen::of(&mapping, task).unwrap();
    assert_eq!(register.seen(), expected, "{case:?}");
    assert_eq!((expected.counts, expected.chunk_sums), (counts, chunk_sums(case)), "{case:?}");
    check_conservation(case, &mapping, &counts);
}

/// Each chunk or block of each output joins its sum once.
fn chunk_sums(case: &Case) -> u64 {
    let GemmShape { m, k, n } = case.shape;
    let run = case.blocks.map(|(size, _)| size).or(case.chunk);
    let chunks = run.map_or(0, |run| k.div_ceil(run.get() as usize));
    (m * n * chunks) as u64
}

fn compare(case: &Case, engine: &str, sums: &Sums, expected: &Sums) {
    let n = case.shape.n;
    let pairs = sums.values.iter().zip(&expected.values);
    if let Some(at) = pairs.clone().position(|(value, expected)| value != expected) {
        let (i, j) = (at / n, at % n);
        let (value, expected) = (sums.values[at], expected.values[at]);
        panic!("{engine} gives {value} at ({i}, {j}), expected {expected}: {case:?}");
    }
    assert_eq!(sums, expected, "{engine}: {case:?}");
}

fn check_conservation(case: &Case, mapping: &Mapping, counts: &ArrayCounts) {
    let total = counts.cycles.total().0;
    let causes = serde_json::to_value(counts.cycles).unwrap();
    let causes = causes.as_object().unwrap().values().map(|cycles| cycles.as_u64().unwrap());
    assert_eq!(causes.sum::<u64>(), total, "{case:?}");
    assert_eq!(counts.pe_cycles, total * case.array.pes(), "{case:?}");
    assert_eq!(counts.macs, case.macs(), "{case:?}");
    assert!(counts.accumulator_writes >= case.shape.macs(), "{case:?}");
    let outputs = if case.shape.k == 0 { 0 } else { (case.shape.m * case.shape.n) as u64 };
    assert_eq!(counts.sum_writes - counts.partial_sum_reads, outputs, "{case:?}");
    let steps: usize = mapping.tiles().map(|tile| tile.steps).sum();
    assert_eq!(counts.cycles.stream.0, steps as u64);
    assert!(counts.macs <= counts.pe_cycles, "{case:?}");
}

#[test]
fn engines_agree_on_every_small_gemm_array_dataflow_and_policy() {
    for_each_small_case(4, 5, check);
}

#[test]
fn engines_agree_on_every_accumulator_with_every_chunk_limited_each_time_or_at_the_end() {
    let policies = policies().into_iter().step_by(3).collect::<Vec<_>>();
    let mut seed = 0;
    for (bits, shift, rounding, overflow, bias) in accumulators() {
        for overflow_at in OverflowAt::ALL {
            for chunk in (0..=5).map(NonZero::new) {
                for (m, n) in [(1, 1), (2, 3), (5, 2)] {
                    for k in 1..=6 {
                        for &policy in &policies {
                            seed += 1;
                            check(&Case {
                                array: array(2, 3, policy),
                                stationary: policy.0,
                                shape: GemmShape { m, k, n },
                                room: [u64::MAX, 3][seed as usize % 2],
                                formats: [format("Q2.3"), format("UQ1.3")],
                                transposed: [seed % 2 == 0, seed % 3 == 0],
                                bits,
                                shift,
                                rounding,
                                overflow,
                                overflow_at,
                                chunk,
                                blocks: None,
                                bias,
                                convolution: None,
                                seed,
                            });
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn engines_agree_on_thousands_of_random_gemms() {
    (0..3000).for_each(|seed| check(&any_case(seed, 24)));
}

#[test]
fn engines_agree_on_large_random_gemms() {
    (5000..5150).for_each(|seed| check(&any_case(seed, 90)));
}

#[test]
fn engines_agree_on_arrays_wider_than_vectors() {
    for seed in 0..40 {
        let case = any_case(7000 + seed, 100);
        let [rows, cols] =
            [(3, 16), (8, 17), (16, 64), (33, 70), (70, 33)][seed as usize % 5].into();
        check(&Case { array: Array { rows, cols, ..case.array }, ..case });
    }
}

#[test]
fn engines_agree_on_gemms_longer_than_vectors() {
    for seed in 0..60 {
        let case = any_case(8000 + seed, 9);
        let mut shape = case.shape;
        let extents = [&mut shape.m, &mut shape.k, &mut shape.n];
        *extents.into_iter().nth(seed as usize % 3).unwrap() = 120 + 7 * seed as usize;
        let [rows, cols] = [(2, 3), (40, 2), (3, 40), (5, 5)][seed as usize % 4].into();
        check(&Case { array: Array { rows, cols, ..case.array }, shape, ..case });
    }
}

#[test]
fn engines_count_codes_of_which_all_bits_flip() {
    // Counts are widened after 30 rows.
    let shape = GemmShape { m: 65, k: 67, n: 66 };
    for bits in [8, 16, 32] {
        let format = Format::new(bits, 0, true).unwrap();
        let tensor = |rows: usize, cols: usize| {
            let codes: Vec<i64> = (0..rows * cols).map(|at| -((at % 2) as i64)).collect();
            Tensor::from_codes(format, rows, cols, &codes)
        };
        // Neighbours differ along rows and, where these have an odd number, along columns.
        let (a, b) = (tensor(shape.m, shape.k), tensor(shape.k, shape.n + 1));
        let accumulator = Accumulator::new(32, None, Rounding::Floor, Overflow::Wrap).unwrap();
        let adder = Adder::new(&accumulator, 0, Key::new(0));
        let operand = |tensor| Operand::new(tensor, false);
        let task = GemmTask::new(operand(&a), operand(&b), adder, None);
        for policy in policies() {
            let array = array(33, 4, policy);
            let mut register = Register::new(array, policy.0).unwrap();
            register.gemm(&task);
            let mapping = Mapping::new(&array, task.shape(), policy.0);
            assert_eq!(register.seen(), Seen::of(&mapping, &task).unwrap(), "{bits} {policy:?}");
        }
    }
}

#[test]
fn engines_agree_on_the_products_of_random_convolutions() {
    (0..1500).for_each(|seed| check(&any_convolution(seed, 7)));
}

#[test]
fn a_gemm_without_products_leaves_the_bias() {
    for (m, k, n) in [(2, 0, 3), (0, 2, 3), (2, 3, 0), (0, 0, 0)] {
        for (bits, shift, rounding, overflow, bias) in accumulators() {
            let policy = policies()[bits as usize % 18];
            let case = Case {
                array: array(2, 2, policy),
                stationary: policy.0,
                shape: GemmShape { m, k, n },
                room: u64::MAX,
                formats: [format("Q4.4"), format("Q4.4")],
                transposed: [false, true],
                bits,
                shift,
                rounding,
                overflow,
                overflow_at: OverflowAt::ALL[m % 2],
                chunk: NonZero::new(n as u32),
                blocks: None,
                bias,
                convolution: None,
                seed: 1,
            };
            let counts = ArrayCounts::of(&case.mapping()).unwrap();
            assert_eq!(counts, ArrayCounts::default(), "{case:?}");
            check(&case);
        }
    }
}

#[test]
fn every_vector_level_gives_the_bits_counts_and_toggles_of_plain_loops() {
    for seed in 0..300 {
        let case = any_case(seed, 40);
        let all = |level| {
            limited_to(level, || {
                case.with_task(|task| {
                    let mut register = case.register();
                    let sums = [Fast::default().gemm(task), register.gemm(task)];
                    let mapping = case.mapping();
                    let toggles = accumulator_toggles(&mapping, task);
                    (sums, register.seen(), Activity::of(&mapping, task), toggles)
                })
            })
        };
        let plain = all(VectorLevel::Portable);
        for level in VectorLevel::available() {
            assert_eq!(all(level), plain, "{level:?}: {case:?}");
        }
    }
}
