//! What stands at the edges of the grid in each cycle.

use std::collections::VecDeque;

use num_traits::AsPrimitive;
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::{Side, Word, word_panels};

use super::view::Hazard;
use crate::Mapping;
use crate::mapping::Stationary;
use crate::schedule::Fold;

/// The element that moves right, at a place along the rows' axis and in time: of which operand, of
/// which of its lines of k, and its k.
fn right(stationary: Stationary, row: usize, time: usize) -> (Side, usize, usize) {
    let at = stationary.product(row, 0, time);
    match stationary {
        Stationary::Output | Stationary::Weight => (Side::A, at.m, at.k),
        Stationary::Input => (Side::B, at.n, at.k),
    }
}

/// The other element, at a place along all three axes; two of them matter.
fn other(stationary: Stationary, row: usize, col: usize, time: usize) -> (Side, usize, usize) {
    let at = stationary.product(row, col, time);
    match stationary {
        Stationary::Output | Stationary::Weight => (Side::B, at.n, at.k),
        Stationary::Input => (Side::A, at.m, at.k),
    }
}

/// The operands of a GEMM as the edges want them.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) task: GemmTask<'a>,
    pub(crate) stationary: Stationary,
}

impl Operands<'_> {
    /// The operand that moves right, at a place along the rows' axis and in time.
    pub(crate) fn right(&self, row: usize, time: usize) -> i64 {
        self.code(right(self.stationary, row, time))
    }

    /// The other operand, at a place along all three axes; two of them matter.
    pub(crate) fn other(&self, row: usize, col: usize, time: usize) -> i64 {
        self.code(other(self.stationary, row, col, time))
    }

    fn code(&self, (side, line, k): (Side, usize, usize)) -> i64 {
        match side {
            Side::A => self.task.a.code(line, k),
            Side::B => self.task.b.code(k, line),
        }
    }
}

/// A step of a fold: its number, and which of its steps in time, or which shift of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) fold: usize,
    pub(super) at: usize,
}

/// Tells the first row and column when they work, and every other by how much later it follows.
pub(super) struct Sequencer<'a> {
    folds: &'a [Fold],
    /// What entered the first PE in this cycle, in the one before, and so on.
    streams: VecDeque<Option<Beat>>,
    /// The same of the chain of the first column.
    chains: VecDeque<Option<Beat>>,
    /// The first fold whose stream has not ended, and the first whose chain has not.
    streaming: usize,
    chaining: usize,
}

impl<'a> Sequencer<'a> {
    pub(super) fn new(mapping: &Mapping, folds: &'a [Fold]) -> Self {
        let idle = VecDeque::from(vec![None; mapping.rows + mapping.cols]);
        Self { folds, streams: idle.clone(), chains: idle, streaming: 0, chaining: 0 }
    }

    /// Moves on to a cycle.
    pub(super) fn advance(&mut self, cycle: u64) -> Result<(), Hazard> {
        let stream =
            beat(self.folds, &mut self.streaming, cycle, |f| (f.start, f.tile.steps as u64));
        let chain = beat(self.folds, &mut self.chaining, cycle, |f| (f.chain, f.span_rows as u64));
        self.streams.pop_back();
        self.streams.push_front(stream.map_err(|()| Hazard::Entry)?);
        self.chains.pop_back();
        self.chains.push_front(chain.map_err(|()| Hazard::Chain)?);
        Ok(())
    }

    /// What a row or column that works so many cycles late is fed.
    pub(super) fn stream(&self, late: usize) -> Option<Beat> {
        self.streams[late]
    }

    /// What the chain of a column does.
    pub(super) fn chain(&self, column: usize) -> Option<Beat> {
        self.chains[column]
    }

    /// Whether operands are still to enter the first PE.
    pub(super) fn has_more(&self) -> bool {
        self.streaming < self.folds.len()
    }

    /// Whether, so many cycles from this one, operands that have entered are still on their way to
    /// the last PE that their fold waits for.
    pub(super) fn computes(&self, later: usize) -> bool {
        in_flight(&self.streams, |beat, late| {
            let fold = &self.folds[beat.fold];
            late + later <= fold.span_rows + fold.span_cols - 2
        })
    }

    /// Whether, so many cycles from this one, chains are still to move.
    pub(super) fn chains(&self, later: usize) -> bool {
        self.chaining < self.folds.len()
            || in_flight(&self.chains, |beat, late| late + later < self.folds[beat.fold].span_cols)
    }
}

fn in_flight(beats: &VecDeque<Option<Beat>>, is: impl Fn(Beat, usize) -> bool) -> bool {
    beats.iter().enumerate().any(|(late, beat)| beat.is_some_and(|beat| is(beat, late)))
}

/// The step that some fold takes in a cycle, of those that begin at a cycle and take so many;
/// `Err` if two want to.
fn beat(
    folds: &[Fold],
    current: &mut usize,
    cycle: u64,
    window: impl Fn(&Fold) -> (u64, u64),
) -> Result<Option<Beat>, ()> {
    let Some(fold) = folds.get(*current) else { return Ok(None) };
    let (first, count) = window(fold);
    if cycle < first {
        return Ok(None);
    }
    let found = Beat { fold: *current, at: (cycle - first) as usize };
    if let Some(next) = folds.get(*current + 1)
        && window(next).0 <= cycle
    {
        return Err(());
    }
    if cycle + 1 == first + count {
        *current += 1;
    }
    Ok(Some(found))
}

/// The operands, each line of k behind the other, as the edges read them.
pub(super) struct FedLines<W> {
    /// OperandArrays of A by m and k, and of B by n and k.
    codes: [Vec<W>; 2],
    /// Which of them are stored; all, where it says nothing.
    stored: [Vec<bool>; 2],
    stationary: Stationary,
    k: usize,
}

impl<W: Word> FedLines<W>
where
    i64: AsPrimitive<W>,
{
    pub(super) fn new(task: &GemmTask<'_>, stationary: Stationary) -> Self {
        let GemmShape { m, k, n } = task.shape();
        let is_stored = |count: usize, is: &dyn Fn(usize, usize) -> bool| -> Vec<bool> {
            let places = (0..count).flat_map(|line| (0..k).map(move |k| (line, k)));
            places.map(|(line, k)| is(line, k)).collect()
        };
        let stored = match task.structural_zeros() {
            0 => Default::default(),
            _ => [
                is_stored(m, &|m, k| task.a.is_stored(m, k)),
                is_stored(n, &|n, k| task.b.is_stored(k, n)),
            ],
        };
        let codes = [(&task.a, Side::A), (&task.b, Side::B)]
            .map(|(operand, side)| word_panels(operand, side, 1, 0));
        Self { codes, stored, stationary, k }
    }
}

impl<W: Word> FedLines<W> {
    /// The operand that moves right, at a place along the rows' axis and in time, and whether it is
    /// stored.
    pub(super) fn right(&self, row: usize, time: usize) -> (W, bool) {
        self.element(right(self.stationary, row, time))
    }

    /// The other operand, at a place along all three axes; two of them matter.
    pub(super) fn other(&self, row: usize, col: usize, time: usize) -> (W, bool) {
        self.element(other(self.stationary, row, col, time))
    }

    fn element(&self, (side, line, k): (Side, usize, usize)) -> (W, bool) {
        let (at, side) = (line * self.k + k, usize::from(side == Side::B));
        (self.codes[side][at], self.stored[side].get(at).is_none_or(|&stored| stored))
    }
}
