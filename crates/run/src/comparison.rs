//! How far a fixed-point network is from its golden model, tensor by tensor.
//!
//! A *probe* takes one batch, the first training samples in data order, through forward and
//! backward pass of both networks, between epochs and without an update, under random words of its
//! own. What outlasts a step stays as it is, so that the run goes on as if nobody had looked. Each
//! tensor that has a counterpart in floating point is compared twice:
//!
//! - `own`: with the run's own weights and scales, so that what drifted apart over the run is part
//!   of the difference;
//! - `teacher_forced`: with the golden model's parameters, converted, and scales that remember
//!   nothing: what one step alone loses.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ndarray::ArrayViewD;
use serde::{Deserialize, Serialize};
use systoliq_nn::golden::Real;
use systoliq_nn::{Answers, DataSet, Golden, Gradients, Predicted, Quantity, Training};
use systoliq_program::{Engine, Step, Store, TensorId};

use systoliq_nn::Extended;

mod difference;
mod histogram;

pub use difference::{Difference, Figures};
pub use histogram::Histogram;

/// Figures by tensor name.
pub type ByTensor = BTreeMap<String, Figures>;

/// What comparing found over a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Before training and after each epoch.
    #[serde(skip)]
    pub probes: Vec<Probe>,
    /// The codes of each tensor in the latest epoch's probe of the run's own weights.
    pub histograms: BTreeMap<String, Histogram>,
    /// In the latest epoch's evaluation on the test part.
    pub units: Vec<Units>,
    /// In the same; nothing for a regression.
    pub predictions: Option<Predictions>,
    /// In the same, of a regression.
    pub outputs: Option<Outputs>,
}

impl Comparison {
    /// Keeps what the networks make of the test samples.
    ///
    /// # Panics
    ///
    /// If classes are answered by values, or the other way round.
    pub(crate) fn keep(&mut self, answers: &Answers, golden: Predicted, fixed: Predicted) {
        match (answers, golden, fixed) {
            (Answers::Labels(labels), Predicted::Classes(golden), Predicted::Classes(fixed)) => {
                let labels = labels.clone();
                self.predictions = Some(Predictions { labels, golden, fixed });
            }
            (Answers::Targets(targets), Predicted::Values(golden), Predicted::Values(fixed)) => {
                let extended = |values: Vec<f64>| values.into_iter().map(Extended).collect();
                self.outputs = Some(Outputs {
                    columns: targets.ncols(),
                    targets: extended(targets.iter().copied().collect()),
                    golden: extended(golden),
                    fixed: extended(fixed),
                });
            }
            (answers, ..) => panic!("predictions of another kind than {} answers", answers.len()),
        }
    }
}

/// What the networks of a regression say of the test samples, row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// Values of a sample.
    pub columns: usize,
    /// What they should say.
    pub targets: Vec<Extended>,
    /// What the golden model says.
    pub golden: Vec<Extended>,
    /// What fixed point says.
    pub fixed: Vec<Extended>,
}

impl Outputs {
    /// `predictions.csv`: a row per sample, in data order, with three cells for each output.
    pub fn csv(&self) -> String {
        let mut text = String::from("sample");
        for at in 0..self.columns {
            let column = if self.columns == 1 { String::new() } else { format!("_{at}") };
            write!(text, ",target{column},golden{column},fixed{column}")
                .expect("writing to a string");
        }
        text.push('\n');
        let columns = self.columns;
        for sample in 0..self.targets.len() / columns {
            write!(text, "{sample}").expect("writing to a string");
            for at in sample * columns..(sample + 1) * columns {
                let [target, golden, fixed] =
                    [&self.targets, &self.golden, &self.fixed].map(|values| values[at].0);
                write!(text, ",{target},{golden},{fixed}").expect("writing to a string");
            }
            text.push('\n');
        }
        text
    }

    /// The squared error of each sample, Σe² over its outputs, of the golden model and in fixed point.
    pub fn squared_errors(&self) -> [Vec<f64>; 2] {
        [&self.golden, &self.fixed].map(|outputs| {
            let pairs: Vec<f64> =
                outputs.iter().zip(&self.targets).map(|(y, t)| (y.0 - t.0) * (y.0 - t.0)).collect();
            pairs.chunks(self.columns).map(|sample| sample.iter().sum()).collect()
        })
    }
}

/// Which classes the test samples are taken for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predictions {
    /// The true classes.
    pub labels: Vec<u32>,
    /// By the golden model; `None` where it names no class.
    pub golden: Vec<Option<u32>>,
    /// In fixed point.
    pub fixed: Vec<Option<u32>>,
}

impl Predictions {
    /// `predictions.csv`: a row per sample, in data order; an empty cell for no class.
    pub fn csv(&self) -> String {
        let mut text = String::from("sample,label,golden,fixed\n");
        let class = |class: Option<u32>| class.map_or(String::new(), |class| class.to_string());
        for (at, ((label, &golden), &fixed)) in
            self.labels.iter().zip(&self.golden).zip(&self.fixed).enumerate()
        {
            writeln!(text, "{at},{label},{},{}", class(golden), class(fixed))
                .expect("writing to a string");
        }
        text
    }
}

/// How far the networks are apart at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Test samples that the two networks take for different classes; nothing for a regression.
    pub mismatches: Option<u64>,
    /// With the run's own weights and scales.
    pub own: ByTensor,
    /// With golden's parameters; nothing where one of these is not finite.
    pub teacher_forced: Option<ByTensor>,
    /// Over all steps of the epoch, in a run that is teacher-forced.
    pub steps: Option<ByTensor>,
}

/// Units of one layer that do not tell one sample from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// Units of the layer.
    pub units: usize,
    /// Of these, those whose ReLU is 0 for every sample; nothing without a ReLU.
    pub dead: Option<usize>,
    /// Of these, those at the largest code for every sample.
    pub saturated: usize,
}

/// What floating point has for the tensors of a program, on one batch.
pub(crate) struct Counterparts<'a, F> {
    pub(crate) golden: &'a Golden<F>,
    /// What it found of the batch.
    pub(crate) found: &'a Gradients<F>,
    /// What fixed point multiplies its errors and gradients by.
    pub(crate) loss_scale: f64,
}

impl<F: Real> Counterparts<'_, F> {
    /// The numbers of a quantity, and what fixed point multiplies them by; `None` if golden has none.
    fn of(&self, quantity: Quantity) -> Option<(ArrayViewD<'_, F>, f64)> {
        let scale = if quantity.is_gradient() { self.loss_scale } else { 1.0 };
        Some((self.golden.numbers(self.found, quantity)?, scale))
    }
}

/// Whether a quantity is compared before its step, whose update changes it.
pub(crate) fn is_parameter(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::Parameter(..))
}

/// Differences of every tensor, summed over any number of batches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Differences(BTreeMap<String, Difference>);

impl Differences {
    /// Adds what the tensors of `store` hold that `wanted` names.
    pub(crate) fn add<F: Real>(
        &mut self,
        store: &Store,
        counterparts: &Counterparts<'_, F>,
        wanted: impl Fn(Quantity) -> bool,
    ) {
        for (id, decl) in store.program().tensors.iter().enumerate() {
            let Some(quantity) = decl.stands_for.filter(|&quantity| wanted(quantity)) else {
                continue;
            };
            let fixed = store.tensor(TensorId(id));
            if let (Some(fixed), Some((numbers, scale))) = (fixed, counterparts.of(quantity)) {
                let golden = numbers.iter().map(|number| number.widen() * scale);
                self.0.entry(decl.name.clone()).or_default().add(fixed, golden);
            }
        }
    }

    pub(crate) fn figures(&self) -> ByTensor {
        self.0.iter().map(|(name, difference)| (name.clone(), difference.figures())).collect()
    }
}

/// Where and when a run is looked at.
pub(crate) struct Look<'a> {
    pub(crate) data: &'a DataSet,
    pub(crate) training: &'a Training,
    pub(crate) seed: u64,
    /// Epochs done.
    pub(crate) epochs: u64,
}

impl Look<'_> {
    /// Compares `store` with `golden` under their own and under golden's parameters. Of a network that has
    /// trained, gives the histograms under its own, too.
    pub(crate) fn probe<F: Real>(
        &self,
        store: &mut Store,
        engine: &mut dyn Engine,
        golden: &Golden<F>,
    ) -> (Probe, BTreeMap<String, Histogram>) {
        let rows: Vec<u32> = (0..self.training.batch as u32).collect();
        let batch = &self.data.train.batch(&rows);
        let step = Step::probe(self.seed, self.epochs);
        let counterparts = Counterparts {
            golden,
            found: &golden.gradients(batch, self.training),
            loss_scale: f64::from(self.training.loss_scale),
        };
        let mut compare = |store: &mut Store| {
            store.load(batch, &step);
            let written = store.gradients(&step, engine);
            let mut differences = Differences::default();
            differences.add(store, &counterparts, |_| true);
            let mut figures = differences.figures();
            for written in written {
                let name = &store.program().tensor(written.tensor).name;
                if let Some(found) = figures.get_mut(name) {
                    found.conversion_db = written.conversion.sqnr_db().map(Extended);
                }
            }
            figures
        };
        let own = compare(store);
        let histograms = if self.epochs > 0 { histograms(store) } else { BTreeMap::new() };
        // The other store takes as much.
        store.free_step();
        let parameters = golden.parameters();
        let teacher_forced = parameters
            .are_finite()
            .then(|| compare(&mut Store::with_parameters(store.program(), parameters, &step)));
        (Probe { mismatches: None, own, teacher_forced, steps: None }, histograms)
    }
}

/// The codes of every tensor of a store.
fn histograms(store: &Store) -> BTreeMap<String, Histogram> {
    let program = store.program();
    let tensors = (0..program.tensors.len()).map(TensorId);
    let found = |id| Some((program.tensor(id).name.clone(), Histogram::of(store.tensor(id)?)));
    tensors.filter_map(found).collect()
}
