//! The mismatch that widths cause on the integer store: quantization after training.

use std::sync::Arc;

use serde::Serialize;
use systoliq_engine::Fast;
use systoliq_nn::Parameters;
use systoliq_program::{Plan, Program, Step, Store, Verdict};

use super::{Assignment, Study};
use systoliq_run::Error;

/// Decisions on the test part, in fixed point and in floating point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Samples.
    pub samples: u64,
    /// Samples on which the decisions differ.
    pub mismatches: u64,
    /// Samples on which the fixed-point network errs.
    pub errors: u64,
}

impl Measured {
    /// `p_m`.
    pub fn mismatch(&self) -> f64 {
        self.mismatches as f64 / self.samples as f64
    }

    /// The error rate in fixed point.
    pub fn error_rate(&self) -> f64 {
        self.errors as f64 / self.samples as f64
    }
}

/// The store of `program` with trained parameters in place of the initial ones: quantization
/// after training.
///
/// # Panics
///
/// If `parameters` are of another network than `program`.
pub fn quantized(program: &Arc<Program>, parameters: &Parameters<f64>, seed: u64) -> Store {
    let weights: Vec<_> = parameters.layers.iter().map(|layer| layer.weights.clone()).collect();
    let mut store = Store::new(program, &weights, seed);
    for (layer, bias) in parameters.layers.iter().enumerate() {
        if let Some(bias) = &bias.bias {
            store.set_bias(layer, bias, seed);
        }
    }
    store
}

impl Study<'_> {
    /// Runs the trained network with these widths on the whole test part, every tensor of the
    /// forward pass and every sum in integers.
    ///
    /// # Errors
    ///
    /// As [`spec`](Self::spec).
    pub fn measure(&self, assignment: &Assignment) -> Result<Measured, Error> {
        let experiment = &self.prepared.experiment;
        let (graph, training, seed) = (&self.prepared.graph, &experiment.training, experiment.seed);
        let plan = Plan::resolve(graph, &self.spec(assignment)?)?;
        let program = Arc::new(Program::lower(graph, &plan, training)?);
        let mut store = quantized(&program, self.parameters(), seed);
        let mut engine = Fast::default();
        let mut measured = Measured::default();
        let mut decisions = self.decisions.as_slice();
        for (at, batch) in self.data.test.batches(super::CHUNK).enumerate() {
            let step = Step::evaluation(seed, "test", 0, at as u64);
            store.load(&batch, &step);
            let Verdict::Classes(softmax) = store.judge(&step, &mut engine) else {
                unreachable!("a classifier names classes");
            };
            let (ours, rest) = decisions.split_at(batch.len());
            decisions = rest;
            measured.samples += batch.len() as u64;
            measured.mismatches += softmax.errors(ours);
            measured.errors += softmax.errors(store.labels());
        }
        Ok(measured)
    }
}
