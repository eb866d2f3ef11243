//! The run in floating point that widths follow from.

use std::convert::Infallible;

use systoliq_nn::golden::{LayerOperands, Observation, Real};
use systoliq_nn::{DataSet, Evaluation, Golden, GoldenPrecision, Graph, Parameters, Training};

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

/// The least number of steps of a run in which sums are looked at, as far as it has so many.
const SUMS_SEEN: usize = 40;

/// The steps of an epoch in which sums are looked at: the first, the last of a full batch, and others between
/// them at equal distances. A remainder of the data sums over fewer samples, and tells little of the others.
#[derive(Clone, Copy, Debug)]
struct StepsSeen {
    last: usize,
    /// Stretches between them, of which the shortest is a step.
    stretches: usize,
}

impl StepsSeen {
    fn of(samples: usize, training: &Training) -> Self {
        let last = (samples / training.batch).saturating_sub(1);
        let in_epoch = SUMS_SEEN.div_ceil(training.epochs as usize).max(2);
        Self { last, stretches: last.clamp(1, in_epoch - 1) }
    }

    fn has(self, step: usize) -> bool {
        let near = step * self.stretches / self.last.max(1);
        [near, near + 1].iter().any(|stretch| stretch * self.last / self.stretches == step)
            && step <= self.last
    }
}

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
        let seen = StepsSeen::of(data.train.len(), training);
        for epoch in 0..training.epochs {
            let mut at = 0;
            let Ok(loss) = golden.train_epoch_with(
                &data.train,
                training,
                seed,
                epoch,
                |golden, _, gradients| {
                    // The noise gain moves slowly: it is taken once an epoch.
                    observation.see(golden, gradients, training, at == 0);
                    if seen.has(at) {
                        observation.see_sums(golden, gradients);
                    }
                    at += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_seen_at_both_ends_of_every_epoch_and_in_forty_steps_of_a_run() {
        let seen = |samples: usize, batch: usize, epochs: u32| -> Vec<usize> {
            let training = serde_json::json!({ "epochs": epochs, "batch": batch, "rate": 0.1 });
            let training = serde_json::from_value(training).unwrap();
            let steps = StepsSeen::of(samples, &training);
            (0..samples.div_ceil(batch)).filter(|&step| steps.has(step)).collect()
        };
        // 37 full batches and a remainder of 13.
        assert_eq!(seen(1197, 32, 20), [0, 36]);
        assert_eq!(seen(1197, 32, 10), [0, 12, 24, 36]);
        assert_eq!(seen(1197, 32, 1), (0..37).collect::<Vec<_>>());
        assert_eq!(seen(5, 8, 3), [0]);
        assert_eq!(seen(16, 8, 100), [0, 1]);
        for samples in (1..400).chain([60_000]) {
            for epochs in [1, 2, 3, 7, 39, 40, 41] {
                let (found, last) = (seen(samples, 3, epochs), (samples / 3).max(1) - 1);
                let most = last + 1;
                let wanted = 40_usize.div_ceil(epochs as usize).max(2).min(most);
                assert_eq!(found.len(), wanted, "{samples} {epochs}: {found:?}");
                assert_eq!((found[0], found[wanted - 1]), (0, last), "{samples} {epochs}");
            }
        }
    }
}
