//! The way out of every result: bias, edges, a factor, one conversion, one output.
//!
//! An [`Exit`] is that way on a store: sums go in, a strip at a time, and codes are in the output when
//! the last has left. Where a scale has to see all values before it converts the first, there is one
//! strip.

mod gate;

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

pub(crate) use gate::{Ceiling, Gate, pass_all};

use systoliq_fxp::scale::{Range as ValueRange, ends};
use systoliq_fxp::{
    ActivationCurve, Along, Conversion, ConversionStatistics, Converter, Exact, Format, History,
    Multiplier, Raw, Scale, Tensor, TensorPart,
};

use crate::command::Program;
use crate::operation::What;
use crate::plan::TensorPlan;
use crate::tensor::TensorId;
use crate::workers::Workers;

/// How sums become a tensor: `output = convert(factor · edge(sum + bias))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// One row, added last.
    pub bias: Option<TensorId>,
    /// What follows the bias, in this order.
    pub edges: Vec<Edge>,
    /// What the conversion multiplies by.
    pub factor: Factor,
    /// The result.
    pub output: TensorId,
}

/// What happens at the array's edge between bias and conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Negative values become 0.
    Relu,
    /// Values above a number of 2^-16 become that; none is negative.
    Clip {
        /// The number.
        most: i64,
    },
    /// Values become what a curve makes of them.
    Curve(ActivationCurve),
    /// Values become 0 where the named tensor is not positive.
    Positive(TensorId),
    /// Values become 0 where the named tensor is not positive, or not below the code that a number of
    /// 2^-16 rounds to.
    Between {
        /// The tensor.
        of: TensorId,
        /// The number.
        most: i64,
    },
    /// Values are multiplied by the slope of a curve where the named tensor is what left that.
    Slope {
        /// The tensor.
        of: TensorId,
        /// The curve.
        curve: ActivationCurve,
    },
}

impl Edge {
    /// Whether values that pass keep their codes or become 0.
    pub fn selects(&self) -> bool {
        match self {
            Self::Relu | Self::Positive(_) | Self::Between { .. } => true,
            Self::Clip { .. } | Self::Curve(_) | Self::Slope { .. } => false,
        }
    }
}

/// Fraction bits of what values are clipped at.
pub const CLIP_FRAC: i32 = 16;

/// A factor of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// Sums stay sums.
    One,
    /// Sums over a batch of B samples are multiplied by 1/B.
    Mean,
}

/// The masks and the tensors that edges read.
pub(crate) fn masks(edges: &[Edge]) -> impl Iterator<Item = (TensorId, What)> {
    edges.iter().filter_map(|edge| match edge {
        Edge::Positive(tensor) | Edge::Between { of: tensor, .. } => Some((*tensor, What::Mask)),
        Edge::Slope { of, .. } => Some((*of, What::Elements)),
        Edge::Relu | Edge::Clip { .. } | Edge::Curve(_) => None,
    })
}

/// What values are clipped at.
fn real_of(most: i64) -> f64 {
    most as f64 * 2f64.powi(-CLIP_FRAC)
}

/// Edges behind something, for a person.
pub(crate) fn describe(made: String, edges: &[Edge], program: &Program) -> String {
    let name_of = |id: TensorId| program.tensor(id).name.as_str();
    edges.iter().fold(made, |made, edge| match edge {
        Edge::Relu => format!("relu({made})"),
        Edge::Clip { most } => format!("min({made}, {})", real_of(*most)),
        Edge::Curve(curve) => format!("{}({made})", curve.name()),
        Edge::Positive(mask) => format!("{made} where {} > 0", name_of(*mask)),
        Edge::Between { of, most } => {
            format!("{made} where 0 < {} < {}", name_of(*of), real_of(*most))
        }
        Edge::Slope { of, curve } => {
            format!("({made}) * slope of {} at {}", curve.name(), name_of(*of))
        }
    })
}

impl Factor {
    /// The factor for a batch of `batch` samples.
    pub fn multiplier(self, batch: usize) -> Multiplier {
        match self {
            Self::One => Multiplier::ONE,
            Self::Mean => Multiplier::reciprocal(batch as u32),
        }
    }
}

/// What holds two ranges, if there are such.
fn union(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    let both = [a, b].into_iter().flatten();
    both.reduce(|a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1)))
}

/// Whether values leave all gates as integers of the type and the fraction bits that they come with.
fn keep_their_type(gates: &[Gate]) -> bool {
    gates.iter().all(Gate::keeps_type)
}

/// What results pass on their way; as many are in place as a layer has.
pub(crate) type Gates = SmallVec<[Gate; 2]>;

/// A tensor's copies; as many are in place as there are axes.
pub(crate) type Copies = SmallVec<[Arc<Tensor>; 2]>;

/// A tensor that nobody else has, to be written.
pub(crate) fn own(tensor: &mut Arc<Tensor>) -> &mut Tensor {
    Arc::get_mut(tensor).expect("a tensor that nobody else has")
}

/// Room for a tensor of a format and so many rows and columns, in the memory of a spare one if nobody else
/// has that.
pub(crate) fn room(
    format: Format,
    (rows, cols): (usize, usize),
    spare: Option<Arc<Tensor>>,
) -> Arc<Tensor> {
    if let Some(mut spare) = spare
        && let Some(tensor) = Arc::get_mut(&mut spare)
    {
        tensor.reshape(format, rows, cols);
        return spare;
    }
    Arc::new(Tensor::zeros(format, rows, cols))
}

/// Results on their way into a tensor.
#[derive(Debug)]
pub struct Exit {
    pub(crate) output: TensorId,
    pub(crate) plan: TensorPlan,
    pub(crate) shape: (usize, usize),
    pub(crate) gates: Gates,
    /// From the results' fraction bits, by the factor; of the format what is known.
    pub(crate) conversion: Conversion,
    /// The axes along which the output has blocks.
    pub(crate) axes: SmallVec<[Along; 2]>,
    pub(crate) training: bool,
    /// The scale, as it chooses.
    pub(crate) history: History,
    /// Whether it has to see all values first.
    pub(crate) second_pass: bool,
    /// Whether it has chosen.
    pub(crate) chosen: bool,
    /// What is written, of which nobody else has any.
    pub(crate) copies: Copies,
    pub(crate) statistics: ConversionStatistics,
    /// Fraction bits of results before gates.
    pub(crate) frac: i32,
    /// The smallest and the largest value so far.
    pub(crate) seen: SeenEnds,
    /// How many results have left.
    pub(crate) left: usize,
}

/// The smallest and the largest value that a scale has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenEnds {
    /// Of those that kept their type.
    ends: Option<(i64, i64)>,
    /// Of the others.
    range: Option<ValueRange>,
}

impl SeenEnds {
    /// Both together.
    fn and(self, other: Self) -> Self {
        Self { ends: union(self.ends, other.ends), range: joined(self.range, other.range) }
    }

    fn see(&mut self, ends: Option<(i64, i64)>) {
        self.ends = union(self.ends, ends);
    }
}

/// What holds two ranges, if there are such.
pub(crate) fn joined(a: Option<ValueRange>, b: Option<ValueRange>) -> Option<ValueRange> {
    [a, b].into_iter().flatten().reduce(ValueRange::and)
}

impl Exit {
    /// How many results there are, row by row.
    pub fn len(&self) -> usize {
        self.shape.0 * self.shape.1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all have to leave at once.
    pub fn waits(&self) -> bool {
        !self.chosen || !self.axes.is_empty()
    }

    /// Whether they have to this time alone, in which the scale has nothing to remember yet.
    pub fn waits_once(&self) -> bool {
        self.waits() && self.axes.is_empty() && self.plan.scale != Scale::Dynamic
    }

    /// Lets results leave, those behind the ones that left before; they are changed on the way.
    ///
    /// # Panics
    ///
    /// If there are more than are left, or not all where they have to leave at once.
    pub fn leave<R: Raw>(&mut self, values: &mut [R]) {
        if self.waits() {
            return self.leave_at_once(values);
        }
        let parts = std::iter::once((values.len(), values));
        let leave = |values: &mut [R], part: &mut ExitPart<'_>| {
            part.leave(values);
            0
        };
        self.leave_in_parts(&Workers::default(), parts, leave);
    }

    /// Lets results leave in parts, of which each has so many, by whoever works on them: those behind the
    /// ones that left before. Gives the sum of what `run` counts in each.
    ///
    /// # Panics
    ///
    /// If there are more than are left, or not as many leave as a part has, or all have to leave at once.
    pub fn leave_in_parts<P: Send>(
        &mut self,
        workers: &Workers,
        parts: impl Iterator<Item = (usize, P)>,
        run: impl Fn(P, &mut ExitPart<'_>) -> u64 + Sync,
    ) -> u64 {
        assert!(!self.waits(), "results of {:?} that leave at once", self.shape);
        let (conversion, looks) = (&self.conversion, self.asks_range());
        let mut rest = own(&mut self.copies[0]).whole_mut();
        rest.take(self.left);
        let gates = &self.gates[..];
        let parts = parts.map(|(count, work)| (work, rest.take(count)));
        let frac = self.frac;
        let run = |(work, into): (P, TensorPart<'_>)| {
            let (left, end) = (into.places().start, into.places().end);
            let converter = Converter::new(*conversion);
            let seen = SeenEnds::default();
            let mut part = ExitPart { gates, frac, converter, looks, into, left, seen };
            let counted = run(work, &mut part);
            assert_eq!(part.left, end, "results of a part that have left");
            (counted, part.left, part.converter.end(), part.seen)
        };
        let mut all = 0;
        let (left, statistics, seen) = (&mut self.left, &mut self.statistics, &mut self.seen);
        workers.each(parts, run, |(counted, until, of_part, of_this)| {
            *left = until;
            statistics.merge(&of_part);
            *seen = std::mem::take(seen).and(of_this);
            all += counted;
        });
        all
    }

    /// Lets all results leave that had to wait for each other.
    fn leave_at_once<R: Raw>(&mut self, values: &mut [R]) {
        assert!(self.left == 0 && values.len() == self.len(), "all results of {:?}", self.shape);
        self.left = values.len();
        if keep_their_type(&self.gates) {
            return self.pass_at_once(values);
        }
        if !self.axes.is_empty() {
            let mut wide: Vec<i64> = values.iter().map(|&raw| raw.into()).collect();
            self.conversion.from_frac = gate::clipped(&self.gates, &mut wide, self.frac);
            return self.leave_in_blocks(&wide);
        }
        if self.asks_range() {
            each_exact((&self.gates, self.frac), values, 0, |_, exact| {
                self.seen.range = joined(self.seen.range.take(), Some(exact.range()));
            });
        }
        self.choose();
        let mut converter = Converter::new(self.conversion);
        let mut into = own(&mut self.copies[0]).whole_mut();
        each_exact((&self.gates, self.frac), values, 0, |places, exact| {
            exact.write(&mut converter, into.at(places));
        });
        self.statistics = converter.end();
    }

    fn pass_at_once<R: Raw>(&mut self, values: &mut [R]) {
        self.gates.iter().for_each(|gate| gate.pass(values, 0));
        if !self.axes.is_empty() {
            return self.leave_in_blocks(values);
        }
        self.see(values);
        self.choose();
        self.statistics = self.conversion.write(values, own(&mut self.copies[0]).whole_mut());
    }

    /// Looks at values behind the gates, if the scale asks for their range.
    pub(crate) fn see<R: Raw>(&mut self, values: &[R]) {
        if self.asks_range() {
            self.seen.see(ends(values));
        }
    }

    /// Has the scale choose by the values that were seen, which are all.
    pub(crate) fn choose(&mut self) {
        let frac = self.history.choose(self.plan.scale, self.plan.format, self.fit());
        self.conversion.to = self.plan.format.with_frac(frac);
        own(&mut self.copies[0]).reshape(self.conversion.to, self.shape.0, self.shape.1);
        self.chosen = true;
    }

    fn asks_range(&self) -> bool {
        self.plan.scale.follows_range() && (self.training || self.second_pass)
    }

    fn leave_in_blocks<R: Raw>(&mut self, values: &[R]) {
        let size = self.plan.block().expect("a tensor with blocks").get() as usize;
        for &along in &self.axes {
            let (tensor, statistics) = self.conversion.blocks(self.shape, values, along, size);
            self.statistics.merge(&statistics);
            self.copies.push(Arc::new(tensor));
        }
    }

    /// The fraction bits that fit all values so far, if the scale asks for them.
    pub(crate) fn fit(&self) -> Option<i32> {
        let (min, max) = self.seen.ends.unwrap_or_default();
        let range = || match &self.seen.range {
            Some(range) => range.clone(),
            None => ValueRange::of(&[min, max], self.conversion.scale, self.conversion.from_frac),
        };
        self.asks_range()
            .then(|| range().largest_frac(self.plan.format, self.plan.overflow))
            .flatten()
    }
}

/// Some results on their way, behind each other.
#[derive(Debug)]
pub struct ExitPart<'e> {
    gates: &'e [Gate],
    /// Fraction bits of results before gates.
    frac: i32,
    converter: Converter,
    /// Whether the scale looks at their range.
    looks: bool,
    into: TensorPart<'e>,
    /// Before which place all have left.
    left: usize,
    /// The smallest and the largest value so far.
    seen: SeenEnds,
}

impl ExitPart<'_> {
    /// Lets results leave, those behind the ones that left before; they are changed on the way.
    ///
    /// # Panics
    ///
    /// If there are more than are left.
    pub fn leave<R: Raw>(&mut self, values: &mut [R]) {
        let places = self.left..self.left + values.len();
        self.left = places.end;
        if keep_their_type(self.gates) {
            return self.pass(values, places);
        }
        let Self { converter, into, seen, looks, .. } = self;
        each_exact((self.gates, self.frac), values, places.start, |places, exact| {
            if *looks {
                seen.range = joined(seen.range.take(), Some(exact.range()));
            }
            exact.write(converter, into.at(places));
        });
    }

    /// Lets results pass the gates, and converts them.
    fn pass<R: Raw>(&mut self, values: &mut [R], places: Range<usize>) {
        self.gates.iter().for_each(|gate| gate.pass(values, places.start));
        let into = self.into.at(places);
        if self.looks {
            let ends = ends(values);
            self.seen.see(ends);
            self.converter.write_between(ends, values, into);
        } else {
            self.converter.write(values, into);
        }
    }
}

/// Lets values of so many fraction bits pass gates exactly, some at a time, and hands them on with their
/// places, of which the first is `first`.
fn each_exact<R: Raw>(
    (gates, frac): (&[Gate], i32),
    values: &[R],
    first: usize,
    mut hand_on: impl FnMut(Range<usize>, Exact<'_>),
) {
    let mut room = [0; EXACT_STRIP];
    for (at, values) in (first..).step_by(EXACT_STRIP).zip(values.chunks(EXACT_STRIP)) {
        let raws = &mut room[..values.len()];
        raws.iter_mut().zip(values).for_each(|(raw, &value)| *raw = value.into());
        let exact = Exact::narrow(frac, raws);
        hand_on(at..at + values.len(), pass_all(gates, exact, at));
    }
}

/// Values that pass gates exactly at a time.
const EXACT_STRIP: usize = 1 << 10;
