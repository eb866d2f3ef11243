//! Exact sums of products by integer GEMM, limited once at the end.
//!
//! This is enough where no addition can overflow, where sums are limited at the end, and where they
//! wrap: wrapping at every addition or once at the end leaves the same low bits.

use std::ops::Range;
use std::sync::Arc;

use num_traits::AsPrimitive;
use systoliq_fxp::Codes;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::Word;
use systoliq_program::{GemmTask, Operand};

use crate::bias::Bias;
use crate::kernels::{CodeWord, Kernel, Kernels, SumTile, TILE_MAX, WordLines};
use crate::plan::{DotBounds, Limit};
use crate::strips::Strips;
use crate::words::{Coding, Panels, lines_of};

/// The shortest run of pairs for which it pays to sum in 32 bits before widening.
const PAIRS_MIN: u128 = 32;

/// A GEMM whose codes fit 16 bits and whose sums, bias included, stay below 2⁶².
pub(crate) struct Dot<'t> {
    shape: GemmShape,
    kernel: &'static dyn Kernel,
    a: &'t Operand<'t>,
    /// What of A is multiplied, and the zeros to append to the sums.
    parts: &'static [(Coding, u32)],
    b: Arc<Panels>,
    /// How many words are summed in 32 bits before they are widened.
    steps_at_once: usize,
    /// What the sums of each column start at.
    start: Vec<i64>,
    /// What is added last, unless sums start at it.
    bias: Option<Bias>,
    /// The zeros to append to exact sums.
    zeros: u32,
    /// How a sum is brought into the accumulator's range.
    limit: Limit,
}

/// Whether the codes of a tensor are bytes, and signed.
fn signed_bytes(operand: &Operand<'_>) -> Option<bool> {
    match operand.tensor.codes() {
        Codes::I8(_) => Some(true),
        Codes::U8(_) => Some(false),
        _ => None,
    }
}

impl<'t> Dot<'t> {
    /// Of a right operand that `pack` packs.
    pub(crate) fn new(
        task: &'t GemmTask<'_>,
        bias: Bias,
        bounds: DotBounds,
        kernels: Kernels,
        pack: &mut dyn FnMut(&dyn Kernel, Coding) -> Arc<Panels>,
    ) -> Self {
        let shape = task.shape();
        let bytes = signed_bytes(&task.a).zip(signed_bytes(&task.b)).zip(kernels.quads);
        let whole = i32::MAX as u128 / (2 * bounds.product_magnitude).max(1);
        let (kernel, parts, longest): (_, &[_], _) = match bytes {
            // One operand has to be signed and the other not.
            Some(((a, b), quads)) => {
                let kernel = if b { quads.signed_b } else { quads.signed_a };
                (
                    kernel,
                    if a == b { &[(Coding::Flipped, 0)] } else { &[(Coding::Byte, 0)] },
                    1 << 13,
                )
            }
            // A run of full 16-bit products leaves 32 bits at once; those of either half do not.
            None if !bounds.are_narrow() && whole < PAIRS_MIN.min(shape.k.div_ceil(2) as u128) => {
                let longest = i32::MAX as u128 / (2 * bounds.b_magnitude * 255);
                (kernels.pairs, &[(Coding::High, 8), (Coding::Low, 0)], longest)
            }
            None => (kernels.pairs, &[(Coding::Whole, 0)], whole),
        };
        let b = pack(kernel, if kernel.codes() == 4 { Coding::Byte } else { Coding::Whole });
        let mut start = vec![0; shape.n];
        if parts[0].0 == Coding::Flipped {
            let signed = bytes.is_some_and(|((a, _), _)| a);
            let excess = if signed { 128 } else { -128 };
            let sums = b.column_sums(signed);
            start.iter_mut().zip(sums).for_each(|(start, &sum)| *start -= excess * i64::from(sum));
        }
        // Where more zeros are to be appended, all sums are 0.
        let zeros = task.adder.shift.unsigned_abs().min(63);
        let bias = match bias {
            Bias::Columns(codes) if zeros == 0 => {
                start.iter_mut().zip(codes).for_each(|(start, code)| *start += code);
                None
            }
            bias => Some(bias),
        };
        Self {
            shape,
            kernel,
            a: &task.a,
            parts,
            b,
            steps_at_once: usize::try_from(longest).unwrap_or(usize::MAX).max(1),
            start,
            bias,
            zeros,
            limit: match bounds.may_overflow {
                true => Limit::of(&task.adder.accumulator),
                false => Limit::Fits,
            },
        }
    }

    /// Gives each row of sums what it starts at.
    fn begin<S: Word>(&self, sums: &mut [S])
    where
        i64: AsPrimitive<S>,
    {
        let n = self.shape.n;
        let (first, others) = sums.split_at_mut(n.min(sums.len()));
        first.iter_mut().zip(&self.start).for_each(|(sum, start)| *sum = start.as_());
        others.chunks_mut(n.max(1)).for_each(|row| row.copy_from_slice(first));
    }

    /// The tiles of a strip of so many rows whose lines of A are at hand, each with its first sum.
    fn tiles<'s>(
        &'s self,
        a: WordLines<'s>,
        rows: usize,
    ) -> impl Iterator<Item = (SumTile<'s>, usize)> + use<'s> {
        let n = self.shape.n;
        let (rows_max, cols_max) = (self.kernel.rows(), self.kernel.cols());
        let cols = (0..n).step_by(cols_max);
        let places =
            cols.flat_map(move |col| (0..rows).step_by(rows_max).map(move |row| (row, col)));
        places.map(move |(row, col)| {
            let tile = SumTile {
                a: a.from(row),
                b: self.b.at(col, 0),
                panel: self.b.panel(),
                steps: self.shape.k.div_ceil(self.kernel.codes()),
                rows: rows_max.min(rows - row),
                cols: cols_max.min(n - col),
                stride: n,
            };
            (tile, row * n + col)
        })
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
        self.kernel.rows()
    }

    fn strip(&self, rows: Range<usize>, words: &mut Vec<CodeWord>, sums: &mut [i32]) -> u64 {
        self.begin(sums);
        let &[(coding, 0)] = self.parts else { panic!("halves of A in 32 bits") };
        let a = lines_of(self.a, rows.clone(), coding, words);
        for (tile, first) in self.tiles(a, rows.len()) {
            self.kernel.add(&tile, &mut sums[first..]);
        }
        self.end(rows, sums)
    }
}

impl Strips<i64> for Dot<'_> {
    fn granularity(&self) -> usize {
        self.kernel.rows()
    }

    fn strip(&self, rows: Range<usize>, words: &mut Vec<CodeWord>, sums: &mut [i64]) -> u64 {
        self.begin(sums);
        for &(coding, zeros) in self.parts {
            let a = lines_of(self.a, rows.clone(), coding, words);
            for (tile, first) in self.tiles(a, rows.len()) {
                self.add_wide(&tile, zeros, &mut sums[first..]);
            }
        }
        self.end(rows, sums)
    }
}

impl Dot<'_> {
    /// Adds the products of one tile to its sums in 64 bits, with zeros appended.
    fn add_wide(&self, tile: &SumTile<'_>, zeros: u32, sums: &mut [i64]) {
        let (rows, cols) = (tile.rows, tile.cols);
        let mut narrow = [0i32; TILE_MAX];
        let narrow = &mut narrow[..rows * cols];
        for from in (0..tile.steps).step_by(self.steps_at_once) {
            narrow.fill(0);
            let part = SumTile {
                a: WordLines { words: &tile.a.words[from * tile.a.step..], ..tile.a },
                b: &tile.b[from * self.kernel.lanes()..],
                steps: self.steps_at_once.min(tile.steps - from),
                stride: cols,
                ..*tile
            };
            self.kernel.add(&part, narrow);
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
        let n = dot.shape.n;
        let scale = if dot.zeros < S::BITS { S::one() << dot.zeros as usize } else { S::zero() };
        let mut buffer = vec![0; if dot.bias.is_some() { n } else { 0 }];
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
