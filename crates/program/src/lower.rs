//! From a graph and a precision plan to a program: one file for each operator.

mod combine;
mod edge;
mod gradient;
mod layer;
mod pool;

use std::collections::BTreeMap;
use std::num::NonZero;

use systoliq_fxp::{Accumulator, Multiplier};
use systoliq_nn::{
    BatchGradient, EdgeFunction, Graph, Loss, Node, Operator, Quantity, Training, ValueId,
};

use crate::Error;
use crate::command::{Learning, Pass, Program};
use crate::finish::Factor;
use crate::operation::{BatchLoss, Operation};
use crate::plan::{AccumulatorPart, Plan};
use crate::role::Role;
use crate::tensor::{Rows, TensorDecl, TensorId};

use gradient::{GradientSource, gradient_of};
use layer::LayerTensors;

impl Program {
    /// Lowers one training step of `graph` under `plan`.
    ///
    /// # Errors
    ///
    /// If an accumulator is impossible, no multiplier holds the rate, or a tensor has blocks that
    /// something else than a product reads or makes.
    pub fn lower(graph: &Graph, plan: &Plan, training: &Training) -> Result<Self, Error> {
        Multiplier::nearest(training.rate, 16).map_err(Error::Rate)?;
        refuse_blocks(graph, plan)?;
        let mut lowering = Lowering::new(graph, plan, training);
        let made: Vec<ValueId> =
            graph.stored().filter(|&value| graph.maker(value).is_some()).collect();
        for &value in &made {
            lowering.forward(value)?;
        }
        lowering.loss();
        for &value in made.iter().rev().filter(|&&value| graph.trains(value)) {
            lowering.gradient(value)?;
            lowering.backward(value)?;
        }
        Ok(lowering.program)
    }
}

struct Lowering<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    /// Whether gradients of weights are means over the batch.
    factor: Factor,
    /// Of each layer with weights.
    layers: Vec<LayerTensors>,
    /// What holds each value that is stored.
    values: BTreeMap<ValueId, TensorId>,
    /// What holds the taps of winners, where they are asked for.
    winners: BTreeMap<ValueId, TensorId>,
    /// What holds their gradients, as far as they are declared.
    gradients: BTreeMap<ValueId, TensorId>,
    /// What holds what a reader contributes to the gradient of a value that others read, too.
    contributions: BTreeMap<(ValueId, usize), TensorId>,
    program: Program,
}

impl<'a> Lowering<'a> {
    /// Declares what is known before the first command.
    fn new(graph: &'a Graph, plan: &'a Plan, training: &Training) -> Self {
        let mut declared = Declared {
            graph,
            plan,
            has_momentum: training.momentum > 0.0,
            tensors: Vec::new(),
            values: BTreeMap::new(),
            winners: BTreeMap::new(),
            gradients: BTreeMap::new(),
        };
        let rows = |value| Rows::Batch { per_sample: graph.shape(value).rows() };
        let input = declared.add(TensorDecl {
            name: "x".into(),
            role: Role::Input,
            entry: graph.name_of(ValueId::INPUT),
            stands_for: Some(Quantity::Input),
            rows: rows(ValueId::INPUT),
            cols: graph.shape(ValueId::INPUT).columns(),
            plan: plan.input,
        });
        declared.values.insert(ValueId::INPUT, input);
        let mut layers = Vec::new();
        for value in graph.stored().filter(|&value| graph.maker(value).is_some()) {
            match graph.layer_of(value) {
                Some(layer) => layers.push(declared.layer(layer)),
                None => declared.value(value),
            }
        }
        let output = graph.output();
        let targets = (graph.loss == Loss::Mse).then(|| {
            declared.add(TensorDecl {
                name: "t".into(),
                role: Role::Targets,
                entry: graph.name_of(output),
                stands_for: Some(Quantity::Targets),
                rows: rows(output),
                cols: graph.shape(output).columns(),
                plan: plan.targets,
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
            BatchGradient::Mean => Factor::Mean,
            BatchGradient::Sum => Factor::One,
        };
        let Declared { tensors, values, winners, gradients, .. } = declared;
        let over = Program::over(tensors, input, values[&output]);
        let program = Program { targets, learning, softmax: plan.softmax, ..over };
        let contributions = BTreeMap::new();
        Self { graph, plan, factor, layers, values, winners, gradients, contributions, program }
    }

    /// The operator that makes a value, which is not the input.
    fn operator(&self, value: ValueId) -> Operator {
        self.graph.nodes[self.graph.maker(value).expect("a value that is made")].operator
    }

    /// Makes a value.
    fn forward(&mut self, value: ValueId) -> Result<(), Error> {
        let id = match self.operator(value) {
            Operator::Dense(_) | Operator::Conv2d(_) => self.product(value)?,
            Operator::MaxPool(_) | Operator::AvgPool(_) => self.pool(value),
            Operator::Add | Operator::Function(_) => self.combination(value)?,
            Operator::Flatten => unreachable!("a view is not stored"),
        };
        self.program.inference.push(id);
        Ok(())
    }

    /// What follows from the gradient of a value: that of what its operator reads, where only the
    /// operator can make it, and of parameters, which are updated.
    fn backward(&mut self, value: ValueId) -> Result<(), Error> {
        match self.operator(value) {
            Operator::Dense(_) | Operator::Conv2d(_) => self.products_of_gradient(value),
            Operator::MaxPool(_) | Operator::AvgPool(_) => {
                self.spread(value);
                Ok(())
            }
            Operator::Flatten => unreachable!("a view is not stored"),
            // Its gradient is that of what it reads, behind the mask of that.
            Operator::Add | Operator::Function(_) => Ok(()),
        }
    }

    /// The accumulator of a layer's pass for the product of two tensors.
    fn accumulator(
        &self,
        layer: usize,
        pass: Pass,
        [a, b]: [TensorId; 2],
    ) -> Result<Accumulator, Error> {
        let [a, b] = [a, b].map(|id| self.program.tensor(id));
        let plan = &self.plan.layers[layer];
        let accumulator = plan.accumulator(pass, a.plan.format.bits() + b.plan.format.bits())?;
        let sizes = [a, b].map(|decl| decl.plan.block().map(NonZero::get));
        let problem = |of, problem: String| {
            let (a, b) = (&a.name, &b.name);
            let problem = format!("the product of {a} and {b} has blocks, {problem}");
            Err(plan.accumulator_problem(pass, of, problem))
        };
        match (sizes, accumulator.frac(), accumulator.chunk) {
            ([None, None], ..) => Ok(accumulator),
            ([Some(of_a), Some(of_b)], ..) if of_a != of_b => Err(Error::Role {
                path: self.plan.path(b.entry, b.role),
                problem: format!(
                    "the product of {} and {} has blocks, of {of_a} and of {of_b} elements: expected one size",
                    a.name, b.name
                ),
            }),
            (_, None, _) => problem(
                AccumulatorPart::Lowest,
                "each with fraction bits of its own: expected \"frac\", to which their sums are aligned"
                    .into(),
            ),
            (.., Some(chunk)) => {
                let found = format!("whose sums are added one by one: expected no \"chunk\", found {chunk}");
                problem(AccumulatorPart::Chunk, found)
            }
            _ => Ok(accumulator),
        }
    }

    /// The loss and its gradient with respect to what the network says.
    fn loss(&mut self) {
        let output = self.graph.output();
        let loss = BatchLoss {
            outputs: self.values[&output],
            targets: self.program.targets,
            error: self.gradients[&output],
        };
        let entry = self.graph.name_of(output);
        self.program.push(entry, Pass::Forward, Operation::Loss(loss));
    }

    /// Declares one more tensor.
    fn declare(&mut self, decl: TensorDecl) -> TensorId {
        self.program.tensors.push(decl);
        TensorId(self.program.tensors.len() - 1)
    }
}

/// The tensors declared so far.
struct Declared<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    has_momentum: bool,
    tensors: Vec<TensorDecl>,
    values: BTreeMap<ValueId, TensorId>,
    winners: BTreeMap<ValueId, TensorId>,
    gradients: BTreeMap<ValueId, TensorId>,
}

impl Declared<'_> {
    fn add(&mut self, decl: TensorDecl) -> TensorId {
        self.tensors.push(decl);
        TensorId(self.tensors.len() - 1)
    }

    /// A value, and its gradient where that is no other one.
    fn value(&mut self, value: ValueId) {
        let graph = self.graph;
        let (entry, plan) = (graph.name_of(value), self.plan.values[&value]);
        let last = value == graph.output();
        let (letter, role) = if last { ("z", Role::Logits) } else { ("y", Role::Activations) };
        let (rows, cols) = of_batch(graph, value);
        let stored = self.add(TensorDecl {
            name: format!("{letter}{entry}"),
            role,
            entry,
            stands_for: Some(Quantity::Value(value)),
            rows,
            cols,
            plan: plan.stored,
        });
        self.values.insert(value, stored);
        self.winners_of(value);
        let source = GradientSource::of(graph, value);
        if source.is_some_and(|source| source.converts()) {
            let role = if last { Role::Error } else { Role::Gradients };
            let decl = gradient_of(graph, value, role, plan.gradient);
            let gradient = self.add(decl);
            self.gradients.insert(value, gradient);
        }
    }
}

/// Rows and columns of what is stored of a value.
fn of_batch(graph: &Graph, value: ValueId) -> (Rows, usize) {
    let shape = graph.shape(value);
    (Rows::Batch { per_sample: shape.rows() }, shape.columns())
}

/// Refuses blocks in networks that have more than dense layers, ReLUs and views: windows overlap, and values
/// with several readers are summed, so that a tensor has no blocks along the axis of all its products.
fn refuse_blocks(graph: &Graph, plan: &Plan) -> Result<(), Error> {
    let stops = |node: &&Node| match node.operator {
        Operator::Conv2d(_) | Operator::MaxPool(_) | Operator::AvgPool(_) => true,
        Operator::Function(EdgeFunction::Squash(_)) => true,
        Operator::Dense(_) | Operator::Add | Operator::Flatten | Operator::Function(_) => false,
    };
    let Some(entry) = graph.nodes.iter().position(|node| stops(&node)) else { return Ok(()) };
    let of_layers = plan.layers.iter().flat_map(|layer| {
        [(Role::Weights, layer.weights), (Role::WeightGradients, layer.weight_gradients)]
    });
    let of_values = plan
        .values
        .values()
        .flat_map(|value| [(Role::Activations, value.stored), (Role::Gradients, value.gradient)]);
    let mut all = [(Role::Input, plan.input)].into_iter().chain(of_layers).chain(of_values);
    match all.find(|(_, plan)| plan.block().is_some()) {
        None => Ok(()),
        Some((role, _)) => {
            let what = match graph.nodes[entry].operator {
                Operator::Conv2d(_) => "conv2d, whose windows overlap",
                Operator::MaxPool(_) | Operator::AvgPool(_) => {
                    "pooling, whose windows lie across blocks"
                }
                _ => "sigmoid or tanh, whose slope has one scale",
            };
            let problem = format!(
                "scale \"block\", and network.layers[{entry}] is {what}: a tensor has no blocks along the \
                 axis of all that read it; expected another scale"
            );
            Err(Error::Role { path: format!("precision.{role}"), problem })
        }
    }
}
