//! Pareto fronts, and the cheapest points within a margin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use systoliq_energy::EnergyUnit;

use super::{Analysis, CostKind};

/// The cheapest points whose mean loss is within a margin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// What may be lost.
    pub margin: f64,
    /// By cost, the number of the point in `points`; no entry where none loses so little.
    pub cheapest: BTreeMap<CostKind, usize>,
}

impl Analysis {
    /// The number of every point that can be selected, with its cost and loss, from the cheapest on;
    /// of equal cost, from the least loss. None by energies of several units.
    fn ranked(&self, cost: CostKind) -> Vec<(usize, f64, f64)> {
        if cost == CostKind::EnergyPj && self.energy_unit().is_none() {
            return Vec::new();
        }
        let ranked = |(at, point): (usize, &super::PointAnalysis)| {
            let lost = self.selecting(point)?.mean.0;
            let comparable = lost.is_finite() && point.golden_diverged.is_empty();
            comparable.then_some((at, point.costs?.of(cost), lost))
        };
        let mut points: Vec<_> = self.points.iter().enumerate().filter_map(ranked).collect();
        points.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.2.total_cmp(&b.2)).then(a.0.cmp(&b.0)));
        points
    }

    /// What the energy of every point is counted in; nothing where none has an energy, or they differ.
    pub fn energy_unit(&self) -> Option<EnergyUnit> {
        let mut units = self.points.iter().filter_map(|point| Some(point.costs?.energy_unit));
        let first = units.next()?;
        units.all(|unit| unit == first).then_some(first)
    }

    pub(super) fn front(&self, cost: CostKind) -> Vec<usize> {
        let mut least = f64::INFINITY;
        let better = |&(_, _, lost): &(usize, f64, f64)| {
            let better = lost < least;
            least = least.min(lost);
            better
        };
        self.ranked(cost).into_iter().filter(better).map(|(at, ..)| at).collect()
    }

    /// The cheapest point that loses at most `margin` on the part that points are selected on; of
    /// equally cheap ones, that which loses least.
    pub fn cheapest(&self, cost: CostKind, margin: f64) -> Option<usize> {
        self.ranked(cost).into_iter().find(|&(.., lost)| lost <= margin).map(|(at, ..)| at)
    }
}
