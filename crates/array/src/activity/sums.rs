//! Toggles of the registers that hold sums.
//!
//! The prefixes of a sum do not depend on how the GEMM is cut into folds: after product k the sum of
//! an output is what it is. So a register at a place of the rows' and the columns' axis sees a
//! stream of prefixes that can be computed beforehand. Where outputs stay, it is all prefixes of one
//! sum; where sums move, it is the prefix after one k of one output after the other. With chunks
//! or blocks a prefix is two codes: of the sum, and of the present one of them.

use std::ops::Range;

use num_traits::AsPrimitive;
use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::{Accumulator, Overflow, Sum};
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;

use super::{GemmRun, sum_words, word};
use crate::Mapping;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};

use crate::mapping::Stationary;
use crate::schedule::Fold;
use systoliq_program::panels::{Side, Word, word_panels};

/// Bits that flip in the registers of sums during one GEMM: in accumulators and, where outputs
/// stay, in the chains through which they leave.
///
/// Every prefix of every sum is computed, so this takes longer than the GEMM itself.
///
/// # Panics
///
/// If the cycles of the GEMM do not fit 64 bits.
pub fn accumulator_toggles(mapping: &Mapping, task: &GemmTask<'_>) -> u64 {
    let run = GemmRun::new(mapping);
    if run.folds.is_empty() {
        return 0;
    }
    let streams = Streams::new(&run, task);
    if mapping.output_stays() { staying(&run, &streams) } else { moving(&run, &streams) }
}

/// Bits that differ.
fn flips(before: u128, after: u128) -> u64 {
    (before ^ after).count_ones().into()
}

/// How many columns are summed side by side.
const LANES: usize = 16;

/// What each register sees in each piece of time, by its place along the rows' and the columns'
/// axis.
struct Streams<'r> {
    run: &'r GemmRun,
    pieces: Vec<Vec<Stream>>,
}

/// What one register sees of one fold.
#[derive(Clone, Copy, Default)]
struct Stream {
    first: u128,
    last: u128,
    /// Toggles from the first to the last.
    within: u64,
}

impl<'r> Streams<'r> {
    fn new(run: &'r GemmRun, task: &GemmTask<'_>) -> Self {
        let accumulator = &task.adder.accumulator;
        let product_bits = task.a.tensor.format().bits() + task.b.tensor.format().bits();
        let sum_bits = task.widths().sum.min(u64::BITS);
        // Below these, neither a product nor a sum of a limited value and a product leaves a word;
        // where nothing is limited but the low bits kept, they suffice.
        let fits = |bits: u32| match Plain::<i64>::is_limited(accumulator) {
            true => sum_bits <= bits - 2 && product_bits <= bits - 2,
            false => sum_bits <= bits,
        };
        let plain = task.adder.shift == 0 && task.adder.run().is_none();
        match () {
            _ if plain && fits(32) => Self::of::<Plain<i32>>(run, task),
            _ if plain && fits(64) => Self::of::<Plain<i64>>(run, task),
            _ => Self::of::<Other<'_>>(run, task),
        }
    }

    fn of<'t, A: Add<'t>>(run: &'r GemmRun, task: &'t GemmTask<'t>) -> Self
    where
        i64: AsPrimitive<A::Code>,
    {
        let mapping = &run.mapping;
        let swapped = mapping.stationary == Stationary::Input;
        let (left, top) = if swapped { (&task.b, &task.a) } else { (&task.a, &task.b) };
        let (left_side, top_side) = if swapped { (Side::B, Side::A) } else { (Side::A, Side::B) };
        let GemmShape { k, n, .. } = mapping.shape;
        let left = word_panels(left, left_side, 1, 0);
        let top = word_panels(top, top_side, LANES, 0);
        let prefixes = |lines: Range<usize>| {
            with_widest_vectors(Prefixes {
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
        let pieces = match mapping.output_stays() {
            true => vec![prefixes(0..mapping.shape.m)],
            false => run.pieces_of_time().map(prefixes).collect(),
        };
        Self { run, pieces }
    }

    fn at(&self, fold: &Fold, row: usize, col: usize) -> &Stream {
        let place = (fold.tile.row + row) * self.run.mapping.extents().cols + fold.tile.col + col;
        &self.pieces[self.run.piece_of(fold)][place]
    }
}

/// How a product is added to a sum.
trait Add<'t>: Copy {
    /// What operands are kept in.
    type Code: Word;
    /// A sum on its way.
    type State: Copy + Default;

    fn new(task: &'t GemmTask<'t>) -> Self;

    /// Adds product `k` to the sum of output `index`.
    fn add(
        self,
        sum: Self::State,
        codes: [Self::Code; 2],
        index: impl FnOnce() -> usize,
        k: usize,
    ) -> Self::State;

    /// Bits of the registers that differ between two sums.
    fn flips(self, before: Self::State, after: Self::State) -> u32;

    /// What the registers hold.
    fn code(self, sum: Self::State) -> u128;
}

/// Products that are not rounded, in words that hold all that may happen.
#[derive(Clone, Copy)]
struct Plain<W> {
    low: W,
    high: W,
    /// The width of the register, and its bits.
    bits: u32,
    mask: W,
}

impl<W> Plain<W> {
    /// Whether a sum on its way is limited otherwise than to its low bits.
    fn is_limited(accumulator: &Accumulator) -> bool {
        accumulator.overflow != Overflow::Wrap && accumulator.limits_each()
    }
}

impl<W: Word + Default> Add<'_> for Plain<W> {
    type Code = W;
    type State = W;

    fn new(task: &GemmTask<'_>) -> Self {
        let accumulator = &task.adder.accumulator;
        let (low, high) = match Self::is_limited(accumulator) {
            true => (W::from(accumulator.ends().0), W::from(accumulator.ends().1)),
            false => (None, None),
        };
        let bits = task.widths().sum.min(u64::BITS);
        Self {
            low: low.unwrap_or(W::min_value()),
            high: high.unwrap_or(W::max_value()),
            bits,
            // A register as wide as the word has a mask that is no positive word.
            mask: W::from(word(-1, bits)).unwrap_or(!W::zero()),
        }
    }

    #[inline(always)]
    fn add(self, sum: W, [left, top]: [W; 2], _: impl FnOnce() -> usize, _: usize) -> W {
        sum.wrapping_add(&left.wrapping_mul(&top)).max(self.low).min(self.high)
    }

    #[inline(always)]
    fn flips(self, before: W, after: W) -> u32 {
        ((before ^ after) & self.mask).count_ones()
    }

    fn code(self, sum: W) -> u128 {
        word(sum.as_(), self.bits).into()
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

    fn flips(self, before: Sum, after: Sum) -> u32 {
        (self.code(before) ^ self.code(after)).count_ones()
    }

    fn code(self, sum: Sum) -> u128 {
        sum_words(&sum, self.widths)
    }
}

/// All prefixes of all sums of `left[line][k] · top[panel][k][col]`.
struct Prefixes<'a, 't, A: Add<'t>> {
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

impl<'t, A: Add<'t>> VectorWork for Prefixes<'_, 't, A> {
    type Output = Vec<Stream>;

    #[inline(always)]
    fn run(self) -> Vec<Stream> {
        let lines = self.left.len() / self.k;
        let rows = if self.along_k { lines } else { self.k };
        let mut streams = vec![Stream::default(); rows * self.cols];
        let empty = Held { sums: [A::State::default(); LANES], within: [0; LANES] };
        let mut held = vec![empty; self.k];
        for col in (0..self.cols).step_by(LANES) {
            let top = self.top[col * self.k..].as_chunks().0;
            for (line, left) in self.left.chunks_exact(self.k).enumerate() {
                let from = SumPlace { line, col, is_last: line + 1 == lines };
                if self.along_k {
                    let streams = &mut streams[line * self.cols..][..self.cols];
                    self.along_k(left, top, from, streams);
                } else {
                    self.along_lines(left, top, from, &mut held, &mut streams);
                }
            }
        }
        streams
    }
}

/// What the registers of one k hold of the line before, and their toggles so far.
#[derive(Clone)]
struct Held<S> {
    sums: [S; LANES],
    within: [u64; LANES],
}

/// Some neighbouring sums.
#[derive(Clone, Copy)]
struct SumPlace {
    line: usize,
    /// The first column.
    col: usize,
    /// Whether no line follows.
    is_last: bool,
}

impl<'t, A: Add<'t>> Prefixes<'_, 't, A> {
    /// The next prefix of some neighbouring sums.
    #[inline(always)]
    fn next(
        &self,
        sums: &mut [A::State; LANES],
        (left, top): (A::Code, &[A::Code; LANES]),
        from: SumPlace,
        k: usize,
    ) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let index = || {
                (self.first_line + from.line) * self.strides.0 + (from.col + lane) * self.strides.1
            };
            *sum = self.add.add(*sum, [left, top[lane]], index, k);
        }
    }

    /// One sum per register.
    #[inline(always)]
    fn along_k(
        &self,
        left: &[A::Code],
        top: &[[A::Code; LANES]],
        from: SumPlace,
        streams: &mut [Stream],
    ) {
        let mut sums = [A::State::default(); LANES];
        self.next(&mut sums, (left[0], &top[0]), from, 0);
        let first = sums;
        let (mut within, mut total) = ([0u32; LANES], [0u64; LANES]);
        for (k, codes) in left.iter().copied().zip(top).enumerate().skip(1) {
            let before = sums;
            self.next(&mut sums, codes, from, k);
            for (lane, within) in within.iter_mut().enumerate() {
                let flips = self.add.flips(before[lane], sums[lane]);
                *within = within.wrapping_add(flips); // a check would forbid vectors
            }
            // 2²⁰ steps of at most 64 flips fit 32 bits.
            if k.is_multiple_of(1 << 20) || k + 1 == left.len() {
                let counted = std::mem::take(&mut within);
                total.iter_mut().zip(counted).for_each(|(sum, within)| *sum += u64::from(within));
            }
        }
        for (lane, stream) in streams[from.col..].iter_mut().take(LANES).enumerate() {
            *stream = Stream {
                first: self.add.code(first[lane]),
                last: self.add.code(sums[lane]),
                within: total[lane],
            };
        }
    }

    /// One k per register, and one line after the other.
    #[inline(always)]
    fn along_lines(
        &self,
        left: &[A::Code],
        top: &[[A::Code; LANES]],
        from: SumPlace,
        held: &mut [Held<A::State>],
        streams: &mut [Stream],
    ) {
        let mut sums = [A::State::default(); LANES];
        let steps = left.iter().copied().zip(top).enumerate();
        for ((k, codes), held) in steps.zip(&mut *held) {
            self.next(&mut sums, codes, from, k);
            for (lane, within) in held.within.iter_mut().enumerate() {
                let flips = self.add.flips(held.sums[lane], sums[lane]);
                *within = within.wrapping_add(flips.into());
            }
            held.sums = sums;
        }
        if from.line > 0 && !from.is_last {
            return;
        }
        for (held, streams) in held.iter_mut().zip(streams.chunks_exact_mut(self.cols)) {
            if from.line == 0 {
                held.within = [0; LANES];
            }
            for (lane, stream) in streams[from.col..].iter_mut().take(LANES).enumerate() {
                let code = self.add.code(held.sums[lane]);
                if from.line == 0 {
                    stream.first = code;
                }
                (stream.last, stream.within) = (code, held.within[lane]);
            }
        }
    }
}

/// Where outputs stay: a sum starts at 0 or over the sum before, and leaves down its column.
fn staying(run: &GemmRun, streams: &Streams<'_>) -> u64 {
    let Mapping { rows, cols, .. } = run.mapping;
    let shadow = run.mapping.has_shadow();
    let mut held = vec![0; rows * cols];
    let mut toggles = 0;
    for (at, fold) in run.folds.iter().enumerate() {
        let tile = fold.tile;
        let next = run.folds.get(at + 1);
        // A second register that is filled at the edge at which it would become empty.
        let refilled =
            next.filter(|next| shadow && next.start - fold.start == fold.span_rows as u64);
        for j in 0..tile.cols {
            let stream = |row: usize| streams.at(fold, row, j);
            for i in 0..tile.rows {
                let stream = stream(i);
                let before = std::mem::replace(&mut held[i * cols + j], stream.last);
                toggles += flips(if shadow { before } else { 0 }, stream.first) + stream.within;
                toggles += if shadow { flips(0, stream.last) } else { 0 };
            }
            let last = |row: usize| if row < tile.rows { stream(row).last } else { 0 };
            toggles += draining(fold, last);
            if let Some(next) = refilled.filter(|next| j < next.tile.cols) {
                for i in 0..next.tile.rows.min(fold.span_rows) {
                    let into = streams.at(next, i, j).last;
                    toggles += flips(last(0), into);
                    toggles -= flips(last(0), 0) + flips(0, into);
                }
            }
        }
    }
    toggles
}

/// Toggles of a chain whose rows hold `last` as it begins to shift: row i takes what the rows above
/// it held, up to the first, and becomes empty.
fn draining(fold: &Fold, last: impl Fn(usize) -> u128) -> u64 {
    let rows = fold.span_rows;
    let moved = (1..rows).map(|row| (rows - row) as u64 * flips(last(row), last(row - 1)));
    rows as u64 * flips(last(0), 0) + moved.sum::<u64>()
}

/// Where sums move: in each register, one line after the other, 0 before and after a fold unless
/// another follows at once.
fn moving(run: &GemmRun, streams: &Streams<'_>) -> u64 {
    // Rows of the grid that no operand fills pass on what the last one has made.
    let stream = |fold: &Fold, i: usize, j: usize| {
        let passes = i < fold.span_rows && j < fold.tile.cols;
        passes.then(|| streams.at(fold, i.min(fold.tile.rows - 1), j))
    };
    let mut toggles = 0;
    for (at, fold) in run.folds.iter().enumerate() {
        let before = run.follows(at).then(|| &run.folds[at - 1]);
        let after = run.follows(at + 1).then(|| &run.folds[at + 1]);
        for i in 0..fold.span_rows {
            for j in 0..fold.tile.cols {
                let Some(Stream { first, last, within }) = stream(fold, i, j) else { continue };
                let held = before.and_then(|fold| stream(fold, i, j)).map_or(0, |held| held.last);
                toggles += flips(held, *first) + within;
                let replaced = after.is_some_and(|fold| stream(fold, i, j).is_some());
                // The last register may not become empty before the GEMM is over.
                let unseen = fold.start + (fold.tile.steps + i + j) as u64 >= run.end;
                if !(replaced || unseen) {
                    toggles += flips(*last, 0);
                }
            }
        }
    }
    toggles
}
