//! The grid and its clock.

mod moving;
mod staying;

use num_traits::AsPrimitive;
use systoliq_program::GemmTask;
use systoliq_program::panels::Word;

use super::Seen;
use super::edge::EdgeTally;
use super::feed::{Beat, FedLines, Sequencer};
use super::lanes::{
    FIRST, FOLDS_MAX, OperandArrays, OperandFields, STORED, SumArrays, SumFields, VALID, tag,
};
use super::rule::{SumRule, mask};
use super::view::{Clock, CycleCause, Hazard, Left, Registers};
use crate::mapping::Stationary;
use crate::schedule::Fold;
use crate::{Activity, ArrayCounts, Cycles, Mapping, Overlap};

/// Shows each cycle.
pub(super) type See<'s> = dyn FnMut(&Clock<'_>) + 's;

/// The grid and its clock.
pub(super) struct RegisterGrid<'a, R: SumRule> {
    rule: R,
    mapping: Mapping,
    folds: &'a [Fold],
    lines: FedLines<R::Code>,
    sequencer: Sequencer<'a>,
    /// Where sums move: those of the folds so far, by place in C.
    partial: Vec<SumFields<R>>,
    /// The fold of the last sum that left each column.
    last_left: Vec<usize>,
    /// What leaves in this cycle.
    left: Vec<Left>,
    cycle: u64,
    right: OperandArrays<R::Code>,
    /// Of each operand that moves right, how many columns copy their second register as it arrives.
    reach: Vec<u32>,
    other: OperandArrays<R::Code>,
    sums: SumArrays<R>,
    other_shadow: Option<OperandArrays<R::Code>>,
    sum_shadow: Option<SumArrays<R>>,
    /// The row and the column of each PE.
    rows_and_cols: [Vec<u32>; 2],
    /// The rows below which sums leave that move.
    exits: Vec<usize>,
    /// Products of a sum.
    k: u32,
    /// The bits of the elements that move right and of the others.
    masks: [R::Code; 2],
    chunk_sums: u64,
    counts: ArrayCounts,
    zero_operand_macs: u64,
    /// Bits that flipped in the registers of these three.
    toggles: [u64; 3],
}

impl<'a, R: SumRule> RegisterGrid<'a, R> {
    /// A grid after reset.
    ///
    /// # Panics
    ///
    /// If an extent of the GEMM does not fit 32 bits, or there are 2²⁹ folds.
    pub(super) fn new(rule: R, task: &GemmTask<'a>, mapping: &Mapping, folds: &'a [Fold]) -> Self
    where
        i64: AsPrimitive<R::Code>,
    {
        let Mapping { shape, rows, cols, stationary, .. } = *mapping;
        let [_, k, _] = [shape.m, shape.k, shape.n]
            .map(|extent| u32::try_from(extent).expect("an extent of 32 bits"));
        assert!(folds.len() < FOLDS_MAX, "{} folds", folds.len());
        let [a, b] = [task.a.tensor, task.b.tensor].map(|tensor| tensor.format().bits());
        let (right, other) = match stationary {
            Stationary::Output | Stationary::Weight => (a, b),
            Stationary::Input => (b, a),
        };
        let pes = rows * cols;
        let (shadow, output_stays) = (mapping.has_shadow(), mapping.output_stays());
        let mut exits: Vec<usize> = folds.iter().map(|fold| fold.span_rows - 1).collect();
        exits.sort_unstable();
        exits.dedup();
        Self {
            rule,
            mapping: *mapping,
            folds,
            lines: FedLines::new(task, stationary),
            sequencer: Sequencer::new(mapping, folds),
            partial: vec![SumFields::default(); if output_stays { 0 } else { shape.m * shape.n }],
            last_left: vec![0; cols],
            left: Vec::new(),
            cycle: 0,
            right: OperandArrays::reset(pes),
            reach: vec![0; pes],
            other: OperandArrays::reset(pes),
            sums: SumArrays::reset(pes),
            other_shadow: (shadow && !output_stays).then(|| OperandArrays::reset(pes)),
            sum_shadow: (shadow && output_stays).then(|| SumArrays::reset(pes)),
            rows_and_cols: [
                (0..pes).map(|pe| (pe / cols) as u32).collect(),
                (0..pes).map(|pe| (pe % cols) as u32).collect(),
            ],
            exits,
            k,
            masks: [mask(right), mask(other)],
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
    pub(super) fn clock(&mut self, see: Option<&mut See<'_>>) -> Result<&[Left], Hazard> {
        self.sequencer.advance(self.cycle)?;
        let cause = self.cause();
        let cycles = &mut self.counts.cycles;
        *match cause {
            CycleCause::Preload => &mut cycles.preload,
            CycleCause::Stream => &mut cycles.stream,
            CycleCause::Skew => &mut cycles.skew,
            CycleCause::Drain => &mut cycles.drain,
        } += Cycles(1);
        self.counts.pe_cycles += self.right.tags.len() as u64;
        self.left.clear();
        self.move_right();
        if self.mapping.output_stays() {
            self.move_other_down();
            let drained = self.drain()?;
            self.accumulate(drained)?;
        } else {
            self.move_sums_down()?;
            self.preload()?;
        }
        for left in &self.left {
            self.counts.sum_writes += 1;
            let (column, fold) = (left.column, left.cell.fold);
            if fold < std::mem::replace(&mut self.last_left[column], fold) {
                return Err(Hazard::Exit);
            }
        }
        if let Some(see) = see {
            self.view(cause, see);
        }
        self.cycle += 1;
        Ok(&self.left)
    }

    /// Shows all registers.
    fn view(&self, cause: CycleCause, see: &mut See<'_>) {
        let mut registers = Registers::reset(&self.mapping);
        self.right.view(&mut registers.right);
        self.other.view(&mut registers.other);
        self.sums.view(self.rule, &mut registers.sums);
        if let Some(shadow) = &self.other_shadow {
            shadow.view(&mut registers.other_shadow);
        }
        if let Some(shadow) = &self.sum_shadow {
            shadow.view(self.rule, &mut registers.sum_shadow);
        }
        see(&Clock { cycle: self.cycle, cause, registers: &registers, left: &self.left });
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

    /// Operands move one column to the right; the first column is fed from the left edge.
    fn move_right(&mut self) {
        let Mapping { rows, cols, .. } = self.mapping;
        self.right.advance(1);
        let copies = self.other_shadow.is_some();
        if copies {
            self.reach.copy_within(..rows * cols - 1, 1);
        }
        let mut reads = 0;
        for row in 0..rows {
            let (mut element, mut reach) = (OperandFields::nothing(), 0);
            if let Some(beat) = self.sequencer.stream(row) {
                let fold = &self.folds[beat.fold];
                let tile = &fold.tile;
                let read = (row < tile.rows)
                    .then(|| self.lines.right(tile.row + row, tile.time + beat.at));
                element = latched(read, beat);
                if beat.at == 0 && row < fold.span_rows {
                    element.tag |= FIRST;
                    reach = fold.span_cols as u32;
                }
                reads += u64::from(read.is_some());
            }
            self.right.load(row * cols, element);
            if copies {
                self.reach[row * cols] = reach;
            }
        }
        *self.reads(Which::Right) += reads;
    }

    /// Adds what was counted at a clock edge.
    fn count(&mut self, tally: &EdgeTally) {
        let (right, other) = (tally.right, tally.other);
        for (toggles, flips) in self.toggles.iter_mut().zip([right.0, other.0, tally.sum_flips]) {
            *toggles += u64::from(flips);
        }
        *self.writes(Which::Right) += u64::from(right.1);
        *self.writes(Which::Other) += u64::from(other.1);
        self.counts.accumulator_writes += u64::from(tally.written);
        self.counts.shadow_writes += u64::from(tally.copies);
        self.counts.macs += u64::from(tally.macs);
        self.zero_operand_macs += u64::from(tally.zero_operand_macs);
        self.chunk_sums += u64::from(tally.runs);
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

    fn reads(&mut self, which: Which) -> &mut u64 {
        match self.is_a(which) {
            true => &mut self.counts.a_reads,
            false => &mut self.counts.b_reads,
        }
    }
}

/// The register that latches what an edge reads, if it does.
fn latched<W: Word>(read: Option<(W, bool)>, beat: Beat) -> OperandFields<W> {
    match read {
        Some((code, stored)) => {
            let flags = VALID | if stored { STORED } else { 0 };
            OperandFields { code, tag: tag(beat.fold, flags) }
        }
        None => OperandFields { tag: tag(beat.fold, 0), ..OperandFields::nothing() },
    }
}

/// One of the two operands.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    Right,
    Other,
}
