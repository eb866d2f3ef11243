//! What the folds of a GEMM move from and to DRAM, step by step.
//!
//! An operand is fetched tile by tile. It is fetched again for each turn of a loop that it does not
//! depend on, unless all its tiles of one turn fit half its scratchpad. A tile that does not fit by
//! itself is fetched in pieces of time, in every fold. Results leave when their sums are complete.

use systoliq_array::mapping::{Axis, Loop, Tile};
use systoliq_array::{Mapping, Schedule};
use systoliq_program::TensorId;

use super::Exponents;
use crate::events::Buffer;
use crate::memory::{Step, Stored, TooLong, Transfer, Walk};

/// An operand on its way to the grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) tensor: TensorId,
    pub(super) buffer: Buffer,
    pub(super) bits: u32,
    /// The axis along which its elements enter side by side, and the other one.
    pub(super) axes: [Axis; 2],
    /// Whether it stays on chip from the command before.
    pub(super) resident: bool,
    /// Bits of half its scratchpad.
    pub(super) half_bits: u64,
}

impl Operand {
    fn depends_on(&self, axis: Axis) -> bool {
        self.axes.contains(&axis)
    }

    /// Bits of its largest tile.
    fn tile_bits(&self, mapping: &Mapping) -> u128 {
        let [lines, depth] = self.axes.map(|axis| largest(mapping, axis) as u128);
        lines * depth * u128::from(self.bits)
    }

    /// Whether a tile fits half the scratchpad.
    fn fits(&self, mapping: &Mapping) -> bool {
        self.tile_bits(mapping) <= u128::from(self.half_bits)
    }

    /// Whether what one turn of loop `at` needs of it is still there in the next.
    fn stays_over(&self, mapping: &Mapping, at: usize) -> bool {
        let inner = mapping.loops().into_iter().skip(at + 1);
        let tiles = inner
            .filter(|each| self.depends_on(each.axis))
            .map(|each| each.pieces.count() as u128)
            .try_fold(self.tile_bits(mapping), u128::checked_mul);
        tiles.is_some_and(|bits| bits <= u128::from(self.half_bits))
    }

    /// Whether a fold fetches it, and the numbers of its turns that do not.
    fn is_fetched(&self, mapping: &Mapping, places: [usize; 3]) -> bool {
        let turns = mapping.loops().into_iter().zip(places).enumerate();
        let again = |(at, (each, place)): (usize, (Loop, usize))| {
            self.depends_on(each.axis) || place == 0 || !self.stays_over(mapping, at)
        };
        !self.resident && turns.into_iter().all(again)
    }

    /// How often each tile is taken by the grid, and how often fetched.
    pub(super) fn turns(&self, mapping: &Mapping) -> (u64, u64) {
        let (mut taken, mut fetched) = (1, 1);
        for (at, each) in mapping.loops().into_iter().enumerate() {
            if !self.depends_on(each.axis) {
                taken *= each.pieces.count() as u64;
                fetched *= match self.stays_over(mapping, at) {
                    true => 1,
                    false => each.pieces.count() as u64,
                };
            }
        }
        (taken, if self.resident { 0 } else { fetched })
    }
}

/// The largest extent of a tile along an axis.
fn largest(mapping: &Mapping, axis: Axis) -> usize {
    mapping.pieces(axis).size(0)
}

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
    pub(super) operands: [Operand; 2],
    /// What is read for the first fold besides, and written after the last one.
    pub(super) at_first: Vec<Transfer>,
    pub(super) at_last: Vec<Transfer>,
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
            let [lines, depth] = operand.axes.map(|axis| match axis {
                Axis::Time => 1,
                axis => largest(mapping, axis),
            });
            let needed = (lines * depth) as u64 * u64::from(operand.bits);
            let small = !operand.resident && needed > operand.half_bits;
            small.then_some(TooSmall { buffer: operand.buffer, needed })
        });
        let lines = if mapping.output_stays() { largest(mapping, Axis::Rows) } else { 1 };
        let results = (lines * largest(mapping, Axis::Cols)) as u64 * self.result_bits();
        let partial = mapping.partial_sums_of_a_step() * u64::from(self.sum_bits);
        let needed = results.max(partial);
        let c = (needed > self.half_c_bits).then_some(TooSmall { buffer: Buffer::C, needed });
        operands.chain(c).next()
    }

    /// The widest form in which results go to DRAM.
    fn result_bits(&self) -> u64 {
        self.results.iter().map(|result| u64::from(result.bits)).max().unwrap_or(0)
    }

    /// The most steps in time that one step of the walk takes.
    fn steps_max(&self) -> usize {
        let mapping = &self.mapping;
        let operands = self.operands.iter().filter(|operand| !operand.resident);
        let pieces =
            operands.filter(|operand| operand.depends_on(Axis::Time) && !operand.fits(mapping));
        let limits = pieces.map(|operand| {
            let line = operand.axes.map(|axis| match axis {
                Axis::Time => 1,
                axis => largest(mapping, axis),
            });
            operand.half_bits / ((line[0] * line[1]) as u64 * u64::from(operand.bits))
        });
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
        let Some(schedule) = Schedule::new(&self.mapping) else { return Err(TooLong) };
        if schedule.count() == 0 {
            return Ok(());
        }
        let steps_max = self.steps_max();
        let mut line = Line { traffic: self, schedule, steps_max, before: None };
        line.turns(walk, 0, [0; 3])
    }

    fn bytes(&self, elements: usize, bits: u32, exponents: Exponents) -> u64 {
        let bits = elements as u64 * u64::from(bits) + exponents.bits(elements as u64);
        bits.div_ceil(8).next_multiple_of(self.burst_bytes)
    }

    /// A part of a tile over two axes, `skipped` elements into the tile.
    fn transfer(
        &self,
        (tensor, stored, write): (TensorId, Stored, bool),
        bits: u32,
        axes: [Axis; 2],
        part: &Tile,
        skipped: usize,
    ) -> Transfer {
        let mapping = &self.mapping;
        let elements: usize = axes.map(|axis| extent(part, axis)).iter().product();
        let whole = axes.map(|axis| largest(mapping, axis)).iter().product();
        let [slow, fast] = axes.map(|axis| {
            let begins = match axis {
                Axis::Rows => part.row,
                Axis::Cols => part.col,
                Axis::Time => part.time,
            };
            (begins / largest(mapping, axis), mapping.pieces(axis).count())
        });
        let exponents = (self.exponents)(tensor, stored);
        let number = (slow.0 * fast.1 + fast.0) as u64;
        let skipped = self.bytes(skipped, bits, exponents);
        let offset =
            number.saturating_mul(self.bytes(whole, bits, exponents)).saturating_add(skipped);
        Transfer { tensor, stored, write, bytes: self.bytes(elements, bits, exponents), offset }
    }
}

/// The folds one after the other.
struct Line<'t> {
    traffic: &'t Traffic<'t>,
    schedule: Schedule,
    steps_max: usize,
    /// The tile before, and how long after its beginning its last step started.
    before: Option<(Tile, u64)>,
}

impl Line<'_> {
    /// All turns of the loops from `depth` on. Turns between the first and the last are alike.
    fn turns(
        &mut self,
        walk: &mut Walk<'_>,
        depth: usize,
        mut places: [usize; 3],
    ) -> Result<(), TooLong> {
        if depth == places.len() {
            return self.fold(walk, places);
        }
        let count = self.traffic.mapping.loops()[depth].pieces.count();
        for (place, times) in [(0, 1), (1, count.saturating_sub(2)), (count - 1, count.min(2) - 1)]
        {
            places[depth] = place;
            walk.repeat(times as u64, |walk| self.turns(walk, depth + 1, places))?;
        }
        Ok(())
    }

    fn fold(&mut self, walk: &mut Walk<'_>, places: [usize; 3]) -> Result<(), TooLong> {
        let Traffic { mapping, operands, at_first, at_last, .. } = self.traffic;
        let tile = mapping.tile(places);
        let (lead, length) = self.schedule.lead_and_length(&tile);
        let loops = mapping.loops();
        let is_last = |at: usize| places[at] + 1 == loops[at].pieces.count();
        let rows_at = loops.iter().position(|each| each.axis == Axis::Rows).expect("three axes");
        let complete = mapping.output_stays() || is_last(rows_at);
        let pieces = tile.steps.div_ceil(self.steps_max);
        let size = tile.steps.div_ceil(pieces);
        let mut started = 0;
        for from in (0..tile.steps).step_by(size) {
            let to = tile.steps.min(from + size);
            let piece = Tile { steps: to - from, ..tile };
            let (is_first_piece, is_last_piece) = (from == 0, to == tile.steps);
            let mut reads = Vec::new();
            if is_first_piece && places == [0; 3] {
                reads.extend_from_slice(at_first);
            }
            for operand in operands.iter().filter(|each| each.is_fetched(mapping, places)) {
                let split = operand.depends_on(Axis::Time) && !operand.fits(mapping);
                if split || is_first_piece {
                    let (part, skipped) = if split { (&piece, from) } else { (&tile, 0) };
                    let skipped = skipped * extent(&tile, operand.axes[0]);
                    let of = (operand.tensor, Stored::Elements, false);
                    reads.push(self.traffic.transfer(
                        of,
                        operand.bits,
                        operand.axes,
                        part,
                        skipped,
                    ));
                }
            }
            let mut writes = Vec::new();
            if complete {
                writes = self.results(&piece, from, is_last_piece);
            }
            if is_last_piece && (0..3).all(is_last) {
                writes.extend_from_slice(at_last);
            }
            let gap = self.gap(&tile, is_first_piece, lead + from as u64, &mut started);
            let done = if is_last_piece { length } else { self.done(&tile, lead, to) };
            walk.step(&Step { gap, length: done - started, reads: &reads, writes: &writes })?;
        }
        self.before = Some((tile, started));
        Ok(())
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

    fn results(&self, piece: &Tile, from: usize, is_last_piece: bool) -> Vec<Transfer> {
        let (axes, skipped) = match self.traffic.mapping.output_stays() {
            true if !is_last_piece => return Vec::new(),
            true => ([Axis::Rows, Axis::Cols], 0),
            false => ([Axis::Cols, Axis::Time], from * piece.cols),
        };
        let transfer = |&Outgoing { tensor, stored, bits }: &Outgoing| {
            self.traffic.transfer((tensor, stored, true), bits, axes, piece, skipped)
        };
        self.traffic.results.iter().map(transfer).collect()
    }
}
