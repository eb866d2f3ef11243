//! Samples of a part of the data, as a program reads them.

use smallvec::smallvec;
use systoliq_fxp::{CodedRows, ConversionStatistics, Scale};
use systoliq_keyed_random::Key;
use systoliq_nn::Part;
use systoliq_nn::data::Pixels;

use super::{Step, Store};
use crate::command::Program;
use crate::finish::{own, room};
use crate::tensor::TensorId;

/// A part of the data, of which batches are loaded. Pixels are looked up in a table of codes, if these are
/// the same in any batch: where the format of inputs is static and its rounding draws no random words.
#[derive(Debug)]
pub struct Samples<'p> {
    part: &'p Part,
    coded: Option<CodedRows<'p>>,
}

impl<'p> Samples<'p> {
    /// A part as a program reads it.
    pub fn new(program: &Program, part: &'p Part) -> Self {
        let plan = program.tensor(program.input).plan;
        let code = |pixels: &'p Pixels| {
            let is_static = plan.scale == Scale::Static;
            let conversion = is_static.then(|| plan.conversion(Key::new(0), true))?;
            CodedRows::new(&conversion, part.features(), pixels.bytes(), &pixels.values())
        };
        Self { part, coded: part.pixels().and_then(code) }
    }

    /// The part.
    pub fn part(&self) -> &'p Part {
        self.part
    }
}

impl Store {
    /// Loads the samples numbered `rows`, as [`load`](Self::load) loads the batch of these.
    ///
    /// # Panics
    ///
    /// If there is no sample of such a number, or the batch does not fit the program.
    pub fn load_samples(
        &mut self,
        samples: &Samples<'_>,
        rows: &[u32],
        step: &Step,
    ) -> Vec<(TensorId, ConversionStatistics)> {
        let Samples { part, coded } = samples;
        let Some(coded) = coded else { return self.load(&part.batch(rows), step) };
        let input = self.program.input;
        let decl = self.program.tensor(input);
        let (rows_per_sample, cols) = (decl.rows.count(1), decl.cols);
        assert_eq!(part.features(), rows_per_sample * cols, "values of a sample");
        let spare = self.slots[input.0].copies.pop();
        let format = self.program.tensor(input).plan.format;
        let mut tensor = room(format, (rows.len(), part.features()), spare);
        let mut statistics = coded.take(rows, own(&mut tensor));
        own(&mut tensor).reshape(format, rows.len() * rows_per_sample, cols);
        if !step.squares() {
            statistics = statistics.without_squares();
        }
        self.put_copies(input, smallvec![tensor]);
        let mut loaded = vec![(input, statistics)];
        loaded.extend(self.load_answers(&part.answers().select(rows), step));
        loaded
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use systoliq_nn::{DataSpec, Graph, epoch_order, initial_weights};

    use super::*;
    use crate::Plan;

    fn program(graph: &Graph, input: &str) -> Arc<Program> {
        let precision = format!(r#"{{"input": {input}, "weights": "Q2.6"}}"#);
        let precision = serde_json::from_str(&precision).expect("a precision");
        let training = serde_json::from_str(r#"{"epochs": 1, "batch": 50, "rate": 1}"#);
        let plan = Plan::resolve(graph, &precision).expect("a plan");
        Arc::new(Program::lower(graph, &plan, &training.expect("a training")).expect("a program"))
    }

    #[test]
    fn samples_looked_up_in_a_table_are_the_batches_converted_by_themselves() {
        let data: DataSpec = serde_json::from_str(r#"{"kind": "digits"}"#).unwrap();
        let data = data.load(1, &mut |name| panic!("{name}")).unwrap();
        let network = serde_json::from_str(
            r#"{"input": [64], "layers": [{"dense": {"units": 10}}], "loss": "softmax_cross_entropy"}"#,
        );
        let graph = Graph::new(&network.unwrap()).unwrap();
        for (input, is_coded) in [
            (r#""UQ1.7""#, true),
            // Odd sixteenths are ties, and what is 0.5 or more leaves the range.
            (r#"{"bits": 3, "frac": 3, "rounding": "nearest-even", "overflow": "wrap"}"#, true),
            (r#"{"bits": 16, "frac": 12, "rounding": "floor"}"#, true),
            (r#"{"bits": 4, "frac": 3, "rounding": "stochastic"}"#, false),
            (r#"{"bits": 8, "scale": "history"}"#, false),
            (r#"{"bits": 8, "scale": "dynamic"}"#, false),
        ] {
            let program = program(&graph, input);
            let samples = Samples::new(&program, &data.train);
            assert_eq!(samples.coded.is_some(), is_coded, "{input}");
            let mut once = Store::new(&program, &initial_weights(&graph, 1), 1);
            let mut anew = once.clone();
            let mut sums = [BTreeMap::new(), BTreeMap::new()];
            let order = epoch_order(1, 0, data.train.len());
            for (number, rows) in order.chunks(50).enumerate() {
                let step = Step::training(1, number as u64);
                let loaded = once.load_samples(&samples, rows, &step);
                let expected = anew.load(&data.train.batch(rows), &step);
                for (sums, loaded) in sums.iter_mut().zip([loaded, expected]) {
                    for (id, statistics) in loaded {
                        let sum: &mut ConversionStatistics = sums.entry(id.0).or_default();
                        sum.merge(&statistics);
                    }
                }
                assert_eq!(once.tensor(program.input), anew.tensor(program.input), "{input}");
                assert_eq!(once.labels(), anew.labels());
            }
            assert_eq!(sums[0], sums[1], "{input}");
        }
    }
}
