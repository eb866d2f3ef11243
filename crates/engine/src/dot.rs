//! Exact sums of products by integer GEMM, limited once at the end.
//!
//! This is enough where no addition can overflow, where sums are limited at the end, and where they
//! wrap: wrapping at every addition or once at the end leaves the same low bits.

use std::ops::Range;
use std::sync::Arc;

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::Side;

use crate::bias::Bias;
use crate::kernels::{BLOCK_MAX, Kernel, Pair};
use crate::pairs::{CodePart, Panels};
use crate::plan::{DotBounds, Limit};
use crate::strips::Strips;

/// The shortest run of pairs for which it pays to sum in 32 bits before widening.
const PAIRS_MIN: u128 = 32;

/// What the second cache of small machines surely holds beside other things.
const CACHE_BYTES: usize = 1 << 18;

/// A GEMM whose codes fit 16 bits and whose sums, bias included, stay below 2⁶².
pub(crate) struct Dot {
    kernel: Kernel,
    shape: GemmShape,
    /// Panels of A or of its parts, each with the zeros to append to its sums.
    a: Vec<(Arc<Panels>, u32)>,
    b: Arc<Panels>,
    /// How many pairs are summed in 32 bits before they are widened.
    pairs_at_once: usize,
    bias: Bias,
    /// The zeros to append to exact sums.
    zeros: u32,
    /// How a sum is brought into the accumulator's range.
    limit: Limit,
}

impl Dot {
    /// Of operands that `pack` packs.
    pub(crate) fn new(
        task: &GemmTask<'_>,
        bias: Bias,
        bounds: DotBounds,
        kernel: Kernel,
        pack: &mut dyn FnMut(Side, usize, CodePart) -> Arc<Panels>,
    ) -> Self {
        let shape = task.shape();
        let whole = pairs_max(bounds.product_magnitude);
        // A run of full 16-bit products leaves 32 bits at once; those of either half do not.
        let (parts, pairs): (&[_], _) = if whole >= PAIRS_MIN.min(shape.k.div_ceil(2) as u128) {
            (&[(CodePart::Whole, 0)], whole)
        } else {
            (&[(CodePart::High, 8), (CodePart::Low, 0)], pairs_max(bounds.b_magnitude * 255))
        };
        let a =
            parts.iter().map(|&(part, zeros)| (pack(Side::A, kernel.rows, part), zeros)).collect();
        Self {
            kernel,
            shape,
            a,
            b: pack(Side::B, kernel.cols, CodePart::Whole),
            pairs_at_once: usize::try_from(pairs).unwrap_or(usize::MAX).max(1),
            bias,
            // Where more zeros are to be appended, all sums are 0.
            zeros: task.adder.shift.unsigned_abs().min(63),
            limit: match bounds.may_overflow {
                true => Limit::of(&task.adder.accumulator),
                false => Limit::Fits,
            },
        }
    }
}

impl Strips for Dot {
    fn granularity(&self) -> usize {
        self.kernel.rows
    }

    fn strip(&self, rows: Range<usize>, values: &mut [i64]) -> u64 {
        with_widest_vectors(DotStrip { dot: self, rows, values })
    }
}

/// How many pairs of products of at most this magnitude sum within 32 bits.
fn pairs_max(product_magnitude: u128) -> u128 {
    i32::MAX as u128 / (2 * product_magnitude).max(1)
}

/// All blocks of some rows of C.
struct DotStrip<'a> {
    dot: &'a Dot,
    rows: Range<usize>,
    values: &'a mut [i64],
}

impl VectorWork for DotStrip<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self { dot, rows: strip_rows, values } = self;
        let GemmShape { k, n, .. } = dot.shape;
        let Kernel { rows, cols, .. } = dot.kernel;
        let mut overflowed = 0;
        let mut narrow = [0i32; BLOCK_MAX];
        let narrow = &mut narrow[..rows * cols];
        let mut wide = [0i64; BLOCK_MAX];
        let wide = &mut wide[..rows * cols];
        let fits = dot.a.len() == 1 && k.div_ceil(2) <= dot.pairs_at_once;
        for strip in (0..n).step_by(cols * dot.panels_at_once()) {
            let strip = strip..n.min(strip + cols * dot.panels_at_once());
            for row in strip_rows.clone().step_by(rows) {
                let lines = row..strip_rows.end.min(row + rows);
                let from = row - strip_rows.start;
                for col in strip.clone().step_by(cols) {
                    overflowed += if fits {
                        dot.kernel.run(dot.a[0].0.at(row), dot.b.at(col), narrow);
                        dot.leave(narrow, (lines.clone(), col), &mut values[from * n..])
                    } else {
                        dot.sum_wide(row, col, narrow, wide);
                        dot.leave(wide, (lines.clone(), col), &mut values[from * n..])
                    };
                }
            }
        }
        overflowed
    }
}

impl Dot {
    /// How many panels of B stay in the second cache while all panels of A pass by.
    fn panels_at_once(&self) -> usize {
        let panel_bytes = self.shape.k.div_ceil(2) * self.kernel.cols * size_of::<Pair>();
        (CACHE_BYTES / panel_bytes.max(1)).max(1)
    }

    /// Sums the products of one block in 64 bits.
    #[inline(always)]
    fn sum_wide(&self, row: usize, col: usize, narrow: &mut [i32], wide: &mut [i64]) {
        let Kernel { rows, cols, .. } = self.kernel;
        wide.fill(0);
        for (a, zeros) in &self.a {
            let a = a.at(row).chunks(self.pairs_at_once.saturating_mul(rows));
            let b = self.b.at(col).chunks(self.pairs_at_once.saturating_mul(cols));
            for (a, b) in a.zip(b) {
                self.kernel.run(a, b, narrow);
                for (wide, &narrow) in wide.iter_mut().zip(&*narrow) {
                    *wide = wide.wrapping_add(i64::from(narrow).wrapping_shl(*zeros));
                }
            }
        }
    }

    /// Writes a block of sums to its place in the rows that begin with its first; returns how many
    /// overflowed.
    #[inline(always)]
    fn leave<S: Copy + Into<i64>>(
        &self,
        block: &[S],
        (rows, col): (Range<usize>, usize),
        values: &mut [i64],
    ) -> u64 {
        let n = self.shape.n;
        let cols = col..n.min(col + self.kernel.cols);
        let mut overflowed = 0;
        let mut buffer = [0; BLOCK_MAX];
        for (at, (i, sums)) in rows.zip(block.chunks_exact(self.kernel.cols)).enumerate() {
            let biases = self.bias.row(i, cols.clone(), &mut buffer);
            let values = &mut values[at * n..][cols.clone()];
            let totals = sums.iter().zip(biases).map(|(&sum, &bias)| {
                let sum: i64 = sum.into();
                sum.wrapping_shl(self.zeros).wrapping_add(bias)
            });
            match self.limit {
                Limit::Fits => {
                    values.iter_mut().zip(totals).for_each(|(value, total)| *value = total)
                }
                Limit::Wrap { bits } => {
                    let unused = 64 - bits;
                    for (value, total) in values.iter_mut().zip(totals) {
                        *value = total.wrapping_shl(unused).wrapping_shr(unused);
                        overflowed += u64::from(*value != total);
                    }
                }
                Limit::Clamp { low, high } => {
                    for (value, total) in values.iter_mut().zip(totals) {
                        *value = total.max(low).min(high);
                        overflowed += u64::from(*value != total);
                    }
                }
            }
        }
        overflowed
    }
}
