//! Which fold has come how far, on every diagonal of the grid.
//!
//! PE (i, j) does i + j cycles late what PE (0, 0) does. So what PEs see depends on their diagonal
//! i + j alone: in cycle t, on the state of the folds in cycle t − i − j.

use std::collections::VecDeque;

use crate::FoldSchedule;
use crate::schedule::Fold;

use super::Instants;

/// A point in the life of a fold, as PE (0, 0) sees it. Folds come to it one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Milestone {
    /// The first operands enter.
    Start,
    /// The last operands enter.
    End,
    /// The chain begins to move.
    Chain,
}

impl Milestone {
    /// The cycle in which a fold comes to it.
    fn of(self, schedule: &FoldSchedule, fold: &Fold) -> u64 {
        match self {
            Self::Start => fold.start,
            Self::End => {
                let steps = schedule.steps(fold);
                fold.start + (steps.end - steps.start) - 1
            }
            Self::Chain => fold.chain,
        }
    }
}

/// A fold that has come to its milestone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) fold: Fold,
    /// Cycles since.
    pub(super) since: u64,
}

/// The last fold that has come to a milestone, on every diagonal.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    milestone: Milestone,
    /// By diagonal.
    last: VecDeque<Option<Begun>>,
    /// The fold that comes next to PE (0, 0): its number, itself, and the cycle.
    coming: Option<(u64, Fold, u64)>,
}

impl Trail {
    /// The trail in a cycle.
    pub(super) fn new(instants: &Instants<'_>, milestone: Milestone, cycle: u64) -> Self {
        let diagonals = instants.mapping.rows + instants.mapping.cols - 1;
        let mut trail = Self { milestone, last: VecDeque::with_capacity(diagonals), coming: None };
        // Folds up to here have come, folds from there on have not.
        let (mut number, mut end) = (0, instants.schedule.count());
        while number < end {
            let middle = number + (end - number) / 2;
            let come = trail.read(instants, middle).is_some_and(|(_, _, at)| at <= cycle);
            (number, end) = if come { (middle + 1, end) } else { (number, middle) };
        }
        trail.coming = trail.read(instants, number);
        let mut found = number.checked_sub(1).and_then(|number| trail.read(instants, number));
        for late in 0..diagonals as u64 {
            let seen = cycle.checked_sub(late);
            while let Some((number, _, at)) = found
                && seen.is_none_or(|seen| at > seen)
            {
                found = number.checked_sub(1).and_then(|number| trail.read(instants, number));
            }
            trail.last.push_back(found.zip(seen).map(|((number, fold, at), seen)| Begun {
                number,
                fold,
                since: seen - at,
            }));
        }
        trail
    }

    /// Moves on to the next cycle, which is `cycle`.
    pub(super) fn advance(&mut self, instants: &Instants<'_>, cycle: u64) {
        let front = match self.coming {
            Some((number, fold, at)) if at <= cycle => {
                self.coming = self.read(instants, number + 1);
                Some(Begun { number, fold, since: cycle - at })
            }
            _ => self.last[0].map(|begun| Begun { since: begun.since + 1, ..begun }),
        };
        self.last.pop_back();
        self.last.push_front(front);
    }

    /// What has come on a diagonal.
    pub(super) fn on(&self, diagonal: usize) -> Option<&Begun> {
        self.last[diagonal].as_ref()
    }

    /// A fold with its number and the cycle of its milestone.
    fn read(&self, instants: &Instants<'_>, number: u64) -> Option<(u64, Fold, u64)> {
        let fold = instants.schedule.nth(number)?;
        Some((number, fold, self.milestone.of(&instants.schedule, &fold)))
    }
}
