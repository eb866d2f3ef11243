//! Any cycle of a GEMM, without the cycles before it.
//!
//! What stands in a register follows from the number of the cycle. Which folds matter is found by
//! halving, on the cycles in which folds start; then
//!
//! - an operand that moves is what entered its row or column so many cycles ago (`trail`);
//! - an operand that stays has the place in its column to which the chain has brought it;
//! - a sum is that of the first products of its output, as many as were made by then;
//! - a sum in a chain is one that is complete, so many rows further down (`stage`).
//!
//! So one cycle costs at most K additions per PE, early or late. A [`Cursor`] goes on from cycle to
//! cycle, and adds only what each cycle adds. Both give what [`Register`](crate::Register) keeps:
//! all fields of all registers, and what leaves.
//!
//! *Absent:* counts, and hazards. The starts of the folds are those of [`FoldSchedule`].

mod stage;
mod trail;

use std::ops::Range;

use systoliq_program::GemmTask;

use crate::config::SIDE_MAX;
use crate::register::{BUBBLE, Clock, CycleCause, Latch, Left, Registers, SumRegister};
use crate::schedule::Fold;
use crate::timing::too_large;
use crate::{Error, FoldSchedule, Mapping};

use stage::{KeptSums, Stage};
use trail::{Milestone, Trail};

/// All cycles of one GEMM on one grid.
///
/// ```
/// use systoliq_array::{Array, Instants, Mapping, Stationary};
/// use systoliq_fxp::{Accumulator, Adder, Overflow, Rounding, Tensor};
/// use systoliq_keyed_random::Key;
/// use systoliq_program::{GemmTask, Operand};
/// let accumulator = Accumulator::new(16, None, Rounding::Floor, Overflow::Saturate)?;
/// let format = "Q4.4".parse()?;
/// let a = Tensor::from_codes(format, 1, 3, &[1, 2, 3]);
/// let b = Tensor::from_codes(format, 3, 1, &[10, 20, 30]);
/// let [left, right] = [&a, &b].map(|tensor| Operand::new(tensor, false));
/// let task = GemmTask::new(left, right, Adder::new(&accumulator, 8, Key::new(0)), None);
/// let mapping = Mapping::new(&Array::new(1, 1)?, task.shape(), Stationary::Output);
/// let instants = Instants::new(&task, &mapping)?;
/// // In cycle 1 the only PE adds its second product: 1 · 10 + 2 · 20.
/// assert_eq!(instants.at(1)?.registers.sums[0].sum.value, 50);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Instants<'a> {
    task: GemmTask<'a>,
    mapping: Mapping,
    schedule: FoldSchedule,
    cycles: u64,
    /// The starts of the first and of the last fold.
    starts: [u64; 2],
}

/// One cycle: what stands in the grid after its clock edge, and what passed the edges in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Its number, from 0.
    pub cycle: u64,
    /// Why it passes.
    pub cause: CycleCause,
    /// In a preload cycle, the fold that the first column loads; else the fold whose operands
    /// enter the first PE, or entered it last.
    pub fold: usize,
    /// All registers after its clock edge.
    pub registers: Registers,
    /// What leaves in it, by column.
    pub left: Vec<Left>,
    /// The operand that enters each column at the top: one that moves down, or that will stay.
    pub top_operands: Vec<Latch>,
    /// Where sums move, the sum that enters each column at the top, before its first product.
    pub top_sums: Vec<SumRegister>,
}

impl Instant {
    /// A grid in which nothing has come to stand.
    pub(crate) fn reset(mapping: &Mapping) -> Self {
        let sums = if mapping.output_stays() { 0 } else { mapping.cols };
        Self {
            cycle: 0,
            cause: CycleCause::Stream,
            fold: 0,
            registers: Registers::reset(mapping),
            left: Vec::new(),
            top_operands: vec![BUBBLE; mapping.cols],
            top_sums: vec![SumRegister::default(); sums],
        }
    }

    /// The cycle as the register engine shows it.
    pub fn clock(&self) -> Clock<'_> {
        let Self { cycle, cause, registers, left, .. } = self;
        Clock { cycle: *cycle, cause: *cause, registers, left }
    }
}

impl<'a> Instants<'a> {
    /// The cycles of `task` as `mapping` lays it on the grid.
    ///
    /// # Errors
    ///
    /// If the grid has no side of 1 to [`SIDE_MAX`], or the cycles do not fit 64 bits.
    ///
    /// # Panics
    ///
    /// If the mapping is of other sizes than the task.
    pub fn new(task: &GemmTask<'a>, mapping: &Mapping) -> Result<Self, Error> {
        assert_eq!(task.shape(), mapping.shape, "sizes of the task and of its mapping");
        let Mapping { rows, cols, .. } = *mapping;
        let sides = 1..=SIDE_MAX;
        if !sides.contains(&rows) || !sides.contains(&cols) {
            return Err(Error::ArraySize { rows, cols });
        }
        let schedule = FoldSchedule::new(mapping).ok_or_else(|| too_large(mapping))?;
        let cycles = schedule.cycles().ok_or_else(|| too_large(mapping))?.total().0;
        let start = |number| schedule.nth(number).map_or(0, |fold| fold.start);
        let starts = [start(0), start(schedule.count().saturating_sub(1))];
        Ok(Self { task: *task, mapping: *mapping, schedule, cycles, starts })
    }

    /// The GEMM.
    pub fn task(&self) -> &GemmTask<'a> {
        &self.task
    }

    /// How it lies on the grid.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// When its folds start.
    pub fn schedule(&self) -> &FoldSchedule {
        &self.schedule
    }

    /// How many cycles it takes.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// One cycle, in a time that does not depend on its number.
    ///
    /// # Errors
    ///
    /// If the GEMM has no such cycle.
    pub fn at(&self, cycle: u64) -> Result<Instant, Error> {
        let mut cursor = self.over(cycle..cycle.saturating_add(1))?;
        cursor.advance();
        Ok(cursor.present)
    }

    /// Goes through some cycles, one by one.
    ///
    /// # Errors
    ///
    /// If the GEMM does not have all of them, or there are none.
    pub fn over(&self, cycles: Range<u64>) -> Result<Cursor<'_, 'a>, Error> {
        self.check(&cycles)?;
        Ok(Cursor::new(self, cycles))
    }

    /// Checks that the GEMM has these cycles.
    ///
    /// # Errors
    ///
    /// If it does not have all of them, or there are none.
    pub fn check(&self, cycles: &Range<u64>) -> Result<(), Error> {
        if cycles.start < cycles.end && cycles.end <= self.cycles {
            return Ok(());
        }
        Err(Error::NoSuchCycles { from: cycles.start, to: cycles.end, cycles: self.cycles })
    }

    /// The last fold, up to fold `number`, of which `is` holds, if that depends on nothing but the
    /// rows and columns that a fold uses or waits for.
    ///
    /// On either axis of the grid, all tiles but the last have one size. So the fold itself, the one
    /// before it and the last two of the turns before, of either inner loop, stand for all.
    fn last_where(&self, number: u64, is: impl Fn(&Fold) -> bool) -> Option<(u64, Fold)> {
        let [turn, outer] = self.schedule.turns(number);
        let before = |number: u64, by: u64| number.checked_sub(by);
        let candidates = [Some(number), before(number, 1), before(turn, 1), before(turn, 2)];
        let outer = [before(outer, 1), before(outer, 2)].into_iter();
        let folds = candidates
            .into_iter()
            .chain(outer)
            .flatten()
            .filter_map(|number| self.schedule.nth(number).map(|fold| (number, fold)));
        folds.into_iter().find(|(_, fold)| is(fold))
    }
}

/// Goes from one cycle to the next.
///
/// It keeps the registers of two cycles, and at most 2²⁰ partial sums on their way from one fold to
/// the next; where a column tile has more of them, each is added up again as it enters.
#[derive(Debug)]
pub struct Cursor<'i, 'a> {
    instants: &'i Instants<'a>,
    /// The cycles still to come.
    ahead: Range<u64>,
    started: bool,
    trails: Trails,
    kept: KeptSums,
    present: Instant,
    next: Instant,
}

/// Where the folds stand, diagonal by diagonal.
#[derive(Debug)]
struct Trails {
    /// Whose first operands have come.
    starts: Trail,
    /// Whose last operands have come.
    ends: Trail,
    /// Whose chain has begun to move.
    chains: Trail,
}

impl<'i, 'a> Cursor<'i, 'a> {
    fn new(instants: &'i Instants<'a>, cycles: Range<u64>) -> Self {
        let trail = |milestone| Trail::new(instants, milestone, cycles.start);
        let trails = Trails {
            starts: trail(Milestone::Start),
            ends: trail(Milestone::End),
            chains: trail(Milestone::Chain),
        };
        let empty = Instant::reset(&instants.mapping);
        Self {
            instants,
            ahead: cycles,
            started: false,
            trails,
            kept: KeptSums::new(&instants.mapping),
            present: empty.clone(),
            next: empty,
        }
    }

    /// The next cycle; `None` after the last.
    pub fn advance(&mut self) -> Option<&Instant> {
        let cycle = self.ahead.next()?;
        if self.started {
            let Trails { starts, ends, chains } = &mut self.trails;
            [starts, ends, chains]
                .into_iter()
                .for_each(|trail| trail.advance(self.instants, cycle));
        }
        let stage = Stage {
            instants: self.instants,
            cycle,
            trails: &self.trails,
            kept: &self.kept,
            previous: self.started.then_some(&self.present.registers),
        };
        stage.fill(&mut self.next);
        if !self.ahead.is_empty() {
            self.kept.leave(&self.next.left);
        }
        std::mem::swap(&mut self.present, &mut self.next);
        self.started = true;
        Some(&self.present)
    }
}
