//! The loss of a batch, and its gradient with respect to the outputs.

use systoliq_fxp::squared_error::loss_sum;
use systoliq_fxp::{Multiplier, SquaredError};
use systoliq_nn::LossUnit;

use crate::command::Program;
use crate::engine::{Outcome, Written};
use crate::store::exact::TermSums;
use crate::store::{CommandMemory, Running, Store};
use crate::tensor::TensorId;

/// Softmax cross-entropy against labels, or the squared error against targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLoss {
    /// What the network says: logits of a classifier.
    pub outputs: TensorId,
    /// What a regression should say.
    pub targets: Option<TensorId>,
    /// The gradient.
    pub error: TensorId,
}

impl BatchLoss {
    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let (error, outputs) = (name_of(self.error), name_of(self.outputs));
        match self.targets {
            None => format!("{error} = gradient of softmax cross-entropy of {outputs}"),
            Some(targets) => format!("{error} = {outputs} - {}", name_of(targets)),
        }
    }

    pub(super) fn run(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        match self.targets {
            None => self.softmax(store, running),
            Some(targets) => self.squared_error(targets, store, running),
        }
    }

    fn softmax(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        let learning = &running.program.learning;
        let mut memory = std::mem::take(&mut store.memory);
        let CommandMemory { softmax, results: differences, .. } = &mut memory;
        store.softmax.evaluate(store.read(self.outputs), softmax);
        let frac = match learning.loss_unit {
            LossUnit::Bits => {
                softmax.differences_in_bits(store.labels(), differences);
                softmax.format.gradient_frac()
            }
            LossUnit::Nats => {
                softmax.differences(store.labels(), differences);
                softmax.format.probability_frac as i32
            }
        };
        let loss = softmax.loss_sum(store.labels());
        let frac = frac - learning.loss_scale_log2;
        let occasion = running.occasion(self.error);
        let mut exit = store.exit_into(self.error, (Multiplier::ONE, frac), occasion);
        exit.leave(differences);
        store.memory = memory;
        Outcome { loss: Some(loss), ..store.accept(exit).into() }
    }

    fn squared_error(
        &self,
        targets: TensorId,
        store: &mut Store,
        running: &Running<'_>,
    ) -> Outcome {
        let loss = loss_sum(store.read(self.outputs), store.targets().iter().copied());
        let scale = running.program.learning.loss_scale_log2;
        let written = if running.program.tensor(self.error).plan.block().is_some() {
            let difference = SquaredError::of(store.read(self.outputs), store.read(targets));
            let occasion = running.occasion(self.error);
            let statistics = store.write_blocks(self.error, occasion, |conversion, along, size| {
                difference.blocks(conversion, scale, along, size)
            });
            Written::converted(self.error, statistics, false)
        } else {
            let scaled = Multiplier { exponent: -scale, ..Multiplier::ONE };
            let (added, taken) = ([(scaled, self.outputs)], [(scaled, targets)]);
            let difference = TermSums { added: &added, taken: &taken };
            store.write_exact(self.error, &difference, &[], None, running)
        };
        Outcome { loss: Some(loss), ..written.into() }
    }
}
