//! What updates do: every factor as a multiplier, every sum exact, every result rounded once.

use std::ops::Range;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use systoliq_fxp::{
    Change, Conversion, ConversionStatistics, Converter, Exact, LinearForm, Multiplier, Tensor,
    TensorPart, UpdateStatistics,
};
use systoliq_nn::BatchGradient;

use crate::command::{Learning, Program};
use crate::engine::{AllWritten, Outcome, Written};
use crate::finish::own;
use crate::store::exact::{ElementStrips, STRIP, TermSums};
use crate::store::{Occasion, Running, Step, Store};
use crate::tensor::TensorId;

/// Tensors and their factors; as many are in place as an update reads.
type UpdateTerms = SmallVec<[(Multiplier, TensorId); 4]>;

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
        let mut asked = std::mem::take(&mut store.memory.asked);
        let gathered =
            self.momentum.map(|momentum| self.gather(momentum, &mut asked, store, running));
        let mut written: AllWritten = gathered.into_iter().collect();
        self.descend(self.momentum.map(|_| &*asked), store, running, &mut written);
        store.memory.asked = asked;
        written.extend(
            self.working
                .map(|working| store.convert(self.written, working, running.occasion(working))),
        );
        Outcome { written, loss: None }
    }

    /// `momentum ← convert(β · momentum + gradient + λ · written)`; tells in `asked` where that is not zero
    /// before it is rounded.
    fn gather(
        &self,
        momentum: TensorId,
        asked: &mut Vec<bool>,
        store: &mut Store,
        running: &Running<'_>,
    ) -> Written {
        let factors = self.gathering(store);
        let mut terms: UpdateTerms =
            smallvec![(factors.momentum, momentum), (factors.gradient, self.gradient)];
        terms.extend(factors.decay.map(|decay| (decay, self.written)));
        asked.resize(store.read(momentum).len(), false);
        let sums = TermSums { added: &terms, taken: &[] };
        store.write_exact(momentum, &sums, &[], Some(asked), running)
    }

    /// `written ← convert(exact)` and `residual ← convert(exact − written)` with
    /// `exact = written + residual − rate · (momentum or gradient) − decay · written`.
    fn descend(
        &self,
        gathered: Option<&[bool]>,
        store: &mut Store,
        running: &Running<'_>,
        written: &mut AllWritten,
    ) {
        let decay = self.decay_rate(store, running.step).map(|decay| (decay, self.written));
        let mut change: UpdateTerms =
            smallvec![(self.rate(store, running.step), self.multiplied())];
        change.extend(decay);
        let held = [Some(self.written), self.residual].into_iter().flatten();
        let held: UpdateTerms = held.map(|id| (Multiplier::ONE, id)).collect();
        let mut weights = Destination::new(self.written, store, running);
        let mut residual = self.residual.map(|id| Destination::new(id, store, running));
        let descent = WeightDescent {
            gathered,
            asks: store.form(&change, &[]),
            exact: store.form(&held, &change),
            ends: weights.conversion.overflow.ends(weights.conversion.to),
        };
        let elements = weights.after.len();
        let mut to_weights = weights.parts(store);
        let mut to_residual = residual.as_mut().map(|residual| residual.parts(store));
        let parts = ElementStrips::of(elements, store.workers()).map(|strips| {
            let residual = to_residual.as_mut().map(|parts| parts.take(strips.len()));
            (to_weights.take(strips.len()), residual, strips)
        });
        let mut update = UpdateStatistics::default();
        let mut counted = [(); 2].map(|()| ConversionStatistics::default());
        let run = |(weights, residual, strips)| descent.run(weights, residual, strips);
        store.workers().each(parts, run, |(of_update, of_weights, of_residual)| {
            update.merge(&of_update);
            counted[0].merge(&of_weights);
            of_residual.iter().for_each(|of_residual| counted[1].merge(of_residual));
        });
        drop(descent);
        let destinations = [Some(weights), residual].into_iter().zip(counted);
        written.extend(destinations.filter_map(|(of, counted)| Some(of?.end(counted, store))));
        written.last_mut().expect("the weights").update = Some(update);
    }
}

/// What weights become.
struct WeightDescent<'a> {
    /// Where momentum asks for a change, if there is one.
    gathered: Option<&'a [bool]>,
    /// What is asked otherwise.
    asks: LinearForm<'a>,
    exact: LinearForm<'a>,
    /// Those of the weights' range.
    ends: (i64, i64),
}

impl WeightDescent<'_> {
    /// Writes some weights, and what is left of them; says what that did, and what the conversions did.
    fn run(
        &self,
        mut weights: DestinationPart<'_>,
        mut residual: Option<DestinationPart<'_>>,
        strips: ElementStrips,
    ) -> (UpdateStatistics, ConversionStatistics, Option<ConversionStatistics>) {
        let mut update = UpdateStatistics::default();
        let mut to_weights = Converter::new(*weights.conversion);
        let mut to_residual = residual.as_ref().map(|part| Converter::new(*part.conversion));
        let mut asked = [false; STRIP];
        strips.each(|places, room| {
            let asked = &mut asked[..places.len()];
            // What momentum lost to rounding was asked for, too.
            match self.gathered {
                Some(gathered) => asked.copy_from_slice(&gathered[places.clone()]),
                None => self.asks.nonzero(places.clone(), room, asked),
            }
            let exact = self.exact.at(places.clone(), room);
            let of_weights = weights.write(&mut to_weights, &exact, &places);
            let of_residual = residual.as_mut().zip(to_residual.as_mut());
            let of_residual = of_residual.map(|(residual, converter)| {
                residual.write(converter, &exact.minus(&of_weights.1), &places)
            });
            let of_residual = of_residual.as_ref().map(change);
            update.merge(&UpdateStatistics::of(asked, change(&of_weights), self.ends, of_residual));
        });
        (update, to_weights.end(), to_residual.map(Converter::end))
    }
}

fn change<'a>((before, after): &'a (&Tensor, TensorPart<'_>)) -> Change<'a> {
    Change { before, after }
}

/// A tensor that keeps its scale, as it is written anew.
struct Destination {
    id: TensorId,
    conversion: Conversion,
    after: Arc<Tensor>,
}

impl Destination {
    fn new(id: TensorId, store: &mut Store, running: &Running<'_>) -> Self {
        let Occasion { key, squares, .. } = running.occasion(id);
        let conversion = running.program.tensor(id).plan.conversion(key, squares);
        let after = store.spare_room(conversion.to, store.shape(id));
        Self { id, conversion, after }
    }

    /// All of it, to be written in parts.
    fn parts<'d>(&'d mut self, store: &'d Store) -> DestinationPart<'d> {
        let (conversion, after) = (&self.conversion, own(&mut self.after).whole_mut());
        DestinationPart { conversion, before: store.read(self.id), after }
    }

    fn end(self, statistics: ConversionStatistics, store: &mut Store) -> Written {
        store.replace(self.id, self.after);
        Written::converted(self.id, statistics, false)
    }
}

/// A part of such a tensor.
struct DestinationPart<'d> {
    conversion: &'d Conversion,
    /// The tensor as it was.
    before: &'d Tensor,
    after: TensorPart<'d>,
}

impl<'d> DestinationPart<'d> {
    /// Takes off what is written first.
    fn take(&mut self, count: usize) -> Self {
        Self { after: self.after.take(count), ..*self }
    }

    /// Writes values at some places; gives the tensor as it was, and what is there.
    fn write(
        &mut self,
        converter: &mut Converter,
        exact: &Exact<'_>,
        places: &Range<usize>,
    ) -> (&'d Tensor, TensorPart<'_>) {
        exact.write(converter, self.after.at(places.clone()));
        (self.before, self.after.at(places.clone()))
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
