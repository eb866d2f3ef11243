//! Sums block by block, where an operand has blocks: exact within a block, by integer GEMM.

use std::num::NonZero;
use std::ops::Range;

use systoliq_fxp::Sum;
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::Side;

use crate::kernels::{BLOCK_MAX, Kernel};
use crate::pairs::{CodePart, Panels, pair_panels};
use crate::plan::CodeRange;
use crate::strips::Strips;

/// A GEMM of which an operand has blocks.
pub(crate) struct BlockedProduct<'t> {
    task: &'t GemmTask<'t>,
    kernel: Kernel,
    /// Elements of a block.
    size: usize,
    a: Panels,
    b: Panels,
}

impl<'t> BlockedProduct<'t> {
    /// `None` where codes or the sum of a block do not fit the integer GEMM, or blocks do not fall into
    /// whole pairs.
    pub(crate) fn new(task: &'t GemmTask<'_>, kernel: Kernel) -> Option<Self> {
        let k = task.shape().k;
        let size = task.adder.block().map(NonZero::get)? as usize;
        let [a, b] = [&task.a, &task.b].map(CodeRange::of_format);
        let longest = size.min(k) as u128;
        let fits =
            a.fits_i16() && b.fits_i16() && a.magnitude() * b.magnitude() * longest < 1 << 31;
        if !fits || !size.is_multiple_of(2) && size < k {
            return None;
        }
        let a = pair_panels(&task.a, Side::A, kernel.rows, CodePart::Whole);
        let b = pair_panels(&task.b, Side::B, kernel.cols, CodePart::Whole);
        Some(Self { task, kernel, size, a, b })
    }

    /// Sums one block of C with its first output at a row and a column.
    fn sum(&self, row: usize, col: usize, narrow: &mut [i32]) -> [Sum; BLOCK_MAX] {
        let Kernel { rows, cols, .. } = self.kernel;
        let GemmShape { m, k, n } = self.task.shape();
        let pairs = self.size.div_ceil(2);
        let mut running = [Sum::default(); BLOCK_MAX];
        let (a, b) = (self.a.at(row).chunks(pairs * rows), self.b.at(col).chunks(pairs * cols));
        for (block, (a, b)) in a.zip(b).enumerate() {
            self.kernel.run(a, b, narrow);
            let last = k.min((block + 1) * self.size) - 1;
            for (at, sum) in running.iter_mut().enumerate().take(rows * cols) {
                let (i, j) = (row + at / cols, col + at % cols);
                if i < m && j < n {
                    sum.chunk = narrow[at].into();
                    self.task.end_run(sum, i * n + j, last);
                }
            }
        }
        running
    }
}

impl Strips for BlockedProduct<'_> {
    fn granularity(&self) -> usize {
        self.kernel.rows
    }

    fn strip(&self, strip: Range<usize>, values: &mut [i64]) -> u64 {
        let n = self.task.shape().n;
        let Kernel { rows, cols, .. } = self.kernel;
        let mut narrow = [0i32; BLOCK_MAX];
        let mut overflowed = 0;
        for row in strip.clone().step_by(rows) {
            for col in (0..n).step_by(cols) {
                let mut running = self.sum(row, col, &mut narrow[..rows * cols]);
                for i in row..strip.end.min(row + rows) {
                    for j in col..n.min(col + cols) {
                        let sum = &mut running[(i - row) * cols + j - col];
                        overflowed += u64::from(self.task.finish(sum, i * n + j));
                        values[(i - strip.start) * n + j] = sum.value;
                    }
                }
            }
        }
        overflowed
    }
}
