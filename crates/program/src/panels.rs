//! Operands, packed for inner loops.
//!
//! The *lines* of an operand are what the products of one output run along: rows of A, columns of
//! B. A *panel* holds some lines side by side, k by k, so that an inner loop reads it in one
//! stream; where lines are missing in the last panel, it holds zeros. A [`Group`] says what becomes
//! of codes on the way.

use std::array::from_fn;
use std::ops::Range;

use num_traits::{AsPrimitive, PrimInt, WrappingAdd, WrappingMul, Zero};
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Lane, with_codes};

use crate::Operand;

/// An integer type to sum in.
pub trait Word: PrimInt + WrappingAdd + WrappingMul + AsPrimitive<i64> + std::fmt::Debug {
    /// Its width.
    const BITS: u32;
}

impl Word for i32 {
    const BITS: u32 = i32::BITS;
}

impl Word for i64 {
    const BITS: u32 = i64::BITS;
}

impl Word for i128 {
    const BITS: u32 = i128::BITS;
}

/// Which operand of a GEMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The left one, whose lines are rows.
    A,
    /// The right one, whose lines are columns.
    B,
}

/// An operand as lines of codes.
#[derive(Clone, Copy)]
struct OperandLines<'a, L> {
    codes: &'a [L],
    count: usize,
    k: usize,
    /// Whether a line is stored in one piece; otherwise neighbouring lines are stored side by side.
    whole: bool,
}

impl<'a, L: Lane> OperandLines<'a, L> {
    fn new(codes: &'a [L], operand: &Operand<'_>, side: Side) -> Self {
        let (count, k) = match side {
            Side::A => (operand.rows(), operand.cols()),
            Side::B => (operand.cols(), operand.rows()),
        };
        Self { codes, count, k, whole: operand.transposed == (side == Side::B) }
    }
}

/// How many words of a line are made before it is the next line's turn.
pub const AT_ONCE: usize = 32;

/// How many lines are turned into columns at once.
const ABREAST: usize = 8;

/// How `N` codes of neighbouring k become one word of a panel.
pub trait Group<const N: usize>: Copy {
    /// The word.
    type Word: Copy + Zero;

    /// The words of a piece of one line of at most `N · AT_ONCE` codes.
    fn line<L: Lane>(self, codes: &[L], words: &mut [Self::Word; AT_ONCE]);

    /// One word per line, from rows of codes of neighbouring lines.
    fn rows<L: Lane>(self, rows: [&[L]; N], words: &mut [Self::Word]);
}

/// Panels of `width` lines, `[panel][k / N][line]`, of words that `group` makes.
pub fn panels<G: Group<N>, const N: usize>(
    operand: &Operand<'_>,
    side: Side,
    width: usize,
    group: G,
) -> Vec<G::Word> {
    with_codes!(operand.tensor, |codes| {
        let codes = codes.as_slice().expect("tensors are contiguous");
        let lines = OperandLines::new(codes, operand, side);
        with_widest_vectors(Pack { lines, width, group })
    })
}

/// Panels of `width` lines, `[panel][k][line]`, each code times `2^zeros` as far as it fits.
pub fn word_panels<W: Word>(operand: &Operand<'_>, side: Side, width: usize, zeros: u32) -> Vec<W>
where
    i64: AsPrimitive<W>,
{
    let scale = if zeros < W::BITS { W::one() << zeros as usize } else { W::zero() };
    panels(operand, side, width, Scaled { scale })
}

/// Each code by itself, times `2^zeros`.
#[derive(Clone, Copy)]
struct Scaled<W> {
    scale: W,
}

impl<W: Word> Group<1> for Scaled<W>
where
    i64: AsPrimitive<W>,
{
    type Word = W;

    #[inline(always)]
    fn line<L: Lane>(self, codes: &[L], words: &mut [W; AT_ONCE]) {
        self.rows([codes], words);
    }

    #[inline(always)]
    fn rows<L: Lane>(self, [codes]: [&[L]; 1], words: &mut [W]) {
        for (word, &code) in words.iter_mut().zip(codes) {
            *word = code.code().as_().wrapping_mul(&self.scale);
        }
    }
}

/// Packs `N` codes of neighbouring k into each word, `[panel][k / N][line]`.
struct Pack<'a, L, G, const N: usize> {
    lines: OperandLines<'a, L>,
    width: usize,
    group: G,
}

impl<L: Lane, G: Group<N>, const N: usize> VectorWork for Pack<'_, L, G, N> {
    type Output = Vec<G::Word>;

    #[inline(always)]
    fn run(self) -> Vec<G::Word> {
        let OperandLines { count, k, whole, .. } = self.lines;
        let steps = k.div_ceil(N);
        let mut words = vec![Zero::zero(); count.next_multiple_of(self.width) * steps];
        if words.is_empty() {
            return words;
        }
        let zeros = vec![L::zero(); if whole { 0 } else { count }];
        for (at, panel) in words.chunks_exact_mut(steps * self.width).enumerate() {
            let lines = at * self.width..count.min((at + 1) * self.width);
            if whole {
                self.turn(lines, panel);
            } else {
                self.interleave(lines, &zeros, panel);
            }
        }
        words
    }
}

impl<L: Lane, G: Group<N>, const N: usize> Pack<'_, L, G, N> {
    /// Fills a panel from lines that are stored whole, some k of all lines after the other, so that
    /// the part of the panel that is written stays in the nearest cache.
    #[inline(always)]
    fn turn(&self, lines: Range<usize>, panel: &mut [G::Word]) {
        let OperandLines { codes, k, .. } = self.lines;
        let codes = &codes[lines.start * k..lines.end * k];
        let parts = panel.chunks_mut(AT_ONCE * self.width);
        for (part, from) in parts.zip((0..k).step_by(AT_ONCE * N)) {
            for first in (0..lines.len()).step_by(ABREAST) {
                let used = first..lines.len().min(first + ABREAST);
                let mut words = [[Zero::zero(); AT_ONCE]; ABREAST];
                for (words, line) in words.iter_mut().zip(codes[first * k..].chunks_exact(k)) {
                    self.group.line(&line[from..k.min(from + AT_ONCE * N)], words);
                }
                // An array of its own, so that this compiles to permutations of vectors.
                let mut columns = [[Zero::zero(); ABREAST]; AT_ONCE];
                for (at, column) in columns.iter_mut().enumerate() {
                    *column = from_fn(|line| words[line][at]);
                }
                for (slots, column) in part.chunks_exact_mut(self.width).zip(&columns) {
                    let slots = &mut slots[used.clone()];
                    match slots.first_chunk_mut() {
                        Some(slots) => *slots = *column,
                        None => slots.copy_from_slice(&column[..slots.len()]),
                    }
                }
            }
        }
    }

    /// Fills a panel from lines that are stored side by side; `zeros` stand in for a missing k.
    #[inline(always)]
    fn interleave(&self, lines: Range<usize>, zeros: &[L], panel: &mut [G::Word]) {
        let OperandLines { codes, count, .. } = self.lines;
        let width = lines.len();
        for (slots, step) in panel.chunks_exact_mut(self.width).zip(codes.chunks(N * count)) {
            let mut rows = [&zeros[..width]; N];
            for (row, codes) in rows.iter_mut().zip(step.chunks_exact(count)) {
                *row = &codes[lines.clone()];
            }
            self.group.rows(rows, &mut slots[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_fxp::{Format, Tensor};

    #[test]
    fn panels_hold_every_code_at_its_place() {
        for (rows, cols) in [(1, 1), (1, 5), (5, 1), (4, 6), (7, 9), (33, 65), (40, 32)] {
            let codes: Vec<i64> =
                (0..rows * cols).map(|at| at as i64 * 377 % 60000 - 30000).collect();
            let tensor = Tensor::from_codes(Format::new(16, 0, true).unwrap(), rows, cols, &codes);
            for transposed in [false, true] {
                let operand = Operand { tensor: &tensor, transposed };
                for (side, width) in [(Side::A, 1), (Side::A, 3), (Side::B, 4), (Side::B, 32)] {
                    check(&operand, side, width);
                }
            }
        }
    }

    fn check(operand: &Operand<'_>, side: Side, width: usize) {
        let (count, k) = match side {
            Side::A => (operand.rows(), operand.cols()),
            Side::B => (operand.cols(), operand.rows()),
        };
        let code = |line: usize, at: usize| match (line < count && at < k, side) {
            (false, _) => 0,
            (_, Side::A) => operand.code(line, at),
            (_, Side::B) => operand.code(at, line),
        };
        let case = format!("{side:?} of {count} lines of {k}, {width} wide");
        let words: Vec<i64> = word_panels(operand, side, width, 3);
        assert_eq!(words.len(), count.next_multiple_of(width) * k, "{case}");
        for (at, &word) in words.iter().enumerate() {
            let (panel, at, lane) = (at / (k * width), at / width % k, at % width);
            assert_eq!(word, code(panel * width + lane, at) << 3, "{case}");
        }
    }
}
