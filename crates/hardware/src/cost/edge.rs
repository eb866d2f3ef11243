//! What the way out of results takes between their sums and their conversion: bias, edges, factor.

use super::*;

/// A mask that comes or goes, a bit an element.
fn bit_mask(tensor: TensorId, write: bool) -> Mask {
    Mask { of: Outgoing { tensor, stored: Stored::Mask, bits: 1 }, write }
}

/// The masks that come or go with results that pass edges on their way into `output`.
pub(super) fn masks(edges: &[Edge], output: TensorId) -> impl Iterator<Item = Mask> {
    edges.iter().filter_map(move |edge| match edge {
        Edge::Relu => Some(bit_mask(output, true)),
        Edge::Positive(activation) | Edge::Between { of: activation, .. } => {
            Some(bit_mask(*activation, false))
        }
        Edge::Clip { .. } | Edge::Curve(_) | Edge::Slope { .. } => None,
    })
}

impl Bill<'_, '_, '_> {
    /// What comes or goes beside the results of a product: a mask, or what left a curve, for its slope.
    pub(super) fn beside(&self, gemm: &Product) -> Option<Mask> {
        let slope = |edge: &Edge| match edge {
            Edge::Slope { of, .. } => {
                let (tensor, bits) = (*of, self.costs.bits(*of));
                let of = Outgoing { tensor, stored: Stored::Elements, bits };
                Some(Mask { of, write: false })
            }
            Edge::Relu
            | Edge::Clip { .. }
            | Edge::Curve(_)
            | Edge::Positive(_)
            | Edge::Between { .. } => None,
        };
        let Finish { edges, output, .. } = &gemm.finish;
        masks(edges, *output).next().or_else(|| edges.iter().find_map(slope))
    }

    /// Bias, edges and factor of every result of a product.
    pub(super) fn finish(&mut self, gemm: &Product, mapping: &Mapping) {
        let costs = self.costs;
        let shape = mapping.shape;
        let results = shape.m as u64 * shape.n as u64;
        let sum = costs.result_bits(&gemm.accumulator);
        let c_row = costs.array().cols as u64;
        if let Some(bias) = gemm.finish.bias {
            let bits = costs.bits(bias);
            let widths = costs.sum_widths(gemm, shape.k);
            self.add(Component::Adder, widths.sum, results);
            let row_bits = c_row * u64::from(bits);
            let rows = (shape.n as u64).div_ceil(c_row);
            self.fill(Buffer::C, (bias, Stored::Elements), row_bits, (rows, rows));
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
        let rows = shape.m as u64 * (shape.n as u64).div_ceil(c_row);
        if let Some(Mask { of, .. }) = self.beside(gemm).filter(|mask| mask.of.bits > 1) {
            let row_bits = c_row * u64::from(of.bits);
            self.fill(Buffer::C, (of.tensor, of.stored), row_bits, (rows, rows));
            self.rows(Buffer::C, false, row_bits, rows);
        }
        self.edges(&gemm.finish.edges, gemm.finish.output, sum, (results, rows));
        self.factor(gemm.finish.factor, sum, results);
    }

    /// Edges that results of `bits` bits pass, and so many rows of their masks, one bit a result, through
    /// the scratchpad.
    pub(super) fn edges(
        &mut self,
        edges: &[Edge],
        output: TensorId,
        bits: u32,
        (results, rows): (u64, u64),
    ) {
        let c_row = self.costs.array().cols as u64;
        for edge in edges {
            match edge {
                Edge::Curve(_) => self.curve(results),
                Edge::Slope { of, .. } => self.slope(*of, bits, results),
                // A function and its mask are a comparison each; what is clipped is masked with what is
                // not positive.
                Edge::Relu | Edge::Clip { .. } | Edge::Positive(_) | Edge::Between { .. } => {
                    self.event(Component::Activation, Event::Relu { bits }, results);
                }
            }
            match edge {
                Edge::Relu => {
                    self.rows(Buffer::C, true, c_row, rows);
                    self.drain((output, Stored::Mask), c_row, rows);
                }
                Edge::Clip { .. } | Edge::Curve(_) | Edge::Slope { .. } => {}
                Edge::Positive(activation) | Edge::Between { of: activation, .. } => {
                    self.fill(Buffer::C, (*activation, Stored::Mask), c_row, (rows, rows));
                    self.rows(Buffer::C, false, c_row, rows);
                }
            }
        }
    }

    /// Two entries of a table, and the low bits of what enters times their difference.
    fn curve(&mut self, count: u64) {
        let (unit, bits) = (Component::Activation, ActivationCurve::ENTRY_BITS);
        self.event(unit, Event::TableRead { bits }, 2 * count);
        self.add(unit, bits, 2 * count);
        self.multiply(unit, bits, ActivationCurve::LOW_BITS, count);
    }

    /// A difference from 1 and a product make the slope, another product takes results of `bits` bits there.
    fn slope(&mut self, of: TensorId, bits: u32, count: u64) {
        let (unit, code) = (Component::Activation, self.costs.bits(of));
        self.add(unit, code, count);
        self.multiply(unit, code, code, count);
        self.multiply(unit, bits, 2 * code, count);
    }

    /// The bias on its way to the edge.
    pub(super) fn bias(&self, gemm: &Product, shape: GemmShape) -> Option<Transfer> {
        gemm.finish.bias.map(|bias| {
            let bits = self.costs.bits(bias);
            let of = Outgoing { tensor: bias, stored: Stored::Elements, bits };
            self.costs.transfer(of, false, shape.n as u64)
        })
    }

    /// The factor of conversions from `bits` bits.
    pub(super) fn factor(&mut self, factor: Factor, bits: u32, count: u64) {
        match factor {
            Factor::One => {}
            Factor::Mean => self.multiply(Component::Requantizer, bits, FACTOR_BITS, count),
        }
    }
}
