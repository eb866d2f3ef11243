//! From a graph and a precision plan to a program.

use std::num::NonZero;

use systoliq_fxp::{Accumulator, Multiplier};
use systoliq_nn::{Dense, Graph, Loss, Training};

use crate::Error;
use crate::command::{Learning, Pass, Program};
use crate::finish::{Edge, Factor, Finish};
use crate::operation::{BatchLoss, Operation, Product, Reduce, Update};
use crate::plan::{Plan, TensorPlan};
use crate::role::Role;
use crate::tensor::{OperandRef, Rows, TensorDecl, TensorId};
use crate::view::Repeats;

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
    /// Whether gradients of weights are means over the batch.
    factor: Factor,
    layers: Vec<LayerTensors>,
    program: Program,
}

impl<'a> Lowering<'a> {
    /// Declares every tensor.
    fn new(graph: &'a Graph, plan: &'a Plan, training: &Training) -> Self {
        let mut tensors = Tensors { decls: Vec::new(), momentum: training.momentum > 0.0 };
        let first = &plan.layers[0];
        let input = tensors.add(
            "x".into(),
            Role::Input,
            0,
            Rows::Batch { per_sample: 1 },
            graph.inputs,
            first.input,
        );
        let mut layers: Vec<LayerTensors> = Vec::new();
        for (layer, (dense, plan)) in graph.layers.iter().zip(&plan.layers).enumerate() {
            let last = layer + 1 == graph.layers.len();
            let reads = layers.last().map_or(input, |below: &LayerTensors| below.output);
            layers.push(tensors.layer(layer, dense, plan, reads, last));
        }
        let last = graph.layers.len() - 1;
        let targets = (graph.loss == Loss::Mse).then(|| {
            let plan = plan.layers[last].targets;
            tensors.add(
                "t".into(),
                Role::Targets,
                last,
                Rows::Batch { per_sample: 1 },
                graph.outputs(),
                plan,
            )
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
        let factor = match training.batch_gradient {
            systoliq_nn::BatchGradient::Mean => Factor::Mean,
            systoliq_nn::BatchGradient::Sum => Factor::One,
        };
        let program = Program {
            tensors: tensors.decls,
            commands: Vec::new(),
            writes: Vec::new(),
            step: Vec::new(),
            inference: Vec::new(),
            input,
            targets,
            logits: layers[last].output,
            outputs: graph.outputs(),
            learning,
            softmax: plan.softmax,
        };
        Self { graph, plan, factor, layers, program }
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
        let product = Product {
            a: OperandRef::stored(tensors.input),
            b: OperandRef::transposed(tensors.weights),
            repeats: Repeats::ONCE,
            accumulator: self.accumulator(layer, tensors.input, tensors.weights)?,
            finish: Finish {
                bias: tensors.bias,
                edges: relu.then_some(Edge::Relu).into_iter().collect(),
                factor: Factor::One,
                output: tensors.output,
            },
        };
        let id = self.program.push(layer, Pass::Forward, Operation::Product(product));
        self.program.inference.push(id);
        Ok(())
    }

    /// The loss and its gradient with respect to the last layer's outputs.
    fn loss(&mut self) {
        let last = self.layers.len() - 1;
        let LayerTensors { output, gradient: error, .. } = self.layers[last];
        let loss = BatchLoss { outputs: output, targets: self.program.targets, error };
        self.program.push(last, Pass::Forward, Operation::Loss(loss));
    }

    /// `dX = dZ · W` masked, `dW = dZᵀ · X` and `db`, the sum of dZ over the batch.
    fn backward(&mut self, layer: usize) -> Result<(), Error> {
        let tensors = self.layers[layer];
        if layer > 0 {
            let below = self.layers[layer - 1];
            let relu = self.graph.layers[layer - 1].relu;
            let mask = relu.then_some(Edge::Positive(below.output));
            let product = Product {
                a: OperandRef::stored(tensors.gradient),
                b: OperandRef::stored(tensors.weights),
                repeats: Repeats::ONCE,
                accumulator: self.accumulator(layer, tensors.gradient, tensors.weights)?,
                finish: Finish {
                    bias: None,
                    edges: mask.into_iter().collect(),
                    factor: Factor::One,
                    output: below.gradient,
                },
            };
            self.program.push(layer, Pass::InputGradient, Operation::Product(product));
        }
        let accumulator = self.accumulator(layer, tensors.gradient, tensors.input)?;
        let factor = self.factor;
        let finish = |output| Finish { bias: None, edges: Vec::new(), factor, output };
        let product = Product {
            a: OperandRef::transposed(tensors.gradient),
            b: OperandRef::stored(tensors.input),
            repeats: Repeats::ONCE,
            accumulator,
            finish: finish(tensors.weight_gradient),
        };
        self.program.push(layer, Pass::WeightGradient, Operation::Product(product));
        if let Some(output) = tensors.bias_gradient {
            let reduce = Reduce {
                input: tensors.gradient,
                accumulator,
                product_with: tensors.input,
                finish: finish(output),
            };
            self.program.push(layer, Pass::WeightGradient, Operation::Reduce(reduce));
        }
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
            add("z", Role::Logits, Rows::Batch { per_sample: 1 }, units, plan.outputs)
        } else {
            add("y", Role::Activations, Rows::Batch { per_sample: 1 }, units, plan.outputs)
        };
        let role = if last { Role::Error } else { Role::Gradients };
        let gradient = add("dz", role, Rows::Batch { per_sample: 1 }, units, plan.gradients);
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
