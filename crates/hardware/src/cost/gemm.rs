//! What a matrix product takes: the grid, its operands' way to it, and the results' way out.

use super::edge::masks;
use super::*;
use systoliq_program::im2col::Im2col;
use systoliq_program::view::Cut;

/// What the scratchpads see of an operand of a GEMM.
struct OperandRows {
    operand: TiledOperand,
    /// Elements of a scratchpad row: as many as enter the grid in one cycle.
    row: u64,
    /// Whether the elements that enter in one cycle are neighbours in what is read of the tensor.
    along_layout: bool,
}

impl Bill<'_, '_, '_> {
    /// A matrix product in a dataflow, or several of equal cuts, of which each takes what one does.
    pub(super) fn gemm(
        &mut self,
        gemm: &Product,
        shape: GemmShape,
        flow: Stationary,
        second_pass: bool,
    ) -> Result<(), Error> {
        let costs = self.costs;
        let GemmShape { m, k, n } = shape;
        let repeats = gemm.repeats.count.get() as u64;
        let [wide_m, wide_k, wide_n] = [m, k, n].map(|extent| extent as u128);
        let matrix = (wide_m * wide_k).max(wide_k * wide_n).max(wide_m * wide_n);
        let macs = matrix.saturating_mul(wide_m.min(wide_k).min(wide_n) * u128::from(repeats));
        if matrix > ELEMENTS_MAX || macs > MACS_MAX {
            let problem = format!(
                "m = {m}, k = {k}, n = {n}: expected matrices of at most 2^40 elements and at most \
                 2^48 multiply-accumulates"
            );
            return Err(Error::at("GEMM", problem));
        }
        let sum_bits = costs.sum_widths(gemm, k).total();
        let mapping = costs.mapping_as(gemm, shape, flow);
        let counts = ArrayCounts::of(&mapping).map_err(too_large)?;
        self.cost.cycles = counts.cycles;
        self.cost.counts = counts;
        self.cost.dataflow = Some(mapping.stationary);
        self.processing_elements(gemm, &mapping, &counts);
        let operands = self.operands(gemm, &mapping).map_err(|TooLong| too_long())?;
        operands.iter().for_each(|operand| self.operand_rows(operand, &mapping));
        self.partial_sums(&mapping, &counts, sum_bits);
        self.finish(gemm, &mapping);
        let results = self.results(gemm, &mapping, second_pass);
        let traffic = Traffic {
            mapping,
            operands: [operands[0].operand, operands[1].operand],
            bias: self.bias(gemm, shape),
            // Which activations are positive is known when they are converted.
            mask: self.beside(gemm).filter(|mask| !(mask.write && second_pass)),
            results,
            sum_bits,
            half_c_bits: costs.accelerator.half_bits(Buffer::C),
            burst_bytes: costs.accelerator.dram.burst_bytes,
            exponents: &|tensor, stored| costs.exponents(tensor, stored),
        };
        self.refuse_too_small(&traffic)?;
        self.walk(|walk| traffic.walk(walk))?;
        operands.iter().for_each(|operand| self.pixel_rows(operand));
        // They follow one another, with nothing in between.
        let once = self.cost.clone();
        if self.see.is_some() {
            (1..repeats).try_for_each(|_| self.walk(|walk| traffic.walk(walk)))?;
        }
        self.cost = once.checked_mul(repeats).ok_or_else(too_long)?;
        if second_pass {
            let results = self.all_results(gemm, shape);
            let bits = costs.result_bits(&gemm.accumulator);
            let written = masks(&gemm.finish.edges, gemm.finish.output)
                .find(|mask| mask.write)
                .map(|mask| mask.of);
            self.second_pass(gemm.finish.output, results, bits, written)?;
        }
        Ok(())
    }

    /// Refuses a GEMM of which not even one step fits a scratchpad. Memory that nothing waits for
    /// brings everything in time, and float32 hardware is taken to have the room it needs.
    fn refuse_too_small(&self, traffic: &Traffic) -> Result<(), Error> {
        let costs = self.costs;
        if costs.arithmetic != Arithmetic::Fixed || costs.accelerator.dram.is_ideal() {
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
    fn processing_elements(&mut self, gemm: &Product, mapping: &Mapping, counts: &ArrayCounts) {
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
                self.align_blocks(&gemm.accumulator, widths.chunk, runs);
            }
        }
        let aligns = block.is_none() && gemm.accumulator.aligns();
        if costs.arithmetic == Arithmetic::Fixed && aligns {
            // Products are rounded before each addition; dropping bits is free.
            if gemm.accumulator.rounding != Rounding::Floor {
                self.event(Component::Adder, Event::Add { bits: a + b }, counts.macs);
            }
            if gemm.accumulator.rounding == Rounding::Stochastic {
                self.event(Component::Random, Event::RandomWord, counts.macs);
            }
        }
        let stationary = match mapping.stationary {
            Stationary::Output => sum,
            Stationary::Weight => b,
            Stationary::Input => a,
        };
        let shadow = if mapping.has_shadow() { stationary } else { 0 };
        let clock = Event::RegisterClock {
            bits_a: a,
            bits_b: b,
            bits_sum: widths.total(),
            bits_shadow: shadow,
        };
        self.event(Component::Registers, clock, counts.pe_cycles);
        let bits = clock.bits();
        self.event(Component::ClockTree, Event::ClockTree { bits }, counts.pe_cycles);
        for (bits, writes) in [
            (a, counts.a_register_writes),
            (b, counts.b_register_writes),
            (sum, sum_writes + counts.drain_writes),
            (stationary, counts.shadow_writes),
        ] {
            self.event(Component::Registers, Event::RegisterWrite { bits }, writes);
        }
        // What comes into a register from the PE beside it, or from the edge, came over a wire.
        let sums_move = if mapping.output_stays() { 0 } else { counts.accumulator_writes };
        for (bits, hops) in [
            (a, counts.a_register_writes),
            (b, counts.b_register_writes),
            (widths.total(), sums_move),
            (sum, counts.drain_writes),
        ] {
            self.event(Component::Wires, Event::Hop { bits }, hops);
        }
    }

    /// Sums of blocks of `bits` bits, shifted by the sum of two exponents and rounded.
    pub(super) fn align_blocks(&mut self, accumulator: &Accumulator, bits: u32, count: u64) {
        let stochastic = accumulator.rounding == Rounding::Stochastic;
        self.add(Component::Adder, EXPONENT_BITS, count);
        let align = Event::Requantize { bits, stochastic, barrel: true };
        self.event(Component::Requantizer, align, count);
        if stochastic {
            self.event(Component::Random, Event::RandomWord, count);
        }
    }

    /// The operands as the dataflow takes them.
    fn operands(&self, gemm: &Product, mapping: &Mapping) -> Result<[OperandRows; 2], TooLong> {
        let costs = self.costs;
        let output_stays = mapping.output_stays();
        let images = Im2col::of(mapping.shape, gemm.readings());
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
            let GemmShape { m, k, n } = mapping.shape;
            let ((rows, cols), cut) = match is_a {
                true => (operand.reading.stored(m, k), gemm.repeats.a),
                false => (operand.reading.stored(k, n), gemm.repeats.b),
            };
            let parts = if cut == Cut::Whole { 1 } else { gemm.repeats.count.get() as u64 };
            let elements = rows as u64 * cols as u64 * parts;
            // The positions of an image lie along m in A, and along k in B.
            let view = images[usize::from(!is_a)].map(|im2col| {
                let k = match mapping.stationary {
                    Stationary::Output => Axis::Time,
                    Stationary::Weight | Stationary::Input => Axis::Rows,
                };
                let along_k = |axis: &Axis| (*axis == k) == (operand.reading.transposed == is_a);
                let positions = axes.into_iter().find(along_k).expect("k and another axis");
                ImageView { im2col, positions }
            });
            let along_layout = is_along(mapping.stationary, operand, is_a);
            let second_copy = !along_layout && costs.accelerator.layout == Layout::TwoCopies;
            let matrix = IncomingMatrix {
                tensor,
                stored: if second_copy { Stored::Copy } else { Stored::Elements },
                buffer,
                bits: costs.bits(tensor),
                axes,
                resident: self.is_resident(tensor, elements),
                half_bits: costs.accelerator.half_bits(buffer),
                view,
            };
            Ok(OperandRows {
                operand: TiledOperand::new(matrix, mapping)?,
                row: row as u64,
                along_layout: along_layout || second_copy,
            })
        };
        Ok([rows(gemm.a, true)?, rows(gemm.b, false)?])
    }

    /// An operand from DRAM into its scratchpad, and from there to the grid's edge, tile by tile.
    fn operand_rows(&mut self, rows: &OperandRows, mapping: &Mapping) {
        let OperandRows { operand, row, along_layout } = rows;
        let IncomingMatrix { tensor, stored, buffer, bits, axes, view, .. } = operand.matrix;
        let row_bits = row * u64::from(bits);
        let (taken, fetched) = operand.turns(mapping);
        let [lines, depths] = axes.map(|axis| sizes(mapping.pieces(axis)));
        for (lines, across) in lines {
            for &(depth, along_depth) in &depths {
                let tiles = across * along_depth;
                let accesses = if *along_layout { depth } else { lines * depth.div_ceil(*row) };
                if view.is_none() {
                    let first = accesses * tiles * fetched.min(1);
                    let rows = (accesses * tiles * fetched, first);
                    self.fill(buffer, (tensor, stored), row_bits, rows);
                }
                self.rows(buffer, false, row_bits, accesses * tiles * taken);
                if !along_layout {
                    let through = Event::Transpose { bits };
                    self.event(Component::Registers, through, lines * depth * tiles * taken);
                }
            }
        }
    }

    /// The pixels of a view, packed into rows of its scratchpad as they were fetched.
    fn pixel_rows(&mut self, rows: &OperandRows) {
        let IncomingMatrix { tensor, stored, buffer, bits, view, .. } = rows.operand.matrix;
        if view.is_some() {
            let [moved, stayed] = [&self.cost.moved, &self.cost.stayed].map(|all| -> u64 {
                let read = all.iter().filter(|moved| moved.tensor == tensor && !moved.write);
                read.map(|moved| moved.elements).sum()
            });
            // What is kept and moves nevertheless moves for the first time.
            let [count, first] = [moved + stayed, moved].map(|pixels| pixels.div_ceil(rows.row));
            self.fill(buffer, (tensor, stored), rows.row * u64::from(bits), (count, first));
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

    /// Elements of the output, which all products write together.
    fn all_results(&self, gemm: &Product, shape: GemmShape) -> u64 {
        shape.m as u64 * shape.n as u64 * gemm.repeats.count.get() as u64
    }

    /// Results from the array's edge to the scratchpad; returns what of them goes to DRAM as the
    /// folds give them. Where the scale needs the whole tensor first, that is nothing, or all of it
    /// at full width if it does not fit.
    fn results(&mut self, gemm: &Product, mapping: &Mapping, second_pass: bool) -> Vec<Outgoing> {
        let costs = self.costs;
        let shape = mapping.shape;
        let results = shape.m as u64 * shape.n as u64;
        let all = self.all_results(gemm, shape);
        let sum = costs.result_bits(&gemm.accumulator);
        let moves = self.moves(&[gemm.a.tensor, gemm.b.tensor]);
        self.requantize(gemm.finish.output, sum, moves, results);
        // Results that leave side by side along m pass a transposer.
        if mapping.stationary == Stationary::Input {
            self.event(Component::Registers, Event::Transpose { bits: sum }, results);
        }
        let row = costs.array().cols as u64;
        let rows = shape.m as u64 * (shape.n as u64).div_ceil(row);
        let waits = second_pass || costs.block(gemm.finish.output).is_some();
        self.output_rows(gemm.finish.output, rows, waits.then_some((all, sum)));
        match second_pass {
            // An update takes them from C.
            false if costs.is_fused(gemm.finish.output) => Vec::new(),
            false => self.copies(gemm.finish.output, all),
            true if costs.fits_half(Buffer::C, all, sum) => Vec::new(),
            true => vec![Outgoing { tensor: gemm.finish.output, stored: Stored::Sums, bits: sum }],
        }
    }
}

/// The sizes of some pieces, with how many there are of each.
pub(super) fn sizes(pieces: Pieces) -> Vec<(u64, u64)> {
    let Pieces { side, full, rest } = pieces;
    let sizes = [(side as u64, full as u64), (rest as u64, 1)];
    sizes.into_iter().filter(|&(size, count)| size > 0 && count > 0).collect()
}
