//! What the folds of a GEMM move from and to DRAM, step by step.
//!
//! An operand is fetched tile by tile. It is fetched again for each turn of a loop that it does not
//! depend on, unless all its tiles of one turn fit half its scratchpad. A tile that does not fit by
//! itself is fetched in pieces of time, in every fold. Results leave when their sums are complete, and
//! the ReLU's mask moves with them.

use std::collections::HashMap;

use systoliq_array::mapping::{Axis, Tile};
use systoliq_array::{FoldSchedule, Mapping};
use systoliq_program::TensorId;
use systoliq_program::im2col::Block;

use super::Exponents;
use super::mask::{Groups, Mask};
use super::operand::{IncomingMatrix, Stretch, TiledOperand, alike, largest};
use crate::events::Buffer;
use crate::memory::{Stored, TooLong, Transfer, Walk, WalkStep};

fn extent(tile: &Tile, axis: Axis) -> usize {
    match axis {
        Axis::Rows => tile.rows,
        Axis::Cols => tile.cols,
        Axis::Time => tile.steps,
    }
}

/// A form in which results go to DRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) tensor: TensorId,
    pub(super) stored: Stored,
    pub(super) bits: u32,
}

/// What a GEMM moves.
pub(super) struct Traffic<'e> {
    pub(super) mapping: Mapping,
    pub(super) operands: [TiledOperand; 2],
    /// What is read for the first fold besides.
    pub(super) bias: Option<Transfer>,
    /// The mask that moves with the results.
    pub(super) mask: Option<Mask>,
    /// What results are written to.
    pub(super) results: Vec<Outgoing>,
    /// Width of a sum on its way, with its chunk.
    pub(super) sum_bits: u32,
    /// Bits of half the scratchpad of C.
    pub(super) half_c_bits: u64,
    pub(super) burst_bytes: u64,
    /// The exponents that travel with a tensor in some form.
    pub(super) exponents: &'e dyn Fn(TensorId, Stored) -> Exponents,
}

/// A matrix cut into parts over two axes, of which the second is the faster.
#[derive(Clone, Copy)]
struct ResultCut {
    axes: [Axis; 2],
    sides: [usize; 2],
    /// The most pieces in which a part comes, and the elements of the largest.
    pieces: usize,
    piece: usize,
}

/// A tile that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSmall {
    pub(super) buffer: Buffer,
    /// Bits needed of half the scratchpad.
    pub(super) needed: u64,
}

impl Traffic<'_> {
    /// Which half of a scratchpad is too small for the least that a fold needs at once, if any.
    pub(super) fn too_small(&self) -> Option<TooSmall> {
        let mapping = &self.mapping;
        let operands = self.operands.iter().filter_map(|operand| {
            let matrix = &operand.matrix;
            let needed = self.step_bits(operand);
            let small = !matrix.resident && needed > matrix.half_bits;
            small.then_some(TooSmall { buffer: matrix.buffer, needed })
        });
        let lines = if mapping.output_stays() { largest(mapping, Axis::Rows) } else { 1 };
        let results = (lines * largest(mapping, Axis::Cols)) as u64 * self.result_bits();
        let partial = mapping.partial_sums_of_a_step() * u64::from(self.sum_bits);
        let needed = results.max(partial);
        let c = (needed > self.half_c_bits).then_some(TooSmall { buffer: Buffer::C, needed });
        operands.chain(c).next()
    }

    /// Bits of an operand that one step in time needs at most.
    fn step_bits(&self, operand: &TiledOperand) -> u64 {
        let [lines, depth] = operand.matrix.axes.map(|axis| match axis {
            Axis::Time => 1,
            axis => largest(&self.mapping, axis),
        });
        (lines * depth) as u64 * u64::from(operand.matrix.bits)
    }

    /// The widest form in which results go to DRAM.
    fn result_bits(&self) -> u64 {
        self.results.iter().map(|result| u64::from(result.bits)).max().unwrap_or(0)
    }

    /// The most steps in time that one step of the walk takes.
    fn steps_max(&self) -> usize {
        let mapping = &self.mapping;
        let operands = self.operands.iter().filter(|operand| !operand.matrix.resident);
        let pieces = operands.filter(|operand| operand.depends_on(Axis::Time) && !operand.fits());
        let limits = pieces.map(|operand| operand.matrix.half_bits / self.step_bits(operand));
        // Sums that move fill the scratchpad of C one row a step.
        let row = largest(mapping, Axis::Cols) as u64 * self.result_bits();
        let rows = (!mapping.output_stays()).then(|| self.half_c_bits / row.max(1));
        let least = limits.chain(rows).min().unwrap_or(u64::MAX);
        usize::try_from(least).unwrap_or(usize::MAX).max(1)
    }

    /// Walks through all folds.
    ///
    /// # Errors
    ///
    /// If there are too many that are not alike.
    pub(super) fn walk(&self, walk: &mut Walk<'_>) -> Result<(), TooLong> {
        let Some(schedule) = FoldSchedule::new(&self.mapping) else { return Err(TooLong) };
        if schedule.count() == 0 {
            return Ok(());
        }
        let (mapping, steps_max) = (&self.mapping, self.steps_max());
        // Without a mask, turns need not be told apart.
        let groups = self.mask.map(|mask| {
            let in_pieces = !mapping.output_stays() && largest(mapping, Axis::Time) > steps_max;
            let elements = 8 * self.burst_bytes / u64::from(mask.of.bits);
            Groups::new(mapping, self.result_axes(), elements, in_pieces)
        });
        let mut line = FoldSequence {
            traffic: self,
            schedule,
            steps_max,
            groups,
            before: None,
            looked_at: 0,
            pixels: HashMap::new(),
        };
        line.turns(walk, 0, [0; 3])
    }

    fn result_axes(&self) -> [Axis; 2] {
        match self.mapping.output_stays() {
            true => [Axis::Rows, Axis::Cols],
            false => [Axis::Cols, Axis::Time],
        }
    }

    fn bytes(&self, elements: u64, bits: u32, exponents: Exponents) -> u64 {
        let bits = elements * u64::from(bits) + exponents.bits(elements);
        bits.div_ceil(8).next_multiple_of(self.burst_bytes)
    }

    /// So many elements of a part of a matrix, or of a piece of it by its number.
    fn transfer(
        &self,
        (tensor, stored, write): (TensorId, Stored, bool),
        bits: u32,
        cut: ResultCut,
        (part, piece): (&Tile, usize),
        elements: u64,
    ) -> Transfer {
        let extents = self.mapping.extents();
        let [(slow, _), (fast, count)] = [0, 1].map(|at| {
            let (begins, extent) = match cut.axes[at] {
                Axis::Rows => (part.row, extents.rows),
                Axis::Cols => (part.col, extents.cols),
                Axis::Time => (part.time, extents.time),
            };
            (begins / cut.sides[at], extent.div_ceil(cut.sides[at]))
        });
        let exponents = (self.exponents)(tensor, stored);
        let number = (slow * count + fast) as u64;
        // Each piece begins with a burst of its own.
        let pieces = number.saturating_mul(cut.pieces as u64).saturating_add(piece as u64);
        let offset = pieces.saturating_mul(self.bytes(cut.piece as u64, bits, exponents));
        let bytes = self.bytes(elements, bits, exponents);
        Transfer { tensor, stored, write, elements, bytes, offset, first: true }
    }
}

/// The folds one after the other.
struct FoldSequence<'t> {
    traffic: &'t Traffic<'t>,
    schedule: FoldSchedule,
    steps_max: usize,
    /// Tiles whose bits of mask move at once, if there is a mask.
    groups: Option<Groups>,
    /// The tile before, and how long after its beginning its last step started.
    before: Option<(Tile, u64)>,
    /// Parts of views that were looked at.
    looked_at: usize,
    /// Pixels of blocks of the view, if an operand is one.
    pixels: HashMap<Vec<Block>, u64>,
}

/// One fold: its place in the loops, its times, and the pieces that it is walked through in.
struct WalkedFold {
    places: [usize; 3],
    tile: Tile,
    /// Cycles from its beginning to its first step, and to its end.
    lead: u64,
    length: u64,
    /// Steps in time of a piece.
    size: usize,
    /// Whether its sums are complete.
    complete: bool,
}

/// The most parts of a view whose pixels are counted one by one: some seconds.
const LOOKED_AT_MAX: usize = 1 << 21;

impl FoldSequence<'_> {
    /// All turns of the loops from `depth` on.
    fn turns(
        &mut self,
        walk: &mut Walk<'_>,
        depth: usize,
        mut places: [usize; 3],
    ) -> Result<(), TooLong> {
        if depth == places.len() {
            return self.fold(walk, places);
        }
        let Traffic { mapping, operands, .. } = self.traffic;
        let each = mapping.loops()[depth];
        // Where an operand is a view, its folds are alike less often.
        let view = operands.iter().find(|operand| operand.matrix.view.is_some());
        let together = self.groups.map_or(1, |groups| groups.period(depth));
        let stretches = match view {
            Some(view) => view.stretches(mapping, &each, together),
            None => alike(each.pieces, together),
        };
        for Stretch { first, period, times } in stretches {
            walk.repeat(times as u64, |walk, turn| {
                let from = first + turn as usize * period;
                (from..from + period).try_for_each(|place| {
                    places[depth] = place;
                    self.turns(walk, depth + 1, places)
                })
            })?;
        }
        Ok(())
    }

    fn fold(&mut self, walk: &mut Walk<'_>, places: [usize; 3]) -> Result<(), TooLong> {
        let mapping = &self.traffic.mapping;
        let tile = mapping.tile(places);
        let (lead, length) = self.schedule.lead_and_length(&tile);
        let loops = mapping.loops();
        let is_last = |at: usize| places[at] + 1 == loops[at].pieces.count();
        let rows_at = loops.iter().position(|each| each.axis == Axis::Rows).expect("three axes");
        let complete = mapping.output_stays() || is_last(rows_at);
        let size = tile.steps.div_ceil(tile.steps.div_ceil(self.steps_max));
        let fold = WalkedFold { places, tile, lead, length, size, complete };
        let mut started = 0;
        self.piece(walk, &fold, 0, &mut started)?;
        let alike = self.alike(&fold);
        if alike > 0 {
            walk.repeat(alike as u64, |walk, turn| {
                self.piece(walk, &fold, 1 + turn as usize, &mut started)
            })?;
            started = lead + (alike * size) as u64;
        }
        for number in 1 + alike..tile.steps.div_ceil(size) {
            self.piece(walk, &fold, number, &mut started)?;
        }
        self.before = Some((tile, started));
        Ok(())
    }

    /// How many pieces of a fold, from its second on, differ in no more than the places of what they
    /// move.
    fn alike(&self, fold: &WalkedFold) -> usize {
        let Traffic { mapping, operands, .. } = self.traffic;
        let output_stays = mapping.output_stays();
        let viewed = operands.iter().any(|operand| operand.matrix.view.is_some());
        let masked = self.groups.is_some() && !output_stays;
        if viewed || masked {
            return 0;
        }
        let steps = fold.tile.steps;
        let between = steps.div_ceil(fold.size).saturating_sub(2);
        // The last steps of operands that move begin no later than the next fold's preload allows.
        let early = if output_stays { steps } else { steps.saturating_sub(mapping.rows) };
        between.min(early / fold.size)
    }

    /// One piece of time of a fold, by its number.
    fn piece(
        &mut self,
        walk: &mut Walk<'_>,
        fold: &WalkedFold,
        number: usize,
        started: &mut u64,
    ) -> Result<(), TooLong> {
        let Traffic { mapping, operands, bias, .. } = self.traffic;
        let WalkedFold { places, tile, lead, length, size, complete } = *fold;
        let from = number * size;
        let to = tile.steps.min(from + size);
        let piece = Tile { time: tile.time + from, steps: to - from, ..tile };
        let (is_first_piece, is_last_piece) = (from == 0, to == tile.steps);
        let mut reads = Vec::new();
        if is_first_piece && places == [0; 3] {
            reads.extend(bias);
        }
        let gives = complete && (is_last_piece || !mapping.output_stays());
        // Where outputs stay, a fold gives them all at once.
        let given = if mapping.output_stays() { 0 } else { number };
        let mask = if gives { self.mask(places, &piece, given) } else { None };
        reads.extend(mask.filter(|mask| !mask.write));
        for operand in operands.iter().filter(|each| each.is_fetched(mapping, places)) {
            let split = operand.depends_on(Axis::Time) && !operand.fits();
            let (part, number) = if split { (&piece, number) } else { (&tile, 0) };
            if operand.matrix.view.is_some() {
                self.looked_at += 1;
                if self.looked_at > LOOKED_AT_MAX {
                    return Err(TooLong);
                }
            }
            let missing = operand.missing(mapping, places, part, &mut self.pixels);
            if (split || is_first_piece) && missing > 0 {
                let IncomingMatrix { tensor, stored, bits, axes, .. } = operand.matrix;
                let of = (tensor, stored, false);
                let sides = axes.map(|axis| largest(mapping, axis));
                let cut = self.cut(axes, sides, split);
                let transfer = self.traffic.transfer(of, bits, cut, (part, number), missing);
                reads.push(Transfer { first: operand.is_first(mapping, places), ..transfer });
            }
        }
        let mut writes = if gives { self.results(&piece, given) } else { Vec::new() };
        writes.extend(mask.filter(|mask| mask.write));
        let gap = self.gap(&tile, is_first_piece, lead + from as u64, started);
        let done = if is_last_piece { length } else { self.done(&tile, lead, to) };
        walk.step(&WalkStep { gap, length: done - *started, reads: &reads, writes: &writes })
    }

    /// The cycles from the step before to this one, which begins so long after its fold.
    fn gap(&self, tile: &Tile, is_first_piece: bool, at: u64, started: &mut u64) -> u64 {
        if is_first_piece {
            return self
                .before
                .map_or(0, |(before, started)| self.schedule.gap(&before, tile) - started);
        }
        let mapping = &self.traffic.mapping;
        // What a fold streams last must be there no later than what the next one preloads.
        let latest = match mapping.output_stays() {
            true => u64::MAX,
            false => {
                let (lead, _) = self.schedule.lead_and_length(tile);
                (lead + tile.steps as u64).saturating_sub(mapping.rows as u64)
            }
        };
        let at = at.min(latest).max(*started);
        at - std::mem::replace(started, at)
    }

    /// When the results of the steps up to `to` are there.
    fn done(&self, tile: &Tile, lead: u64, to: usize) -> u64 {
        match self.traffic.mapping.output_stays() {
            true => lead + to as u64,
            false => {
                let (_, length) = self.schedule.lead_and_length(tile);
                length - (tile.steps - to) as u64
            }
        }
    }

    /// A matrix in parts of these sides, which may come in pieces of time.
    fn cut(&self, axes: [Axis; 2], sides: [usize; 2], in_pieces: bool) -> ResultCut {
        let whole = sides.iter().product();
        if !in_pieces {
            return ResultCut { axes, sides, pieces: 1, piece: whole };
        }
        let steps = largest(&self.traffic.mapping, Axis::Time);
        let size = steps.min(self.steps_max);
        ResultCut { axes, sides, pieces: steps.div_ceil(size), piece: whole / steps * size }
    }

    /// The results of a piece of a fold, by its number.
    fn results(&self, tile: &Tile, number: usize) -> Vec<Transfer> {
        let Traffic { mapping, results, .. } = self.traffic;
        let axes = self.traffic.result_axes();
        let sides = axes.map(|axis| largest(mapping, axis));
        let cut = self.cut(axes, sides, !mapping.output_stays());
        let elements = axes.map(|axis| extent(tile, axis) as u64).iter().product();
        let transfer = |&Outgoing { tensor, stored, bits }: &Outgoing| {
            let of = (tensor, stored, true);
            self.traffic.transfer(of, bits, cut, (tile, number), elements)
        };
        results.iter().map(transfer).collect()
    }

    /// The bits of mask that move with these results.
    fn mask(&self, places: [usize; 3], tile: &Tile, number: usize) -> Option<Transfer> {
        let Traffic { mapping, mask, .. } = self.traffic;
        let (Mask { of: Outgoing { tensor, stored, bits }, write }, groups) =
            (*mask).zip(self.groups)?;
        if !groups.is_at_end(mapping, places, write) {
            return None;
        }
        let axes = self.traffic.result_axes();
        let sides = axes.map(|axis| groups.side(mapping, axis));
        let cut = self.cut(axes, sides, !mapping.output_stays());
        let group = groups.around(mapping, tile);
        let elements = axes.map(|axis| extent(&group, axis) as u64).iter().product();
        let of = (tensor, stored, write);
        Some(self.traffic.transfer(of, bits, cut, (&group, number), elements))
    }
}
