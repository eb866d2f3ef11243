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
//! - The same program on float32 hardware has 32 bits in place of every width, one copy of the
//!   weights, and no conversions.

use systoliq_array::mapping::Axis;
use systoliq_array::{Array, ArrayCounts, Cycles, CyclesByCause, Mapping, Stationary, timing};
use systoliq_fxp::{Accumulator, Rounding, Scale};
use systoliq_program::command::{BatchScale, Edge, Gemm, OperandRef};
use systoliq_program::{Command, GemmShape, Operation, Program, TensorId, TensorPlan, Work};

use crate::events::{Buffer, Component, Event, Tally};
use crate::{Accelerator, Error};

/// The number format that the hardware is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Integers of the widths of the precision plan.
    Fixed,
    /// float32 throughout.
    Float32,
}

/// Bytes of one tensor moved from or to DRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The tensor.
    pub tensor: TensorId,
    /// Whether it was written.
    pub write: bool,
    /// Bytes, whole bursts.
    pub bytes: u64,
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
    /// What moved from and to DRAM.
    pub traffic: Vec<Transfer>,
}

/// Says what commands of one program take on one accelerator.
#[derive(Clone, Copy, Debug)]
pub struct Costs<'a> {
    program: &'a Program,
    accelerator: &'a Accelerator,
    arithmetic: Arithmetic,
}

/// Largest GEMM, in multiply-accumulates. With [`ELEMENTS_MAX`], bursts of at most 4 KB and grids of
/// at most 1024 x 1024, none of its counts leaves 64 bits.
pub const MACS_MAX: u128 = 1 << 48;

/// Largest matrix of a GEMM, in elements.
pub const ELEMENTS_MAX: u128 = 1 << 40;

/// Passes of the vector unit over its elements.
const SOFTMAX_PASSES: u64 = 4;

/// Fraction bits of the softmax unit's tables and probabilities, which have two integer bits more.
const TABLE_BITS: u32 = 32;

impl<'a> Costs<'a> {
    /// Of `program` on `accelerator` with PEs of `arithmetic`.
    pub fn new(program: &'a Program, accelerator: &'a Accelerator, arithmetic: Arithmetic) -> Self {
        Self { program, accelerator, arithmetic }
    }

    /// What `command` takes once, on work of these sizes. `second_pass` says that its output's
    /// scale was chosen from the output itself.
    ///
    /// # Errors
    ///
    /// If the work has more cycles or events than 64 bits count.
    pub fn of(&self, command: &Command, work: Work, second_pass: bool) -> Result<Cost, Error> {
        let second_pass = second_pass && self.arithmetic == Arithmetic::Fixed;
        let mut bill = Bill { costs: self, cost: Cost::default() };
        match (&command.operation, work) {
            (Operation::Gemm(gemm), Work::Gemm(shape)) => bill.gemm(gemm, shape, second_pass)?,
            (operation, Work::Vector { rows, cols }) => {
                bill.vector(operation, rows as u64, cols as u64, second_pass)?;
            }
            (operation, work) => panic!("{operation:?} on {work:?}"),
        }
        Ok(bill.cost)
    }

    /// The width of a tensor's elements.
    fn bits(&self, tensor: TensorId) -> u32 {
        match self.arithmetic {
            Arithmetic::Fixed => self.plan(tensor).format.bits(),
            Arithmetic::Float32 => 32,
        }
    }

    fn plan(&self, tensor: TensorId) -> &'a TensorPlan {
        &self.program.tensor(tensor).plan
    }

    /// The width of an accumulator.
    fn accumulator_bits(&self, accumulator: &Accumulator) -> u32 {
        match self.arithmetic {
            Arithmetic::Fixed => accumulator.bits(),
            Arithmetic::Float32 => 32,
        }
    }

    fn array(&self) -> &'a Array {
        &self.accelerator.array
    }

    /// Bytes of `elements` elements as one transfer.
    fn transfer_bytes(&self, elements: u64, bits: u32) -> u64 {
        (elements * u64::from(bits)).div_ceil(8).next_multiple_of(self.accelerator.dram.burst_bytes)
    }

    /// Whether `elements` fit the half of a scratchpad that the array works on.
    fn fits_half(&self, buffer: Buffer, elements: u64, bits: u32) -> bool {
        let pads = &self.accelerator.scratchpad;
        let bytes = match buffer {
            Buffer::A => pads.a_bytes,
            Buffer::B => pads.b_bytes,
            Buffer::C => pads.c_bytes,
        };
        u128::from(elements) * u128::from(bits) <= u128::from(bytes) * 4
    }
}

/// The cost of one command as it is added up.
struct Bill<'a, 'b> {
    costs: &'b Costs<'a>,
    cost: Cost,
}

/// An operand of a GEMM as the grid takes it: in each cycle, some neighbours along a grid axis, its
/// *lines*; one cycle after the other, along its other axis, its *depth*.
struct Stream {
    tensor: TensorId,
    buffer: Buffer,
    bits: u32,
    /// Elements of a scratchpad row: as many as enter the grid in one cycle.
    row: u64,
    /// Elements along the lines' axis.
    lines: u64,
    /// Elements along the other axis, and how many of them a fold takes.
    depth: u64,
    piece: u64,
    /// Whether the elements that enter in one cycle are neighbours in the tensor.
    along_layout: bool,
    /// How often the grid takes each tile.
    reads: u64,
    /// Whether one fetch from DRAM serves all of them.
    stays: bool,
}

impl Bill<'_, '_> {
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
            self.event(component, Event::Requantize { bits, stochastic, barrel }, count);
            if plan.scale != Scale::Static {
                // The scale remembers the smallest and the largest value.
                self.event(component, Event::Maximum { bits }, 2 * count);
            }
            if stochastic {
                self.event(component, Event::RandomWord, count);
            }
        }
    }

    /// Whether the shift into a static format still varies, because a source's scale moves.
    fn moves(&self, sources: &[TensorId]) -> bool {
        sources.iter().any(|&source| self.costs.plan(source).scale != Scale::Static)
    }

    fn dram(&mut self, tensor: TensorId, write: bool, bytes: u64) {
        self.cost.traffic.push(Transfer { tensor, write, bytes });
        self.event(Component::Dram, Event::DramBit, 8 * bytes);
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
        let mapping = Mapping::new(costs.array(), shape);
        let counts = ArrayCounts::of(&mapping).map_err(too_large)?;
        self.cost.cycles = counts.cycles;
        self.cost.counts = counts;
        self.cost.dataflow = Some(mapping.stationary);
        self.processing_elements(gemm, &mapping, &counts);
        for stream in self.streams(gemm, &mapping) {
            self.stream(&stream);
        }
        self.partial_sums(gemm, &mapping);
        self.edge(gemm, &mapping);
        self.results(gemm, &mapping, second_pass)
    }

    /// Multipliers, adders and registers of the grid.
    fn processing_elements(&mut self, gemm: &Gemm, mapping: &Mapping, counts: &ArrayCounts) {
        let costs = self.costs;
        let (a, b) = (costs.bits(gemm.a.tensor), costs.bits(gemm.b.tensor));
        let sum = costs.accumulator_bits(&gemm.accumulator);
        self.multiply(Component::Multiplier, a, b, counts.macs);
        self.add(Component::Adder, sum, counts.macs);
        if costs.arithmetic == Arithmetic::Fixed && gemm.accumulator.frac().is_some() {
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
        let clock = Event::RegisterClock { bits: a + b + sum + shadow };
        self.event(Component::Registers, clock, counts.pe_cycles);
        for (bits, writes) in [
            (a, counts.a_register_writes),
            (b, counts.b_register_writes),
            (sum, counts.accumulator_writes + counts.drain_writes),
            (stationary, counts.shadow_writes),
        ] {
            self.event(Component::Registers, Event::RegisterWrite { bits }, writes);
        }
    }

    /// The operands as the dataflow takes them.
    fn streams(&self, gemm: &Gemm, mapping: &Mapping) -> [Stream; 2] {
        let costs = self.costs;
        let [row_folds, col_folds] =
            [Axis::Rows, Axis::Cols].map(|axis| mapping.pieces(axis).count() as u64);
        let extents = mapping.extents();
        let [rows, cols, time] =
            [extents.rows, extents.cols, extents.time].map(|extent| extent as u64);
        let [grid_rows, grid_cols] = [mapping.rows as u64, mapping.cols as u64];
        let output_stays = mapping.output_stays();
        let stream = |operand: OperandRef, is_a: bool| {
            let buffer = if is_a { Buffer::A } else { Buffer::B };
            let bits = costs.bits(operand.tensor);
            let right = is_a == (mapping.stationary != Stationary::Input);
            // What moves right has its lines on the rows, the other operand on the columns.
            let (row, lines, depth, piece, reads) = match (right, output_stays) {
                (true, _) => (grid_rows, rows, time, time, col_folds),
                (false, true) => (grid_cols, cols, time, time, row_folds),
                (false, false) => (grid_cols, cols, rows, grid_rows, 1),
            };
            // Consecutive folds of stationary outputs use the same tile of what moves right;
            // everything else that is used again comes around as a whole.
            let kept = if right && output_stays { row * depth } else { lines * depth };
            let stays = costs.fits_half(buffer, kept, bits);
            // The lines' axis is k, except of an operand that meets k in time or in depth.
            let lines_are_k = right && !output_stays;
            let stored_along_k = operand.transposed != is_a;
            let along_layout = lines_are_k == stored_along_k;
            let tensor = operand.tensor;
            Stream { tensor, buffer, bits, row, lines, depth, piece, along_layout, reads, stays }
        };
        [stream(gemm.a, true), stream(gemm.b, false)]
    }

    /// An operand from DRAM to its scratchpad to the grid's edge, tile by tile.
    fn stream(&mut self, stream: &Stream) {
        let fetches = if stream.stays { 1 } else { stream.reads };
        let row_bits = stream.row * u64::from(stream.bits);
        for (lines, across) in classes(stream.lines, stream.row) {
            for (depth, along) in classes(stream.depth, stream.piece) {
                let tiles = across * along;
                let accesses = match stream.along_layout {
                    true => depth,
                    false => lines * depth.div_ceil(stream.row),
                };
                let bytes = self.costs.transfer_bytes(lines * depth, stream.bits);
                self.dram(stream.tensor, false, bytes * tiles * fetches);
                self.rows(stream.buffer, true, row_bits, accesses * tiles * fetches);
                self.rows(stream.buffer, false, row_bits, accesses * tiles * stream.reads);
                if !stream.along_layout {
                    // Written into the transposer and read from it.
                    let write = Event::RegisterWrite { bits: stream.bits };
                    let elements = lines * depth * tiles * stream.reads;
                    self.event(Component::Registers, write, 2 * elements);
                }
            }
        }
    }

    /// Where sums move: partial sums to the scratchpad and back, C of them in a row.
    fn partial_sums(&mut self, gemm: &Gemm, mapping: &Mapping) {
        if mapping.output_stays() {
            return;
        }
        let [row_pieces, col_pieces] =
            [Axis::Rows, Axis::Cols].map(|axis| mapping.pieces(axis).count() as u64);
        let rows = mapping.extents().time as u64 * col_pieces * row_pieces.saturating_sub(1);
        let bits = u64::from(self.costs.accumulator_bits(&gemm.accumulator));
        let row_bits = mapping.cols as u64 * bits;
        self.rows(Buffer::C, true, row_bits, rows);
        self.rows(Buffer::C, false, row_bits, rows);
    }

    /// Bias, ReLU or mask, and conversion, per result.
    fn edge(&mut self, gemm: &Gemm, mapping: &Mapping) {
        let costs = self.costs;
        let shape = mapping.shape;
        let results = shape.m as u64 * shape.n as u64;
        let sum = costs.accumulator_bits(&gemm.accumulator);
        let c_row = costs.array().cols as u64;
        if let Some(bias) = gemm.bias {
            let bits = costs.bits(bias);
            self.add(Component::Edge, sum, results);
            let fetched = costs.transfer_bytes(shape.n as u64, bits);
            self.dram(bias, false, fetched);
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
        match gemm.edge {
            Edge::Pass => {}
            Edge::Relu => {
                self.event(Component::Edge, Event::Relu { bits: sum }, results);
                self.mask(gemm.output, true, shape);
            }
            Edge::Mask(activation) => {
                self.event(Component::Edge, Event::Relu { bits: sum }, results);
                self.mask(activation, false, shape);
            }
        }
        if gemm.scale == BatchScale::Mean {
            self.multiply(Component::Edge, sum, 16, results);
        }
    }

    /// The ReLU's mask of a tensor of results, one bit each, kept for the backward pass.
    fn mask(&mut self, activation: TensorId, write: bool, shape: GemmShape) {
        let row = self.costs.array().cols as u64;
        let results = shape.m as u64 * shape.n as u64;
        let rows = shape.m as u64 * (shape.n as u64).div_ceil(row);
        self.dram(activation, write, self.costs.transfer_bytes(results, 1));
        // On its way out or in, a mask passes the scratchpad.
        self.rows(Buffer::C, true, row, rows);
        self.rows(Buffer::C, false, row, rows);
    }

    /// Results from the array's edge to the scratchpad to DRAM; where the scale needs the whole
    /// tensor first, through the vector unit at full width.
    fn results(&mut self, gemm: &Gemm, mapping: &Mapping, second_pass: bool) -> Result<(), Error> {
        let costs = self.costs;
        let shape = mapping.shape;
        let results = shape.m as u64 * shape.n as u64;
        let sum = costs.accumulator_bits(&gemm.accumulator);
        let output_bits = costs.bits(gemm.output);
        let row = costs.array().cols as u64;
        let rows = shape.m as u64 * (shape.n as u64).div_ceil(row);
        let component = if second_pass { Component::Vector } else { Component::Edge };
        let moves = self.moves(&[gemm.a.tensor, gemm.b.tensor]);
        self.requantize(component, gemm.output, sum, moves, results);
        if second_pass {
            self.full_width(gemm.output, results, rows, row, sum)?;
        }
        let row_bits = row * u64::from(output_bits);
        self.rows(Buffer::C, true, row_bits, rows);
        self.rows(Buffer::C, false, row_bits, rows);
        // Results that leave side by side along m pass a transposer.
        let (height, width) = match mapping.stationary {
            Stationary::Output => (mapping.rows, mapping.cols),
            Stationary::Weight => (shape.m, mapping.cols),
            Stationary::Input => (mapping.cols, shape.n),
        };
        if mapping.stationary == Stationary::Input {
            self.event(Component::Registers, Event::RegisterWrite { bits: sum }, 2 * results);
        }
        for (height, across) in classes(shape.m as u64, height as u64) {
            for (width, along) in classes(shape.n as u64, width as u64) {
                let bytes = costs.transfer_bytes(height * width, output_bits);
                self.dram(gemm.output, true, bytes * across * along);
            }
        }
        Ok(())
    }

    /// A tensor written and read again at `bits` bits, in DRAM where it does not fit half the
    /// scratchpad, and one more pass of the vector unit.
    fn full_width(
        &mut self,
        tensor: TensorId,
        elements: u64,
        rows: u64,
        row: u64,
        bits: u32,
    ) -> Result<(), Error> {
        let row_bits = row * u64::from(bits);
        self.rows(Buffer::C, true, row_bits, rows);
        self.rows(Buffer::C, false, row_bits, rows);
        if !self.costs.fits_half(Buffer::C, elements, bits) {
            let bytes = self.costs.transfer_bytes(elements, bits);
            self.dram(tensor, true, bytes);
            self.dram(tensor, false, bytes);
            self.rows(Buffer::C, true, row_bits, rows);
            self.rows(Buffer::C, false, row_bits, rows);
        }
        self.passes(1, elements)
    }

    fn passes(&mut self, passes: u64, elements: u64) -> Result<(), Error> {
        let lanes = self.costs.array().vector_lanes();
        let vector: Cycles = timing::vector(passes, elements, lanes).map_err(too_large)?;
        self.cost.cycles.vector += vector;
        Ok(())
    }

    /// A tensor of the vector unit from DRAM through the scratchpad, or back.
    fn vector_tensor(&mut self, tensor: TensorId, write: bool, elements: u64) {
        let costs = self.costs;
        let bits = costs.bits(tensor);
        self.dram(tensor, write, costs.transfer_bytes(elements, bits));
        let row = costs.array().cols as u64;
        let row_bits = row * u64::from(bits);
        self.rows(Buffer::C, true, row_bits, elements.div_ceil(row));
        self.rows(Buffer::C, false, row_bits, elements.div_ceil(row));
    }

    fn vector(
        &mut self,
        operation: &Operation,
        rows: u64,
        cols: u64,
        second_pass: bool,
    ) -> Result<(), Error> {
        let elements = rows * cols;
        let output = operation.output();
        // Width of the value that is converted into the output, and how many there are.
        let (width, outputs) = match operation {
            Operation::Gemm(_) => unreachable!("the array runs GEMMs"),
            Operation::SumRows { accumulator, scale, .. } => {
                let bits = self.costs.accumulator_bits(accumulator);
                self.passes(1, elements)?;
                self.add(Component::Vector, bits, elements);
                if *scale == BatchScale::Mean {
                    self.multiply(Component::Vector, bits, 16, cols);
                }
                (bits, cols)
            }
            Operation::SoftmaxCrossEntropy { logits, .. } => {
                self.passes(SOFTMAX_PASSES, elements)?;
                self.softmax(*logits, rows, cols);
                (2 * TABLE_BITS, elements)
            }
            Operation::SquaredError { outputs, targets, .. } => {
                let bits = self.costs.bits(*outputs).max(self.costs.bits(*targets)) + 1;
                self.passes(1, elements)?;
                self.add(Component::Vector, bits, elements);
                self.multiply(Component::Vector, bits, bits, elements);
                (bits, elements)
            }
            Operation::Update { weights, gradient, rate_bits } => {
                let bits = self.costs.bits(*gradient);
                self.passes(1, elements)?;
                self.multiply(Component::Vector, *rate_bits, bits, elements);
                self.add(Component::Vector, self.costs.bits(*weights), elements);
                (rate_bits + bits, elements)
            }
            Operation::Convert { from, .. } => {
                if self.costs.arithmetic == Arithmetic::Float32 {
                    return Ok(()); // float hardware has one copy of the weights
                }
                self.passes(1, elements)?;
                (self.costs.bits(*from), elements)
            }
        };
        // Weights are converted from the master on its way out of the update.
        if !matches!(operation, Operation::Convert { .. }) {
            for input in operation.inputs() {
                self.vector_tensor(input, false, elements);
            }
        }
        let moves = self.moves(&operation.inputs());
        self.requantize(Component::Vector, output, width, moves, outputs);
        if second_pass {
            let row = self.costs.array().cols as u64;
            self.full_width(output, outputs, outputs.div_ceil(row), row, width)?;
        }
        self.vector_tensor(output, true, outputs);
        Ok(())
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

/// The sizes of the tiles that cut `extent` into pieces of `side`, with how many there are of each.
fn classes(extent: u64, side: u64) -> impl Iterator<Item = (u64, u64)> {
    let pieces = [(side, extent / side), (extent % side, 1)];
    pieces.into_iter().filter(|&(size, count)| size > 0 && count > 0)
}

fn too_large(error: systoliq_array::Error) -> Error {
    Error::at("accelerator.array", error)
}
