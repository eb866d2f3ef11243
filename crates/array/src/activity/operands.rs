//! Toggles of operand registers, and products with zero.

use std::array::from_fn;

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Lane, with_codes};
use systoliq_program::panels::Side;
use systoliq_program::view::codes::Viewed;
use systoliq_program::{GemmTask, Operand};

use super::lanes::{LaneStreams, OperandLanes};
use super::turns::LoopTurns;
use super::{Activity, GemmRun, follows, held};
use crate::Mapping;
use crate::mapping::{Axis, Stationary};
use crate::schedule::Fold;

pub(super) fn activity(run: &GemmRun, task: &GemmTask<'_>) -> Activity {
    let (a, b) = match run.mapping.stationary {
        Stationary::Output => {
            (fed(run, task, Side::A, Axis::Rows), fed(run, task, Side::B, Axis::Cols))
        }
        Stationary::Weight => (fed(run, task, Side::A, Axis::Rows), held(run, task, Side::B)),
        Stationary::Input => (held(run, task, Side::A), fed(run, task, Side::B, Axis::Rows)),
    };
    // All multiply-accumulates but, for each k, those of two elements that are not zero.
    let nonzero: u64 = a.nonzeros.iter().zip(&b.nonzeros).map(|(a, b)| a * b).sum();
    Activity {
        zero_operand_macs: task.macs() - nonzero,
        a_toggles: a.toggles,
        b_toggles: b.toggles,
    }
}

/// What one operand does.
struct OperandActivity {
    /// Elements that are not zero, by k.
    nonzeros: Vec<u64>,
    toggles: u64,
}

/// Evaluates `$body` with `$lanes` bound to the operand on a side, whose time is k if `$in_k`.
macro_rules! with_lanes {
    ($task:expr, $side:expr, $in_k:expr, |$lanes:ident| $body:expr) => {{
        let operand = of_side($task, $side);
        with_codes!(operand.tensor, |codes| {
            let $lanes = OperandLanes::new(operand, $side, Viewed::new(operand, codes), $in_k);
            $body
        })
    }};
}

fn of_side<'t>(task: &'t GemmTask<'_>, side: Side) -> &'t Operand<'t> {
    match side {
        Side::A => &task.a,
        Side::B => &task.b,
    }
}

/// Of an operand that is fed in time to the rows or the columns of the grid.
fn fed(run: &GemmRun, task: &GemmTask<'_>, side: Side, axis: Axis) -> OperandActivity {
    with_lanes!(task, side, run.mapping.output_stays(), |lanes| {
        let (nonzeros, streams) = lanes.count(run.mapping.pieces(Axis::Time));
        let moving = MovingOperand { run, lanes: &lanes, streams: &streams, axis };
        OperandActivity { nonzeros, toggles: moving.toggles() }
    })
}

/// Of an operand that comes down the chain of each column and stays.
fn held(run: &GemmRun, task: &GemmTask<'_>, side: Side) -> OperandActivity {
    let nonzeros = with_lanes!(task, side, true, |lanes| lanes.nonzeros());
    OperandActivity { nonzeros, toggles: held::toggles(&run.mapping, of_side(task, side), side) }
}

/// An operand that passes the registers of a row or a column, one per cycle.
///
/// Before and after a fold a register holds 0, unless another fold follows at once. The last
/// registers may not see the last codes, because the GEMM is over.
struct MovingOperand<'a, L> {
    run: &'a GemmRun,
    lanes: &'a OperandLanes<'a, L>,
    streams: &'a LaneStreams,
    /// The axis of the grid to which lanes are fed.
    axis: Axis,
}

/// Ones in the same places of codes that come one after the other: |a ^ b| = |a| + |b| − 2·|a & b|.
struct SharedOnes<'a> {
    last: &'a [u32],
    first: &'a [u32],
}

impl VectorWork for SharedOnes<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let mut shared = 0u32;
        for (last, first) in self.last.iter().zip(self.first) {
            // As many ones as fit 32 bits are in more lanes than there are.
            shared = shared.wrapping_add((last & first).count_ones());
        }
        shared.into()
    }
}

fn shared(last: &[u32], first: &[u32]) -> u64 {
    with_widest_vectors(SharedOnes { last, first })
}

impl<L: Lane> MovingOperand<'_, L> {
    fn toggles(&self) -> u64 {
        let mapping = &self.run.mapping;
        let others = mapping.pieces(self.across()).count() as u64;
        self.places() * (others * self.alone() - 2 * self.shared_with_last()) - self.missed()
    }

    /// The axis of the grid along which lanes run.
    fn across(&self) -> Axis {
        if self.axis == Axis::Rows { Axis::Cols } else { Axis::Rows }
    }

    /// How many registers a lane passes.
    fn places(&self) -> u64 {
        let Mapping { rows, cols, .. } = self.run.mapping;
        (if self.axis == Axis::Rows { cols } else { rows }) as u64
    }

    /// Toggles of the first registers of all lanes if each is 0 before and after every piece of time.
    fn alone(&self) -> u64 {
        let last_piece = self.run.mapping.pieces(Axis::Time).count() - 1;
        let (first, last) = (self.streams.first(0), self.streams.last(last_piece));
        let between =
            |piece: usize| shared(self.streams.last(piece - 1), self.streams.first(piece));
        let ends = shared(first, first) + shared(last, last);
        self.streams.within + ends + 2 * (1..=last_piece).map(between).sum::<u64>()
    }

    /// Ones that are in the same places in the first codes of a fold and in the last of the one before,
    /// in all folds that follow at once.
    fn shared_with_last(&self) -> u64 {
        let GemmRun { mapping, schedule, .. } = self.run;
        let axes = [self.axis, self.across(), Axis::Time];
        let pieces = axes.map(|axis| mapping.pieces(axis));
        let span = |at: [usize; 3]| {
            let [lanes, others, steps] = from_fn(|axis| pieces[axis].size(at[axis]));
            let is_row = self.axis == Axis::Rows;
            let (rows, cols) = if is_row { (lanes, others) } else { (others, lanes) };
            schedule.span(rows, cols, steps)
        };
        let mut sum = 0;
        for turns in LoopTurns::of(mapping) {
            for to in turns.alike(mapping, axes) {
                let first = from_fn(|axis| to[axis].start);
                let from = |to: [usize; 3]| turns.from(to, mapping, axes);
                if !schedule.follows(span(from(first)), span(first)) {
                    continue;
                }
                let [lanes, others, times] = to;
                for time in times {
                    let [from_lane, _, from_time] = from([lanes.start, others.start, time]);
                    let before = pieces[0].range_of(from_lane..from_lane + lanes.len());
                    let last = &self.streams.last(from_time)[before];
                    let first = &self.streams.first(time)[pieces[0].range_of(lanes.clone())];
                    sum += others.len() as u64 * shared(last, first);
                }
            }
        }
        sum
    }

    /// The first lane that a fold takes, and how many.
    fn taken(&self, fold: &Fold) -> (usize, usize) {
        let tile = fold.tile;
        if self.axis == Axis::Rows { (tile.row, tile.rows) } else { (tile.col, tile.cols) }
    }

    /// Toggles of the first register of lane `i` of a fold as its step `step` comes in; after the
    /// last step, what follows the fold, unless another fold does.
    fn change(
        &self,
        fold: &Fold,
        [before, after]: [Option<&Fold>; 2],
        i: usize,
        step: usize,
    ) -> u64 {
        let (tile, lane) = (&fold.tile, self.taken(fold).0 + i);
        let last =
            |fold: &Fold, lane: usize| self.streams.last(self.run.piece_of(&fold.tile))[lane];
        let has_lane = |other: &&Fold| i < self.taken(other).1;
        if step == tile.steps {
            let fed =
                after.filter(|after| follows(fold, after)).is_some_and(|after| has_lane(&after));
            return if fed { 0 } else { last(fold, lane).count_ones().into() };
        }
        let before = match step {
            0 => {
                let before = before.filter(|before| follows(before, fold)).filter(has_lane);
                before.map_or(0, |before| last(before, self.taken(before).0 + i))
            }
            _ => self.lanes.at(lane, tile.time + step - 1),
        };
        (before ^ self.lanes.at(lane, tile.time + step)).count_ones().into()
    }

    /// What the last registers do not see: what enters in cycle x changes the last one in cycle
    /// x + places − 1.
    fn missed(&self) -> u64 {
        let (run, places, mut toggles) = (self.run, self.places(), 0);
        let sides = (run.mapping.rows + run.mapping.cols) as u64;
        let mut after = None;
        let mut folds = run.schedule.folds_backwards().peekable();
        while let Some(fold) = folds.next() {
            let Fold { start, tile, .. } = fold;
            for i in 0..self.taken(&fold).1 {
                for step in (0..=tile.steps).rev() {
                    let missed = (start + (i + step) as u64 + places).saturating_sub(run.end);
                    if missed == 0 {
                        break;
                    }
                    let beside = [folds.peek(), after.as_ref()];
                    toggles += missed.min(places) * self.change(&fold, beside, i, step);
                }
            }
            // Folds before have streamed when this one starts.
            if start + sides <= run.end {
                break;
            }
            after = Some(fold);
        }
        toggles
    }
}
