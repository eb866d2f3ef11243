//! Weights and biases from elsewhere: those of a model in floating point.

use ndarray::Axis;
use systoliq_nn::Parameters;

use super::{Machine, Step};
use crate::command::{Program, TensorId};
use crate::plan::Role;

impl<'p> Machine<'p> {
    /// A machine with given parameters, whose scales remember nothing.
    ///
    /// # Panics
    ///
    /// As [`set_parameters`](Self::set_parameters).
    pub fn with_parameters(
        program: &'p Program,
        parameters: &Parameters<f64>,
        step: &Step,
    ) -> Self {
        let mut machine = Self::blank(program);
        machine.set_parameters(parameters, step);
        machine
    }

    /// Converts `parameters` into weights and biases, each exactly and under the rules of its role,
    /// as initial weights are. Random words have the ids `layer/teaching/role` of `step`. Scales of
    /// weights remember nothing of it; momenta stay what they are.
    ///
    /// # Panics
    ///
    /// If `parameters` are of another network, or one is not finite.
    pub fn set_parameters(&mut self, parameters: &Parameters<f64>, step: &Step) {
        let key = |layer: usize, role: Role| step.key(&format!("{layer}/teaching/{role}"));
        let weights: Vec<_> = parameters.layers.iter().map(|layer| &layer.weights).collect();
        self.enter(&weights, key);
        for (id, decl) in self.program.tensors.iter().enumerate() {
            if decl.role == Role::Bias {
                let bias = parameters.layers[decl.layer].bias.clone();
                let bias = bias.expect("a bias where the program has one").insert_axis(Axis(0));
                self.write_reals(TensorId(id), &bias, key(decl.layer, decl.role), false);
            }
        }
    }
}
