//! The ReLU's mask of a GEMM's results, a bit each, on its way out with them or in for them.
//!
//! A tile of results often has fewer bits of it than a burst. So the bits of as many tiles in a row as
//! one burst holds move at once: out with the last of these tiles, or in for the first.

use super::operand::largest;
use super::traffic::Outgoing;
use systoliq_array::Mapping;
use systoliq_array::mapping::{Axis, Tile};

/// A mask that moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    /// The bits of the activations that it belongs to; for the slope of a curve, these themselves.
    pub(super) of: Outgoing,
    /// Whether it goes out.
    pub(super) write: bool,
}

/// Tiles of results whose bits of mask move at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups {
    /// The loop that goes from one of them to the next.
    depth: usize,
    axis: Axis,
    /// How many they are, the last ones of a row apart.
    tiles: usize,
}

impl Groups {
    /// Of results over two axes, in bursts of so many elements. Where tiles come in pieces of time, each
    /// piece is by itself.
    pub(super) fn new(
        mapping: &Mapping,
        axes: [Axis; 2],
        burst_elements: u64,
        in_pieces: bool,
    ) -> Self {
        let loops = mapping.loops();
        let goes_on = |at: &usize| axes.contains(&loops[*at].axis) && loops[*at].pieces.count() > 1;
        let depth = (0..loops.len()).rev().find(goes_on).unwrap_or(0);
        let tile: usize = axes.map(|axis| largest(mapping, axis)).iter().product();
        let tiles = if in_pieces { 1 } else { (burst_elements / tile.max(1) as u64).max(1) };
        let tiles = usize::try_from(tiles).expect("at most the elements of a burst");
        Self { depth, axis: loops[depth].axis, tiles }
    }

    /// How many turns of a loop belong together.
    pub(super) fn period(&self, depth: usize) -> usize {
        if depth == self.depth { self.tiles } else { 1 }
    }

    /// The extent of a group along an axis.
    pub(super) fn side(&self, mapping: &Mapping, axis: Axis) -> usize {
        largest(mapping, axis) * if axis == self.axis { self.tiles } else { 1 }
    }

    /// Whether a tile is the first, or the last, of its group.
    pub(super) fn is_at_end(&self, mapping: &Mapping, places: [usize; 3], last: bool) -> bool {
        let place = places[self.depth] + usize::from(last);
        let count = mapping.loops()[self.depth].pieces.count();
        place.is_multiple_of(self.tiles) || (last && place == count)
    }

    /// The whole group of a tile, or of a piece of one that is by itself.
    pub(super) fn around(&self, mapping: &Mapping, tile: &Tile) -> Tile {
        if self.tiles == 1 {
            return *tile;
        }
        let (side, mut group, extents) = (self.side(mapping, self.axis), *tile, mapping.extents());
        let (from, size, extent) = match self.axis {
            Axis::Rows => (&mut group.row, &mut group.rows, extents.rows),
            Axis::Cols => (&mut group.col, &mut group.cols, extents.cols),
            Axis::Time => (&mut group.time, &mut group.steps, extents.time),
        };
        *from -= *from % side;
        *size = side.min(extent - *from);
        group
    }
}
