//! The evaluation of a fixed-point network on a part of the data.

use ndarray::Axis;
use systoliq_fxp::{ExactSum, Lane, with_codes};
use systoliq_nn::metrics::InformationSum;
use systoliq_nn::{Evaluation, Graph, Predicted, Quantity, WeightedLayer};
use systoliq_program::{Engine, Samples, Step, Store, Verdict};

use crate::comparison::Units;

/// An evaluation of the fixed-point network on a part of the data.
pub(crate) struct Judge<'a> {
    pub(crate) samples: &'a Samples<'a>,
    pub(crate) name: &'static str,
    pub(crate) batch: usize,
    pub(crate) seed: u64,
    pub(crate) number: u64,
}

impl Judge<'_> {
    /// Evaluates `store`, and says what it makes of each sample. `watch` sees the outputs of every layer.
    pub(crate) fn predict(
        &self,
        store: &mut Store,
        engine: &mut dyn Engine,
        mut watch: Option<&mut UnitWatch>,
    ) -> (Evaluation, Predicted) {
        let mut loss = ExactSum::default();
        let mut errors = None;
        let mut information = InformationSum::default();
        let (mut classes, mut values) = (Vec::new(), Vec::new());
        let part = self.samples.part();
        for (at, rows) in part.rows(self.batch).enumerate() {
            let step =
                Step::evaluation(self.seed, self.name, self.number, at as u64).with_squares(false);
            store.load_samples(self.samples, &rows, &step);
            match store.judge(&step, engine) {
                Verdict::Classes(softmax) => {
                    let labels = store.labels();
                    loss.merge(&softmax.loss_sum(labels));
                    *errors.get_or_insert(0) += softmax.errors(labels);
                    classes.extend(softmax.predictions().iter().copied().map(Some));
                    for (probabilities, &label) in softmax.rows().zip(labels) {
                        information.add(label as usize, &probabilities);
                    }
                }
                Verdict::Values(sum) => {
                    loss.merge(&sum);
                    let outputs = store.tensor(store.program().logits);
                    values.extend(outputs.expect("a forward pass has run").to_reals());
                }
            }
            if let Some(watch) = &mut watch {
                watch.see(store);
            }
        }
        let count = part.len() as u64;
        let evaluation = Evaluation {
            count,
            loss: loss.to_f64() / count as f64,
            errors,
            information: information.mean(),
        };
        let predicted = match errors {
            Some(_) => Predicted::Classes(classes),
            None => Predicted::Values(values),
        };
        (evaluation, predicted)
    }
}

/// Looks for units that are 0, or at the largest code, for every sample.
pub(crate) struct UnitWatch {
    layers: Vec<WatchedLayer>,
}

struct WatchedLayer {
    /// What leaves it.
    output: Quantity,
    relu: bool,
    /// By unit: whether all were 0 so far.
    dead: Vec<bool>,
    /// By unit: whether all were at the largest code so far.
    saturated: Vec<bool>,
}

impl UnitWatch {
    pub(crate) fn new(graph: &Graph) -> Self {
        let layer = |layer: &WeightedLayer| WatchedLayer {
            output: Quantity::Value(layer.output),
            relu: graph.has_relu(layer.output),
            dead: vec![true; layer.weights.outputs],
            saturated: vec![true; layer.weights.outputs],
        };
        Self { layers: graph.weighted().iter().map(layer).collect() }
    }

    fn see(&mut self, store: &Store) {
        for layer in &mut self.layers {
            let output = store.program().standing_for(layer.output).expect("an output");
            let outputs = store.tensor(output).expect("a forward pass has run");
            let largest = outputs.format().max_raw();
            with_codes!(outputs, |codes| {
                for (unit, column) in codes.axis_iter(Axis(1)).enumerate() {
                    layer.dead[unit] &= column.iter().all(|code| code.code() == 0);
                    layer.saturated[unit] &= column.iter().all(|code| code.code() == largest);
                }
            });
        }
    }

    pub(crate) fn units(&self) -> Vec<Units> {
        let count = |all: &[bool]| all.iter().filter(|&&is| is).count();
        let layer = |layer: &WatchedLayer| Units {
            units: layer.dead.len(),
            dead: layer.relu.then(|| count(&layer.dead)),
            saturated: count(&layer.saturated),
        };
        self.layers.iter().map(layer).collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use systoliq_nn::golden::LayerParameters;
    use systoliq_nn::{Answers, Batch, Network, Parameters, Training};
    use systoliq_program::{Plan, PrecisionSpec, Program, Reference};

    use super::*;

    #[test]
    fn dead_and_saturated_units_are_those_made_so() {
        let parse = |json| serde_json::from_str::<serde_json::Value>(json).unwrap();
        let network: Network = serde_json::from_value(parse(
            r#"{"input": [1], "layers": [{"dense": {"units": 4}}, "relu", {"dense": {"units": 2}}],
                "loss": "softmax_cross_entropy"}"#,
        ))
        .unwrap();
        let precision: PrecisionSpec = serde_json::from_value(parse(
            r#"{"weights": "Q4.4", "activations": "UQ4.4", "logits": "Q4.4"}"#,
        ))
        .unwrap();
        let training: Training =
            serde_json::from_value(parse(r#"{"epochs": 1, "batch": 2, "rate": 1}"#)).unwrap();
        let graph = Graph::new(&network).unwrap();
        let plan = Plan::resolve(&graph, &precision).unwrap();
        let program = Program::lower(&graph, &plan, &training).unwrap().into();
        // x is 0 or 0.5. Units: dead; beyond 15.94 with any x; 0 for one x only; saturated for one.
        let layer = |weights, bias| LayerParameters { weights, bias: Some(bias) };
        let hidden = layer(array![[1.0], [1.0], [1.0], [7.0]], array![-1.0, 7.0, 0.0, 7.0]);
        let last = layer(ndarray::Array2::from_elem((2, 4), 7.0), array![7.0, -7.0]);
        let parameters = Parameters { layers: vec![hidden, last] };
        let step = Step::probe(1, 0);
        let mut store = Store::with_parameters(&program, &parameters, &step);
        let mut watch = UnitWatch::new(&graph);
        for x in [0.0, 0.5] {
            let answers = Answers::Labels(vec![0]);
            store.load(&Batch { inputs: array![[x]], answers }, &step);
            store.judge(&step, &mut Reference);
            watch.see(&store);
        }
        let [hidden, last] = watch.units()[..] else { panic!("two layers") };
        assert_eq!(hidden, Units { units: 4, dead: Some(1), saturated: 0 });
        assert_eq!(last, Units { units: 2, dead: None, saturated: 2 });
    }
}
