//! Exact results, and codes of tensors, that are converted into a tensor some elements at a time.

use std::ops::Range;

use systoliq_fxp::{ConversionStatistics, Exact, LinearForm, Multiplier, Raw, Tensor, scale};

use super::{Occasion, Running, Store};
use crate::engine::Written;
use crate::finish::{CLIP_FRAC, Edge, Exit};
use crate::tensor::TensorId;

/// Elements that are computed at once.
pub(crate) const STRIP: usize = 1 << 10;

/// Room for the values of a strip of so many elements.
pub(crate) fn room(elements: usize) -> Vec<i64> {
    vec![0; elements.min(STRIP)]
}

/// The places of so many elements, some at once.
pub(crate) fn strips(elements: usize, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    (0..elements).step_by(at_once.max(1)).map(move |first| first..elements.min(first + at_once))
}

impl Store {
    /// Converts a sum of tensors, each times its factor, behind edges into a tensor without blocks; `seen`
    /// sees the values in order. Where the scale of the tensor asks for their range, they are computed
    /// twice.
    pub(crate) fn write_exact(
        &mut self,
        id: TensorId,
        terms: &[(Multiplier, TensorId)],
        edges: &[Edge],
        mut seen: impl FnMut(&Exact<'_>),
        running: &Running<'_>,
    ) -> Written {
        let (rows, cols) = self.shape(id);
        let mut room = room(rows * cols);
        let training = running.step.is_training();
        let range = self.looks_at_range(id, training).then(|| {
            let form = self.form(terms, &[]);
            let range = |places: Range<usize>| {
                self.pass(edges, form.at(places.clone(), &mut room), places.start).range()
            };
            let ranges = strips(rows * cols, STRIP).map(range);
            ranges.reduce(scale::Range::and).expect("a tensor has elements")
        });
        let range = || range.expect("the range that the scale asked for");
        let (conversion, second_pass) = self.conversion(id, range, running.occasion(id));
        let mut after = self.spare_room(conversion.to, (rows, cols));
        let mut statistics = ConversionStatistics::default();
        let form = self.form(terms, &[]);
        for places in strips(rows * cols, STRIP) {
            let values = self.pass(edges, form.at(places.clone(), &mut room), places.start);
            statistics.merge(&values.write(&conversion, &mut after, places.start));
            seen(&values);
        }
        self.observe(id, &statistics, training);
        self.replace(id, after);
        Written::converted(id, statistics, second_pass)
    }

    /// Converts the codes of a tensor into another: all at once if that has blocks.
    pub(crate) fn convert(&mut self, from: TensorId, to: TensorId, occasion: Occasion) -> Written {
        let frac = self.read(from).format().frac();
        let mut exit = self.exit_into(to, (Multiplier::ONE, frac), occasion);
        let source = self.read(from);
        if !exit.axes.is_empty() {
            exit.leave(&mut source.to_codes());
        } else if source.format().bits() < i32::BITS {
            leave_in_strips::<i32>(source, &mut exit);
        } else {
            leave_in_strips::<i64>(source, &mut exit);
        }
        self.accept(exit)
    }

    /// The sum of tensors, each times its factor, less that of others.
    pub(crate) fn form(
        &self,
        added: &[(Multiplier, TensorId)],
        taken: &[(Multiplier, TensorId)],
    ) -> LinearForm<'_> {
        let term = |negative| move |&(factor, id): &_| (factor, self.read(id), negative);
        let terms: Vec<_> =
            added.iter().map(term(false)).chain(taken.iter().map(term(true))).collect();
        LinearForm::new(&terms)
    }

    /// Exact values of elements from position `first` on behind edges.
    fn pass<'r>(&self, edges: &[Edge], values: Exact<'r>, first: usize) -> Exact<'r> {
        edges.iter().fold(values, |values, edge| {
            let gates = |frac| self.gates(std::slice::from_ref(edge), frac).0;
            match (edge, values) {
                (Edge::Clip { most }, values) => {
                    Exact::Wide(values.combination().at_most(*most, CLIP_FRAC))
                }
                (_, Exact::Narrow { frac, bits, raws }) => {
                    gates(frac).iter().for_each(|gate| gate.pass(raws, first));
                    Exact::Narrow { frac, bits, raws }
                }
                (Edge::Relu, Exact::Wide(values)) => Exact::Wide(values.nonnegative()),
                (Edge::Positive(_) | Edge::Between { .. }, Exact::Wide(values)) => {
                    let mut passes = vec![1; values.len()];
                    gates(0).iter().for_each(|gate| gate.pass(&mut passes, first));
                    Exact::Wide(values.only(|at| passes[at] != 0))
                }
            }
        })
    }
}

/// Lets the codes of a tensor leave, some at a time; all are seen before if the scale of the output asks
/// for their range.
fn leave_in_strips<R: Raw>(source: &Tensor, exit: &mut Exit) {
    let mut room = vec![R::zero(); source.len().min(STRIP)];
    if exit.waits() {
        strips(source.len(), STRIP).for_each(|places| exit.see(source.widen(places, &mut room)));
        exit.choose();
    }
    for places in strips(source.len(), STRIP) {
        exit.leave(source.widen(places, &mut room));
    }
}
