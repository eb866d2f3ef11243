//! What a suggestion takes away, found out before anybody trains with it.
//!
//! A *trial* starts both networks from golden's parameters after its first epoch, lets each take the
//! same few steps of the second, and compares their logits on the first batch of training samples. So
//! it sees what a format does to the forward pass, and what it does to updates.

use systoliq_engine::Fast;
use systoliq_nn::{DataSet, Golden, Parameters, epoch_order};
use systoliq_program::{Engine, Step, Store};

use super::{Diagnosis, apply};
use systoliq_run::fitness::by_tensor;
use systoliq_run::{Error, Prepared};

/// The most steps of a trial.
const STEPS_MAX: usize = 32;

/// Where trials start, and what golden makes of it.
struct TrialStart<'a> {
    data: &'a DataSet,
    seed: u64,
    start: Parameters<f64>,
    /// Rows of the training part, step by step.
    order: Vec<u32>,
    /// Golden's logits after the steps, row by row.
    logits: Vec<f64>,
}

impl Diagnosis {
    /// Drops every suggestion that the program itself would warn of, or of whose tensor it would still
    /// warn, and those that take away no noise in a trial of a few steps. Orders the findings by the
    /// noise-to-signal ratio of the logits that their suggestions take away there.
    ///
    /// # Errors
    ///
    /// If a suggestion makes no possible experiment.
    pub fn weigh(&mut self, prepared: &Prepared, data: &DataSet, seed: u64) -> Result<(), Error> {
        if self.findings.is_empty() {
            return Ok(());
        }
        let known = by_tensor(prepared, data, seed);
        let trial = TrialStart::new(prepared, data, seed);
        let noise = trial.as_ref().map(|trial| trial.noise(prepared));
        for finding in &mut self.findings {
            let changed = apply(prepared, &finding.set)?;
            let about = |tensor: &String| finding.tensors.contains(tensor);
            let warned = by_tensor(&changed, data, seed);
            if warned.iter().any(|it| !known.contains(it) || it.tensor.as_ref().is_some_and(about))
            {
                finding.set.clear();
                continue;
            }
            let left = trial.as_ref().map(|trial| trial.noise(&changed));
            finding.noise_taken_away = noise.zip(left).map(|(noise, left)| noise - left);
            if finding.noise_taken_away.is_some_and(|taken| taken <= 0.0) {
                finding.set.clear();
            }
        }
        let taken = |finding: &super::Finding| match finding.noise_taken_away {
            Some(taken) if !finding.set.is_empty() => taken,
            _ => f64::NEG_INFINITY,
        };
        self.findings.sort_by(|a, b| taken(b).total_cmp(&taken(a)));
        Ok(())
    }
}

impl<'a> TrialStart<'a> {
    /// The trial of an experiment; none where golden leaves all bounds.
    fn new(prepared: &Prepared, data: &'a DataSet, seed: u64) -> Option<Self> {
        let training = &prepared.experiment.training;
        let mut golden = Golden::<f64>::new(&prepared.graph, seed);
        golden.train_epoch(&data.train, training, seed, 0);
        let start = golden.parameters().clone();
        if !start.are_finite() {
            return None;
        }
        let mut order = epoch_order(seed, 1, data.train.len());
        order.truncate(STEPS_MAX * training.batch);
        // What momentum gathered is not part of where they start.
        let mut golden = Golden::from_parameters(&prepared.graph, start.clone()).ok()?;
        for rows in order.chunks(training.batch) {
            golden.step(&data.train.batch(rows), training, 1);
        }
        let probe = data.train.batch(&first(training.batch));
        let logits: Vec<f64> =
            golden.gradients(&probe, training).logits().iter().copied().collect();
        let finite = logits.iter().all(|logit| logit.is_finite());
        finite.then_some(Self { data, seed, start, order, logits })
    }

    /// The error energy of the logits in fixed point over their signal energy.
    fn noise(&self, prepared: &Prepared) -> f64 {
        let Prepared { experiment, program, .. } = prepared;
        let batch = experiment.training.batch;
        let number = self.data.train.len().div_ceil(batch) as u64;
        let step = |at: usize| Step::training(self.seed, number + at as u64).in_epoch(1);
        let mut engine = Fast::default();
        let mut store = Store::with_parameters(program, &self.start, &step(0));
        for (at, rows) in self.order.chunks(batch).enumerate() {
            store.load(&self.data.train.batch(rows), &step(at));
            for &command in &program.step {
                engine.run(command, &mut store, &step(at));
            }
        }
        let probe = Step::probe(self.seed, 1);
        store.load(&self.data.train.batch(&first(batch)), &probe);
        store.judge(&probe, &mut engine);
        let logits = store.tensor(program.logits).expect("a forward pass has run");
        let (mut signal, mut error) = (0.0, 0.0);
        for (fixed, golden) in logits.to_reals().iter().zip(&self.logits) {
            let difference = fixed - golden;
            signal += golden * golden;
            error += difference * difference;
        }
        if signal > 0.0 { error / signal } else { 0.0 }
    }
}

/// The numbers of the first `count` samples.
fn first(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}
