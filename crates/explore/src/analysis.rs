//! What follows from all runs of a sweep.
//!
//! The loss of a run is what fixed point loses against the golden model of the same seed: the
//! difference of error rates after the last epoch, from whole numbers of errors, or of losses where
//! there are no classes. Points are selected by its mean on the validation part and quoted on the
//! test part, both with what [`systoliq_study::drop`] says of seeds and samples.
//!
//! Only points are selected whose every run is done; a run that diverged is done, and has lost what
//! it lost. Against a golden model that diverged nothing is lost that could be compared: such a seed is
//! left out, and its point is not selected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use systoliq_energy::EnergyUnit;
use systoliq_study::drop::Level;

use crate::{Found, Line, Lines, RunKey, RunOutcome, Sweep, SweepAxis};

mod looked_at;
mod lost;
mod selection;
mod sensitivity;

pub use looked_at::LookedAt;
pub(crate) use looked_at::until_decided;
pub use lost::Lost;
pub use selection::Within;
pub use sensitivity::Sensitivity;

/// Everything that follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Analysis {
    /// The version of the layout.
    pub schema_version: u32,
    /// The name of the sweep.
    pub name: String,
    /// What losses are differences of.
    pub measure: Measure,
    /// The part of the data that points are selected on.
    pub selected_on: SelectedOn,
    /// The seeds of every point.
    pub seeds: Vec<u64>,
    /// The axes; the last varies fastest.
    pub axes: Vec<AnalysedAxis>,
    /// Every point, in the order of the sweep.
    pub points: Vec<PointAnalysis>,
    /// By cost: the points, by their numbers in `points` and from the cheapest on, of which no other
    /// loses at most as much at no more cost. Of equal ones, the first.
    pub fronts: BTreeMap<CostKind, Vec<usize>>,
    /// The cheapest points whose mean loss is within a margin.
    pub within: Within,
    /// Points that were looked at with more seeds, which took no part in choosing them.
    pub looked_at: Vec<LookedAt>,
    /// What lowering each axis by one step does, the other axes as they are.
    pub sensitivity: Vec<Sensitivity>,
}

/// What losses are differences of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Error rates, as fractions.
    ErrorRate,
    /// Mean losses.
    Loss,
}

/// The part of the data that points are selected on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectedOn {
    /// The validation part.
    Validation,
    /// The test part, as there is no other.
    Test,
}

/// What a point is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostKind {
    /// Energy of the training.
    EnergyPj,
    /// Cycles of the training.
    Cycles,
    /// Bits of all tensors of a training step on a full batch.
    StepBits,
    /// Area of the machine.
    AreaMm2,
}

impl CostKind {
    /// Every cost.
    pub const ALL: [Self; 4] = [Self::EnergyPj, Self::Cycles, Self::StepBits, Self::AreaMm2];
}

/// One axis as figures need it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalysedAxis {
    /// Its name.
    pub name: String,
    /// The paths that it sets.
    pub paths: Vec<String>,
    /// Its values, or the names of its bundles.
    pub values: Vec<Value>,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointAnalysis {
    /// Its values by the names of the axes.
    pub settings: BTreeMap<String, Value>,
    /// The keys of its runs, by seed.
    pub keys: Vec<RunKey>,
    /// Why runs failed, by their seeds.
    pub failed: BTreeMap<u64, String>,
    /// The seeds of runs whose loss ended above that of the initial weights, or not finite.
    pub diverged: Vec<u64>,
    /// The seeds of which the golden model's did, against which nothing can be lost.
    pub golden_diverged: Vec<u64>,
    /// What it lost on the validation part; nothing where there is none, or unless all runs are done.
    pub validation: Option<Lost>,
    /// What it lost on the test part; nothing unless all runs are done.
    pub test: Option<Lost>,
    /// What it costs; nothing unless all runs are done.
    pub costs: Option<MeanCosts>,
}

/// What a point costs: means over its seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanCosts {
    /// What energy is counted in.
    pub energy_unit: EnergyUnit,
    /// Energy of the training.
    pub energy_pj: f64,
    /// Energy of the same program on float32 hardware.
    pub float32_energy_pj: f64,
    /// Cycles of the training.
    pub cycles: f64,
    /// Bits of all tensors of a training step on a full batch.
    pub step_bits: f64,
    /// Area of the machine.
    pub area_mm2: f64,
}

impl MeanCosts {
    pub(crate) fn new(found: &[&Found]) -> Self {
        let mean = |of: &dyn Fn(&Found) -> f64| {
            found.iter().map(|found| of(found)).sum::<f64>() / found.len() as f64
        };
        Self {
            energy_unit: found[0].energy_pj.unit,
            energy_pj: mean(&|found| found.energy_pj.total.0),
            float32_energy_pj: mean(&|found| found.energy_pj.float32_total.0),
            cycles: mean(&|found| found.cycles.total as f64),
            step_bits: mean(&|found| found.step_bits() as f64),
            area_mm2: mean(&|found| found.area_mm2),
        }
    }

    /// One of them.
    pub fn of(&self, cost: CostKind) -> f64 {
        match cost {
            CostKind::EnergyPj => self.energy_pj,
            CostKind::Cycles => self.cycles,
            CostKind::StepBits => self.step_bits,
            CostKind::AreaMm2 => self.area_mm2,
        }
    }
}

impl Analysis {
    /// The layout of `analysis.json`; a change of meaning raises it.
    pub const LAYOUT: u32 = 2;

    /// What follows from the lines of a store, with the points that lose at most `margin` looked for.
    /// `keys` are those of [`Sweep::runs`], in their order.
    ///
    /// # Panics
    ///
    /// If there are not as many keys as runs.
    pub fn new(sweep: &Sweep, keys: &[RunKey], lines: &Lines, margin: f64) -> Self {
        let seeds = sweep.seeds();
        assert_eq!(keys.len(), sweep.points() * seeds.len(), "a key for each run");
        let found = || keys.iter().filter_map(|&key| lines.get(key)?.found());
        let classes = found().all(|found| found.fixed.test.errors.is_some());
        let measure = if classes { Measure::ErrorRate } else { Measure::Loss };
        let validated = found().all(|found| found.fixed.validation.is_some());
        let selected_on = if validated { SelectedOn::Validation } else { SelectedOn::Test };
        let points = keys.chunks(seeds.len()).enumerate().map(|(at, keys)| {
            let lines: Vec<_> = keys.iter().map(|&key| lines.get(key)).collect();
            PointAnalysis::new(sweep.settings(at), keys, seeds, &lines, (measure, margin))
        });
        let mut analysis = Self {
            schema_version: Self::LAYOUT,
            name: sweep.spec().name.clone(),
            measure,
            selected_on,
            seeds: seeds.to_vec(),
            axes: sweep.axes().iter().map(AnalysedAxis::new).collect(),
            points: points.collect(),
            fronts: BTreeMap::new(),
            within: Within { margin, cheapest: BTreeMap::new() },
            looked_at: Vec::new(),
            sensitivity: Vec::new(),
        };
        for cost in CostKind::ALL {
            let front = analysis.front(cost);
            analysis.fronts.insert(cost, front);
            if let Some(cheapest) = analysis.cheapest(cost, margin) {
                analysis.within.cheapest.insert(cost, cheapest);
            }
        }
        analysis.sensitivity = sensitivity::of(sweep, &analysis);
        analysis
    }

    /// The points that are cheapest by some cost that varies, each once.
    pub fn winners(&self) -> Vec<usize> {
        let mut winners: Vec<usize> = Vec::new();
        for (&cost, &at) in &self.within.cheapest {
            if (cost == CostKind::EnergyPj || self.varies(cost)) && !winners.contains(&at) {
                winners.push(at);
            }
        }
        winners
    }

    /// Whether points differ in a cost.
    pub fn varies(&self, cost: CostKind) -> bool {
        let mut costs = self.points.iter().filter_map(|point| Some(point.costs?.of(cost)));
        let first = costs.next();
        costs.any(|other| Some(other) != first)
    }

    /// What a point lost on the part that points are selected on.
    pub fn selecting<'p>(&self, point: &'p PointAnalysis) -> Option<&'p Lost> {
        match self.selected_on {
            SelectedOn::Validation => point.validation.as_ref(),
            SelectedOn::Test => point.test.as_ref(),
        }
    }
}

impl AnalysedAxis {
    fn new(axis: &SweepAxis) -> Self {
        Self {
            name: axis.name.clone(),
            paths: axis.paths.clone(),
            values: axis.levels.iter().map(|level| level.value.clone()).collect(),
        }
    }
}

impl PointAnalysis {
    fn new(
        settings: BTreeMap<String, Value>,
        keys: &[RunKey],
        seeds: &[u64],
        lines: &[Option<&Line>],
        (measure, margin): (Measure, f64),
    ) -> Self {
        let (mut failed, mut found) = (BTreeMap::new(), Vec::new());
        let (mut diverged, mut golden_diverged) = (Vec::new(), Vec::new());
        for (&seed, line) in seeds.iter().zip(lines) {
            match line.map(|line| &line.outcome) {
                Some(RunOutcome::Failed(reason)) => {
                    failed.insert(seed, reason.clone());
                }
                Some(RunOutcome::Done(one)) => {
                    let both = [&one.fixed, &one.golden].map(crate::LearningCurves::ended_worse);
                    diverged.extend(both[0].then_some(seed));
                    golden_diverged.extend(both[1].then_some(seed));
                    found.push((seed, &**one));
                }
                // One that a search gave up is, to a sweep, not there yet.
                Some(RunOutcome::Stopped(_)) | None => {}
            }
        }
        let all = found.len() == seeds.len();
        let judged = (margin, Level::Once);
        let lost = |validation| Lost::new(&found, measure, validation, judged).filter(|_| all);
        let runs: Vec<&Found> = found.iter().map(|&(_, found)| found).collect();
        Self {
            settings,
            keys: keys.to_vec(),
            failed,
            diverged,
            golden_diverged,
            validation: lost(true),
            test: lost(false),
            costs: all.then(|| MeanCosts::new(&runs)),
        }
    }
}

#[cfg(test)]
mod tests;
