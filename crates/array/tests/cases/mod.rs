//! GEMMs on arrays, drawn from a seed.

// Each test file uses its part.
#![allow(dead_code)]

use std::num::NonZero;

use systoliq_array::{Array, FoldOrder, Mapping, Overlap, PartialFolds, Register, Stationary};
use systoliq_fxp::{
    Accumulator, Adder, Along, Blocks, Format, Overflow, OverflowAt, Rounding, Tensor,
};
use systoliq_keyed_random::Key;
use systoliq_program::convolution::ViewedGemm;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{ConvolutionShape, GemmTask, Operand};

/// Random words, one after the other.
pub(crate) struct Draw {
    key: Key,
    at: u64,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self { key: Key::new(seed), at: 0 }
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.at += 1;
        u64::from(self.key.word(self.at))
    }

    /// A number from `low` to `high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let word = i128::from(self.word() << 32 | self.word());
        let range = i128::from(high) - i128::from(low) + 1;
        (i128::from(low) + word.rem_euclid(range)) as i64
    }

    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        self.between(low as i64, high as i64) as usize
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.word() % 2 == 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.size(0, choices.len() - 1)]
    }

    pub(crate) fn format(&mut self, bits_max: u32) -> Format {
        let signed = self.flip();
        let bits = self.between(if signed { 2 } else { 1 }, bits_max.into()) as u32;
        Format::new(bits, self.between(-64, 64) as i32, signed).unwrap()
    }

    /// A convolution of up to `side` pixels a side.
    pub(crate) fn convolution(&mut self, side: usize) -> ConvolutionShape {
        loop {
            let groups = self.pick(&[1, 1, 2, 3]);
            let mut two = |low, high| [self.size(low, high), self.size(low, high)];
            let [image, kernel] = [two(1, side), two(1, 4)];
            let convolution = ConvolutionShape {
                image,
                kernel,
                stride: two(1, 3),
                dilation: two(1, 3),
                padding: two(0, 4),
                end_padding: two(0, 4),
                batch: self.size(1, 3),
                channels: groups * self.size(1, 3),
                filters: groups * self.size(1, 3),
                groups: NonZero::new(groups).unwrap(),
            };
            if convolution.outputs().is_some() {
                return convolution;
            }
        }
    }

    /// Codes of all sizes, small ones or the ends of the range.
    pub(crate) fn tensor(&mut self, format: Format, rows: usize, cols: usize) -> Tensor {
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
pub(crate) struct Case {
    pub(crate) array: Array,
    pub(crate) stationary: Stationary,
    pub(crate) shape: GemmShape,
    /// How many partial sums there is room for.
    pub(crate) room: u64,
    pub(crate) formats: [Format; 2],
    pub(crate) transposed: [bool; 2],
    pub(crate) bits: u32,
    /// Bits dropped of each product.
    pub(crate) shift: i32,
    pub(crate) rounding: Rounding,
    pub(crate) overflow: Overflow,
    pub(crate) overflow_at: OverflowAt,
    pub(crate) chunk: Option<NonZero<u32>>,
    /// Elements of a block of A, of B or of both.
    pub(crate) blocks: Option<(NonZero<u32>, [bool; 2])>,
    pub(crate) bias: Option<Format>,
    /// Where operands are views: of which convolution, and which of its products and groups this is.
    pub(crate) convolution: Option<(ConvolutionShape, usize, usize)>,
    pub(crate) seed: u64,
}

impl Case {
    /// How the GEMM lies on the array.
    pub(crate) fn mapping(&self) -> Mapping {
        let mapping = Mapping::new(&self.array, self.shape, self.stationary).fitting(self.room);
        mapping.with_structural_zeros(self.shape.macs() - self.macs())
    }

    /// Products of two stored elements.
    pub(crate) fn macs(&self) -> u64 {
        match self.convolution {
            None => self.shape.macs(),
            Some((convolution, ..)) => {
                product(&convolution, 0).macs() / convolution.groups.get() as u64
            }
        }
    }

    /// The engine that steps it.
    pub(crate) fn register(&self) -> Register {
        let [a, b] = self.formats.map(|format| format.bits());
        let accumulator = self.accumulator(0);
        let widths = match self.blocks {
            Some((size, _)) => accumulator.widths_of_blocks(self.shape.k, size, a + b),
            None => accumulator.widths(self.shape.k),
        };
        let bits = widths.total();
        let bits = self.room.saturating_mul(u64::from(bits));
        Register::new(self.array, self.stationary).unwrap().with_partial_sum_bits(bits)
    }

    /// The accumulator with so many fraction bits.
    pub(crate) fn accumulator(&self, frac: i32) -> Accumulator {
        let Self { bits, rounding, overflow, overflow_at, chunk, .. } = *self;
        let accumulator = Accumulator::new(bits, Some(frac), rounding, overflow).unwrap();
        let accumulator = accumulator.limited_at(overflow_at);
        match chunk.filter(|_| self.blocks.is_none()) {
            Some(chunk) => accumulator.in_chunks(chunk),
            None => accumulator,
        }
    }

    /// A tensor with fraction bits around its own in each block.
    fn blocked(&self, tensor: Tensor, along: Along, size: usize) -> Tensor {
        let shape = (tensor.rows(), tensor.cols());
        let count = match along {
            Along::Row => shape.0 * shape.1.div_ceil(size),
            Along::Column => shape.0.div_ceil(size) * shape.1,
        };
        let mut draw = Draw::new(self.seed ^ 0xb10c);
        let near = i64::from(tensor.format().frac());
        let frac = |_| draw.between((near - 4).max(-64), (near + 4).min(64)) as i32;
        let fracs = (0..count).map(frac).collect();
        tensor.with_blocks(Blocks::of(along, size, shape, fracs).unwrap())
    }

    /// Draws the operands and hands over the GEMM.
    pub(crate) fn with_task<T>(&self, use_task: impl FnOnce(&GemmTask<'_>) -> T) -> T {
        let mut draw = Draw::new(self.seed);
        let GemmShape { m, k, n } = self.shape;
        let [across_a, across_b] = self.transposed;
        let turned = |across, (rows, cols)| if across { (cols, rows) } else { (rows, cols) };
        let mut stored = [turned(across_a, (m, k)), turned(across_b, (k, n)), (1, n)];
        if let Some((convolution, pass, _)) = self.convolution {
            stored = shapes(&convolution, pass);
        }
        let mut operand = |format, (rows, cols)| draw.tensor(format, rows, cols);
        let a = operand(self.formats[0], stored[0]);
        let b = operand(self.formats[1], stored[1]);
        let bias = self.bias.map(|format| operand(format, stored[2]));
        let [a, b] = [(a, true), (b, false)].map(|(tensor, is_a)| match self.blocks {
            Some((size, has)) if has[usize::from(!is_a)] => {
                let along = match self.transposed[usize::from(!is_a)] == is_a {
                    true => Along::Column,
                    false => Along::Row,
                };
                self.blocked(tensor, along, size.get() as usize)
            }
            _ => tensor,
        });
        let product_frac = self.formats[0].frac() + self.formats[1].frac();
        let frac = product_frac - self.shift;
        let accumulator = self.accumulator(frac);
        let adder = match self.blocks {
            Some((size, _)) => Adder::of_blocks(&accumulator, size, Key::new(self.seed)),
            None => Adder::new(&accumulator, product_frac, Key::new(self.seed)),
        };
        if let Some((convolution, pass, group)) = self.convolution {
            let product = product(&convolution, pass);
            return use_task(&product.task([&a, &b], adder, bias.as_ref(), group));
        }
        use_task(&GemmTask::new(
            Operand::new(&a, across_a),
            Operand::new(&b, across_b),
            adder,
            bias.as_ref(),
        ))
    }
}

/// One of the three products of a convolution: forward, input gradient, weight gradient.
pub(crate) fn product(convolution: &ConvolutionShape, pass: usize) -> ViewedGemm {
    convolution.products().expect("a window that fits")[pass]
}

/// What a product of a convolution reads as it is stored, and its bias.
pub(crate) fn shapes(convolution: &ConvolutionShape, pass: usize) -> [(usize, usize); 3] {
    let &ConvolutionShape { batch, image: [height, width], channels, filters, .. } = convolution;
    let [out_height, out_width] = convolution.outputs().expect("a window that fits");
    let inputs = (batch * height * width, channels);
    let outputs = (batch * out_height * out_width, filters);
    let taps = convolution.kernel[0] * convolution.kernel[1];
    let of_filter = taps * channels / convolution.groups;
    let weights = (filters, of_filter);
    match pass {
        0 => [inputs, weights, (1, filters)],
        1 => [outputs, weights, (1, channels)],
        _ => [outputs, inputs, (1, of_filter)],
    }
}

/// A case whose operands are views, of images of up to `side` pixels a side.
pub(crate) fn any_convolution(seed: u64, side: usize) -> Case {
    let mut draw = Draw::new(seed ^ 0xc0de);
    let convolution = draw.convolution(side);
    let pass = draw.size(0, 2);
    let group = draw.size(0, convolution.groups.get() - 1);
    let shape = product(&convolution, pass).shape;
    let convolution = Some((convolution, pass, group));
    Case { shape, convolution, blocks: None, ..any_case(seed, 9) }
}

/// Which operands have blocks: mostly none.
const BLOCKED: [Option<[bool; 2]>; 5] =
    [None, None, Some([true, true]), Some([true, false]), Some([false, true])];

/// The dataflow's own order of folds, and both that there are.
const FOLD_ORDERS: [Option<FoldOrder>; 3] =
    [None, Some(FoldOrder::RowsFirst), Some(FoldOrder::ColumnsFirst)];

/// A dataflow with a timing policy.
pub(crate) type Policy = (Stationary, Overlap, PartialFolds);

/// Every one of them.
pub(crate) fn policies() -> Vec<Policy> {
    let mut policies = Vec::new();
    for stationary in Stationary::ALL {
        for overlap in [Overlap::None, Overlap::DoubleBuffered, Overlap::Pipelined] {
            for partial_folds in [PartialFolds::Full, PartialFolds::Trimmed] {
                policies.push((stationary, overlap, partial_folds));
            }
        }
    }
    policies
}

/// An array with a policy.
pub(crate) fn array(rows: usize, cols: usize, (_, overlap, partial_folds): Policy) -> Array {
    Array { overlap, partial_folds, ..Array::new(rows, cols).unwrap() }
}

pub(crate) fn format(notation: &str) -> Format {
    notation.parse().unwrap()
}

/// Accumulators that differ in what they do to a product and to a sum.
pub(crate) fn accumulators() -> Vec<(u32, i32, Rounding, Overflow, Option<Format>)> {
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

/// A case of any kind, of at most `size` in each extent.
pub(crate) fn any_case(seed: u64, size: usize) -> Case {
    let mut draw = Draw::new(seed ^ 0x9e37);
    let fold_order = draw.pick(&FOLD_ORDERS);
    let (rows, cols) = (draw.size(1, 9), draw.size(1, 9));
    let policy = draw.pick(&policies());
    let array = Array { fold_order, ..array(rows, cols, policy) };
    let room = if draw.flip() { u64::MAX } else { draw.size(1, 9 * size) as u64 };
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
        stationary: policy.0,
        shape,
        room,
        formats,
        transposed: [draw.flip(), draw.flip()],
        bits: bits.clamp(2, 64) as u32,
        shift: product_frac - frac,
        rounding: draw.pick(&Rounding::ALL),
        overflow: draw.pick(&Overflow::ALL),
        overflow_at: draw.pick(&OverflowAt::ALL),
        chunk: NonZero::new(draw.between(-12, 12).max(0) as u32),
        blocks: draw.pick(&BLOCKED).and_then(|has| {
            let size = NonZero::new(draw.between(1, 12) as u32);
            size.map(|size| (size, has))
        }),
        bias,
        convolution: None,
        seed,
    }
}

/// Every grid to `side` x `side` with every GEMM to `extent`³ under every policy, accumulators in
/// turn.
pub(crate) fn for_each_small_case(side: usize, extent: usize, mut see: impl FnMut(&Case)) {
    let pairs = |max: usize| (1..=max).flat_map(move |i| (1..=max).map(move |j| (i, j)));
    let accumulators = accumulators();
    let mut seed = 0;
    for (rows, cols) in pairs(side) {
        for (m, n) in pairs(extent) {
            for k in 1..=extent {
                for policy in policies() {
                    seed += 1;
                    let (bits, shift, rounding, overflow, bias) =
                        accumulators[seed as usize % accumulators.len()];
                    let case = Case {
                        array: Array {
                            fold_order: FOLD_ORDERS[seed as usize % 5 % 3],
                            ..array(rows, cols, policy)
                        },
                        stationary: policy.0,
                        shape: GemmShape { m, k, n },
                        room: [u64::MAX, 2, cols as u64 * 2, u64::MAX][seed as usize / 3 % 4],
                        formats: [format("Q2.3"), format("UQ1.3")],
                        transposed: [seed % 2 == 0, seed % 3 == 0],
                        bits,
                        shift,
                        rounding,
                        overflow,
                        overflow_at: OverflowAt::ALL[usize::from(seed / 20 % 3 == 0)],
                        chunk: NonZero::new((seed / 5 % 4) as u32),
                        blocks: NonZero::new((seed / 7 % 4) as u32)
                            .zip(BLOCKED[seed as usize / 28 % BLOCKED.len()]),
                        bias,
                        convolution: None,
                        seed,
                    };
                    see(&case);
                }
            }
        }
    }
}
