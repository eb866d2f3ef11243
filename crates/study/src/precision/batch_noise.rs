//! Quantization noise beside batch noise: how far the weight gradients of a plan are from golden's, against how
//! far golden's are from batch to batch.
//!
//! On so many batches of training samples, in data order, both with golden's last parameters (the plan's
//! are converted from them): `σ²_q` is the mean over batches of ‖dW_fixed − dW_golden‖², `σ²_batch` that
//! of ‖dW_golden − its mean‖². A step of stochastic gradient descent is off by the latter anyhow, so a ratio below 1 says that noise is
//! not what the step is made of. It says nothing of errors that all steps share, nor of masters.

use std::sync::Arc;

use serde::Serialize;
use systoliq_engine::Fast;
use systoliq_nn::WeightedLayer;
use systoliq_program::{Plan, PrecisionSpec, Program, Role, Step, Store, TensorId};
use systoliq_run::Error;

use super::Study;

/// Batches that are looked at.
const BATCHES: usize = 16;

/// The noise of a layer's weight gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GradientNoise {
    /// The layer.
    pub layer: usize,
    /// `σ²_q`.
    pub quantization: f64,
    /// `σ²_batch`.
    pub batch: f64,
}

impl GradientNoise {
    /// `σ²_q / σ²_batch`.
    pub fn ratio(&self) -> f64 {
        self.quantization / self.batch
    }
}

impl Study<'_> {
    /// The noise of every layer's weight gradient with these formats.
    ///
    /// # Errors
    ///
    /// If they are impossible.
    pub fn gradient_noise(&self, precision: &PrecisionSpec) -> Result<Vec<GradientNoise>, Error> {
        let (graph, training) = (&self.prepared.graph, &self.prepared.experiment.training);
        let plan = Plan::resolve(graph, precision)?;
        let program = Arc::new(Program::lower(graph, &plan, training)?);
        let scale = f64::from(training.loss_scale);
        let mut engine = Fast::default();
        let layers = graph.weighted();
        let sizes = layers.iter().map(|layer| layer.weights.weights());
        let mut sums: Vec<Vec<f64>> = sizes.map(|size| vec![0.0; size]).collect();
        let (mut squares, mut errors) = (vec![0.0; layers.len()], vec![0.0; layers.len()]);
        let mut count = 0.0;
        for (at, batch) in self.data.train.batches(training.batch).take(BATCHES).enumerate() {
            let step = Step::probe(self.prepared.experiment.seed, at as u64);
            let mut store = Store::with_parameters(&program, self.parameters(), &step);
            store.load(&batch, &step);
            store.gradients(&step, &mut engine);
            let golden = self.golden.gradients(&batch, training);
            count += 1.0;
            for (layer, gradient) in golden.parameters.layers.iter().enumerate() {
                let dw = program.tensors.iter().position(|decl| {
                    decl.role == Role::WeightGradients
                        && decl.entry.number() == Some(layer)
                        && decl.cols == layers[layer].weights.fan_in
                });
                let dw = store.tensor(TensorId(dw.expect("a weight gradient")));
                let mut golden = gradient.weights.iter().zip(&mut sums[layer]);
                dw.expect("a step that has run").each_real(|fixed, _| {
                    let (golden, sum) = golden.next().expect("as many elements");
                    let error = fixed / scale - golden;
                    errors[layer] += error * error;
                    squares[layer] += golden * golden;
                    *sum += golden;
                });
            }
        }
        let noise = |&WeightedLayer { number, .. }: &WeightedLayer| {
            let mean: f64 = sums[number].iter().map(|sum| sum * sum).sum::<f64>() / (count * count);
            GradientNoise {
                layer: number,
                quantization: errors[number] / count,
                batch: squares[number] / count - mean,
            }
        };
        Ok(layers.iter().map(noise).collect())
    }
}
