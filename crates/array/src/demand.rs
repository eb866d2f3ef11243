//! Which elements pass the edges of the grid in each cycle: what its scratchpads are asked for.
//!
//! Row i of what moves right enters i cycles after row 0, and column j does everything j cycles after
//! column 0 ([`timing`]); so the elements of a cycle follow from the folds that are in
//! the grid. Nothing is computed, and no operand is needed.

use std::collections::VecDeque;
use std::ops::Range;

use crate::mapping::Stationary;
use crate::schedule::Fold;
use crate::{Error, FoldSchedule, Mapping, timing};

/// The elements of one cycle, by row or column of the grid at whose edge they pass; an element of
/// A[m, k] has number m·K + k, and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The cycle.
    pub cycle: u64,
    /// Elements of A that enter.
    pub a: Vec<Option<u64>>,
    /// Elements of B that enter.
    pub b: Vec<Option<u64>>,
    /// Sums that leave, complete or not.
    pub c: Vec<Option<u64>>,
}

/// The demands of a GEMM, cycle by cycle, in memory that does not grow with its length.
#[derive(Clone, Debug)]
pub struct Demands {
    mapping: Mapping,
    schedule: FoldSchedule,
    /// The cycles to come.
    ahead: Range<u64>,
    /// The number of the next fold, and those that are in the grid.
    next: u64,
    present: VecDeque<Fold>,
}

impl Demands {
    /// The demands in some cycles.
    ///
    /// # Errors
    ///
    /// If the GEMM does not have all of these cycles, or they do not fit 64 bits.
    pub fn new(mapping: &Mapping, cycles: Range<u64>) -> Result<Self, Error> {
        let total = timing::gemm(mapping)?.total().0;
        let schedule = FoldSchedule::new(mapping).ok_or_else(|| timing::too_large(mapping))?;
        if cycles.start >= cycles.end || cycles.end > total {
            let Range { start: from, end: to } = cycles;
            return Err(Error::NoSuchCycles { from, to, cycles: total });
        }
        // No fold is in the grid so long after its start.
        let longest =
            mapping.extents().time.min(mapping.steps_max) + 2 * mapping.rows + mapping.cols;
        let over = |number: u64| {
            let fold = schedule.nth(number).expect("a fold that there is");
            fold.start + longest as u64 <= cycles.start
        };
        let (mut next, mut end) = (0, schedule.count());
        while next < end {
            let middle = next + (end - next) / 2;
            (next, end) = if over(middle) { (middle + 1, end) } else { (next, middle) };
        }
        let present = VecDeque::new();
        Ok(Self { mapping: *mapping, schedule, ahead: cycles, next, present })
    }

    /// The next cycle's demand in place of the one before; `false` after the last.
    pub fn advance(&mut self, demand: &mut Demand) -> bool {
        let Some(cycle) = self.ahead.next() else { return false };
        while let Some(fold) = self.schedule.nth(self.next)
            && fold.start.min(fold.chain) <= cycle
        {
            self.present.push_back(fold);
            self.next += 1;
        }
        let over = |fold: &Fold| self.schedule.cycles_of(fold).end <= cycle;
        while self.present.front().is_some_and(over) {
            self.present.pop_front();
        }
        let Mapping { rows, cols, stationary, .. } = self.mapping;
        let lines = |count: usize, place: &dyn Fn(&Fold, usize) -> Option<u64>| {
            let at = |line: usize| self.present.iter().find_map(|fold| place(fold, line));
            (0..count).map(at).collect::<Vec<_>>()
        };
        let right = lines(rows, &|fold, row| self.right(fold, row, cycle));
        let other = lines(cols, &|fold, col| self.other(fold, col, cycle));
        let (a, b) = match stationary {
            Stationary::Output | Stationary::Weight => (right, other),
            Stationary::Input => (other, right),
        };
        let c = lines(cols, &|fold, col| self.leaves(fold, col, cycle));
        *demand = Demand { cycle, a, b, c };
        true
    }

    /// The step of a fold that enters a row or column so many cycles late.
    fn step(fold: &Fold, late: usize, cycle: u64) -> Option<usize> {
        let step = cycle.checked_sub(fold.start + late as u64)? as usize;
        (step < fold.tile.steps).then_some(fold.tile.time + step)
    }

    /// The row of the grid whose element is at the end of a column's chain.
    fn chained(fold: &Fold, col: usize, cycle: u64) -> Option<usize> {
        let shift = cycle.checked_sub(fold.chain + col as u64)? as usize;
        let row = fold.span_rows.checked_sub(1 + shift)?;
        (row < fold.tile.rows).then_some(row)
    }

    fn right(&self, fold: &Fold, row: usize, cycle: u64) -> Option<u64> {
        let step = Self::step(fold, row, cycle).filter(|_| row < fold.tile.rows)?;
        let at = self.mapping.stationary.product(fold.tile.row + row, 0, step);
        let (m, k, n) = (at.m as u64, at.k as u64, at.n as u64);
        Some(match self.mapping.stationary {
            Stationary::Output | Stationary::Weight => m * self.mapping.shape.k as u64 + k,
            Stationary::Input => k * self.mapping.shape.n as u64 + n,
        })
    }

    fn other(&self, fold: &Fold, col: usize, cycle: u64) -> Option<u64> {
        if col >= fold.tile.cols {
            return None;
        }
        let (row, step) = match self.mapping.output_stays() {
            true => (0, Self::step(fold, col, cycle)?),
            false => (fold.tile.row + Self::chained(fold, col, cycle)?, 0),
        };
        let at = self.mapping.stationary.product(row, fold.tile.col + col, step);
        let (m, k, n) = (at.m as u64, at.k as u64, at.n as u64);
        Some(match self.mapping.stationary {
            Stationary::Output | Stationary::Weight => k * self.mapping.shape.n as u64 + n,
            Stationary::Input => m * self.mapping.shape.k as u64 + k,
        })
    }

    fn leaves(&self, fold: &Fold, col: usize, cycle: u64) -> Option<u64> {
        if col >= fold.tile.cols {
            return None;
        }
        let (row, step) = match self.mapping.output_stays() {
            true => (fold.tile.row + Self::chained(fold, col, cycle)?, 0),
            false => (0, Self::step(fold, fold.span_rows - 1 + col, cycle)?),
        };
        let at = self.mapping.stationary.product(row, fold.tile.col + col, step);
        Some(at.m as u64 * self.mapping.shape.n as u64 + at.n as u64)
    }
}
