//! What a search found.

use serde::{Deserialize, Serialize};
use systoliq_energy::EnergyUnit;
use systoliq_nn::Extended;
use systoliq_run::Experiment;
use systoliq_study::panel::BitsWorth;

use super::{Place, StartName};
use crate::{CostKind, Lost, MeanCosts, Measure, SelectedOn};

/// Everything that a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchReport {
    /// The version of the layout.
    pub schema_version: u32,
    /// The name of the experiment.
    pub name: String,
    /// What losses are differences of; nothing if no run was trained to its end.
    pub measure: Option<Measure>,
    /// The part of the data that plans are selected on; nothing likewise.
    pub selected_on: Option<SelectedOn>,
    /// What a plan may lose.
    pub margin: f64,
    /// What is to be least.
    pub cost: CostKind,
    /// What energy is counted in; nothing if no run was trained to its end.
    pub energy_unit: Option<EnergyUnit>,
    /// The seeds that plans were chosen by.
    pub seeds: Vec<u64>,
    /// Those that the answer was measured with.
    pub held_back: Vec<u64>,
    /// How many runs it took.
    pub trainings: Trainings,
    /// What was tried, in this order.
    pub steps: Vec<SearchStep>,
    /// The cheapest plan within the budget.
    pub found: Option<FoundPlan>,
    /// If there is none, what came nearest.
    pub nothing_within: Option<NothingWithin>,
}

impl SearchReport {
    /// The layout of `search.json`; a change of meaning raises it.
    pub const LAYOUT: u32 = 2;
}

/// How many runs in fixed point a search took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trainings {
    /// In all.
    pub total: usize,
    /// To choose a plan.
    pub search: usize,
    /// To measure it with seeds that were held back.
    pub held_back: usize,
    /// Of all, those that were given up.
    pub stopped: usize,
    /// Of all, those that failed.
    pub failed: usize,
    /// Whether widths might have gone further, had there been more.
    pub ran_out: bool,
}

/// A plan that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchStep {
    /// The start that its widths are lowered from.
    pub start: StartName,
    /// What was lowered.
    pub how: How,
    /// In what it differs from the start; of widths that were lowered alone or together, from the last
    /// plan that was within the budget.
    pub changes: Vec<WidthChange>,
    /// With how many seeds it was tried.
    pub seeds: usize,
    /// What came of it.
    pub verdict: PlanVerdict,
    /// The mean loss with these seeds on the part that is selected on; of runs that were given up, the
    /// loss until then.
    pub lost: Extended,
    /// The standard error of that mean; nothing for one seed.
    pub lost_error: Option<Extended>,
    /// The mean of what was lost after the latest epochs, a quarter of all rounded up; likewise.
    pub lost_lately: Extended,
    /// The standard error of that mean; nothing for one seed.
    pub lost_lately_error: Option<Extended>,
    /// The mean cost with these seeds; nothing unless all runs were trained to their end.
    pub cost: Option<f64>,
    /// How many runs had been asked for by then.
    pub trainings: usize,
}

/// What was lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Nothing: a start.
    Start,
    /// All widths of a start by one share of the bits that each could lose.
    Uniform,
    /// One width, to see what that loses and saves.
    Alone,
    /// Widths that may go.
    Together,
}

/// What came of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanVerdict {
    /// Within the budget.
    Within,
    /// Beyond it with all seeds.
    Beyond,
    /// Lost too much with some of them, or failed.
    GivenUp,
    /// Tried with the first seeds, and not given up.
    Open,
}

/// One width that was lowered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WidthChange {
    /// Whose.
    pub place: Place,
    /// Bits before.
    pub from: u32,
    /// Bits after.
    pub to: u32,
}

/// The cheapest plan within the budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundPlan {
    /// The start that it comes from.
    pub start: StartName,
    /// Its widths.
    pub widths: Vec<FoundWidth>,
    /// What it lost with the seeds of the search on the validation part; nothing where there is none.
    pub validation: Option<Lost>,
    /// The same on the test part.
    pub test: Lost,
    /// What it costs: means over these seeds.
    pub costs: MeanCosts,
    /// With the seeds that were held back; nothing if a run failed.
    pub held_back: Option<HeldBack>,
    /// Where energy is to be least, what one bit less of it saves on its machine, and on the same without its
    /// global buffer or with one; nothing where that cannot be priced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_worth: Option<[BitsWorth; 2]>,
    /// The experiment with the plan: `plan.json`.
    pub experiment: Experiment,
}

/// One width of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundWidth {
    /// Whose.
    pub place: Place,
    /// Bits in the start.
    pub from: u32,
    /// Bits in the plan.
    pub bits: u32,
}

/// A plan with seeds that took no part in choosing it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldBack {
    /// What it lost on the test part, with what that says of the margin.
    pub test: Lost,
    /// What it costs: means over these seeds.
    pub costs: MeanCosts,
}

/// What came nearest to the budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NothingWithin {
    /// The start of the plan that lost least, of those that were tried with most seeds.
    pub start: StartName,
    /// Its mean loss with so many seeds.
    pub lost: Extended,
    /// The standard error of that mean; nothing for one seed.
    pub lost_error: Option<Extended>,
    /// The mean of what it lost after the latest epochs.
    pub lost_lately: Extended,
    /// The standard error of that mean; nothing for one seed.
    pub lost_lately_error: Option<Extended>,
    /// With how many it was tried.
    pub seeds: usize,
}

impl NothingWithin {
    /// The plan that lost least with the most seeds; nothing if all failed.
    pub(super) fn of(steps: &[SearchStep]) -> Option<Self> {
        let most = steps.iter().map(|step| step.seeds).max()?;
        let known = steps.iter().filter(|step| step.seeds == most && step.cost.is_some());
        let known = known.filter(|step| !step.lost.0.is_nan());
        let least = known.min_by(|a, b| a.lost.0.total_cmp(&b.lost.0))?;
        let &SearchStep { start, lost, lost_error, lost_lately, lost_lately_error, seeds, .. } =
            least;
        Some(Self { start, lost, lost_error, lost_lately, lost_lately_error, seeds })
    }
}
