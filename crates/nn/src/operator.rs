//! What stands in a network: for each operator a file with its shape, its forward and its backward
//! pass, in `f32` and `f64`.
//!
//! Two kinds there are: operators that make a value of others, and [functions](EdgeFunction) of single
//! elements, which work in place, in the edge of what makes the value. Whoever walks a
//! [`Graph`](crate::Graph) asks here and knows none of them.

mod add;
mod avg_pool;
mod clipped_relu;
mod conv2d;
mod curve;
mod dense;
mod max_pool;
mod relu;
mod window;

use ndarray::{Array2, ArrayView2, Axis};

use crate::golden::{LayerParameters, Real};
use crate::graph::Shape;

pub use avg_pool::AvgPool;
pub use clipped_relu::ClippedRelu;
pub use conv2d::Conv2d;
pub use curve::Squash;
pub use dense::Dense;
pub use max_pool::MaxPool;
pub use window::{Window, WindowAxis};

/// An entry of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// A dense layer.
    Dense(Dense),
    /// A convolution.
    Conv2d(Conv2d),
    /// The largest of windows.
    MaxPool(MaxPool),
    /// The mean of windows, or of all places.
    AvgPool(AvgPool),
    /// The sum of what it reads.
    Add,
    /// What it reads as `[features]`, in the order (y, x, channel): a view, which is not stored.
    Flatten,
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
    /// `sigmoid` or `tanh`.
    Squash(Squash),
}

/// The weights of a layer, as a matrix `[outputs, fan_in]`, and its bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightShape {
    /// Units or filters.
    pub outputs: usize,
    /// How many values an output sums.
    pub fan_in: usize,
    /// Whether it adds a bias.
    pub bias: bool,
}

impl WeightShape {
    /// The number of weights.
    pub const fn weights(&self) -> usize {
        self.outputs * self.fan_in
    }

    /// The number of weights and biases.
    pub const fn parameters(&self) -> usize {
        self.weights() + if self.bias { self.outputs } else { 0 }
    }
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
            Self::Conv2d(convolution) => convolution.shape(reads),
            Self::MaxPool(pool) => pool.shape(reads),
            Self::AvgPool(pool) => pool.shape(reads),
            Self::Add => add::shape(reads),
            Self::Flatten => Shape::Features(reads[0].elements()),
            Self::Function(_) => reads[0],
        }
    }

    /// Its weights, if it has some.
    pub fn weights(&self) -> Option<WeightShape> {
        match *self {
            Self::Dense(Dense { inputs, units, bias }) => {
                Some(WeightShape { outputs: units, fan_in: inputs, bias })
            }
            Self::Conv2d(convolution) => Some(WeightShape {
                outputs: convolution.filters,
                fan_in: convolution.fan_in(),
                bias: convolution.bias,
            }),
            Self::MaxPool(_) | Self::AvgPool(_) | Self::Add | Self::Flatten | Self::Function(_) => {
                None
            }
        }
    }

    /// The most products that a sum of its forward pass, of its input gradient and, for each sample, of its
    /// weight gradient has; nothing of an operator without weights.
    pub fn longest_sums(&self) -> Option<[usize; 3]> {
        match self {
            Self::Dense(Dense { inputs, units, .. }) => Some([*inputs, *units, 1]),
            Self::Conv2d(convolution) => Some(convolution.longest_sums()),
            Self::MaxPool(_) | Self::AvgPool(_) | Self::Add | Self::Flatten | Self::Function(_) => {
                None
            }
        }
    }

    /// The function, if it is one.
    pub fn function(&self) -> Option<EdgeFunction> {
        match self {
            Self::Dense(_)
            | Self::Conv2d(_)
            | Self::MaxPool(_)
            | Self::AvgPool(_)
            | Self::Add
            | Self::Flatten => None,
            Self::Function(function) => Some(*function),
        }
    }

    /// Whether a function directly behind it can belong to its edge.
    pub fn has_edge(&self) -> bool {
        match self {
            Self::Dense(_) | Self::Conv2d(_) | Self::AvgPool(_) | Self::Add => true,
            Self::MaxPool(_) | Self::Flatten | Self::Function(_) => false,
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
            Self::Conv2d(convolution) => convolution.forward(reads[0], weighted(parameters)),
            Self::MaxPool(pool) => pool.forward(reads[0]),
            Self::AvgPool(pool) => pool.forward(reads[0]),
            Self::Add => add::forward(reads),
            Self::Flatten | Self::Function(_) => reads[0].clone(),
        }
    }

    /// The gradient with respect to each of the values that it `reads`, from that with respect to what
    /// entered its edge; what reads an image flat gives a row for each sample.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn input_gradient<F: Real>(
        &self,
        reads: &[&Array2<F>],
        gradient: &Array2<F>,
        parameters: Option<&LayerParameters<F>>,
    ) -> Array2<F> {
        match self {
            Self::Dense(_) => dense::input_gradient(gradient, weighted(parameters)),
            Self::Conv2d(convolution) => convolution.input_gradient(gradient, weighted(parameters)),
            Self::MaxPool(pool) => pool.input_gradient(reads[0], gradient),
            Self::AvgPool(pool) => pool.input_gradient(gradient),
            Self::Add | Self::Flatten | Self::Function(_) => gradient.clone(),
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
            Self::Conv2d(convolution) => {
                Some(convolution.parameter_gradient(reads[0], gradient, divisor))
            }
            Self::MaxPool(_) | Self::AvgPool(_) | Self::Add | Self::Flatten | Self::Function(_) => {
                None
            }
        }
    }
}

impl Operator {
    /// Of each sample the squares, summed, of the derivatives with respect to weights and bias, from that
    /// with respect to what entered its edge, `gradient`; nothing of an operator without weights.
    pub fn parameter_squares<F: Real>(
        &self,
        reads: &[&Array2<F>],
        gradient: &Array2<F>,
        samples: usize,
    ) -> Option<Vec<f64>> {
        match self {
            Self::Dense(dense) => Some(dense.parameter_squares(reads[0], gradient)),
            Self::Conv2d(convolution) => {
                Some(convolution.parameter_squares(reads[0], gradient, samples))
            }
            Self::MaxPool(_) | Self::AvgPool(_) | Self::Add | Self::Flatten | Self::Function(_) => {
                None
            }
        }
    }
}

impl Operator {
    /// The rows that the products of a layer read, `[rows, fan_in]`: a sample each, or a window each of a
    /// convolution. Nothing of an operator without weights.
    pub fn rows_read<F: Real>(&self, x: &Array2<F>) -> Option<Array2<F>> {
        match self {
            Self::Dense(dense) => Some(dense.rows_read(x)),
            Self::Conv2d(convolution) => Some(convolution.rows_read(x)),
            Self::MaxPool(_) | Self::AvgPool(_) | Self::Add | Self::Flatten | Self::Function(_) => {
                None
            }
        }
    }

    /// The operands of the product that the input gradient is, where these are not the gradient and the
    /// weights themselves.
    pub fn input_gradient_operands<F: Real>(
        &self,
        gradient: &Array2<F>,
        weights: &Array2<F>,
    ) -> Option<[Array2<F>; 2]> {
        match self {
            Self::Conv2d(convolution) => {
                Some(convolution.input_gradient_operands(gradient, weights))
            }
            Self::Dense(_)
            | Self::MaxPool(_)
            | Self::AvgPool(_)
            | Self::Add
            | Self::Flatten
            | Self::Function(_) => None,
        }
    }
}

/// `Σ x²` of the rows of each of so many samples.
pub(crate) fn sample_squares<F: Real>(matrix: ArrayView2<'_, F>, samples: usize) -> Vec<f64> {
    let rows = (matrix.nrows() / samples.max(1)).max(1);
    let squares = |of: ArrayView2<'_, F>| of.iter().map(|value| value.widen().powi(2)).sum::<f64>();
    matrix.axis_chunks_iter(Axis(0), rows).map(squares).collect()
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
            Self::Squash(squash) => squash.apply(value),
        }
    }

    /// Takes a gradient through the function backwards, by the value that is stored behind it.
    pub fn mask<F: Real>(self, gradient: &mut Array2<F>, stored: &Array2<F>) {
        match self {
            Self::Relu => relu::mask(gradient, stored),
            Self::ClippedRelu(clipped) => clipped.mask(gradient, stored),
            Self::Squash(squash) => squash.mask(gradient, stored),
        }
    }

    /// Whether nothing that leaves it is negative.
    pub fn is_nonnegative(self) -> bool {
        match self {
            Self::Relu | Self::ClippedRelu(_) | Self::Squash(Squash::Sigmoid) => true,
            Self::Squash(Squash::Tanh) => false,
        }
    }
}
