//! Sums block by block, where an operand has blocks: exact within a block, by integer GEMM.

use std::num::NonZero;

use systoliq_fxp::Sum;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{GemmTask, Sums};

use crate::kernels::{BLOCK_MAX, Kernel};
use crate::pairs::{Part, pair_panels};
use crate::plan::CodeRange;
use systoliq_program::panels::Side;

/// All sums; `None` where codes or the sum of a block do not fit the integer GEMM, or blocks do not
/// fall into whole pairs.
pub(crate) fn gemm(task: &GemmTask<'_>, kernel: Kernel) -> Option<Sums> {
    let GemmShape { m, k, n } = task.shape();
    let size = task.adder.block().map(NonZero::get)? as usize;
    let [a, b] = [task.a.tensor, task.b.tensor].map(CodeRange::of_format);
    let longest = size.min(k) as u128;
    let fits = a.fits_i16() && b.fits_i16() && a.magnitude() * b.magnitude() * longest < 1 << 31;
    if !fits || !size.is_multiple_of(2) && size < k {
        return None;
    }
    let Kernel { rows, cols, .. } = kernel;
    let a = pair_panels(&task.a, Side::A, rows, Part::Whole);
    let b = pair_panels(&task.b, Side::B, cols, Part::Whole);
    let pairs = size.div_ceil(2);
    let mut sums = Sums { values: vec![0; m * n], overflowed: 0 };
    let mut narrow = [0i32; BLOCK_MAX];
    let narrow = &mut narrow[..rows * cols];
    for row in (0..m).step_by(rows) {
        for col in (0..n).step_by(cols) {
            let places = || {
                let all = (0..rows * cols).map(|at| (at, row + at / cols, col + at % cols));
                all.filter(|&(_, i, j)| i < m && j < n)
            };
            let mut running = [Sum::default(); BLOCK_MAX];
            let chunks = a.at(row).chunks(pairs * rows).zip(b.at(col).chunks(pairs * cols));
            for (block, (a, b)) in chunks.enumerate() {
                kernel.run(a, b, narrow);
                let last = k.min((block + 1) * size) - 1;
                for (at, i, j) in places() {
                    running[at].chunk = narrow[at].into();
                    task.end_run(&mut running[at], i * n + j, last);
                }
            }
            for (at, i, j) in places() {
                let index = i * n + j;
                sums.overflowed += u64::from(task.finish(&mut running[at], index));
                sums.values[index] = running[at].value;
            }
        }
    }
    Some(sums)
}
