//! One GEMM with its operands at hand, and the plain loop that defines its bits.

use serde::{Deserialize, Serialize};
use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::{Adder, Sum, Tensor};

use crate::Engine;
use crate::view::{Repeats, Submatrix, View};

mod block_lanes;

pub use block_lanes::{BlockLanes, LanesOfBlock};

/// How a stored matrix becomes an operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reading {
    /// As what matrix it is read.
    pub view: View,
    /// Whether the operand is the transpose of that.
    pub transposed: bool,
}

impl Reading {
    /// Rows and columns of the operand that a stored matrix becomes.
    pub fn shape(self, of: &Submatrix) -> (usize, usize) {
        let (rows, cols) = self.view.shape(of);
        self.in_view(rows, cols)
    }

    /// What both are of an element of the operand: its row and its column in the view.
    #[inline]
    pub(crate) fn in_view(self, row: usize, col: usize) -> (usize, usize) {
        if self.transposed { (col, row) } else { (row, col) }
    }

    /// Rows and columns of the stored matrix that an operand of these sizes is read of.
    pub fn stored(self, rows: usize, cols: usize) -> (usize, usize) {
        let (rows, cols) = self.in_view(rows, cols);
        self.view.stored(rows, cols)
    }

    /// How many elements of an operand of these sizes are zeros that are not stored.
    fn structural_zeros(self, rows: usize, cols: usize) -> u64 {
        let (rows, cols) = self.in_view(rows, cols);
        self.view.structural_zeros(rows, cols)
    }
}

/// A matrix operand: a tensor or a part of it, read as it is stored or through a view.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The tensor as stored, row by row.
    pub tensor: &'a Tensor,
    /// What of the tensor is read.
    pub part: Submatrix,
    /// How that is read.
    pub reading: Reading,
}

impl<'a> Operand<'a> {
    /// All of a tensor as it is stored, or its transpose.
    pub fn new(tensor: &'a Tensor, transposed: bool) -> Self {
        Self::read(tensor, Reading { view: View::Stored, transposed })
    }

    /// All of a tensor, read in some way.
    ///
    /// # Panics
    ///
    /// If the tensor has blocks and is not read as it is stored.
    pub fn read(tensor: &'a Tensor, reading: Reading) -> Self {
        let as_stored = reading.view == View::Stored;
        assert!(as_stored || tensor.blocks().is_none(), "blocks under {reading:?}");
        Self { tensor, part: Submatrix::whole(tensor.rows(), tensor.cols()), reading }
    }

    /// Rows of the operand.
    pub fn rows(&self) -> usize {
        self.shape().0
    }

    /// Columns of the operand.
    pub fn cols(&self) -> usize {
        self.shape().1
    }

    fn shape(&self) -> (usize, usize) {
        self.reading.shape(&self.part)
    }

    /// The place in the tensor of the element at a row and a column of the operand; `None` for a zero
    /// that is not stored.
    #[inline]
    fn place(&self, row: usize, col: usize) -> Option<(usize, usize)> {
        let (row, col) = self.reading.in_view(row, col);
        let (row, col) = self.reading.view.place(&self.part, row, col)?;
        Some((self.part.top + row, self.part.left + col))
    }

    /// Whether an element is stored, and not a zero in padding or between dilated elements.
    pub fn is_stored(&self, row: usize, col: usize) -> bool {
        self.place(row, col).is_some()
    }

    /// The fraction bits at a row and a column of the operand.
    pub fn frac(&self, row: usize, col: usize) -> i32 {
        let of = |(row, col)| self.tensor.frac(row, col);
        self.place(row, col).map_or(self.tensor.format().frac(), of)
    }

    /// The code at a row and a column of the operand; 0 where none is stored.
    pub fn code(&self, row: usize, col: usize) -> i64 {
        self.place(row, col).map_or(0, |(row, col)| self.tensor.code(row, col))
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

    /// Of the multiply-accumulates asked for, those of which an operand is not stored, where A and B
    /// are read in these ways. They are clocked and change no sum.
    ///
    /// # Panics
    ///
    /// If elements of both operands are not stored.
    pub fn structural_zeros(self, [a, b]: [Reading; 2]) -> u64 {
        let in_a = a.structural_zeros(self.m, self.k);
        let in_b = b.structural_zeros(self.k, self.n);
        assert!(in_a == 0 || in_b == 0, "structural zeros in both operands of {self:?}");
        in_a * self.n as u64 + in_b * self.m as u64
    }
}

/// `C[m, n] = A[m, k] · B[k, n]`, up to the accumulators with the bias added.
///
/// The sum of an output starts at 0, takes the products `A[i, k] · B[k, j]` for k = 0, 1, 2, …
/// through the [`Adder`], chunk by chunk if the accumulator says so, or block by block if an operand
/// has blocks along k, and last the bias of its column as addition number K. Methods know output
/// `(i, j)` by its place in C, `i · n + j`; its random words are those of its place in the whole output.
#[derive(Clone, Copy, Debug)]
pub struct GemmTask<'a> {
    /// The left operand, `[m, k]`.
    pub a: Operand<'a>,
    /// The right operand, `[k, n]`.
    pub b: Operand<'a>,
    /// The adder before the accumulators, made for the fraction bits of the product.
    pub adder: Adder,
    /// One row, an element for each column of the whole output.
    pub bias: Option<&'a Tensor>,
    /// Where C lies in the whole output.
    pub output: Submatrix,
}

impl<'a> GemmTask<'a> {
    /// A GEMM that writes a whole output.
    pub fn new(a: Operand<'a>, b: Operand<'a>, adder: Adder, bias: Option<&'a Tensor>) -> Self {
        let output = Submatrix::whole(a.rows(), b.cols());
        Self { a, b, adder, bias, output }
    }

    /// Product `at` of several on equal cuts of what `a`, `b` and the bias are here.
    pub fn repeat(&self, repeats: &Repeats, at: usize) -> Self {
        let cut = |operand: Operand<'a>, cut| Operand {
            part: operand.part.cut(cut, at, repeats.count),
            ..operand
        };
        let (a, b) = (cut(self.a, repeats.a), cut(self.b, repeats.b));
        Self { a, b, output: repeats.written(at, a.rows(), b.cols()), ..*self }
    }

    /// The sizes of this GEMM.
    ///
    /// # Panics
    ///
    /// If A has not as many columns as B has rows, or the bias is not one row with an element for
    /// each column of the output.
    pub fn shape(&self) -> GemmShape {
        let shape = GemmShape { m: self.a.rows(), k: self.a.cols(), n: self.b.cols() };
        assert_eq!(shape.k, self.b.rows(), "columns of A and rows of B");
        if let Some(bias) = self.bias {
            assert_eq!((bias.rows(), bias.cols()), (1, self.output.stride), "shape of the bias");
        }
        shape
    }

    /// Of the products asked for, those of which an operand is not stored.
    pub fn structural_zeros(&self) -> u64 {
        self.shape().structural_zeros([self.a.reading, self.b.reading])
    }

    /// Multiply-accumulates: all products but structural zeros.
    pub fn macs(&self) -> u64 {
        self.shape().macs() - self.structural_zeros()
    }

    /// The row and the column in C of output `index`.
    pub fn place(&self, index: usize) -> (usize, usize) {
        (index / self.output.cols, index % self.output.cols)
    }

    /// The place of output `index` in the whole output, by which random words are drawn.
    #[inline]
    fn word_index(&self, index: usize) -> u64 {
        let Submatrix { cols, stride, .. } = self.output;
        let (row, col) = if cols == stride { (0, index) } else { self.place(index) };
        self.output.index(row, col) as u64
    }

    /// Adds product `k` of output `index` to its sum.
    #[inline]
    pub fn add_product(&self, sum: &mut Sum, product: i128, index: usize, k: usize) {
        self.adder.add_product(sum, product, self.word_index(index), k as u64);
        if self.adder.ends_run(k as u64, self.a.cols() as u64) {
            self.end_run(sum, index, k);
        }
    }

    /// Adds the sum of a chunk or a block that ends with product `k` to the sum of output `index`.
    pub fn end_run(&self, sum: &mut Sum, index: usize, k: usize) {
        if self.adder.block().is_none() {
            return self.adder.end_chunk(sum);
        }
        let (row, col) = self.place(index);
        let frac = self.a.frac(row, k) + self.b.frac(k, col);
        self.adder.end_block(sum, frac, self.word_index(index), k as u64);
    }

    /// Adds the bias to the sum of output `index`, whose products are all added, and limits it for
    /// the last time; tells whether it overflowed.
    pub fn finish(&self, sum: &mut Sum, index: usize) -> bool {
        let col = self.output.left + self.place(index).1;
        let bias = self.bias.map(|bias| (bias.code(0, col), bias.format().frac()));
        self.adder.finish(sum, bias, self.word_index(index), self.a.cols() as u64)
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
