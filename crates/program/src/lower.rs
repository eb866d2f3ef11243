//! From a graph and a precision plan to a program: one file for each operator.

mod dense;
mod edge;

use std::num::NonZero;

use systoliq_fxp::{Accumulator, Multiplier};
use systoliq_nn::{Graph, Loss, Quantity, Training};

use crate::Error;
use crate::command::{Learning, Pass, Program};
use crate::finish::Factor;
use crate::operation::{BatchLoss, Operation};
use crate::plan::Plan;
use crate::role::Role;
use crate::tensor::{Rows, TensorDecl, TensorId};

impl Program {
    /// Lowers one training step of `graph` under `plan`.
    ///
    /// # Errors
    ///
    /// If an accumulator is impossible, or no multiplier holds the rate.
    pub fn lower(graph: &Graph, plan: &Plan, training: &Training) -> Result<Self, Error> {
        Multiplier::nearest(training.rate, 16).map_err(Error::Rate)?;
        let mut lowering = Lowering::new(graph, plan, training);
        for layer in graph.weighted() {
            lowering.forward(layer)?;
        }
        lowering.loss();
        for layer in graph.weighted().iter().rev() {
            lowering.backward(layer)?;
            lowering.update(layer.number);
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
        let mut tensors = DeclaredTensors { decls: Vec::new(), momentum: training.momentum > 0.0 };
        let input = tensors.add(TensorDecl {
            name: "x".into(),
            role: Role::Input,
            layer: 0,
            stands_for: Some(Quantity::Input),
            rows: Rows::Batch { per_sample: 1 },
            cols: graph.inputs(),
            plan: plan.layers[0].input,
        });
        let mut layers: Vec<LayerTensors> = Vec::new();
        for (layer, plan) in graph.weighted().iter().zip(&plan.layers) {
            let below = graph.layer_of(layer.reads);
            let reads = below.map_or(input, |below| layers[below.number].output);
            layers.push(tensors.layer(layer, plan, reads, layer.output == graph.output()));
        }
        let last = last(graph);
        let targets = (graph.loss == Loss::Mse).then(|| {
            tensors.add(TensorDecl {
                name: "t".into(),
                role: Role::Targets,
                layer: last,
                stands_for: Some(Quantity::Targets),
                rows: Rows::Batch { per_sample: 1 },
                cols: graph.outputs(),
                plan: plan.layers[last].targets,
            })
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

    /// The loss and its gradient with respect to the last layer's outputs.
    fn loss(&mut self) {
        let last = last(self.graph);
        let LayerTensors { output, gradient: error, .. } = self.layers[last];
        let loss = BatchLoss { outputs: output, targets: self.program.targets, error };
        self.program.push(last, Pass::Forward, Operation::Loss(loss));
    }
}

/// The number of the layer that makes what the loss reads.
fn last(graph: &Graph) -> usize {
    graph.layer_of(graph.output()).expect("a layer with weights makes the output").number
}

/// The tensors declared so far.
struct DeclaredTensors {
    decls: Vec<TensorDecl>,
    /// Whether training has momentum.
    momentum: bool,
}

impl DeclaredTensors {
    fn add(&mut self, decl: TensorDecl) -> TensorId {
        self.decls.push(decl);
        TensorId(self.decls.len() - 1)
    }
}
