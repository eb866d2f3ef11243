//! The golden model: the same network, trained in floating point.
//!
//! It reads the [`Graph`] and nothing that fixed point makes of it, so that it cannot inherit a
//! mistake. One step is stochastic gradient descent:
//!
//! | pass | per layer |
//! | --- | --- |
//! | forward | `Z = X·Wᵀ + b`, then `max(0, Z)` where a ReLU follows |
//! | input gradient | `dX = dZ·W`, masked by "stored activation > 0"; not for the first layer |
//! | weight gradient | `dW = dZᵀ·X`, `db` = sum of `dZ` over rows; the mean divides by the batch |
//! | update | with g the mean gradient: `V ← β·V + (g + λ·W)`, `W ← W − μ·V`; biases without λ; without momentum `V` is `g + λ·W` |
//!
//! `dZ` is per sample. Rates and divisions are those of the floating-point type, unrounded beyond;
//! a loss scale does nothing to it.

use ndarray::{Array, Array1, Array2, Axis, Dimension, Zip};

use crate::Error;
use crate::batch_order::epoch_order;
use crate::data::{Batch, Part};
use crate::graph::Graph;
use crate::network::{BatchGradient, Training};

mod evaluation;
mod loss;
mod noise;
mod observation;
mod parameters;
mod real;

pub use evaluation::{Evaluation, Predicted};
pub use loss::{error, losses, softmax};
pub use noise::NoiseGains;
pub use observation::{
    Extremes, LayerObservation, Observation, TensorSpread, largest_singular_value,
};
pub use parameters::{LayerParameters, Parameters};
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

/// Everything that forward and backward pass of one batch compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<F> {
    /// One entry per layer.
    pub layers: Vec<LayerGradients<F>>,
    /// The mean loss: cross-entropy in bits, or `½ Σ e²`.
    pub loss: f64,
}

/// What forward and backward pass compute in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradients<F> {
    /// `[batch, units]`: the stored output, after the ReLU if there is one.
    pub activations: Array2<F>,
    /// `[batch, units]`: the gradient with respect to the pre-activation, per sample.
    pub dz: Array2<F>,
    /// `[units, inputs]`: the weight gradient, mean or sum over the batch as training states.
    pub dw: Array2<F>,
    /// `[units]`: the bias gradient, likewise, where the layer has a bias.
    pub db: Option<Array1<F>>,
}

impl<F> Gradients<F> {
    /// `[batch, outputs]`: what the loss reads.
    pub fn logits(&self) -> &Array2<F> {
        &self.last().activations
    }

    /// `[batch, outputs]`: `∂d/∂ŷ` per sample, which is the last layer's `dz`.
    pub fn error(&self) -> &Array2<F> {
        &self.last().dz
    }

    fn last(&self) -> &LayerGradients<F> {
        self.layers.last().expect("a graph has at least one layer")
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

    /// `[samples, outputs]`: the network's answer to each row of `inputs`.
    ///
    /// # Panics
    ///
    /// If `inputs` does not have the network's inputs as columns.
    pub fn outputs(&self, inputs: &Array2<f64>) -> Array2<F> {
        let layers = 0..self.graph.layers.len();
        layers.fold(inputs.mapv(F::of), |x, layer| self.forward(layer, &x))
    }

    /// What the forward pass stores: first the input, then the output of each layer in turn.
    ///
    /// # Panics
    ///
    /// As [`outputs`](Self::outputs).
    pub fn stored(&self, inputs: &Array2<f64>) -> Vec<Array2<F>> {
        let mut stored = vec![inputs.mapv(F::of)];
        for layer in 0..self.graph.layers.len() {
            stored.push(self.forward(layer, &stored[layer]));
        }
        stored
    }

    fn forward(&self, layer: usize, x: &Array2<F>) -> Array2<F> {
        let LayerParameters { weights, bias } = &self.parameters.layers[layer];
        let mut z = x.dot(&weights.t());
        if let Some(bias) = bias {
            z += bias;
        }
        if self.graph.layers[layer].relu {
            // Not `max`, which would hide a NaN.
            z.mapv_inplace(|z| if z <= F::zero() { F::zero() } else { z });
        }
        z
    }

    /// Forward and backward pass of `batch`, without an update.
    ///
    /// # Panics
    ///
    /// If `batch` is empty or does not fit the network, which
    /// [`DataSet::check`](crate::DataSet::check) tells beforehand.
    pub fn gradients(&self, batch: &Batch, training: &Training) -> Gradients<F> {
        assert!(!batch.is_empty(), "a step on no samples");
        let layers = self.graph.layers.len();
        let mut stored = self.stored(&batch.inputs);
        let loss = self.graph.loss;
        let losses = losses(loss, &stored[layers], &batch.answers);
        let mut dz = error(loss, training.loss_unit, &stored[layers], &batch.answers);

        let mut backward = Vec::with_capacity(layers);
        for layer in (0..layers).rev() {
            let below = (layer > 0).then(|| self.input_gradient(layer, &dz, &stored[layer]));
            let activations = stored.pop().expect("one output per layer");
            backward.push(self.weight_gradient(layer, activations, dz, &stored[layer], training));
            let Some(below) = below else { break };
            dz = below;
        }
        backward.reverse();
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        Gradients { layers: backward, loss }
    }

    /// The `dZ` of the layer below `layer`, whose stored output is `x`.
    fn input_gradient(&self, layer: usize, dz: &Array2<F>, x: &Array2<F>) -> Array2<F> {
        let mut dx = dz.dot(&self.parameters.layers[layer].weights);
        if self.graph.layers[layer - 1].relu {
            Zip::from(&mut dx).and(x).for_each(|dx, &x| {
                if x <= F::zero() {
                    *dx = F::zero();
                }
            });
        }
        dx
    }

    fn weight_gradient(
        &self,
        layer: usize,
        activations: Array2<F>,
        dz: Array2<F>,
        x: &Array2<F>,
        training: &Training,
    ) -> LayerGradients<F> {
        let divisor = match training.batch_gradient {
            BatchGradient::Mean => F::of(dz.nrows() as f64),
            BatchGradient::Sum => F::one(),
        };
        let dw = dz.t().dot(x) / divisor;
        let db = self.graph.layers[layer].bias.then(|| dz.sum_axis(Axis(0)) / divisor);
        LayerGradients { activations, dz, dw, db }
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
        assert_eq!(gradients.layers.len(), self.parameters.layers.len(), "another network");
        if training.momentum > 0.0 && self.velocity.is_none() {
            self.velocity = Some(self.parameters.zeros());
        }
        for (at, gradient) in gradients.layers.iter().enumerate() {
            let ours = &mut self.parameters.layers[at];
            let mut velocity = self.velocity.as_mut().map(|velocity| &mut velocity.layers[at]);
            let gathered = velocity.as_mut().map(|velocity| &mut velocity.weights);
            rule.descend(&mut ours.weights, &gradient.dw, gathered);
            if let (Some(bias), Some(db)) = (&mut ours.bias, &gradient.db) {
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

    /// The same; before each update, `watch` sees the model, the batch and its gradients.
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
        mut watch: impl FnMut(&Self, &Batch, &Gradients<F>) -> Result<(), E>,
    ) -> Result<f64, E> {
        assert!(!train.is_empty(), "an epoch over no samples");
        let order = epoch_order(seed, epoch, train.len());
        let mut loss = 0.0;
        for rows in order.chunks(training.batch) {
            let batch = train.batch(rows);
            let gradients = self.gradients(&batch, training);
            watch(self, &batch, &gradients)?;
            self.update(&gradients, training, (epoch, batch.len()));
            loss += gradients.loss * batch.len() as f64;
        }
        Ok(loss / train.len() as f64)
    }
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
