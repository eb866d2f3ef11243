//! What the sums of columns take.

use super::*;

impl Bill<'_, '_, '_> {
    /// Column sums, in chunks or blocks of rows where there are any.
    pub(super) fn sum_rows(
        &mut self,
        input: TensorId,
        accumulator: &Accumulator,
        rows: u64,
        cols: u64,
    ) {
        let block = self.costs.block(input);
        let (bits, run) = match self.costs.arithmetic {
            Arithmetic::Float(_) | Arithmetic::Mixed(_) => {
                (self.costs.result_bits(accumulator), None)
            }
            Arithmetic::Fixed => {
                (accumulator.widths(rows as usize).sum, block.or(accumulator.chunk))
            }
        };
        self.add(Component::Adder, bits, rows * cols);
        let Some(run) = run else { return };
        let runs = cols * rows.div_ceil(run.get().into());
        self.add(Component::Adder, bits, runs);
        if block.is_some() {
            self.align_blocks(accumulator, bits, runs);
        }
    }
}
