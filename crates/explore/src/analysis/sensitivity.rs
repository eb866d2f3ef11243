//! Which setting needs its bits: what lowering one axis by a step does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use systoliq_nn::Extended;
use systoliq_study::drop::{of_counts, of_values};

use super::Analysis;
use crate::{AxisLevel, Sweep};

/// One step down one axis: the mean over all pairs of points that differ in this step alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// The axis.
    pub axis: String,
    /// The value before the step.
    pub from: Value,
    /// The value after it.
    pub to: Value,
    /// How many pairs of points, whose losses are defined.
    pub pairs: usize,
    /// By how much the loss grows on the part that points are selected on: the mean over the seeds of
    /// the mean over the pairs.
    pub loss: Extended,
    /// Half the width of the 95 % interval of that mean over the seeds; nothing for one.
    pub loss_ci95: Option<Extended>,
    /// By which factor the energy grows: the mean over the pairs; nothing where the unit of energy
    /// changes.
    pub energy_factor: Option<f64>,
}

/// Every step of every axis, from the highest value down.
pub(super) fn of(sweep: &Sweep, analysis: &Analysis) -> Vec<Sensitivity> {
    let mut found = Vec::new();
    for (at, axis) in sweep.axes().iter().enumerate() {
        // Points by the levels of the other axes, then by that of this one.
        let mut lines: BTreeMap<Vec<usize>, BTreeMap<usize, usize>> = BTreeMap::new();
        for point in 0..sweep.points() {
            let mut others = sweep.point(point);
            let level = others.remove(at);
            lines.entry(others).or_default().insert(level, point);
        }
        for step in descending(&axis.levels).windows(2) {
            let (from, to) = (step[0], step[1]);
            let pairs =
                lines.values().filter_map(|line| Some((*line.get(&from)?, *line.get(&to)?)));
            if let Some(step) = LevelStep::of(analysis, pairs) {
                found.push(Sensitivity {
                    axis: axis.name.clone(),
                    from: axis.levels[from].value.clone(),
                    to: axis.levels[to].value.clone(),
                    pairs: step.pairs,
                    loss: Extended(step.loss.0),
                    loss_ci95: step.loss.1.map(Extended),
                    energy_factor: step.energy_factor,
                });
            }
        }
    }
    found
}

/// Levels from the highest number down; in the order of the axis, from the last, if one is no number.
fn descending(levels: &[AxisLevel]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..levels.len()).rev().collect();
    let numbers: Option<Vec<f64>> = levels.iter().map(|level| level.value.as_f64()).collect();
    if let Some(numbers) = numbers {
        order.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]));
    }
    order
}

struct LevelStep {
    pairs: usize,
    loss: (f64, Option<f64>),
    energy_factor: Option<f64>,
}

impl LevelStep {
    /// Over pairs of points, before and after the step, that both have a loss; nothing where none do.
    fn of(analysis: &Analysis, pairs: impl Iterator<Item = (usize, usize)>) -> Option<Self> {
        let (mut count, mut energy) = (0, Some(0.0));
        let mut by_seed = vec![0.0; analysis.seeds.len()];
        let mut samples = None;
        for (from, to) in pairs {
            let [from, to] = [from, to].map(|point| &analysis.points[point]);
            let (Some(before), Some(after)) = (analysis.selecting(from), analysis.selecting(to))
            else {
                continue;
            };
            let (Some(cost_before), Some(cost_after)) = (from.costs, to.costs) else { continue };
            // Without a loss on both sides there is no growth of it.
            if [before, after].iter().any(|lost| lost.by_seed.iter().any(|lost| lost.0.is_nan())) {
                continue;
            }
            count += 1;
            samples = samples.or(after.judged.as_ref().map(|judged| judged.samples));
            let factor = cost_after.energy_pj / cost_before.energy_pj;
            let comparable = cost_after.energy_unit == cost_before.energy_unit;
            energy = energy.filter(|_| comparable).map(|sum| sum + factor);
            for (sum, (after, before)) in
                by_seed.iter_mut().zip(after.by_seed.iter().zip(&before.by_seed))
            {
                *sum += after.0 - before.0;
            }
        }
        if count == 0 {
            return None;
        }
        by_seed.iter_mut().for_each(|sum| *sum /= count as f64);
        Some(Self {
            pairs: count,
            loss: match samples {
                Some(samples) => of_counts(&by_seed, samples),
                None => of_values(&by_seed),
            },
            energy_factor: energy.map(|sum| sum / count as f64),
        })
    }
}
