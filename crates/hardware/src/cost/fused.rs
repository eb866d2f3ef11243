//! What an update takes that has its gradient from the array, tile by tile.
//!
//! The gradient waits in the scratchpad of C, where it was written as it left the array. What the update
//! reads and writes besides moves with it, each tile in whole bursts. The vector unit takes the cycles of one
//! pass over all of it.

use systoliq_array::mapping::Axis;
use systoliq_array::timing;
use systoliq_program::{Operation, TensorId, Work};

use super::gemm::sizes;
use super::vector::PassingTensor;
use super::{Bill, SecondPasses, too_large};
use crate::Error;
use crate::events::Buffer;
use crate::memory::{TooLong, Transfer, Walk, WalkStep};

/// TileSides with how many there are of each.
type TileSides = Vec<(u64, u64)>;

impl Bill<'_, '_, '_> {
    /// The gradient that an update takes from C, if it does.
    pub(super) fn fused_gradient(
        &self,
        operation: &Operation,
        second: SecondPasses,
    ) -> Option<TensorId> {
        let gradient = operation.update()?.gradient;
        (self.costs.is_fused(gradient) && !second.gradient).then_some(gradient)
    }

    /// The sides of the tiles in which the gradient of a full batch leaves the array, along two axes of
    /// which the second is the faster; one tile of what the vector unit sums.
    fn tiles(&self, gradient: TensorId, elements: u64) -> [TileSides; 2] {
        let costs = self.costs;
        let mut all = costs.program.all_writes();
        let (at, _, command) =
            all.find(|(_, write, _)| write.tensor == gradient).expect("a gradient that is made");
        let Work::Gemm(shape) = costs.program.work(at, costs.batches.size) else {
            return [vec![(1, 1)], vec![(elements, 1)]];
        };
        let mapping = costs.mapping(at, shape);
        let axes = match mapping.output_stays() {
            true => [Axis::Rows, Axis::Cols],
            false => [Axis::Cols, Axis::Time],
        };
        let [slow, fast] = axes.map(|axis| sizes(mapping.pieces(axis)));
        // Products of equal cuts follow one another.
        let repeats = command.operation.product().expect("a product").repeats.count.get();
        [std::iter::repeat_n(slow, repeats).flatten().collect(), fast]
    }

    /// Tensors of as many elements through the unit with the tiles of a gradient, each in parts that fit
    /// half the scratchpad of C together.
    pub(super) fn pass_in_tiles(
        &mut self,
        passes: u64,
        elements: u64,
        passing: &[PassingTensor],
        gradient: TensorId,
    ) -> Result<(), Error> {
        let lanes = self.costs.array().vector_lanes();
        let total = timing::vector(passes, elements, lanes).map_err(too_large)?;
        self.cost.cycles.vector += total;
        let [mut lines, fast] = self.tiles(gradient, elements);
        let (Some(line), Some(&(last, _))) = (lines.last_mut(), fast.last()) else {
            return Ok(());
        };
        line.1 -= 1;
        let last_line = line.0;
        let lanes = lanes as u64;
        let bits: u64 = passing.iter().map(|tensor| u64::from(tensor.of.bits)).sum();
        let with_gradient = bits + u64::from(self.costs.bits(gradient));
        let fit = self.costs.accelerator.half_bits(Buffer::C) / with_gradient;
        let part = (fit / lanes * lanes).max(lanes);
        let costs = self.costs;
        let transfer =
            |of: &PassingTensor, elements: u64| costs.transfer(of.of, of.write, elements);
        let mut tiles = TileWalk {
            part,
            cycles: &|elements| passes * (elements / lanes),
            transfers: &|elements| passing.iter().map(|of| transfer(of, elements)).collect(),
            before: 0,
            offsets: vec![0; passing.len()],
        };
        let line_cycles = |side: u64| -> u64 {
            fast.iter().map(|&(other, count)| count * tiles.tile_cycles(side * other)).sum()
        };
        let ending = (last_line * last - 1) % part + 1;
        let before: u64 = lines.iter().map(|&(side, count)| count * line_cycles(side)).sum::<u64>()
            + line_cycles(last_line)
            - (tiles.cycles)(ending);
        let ending_cycles = total.0 - before;
        let steps = |walk: &mut Walk<'_>| {
            for &(side, count) in &lines {
                walk.repeat(count, |walk, _| {
                    fast.iter().try_for_each(|&(other, count)| {
                        walk.repeat(count, |walk, _| tiles.tile(walk, side * other))
                    })
                })?;
            }
            for (at, &(other, count)) in fast.iter().enumerate() {
                let count = count - u64::from(at + 1 == fast.len());
                walk.repeat(count, |walk, _| tiles.tile(walk, last_line * other))?;
            }
            tiles.tile(walk, last_line * last - ending)?;
            tiles.part(walk, ending, ending_cycles)
        };
        self.walk(steps)
    }
}

/// Tiles one after the other.
struct TileWalk<'t> {
    /// The most elements of a part of a tile.
    part: u64,
    /// The whole cycles of so many elements; the last part has all that are left.
    cycles: &'t dyn Fn(u64) -> u64,
    /// What moves with so many elements.
    transfers: &'t dyn Fn(u64) -> Vec<Transfer>,
    /// Cycles of the part before.
    before: u64,
    /// Where what moves lies.
    offsets: Vec<u64>,
}

impl TileWalk<'_> {
    fn tile_cycles(&self, elements: u64) -> u64 {
        elements / self.part * (self.cycles)(self.part) + (self.cycles)(elements % self.part)
    }

    fn tile(&mut self, walk: &mut Walk<'_>, elements: u64) -> Result<(), TooLong> {
        let (part, cycles) = (self.part, self.cycles);
        walk.repeat(elements / part, |walk, _| self.part(walk, part, cycles(part)))?;
        match elements % part {
            0 => Ok(()),
            rest => self.part(walk, rest, cycles(rest)),
        }
    }

    fn part(&mut self, walk: &mut Walk<'_>, elements: u64, cycles: u64) -> Result<(), TooLong> {
        let mut moved = (self.transfers)(elements);
        for (transfer, offset) in moved.iter_mut().zip(&mut self.offsets) {
            transfer.offset = *offset;
            *offset += transfer.bytes;
        }
        let (writes, reads): (Vec<_>, Vec<_>) = moved.into_iter().partition(|of| of.write);
        let gap = std::mem::replace(&mut self.before, cycles);
        walk.step(&WalkStep { gap, length: cycles, reads: &reads, writes: &writes })
    }
}
