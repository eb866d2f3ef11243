//! Toggles of registers that hold sums, from the streams of codes that each of them sees.

use num_traits::PrimInt;
use systoliq_fxp::vectors::VectorWork;

use super::{GemmRun, follows};
use crate::Mapping;
use crate::mapping::Axis;
use crate::schedule::Fold;

/// Bits that differ.
#[inline(always)]
fn flips<R: PrimInt>(before: R, after: R) -> u64 {
    (before ^ after).count_ones().into()
}

/// What each register sees in each piece of time, by its place along the rows' and the columns'
/// axis.
pub(super) struct Streams<'r, R> {
    pub(super) run: &'r GemmRun,
    pub(super) pieces: Vec<PieceStreams<R>>,
}

/// What registers see in one piece of time.
pub(super) struct PieceStreams<R> {
    /// The first that each holds.
    pub(super) first: Vec<R>,
    /// The last that each holds.
    pub(super) last: Vec<R>,
    /// Toggles from the first to the last, of each row of places and there of each piece of the columns.
    pub(super) within: Vec<u64>,
}

impl<R: PrimInt> Streams<'_, R> {
    /// The place of the first column of a row of a fold.
    fn place(&self, fold: &Fold, row: usize) -> usize {
        (fold.tile.row + row) * self.run.mapping.extents().cols + fold.tile.col
    }
}

/// Where outputs stay: a sum starts at 0 or over the sum before, and leaves down its column.
pub(super) struct Staying<'r, R>(pub(super) Streams<'r, R>);

impl<R: PrimInt> VectorWork for Staying<'_, R> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self(streams) = self;
        let PieceStreams { first, last, within } = &streams.pieces[0];
        let shadow = streams.run.mapping.has_shadow();
        // A second register takes the last sum over 0; without it, the first sum is over 0.
        let alone = if shadow { last } else { first };
        let mut toggles = streams.draining();
        for &alone in alone {
            toggles = toggles.wrapping_add(flips(R::zero(), alone));
        }
        toggles += within.iter().sum::<u64>();
        if shadow {
            let [more, less] = streams.taking_turns();
            toggles += more;
            toggles -= less;
        }
        toggles
    }
}

/// Bits that differ in neighbouring codes.
#[inline(always)]
fn flips_of_row<R: PrimInt>(before: &[R], after: &[R]) -> u64 {
    let mut sum = 0u32;
    for (&before, &after) in before.iter().zip(after) {
        // A row of an output has far less than 2²⁵ columns.
        sum = sum.wrapping_add((before ^ after).count_ones());
    }
    sum.into()
}

impl<R: PrimInt> Streams<'_, R> {
    /// Toggles as each fold begins over the sums of the one before, and how many fewer there are where
    /// second registers are filled at the edge at which they would become empty.
    #[inline(always)]
    fn taking_turns(&self) -> [u64; 2] {
        let Mapping { rows, cols, .. } = self.run.mapping;
        let PieceStreams { first, last, .. } = &self.pieces[0];
        let mut held = vec![R::zero(); rows * cols];
        let (mut toggles, mut less) = (0, 0);
        let mut folds = self.run.schedule.folds().peekable();
        while let Some(fold) = folds.next() {
            for row in 0..fold.tile.rows {
                let place = self.place(&fold, row);
                let places = place..place + fold.tile.cols;
                let held = &mut held[row * cols..][..fold.tile.cols];
                toggles += flips_of_row(held, &first[places.clone()]);
                held.copy_from_slice(&last[places]);
            }
            let next = folds.peek().filter(|next| next.start - fold.start == fold.span_rows as u64);
            less += next.map_or(0, |next| 2 * self.refilled(&fold, next));
        }
        [toggles, less]
    }

    /// Toggles of the chains as what folds have summed shifts down: row i takes what the rows above it
    /// held, up to the first, and becomes empty.
    #[inline(always)]
    fn draining(&self) -> u64 {
        let mapping = &self.run.mapping;
        let (last, cols) = (&self.pieces[0].last, mapping.extents().cols);
        let empty = vec![R::zero(); cols];
        let mut toggles = 0;
        let pieces = mapping.pieces(Axis::Rows);
        for rows in (0..pieces.count()).map(|at| pieces.range(at)) {
            let (span, _) = mapping.span(rows.len(), cols);
            let mut above = empty.as_slice();
            let held = last[rows.start * cols..rows.end * cols].chunks_exact(cols);
            for (moved, held) in (1..=span).rev().zip(held.chain([empty.as_slice()])) {
                toggles += moved * flips_of_row(above, held);
                above = held;
            }
        }
        toggles
    }

    /// Ones that are in the same places in what leaves the first row of a fold last and in what the next
    /// leaves in its place: |a| + |b| − |a ^ b| = 2·|a & b|.
    #[inline(always)]
    fn refilled(&self, fold: &Fold, next: &Fold) -> u64 {
        let mut shared = 0;
        let (_, left) = self.passing(fold, 0);
        for row in 0..next.tile.rows.min(fold.span_rows) {
            let (_, into) = self.passing(next, row);
            for (&left, &into) in left.iter().zip(into) {
                shared += u64::from((left & into).count_ones());
            }
        }
        shared
    }
}

/// Where sums move: in each register, one line after the other, 0 before and after a fold unless
/// another follows at once.
pub(super) struct Moving<'r, R>(pub(super) Streams<'r, R>);

impl<R: PrimInt> VectorWork for Moving<'_, R> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self(streams) = self;
        let (mut toggles, mut less) = (0, 0);
        let mut folds = streams.run.schedule.folds().peekable();
        while let Some(fold) = folds.next() {
            let after = folds.peek().filter(|after| follows(&fold, after));
            toggles += streams.alone(&fold);
            // |a ^ b| = |a| + |b| − 2·|a & b|
            less += after.map_or(0, |after| 2 * streams.shared(&fold, after));
            less += streams.unseen(&fold, after);
        }
        toggles - less
    }
}

impl<R: PrimInt> Streams<'_, R> {
    /// What the registers of a row see of a fold; rows of the grid that no operand fills pass on what the
    /// last one has made.
    #[inline(always)]
    fn passing(&self, fold: &Fold, row: usize) -> (&[R], &[R]) {
        let PieceStreams { first, last, .. } = &self.pieces[self.run.piece_of(&fold.tile)];
        let from = self.place(fold, row.min(fold.tile.rows - 1));
        let places = from..from + fold.tile.cols;
        (&first[places.clone()], &last[places])
    }

    /// Toggles of a fold between registers that hold 0.
    #[inline(always)]
    fn alone(&self, fold: &Fold) -> u64 {
        let pieces = self.run.mapping.pieces(Axis::Cols);
        let within = &self.pieces[self.run.piece_of(&fold.tile)].within;
        let mut toggles = 0;
        for row in 0..fold.tile.rows {
            let (first, last) = self.passing(fold, row);
            let place = (fold.tile.row + row) * pieces.count() + fold.tile.col / pieces.side;
            let mut of_row = within[place];
            for (first, last) in first.iter().zip(last) {
                let ends = u64::from(first.count_ones()).wrapping_add(last.count_ones().into());
                of_row = of_row.wrapping_add(ends);
            }
            let is_last = row + 1 == fold.tile.rows;
            let passed_on = if is_last { fold.span_rows - fold.tile.rows } else { 0 };
            toggles += of_row * (1 + passed_on as u64);
        }
        toggles
    }

    /// Ones that are in the same places in the last sums of a fold and in the first ones of the next.
    #[inline(always)]
    fn shared(&self, fold: &Fold, next: &Fold) -> u64 {
        let mut shared = 0;
        for row in 0..fold.span_rows.min(next.span_rows) {
            let (_, last) = self.passing(fold, row);
            let (first, _) = self.passing(next, row);
            for (&last, &first) in last.iter().zip(first) {
                shared += u64::from((last & first).count_ones());
            }
        }
        shared
    }

    /// Toggles of registers that may not become empty before the GEMM is over, unless a fold follows.
    #[inline(always)]
    fn unseen(&self, fold: &Fold, after: Option<&Fold>) -> u64 {
        let left = fold.start + fold.tile.steps as u64;
        let mut toggles = 0;
        if left + ((fold.span_rows + fold.tile.cols) as u64) < self.run.end + 2 {
            return toggles;
        }
        for row in 0..fold.span_rows {
            let (_, last) = self.passing(fold, row);
            for (col, last) in last.iter().enumerate() {
                let replaced = match after {
                    Some(after) => row < after.span_rows && col < after.tile.cols,
                    None => false,
                };
                if left + (row + col) as u64 >= self.run.end && !replaced {
                    toggles += u64::from(last.count_ones());
                }
            }
        }
        toggles
    }
}
