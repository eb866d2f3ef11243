//! In which machines the conclusions of a run or a sweep hold.
//!
//! Counts are exact, so that a machine costs a walk of the commands and a repricing, and no training. A
//! [`MachinePanel`] has every combination of kinds of DRAM, sizes of the global buffer, kinds of macros and
//! energy profiles, and batches where runs of several exist; each [`Conclusion`] is drawn anew on each of them.
//! Where it is another, [`Domain`]s describe the machines; [`words`] says it in sentences. [`Swing`]s are what
//! figures of the profile do to the ratios over the ranges that their sources leave.
//!
//! What cannot be priced is left out, and counted. Machines differ in prices and buffer alone: DRAM keeps the
//! bandwidth that the accelerator states.

mod conclusion;
mod domain;
mod machines;
mod narrower;
mod priced;
mod tornado;
pub mod words;
mod worth;

use serde::{Deserialize, Serialize};
use systoliq_energy::Profile;
use systoliq_program::Workers;

pub use conclusion::{Claim, Conclusion, Flip, SURE};
pub use domain::{Domain, values};
pub use priced::PanelRun;
pub use tornado::{SWING_MIN, Swing, TRIED};
pub use worth::{BitsWorth, SavedByBit, why_here};

use crate::report::check::{CheckResult, expect};
use conclusion::Answer;
use machines::{Choices, DATAFLOWS, FLOWS, NARROWER, POINTS, energies};
use narrower::PARTS;

/// Trainings with batches of one size.
#[derive(Clone, Debug)]
pub struct PanelGroup {
    /// What conclusions are of.
    pub run: PanelRun,
    /// The points of a sweep that lose little enough, by name, those that lose least first; none of a run.
    pub points: Vec<(String, PanelRun)>,
}

impl PanelGroup {
    /// Everything that is trained.
    fn candidates(&self) -> impl Iterator<Item = &PanelRun> {
        [&self.run].into_iter().chain(self.points.iter().map(|(_, run)| run))
    }
}

/// What machines differ in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineAxis {
    /// `DRAM`, `buffer`, `macros`, `profile` or `batch`.
    pub name: String,
    /// Each value, as sentences have it behind *with*.
    pub values: Vec<String>,
}

/// Machines, and what holds on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachinePanel {
    /// The axes; machines are numbered with the last the fastest.
    pub axes: Vec<MachineAxis>,
    /// The number of the machine that the experiment states.
    pub own: usize,
    /// Machines that are priced.
    pub machines: usize,
    /// Combinations that a profile cannot price, or that cannot run.
    pub left_out: usize,
    /// What points of a sweep may lose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// The batches with which no point of a sweep loses so little, by their places on the axis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_points: Vec<usize>,
    /// The batches of a sweep that are not on the axis, as no point that is otherwise like the cheapest has
    /// been trained to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrained: Vec<String>,
    /// What is concluded.
    pub conclusions: Vec<Conclusion>,
    /// The figures of the profile that move a ratio of the own machine, those that move most first.
    pub swings: Vec<Swing>,
    /// Assumed and derived figures without a range, which were tried 20 % lower and higher.
    pub without_range: usize,
}

impl MachinePanel {
    /// Of a run by itself, on machines with the profiles of the program and these others.
    pub fn of_run(run: PanelRun, others: &[Profile], workers: &Workers) -> Self {
        Self::new(&[PanelGroup { run, points: Vec::new() }], 0, others, workers)
    }

    /// Of trainings with batches of several sizes, of which that of a number is the own one.
    ///
    /// # Panics
    ///
    /// If there is no group of this number.
    pub fn new(groups: &[PanelGroup], own: usize, others: &[Profile], workers: &Workers) -> Self {
        let choices = Choices::new(groups, own, others);
        let energies = energies(groups, &choices, workers);
        let axes = choices.axes();
        let sizes: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
        let own = sizes.iter().zip(&choices.own).fold(0, |number, (size, at)| number * size + at);
        let is_priced = |energies: &Vec<Option<f64>>| {
            energies[..NARROWER].iter().all(|energy| energy.is_some_and(|pj| pj > 0.0))
        };
        let machines = energies.iter().filter(|energies| is_priced(energies)).count();
        let conclusion = |claim: Claim| {
            let answer = |(number, energies): (usize, &Vec<Option<f64>>)| {
                let group = &groups[number % groups.len()];
                is_priced(energies).then(|| answer(claim, energies, group)).flatten()
            };
            let answers: Vec<_> = energies.iter().enumerate().map(answer).collect();
            Conclusion::new(claim, &sizes, &answers, own)
        };
        let group = &groups[own % groups.len()];
        let is_sweep = groups.iter().any(|group| !group.points.is_empty());
        let without_points =
            (0..groups.len()).filter(|&at| is_sweep && groups[at].points.is_empty());
        let (swings, without_range) = tornado::swings(&group.run);
        Self {
            own,
            machines,
            left_out: energies.len() - machines,
            within: None,
            without_points: without_points.collect(),
            untrained: Vec::new(),
            conclusions: Claim::ALL.into_iter().filter_map(conclusion).collect(),
            swings,
            without_range,
            axes,
        }
    }

    /// The same, of points of a sweep that lose at most so much, without these batches.
    pub fn within(self, margin: String, untrained: Vec<String>) -> Self {
        Self { within: Some(margin), untrained, ..self }
    }

    /// Checks that its parts fit each other.
    ///
    /// # Errors
    ///
    /// The first member at fault, with what was found and what was expected.
    pub fn check(&self) -> CheckResult {
        let sizes = self.axes.iter().map(|axis| axis.values.len() as u64);
        let all = sizes.clone().try_fold(1, u64::checked_mul).filter(|&all| all > 0);
        let all =
            all.ok_or_else(|| "axes: some without values, or too many machines".to_owned())?;
        expect((self.own as u64) < all, "own", self.own, &format!("a number below {all}"))?;
        let counted = (self.machines as u64).checked_add(self.left_out as u64);
        expect(counted == Some(all), "machines", counted, &format!("{all} with those left out"))?;
        let batches = self.axes.last().map_or(0, |axis| axis.values.len());
        let other = self.without_points.iter().find(|&&at| at >= batches);
        expect(other.is_none(), "without_points", other, "places on the last axis")?;
        for Conclusion { figures, flips, .. } in &self.conclusions {
            let found = figures.len() as u64;
            expect(found == all, "conclusions.figures", found, &format!("{all} of them"))?;
            let fits = |Domain(axes): &Domain| {
                let known = axes.iter().zip(sizes.clone());
                axes.len() == self.axes.len()
                    && known.clone().all(|(of, size)| of.iter().all(|&value| (value as u64) < size))
            };
            let other = flips.iter().flat_map(|flip| &flip.domain).find(|domain| !fits(domain));
            expect(other.is_none(), "conclusions.flips.domain", other, "values of the axes")?;
        }
        Ok(())
    }

    /// What is concluded of a claim.
    pub fn conclusion(&self, claim: Claim) -> Option<&Conclusion> {
        self.conclusions.iter().find(|conclusion| conclusion.claim == claim)
    }
}

/// What is concluded on a machine on which all that float hardware is compared with has a price.
fn answer(claim: Claim, energies: &[Option<f64>], group: &PanelGroup) -> Option<Answer> {
    let of = |at: usize| energies[at].expect("a machine that is priced");
    let less = |at: usize| {
        let figure = of(at) / of(0);
        let answer = if figure > 1.0 { "less" } else { "no less" };
        Some(Answer { answer: answer.to_owned(), figure })
    };
    // Of equal ones the first.
    let least = |from: usize, count: usize| {
        let known = (0..count).filter_map(|at| Some((at, energies[from + at]?)));
        let mut known: Vec<(usize, f64)> = known.collect();
        known.sort_by(|a, b| a.1.total_cmp(&b.1));
        known
    };
    match claim {
        Claim::LessThanFloat32 => less(1),
        Claim::LessThanBfloat16 => less(2),
        Claim::LessThanBfloat16Master => less(3),
        Claim::BitWorthMost => {
            let &(at, energy) = least(NARROWER, PARTS.len()).first()?;
            let figure = 1.0 - energy / of(0);
            Some(Answer { answer: PARTS[at].0.to_owned(), figure })
        }
        Claim::LeastDataflow => {
            let flows = least(FLOWS, DATAFLOWS.len());
            let [(at, energy), (_, second)] = *flows.get(..2)?.first_chunk()?;
            let name = DATAFLOWS[at].stationary()?.name();
            Some(Answer { answer: name.to_owned(), figure: second / energy })
        }
        Claim::CheapestPoint => {
            let cheapest = least(POINTS, group.points.len());
            let &(at, energy) = cheapest.first()?;
            // Points that differ in what the panel varies itself are one machine here.
            if cheapest.get(1).is_some_and(|&(_, next)| next == energy) {
                return None;
            }
            // Points of batches alone have no other name: each is by itself on its machines.
            let (name, _) = &group.points[at];
            (!name.is_empty()).then(|| Answer { answer: name.clone(), figure: energy / of(1) })
        }
    }
}

#[cfg(test)]
mod tests;
