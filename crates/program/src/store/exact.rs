//! Exact results, and codes of tensors, that are converted into a tensor some elements at a time.

use std::ops::Range;
use std::sync::Arc;

use systoliq_fxp::{
    Conversion, ConversionStatistics, Converter, Exact, LinearForm, Multiplier, Overflow, Raw,
    Rounding, Tensor, TensorPart,
};
use systoliq_keyed_random::Key;

use super::{Occasion, Running, Store};
use crate::engine::Written;
use crate::finish::{Edge, Exit, joined, own, pass_all};
use crate::tensor::TensorId;
use crate::workers::{Workers, in_strips};

/// Elements that are computed at once.
pub(crate) const STRIP: usize = 1 << 10;

/// The fewest elements that it pays to have computed by a thread of their own.
const THREAD_ELEMENTS: usize = 1 << 14;

/// Some elements, strip by strip.
pub(crate) struct ElementStrips {
    places: Range<usize>,
}

impl ElementStrips {
    /// So many elements, for each worker some.
    pub(crate) fn of(elements: usize, workers: &Workers) -> impl Iterator<Item = Self> + use<> {
        let cuts = workers.cut(elements, STRIP, THREAD_ELEMENTS);
        cuts.into_iter().map(|places| Self { places })
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Does something with the places of each strip, and with room for their values.
    pub(crate) fn each<R: Raw>(self, mut with: impl FnMut(Range<usize>, &mut [R])) {
        let mut room = [R::zero(); STRIP];
        for places in in_strips(self.places, STRIP) {
            with(places, &mut room);
        }
    }
}

/// A tensor times a factor.
pub(crate) type Term = (Multiplier, TensorId);

/// Exact values of the elements of a tensor, counted row by row.
pub(crate) trait ExactValues: Sync {
    /// Those of some places, perhaps in the room that there is.
    fn at<'r>(&self, places: Range<usize>, room: &'r mut [i64]) -> Exact<'r>;
}

/// What makes exact values of the tensors of a store.
pub(crate) trait ExactSource {
    /// The values.
    type Values<'s>: ExactValues
    where
        Self: 's;

    /// The values that it makes.
    fn values<'s>(&'s self, store: &'s Store) -> Self::Values<'s>;
}

impl ExactValues for LinearForm<'_> {
    fn at<'r>(&self, places: Range<usize>, room: &'r mut [i64]) -> Exact<'r> {
        LinearForm::at(self, places, room)
    }
}

/// A sum of tensors, each times its factor, less that of others.
pub(crate) struct TermSums<'t> {
    pub(crate) added: &'t [Term],
    pub(crate) taken: &'t [Term],
}

impl ExactSource for TermSums<'_> {
    type Values<'s>
        = LinearForm<'s>
    where
        Self: 's;

    fn values<'s>(&'s self, store: &'s Store) -> LinearForm<'s> {
        store.form(self.added, self.taken)
    }
}

impl Store {
    /// Converts exact values behind edges into a tensor without blocks; tells, if asked, of each value
    /// whether it is not zero. Where the scale of the tensor asks for their range, they are computed twice.
    pub(crate) fn write_exact(
        &mut self,
        id: TensorId,
        source: &impl ExactSource,
        edges: &[Edge],
        asked: Option<&mut [bool]>,
        running: &Running<'_>,
    ) -> Written {
        let (rows, cols) = self.shape(id);
        let (training, workers) = (running.step.is_training(), Arc::clone(&self.workers));
        // What gates append is no part of what values come with.
        let (gates, _) = self.gates(edges, 0);
        let range = self.looks_at_range(id, training).then(|| {
            let values = source.values(self);
            let of_part = |strips: ElementStrips| {
                let mut range = None;
                strips.each(|places, room| {
                    let first = places.start;
                    let of_strip = pass_all(&gates, values.at(places, room), first).range();
                    range = joined(range.take(), Some(of_strip));
                });
                range
            };
            let mut range = None;
            workers.each(ElementStrips::of(rows * cols, &workers), of_part, |of_part| {
                range = joined(range.take(), of_part);
            });
            range.expect("a tensor has elements")
        });
        let range = || range.expect("the range that the scale asked for");
        let (conversion, second_pass) = self.conversion(id, range, running.occasion(id));
        let mut after = self.spare_room(conversion.to, (rows, cols));
        let values = source.values(self);
        let (mut rest, mut answers) = (own(&mut after).whole_mut(), asked);
        let parts = ElementStrips::of(rows * cols, &workers).map(|strips| {
            let answers = answers.as_mut().and_then(|rest| rest.split_off_mut(..strips.len()));
            (rest.take(strips.len()), answers, strips)
        });
        type Part<'p> = (TensorPart<'p>, Option<&'p mut [bool]>, ElementStrips);
        let run = |(mut into, mut answers, strips): Part<'_>| {
            let (mut converter, from) = (Converter::new(conversion), into.places().start);
            strips.each(|places, room| {
                let values = pass_all(&gates, values.at(places.clone(), room), places.start);
                values.write(&mut converter, into.at(places.clone()));
                if let Some(answers) = &mut answers {
                    values.nonzero(&mut answers[places.start - from..places.end - from]);
                }
            });
            converter.end()
        };
        let mut statistics = ConversionStatistics::default();
        workers.each(parts, run, |counted| statistics.merge(&counted));
        drop(values);
        self.observe(id, &statistics, training);
        self.replace(id, after);
        Written::converted(id, statistics, second_pass)
    }

    /// Converts the codes of a tensor into another: all at once if that has blocks.
    pub(crate) fn convert(&mut self, from: TensorId, to: TensorId, occasion: Occasion) -> Written {
        let frac = self.read(from).format().frac();
        let mut exit = self.exit_into(to, (Multiplier::ONE, frac), occasion);
        if !exit.axes.is_empty() {
            let mut codes = std::mem::take(&mut self.memory.results);
            let source = self.read(from);
            codes.resize(source.len(), 0);
            exit.leave(source.widen(0..source.len(), &mut codes));
            self.memory.results = codes;
        } else if self.read(from).format().bits() < i32::BITS {
            leave_in_strips::<i32>(self.read(from), &mut exit, &self.workers);
        } else {
            leave_in_strips::<i64>(self.read(from), &mut exit, &self.workers);
        }
        self.accept(exit)
    }

    /// Writes codes of the format that a tensor has, which `make` puts at places: nothing is rounded.
    pub(crate) fn move_codes(
        &mut self,
        id: TensorId,
        of: TensorId,
        mut make: impl FnMut(&Self, Range<usize>, &mut [i64]),
    ) -> Written {
        let (rows, cols) = self.shape(id);
        let format = self.read(of).format();
        let mut after = self.spare_room(format, (rows, cols));
        // To the same format, so that nothing is rounded and no word is drawn.
        let mut converter = Converter::new(Conversion {
            from_frac: format.frac(),
            scale: 1,
            to: format,
            rounding: Rounding::Floor,
            overflow: Overflow::Saturate,
            key: Key::new(0),
            squares: true,
        });
        let mut into = own(&mut after).whole_mut();
        let mut room = [0; STRIP];
        for places in in_strips(0..rows * cols, STRIP) {
            let codes = &mut room[..places.len()];
            make(self, places.clone(), codes);
            converter.write(codes, into.at(places));
        }
        self.replace(id, after);
        Written::converted(id, converter.end(), false)
    }

    /// The sum of tensors, each times its factor, less that of others.
    pub(crate) fn form(&self, added: &[Term], taken: &[Term]) -> LinearForm<'_> {
        let term = |negative| move |&(factor, id): &_| (factor, self.read(id), negative);
        LinearForm::new(added.iter().map(term(false)).chain(taken.iter().map(term(true))))
    }
}

/// Lets the codes of a tensor leave, some at a time; all are seen before if the scale of the output asks
/// for their range.
fn leave_in_strips<R: Raw>(source: &Tensor, exit: &mut Exit, workers: &Workers) {
    if exit.waits() {
        let mut room = [R::zero(); STRIP];
        let strips = in_strips(0..source.len(), STRIP);
        strips.for_each(|places| exit.see(source.widen(places, &mut room)));
        exit.choose();
    }
    let parts = ElementStrips::of(source.len(), workers).map(|strips| (strips.len(), strips));
    exit.leave_in_parts(workers, parts, |strips, part| {
        strips.each::<R>(|places, room| part.leave(source.widen(places, room)));
        0
    });
}
