//! Sums block by block, where an operand has blocks: exact within a block, by integer GEMM.

use std::num::NonZero;
use std::ops::Range;

use systoliq_fxp::Sum;
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;

use crate::kernels::{Kernel, SumTile, TILE_MAX, WordLines};
use crate::plan::CodeRange;
use crate::strips::{LineWords, Strips};
use crate::words::{Coding, Panels, lines_of};

/// A GEMM of which an operand has blocks.
pub(crate) struct BlockedProduct<'t> {
    task: &'t GemmTask<'t>,
    kernel: &'static dyn Kernel,
    /// LineWords of a block.
    steps: usize,
    b: Panels,
}

impl<'t> BlockedProduct<'t> {
    /// `None` where codes or the sum of a block do not fit the integer GEMM, or blocks do not fall into
    /// whole words.
    pub(crate) fn new(task: &'t GemmTask<'_>, kernel: &'static dyn Kernel) -> Option<Self> {
        let k = task.shape().k;
        let size = task.adder.block().map(NonZero::get)? as usize;
        let [a, b] = [&task.a, &task.b].map(CodeRange::of_format);
        let longest = size.min(k) as u128;
        let fits =
            a.fits_i16() && b.fits_i16() && a.magnitude() * b.magnitude() * longest < 1 << 31;
        if !fits || !size.is_multiple_of(kernel.codes()) && size < k {
            return None;
        }
        let steps = size.min(k).div_ceil(kernel.codes());
        Some(Self { task, kernel, steps, b: Panels::of(&task.b, kernel, Coding::Whole, None) })
    }

    /// Sums the products of some rows, the first of which is `row`, and columns block by block.
    fn sum(&self, a: WordLines<'_>, row: usize, cols: Range<usize>, running: &mut [Sum]) {
        let GemmShape { k, n, .. } = self.task.shape();
        let codes = self.kernel.codes();
        let stride = cols.len();
        running.fill(Sum::default());
        let mut narrow = [0i32; TILE_MAX];
        let narrow = &mut narrow[..running.len()];
        for from in (0..k.div_ceil(codes)).step_by(self.steps.max(1)) {
            let steps = self.steps.min(k.div_ceil(codes) - from);
            narrow.fill(0);
            let tile = SumTile {
                a: WordLines { words: &a.words[from * a.step..], ..a },
                b: self.b.at(cols.start, from),
                panel: self.b.panel(),
                steps,
                rows: running.len() / stride,
                cols: stride,
                stride,
                start: None,
            };
            self.kernel.add(&tile, narrow);
            let last = k.min((from + steps) * codes) - 1;
            for (at, (sum, &narrow)) in running.iter_mut().zip(&*narrow).enumerate() {
                sum.chunk = narrow.into();
                let index = (row + at / stride) * n + cols.start + at % stride;
                self.task.end_run(sum, index, last);
            }
        }
    }
}

impl Strips<i64> for BlockedProduct<'_> {
    fn granularity(&self) -> usize {
        self.kernel.rows()
    }

    fn strip(&self, strip: Range<usize>, [words, _]: &mut LineWords, sums: &mut [i64]) -> u64 {
        let n = self.task.shape().n;
        let a = lines_of(&self.task.a, strip.clone(), Coding::Whole, words);
        let mut running = [Sum::default(); TILE_MAX];
        let mut overflowed = 0;
        for row in (0..strip.len()).step_by(self.kernel.rows()) {
            let rows = row..strip.len().min(row + self.kernel.rows());
            let a = a.from(row);
            for col in (0..n).step_by(self.kernel.cols()) {
                let cols = col..n.min(col + self.kernel.cols());
                let running = &mut running[..rows.len() * cols.len()];
                self.sum(a, strip.start + row, cols.clone(), running);
                let places = rows.clone().flat_map(|i| cols.clone().map(move |j| i * n + j));
                for (sum, place) in running.iter_mut().zip(places) {
                    let index = strip.start * n + place;
                    overflowed += u64::from(self.task.finish(sum, index));
                    sums[place] = sum.value;
                }
            }
        }
        overflowed
    }
}
