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
use systoliq_program::gemm::{BlockLanes, GemmShape};
use systoliq_program::panels::{Side, Word, word_panels};

use super::streams::{Moving, PieceStreams, Staying, Streams};
use super::{GemmRun, sum_words};
use crate::Mapping;
use crate::mapping::{Axis, Pieces, Stationary};

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
    if plain && fits(32) {
        return match is_limited {
            false => toggles::<_, 32>(&run, task, Plain::<i32, false>::of(task)),
            true => toggles::<_, 32>(&run, task, Plain::<i32, true>::of(task)),
        };
    }
    if plain && fits(64) {
        return match is_limited {
            false => toggles::<_, 16>(&run, task, Plain::<i64, false>::of(task)),
            true => toggles::<_, 16>(&run, task, Plain::<i64, true>::of(task)),
        };
    }
    match BlockLanes::of(task).filter(|_| task.widths().total() <= u64::BITS) {
        Some(lanes) => toggles::<_, 16>(&run, task, Blocked::of(mapping, task, &lanes)),
        None => toggles::<_, 16>(&run, task, Other::of(task)),
    }
}

/// Whether a sum on its way is limited otherwise than to its low bits.
fn is_limited(accumulator: &Accumulator) -> bool {
    accumulator.overflow != Overflow::Wrap && accumulator.limits_each()
}

/// Whether lines of B, and not of A, are beside the rows of the array, whose columns have the others.
fn is_swapped(mapping: &Mapping) -> bool {
    mapping.stationary == Stationary::Input
}

/// Of sums that are made so, `N` columns side by side.
fn toggles<A: Add, const N: usize>(run: &GemmRun, task: &GemmTask<'_>, add: A) -> u64
where
    i64: AsPrimitive<A::Code>,
{
    let pieces = prefixes::<A, N>(run, task, add);
    let streams = Streams { run, pieces };
    if run.mapping.output_stays() {
        with_widest_vectors(Staying(streams))
    } else {
        with_widest_vectors(Moving(streams))
    }
}

fn prefixes<A: Add, const N: usize>(
    run: &GemmRun,
    task: &GemmTask<'_>,
    add: A,
) -> Vec<PieceStreams<A::Register>>
where
    i64: AsPrimitive<A::Code>,
{
    let mapping = &run.mapping;
    let swapped = is_swapped(mapping);
    let (left, top) = if swapped { (&task.b, &task.a) } else { (&task.a, &task.b) };
    let (left_side, top_side) = if swapped { (Side::B, Side::A) } else { (Side::A, Side::B) };
    let GemmShape { k, n, .. } = mapping.shape;
    let left = word_panels(left, left_side, 1, 0);
    let top = word_panels(top, top_side, N, 0);
    let prefixes = |lines: Range<usize>| {
        with_widest_vectors(Prefixes::<A, N> {
            add,
            left: &left[lines.start * k..lines.end * k],
            top: &top,
            k,
            cols: mapping.extents().cols,
            pieces: mapping.pieces(Axis::Cols),
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
trait Add: Copy {
    /// What operands are kept in.
    type Code: Word;
    /// A sum on its way.
    type State: Copy + Default;
    /// What its registers hold.
    type Register: PrimInt;

    /// Adds product `k` to the sum of output `index`.
    fn add(
        self,
        sum: Self::State,
        codes: [Self::Code; 2],
        index: impl FnOnce() -> usize,
        k: usize,
    ) -> Self::State;

    /// Adds what ends with product `k` to neighbouring sums, if that is not done with each product.
    #[inline(always)]
    fn end_run<const N: usize>(self, _sums: &mut [Self::State; N], _from: SumPlace, _k: usize) {}

    /// What the registers hold.
    fn register(self, sum: Self::State) -> Self::Register;
}

/// The ends of an accumulator, or of a word that holds all sums, if they are not limited on their way.
fn ends<W: Word>(accumulator: &Accumulator) -> (W, W) {
    let (low, high) = match is_limited(accumulator) {
        true => (W::from(accumulator.ends().0), W::from(accumulator.ends().1)),
        false => (None, None),
    };
    (low.unwrap_or(W::min_value()), high.unwrap_or(W::max_value()))
}

/// The lowest `bits` bits, and all if there are no more.
fn low_bits<W: Word>(bits: u32) -> W {
    (!W::zero()).unsigned_shr(W::BITS - bits.min(W::BITS))
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

impl<W: Word, const LIMITED: bool> Plain<W, LIMITED> {
    fn of(task: &GemmTask<'_>) -> Self {
        let (low, high) = ends(&task.adder.accumulator);
        Self { low, high, mask: low_bits(task.widths().sum) }
    }
}

impl<W: Word + Default, const LIMITED: bool> Add for Plain<W, LIMITED> {
    type Code = W;
    type State = W;
    type Register = W;

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

/// Sums of blocks that are aligned and added in 64-bit lanes. A word holds both registers: that of the block is above that
/// of the sum.
#[derive(Clone, Copy)]
struct Blocked<'t> {
    lanes: &'t BlockLanes,
    /// Of which operand neighbouring sums have different lines, and how many it has.
    side: Side,
    cols: usize,
    low: i64,
    high: i64,
    widths: Widths,
    /// The bit of the sum of a block that tells its sign, if it has one.
    sign: i64,
}

impl<'t> Blocked<'t> {
    fn of(mapping: &Mapping, task: &GemmTask<'_>, lanes: &'t BlockLanes) -> Self {
        let (low, high) = ends(&task.adder.accumulator);
        let side = if is_swapped(mapping) { Side::A } else { Side::B };
        let (cols, widths) = (mapping.extents().cols, task.widths());
        let is_signed = [task.a, task.b].iter().any(|of| of.tensor.format().is_signed());
        let sign = if is_signed { 1 << (widths.chunk - 1) } else { 0 };
        Self { lanes, side, cols, low, high, widths, sign }
    }
}

impl Add for Blocked<'_> {
    type Code = i32;
    type State = i64;
    type Register = i64;

    #[inline(always)]
    fn add(self, sum: i64, [left, top]: [i32; 2], _: impl FnOnce() -> usize, _: usize) -> i64 {
        let product = i64::from(left).wrapping_mul(i64::from(top));
        sum.wrapping_add(product.wrapping_shl(self.widths.sum))
    }

    #[inline(always)]
    fn end_run<const N: usize>(
        self,
        sums: &mut [i64; N],
        SumPlace { line, col }: SumPlace,
        k: usize,
    ) {
        let Some(block) = self.lanes.ending_with(k) else { return };
        let cols = col..self.cols.min(col + N);
        let Self { low, high, widths, sign, .. } = self;
        let [sum_bits, block_bits] = [widths.sum, widths.chunk].map(low_bits::<i64>);
        let blocks = sums.map(|sum| (((sum >> widths.sum) & block_bits) ^ sign).wrapping_sub(sign));
        let beside = i64::BITS - widths.sum;
        let sums = &mut sums[..cols.len()];
        let lanes = self.lanes.lanes(block, self.side, cols.clone());
        lanes.align(line, &blocks[..cols.len()], sums.iter_mut(), |sum, aligned| {
            let limited = ((*sum << beside) >> beside).wrapping_add(aligned).max(low).min(high);
            *sum = limited & sum_bits;
        });
    }

    #[inline(always)]
    fn register(self, sum: i64) -> i64 {
        sum & low_bits::<i64>(self.widths.total())
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

impl<'t> Other<'t> {
    fn of(task: &'t GemmTask<'t>) -> Self {
        let GemmShape { m, n, .. } = task.shape();
        Self { task, widths: task.widths(), last: (m * n).saturating_sub(1) }
    }
}

impl Add for Other<'_> {
    type Code = i64;
    type State = Sum;
    type Register = u128;

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
struct Prefixes<'a, A: Add, const N: usize> {
    add: A,
    left: &'a [A::Code],
    top: &'a [A::Code],
    k: usize,
    cols: usize,
    /// Those of the columns.
    pieces: Pieces,
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

impl<A: Add, const N: usize> VectorWork for Prefixes<'_, A, N> {
    type Output = PieceStreams<A::Register>;

    #[inline(always)]
    fn run(self) -> PieceStreams<A::Register> {
        let lines = self.left.len() / self.k;
        let rows = if self.along_k { lines } else { self.k };
        let empty = || vec![A::Register::zero(); rows * self.cols];
        let within = vec![0; rows * self.pieces.count()];
        let mut streams = PieceStreams { first: empty(), last: empty(), within };
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

impl<A: Add, const N: usize> Prefixes<'_, A, N> {
    /// The next prefixes of neighbouring sums.
    #[inline(always)]
    fn next(
        &self,
        sums: &[A::State; N],
        (left, top): (A::Code, &[A::Code; N]),
        from: SumPlace,
        k: usize,
    ) -> [A::State; N] {
        let line = self.first_line + from.line;
        let mut next = *sums;
        for lane in 0..N {
            let index = || line * self.strides.0 + (from.col + lane) * self.strides.1;
            next[lane] = self.add.add(sums[lane], [left, top[lane]], index, k);
        }
        self.add.end_run(&mut next, SumPlace { line, ..from }, k);
        next
    }

    /// Counts bits that flip as registers take other prefixes.
    #[inline(always)]
    fn count(&self, within: &mut [u32; N], before: &[A::State; N], after: &[A::State; N]) {
        for lane in 0..N {
            let flips = self.add.register(before[lane]) ^ self.add.register(after[lane]);
            // A check would forbid vectors.
            within[lane] = within[lane].wrapping_add(flips.count_ones());
        }
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
        let mut sums = self.next(&[A::State::default(); N], (left[0], &top[0]), from, 0);
        for (first, sum) in streams.first[lanes.clone()].iter_mut().zip(sums) {
            *first = self.add.register(sum);
        }
        let mut k = 1;
        while k < left.len() {
            let steps = k..left.len().min(k + STEPS);
            let mut within = [0u32; N];
            for (&left, top) in left[steps.clone()].iter().zip(&top[steps.clone()]) {
                let next = self.next(&sums, (left, top), from, k);
                self.count(&mut within, &sums, &next);
                sums = next;
                k += 1;
            }
            self.gather(within, (from.line, from.col), streams);
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
                    sums = self.next(&sums, (left, top), SumPlace { line, col }, first + at);
                    self.count(&mut held.within, &held.sums, &sums);
                    held.sums = sums;
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
            // What a register held before the first line is not of this stream.
            if line > 0 {
                self.gather(within, (k, col), streams);
            }
            for lane in 0..N.min(self.cols - col) {
                streams.last[place + lane] = self.add.register(held.sums[lane]);
                if line == 0 {
                    streams.first[place + lane] = streams.last[place + lane];
                }
            }
        }
    }

    /// Adds toggles of neighbouring columns of a row of places to those of their pieces.
    #[inline(always)]
    fn gather(
        &self,
        within: [u32; N],
        (row, col): (usize, usize),
        streams: &mut PieceStreams<A::Register>,
    ) {
        let Pieces { side, .. } = self.pieces;
        let of_row = &mut streams.within[row * self.pieces.count()..];
        let (mut piece, mut left) = (col / side, side - col % side);
        for &within in &within[..N.min(self.cols - col)] {
            of_row[piece] += u64::from(within);
            left -= 1;
            if left == 0 {
                (piece, left) = (piece + 1, side);
            }
        }
    }
}
