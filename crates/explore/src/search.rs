//! The cheapest precision plan within a loss.
//!
//! A search starts from some whole plans. Of each that is within the budget it lowers all widths
//! together as far as that goes. Then, round by round and from the cheapest of these, it lowers every width [alone](How::Alone) by a
//! step, to see what that loses and saves, and [together](How::Together) those that lost nothing to
//! speak of, in halves where all are too many. Widths that cannot go down by a step try half of it.
//!
//! A plan is **within** the budget if its mean loss over all search seeds is, with its standard error,
//! on the part that is selected on; and both in the end and after the latest epochs on average, as the
//! last epoch may be a lucky one. It is tried with two seeds first, then with half of all, and **given
//! up** once the losses of two sum to more than those of half may, so that the others would have to be
//! better than golden; or once the mean over half is beyond the budget. Runs are given up likewise
//! ([`GiveUp`](crate::GiveUp)), but for those of whole plans to start from. What was given up is never
//! accepted: every run of a plan within the budget went to its end.
//!
//! It ends when no width goes any further, or with its runs, and the plan is trained with seeds that took no part.
//!
//! *Invariant:* what is asked next depends on lines of the store alone, so that a search repeats
//! itself whatever ran when, or before.

mod bench;
mod descent;
mod report;
mod tighten;
mod widths;

use serde::{Deserialize, Serialize};
use systoliq_run::{Error as SimError, Experiment};
use systoliq_study::drop::Level;

use crate::{CostKind, Error, Explorer, Line, RunKey};
use bench::Bench;
use descent::{Descent, ReachedPlan};
use widths::Adjustable;

pub use report::{
    FoundPlan, FoundWidth, HeldBack, How, NothingWithin, PlanVerdict, SearchReport, SearchStep,
    Trainings, WidthChange,
};
pub use tighten::{
    NoiseForecast, SpareBits, Tightening, TighteningReport, TriedOffset, WidthClass,
};
pub use widths::Place;

/// What is sought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSpec {
    /// The experiment, whose data, network, training and machine all plans have.
    pub experiment: Experiment,
    /// What a plan may lose against golden, its budget: in error rate, or in loss where there are no
    /// classes.
    pub margin: f64,
    /// What is to be least.
    pub cost: CostKind,
    /// The seeds that plans are chosen by.
    pub seeds: Vec<u64>,
    /// Others, that the answer is measured with.
    pub held_back: Vec<u64>,
    /// Whether it is measured with the first 29, 58 and 116 of these, as long as they do not decide.
    pub confirm: bool,
    /// After so many runs no other plan is tried, but one to start from where there is none yet.
    pub runs_max: usize,
}

/// A whole plan to start from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Where it is from.
    pub name: StartName,
    /// The experiment with it.
    pub experiment: Experiment,
}

/// Where a plan is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartName {
    /// The analysis of a float run.
    Analysis,
    /// The experiment itself.
    Own,
}

/// What a search shows while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum SearchEvent<'a> {
    /// A run that ended, or is in the store.
    Run(&'a Line),
    /// A plan that was tried.
    Step(&'a SearchStep),
}

/// A search.
pub struct Search<'a> {
    spec: &'a SearchSpec,
    starts: Vec<(StartName, Adjustable)>,
}

impl<'a> Search<'a> {
    /// The search for `spec` from `starts`.
    ///
    /// # Errors
    ///
    /// If a start is impossible.
    ///
    /// # Panics
    ///
    /// If there are no starts, or no seeds.
    pub fn new(spec: &'a SearchSpec, starts: &[Start]) -> Result<Self, SimError> {
        assert!(!starts.is_empty() && !spec.seeds.is_empty(), "starts and seeds");
        let adjustable =
            |start: &Start| Ok::<_, SimError>((start.name, Adjustable::new(&start.experiment)?));
        Ok(Self { spec, starts: starts.iter().map(adjustable).collect::<Result<_, _>>()? })
    }

    /// Searches, in the present thread pool, and has `watch` see runs and steps. Also returns the keys
    /// of all runs in the order in which they were first asked for.
    ///
    /// # Errors
    ///
    /// Those of [`Explorer::evaluate`].
    pub fn run(
        &self,
        explorer: &Explorer<'_>,
        watch: &(dyn Fn(SearchEvent<'_>) + Sync),
    ) -> Result<(SearchReport, Vec<RunKey>), Error> {
        let mut bench = Bench::new(self.spec, explorer, watch);
        let mut cheapest: Option<(usize, ReachedPlan)> = None;
        for (at, start) in self.starts.iter().enumerate() {
            if cheapest.is_some() && !bench.can_judge() {
                break;
            }
            let reached = Descent::new(&mut bench, start.0, &start.1).all_together()?;
            let cost = cheapest.as_ref().map_or(f64::INFINITY, |(_, before)| before.cost);
            if let Some(reached) = reached.filter(|reached| reached.cost < cost) {
                cheapest = Some((at, reached));
            }
        }
        let Some((at, reached)) = cheapest else { return Ok(bench.report(None)) };
        let start = &self.starts[at];
        let bits = Descent::new(&mut bench, start.0, &start.1).one_by_one(reached)?;
        let found = self.found(&mut bench, start, &bits)?;
        Ok(bench.report(Some(found)))
    }

    /// Trains a plan with the seeds that were held back.
    fn found(
        &self,
        bench: &mut Bench<'_>,
        (name, start): &(StartName, Adjustable),
        bits: &[u32],
    ) -> Result<FoundPlan, Error> {
        let experiment = start.with_bits(bits).expect("a plan that has been trained");
        let searched = bench.trained(&experiment, &self.spec.seeds, Level::Once)?;
        let searched = searched.expect("an accepted plan");
        let proved = bench.proved(&experiment)?;
        let held_back = proved.map(|proved| HeldBack { test: proved.test, costs: proved.costs });
        // As they are: widths of accumulators that are not stated follow from operands.
        let now = Adjustable::new(&experiment).expect("a plan that has been trained");
        let width = |(at, from)| {
            let place = start.place(at).clone();
            let bits = now.bits_at(&place).expect("plans of one network have the same widths");
            FoundWidth { place, from, bits }
        };
        let bits_worth = match self.spec.cost {
            CostKind::EnergyPj => bench.bits_worth(&experiment)?,
            CostKind::Cycles | CostKind::StepBits | CostKind::AreaMm2 => None,
        };
        Ok(FoundPlan {
            bits_worth,
            start: *name,
            widths: start.bits().into_iter().enumerate().map(width).collect(),
            validation: searched.validation,
            test: searched.test,
            costs: searched.costs,
            held_back,
            experiment,
        })
    }
}
