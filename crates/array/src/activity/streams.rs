//! Toggles of registers that hold sums, from the streams of codes that each of them sees.

use num_traits::PrimInt;
use systoliq_fxp::vectors::VectorWork;

use super::{GemmRun, follows};
use crate::Mapping;
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

/// What registers see in one piece of time: the first and the last that each holds, and toggles from the
/// first to the last.
pub(super) struct PieceStreams<R> {
    pub(super) first: Vec<R>,
    pub(super) last: Vec<R>,
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
        let Mapping { rows, cols, .. } = streams.run.mapping;
        let shadow = streams.run.mapping.has_shadow();
        let PieceStreams { first, last, within } = &streams.pieces[0];
        let mut held = vec![R::zero(); rows * cols];
        let mut toggles = 0;
        let mut folds = streams.run.schedule.folds().peekable();
        while let Some(fold) = folds.next() {
            let fold = &fold;
            for row in 0..fold.tile.rows {
                let place = streams.place(fold, row);
                let places = place..place + fold.tile.cols;
                let held = &mut held[row * cols..];
                let streams = first[places.clone()].iter().zip(&last[places.clone()]);
                for ((held, (&first, &last)), within) in
                    held.iter_mut().zip(streams).zip(&within[places])
                {
                    toggles += flips(if shadow { *held } else { R::zero() }, first) + within;
                    toggles += if shadow { flips(R::zero(), last) } else { 0 };
                    *held = last;
                }
            }
            toggles += streams.draining(fold);
            // A second register that is filled at the edge at which it would become empty.
            let Some(next) = folds.peek() else { continue };
            if shadow && next.start - fold.start == fold.span_rows as u64 {
                toggles -= 2 * streams.refilled(fold, next);
            }
        }
        toggles
    }
}

impl<R: PrimInt> Streams<'_, R> {
    /// Toggles of the chains as what a fold has summed shifts down: row i takes what the rows above it
    /// held, up to the first, and becomes empty.
    #[inline(always)]
    fn draining(&self, fold: &Fold) -> u64 {
        let (last, cols) = (&self.pieces[0].last, fold.tile.cols);
        let mut toggles = 0;
        for row in 0..=fold.tile.rows.min(fold.span_rows - 1) {
            let moved = (fold.span_rows - row) as u64;
            let held = &last[self.place(fold, row).min(last.len())..];
            let above = &last[self.place(fold, row.saturating_sub(1))..];
            let mut of_row = 0;
            for col in 0..cols {
                let held = if row < fold.tile.rows { held[col] } else { R::zero() };
                let above = if row > 0 { above[col] } else { R::zero() };
                of_row += flips(held, above);
            }
            toggles += moved * of_row;
        }
        toggles
    }

    /// Ones that are in the same places in what leaves the first row of a fold last and in what the next
    /// leaves in its place: |a| + |b| − |a ^ b| = 2·|a & b|.
    #[inline(always)]
    fn refilled(&self, fold: &Fold, next: &Fold) -> u64 {
        let mut shared = 0;
        let (_, left, _) = self.passing(fold, 0);
        for row in 0..next.tile.rows.min(fold.span_rows) {
            let (_, into, _) = self.passing(next, row);
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
    fn passing(&self, fold: &Fold, row: usize) -> (&[R], &[R], &[u64]) {
        let PieceStreams { first, last, within } = &self.pieces[self.run.piece_of(&fold.tile)];
        let from = self.place(fold, row.min(fold.tile.rows - 1));
        let places = from..from + fold.tile.cols;
        (&first[places.clone()], &last[places.clone()], &within[places])
    }

    /// Toggles of a fold between registers that hold 0.
    #[inline(always)]
    fn alone(&self, fold: &Fold) -> u64 {
        let mut toggles = 0;
        for row in 0..fold.tile.rows {
            let (first, last, within) = self.passing(fold, row);
            let mut of_row = 0u64;
            for ((first, last), within) in first.iter().zip(last).zip(within) {
                let ends = u64::from(first.count_ones()).wrapping_add(last.count_ones().into());
                of_row = of_row.wrapping_add(*within).wrapping_add(ends);
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
            let (_, last, _) = self.passing(fold, row);
            let (first, _, _) = self.passing(next, row);
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
            let (_, last, _) = self.passing(fold, row);
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
