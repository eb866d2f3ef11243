//! What updates do: every factor as a multiplier, every sum exact, every result rounded once.

use systoliq_fxp::{
    Change, Conversion, ConversionStatistics, Exact, Multiplier, Tensor, UpdateStatistics,
};
use systoliq_nn::BatchGradient;

use crate::command::{Learning, Program};
use crate::engine::{Outcome, Written};
use crate::store::exact::{STRIP, room, strips};
use crate::store::{Occasion, Running, Step, Store};
use crate::tensor::TensorId;

/// Bits of the mantissas of β and λ; those of rates are part of the plan.
const FACTOR_BITS: u32 = 16;

/// A step of weights, or of a bias, against their gradient.
///
/// With momentum, `momentum ← β · momentum + gradient + λ · written`, the gradient as the mean over the
/// batch and without loss scale, and then `written ← written + residual − rate · momentum`; without,
/// `written ← written + residual − rate · gradient − rate · λ · written`. Then `residual ←` what
/// `written` could not hold of that exact sum, and `working ← written` in another format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The gradient.
    pub gradient: TensorId,
    /// What is gathered of gradients.
    pub momentum: Option<TensorId>,
    /// What is updated.
    pub written: TensorId,
    /// What that did not hold before.
    pub residual: Option<TensorId>,
    /// What the array reads, where it is not what is updated.
    pub working: Option<TensorId>,
    /// Whether the weights decay.
    pub decay: bool,
    /// Mantissa bits of the rates.
    pub rate_bits: u32,
}

/// One of the tensors that an update writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutput {
    /// What is gathered of gradients.
    Momentum,
    /// What is updated.
    Written,
    /// What that does not hold.
    Residual,
    /// What the array reads.
    Working,
}

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

impl Update {
    /// What it writes, in the order in which it does.
    pub fn outputs(&self) -> impl Iterator<Item = (UpdateOutput, TensorId)> {
        let of = |output: UpdateOutput, tensor: Option<TensorId>| tensor.map(|id| (output, id));
        let all = [
            of(UpdateOutput::Momentum, self.momentum),
            of(UpdateOutput::Written, Some(self.written)),
            of(UpdateOutput::Residual, self.residual),
            of(UpdateOutput::Working, self.working),
        ];
        all.into_iter().flatten()
    }

    /// Which of its outputs a tensor is.
    ///
    /// # Panics
    ///
    /// If it is none.
    pub fn output(&self, tensor: TensorId) -> UpdateOutput {
        let is = |of: &(UpdateOutput, TensorId)| of.1 == tensor;
        self.outputs().find(is).expect("a tensor that the update writes").0
    }

    /// What the rate multiplies: a gradient, or what was gathered.
    pub fn multiplied(&self) -> TensorId {
        self.momentum.unwrap_or(self.gradient)
    }

    /// Whether weights decay as they are written; beside momentum, they decay into that.
    pub fn decays_as_written(&self) -> bool {
        self.decay && self.momentum.is_none()
    }

    pub(super) fn reads(&self, output: TensorId) -> Vec<TensorId> {
        match self.output(output) {
            UpdateOutput::Momentum => {
                let decaying = self.decay.then_some(self.written);
                [output, self.gradient].into_iter().chain(decaying).collect()
            }
            UpdateOutput::Written => {
                [self.written, self.multiplied()].into_iter().chain(self.residual).collect()
            }
            UpdateOutput::Residual | UpdateOutput::Working => vec![self.written],
        }
    }

    pub(super) fn describe(&self, program: &Program, output: TensorId) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let (name, written) = (name_of(output), name_of(self.written));
        let decaying = |decays: bool, factor: &str| {
            if decays { format!(" {factor} * {written}") } else { String::new() }
        };
        match self.output(output) {
            UpdateOutput::Momentum => {
                let decay = decaying(self.decay, "+ decay");
                format!("{name} = momentum * {name} + {}{decay}", name_of(self.gradient))
            }
            UpdateOutput::Written => {
                let residual =
                    self.residual.map(|id| format!(" + {}", name_of(id))).unwrap_or_default();
                let decay = decaying(self.decays_as_written(), "- rate * decay");
                format!("{name} = {name}{residual} - rate * {}{decay}", name_of(self.multiplied()))
            }
            UpdateOutput::Residual => format!("{name} = what {written} does not hold of that"),
            UpdateOutput::Working => format!("{name} = {written}"),
        }
    }

    /// The factors of momentum on the batch that is loaded.
    pub fn gathering(&self, store: &Store) -> Gathering {
        let learning = &store.program().learning;
        let mean = match learning.batch_gradient {
            BatchGradient::Mean => Multiplier::ONE,
            BatchGradient::Sum => Multiplier::reciprocal(store.batch() as u32),
        };
        Gathering {
            momentum: multiplier(learning.momentum, 1, FACTOR_BITS),
            gradient: without_loss_scale(mean, learning),
            decay: self.decay.then(|| multiplier(learning.weight_decay, 1, FACTOR_BITS)),
        }
    }

    /// The learning rate of `step` as it multiplies. Of a gradient it is divided by the loss scale and,
    /// where gradients are sums, by the size of the batch that is loaded; a momentum is free of both.
    pub fn rate(&self, store: &Store, step: &Step) -> Multiplier {
        let learning = &store.program().learning;
        let rate = learning.schedule.rate(learning.rate, step.epoch());
        if self.momentum.is_some() {
            return multiplier(rate, 1, self.rate_bits);
        }
        let divisor = match learning.batch_gradient {
            BatchGradient::Mean => 1,
            BatchGradient::Sum => store.batch() as u32,
        };
        without_loss_scale(multiplier(rate, divisor, self.rate_bits), learning)
    }

    /// The rate of `step` times λ, where weights decay as they are written.
    pub fn decay_rate(&self, store: &Store, step: &Step) -> Option<Multiplier> {
        let learning = &store.program().learning;
        let rate = learning.schedule.rate(learning.rate, step.epoch());
        let decays = self.decays_as_written();
        decays.then(|| multiplier(rate * learning.weight_decay, 1, self.rate_bits))
    }

    pub(super) fn run(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        let (gathered, asked) =
            self.momentum.map(|momentum| self.gather(momentum, store, running)).unzip();
        let mut written: Vec<Written> = gathered.into_iter().collect();
        written.extend(self.descend(asked.as_deref(), store, running));
        if let Some(asked) = asked {
            store.keep_asked(asked);
        }
        written.extend(
            self.working
                .map(|working| store.convert(self.written, working, running.occasion(working))),
        );
        Outcome { written, loss: None }
    }

    /// `momentum ← convert(β · momentum + gradient + λ · written)`; also where that is not zero before it
    /// is rounded.
    fn gather(
        &self,
        momentum: TensorId,
        store: &mut Store,
        running: &Running<'_>,
    ) -> (Written, Vec<bool>) {
        let factors = self.gathering(store);
        let mut terms = vec![(factors.momentum, momentum), (factors.gradient, self.gradient)];
        terms.extend(factors.decay.map(|decay| (decay, self.written)));
        let mut asked = store.take_asked();
        let seen = |exact: &Exact<'_>| {
            let first = asked.len();
            asked.resize(first + exact.len(), false);
            exact.nonzero(&mut asked[first..]);
        };
        let written = store.write_exact(momentum, &terms, &[], seen, running);
        (written, asked)
    }

    /// `written ← convert(exact)` and `residual ← convert(exact − written)` with
    /// `exact = written + residual − rate · (momentum or gradient) − decay · written`.
    fn descend(
        &self,
        gathered: Option<&[bool]>,
        store: &mut Store,
        running: &Running<'_>,
    ) -> Vec<Written> {
        let decay = self.decay_rate(store, running.step).map(|decay| (decay, self.written));
        let mut change = vec![(self.rate(store, running.step), self.multiplied())];
        change.extend(decay);
        let held = [Some(self.written), self.residual].into_iter().flatten();
        let held: Vec<_> = held.map(|id| (Multiplier::ONE, id)).collect();
        let mut weights = Destination::new(self.written, store, running);
        let mut residual = self.residual.map(|id| Destination::new(id, store, running));
        let (asks, exact) = (store.form(&change, &[]), store.form(&held, &change));
        let ends = weights.conversion.overflow.ends(weights.conversion.to);
        let mut update = UpdateStatistics::default();
        let mut room = room(weights.after.len());
        let mut asked = vec![false; room.len()];
        for places in strips(weights.after.len(), STRIP) {
            let asked = &mut asked[..places.len()];
            // What momentum lost to rounding was asked for, too.
            match gathered {
                Some(gathered) => asked.copy_from_slice(&gathered[places.clone()]),
                None => asks.nonzero(places.clone(), &mut room, asked),
            }
            let exact = exact.at(places.clone(), &mut room);
            weights.write(&exact, places.start);
            if let Some(residual) = &mut residual {
                residual.write(&exact.minus(&weights.after, places.clone()), places.start);
            }
            let of_residual = residual.as_ref().map(|residual| residual.change(store));
            let of_weights = weights.change(store);
            update.merge(&UpdateStatistics::of(asked, &places, of_weights, ends, of_residual));
        }
        let mut written: Vec<Written> =
            [Some(weights), residual].into_iter().flatten().map(|of| of.end(store)).collect();
        written.last_mut().expect("the weights").update = Some(update);
        written
    }
}

/// A tensor that keeps its scale, as it is written anew.
struct Destination {
    id: TensorId,
    conversion: Conversion,
    after: Tensor,
    statistics: ConversionStatistics,
}

impl Destination {
    fn new(id: TensorId, store: &mut Store, running: &Running<'_>) -> Self {
        let Occasion { key, squares, .. } = running.occasion(id);
        let conversion = running.program.tensor(id).plan.conversion(key, squares);
        let after = store.spare_room(conversion.to, store.shape(id));
        Self { id, conversion, after, statistics: ConversionStatistics::default() }
    }

    /// Writes values from position `first` on.
    fn write(&mut self, exact: &Exact<'_>, first: usize) {
        self.statistics.merge(&exact.write(&self.conversion, &mut self.after, first));
    }

    fn change<'a>(&'a self, store: &'a Store) -> Change<'a> {
        Change { before: store.read(self.id), after: &self.after }
    }

    fn end(self, store: &mut Store) -> Written {
        store.replace(self.id, self.after);
        Written::converted(self.id, self.statistics, false)
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
