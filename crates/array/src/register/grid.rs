//! All registers of the grid, and the clock edge.

use systoliq_fxp::Sum;
use systoliq_program::GemmTask;

use super::Seen;
use super::feed::{BUBBLE, Beat, Operands, Sequencer};
use crate::activity::{sum_words, word};
use crate::mapping::{Stationary, Tile};
use crate::schedule::Fold;
use crate::{Activity, ArrayCounts, Cycles, Mapping, Overlap};

/// An operand register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latch {
    /// Its code; 0 where it is not valid.
    pub code: i64,
    /// Whether it holds an element.
    pub valid: bool,
    /// Whether it came with the first step of its fold.
    pub first: bool,
    /// The fold that it belongs to.
    pub fold: usize,
}

/// A register that holds a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumRegister {
    /// The sum; 0 where it is not valid.
    pub sum: Sum,
    /// Whether it holds one.
    pub valid: bool,
    /// How many products are in it.
    pub additions: u64,
    /// The fold that it belongs to.
    pub fold: usize,
    /// The step in time that it belongs to, where sums move.
    pub time: usize,
}

/// All registers of the grid, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The operands that move right.
    pub right: Vec<Latch>,
    /// The other operands: those that move down, or that stay.
    pub other: Vec<Latch>,
    /// The sums: those that stay, or that move down.
    pub sums: Vec<SumRegister>,
    /// With overlap, the second register of an operand that stays.
    pub other_shadow: Vec<Latch>,
    /// With overlap, the second register of a sum that stays.
    pub sum_shadow: Vec<SumRegister>,
}

impl Registers {
    /// The registers of a grid after reset: all are empty.
    pub fn reset(mapping: &Mapping) -> Self {
        let pes = mapping.rows * mapping.cols;
        let shadows = if mapping.has_shadow() { pes } else { 0 };
        let output_stays = mapping.output_stays();
        Self {
            right: vec![BUBBLE; pes],
            other: vec![BUBBLE; pes],
            sums: vec![SumRegister::default(); pes],
            other_shadow: vec![BUBBLE; if output_stays { 0 } else { shadows }],
            sum_shadow: vec![SumRegister::default(); if output_stays { shadows } else { 0 }],
        }
    }
}

/// Why a cycle passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CycleCause {
    Preload,
    Stream,
    Skew,
    Drain,
}

impl CycleCause {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preload => "preload",
            Self::Stream => "stream",
            Self::Skew => "skew",
            Self::Drain => "drain",
        }
    }
}

/// Two folds in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// At the edge where operands enter.
    Entry,
    /// In the chain of a column.
    Chain,
    /// At the port at the bottom of a column, or not in the order of folds.
    Exit,
    /// A partial sum is read before it is written.
    PartialSum,
}

/// A sum that leaves the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The column of the grid.
    pub column: usize,
    /// The place of the output in C, row by row.
    pub index: usize,
    /// The sum.
    pub cell: SumRegister,
}

/// One cycle as it is seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// Its number, from 0.
    pub cycle: u64,
    /// Why it passes.
    pub cause: CycleCause,
    /// All registers after its clock edge.
    pub registers: &'a Registers,
    /// What leaves in it, by column.
    pub left: &'a [Left],
}

/// The grid and its clock.
pub(super) struct RegisterGrid<'a> {
    mapping: Mapping,
    task: GemmTask<'a>,
    folds: &'a [Fold],
    operands: Operands<'a>,
    sequencer: Sequencer<'a>,
    /// Where sums move: those of the folds so far, by place in C.
    partial: Vec<Option<SumRegister>>,
    /// The fold of the last sum that left each column.
    last_left: Vec<usize>,
    cycle: u64,
    present: Registers,
    next: Registers,
    /// Widths of the elements that move right and of the others.
    bits: [u32; 2],
    chunk_sums: u64,
    counts: ArrayCounts,
    zero_operand_macs: u64,
    /// Bits that flipped in the registers of these three.
    toggles: [u64; 3],
}

impl<'a> RegisterGrid<'a> {
    /// A grid after reset.
    pub(super) fn new(task: &GemmTask<'a>, mapping: &Mapping, folds: &'a [Fold]) -> Self {
        let [a, b] = [task.a.tensor, task.b.tensor].map(|tensor| tensor.format().bits());
        let (right, other) = match mapping.stationary {
            Stationary::Output | Stationary::Weight => (a, b),
            Stationary::Input => (b, a),
        };
        let reset = Registers::reset(mapping);
        let moving = if mapping.output_stays() { 0 } else { mapping.shape.m * mapping.shape.n };
        Self {
            mapping: *mapping,
            task: *task,
            folds,
            operands: Operands { task: *task, stationary: mapping.stationary },
            sequencer: Sequencer::new(mapping, folds),
            partial: vec![None; moving],
            last_left: vec![0; mapping.cols],
            cycle: 0,
            present: reset.clone(),
            next: reset,
            bits: [right, other],
            chunk_sums: 0,
            counts: ArrayCounts { folds: folds.len() as u64, ..Default::default() },
            zero_operand_macs: 0,
            toggles: [0; 3],
        }
    }

    /// What was counted so far.
    pub(super) fn seen(&self) -> Seen {
        let [right, other, accumulator_toggles] = self.toggles;
        let (a_toggles, b_toggles) = match self.is_a(Which::Right) {
            true => (right, other),
            false => (other, right),
        };
        let zero_operand_macs = self.zero_operand_macs;
        Seen {
            counts: self.counts,
            activity: Activity { zero_operand_macs, a_toggles, b_toggles },
            accumulator_toggles,
            chunk_sums: self.chunk_sums,
        }
    }

    /// Whether all sums have left.
    pub(super) fn is_done(&self) -> bool {
        let draining = self.mapping.output_stays() && self.sequencer.chains(1);
        !self.sequencer.has_more() && !self.sequencer.computes(1) && !draining
    }

    /// One cycle: all registers take their next state at once. Returns what leaves.
    pub(super) fn clock(&mut self, see: &mut dyn FnMut(&Clock<'_>)) -> Result<Vec<Left>, Hazard> {
        self.sequencer.advance(self.cycle)?;
        let cause = self.cause();
        let cycles = &mut self.counts.cycles;
        *match cause {
            CycleCause::Preload => &mut cycles.preload,
            CycleCause::Stream => &mut cycles.stream,
            CycleCause::Skew => &mut cycles.skew,
            CycleCause::Drain => &mut cycles.drain,
        } += Cycles(1);
        self.counts.pe_cycles += self.present.right.len() as u64;
        self.next.clone_from(&self.present);
        let mut left = Vec::new();
        self.move_right();
        if self.mapping.output_stays() {
            self.move_other_down();
            self.drain(&mut left)?;
            self.accumulate()?;
        } else {
            self.preload()?;
            self.move_sums_down(&mut left)?;
        }
        for left in &left {
            self.counts.sum_writes += 1;
            if left.cell.fold < std::mem::replace(&mut self.last_left[left.column], left.cell.fold)
            {
                return Err(Hazard::Exit);
            }
            if !self.mapping.output_stays() {
                self.partial[left.index] = Some(left.cell);
            }
        }
        self.count_toggles();
        std::mem::swap(&mut self.present, &mut self.next);
        see(&Clock { cycle: self.cycle, cause, registers: &self.present, left: &left });
        self.cycle += 1;
        Ok(left)
    }

    /// What this cycle is waited for.
    fn cause(&self) -> CycleCause {
        let (sequencer, output_stays) = (&self.sequencer, self.mapping.output_stays());
        if sequencer.stream(0).is_some() {
            return CycleCause::Stream;
        }
        let between = self.cycle > self.folds[0].start && sequencer.has_more();
        if between && self.mapping.overlap == Overlap::Pipelined {
            return match (output_stays, sequencer.chain(0)) {
                (true, _) => CycleCause::Drain,
                (false, Some(_)) => CycleCause::Preload,
                (false, None) => CycleCause::Skew,
            };
        }
        match (sequencer.computes(0), output_stays) {
            (true, _) => CycleCause::Skew,
            (false, true) => CycleCause::Drain,
            (false, false) => CycleCause::Preload,
        }
    }

    fn tile(&self, beat: Beat) -> Tile {
        self.folds[beat.fold].tile
    }

    /// Operands move one column to the right; the first column is fed from the left edge.
    fn move_right(&mut self) {
        let Mapping { rows, cols, .. } = self.mapping;
        for row in 0..rows {
            let at = row * cols;
            self.next.right[at + 1..at + cols]
                .copy_from_slice(&self.present.right[at..at + cols - 1]);
            self.next.right[at] = match self.sequencer.stream(row) {
                None => BUBBLE,
                Some(beat) => {
                    let tile = self.tile(beat);
                    let valid = row < tile.rows;
                    let code = match valid {
                        true => self.operands.right(tile.row + row, tile.time + beat.at),
                        false => 0,
                    };
                    let first = beat.at == 0 && row < self.folds[beat.fold].span_rows;
                    self.count_read(valid, Which::Right);
                    Latch { code, valid, first, fold: beat.fold }
                }
            };
        }
        let loads = self.next.right.iter().filter(|latch| latch.valid).count() as u64;
        *self.writes(Which::Right) += loads;
    }

    /// Operands move one row down; the first row is fed from the top edge.
    fn move_other_down(&mut self) {
        let Mapping { cols, .. } = self.mapping;
        let kept = self.present.other.len() - cols;
        self.next.other[cols..].copy_from_slice(&self.present.other[..kept]);
        for col in 0..cols {
            self.next.other[col] = match self.sequencer.stream(col) {
                None => BUBBLE,
                Some(beat) => {
                    let tile = self.tile(beat);
                    let valid = col < tile.cols;
                    let code = match valid {
                        true => self.operands.other(0, tile.col + col, tile.time + beat.at),
                        false => 0,
                    };
                    self.count_read(valid, Which::Other);
                    Latch { code, valid, first: beat.at == 0, fold: beat.fold }
                }
            };
        }
        let loads = self.next.other.iter().filter(|latch| latch.valid).count() as u64;
        *self.writes(Which::Other) += loads;
    }

    /// Sums that are complete move down and leave. In shift s of a column, row i takes the sum
    /// above for s < i, and is empty after s = i.
    fn drain(&mut self, left: &mut Vec<Left>) -> Result<(), Hazard> {
        let Mapping { cols, .. } = self.mapping;
        for col in 0..cols {
            let Some(beat) = self.sequencer.chain(col) else { continue };
            let fold = &self.folds[beat.fold];
            let (chain, next) = match self.mapping.has_shadow() {
                true => (&self.present.sum_shadow, &mut self.next.sum_shadow),
                false => (&self.present.sums, &mut self.next.sums),
            };
            let bottom = chain[(fold.span_rows - 1) * cols + col];
            if bottom.valid {
                if bottom.fold != beat.fold {
                    return Err(Hazard::Chain);
                }
                let row = fold.tile.row + fold.span_rows - 1 - beat.at;
                let index = row * self.mapping.shape.n + fold.tile.col + col;
                left.push(Left { column: col, index, cell: bottom });
            }
            for row in beat.at..fold.span_rows {
                let above = match row > beat.at {
                    true => chain[(row - 1) * cols + col],
                    false => SumRegister::default(),
                };
                next[row * cols + col] = above;
                self.counts.drain_writes += u64::from(above.valid);
            }
        }
        Ok(())
    }

    /// Every PE that latches two valid operands multiplies them and adds the product.
    fn accumulate(&mut self) -> Result<(), Hazard> {
        let Mapping { cols, shape, .. } = self.mapping;
        for pe in 0..self.next.right.len() {
            let (right, other) = (self.next.right[pe], self.next.other[pe]);
            if !(right.valid && other.valid) {
                continue;
            }
            assert_eq!(right.fold, other.fold, "operands that meet in PE {pe}");
            let tile = self.folds[right.fold].tile;
            let mut cell = self.present.sums[pe];
            if right.first {
                if !self.mapping.has_shadow() && cell.valid {
                    return Err(Hazard::Chain);
                }
                cell = SumRegister { fold: right.fold, valid: true, ..SumRegister::default() };
            }
            assert_eq!(cell.fold, right.fold, "sum and operands in PE {pe}");
            let index = (tile.row + pe / cols) * shape.n + tile.col + pe % cols;
            let k = cell.additions;
            self.multiply(&mut cell, right, other, index, k);
            self.next.sums[pe] = cell;
            if self.mapping.has_shadow() && cell.additions == shape.k as u64 {
                if self.next.sum_shadow[pe].valid {
                    return Err(Hazard::Chain);
                }
                self.next.sum_shadow[pe] = cell;
                self.counts.shadow_writes += 1;
            }
        }
        Ok(())
    }

    /// Stationary operands come down. In shift s of a column, row i takes the operand above, or
    /// that at the top edge, for s ≥ i.
    fn preload(&mut self) -> Result<(), Hazard> {
        let Mapping { cols, .. } = self.mapping;
        for col in 0..cols {
            let Some(beat) = self.sequencer.chain(col) else { continue };
            let fold = self.folds[beat.fold];
            // What a tile does not fill of the columns that it waits for, it fills with bubbles.
            if col >= fold.span_cols {
                continue;
            }
            let top = {
                let row = fold.span_rows - 1 - beat.at;
                let valid = row < fold.tile.rows && col < fold.tile.cols;
                let code = match valid {
                    true => self.operands.other(fold.tile.row + row, fold.tile.col + col, 0),
                    false => 0,
                };
                self.count_read(valid, Which::Other);
                Latch { code, valid, first: false, fold: beat.fold }
            };
            let shadow = self.mapping.has_shadow();
            for row in (0..=beat.at).rev() {
                let pe = row * cols + col;
                let chain = if shadow { &self.present.other_shadow } else { &self.present.other };
                let taken = if row == 0 { top } else { chain[pe - cols] };
                if taken.fold != beat.fold {
                    return Err(Hazard::Chain);
                }
                // What is overwritten must have been copied, at this very edge at the latest.
                let old = chain[pe];
                let waits =
                    |old: Latch| self.present.other[pe].fold != old.fold && !self.copies(pe);
                if shadow && row == beat.at && old.valid && waits(old) {
                    return Err(Hazard::Chain);
                }
                *self.writes(Which::Other) += u64::from(taken.valid);
                let next = if shadow { &mut self.next.other_shadow } else { &mut self.next.other };
                next[pe] = taken;
            }
        }
        if self.mapping.has_shadow() {
            for pe in 0..self.next.right.len() {
                if self.copies(pe) {
                    let loaded = self.present.other_shadow[pe];
                    self.next.other[pe] = loaded;
                    let copied = loaded.valid && loaded.fold == self.next.right[pe].fold;
                    self.counts.shadow_writes += u64::from(copied);
                }
            }
        }
        Ok(())
    }

    /// Whether a PE copies its shadow at this clock edge: the first operand of a fold arrives in one
    /// of the columns that the fold waits for.
    fn copies(&self, pe: usize) -> bool {
        let right = self.next.right[pe];
        right.first && pe % self.mapping.cols < self.folds[right.fold].span_cols
    }

    /// Sums move one row down, and take a product with them where they meet an operand.
    fn move_sums_down(&mut self, left: &mut Vec<Left>) -> Result<(), Hazard> {
        let Mapping { cols, stationary, shape, .. } = self.mapping;
        for pe in 0..self.next.right.len() {
            let (row, col) = (pe / cols, pe % cols);
            let mut cell = match row {
                0 => self.enter(col)?,
                _ => self.present.sums[pe - cols],
            };
            // A sum is taken out below the last row that its fold waits for.
            if !cell.valid || row >= self.folds[cell.fold].span_rows {
                self.next.sums[pe] = SumRegister::default();
                continue;
            }
            let fold = self.folds[cell.fold];
            let tile = fold.tile;
            let at = stationary.product(tile.row + row, tile.col + col, cell.time);
            let index = at.m * shape.n + at.n;
            // A chain that moves no further than the operands' own register is what multiplies.
            let (right, other) = (self.next.right[pe], self.multiplied(pe));
            if right.valid && row < tile.rows {
                if other.fold != right.fold || !other.valid {
                    return Err(Hazard::Chain);
                }
                assert_eq!((right.fold, cell.additions), (cell.fold, at.k as u64), "in PE {pe}");
                self.multiply(&mut cell, right, other, index, at.k as u64);
            } else {
                assert!(row >= tile.rows, "a sum that meets no operand in PE {pe}");
                self.counts.accumulator_writes += 1;
            }
            self.next.sums[pe] = cell;
            if row + 1 == fold.span_rows {
                if left.iter().any(|other| other.column == col) {
                    return Err(Hazard::Exit);
                }
                left.push(Left { column: col, index, cell });
            }
        }
        // Folds of fewer rows leave further up.
        left.sort_by_key(|left| left.column);
        Ok(())
    }

    /// The stationary operand that a PE multiplies with.
    fn multiplied(&self, pe: usize) -> Latch {
        if self.mapping.has_shadow() { self.next.other[pe] } else { self.present.other[pe] }
    }

    /// The sum that enters a column at the top: a new one, or what the fold before along k left.
    fn enter(&mut self, col: usize) -> Result<SumRegister, Hazard> {
        let Some(beat) = self.sequencer.stream(col) else { return Ok(SumRegister::default()) };
        let tile = self.tile(beat);
        if col >= tile.cols {
            return Ok(SumRegister::default());
        }
        let new = SumRegister {
            valid: true,
            fold: beat.fold,
            time: tile.time + beat.at,
            ..SumRegister::default()
        };
        if tile.row == 0 {
            return Ok(new);
        }
        let at = self.mapping.stationary.product(0, tile.col + col, tile.time + beat.at);
        let partial = self.partial[at.m * self.mapping.shape.n + at.n];
        self.counts.partial_sum_reads += 1;
        match partial.filter(|cell| cell.additions == tile.row as u64) {
            Some(cell) => Ok(SumRegister { sum: cell.sum, additions: cell.additions, ..new }),
            None => Err(Hazard::PartialSum),
        }
    }

    fn multiply(
        &mut self,
        cell: &mut SumRegister,
        right: Latch,
        other: Latch,
        index: usize,
        k: u64,
    ) {
        let product = i128::from(right.code) * i128::from(other.code);
        self.task.add_product(&mut cell.sum, product, index, k as usize);
        let ends = self.task.adder.ends_run(k, self.mapping.shape.k as u64);
        self.chunk_sums += u64::from(ends);
        cell.additions += 1;
        self.counts.accumulator_writes += 1;
        if self.operands.are_stored(index, k as usize) {
            self.counts.macs += 1;
            self.zero_operand_macs += u64::from(right.code == 0 || other.code == 0);
        }
    }

    /// Compares every register with what it is about to hold.
    fn count_toggles(&mut self) {
        let (present, next) = (&self.present, &self.next);
        let flips = |[before, after]: [i64; 2], bits: u32| {
            u64::from(word(before ^ after, bits).count_ones())
        };
        let latches = |before: &[Latch], after: &[Latch], bits| -> u64 {
            let pairs = before.iter().zip(after);
            pairs.map(|(before, after)| flips([before.code, after.code], bits)).sum()
        };
        let widths = self.task.widths();
        let cells = |before: &[SumRegister], after: &[SumRegister]| -> u64 {
            let pairs = before.iter().zip(after);
            let registers = |cell: &SumRegister| sum_words(&cell.sum, widths);
            let flipped = |(before, after)| registers(before) ^ registers(after);
            pairs.map(|pair| u64::from(flipped(pair).count_ones())).sum()
        };
        let [right, other] = self.bits;
        self.toggles[0] += latches(&present.right, &next.right, right);
        self.toggles[1] += latches(&present.other, &next.other, other)
            + latches(&present.other_shadow, &next.other_shadow, other);
        self.toggles[2] +=
            cells(&present.sums, &next.sums) + cells(&present.sum_shadow, &next.sum_shadow);
    }

    fn is_a(&self, which: Which) -> bool {
        (which == Which::Right) == (self.mapping.stationary != Stationary::Input)
    }

    fn writes(&mut self, which: Which) -> &mut u64 {
        match self.is_a(which) {
            true => &mut self.counts.a_register_writes,
            false => &mut self.counts.b_register_writes,
        }
    }

    fn count_read(&mut self, valid: bool, which: Which) {
        let reads = match self.is_a(which) {
            true => &mut self.counts.a_reads,
            false => &mut self.counts.b_reads,
        };
        *reads += u64::from(valid);
    }
}

/// One of the two operands.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    Right,
    Other,
}
