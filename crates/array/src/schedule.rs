//! When each fold of a GEMM starts, and what it waits for.
//!
//! A fold starts when its first operands enter the first PE. Which cycle that is depends on the
//! fold before and on [`Overlap`]. Let a fold that waits for r rows and c columns be followed by
//! one that waits for r' rows; with T steps in time, the second starts after the first by
//!
//! | overlap | an operand stays | the outputs stay |
//! | --- | --- | --- |
//! | none | T + r + c − 2 + r' | T + 2r + c − 2 |
//! | double-buffered | max(T + r + c − 2, r') | max(T + r + c − 2, 2r − r') |
//! | pipelined | max(T, r', r, T + r − r') | max(T, r, 2r − r') |
//!
//! The terms are what each part of a column is busy with: T cycles the edge at which operands
//! enter; r' cycles the chain that brings the next stationary operand, r cycles the one that takes
//! results away; r cycles pass until the first partial sum is written that the next fold reads; and
//! the port at the bottom gives one result per cycle, in the order of folds: T of them, r cycles
//! after the start, or r of them after T + r − 1. `docs/timing.md` derives them.

use std::ops::Range;

use crate::config::Overlap;
use crate::mapping::{Mapping, Pieces, Tile};
use crate::timing::{Cycles, CyclesByCause};

/// The starts of all folds of one GEMM.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    mapping: Mapping,
    slow: Pieces,
    fast: Pieces,
    time: u64,
}

/// One fold in time. Cycles count from the first of the GEMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// What lies on the grid.
    pub tile: Tile,
    /// The rows that it waits for.
    pub span_rows: usize,
    /// The columns that it waits for.
    pub span_cols: usize,
    /// The cycle in which its first operands enter the first PE.
    pub start: u64,
    /// The cycle in which its stationary operand begins to enter the first column, or its
    /// stationary outputs begin to leave it; one column later per cycle.
    pub chain: u64,
}

impl Schedule {
    /// The schedule of a GEMM; `None` if its folds do not fit 64 bits.
    pub fn new(mapping: &Mapping) -> Option<Self> {
        mapping.folds()?;
        let [rows, cols] = mapping.pieces();
        let (slow, fast) = if mapping.output_stays() { (rows, cols) } else { (cols, rows) };
        let time = mapping.extents().time as u64;
        // Twice the grid is added to it at most.
        time.checked_add(1 << 13)?;
        Some(Self { mapping: *mapping, slow, fast, time })
    }

    /// The folds in their order.
    ///
    /// # Panics
    ///
    /// If the cycles of the GEMM do not fit 64 bits.
    pub fn folds(&self) -> impl Iterator<Item = Fold> + '_ {
        let (slow, fast) = (self.slow.count(), self.fast.count());
        (0..slow).flat_map(move |slow_at| (0..fast).map(move |at| self.fold(slow_at, at)))
    }

    /// The folds from the last to the first.
    ///
    /// # Panics
    ///
    /// If the cycles of the GEMM do not fit 64 bits.
    pub(crate) fn folds_backwards(&self) -> impl Iterator<Item = Fold> + '_ {
        let (slow, fast) = (self.slow.count(), self.fast.count());
        (0..slow).rev().flat_map(move |slow_at| {
            (0..fast).rev().map(move |fast_at| self.fold(slow_at, fast_at))
        })
    }

    /// The number of folds.
    pub fn count(&self) -> u64 {
        self.slow.count() as u64 * self.fast.count() as u64
    }

    /// The fold of a number, from 0, in a time that does not depend on it; `None` past the last.
    ///
    /// # Panics
    ///
    /// If the cycles of the GEMM do not fit 64 bits.
    pub fn nth(&self, number: u64) -> Option<Fold> {
        let fast = self.fast.count() as u64;
        (number < self.count())
            .then(|| self.fold((number / fast) as usize, (number % fast) as usize))
    }

    /// The number of the first fold with the same place on the slow axis as fold `number`.
    pub(crate) fn turn(&self, number: u64) -> u64 {
        number - number % self.fast.count() as u64
    }

    /// The part of the time axis that a fold streams, one step per cycle.
    pub fn steps(&self, _fold: &Fold) -> Range<u64> {
        0..self.time
    }

    /// The cycles that a fold is in the grid: from the first of its preload, or of its stream where
    /// outputs stay, to that in which the last sum that it waits for leaves.
    ///
    /// ```
    /// use systoliq_array::{Array, Mapping, Schedule, Stationary};
    /// use systoliq_program::gemm::GemmShape;
    /// let shape = GemmShape { m: 3, k: 5, n: 2 };
    /// let mapping = Mapping::with(&Array::new(3, 2)?, shape, Stationary::Output);
    /// let schedule = Schedule::new(&mapping).ok_or("too many folds")?;
    /// let fold = schedule.nth(0).ok_or("no fold")?;
    /// assert_eq!(schedule.cycles_of(&fold), 0..5 + 3 + 2 - 2 + 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cycles_of(&self, fold: &Fold) -> Range<u64> {
        let steps = self.steps(fold);
        let streamed = fold.start + (steps.end - steps.start);
        let drain = if self.mapping.output_stays() { fold.span_rows } else { 0 };
        let rest = fold.span_rows + fold.span_cols - 2 + drain;
        fold.start.min(fold.chain)..streamed + rest as u64
    }

    /// A fold by its place along the slow and the fast axis.
    fn fold(&self, slow_at: usize, fast_at: usize) -> Fold {
        let tile = self.mapping.tile(slow_at, fast_at);
        let (rows, cols) = self.mapping.span(tile.rows, tile.cols);
        let start = self.elapsed(slow_at, fast_at).expect("cycles fit 64 bits").total().0;
        let chain = match self.mapping.output_stays() {
            true => start + self.time + rows - 1,
            false => start - rows,
        };
        Fold { tile, span_rows: rows as usize, span_cols: cols as usize, start, chain }
    }

    /// The cycles of the whole GEMM; `None` if they do not fit 64 bits.
    pub fn cycles(&self) -> Option<CyclesByCause> {
        let (slow, fast) = (self.slow.count(), self.fast.count());
        if slow == 0 {
            return Some(CyclesByCause::default());
        }
        let last = self.elapsed(slow - 1, fast - 1)?;
        let stream = CyclesByCause { stream: Cycles(self.time), ..Default::default() };
        let streamed = last.checked_add(stream)?;
        let finish = self.finish(streamed)?;
        // Where the last folds are small, one of those before may be the last to finish: the last
        // of each size.
        let mut end = finish;
        for slow_at in slow.saturating_sub(2)..slow {
            for fast_at in fast.saturating_sub(2)..fast {
                end = end.max(self.finish_of(slow_at, fast_at)?);
            }
        }
        let drain = self.drain_of(slow - 1, fast - 1);
        let skew = end - streamed.total().0 - drain;
        let tail = CyclesByCause { skew: Cycles(skew), drain: Cycles(drain), ..Default::default() };
        streamed.checked_add(tail)
    }

    /// The cycle after the last of the fold that streams last.
    fn finish(&self, streamed: CyclesByCause) -> Option<u64> {
        let (slow, fast) = (self.slow.count() - 1, self.fast.count() - 1);
        let (rows, cols) = self.span_of(slow, fast);
        streamed.total().0.checked_add(rows + cols - 2 + self.drain_of(slow, fast))
    }

    /// The cycle after the last of a fold.
    fn finish_of(&self, slow_at: usize, fast_at: usize) -> Option<u64> {
        let (rows, cols) = self.span_of(slow_at, fast_at);
        let start = self.elapsed(slow_at, fast_at)?.total().0;
        let rest = rows + cols - 2 + self.drain_of(slow_at, fast_at);
        start.checked_add(self.time)?.checked_add(rest)
    }

    fn drain_of(&self, slow_at: usize, fast_at: usize) -> u64 {
        if self.mapping.output_stays() { self.span_of(slow_at, fast_at).0 } else { 0 }
    }

    fn span_of(&self, slow_at: usize, fast_at: usize) -> (u64, u64) {
        let (slow, fast) = (self.slow.size(slow_at), self.fast.size(fast_at));
        let (rows, cols) = if self.mapping.output_stays() { (slow, fast) } else { (fast, slow) };
        self.mapping.span(rows, cols)
    }

    /// The cycles from the beginning to the start of a fold, in closed form.
    fn elapsed(&self, slow_at: usize, fast_at: usize) -> Option<CyclesByCause> {
        let fast_last = self.fast.count() - 1;
        let turn = |from: usize, to: usize| {
            self.between(self.span_of(from, fast_last), self.span_of(to, 0))
        };
        let mut cycles = self.lead(self.span_of(0, 0));
        if slow_at > 0 {
            // All that come before are full, so each takes as long as the first.
            let steps = slow_at as u64;
            cycles = cycles.checked_add(self.within(0, fast_last)?.checked_mul(steps)?)?;
            if steps > 1 {
                cycles = cycles.checked_add(turn(0, 1).checked_mul(steps - 1)?)?;
            }
            cycles = cycles.checked_add(turn(slow_at - 1, slow_at))?;
        }
        cycles.checked_add(self.within(slow_at, fast_at)?)
    }

    /// The cycles from the start of the first fold of a slow step to that of another.
    fn within(&self, slow_at: usize, fast_at: usize) -> Option<CyclesByCause> {
        if fast_at == 0 {
            return Some(CyclesByCause::default());
        }
        let span = |at| self.span_of(slow_at, at);
        let equal = self.between(span(0), span(0)).checked_mul(fast_at as u64 - 1)?;
        equal.checked_add(self.between(span(0), span(fast_at)))
    }

    /// What comes before the first fold.
    fn lead(&self, (rows, _): (u64, u64)) -> CyclesByCause {
        let preload = if self.mapping.output_stays() { 0 } else { rows };
        CyclesByCause { preload: Cycles(preload), ..Default::default() }
    }

    /// The cycles from the start of a fold to that of the next.
    fn between(&self, (rows, cols): (u64, u64), (next, _): (u64, u64)) -> CyclesByCause {
        let time = self.time;
        let output_stays = self.mapping.output_stays();
        let busy = time + rows + cols - 2;
        // The port at the bottom of a column gives results in the order of folds.
        let in_order = (2 * rows).saturating_sub(next);
        let (skew, chain) = match (self.mapping.overlap, output_stays) {
            (Overlap::None, true) => (rows + cols - 2, rows),
            (Overlap::None, false) => (rows + cols - 2, next),
            (Overlap::DoubleBuffered, true) => (rows + cols - 2, in_order.saturating_sub(busy)),
            (Overlap::DoubleBuffered, false) => (rows + cols - 2, next.saturating_sub(busy)),
            (Overlap::Pipelined, true) => (0, rows.max(in_order).saturating_sub(time)),
            (Overlap::Pipelined, false) => {
                let period = time.max(next).max(rows).max((time + rows).saturating_sub(next));
                let chain = next.min(period - time);
                (period - time - chain, chain)
            }
        };
        let (preload, drain) = if output_stays { (0, chain) } else { (chain, 0) };
        CyclesByCause {
            preload: Cycles(preload),
            stream: Cycles(time),
            skew: Cycles(skew),
            drain: Cycles(drain),
            ..Default::default()
        }
    }
}
