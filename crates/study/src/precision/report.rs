//! What a study found, as the command prints it in JSON.

use serde::Serialize;
use systoliq_energy::Picojoules;
use systoliq_program::PrecisionSpec;

use super::{
    Allocation, Assignment, BackwardGrids, Complexity, Gain, LayerCost, Measured, PlannedSum,
    PlannedTensor, PricedSums, Study, SumBudget,
};
use crate::drop::Judgement;
use crate::report::judged;
use systoliq_run::trainer::Record;
use systoliq_run::{Error, Experiment};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Requested {
    /// The bound of the mismatch that the plan keeps below.
    pub mismatch: f64,
    /// The part of the data that gains are taken on.
    pub part: &'static str,
    /// How many of its samples, from the first.
    pub samples: usize,
    /// What accumulators may do to sums.
    pub sums: SumBudget,
}

/// Everything a study found.
#[derive(Clone, Debug, Serialize)]
pub struct PrecisionReport {
    /// The layout of this report.
    pub schema_version: u32,
    /// The experiment, resolved, as it was given.
    pub experiment: Experiment,
    /// What was asked for.
    pub requested: Requested,
    /// Error rate of the float run on the test part.
    pub float_error_rate: f64,
    /// The sensitivity of each tensor of the forward pass.
    pub gains: Vec<GainReport>,
    /// What the backward pass of each layer needs.
    pub backward: Vec<BackwardGrids>,
    /// The least balanced widths whose bound is small enough.
    pub balanced: AssignmentReport,
    /// The least uniform widths whose bound is.
    pub uniform: AssignmentReport,
    /// The least widths balanced in joules whose bound is.
    pub joules: AssignmentReport,
    /// Of which of these the plan is.
    pub plan_of: Allocation,
    /// Other widths that were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<AssignmentReport>,
    /// Every tensor of the plan.
    pub planned: Vec<PlannedTensor>,
    /// Every accumulator of the plan.
    pub sums: Vec<PlannedSum>,
    /// The same accumulators by how products are rounded, with what that takes.
    pub roundings: Vec<PricedSums>,
    /// The plan, as an experiment's `precision` section.
    pub precision: PrecisionSpec,
    /// How the plan trains, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained: Option<Trained>,
}

/// The sensitivity of a tensor of the forward pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GainReport {
    /// The tensor.
    pub name: String,
    /// log₂ of its range.
    pub range_log2: i32,
    /// Its noise gain over the samples.
    pub gain: Gain,
    /// Bits beyond `B_min` where widths are balanced.
    pub offset: u32,
}

/// Widths, predicted and measured.
#[derive(Clone, Debug, Serialize)]
pub struct AssignmentReport {
    /// The widths and their bound.
    #[serde(flatten)]
    pub assignment: Assignment,
    /// The bound on the test part, whose mismatch is measured.
    pub bound_on_test: f64,
    /// Quantization after training, on the test part.
    pub measured: Measured,
    /// `p_m` on the test part.
    pub mismatch_rate: f64,
    /// Error rate there.
    pub error_rate: f64,
    /// What each layer costs.
    pub cost: Vec<LayerCost>,
    /// What all of them cost.
    pub total_cost: Complexity,
    /// Energy of a training step on a full batch with them.
    pub step_energy_pj: Picojoules,
}

/// How a plan trains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trained {
    /// The seed.
    pub seed: u64,
    /// Final error rate of the golden model.
    pub golden_error_rate: f64,
    /// Final error rate in fixed point.
    pub fixed_error_rate: f64,
    /// Their difference.
    pub accuracy_loss: f64,
    /// What that says; nothing where golden diverged.
    pub judged: Option<Judgement>,
}

impl Trained {
    /// Of a finished run of a classifier; `None` of any other.
    pub fn of(record: &Record) -> Option<Self> {
        let golden_error_rate = record.golden.final_error_rate()?;
        let fixed_error_rate = record.fixed.final_error_rate()?;
        let accuracy_loss = record.accuracy_loss()?;
        let judged = judged(std::slice::from_ref(record));
        Some(Self { seed: record.seed, golden_error_rate, fixed_error_rate, accuracy_loss, judged })
    }
}

impl Study<'_> {
    /// The least widths of every allocation under the bound, predicted and measured; the plan of one of
    /// them; and uniform and balanced widths of every `B_min` in `sweep`.
    ///
    /// # Errors
    ///
    /// As [`smallest`](Self::smallest) and [`spec`](Self::spec); or if a `B_min` of `sweep` asks for
    /// a tensor of more than 32 bits.
    pub fn report(
        &self,
        requested: Requested,
        plan_of: Allocation,
        sweep: impl IntoIterator<Item = u32>,
    ) -> Result<PrecisionReport, Error> {
        let smallest = |allocation| self.smallest(allocation, requested.mismatch);
        let plan = smallest(plan_of)?;
        let [balanced, uniform, joules] =
            [Allocation::Balanced, Allocation::Uniform, Allocation::Joules].map(smallest);
        let mut swept = Vec::new();
        for b_min in sweep {
            for allocation in [Allocation::Uniform, Allocation::Balanced] {
                let Some(assignment) = self.assign(allocation, b_min) else {
                    let problem = format!(
                        "B_min {b_min} makes {allocation:?} widths of more than 32 bits: expected less"
                    );
                    return Err(Error::at("sweep", problem));
                };
                swept.push(self.judged(assignment)?);
            }
        }
        let gains = self.tensors.iter().map(|tensor| GainReport {
            name: tensor.name.clone(),
            range_log2: tensor.range_log2,
            gain: tensor.gain,
            offset: tensor.offset,
        });
        Ok(PrecisionReport {
            schema_version: 2,
            experiment: self.prepared.experiment.clone(),
            requested,
            float_error_rate: self.run.test.error_rate().expect("a classifier"),
            gains: gains.collect(),
            backward: self.backward.clone(),
            planned: self.planned(&plan)?,
            sums: self.planned_sums(&plan, self.sums)?,
            roundings: self.priced_sums(&plan)?,
            precision: self.spec(&plan)?,
            balanced: self.judged(balanced?)?,
            uniform: self.judged(uniform?)?,
            joules: self.judged(joules?)?,
            plan_of,
            sweep: swept,
            trained: None,
        })
    }

    fn judged(&self, assignment: Assignment) -> Result<AssignmentReport, Error> {
        let measured = self.measure(&assignment)?;
        let cost = self.cost(&assignment);
        let mut total_cost = Complexity::default();
        for layer in &cost {
            total_cost.full_adders += layer.complexity.full_adders;
            total_cost.storage_bits += layer.complexity.storage_bits;
        }
        Ok(AssignmentReport {
            step_energy_pj: self.step_energy(&assignment)?,
            bound_on_test: self.bound_on_test(&assignment.bits),
            mismatch_rate: measured.mismatch(),
            error_rate: measured.error_rate(),
            assignment,
            measured,
            cost,
            total_cost,
        })
    }
}
