//! One GEMM with its operands at hand, and the plain loop that defines its bits.

use serde::{Deserialize, Serialize};
use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::{Adder, Sum, Tensor};

use crate::Engine;

/// A matrix operand: a tensor as it is stored, or transposed.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The tensor as stored, row by row.
    pub tensor: &'a Tensor,
    /// Whether the operand is the transpose of the tensor.
    pub transposed: bool,
}

impl Operand<'_> {
    /// Rows of the operand.
    pub fn rows(&self) -> usize {
        if self.transposed { self.tensor.cols() } else { self.tensor.rows() }
    }

    /// Columns of the operand.
    pub fn cols(&self) -> usize {
        if self.transposed { self.tensor.rows() } else { self.tensor.cols() }
    }

    /// The fraction bits at a row and a column of the operand.
    pub fn frac(&self, row: usize, col: usize) -> i32 {
        if self.transposed { self.tensor.frac(col, row) } else { self.tensor.frac(row, col) }
    }

    /// The code at a row and a column of the operand.
    pub fn code(&self, row: usize, col: usize) -> i64 {
        if self.transposed { self.tensor.code(col, row) } else { self.tensor.code(row, col) }
    }
}

/// The sizes of `C[m, n] = A[m, k] · B[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GemmShape {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
}

impl GemmShape {
    /// Multiply-accumulates asked for: `m · k · n`.
    pub fn macs(self) -> u64 {
        self.m as u64 * self.k as u64 * self.n as u64
    }
}

/// `C[m, n] = A[m, k] · B[k, n]`, up to the accumulators with the bias added.
///
/// Output `(i, j)` has index `i · n + j`. Its sum starts at 0, takes the products
/// `A[i, k] · B[k, j]` for k = 0, 1, 2, … through the [`Adder`], chunk by chunk if the accumulator
/// says so, or block by block if an operand has blocks along k, and last the bias of column `j` as
/// addition number K.
#[derive(Clone, Copy, Debug)]
pub struct GemmTask<'a> {
    /// The left operand, `[m, k]`.
    pub a: Operand<'a>,
    /// The right operand, `[k, n]`.
    pub b: Operand<'a>,
    /// The adder before the accumulators, made for the fraction bits of the product.
    pub adder: Adder,
    /// One row of n elements.
    pub bias: Option<&'a Tensor>,
}

impl GemmTask<'_> {
    /// The sizes of this GEMM.
    ///
    /// # Panics
    ///
    /// If A has not as many columns as B has rows, or the bias is not one row of n elements.
    pub fn shape(&self) -> GemmShape {
        let shape = GemmShape { m: self.a.rows(), k: self.a.cols(), n: self.b.cols() };
        assert_eq!(shape.k, self.b.rows(), "columns of A and rows of B");
        if let Some(bias) = self.bias {
            assert_eq!((bias.rows(), bias.cols()), (1, shape.n), "shape of the bias");
        }
        shape
    }

    /// Adds product `k` of output `index` to its sum.
    #[inline]
    pub fn add_product(&self, sum: &mut Sum, product: i128, index: usize, k: usize) {
        self.adder.add_product(sum, product, index as u64, k as u64);
        if self.adder.ends_run(k as u64, self.a.cols() as u64) {
            self.end_run(sum, index, k);
        }
    }

    /// Adds the sum of a chunk or a block that ends with product `k` to the sum of output `index`.
    pub fn end_run(&self, sum: &mut Sum, index: usize, k: usize) {
        if self.adder.block().is_none() {
            return self.adder.end_chunk(sum);
        }
        let (row, col) = (index / self.b.cols(), index % self.b.cols());
        let frac = self.a.frac(row, k) + self.b.frac(k, col);
        self.adder.end_block(sum, frac, index as u64, k as u64);
    }

    /// Adds the bias to the sum of output `index`, whose products are all added, and limits it for
    /// the last time; tells whether it overflowed.
    pub fn finish(&self, sum: &mut Sum, index: usize) -> bool {
        let of = |bias: &Tensor| (bias.code(0, index % bias.cols()), bias.format().frac());
        self.adder.finish(sum, self.bias.map(of), index as u64, self.a.cols() as u64)
    }

    /// The registers that hold a sum on its way.
    pub fn widths(&self) -> Widths {
        let accumulator = &self.adder.accumulator;
        let [a, b] = [self.a, self.b].map(|operand| operand.tensor.format().bits());
        match self.adder.block() {
            None => accumulator.widths(self.a.cols()),
            Some(block) => accumulator.widths_of_blocks(self.a.cols(), block, a + b),
        }
    }
}

/// The accumulators of a GEMM when all additions are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Codes row by row, `m · n` of them, at the adder's fraction bits.
    pub values: Vec<i64>,
    /// Outputs that differ from the sum of the same rounded products without any overflow.
    pub overflowed: u64,
}

/// The plain triple loop that defines the bits of a GEMM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Engine for Reference {
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums {
        let GemmShape { m, k, n } = task.shape();
        let mut sums = Sums { values: Vec::with_capacity(m * n), overflowed: 0 };
        for i in 0..m {
            for j in 0..n {
                let index = i * n + j;
                let mut sum = Sum::default();
                for at in 0..k {
                    let product = i128::from(task.a.code(i, at)) * i128::from(task.b.code(at, j));
                    task.add_product(&mut sum, product, index, at);
                }
                sums.overflowed += u64::from(task.finish(&mut sum, index));
                sums.values.push(sum.value);
            }
        }
        sums
    }
}
