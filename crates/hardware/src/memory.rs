//! The memory off chip, and who waits for it.
//!
//! Work goes in *steps*: a fold of the array, a part of one, or a part of the vector unit's work.
//! Each needs what it reads on chip before it starts, and gives what it writes when it is done.
//! Scratchpads have two halves, so that one step is read for while the one before works, and the
//! results of one are written while the next works. There is one channel, first in, first out, in
//! the order
//!
//! > read 0, read 1, write 0, read 2, write 1, read 3, …
//!
//! A transfer takes the latency and ⌈bytes / bytes per cycle⌉ cycles, and none if there is nothing
//! to move. Read i + 1 may begin when step i starts, write i when step i is done, and step i starts
//! when step i − 1 has gone on so far as it would without memory, read i is there and write i − 2 is
//! gone. Where steps overlap so much that, without memory, step i would start before the results of
//! step i − 2 are there, their write goes before the read of the first step that would not, and only
//! that one waits for it: what nothing slows down is never waited for. Every step has its places in
//! this order, whether or not it moves anything: with fewer transfers nothing ends later.
//!
//! What a step starts later for is a *stall*, and belongs to the transfer that was last waited for;
//! so does what the last write takes beyond the last step.
//!
//! Many steps are alike. Where a repetition leaves the walk as the one before left it, counted from
//! the start of its last step, all that follow take as long, and are not walked through.

use std::collections::VecDeque;

use systoliq_program::TensorId;

use crate::accelerator::Dram;

/// What of a tensor lies in DRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stored {
    /// Its elements.
    Elements,
    /// A second copy of them, in the other layout.
    Copy,
    /// The sums from which they will be converted, at full width.
    Sums,
    /// One bit an element: whether it is positive.
    Mask,
}

/// One transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The tensor.
    pub tensor: TensorId,
    /// What of it.
    pub stored: Stored,
    /// Whether it is written.
    pub write: bool,
    /// Elements.
    pub elements: u64,
    /// Bytes, whole bursts.
    pub bytes: u64,
    /// Where it lies, in bytes from the beginning of what is stored: tile after tile, each of them in
    /// whole bursts.
    pub offset: u64,
    /// Whether its command moves this part for the first time.
    pub first: bool,
}

impl Transfer {
    /// Whether it differs from `other` in no more than the place.
    fn takes_like(&self, other: &Self) -> bool {
        *self == Self { offset: self.offset, ..*other }
    }
}

/// One step, with its times as they would be without memory.
#[derive(Clone, Copy, Debug)]
pub struct WalkStep<'a> {
    /// Cycles from the start of the step before to the start of this one.
    pub gap: u64,
    /// Cycles from its start until its results are there.
    pub length: u64,
    /// What must be there before it starts, in this order; nothing in it is empty.
    pub reads: &'a [Transfer],
    /// What goes when it is done.
    pub writes: &'a [Transfer],
}

/// What stays on chip while a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// The tensor.
    pub tensor: TensorId,
    /// What of it.
    pub stored: Stored,
    /// Whether each part of it comes from DRAM once.
    pub arrives: bool,
}

impl Resident {
    /// Whether it keeps a transfer from passing the channel.
    fn spares(&self, of: &Transfer) -> bool {
        (self.tensor, self.stored) == (of.tensor, of.stored)
            && (of.write || !of.first || !self.arrives)
    }
}

/// What was moved of a tensor in one direction, and waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The tensor.
    pub tensor: TensorId,
    /// What of it.
    pub stored: Stored,
    /// Whether it was written.
    pub write: bool,
    /// Transfers.
    pub transfers: u64,
    /// Elements.
    pub elements: u64,
    /// Bytes, whole bursts.
    pub bytes: u64,
    /// Cycles in which all waited for it.
    pub stall: u64,
}

impl Moved {
    /// The same so many times; `None` where a count leaves 64 bits.
    pub(crate) fn checked_mul(self, factor: u64) -> Option<Self> {
        Some(Self {
            transfers: self.transfers.checked_mul(factor)?,
            elements: self.elements.checked_mul(factor)?,
            bytes: self.bytes.checked_mul(factor)?,
            stall: self.stall.checked_mul(factor)?,
            ..self
        })
    }
}

/// When a step started and what was moved for it, in cycles from the first read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its start.
    pub start: u64,
    /// The cycles before it in which it was waited for a transfer.
    pub stall: u64,
    /// Whose transfer that was, and whether it was a write.
    pub waited_for: Option<(TensorId, bool)>,
    /// When its results were there.
    pub end: u64,
    /// What the channel moved for it, in this order, with the cycles that took: what steps before it
    /// wrote and had to be gone, and what it read.
    pub transfers: Vec<(Transfer, std::ops::Range<u64>)>,
}

impl Moment {
    /// The same, so many cycles later.
    pub fn later(self, by: u64) -> Self {
        let transfers = self.transfers.into_iter();
        Self {
            start: self.start + by,
            stall: self.stall,
            waited_for: self.waited_for,
            end: self.end + by,
            transfers: transfers.map(|(of, r)| (of, r.start + by..r.end + by)).collect(),
        }
    }
}

/// The most steps that are walked through one by one.
const WALKED_MAX: u64 = 1 << 26;

/// A walk through steps.
pub struct Walk<'s> {
    dram: Dram,
    state: State,
    /// Told of every step, if any.
    see: Option<&'s mut dyn FnMut(Moment)>,
    /// What does not move, because it stays on chip.
    on_chip: &'s [Resident],
    walked: u64,
}

/// Where a walk is. Times are cycles from the first read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    steps: u64,
    /// The start of the last step, and where it would be without memory.
    start: u128,
    ideal_start: u128,
    /// When its results are there.
    end: u128,
    /// When all results are there, and when they would be without memory.
    last_end: u128,
    ideal_end: u128,
    /// When the channel has nothing to do.
    free: u128,
    /// When the last write in the channel is done.
    written: u128,
    /// Whose write that was.
    writer: Option<usize>,
    /// What the last step will write, and what those before it that is not in the channel yet.
    last: Given,
    given: VecDeque<Given>,
    moved: Vec<MovedSum>,
}

/// What a step gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Given {
    writes: Vec<Transfer>,
    /// When it is there, and when it would be without memory.
    end: u128,
    ideal_end: u128,
}

/// [`Moved`] as it is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MovedSum {
    tensor: TensorId,
    stored: Stored,
    write: bool,
    transfers: u128,
    elements: u128,
    bytes: u128,
    stall: u128,
    /// Whether it passed the channel.
    off_chip: bool,
}

/// The end of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Stalls, in all.
    pub stall: u64,
    /// The cycles that the steps take without stalls.
    pub ideal: u64,
    /// Steps.
    pub steps: u64,
    /// What was moved, by tensor, what of it, and direction.
    pub moved: Vec<Moved>,
    /// What would have been, had it not stayed on chip.
    pub stayed: Vec<Moved>,
}

impl<'s> Walk<'s> {
    /// A walk that has not begun; `see` is told of every step.
    pub fn new(dram: &Dram, see: Option<&'s mut dyn FnMut(Moment)>) -> Self {
        Self { dram: *dram, state: State::default(), see, on_chip: &[], walked: 0 }
    }

    /// The same, where these take part in no transfer.
    pub fn without(self, on_chip: &'s [Resident]) -> Self {
        Self { on_chip, ..self }
    }

    /// One step.
    ///
    /// # Errors
    ///
    /// If there are too many that are not alike to be walked through.
    pub fn step(&mut self, step: &WalkStep<'_>) -> Result<(), TooLong> {
        self.walked += 1;
        if self.walked > WALKED_MAX {
            return Err(TooLong);
        }
        let mut seen = Vec::new();
        let on_chip = self.on_chip;
        let stays = |of: &&Transfer| on_chip.iter().any(|resident| resident.spares(of));
        let state = &mut self.state;
        for transfer in step.reads.iter().chain(step.writes).filter(stays) {
            state.count(transfer, false);
        }
        let first = state.steps == 0;
        state.steps += 1;
        let gap = if first { 0 } else { u128::from(step.gap) };
        state.ideal_start += gap;
        // Write i − 2 goes before read i, unless it would not be there when step i starts.
        while let Some(given) = state.given.pop_front_if(|g| g.ideal_end <= state.ideal_start) {
            state.write(&self.dram, &given, &mut seen);
        }
        // Read i may begin when step i − 1 starts.
        let mut read = None;
        for transfer in step.reads.iter().filter(|of| !stays(of)) {
            let from = state.free.max(state.start);
            state.free = from + self.dram.cycles(transfer.bytes);
            read = Some((state.free, state.count(transfer, true)));
            seen.push((*transfer, from..state.free));
        }
        let due = state.start + gap;
        let there = read.map_or(0, |(there, _)| there);
        state.start = due.max(there).max(state.written);
        let stall = state.start - due;
        let mut waited_for = None;
        if stall > 0 {
            let owner = match read {
                Some((there, owner)) if there >= state.written => owner,
                _ => state.writer.expect("a write that is waited for"),
            };
            state.moved[owner].stall += stall;
            waited_for = Some((state.moved[owner].tensor, state.moved[owner].write));
        }
        state.end = state.start + u128::from(step.length);
        state.last_end = state.last_end.max(state.end);
        let ideal_end = state.ideal_start + u128::from(step.length);
        let writes = step.writes.iter().filter(|of| !stays(of)).copied().collect();
        let given = Given { writes, end: state.end, ideal_end };
        state.ideal_end = state.ideal_end.max(ideal_end);
        let before = std::mem::replace(&mut state.last, given);
        // Also where nothing is written: the order of transfers does not depend on which there are.
        if state.steps > 1 {
            state.given.push_back(before);
        }
        if let Some(see) = &mut self.see {
            let time = |time: u128| u64::try_from(time).expect("a walk that is watched is short");
            see(Moment {
                start: time(state.start),
                stall: time(stall),
                waited_for,
                end: time(state.end),
                transfers: seen.into_iter().map(|(t, r)| (t, time(r.start)..time(r.end))).collect(),
            });
        }
        Ok(())
    }

    /// Steps that are made so many times, each time alike but for the places of transfers; they are
    /// told how often they were made before.
    ///
    /// # Errors
    ///
    /// Those of `steps`.
    pub fn repeat(
        &mut self,
        count: u64,
        mut steps: impl FnMut(&mut Self, u64) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        for done in 0..count {
            let before = self.state.clone();
            steps(self, done)?;
            // The first time may follow on something else.
            if done > 0 && self.see.is_none() && self.state.leads_on_like(&before) {
                self.state.go_on(&before, count - done - 1);
                break;
            }
        }
        Ok(())
    }

    /// What all of it took.
    ///
    /// # Errors
    ///
    /// If a count does not fit 64 bits.
    pub fn finish(mut self) -> Result<Walked, TooLong> {
        let state = &mut self.state;
        let mut seen = Vec::new();
        let last = std::mem::take(&mut state.last);
        for given in std::mem::take(&mut state.given).into_iter().chain([last]) {
            state.write(&self.dram, &given, &mut seen);
        }
        let time = |time: u128| u64::try_from(time).map_err(|_| TooLong);
        if let Some(see) = &mut self.see {
            let mut transfers = Vec::new();
            for (transfer, cycles) in seen {
                transfers.push((transfer, time(cycles.start)?..time(cycles.end)?));
            }
            // What the last write takes beyond the last step.
            let stall = time(state.written.saturating_sub(state.last_end))?;
            let writer = state.writer.map(|at| (state.moved[at].tensor, state.moved[at].write));
            let waited_for = writer.filter(|_| stall > 0);
            let end = time(state.last_end.max(state.written))?;
            see(Moment { start: end, stall, waited_for, end, transfers });
        }
        let total = state.last_end.max(state.written);
        let stall = total - state.ideal_end;
        if state.written > state.last_end {
            let owner = state.writer.expect("a write that is waited for");
            state.moved[owner].stall += state.written - state.last_end;
        }
        // A step that was late, but not so late as the end of one before it, cost nothing.
        let mut hidden = state.moved.iter().map(|moved| moved.stall).sum::<u128>() - stall;
        for moved in state.moved.iter_mut().rev() {
            let less = hidden.min(moved.stall);
            (moved.stall, hidden) = (moved.stall - less, hidden - less);
        }
        let moved = |sum: &MovedSum| {
            let MovedSum { tensor, stored, write, transfers, elements, bytes, stall, .. } = *sum;
            let [transfers, elements] = [time(transfers)?, time(elements)?];
            let [bytes, stall] = [time(bytes)?, time(stall)?];
            Ok(Moved { tensor, stored, write, transfers, elements, bytes, stall })
        };
        time(total)?;
        let of = |off_chip: bool| -> Result<Vec<Moved>, TooLong> {
            let sums = state.moved.iter().filter(|sum| sum.off_chip == off_chip);
            sums.map(moved).collect()
        };
        Ok(Walked {
            stall: time(stall)?,
            ideal: time(state.ideal_end)?,
            steps: state.steps,
            moved: of(true)?,
            stayed: of(false)?,
        })
    }
}

/// A walk through more steps than can be followed, or with more cycles than 64 bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl State {
    /// Counts a transfer; returns the place of those like it.
    fn count(&mut self, transfer: &Transfer, off_chip: bool) -> usize {
        let Transfer { tensor, stored, write, elements, bytes, .. } = *transfer;
        let of = (tensor, stored, write, off_chip);
        let is = |moved: &MovedSum| (moved.tensor, moved.stored, moved.write, moved.off_chip) == of;
        let at = self.moved.iter().position(is).unwrap_or_else(|| {
            let (transfers, elements, bytes, stall) = (0, 0, 0, 0);
            let none =
                MovedSum { tensor, stored, write, off_chip, transfers, elements, bytes, stall };
            self.moved.push(none);
            self.moved.len() - 1
        });
        self.moved[at].transfers += 1;
        self.moved[at].elements += u128::from(elements);
        self.moved[at].bytes += u128::from(bytes);
        at
    }

    /// Writes what a step gave.
    fn write(
        &mut self,
        dram: &Dram,
        given: &Given,
        seen: &mut Vec<(Transfer, std::ops::Range<u128>)>,
    ) {
        for transfer in &given.writes {
            let from = self.free.max(given.end);
            self.free = from + dram.cycles(transfer.bytes);
            self.written = self.free;
            self.writer = Some(self.count(transfer, true));
            seen.push((*transfer, from..self.free));
        }
    }

    /// Whether all that is to come takes from here as long as from `other`.
    fn leads_on_like(&self, other: &Self) -> bool {
        // What is over before the last start, and before a write could begin that is still to come,
        // makes no difference to what comes.
        let ahead = |state: &Self| {
            let since = |time: u128| time.saturating_sub(state.start);
            let ends = [state.end, state.last_end, state.written].map(since);
            let begin = state.all_given().map(|given| given.end).fold(state.start, u128::min);
            let free = state.free.max(begin) - begin;
            (ends, state.start - begin, free, state.ideal_end - state.ideal_start)
        };
        let ends = |state: &Self, given: &Given| {
            let ideal = given.ideal_end.saturating_sub(state.ideal_start);
            (given.end.wrapping_sub(state.start), ideal)
        };
        let alike = |(given, theirs): (&Given, &Given)| {
            ends(self, given) == ends(other, theirs)
                && given.writes.len() == theirs.writes.len()
                && given.writes.iter().zip(&theirs.writes).all(|(a, b)| a.takes_like(b))
        };
        ahead(self) == ahead(other)
            && self.writer == other.writer
            && self.given.len() == other.given.len()
            && self.all_given().zip(other.all_given()).all(alike)
            && self.moved.len() == other.moved.len()
    }

    fn all_given(&self) -> impl Iterator<Item = &Given> {
        self.given.iter().chain([&self.last])
    }

    /// Adds `count` times what was added since `before`.
    fn go_on(&mut self, before: &Self, count: u64) {
        let count = u128::from(count);
        let [by, ideal] =
            [self.start - before.start, self.ideal_start - before.ideal_start].map(|by| by * count);
        for time in
            [&mut self.start, &mut self.end, &mut self.last_end, &mut self.free, &mut self.written]
        {
            *time += by;
        }
        self.ideal_start += ideal;
        self.ideal_end += ideal;
        for given in self.given.iter_mut().chain([&mut self.last]) {
            given.end += by;
            given.ideal_end += ideal;
        }
        self.steps += (self.steps - before.steps) * count as u64;
        for (moved, before) in self.moved.iter_mut().zip(&before.moved) {
            moved.transfers += (moved.transfers - before.transfers) * count;
            moved.elements += (moved.elements - before.elements) * count;
            moved.bytes += (moved.bytes - before.bytes) * count;
            moved.stall += (moved.stall - before.stall) * count;
        }
    }
}
