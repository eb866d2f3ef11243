//! Whether a record that was read can be one of its experiment: what is counted twice agrees, every
//! count is one that the steps can have made, and every sum fits 64 bits.

use systoliq_fxp::Format;
use systoliq_nn::{Answers, DataSet, Evaluation, Part};

use super::{CostsOfBoth, Curve, Record, RightByPart, TensorRecord};
use crate::comparison::{Comparison, Histogram, Outputs};
use crate::{Prepared, Right};
use systoliq_nn::Extended;

/// A key of a record and what is wrong with it.
type Check = Result<(), String>;

/// Two codes of 64 bits and a count of their products make no wider sum.
const WIDTH_MAX: u32 = 192;

/// What a record is of.
pub(super) struct Of<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) costs: &'a CostsOfBoth<'a>,
    pub(super) data: &'a DataSet,
    /// The record of the same run before its first epoch.
    pub(super) fresh: &'a Record,
}

fn expect(holds: bool, key: &str, problem: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(format!("{key}: {}", problem())) }
}

impl Of<'_> {
    /// Checks a record.
    ///
    /// # Errors
    ///
    /// The first key at fault, with what was found and what was expected.
    pub(super) fn check(&self, record: &Record) -> Check {
        let Self { prepared, data, fresh, .. } = self;
        let epochs = record.fixed.epochs.len();
        let per_epoch = data.train.len().div_ceil(prepared.experiment.training.batch) as u64;
        let count = |key: &str, found: u64, expected: u64| {
            expect(found == expected, key, || format!("{found}, expected {expected}"))
        };
        count("seed", record.seed, fresh.seed)?;
        count("test_fingerprint", record.test_fingerprint, fresh.test_fingerprint)?;
        count("steps", record.steps, epochs as u64 * per_epoch)?;
        let most = prepared.experiment.training.epochs as usize;
        expect(epochs <= most, "fixed.epochs", || format!("{epochs}, expected at most {most}"))?;
        for (key, curve) in [("fixed", &record.fixed), ("golden", &record.golden)] {
            self.check_curve(curve).map_err(|problem| format!("{key}.{problem}"))?;
        }
        for (name, tensor) in &record.tensors {
            let at = |problem: String| format!("tensors.{name}.{problem}");
            let initial = fresh.tensors.get(name).and_then(|fresh| fresh.initial.as_ref());
            expect(tensor.initial.as_ref() == initial, "initial", || "of another run".to_owned())
                .and_then(|()| self.check_tensor(name, tensor))
                .map_err(at)?;
        }
        let expected = epochs as u64;
        record
            .timeline
            .check(prepared, data.train.len(), expected)
            .map_err(|problem| format!("timeline: {problem}"))?;
        self.check_spent(record)?;
        let (widths, writes) = (&record.widths_for_weights, prepared.program.writes.len());
        let possible = |bits: &u32| (1..=WIDTH_MAX).contains(bits);
        let none = epochs == 0 && widths.is_empty();
        let all = widths.len() == writes && widths.iter().flatten().all(possible);
        expect(none || all, "widths_for_weights", || {
            format!("expected {writes}, each from 1 to {WIDTH_MAX} or nothing")
        })?;
        self.check_comparison(&record.comparison, epochs > 0)
            .map_err(|problem| format!("comparison.{problem}"))
    }

    fn check_curve(&self, curve: &Curve) -> Check {
        let classes = self.data.classes.is_some();
        let part = |key: &str, found: &Evaluation, part: &Part| {
            let count = part.len() as u64;
            expect(found.count == count, &format!("{key}.count"), || {
                format!("{}, expected {count}", found.count)
            })?;
            let errors = found.errors.map_or(!classes, |errors| classes && errors <= count);
            expect(errors, &format!("{key}.errors"), || {
                format!("{:?} of {count} samples", found.errors)
            })?;
            expect(found.information.is_some() == classes, &format!("{key}.information"), || {
                "expected that of classes alone".to_owned()
            })
        };
        part("initial", &curve.initial, &self.data.test)?;
        for (at, epoch) in curve.epochs.iter().enumerate() {
            part(&format!("epochs[{at}].test"), &epoch.test, &self.data.test)?;
            let (key, validation) = (format!("epochs[{at}].validation"), &self.data.validation);
            match &epoch.validation {
                Some(found) => part(&key, found, validation)?,
                None => expect(validation.is_empty(), &key, || "expected".to_owned())?,
            }
        }
        let samples = |right: &RightByPart| {
            [right.test.len(), right.validation.as_ref().map_or(0, Right::len)]
        };
        let expected = [self.data.test.len(), self.data.validation.len()];
        let expected = (classes && !curve.epochs.is_empty()).then_some(expected);
        let found = curve.right.as_ref().map(samples);
        expect(found == expected, "right", || format!("{found:?} samples, expected {expected:?}"))
    }

    fn check_tensor(&self, name: &str, tensor: &TensorRecord) -> Check {
        let known = self.prepared.program.tensors.iter().any(|decl| decl.name == name);
        expect(known, "name", || "no tensor of the program".to_owned())?;
        let (frac, least, most) = (tensor.frac, *Format::FRAC.start(), *Format::FRAC.end());
        expect(Format::FRAC.contains(&frac), "frac", || {
            format!("{frac}, expected {least} to {most}")
        })?;
        let mut elements = 0u64;
        for (at, writes) in tensor.epochs.iter().enumerate() {
            let (key, conversion) = (format!("epochs[{at}]"), &writes.conversion);
            let parts = || "parts are more than the whole".to_owned();
            expect(conversion.is_possible(), &format!("{key}.conversion"), parts)?;
            let all = conversion.elements;
            let update = writes.update.as_ref();
            let update = update.is_none_or(|did| did.stalled <= did.asked && did.asked <= all);
            expect(update, &format!("{key}.update"), parts)?;
            expect(writes.sums <= all, &format!("{key}.sums"), parts)?;
            let of_sums = || format!("{} of {} sums", writes.overflowed_sums, writes.sums);
            let possible = writes.overflowed_sums <= writes.sums;
            expect(possible, &format!("{key}.overflowed_sums"), of_sums)?;
            elements = elements
                .checked_add(all)
                .ok_or_else(|| format!("{key}.conversion.elements: the sum exceeds 64 bits"))?;
        }
        Ok(())
    }

    /// The sums up to the last epoch follow from the timeline.
    fn check_spent(&self, record: &Record) -> Check {
        let Some(last) = record.spent.last() else { return Ok(()) };
        let expected = record
            .spent(self.prepared, self.costs)
            .map_err(|error| format!("timeline: {error}"))?;
        expect(*last == expected, "spent", || {
            format!("{} cycles at the end, where the timeline has {}", last.cycles, expected.cycles)
        })?;
        let grows = record.spent.windows(2).all(|pair| pair[0].cycles <= pair[1].cycles);
        expect(grows, "spent", || "fewer cycles after an epoch than before it".to_owned())
    }

    fn check_comparison(&self, found: &Comparison, trained: bool) -> Check {
        let test = &self.data.test;
        for (at, probe) in found.probes.iter().enumerate() {
            let classes = self.data.classes.is_some();
            let possible = |mismatches| classes && mismatches <= test.len() as u64;
            let key = format!("probes[{at}].mismatches");
            expect(probe.mismatches.map_or(!classes, possible), &key, || {
                format!("{:?} of {} samples", probe.mismatches, test.len())
            })?;
        }
        for (name, histogram) in &found.histograms {
            self.check_histogram(name, histogram)
                .map_err(|problem| format!("histograms.{name}: {problem}"))?;
        }
        let graph = &self.prepared.graph;
        let layers = graph.weighted();
        let units = found.units.len() == layers.len()
            && found.units.iter().zip(layers).all(|(found, layer)| {
                let (relu, units) = (graph.has_relu(layer.output), layer.weights.outputs);
                let dead = found.dead.map_or(!relu, |dead| relu && dead <= units);
                found.units == units && found.saturated <= units && dead
            });
        let none = !trained && found.units.is_empty();
        expect(units || none, "units", || "not those of the network".to_owned())?;
        self.check_outputs(found.outputs.as_ref(), trained)?;
        let (Some(predictions), Answers::Labels(labels)) = (&found.predictions, test.answers())
        else {
            let expected = trained && self.data.classes.is_some();
            return expect(found.predictions.is_none() && !expected, "predictions", || {
                "expected those of classes".to_owned()
            });
        };
        let class = |class: &Option<u32>| class.is_none_or(|c| (c as usize) < self.data.outputs);
        let whole = |of: &[Option<u32>]| of.len() == labels.len() && of.iter().all(class);
        let same = predictions.labels == *labels;
        expect(
            same && whole(&predictions.golden) && whole(&predictions.fixed),
            "predictions",
            || "not those of the test samples".to_owned(),
        )
    }

    fn check_outputs(&self, found: Option<&Outputs>, trained: bool) -> Check {
        let (Some(outputs), Answers::Targets(targets)) = (found, self.data.test.answers()) else {
            let expected = trained && self.data.classes.is_none();
            return expect(found.is_none() && !expected, "outputs", || {
                "expected those of a regression".to_owned()
            });
        };
        let whole = |of: &[Extended]| of.len() == targets.len();
        let same = outputs.columns == targets.ncols()
            && outputs.targets.iter().map(|target| target.0).eq(targets.iter().copied());
        let whole = whole(&outputs.targets) && whole(&outputs.golden) && whole(&outputs.fixed);
        expect(same && whole, "outputs", || "not those of the test samples".to_owned())
    }

    fn check_histogram(&self, name: &str, found: &Histogram) -> Check {
        let known = self.prepared.program.tensors.iter().find(|decl| decl.name == name);
        let decl = known.ok_or("no tensor of the program")?;
        let elements =
            decl.rows.count(self.prepared.experiment.training.batch) as u64 * decl.cols as u64;
        let format = decl.plan.format;
        expect(found.is_possible(format, elements), "counts", || {
            format!("not those of {elements} codes of {} bits", format.bits())
        })
    }
}
