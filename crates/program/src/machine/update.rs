//! What updates do: every factor as a multiplier, every sum exact, every result rounded once.

use ndarray::Array2;
use systoliq_fxp::{
    Change, Combination, Conversion, ConversionStatistics, Multiplier, Tensor, UpdateStatistics,
};
use systoliq_keyed_random::Key;
use systoliq_nn::BatchGradient;

use super::{Machine, Outcome, Step};
use crate::TensorId;
use crate::command::Learning;
use crate::plan::{Role, TensorPlan};

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

/// What an update through a residual leaves to the command behind it.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    /// The weights and their residual after the update, not rounded.
    exact: Combination,
    /// The weights before it.
    weights: Tensor,
    /// Which of them were to change.
    asked: Vec<bool>,
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
        self.gathered = Some(exact.nonzero());
        self.observe(momentum, &statistics, step.training);
        self.finish(momentum, tensor, statistics, second_pass)
    }

    /// `weights ← convert(weights + residual − rate · gradient − decay · weights)`.
    pub(super) fn update(
        &mut self,
        (weights, residual, gradient): (TensorId, Option<TensorId>, TensorId),
        rate: Multiplier,
        decay: Option<Multiplier>,
        key: Key,
    ) -> Outcome {
        let mut change = Combination::of(rate, self.read(gradient));
        if let Some(decay) = decay {
            change = change.plus(decay, self.read(weights));
        }
        // What momentum lost to rounding was asked for, too.
        let asked = match self.program.tensor(gradient).role {
            Role::Momentum => self.gathered.take().expect("momentum before its update"),
            _ => change.nonzero(),
        };
        let mut exact = Combination::of(Multiplier::ONE, self.read(weights));
        if let Some(residual) = residual {
            exact = exact.plus(Multiplier::ONE, self.read(residual));
        }
        exact = exact.less(change);
        let (tensor, statistics) = exact.convert(&self.kept_scale(weights, key));
        let before = self.read(weights);
        if residual.is_some() {
            // Whether an element is stalled is known with its residual.
            self.passing = Some(Passing { exact, weights: before.clone(), asked });
            return self.finish(weights, tensor, statistics, false);
        }
        let overflow = self.program.tensor(weights).plan.overflow;
        let change = Change { before, after: &tensor };
        let update = UpdateStatistics::of(change, None, &asked, overflow);
        Outcome { update: Some(update), ..self.finish(weights, tensor, statistics, false) }
    }

    /// `residual ← convert(exact − weights)`, `exact` the result of the update before.
    pub(super) fn keep_residual(
        &mut self,
        residual: TensorId,
        weights: TensorId,
        key: Key,
    ) -> Outcome {
        let passing = self.passing.take().expect("an update before the residual");
        let after = self.read(weights);
        let left = passing.exact.minus(Multiplier::ONE, after);
        let (tensor, statistics) = left.convert(&self.kept_scale(residual, key));
        let update = UpdateStatistics::of(
            Change { before: &passing.weights, after },
            Some(Change { before: self.read(residual), after: &tensor }),
            &passing.asked,
            self.program.tensor(weights).plan.overflow,
        );
        Outcome { update: Some(update), ..self.finish(residual, tensor, statistics, false) }
    }

    /// Writes what initial weights leave to their residual.
    pub(super) fn leave(
        &mut self,
        residual: TensorId,
        weights: TensorId,
        initial: &Array2<f64>,
        key: Key,
    ) -> ConversionStatistics {
        let reals: Vec<f64> = initial.iter().copied().collect();
        let left = Combination::of_reals(initial.nrows(), initial.ncols(), &reals)
            .minus(Multiplier::ONE, self.read(weights));
        let (tensor, statistics) = left.convert(&self.kept_scale(residual, key));
        self.finish(residual, tensor, statistics, false).conversion
    }

    /// The conversion into a tensor that keeps its scale.
    fn kept_scale(&self, id: TensorId, key: Key) -> Conversion {
        let TensorPlan { format, rounding, overflow, .. } = self.program.tensor(id).plan;
        Conversion { from_frac: 0, scale: 1, to: format, rounding, overflow, key }
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
