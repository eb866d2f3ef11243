//! Toggles of an operand that comes down the chain of each column and stays: row i takes the element of
//! the last row first, and then those of the rows above it, down to its own.
//!
//! What is loaded over what was there follows from how folds turn: along each axis all that is replaced
//! lies a constant distance before what replaces it, up to a few [`Segment`]s.

use std::marker::PhantomData;

use num_traits::AsPrimitive;
use systoliq_fxp::Lane;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_program::Operand;
use systoliq_program::panels::{AT_ONCE, Group, Side, panels, words_of_panels};
use systoliq_program::view::codes::CodeBlock;

use super::lanes::{ADDED_MAX, Flips, LANES, add, sum_of_lanes};
use super::turns::{LoopTurns, Turn};
use crate::Mapping;
use crate::config::PartialFolds;
use crate::mapping::{Axis, Pieces};

/// Toggles of the registers of an operand that stays.
pub(super) fn toggles(mapping: &Mapping, operand: &Operand<'_>, side: Side) -> u64 {
    match operand.tensor.format().bits() {
        0..=8 => toggles_of_words::<u8>(mapping, operand, side),
        9..=16 => toggles_of_words::<u16>(mapping, operand, side),
        _ => toggles_of_words::<u32>(mapping, operand, side),
    }
}

fn toggles_of_words<W: Lane>(mapping: &Mapping, operand: &Operand<'_>, side: Side) -> u64
where
    i64: AsPrimitive<W>,
{
    let [rows, cols] = [Axis::Rows, Axis::Cols].map(|axis| HeldAxis::new(mapping, axis));
    let width = cols.extent();
    // Pieces of a row are read whole, also where less of it is left.
    let mut codes = vec![W::zero(); rows.extent() * width + LANES];
    let words = words_of_panels(operand, side, width, 1);
    panels(operand, side, width, Kept(PhantomData), &mut codes[..words]);
    let flips = Flips::of_width(operand.tensor.format().bits());
    with_widest_vectors(HeldOperand { mapping, rows, cols, codes: &codes, flips })
}

/// Codes as they are, in words of their width.
#[derive(Clone, Copy)]
struct Kept<W>(PhantomData<W>);

impl<W: Lane> Group<1> for Kept<W>
where
    i64: AsPrimitive<W>,
{
    type Word = W;

    #[inline(always)]
    fn line<L: Lane>(self, codes: &[L], words: &mut [W; AT_ONCE]) {
        match codes.first_chunk::<AT_ONCE>() {
            // A length that the compiler knows.
            Some(codes) => self.rows([codes], words),
            None => self.rows([codes], words),
        }
    }

    #[inline(always)]
    fn rows<L: Lane>(self, [codes]: [&[L]; 1], words: &mut [W]) {
        words.iter_mut().zip(codes).for_each(|(word, code)| *word = code.code().as_());
    }
}

/// An axis of the grid, cut into what folds load.
#[derive(Clone, Copy)]
struct HeldAxis(Pieces);

/// Neighbouring places, and those whose registers they are loaded to.
#[derive(Clone, Copy, Default)]
struct Segment {
    before: usize,
    after: usize,
    count: usize,
}

impl HeldAxis {
    /// A fold that waits for the whole grid loads zeros to where it has no operand.
    fn new(mapping: &Mapping, axis: Axis) -> Self {
        let pieces = mapping.pieces(axis);
        Self(match mapping.partial_folds {
            PartialFolds::Full => Pieces { full: pieces.count(), rest: 0, ..pieces },
            PartialFolds::Trimmed => pieces,
        })
    }

    fn extent(self) -> usize {
        self.0.full * self.0.side + self.0.rest
    }

    /// What a turn loads over what. A last piece that is not full leaves what the one before it has
    /// loaded beyond it.
    fn loaded(self, turn: Turn) -> [Segment; 2] {
        let Pieces { side, full, rest } = self.0;
        let extent = self.extent();
        match turn {
            Turn::Same => [Segment { before: 0, after: 0, count: extent }, Segment::default()],
            Turn::Next => {
                let count = extent.saturating_sub(side);
                [Segment { before: 0, after: side, count }, Segment::default()]
            }
            Turn::Again if full == 0 => {
                [Segment { before: 0, after: 0, count: rest }, Segment::default()]
            }
            Turn::Again => [
                Segment { before: full * side, after: 0, count: rest },
                Segment { before: (full - 1) * side + rest, after: rest, count: side - rest },
            ],
        }
    }
}

/// How many rows' flips, each as often as its number, fit a word.
const WEIGHED_MAX: usize = 8;

/// An operand that stays.
struct HeldOperand<'a, W> {
    mapping: &'a Mapping,
    rows: HeldAxis,
    cols: HeldAxis,
    /// All that is loaded, row by row, and some zeros.
    codes: &'a [W],
    flips: Flips<W>,
}

impl<W: Lane> VectorWork for HeldOperand<'_, W> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let times = self.mapping.pieces(Axis::Time);
        let mut toggles = times.count() as u64 * self.passing() + self.first();
        for turns in LoopTurns::of(self.mapping) {
            let times = turns.along(Axis::Time).pieces(times).len() as u64;
            if times == 0 {
                continue;
            }
            for rows in self.rows.loaded(turns.along(Axis::Rows)) {
                for cols in self.cols.loaded(turns.along(Axis::Cols)) {
                    toggles += times * self.replaced(rows, cols);
                }
            }
        }
        toggles
    }
}

impl<W: Lane> HeldOperand<'_, W> {
    /// Codes from a row and a column on.
    #[inline(always)]
    fn from(&self, row: usize, col: usize) -> CodeBlock<'_, W> {
        let stride = self.cols.extent();
        CodeBlock { codes: &self.codes[row * stride + col..], stride }
    }

    /// Toggles as all folds at one time load rows that come before the last: row i takes i of them.
    #[inline(always)]
    fn passing(&self) -> u64 {
        let (rows, cols) = (self.rows.0, self.cols.extent());
        let mut toggles = 0;
        for tile in (0..rows.count()).map(|at| rows.range(at)) {
            for from in (tile.start + 1..tile.end).step_by(WEIGHED_MAX) {
                let count = (tile.end - from).min(WEIGHED_MAX);
                for col in (0..cols).step_by(LANES) {
                    let block = self.from(from - 1, col);
                    let (mut flips, mut more) = ([W::zero(); LANES], [W::zero(); LANES]);
                    for at in (0..count).rev() {
                        add(&mut flips, row_of(block, at), row_of(block, at + 1), self.flips);
                        if at > 0 {
                            for lane in 0..LANES {
                                more[lane] = more[lane].wrapping_add(&flips[lane]);
                            }
                        }
                    }
                    let sum = |counts| sum_of_lanes(counts, cols - col);
                    toggles += (from - tile.start) as u64 * sum(&flips) + sum(&more);
                }
            }
        }
        toggles
    }

    /// Toggles as the first fold loads its last row over zeros, and what is multiplied then.
    #[inline(always)]
    fn first(&self) -> u64 {
        let [rows, cols] = [self.rows, self.cols].map(|axis| axis.0.size(0));
        let zeros = [W::zero(); LANES];
        let mut toggles = 0;
        for col in (0..cols).step_by(LANES) {
            let none = CodeBlock { codes: &zeros, stride: 0 };
            toggles += self.over(none, (0, col), (rows, cols - col));
        }
        toggles
    }

    /// Toggles as some rows and columns are loaded over those before.
    #[inline(always)]
    fn replaced(&self, rows: Segment, cols: Segment) -> u64 {
        let side = self.rows.0.side;
        let (mut toggles, mut at) = (0, 0);
        while at < rows.count {
            let count = (side - (rows.after + at) % side).min(rows.count - at);
            for col in (0..cols.count).step_by(LANES) {
                let before = self.from(rows.before + at, cols.before + col);
                let after = (rows.after + at, cols.after + col);
                toggles += self.over(before, after, (count, cols.count - col));
            }
            at += count;
        }
        toggles
    }

    /// Toggles as some rows of a fold and some columns, of which [`LANES`] are seen at most, are loaded
    /// over those before: each register of the chain takes the last row of the fold, and one beside it
    /// its own.
    #[inline(always)]
    fn over(
        &self,
        before: CodeBlock<'_, W>,
        (row, col): (usize, usize),
        (rows, cols): (usize, usize),
    ) -> u64 {
        let pieces = self.rows.0;
        let last_row = pieces.range(row / pieces.side).end - 1;
        let last = row_of(self.from(last_row, col), 0);
        let codes = self.from(row, col);
        let shadow = self.mapping.has_shadow();
        let mut toggles = 0;
        // Two counts of a row.
        for from in (0..rows).step_by(ADDED_MAX / 2) {
            let mut counts = [W::zero(); LANES];
            for at in from..rows.min(from + ADDED_MAX / 2) {
                add(&mut counts, row_of(before, at), last, self.flips);
                if shadow {
                    add(&mut counts, row_of(before, at), row_of(codes, at), self.flips);
                }
            }
            toggles += sum_of_lanes(&counts, cols);
        }
        toggles
    }
}

/// The first codes of a row of a block.
#[inline(always)]
fn row_of<W>(block: CodeBlock<'_, W>, row: usize) -> &[W; LANES] {
    block.codes[row * block.stride..].first_chunk().expect("codes or spare zeros")
}
