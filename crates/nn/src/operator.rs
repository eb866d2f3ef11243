//! What stands in a network: for each operator a file with its shape, its forward and its backward
//! pass, in `f32` and `f64`.
//!
//! Two kinds there are: operators that make a value of others, and [functions](EdgeFunction) of single
//! elements, which work in place, in the edge of what makes the value. Whoever walks a
//! [`Graph`](crate::Graph) asks here and knows none of them.

mod add;
mod clipped_relu;
mod dense;
mod relu;

use ndarray::Array2;

use crate::golden::{LayerParameters, Real};
use crate::graph::Shape;

pub use clipped_relu::ClippedRelu;
pub use dense::Dense;

/// An entry of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// A dense layer.
    Dense(Dense),
    /// The sum of what it reads.
    Add,
    /// A function of single elements.
    Function(EdgeFunction),
}

/// A function of single elements, with which a value leaves the operator that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EdgeFunction {
    /// `max(0, ·)`.
    Relu,
    /// `min(max(0, ·), M)`.
    ClippedRelu(ClippedRelu),
}

impl Operator {
    /// The shape of what it makes of values of these shapes.
    ///
    /// # Panics
    ///
    /// If it does not read such values.
    pub fn shape(&self, reads: &[Shape]) -> Shape {
        match self {
            Self::Dense(dense) => dense.shape(reads),
            Self::Add => add::shape(reads),
            Self::Function(_) => reads[0],
        }
    }

    /// The layer, if it has weights.
    pub fn weighted(&self) -> Option<Dense> {
        match self {
            Self::Dense(dense) => Some(*dense),
            Self::Add | Self::Function(_) => None,
        }
    }

    /// The function, if it is one.
    pub fn function(&self) -> Option<EdgeFunction> {
        match self {
            Self::Dense(_) | Self::Add => None,
            Self::Function(function) => Some(*function),
        }
    }

    /// Whether a function directly behind it can belong to its edge.
    pub fn has_edge(&self) -> bool {
        match self {
            Self::Dense(_) | Self::Add => true,
            Self::Function(_) => false,
        }
    }

    /// What it makes, before its edge. A function stands in an edge: by itself it makes a copy.
    ///
    /// # Panics
    ///
    /// If it has weights and there are no `parameters`, or shapes do not fit.
    pub fn forward<F: Real>(
        &self,
        reads: &[&Array2<F>],
        parameters: Option<&LayerParameters<F>>,
    ) -> Array2<F> {
        match self {
            Self::Dense(_) => dense::forward(reads[0], weighted(parameters)),
            Self::Add => add::forward(reads),
            Self::Function(_) => reads[0].clone(),
        }
    }

    /// The gradient with respect to each of the values that it reads, from that with respect to what
    /// entered its edge.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn input_gradient<F: Real>(
        &self,
        gradient: &Array2<F>,
        parameters: Option<&LayerParameters<F>>,
    ) -> Array2<F> {
        match self {
            Self::Dense(_) => dense::input_gradient(gradient, weighted(parameters)),
            Self::Add | Self::Function(_) => gradient.clone(),
        }
    }

    /// The gradient with respect to its parameters, summed over the samples and divided by `divisor`;
    /// nothing of an operator without.
    pub fn parameter_gradient<F: Real>(
        &self,
        reads: &[&Array2<F>],
        gradient: &Array2<F>,
        divisor: F,
    ) -> Option<LayerParameters<F>> {
        match self {
            Self::Dense(dense) => Some(dense.parameter_gradient(reads[0], gradient, divisor)),
            Self::Add | Self::Function(_) => None,
        }
    }
}

fn weighted<F>(parameters: Option<&LayerParameters<F>>) -> &LayerParameters<F> {
    parameters.expect("parameters of an operator with weights")
}

impl EdgeFunction {
    /// Replaces every element by its function.
    pub fn apply<F: Real>(self, value: &mut Array2<F>) {
        match self {
            Self::Relu => relu::apply(value),
            Self::ClippedRelu(clipped) => clipped.apply(value),
        }
    }

    /// Takes a gradient through the function backwards, by the value that is stored behind it.
    pub fn mask<F: Real>(self, gradient: &mut Array2<F>, stored: &Array2<F>) {
        match self {
            Self::Relu => relu::mask(gradient, stored),
            Self::ClippedRelu(clipped) => clipped.mask(gradient, stored),
        }
    }

    /// Whether nothing that leaves it is negative.
    pub fn is_nonnegative(self) -> bool {
        match self {
            Self::Relu | Self::ClippedRelu(_) => true,
        }
    }
}
