//! Sums of a matrix product, some rows at a time.

use std::ops::Range;

use num_traits::Zero;
use systoliq_fxp::{Raw, Sum};
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::{Side, word_panels};
use systoliq_program::workers::in_strips;
use systoliq_program::{Exit, GemmTask, Workers};

use crate::blocks::BlockedProduct;
use crate::dot::Dot;
use crate::kernels::CodeWord;
use crate::saturate::Saturating;

/// What the sums of a strip may take: half of what the second cache of most machines holds.
const STRIP_BYTES: usize = 1 << 18;

/// The fewest rows that are worth reading all of B again.
const ROWS_MIN: usize = 48;

/// The fewest multiply-accumulates that it pays to have made by a thread of their own.
const THREAD_MACS: usize = 1 << 22;

/// Memory for lines of A.
pub(crate) type LineWords = [Vec<CodeWord>; 2];

/// Memory of one thread for what a product needs on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    /// Lines of A.
    pub(crate) words: LineWords,
    /// Sums of a strip of rows.
    pub(crate) narrow: Vec<i32>,
    pub(crate) wide: Vec<i64>,
}

/// What sums are made in.
pub(crate) trait Summand: Raw + Zero {
    /// Room for these.
    fn room(buffers: &mut Buffers) -> (&mut LineWords, &mut Vec<Self>);
}

impl Summand for i32 {
    fn room(buffers: &mut Buffers) -> (&mut LineWords, &mut Vec<Self>) {
        (&mut buffers.words, &mut buffers.narrow)
    }
}

impl Summand for i64 {
    fn room(buffers: &mut Buffers) -> (&mut LineWords, &mut Vec<Self>) {
        (&mut buffers.words, &mut buffers.wide)
    }
}

/// A matrix product whose sums are of type `S`.
pub(crate) trait Strips<S>: Sync {
    /// Rows come in multiples of so many, but for the last.
    fn granularity(&self) -> usize;

    /// Sums all outputs of some rows, row by row; says how many overflowed. What is in `words` means
    /// nothing before or after.
    fn strip(&self, rows: Range<usize>, words: &mut LineWords, sums: &mut [S]) -> u64;
}

impl<S: Summand> dyn Strips<S> + '_ {
    /// Sums all outputs of some rows of `n`, some rows at a time, and hands them to `leave`; says how many sums
    /// overflowed.
    pub(crate) fn each(
        &self,
        (rows, n): (Range<usize>, usize),
        buffers: &mut Buffers,
        mut leave: impl FnMut(Range<usize>, &mut [S]),
    ) -> u64 {
        let (words, sums) = S::room(buffers);
        let mut overflowed = 0;
        for rows in in_strips(rows, rows_at_once::<S>(self.granularity(), n)) {
            sums.resize(rows.len() * n, S::zero());
            overflowed += self.strip(rows.clone(), words, sums);
            leave(rows, sums);
        }
        overflowed
    }

    /// Lets the sums of a product leave, each worker those of some rows with buffers of its own; says how many
    /// overflowed.
    pub(crate) fn leave(
        &self,
        GemmShape { m, k, n }: GemmShape,
        (exit, workers): (&mut Exit, &Workers),
        buffers: &mut Vec<Buffers>,
    ) -> u64 {
        let cuts = workers.cut(m, self.granularity(), THREAD_MACS.div_ceil((k * n).max(1)));
        buffers.resize_with(cuts.len().max(buffers.len()), Buffers::default);
        let mut overflowed = 0;
        if exit.waits() {
            let mut all = std::mem::take(S::room(&mut buffers[0]).1);
            all.resize(m * n, S::zero());
            let mut rest = &mut all[..];
            let part = |(rows, buffers): (Range<usize>, _)| {
                let sums = rest.split_off_mut(..rows.len() * n).expect("sums of rows");
                (rows, sums, buffers)
            };
            let parts = cuts.into_iter().zip(&mut *buffers).map(part);
            let run = |(rows, sums, buffers): (Range<usize>, &mut [S], &mut Buffers)| {
                self.strip(rows, &mut buffers.words, sums)
            };
            workers.each(parts, run, |of_part| overflowed += of_part);
            exit.leave(&mut all);
            *S::room(&mut buffers[0]).1 = all;
            return overflowed;
        }
        let part = |(rows, buffers): (Range<usize>, _)| (rows.len() * n, (rows, buffers));
        let parts = cuts.into_iter().zip(buffers).map(part);
        exit.leave_in_parts(workers, parts, |(rows, buffers), part| {
            self.each((rows, n), buffers, |_, sums| part.leave(sums))
        })
    }
}

/// A matrix product by how it is summed.
pub(crate) enum Summed<'t> {
    /// In 32 bits.
    Narrow(Dot<'t>),
    /// In 64.
    Wide(Dot<'t>),
    Saturating(Saturating<'t>),
    Blocked(BlockedProduct<'t>),
    Lanes(Box<dyn Strips<i64> + 't>),
    Adders(AdderSums<'t>),
}

/// The same by the width of its sums.
pub(crate) enum SummedStrips<'s> {
    Narrow(&'s (dyn Strips<i32> + 's)),
    Wide(&'s (dyn Strips<i64> + 's)),
}

impl Summed<'_> {
    pub(crate) fn strips(&self) -> SummedStrips<'_> {
        match self {
            Self::Narrow(dot) => SummedStrips::Narrow(dot),
            Self::Wide(dot) => SummedStrips::Wide(dot),
            Self::Saturating(product) => SummedStrips::Narrow(product),
            Self::Blocked(product) => SummedStrips::Wide(product),
            Self::Lanes(lanes) => SummedStrips::Wide(&**lanes),
            Self::Adders(adders) => SummedStrips::Wide(adders),
        }
    }

    fn granularity(&self) -> usize {
        match self.strips() {
            SummedStrips::Narrow(strips) => strips.granularity(),
            SummedStrips::Wide(strips) => strips.granularity(),
        }
    }

    /// Sums all outputs of some rows into 64 bits; says how many overflowed.
    pub(crate) fn widened(
        &self,
        rows: Range<usize>,
        (words, narrow): (&mut LineWords, &mut Vec<i32>),
        sums: &mut [i64],
    ) -> u64 {
        match self.strips() {
            SummedStrips::Narrow(strips) => {
                narrow.resize(sums.len(), 0);
                let overflowed = strips.strip(rows, words, narrow);
                StripSums::Narrow(narrow).widen(sums);
                overflowed
            }
            SummedStrips::Wide(strips) => strips.strip(rows, words, sums),
        }
    }
}

/// How many rows of several products make a strip of so many columns.
pub(crate) fn rows_together(products: &[Summed<'_>], cols: usize) -> usize {
    let common = |a: usize, b: usize| if a.is_multiple_of(b) { a } else { a * b };
    let granularity = products.iter().map(Summed::granularity).fold(1, common);
    rows_at_once::<i64>(granularity, cols)
}

/// All sums of some rows, row by row, in the width that holds them.
#[derive(Debug)]
pub enum StripSums<'s> {
    /// In 32 bits.
    Narrow(&'s mut [i32]),
    /// In 64 bits.
    Wide(&'s mut [i64]),
}

impl StripSums<'_> {
    /// Copies the sums to 64 bits.
    ///
    /// # Panics
    ///
    /// If there are not as many of these.
    pub fn widen(&self, into: &mut [i64]) {
        match self {
            Self::Wide(sums) => into.copy_from_slice(sums),
            Self::Narrow(sums) => {
                assert_eq!(sums.len(), into.len(), "sums");
                into.iter_mut().zip(&**sums).for_each(|(wide, &sum)| *wide = sum.into());
            }
        }
    }
}

/// How many rows of `cols` sums of type `S` make a strip.
fn rows_at_once<S>(granularity: usize, cols: usize) -> usize {
    let rows = (STRIP_BYTES / (size_of::<S>() * cols.max(1))).max(ROWS_MIN);
    (rows / granularity).max(1) * granularity
}

/// Each product through the adder.
pub(crate) struct AdderSums<'t> {
    task: &'t GemmTask<'t>,
    /// Rows of A and columns of B.
    a: Vec<i64>,
    b: Vec<i64>,
}

impl<'t> AdderSums<'t> {
    pub(crate) fn new(task: &'t GemmTask<'_>) -> Self {
        let [a, b] = [(&task.a, Side::A), (&task.b, Side::B)]
            .map(|(operand, side)| word_panels(operand, side, 1, 0));
        Self { task, a, b }
    }
}

impl Strips<i64> for AdderSums<'_> {
    fn granularity(&self) -> usize {
        1
    }

    fn strip(&self, rows: Range<usize>, _: &mut LineWords, sums: &mut [i64]) -> u64 {
        let GemmShape { k, n, .. } = self.task.shape();
        let mut overflowed = 0;
        for (index, value) in (rows.start * n..).zip(sums) {
            let (i, j) = (index / n, index % n);
            let mut sum = Sum::default();
            for (at, (&a, &b)) in self.a[i * k..][..k].iter().zip(&self.b[j * k..][..k]).enumerate()
            {
                let product = i128::from(a) * i128::from(b);
                self.task.add_product(&mut sum, product, index, at);
            }
            overflowed += u64::from(self.task.finish(&mut sum, index));
            *value = sum.value;
        }
        overflowed
    }
}
