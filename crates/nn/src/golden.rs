//! The golden model: the same network, trained in floating point.
//!
//! It reads the [`Graph`] and nothing that fixed point makes of it, so that it cannot inherit a
//! mistake. One step is stochastic gradient descent:
//!
//! | pass | |
//! | --- | --- |
//! | forward | through the [operators](crate::operator), first to last; a value leaves each through its edge |
//! | gradients of values | back through them: what the readers of a value contribute, added in their order, behind the mask of its edge |
//! | gradients of parameters | the sum over the samples, which the mean divides by the batch |
//! | update | with g the mean gradient: `V ← β·V + (g + λ·W)`, `W ← W − μ·V`; biases without λ; without momentum `V` is `g + λ·W` |
//!
//! Gradients of values are per sample. Rates and divisions are those of the floating-point type,
//! unrounded beyond; a loss scale does nothing to it.

use std::collections::BTreeMap;
use std::ops::Index;

use ndarray::{Array, Array2, Dimension, Zip};

use crate::Error;
use crate::batch_order::epoch_order;
use crate::data::{Answers, Batch, Part};
use crate::graph::{Graph, Node, Shape, ValueId, WeightedLayer};
use crate::network::{BatchGradient, Training};

mod evaluation;
mod loss;
mod noise;
mod observation;
mod parameters;
mod quantity;
mod real;

pub use evaluation::{Evaluation, Predicted};
pub use loss::{error, losses, softmax};
pub use noise::NoiseGains;
pub use observation::{
    Extremes, LayerObservation, LayerOperands, Observation, TensorSpread, largest_singular_value,
};
pub use parameters::{LayerParameters, Parameters};
pub use quantity::Quantity;
pub use real::{Real, product_fingerprint};

/// A network in floating point: its graph and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden<F> {
    graph: Graph,
    parameters: Parameters<F>,
    /// What momentum has gathered, once there was a step with momentum.
    velocity: Option<Parameters<F>>,
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// The mean loss of the batch before the update: cross-entropy in bits, or `½ Σ e²`.
    pub loss: f64,
    /// The number of samples in the batch.
    pub rows: usize,
}

/// A matrix for each value of a graph that has one.
#[derive(Clone, Debug, PartialEq)]
pub struct ByValue<F>(Vec<Option<Array2<F>>>);

impl<F> ByValue<F> {
    /// Without any.
    fn of(graph: &Graph) -> Self {
        Self((0..=graph.output().0).map(|_| None).collect())
    }

    /// The matrix of a value, if there is one.
    pub fn get(&self, value: ValueId) -> Option<&Array2<F>> {
        self.0[value.0].as_ref()
    }

    fn put(&mut self, value: ValueId, matrix: Array2<F>) {
        self.0[value.0] = Some(matrix);
    }

    fn take(&mut self, value: ValueId) -> Option<Array2<F>> {
        self.0[value.0].take()
    }
}

impl<F> Index<ValueId> for ByValue<F> {
    type Output = Array2<F>;

    fn index(&self, value: ValueId) -> &Array2<F> {
        self.get(value).unwrap_or_else(|| panic!("{value:?} has no matrix"))
    }
}

/// What the readers of a value contribute to its gradient, by value.
pub type Contributions<F> = BTreeMap<ValueId, Vec<Array2<F>>>;

/// Everything that forward and backward pass of one batch compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<F> {
    /// `[batch, columns]` of each value that is stored: what leaves its edge.
    pub values: ByValue<F>,
    /// `[batch, columns]` of each of these that weights have part in: the gradient, per sample, with
    /// respect to what entered its edge, `dZ`.
    pub gradients: ByValue<F>,
    /// Where several read a value: what each of them contributes to its gradient, in their order.
    pub contributions: Contributions<F>,
    /// The gradients of weights and biases, mean or sum over the batch as training states.
    pub parameters: Parameters<F>,
    /// The mean loss: cross-entropy in bits, or `½ Σ e²`.
    pub loss: f64,
    output: ValueId,
}

impl<F> Gradients<F> {
    /// `[batch, outputs]`: what the loss reads.
    pub fn logits(&self) -> &Array2<F> {
        &self.values[self.output]
    }

    /// `[batch, outputs]`: `∂d/∂ŷ` per sample.
    pub fn error(&self) -> &Array2<F> {
        &self.gradients[self.output]
    }
}

impl<F: Real> Golden<F> {
    /// The network of `graph` with the parameters that `seed` starts it with.
    pub fn new(graph: &Graph, seed: u64) -> Self {
        let parameters = Parameters::initial(graph, seed);
        Self { graph: graph.clone(), parameters, velocity: None }
    }

    /// The network of `graph` with given parameters.
    ///
    /// # Errors
    ///
    /// If their shapes are not the graph's.
    pub fn from_parameters(graph: &Graph, parameters: Parameters<F>) -> Result<Self, Error> {
        parameters.check(graph)?;
        Ok(Self { graph: graph.clone(), parameters, velocity: None })
    }

    /// The same with what momentum has gathered: V of every weight and bias.
    ///
    /// # Errors
    ///
    /// If their shapes are not the graph's.
    pub fn with_velocity(self, velocity: Option<Parameters<F>>) -> Result<Self, Error> {
        velocity.as_ref().map_or(Ok(()), |velocity| velocity.check(&self.graph))?;
        Ok(Self { velocity, ..self })
    }

    /// The network's shapes and loss.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The weights and biases.
    pub fn parameters(&self) -> &Parameters<F> {
        &self.parameters
    }

    /// What momentum has gathered, if there was a step with momentum.
    pub fn velocity(&self) -> Option<&Parameters<F>> {
        self.velocity.as_ref()
    }

    /// The parameters of an operator, if it has some.
    fn parameters_of(&self, node: &Node) -> Option<&LayerParameters<F>> {
        node.name.number().map(|number| &self.parameters.layers[number])
    }

    /// `[samples, outputs]`: the network's answer to each row of `inputs`.
    ///
    /// # Panics
    ///
    /// If `inputs` does not have the network's inputs as columns.
    pub fn outputs(&self, inputs: &Array2<f64>) -> Array2<F> {
        self.outputs_of(inputs.mapv(F::of))
    }

    /// The same of inputs in its own precision.
    pub(crate) fn outputs_of(&self, inputs: Array2<F>) -> Array2<F> {
        let mut values =
            self.forward(inputs, |value, reader| self.graph.readers(value).last() == Some(&reader));
        values.take(self.graph.output()).expect("an output")
    }

    /// What the forward pass stores.
    ///
    /// # Panics
    ///
    /// As [`outputs`](Self::outputs).
    pub fn stored(&self, inputs: &Array2<f64>) -> ByValue<F> {
        self.forward(inputs.mapv(F::of), |_, _| false)
    }

    /// The values of a forward pass but those of which `is_dropped` says, once an entry has read them,
    /// that nobody wants them.
    fn forward(
        &self,
        inputs: Array2<F>,
        is_dropped: impl Fn(ValueId, usize) -> bool,
    ) -> ByValue<F> {
        let graph = &self.graph;
        let mut values = ByValue::of(graph);
        values.put(ValueId::INPUT, in_rows(inputs, graph.input));
        for value in graph.stored() {
            let Some(entry) = graph.maker(value) else { continue };
            let node = &graph.nodes[entry];
            let reads: Vec<_> = node.reads.iter().map(|&read| &values[read]).collect();
            let mut made = node.operator.forward(&reads, self.parameters_of(node));
            for function in graph.edge(value) {
                function.apply(&mut made);
            }
            for &read in node.reads.iter().filter(|&&read| is_dropped(read, entry)) {
                values.take(read);
            }
            values.put(value, made);
        }
        values
    }

    /// Forward and backward pass of `batch`, without an update.
    ///
    /// # Panics
    ///
    /// If `batch` is empty or does not fit the network, which
    /// [`DataSet::check`](crate::DataSet::check) tells beforehand.
    pub fn gradients(&self, batch: &Batch, training: &Training) -> Gradients<F> {
        self.gradients_of(batch.inputs.mapv(F::of), &batch.answers, training)
    }

    /// The same of inputs in its own precision and their answers.
    fn gradients_of(
        &self,
        inputs: Array2<F>,
        answers: &Answers,
        training: &Training,
    ) -> Gradients<F> {
        assert!(!answers.is_empty(), "a step on no samples");
        let graph = &self.graph;
        let output = graph.output();
        let values = self.forward(inputs, |_, _| false);
        let losses = losses(graph.loss, &values[output], answers);
        let error = error(graph.loss, training.loss_unit, &values[output], answers);
        let wanted = |value| graph.trains(value);
        let (gradients, contributions) = self.backward(&values, error, wanted, |_, _| {});
        let parameters = self.parameter_gradients(&values, &gradients, training);
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        Gradients { values, gradients, contributions, parameters, loss, output }
    }

    /// The gradients of the values that are `wanted`, each with respect to what entered its edge, from
    /// the derivative `error` of something with respect to what the network says; and where there were
    /// several contributions to one, these. `watch` sees each gradient before it is masked.
    fn backward(
        &self,
        values: &ByValue<F>,
        error: Array2<F>,
        wanted: impl Fn(ValueId) -> bool,
        mut watch: impl FnMut(ValueId, &Array2<F>),
    ) -> (ByValue<F>, Contributions<F>) {
        let graph = &self.graph;
        let mut gradients = ByValue::of(graph);
        let mut contributions = BTreeMap::from([(graph.output(), vec![error])]);
        for value in graph.stored().rev().filter(|&value| wanted(value)) {
            let mut gradient =
                total(contributions.get_mut(&value).expect("somebody reads a value"));
            watch(value, &gradient);
            for function in graph.edge(value).into_iter().rev() {
                function.mask(&mut gradient, &values[value]);
            }
            if let Some(entry) = graph.maker(value) {
                let node = &graph.nodes[entry];
                for &read in node.reads.iter().rev().filter(|&&read| wanted(read)) {
                    let parameters = self.parameters_of(node);
                    let reads: Vec<_> = node.reads.iter().map(|&read| &values[read]).collect();
                    let made = node.operator.input_gradient(&reads, &gradient, parameters);
                    let made = in_rows(made, graph.shape(read));
                    contributions.entry(read).or_default().push(made);
                }
            }
            gradients.put(value, gradient);
        }
        contributions.retain(|_, contributed| !contributed.is_empty());
        (gradients, contributions)
    }

    /// The gradients of the parameters of every operator that has some.
    fn parameter_gradients(
        &self,
        values: &ByValue<F>,
        gradients: &ByValue<F>,
        training: &Training,
    ) -> Parameters<F> {
        let graph = &self.graph;
        let of_layer = |layer: &WeightedLayer| {
            let Node { operator, reads, .. } = &graph.nodes[layer.entry];
            let reads: Vec<_> = reads.iter().map(|&read| &values[read]).collect();
            let gradient = &gradients[layer.output];
            let samples = gradient.nrows() / graph.shape(layer.output).rows();
            let divisor = match training.batch_gradient {
                BatchGradient::Mean => F::of(samples as f64),
                BatchGradient::Sum => F::one(),
            };
            operator.parameter_gradient(&reads, gradient, divisor)
        };
        Parameters { layers: graph.weighted().iter().filter_map(of_layer).collect() }
    }

    /// One step of SGD on `batch`, at the rate of epoch `epoch`.
    ///
    /// # Panics
    ///
    /// As [`gradients`](Self::gradients).
    pub fn step(&mut self, batch: &Batch, training: &Training, epoch: u32) -> StepRecord {
        let gradients = self.gradients(batch, training);
        self.update(&gradients, training, (epoch, batch.len()));
        StepRecord { loss: gradients.loss, rows: batch.len() }
    }

    /// Takes a step of epoch `epoch` against `gradients`, which are of a batch of `rows` samples.
    ///
    /// # Panics
    ///
    /// If `gradients` are of another network's shape.
    pub fn update(
        &mut self,
        gradients: &Gradients<F>,
        training: &Training,
        (epoch, rows): (u32, usize),
    ) {
        let rule = DescentRule {
            rate: F::of(training.rate_in(epoch)),
            rows: F::of(match training.batch_gradient {
                BatchGradient::Mean => 1.0,
                BatchGradient::Sum => rows as f64,
            }),
            momentum: F::of(training.momentum),
            decay: F::of(training.weight_decay),
        };
        let gradients = &gradients.parameters;
        assert_eq!(gradients.layers.len(), self.parameters.layers.len(), "another network");
        if training.momentum > 0.0 && self.velocity.is_none() {
            self.velocity = Some(self.parameters.zeros());
        }
        for (at, gradient) in gradients.layers.iter().enumerate() {
            let ours = &mut self.parameters.layers[at];
            let mut velocity = self.velocity.as_mut().map(|velocity| &mut velocity.layers[at]);
            let gathered = velocity.as_mut().map(|velocity| &mut velocity.weights);
            rule.descend(&mut ours.weights, &gradient.weights, gathered);
            if let (Some(bias), Some(db)) = (&mut ours.bias, &gradient.bias) {
                let gathered = velocity.and_then(|velocity| velocity.bias.as_mut());
                DescentRule { decay: F::zero(), ..rule }.descend(bias, db, gathered);
            }
        }
    }

    /// One epoch over `train`, in the order of [`epoch_order`] and batches of `training.batch`.
    /// Returns the mean of the samples' losses, each before its step's update.
    ///
    /// # Panics
    ///
    /// If `train` is empty, or as [`gradients`](Self::gradients).
    pub fn train_epoch(&mut self, train: &Part, training: &Training, seed: u64, epoch: u32) -> f64 {
        let Ok(loss) = self.train_epoch_with(train, training, seed, epoch, |_, _, _| {
            Ok::<_, std::convert::Infallible>(())
        });
        loss
    }

    /// The same; before each update, `watch` sees the model, the numbers of the batch's samples and its
    /// gradients.
    ///
    /// # Errors
    ///
    /// The first of `watch`, which ends the epoch before that step's update.
    ///
    /// # Panics
    ///
    /// As [`train_epoch`](Self::train_epoch).
    pub fn train_epoch_with<E>(
        &mut self,
        train: &Part,
        training: &Training,
        seed: u64,
        epoch: u32,
        mut watch: impl FnMut(&Self, &[u32], &Gradients<F>) -> Result<(), E>,
    ) -> Result<f64, E> {
        assert!(!train.is_empty(), "an epoch over no samples");
        let order = epoch_order(seed, epoch, train.len());
        let mut loss = 0.0;
        for rows in order.chunks(training.batch) {
            let inputs = train.inputs_as(rows, F::of);
            let gradients = self.gradients_of(inputs, &train.answers().select(rows), training);
            watch(self, rows, &gradients)?;
            self.update(&gradients, training, (epoch, rows.len()));
            loss += gradients.loss * rows.len() as f64;
        }
        Ok(loss / train.len() as f64)
    }
}

/// Values in the rows and columns that their shape has.
fn in_rows<F>(values: Array2<F>, shape: Shape) -> Array2<F> {
    let rows = values.len() / shape.columns().max(1);
    values.into_shape_with_order((rows, shape.columns())).expect("values in order")
}

/// The sum of contributions that are there from the last reader to the first, added in the order of
/// readers. Takes a single one; several are left in that order.
fn total<F: Real>(contributed: &mut Vec<Array2<F>>) -> Array2<F> {
    if contributed.len() == 1 {
        return contributed.swap_remove(0);
    }
    contributed.reverse();
    let (first, others) = contributed.split_first().expect("a value that is read");
    others.iter().fold(first.clone(), |sum, more| sum + more)
}

/// The rule of one step.
#[derive(Clone, Copy)]
struct DescentRule<F> {
    rate: F,
    /// What divides a gradient that makes it the mean.
    rows: F,
    momentum: F,
    decay: F,
}

impl<F: Real> DescentRule<F> {
    /// `V ← β·V + (g + λ·W)`, `W ← W − μ·V`; without `V`, its place is taken by `g + λ·W`.
    fn descend<D: Dimension>(
        self,
        weights: &mut Array<F, D>,
        gradient: &Array<F, D>,
        velocity: Option<&mut Array<F, D>>,
    ) {
        let mean = |w: F, gradient: F| {
            let gradient = gradient / self.rows;
            // Not `+ 0·w`, which is undefined for a weight that has left all bounds.
            if self.decay > F::zero() { gradient + self.decay * w } else { gradient }
        };
        match velocity {
            None => {
                Zip::from(weights).and(gradient).for_each(|w, &g| *w -= self.rate * mean(*w, g))
            }
            Some(velocity) => {
                Zip::from(weights).and(gradient).and(velocity).for_each(|w, &g, v| {
                    *v = self.momentum * *v + mean(*w, g);
                    *w -= self.rate * *v;
                })
            }
        }
    }
}

#[cfg(test)]
mod learning_tests;
#[cfg(test)]
mod tests;
