//! What a fold needs of an operand, and what of that is not on chip yet.
//!
//! An operand is needed tile by tile. A scratchpad keeps what a turn of a loop needs for the next
//! turn if half of it holds all of that. The im2col matrix of a convolution is never stored: of it a
//! scratchpad holds the pixels that a tile needs, and those that it keeps are not fetched again for
//! tiles that overlap.

use std::collections::HashMap;
use std::ops::Range;

use systoliq_array::Mapping;
use systoliq_array::mapping::{Axis, Loop, Pieces, Tile};
use systoliq_program::TensorId;

use crate::events::Buffer;
use crate::memory::{Stored, TooLong};
use systoliq_program::im2col::{Block, Im2col};
use systoliq_program::view::Windows;

/// A matrix on its way to the grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct IncomingMatrix {
    pub(super) tensor: TensorId,
    /// What of the tensor is read: the second copy where its own layout lies across.
    pub(super) stored: Stored,
    pub(super) buffer: Buffer,
    pub(super) bits: u32,
    /// The axis along which its elements enter side by side, and the other one.
    pub(super) axes: [Axis; 2],
    /// Whether it stays on chip from the command before.
    pub(super) resident: bool,
    /// Bits of half its scratchpad.
    pub(super) half_bits: u64,
    pub(super) view: Option<ImageView>,
}

/// A matrix that is a view of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageView {
    pub(super) im2col: Im2col,
    /// The axis of its positions; taps lie along the other one.
    pub(super) positions: Axis,
}

/// A matrix cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct TiledOperand {
    pub(super) matrix: IncomingMatrix,
    /// Bits that the loops from each depth on need at most: all of it, …, a tile.
    needed: [u128; 4],
}

/// Places of a loop: `times` groups, alike but for where they lie, of `period` places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) first: usize,
    pub(super) period: usize,
    pub(super) times: usize,
}

/// The most different tiles of a view.
const TILES_MAX: usize = 1 << 18;

/// The largest extent of a tile along an axis.
pub(super) fn largest(mapping: &Mapping, axis: Axis) -> usize {
    mapping.pieces(axis).size(0)
}

/// Turns are alike between the first and the last, of which each is so many places.
pub(super) fn alike(pieces: Pieces, period: usize) -> Vec<Stretch> {
    let count = pieces.count();
    let turns = count.div_ceil(period);
    let last = (turns - 1) * period;
    let stretches = [
        Stretch { first: 0, period: period.min(count), times: 1 },
        Stretch { first: period, period, times: turns.saturating_sub(2) },
        Stretch { first: last, period: count - last, times: turns.min(2) - 1 },
    ];
    stretches.into_iter().filter(|stretch| stretch.times > 0).collect()
}

impl TiledOperand {
    /// Of a mapping that has folds.
    ///
    /// # Errors
    ///
    /// If a view has too many tiles that are not alike.
    pub(super) fn new(matrix: IncomingMatrix, mapping: &Mapping) -> Result<Self, TooLong> {
        let mut operand = Self { matrix, needed: [0; 4] };
        for depth in 0..=3 {
            operand.needed[depth] = match &matrix.view {
                None => operand.tiles_bits(mapping, depth),
                Some(view) => {
                    let pixels = operand.pixels_max(mapping, view, depth)?;
                    u128::from(pixels) * u128::from(matrix.bits)
                }
            };
        }
        Ok(operand)
    }

    pub(super) fn depends_on(&self, axis: Axis) -> bool {
        self.matrix.axes.contains(&axis)
    }

    /// Bits of the tiles of the loops from `depth` on, each as large as the largest.
    fn tiles_bits(&self, mapping: &Mapping, depth: usize) -> u128 {
        let [lines, steps] = self.matrix.axes.map(|axis| largest(mapping, axis) as u128);
        let inner = mapping.loops().into_iter().skip(depth);
        inner
            .filter(|each| self.depends_on(each.axis))
            .map(|each| each.pieces.count() as u128)
            .fold(lines * steps * u128::from(self.matrix.bits), u128::saturating_mul)
    }

    /// The most pixels that the loops from `depth` on need.
    fn pixels_max(
        &self,
        mapping: &Mapping,
        view: &ImageView,
        depth: usize,
    ) -> Result<u64, TooLong> {
        let loops = mapping.loops();
        let mut ranges = vec![whole(mapping)];
        for (at, each) in loops.iter().enumerate().take(depth) {
            if !self.depends_on(each.axis) {
                continue;
            }
            let mut cut = Vec::new();
            for stretch in self.stretches(mapping, each, 1) {
                // The first group may follow on other places than those after it.
                let places = stretch.first..stretch.first + stretch.period * stretch.times.min(2);
                if cut.len() + places.len() * ranges.len() > TILES_MAX {
                    return Err(TooLong);
                }
                for place in places {
                    let mut all = [0; 3];
                    all[at] = place;
                    let part = range(&mapping.tile(all), each.axis);
                    for of in &ranges {
                        let mut of: [Range<usize>; 3] = of.clone();
                        of[index(each.axis)] = part.clone();
                        cut.push(of);
                    }
                }
            }
            ranges = cut;
        }
        let mut known = HashMap::new();
        let blocks = ranges.iter().map(|ranges| self.block(view, ranges));
        let pixels = blocks.map(|block| view.im2col.beyond(&block, &[], &mut known));
        Ok(pixels.max().unwrap_or(0))
    }

    fn holds(&self, depth: usize) -> bool {
        self.needed[depth] <= u128::from(self.matrix.half_bits)
    }

    /// Whether a tile fits half the scratchpad.
    pub(super) fn fits(&self) -> bool {
        self.holds(3)
    }

    /// Whether a fold needs something of it that may not be there.
    pub(super) fn is_fetched(&self, mapping: &Mapping, places: [usize; 3]) -> bool {
        let turns = mapping.loops().into_iter().zip(places).enumerate();
        let again = |(at, (each, place)): (usize, (Loop, usize))| {
            self.depends_on(each.axis) || place == 0 || !self.holds(at + 1)
        };
        !self.matrix.resident && turns.into_iter().all(again)
    }

    /// Whether no fold before this one needed its tile.
    pub(super) fn is_first(&self, mapping: &Mapping, places: [usize; 3]) -> bool {
        let mut turns = mapping.loops().into_iter().zip(places);
        turns.all(|(each, place)| self.depends_on(each.axis) || place == 0)
    }

    /// How often each tile is taken by the grid, and how often fetched if it is no view.
    pub(super) fn turns(&self, mapping: &Mapping) -> (u64, u64) {
        let (mut taken, mut fetched) = (1, 1);
        for (at, each) in mapping.loops().into_iter().enumerate() {
            if !self.depends_on(each.axis) {
                taken *= each.pieces.count() as u64;
                fetched *= match self.holds(at + 1) {
                    true => 1,
                    false => each.pieces.count() as u64,
                };
            }
        }
        (taken, if self.matrix.resident { 0 } else { fetched })
    }

    /// The elements of a part of a fold's tile that are not there yet; `known` has counts of pixels.
    pub(super) fn missing(
        &self,
        mapping: &Mapping,
        places: [usize; 3],
        part: &Tile,
        known: &mut HashMap<Vec<Block>, u64>,
    ) -> u64 {
        let ranges = Axis::ALL.map(|axis| range(part, axis));
        let Some(view) = &self.matrix.view else {
            return self.matrix.axes.map(|axis| ranges[index(axis)].len() as u64).iter().product();
        };
        let mut blocks = Vec::new();
        if let Some(depth) = (0..=3).find(|&depth| self.holds(depth)) {
            // What the turns so far needed, of the loops whose turns are kept.
            let loops = mapping.loops();
            for (at, each) in loops.iter().enumerate().skip(depth) {
                let mut before = ranges.clone();
                before[index(each.axis)] = 0..ranges[index(each.axis)].start;
                for inner in &loops[at + 1..] {
                    before[index(inner.axis)] = whole(mapping)[index(inner.axis)].clone();
                }
                if self.depends_on(each.axis) && places[at] > 0 {
                    blocks.push(self.block(view, &before));
                }
            }
        }
        view.im2col.beyond(&self.block(view, &ranges), &blocks, known)
    }

    /// The places of a loop, as far as this operand can tell them apart, where so many belong
    /// together.
    pub(super) fn stretches(
        &self,
        mapping: &Mapping,
        each: &Loop,
        together: usize,
    ) -> Vec<Stretch> {
        let Loop { axis, pieces } = *each;
        let Some(view) = self.matrix.view.filter(|_| self.depends_on(axis)) else {
            return alike(pieces, together);
        };
        let Windows { down, along } = view.im2col.windows;
        // Windows at the image's upper and lower ends meet fewer pixels.
        let all = whole(mapping)[index(axis)].clone();
        let (period, inside) = if axis == view.positions && view.im2col.images > 1 {
            (view.im2col.windows.positions(), all)
        } else if axis == view.positions {
            let window = down.tap_step * (down.taps - 1) + 1;
            let first = window.saturating_add_signed(down.pad.max(0));
            let reach = (down.spread * (down.extent - 1) + 1).saturating_add_signed(down.pad);
            // So do those near the lower end where other taps went over all of it before.
            let end = (reach.saturating_sub(window) / down.step + 1).saturating_sub(window);
            (down.spread * along.positions, first * along.positions..end * along.positions)
        } else {
            (view.im2col.windows.taps(), all)
        };
        let (count, side) = (pieces.count(), pieces.side);
        let period = period / common_divisor(period, side);
        let period = period / common_divisor(period, together) * together;
        let start = inside.start.div_ceil(side).max(1).next_multiple_of(together);
        let inside = start..(inside.end / side).min(count - 1);
        let times = inside.len() / period;
        if times < 2 {
            return vec![Stretch { first: 0, period: count, times: 1 }];
        }
        let rest = inside.start + times * period;
        vec![
            Stretch { first: 0, period: inside.start, times: 1 },
            Stretch { first: inside.start, period, times },
            Stretch { first: rest, period: count - rest, times: 1 },
        ]
    }

    fn block(&self, view: &ImageView, ranges: &[Range<usize>; 3]) -> Block {
        let taps = self.matrix.axes.into_iter().find(|&axis| axis != view.positions);
        let [positions, taps] = [view.positions, taps.expect("two axes")].map(index);
        Block { positions: ranges[positions].clone(), taps: ranges[taps].clone() }
    }
}

fn index(axis: Axis) -> usize {
    Axis::ALL.iter().position(|&each| each == axis).expect("an axis")
}

fn range(tile: &Tile, axis: Axis) -> Range<usize> {
    match axis {
        Axis::Rows => tile.row..tile.row + tile.rows,
        Axis::Cols => tile.col..tile.col + tile.cols,
        Axis::Time => tile.time..tile.time + tile.steps,
    }
}

fn whole(mapping: &Mapping) -> [Range<usize>; 3] {
    let extents = mapping.extents();
    [extents.rows, extents.cols, extents.time].map(|extent| 0..extent)
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
