//! What a command takes for each tensor that it writes: cycles, events, and bytes moved.
//!
//! Everything is a closed form of the command, the sizes of its work and the accelerator, and an
//! exact integer. `docs/energy.md` states each rule; in short:
//!
//! - A scratchpad row holds as many elements as the array takes or gives in a cycle: R of A, C of B
//!   and of C; one access moves a row. Elements lie in it in the order in which the tensor is
//!   stored, so an operand that the array needs across that order is read in R x R or C x C blocks
//!   and passes a register transposer.
//! - An operand is fetched from DRAM once if it fits half its scratchpad, else once per fold that
//!   reads it; a tile is one transfer, padded to whole bursts. Results are written once.
//! - What stash or buffer keeps takes part in no transfer: that memory gives each row that is filled from
//!   it, and takes each that would have left.
//! - The same program on float hardware has the width of its format in place of every width, one copy of
//!   the weights, or master weights in float32 beside them, and no conversions.

mod combine;
mod edge;
mod flow;
mod fused;
mod gemm;
mod kept;
mod loss;
mod mask;
mod operand;
mod pool;
mod reduce;
mod traffic;
mod update;
mod vector;

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZero;

use serde::{Deserialize, Serialize};
use systoliq_array::mapping::{Axis, Pieces};
use systoliq_array::{
    Array, ArrayCounts, Cycles, CyclesByCause, Dataflow, Mapping, Stationary, timing,
};
use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::{Accumulator, ActivationCurve, Rounding, Scale};
use systoliq_program::operation::Product;
use systoliq_program::tensor::OperandRef;
use systoliq_program::{
    CommandId, Edge, Factor, Finish, GemmShape, Program, TensorId, TensorPlan, Work, WriteId,
};

use crate::accelerator::{Layout, UpdateOrder};
use crate::events::{Buffer, Component, Event, Tally};
use crate::memory::{Moment, Moved, Resident, Stored, TooLong, Transfer, Walk, Walked};
use crate::{Accelerator, Error};
use systoliq_energy::FloatFormat;

use flow::{Choice, Flows};
pub(crate) use kept::{Arriving, KeptOnChip};
use mask::Mask;
use operand::{ImageView, IncomingMatrix, TiledOperand};
use traffic::{Outgoing, TooSmall, Traffic};

/// The number format that the hardware is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Integers of the widths of the precision plan.
    Fixed,
    /// Floating point throughout.
    Float(FloatFormat),
    /// The same, with master weights, biases and momentum in float32: each update writes the weights in the
    /// format of the products besides.
    Mixed(FloatFormat),
}

impl Arithmetic {
    /// float32 throughout, which everything is compared with.
    pub const FLOAT32: Self = Self::Float(FloatFormat::Float32);

    /// The format of products, on float hardware.
    pub fn float(self) -> Option<FloatFormat> {
        match self {
            Self::Fixed => None,
            Self::Float(format) | Self::Mixed(format) => Some(format),
        }
    }
}

/// The format in which float hardware sums products of `format`: bfloat16 in float32.
fn sum_format(format: FloatFormat) -> FloatFormat {
    match format {
        FloatFormat::Float32 | FloatFormat::Bfloat16 => FloatFormat::Float32,
        FloatFormat::Float16 => FloatFormat::Float16,
    }
}

/// The batches of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochBatches {
    /// Samples of a full one.
    pub size: usize,
    /// Full ones.
    pub full: u64,
    /// Samples of the short one at its end, if there is one.
    pub rest: usize,
}

impl EpochBatches {
    /// Of so many samples, `size` at a time.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn of(samples: usize, size: usize) -> Self {
        Self { size, full: (samples / size) as u64, rest: samples % size }
    }

    /// One full batch.
    pub fn one(size: usize) -> Self {
        Self { size, full: 1, rest: 0 }
    }

    /// Their sizes, with how many there are of each.
    pub(crate) fn sizes(self) -> impl Iterator<Item = (usize, u64)> {
        let short = (self.rest, u64::from(self.rest > 0));
        [(self.size, self.full), short].into_iter().filter(|&(_, times)| times > 0)
    }
}

/// Of which tensors of a command the scale was chosen from themselves, so that they came again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct SecondPasses {
    /// What is written.
    pub output: bool,
    /// The gradient that an update reads.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gradient: bool,
}

/// What serde skips needs a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl From<bool> for SecondPasses {
    /// Of all, or of none.
    fn from(all: bool) -> Self {
        Self { output: all, gradient: all }
    }
}

/// What one write takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Cycles by cause.
    pub cycles: CyclesByCause,
    /// Events in the array.
    pub counts: ArrayCounts,
    /// What stayed in the array, if it worked.
    pub dataflow: Option<Stationary>,
    /// Events by component.
    pub tally: Tally,
    /// What moved from and to DRAM, and was waited for.
    pub moved: Vec<Moved>,
    /// What would have, had it not stayed on chip.
    pub stayed: Vec<Moved>,
    /// The cycles of the steps that transfers were followed through, without stalls.
    pub walked: u64,
}

impl Cost {
    /// The same so many times, one after the other; `None` where a count leaves 64 bits.
    pub fn checked_mul(&self, factor: u64) -> Option<Self> {
        let moved = |all: &[Moved]| -> Option<Vec<Moved>> {
            all.iter().map(|moved| moved.checked_mul(factor)).collect()
        };
        let mut tally = Tally::default();
        tally.checked_add_times(&self.tally, factor)?;
        Some(Self {
            cycles: self.cycles.checked_mul(factor)?,
            counts: self.counts.checked_mul(factor)?,
            dataflow: self.dataflow,
            tally,
            moved: moved(&self.moved)?,
            stayed: moved(&self.stayed)?,
            walked: self.walked.checked_mul(factor)?,
        })
    }
}

/// Says what commands of one program take on one accelerator, working out each cost once.
#[derive(Clone, Debug)]
pub struct Costs<'a> {
    /// The program.
    pub program: &'a Program,
    /// The accelerator that runs it.
    pub accelerator: &'a Accelerator,
    /// The batches that its memories are laid out for.
    pub batches: EpochBatches,
    arithmetic: Arithmetic,
    /// Bytes of a row of the DRAM.
    row_bytes: u64,
    flows: Flows,
    /// What has a second copy because a product reads it across its layout; nothing where all that
    /// is read so passes a transposer.
    copies: Option<Vec<TensorId>>,
    kept: KeptOnChip,
    known: KnownCosts,
}

/// What was asked for once, by write, sizes, and second passes. A clone knows nothing:
/// it may be on its way to another machine.
#[derive(Debug, Default)]
struct KnownCosts(RefCell<HashMap<(WriteId, Work, SecondPasses), Cost>>);

impl Clone for KnownCosts {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Largest GEMM, in multiply-accumulates. With [`ELEMENTS_MAX`], bursts of at most 4 KB and grids of
/// at most 1024 x 1024, none of its counts leaves 64 bits.
pub const MACS_MAX: u128 = 1 << 48;

/// Largest matrix of a GEMM, in elements.
pub const ELEMENTS_MAX: u128 = 1 << 40;

/// Bits of the mantissas of momentum, weight decay and 1/B.
const FACTOR_BITS: u32 = 16;

/// Bits of the exponent of a block: that of the OCP Microscaling specification, E8M0.
const EXPONENT_BITS: u32 = 8;

impl<'a> Costs<'a> {
    /// Of `program` on `accelerator` with PEs of `arithmetic`. Whatever the work, the stash is laid out
    /// for a full batch, and the buffer for these of an epoch.
    pub fn new(
        program: &'a Program,
        accelerator: &'a Accelerator,
        arithmetic: Arithmetic,
        batches: EpochBatches,
    ) -> Self {
        Self::without_buffer(program, accelerator, arithmetic, batches).with_buffer()
    }

    /// Whether the hardware is one of floating point.
    pub(crate) fn is_float(&self) -> bool {
        self.arithmetic != Arithmetic::Fixed
    }

    /// Whether weights are their own master.
    pub(crate) fn has_one_copy(&self) -> bool {
        matches!(self.arithmetic, Arithmetic::Float(_))
    }

    /// Whether a tensor is what updates write and remember.
    fn is_master(&self, tensor: TensorId) -> bool {
        let mut updates = self.program.commands.iter().filter_map(|of| of.operation.update());
        updates.any(|update| update.written == tensor || update.momentum == Some(tensor))
    }

    /// What a write takes once, on work of these sizes, with these second passes.
    ///
    /// # Errors
    ///
    /// If the work has more cycles or events than 64 bits count.
    pub fn of(
        &self,
        at: WriteId,
        work: Work,
        second: impl Into<SecondPasses>,
    ) -> Result<Cost, Error> {
        let second = self.told_apart(at, second.into());
        let key = (at, work, second);
        if let Some(known) = self.known.0.borrow().get(&key) {
            return Ok(known.clone());
        }
        let cost = self.watched(at, work, second, None)?;
        self.known.0.borrow_mut().insert(key, cost.clone());
        Ok(cost)
    }

    /// The same, with every step shown, in cycles from the beginning of the write.
    ///
    /// # Errors
    ///
    /// Those of [`of`](Self::of), or if there are too many steps to be shown.
    pub fn watch(
        &self,
        at: WriteId,
        work: Work,
        second: impl Into<SecondPasses>,
        see: &mut dyn FnMut(Moment),
    ) -> Result<Cost, Error> {
        self.watched(at, work, self.told_apart(at, second.into()), Some(see))
    }

    /// The same second passes, without those that make no difference: float hardware takes none, and an
    /// update asks what its gradient took only where it could be fused.
    fn told_apart(&self, at: WriteId, second: SecondPasses) -> SecondPasses {
        let fixed = self.arithmetic == Arithmetic::Fixed;
        let update = self.program.command_of(at).operation.update();
        let fused = update.is_some_and(|update| self.is_fused(update.gradient));
        SecondPasses { output: second.output && fixed, gradient: second.gradient && fixed && fused }
    }

    /// Whether a gradient that its update takes from C is written to memory in the steps that choose its scale
    /// from itself.
    pub(crate) fn is_written_at_times(&self, gradient: TensorId) -> bool {
        let made = self.program.writes.iter().position(|write| write.tensor == gradient);
        self.is_fused(gradient) && made.is_some_and(|at| self.may_take_second_pass(WriteId(at)))
    }

    /// Whether a tensor is a gradient that an update takes as it leaves the array.
    fn is_fused(&self, gradient: TensorId) -> bool {
        let updates = || self.program.commands.iter().filter_map(|of| of.operation.update());
        self.accelerator.update == UpdateOrder::Fused
            && updates().any(|update| update.gradient == gradient)
    }

    fn watched(
        &self,
        at: WriteId,
        work: Work,
        second: SecondPasses,
        see: Option<&mut dyn FnMut(Moment)>,
    ) -> Result<Cost, Error> {
        let second_pass = second.output;
        match work {
            Work::Gemm(shape) => {
                let Choice { flow, once } = self.choice(at, shape);
                match once {
                    Some(once) if see.is_none() && second_pass == self.always_second_pass(at) => {
                        Ok(Cost::clone(&once))
                    }
                    _ => self.in_flow(at, shape, flow, second_pass, see),
                }
            }
            Work::Vector { rows, cols } => self.billed(at, see, |bill| {
                let operation = &self.program.command_of(at).operation;
                bill.vector(operation, (rows as u64, cols as u64), second)
            }),
        }
    }

    /// What a matrix product takes in a dataflow, whatever is chosen for it.
    fn in_flow(
        &self,
        at: WriteId,
        shape: GemmShape,
        flow: Stationary,
        second_pass: bool,
        see: Option<&mut dyn FnMut(Moment)>,
    ) -> Result<Cost, Error> {
        let gemm = self.product(at);
        self.billed(at, see, |bill| bill.gemm(gemm, shape, flow, second_pass))
    }

    /// What a write takes by the bill that is made out for it.
    fn billed<'b, 'w>(
        &'b self,
        at: WriteId,
        see: Option<&'w mut dyn FnMut(Moment)>,
        write: impl FnOnce(&mut Bill<'a, 'b, 'w>) -> Result<(), Error>,
    ) -> Result<Cost, Error> {
        let mut bill = Bill { costs: self, at, cost: Cost::default(), elapsed: 0, see };
        write(&mut bill)?;
        let total = bill.cost.cycles.total().0;
        bill.event(Component::Leakage, Event::Cycle, total);
        let Cost { cycles, walked, .. } = &bill.cost;
        let without_stall = total - cycles.stall.0;
        let write = self.program.write(at);
        assert_eq!(*walked, without_stall, "cycles of {write:?}, walked through");
        Ok(bill.cost)
    }

    /// Whether some GEMM needs a second copy of a tensor, in the other layout.
    pub(crate) fn has_second_copy(&self, tensor: TensorId) -> bool {
        // Blocks lie along one axis in each copy.
        if self.block(tensor).is_some() && self.program.block_axes(tensor).len() > 1 {
            return true;
        }
        self.copies.as_ref().is_some_and(|copies| copies.contains(&tensor))
    }

    /// The width of a tensor's elements.
    pub(crate) fn bits(&self, tensor: TensorId) -> u32 {
        match self.arithmetic {
            Arithmetic::Fixed => self.plan(tensor).format.bits(),
            Arithmetic::Mixed(_) if self.is_master(tensor) => FloatFormat::Float32.bits(),
            Arithmetic::Float(format) | Arithmetic::Mixed(format) => format.bits(),
        }
    }

    fn plan(&self, tensor: TensorId) -> &'a TensorPlan {
        &self.program.tensor(tensor).plan
    }

    /// The width of what an accumulator gives.
    fn result_bits(&self, accumulator: &Accumulator) -> u32 {
        match self.arithmetic {
            Arithmetic::Fixed => accumulator.bits(),
            Arithmetic::Float(format) | Arithmetic::Mixed(format) => sum_format(format).bits(),
        }
    }

    /// The registers of a sum of `k` products on its way; float hardware knows no chunks.
    fn sum_widths(&self, gemm: &Product, k: usize) -> Widths {
        match self.arithmetic {
            Arithmetic::Fixed => self.program.widths(gemm, k),
            Arithmetic::Float(format) | Arithmetic::Mixed(format) => {
                Widths { sum: sum_format(format).bits(), chunk: 0 }
            }
        }
    }

    /// Elements of a block of a tensor; float hardware knows no blocks.
    fn block(&self, tensor: TensorId) -> Option<NonZero<u32>> {
        self.plan(tensor).block().filter(|_| self.arithmetic == Arithmetic::Fixed)
    }

    fn array(&self) -> &'a Array {
        &self.accelerator.array
    }

    /// Bytes of `elements` elements as one transfer, with their exponents.
    pub(crate) fn transfer_bytes(&self, elements: u64, bits: u32, exponents: Exponents) -> u64 {
        let bits = elements * u64::from(bits) + exponents.bits(elements);
        bits.div_ceil(8).next_multiple_of(self.accelerator.dram.burst_bytes)
    }

    /// The exponents that travel with a tensor in some form.
    pub(crate) fn exponents(&self, tensor: TensorId, stored: Stored) -> Exponents {
        let codes = matches!(stored, Stored::Elements | Stored::Copy);
        Exponents { block: self.block(tensor).filter(|_| codes) }
    }

    /// So many elements from the beginning of a tensor.
    fn transfer(&self, of: Outgoing, write: bool, elements: u64) -> Transfer {
        let Outgoing { tensor, stored, bits } = of;
        let exponents = self.exponents(tensor, stored);
        let bytes = self.transfer_bytes(elements, bits, exponents);
        Transfer { tensor, stored, write, elements, bytes, offset: 0, first: true }
    }

    /// Whether `elements` fit the half of a scratchpad that the array works on.
    fn fits_half(&self, buffer: Buffer, elements: u64, bits: u32) -> bool {
        let needed = u128::from(elements) * u128::from(bits);
        needed <= u128::from(self.accelerator.half_bits(buffer))
    }
}

/// The exponents that travel with a tensor: one per block, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exponents {
    block: Option<NonZero<u32>>,
}

impl Exponents {
    /// Bits of those of so many elements that lie one after the other.
    fn bits(self, elements: u64) -> u64 {
        let bits = |block: NonZero<u32>| elements.div_ceil(block.get().into());
        self.block.map_or(0, bits) * u64::from(EXPONENT_BITS)
    }
}

/// The cost of one write as it is added up.
struct Bill<'a, 'b, 'w> {
    costs: &'b Costs<'a>,
    /// The write.
    at: WriteId,
    cost: Cost,
    /// The cycles of the walks so far, and who is told of their steps.
    elapsed: u64,
    see: Option<&'w mut dyn FnMut(Moment)>,
}

impl Bill<'_, '_, '_> {
    fn event(&mut self, component: Component, event: Event, count: u64) {
        self.cost.tally.add(component, event, count);
    }

    fn multiply(&mut self, component: Component, bits_a: u32, bits_b: u32, count: u64) {
        let event = match self.float_of(component) {
            None => Event::Multiply { bits_a, bits_b },
            Some(format) => Event::FloatMultiply { format },
        };
        self.event(component, event, count);
    }

    /// The format in which float hardware works on something.
    fn float_of(&self, component: Component) -> Option<FloatFormat> {
        match self.costs.arithmetic {
            Arithmetic::Mixed(_) if component == Component::Update => Some(FloatFormat::Float32),
            arithmetic => arithmetic.float(),
        }
    }

    fn add(&mut self, component: Component, bits: u32, count: u64) {
        let event = match self.float_of(component) {
            None => Event::Add { bits },
            Some(format) => Event::FloatAdd { format: sum_format(format) },
        };
        self.event(component, event, count);
    }

    /// Conversions from `bits` bits into `tensor`; float hardware has none.
    fn requantize(&mut self, tensor: TensorId, bits: u32, barrel: bool, count: u64) {
        if self.costs.arithmetic == Arithmetic::Fixed {
            let plan = self.costs.plan(tensor);
            let stochastic = plan.rounding == Rounding::Stochastic;
            let barrel = barrel || plan.scale != Scale::Static;
            // One for each copy, of the same random word.
            let words = count;
            let count = count * self.costs.program.block_axes(tensor).len().max(1) as u64;
            let convert = Event::Requantize { bits, stochastic, barrel };
            self.event(Component::Requantizer, convert, count);
            if plan.scale.follows_range() {
                // The scale remembers the smallest and the largest value.
                self.event(Component::Requantizer, Event::Maximum { bits }, 2 * count);
            }
            if stochastic {
                self.event(Component::Random, Event::RandomWord, words);
            }
        }
    }

    /// Whether the shift into a static format still varies, because a source's scale moves.
    fn moves(&self, sources: &[TensorId]) -> bool {
        sources.iter().any(|&source| self.costs.plan(source).scale != Scale::Static)
    }

    /// Walks through some steps, and adds what they move and wait for.
    fn walk(
        &mut self,
        steps: impl FnOnce(&mut Walk<'_>) -> Result<(), TooLong>,
    ) -> Result<(), Error> {
        let elapsed = self.elapsed;
        let mut relay;
        let see: Option<&mut dyn FnMut(Moment)> = match &mut self.see {
            None => None,
            Some(see) => {
                relay = |moment: Moment| see(moment.later(elapsed));
                Some(&mut relay)
            }
        };
        let costs = self.costs;
        let on_chip = costs.kept.beside(costs.program.write(self.at).command);
        let mut walk = Walk::new(&costs.accelerator.dram, see).without(&on_chip);
        let walked = steps(&mut walk).and_then(|()| walk.finish());
        let Walked { stall, ideal, moved, stayed, .. } = walked.map_err(|TooLong| too_long())?;
        self.cost.cycles.stall += Cycles(stall);
        self.cost.walked += ideal;
        self.elapsed += ideal + stall;
        for moved in moved {
            self.event(Component::Dram, Event::DramBit, 8 * moved.bytes);
            let activations = moved.bytes.div_ceil(self.costs.row_bytes);
            self.event(Component::Dram, Event::RowActivation, activations);
            self.cost.moved.push(moved);
        }
        self.cost.stayed.extend(stayed);
        Ok(())
    }

    fn rows(&mut self, buffer: Buffer, write: bool, row_bits: u64, count: u64) {
        let row_bits = u32::try_from(row_bits).expect("rows of at most 1024 elements of 64 bits");
        let event = if write {
            Event::ScratchpadWrite { buffer, row_bits }
        } else {
            Event::ScratchpadRead { buffer, row_bits }
        };
        self.event(Component::Scratchpad, event, count);
    }

    /// Rows of a scratchpad filled with what lies in DRAM or was kept on chip; so many of them with what
    /// comes for the first time in this command.
    fn fill(
        &mut self,
        buffer: Buffer,
        of: (TensorId, Stored),
        row_bits: u64,
        (count, first): (u64, u64),
    ) {
        self.rows(buffer, true, row_bits, count);
        let KeptOnChip { memory, of: kept, arriving } = &self.costs.kept;
        let command = self.costs.program.write(self.at).command;
        if arriving.contains(&(command, of.0, of.1)) {
            self.rows(*memory, true, row_bits, first);
            self.rows(*memory, false, row_bits, count - first);
        } else if kept.contains(&of) {
            self.rows(*memory, false, row_bits, count);
        }
    }

    /// Rows of the scratchpad of C that go out to DRAM, or where they are kept on chip.
    fn drain(&mut self, of: (TensorId, Stored), row_bits: u64, count: u64) {
        self.rows(Buffer::C, false, row_bits, count);
        if self.costs.kept.of.contains(&of) {
            self.rows(self.costs.kept.memory, true, row_bits, count);
        }
    }
}

/// Whether the elements of an operand that enter the grid in one cycle are neighbours in the tensor.
fn is_along(stationary: Stationary, operand: OperandRef, is_a: bool) -> bool {
    // They lie along k, except of an operand that meets k in time or in depth.
    let right = is_a == (stationary != Stationary::Input);
    let lines_are_k = right && stationary != Stationary::Output;
    let stored_along_k = operand.reading.transposed != is_a;
    lines_are_k == stored_along_k
}

fn too_long() -> Error {
    let problem = "this takes more transfers than can be followed, or more cycles than 64 bits \
                   count: expected larger arrays or scratchpads, or smaller work";
    Error::at("accelerator.dram", problem)
}

fn too_large(error: systoliq_array::Error) -> Error {
    Error::at("accelerator.array", error)
}
