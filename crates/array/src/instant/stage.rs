//! All registers in one cycle, from where the folds stand in it.

use systoliq_fxp::Sum;
use systoliq_program::GemmShape;

use crate::register::{BUBBLE, CycleCause, Latch, Left, Operands, Registers, SumRegister};
use crate::schedule::Fold;
use crate::{FoldOrder, Mapping, Overlap};

use super::trail::Begun;
use super::{Instant, Instants, Trails};

/// The most partial sums that are kept from one fold to the next.
const KEPT_MAX: usize = 1 << 20;

/// Partial sums that have left and will enter again, by step in time and column.
#[derive(Debug)]
pub(super) struct KeptSums {
    cols: usize,
    /// How many there are at most; none where none enters again, or where they are too many.
    count: usize,
    /// Empty until the first has left.
    cells: Vec<SumRegister>,
}

impl KeptSums {
    pub(super) fn new(mapping: &Mapping) -> Self {
        let cols = mapping.cols;
        // In the other order, the fold before is of other columns.
        let again =
            mapping.partial_sums_of_a_step() > 0 && mapping.fold_order == FoldOrder::RowsFirst;
        let count = mapping.extents().time.checked_mul(cols).filter(|&count| count <= KEPT_MAX);
        Self { cols, count: count.filter(|_| again).unwrap_or(0), cells: Vec::new() }
    }

    /// Keeps sums that leave.
    pub(super) fn leave(&mut self, left: &[Left]) {
        if self.count == 0 || left.is_empty() {
            return;
        }
        self.cells.resize(self.count, SumRegister::default());
        for left in left {
            self.cells[left.cell.time * self.cols + left.column] = left.cell;
        }
    }

    /// The sum that a fold takes up from the one before, if that was seen.
    fn enter(&self, cell: SumRegister, col: usize) -> Option<SumRegister> {
        let kept = *self.cells.get(cell.time * self.cols + col)?;
        let is = kept.valid && kept.fold + 1 == cell.fold && kept.additions == cell.additions;
        is.then_some(SumRegister { fold: cell.fold, ..kept })
    }
}

/// One cycle.
pub(super) struct Stage<'s, 'a> {
    pub(super) instants: &'s Instants<'a>,
    pub(super) cycle: u64,
    pub(super) trails: &'s Trails,
    pub(super) kept: &'s KeptSums,
    /// The registers one cycle before, where they are known.
    pub(super) previous: Option<&'s Registers>,
}

impl Stage<'_, '_> {
    /// Writes all that stands in this cycle over what stands in `next`.
    pub(super) fn fill(&self, next: &mut Instant) {
        next.cycle = self.cycle;
        next.cause = self.cause();
        let at = match next.cause {
            CycleCause::Preload => self.trails.chains.on(0),
            _ => self.trails.starts.on(0),
        };
        next.fold = at.map_or(0, |begun| begun.number as usize);
        next.left.clear();
        self.move_right(&mut next.registers);
        if self.mapping().output_stays() {
            self.move_other_down(&mut next.registers);
            self.accumulate(&mut next.registers);
            self.drain(next);
        } else {
            self.stay(&mut next.registers);
            self.enter(next);
            self.move_sums_down(next);
        }
        self.operands_at_the_top(next);
    }

    fn mapping(&self) -> &Mapping {
        &self.instants.mapping
    }

    /// The PEs, row by row: row, column and number.
    fn pes(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let Mapping { rows, cols, .. } = *self.mapping();
        (0..rows).flat_map(move |row| (0..cols).map(move |col| (row, col, row * cols + col)))
    }

    /// The fold that streams on a diagonal, and its step in time.
    fn streaming(&self, diagonal: usize) -> Option<(&Begun, usize)> {
        let begun = self.trails.starts.on(diagonal)?;
        let steps = self.instants.schedule.steps(&begun.fold);
        let step = steps.start + begun.since;
        (step < steps.end).then_some((begun, step as usize))
    }

    /// Why this cycle passes, as the register engine decides it.
    fn cause(&self) -> CycleCause {
        let Mapping { rows, cols, overlap, .. } = *self.mapping();
        let output_stays = self.mapping().output_stays();
        if self.streaming(0).is_some() {
            return CycleCause::Stream;
        }
        let [first, last] = self.instants.starts;
        if (first + 1..last).contains(&self.cycle) && overlap == Overlap::Pipelined {
            let chain = self.trails.chains.on(0);
            let loads = chain.is_some_and(|begun| begun.since < begun.fold.span_rows as u64);
            return match (output_stays, loads) {
                (true, _) => CycleCause::Drain,
                (false, true) => CycleCause::Preload,
                (false, false) => CycleCause::Skew,
            };
        }
        let on_its_way = |late: usize| {
            self.streaming(late)
                .is_some_and(|(begun, _)| late + 2 <= begun.fold.span_rows + begun.fold.span_cols)
        };
        match ((0..rows + cols - 1).any(on_its_way), output_stays) {
            (true, _) => CycleCause::Skew,
            (false, true) => CycleCause::Drain,
            (false, false) => CycleCause::Preload,
        }
    }

    /// Operands that move right stand where they entered, so many columns further.
    fn move_right(&self, next: &mut Registers) {
        for (row, col, pe) in self.pes() {
            next.right[pe] = match self.previous {
                Some(previous) if col > 0 => previous.right[pe - 1],
                _ => self.streaming(row + col).map_or(BUBBLE, |(begun, step)| {
                    let tile = begun.fold.tile;
                    let valid = row < tile.rows;
                    let code = if valid { self.operands().right(tile.row + row, step) } else { 0 };
                    let first = begun.since == 0 && row < begun.fold.span_rows;
                    Latch { code, valid, first, fold: begun.number as usize }
                }),
            };
        }
    }

    /// Operands that move down stand where they entered, so many rows further.
    fn move_other_down(&self, next: &mut Registers) {
        let cols = self.mapping().cols;
        for (row, col, pe) in self.pes() {
            next.other[pe] = match self.previous {
                Some(previous) if row > 0 => previous.other[pe - cols],
                _ => self.streaming(row + col).map_or(BUBBLE, |(begun, step)| {
                    let tile = begun.fold.tile;
                    let valid = col < tile.cols;
                    let code =
                        if valid { self.operands().other(0, tile.col + col, step) } else { 0 };
                    Latch { code, valid, first: begun.since == 0, fold: begun.number as usize }
                }),
            };
        }
    }

    /// Sums that stay, and without overlap drain from where they are.
    fn accumulate(&self, next: &mut Registers) {
        let shadow = self.mapping().has_shadow();
        for (row, col, pe) in self.pes() {
            let begun = self.trails.starts.on(row + col);
            let Some(begun) = begun else {
                next.sums[pe] = SumRegister::default();
                continue;
            };
            let tile = begun.fold.tile;
            let known = self.previous.map(|previous| &previous.sums[pe]);
            next.sums[pe] = if !shadow {
                let chain = self.previous.map(|previous| previous.sums.as_slice());
                self.in_chain(begun, self.made(begun), (row, col), chain, known)
            } else if row < tile.rows && col < tile.cols {
                self.standing(begun, self.made(begun), (row, col), known)
            } else {
                // What it does not use of the grid keeps what the last fold left that did.
                match known {
                    Some(known) => *known,
                    None => self.left_behind(begun.number, row, col),
                }
            };
        }
        if !shadow {
            return;
        }
        for (row, col, pe) in self.pes() {
            next.sum_shadow[pe] = match self.trails.ends.on(row + col) {
                None => SumRegister::default(),
                Some(begun) => {
                    let chain = self.previous.map(|previous| previous.sum_shadow.as_slice());
                    let complete = self.complete(begun);
                    self.in_chain(begun, complete, (row, col), chain, Some(&next.sums[pe]))
                }
            };
        }
    }

    /// The sum in a chain of stationary sums, of a fold that has come so far that the PE has made
    /// so many additions for it. In shift x of a column, row i takes the sum above for x < i, and is
    /// empty from x = i on.
    fn in_chain(
        &self,
        begun: &Begun,
        additions: u64,
        (row, col): (usize, usize),
        chain: Option<&[SumRegister]>,
        own: Option<&SumRegister>,
    ) -> SumRegister {
        let (fold, tile) = (begun.fold, begun.fold.tile);
        let cols = self.mapping().cols;
        let at = |row: usize| chain.map(|chain| &chain[row * cols + col]);
        let shift = self.cycle.checked_sub(fold.chain + col as u64);
        let (from, known) = match shift {
            None => (Some(row), [at(row), own]),
            Some(shift) => {
                let shifts = usize::try_from(shift).unwrap_or(usize::MAX).saturating_add(1);
                let from = row.checked_sub(shifts).filter(|_| row < fold.span_rows);
                (from, [row.checked_sub(1).and_then(at), None])
            }
        };
        match from {
            Some(from) if from < tile.rows && col < tile.cols => {
                let additions = if shift.is_some() { self.complete(begun) } else { additions };
                self.standing(begun, additions, (from, col), known.into_iter().flatten())
            }
            _ => SumRegister::default(),
        }
    }

    /// A sum that stays, with its first `additions` products.
    fn standing<'k>(
        &self,
        begun: &Begun,
        additions: u64,
        (row, col): (usize, usize),
        known: impl IntoIterator<Item = &'k SumRegister>,
    ) -> SumRegister {
        let tile = begun.fold.tile;
        let at = self.mapping().stationary.product(tile.row + row, tile.col + col, 0);
        let cell = SumRegister {
            valid: true,
            additions,
            fold: begun.number as usize,
            ..SumRegister::default()
        };
        self.summed(cell, at, known)
    }

    /// How many additions a PE has made for a sum that stays.
    fn made(&self, begun: &Begun) -> u64 {
        let steps = self.instants.schedule.steps(&begun.fold);
        (steps.start + begun.since + 1).min(steps.end)
    }

    /// How many additions a sum that stays has when its fold is complete.
    fn complete(&self, begun: &Begun) -> u64 {
        self.instants.schedule.steps(&begun.fold).end
    }

    /// The sum that a PE still has of the last fold, up to `number`, that used it.
    fn left_behind(&self, number: u64, row: usize, col: usize) -> SumRegister {
        let uses = |fold: &Fold| row < fold.tile.rows && col < fold.tile.cols;
        self.instants.last_where(number, uses).map_or(SumRegister::default(), |(number, fold)| {
            let begun = Begun { number, fold, since: 0 };
            self.standing(&begun, self.complete(&begun), (row, col), None)
        })
    }

    /// Sums that leave the chain at the bottom.
    fn drain(&self, next: &mut Instant) {
        let Mapping { cols, shape, .. } = *self.mapping();
        for col in 0..cols {
            let Some(begun) = self.trails.chains.on(col) else { continue };
            let (fold, tile) = (begun.fold, begun.fold.tile);
            let Some(row) = (fold.span_rows as u64).checked_sub(begun.since + 1) else { continue };
            let row = row as usize;
            if row >= tile.rows || col >= tile.cols {
                continue;
            }
            let bottom = (fold.span_rows - 1) * cols + col;
            let known = self.previous.map(|previous| match self.mapping().has_shadow() {
                true => &previous.sum_shadow[bottom],
                false => &previous.sums[bottom],
            });
            let cell = self.standing(begun, self.complete(begun), (row, col), known);
            let index = (tile.row + row) * shape.n + tile.col + col;
            next.left.push(Left { column: col, index, cell });
        }
    }

    /// Operands that stay, and the chain that brings them.
    fn stay(&self, next: &mut Registers) {
        let shadow = self.mapping().has_shadow();
        for (row, col, pe) in self.pes() {
            let spans = |fold: &Fold| row < fold.span_rows && col < fold.span_cols;
            let chained = |known: Option<Latch>| match self.trails.chains.on(row + col) {
                None => BUBBLE,
                Some(begun) if spans(&begun.fold) => {
                    // In shift x row i holds what entered x − i shifts before.
                    let below = begun.fold.span_rows - 1 - row;
                    let passed = usize::try_from(begun.since).unwrap_or(usize::MAX).min(below);
                    self.staying(begun, row + below - passed, col)
                }
                Some(begun) => known.unwrap_or_else(|| self.loaded(begun.number, row, col, spans)),
            };
            if !shadow {
                next.other[pe] = chained(self.previous.map(|previous| previous.other[pe]));
                continue;
            }
            next.other_shadow[pe] =
                chained(self.previous.map(|previous| previous.other_shadow[pe]));
            next.other[pe] = match (self.trails.starts.on(row + col), self.previous) {
                (None, _) => BUBBLE,
                // The PE copied its shadow with the first operand of the fold.
                (Some(begun), _) if begun.since == 0 && spans(&begun.fold) => {
                    self.staying(begun, row, col)
                }
                (Some(_), Some(previous)) => previous.other[pe],
                (Some(begun), None) => self.loaded(begun.number, row, col, spans),
            };
        }
    }

    /// The operand that a PE has of the last fold, up to `number`, whose chain reached it.
    fn loaded(&self, number: u64, row: usize, col: usize, spans: impl Fn(&Fold) -> bool) -> Latch {
        self.instants.last_where(number, spans).map_or(BUBBLE, |(number, fold)| {
            self.staying(&Begun { number, fold, since: 0 }, row, col)
        })
    }

    /// The operand of a fold that stays in a row and a column of the grid.
    fn staying(&self, begun: &Begun, row: usize, col: usize) -> Latch {
        let tile = begun.fold.tile;
        let valid = row < tile.rows && col < tile.cols;
        let code = if valid { self.operands().other(tile.row + row, tile.col + col, 0) } else { 0 };
        Latch { code, valid, first: false, fold: begun.number as usize }
    }

    /// Sums that enter at the top: new ones, or what the fold before along k left.
    fn enter(&self, next: &mut Instant) {
        next.top_sums.clear();
        for col in 0..self.mapping().cols {
            let entering = self.streaming(col).filter(|(begun, _)| col < begun.fold.tile.cols);
            next.top_sums.push(entering.map_or(SumRegister::default(), |(begun, step)| {
                let tile = begun.fold.tile;
                let cell = SumRegister {
                    valid: true,
                    additions: tile.row as u64,
                    fold: begun.number as usize,
                    time: step,
                    ..SumRegister::default()
                };
                let at = self.mapping().stationary.product(0, tile.col + col, step);
                self.summed(cell, at, self.kept.enter(cell, col).as_ref())
            }));
        }
    }

    /// Sums that move down have taken a product in each row that they have passed.
    fn move_sums_down(&self, next: &mut Instant) {
        let Mapping { cols, shape, stationary, .. } = *self.mapping();
        for (row, col, pe) in self.pes() {
            let passing = self
                .streaming(row + col)
                .filter(|(begun, _)| col < begun.fold.tile.cols && row < begun.fold.span_rows);
            let Some((begun, step)) = passing else {
                next.registers.sums[pe] = SumRegister::default();
                continue;
            };
            let (fold, tile) = (begun.fold, begun.fold.tile);
            let cell = SumRegister {
                valid: true,
                additions: (tile.row + tile.rows.min(row + 1)) as u64,
                fold: begun.number as usize,
                time: step,
                ..SumRegister::default()
            };
            let above = match row {
                0 => Some(&next.top_sums[col]),
                _ => self.previous.map(|previous| &previous.sums[pe - cols]),
            };
            let at = stationary.product(0, tile.col + col, step);
            let cell = self.summed(cell, at, above);
            next.registers.sums[pe] = cell;
            if row + 1 == fold.span_rows {
                next.left.push(Left { column: col, index: at.m * shape.n + at.n, cell });
            }
        }
        next.left.sort_by_key(|left| left.column);
    }

    /// `cell` with the sum of as many products of an output as it is to have, going on from one of
    /// `known` if that is of the same sum.
    fn summed<'k>(
        &self,
        cell: SumRegister,
        at: GemmShape,
        known: impl IntoIterator<Item = &'k SumRegister>,
    ) -> SumRegister {
        let Instants { task, mapping, .. } = self.instants;
        let same = |known: &SumRegister| {
            known.valid
                && (known.fold, known.time) == (cell.fold, cell.time)
                && known.additions <= cell.additions
        };
        let from = known.into_iter().find(|known| same(known));
        let (mut sum, additions) =
            from.map_or((Sum::default(), 0), |from| (from.sum, from.additions));
        let index = at.m * mapping.shape.n + at.n;
        for k in additions..cell.additions {
            let codes = [task.a.code(at.m, k as usize), task.b.code(k as usize, at.n)];
            let product = i128::from(codes[0]) * i128::from(codes[1]);
            task.add_product(&mut sum, product, index, k as usize);
        }
        SumRegister { sum, ..cell }
    }

    /// The operand that enters each column at the top in this cycle.
    fn operands_at_the_top(&self, next: &mut Instant) {
        let cols = self.mapping().cols;
        let Registers { other, other_shadow, .. } = &next.registers;
        let row = if other_shadow.is_empty() { &other[..cols] } else { &other_shadow[..cols] };
        next.top_operands.clear();
        next.top_operands.extend(row.iter().enumerate().map(|(col, latch)| {
            let chain = self.trails.chains.on(col);
            let shifts = |begun: &Begun| {
                begun.since < begun.fold.span_rows as u64 && col < begun.fold.span_cols
            };
            let enters = self.mapping().output_stays() || chain.is_some_and(shifts);
            if enters { *latch } else { BUBBLE }
        }));
    }

    fn operands(&self) -> Operands<'_> {
        let Instants { task, mapping, .. } = self.instants;
        Operands { task: *task, stationary: mapping.stationary }
    }
}
