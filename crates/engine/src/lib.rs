//! Programs as fast as this machine can.
//!
//! Bits depend on the GEMM alone, so this engine, which knows no array and steps no PE, is free to multiply matrices as the machine likes
//! best. It picks the cheapest way that is provably exact for the widths and values at hand:
//!
//! | where | sums |
//! | --- | --- |
//! | products are not rounded, codes fit 16 bits, and sums cannot overflow, wrap, or are limited at the end | exact, by integer GEMM, in 32 bits or in runs of 32 bits widened to 64; limited once |
//! | sums saturate at every addition, and exact ones fit 30 bits | by integer GEMM as far as none can leave the register, otherwise product by product |
//! | otherwise, where 32, 64 or 128 bits hold every product and exact sum | one output per vector lane, rounded and limited at every addition, chunk by chunk |
//! | an operand has blocks, codes fit 16 bits, a block's sum 31, and 64 all aligned ones together | block by block by integer GEMM; sums of blocks are aligned, added and limited in 64-bit lanes |
//! | everything else | by the [`Adder`](systoliq_fxp::Adder) itself |

mod bias;
mod blocks;
mod coded;
mod dot;
mod kernels;
mod lanes;
mod lent;
mod line_sums;
mod packed;
mod plan;
mod saturate;
mod strips;
mod words;

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use systoliq_program::workers::in_strips;
use systoliq_program::{
    CommandId, Engine, Exit, GemmShape, GemmTask, Outcome, Step, Store, Sums, TensorId, Workers,
};

use bias::Bias;
use blocks::BlockedProduct;
use coded::Coded;
use dot::Dot;
pub use kernels::KernelLevel;
use kernels::{Kernel, Kernels};
use lent::ProductMemory;
use packed::PackedCopies;
pub use packed::PackedSource;
use plan::{CodeRange, Method};
use saturate::{OneByOne, Saturating};
pub use strips::StripSums;
use strips::{AdderSums, Buffers, Summed, SummedStrips};

/// The engine that runs programs as fast as this machine can.
///
/// It has no array: bits do not depend on one, and cycles and counts have closed forms.
#[derive(Clone, Debug)]
pub struct Fast {
    kernels: Kernels,
    copies: PackedCopies,
    /// Of each thread.
    buffers: Vec<Buffers>,
    memory: ProductMemory,
}

impl Default for Fast {
    fn default() -> Self {
        Self::at(KernelLevel::available()[0])
    }
}

impl Engine for Fast {
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums {
        let GemmShape { m, n, .. } = task.shape();
        let mut values = vec![0; m * n];
        let overflowed = self.sum(task, None, &mut |rows, sums| {
            sums.widen(&mut values[rows.start * n..rows.end * n]);
        });
        Sums { values, overflowed }
    }

    fn run(&mut self, command: CommandId, store: &mut Store, step: &Step) -> Outcome {
        let program = Arc::clone(store.program());
        let Some(product) = program.command(command).operation.product() else {
            return store.run(command, step, &mut |task| self.gemm(task));
        };
        let kept = |tensor: TensorId| program.tensor(tensor).role.outlasts_a_step();
        let source = |tensor| kept(tensor).then(|| (tensor, store.version(tensor)));
        let source = source(product.b.tensor);
        let mut exit = store.exit(command, step);
        let tasks: SmallVec<[GemmTask<'_>; 1]> = store.tasks(command, step).collect();
        let (waits_once, sums) = (exit.waits_once(), exit.len() as u64);
        let overflowed = self.leave(&tasks, source, (&mut exit, store.workers()));
        if waits_once {
            // Strips take a fraction of it.
            self.buffers.fill_with(Buffers::default);
        }
        drop(tasks);
        store.accept(exit).with_sums(sums, overflowed).into()
    }
}

impl Fast {
    /// The engine with the kernels of a level.
    ///
    /// # Panics
    ///
    /// If this machine does not have it.
    pub fn at(level: KernelLevel) -> Self {
        let (copies, buffers) = (PackedCopies::default(), vec![Buffers::default()]);
        Self { kernels: Kernels::of(level), copies, buffers, memory: ProductMemory::default() }
    }

    /// Lets the sums of products leave that write all of an output together, some rows at a time; says
    /// how many overflowed.
    fn leave(
        &mut self,
        tasks: &[GemmTask<'_>],
        source: Option<PackedSource>,
        (exit, workers): (&mut Exit, &Workers),
    ) -> u64 {
        let whole_rows = |task: &GemmTask<'_>| task.output.cols == task.output.stride;
        let one_by_one = !exit.waits() && tasks.iter().all(whole_rows);
        if tasks.len() > 1 && !one_by_one {
            return self.leave_together(tasks, source, (exit, workers));
        }
        let mut overflowed = 0;
        for task in tasks {
            let (shape, way) = (task.shape(), (&mut *exit, workers));
            overflowed += match self.summed(task, source, workers).strips() {
                SummedStrips::Narrow(strips) => strips.leave(shape, way, &mut self.buffers),
                SummedStrips::Wide(strips) => strips.leave(shape, way, &mut self.buffers),
            };
        }
        overflowed
    }

    /// The same of several products that write some columns each, or of which all have to leave at once.
    fn leave_together(
        &mut self,
        tasks: &[GemmTask<'_>],
        source: Option<PackedSource>,
        (exit, workers): (&mut Exit, &Workers),
    ) -> u64 {
        let summed: Vec<_> = tasks.iter().map(|task| self.summed(task, source, workers)).collect();
        let Buffers { words, narrow, wide } = &mut self.buffers[0];
        // Equal cuts.
        let (m, stride) = (tasks[0].shape().m, tasks[0].output.stride);
        let at_once = if exit.waits() { m } else { strips::rows_together(&summed, stride) };
        let (mut part, mut overflowed) = (Vec::new(), 0);
        for rows in in_strips(0..m, at_once) {
            let first = rows.start * stride;
            wide.resize(if exit.waits() { exit.len() } else { rows.len() * stride }, 0);
            for (task, summed) in tasks.iter().zip(&summed) {
                let n = task.shape().n;
                part.resize(rows.len() * n, 0);
                overflowed += summed.widened(rows.clone(), (words, narrow), &mut part);
                for (row, sums) in rows.clone().zip(part.chunks(n.max(1))) {
                    wide[task.output.index(row, 0) - first..][..n].copy_from_slice(sums);
                }
            }
            exit.leave(wide);
        }
        overflowed
    }

    /// Sums a product, some rows at a time, and hands them to `leave`; says how many sums overflowed. The packed copy of a
    /// right operand with a source is kept.
    pub fn sum(
        &mut self,
        task: &GemmTask<'_>,
        source: Option<PackedSource>,
        leave: &mut dyn FnMut(Range<usize>, StripSums<'_>),
    ) -> u64 {
        let GemmShape { m, n, .. } = task.shape();
        let summed = self.summed(task, source, &Workers::default());
        let buffers = &mut self.buffers[0];
        match summed.strips() {
            SummedStrips::Narrow(strips) => strips.each((0..m, n), buffers, |rows, sums| {
                leave(rows, StripSums::Narrow(sums));
            }),
            SummedStrips::Wide(strips) => strips.each((0..m, n), buffers, |rows, sums| {
                leave(rows, StripSums::Wide(sums));
            }),
        }
    }

    /// The cheapest way to sum that is exact.
    fn summed<'t>(
        &mut self,
        task: &'t GemmTask<'_>,
        source: Option<PackedSource>,
        workers: &Workers,
    ) -> Summed<'t> {
        let memory = &self.memory;
        let source = source.filter(|_| task.adder.block().is_none());
        let mut pack = |kernel: &dyn Kernel, coding| {
            self.copies.panels((&task.b, source), kernel, coding, (workers, memory))
        };
        if task.adder.block().is_some() {
            let blocks = BlockedProduct::new(task, (self.kernels, memory), &mut pack);
            return blocks.map_or_else(|| Summed::Adders(AdderSums::new(task)), Summed::Blocked);
        }
        task.shape();
        let Some(bias) = Bias::new(task, memory) else {
            return Summed::Adders(AdderSums::new(task));
        };
        let of = |range: fn(&_) -> CodeRange| {
            let ranges = [range(&task.a), range(&task.b)];
            let method = Method::of(task, ranges[0], ranges[1], &bias);
            let one_by_one = (method == Method::Lanes32)
                .then(|| OneByOne::new(self.kernels.one_by_one, task, ranges));
            (method, one_by_one.flatten())
        };
        // Formats often suffice; otherwise it pays to look at the codes.
        let (method, one_by_one) = match of(CodeRange::of_format) {
            found @ (_, Some(_)) => found,
            found @ (Method::Dot(bounds), _) if bounds.are_narrow() && !bounds.may_overflow => {
                found
            }
            _ => of(CodeRange::of_codes),
        };
        if let Some(one_by_one) = one_by_one {
            let coded = Coded::new(task, self.kernels, (false, memory), &mut pack);
            return Summed::Saturating(Saturating::new(task, bias, coded, one_by_one));
        }
        let rounds = task.adder.shift > 0;
        Summed::Lanes(match method {
            Method::Dot(bounds) => {
                let b_unsigned = bounds.unsigned[1];
                let coded = Coded::new(task, self.kernels, (b_unsigned, memory), &mut pack);
                let dot = Dot::new(task, bias, bounds, coded);
                return if bounds.are_narrow() { Summed::Narrow(dot) } else { Summed::Wide(dot) };
            }
            Method::Lanes32 => lanes::unrounded::<i32>(task, bias),
            Method::Lanes64 if rounds => lanes::rounded::<i64>(task, bias),
            Method::Lanes64 => lanes::unrounded::<i64>(task, bias),
            Method::Lanes128 if rounds => lanes::rounded::<i128>(task, bias),
            Method::Lanes128 => lanes::unrounded::<i128>(task, bias),
            Method::Adders => return Summed::Adders(AdderSums::new(task)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;
    use systoliq_fxp::{Accumulator, Adder, Format, Overflow, OverflowAt, Rounding, Tensor};
    use systoliq_keyed_random::Key;
    use systoliq_program::view::{Sliding, View, Windows};
    use systoliq_program::{Operand, Reading, Reference};

    /// The accumulator's width, how many bits it drops of each product, and its rules.
    type Rules = (u32, i32, Rounding, Overflow, OverflowAt, u32);

    /// Two operands of random codes, or of codes that all are `constant`.
    fn tensors(shape: GemmShape, formats: [Format; 2], constant: Option<i64>) -> [Tensor; 2] {
        let GemmShape { m, k, n } = shape;
        [(m, k), (k, n)]
            .into_iter()
            .zip(formats)
            .enumerate()
            .map(|(side, ((rows, cols), format))| {
                let key = Key::new(side as u64);
                let range = (format.max_raw() - format.min_raw() + 1) as u64;
                let code = |at| match constant {
                    Some(code) => code,
                    None => format.min_raw() + (u64::from(key.word(at)) % range) as i64,
                };
                let codes: Vec<i64> = (0..(rows * cols) as u64).map(code).collect();
                Tensor::from_codes(format, rows, cols, &codes)
            })
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    fn task<'a>(tensors: &'a [Tensor; 2], rules: Rules) -> GemmTask<'a> {
        let [a, b] = tensors.each_ref().map(|tensor| Operand::new(tensor, false));
        GemmTask::new(a, b, task_adder(tensors, rules), None)
    }

    fn task_adder([a, b]: &[Tensor; 2], rules: Rules) -> Adder {
        let (bits, shift, rounding, overflow, overflow_at, chunk) = rules;
        let frac = a.format().frac() + b.format().frac();
        let accumulator = Accumulator::new(bits, Some(frac - shift), rounding, overflow).unwrap();
        let accumulator = accumulator.limited_at(overflow_at);
        let accumulator =
            NonZero::new(chunk).map_or(accumulator, |chunk| accumulator.in_chunks(chunk));
        Adder::new(&accumulator, frac, Key::new(7))
    }

    fn signed(bits: u32) -> Format {
        Format::new(bits, 0, true).unwrap()
    }

    #[test]
    fn every_kernel_gives_the_sums_of_the_reference() {
        let rules = [
            (32, 0, Rounding::Floor, Overflow::Wrap, OverflowAt::Each, 0),
            (64, -3, Rounding::Floor, Overflow::Saturate, OverflowAt::Each, 5),
            (13, -1, Rounding::Floor, Overflow::Wrap, OverflowAt::Each, 7),
            (14, -1, Rounding::Floor, Overflow::SaturateSymmetric, OverflowAt::End, 0),
        ];
        // Odd sizes around those of blocks, and k around those of runs that fit 32 bits.
        let shapes =
            [(1, 1, 1), (5, 7, 9), (13, 33, 31), (12, 255, 32), (25, 300, 65), (3, 1025, 40)];
        for level in KernelLevel::available() {
            for (m, k, n) in shapes {
                for formats in [[8, 8], [16, 16], [12, 12], [16, 2]].map(|bits| bits.map(signed)) {
                    for constant in [None, Some(formats.map(|format| format.min_raw())[1])] {
                        let tensors = tensors(GemmShape { m, k, n }, formats, constant);
                        for rules in rules {
                            let task = task(&tensors, rules);
                            assert!(
                                matches!(method(&task), Method::Dot(_)),
                                "{formats:?} {rules:?}"
                            );
                            let case =
                                format!("{level:?}: {m} x {k} x {n}, {formats:?}, {rules:?}");
                            assert!(Fast::at(level).gemm(&task) == Reference.gemm(&task), "{case}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn codes_of_16_bits_without_a_sign_are_summed_by_integer_gemm() {
        let unsigned = |bits| Format::new(bits, 0, false).unwrap();
        let formats = [
            [unsigned(16), signed(16)],
            [signed(16), unsigned(16)],
            [unsigned(16), unsigned(16)],
            [unsigned(16), signed(2)],
            [signed(8), unsigned(16)],
            [unsigned(8), unsigned(16)],
        ];
        let rules = [
            (48, 0, Rounding::Floor, Overflow::Wrap, OverflowAt::Each, 0),
            (30, -1, Rounding::Floor, Overflow::Wrap, OverflowAt::Each, 3),
            (33, 0, Rounding::Floor, Overflow::Saturate, OverflowAt::End, 0),
        ];
        for (m, k, n) in [(1, 1, 1), (5, 7, 9), (13, 33, 31), (25, 513, 65), (3, 2051, 40)] {
            let shape = GemmShape { m, k, n };
            for formats in formats {
                for constant in [None, Some(formats.map(|format| format.max_raw()))] {
                    let mut tensors = tensors(shape, formats, None);
                    for (tensor, code) in tensors.iter_mut().zip(constant.into_iter().flatten()) {
                        let (rows, cols) = (tensor.rows(), tensor.cols());
                        let codes = vec![code; rows * cols];
                        *tensor = Tensor::from_codes(tensor.format(), rows, cols, &codes);
                    }
                    for rules in rules {
                        let case = format!("{shape:?}, {formats:?}, {constant:?}, {rules:?}");
                        let task = task(&tensors, rules);
                        assert!(matches!(method(&task), Method::Dot(_)), "{case}");
                        let expected = Reference.gemm(&task);
                        for level in KernelLevel::available() {
                            assert!(Fast::at(level).gemm(&task) == expected, "{level:?}: {case}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn products_with_windows_are_those_of_the_reference() {
        let sliding = |[positions, taps, step, tap_step, spread, extent]: [usize; 6], pad| {
            Sliding { positions, taps, step, tap_step, spread, pad, extent }
        };
        let axes = [
            sliding([5, 3, 1, 1, 1, 5], 1),
            sliding([3, 2, 2, 3, 1, 6], 2),
            sliding([2, 3, 2, 1, 1, 5], 0),
            sliding([7, 3, 1, 1, 2, 4], 2),
            sliding([4, 2, 1, 2, 1, 2], -1),
            sliding([1, 9, 1, 1, 1, 3], 3),
        ];
        let rules = (32, 0, Rounding::Floor, Overflow::Wrap, OverflowAt::Each, 0);
        for (down, along) in
            axes.iter().flat_map(|down| axes.iter().map(move |along| (down, along)))
        {
            let windows = Windows { down: *down, along: *along };
            for channels in [3, 4, 8] {
                for (bits, is_signed) in [(8, true), (8, false), (16, true)] {
                    let format = Format::new(bits, 0, is_signed).unwrap();
                    let k = windows.taps() * channels;
                    let image = GemmShape { m: 3 * windows.pixels(), k: channels, n: k };
                    let [image, _] = tensors(image, [format; 2], None);
                    let [_, kernel] = tensors(GemmShape { m: 1, k, n: 5 }, [signed(8); 2], None);
                    let pair = [image, kernel];
                    let reading = Reading { view: View::Windows(windows), transposed: false };
                    let task = GemmTask::new(
                        Operand::read(&pair[0], reading),
                        Operand::new(&pair[1], false),
                        task_adder(&pair, rules),
                        None,
                    );
                    let expected = Reference.gemm(&task);
                    for level in KernelLevel::available() {
                        let case = format!("{level:?}: {windows:?}, {channels} channels, {format}");
                        assert!(Fast::at(level).gemm(&task) == expected, "{case}");
                    }
                }
            }
        }
    }

    #[test]
    fn sums_that_saturate_at_every_addition_are_those_of_the_reference() {
        let unsigned = |bits| Format::new(bits, 0, false).unwrap();
        let formats = [
            [signed(8), signed(8)],
            [unsigned(8), signed(8)],
            [signed(8), unsigned(8)],
            [signed(5), signed(12)],
        ];
        let (mut some, mut all) = (0, 0);
        for (m, k, n) in [(1, 1, 1), (13, 70, 33), (5, 300, 17), (26, 129, 40)] {
            let shape = GemmShape { m, k, n };
            let bias = Tensor::from_codes(signed(16), 1, n, &vec![-1234; n]);
            for formats in formats {
                for constant in [None, Some(formats.map(|format| format.min_raw().min(-1) + 2)[0])]
                {
                    let constant = constant.filter(|&code| formats[1].min_raw() <= code);
                    let tensors = tensors(shape, formats, constant);
                    for bits in 14..=24 {
                        let rules =
                            (bits, 0, Rounding::Floor, Overflow::Saturate, OverflowAt::Each, 0);
                        for bias in [None, Some(&bias)] {
                            let task = GemmTask { bias, ..task(&tensors, rules) };
                            let case = format!("{shape:?}, {formats:?}, {constant:?}, {bits} bits");
                            let expected = Reference.gemm(&task);
                            some += usize::from(expected.overflowed > 0);
                            all += usize::from(expected.overflowed == (m * n) as u64);
                            for level in KernelLevel::available() {
                                assert!(
                                    Fast::at(level).gemm(&task) == expected,
                                    "{level:?}: {case}"
                                );
                            }
                        }
                    }
                }
            }
        }
        assert!(some > 100 && all > 10, "{some} products overflow, {all} of them in all sums");
    }

    fn method(task: &GemmTask<'_>) -> Method {
        let [a, b] = [&task.a, &task.b].map(CodeRange::of_codes);
        Method::of(task, a, b, &Bias::new(task, &ProductMemory::default()).unwrap())
    }

    #[test]
    fn every_method_is_chosen_where_it_is_the_cheapest_exact_one() {
        use Overflow::{Saturate, Wrap};
        use OverflowAt::{Each, End};
        use Rounding::{Floor, NearestEven};
        // All codes at the smallest of their format, K = 4: |products| = 2^(2 · bits − 2).
        for (bits, rules, expected) in [
            (8, (32, 0, Floor, Wrap, Each, 0), "Dot"),
            (8, (18, 0, Floor, Saturate, Each, 0), "Dot"),
            (8, (17, 0, Floor, Saturate, Each, 0), "Lanes32"),
            (8, (17, 0, Floor, Wrap, Each, 0), "Dot"),
            (8, (17, 1, NearestEven, Wrap, Each, 0), "Lanes64"),
            // Chunks, and when a sum is limited, matter only where it may overflow and saturates.
            (8, (18, 0, Floor, Saturate, Each, 3), "Dot"),
            (8, (17, 0, Floor, Saturate, Each, 3), "Lanes32"),
            (8, (17, 0, Floor, Wrap, Each, 3), "Dot"),
            (8, (15, 0, Floor, Saturate, End, 3), "Dot"),
            (8, (15, 1, NearestEven, Saturate, End, 3), "Lanes64"),
            (32, (40, 32, NearestEven, Saturate, End, 2), "Lanes128"),
            (32, (64, 127, NearestEven, Saturate, End, 2), "Adders"),
            (16, (48, 0, Floor, Saturate, Each, 0), "Dot"),
            (16, (32, 0, Floor, Saturate, Each, 0), "Lanes64"),
            (16, (34, 0, Floor, Saturate, Each, 0), "Dot"),
            (16, (64, -31, Floor, Wrap, Each, 0), "Lanes128"),
            (24, (64, 0, Floor, Wrap, Each, 0), "Lanes64"),
            (32, (64, 0, Floor, Wrap, Each, 0), "Lanes128"),
            (32, (64, 32, NearestEven, Saturate, Each, 0), "Lanes128"),
            (32, (64, -63, Floor, Saturate, Each, 0), "Adders"),
            (32, (64, 127, NearestEven, Saturate, Each, 0), "Adders"),
        ] {
            let shape = GemmShape { m: 2, k: 4, n: 3 };
            let format = signed(bits);
            let tensors = tensors(shape, [format; 2], Some(format.min_raw()));
            let task = task(&tensors, rules);
            let chosen = format!("{:?}", method(&task));
            assert!(chosen.starts_with(expected), "{bits} {rules:?}: {chosen} for {expected}");
            assert_eq!(Fast::default().gemm(&task), Reference.gemm(&task), "{bits} {rules:?}");
        }
    }
}
