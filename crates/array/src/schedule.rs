//! When each fold of a GEMM starts, and what it waits for.
//!
//! A fold starts when its first operands enter the first PE. Which cycle that is depends on the
//! fold before and on [`Overlap`]. Let a fold that waits for r rows and c columns be followed by
//! one that waits for r' rows; with T steps in time of the first, the second starts after the first by
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

use crate::config::{Overlap, PartialFolds};
use crate::mapping::{Axis, Loop, Mapping, Tile};
use crate::timing::{Cycles, CyclesByCause};

/// The starts of all folds of one GEMM.
#[derive(Clone, Copy, Debug)]
pub struct FoldSchedule {
    mapping: Mapping,
    loops: [Loop; 3],
}

/// What a fold waits for: rows and columns of the grid, and steps in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) rows: u64,
    pub(crate) cols: u64,
    pub(crate) steps: u64,
}

/// Some folds, one after the other.
#[derive(Clone, Copy)]
struct FoldRun {
    first: Span,
    last: Span,
    /// From the start of the first to that of the last.
    cycles: CyclesByCause,
}

impl FoldRun {
    fn one(span: Span) -> Self {
        Self { first: span, last: span, cycles: CyclesByCause::default() }
    }
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

impl FoldSchedule {
    /// The schedule of a GEMM; `None` if its folds do not fit 64 bits.
    pub fn new(mapping: &Mapping) -> Option<Self> {
        mapping.folds()?;
        // Twice the grid is added to it at most.
        (mapping.extents().time as u64).checked_add(1 << 13)?;
        Some(Self { mapping: *mapping, loops: mapping.loops() })
    }

    /// The folds in their order.
    ///
    /// # Panics
    ///
    /// If the cycles of the GEMM do not fit 64 bits.
    pub fn folds(&self) -> impl Iterator<Item = Fold> + '_ {
        let mut before: Option<(Span, u64)> = None;
        self.mapping.tiles().map(move |tile| {
            let span = self.span(tile.rows, tile.cols, tile.steps);
            let start = match before {
                None => self.lead(span).total().0,
                Some((before, start)) => start + self.between(before, span).total().0,
            };
            before = Some((span, start));
            self.fold(tile, start)
        })
    }

    /// The folds from the last to the first.
    ///
    /// # Panics
    ///
    /// If the cycles of the GEMM do not fit 64 bits.
    pub(crate) fn folds_backwards(&self) -> impl Iterator<Item = Fold> + '_ {
        (0..self.count()).rev().map(|number| self.nth(number).expect("a fold that there is"))
    }

    /// The number of folds.
    pub fn count(&self) -> u64 {
        self.loops.iter().map(|each| each.pieces.count() as u64).product()
    }

    /// The fold of a number, from 0, in a time that does not depend on it; `None` past the last.
    ///
    /// # Panics
    ///
    /// If the cycles of the GEMM do not fit 64 bits.
    pub fn nth(&self, number: u64) -> Option<Fold> {
        if number >= self.count() {
            return None;
        }
        let [_, middle, fast] = self.loops.map(|each| each.pieces.count() as u64);
        let turns = [number / fast / middle, number / fast % middle, number % fast];
        let places = turns.map(|turn| turn as usize);
        let start = self.start(places).expect("cycles fit 64 bits").total().0;
        Some(self.fold(self.mapping.tile(places), start))
    }

    /// The numbers of the first folds of the turns of the inner loops that fold `number` is in.
    pub(crate) fn turns(&self, number: u64) -> [u64; 2] {
        let [_, middle, fast] = self.loops.map(|each| each.pieces.count() as u64);
        [number - number % fast, number - number % (middle * fast)]
    }

    /// The part of the time axis that a fold streams, one step per cycle.
    pub fn steps(&self, fold: &Fold) -> Range<u64> {
        fold.tile.time as u64..(fold.tile.time + fold.tile.steps) as u64
    }

    /// The cycles that a fold is in the grid: from the first of its preload, or of its stream where
    /// outputs stay, to that in which the last sum that it waits for leaves.
    ///
    /// ```
    /// use systoliq_array::{Array, FoldSchedule, Mapping, Stationary};
    /// use systoliq_program::gemm::GemmShape;
    /// let shape = GemmShape { m: 3, k: 5, n: 2 };
    /// let mapping = Mapping::new(&Array::new(3, 2)?, shape, Stationary::Output);
    /// let schedule = FoldSchedule::new(&mapping).ok_or("too many folds")?;
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

    /// The cycles from the first in which fold `before` needs what it works on, its preload or its
    /// stream, to the first in which fold `tile` does, which comes next.
    pub fn gap(&self, before: &Tile, tile: &Tile) -> u64 {
        let [before, tile] = [before, tile].map(|of| self.span(of.rows, of.cols, of.steps));
        let starts = self.between(before, tile).total().0;
        starts + self.lead(before).total().0 - self.lead(tile).total().0
    }

    /// The cycles from the first in which a fold needs what it works on: of its preload, and of all
    /// until the last of its sums has left.
    pub fn lead_and_length(&self, tile: &Tile) -> (u64, u64) {
        let span = self.span(tile.rows, tile.cols, tile.steps);
        let lead = self.lead(span).total().0;
        (lead, lead + span.steps + span.rows + span.cols - 2 + self.drain(span))
    }

    fn fold(&self, tile: Tile, start: u64) -> Fold {
        let Span { rows, cols, steps } = self.span(tile.rows, tile.cols, tile.steps);
        let chain = match self.mapping.output_stays() {
            true => start + steps + rows - 1,
            false => start - rows,
        };
        Fold { tile, span_rows: rows as usize, span_cols: cols as usize, start, chain }
    }

    /// The cycles of the whole GEMM; `None` if they do not fit 64 bits.
    pub fn cycles(&self) -> Option<CyclesByCause> {
        if self.count() == 0 {
            return Some(CyclesByCause::default());
        }
        let ends = self.loops.map(|each| each.pieces.count() - 1);
        let last = self.span_at(ends);
        let start = self.start(ends)?;
        let stream = CyclesByCause { stream: Cycles(last.steps), ..Default::default() };
        let streamed = start.checked_add(stream)?;
        // Where the last folds are small, one of those before may be the last to finish: the last
        // of each size.
        let mut end = self.finish(start.total().0, last)?;
        let is_small = self.loops.map(|each| self.has_small_last(each));
        for number in 1..8usize {
            let is_other = |at: usize| number >> at & 1 > 0;
            if (0..3).any(|at| is_other(at) && !is_small[at]) {
                continue;
            }
            let places = [0, 1, 2].map(|at| ends[at] - usize::from(is_other(at)));
            end = end.max(self.finish(self.start(places)?.total().0, self.span_at(places))?);
        }
        let drain = self.drain(last);
        let skew = end - streamed.total().0 - drain;
        let tail = CyclesByCause { skew: Cycles(skew), drain: Cycles(drain), ..Default::default() };
        streamed.checked_add(tail)
    }

    /// Whether a fold in the last piece of a loop waits for less than in the one before.
    fn has_small_last(&self, Loop { axis, pieces }: Loop) -> bool {
        let waits = axis == Axis::Time || self.mapping.partial_folds == PartialFolds::Trimmed;
        waits && pieces.rest > 0 && pieces.full > 0
    }

    /// The cycle after the last of a fold that starts in a cycle.
    fn finish(&self, start: u64, span: Span) -> Option<u64> {
        let rest = span.rows + span.cols - 2 + self.drain(span);
        start.checked_add(span.steps)?.checked_add(rest)
    }

    fn drain(&self, span: Span) -> u64 {
        if self.mapping.output_stays() { span.rows } else { 0 }
    }

    /// What a fold waits for that uses so much of the grid for so many steps.
    pub(crate) fn span(&self, rows: usize, cols: usize, steps: usize) -> Span {
        let (rows, cols) = self.mapping.span(rows, cols);
        Span { rows, cols, steps: steps as u64 }
    }

    fn span_at(&self, places: [usize; 3]) -> Span {
        let Tile { rows, cols, steps, .. } = self.mapping.tile(places);
        self.span(rows, cols, steps)
    }

    /// The cycles from the beginning to the start of a fold, in closed form.
    fn start(&self, places: [usize; 3]) -> Option<CyclesByCause> {
        let run = self.up_to(places, 0, [0; 3])?;
        self.lead(run.first).checked_add(run.cycles)
    }

    /// The folds up to one, from the first that has the places `fixed` in the loops before `depth`.
    fn up_to(&self, places: [usize; 3], depth: usize, mut fixed: [usize; 3]) -> Option<FoldRun> {
        if depth == self.loops.len() {
            return Some(FoldRun::one(self.span_at(fixed)));
        }
        // All pieces before the last are full, and so alike.
        let before = match places[depth] {
            0 => None,
            count => {
                fixed[depth] = 0;
                Some(self.repeat(self.all(depth + 1, fixed)?, count as u64)?)
            }
        };
        fixed[depth] = places[depth];
        let last = self.up_to(places, depth + 1, fixed)?;
        match before {
            None => Some(last),
            Some(before) => self.join(before, last),
        }
    }

    /// All folds that have the places `fixed` in the loops before `depth`.
    fn all(&self, depth: usize, fixed: [usize; 3]) -> Option<FoldRun> {
        let mut ends = self.loops.map(|each| each.pieces.count() - 1);
        ends[..depth].copy_from_slice(&fixed[..depth]);
        self.up_to(ends, depth, fixed)
    }

    /// One run of folds after the other.
    fn join(&self, run: FoldRun, next: FoldRun) -> Option<FoldRun> {
        let between = self.between(run.last, next.first);
        let cycles = run.cycles.checked_add(between)?.checked_add(next.cycles)?;
        Some(FoldRun { first: run.first, last: next.last, cycles })
    }

    /// A run of folds, so many times.
    fn repeat(&self, run: FoldRun, count: u64) -> Option<FoldRun> {
        let between = self.between(run.last, run.first).checked_mul(count - 1)?;
        let cycles = run.cycles.checked_mul(count)?.checked_add(between)?;
        Some(FoldRun { cycles, ..run })
    }

    /// What comes before the first fold.
    pub(crate) fn lead(&self, span: Span) -> CyclesByCause {
        let preload = if self.mapping.output_stays() { 0 } else { span.rows };
        CyclesByCause { preload: Cycles(preload), ..Default::default() }
    }

    /// Whether a fold follows the one before it without a bubble between.
    pub(crate) fn follows(&self, before: Span, next: Span) -> bool {
        self.between(before, next).total().0 == before.steps
    }

    /// The cycles from the start of a fold to that of the next.
    pub(crate) fn between(&self, span: Span, next: Span) -> CyclesByCause {
        let Span { rows, cols, steps: time } = span;
        let next = next.rows;
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
