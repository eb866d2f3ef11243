//! Codes of a matrix as a view reads them: one by one, or block by block.

use std::ops::Range;

use ndarray::Array2;
use systoliq_fxp::Lane;

use super::{Submatrix, View, Windows};
use crate::Operand;

/// An operand before it is transposed, with codes of their own type.
#[derive(Clone, Copy, Debug)]
pub struct Viewed<'a, L> {
    codes: &'a [L],
    part: Submatrix,
    view: View,
    rows: usize,
    cols: usize,
}

/// Neighbouring rows of codes.
#[derive(Clone, Copy, Debug)]
pub struct CodeBlock<'a, L> {
    /// From the first code of the first row to the last code of the last.
    pub codes: &'a [L],
    /// From the first code of a row to that of the next.
    pub stride: usize,
}

impl<'a, L: Lane> Viewed<'a, L> {
    /// The operand over the codes of its tensor.
    pub fn new(operand: &Operand<'_>, codes: &'a Array2<L>) -> Self {
        let codes = codes.as_slice().expect("tensors are contiguous");
        let (part, view) = (operand.part, operand.reading.view);
        let (rows, cols) = view.shape(&part);
        Self { codes, part, view, rows, cols }
    }

    /// Rows of the view.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the view.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The code at a row and a column; 0 where none is stored.
    #[inline]
    pub fn code(&self, row: usize, col: usize) -> L {
        match self.view.place(&self.part, row, col) {
            Some((row, col)) => self.codes[self.part.index(row, col)],
            None => L::zero(),
        }
    }

    /// The codes of some rows in some columns, neither of which are none, as they are stored, if rows lie at
    /// equal distances.
    #[inline]
    pub fn in_place(&self, rows: Range<usize>, cols: Range<usize>) -> Option<CodeBlock<'a, L>> {
        let part = &self.part;
        let stride = match self.view {
            View::Stored => part.stride,
            View::Flat { rows_per_row } if part.cols == part.stride => rows_per_row * part.stride,
            _ => return None,
        };
        let first = part.index(0, 0) + rows.start * stride + cols.start;
        let count = (rows.len() - 1) * stride + cols.len();
        Some(CodeBlock { codes: &self.codes[first..first + count], stride })
    }

    /// The same, and copied to `buffer` if rows do not lie at equal distances.
    #[inline]
    pub fn block<'s>(
        &'s self,
        rows: Range<usize>,
        cols: Range<usize>,
        buffer: &'s mut Vec<L>,
    ) -> CodeBlock<'s, L> {
        if let Some(block) = self.in_place(rows.clone(), cols.clone()) {
            return block;
        }
        self.copy(rows, cols.clone(), buffer);
        CodeBlock { codes: buffer, stride: cols.len() }
    }

    fn copy(&self, rows: Range<usize>, cols: Range<usize>, buffer: &mut Vec<L>) {
        buffer.clear();
        buffer.resize(rows.len() * cols.len(), L::zero());
        for (row, into) in rows.zip(buffer.chunks_exact_mut(cols.len())) {
            match &self.view {
                View::Windows(windows) => self.copy_window(windows, row, &cols, into),
                View::Stored | View::Flat { .. } | View::Kernel { .. } => {
                    self.copy_row(row, &cols, into);
                }
            }
        }
    }

    /// Copies a row of which each run of as many codes as the part or the view has columns is stored
    /// in one piece.
    fn copy_row(&self, row: usize, cols: &Range<usize>, into: &mut [L]) {
        let run = self.part.cols.min(self.cols);
        let mut at = cols.start;
        while at < cols.end {
            let end = (at - at % run + run).min(cols.end);
            let (stored, col) = self.view.place(&self.part, row, at).expect("a stored element");
            let from = self.part.index(stored, col);
            into[at - cols.start..end - cols.start]
                .copy_from_slice(&self.codes[from..from + end - at]);
            at = end;
        }
    }

    /// Copies what is stored of a window to where zeros are.
    fn copy_window(&self, windows: &Windows, row: usize, cols: &Range<usize>, into: &mut [L]) {
        let Windows { down, along } = windows;
        let Submatrix { cols: channels, stride, .. } = self.part;
        let (window, ox) = (row / along.positions, row % along.positions);
        let (image, oy) = (window / down.positions, window % down.positions);
        // Neighbouring taps of a row are stored side by side if nothing lies between them.
        let joined = along.tap_step == 1 && along.spread == 1 && channels == stride;
        let taps = if joined { along.taps } else { 1 };
        let of_row = along.taps * channels;
        for ky in cols.start / of_row..cols.end.div_ceil(of_row) {
            let Some(y) = down.meets(oy, ky) else { continue };
            let line = self.part.index((image * down.extent + y) * along.extent, 0);
            for kx in (0..along.taps).step_by(taps) {
                let Some(x) = along.reaches(ox, kx) else { continue };
                let first = ky * of_row + kx * channels;
                // From a column to its place in the line of the image, of which it may lie outside.
                let offset = x * stride as isize - first as isize;
                let from = cols.start.max(first) as isize;
                let to = cols.end.min(first + taps * channels) as isize;
                let from = from.max(-offset);
                let to = to.min((along.extent * stride) as isize - offset);
                if from < to {
                    let count = (to - from) as usize;
                    let stored = (line as isize + offset + from) as usize;
                    into[from as usize - cols.start..][..count]
                        .copy_from_slice(&self.codes[stored..stored + count]);
                }
            }
        }
    }
}
