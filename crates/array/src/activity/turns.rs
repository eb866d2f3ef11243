//! How the folds of a GEMM follow one another, without going through them: where one loop goes on, those
//! without stay and those within begin again, and most of these turns are alike.

use std::array::from_fn;
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

    /// The pieces that are turned to along each of three axes, in groups that have the same sizes before
    /// and after.
    pub(super) fn alike(
        &self,
        mapping: &Mapping,
        axes: [Axis; 3],
    ) -> impl Iterator<Item = [Range<usize>; 3]> {
        let groups = axes.map(|axis| self.along(axis).alike(mapping.pieces(axis)));
        let all = (0..8)
            .map(move |number: usize| from_fn(|axis| groups[axis][number >> axis & 1].clone()));
        all.filter(|to: &[Range<usize>; 3]| to.iter().all(|pieces| !pieces.is_empty()))
    }

    /// The pieces along three axes that are turned from.
    pub(super) fn from(&self, to: [usize; 3], mapping: &Mapping, axes: [Axis; 3]) -> [usize; 3] {
        from_fn(|at| self.along(axes[at]).from(to[at], mapping.pieces(axes[at])))
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
    fn from(self, to: usize, pieces: Pieces) -> usize {
        match self {
            Self::Same => to,
            Self::Next => to - 1,
            Self::Again => pieces.count() - 1,
        }
    }

    /// The pieces that are turned to, in groups with pieces of the same sizes, before and after.
    fn alike(self, pieces: Pieces) -> [Range<usize>; 2] {
        let Range { start, end } = self.pieces(pieces);
        // The last piece may be smaller.
        let last = end.saturating_sub(1).max(start);
        [start..last, last..end.max(last)]
    }
}

#[cfg(test)]
mod tests {
    use systoliq_program::gemm::GemmShape;

    use super::*;
    use crate::config::FoldOrder;
    use crate::{Array, Stationary};

    /// The pieces of a fold along rows, columns and time.
    fn pieces_of(mapping: &Mapping, tile: &crate::Tile) -> [usize; 3] {
        let at = [tile.row, tile.col, tile.time];
        from_fn(|axis| at[axis] / mapping.pieces(Axis::ALL[axis]).side)
    }

    #[test]
    fn turns_lead_from_each_fold_to_the_next() {
        let extents = [1, 2, 3, 4, 7];
        let shapes = extents.into_iter().flat_map(|m| {
            extents.into_iter().flat_map(move |k| extents.map(|n| GemmShape { m, k, n }))
        });
        for shape in shapes {
            for stationary in Stationary::ALL {
                for order in [FoldOrder::RowsFirst, FoldOrder::ColumnsFirst] {
                    let array = Array { fold_order: Some(order), ..Array::new(2, 3).unwrap() };
                    let mapping = Mapping::new(&array, shape, stationary).fitting(4);
                    check(&mapping);
                }
            }
        }
    }

    fn check(mapping: &Mapping) {
        let pieces = Axis::ALL.map(|axis| mapping.pieces(axis));
        let folds: Vec<_> = mapping.tiles().map(|tile| pieces_of(mapping, &tile)).collect();
        let mut expected: Vec<_> = folds.windows(2).map(|pair| [pair[0], pair[1]]).collect();
        let mut found = Vec::new();
        for turns in LoopTurns::of(mapping) {
            let [rows, cols, times] =
                from_fn(|axis| turns.along(Axis::ALL[axis]).pieces(pieces[axis]));
            for row in rows {
                for col in cols.clone() {
                    for time in times.clone() {
                        let to = [row, col, time];
                        let from = turns.from(to, mapping, Axis::ALL);
                        found.push([from, to]);
                    }
                }
            }
        }
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{mapping:?}");
    }

    #[test]
    fn pieces_of_a_group_turn_between_the_same_sizes() {
        for (extent, side) in (1..20).flat_map(|extent| (1..8).map(move |side| (extent, side))) {
            let pieces = Pieces { side, full: extent / side, rest: extent % side };
            for turn in [Turn::Same, Turn::Next, Turn::Again] {
                let groups = turn.alike(pieces);
                let all: Vec<_> = groups.iter().cloned().flatten().collect();
                assert_eq!(all, turn.pieces(pieces).collect::<Vec<_>>(), "{turn:?} of {pieces:?}");
                for group in groups {
                    let sizes = |to| [turn.from(to, pieces), to].map(|at| pieces.size(at));
                    let first = group.start;
                    for to in group {
                        assert_eq!(sizes(to), sizes(first), "{turn:?} of {pieces:?}");
                    }
                }
            }
        }
    }
}
