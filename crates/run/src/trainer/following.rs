//! Teacher-forced training: every step of fixed point starts from golden's weights.

use std::sync::Arc;

use systoliq_fxp::ExactSum;
use systoliq_nn::Golden;
use systoliq_nn::golden::Real;
use systoliq_program::Step;

use super::{Conduct, FixedEpoch};
use crate::Error;
use crate::comparison::{ByTensor, Counterparts, Differences, is_parameter};
use crate::cpu::Stopwatch;
use crate::dump::Dump;

/// An epoch in which fixed point followed the golden model.
pub(super) struct Followed {
    /// Mean loss of golden's samples, each before its step's update.
    pub(super) golden_loss: f64,
    /// The same in fixed point.
    pub(super) fixed_loss: f64,
    /// How far the tensors were apart, over all steps.
    pub(super) steps: ByTensor,
}

impl FixedEpoch<'_, '_> {
    /// Trains `golden` for an epoch, and runs every step in fixed point from the weights that
    /// golden starts it with. What a step's own update makes of them is counted, and gone with the
    /// next step. At the end the store has golden's weights, converted.
    pub(super) fn follow<F: Real>(
        &mut self,
        golden: &mut Golden<F>,
        conduct: &Conduct<'_>,
        mut dump: Option<&mut Dump<'_>>,
    ) -> Result<Followed, Error> {
        let (data, seed) = (self.data, self.record.seed);
        let workers = Arc::clone(self.store.workers());
        let training = &self.prepared.experiment.training;
        let mut loss = ExactSum::default();
        let mut differences = Differences::default();
        let epoch = self.epoch;
        let finite = |golden: &Golden<F>| {
            let lost = Error::GoldenDiverged { seed, epoch: epoch + 1 };
            if golden.parameters().are_finite() { Ok(()) } else { Err(lost) }
        };
        let golden_loss = golden.train_epoch_with(
            &data.train,
            training,
            seed,
            epoch,
            |golden, rows, found| {
                let stopwatch = Stopwatch::of(&workers);
                finite(golden)?;
                let counterparts =
                    Counterparts { golden, found, loss_scale: f64::from(training.loss_scale) };
                let step = Step::training(seed, self.record.steps);
                self.store.set_parameters(golden.parameters(), &step);
                differences.add(self.store, &counterparts, is_parameter);
                let before = stopwatch.seconds();
                self.step(rows, &mut loss, dump.as_deref_mut())?;
                let after = stopwatch.seconds();
                differences.add(self.store, &counterparts, |quantity| !is_parameter(quantity));
                self.cpu.fixed_training += after - before;
                self.cpu.comparison += stopwatch.seconds() - (after - before);
                (conduct.progress)(self.record.steps);
                Ok::<_, Error>(())
            },
        )?;
        finite(golden)?;
        let step = Step::probe(seed, u64::from(epoch) + 1);
        self.store.set_parameters(golden.parameters(), &step);
        let fixed_loss = loss.to_f64() / data.train.len() as f64;
        Ok(Followed { golden_loss, fixed_loss, steps: differences.figures() })
    }
}
