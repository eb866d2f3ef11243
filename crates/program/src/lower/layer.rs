//! Layers with weights, dense or convolutions: three products, a sum of rows, and two updates.
//!
//! The products of both are the same but for how operands are read.

use std::num::NonZero;

use systoliq_nn::operator::{Conv2d, WindowAxis};
use systoliq_nn::{Dense, EntryName, Operator, Quantity, ValueId, WeightedLayer};

use super::{Declared, Lowering, edge};
use crate::ConvolutionShape;
use crate::Error;
use crate::command::{CommandId, Pass};
use crate::convolution::ViewedGemm;
use crate::finish::{Factor, Finish};
use crate::gemm::GemmShape;
use crate::operation::{Operation, Product, Reduce, Update};
use crate::plan::TensorPlan;
use crate::role::Role;
use crate::tensor::{OperandRef, Rows, TensorDecl, TensorId};
use crate::view::View;

/// The tensors of one layer.
#[derive(Clone, Copy)]
pub(super) struct LayerTensors {
    weights: TensorId,
    /// The same tensor as `weights` where both have one format, or there is a residual.
    master: TensorId,
    residual: Option<TensorId>,
    bias: Option<TensorId>,
    weight_gradient: TensorId,
    bias_gradient: Option<TensorId>,
    /// Of weights and of bias, where training has momentum.
    momentum: Option<TensorId>,
    bias_momentum: Option<TensorId>,
}

impl Lowering<'_> {
    /// The layer that makes a value.
    fn layer(&self, value: ValueId) -> WeightedLayer {
        *self.graph.layer_of(value).expect("a value that a layer with weights makes")
    }

    /// The forward pass of a layer, its input gradient, and its weight gradient.
    fn products(&self, value: ValueId) -> [ViewedGemm; 3] {
        let WeightedLayer { entry, reads, .. } = self.layer(value);
        match self.graph.nodes[entry].operator {
            Operator::Dense(Dense { inputs, units, .. }) => {
                let mut products = GemmShape { m: 1, k: inputs, n: units }.dense();
                let rows_per_row = self.graph.shape(reads).rows();
                if rows_per_row > 1 {
                    let view = View::Flat { rows_per_row };
                    products[0].read[0].view = view;
                    products[2].read[1].view = view;
                }
                products
            }
            Operator::Conv2d(convolution) => products_of(&convolution),
            Operator::MaxPool(_)
            | Operator::AvgPool(_)
            | Operator::Add
            | Operator::Flatten
            | Operator::Function(_) => unreachable!("it has no weights"),
        }
    }

    /// `Z = X · Wᵀ + b`.
    pub(super) fn product(&mut self, value: ValueId) -> Result<CommandId, Error> {
        let WeightedLayer { number, reads, .. } = self.layer(value);
        let (tensors, input) = (self.layers[number], self.values[&reads]);
        let [ViewedGemm { read: [a, b], repeats, .. }, ..] = self.products(value);
        let product = Product {
            a: OperandRef { tensor: input, reading: a },
            b: OperandRef { tensor: tensors.weights, reading: b },
            repeats,
            accumulator: self.accumulator(number, Pass::Forward, [input, tensors.weights])?,
            finish: Finish {
                bias: tensors.bias,
                edges: edge::forward(self.graph, value),
                factor: Factor::One,
                output: self.values[&value],
            },
        };
        Ok(self.push(number, Pass::Forward, Operation::Product(product.into())))
    }

    fn push(&mut self, layer: usize, pass: Pass, operation: Operation) -> CommandId {
        self.program.push(EntryName::Number(layer), pass, operation)
    }

    /// `dX = dZ · W`, `dW = dZᵀ · X` and `db`, the sum of dZ over the batch; then the steps.
    pub(super) fn products_of_gradient(&mut self, value: ValueId) -> Result<(), Error> {
        let WeightedLayer { number, entry, reads, .. } = self.layer(value);
        let tensors = self.layers[number];
        let (gradient, input) = (self.gradients[&value], self.values[&reads]);
        let [_, to_input, to_weights] = self.products(value);
        if self.graph.trains(reads) {
            let operands = [gradient, tensors.weights];
            let ViewedGemm { read: [a, b], repeats, .. } = to_input;
            let product = Product {
                a: OperandRef { tensor: gradient, reading: a },
                b: OperandRef { tensor: tensors.weights, reading: b },
                repeats,
                accumulator: self.accumulator(number, Pass::InputGradient, operands)?,
                finish: self.made_by_reader(reads, entry),
            };
            self.push(number, Pass::InputGradient, Operation::Product(product.into()));
        }
        let accumulator = self.accumulator(number, Pass::WeightGradient, [gradient, input])?;
        let factor = self.factor;
        let finish = |output| Finish { bias: None, edges: Vec::new(), factor, output };
        let ViewedGemm { read: [a, b], repeats, .. } = to_weights;
        let product = Product {
            a: OperandRef { tensor: gradient, reading: a },
            b: OperandRef { tensor: input, reading: b },
            repeats,
            accumulator,
            finish: finish(tensors.weight_gradient),
        };
        self.push(number, Pass::WeightGradient, Operation::Product(product.into()));
        if let Some(output) = tensors.bias_gradient {
            let reduce = Reduce {
                input: gradient,
                accumulator,
                product_with: input,
                finish: finish(output),
            };
            self.push(number, Pass::WeightGradient, Operation::Reduce(reduce));
        }
        self.update(number);
        Ok(())
    }

    /// The steps of weights and bias against their gradients.
    fn update(&mut self, layer: usize) {
        let tensors = self.layers[layer];
        let rate_bits = self.plan.layers[layer].rate_bits;
        let weights = Update {
            gradient: tensors.weight_gradient,
            momentum: tensors.momentum,
            written: tensors.master,
            residual: tensors.residual,
            working: (tensors.weights != tensors.master).then_some(tensors.weights),
            decay: self.program.learning.weight_decay > 0.0,
            rate_bits,
        };
        self.push(layer, Pass::Update, Operation::Update(weights));
        if let (Some(bias), Some(gradient)) = (tensors.bias, tensors.bias_gradient) {
            let bias = Update {
                gradient,
                momentum: tensors.bias_momentum,
                written: bias,
                residual: None,
                working: None,
                decay: false,
                rate_bits,
            };
            self.push(layer, Pass::Update, Operation::Update(bias));
        }
    }
}

impl Declared<'_> {
    /// A parameter of a layer, or what belongs to one.
    fn parameter(
        &mut self,
        (letters, number): (&str, usize),
        role: Role,
        stands_for: Option<Quantity>,
        (rows, cols): (Rows, usize),
        plan: TensorPlan,
    ) -> TensorId {
        let (name, entry) = (format!("{letters}{number}"), EntryName::Number(number));
        self.add(TensorDecl { name, role, entry, stands_for, rows, cols, plan })
    }

    /// The tensors of a layer, and what it makes.
    pub(super) fn layer(&mut self, layer: &WeightedLayer) -> LayerTensors {
        let &WeightedLayer { number, entry, weights: sizes, output: value, .. } = layer;
        let (plan, has_momentum) = (&self.plan.layers[number], self.has_momentum);
        let mut add = |letter: &str, role, stands_for, shape, plan| {
            self.parameter((letter, number), role, stands_for, shape, plan)
        };
        let matrix = (Rows::Fixed(sizes.outputs), sizes.fan_in);
        let vector = (Rows::Fixed(1), sizes.outputs);
        let [of_weights, of_bias] = [0, 1].map(|which| Some(Quantity::Parameter(entry, which)));
        // Where both have one format, the master is what the array reads.
        let shared =
            plan.weights.scale == plan.master.scale && plan.weights.format == plan.master.format;
        let master = match plan.residual {
            Some(_) => add("w", Role::Weights, of_weights, matrix, plan.weights),
            None => add("m", Role::Master, of_weights, matrix, plan.master),
        };
        let residual = plan.residual.map(|plan| add("r", Role::Residual, None, matrix, plan));
        let weights = if shared || residual.is_some() {
            master
        } else {
            add("w", Role::Weights, of_weights, matrix, plan.weights)
        };
        let bias = sizes.bias.then(|| add("b", Role::Bias, of_bias, vector, plan.bias));
        self.value(value);
        let mut add = |letters: &str, role, stands_for, shape, plan| {
            self.parameter((letters, number), role, stands_for, shape, plan)
        };
        let mut parameter_gradient = |letters: &str, which, shape| {
            let stands_for = Some(Quantity::ParameterGradient(entry, which));
            add(letters, Role::WeightGradients, stands_for, shape, plan.weight_gradients)
        };
        let weight_gradient = parameter_gradient("dw", 0, matrix);
        let bias_gradient = sizes.bias.then(|| parameter_gradient("db", 1, vector));
        let mut momentum = |letters: &str, shape| {
            has_momentum.then(|| add(letters, Role::Momentum, None, shape, plan.momentum))
        };
        LayerTensors {
            momentum: momentum("v", matrix),
            bias_momentum: sizes.bias.then(|| momentum("vb", vector)).flatten(),
            weights,
            master,
            residual,
            bias,
            weight_gradient,
            bias_gradient,
        }
    }
}

/// The products of a convolution, for any number of samples. Where each window is one pixel and each pixel
/// one window, they are those of a dense layer over pixels.
fn products_of(convolution: &Conv2d) -> [ViewedGemm; 3] {
    let Conv2d { window, channels, filters, groups, .. } = *convolution;
    let of = |size: fn(&WindowAxis) -> usize| [window.down, window.along].map(|axis| size(&axis));
    let shape = ConvolutionShape {
        batch: 1,
        image: of(|axis| axis.extent),
        channels,
        filters,
        kernel: of(|axis| axis.taps),
        stride: of(|axis| axis.stride),
        dilation: of(|axis| axis.dilation),
        padding: of(|axis| axis.before),
        end_padding: of(|axis| axis.after),
        groups: NonZero::new(groups).expect("at least one group"),
    };
    match shape.dense() {
        Some(dense) if shape.kernel == [1, 1] => dense.dense(),
        _ => shape.products().expect("a kernel that fits"),
    }
}
