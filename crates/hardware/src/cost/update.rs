//! What an update takes for each of the tensors that it writes.

use systoliq_program::command::BatchGradient;
use systoliq_program::operation::{Update, UpdateOutput};

use super::*;

impl Bill<'_, '_, '_> {
    /// What an update does for one of the tensors that it writes; the width of what is converted.
    pub(super) fn update(&mut self, update: &Update, output: TensorId, elements: u64) -> u32 {
        let own = self.costs.bits(update.written);
        match update.output(output) {
            UpdateOutput::Momentum => {
                let bits = self.costs.bits(output);
                let width = FACTOR_BITS + bits;
                self.multiply(Component::Update, FACTOR_BITS, bits, elements);
                self.add(Component::Update, width, elements);
                if self.costs.program.learning.batch_gradient == BatchGradient::Sum {
                    let bits = self.costs.bits(update.gradient);
                    self.multiply(Component::Update, FACTOR_BITS, bits, elements);
                }
                if update.decay {
                    self.multiply(Component::Update, FACTOR_BITS, own, elements);
                    self.add(Component::Update, width, elements);
                }
                width
            }
            UpdateOutput::Written => {
                let bits = self.costs.bits(update.multiplied());
                self.multiply(Component::Update, update.rate_bits, bits, elements);
                self.add(Component::Update, own, elements);
                if update.decays_as_written() {
                    self.multiply(Component::Update, update.rate_bits, own, elements);
                    self.add(Component::Update, own, elements);
                }
                if let Some(residual) = update.residual.filter(|_| !self.costs.is_float()) {
                    let bits = own + self.costs.bits(residual);
                    self.add(Component::Update, bits, elements);
                }
                update.rate_bits + bits
            }
            UpdateOutput::Residual => {
                let bits = own + self.costs.bits(output);
                self.add(Component::Update, bits, elements);
                bits
            }
            UpdateOutput::Working => own,
        }
    }
}
