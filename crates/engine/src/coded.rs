//! Operands in the words of the kernel that multiplies them fastest.

use std::ops::Range;
use std::sync::Arc;

use systoliq_fxp::Codes;
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::PaddedRows;
use systoliq_program::{GemmTask, Operand};

use crate::kernels::{CodeWord, Kernel, Kernels, SumTile, WordLines};
use crate::lent::ProductMemory;
use crate::line_sums::{LineSums, Power, WordCodes};
use crate::strips::LineWords;
use crate::words::{Coding, Panels, lines_of, windows_of};

/// Products of the shortest range of k of which sums are bounded by themselves.
pub(crate) const BLOCK: usize = 64;

/// Operands of which all codes fit 16 bits, in words.
pub(crate) struct Coded<'t> {
    pub(crate) shape: GemmShape,
    pub(crate) kernel: &'static dyn Kernel,
    pub(crate) a: &'t Operand<'t>,
    /// What codes of A become.
    pub(crate) coding: Coding,
    /// By how much they exceed A's codes then.
    pub(crate) excess: i32,
    /// By how much B's codes exceed what is packed of them.
    pub(crate) lowered: i32,
    pub(crate) b: Arc<Panels>,
    /// What it borrows of.
    pub(crate) memory: ProductMemory,
    /// What is in words of A and of B.
    pub(crate) words: [WordCodes; 2],
}

impl<'t> Coded<'t> {
    /// Of a right operand that `pack` packs, and of which codes fit 16 bits only without a sign if that is told.
    pub(crate) fn new(
        task: &'t GemmTask<'_>,
        kernels: Kernels,
        (b_unsigned, memory): (bool, &ProductMemory),
        pack: &mut dyn FnMut(&dyn Kernel, Coding) -> Arc<Panels>,
    ) -> Self {
        let (shape, a, memory) = (task.shape(), &task.a, memory.clone());
        let bytes = signed_bytes(a).zip(signed_bytes(&task.b));
        let Some((quads, (a_signed, b_signed))) = kernels.quads.zip(bytes) else {
            let (kernel, coding, words) = (kernels.pairs, Coding::Whole, [WordCodes::Pair; 2]);
            let (lowered, packed) = match b_unsigned {
                true => (1 << 15, Coding::Lowered),
                false => (0, Coding::Whole),
            };
            let b = pack(kernel, packed);
            return Self { shape, kernel, a, coding, excess: 0, lowered, b, memory, words };
        };
        // One operand has to be signed and the other not.
        let kernel = if b_signed { quads.signed_b } else { quads.signed_a };
        let (coding, excess) = match (a_signed, b_signed) {
            (true, true) => (Coding::Flipped, 128),
            (false, false) => (Coding::Flipped, -128),
            _ => (Coding::Byte, 0),
        };
        let flipped = if coding == Coding::Flipped { 0x80 } else { 0 };
        let words = [(a_signed, flipped), (b_signed, 0)].map(|(signed, flipped)| match signed {
            true => WordCodes::SignedBytes { flipped },
            false => WordCodes::Bytes { flipped },
        });
        let b = pack(kernel, Coding::Byte);
        Self { shape, kernel, a, coding, excess, lowered: 0, b, memory, words }
    }

    /// LineWords of each line.
    pub(crate) fn steps(&self) -> usize {
        self.shape.k.div_ceil(self.kernel.codes())
    }

    /// LineWords of each line that are proven together at least.
    pub(crate) fn block(&self) -> usize {
        BLOCK / self.kernel.codes()
    }

    /// How many blocks of so many words each line has.
    pub(crate) fn blocks(&self) -> usize {
        self.steps().div_ceil(self.block())
    }

    /// Sums of the columns of B in blocks.
    pub(crate) fn b_sums(&self, power: Power) -> &LineSums {
        self.b.sums(self.words[1], power, self.block())
    }

    /// The lines of A of some rows, and how many words each run of them has.
    pub(crate) fn lines_or_windows<'s>(
        &'s self,
        rows: Range<usize>,
        words: &'s mut LineWords,
    ) -> (WordLines<'s>, usize) {
        if PaddedRows::of(self.a, self.kernel.codes()).is_some() {
            return windows_of(self.a, rows, self.coding, words).expect("places of 32 bits");
        }
        let [words, _] = words;
        (self.lines(rows, words), self.steps())
    }

    /// The lines of A of some rows.
    pub(crate) fn lines<'s>(
        &'s self,
        rows: Range<usize>,
        words: &'s mut Vec<CodeWord>,
    ) -> WordLines<'s> {
        lines_of(self.a, rows, self.coding, words)
    }

    /// Does something with each tile of a strip of so many rows whose lines of A are at hand, and with its first
    /// row and column.
    #[inline(always)]
    pub(crate) fn each_tile<'s>(
        &'s self,
        (a, steps): (WordLines<'s>, usize),
        rows: usize,
        mut with: impl FnMut(&SumTile<'s>, [usize; 2]),
    ) {
        let n = self.shape.n;
        let (rows_max, cols_max) = (self.kernel.rows(), self.kernel.cols());
        let panel = self.b.panel();
        for col in (0..n).step_by(cols_max) {
            let (b, cols) = (self.b.at(col, 0), cols_max.min(n - col));
            for row in (0..rows).step_by(rows_max) {
                let rows = rows_max.min(rows - row);
                let (a, start) = (a.from(row), None);
                let tile = SumTile { a, b, panel, steps, rows, cols, stride: n, start };
                with(&tile, [row, col]);
            }
        }
    }
}

/// Whether the codes of a tensor are bytes, and then whether they are signed.
fn signed_bytes(operand: &Operand<'_>) -> Option<bool> {
    match operand.tensor.codes() {
        Codes::I8(_) => Some(true),
        Codes::U8(_) => Some(false),
        _ => None,
    }
}
