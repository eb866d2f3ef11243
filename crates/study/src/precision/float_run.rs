//! The run in floating point that widths follow from.

use std::convert::Infallible;

use systoliq_nn::golden::{LayerOperands, Observation, Real};
use systoliq_nn::{DataSet, Evaluation, Golden, GoldenPrecision, Graph, Parameters};

use systoliq_run::{Error, Prepared};

/// An experiment's golden model after its last epoch, and what its tensors were like on the way.
#[derive(Clone, Debug)]
pub struct FloatRun {
    /// Weights and biases; exact, whatever the golden model's precision.
    pub parameters: Parameters<f64>,
    /// What was seen of every tensor.
    pub observation: Observation,
    /// What products read in the first steps of the last epoch, layer by layer.
    pub operands: Vec<Vec<LayerOperands>>,
    /// On the test part.
    pub test: Evaluation,
}

/// Steps of the last epoch whose operands are kept.
const STEPS_KEPT: usize = 16;

impl FloatRun {
    /// Trains the golden model of `prepared` with its own seed. `progress` is called after each
    /// step with the number of steps done.
    ///
    /// # Errors
    ///
    /// If the loss of an epoch is not finite.
    pub fn train(
        prepared: &Prepared,
        data: &DataSet,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Error> {
        match prepared.experiment.training.golden {
            GoldenPrecision::F32 => Self::train_in::<f32>(prepared, data, progress),
            GoldenPrecision::F64 => Self::train_in::<f64>(prepared, data, progress),
        }
    }

    fn train_in<F: Real>(
        prepared: &Prepared,
        data: &DataSet,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Error> {
        let Prepared { experiment, graph, .. } = prepared;
        let (training, seed) = (&experiment.training, experiment.seed);
        let mut golden = Golden::<F>::new(graph, seed);
        let mut observation = Observation::new(graph.weighted().len());
        let (mut steps, mut operands) = (0, Vec::new());
        for epoch in 0..training.epochs {
            let mut first = true;
            let Ok(loss) = golden.train_epoch_with(
                &data.train,
                training,
                seed,
                epoch,
                |golden, _, gradients| {
                    // The noise gain and sums move slowly: they are taken once an epoch.
                    observation.see(golden, gradients, training, first);
                    first = false;
                    if epoch + 1 == training.epochs && operands.len() < STEPS_KEPT {
                        operands.push(LayerOperands::of(golden, gradients));
                    }
                    steps += 1;
                    progress(steps);
                    Ok::<_, Infallible>(())
                },
            );
            if !loss.is_finite() {
                return Err(Error::FloatRun { epoch: epoch + 1, loss });
            }
        }
        observation.see_parameters(&golden);
        let test = golden.evaluate(&data.test, training.batch);
        Ok(Self { parameters: golden.parameters().cast(), observation, operands, test })
    }

    /// The trained network, in `f64`.
    pub(super) fn golden(&self, graph: &Graph) -> Golden<f64> {
        Golden::from_parameters(graph, self.parameters.clone()).expect("parameters of this graph")
    }
}
