//! All engines give the same bits, and the closed forms equal what stepping counts.

use systoliq_array::activity::accumulator_toggles;
use systoliq_array::register::Seen;
use systoliq_array::{
    Activity, Array, ArrayCounts, Dataflow, Fast, Mapping, Overlap, PartialFolds, Register,
};
use systoliq_fxp::{Accumulator, Adder, Format, Overflow, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{Engine, GemmTask, Operand, Reference, Sums};

/// Random words, one after the other.
struct Draw {
    key: Key,
    at: u64,
}

impl Draw {
    fn new(seed: u64) -> Self {
        Self { key: Key::new(seed), at: 0 }
    }

    fn word(&mut self) -> u64 {
        self.at += 1;
        u64::from(self.key.word(self.at))
    }

    /// A number from `low` to `high`.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        let word = i128::from(self.word() << 32 | self.word());
        let range = i128::from(high) - i128::from(low) + 1;
        (i128::from(low) + word.rem_euclid(range)) as i64
    }

    fn size(&mut self, low: usize, high: usize) -> usize {
        self.between(low as i64, high as i64) as usize
    }

    fn flip(&mut self) -> bool {
        self.word() % 2 == 1
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.size(0, choices.len() - 1)]
    }

    fn format(&mut self, bits_max: u32) -> Format {
        let signed = self.flip();
        let bits = self.between(if signed { 2 } else { 1 }, bits_max.into()) as u32;
        Format::new(bits, self.between(-64, 64) as i32, signed).unwrap()
    }

    /// Codes of all sizes, small ones or the ends of the range.
    fn tensor(&mut self, format: Format, rows: usize, cols: usize) -> Tensor {
        let (min, max) = (format.min_raw(), format.max_raw());
        let style = self.word() % 4;
        let codes: Vec<i64> = (0..rows * cols)
            .map(|_| match style {
                0 => self.between(min.max(-3), max.min(3)),
                1 => self.pick(&[min, max]),
                _ => self.between(min, max),
            })
            .collect();
        Tensor::from_codes(format, rows, cols, &codes)
    }
}

/// A GEMM on an array.
#[derive(Clone, Debug)]
struct Case {
    array: Array,
    shape: GemmShape,
    formats: [Format; 2],
    transposed: [bool; 2],
    bits: u32,
    /// Bits dropped of each product.
    shift: i32,
    rounding: Rounding,
    overflow: Overflow,
    bias: Option<Format>,
    seed: u64,
}

impl Case {
    /// Runs this case on every engine and compares them with the reference.
    fn check(&self) {
        let mut draw = Draw::new(self.seed);
        let GemmShape { m, k, n } = self.shape;
        let mut operand = |format, transposed, rows, cols| {
            let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
            draw.tensor(format, rows, cols)
        };
        let a = operand(self.formats[0], self.transposed[0], m, k);
        let b = operand(self.formats[1], self.transposed[1], k, n);
        let bias = self.bias.map(|format| operand(format, false, 1, n));
        let product_frac = self.formats[0].frac() + self.formats[1].frac();
        let frac = product_frac - self.shift;
        let accumulator =
            Accumulator::new(self.bits, Some(frac), self.rounding, self.overflow).unwrap();
        let task = GemmTask {
            a: Operand { tensor: &a, transposed: self.transposed[0] },
            b: Operand { tensor: &b, transposed: self.transposed[1] },
            adder: Adder::new(&accumulator, product_frac, Key::new(self.seed)),
            bias: bias.as_ref(),
        };
        let expected = Reference.gemm(&task);
        self.compare("fast", &Fast::default().gemm(&task), &expected);
        let mut register = Register::new(self.array).unwrap();
        self.compare("register", &register.gemm(&task), &expected);
        let mapping = Mapping::new(&self.array, self.shape);
        let counts = ArrayCounts::of(&mapping).unwrap();
        let expected = Seen {
            counts,
            activity: Activity::of(&mapping, &task),
            accumulator_toggles: accumulator_toggles(&mapping, &task),
        };
        assert_eq!(register.seen(), expected, "{self:?}");
        self.check_conservation(&mapping, &counts);
    }

    fn compare(&self, engine: &str, sums: &Sums, expected: &Sums) {
        let n = self.shape.n;
        let pairs = sums.values.iter().zip(&expected.values);
        if let Some(at) = pairs.clone().position(|(value, expected)| value != expected) {
            let (i, j) = (at / n, at % n);
            let (value, expected) = (sums.values[at], expected.values[at]);
            panic!("{engine} gives {value} at ({i}, {j}), expected {expected}: {self:?}");
        }
        assert_eq!(sums, expected, "{engine}: {self:?}");
    }

    fn check_conservation(&self, mapping: &Mapping, counts: &ArrayCounts) {
        let total = counts.cycles.total().0;
        let causes = serde_json::to_value(counts.cycles).unwrap();
        let causes = causes.as_object().unwrap().values().map(|cycles| cycles.as_u64().unwrap());
        assert_eq!(causes.sum::<u64>(), total, "{self:?}");
        assert_eq!(counts.pe_cycles, total * self.array.pes(), "{self:?}");
        assert_eq!(counts.macs, self.shape.macs(), "{self:?}");
        assert!(counts.accumulator_writes >= counts.macs, "{self:?}");
        let outputs = if self.shape.k == 0 { 0 } else { (self.shape.m * self.shape.n) as u64 };
        assert_eq!(counts.sum_writes - counts.partial_sum_reads, outputs, "{self:?}");
        assert_eq!(counts.cycles.stream.0, counts.folds * mapping.extents().time as u64);
        assert!(counts.macs <= counts.pe_cycles, "{self:?}");
    }
}

/// Every dataflow with every timing policy.
fn policies() -> Vec<(Dataflow, Overlap, PartialFolds)> {
    let mut policies = Vec::new();
    for dataflow in
        [Dataflow::OutputStationary, Dataflow::WeightStationary, Dataflow::InputStationary]
    {
        for overlap in [Overlap::None, Overlap::DoubleBuffered, Overlap::Pipelined] {
            for partial_folds in [PartialFolds::Full, PartialFolds::Trimmed] {
                policies.push((dataflow, overlap, partial_folds));
            }
        }
    }
    policies
}

/// An array with a policy.
fn array(rows: usize, cols: usize, policy: (Dataflow, Overlap, PartialFolds)) -> Array {
    let (dataflow, overlap, partial_folds) = policy;
    Array { dataflow, overlap, partial_folds, ..Array::new(rows, cols).unwrap() }
}

fn format(notation: &str) -> Format {
    notation.parse().unwrap()
}

/// Accumulators that differ in what they do to a product and to a sum.
fn accumulators() -> Vec<(u32, i32, Rounding, Overflow, Option<Format>)> {
    let mut accumulators = vec![
        (32, 0, Rounding::Floor, Overflow::Wrap, None),
        (32, 0, Rounding::Floor, Overflow::Wrap, Some(format("Q4.12"))),
        (5, 0, Rounding::Floor, Overflow::Saturate, None),
        (5, 0, Rounding::Floor, Overflow::SaturateSymmetric, Some(format("Q4.4"))),
        (5, 0, Rounding::Floor, Overflow::Wrap, Some(format("Q4.10"))),
        (8, -3, Rounding::Floor, Overflow::Saturate, Some(format("Q4.4"))),
        (9, -2, Rounding::Floor, Overflow::Wrap, None),
    ];
    for rounding in Rounding::ALL {
        accumulators.push((6, 3, rounding, Overflow::Saturate, Some(format("Q3.7"))));
        accumulators.push((6, 2, rounding, Overflow::Wrap, None));
    }
    accumulators
}

#[test]
fn engines_agree_on_every_small_gemm_array_dataflow_and_policy() {
    let pairs = |max: usize| (1..=max).flat_map(move |i| (1..=max).map(move |j| (i, j)));
    let accumulators = accumulators();
    let mut seed = 0;
    for (rows, cols) in pairs(4) {
        for (m, n) in pairs(5) {
            for k in 1..=5 {
                for policy in policies() {
                    seed += 1;
                    let (bits, shift, rounding, overflow, bias) =
                        accumulators[seed as usize % accumulators.len()];
                    let case = Case {
                        array: array(rows, cols, policy),
                        shape: GemmShape { m, k, n },
                        formats: [format("Q2.3"), format("UQ1.3")],
                        transposed: [seed % 2 == 0, seed % 3 == 0],
                        bits,
                        shift,
                        rounding,
                        overflow,
                        bias,
                        seed,
                    };
                    case.check();
                }
            }
        }
    }
}

/// A case of any kind, of at most `size` in each extent.
fn any_case(seed: u64, size: usize) -> Case {
    let mut draw = Draw::new(seed ^ 0x9e37);
    let array = array(draw.size(1, 9), draw.size(1, 9), draw.pick(&policies()));
    let shape = GemmShape { m: draw.size(1, size), k: draw.size(1, size), n: draw.size(1, size) };
    let bits_max = draw.pick(&[4, 8, 8, 16, 32]);
    let formats = [draw.format(bits_max), draw.format(bits_max)];
    let product_frac = formats[0].frac() + formats[1].frac();
    let product_bits = (formats[0].bits() + formats[1].bits()) as i32;
    let shift = match draw.word() % 4 {
        0 | 1 => 0,
        2 => draw.between(-8, product_bits.into()) as i32,
        _ => product_frac - draw.between(-128, 128) as i32,
    };
    let frac = (product_frac - shift).clamp(-128, 128);
    let bits = match draw.word() % 3 {
        0 => draw.between(2, 64),
        1 => draw.pick(&[8, 16, 32, 48, 64]),
        _ => draw.between(-3, 6) + i64::from(product_bits - shift),
    };
    let bias = draw.flip().then(|| {
        let near = i64::from(frac).clamp(-60, 60) + draw.between(-4, 4);
        let frac = if draw.flip() { near } else { draw.between(-64, 64) };
        let signed = draw.format(32);
        Format::new(signed.bits(), frac as i32, signed.is_signed()).unwrap()
    });
    Case {
        array,
        shape,
        formats,
        transposed: [draw.flip(), draw.flip()],
        bits: bits.clamp(2, 64) as u32,
        shift: product_frac - frac,
        rounding: draw.pick(&Rounding::ALL),
        overflow: draw.pick(&Overflow::ALL),
        bias,
        seed,
    }
}

#[test]
fn engines_agree_on_thousands_of_random_gemms() {
    (0..3000).for_each(|seed| any_case(seed, 24).check());
}

#[test]
fn engines_agree_on_large_random_gemms() {
    (5000..5150).for_each(|seed| any_case(seed, 90).check());
}

#[test]
fn a_gemm_without_products_leaves_the_bias() {
    for (m, k, n) in [(2, 0, 3), (0, 2, 3), (2, 3, 0), (0, 0, 0)] {
        for (bits, shift, rounding, overflow, bias) in accumulators() {
            let case = Case {
                array: array(2, 2, policies()[bits as usize % 18]),
                shape: GemmShape { m, k, n },
                formats: [format("Q4.4"), format("Q4.4")],
                transposed: [false, true],
                bits,
                shift,
                rounding,
                overflow,
                bias,
                seed: 1,
            };
            let counts = ArrayCounts::of(&Mapping::new(&case.array, case.shape)).unwrap();
            assert_eq!(counts, ArrayCounts::default(), "{case:?}");
            case.check();
        }
    }
}
