//! Sums of a matrix product, some rows at a time.

use std::ops::Range;

use num_traits::Zero;
use systoliq_fxp::Sum;
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::{Side, word_panels};

use crate::kernels::CodeWord;

/// What the sums of a strip may take: half of what the second cache of most machines holds.
const STRIP_BYTES: usize = 1 << 18;

/// The fewest rows that are worth reading all of B again.
const ROWS_MIN: usize = 48;

/// Memory for lines of A.
pub(crate) type LineWords = [Vec<CodeWord>; 2];

/// A matrix product whose sums are of type `S`.
pub(crate) trait Strips<S> {
    /// Rows come in multiples of so many, but for the last.
    fn granularity(&self) -> usize;

    /// Sums all outputs of some rows, row by row; says how many overflowed. What is in `words` means
    /// nothing before or after.
    fn strip(&self, rows: Range<usize>, words: &mut LineWords, sums: &mut [S]) -> u64;
}

impl<S: Copy + Zero> dyn Strips<S> + '_ {
    /// Sums a product of a shape, some rows at a time but at least so many, and hands them to `leave`; says how many sums
    /// overflowed.
    pub(crate) fn each(
        &self,
        GemmShape { m, n, .. }: GemmShape,
        rows_min: usize,
        (words, sums): (&mut LineWords, &mut Vec<S>),
        mut leave: impl FnMut(Range<usize>, &mut [S]),
    ) -> u64 {
        let at_once = rows_at_once::<S>(self.granularity(), n).max(rows_min);
        let mut overflowed = 0;
        for rows in in_strips(m, at_once) {
            sums.resize(rows.len() * n, S::zero());
            overflowed += self.strip(rows.clone(), words, sums);
            leave(rows, sums);
        }
        overflowed
    }
}

/// A matrix product by the width of its sums.
pub(crate) enum Summed<'t> {
    Narrow(Box<dyn Strips<i32> + 't>),
    Wide(Box<dyn Strips<i64> + 't>),
}

impl Summed<'_> {
    fn granularity(&self) -> usize {
        match self {
            Self::Narrow(strips) => strips.granularity(),
            Self::Wide(strips) => strips.granularity(),
        }
    }

    /// Sums all outputs of some rows into 64 bits; says how many overflowed.
    pub(crate) fn widened(
        &self,
        rows: Range<usize>,
        (words, narrow): (&mut LineWords, &mut Vec<i32>),
        sums: &mut [i64],
    ) -> u64 {
        match self {
            Self::Narrow(strips) => {
                narrow.resize(sums.len(), 0);
                let overflowed = strips.strip(rows, words, narrow);
                StripSums::Narrow(narrow).widen(sums);
                overflowed
            }
            Self::Wide(strips) => strips.strip(rows, words, sums),
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

/// The places of so many rows, some at once.
pub(crate) fn in_strips(rows: usize, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    let at_once = at_once.max(1);
    (0..rows).step_by(at_once).map(move |first| first..rows.min(first + at_once))
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
