//! The numbers of a training step by what they are, whoever computes them.

use ndarray::{Array2, ArrayViewD};

use super::{Golden, Gradients, Real};
use crate::graph::ValueId;

/// What some numbers of a training step are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// The samples.
    Input,
    /// The targets of a regression.
    Targets,
    /// A value that is stored.
    Value(ValueId),
    /// The gradient of such a value, with respect to what entered its edge.
    Gradient(ValueId),
    /// What one of several readers of a value contributes to its gradient, and which of them.
    Contribution(ValueId, usize),
    /// A parameter of an entry: its weights (0) or its bias (1).
    Parameter(usize, usize),
    /// The gradient of a parameter.
    ParameterGradient(usize, usize),
}

impl Quantity {
    /// Whether it is a gradient, which grows with the loss.
    pub fn is_gradient(self) -> bool {
        match self {
            Self::Gradient(_) | Self::Contribution(..) | Self::ParameterGradient(..) => true,
            Self::Input | Self::Targets | Self::Value(_) | Self::Parameter(..) => false,
        }
    }
}

impl<F: Real> Golden<F> {
    /// The numbers of a quantity, with this model's parameters and what it found of a batch; nothing
    /// where there are none, or where nothing is computed, as of targets.
    pub fn numbers<'g>(
        &'g self,
        found: &'g Gradients<F>,
        quantity: Quantity,
    ) -> Option<ArrayViewD<'g, F>> {
        let matrix = |matrix: &'g Array2<F>| matrix.view().into_dyn();
        let number = |entry: usize| self.graph.nodes[entry].name.number();
        match quantity {
            Quantity::Input => found.values.get(ValueId::INPUT).map(matrix),
            Quantity::Targets => None,
            Quantity::Value(value) => found.values.get(value).map(matrix),
            Quantity::Gradient(value) => found.gradients.get(value).map(matrix),
            Quantity::Contribution(value, reader) => {
                found.contributions.get(&value)?.get(reader).map(matrix)
            }
            Quantity::Parameter(entry, which) => {
                self.parameters.layers[number(entry)?].numbers(which)
            }
            Quantity::ParameterGradient(entry, which) => {
                found.parameters.layers[number(entry)?].numbers(which)
            }
        }
    }
}
