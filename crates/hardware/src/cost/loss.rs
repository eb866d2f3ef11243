//! What the loss and its gradient take.

use systoliq_fxp::Interpolation;
use systoliq_program::operation::BatchLoss;

use super::*;

/// Passes of the vector unit over its elements.
const SOFTMAX_PASSES: u64 = 4;

impl Bill<'_, '_, '_> {
    /// The loss and its gradient: passes, width of a gradient, and how many there are.
    pub(super) fn loss(&mut self, loss: &BatchLoss, rows: u64, cols: u64) -> (u64, u32, u64) {
        let elements = rows * cols;
        let Some(targets) = loss.targets else {
            self.softmax(loss.outputs, rows, cols);
            let softmax = &self.costs.program.softmax;
            // P − [i = c] as a code, times 1/ln 2 at the tables' width.
            let width = softmax.probability_frac + 2 + softmax.table_bits();
            return (SOFTMAX_PASSES, width, elements);
        };
        let bits = self.costs.bits(loss.outputs).max(self.costs.bits(targets)) + 1;
        self.add(Component::Loss, bits, elements);
        self.multiply(Component::Loss, bits, bits, elements);
        (1, bits, elements)
    }

    /// The four passes of softmax: maximum; power and sum; quotient; difference and 1/ln 2. The
    /// quotient is a restoring division, one integer subtraction per bit, of mantissas on float
    /// hardware.
    fn softmax(&mut self, logits: TensorId, rows: u64, cols: u64) {
        let elements = rows * cols;
        let bits = self.costs.bits(logits);
        let softmax = self.costs.program.softmax;
        let (table, probability) = (softmax.table_bits(), softmax.probability_frac + 2);
        let low_bits = |of: u32| match softmax.interpolation {
            Interpolation::Linear => of - softmax.index_bits(),
            Interpolation::None => 0,
        };
        let unit = Component::Loss;
        self.event(unit, Event::Maximum { bits }, elements);
        // (max − z) · log₂e; a table entry, or two and the low bits of their difference; sum.
        self.add(unit, bits, elements);
        self.multiply(unit, bits, table, elements);
        self.table(table, low_bits(softmax.exponent_frac), elements);
        self.add(unit, table, elements);
        let subtract = Event::Add { bits: table };
        self.event(unit, subtract, u64::from(probability) * elements);
        // P − [i = c], times 1/ln 2.
        self.add(unit, probability, elements);
        self.multiply(unit, probability, table, elements);
        // log₂ S and t, once a sample.
        self.table(table, low_bits(softmax.table_frac), rows);
        self.add(unit, table, rows);
    }

    /// What is read between table entries: two of them and so many low bits, or one.
    fn table(&mut self, bits: u32, low_bits: u32, count: u64) {
        let unit = Component::Loss;
        if low_bits == 0 {
            return self.event(unit, Event::TableRead { bits }, count);
        }
        self.event(unit, Event::TableRead { bits }, 2 * count);
        self.multiply(unit, bits, low_bits, count);
        self.add(unit, bits, 2 * count);
    }
}
