//! The way out of every result: bias, edges, a factor, one conversion, one output.
//!
//! An [`Exit`] is that way on a store: sums go in, a strip at a time, and codes are in the output when
//! the last has left. Where a scale has to see all values before it converts the first, there is one
//! strip.

mod gate;

use std::sync::Arc;

use smallvec::SmallVec;

pub(crate) use gate::{Ceiling, Gate};

use systoliq_fxp::scale::{Range, ends};
use systoliq_fxp::{
    Along, Conversion, ConversionStatistics, Converter, Format, History, Multiplier, Raw, Scale,
    Tensor, TensorPart,
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

/// The masks that edges read.
pub(crate) fn masks(edges: &[Edge]) -> impl Iterator<Item = (TensorId, What)> {
    edges.iter().filter_map(|edge| match edge {
        Edge::Positive(tensor) | Edge::Between { of: tensor, .. } => Some((*tensor, What::Mask)),
        Edge::Relu | Edge::Clip { .. } => None,
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
        Edge::Positive(mask) => format!("{made} where {} > 0", name_of(*mask)),
        Edge::Between { of, most } => {
            format!("{made} where 0 < {} < {}", name_of(*of), real_of(*most))
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

/// Whether values of a type may leave gates with more bits than it has.
fn widens<R: Raw>(gates: &[Gate]) -> bool {
    R::BITS < i64::BITS && gates.iter().any(Gate::widens)
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
    /// The smallest and the largest value so far.
    pub(crate) ends: Option<(i64, i64)>,
    /// How many results have left.
    pub(crate) left: usize,
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
        let run = |(work, into): (P, TensorPart<'_>)| {
            let (left, end) = (into.places().start, into.places().end);
            let converter = Converter::new(*conversion);
            let mut part = ExitPart { gates, converter, looks, into, left, ends: None };
            let counted = run(work, &mut part);
            assert_eq!(part.left, end, "results of a part that have left");
            (counted, part.left, part.converter.end(), part.ends)
        };
        let mut all = 0;
        let (left, statistics, ends_so_far) =
            (&mut self.left, &mut self.statistics, &mut self.ends);
        workers.each(parts, run, |(counted, until, of_part, ends)| {
            *left = until;
            statistics.merge(&of_part);
            *ends_so_far = union(*ends_so_far, ends);
            all += counted;
        });
        all
    }

    /// Lets all results leave that had to wait for each other.
    fn leave_at_once<R: Raw>(&mut self, values: &mut [R]) {
        assert!(self.left == 0 && values.len() == self.len(), "all results of {:?}", self.shape);
        self.left = values.len();
        if widens::<R>(&self.gates) {
            let mut wide: Vec<i64> = values.iter().map(|&raw| raw.into()).collect();
            return self.pass_at_once(&mut wide);
        }
        self.pass_at_once(values);
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
            self.ends = union(self.ends, ends(values));
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
        let (min, max) = self.ends.unwrap_or_default();
        let range = || Range::of(&[min, max], self.conversion.scale, self.conversion.from_frac);
        self.asks_range()
            .then(|| range().largest_frac(self.plan.format, self.plan.overflow))
            .flatten()
    }
}

/// Some results on their way, behind each other.
#[derive(Debug)]
pub struct ExitPart<'e> {
    gates: &'e [Gate],
    converter: Converter,
    /// Whether the scale looks at their range.
    looks: bool,
    into: TensorPart<'e>,
    /// Before which place all have left.
    left: usize,
    /// The smallest and the largest value so far.
    ends: Option<(i64, i64)>,
}

impl ExitPart<'_> {
    /// Lets results leave, those behind the ones that left before; they are changed on the way.
    ///
    /// # Panics
    ///
    /// If there are more than are left.
    pub fn leave<R: Raw>(&mut self, values: &mut [R]) {
        if widens::<R>(self.gates) {
            let mut wide: Vec<i64> = values.iter().map(|&raw| raw.into()).collect();
            return self.pass(&mut wide);
        }
        self.pass(values);
    }

    /// Lets results pass the gates, and converts them.
    fn pass<R: Raw>(&mut self, values: &mut [R]) {
        let places = self.left..self.left + values.len();
        self.left = places.end;
        self.gates.iter().for_each(|gate| gate.pass(values, places.start));
        let into = self.into.at(places);
        if self.looks {
            let ends = ends(values);
            self.ends = union(self.ends, ends);
            self.converter.write_between(ends, values, into);
        } else {
            self.converter.write(values, into);
        }
    }
}
