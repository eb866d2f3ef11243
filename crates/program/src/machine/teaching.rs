//! Weights and biases from elsewhere: those of a model in floating point.

use ndarray::Axis;
use systoliq_nn::Parameters;

use super::{Machine, Step};
use crate::command::{Operation, Program, TensorId};
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

    /// Converts `parameters` into masters and biases, each exactly and under the rules of its
    /// role, and the masters into weights. Random words have the ids `layer/teaching/role` of
    /// `step`. Scales of weights remember nothing of it.
    ///
    /// # Panics
    ///
    /// If `parameters` are of another network, or one is not finite.
    pub fn set_parameters(&mut self, parameters: &Parameters<f64>, step: &Step) {
        let key = |layer: usize, role: Role| step.key(&format!("{layer}/teaching/{role}"));
        for (id, decl) in self.program.tensors.iter().enumerate() {
            let layer = || &parameters.layers[decl.layer];
            let values = match decl.role {
                Role::Master => layer().weights.clone(),
                Role::Bias => {
                    let bias = layer().bias.clone().expect("a bias where the program has one");
                    bias.insert_axis(Axis(0))
                }
                _ => continue,
            };
            self.write_reals(TensorId(id), &values, key(decl.layer, decl.role), false);
        }
        for command in &self.program.commands {
            if let Operation::Convert { from, to } = command.operation {
                self.convert(from, to, key(command.layer, Role::Weights), false);
            }
        }
    }
}
