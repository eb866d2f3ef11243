//! `dense`: three products, a sum of rows, and two updates.

use systoliq_nn::{Quantity, WeightedLayer};

use super::{DeclaredTensors, LayerTensors, Lowering, edge};
use crate::Error;
use crate::command::Pass;
use crate::finish::{Factor, Finish};
use crate::operation::{Operation, Product, Reduce, Update};
use crate::plan::LayerPlan;
use crate::role::Role;
use crate::tensor::{OperandRef, Rows, TensorDecl, TensorId};
use crate::view::Repeats;

impl Lowering<'_> {
    /// `Z = X · Wᵀ + b`.
    pub(super) fn forward(&mut self, layer: &WeightedLayer) -> Result<(), Error> {
        let &WeightedLayer { number, output, .. } = layer;
        let tensors = self.layers[number];
        let product = Product {
            a: OperandRef::stored(tensors.input),
            b: OperandRef::transposed(tensors.weights),
            repeats: Repeats::ONCE,
            accumulator: self.accumulator(number, tensors.input, tensors.weights)?,
            finish: Finish {
                bias: tensors.bias,
                edges: edge::forward(self.graph, output),
                factor: Factor::One,
                output: tensors.output,
            },
        };
        let id = self.program.push(number, Pass::Forward, Operation::Product(product.into()));
        self.program.inference.push(id);
        Ok(())
    }

    /// `dX = dZ · W` masked, `dW = dZᵀ · X` and `db`, the sum of dZ over the batch.
    pub(super) fn backward(&mut self, layer: &WeightedLayer) -> Result<(), Error> {
        let &WeightedLayer { number, reads, .. } = layer;
        let tensors = self.layers[number];
        if let Some(below) = self.graph.layer_of(reads) {
            let below = self.layers[below.number];
            let product = Product {
                a: OperandRef::stored(tensors.gradient),
                b: OperandRef::stored(tensors.weights),
                repeats: Repeats::ONCE,
                accumulator: self.accumulator(number, tensors.gradient, tensors.weights)?,
                finish: Finish {
                    bias: None,
                    edges: edge::backward(self.graph, reads, below.output),
                    factor: Factor::One,
                    output: below.gradient,
                },
            };
            self.program.push(number, Pass::InputGradient, Operation::Product(product.into()));
        }
        let accumulator = self.accumulator(number, tensors.gradient, tensors.input)?;
        let factor = self.factor;
        let finish = |output| Finish { bias: None, edges: Vec::new(), factor, output };
        let product = Product {
            a: OperandRef::transposed(tensors.gradient),
            b: OperandRef::stored(tensors.input),
            repeats: Repeats::ONCE,
            accumulator,
            finish: finish(tensors.weight_gradient),
        };
        self.program.push(number, Pass::WeightGradient, Operation::Product(product.into()));
        if let Some(output) = tensors.bias_gradient {
            let reduce = Reduce {
                input: tensors.gradient,
                accumulator,
                product_with: tensors.input,
                finish: finish(output),
            };
            self.program.push(number, Pass::WeightGradient, Operation::Reduce(reduce));
        }
        Ok(())
    }

    /// The steps of weights and bias against their gradients.
    pub(super) fn update(&mut self, layer: usize) {
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
        self.program.push(layer, Pass::Update, Operation::Update(weights));
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
            self.program.push(layer, Pass::Update, Operation::Update(bias));
        }
    }
}

impl DeclaredTensors {
    /// The tensors of a layer that reads `input`; the last layer makes logits.
    pub(super) fn layer(
        &mut self,
        layer: &WeightedLayer,
        plan: &LayerPlan,
        input: TensorId,
        last: bool,
    ) -> LayerTensors {
        let has_momentum = self.momentum;
        let &WeightedLayer { number, entry, dense, output: value, .. } = layer;
        let mut add = |letter: &str, role, stands_for, (rows, cols), plan| {
            let name = format!("{letter}{number}");
            self.add(TensorDecl { name, role, layer: number, stands_for, rows, cols, plan })
        };
        let matrix = (Rows::Fixed(dense.units), dense.inputs);
        let vector = (Rows::Fixed(1), dense.units);
        let of_batch = (Rows::Batch { per_sample: 1 }, dense.units);
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
        let bias = dense.bias.then(|| add("b", Role::Bias, of_bias, vector, plan.bias));
        let (letter, role) = if last { ("z", Role::Logits) } else { ("y", Role::Activations) };
        let output = add(letter, role, Some(Quantity::Value(value)), of_batch, plan.outputs);
        let role = if last { Role::Error } else { Role::Gradients };
        let gradient = Some(Quantity::Gradient(value));
        let gradient = add("dz", role, gradient, of_batch, plan.gradients);
        let mut parameter_gradient = |letters: &str, which, shape| {
            let stands_for = Some(Quantity::ParameterGradient(entry, which));
            add(letters, Role::WeightGradients, stands_for, shape, plan.weight_gradients)
        };
        let weight_gradient = parameter_gradient("dw", 0, matrix);
        let bias_gradient = dense.bias.then(|| parameter_gradient("db", 1, vector));
        let mut momentum = |letters: &str, shape| {
            has_momentum.then(|| add(letters, Role::Momentum, None, shape, plan.momentum))
        };
        LayerTensors {
            momentum: momentum("v", matrix),
            bias_momentum: dense.bias.then(|| momentum("vb", vector)).flatten(),
            input,
            weights,
            master,
            residual,
            bias,
            output,
            gradient,
            weight_gradient,
            bias_gradient,
        }
    }
}
