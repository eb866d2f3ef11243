//! Sums block by block, where an operand has blocks: exact within a block, by integer GEMM; aligned, added and limited in
//! 64-bit lanes.

use std::ops::Range;
use std::sync::Arc;

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_program::GemmTask;
use systoliq_program::gemm::{BlockLanes, GemmShape, LanesOfBlock};
use systoliq_program::panels::Side;

use crate::bias::Bias;
use crate::coded::Coded;
use crate::kernels::{CodeWord, Kernel, Kernels, SumTile, TILE_MAX, WordLines};
use crate::lanes::LaneRegister;
use crate::lent::{Lent, ProductMemory};
use crate::line_sums::Power;
use crate::plan::CodeRange;
use crate::strips::{LineWords, Strips};
use crate::words::{Coding, Panels};

/// A GEMM of which an operand has blocks.
pub(crate) struct BlockedProduct<'t> {
    coded: Coded<'t>,
    lanes: BlockLanes,
    register: LaneRegister<i64>,
    bias: Bias,
    /// Words of a block.
    steps: usize,
    /// What the sums of each column start at, `[block][column]`.
    starts: Lent<i32>,
}

impl<'t> BlockedProduct<'t> {
    /// `None` where codes or sums do not fit, or blocks do not fall into whole words. One packed copy is of one size of
    /// blocks: it must not be kept.
    pub(crate) fn new(
        task: &'t GemmTask<'_>,
        (kernels, memory): (Kernels, &ProductMemory),
        pack: &mut dyn FnMut(&dyn Kernel, Coding) -> Arc<Panels>,
    ) -> Option<Self> {
        let lanes = BlockLanes::of(task)?;
        let bias = Bias::new(task, memory)?;
        let GemmShape { k, n, .. } = task.shape();
        let size = lanes.size();
        let is_whole = |codes: usize| size.is_multiple_of(codes) || size >= k;
        let quads = kernels.quads.filter(|quads| is_whole(quads.signed_a.codes()));
        let fits = [&task.a, &task.b].map(CodeRange::of_format).map(CodeRange::fits_i16);
        if fits != [true; 2] || quads.is_none() && !is_whole(kernels.pairs.codes()) {
            return None;
        }
        let coded = Coded::new(task, Kernels { quads, ..kernels }, (false, memory), pack);
        let steps = size.min(k).div_ceil(coded.kernel.codes()).max(1);
        let mut starts = memory.narrow.zeros(coded.steps().div_ceil(steps) * n);
        if coded.excess != 0 {
            let sums = coded.b.sums(coded.words[1], Power::First, steps);
            for (block, starts) in starts.chunks_exact_mut(n.max(1)).enumerate() {
                sums.between(&(block..block + 1), 0, starts);
                starts.iter_mut().for_each(|start| *start = start.wrapping_mul(-coded.excess));
            }
        }
        let register = LaneRegister::of(&task.adder.accumulator);
        Some(Self { coded, lanes, register, bias, steps, starts })
    }

    /// Sums the products of a tile block by block.
    fn sum(&self, tile: &SumTile<'_>, [row, col]: [usize; 2], sums: &mut BlockedSums) {
        let count = tile.rows * tile.cols;
        sums.limited[..count].fill(0);
        sums.exact[..count].fill(0);
        let n = self.coded.shape.n;
        let mut narrow = [0i32; TILE_MAX];
        let narrow = &mut narrow[..count];
        for (block, from) in (0..tile.steps).step_by(self.steps).enumerate() {
            let part = SumTile {
                a: WordLines { words: &tile.a.words[from * tile.a.step..], ..tile.a },
                b: &tile.b[from * self.coded.kernel.lanes()..],
                steps: self.steps.min(tile.steps - from),
                stride: tile.cols,
                start: Some(&self.starts[block * n + col..][..tile.cols]),
                ..*tile
            };
            self.coded.kernel.add(&part, narrow);
            let lanes = self.lanes.lanes(block, Side::B, col..col + tile.cols);
            let (register, cols) = (self.register, tile.cols);
            with_widest_vectors(AddBlock { lanes, register, row, cols, narrow, sums });
        }
    }
}

/// The sums of a tile.
struct BlockedSums {
    limited: [i64; TILE_MAX],
    exact: [i64; TILE_MAX],
}

/// Adds the sums of one block to those of a tile.
struct AddBlock<'a> {
    lanes: LanesOfBlock<'a>,
    register: LaneRegister<i64>,
    /// The first row, and how many columns there are.
    row: usize,
    cols: usize,
    narrow: &'a [CodeWord],
    sums: &'a mut BlockedSums,
}

impl VectorWork for AddBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { lanes, register, row, cols, narrow, sums } = self;
        let limited = sums.limited.chunks_exact_mut(cols).zip(sums.exact.chunks_exact_mut(cols));
        for ((row, narrow), (limited, exact)) in (row..).zip(narrow.chunks_exact(cols)).zip(limited)
        {
            let sums = limited.iter_mut().zip(exact);
            lanes.align(row, narrow, sums, |(limited, exact), aligned| {
                *exact = exact.wrapping_add(aligned);
                *limited = register.add(*limited, aligned);
            });
        }
    }
}

/// Lets the sums of a tile leave to their places in the rows of a strip.
struct LeaveBlocked<'a> {
    product: &'a BlockedProduct<'a>,
    sums: &'a BlockedSums,
    /// The rows in the whole output, and the columns.
    rows: Range<usize>,
    cols: Range<usize>,
    values: &'a mut [i64],
}

impl VectorWork for LeaveBlocked<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self { product, sums, rows, cols, values } = self;
        let (n, count) = (product.coded.shape.n, cols.len());
        let mut buffer = [0; TILE_MAX];
        let mut overflowed = 0;
        for (at, row) in rows.enumerate() {
            let biases = product.bias.row(row, cols.clone(), &mut buffer);
            let sums = [&sums.limited, &sums.exact].map(|sums| &sums[at * count..][..count]);
            let values = &mut values[at * n..][cols.clone()];
            overflowed += product.register.leave(sums, biases, values);
        }
        overflowed
    }
}

impl Strips<i64> for BlockedProduct<'_> {
    fn granularity(&self) -> usize {
        self.coded.kernel.rows()
    }

    fn strip(&self, strip: Range<usize>, [words, _]: &mut LineWords, values: &mut [i64]) -> u64 {
        let n = self.coded.shape.n;
        let a = self.coded.lines(strip.clone(), words);
        let mut sums = BlockedSums { limited: [0; TILE_MAX], exact: [0; TILE_MAX] };
        let mut overflowed = 0;
        self.coded.each_tile((a, self.coded.steps()), strip.len(), |tile, [row, col]| {
            let first = strip.start + row;
            self.sum(tile, [first, col], &mut sums);
            overflowed += with_widest_vectors(LeaveBlocked {
                product: self,
                sums: &sums,
                rows: first..first + tile.rows,
                cols: col..col + tile.cols,
                values: &mut values[row * n..],
            });
        });
        overflowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fast, KernelLevel};
    use systoliq_fxp::{
        Accumulator, Adder, Along, Blocks, Format, Overflow, OverflowAt, Rounding, Tensor,
    };
    use systoliq_keyed_random::Key;
    use systoliq_program::{Engine, Operand, Reference, Workers};

    use crate::strips::Summed;

    /// Random codes, some of them at the ends of the format, in blocks with fraction bits around `near`.
    fn blocked(
        key: Key,
        format: Format,
        (rows, cols): (usize, usize),
        (along, size): (Along, usize),
        [near, span]: [i64; 2],
    ) -> Tensor {
        let range = (format.max_raw() - format.min_raw() + 1) as u64;
        let code = |at| match key.word(2 * at) % 4 {
            0 => format.min_raw(),
            1 => format.max_raw(),
            _ => format.min_raw() + (u64::from(key.word(2 * at + 1)) % range) as i64,
        };
        let codes: Vec<i64> = (0..(rows * cols) as u64).map(code).collect();
        let count = match along {
            Along::Row => rows * cols.div_ceil(size),
            Along::Column => rows.div_ceil(size) * cols,
        };
        let key = key.with(1);
        let frac = |at| (near - span / 2 + i64::from(key.word(at)) % span).clamp(-64, 64) as i32;
        let fracs = (0..count as u64).map(frac).collect();
        Tensor::from_codes(format, rows, cols, &codes)
            .with_blocks(Blocks::of(along, size, (rows, cols), fracs).unwrap())
    }

    #[test]
    fn products_of_blocks_are_those_of_the_reference() {
        let bytes = |signed| Format::new(8, 0, signed).unwrap();
        let wide = Format::new(16, 0, true).unwrap();
        let formats = [[bytes(true); 2], [bytes(false), bytes(true)], [bytes(true), wide]];
        // Accumulators that always, sometimes and never overflow, with shifts of either sign and of any length;
        // sums in the last may not fit lanes.
        let registers = [(12, 9), (32, 24), (32, 14), (64, 40), (64, 62)];
        let (mut lanes, mut all, mut overflows) = (0, 0, [0; 3]);
        for (seed, (m, k, n, size)) in (0..).zip([
            (1, 1, 1, 4),
            (5, 70, 33, 32),
            (13, 33, 9, 8),
            (25, 130, 65, 64),
            (4, 9, 17, 2),
        ]) {
            for (at, [left, right]) in formats.into_iter().enumerate() {
                for (bits, frac) in registers {
                    for mode in 0..36u64 {
                        let key = Key::new(seed).with(at as u64).with(mode);
                        let rounding = Rounding::ALL[mode as usize % 6];
                        let overflow = Overflow::ALL[mode as usize / 6 % 3];
                        let end = OverflowAt::ALL[mode as usize / 18];
                        let accumulator =
                            Accumulator::new(bits, Some(frac), rounding, overflow).unwrap();
                        let size = u32::try_from(size).unwrap();
                        let adder = Adder::of_blocks(
                            &accumulator.limited_at(end),
                            size.try_into().unwrap(),
                            key,
                        );
                        let near = [[8, 5], [40, 60]][usize::from(mode % 5 == 4)];
                        let size = size as usize;
                        let a = blocked(key.with(1), left, (m, k), (Along::Row, size), near);
                        let b = blocked(key.with(2), right, (k, n), (Along::Column, size), [8, 7]);
                        let bias =
                            Tensor::from_codes("Q8.13".parse().unwrap(), 1, n, &vec![-777; n]);
                        let bias = (mode % 2 == 0).then_some(&bias);
                        let [left, right] = [&a, &b].map(|tensor| Operand::new(tensor, false));
                        let task = GemmTask::new(left, right, adder, bias);
                        let expected = Reference.gemm(&task);
                        overflows[(expected.overflowed > 0) as usize
                            + (expected.overflowed == (m * n) as u64) as usize] += 1;
                        for level in KernelLevel::available() {
                            let case = format!("{level:?} {m} x {k} x {n} by {size}, {adder:?}");
                            let mut engine = Fast::at(level);
                            assert!(engine.gemm(&task) == expected, "{case}");
                            all += 1;
                            let way = engine.summed(&task, None, &Workers::default());
                            lanes += usize::from(matches!(way, Summed::Blocked(_)));
                        }
                    }
                }
            }
        }
        assert!(overflows.iter().all(|&count| count > 30), "{overflows:?} with none, some, all");
        assert!(2 * lanes > all && lanes < all, "{lanes} of {all} in lanes");
    }
}
