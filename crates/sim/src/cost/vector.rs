//! What the vector unit takes: its passes, and the tensors that go through it part by part.

use systoliq_array::timing;
use systoliq_fxp::Accumulator;
use systoliq_program::{Operation, Role, TensorId};

use super::traffic::Outgoing;
use super::{Arithmetic, Bill, SOFTMAX_PASSES, TABLE_BITS, too_large};
use crate::Error;
use crate::accelerator::{Layout, Residency};
use crate::events::{Buffer, Component, Event};
use crate::memory::{Step, Stored, Transfer};

/// A tensor on its way through the unit.
#[derive(Clone, Copy)]
struct Passing {
    of: Outgoing,
    write: bool,
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

impl Bill<'_, '_, '_> {
    /// A command of the vector unit.
    pub(super) fn vector(
        &mut self,
        operation: &Operation,
        rows: u64,
        cols: u64,
        second_pass: bool,
    ) -> Result<(), Error> {
        let elements = rows * cols;
        let output = operation.output();
        // Passes, width of the value that is converted into the output, and how many there are.
        let (passes, width, outputs) = match operation {
            Operation::Gemm(_) => unreachable!("the array runs GEMMs"),
            Operation::SumRows { input, accumulator, scale, .. } => {
                let bits = self.costs.result_bits(accumulator);
                self.sum_rows(*input, accumulator, rows, cols);
                if *scale == super::BatchScale::Mean {
                    self.multiply(Component::Vector, bits, 16, cols);
                }
                (1, bits, cols)
            }
            Operation::SoftmaxCrossEntropy { logits, .. } => {
                self.softmax(*logits, rows, cols);
                (SOFTMAX_PASSES, 2 * TABLE_BITS, elements)
            }
            Operation::SquaredError { outputs, targets, .. } => {
                let bits = self.costs.bits(*outputs).max(self.costs.bits(*targets)) + 1;
                self.add(Component::Vector, bits, elements);
                self.multiply(Component::Vector, bits, bits, elements);
                (1, bits, elements)
            }
            Operation::Update { weights, gradient, rate_bits } => {
                let bits = self.costs.bits(*gradient);
                self.multiply(Component::Vector, *rate_bits, bits, elements);
                self.add(Component::Vector, self.costs.bits(*weights), elements);
                (1, rate_bits + bits, elements)
            }
            Operation::Convert { from, .. } => {
                if self.costs.arithmetic == Arithmetic::Float32 {
                    return Ok(()); // float hardware has one copy of the weights
                }
                (1, self.costs.bits(*from), elements)
            }
        };
        let moves = self.moves(&operation.inputs());
        self.requantize(Component::Vector, output, width, moves, outputs);
        // Weights are converted from the master on its way out of the update.
        let inputs = match operation {
            Operation::Convert { .. } => Vec::new(),
            _ => operation.inputs(),
        };
        for &input in &inputs {
            self.input_rows(input, elements);
        }
        let row = self.costs.array().cols as u64;
        let waits = second_pass || self.costs.block(output).is_some();
        let full_width = waits.then_some((outputs, width));
        self.output_rows(output, outputs.div_ceil(row), full_width);
        let read = inputs.into_iter().filter(|&input| !self.is_resident(input, elements));
        let read: Vec<Passing> = read
            .map(|input| elements_of(input, self.costs.bits(input)))
            .map(|of| Passing { of, write: false })
            .collect();
        let results = match second_pass {
            false => self.copies(output, outputs),
            true if self.costs.fits_half(Buffer::C, outputs, width) => Vec::new(),
            true => vec![sums_of(output, width)],
        };
        if outputs == elements {
            let written = results.into_iter().map(|of| Passing { of, write: true });
            let passing: Vec<Passing> = read.into_iter().chain(written).collect();
            self.pass(passes, elements, &passing, &[])?;
        } else {
            let transfer = |of| self.transfer(of, true, outputs, 0);
            let at_last: Vec<Transfer> = results.into_iter().map(transfer).collect();
            self.pass(passes, elements, &read, &at_last)?;
        }
        if second_pass {
            self.second_pass(output, outputs, width)?;
        }
        Ok(())
    }

    /// Column sums, in chunks or blocks of rows where there are any.
    fn sum_rows(&mut self, input: TensorId, accumulator: &Accumulator, rows: u64, cols: u64) {
        let block = self.costs.block(input);
        let (bits, run) = match self.costs.arithmetic {
            Arithmetic::Float32 => (32, None),
            Arithmetic::Fixed => {
                (accumulator.widths(rows as usize).sum, block.or(accumulator.chunk))
            }
        };
        self.add(Component::Vector, bits, rows * cols);
        let Some(run) = run else { return };
        let runs = cols * rows.div_ceil(run.get().into());
        self.add(Component::Vector, bits, runs);
        if block.is_some() {
            self.align_blocks(Component::Vector, accumulator, bits, runs);
        }
    }

    /// Where a scale was chosen from the whole tensor: the tensor comes again at full width, and
    /// goes out converted.
    pub(super) fn second_pass(
        &mut self,
        tensor: TensorId,
        elements: u64,
        bits: u32,
    ) -> Result<(), Error> {
        let spilled = !self.costs.fits_half(Buffer::C, elements, bits);
        let read = spilled.then_some(Passing { of: sums_of(tensor, bits), write: false });
        let written = self.copies(tensor, elements).into_iter();
        let written = written.map(|of| Passing { of, write: true });
        let passing: Vec<Passing> = read.into_iter().chain(written).collect();
        self.pass(1, elements, &passing, &[])
    }

    /// Tensors of as many elements through the unit, in parts that fit half the scratchpad of C
    /// together; `at_last` goes out behind the last.
    fn pass(
        &mut self,
        passes: u64,
        elements: u64,
        passing: &[Passing],
        at_last: &[Transfer],
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
        let transfers = |write: bool, elements: u64, from: u64| -> Vec<Transfer> {
            let some = passing.iter().filter(|tensor| tensor.write == write);
            some.map(|passing| self.transfer(passing.of, write, elements, from)).collect()
        };
        let gap = passes * part.div_ceil(lanes);
        // The last part also empties the pipeline, and has what goes out behind it.
        let last = elements - (elements - 1) / part * part;
        let (reads, writes) = (transfers(false, part, 0), transfers(true, part, 0));
        let (last_reads, mut last_writes) =
            (transfers(false, last, elements - last), transfers(true, last, elements - last));
        last_writes.extend_from_slice(at_last);
        let length = timing::vector(passes, last, lanes as usize).map_err(too_large)?.0;
        self.walk(|walk| {
            let mut number = 0;
            walk.repeat((elements - last) / part, |walk| {
                let further = |of: &Transfer| Transfer { offset: number * of.bytes, ..*of };
                let reads: Vec<Transfer> = reads.iter().map(further).collect();
                let writes: Vec<Transfer> = writes.iter().map(further).collect();
                number += 1;
                walk.step(&Step { gap, length: gap, reads: &reads, writes: &writes })
            })?;
            walk.step(&Step { gap, length, reads: &last_reads, writes: &last_writes })
        })
    }

    /// Whether a tensor that this command reads is still on chip.
    pub(super) fn is_resident(&self, tensor: TensorId, elements: u64) -> bool {
        let commands = &self.costs.program.commands;
        let made = self.at.checked_sub(1).map(|before| commands[before].operation.output());
        self.keeps(tensor, elements) && made == Some(tensor)
    }

    fn keeps(&self, tensor: TensorId, elements: u64) -> bool {
        let bits = self.costs.bits(tensor);
        self.costs.accelerator.residency == Residency::KeepIfNext
            && self.costs.fits_half(Buffer::C, elements, bits)
    }

    /// What of this command's output goes to DRAM: a copy, or two where one is read across its
    /// layout, or none where only the next command reads it and it stays on chip.
    pub(super) fn copies(&self, output: TensorId, elements: u64) -> Vec<Outgoing> {
        let program = self.costs.program;
        let read_by = |at: usize| {
            program.commands.get(at).is_some_and(|c| c.operation.inputs().contains(&output))
        };
        let role = program.tensor(output).role;
        let lasts = matches!(role, Role::Master | Role::Weights | Role::Bias);
        let later = (self.at + 2..program.commands.len()).any(read_by);
        if self.keeps(output, elements) && read_by(self.at + 1) && !later && !lasts {
            return Vec::new();
        }
        let first = elements_of(output, self.costs.bits(output));
        let second = Outgoing { stored: Stored::Copy, ..first };
        if self.is_read_across(output) { vec![first, second] } else { vec![first] }
    }

    /// Whether some GEMM needs a second copy of a tensor, in the other layout.
    fn is_read_across(&self, tensor: TensorId) -> bool {
        let Self { costs, .. } = self;
        // Blocks lie along one axis in each copy.
        if costs.block(tensor).is_some() && costs.program.block_axes(tensor).len() > 1 {
            return true;
        }
        if costs.accelerator.layout != Layout::TwoCopies {
            return false;
        }
        costs.program.commands.iter().any(|command| match &command.operation {
            Operation::Gemm(gemm) => {
                let across = |operand: super::OperandRef, is_a: bool| {
                    operand.tensor == tensor && costs.may_be_across(operand, is_a)
                };
                across(gemm.a, true) || across(gemm.b, false)
            }
            _ => false,
        })
    }

    /// A tensor that the unit reads, in and out of the scratchpad.
    fn input_rows(&mut self, tensor: TensorId, elements: u64) {
        let row = self.costs.array().cols as u64;
        let row_bits = row * u64::from(self.costs.bits(tensor));
        // What stayed on chip is in the scratchpad.
        if !self.is_resident(tensor, elements) {
            self.rows(Buffer::C, true, row_bits, elements.div_ceil(row));
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
        let copies = if self.is_read_across(tensor) { 2 } else { 1 };
        let row_bits = row * u64::from(self.costs.bits(tensor));
        self.rows(Buffer::C, true, row_bits, copies * rows);
        self.rows(Buffer::C, false, row_bits, copies * rows);
    }

    /// The four passes of softmax: maximum; power and sum; quotient; difference and 1/ln 2. The
    /// quotient is a restoring division, one integer subtraction per bit, of mantissas on float
    /// hardware.
    fn softmax(&mut self, logits: TensorId, rows: u64, cols: u64) {
        let elements = rows * cols;
        let bits = self.costs.bits(logits);
        let unit = Component::Vector;
        self.event(unit, Event::Maximum { bits }, elements);
        // (max − z) · log₂e, two table entries, their difference times 8 bits, sum.
        self.add(unit, bits, elements);
        self.multiply(unit, bits, TABLE_BITS, elements);
        self.event(unit, Event::TableRead { bits: TABLE_BITS }, 2 * elements);
        self.multiply(unit, TABLE_BITS, 8, elements);
        self.add(unit, TABLE_BITS, 3 * elements);
        let subtract = Event::Add { bits: TABLE_BITS };
        self.event(unit, subtract, u64::from(TABLE_BITS) * elements);
        // P − [i = c], times 1/ln 2.
        self.add(unit, TABLE_BITS, elements);
        self.multiply(unit, TABLE_BITS, TABLE_BITS, elements);
        // log₂ S, once a sample: two entries, their difference times 22 bits, and t.
        self.event(unit, Event::TableRead { bits: TABLE_BITS }, 2 * rows);
        self.multiply(unit, TABLE_BITS, 22, rows);
        self.add(unit, TABLE_BITS, 3 * rows);
    }
}
