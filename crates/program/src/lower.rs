//! From a graph and a precision plan to a program.

use std::num::NonZero;

use systoliq_fxp::{Accumulator, Multiplier};
use systoliq_nn::{Dense, Graph, Loss, Training};

use crate::Error;
use crate::command::{
    BatchScale, Command, Edge, Gemm, Learning, OperandRef, Operation, Pass, Program, Rows,
    TensorDecl, TensorId,
};
use crate::plan::{Plan, Role, TensorPlan};

impl Program {
    /// Lowers one training step of `graph` under `plan`.
    ///
    /// # Errors
    ///
    /// If an accumulator is impossible, or no multiplier holds the rate.
    pub fn lower(graph: &Graph, plan: &Plan, training: &Training) -> Result<Self, Error> {
        Multiplier::nearest(training.rate, 16).map_err(Error::Rate)?;
        let mut lowering = Lowering::new(graph, plan, training);
        for layer in 0..graph.layers.len() {
            lowering.forward(layer)?;
        }
        lowering.loss();
        for layer in (0..graph.layers.len()).rev() {
            lowering.backward(layer)?;
            lowering.update(layer);
        }
        Ok(lowering.program)
    }
}

/// The tensors of one layer.
#[derive(Clone, Copy)]
struct LayerTensors {
    /// What the layer reads.
    input: TensorId,
    weights: TensorId,
    /// The same tensor as `weights` where both have one format, or there is a residual.
    master: TensorId,
    residual: Option<TensorId>,
    bias: Option<TensorId>,
    /// Activations, or logits.
    output: TensorId,
    /// Gradient with respect to the pre-activations.
    gradient: TensorId,
    weight_gradient: TensorId,
    bias_gradient: Option<TensorId>,
    /// Of weights and of bias, where training has momentum.
    momentum: Option<TensorId>,
    bias_momentum: Option<TensorId>,
}

struct Lowering<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    scale: BatchScale,
    layers: Vec<LayerTensors>,
    program: Program,
}

impl<'a> Lowering<'a> {
    /// Declares every tensor.
    fn new(graph: &'a Graph, plan: &'a Plan, training: &Training) -> Self {
        let mut tensors = Tensors { decls: Vec::new(), momentum: training.momentum > 0.0 };
        let first = &plan.layers[0];
        let input = tensors.add("x".into(), Role::Input, 0, Rows::Batch, graph.inputs, first.input);
        let mut layers: Vec<LayerTensors> = Vec::new();
        for (layer, (dense, plan)) in graph.layers.iter().zip(&plan.layers).enumerate() {
            let last = layer + 1 == graph.layers.len();
            let reads = layers.last().map_or(input, |below: &LayerTensors| below.output);
            layers.push(tensors.layer(layer, dense, plan, reads, last));
        }
        let last = graph.layers.len() - 1;
        let targets = (graph.loss == Loss::Mse).then(|| {
            let plan = plan.layers[last].targets;
            tensors.add("t".into(), Role::Targets, last, Rows::Batch, graph.outputs(), plan)
        });
        let learning = Learning {
            rate: training.rate,
            schedule: training.schedule,
            momentum: training.momentum,
            weight_decay: training.weight_decay,
            batch_gradient: training.batch_gradient,
            loss_unit: training.loss_unit,
            loss_scale_log2: training.loss_scale.ilog2() as i32,
        };
        let scale = match training.batch_gradient {
            systoliq_nn::BatchGradient::Mean => BatchScale::Mean,
            systoliq_nn::BatchGradient::Sum => BatchScale::One,
        };
        let program = Program {
            tensors: tensors.decls,
            commands: Vec::new(),
            input,
            targets,
            logits: layers[last].output,
            outputs: graph.outputs(),
            learning,
            softmax: plan.softmax,
        };
        Self { graph, plan, scale, layers, program }
    }

    fn push(&mut self, layer: usize, pass: Pass, operation: Operation) {
        let output = &self.program.tensor(operation.output()).name;
        let name = format!("{layer}.{pass}.{output}");
        self.program.commands.push(Command { name, layer, pass, operation });
    }

    /// The accumulator of `layer` for the product of two tensors.
    fn accumulator(&self, layer: usize, a: TensorId, b: TensorId) -> Result<Accumulator, Error> {
        let [a, b] = [a, b].map(|id| self.program.tensor(id));
        let plan = &self.plan.layers[layer];
        let accumulator = plan.accumulator(a.plan.format.bits() + b.plan.format.bits())?;
        let sizes = [a, b].map(|decl| decl.plan.block().map(NonZero::get));
        let problem = |problem: String| {
            let (a, b) = (&a.name, &b.name);
            Err(plan
                .accumulator_problem(format!("the product of {a} and {b} has blocks, {problem}")))
        };
        match (sizes, accumulator.frac(), accumulator.chunk) {
            ([None, None], ..) => Ok(accumulator),
            ([Some(a), Some(b)], ..) if a != b => {
                problem(format!("of {a} and of {b} elements: expected one size"))
            }
            (_, None, _) => problem(
                "each with fraction bits of its own: expected \"frac\", to which their sums are aligned"
                    .into(),
            ),
            (.., Some(chunk)) => problem(format!(
                "whose sums are added one by one: expected no \"chunk\", found {chunk}"
            )),
            _ => Ok(accumulator),
        }
    }

    /// `Z = X · Wᵀ + b`.
    fn forward(&mut self, layer: usize) -> Result<(), Error> {
        let tensors = self.layers[layer];
        let relu = self.graph.layers[layer].relu;
        let gemm = Gemm {
            a: as_stored(tensors.input),
            b: transposed(tensors.weights),
            accumulator: self.accumulator(layer, tensors.input, tensors.weights)?,
            bias: tensors.bias,
            edge: if relu { Edge::Relu } else { Edge::Pass },
            scale: BatchScale::One,
            output: tensors.output,
        };
        self.push(layer, Pass::Forward, Operation::Gemm(gemm));
        Ok(())
    }

    /// The loss and its gradient with respect to the last layer's outputs.
    fn loss(&mut self) {
        let last = self.layers.len() - 1;
        let LayerTensors { output, gradient: error, .. } = self.layers[last];
        let operation = match self.program.targets {
            None => Operation::SoftmaxCrossEntropy { logits: output, error },
            Some(targets) => Operation::SquaredError { outputs: output, targets, error },
        };
        self.push(last, Pass::Forward, operation);
    }

    /// `dX = dZ · W` masked, `dW = dZᵀ · X` and `db`, the sum of dZ over the batch.
    fn backward(&mut self, layer: usize) -> Result<(), Error> {
        let tensors = self.layers[layer];
        if layer > 0 {
            let below = self.layers[layer - 1];
            let relu = self.graph.layers[layer - 1].relu;
            let gemm = Gemm {
                a: as_stored(tensors.gradient),
                b: as_stored(tensors.weights),
                accumulator: self.accumulator(layer, tensors.gradient, tensors.weights)?,
                bias: None,
                edge: if relu { Edge::Mask(below.output) } else { Edge::Pass },
                scale: BatchScale::One,
                output: below.gradient,
            };
            self.push(layer, Pass::InputGradient, Operation::Gemm(gemm));
        }
        let accumulator = self.accumulator(layer, tensors.gradient, tensors.input)?;
        let gemm = Gemm {
            a: transposed(tensors.gradient),
            b: as_stored(tensors.input),
            accumulator,
            bias: None,
            edge: Edge::Pass,
            scale: self.scale,
            output: tensors.weight_gradient,
        };
        self.push(layer, Pass::WeightGradient, Operation::Gemm(gemm));
        if let Some(output) = tensors.bias_gradient {
            let sum = Operation::SumRows {
                input: tensors.gradient,
                accumulator,
                product_with: tensors.input,
                scale: self.scale,
                output,
            };
            self.push(layer, Pass::WeightGradient, sum);
        }
        Ok(())
    }

    fn update(&mut self, layer: usize) {
        let tensors = self.layers[layer];
        let decay = self.program.learning.weight_decay > 0.0;
        self.descend(layer, tensors.master, tensors.weight_gradient, tensors.momentum, decay);
        if let Some(residual) = tensors.residual {
            let operation = Operation::Residual { residual, weights: tensors.weights };
            self.push(layer, Pass::Update, operation);
        }
        if tensors.weights != tensors.master {
            let convert = Operation::Convert { from: tensors.master, to: tensors.weights };
            self.push(layer, Pass::Update, convert);
        }
        if let (Some(bias), Some(gradient)) = (tensors.bias, tensors.bias_gradient) {
            self.descend(layer, bias, gradient, tensors.bias_momentum, false);
        }
    }

    /// The step of weights, or of a bias, against their gradient.
    fn descend(
        &mut self,
        layer: usize,
        weights: TensorId,
        gradient: TensorId,
        momentum: Option<TensorId>,
        decay: bool,
    ) {
        let rate_bits = self.plan.layers[layer].rate_bits;
        let of_layer = &self.layers[layer];
        let residual = of_layer.residual.filter(|_| weights == of_layer.weights);
        let update = match momentum {
            None => Operation::Update { weights, residual, gradient, decay, rate_bits },
            Some(momentum) => {
                let gather = Operation::Momentum { momentum, gradient, weights, decay };
                self.push(layer, Pass::Update, gather);
                Operation::Update { weights, residual, gradient: momentum, decay: false, rate_bits }
            }
        };
        self.push(layer, Pass::Update, update);
    }
}

fn as_stored(tensor: TensorId) -> OperandRef {
    OperandRef { tensor, transposed: false }
}

fn transposed(tensor: TensorId) -> OperandRef {
    OperandRef { tensor, transposed: true }
}

/// The tensors declared so far.
struct Tensors {
    decls: Vec<TensorDecl>,
    /// Whether training has momentum.
    momentum: bool,
}

impl Tensors {
    fn add(
        &mut self,
        name: String,
        role: Role,
        layer: usize,
        rows: Rows,
        cols: usize,
        plan: TensorPlan,
    ) -> TensorId {
        self.decls.push(TensorDecl { name, role, layer, rows, cols, plan });
        TensorId(self.decls.len() - 1)
    }

    fn layer(
        &mut self,
        layer: usize,
        dense: &Dense,
        plan: &crate::plan::LayerPlan,
        input: TensorId,
        last: bool,
    ) -> LayerTensors {
        let has_momentum = self.momentum;
        let mut add = |letter: &str, role, rows, cols, plan| {
            self.add(format!("{letter}{layer}"), role, layer, rows, cols, plan)
        };
        let (fan_in, units) = (dense.inputs, dense.units);
        let wide = Rows::Fixed(units);
        let one = Rows::Fixed(1);
        // Where both have one format, the master is what the array reads.
        let shared =
            plan.weights.scale == plan.master.scale && plan.weights.format == plan.master.format;
        let master = match plan.residual {
            Some(_) => add("w", Role::Weights, wide, fan_in, plan.weights),
            None => add("m", Role::Master, wide, fan_in, plan.master),
        };
        let residual = plan.residual.map(|plan| add("r", Role::Residual, wide, fan_in, plan));
        let weights = if shared || residual.is_some() {
            master
        } else {
            add("w", Role::Weights, wide, fan_in, plan.weights)
        };
        let bias = dense.bias.then(|| add("b", Role::Bias, one, units, plan.bias));
        let output = if last {
            add("z", Role::Logits, Rows::Batch, units, plan.outputs)
        } else {
            add("y", Role::Activations, Rows::Batch, units, plan.outputs)
        };
        let role = if last { Role::Error } else { Role::Gradients };
        let gradient = add("dz", role, Rows::Batch, units, plan.gradients);
        let role = Role::WeightGradients;
        let weight_gradient = add("dw", role, wide, fan_in, plan.weight_gradients);
        let bias_gradient = dense.bias.then(|| add("db", role, one, units, plan.weight_gradients));
        let mut momentum = |letters: &str, rows, cols| {
            has_momentum.then(|| add(letters, Role::Momentum, rows, cols, plan.momentum))
        };
        LayerTensors {
            momentum: momentum("v", wide, fan_in),
            bias_momentum: dense.bias.then(|| momentum("vb", one, units)).flatten(),
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
