//! In which machines a sweep's cheapest point is the cheapest, and what else holds of it.
//!
//! What a run keeps tells how many samples it trained on, from which every count follows; nothing is trained.
//! Where an axis is the size of a batch, it is one of the panel, too: on each of its values, points of that batch
//! are compared, and what else is concluded is of the point that differs from the cheapest in the batch alone.

use serde_json::Value;
use systoliq_energy::Profile;
use systoliq_program::Workers;
use systoliq_run::{Experiment, Prepared};
use systoliq_study::drop::words;
use systoliq_study::panel::{MachinePanel, PanelGroup, PanelRun};

use crate::{AnalysedAxis, Analysis, CostKind, Lines, Measure, PointAnalysis, shown};

/// The setting that is the size of a batch.
const BATCH: &str = "training.batch";

impl Analysis {
    /// The panel of the points that lose at most the margin of this analysis, whose runs `lines` has, on
    /// machines with the profiles of the program and these others.
    ///
    /// # Errors
    ///
    /// A sentence, if no point loses so little, or a run is not one that this program would make.
    pub fn panel(
        &self,
        lines: &Lines,
        others: &[Profile],
        workers: &Workers,
    ) -> Result<MachinePanel, String> {
        let margin = match self.measure {
            Measure::ErrorRate => words::margin(self.within.margin),
            Measure::Loss => self.within.margin.to_string(),
        };
        let eligible = self.eligible();
        let cheapest = self.within.cheapest.get(&CostKind::EnergyPj).copied();
        let Some(winner) = cheapest.or_else(|| eligible.first().copied()) else {
            return Err(format!(
                "no point of the sweep loses at most {margin}, so that none is the cheapest"
            ));
        };
        let axis = self.axes.iter().find(|axis| axis.paths == [BATCH]);
        let settings = |at: usize| self.settings_but(&self.points[at], axis);
        let batch = |at: usize| axis.and_then(|axis| self.points[at].settings.get(&axis.name));
        let is_like_winner =
            |at: &usize| self.points[*at].costs.is_some() && settings(*at) == settings(winner);
        let batches = axis.into_iter().flat_map(|axis| &axis.values);
        let trained = |value: &Value| {
            let like_winner = (0..self.points.len()).filter(is_like_winner);
            like_winner.into_iter().any(|at| batch(at) == Some(value))
        };
        let untrained = batches.filter(|value| !trained(value));
        let untrained = untrained.map(|value| format!("batch {}", shown(value))).collect();
        let mut groups = Vec::new();
        for at in (0..self.points.len()).filter(is_like_winner) {
            let run = self.run(at, lines)?;
            let of_batch = eligible.iter().filter(|&&other| batch(other) == batch(at));
            let points = of_batch.map(|&point| Ok((settings(point), self.run(point, lines)?)));
            let points = points.collect::<Result<_, String>>()?;
            groups.push((at, PanelGroup { run, points }));
        }
        let own = groups.iter().position(|&(at, _)| at == winner).expect("it is like itself");
        let groups: Vec<PanelGroup> = groups.into_iter().map(|(_, group)| group).collect();
        Ok(MachinePanel::new(&groups, own, others, workers).within(margin, untrained))
    }

    /// The points that lose at most the margin, those that lose least first.
    fn eligible(&self) -> Vec<usize> {
        let lost = |(at, point): (usize, &PointAnalysis)| {
            let lost = self.selecting(point)?.mean.0;
            let comparable = point.golden_diverged.is_empty() && point.costs.is_some();
            (comparable && lost <= self.within.margin).then_some((at, lost))
        };
        let mut points: Vec<(usize, f64)> =
            self.points.iter().enumerate().filter_map(lost).collect();
        points.sort_by(|a, b| a.1.total_cmp(&b.1));
        points.into_iter().map(|(at, _)| at).collect()
    }

    /// A point in words, without its value on one axis.
    fn settings_but(&self, point: &PointAnalysis, without: Option<&AnalysedAxis>) -> String {
        let named = self.axes.iter().filter(|axis| without.is_none_or(|of| of.name != axis.name));
        let named = named.filter_map(|axis| {
            Some(format!("{} {}", axis.name, shown(point.settings.get(&axis.name)?)))
        });
        named.collect::<Vec<_>>().join(", ")
    }

    /// What the first run of a point trained.
    fn run(&self, at: usize, lines: &Lines) -> Result<PanelRun, String> {
        let key = self.points[at].keys[0];
        let line = lines.get(key).ok_or_else(|| format!("no run {key}"))?;
        let found = line.found().ok_or_else(|| format!("run {key} did not end"))?;
        let of_run = |problem: String| format!("run {key}: {problem}");
        let experiment: Experiment = serde_json::from_value(line.experiment.clone())
            .map_err(|error| of_run(error.to_string()))?;
        let prepared = Prepared::new(experiment).map_err(|error| of_run(error.to_string()))?;
        let (cycles, energy) = (found.cycles.total, found.energy_pj.total.0);
        PanelRun::of_macs(&prepared, found.macs, cycles, energy).map_err(of_run)
    }
}
