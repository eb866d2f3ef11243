//! Sums of blocks of neighbouring outputs, aligned together.

use std::num::NonZero;
use std::ops::Range;

use systoliq_fxp::accumulator::{AlignedRun, BlockAligner};

use super::{GemmShape, GemmTask, Operand};
use crate::panels::Side;
use crate::view::Submatrix;

/// How the sums of blocks of a GEMM are aligned in 64-bit lanes.
#[derive(Clone, Debug)]
pub struct BlockLanes {
    aligner: BlockAligner,
    shape: GemmShape,
    output: Submatrix,
    size: usize,
    /// Of each k, the block that it is the last of.
    ending: Vec<Option<usize>>,
    /// Fraction bits of the rows of A and of the columns of B, `[block][line]`.
    fracs: [Vec<i32>; 2],
}

/// The lanes of some neighbouring lines of one operand in one block.
#[derive(Clone, Copy, Debug)]
pub struct LanesOfBlock<'a> {
    lanes: &'a BlockLanes,
    block: usize,
    side: Side,
    first: usize,
    fracs: &'a [i32],
    most: i32,
}

impl BlockLanes {
    /// `None` where the GEMM has no blocks, or 64 bits may not hold the sums of an output, or 32 the numbers of all
    /// outputs.
    pub fn of(task: &GemmTask<'_>) -> Option<Self> {
        let size = task.adder.block().map(NonZero::get)? as usize;
        let (shape, output) = (task.shape(), task.output);
        let numbered = output.index(shape.m, 0) as u64 <= 1 << 32;
        let blocks = shape.k.div_ceil(size);
        let last = |block: usize| shape.k.min((block + 1) * size) - 1;
        let fracs = |operand: Operand<'_>, lines: usize, frac: &dyn Fn(usize, usize) -> i32| {
            if operand.tensor.blocks().is_none() {
                return vec![operand.tensor.format().frac(); blocks * lines];
            }
            let places = (0..blocks).flat_map(|block| (0..lines).map(move |line| (block, line)));
            places.map(|(block, line)| frac(line, last(block))).collect()
        };
        let fracs = [
            fracs(task.a, shape.m, &|row, k| task.a.frac(row, k)),
            fracs(task.b, shape.n, &|col, k| task.b.frac(k, col)),
        ];
        let least: i32 = fracs.iter().filter_map(|fracs| fracs.iter().min()).sum();
        let longest = size.min(shape.k) as u128;
        let magnitude = [task.a, task.b].map(|operand| {
            let format = operand.tensor.format();
            u128::from(format.min_raw().unsigned_abs().max(format.max_raw().unsigned_abs()))
        });
        let magnitude = magnitude[0] * magnitude[1] * longest;
        let aligner = BlockAligner::new(&task.adder, magnitude, blocks, least);
        let aligner = aligner.filter(|_| numbered)?;
        let mut ending = vec![None; shape.k];
        (0..blocks).for_each(|block| ending[last(block)] = Some(block));
        Some(Self { aligner, shape, output, size, ending, fracs })
    }

    /// Products of a block.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The block that product `k` is the last of.
    #[inline(always)]
    pub fn ending_with(&self, k: usize) -> Option<usize> {
        self.ending[k]
    }

    /// Some neighbouring lines of an operand in a block.
    #[inline(always)]
    pub fn lanes(&self, block: usize, side: Side, lines: Range<usize>) -> LanesOfBlock<'_> {
        let GemmShape { m, n, .. } = self.shape;
        let (fracs, count) = match side {
            Side::A => (&self.fracs[0], m),
            Side::B => (&self.fracs[1], n),
        };
        let fracs = &fracs[block * count..][lines.clone()];
        let most = fracs.iter().fold(i32::MIN, |most, &frac| most.max(frac));
        LanesOfBlock { lanes: self, block, side, first: lines.start, fracs, most }
    }
}

impl LanesOfBlock<'_> {
    /// Hands to `add`, lane by lane, the aligned sums that these lines have with a line of the other operand, and what
    /// each is added to.
    #[inline(always)]
    pub fn align<S: Copy + Into<i64>, I: Iterator>(
        &self,
        line: usize,
        sums: &[S],
        into: I,
        add: impl FnMut(I::Item, i64),
    ) {
        let Self { lanes, block, side, first, fracs, most } = *self;
        let BlockLanes { aligner, shape, output, size, fracs: all, .. } = lanes;
        let (frac, (row, col), step) = match side {
            Side::A => (all[1][block * shape.n + line], (first, line), output.stride),
            Side::B => (all[0][block * shape.m + line], (line, first), 1),
        };
        let k = shape.k.min((block + 1) * size) - 1;
        let (first, step) = (output.index(row, col) as u32, step as u32);
        aligner.align(&AlignedRun { k, frac, fracs, most, first, step }, sums, into, add);
    }
}
