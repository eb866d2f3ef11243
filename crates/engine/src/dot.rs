//! Exact sums of products by integer GEMM, limited once at the end.
//!
//! This is enough where no addition can overflow, where sums are limited at the end, and where they
//! wrap: wrapping at every addition or once at the end leaves the same low bits.

use std::ops::Range;

use num_traits::AsPrimitive;
use smallvec::{SmallVec, smallvec};
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_program::GemmTask;
use systoliq_program::panels::Word;

use crate::bias::Bias;
use crate::coded::Coded;
use crate::kernels::{SumTile, TILE_MAX, WordLines};
use crate::lent::Lent;
use crate::line_sums::{LineSums, Power, WordCodes};
use crate::plan::{DotBounds, Limit};
use crate::strips::{LineWords, Strips};
use crate::words::{Coding, lines_of};

/// The shortest run of pairs for which it pays to sum in 32 bits before widening.
const PAIRS_MIN: u128 = 32;

/// Pairs of codes of which the sum fits 32 bits.
const SUMMED: usize = 1 << 14;

/// A GEMM whose codes fit 16 bits and whose sums, bias included, stay below 2⁶².
pub(crate) struct Dot<'t> {
    coded: Coded<'t>,
    /// What of A is multiplied, and the zeros to append to the sums.
    parts: SmallVec<[(Coding, u32); 2]>,
    /// How many words are summed in 32 bits before they are widened.
    steps_at_once: usize,
    /// What the sums of each column start at.
    start: Lent<i64>,
    /// The same modulo 2³².
    narrow_start: Lent<i32>,
    /// What is added last, unless sums start at it.
    bias: Option<Bias>,
    /// The zeros to append to exact sums.
    zeros: u32,
    /// How a sum is brought into the accumulator's range.
    limit: Limit,
}

impl<'t> Dot<'t> {
    pub(crate) fn new(
        task: &GemmTask<'_>,
        bias: Bias,
        bounds: DotBounds,
        coded: Coded<'t>,
    ) -> Self {
        let whole = i32::MAX as u128 / (2 * bounds.product_magnitude).max(1);
        let pairs = coded.shape.k.div_ceil(2) as u128;
        // Codes of B are packed less 2^15 where they have no sign.
        let b_magnitude = if coded.lowered == 0 { bounds.b_magnitude } else { 1 << 15 };
        let [a_unsigned, _] = bounds.unsigned;
        let (parts, longest) = match coded.coding {
            // A run of full 16-bit products leaves 32 bits at once; those of either half do not.
            Coding::Whole if a_unsigned || !bounds.are_narrow() && whole < PAIRS_MIN.min(pairs) => {
                let longest = i32::MAX as u128 / (2 * b_magnitude * 255).max(1);
                (smallvec![(Coding::High, 8), (Coding::Low, 0)], longest)
            }
            Coding::Whole => (smallvec![(Coding::Whole, 0)], whole),
            // Four products of bytes have less than 18 bits.
            coding => (smallvec![(coding, 0)], 1 << 13),
        };
        let mut start = coded.memory.wide.zeros(coded.shape.n);
        let mut narrow_start = coded.memory.narrow.zeros(coded.shape.n);
        if coded.excess != 0 {
            let sums = &mut *narrow_start;
            coded.b_sums(Power::First).between(&(0..coded.blocks()), 0, sums);
            let excess = i64::from(coded.excess);
            let starts = start.iter_mut().zip(sums);
            starts.for_each(|(start, sum)| *start -= excess * i64::from(*sum));
        }
        // Where more zeros are to be appended, all sums are 0.
        let zeros = task.adder.shift.unsigned_abs().min(63);
        let bias = match bias {
            Bias::Columns(codes) if zeros == 0 => {
                start.iter_mut().zip(&*codes).for_each(|(start, code)| *start += code);
                None
            }
            bias => Some(bias),
        };
        let limit = match bounds.may_overflow {
            true => Limit::of(&task.adder.accumulator),
            false => Limit::Fits,
        };
        let steps_at_once = usize::try_from(longest).unwrap_or(usize::MAX).max(1);
        let starts = narrow_start.iter_mut().zip(&*start);
        starts.for_each(|(narrow, &start)| *narrow = start as i32);
        Self { coded, parts, steps_at_once, start, narrow_start, bias, zeros, limit }
    }

    /// Does to sums what is left to do, and says how many overflowed.
    fn end<S: Word>(&self, rows: Range<usize>, sums: &mut [S]) -> u64
    where
        i64: AsPrimitive<S>,
    {
        if self.bias.is_none() && self.limit == Limit::Fits {
            return 0;
        }
        with_widest_vectors(LeaveDot { dot: self, rows, sums })
    }
}

impl Strips<i32> for Dot<'_> {
    fn granularity(&self) -> usize {
        self.coded.kernel.rows()
    }

    fn strip(&self, rows: Range<usize>, words: &mut LineWords, sums: &mut [i32]) -> u64 {
        let a = self.coded.lines_or_windows(rows.clone(), words);
        self.coded.each_tile(a, rows.len(), |tile, [row, col]| {
            let tile = SumTile { start: Some(&self.narrow_start[col..]), ..*tile };
            self.coded.kernel.add(&tile, &mut sums[row * tile.stride + col..]);
        });
        self.end(rows, sums)
    }
}

impl Strips<i64> for Dot<'_> {
    fn granularity(&self) -> usize {
        self.coded.kernel.rows()
    }

    fn strip(&self, rows: Range<usize>, [words, _]: &mut LineWords, sums: &mut [i64]) -> u64 {
        for row in sums.chunks_exact_mut(self.coded.shape.n.max(1)) {
            row.copy_from_slice(&self.start);
        }
        for &(coding, zeros) in &self.parts {
            let a = lines_of(self.coded.a, rows.clone(), coding, words);
            self.raise(a, zeros, sums);
            self.coded.each_tile((a, self.coded.steps()), rows.len(), |tile, [row, col]| {
                self.add_wide(tile, zeros, &mut sums[row * tile.stride + col..]);
            });
        }
        self.end(rows, sums)
    }
}

impl Dot<'_> {
    /// Adds to the sums of rows, whose lines of A are at hand with zeros to append, what codes of B were lowered by.
    fn raise(&self, a: WordLines<'_>, zeros: u32, sums: &mut [i64]) {
        let (lowered, n, steps) = (self.coded.lowered, self.coded.shape.n, self.coded.steps());
        if lowered == 0 || n == 0 {
            return;
        }
        let (rows, blocks) = (sums.len() / n, steps.div_ceil(SUMMED));
        let memory = &self.coded.memory;
        let mut of_lines = LineSums::new(rows, blocks, &memory.narrow);
        let mut part = memory.narrow.zeros(rows);
        of_lines.add((0, rows), a, [steps, SUMMED], (WordCodes::Pair, Power::First));
        let mut codes = memory.wide.zeros(rows);
        for block in 0..blocks {
            of_lines.between(&(block..block + 1), 0, &mut part);
            codes.iter_mut().zip(&*part).for_each(|(sum, &part)| *sum += i64::from(part));
        }
        for (sums, &codes) in sums.chunks_exact_mut(n).zip(&*codes) {
            let more = (codes << zeros) * i64::from(lowered);
            sums.iter_mut().for_each(|sum| *sum = sum.wrapping_add(more));
        }
    }

    /// Adds the products of one tile to its sums in 64 bits, with zeros appended.
    fn add_wide(&self, tile: &SumTile<'_>, zeros: u32, sums: &mut [i64]) {
        let (rows, cols) = (tile.rows, tile.cols);
        let mut narrow = [0i32; TILE_MAX];
        let narrow = &mut narrow[..rows * cols];
        for from in (0..tile.steps).step_by(self.steps_at_once) {
            narrow.fill(0);
            let part = SumTile {
                a: WordLines { words: &tile.a.words[from * tile.a.step..], ..tile.a },
                b: &tile.b[from * self.coded.kernel.lanes()..],
                steps: self.steps_at_once.min(tile.steps - from),
                stride: cols,
                ..*tile
            };
            self.coded.kernel.add(&part, narrow);
            with_widest_vectors(AddWide { narrow, cols, zeros, sums, stride: tile.stride });
        }
    }
}

/// Adds the sums of a tile in 32 bits to those in 64, with zeros appended.
struct AddWide<'a> {
    narrow: &'a [i32],
    cols: usize,
    zeros: u32,
    sums: &'a mut [i64],
    stride: usize,
}

impl VectorWork for AddWide<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { narrow, cols, zeros, sums, stride } = self;
        for (sums, narrow) in sums.chunks_mut(stride).zip(narrow.chunks_exact(cols)) {
            for (sum, &narrow) in sums.iter_mut().zip(narrow) {
                *sum = sum.wrapping_add(i64::from(narrow).wrapping_shl(zeros));
            }
        }
    }
}

/// What is left to do to the sums of some rows.
struct LeaveDot<'a, S> {
    dot: &'a Dot<'a>,
    rows: Range<usize>,
    sums: &'a mut [S],
}

impl<S: Word> VectorWork for LeaveDot<'_, S>
where
    i64: AsPrimitive<S>,
{
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self { dot, rows, sums } = self;
        let n = dot.coded.shape.n;
        let scale = if dot.zeros < S::BITS { S::one() << dot.zeros as usize } else { S::zero() };
        let mut buffer = dot.coded.memory.wide.zeros(if dot.bias.is_some() { n } else { 0 });
        let mut overflowed = 0;
        for (i, sums) in rows.zip(sums.chunks_mut(n.max(1))) {
            if let Some(bias) = &dot.bias {
                for (sum, &bias) in sums.iter_mut().zip(bias.row(i, 0..n, &mut buffer)) {
                    *sum = sum.wrapping_mul(&scale).wrapping_add(&bias.as_());
                }
            }
            overflowed += dot.limit.apply(sums);
        }
        overflowed
    }
}
