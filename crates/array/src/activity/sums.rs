//! Toggles of the registers that hold sums.
//!
//! The prefixes of a sum do not depend on how the GEMM is cut into folds: after product k the sum of
//! an output is what it is. So a register at a place of the rows' and the columns' axis sees a
//! stream of prefixes that can be computed beforehand. Where outputs stay, it is all prefixes of one
//! sum; where sums move, it is the prefix after one k of one output after the other. With chunks
//! or blocks a prefix is two codes: of the sum, and of the present one of them.

use std::ops::Range;

use num_traits::{AsPrimitive, PrimInt, Zero};
use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Accumulator, Overflow, Sum};
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::{Side, Word, word_panels};

use super::streams::{Moving, PieceStreams, Staying, Streams};
use super::{GemmRun, sum_words};
use crate::Mapping;
use crate::mapping::Stationary;

/// Bits that flip in the registers of sums during one GEMM: in accumulators and, where outputs
/// stay, in the chains through which they leave.
///
/// Every prefix of every sum is computed, so this takes longer than the GEMM itself.
///
/// # Panics
///
/// If the cycles of the GEMM do not fit 64 bits.
pub fn accumulator_toggles(mapping: &Mapping, task: &GemmTask<'_>) -> u64 {
    let Some(run) = GemmRun::new(mapping) else { return 0 };
    let accumulator = &task.adder.accumulator;
    let product_bits = task.a.tensor.format().bits() + task.b.tensor.format().bits();
    let sum_bits = task.widths().sum.min(u64::BITS);
    let is_limited = is_limited(accumulator);
    // Below these, neither a product nor a sum of a limited value and a product leaves a word;
    // where nothing is limited but the low bits kept, they suffice.
    let fits = |bits: u32| match is_limited {
        true => sum_bits <= bits - 2 && product_bits <= bits - 2,
        false => sum_bits <= bits,
    };
    let plain = task.adder.shift == 0 && task.adder.run().is_none();
    match is_limited {
        false if plain && fits(32) => toggles::<Plain<i32, false>, 32>(&run, task),
        true if plain && fits(32) => toggles::<Plain<i32, true>, 32>(&run, task),
        false if plain && fits(64) => toggles::<Plain<i64, false>, 16>(&run, task),
        true if plain && fits(64) => toggles::<Plain<i64, true>, 16>(&run, task),
        _ => toggles::<Other<'_>, 16>(&run, task),
    }
}

/// Whether a sum on its way is limited otherwise than to its low bits.
fn is_limited(accumulator: &Accumulator) -> bool {
    accumulator.overflow != Overflow::Wrap && accumulator.limits_each()
}

/// Of sums that are made so, `N` columns side by side.
fn toggles<'t, A: Add<'t>, const N: usize>(run: &GemmRun, task: &'t GemmTask<'t>) -> u64
where
    i64: AsPrimitive<A::Code>,
{
    let pieces = prefixes::<A, N>(run, task);
    let streams = Streams { run, pieces };
    if run.mapping.output_stays() {
        with_widest_vectors(Staying(streams))
    } else {
        with_widest_vectors(Moving(streams))
    }
}

fn prefixes<'t, A: Add<'t>, const N: usize>(
    run: &GemmRun,
    task: &'t GemmTask<'t>,
) -> Vec<PieceStreams<A::Register>>
where
    i64: AsPrimitive<A::Code>,
{
    let mapping = &run.mapping;
    let swapped = mapping.stationary == Stationary::Input;
    let (left, top) = if swapped { (&task.b, &task.a) } else { (&task.a, &task.b) };
    let (left_side, top_side) = if swapped { (Side::B, Side::A) } else { (Side::A, Side::B) };
    let GemmShape { k, n, .. } = mapping.shape;
    let left = word_panels(left, left_side, 1, 0);
    let top = word_panels(top, top_side, N, 0);
    let prefixes = |lines: Range<usize>| {
        with_widest_vectors(Prefixes::<A, N> {
            add: A::new(task),
            left: &left[lines.start * k..lines.end * k],
            top: &top,
            k,
            cols: mapping.extents().cols,
            along_k: mapping.output_stays(),
            // The place in C of a sum of one line and one column.
            strides: if swapped { (1, n) } else { (n, 1) },
            first_line: lines.start,
        })
    };
    match mapping.output_stays() {
        true => vec![prefixes(0..mapping.shape.m)],
        false => run.pieces_of_time().map(prefixes).collect(),
    }
}

/// How a product is added to a sum.
trait Add<'t>: Copy {
    /// What operands are kept in.
    type Code: Word;
    /// A sum on its way.
    type State: Copy + Default;
    /// What its registers hold.
    type Register: PrimInt;

    fn new(task: &'t GemmTask<'t>) -> Self;

    /// Adds product `k` to the sum of output `index`.
    fn add(
        self,
        sum: Self::State,
        codes: [Self::Code; 2],
        index: impl FnOnce() -> usize,
        k: usize,
    ) -> Self::State;

    /// What the registers hold.
    fn register(self, sum: Self::State) -> Self::Register;
}

/// Products that are not rounded, in words that hold all that may happen; sums are limited on their way,
/// or their low bits kept.
#[derive(Clone, Copy)]
struct Plain<W, const LIMITED: bool> {
    low: W,
    high: W,
    /// The bits of the register.
    mask: W,
}

impl<W: Word + Default, const LIMITED: bool> Add<'_> for Plain<W, LIMITED> {
    type Code = W;
    type State = W;
    type Register = W;

    fn new(task: &GemmTask<'_>) -> Self {
        let accumulator = &task.adder.accumulator;
        let (low, high) = match LIMITED {
            true => (W::from(accumulator.ends().0), W::from(accumulator.ends().1)),
            false => (None, None),
        };
        Self {
            low: low.unwrap_or(W::min_value()),
            high: high.unwrap_or(W::max_value()),
            mask: (!W::zero()).unsigned_shr(W::BITS - task.widths().sum.min(W::BITS)),
        }
    }

    #[inline(always)]
    fn add(self, sum: W, [left, top]: [W; 2], _: impl FnOnce() -> usize, _: usize) -> W {
        let sum = sum.wrapping_add(&left.wrapping_mul(&top));
        if LIMITED { sum.max(self.low).min(self.high) } else { sum }
    }

    #[inline(always)]
    fn register(self, sum: W) -> W {
        sum & self.mask
    }
}

/// Everything else, through the adder itself.
#[derive(Clone, Copy)]
struct Other<'t> {
    task: &'t GemmTask<'t>,
    widths: Widths,
    /// The last output.
    last: usize,
}

impl<'t> Add<'t> for Other<'t> {
    type Code = i64;
    type State = Sum;
    type Register = u128;

    fn new(task: &'t GemmTask<'t>) -> Self {
        let GemmShape { m, n, .. } = task.shape();
        Self { task, widths: task.widths(), last: (m * n).saturating_sub(1) }
    }

    fn add(
        self,
        mut sum: Sum,
        [left, top]: [i64; 2],
        index: impl FnOnce() -> usize,
        k: usize,
    ) -> Sum {
        let product = i128::from(left) * i128::from(top);
        // Lanes beside the last column stand for no output.
        self.task.add_product(&mut sum, product, index().min(self.last), k);
        sum
    }

    fn register(self, sum: Sum) -> u128 {
        sum_words(&sum, self.widths)
    }
}

/// All prefixes of all sums of `left[line][k] · top[panel][k][col]`.
struct Prefixes<'a, 't, A: Add<'t>, const N: usize> {
    add: A,
    left: &'a [A::Code],
    top: &'a [A::Code],
    k: usize,
    cols: usize,
    /// Whether a register sees all prefixes of a sum, and not one of each line.
    along_k: bool,
    /// How far apart in C the sums of neighbouring lines and columns are.
    strides: (usize, usize),
    /// The number of the first line.
    first_line: usize,
}

/// As many steps of at most 128 flips fit 32 bits.
const STEPS: usize = 1 << 24;

/// How many k are gone through before it is the next line's turn, where registers see one k each.
const K_AT_ONCE: usize = 64;

impl<'t, A: Add<'t>, const N: usize> VectorWork for Prefixes<'_, 't, A, N> {
    type Output = PieceStreams<A::Register>;

    #[inline(always)]
    fn run(self) -> PieceStreams<A::Register> {
        let lines = self.left.len() / self.k;
        let places = if self.along_k { lines } else { self.k } * self.cols;
        let empty = || vec![A::Register::zero(); places];
        let mut streams = PieceStreams { first: empty(), last: empty(), within: vec![0; places] };
        for col in (0..self.cols).step_by(N) {
            let top = self.top[col * self.k..].as_chunks().0;
            if self.along_k {
                for (line, left) in self.left.chunks_exact(self.k).enumerate() {
                    self.along_k(left, top, SumPlace { line, col }, &mut streams);
                }
            } else {
                self.along_lines(top, col, &mut streams);
            }
        }
        streams
    }
}

/// What the registers of one k hold of the line before, and their toggles so far.
#[derive(Clone)]
struct Held<S, const N: usize> {
    sums: [S; N],
    within: [u32; N],
}

/// Some neighbouring sums.
#[derive(Clone, Copy)]
struct SumPlace {
    line: usize,
    /// The first column.
    col: usize,
}

impl<'t, A: Add<'t>, const N: usize> Prefixes<'_, 't, A, N> {
    /// The next prefix of one of some neighbouring sums.
    #[inline(always)]
    fn next(
        &self,
        sum: A::State,
        codes: [A::Code; 2],
        (from, lane): (SumPlace, usize),
        k: usize,
    ) -> A::State {
        let index =
            || (self.first_line + from.line) * self.strides.0 + (from.col + lane) * self.strides.1;
        self.add.add(sum, codes, index, k)
    }

    /// Bits that flip as a register takes the next prefix.
    #[inline(always)]
    fn flips(&self, before: A::State, after: A::State) -> u32 {
        (self.add.register(before) ^ self.add.register(after)).count_ones()
    }

    /// One sum per register.
    #[inline(always)]
    fn along_k(
        &self,
        left: &[A::Code],
        top: &[[A::Code; N]],
        from: SumPlace,
        streams: &mut PieceStreams<A::Register>,
    ) {
        let place = from.line * self.cols + from.col;
        let lanes = place..place + N.min(self.cols - from.col);
        let mut sums = [A::State::default(); N];
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = self.next(*sum, [left[0], top[0][lane]], (from, lane), 0);
        }
        for (first, sum) in streams.first[lanes.clone()].iter_mut().zip(sums) {
            *first = self.add.register(sum);
        }
        let mut k = 1;
        while k < left.len() {
            let steps = k..left.len().min(k + STEPS);
            let mut within = [0u32; N];
            for (&left, top) in left[steps.clone()].iter().zip(&top[steps.clone()]) {
                for lane in 0..N {
                    let sum = self.next(sums[lane], [left, top[lane]], (from, lane), k);
                    // A check would forbid vectors.
                    within[lane] = self.flips(sums[lane], sum).wrapping_add(within[lane]);
                    sums[lane] = sum;
                }
                k += 1;
            }
            for (sum, within) in streams.within[lanes.clone()].iter_mut().zip(within) {
                *sum += u64::from(within);
            }
        }
        for (last, sum) in streams.last[lanes].iter_mut().zip(sums) {
            *last = self.add.register(sum);
        }
    }

    /// One k per register, and one line after the other, for some k at a time, whose registers stay in
    /// the nearest cache.
    #[inline(always)]
    fn along_lines(
        &self,
        top: &[[A::Code; N]],
        col: usize,
        streams: &mut PieceStreams<A::Register>,
    ) {
        let lines = self.left.len() / self.k;
        let mut begun = vec![[A::State::default(); N]; lines];
        for first in (0..self.k).step_by(K_AT_ONCE) {
            let top = &top[first..self.k.min(first + K_AT_ONCE)];
            let mut held = vec![Held { sums: [A::State::default(); N], within: [0; N] }; top.len()];
            for (line, begun) in begun.iter_mut().enumerate() {
                let left = &self.left[line * self.k + first..][..top.len()];
                let mut sums = *begun;
                for (at, ((&left, top), held)) in left.iter().zip(top).zip(&mut held).enumerate() {
                    for lane in 0..N {
                        let place = (SumPlace { line, col }, lane);
                        let sum = self.next(sums[lane], [left, top[lane]], place, first + at);
                        let flips = self.flips(held.sums[lane], sum);
                        held.within[lane] = held.within[lane].wrapping_add(flips);
                        held.sums[lane] = sum;
                        sums[lane] = sum;
                    }
                }
                *begun = sums;
                if line == 0 || line + 1 == lines || line.is_multiple_of(STEPS) {
                    self.keep(&mut held, (line, first, col), streams);
                }
            }
        }
    }

    /// Keeps what registers hold after a line, from one k and one column on.
    #[inline(always)]
    fn keep(
        &self,
        held: &mut [Held<A::State, N>],
        (line, first, col): (usize, usize, usize),
        streams: &mut PieceStreams<A::Register>,
    ) {
        for (k, held) in (first..).zip(held) {
            let place = k * self.cols + col;
            let within = std::mem::replace(&mut held.within, [0; N]);
            for (lane, within) in within.into_iter().enumerate().take(self.cols - col) {
                streams.last[place + lane] = self.add.register(held.sums[lane]);
                // What a register held before the first line is not of this stream.
                if line == 0 {
                    streams.first[place + lane] = streams.last[place + lane];
                } else {
                    streams.within[place + lane] += u64::from(within);
                }
            }
        }
    }
}
