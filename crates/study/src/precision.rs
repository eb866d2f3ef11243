//! Bit widths by analysis: from one run in floating point to a format for every tensor.
//!
//! A [`FloatRun`] trains the golden model and observes its tensors. A [`Study`] of it knows how
//! strongly noise in each tensor of the forward pass moves decisions ([`forward`]), and what the
//! backward pass needs ([`backward`]); it assigns widths, bounds the **mismatch** that they cause,
//! writes them down as a `precision` section ([`plan`]), says what they cost in full adders and
//! bits ([`cost`]), and measures the mismatch on the integer machine ([`measure`]). The mismatch
//! probability `p_m` is that of another decision (argmax) than in floating point.
//!
//! The criteria are those of
//! - C. Sakr, Y. Kim, N. Shanbhag, "Analytical guarantees on numerical precision of deep neural
//!   networks", ICML 2017: the bound of the mismatch;
//! - C. Sakr, N. Shanbhag, "An analytical method to determine minimum per-layer precision of deep
//!   neural networks", ICASSP 2018: balanced widths;
//! - C. Sakr, N. Shanbhag, "Per-tensor fixed-point quantization of the back-propagation algorithm",
//!   ICLR 2019: gradients and accumulators.
//!
//! `docs/precision.md` derives every formula and says where ours differ.

use ndarray::Array2;
use systoliq_nn::{DataSet, Golden, Graph, Loss, Operator, Parameters, Part};

use systoliq_run::{Error, Prepared};

pub mod backward;
mod batch_noise;
pub mod cost;
mod float_run;
pub mod forward;
mod grid;
pub mod measure;
pub mod plan;
pub mod pricing;
mod report;
pub mod sums;

pub use backward::BackwardGrids;
pub use batch_noise::GradientNoise;
pub use cost::{Complexity, LayerCost};
pub use float_run::FloatRun;
pub use forward::{Allocation, Assignment, ForwardTensor, Gain};
pub use grid::Grid;
pub use measure::Measured;
pub use plan::PlannedTensor;
pub use pricing::{PricedRounding, PricedSums};
pub use report::{AssignmentReport, PrecisionReport, Requested, Trained};
pub use sums::{PlannedSum, SumBudget};

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPart {
    /// What the float run trains on.
    Train,
    /// What choices are made by.
    Validation,
    /// What is reported.
    Test,
}

impl DataPart {
    /// The part that gains are taken on unless told: validation, where there is any.
    pub fn default_of(data: &DataSet) -> Self {
        if data.validation.is_empty() { Self::Train } else { Self::Validation }
    }

    /// Its samples.
    pub fn of(self, data: &DataSet) -> &Part {
        match self {
            Self::Train => &data.train,
            Self::Validation => &data.validation,
            Self::Test => &data.test,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Samples that gains are computed on at a time.
const CHUNK: usize = 500;

/// A float run with the noise gains of its network.
pub struct Study<'a> {
    prepared: &'a Prepared,
    data: &'a DataSet,
    run: FloatRun,
    golden: Golden<f64>,
    tensors: Vec<ForwardTensor>,
    /// `[samples, tensors]`: of the samples that widths are assigned by.
    gains: Array2<f64>,
    /// The same of the test part.
    test_gains: Array2<f64>,
    backward: Vec<BackwardGrids>,
    /// The decisions in floating point on the test part.
    decisions: Vec<u32>,
    /// What accumulators may do.
    sums: SumBudget,
    /// Bits beyond `B_min` of each tensor where joules are balanced.
    joule_offsets: Vec<u32>,
}

/// Refuses what the analysis does not know: values that are neither inputs nor of layers with weights, other
/// than moved codes, and sums in groups.
fn check_chain(graph: &Graph) -> Result<(), Error> {
    let refused = |at: usize, what: &str| {
        let problem = format!(
            "{what}; the analysis knows chains of dense and conv2d without groups, each with functions \
             directly behind it, and max_pool between them: expected such a chain"
        );
        Err(Error::at(format!("network.layers[{at}]"), problem))
    };
    for value in graph.stored() {
        let Some(entry) = graph.maker(value) else { continue };
        let what = match graph.nodes[entry].operator {
            Operator::Dense(_) | Operator::MaxPool(_) => None,
            Operator::Conv2d(of) if of.groups == 1 => None,
            Operator::Conv2d(_) => Some("a conv2d in groups"),
            Operator::AvgPool(_) => Some("an average, whose rounding has a noise of its own"),
            Operator::Add => Some("an add"),
            Operator::Function(_) => Some("a function with a command of its own"),
            Operator::Flatten => unreachable!("a view is not stored"),
        };
        if let Some(what) = what {
            return refused(entry, what);
        }
        if graph.readers(value).len() > 1 {
            return refused(entry, "a value with several readers");
        }
    }
    Ok(())
}

impl<'a> Study<'a> {
    /// Refuses what has no decisions to go wrong.
    ///
    /// # Errors
    ///
    /// For a regression, a single class, or a network that is no chain.
    pub fn check(graph: &Graph) -> Result<(), Error> {
        if graph.loss == Loss::Mse {
            let problem = "\"mse\" is the loss of a regression, whose outputs decide nothing; \
                           expected \"softmax_cross_entropy\"";
            return Err(Error::at("network.loss", problem));
        }
        if graph.outputs() < 2 {
            let problem = "1 class, which no noise can change; expected at least 2";
            return Err(Error::at("network.layers", problem));
        }
        check_chain(graph)
    }

    /// Computes the noise gains on the first `samples` of `part`, and what the backward pass needs.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); if `part` is empty, no sample has a margin between its classes,
    /// or a layer's gradients were zero all along.
    pub fn new(
        prepared: &'a Prepared,
        data: &'a DataSet,
        run: FloatRun,
        part: DataPart,
        samples: usize,
    ) -> Result<Self, Error> {
        Self::check(&prepared.graph)?;
        let rows = samples.min(part.of(data).len());
        if rows == 0 {
            let problem = format!("the {} part of `{}` has no samples", part.name(), data.name);
            return Err(Error::at("dataset", problem));
        }
        let backward = backward::grids(&prepared.experiment.training, &run.observation)?;
        let golden = run.golden(&prepared.graph);
        let gains = forward::gains(&golden, part.of(data), rows);
        let tensors = forward::tensors(&golden, &run.observation, part.of(data), &gains)?;
        let test_gains = forward::gains(&golden, &data.test, data.test.len());
        let decisions = data.test.batches(CHUNK);
        let decisions = decisions
            .flat_map(|batch| Golden::<f64>::decisions(&golden.outputs(&batch.inputs)))
            .collect();
        let (sums, joule_offsets) = (SumBudget::default(), vec![0; tensors.len()]);
        let mut study = Self {
            prepared,
            data,
            run,
            golden,
            tensors,
            gains,
            test_gains,
            backward,
            decisions,
            sums,
            joule_offsets,
        };
        study.joule_offsets = study.weighed()?;
        Ok(study)
    }

    /// The same with other accumulators.
    pub fn with_sums(self, sums: SumBudget) -> Self {
        Self { sums, ..self }
    }

    /// The tensors of the forward pass: of each layer what it reads and its weights, and the logits.
    pub fn tensors(&self) -> &[ForwardTensor] {
        &self.tensors
    }

    /// The float run.
    pub fn run(&self) -> &FloatRun {
        &self.run
    }

    /// The parameters that the float run ended with.
    pub fn parameters(&self) -> &Parameters<f64> {
        self.golden.parameters()
    }

    /// What the backward pass of each layer needs.
    pub fn backward(&self) -> &[BackwardGrids] {
        &self.backward
    }
}

#[cfg(test)]
mod tests;
