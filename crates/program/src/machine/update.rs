//! What updates do: every factor as a multiplier, every sum exact, every result rounded once.

use systoliq_fxp::{Combination, Conversion, Multiplier, UpdateStatistics};
use systoliq_keyed_random::Key;
use systoliq_nn::BatchGradient;

use super::{Machine, Outcome, Step};
use crate::TensorId;
use crate::command::Learning;
use crate::plan::Role;

/// Bits of the mantissas of β and λ; those of rates are part of the plan.
const FACTOR_BITS: u32 = 16;

/// The factors of what momentum gathers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// β.
    pub momentum: Multiplier,
    /// What makes the gradient that of the mean loss of the batch: without loss scale and, where
    /// gradients are sums, divided by the size of the batch.
    pub gradient: Multiplier,
    /// λ, where the weights decay.
    pub decay: Option<Multiplier>,
}

impl Machine<'_> {
    /// The factors of the command [`Momentum`](crate::Operation::Momentum) on the loaded batch.
    pub fn gathering(&self, decay: bool) -> Gathering {
        let learning = &self.program.learning;
        let mean = match learning.batch_gradient {
            BatchGradient::Mean => Multiplier::ONE,
            BatchGradient::Sum => Multiplier::reciprocal(self.batch() as u32),
        };
        Gathering {
            momentum: multiplier(learning.momentum, 1, FACTOR_BITS),
            gradient: without_loss_scale(mean, learning),
            decay: decay.then(|| multiplier(learning.weight_decay, 1, FACTOR_BITS)),
        }
    }

    /// The learning rate of `step` as the update multiplies it with tensor `gradient`, with a
    /// mantissa of `bits` bits. Of a gradient it is divided by the loss scale and, where gradients
    /// are sums, by the size of the loaded batch; a momentum is free of both.
    pub fn rate(&self, gradient: TensorId, bits: u32, step: &Step) -> Multiplier {
        let learning = &self.program.learning;
        let rate = learning.schedule.rate(learning.rate, step.epoch);
        if self.program.tensor(gradient).role == Role::Momentum {
            return multiplier(rate, 1, bits);
        }
        let divisor = match learning.batch_gradient {
            BatchGradient::Mean => 1,
            BatchGradient::Sum => self.batch() as u32,
        };
        without_loss_scale(multiplier(rate, divisor, bits), learning)
    }

    /// The rate of `step` times λ: what of the weights decays in an update without momentum.
    pub fn decay_rate(&self, bits: u32, step: &Step) -> Multiplier {
        let learning = &self.program.learning;
        let rate = learning.schedule.rate(learning.rate, step.epoch);
        multiplier(rate * learning.weight_decay, 1, bits)
    }

    /// `momentum ← convert(β · momentum + gradient + λ · weights)`.
    pub(super) fn gather(
        &mut self,
        (momentum, gradient): (TensorId, TensorId),
        decaying: Option<TensorId>,
        step: &Step,
        key: Key,
    ) -> Outcome {
        let factors = self.gathering(decaying.is_some());
        let exact = Combination::of(factors.momentum, self.read(momentum))
            .plus(factors.gradient, self.read(gradient));
        let exact = match factors.decay.zip(decaying) {
            Some((decay, weights)) => exact.plus(decay, self.read(weights)),
            None => exact,
        };
        let (conversion, second_pass) =
            self.conversion(momentum, || exact.range(), key, step.training);
        let (tensor, statistics) = exact.convert(&conversion);
        self.finish(momentum, tensor, statistics, second_pass)
    }

    /// `weights ← convert(weights − rate · gradient − decay · weights)`.
    pub(super) fn update(
        &mut self,
        (weights, gradient): (TensorId, TensorId),
        rate: Multiplier,
        decay: Option<Multiplier>,
        key: Key,
    ) -> Outcome {
        let (before, descent) = (self.read(weights), self.read(gradient));
        let exact = Combination::of(Multiplier::ONE, before).minus(rate, descent);
        let exact = match decay {
            Some(decay) => exact.minus(decay, before),
            None => exact,
        };
        let plan = self.program.tensor(weights).plan;
        let (tensor, statistics) = exact.convert(&Conversion {
            from_frac: 0,
            scale: 1,
            to: before.format(),
            rounding: plan.rounding,
            overflow: plan.overflow,
            key,
        });
        let update = UpdateStatistics::of(before, descent, &tensor, plan.overflow);
        Outcome { update: Some(update), ..self.finish(weights, tensor, statistics, false) }
    }
}

/// The multiplier nearest to `value / divisor`.
fn multiplier(value: f64, divisor: u32, bits: u32) -> Multiplier {
    let nearest = Multiplier::nearest_quotient(value, divisor, bits);
    nearest.expect("a rate or factor that was checked")
}

/// `factor` of a gradient, with the loss scale divided out.
fn without_loss_scale(factor: Multiplier, learning: &Learning) -> Multiplier {
    Multiplier { exponent: factor.exponent + learning.loss_scale_log2, ..factor }
}
