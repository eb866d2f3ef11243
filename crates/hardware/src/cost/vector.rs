//! What the vector unit takes: its passes, and the tensors that go through it part by part.

use systoliq_array::timing;
use systoliq_program::operation::{PoolSpread, SpreadKind, UpdateOutput};
use systoliq_program::{Edge, Operation, TensorId, What, WriteId};

use super::edge::masks;
use super::pool::windows_of;
use super::traffic::Outgoing;
use super::{Bill, SecondPasses, too_large};
use crate::Error;
use crate::accelerator::Residency;
use crate::events::Buffer;
use crate::memory::{Stored, Transfer, Walk, WalkStep};

/// A tensor on its way through the unit.
#[derive(Clone, Copy)]
pub(super) struct PassingTensor {
    pub(super) of: Outgoing,
    pub(super) write: bool,
}

fn elements_of(tensor: TensorId, bits: u32) -> Outgoing {
    Outgoing { tensor, stored: Stored::Elements, bits }
}

fn sums_of(tensor: TensorId, bits: u32) -> Outgoing {
    Outgoing { tensor, stored: Stored::Sums, bits }
}

/// The least multiple of `lanes` and of the bits in `burst_bytes`, a power of two.
fn common_multiple(lanes: u64, burst_bytes: u64) -> u64 {
    let burst_bits = 8 * burst_bytes;
    let shared = lanes.trailing_zeros().min(burst_bits.trailing_zeros());
    (lanes >> shared) * burst_bits
}

/// The tensors whose elements are read for one that is written.
fn elements_read(operation: &Operation, output: TensorId) -> Vec<TensorId> {
    let reads = operation.reads(output).into_iter();
    reads.filter(|&(_, what)| what == What::Elements).map(|(tensor, _)| tensor).collect()
}

/// The edges that results of the vector unit pass.
fn edges_of(operation: &Operation) -> &[Edge] {
    match operation {
        Operation::Combine(combine) => &combine.edges,
        Operation::Select(select) => &select.edges,
        Operation::Pool(pool) => &pool.edges,
        Operation::Spread(spread) => &spread.edges,
        Operation::Product(_)
        | Operation::Reduce(_)
        | Operation::Loss(_)
        | Operation::Update(_) => &[],
    }
}

/// How many elements a tensor has that is read in a pass over so many rows and columns: as many, but those
/// of the windows of an image.
fn own_elements(operation: &Operation, tensor: TensorId, (rows, cols): (u64, u64)) -> u64 {
    match operation {
        Operation::Spread(PoolSpread { gradient, kind, windows, .. }) => {
            let winners = match kind {
                SpreadKind::Winner(winners) => Some(*winners),
                SpreadKind::Share { .. } => None,
            };
            let is_of_windows = tensor == *gradient || Some(tensor) == winners;
            if is_of_windows { windows_of(*windows, rows) * cols } else { rows * cols }
        }
        Operation::Product(_)
        | Operation::Reduce(_)
        | Operation::Combine(_)
        | Operation::Select(_)
        | Operation::Pool(_)
        | Operation::Loss(_)
        | Operation::Update(_) => rows * cols,
    }
}

impl Bill<'_, '_, '_> {
    /// A write of the vector unit.
    pub(super) fn vector(
        &mut self,
        operation: &Operation,
        (rows, cols): (u64, u64),
        second: SecondPasses,
    ) -> Result<(), Error> {
        let second_pass = second.output;
        let elements = rows * cols;
        let output = self.costs.program.write(self.at).tensor;
        if !self.is_made(operation, output) {
            return Ok(());
        }
        // Passes, width of the value that is converted into the output, and how many there are.
        let (passes, width, outputs) = match operation {
            Operation::Product(_) => unreachable!("the array runs matrix products"),
            Operation::Reduce(reduce) => {
                let bits = self.costs.result_bits(&reduce.accumulator);
                self.sum_rows(reduce.input, &reduce.accumulator, rows, cols);
                self.factor(reduce.finish.factor, bits, cols);
                (1, bits, cols)
            }
            Operation::Combine(combine) => self.combine(combine, elements),
            // Codes move: a pass, and nothing is converted but behind a slope.
            Operation::Select(select) => (1, self.costs.bits(select.input), elements),
            Operation::Pool(pool) => self.pool(pool, output, (rows, cols)),
            Operation::Spread(spread) => self.spread(spread, (rows, cols)),
            Operation::Loss(loss) => self.loss(loss, rows, cols),
            Operation::Update(update) => (1, self.update(update, output, elements), elements),
        };
        if operation.converts() {
            let moves = self.moves(&elements_read(operation, output));
            self.requantize(output, width, moves, outputs);
        }
        let edges = edges_of(operation);
        let row = self.costs.array().cols as u64;
        self.edges(edges, output, width, (outputs, outputs.div_ceil(row)));
        let fused = self.fused_gradient(operation, second);
        let mut inputs = self.fetched(operation, output);
        // It is in C, and was charged as it came there.
        inputs.retain(|&input| Some(input) != fused);
        let own = |tensor| own_elements(operation, tensor, (rows, cols));
        for &input in &inputs {
            self.input_rows(input, own(input));
        }
        let waits = second_pass || self.costs.block(output).is_some();
        let full_width = waits.then_some((outputs, width));
        self.output_rows(output, outputs.div_ceil(row), full_width);
        let read = inputs.into_iter().filter(|&input| !self.is_resident(input, own(input)));
        let masks = |write| masks(edges, output).filter(move |mask| mask.write == write);
        // What has fewer elements than the pass comes as a whole, before it.
        let (read, before): (Vec<_>, Vec<_>) = read.partition(|&input| own(input) == elements);
        let whole = |input| {
            self.costs.transfer(elements_of(input, self.costs.bits(input)), false, own(input))
        };
        let before: Vec<Transfer> = before.into_iter().map(whole).collect();
        let read: Vec<PassingTensor> = (read.into_iter())
            .map(|input| elements_of(input, self.costs.bits(input)))
            .chain(masks(false).map(|mask| mask.of))
            .map(|of| PassingTensor { of, write: false })
            .collect();
        let mask = masks(true).map(|mask| mask.of).next();
        let results = match second_pass {
            // An update takes it from C.
            false if self.costs.is_fused(output) => Vec::new(),
            false => self.copies(output, outputs).into_iter().chain(mask).collect(),
            true if self.costs.fits_half(Buffer::C, outputs, width) => Vec::new(),
            true => vec![sums_of(output, width)],
        };
        if outputs == elements {
            let written = results.into_iter().map(|of| PassingTensor { of, write: true });
            let passing: Vec<PassingTensor> = read.into_iter().chain(written).collect();
            match fused {
                Some(gradient) => self.pass_in_tiles(passes, elements, &passing, gradient)?,
                None => self.pass(passes, elements, &passing, (&before, &[]))?,
            }
        } else {
            let transfer = |of| self.costs.transfer(of, true, outputs);
            let at_last: Vec<Transfer> = results.into_iter().map(transfer).collect();
            self.pass(passes, elements, &read, (&before, &at_last))?;
        }
        if second_pass {
            self.second_pass(output, outputs, width, mask)?;
        }
        Ok(())
    }

    /// Whether there is what an operation writes: float hardware has no residual, and may have one copy of the
    /// weights.
    fn is_made(&self, operation: &Operation, output: TensorId) -> bool {
        operation.update().is_none_or(|update| match update.output(output) {
            UpdateOutput::Residual => !self.costs.is_float(),
            UpdateOutput::Working => !self.costs.has_one_copy(),
            UpdateOutput::Momentum | UpdateOutput::Written => true,
        })
    }

    /// What comes from memory. The writes of an update work on one stream: weights are converted from
    /// the master on its way out, momentum and what is left to a residual are taken on their way, and
    /// what decays into a momentum is fetched once, for the weights behind it.
    fn fetched(&self, operation: &Operation, output: TensorId) -> Vec<TensorId> {
        let Some(update) = operation.update() else {
            return elements_read(operation, output);
        };
        match update.output(output) {
            UpdateOutput::Momentum => vec![output, update.gradient],
            UpdateOutput::Written => {
                let gradient = update.momentum.is_none().then_some(update.gradient);
                let residual = update.residual.filter(|_| !self.costs.is_float());
                [output].into_iter().chain(gradient).chain(residual).collect()
            }
            UpdateOutput::Residual | UpdateOutput::Working => Vec::new(),
        }
    }

    /// Where a scale was chosen from the whole tensor: the tensor comes again at full width, and
    /// goes out converted, with its mask if it has one.
    pub(super) fn second_pass(
        &mut self,
        tensor: TensorId,
        elements: u64,
        bits: u32,
        mask: Option<Outgoing>,
    ) -> Result<(), Error> {
        let spilled = !self.costs.fits_half(Buffer::C, elements, bits);
        let read = spilled.then_some(PassingTensor { of: sums_of(tensor, bits), write: false });
        let written = self.copies(tensor, elements).into_iter().chain(mask);
        let written = written.map(|of| PassingTensor { of, write: true });
        let passing: Vec<PassingTensor> = read.into_iter().chain(written).collect();
        self.pass(1, elements, &passing, (&[], &[]))
    }

    /// Tensors of as many elements through the unit, in parts that fit half the scratchpad of C
    /// together; `before` comes in before the first, `at_last` goes out behind the last.
    fn pass(
        &mut self,
        passes: u64,
        elements: u64,
        passing: &[PassingTensor],
        (before, at_last): (&[Transfer], &[Transfer]),
    ) -> Result<(), Error> {
        let lanes = self.costs.array().vector_lanes();
        self.cost.cycles.vector += timing::vector(passes, elements, lanes).map_err(too_large)?;
        if elements == 0 {
            return Ok(());
        }
        let lanes = lanes as u64;
        let bits: u64 = passing.iter().map(|tensor| u64::from(tensor.of.bits)).sum();
        let fit = self.costs.accelerator.half_bits(Buffer::C) / bits.max(1);
        // So many elements of any width are whole bursts, and all lanes work.
        let bursts = common_multiple(lanes, self.costs.accelerator.dram.burst_bytes);
        let unit = if fit < bursts { lanes } else { bursts };
        let part = (fit / unit * unit).max(lanes).min(elements);
        let transfers = |write: bool, elements: u64, number: u64| -> Vec<Transfer> {
            let some = passing.iter().filter(|tensor| tensor.write == write);
            some.map(|passing| {
                let Outgoing { tensor, stored, bits } = passing.of;
                let exponents = self.costs.exponents(tensor, stored);
                let offset = number * self.costs.transfer_bytes(part, bits, exponents);
                Transfer { offset, ..self.costs.transfer(passing.of, write, elements) }
            })
            .collect()
        };
        let gap = passes * part.div_ceil(lanes);
        // The last part also empties the pipeline, and has what goes out behind it.
        let full = (elements - 1) / part;
        let last = elements - full * part;
        let (reads, writes) = (transfers(false, part, 0), transfers(true, part, 0));
        let (mut last_reads, mut last_writes) =
            (transfers(false, last, full), transfers(true, last, full));
        last_writes.extend_from_slice(at_last);
        let length = timing::vector(passes, last, lanes as usize).map_err(too_large)?.0;
        self.walk(|walk| {
            let part_of = |walk: &mut Walk<'_>, number: u64, before: &[Transfer]| {
                let further = |of: &Transfer| Transfer { offset: number * of.bytes, ..*of };
                let reads: Vec<Transfer> =
                    before.iter().copied().chain(reads.iter().map(further)).collect();
                let writes: Vec<Transfer> = writes.iter().map(further).collect();
                walk.step(&WalkStep { gap, length: gap, reads: &reads, writes: &writes })
            };
            // The first part waits for what comes before it.
            let first = if before.is_empty() { 0 } else { full.min(1) };
            (0..first).try_for_each(|number| part_of(walk, number, before))?;
            walk.repeat(full - first, |walk, number| part_of(walk, first + number, &[]))?;
            let before = if full == 0 { before } else { &[] };
            last_reads.splice(0..0, before.iter().copied());
            walk.step(&WalkStep { gap, length, reads: &last_reads, writes: &last_writes })
        })
    }

    /// Whether a tensor that is read is still on chip.
    pub(super) fn is_resident(&self, tensor: TensorId, elements: u64) -> bool {
        let writes = &self.costs.program.writes;
        let made = self.at.0.checked_sub(1).map(|before| writes[before].tensor);
        self.keeps(tensor, elements) && made == Some(tensor)
    }

    fn keeps(&self, tensor: TensorId, elements: u64) -> bool {
        let bits = self.costs.bits(tensor);
        self.costs.accelerator.residency == Residency::KeepIfNext
            && self.costs.fits_half(Buffer::C, elements, bits)
    }

    /// What of what is written goes to DRAM: a copy, or two where one is read across its layout, or
    /// none where it is read only for the next write and stays on chip.
    pub(super) fn copies(&self, output: TensorId, elements: u64) -> Vec<Outgoing> {
        let program = self.costs.program;
        let count = program.writes.len();
        let read_for = |at: usize| at < count && program.reads(WriteId(at)).contains(&output);
        let lasts = program.tensor(output).role.outlasts_a_step();
        let later = || (self.at.0 + 2..count).any(read_for);
        if self.keeps(output, elements) && read_for(self.at.0 + 1) && !lasts && !later() {
            return Vec::new();
        }
        let first = elements_of(output, self.costs.bits(output));
        let second = Outgoing { stored: Stored::Copy, ..first };
        if self.costs.has_second_copy(output) { vec![first, second] } else { vec![first] }
    }

    /// A tensor that the unit reads, in and out of the scratchpad.
    fn input_rows(&mut self, tensor: TensorId, elements: u64) {
        let row = self.costs.array().cols as u64;
        let row_bits = row * u64::from(self.costs.bits(tensor));
        // What stayed on chip is in the scratchpad.
        if !self.is_resident(tensor, elements) {
            let of = (tensor, Stored::Elements);
            let rows = elements.div_ceil(row);
            self.fill(Buffer::C, of, row_bits, (rows, rows));
        }
        self.rows(Buffer::C, false, row_bits, elements.div_ceil(row));
    }

    /// An output of so many rows into the scratchpad and out of it; where it came at full width
    /// first, of `(elements, bits)`, that as well, and once more where it did not fit.
    pub(super) fn output_rows(
        &mut self,
        tensor: TensorId,
        rows: u64,
        full_width: Option<(u64, u32)>,
    ) {
        let row = self.costs.array().cols as u64;
        if let Some((elements, bits)) = full_width {
            // A block waits only for its own last element, and never leaves the chip for it.
            let stays = self.costs.block(tensor).is_some();
            let fits = stays || self.costs.fits_half(Buffer::C, elements, bits);
            let times = if fits { 1 } else { 2 };
            self.rows(Buffer::C, true, row * u64::from(bits), times * rows);
            self.rows(Buffer::C, false, row * u64::from(bits), times * rows);
        }
        let copies = if self.costs.has_second_copy(tensor) { 2 } else { 1 };
        let row_bits = row * u64::from(self.costs.bits(tensor));
        self.rows(Buffer::C, true, row_bits, copies * rows);
        if self.costs.is_fused(tensor) && full_width.is_none() {
            // Its update reads it there.
            return self.rows(Buffer::C, false, row_bits, rows);
        }
        self.drain((tensor, Stored::Elements), row_bits, copies * rows);
    }
}
