//! What a command takes: cycles, events, and bytes moved.
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
//! - What the stash keeps takes part in no transfer: the stash gives each row that is filled from it,
//!   and takes each that would have left.
//! - The same program on float32 hardware has 32 bits in place of every width, one copy of the
//!   weights, and no conversions.

mod mask;
mod operand;
mod traffic;
mod vector;

use std::num::NonZero;

use systoliq_array::mapping::{Axis, Pieces};
use systoliq_array::{Array, ArrayCounts, Cycles, CyclesByCause, Dataflow, Mapping, Stationary};
use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::{Accumulator, Rounding, Scale};
use systoliq_program::command::{BatchScale, Edge, Gemm, OperandRef};
use systoliq_program::{GemmShape, Operation, Program, TensorId, TensorPlan, Work};

use crate::accelerator::Layout;
use crate::events::{Buffer, Component, Event, Tally};
use crate::im2col::Im2col;
use crate::memory::{Moment, Moved, Stored, TooLong, Transfer, Walk, Walked};
use crate::{Accelerator, Error, stash};

use mask::Mask;
use operand::{Matrix, Operand, View};
use traffic::{Outgoing, TooSmall, Traffic};

/// The number format that the hardware is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Integers of the widths of the precision plan.
    Fixed,
    /// float32 throughout.
    Float32,
}

/// What one run of a command takes.
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
    /// What would have, had the stash not kept it.
    pub stayed: Vec<Moved>,
    /// The cycles of the steps that transfers were followed through, without stalls.
    pub walked: u64,
}

/// Says what commands of one program take on one accelerator.
#[derive(Clone, Debug)]
pub struct Costs<'a> {
    pub(crate) program: &'a Program,
    pub(crate) accelerator: &'a Accelerator,
    arithmetic: Arithmetic,
    views: [Option<Im2col>; 2],
    /// What the stash keeps.
    on_chip: Vec<(TensorId, Stored)>,
}

/// Largest GEMM, in multiply-accumulates. With [`ELEMENTS_MAX`], bursts of at most 4 KB and grids of
/// at most 1024 x 1024, none of its counts leaves 64 bits.
pub const MACS_MAX: u128 = 1 << 48;

/// Largest matrix of a GEMM, in elements.
pub const ELEMENTS_MAX: u128 = 1 << 40;

/// Passes of the vector unit over its elements.
const SOFTMAX_PASSES: u64 = 4;

/// Bits of the mantissas of momentum, weight decay and 1/B.
const FACTOR_BITS: u32 = 16;

/// Bits of the exponent of a block: that of the OCP Microscaling specification, E8M0.
const EXPONENT_BITS: u32 = 8;

impl<'a> Costs<'a> {
    /// Of `program` on `accelerator` with PEs of `arithmetic`, and a stash that is laid out for
    /// batches of `batch` samples, whatever the work.
    pub fn new(
        program: &'a Program,
        accelerator: &'a Accelerator,
        arithmetic: Arithmetic,
        batch: usize,
    ) -> Self {
        let views = [None; 2];
        let costs = Self { program, accelerator, arithmetic, views, on_chip: Vec::new() };
        let kept = stash::items(&costs, batch).into_iter().filter(|item| item.on_chip);
        let on_chip = kept.flat_map(|item| match item.stored {
            Stored::Elements => vec![(item.tensor, Stored::Elements), (item.tensor, Stored::Copy)],
            stored => vec![(item.tensor, stored)],
        });
        Self { on_chip: on_chip.collect(), ..costs }
    }

    /// The same, where A and B of matrix products are views of images.
    pub fn viewing(self, views: [Option<Im2col>; 2]) -> Self {
        Self { views, ..self }
    }

    /// What the command in place `at` of the program takes once, on work of these sizes. `second_pass` says that its output's
    /// scale was chosen from the output itself.
    ///
    /// # Errors
    ///
    /// If the work has more cycles or events than 64 bits count.
    pub fn of(&self, at: usize, work: Work, second_pass: bool) -> Result<Cost, Error> {
        self.watched(at, work, second_pass, None)
    }

    /// The same, with every step shown, in cycles from the beginning of the command.
    ///
    /// # Errors
    ///
    /// Those of [`of`](Self::of), or if there are too many steps to be shown.
    pub fn watch(
        &self,
        at: usize,
        work: Work,
        second_pass: bool,
        see: &mut dyn FnMut(Moment),
    ) -> Result<Cost, Error> {
        self.watched(at, work, second_pass, Some(see))
    }

    fn watched(
        &self,
        at: usize,
        work: Work,
        second_pass: bool,
        see: Option<&mut dyn FnMut(Moment)>,
    ) -> Result<Cost, Error> {
        let command = &self.program.commands[at];
        let second_pass = second_pass && self.arithmetic == Arithmetic::Fixed;
        let mut bill = Bill { costs: self, at, cost: Cost::default(), elapsed: 0, see };
        match (&command.operation, work) {
            (Operation::Gemm(gemm), Work::Gemm(shape)) => bill.gemm(gemm, shape, second_pass)?,
            (operation, Work::Vector { rows, cols }) => {
                bill.vector(operation, rows as u64, cols as u64, second_pass)?;
            }
            (operation, work) => panic!("{operation:?} on {work:?}"),
        }
        let Cost { cycles, walked, .. } = &bill.cost;
        let without_stall = cycles.total().0 - cycles.stall.0;
        assert_eq!(*walked, without_stall, "cycles of {command:?} on {work:?}, walked through");
        Ok(bill.cost)
    }

    /// Whether the elements of an operand that enter the grid in one cycle may not be neighbours in
    /// the tensor; with a dataflow that is chosen per GEMM, whether that is so in any.
    fn may_be_across(&self, operand: OperandRef, is_a: bool) -> bool {
        let across = |stationary| !is_along(stationary, operand, is_a);
        match self.array().dataflow {
            Dataflow::OutputStationary => across(Stationary::Output),
            Dataflow::WeightStationary => across(Stationary::Weight),
            Dataflow::InputStationary => across(Stationary::Input),
            Dataflow::Auto => Stationary::ALL.into_iter().any(across),
        }
    }

    /// Whether some GEMM needs a second copy of a tensor, in the other layout.
    pub(crate) fn has_second_copy(&self, tensor: TensorId) -> bool {
        // Blocks lie along one axis in each copy.
        if self.block(tensor).is_some() && self.program.block_axes(tensor).len() > 1 {
            return true;
        }
        self.accelerator.layout == Layout::TwoCopies
            && self.program.commands.iter().any(|command| match &command.operation {
                Operation::Gemm(gemm) => {
                    let across = |operand: OperandRef, is_a: bool| {
                        operand.tensor == tensor && self.may_be_across(operand, is_a)
                    };
                    across(gemm.a, true) || across(gemm.b, false)
                }
                _ => false,
            })
    }

    /// The width of a tensor's elements.
    pub(crate) fn bits(&self, tensor: TensorId) -> u32 {
        match self.arithmetic {
            Arithmetic::Fixed => self.plan(tensor).format.bits(),
            Arithmetic::Float32 => 32,
        }
    }

    fn plan(&self, tensor: TensorId) -> &'a TensorPlan {
        &self.program.tensor(tensor).plan
    }

    /// The width of what an accumulator gives.
    fn result_bits(&self, accumulator: &Accumulator) -> u32 {
        match self.arithmetic {
            Arithmetic::Fixed => accumulator.bits(),
            Arithmetic::Float32 => 32,
        }
    }

    /// The registers of a sum of `k` products on its way; float hardware knows no chunks.
    fn sum_widths(&self, gemm: &Gemm, k: usize) -> Widths {
        match self.arithmetic {
            Arithmetic::Fixed => self.program.widths(gemm, k),
            Arithmetic::Float32 => Widths { sum: 32, chunk: 0 },
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
    fn transfer_bytes(&self, elements: u64, bits: u32, exponents: Exponents) -> u64 {
        let bits = elements * u64::from(bits) + exponents.bits(elements);
        bits.div_ceil(8).next_multiple_of(self.accelerator.dram.burst_bytes)
    }

    /// The exponents that travel with a tensor in some form.
    fn exponents(&self, tensor: TensorId, stored: Stored) -> Exponents {
        let codes = matches!(stored, Stored::Elements | Stored::Copy);
        Exponents { block: self.block(tensor).filter(|_| codes) }
    }

    /// Whether `elements` fit the half of a scratchpad that the array works on.
    fn fits_half(&self, buffer: Buffer, elements: u64, bits: u32) -> bool {
        let needed = u128::from(elements) * u128::from(bits);
        needed <= u128::from(self.accelerator.half_bits(buffer))
    }
}

/// The exponents that travel with a tensor: one per block, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exponents {
    block: Option<NonZero<u32>>,
}

impl Exponents {
    /// Bits of those of so many elements that lie one after the other.
    fn bits(self, elements: u64) -> u64 {
        let bits = |block: NonZero<u32>| elements.div_ceil(block.get().into());
        self.block.map_or(0, bits) * u64::from(EXPONENT_BITS)
    }
}

/// The cost of one command as it is added up.
struct Bill<'a, 'b, 'w> {
    costs: &'b Costs<'a>,
    /// The command's place in the program.
    at: usize,
    cost: Cost,
    /// The cycles of the walks so far, and who is told of their steps.
    elapsed: u64,
    see: Option<&'w mut dyn FnMut(Moment)>,
}

/// What the scratchpads see of an operand of a GEMM.
struct Rows {
    operand: Operand,
    /// Elements of a scratchpad row: as many as enter the grid in one cycle.
    row: u64,
    /// Whether the elements that enter in one cycle are neighbours in what is read of the tensor.
    along_layout: bool,
}

impl Bill<'_, '_, '_> {
    fn event(&mut self, component: Component, event: Event, count: u64) {
        self.cost.tally.add(component, event, count);
    }

    fn multiply(&mut self, component: Component, bits_a: u32, bits_b: u32, count: u64) {
        let event = match self.costs.arithmetic {
            Arithmetic::Fixed => Event::Multiply { bits_a, bits_b },
            Arithmetic::Float32 => Event::FloatMultiply,
        };
        self.event(component, event, count);
    }

    fn add(&mut self, component: Component, bits: u32, count: u64) {
        let event = match self.costs.arithmetic {
            Arithmetic::Fixed => Event::Add { bits },
            Arithmetic::Float32 => Event::FloatAdd,
        };
        self.event(component, event, count);
    }

    /// Conversions from `bits` bits into `tensor`; float hardware has none.
    fn requantize(
        &mut self,
        component: Component,
        tensor: TensorId,
        bits: u32,
        barrel: bool,
        count: u64,
    ) {
        if self.costs.arithmetic == Arithmetic::Fixed {
            let plan = self.costs.plan(tensor);
            let stochastic = plan.rounding == Rounding::Stochastic;
            let barrel = barrel || plan.scale != Scale::Static;
            // One for each copy, of the same random word.
            let words = count;
            let count = count * self.costs.program.block_axes(tensor).len().max(1) as u64;
            self.event(component, Event::Requantize { bits, stochastic, barrel }, count);
            if plan.scale.follows_range() {
                // The scale remembers the smallest and the largest value.
                self.event(component, Event::Maximum { bits }, 2 * count);
            }
            if stochastic {
                self.event(component, Event::RandomWord, words);
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
        let mut walk = Walk::new(&costs.accelerator.dram, see).without(&costs.on_chip);
        let walked = steps(&mut walk).and_then(|()| walk.finish());
        let Walked { stall, ideal, moved, stayed, .. } = walked.map_err(|TooLong| too_long())?;
        self.cost.cycles.stall += Cycles(stall);
        self.cost.walked += ideal;
        self.elapsed += ideal + stall;
        for moved in moved {
            self.event(Component::Dram, Event::DramBit, 8 * moved.bytes);
            self.cost.moved.push(moved);
        }
        self.cost.stayed.extend(stayed);
        Ok(())
    }

    /// So many elements from the beginning of a tensor.
    fn transfer(&self, of: Outgoing, write: bool, elements: u64) -> Transfer {
        let Outgoing { tensor, stored, bits } = of;
        let exponents = self.costs.exponents(tensor, stored);
        let bytes = self.costs.transfer_bytes(elements, bits, exponents);
        Transfer { tensor, stored, write, elements, bytes, offset: 0 }
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

    /// Rows of a scratchpad filled with what lies in DRAM, or in the stash.
    fn fill(&mut self, buffer: Buffer, of: (TensorId, Stored), row_bits: u64, count: u64) {
        self.rows(buffer, true, row_bits, count);
        if self.costs.on_chip.contains(&of) {
            self.rows(Buffer::Stash, false, row_bits, count);
        }
    }

    /// Rows of the scratchpad of C that go out to DRAM, or to the stash.
    fn drain(&mut self, of: (TensorId, Stored), row_bits: u64, count: u64) {
        self.rows(Buffer::C, false, row_bits, count);
        if self.costs.on_chip.contains(&of) {
            self.rows(Buffer::Stash, true, row_bits, count);
        }
    }

    fn gemm(&mut self, gemm: &Gemm, shape: GemmShape, second_pass: bool) -> Result<(), Error> {
        let costs = self.costs;
        let GemmShape { m, k, n } = shape;
        let [wide_m, wide_k, wide_n] = [m, k, n].map(|extent| extent as u128);
        let matrix = (wide_m * wide_k).max(wide_k * wide_n).max(wide_m * wide_n);
        if matrix > ELEMENTS_MAX || matrix * wide_m.min(wide_k).min(wide_n) > MACS_MAX {
            let problem = format!(
                "m = {m}, k = {k}, n = {n}: expected matrices of at most 2^40 elements and at most \
                 2^48 multiply-accumulates"
            );
            return Err(Error::at("GEMM", problem));
        }
        let sum_bits = costs.sum_widths(gemm, k).total();
        let mapping = costs.accelerator.mapping(shape, sum_bits);
        let counts = ArrayCounts::of(&mapping).map_err(too_large)?;
        self.cost.cycles = counts.cycles;
        self.cost.counts = counts;
        self.cost.dataflow = Some(mapping.stationary);
        self.processing_elements(gemm, &mapping, &counts);
        let operands = self.operands(gemm, &mapping).map_err(|TooLong| too_long())?;
        operands.iter().for_each(|operand| self.operand_rows(operand, &mapping));
        self.partial_sums(&mapping, &counts, sum_bits);
        self.edge(gemm, &mapping);
        let results = self.results(gemm, &mapping, second_pass);
        let traffic = Traffic {
            mapping,
            operands: [operands[0].operand, operands[1].operand],
            bias: self.bias(gemm, shape),
            mask: match gemm.edge {
                // Which activations are positive is known when they are converted.
                Edge::Relu if second_pass => None,
                Edge::Relu => Some(Mask { tensor: gemm.output, write: true }),
                Edge::Mask(activation) => Some(Mask { tensor: activation, write: false }),
                Edge::Pass => None,
            },
            results,
            sum_bits,
            half_c_bits: costs.accelerator.half_bits(Buffer::C),
            burst_bytes: costs.accelerator.dram.burst_bytes,
            exponents: &|tensor, stored| costs.exponents(tensor, stored),
        };
        self.refuse_too_small(&traffic)?;
        self.walk(|walk| traffic.walk(walk))?;
        operands.iter().for_each(|operand| self.pixel_rows(operand));
        if second_pass {
            let results = shape.m as u64 * shape.n as u64;
            let bits = costs.result_bits(&gemm.accumulator);
            let relu = (gemm.edge == Edge::Relu).then(|| mask_of(gemm.output));
            self.second_pass(gemm.output, results, bits, relu)?;
        }
        Ok(())
    }

    /// Refuses a GEMM of which not even one step fits a scratchpad. Memory that nothing waits for
    /// brings everything in time, and float32 hardware is taken to have the room it needs.
    fn refuse_too_small(&self, traffic: &Traffic) -> Result<(), Error> {
        let costs = self.costs;
        if costs.arithmetic == Arithmetic::Float32 || costs.accelerator.dram.is_ideal() {
            return Ok(());
        }
        let Some(TooSmall { buffer, needed }) = traffic.too_small() else { return Ok(()) };
        let (key, _) = costs.accelerator.scratchpad.of(buffer);
        let (half, least) = (costs.accelerator.half_bits(buffer) / 8, needed.div_ceil(8));
        let GemmShape { m, k, n } = traffic.mapping.shape;
        let problem = format!(
            "one step of a GEMM of m = {m}, k = {k}, n = {n} needs {least} bytes at once, half the \
             scratchpad has {half}: expected at least {}",
            2 * least
        );
        Err(Error::at(format!("accelerator.scratchpad.{key}"), problem))
    }

    /// Multipliers, adders and registers of the grid.
    fn processing_elements(&mut self, gemm: &Gemm, mapping: &Mapping, counts: &ArrayCounts) {
        let costs = self.costs;
        let (a, b) = (costs.bits(gemm.a.tensor), costs.bits(gemm.b.tensor));
        let GemmShape { m, k, n } = mapping.shape;
        let widths = costs.sum_widths(gemm, k);
        let sum = widths.sum;
        self.multiply(Component::Multiplier, a, b, counts.macs);
        // Products are summed in chunks or blocks, where there are any.
        self.add(Component::Adder, if widths.chunk > 0 { widths.chunk } else { sum }, counts.macs);
        // Where sums stay, that of the chunks is written once a chunk; where they move, both always.
        let mut sum_writes = counts.accumulator_writes;
        let block = costs.program.block_of(gemm);
        let run = block.or(gemm.accumulator.chunk).filter(|_| widths.chunk > 0);
        if let Some(run) = run {
            let runs = (m * n * k.div_ceil(run.get() as usize)) as u64;
            self.add(Component::Adder, sum, runs);
            let write = Event::RegisterWrite { bits: widths.chunk };
            self.event(Component::Registers, write, counts.accumulator_writes);
            if mapping.output_stays() {
                sum_writes = runs;
            }
            if block.is_some() {
                self.align_blocks(Component::Adder, &gemm.accumulator, widths.chunk, runs);
            }
        }
        let aligns = block.is_none() && gemm.accumulator.frac().is_some();
        if costs.arithmetic == Arithmetic::Fixed && aligns {
            // Products are rounded before each addition; dropping bits is free.
            if gemm.accumulator.rounding != Rounding::Floor {
                self.event(Component::Adder, Event::Add { bits: a + b }, counts.macs);
            }
            if gemm.accumulator.rounding == Rounding::Stochastic {
                self.event(Component::Adder, Event::RandomWord, counts.macs);
            }
        }
        let stationary = match mapping.stationary {
            Stationary::Output => sum,
            Stationary::Weight => b,
            Stationary::Input => a,
        };
        let shadow = if mapping.has_shadow() { stationary } else { 0 };
        let clock = Event::RegisterClock { bits: a + b + widths.total() + shadow };
        self.event(Component::Registers, clock, counts.pe_cycles);
        for (bits, writes) in [
            (a, counts.a_register_writes),
            (b, counts.b_register_writes),
            (sum, sum_writes + counts.drain_writes),
            (stationary, counts.shadow_writes),
        ] {
            self.event(Component::Registers, Event::RegisterWrite { bits }, writes);
        }
    }

    /// Sums of blocks of `bits` bits, shifted by the sum of two exponents and rounded.
    fn align_blocks(
        &mut self,
        component: Component,
        accumulator: &Accumulator,
        bits: u32,
        count: u64,
    ) {
        let stochastic = accumulator.rounding == Rounding::Stochastic;
        self.add(component, EXPONENT_BITS, count);
        self.event(component, Event::Requantize { bits, stochastic, barrel: true }, count);
        if stochastic {
            self.event(component, Event::RandomWord, count);
        }
    }

    /// The operands as the dataflow takes them.
    fn operands(&self, gemm: &Gemm, mapping: &Mapping) -> Result<[Rows; 2], TooLong> {
        let costs = self.costs;
        let output_stays = mapping.output_stays();
        let rows = |operand: OperandRef, is_a: bool| {
            let buffer = if is_a { Buffer::A } else { Buffer::B };
            let right = is_a == (mapping.stationary != Stationary::Input);
            // What moves right has its lines on the rows, the other operand on the columns.
            let (row, axes) = match (right, output_stays) {
                (true, _) => (mapping.rows, [Axis::Rows, Axis::Time]),
                (false, true) => (mapping.cols, [Axis::Cols, Axis::Time]),
                (false, false) => (mapping.cols, [Axis::Cols, Axis::Rows]),
            };
            let tensor = operand.tensor;
            let elements = match is_a {
                true => mapping.shape.m as u64 * mapping.shape.k as u64,
                false => mapping.shape.k as u64 * mapping.shape.n as u64,
            };
            // The positions of an image lie along m in A, and along k in B.
            let view = costs.views[usize::from(!is_a)].map(|im2col| {
                let k = match mapping.stationary {
                    Stationary::Output => Axis::Time,
                    Stationary::Weight | Stationary::Input => Axis::Rows,
                };
                let along_k = |axis: &Axis| (*axis == k) != is_a;
                let positions = axes.into_iter().find(along_k).expect("k and another axis");
                View { im2col, positions }
            });
            let along_layout = is_along(mapping.stationary, operand, is_a);
            let second_copy = !along_layout && costs.accelerator.layout == Layout::TwoCopies;
            let matrix = Matrix {
                tensor,
                stored: if second_copy { Stored::Copy } else { Stored::Elements },
                buffer,
                bits: costs.bits(tensor),
                axes,
                resident: self.is_resident(tensor, elements),
                half_bits: costs.accelerator.half_bits(buffer),
                view,
            };
            Ok(Rows {
                operand: Operand::new(matrix, mapping)?,
                row: row as u64,
                along_layout: along_layout || second_copy,
            })
        };
        Ok([rows(gemm.a, true)?, rows(gemm.b, false)?])
    }

    /// An operand from DRAM into its scratchpad, and from there to the grid's edge, tile by tile.
    fn operand_rows(&mut self, rows: &Rows, mapping: &Mapping) {
        let Rows { operand, row, along_layout } = rows;
        let Matrix { tensor, stored, buffer, bits, axes, view, .. } = operand.matrix;
        let row_bits = row * u64::from(bits);
        let (taken, fetched) = operand.turns(mapping);
        let [lines, depths] = axes.map(|axis| sizes(mapping.pieces(axis)));
        for (lines, across) in lines {
            for &(depth, along_depth) in &depths {
                let tiles = across * along_depth;
                let accesses = if *along_layout { depth } else { lines * depth.div_ceil(*row) };
                if view.is_none() {
                    let rows = accesses * tiles * fetched;
                    self.fill(buffer, (tensor, stored), row_bits, rows);
                }
                self.rows(buffer, false, row_bits, accesses * tiles * taken);
                if !along_layout {
                    // Written into the transposer and read from it.
                    let write = Event::RegisterWrite { bits };
                    self.event(Component::Registers, write, 2 * lines * depth * tiles * taken);
                }
            }
        }
    }

    /// The pixels of a view, packed into rows of its scratchpad as they were fetched.
    fn pixel_rows(&mut self, rows: &Rows) {
        let Matrix { tensor, stored, buffer, bits, view, .. } = rows.operand.matrix;
        if view.is_some() {
            let fetched = self.cost.moved.iter().chain(&self.cost.stayed);
            let read = fetched.filter(|moved| moved.tensor == tensor && !moved.write);
            let pixels: u64 = read.map(|moved| moved.elements).sum();
            let (row_bits, count) = (rows.row * u64::from(bits), pixels.div_ceil(rows.row));
            self.fill(buffer, (tensor, stored), row_bits, count);
        }
    }

    /// Where sums move: partial sums to the scratchpad and back, C of them in a row.
    fn partial_sums(&mut self, mapping: &Mapping, counts: &ArrayCounts, sum_bits: u32) {
        if counts.partial_sum_reads == 0 {
            return;
        }
        let [row_pieces, col_pieces] =
            [Axis::Rows, Axis::Cols].map(|axis| mapping.pieces(axis).count() as u64);
        let rows = mapping.extents().time as u64 * col_pieces * (row_pieces - 1);
        let row_bits = mapping.cols as u64 * u64::from(sum_bits);
        self.rows(Buffer::C, true, row_bits, rows);
        self.rows(Buffer::C, false, row_bits, rows);
    }

    /// Bias, ReLU or mask, and conversion, per result.
    fn edge(&mut self, gemm: &Gemm, mapping: &Mapping) {
        let costs = self.costs;
        let shape = mapping.shape;
        let results = shape.m as u64 * shape.n as u64;
        let sum = costs.result_bits(&gemm.accumulator);
        let c_row = costs.array().cols as u64;
        if let Some(bias) = gemm.bias {
            let bits = costs.bits(bias);
            let widths = costs.sum_widths(gemm, shape.k);
            self.add(Component::Edge, widths.sum, results);
            let row_bits = c_row * u64::from(bits);
            self.rows(Buffer::C, true, row_bits, (shape.n as u64).div_ceil(c_row));
            let [row_pieces, col_pieces] =
                [Axis::Rows, Axis::Cols].map(|axis| mapping.pieces(axis).count() as u64);
            // Each column keeps its bias for a fold; where n runs in time, each cycle needs another.
            let reads = match mapping.stationary {
                Stationary::Output => row_pieces * col_pieces,
                Stationary::Weight => col_pieces,
                Stationary::Input => col_pieces * (shape.n as u64).div_ceil(c_row),
            };
            self.rows(Buffer::C, false, row_bits, reads);
        }
        // The ReLU's mask, one bit a result, passes the scratchpad on its way out or in.
        let rows = shape.m as u64 * (shape.n as u64).div_ceil(c_row);
        match gemm.edge {
            Edge::Pass => {}
            Edge::Relu => {
                self.event(Component::Edge, Event::Relu { bits: sum }, results);
                self.rows(Buffer::C, true, c_row, rows);
                self.drain((gemm.output, Stored::Mask), c_row, rows);
            }
            Edge::Mask(activation) => {
                self.event(Component::Edge, Event::Relu { bits: sum }, results);
                self.fill(Buffer::C, (activation, Stored::Mask), c_row, rows);
                self.rows(Buffer::C, false, c_row, rows);
            }
        }
        if gemm.scale == BatchScale::Mean {
            self.multiply(Component::Edge, sum, 16, results);
        }
    }

    /// The bias on its way to the edge.
    fn bias(&self, gemm: &Gemm, shape: GemmShape) -> Option<Transfer> {
        gemm.bias.map(|bias| {
            let bits = self.costs.bits(bias);
            let of = Outgoing { tensor: bias, stored: Stored::Elements, bits };
            self.transfer(of, false, shape.n as u64)
        })
    }

    /// Results from the array's edge to the scratchpad; returns what of them goes to DRAM as the
    /// folds give them. Where the scale needs the whole tensor first, that is nothing, or all of it
    /// at full width if it does not fit.
    fn results(&mut self, gemm: &Gemm, mapping: &Mapping, second_pass: bool) -> Vec<Outgoing> {
        let costs = self.costs;
        let shape = mapping.shape;
        let results = shape.m as u64 * shape.n as u64;
        let sum = costs.result_bits(&gemm.accumulator);
        let component = if second_pass { Component::Vector } else { Component::Edge };
        let moves = self.moves(&[gemm.a.tensor, gemm.b.tensor]);
        self.requantize(component, gemm.output, sum, moves, results);
        // Results that leave side by side along m pass a transposer.
        if mapping.stationary == Stationary::Input {
            self.event(Component::Registers, Event::RegisterWrite { bits: sum }, 2 * results);
        }
        let row = costs.array().cols as u64;
        let rows = shape.m as u64 * (shape.n as u64).div_ceil(row);
        let waits = second_pass || costs.block(gemm.output).is_some();
        self.output_rows(gemm.output, rows, waits.then_some((results, sum)));
        match second_pass {
            false => self.copies(gemm.output, results),
            true if costs.fits_half(Buffer::C, results, sum) => Vec::new(),
            true => vec![Outgoing { tensor: gemm.output, stored: Stored::Sums, bits: sum }],
        }
    }
}

/// Whether the elements of an operand that enter the grid in one cycle are neighbours in the tensor.
fn is_along(stationary: Stationary, operand: OperandRef, is_a: bool) -> bool {
    // They lie along k, except of an operand that meets k in time or in depth.
    let right = is_a == (stationary != Stationary::Input);
    let lines_are_k = right && stationary != Stationary::Output;
    let stored_along_k = operand.transposed != is_a;
    lines_are_k == stored_along_k
}

/// The sizes of some pieces, with how many there are of each.
fn sizes(pieces: Pieces) -> Vec<(u64, u64)> {
    let Pieces { side, full, rest } = pieces;
    let sizes = [(side as u64, full as u64), (rest as u64, 1)];
    sizes.into_iter().filter(|&(size, count)| size > 0 && count > 0).collect()
}

fn mask_of(tensor: TensorId) -> Outgoing {
    Outgoing { tensor, stored: Stored::Mask, bits: 1 }
}

fn too_long() -> Error {
    let problem = "this takes more transfers than can be followed, or more cycles than 64 bits \
                   count: expected larger arrays or scratchpads, or smaller work";
    Error::at("accelerator.dram", problem)
}

fn too_large(error: systoliq_array::Error) -> Error {
    Error::at("accelerator.array", error)
}
