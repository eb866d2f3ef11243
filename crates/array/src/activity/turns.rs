//! How the folds of a GEMM follow one another, without going through them: where one loop goes on, those
//! without stay and those within begin again, and most of these turns are alike.

use std::ops::Range;

use crate::Mapping;
use crate::mapping::{Axis, Pieces};

/// Where a fold lies along an axis, beside the fold before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// In the same piece.
    Same,
    /// In the next one.
    Next,
    /// In the first piece, after the last.
    Again,
}

/// Turns of one loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopTurns {
    axes: [(Axis, Turn); 3],
}

impl LoopTurns {
    /// The turns of each loop.
    pub(super) fn of(mapping: &Mapping) -> [Self; 3] {
        let loops = mapping.loops();
        [0, 1, 2].map(|turning| {
            let mut depth = 0..;
            let axes = loops.map(|each| {
                let turn = match depth.next() {
                    Some(depth) if depth < turning => Turn::Same,
                    Some(depth) if depth == turning => Turn::Next,
                    _ => Turn::Again,
                };
                (each.axis, turn)
            });
            Self { axes }
        })
    }

    /// What they are along an axis.
    pub(super) fn along(&self, axis: Axis) -> Turn {
        let found = self.axes.iter().find(|(each, _)| *each == axis);
        found.expect("a loop for each axis").1
    }
}

impl Turn {
    /// The pieces that are turned to.
    pub(super) fn pieces(self, pieces: Pieces) -> Range<usize> {
        match self {
            Self::Same => 0..pieces.count(),
            Self::Next => 1..pieces.count(),
            Self::Again => 0..1,
        }
    }

    /// The piece that is turned from, to piece `to`.
    pub(super) fn from(self, to: usize, pieces: Pieces) -> usize {
        match self {
            Self::Same => to,
            Self::Next => to - 1,
            Self::Again => pieces.count() - 1,
        }
    }

    /// The pieces that are turned to, in groups with pieces of the same sizes, before and after.
    pub(super) fn alike(self, pieces: Pieces) -> [Range<usize>; 2] {
        let Range { start, end } = self.pieces(pieces);
        // The last piece may be smaller.
        let last = end.saturating_sub(1).max(start);
        [start..last, last..end.max(last)]
    }
}
