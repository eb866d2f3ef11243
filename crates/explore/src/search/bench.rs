//! Runs plans with seeds, and keeps what was asked for.

use std::collections::BTreeMap;

use systoliq_energy::EnergyUnit;
use systoliq_run::{Experiment, Prepared};
use systoliq_study::drop::{Level, looks};
use systoliq_study::panel::{BitsWorth, PanelRun};

use super::report::{NothingWithin, Trainings};
use super::{FoundPlan, PlanVerdict, SearchEvent, SearchReport, SearchSpec, SearchStep};
use crate::analysis::until_decided;
use crate::{
    Error, Explorer, Found, GiveUp, Line, Lost, MeanCosts, Measure, RunKey, RunOutcome, SelectedOn,
    Trial,
};

/// Seeds with which a plan is tried first.
const FIRST_SEEDS: usize = 2;

/// Where plans are tried.
pub(super) struct Bench<'a> {
    spec: &'a SearchSpec,
    explorer: &'a Explorer<'a>,
    watch: &'a (dyn Fn(SearchEvent<'_>) + Sync),
    /// Keys in the order in which they were first asked for, and how each run ended.
    asked: Vec<RunKey>,
    ended: BTreeMap<RunKey, RunEnd>,
    held_back: usize,
    /// How many of the seeds that were held back the plan was measured with.
    proved_with: usize,
    ran_out: bool,
    steps: Vec<SearchStep>,
    /// What runs on this data and machine have; nothing before one is done.
    kind: Option<RunKind>,
}

#[derive(Clone, Copy)]
struct RunKind {
    measure: Measure,
    selected_on: SelectedOn,
    energy_unit: EnergyUnit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RunEnd {
    Done,
    Stopped,
    Failed,
}

/// A plan on the first seeds, or on all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tried {
    /// What each of its runs lost, as far as it was trained.
    pub(super) lost: Vec<f64>,
    /// What they lost after the latest epochs on average.
    pub(super) lost_lately: Vec<f64>,
    /// The mean cost of its runs; nothing unless all were trained to their end.
    pub(super) cost: Option<f64>,
    pub(super) verdict: PlanVerdict,
}

/// A plan that was trained to the end with every seed.
pub(super) struct TrainedPlan {
    pub(super) validation: Option<Lost>,
    pub(super) test: Lost,
    pub(super) costs: MeanCosts,
}

impl Tried {
    /// The mean loss.
    pub(super) fn mean(&self) -> f64 {
        mean(&self.lost)
    }

    /// The mean loss after the latest epochs.
    pub(super) fn mean_lately(&self) -> f64 {
        mean(&self.lost_lately)
    }

    /// The standard errors of both means; nothing for one seed.
    pub(super) fn standard_errors(&self) -> [Option<f64>; 2] {
        let several = self.lost.len() > 1;
        [&self.lost, &self.lost_lately].map(|lost| several.then(|| standard_error(lost)))
    }

    /// Both, the worse one; no number is the worst.
    pub(super) fn worse(&self) -> f64 {
        let (end, lately) = (self.mean(), self.mean_lately());
        if end.is_nan() || lately.is_nan() { f64::NAN } else { end.max(lately) }
    }
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        spec: &'a SearchSpec,
        explorer: &'a Explorer<'a>,
        watch: &'a (dyn Fn(SearchEvent<'_>) + Sync),
    ) -> Self {
        let (asked, ended, steps) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self {
            spec,
            explorer,
            watch,
            asked,
            ended,
            held_back: 0,
            proved_with: 0,
            ran_out: false,
            steps,
            kind: None,
        }
    }

    /// How many seeds plans are judged with.
    fn half(&self) -> usize {
        self.spec.seeds.len().div_ceil(2)
    }

    /// What so many seeds together may lose.
    fn allowed(&self, seeds: usize) -> f64 {
        self.spec.margin * seeds as f64
    }

    /// Tries every plan with the first seeds.
    pub(super) fn try_first(&mut self, plans: &[Experiment]) -> Result<Vec<Tried>, Error> {
        let give_up = Some(GiveUp { loss: self.allowed(self.half()) });
        self.try_with(plans, self.half().min(FIRST_SEEDS), self.half(), give_up)
    }

    /// Tries a plan with the first seeds, with half of all and with all, until it is given up.
    pub(super) fn judge(&mut self, plan: &Experiment) -> Result<Tried, Error> {
        let first = self.try_first(std::slice::from_ref(plan))?.remove(0);
        if first.verdict == PlanVerdict::GivenUp {
            return Ok(first);
        }
        let give_up = Some(GiveUp { loss: self.allowed(self.half()) });
        let half = self.try_with(std::slice::from_ref(plan), self.half(), self.half(), give_up)?;
        match half.into_iter().next() {
            Some(half) if half.verdict == PlanVerdict::GivenUp => Ok(half),
            _ => self.judge_in_full(plan),
        }
    }

    /// Tries a plan with all seeds, every run to its end: it is within the budget only if the means
    /// are with their standard errors.
    pub(super) fn judge_in_full(&mut self, plan: &Experiment) -> Result<Tried, Error> {
        let (plan, all) = (std::slice::from_ref(plan), self.spec.seeds.len());
        let mut tried = self.try_with(plan, all, all, None)?.remove(0);
        let surely = |lost: &[f64]| mean(lost) + standard_error(lost) <= self.spec.margin;
        if tried.verdict == PlanVerdict::Within
            && !(surely(&tried.lost) && surely(&tried.lost_lately))
        {
            tried.verdict = PlanVerdict::Beyond;
        }
        Ok(tried)
    }

    /// Trains a plan to the end with every seed; nothing if a run fails.
    pub(super) fn trained(
        &mut self,
        plan: &Experiment,
        seeds: &[u64],
        level: Level,
    ) -> Result<Option<TrainedPlan>, Error> {
        let trials: Vec<Trial> = seeds.iter().map(|&seed| trial(plan, seed)).collect();
        let lines = self.run(&trials)?;
        let Some(found) = lines.iter().map(Line::found).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let RunKind { measure, .. } = self.kind.expect("a run that is done");
        let runs: Vec<_> = seeds.iter().copied().zip(found.iter().copied()).collect();
        let judged = (self.spec.margin, level);
        Ok(Some(TrainedPlan {
            validation: Lost::new(&runs, measure, true, judged),
            test: Lost::new(&runs, measure, false, judged).expect("runs that are done"),
            costs: MeanCosts::new(&found),
        }))
    }

    /// What one bit less of a plan that has been trained saves, on its machine and on another.
    pub(super) fn bits_worth(
        &mut self,
        plan: &Experiment,
    ) -> Result<Option<[BitsWorth; 2]>, Error> {
        let lines = self.run(&[trial(plan, self.spec.seeds[0])])?;
        let Some(found) = lines[0].found() else { return Ok(None) };
        let Ok(prepared) = Prepared::new(plan.clone()) else { return Ok(None) };
        let (cycles, energy) = (found.cycles.total, found.energy_pj.total.0);
        let run = PanelRun::of_macs(&prepared, found.macs, cycles, energy);
        Ok(run.ok().and_then(|run| run.bits_worth()))
    }

    /// Measures a plan with the seeds that were held back, or, if it is to be confirmed, with as many of
    /// them as decide; nothing if a run fails.
    pub(super) fn proved(&mut self, plan: &Experiment) -> Result<Option<TrainedPlan>, Error> {
        let (before, held_back) = (self.asked.len(), &self.spec.held_back);
        let proved = if self.spec.confirm {
            let look = |look: usize| {
                self.proved_with = look.min(held_back.len());
                self.trained(plan, &held_back[..self.proved_with], looks::LEVEL)
            };
            until_decided(look, |trained| trained.test.judged.as_ref())?
        } else {
            self.proved_with = held_back.len();
            self.trained(plan, held_back, Level::Once)?
        };
        self.held_back = self.asked.len() - before;
        Ok(proved)
    }

    /// Whether so many plans can be tried with the first seeds before the runs are at an end; if not, that
    /// is kept.
    pub(super) fn can_try_first(&mut self, plans: usize) -> bool {
        self.can_run(plans * self.half().min(FIRST_SEEDS))
    }

    /// The same of one plan with all seeds.
    pub(super) fn can_judge(&mut self) -> bool {
        self.can_run(self.spec.seeds.len())
    }

    fn can_run(&mut self, runs: usize) -> bool {
        let can = self.asked.len() + runs <= self.spec.runs_max;
        self.ran_out |= !can;
        can
    }

    /// Keeps a step, and shows it.
    pub(super) fn step(&mut self, step: SearchStep) {
        (self.watch)(SearchEvent::Step(&step));
        self.steps.push(step);
    }

    /// How many runs were asked for.
    pub(super) fn trainings(&self) -> usize {
        self.asked.len()
    }

    /// What energy is counted in; nothing before a run is done.
    pub(super) fn energy_unit(&self) -> Option<EnergyUnit> {
        self.kind.map(|kind| kind.energy_unit)
    }

    /// The keys of all runs in the order in which they were first asked for.
    pub(super) fn into_asked(self) -> Vec<RunKey> {
        self.asked
    }

    pub(super) fn margin(&self) -> f64 {
        self.spec.margin
    }

    /// Tries plans with so many seeds, to be within the budget with `of` of them.
    fn try_with(
        &mut self,
        plans: &[Experiment],
        seeds: usize,
        of: usize,
        give_up: Option<GiveUp>,
    ) -> Result<Vec<Tried>, Error> {
        let used = &self.spec.seeds[..seeds];
        let trial = |plan, seed| match give_up {
            Some(rule) => trial(plan, seed).given_up(rule),
            None => trial(plan, seed),
        };
        let of_plan = |plan| used.iter().map(move |&seed| trial(plan, seed));
        let trials: Vec<Trial> = plans.iter().flat_map(of_plan).collect();
        let lines = self.run(&trials)?;
        Ok(lines.chunks(seeds).map(|lines| self.tried(lines, of)).collect())
    }

    /// What the runs of one plan come to, which is to be within the budget with so many seeds.
    fn tried(&self, lines: &[Line], of: usize) -> Tried {
        let lost = |line: &Line, of: fn(&Found) -> Option<f64>| match &line.outcome {
            RunOutcome::Done(found) => of(found).unwrap_or(f64::NAN),
            RunOutcome::Stopped(stopped) => stopped.lost.0,
            RunOutcome::Failed(_) => f64::NAN,
        };
        let all = |of| lines.iter().map(|line| lost(line, of)).collect::<Vec<f64>>();
        let (lost, lost_lately) = (all(Found::lost), all(Found::lost_lately));
        let found: Vec<&Found> = lines.iter().filter_map(Line::found).collect();
        let done = found.len() == lines.len();
        // What is no number is not within anything.
        let within =
            [&lost, &lost_lately].iter().all(|lost| lost.iter().sum::<f64>() <= self.allowed(of));
        let verdict = match (within, lines.len() < self.spec.seeds.len()) {
            _ if !done => PlanVerdict::GivenUp,
            (true, true) => PlanVerdict::Open,
            (true, false) => PlanVerdict::Within,
            (false, true) => PlanVerdict::GivenUp,
            (false, false) => PlanVerdict::Beyond,
        };
        let cost = done.then(|| MeanCosts::new(&found).of(self.spec.cost));
        Tried { lost, lost_lately, cost, verdict }
    }

    fn run(&mut self, trials: &[Trial]) -> Result<Vec<Line>, Error> {
        let lines = self.explorer.lines_of(trials, |line| (self.watch)(SearchEvent::Run(line)))?;
        for line in &lines {
            let ended = match &line.outcome {
                RunOutcome::Done(found) => {
                    let classes = found.fixed.test.errors.is_some();
                    let validated = found.fixed.validation.is_some();
                    self.kind = Some(RunKind {
                        measure: if classes { Measure::ErrorRate } else { Measure::Loss },
                        selected_on: match validated {
                            true => SelectedOn::Validation,
                            false => SelectedOn::Test,
                        },
                        energy_unit: found.energy_pj.unit,
                    });
                    RunEnd::Done
                }
                RunOutcome::Stopped(_) => RunEnd::Stopped,
                RunOutcome::Failed(_) => RunEnd::Failed,
            };
            if self.ended.insert(line.key, ended).is_none() {
                self.asked.push(line.key);
            }
        }
        Ok(lines)
    }

    /// What was found, with the keys of all runs.
    pub(super) fn report(self, found: Option<FoundPlan>) -> (SearchReport, Vec<RunKey>) {
        let count = |ended: RunEnd| self.ended.values().filter(|&&one| one == ended).count();
        let trainings = Trainings {
            search: self.asked.len() - self.held_back,
            held_back: self.held_back,
            total: self.asked.len(),
            stopped: count(RunEnd::Stopped),
            failed: count(RunEnd::Failed),
            ran_out: self.ran_out,
        };
        let nothing_within = found.is_none().then(|| NothingWithin::of(&self.steps)).flatten();
        let report = SearchReport {
            schema_version: SearchReport::LAYOUT,
            name: self.spec.experiment.name.clone(),
            measure: self.kind.map(|kind| kind.measure),
            selected_on: self.kind.map(|kind| kind.selected_on),
            margin: self.spec.margin,
            cost: self.spec.cost,
            energy_unit: self.kind.map(|kind| kind.energy_unit),
            seeds: self.spec.seeds.clone(),
            held_back: self.spec.held_back[..self.proved_with].to_vec(),
            trainings,
            steps: self.steps,
            found,
            nothing_within,
        };
        (report, self.asked)
    }
}

fn trial(plan: &Experiment, seed: u64) -> Trial {
    Trial::new(Experiment { seed, ..plan.clone() })
}

fn mean(lost: &[f64]) -> f64 {
    lost.iter().sum::<f64>() / lost.len() as f64
}

/// The standard error of the mean; none of a single loss.
fn standard_error(lost: &[f64]) -> f64 {
    let (count, mean) = (lost.len() as f64, mean(lost));
    let squares: f64 = lost.iter().map(|lost| (lost - mean) * (lost - mean)).sum();
    if lost.len() < 2 { 0.0 } else { (squares / (count - 1.0) / count).sqrt() }
}
