//! `systoliq sweep`: an experiment over its settings, every point against float.

mod directory;
mod summary;

use std::collections::HashMap;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use systoliq_energy::Picojoules;
use systoliq_explore::{Analysis, Explorer, Line, Lines, RunKey, RunStore, Sweep, Trial};
use systoliq_run::Prepared;
use systoliq_study::drop::MARGIN;
use systoliq_study::drop::looks::LOOKS;

use crate::commands::margin::margin;
use crate::commands::table::{grouped, joules};
use crate::failure::{Failure, printable, warn};
use crate::interrupt;
use crate::load::sweep::{self, LoadedSweep};
use crate::load::warn_of;
use directory::SweepDirectory;
use systoliq_load::{experiment, files};

/// Runs an experiment over values of its settings, several seeds each, and finds how few bits,
/// joules and cycles a given loss of accuracy takes.
#[derive(Clone, Debug, Args)]
#[command(
    name = "sweep",
    after_help = "\
Examples:
  systoliq sweep models/sweeps/digits-bits.json --out bits
  systoliq sweep models/sweeps/digits-bits.json --out bits --resume --confirm
  systoliq sweep models/sweeps/digits-bits.json --set seeds=2 --set experiment.training.epochs=5

With --out, every run that ends is a line of points.jsonl at once, from which --resume goes on after an
interruption; in the end stand results.csv (a line per point), runs.csv (a line per point and seed),
analysis.json (losses with their intervals, Pareto fronts, sensitivities) and timing.json (what
differs from run to run). Runs that `systoliq point` has left there count, too."
)]
pub struct SweepCommand {
    /// JSON file of the sweep; `systoliq schema sweep` describes it.
    sweep: PathBuf,

    /// Replaces the value at PATH of the sweep, as `systoliq train` does of an experiment; that of its
    /// experiment is `experiment`.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,

    /// Folder for what is found.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Goes on with the sweep in --out; starts afresh where there is none.
    #[arg(long, requires = "out")]
    resume: bool,

    /// Runs at a time, each in one thread; the results are the same for any number [default: all
    /// cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<u16>>,

    /// Looks for the cheapest points whose mean loss against float is at most so much, a fraction, and
    /// says what their seeds and samples tell of that.
    #[arg(long, alias = "loss", value_name = "X", default_value_t = MARGIN, value_parser = margin, allow_negative_numbers = true)]
    margin: f64,

    /// Looks at the cheapest points with 29, 58 and 116 seeds that took no part, those after the sweep's,
    /// until the margin is decided.
    #[arg(long)]
    confirm: bool,

    /// Allows more than a million runs.
    #[arg(long)]
    yes: bool,

    /// Prints analysis.json instead of tables.
    #[arg(long)]
    json: bool,
}

impl SweepCommand {
    /// Runs what is not done yet; returns the tables, or the analysis.
    pub fn run(&self) -> Result<String, Failure> {
        let start = Instant::now();
        let loaded = sweep::read(&self.sweep, &self.set, self.yes)?;
        let sweep = &loaded.sweep;
        let runs: Vec<(usize, u64)> = sweep.runs().collect();
        let trial = |at: usize| {
            let (point, seed) = runs[at];
            trial(sweep, point, seed)
        };
        self.check(&loaded, &trial, runs.len())?;
        let others = self.confirm.then(|| other_seeds(sweep.seeds())).transpose()?;
        let jobs = self.jobs().min(runs.len().max(others.as_ref().map_or(0, Vec::len)));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build();
        let pool = pool.map_err(Failure::run)?;
        let keys = pool.install(|| keys(runs.len(), &|at| trial(at).key()));
        if let Some((first, second)) = twice(&keys) {
            let [first, second] = [first, second].map(|at| summary::point(sweep, runs[at].0));
            let problem = format!("the points `{first}` and `{second}` are one experiment");
            return Err(loaded.refuse_whole(&format!("{problem}: expected each once")));
        }
        let (directory, store) = match &self.out {
            Some(path) => {
                let (directory, store) = SweepDirectory::open(path, sweep, &keys, self.resume)?;
                (Some(directory), store)
            }
            None => {
                let more = others.as_ref().map_or(0, Vec::len);
                if runs.len() + more > RUNS_UNSAID_MAX {
                    let more = match more {
                        0 => String::new(),
                        more => format!(", and up to {more} more of each winner,"),
                    };
                    let runs = grouped(runs.len() as u64);
                    let problem =
                        format!("without --out, nothing of its {runs} runs{more} is kept");
                    warn(&sweep.spec().name, &[problem]);
                }
                (None, RunStore::new(Lines::default(), io::sink()))
            }
        };
        if let Some(&(point, seed)) = runs.first() {
            warn_of_one(sweep.experiment(point, seed), seed);
        }
        let (lines, analysis) = pool.install(|| {
            self.evaluate(store, sweep, (&keys, &trial), others.as_deref().unwrap_or_default())
        })?;
        let json = serde_json::to_string_pretty(&analysis).map_err(Failure::run)? + "\n";
        if let Some(directory) = &directory {
            directory.finish(&lines, &keys, (sweep, &analysis), (start.elapsed(), jobs))?;
        }
        let text = if self.json { json } else { summary::summary(sweep, &analysis) };
        let done = keys.iter().any(|&key| lines.done(key).is_some());
        let reason = || analysis.points.iter().find_map(|point| point.failed.values().next());
        match reason() {
            Some(reason) if !done => Err(Failure::run(anyhow!("every run failed: {reason}"))),
            _ => Ok(text),
        }
    }

    /// Refuses a sweep of which no point can be run.
    fn check(
        &self,
        loaded: &LoadedSweep,
        trial: &dyn Fn(usize) -> Trial,
        runs: usize,
    ) -> Result<(), Failure> {
        let explorer =
            Explorer::new(RunStore::new(Lines::default(), io::sink()), &files::open_data);
        let first = match explorer.check(&trial(0)) {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        if (1..runs).any(|at| explorer.check(&trial(at)).is_ok()) {
            return Ok(());
        }
        Err(loaded.refuse(&first))
    }

    /// Evaluates every trial, and looks at the winners with `others` if they are to be confirmed; returns
    /// what the store has in the end, and what follows.
    fn evaluate(
        &self,
        store: RunStore,
        sweep: &Sweep,
        (keys, trial): (&[RunKey], &(dyn Fn(usize) -> Trial + Sync)),
        others: &[u64],
    ) -> Result<(Lines, Analysis), Failure> {
        let explorer = Explorer::new(store, &files::open_data);
        let seeds = sweep.seeds().len();
        let runs = sweep.points() * seeds;
        let ended = |lines: &Lines, key| lines.ended(key, false).is_some();
        let stored: Vec<bool> =
            explorer.with_lines(|lines| keys.iter().map(|&key| ended(lines, key)).collect());
        let kept = AtomicU64::new(stored.iter().map(|&stored| u64::from(stored)).sum());
        let out = self.out.as_deref();
        let progress = SweepProgress::new(runs as u64, self.margin, out);
        let of_all = |kept| format!("{kept} of {runs} runs");
        progress.keeps(&of_all(kept.load(Ordering::Relaxed)));
        let saw = |at: usize, line: &Line| {
            let new = u64::from(!stored[at]);
            progress.keeps(&of_all(kept.fetch_add(new, Ordering::Relaxed) + new));
            progress.saw(line, || summary::point(sweep, at / seeds));
        };
        let failed = |error: systoliq_explore::Error| match error {
            systoliq_explore::Error::Store { .. } => Failure::run(error),
            _ => Failure::input(error),
        };
        let evaluated = explorer.evaluate_all(runs, trial, saw);
        progress.bar.finish_and_clear();
        evaluated.map_err(failed)?;
        let mut analysis =
            explorer.with_lines(|lines| Analysis::new(sweep, keys, lines, self.margin));
        for point in analysis.winners().into_iter().filter(|_| self.confirm) {
            let of_seed = |seed| self::trial(sweep, point, seed);
            let progress = SweepProgress::new(others.len() as u64, self.margin, out);
            let keeps = || progress.keeps(&format!("{} runs", explorer.with_lines(Lines::count)));
            keeps();
            let saw = |line: &Line| {
                keeps();
                progress.saw(line, || summary::point(sweep, point));
            };
            let looked = analysis.look_at(point, others, (&explorer, &of_seed), &saw);
            progress.bar.finish_and_clear();
            looked.map_err(failed)?;
        }
        Ok((explorer.into_lines(), analysis))
    }

    fn jobs(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.jobs.map_or_else(all, |jobs| usize::from(jobs.get()))
    }
}

/// How many runs a sweep may have without saying that none of them is kept.
const RUNS_UNSAID_MAX: usize = 20;

/// What is shown on standard error while runs end, if that is a terminal.
struct SweepProgress<'a> {
    bar: ProgressBar,
    /// The folder that keeps the runs.
    out: Option<&'a Path>,
    margin: f64,
    /// The least energy of a run that lost little enough.
    best: Mutex<Option<f64>>,
}

impl<'a> SweepProgress<'a> {
    fn new(runs: u64, margin: f64, out: Option<&'a Path>) -> Self {
        let bar = ProgressBar::new(runs);
        let template = "[{bar:20}] {pos}/{len} runs, {per_sec}, {eta} left{wide_msg}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("a template that indicatif reads").progress_chars("=> "));
        bar.tick();
        Self { bar, out, margin, best: Mutex::new(None) }
    }

    /// Has an interruption say how many runs are kept.
    fn keeps(&self, runs: &str) {
        interrupt::says(match self.out {
            Some(out) => format!(
                "{runs} are kept in {}; the same command with --resume goes on with the \
                 others",
                out.display()
            ),
            None => format!("without --out nothing is kept; {runs} had ended"),
        });
    }

    fn saw(&self, line: &Line, point: impl FnOnce() -> String) {
        self.bar.inc(1);
        let Some((found, lost)) = line.found().and_then(|found| Some((found, found.lost()?)))
        else {
            return;
        };
        let energy = found.energy_pj.total.0;
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        if lost <= self.margin && best.is_none_or(|least| energy < least) {
            *best = Some(energy);
            let energy = joules(Picojoules(energy), found.energy_pj.unit);
            self.bar.set_message(format!("; best so far {energy}: {}", printable(&point())));
        }
    }
}

/// A point of a sweep with a seed.
pub(super) fn trial(sweep: &Sweep, point: usize, seed: u64) -> Trial {
    Trial::read(sweep.experiment(point, seed), experiment)
}

/// The keys of so many runs, in the present thread pool.
fn keys(runs: usize, key: &(dyn Fn(usize) -> RunKey + Sync)) -> Vec<RunKey> {
    let bar = ProgressBar::new(runs as u64);
    let style = ProgressStyle::with_template("[{bar:20}] {pos}/{len} experiments read, {eta} left");
    bar.set_style(style.expect("a template that indicatif reads").progress_chars("=> "));
    let keys = (0..runs).into_par_iter().map(|at| {
        bar.inc(1);
        key(at)
    });
    let keys = keys.collect();
    bar.finish_and_clear();
    keys
}

/// Two runs of one key, the first of which is that with the first such key.
fn twice(keys: &[RunKey]) -> Option<(usize, usize)> {
    let mut first = HashMap::new();
    keys.iter().enumerate().find_map(|(at, key)| Some((first.insert(key, at)?, at)))
}

/// Says what an experiment reads, and what is odd about it, if it can be run.
fn warn_of_one(json: serde_json::Value, seed: u64) {
    let prepared = experiment(&json).ok().and_then(|experiment| Prepared::new(experiment).ok());
    if let Some(prepared) = prepared
        && let Ok(data) = prepared.load(seed, &mut files::open_data)
    {
        warn_of(&prepared, &data);
    }
}

/// As many seeds as a winner may be looked at with, after those of the sweep.
fn other_seeds(seeds: &[u64]) -> Result<Vec<u64>, Failure> {
    let most = LOOKS.into_iter().max().unwrap_or_default() as u64;
    let last = seeds.iter().max().copied().unwrap_or_default();
    let others = last.checked_add(1).and_then(|first| Some(first..=last.checked_add(most)?));
    others.map(Iterator::collect).ok_or_else(|| {
        Failure::input(anyhow!(
            "--confirm: there are no {most} seeds after {last}: state lower ones"
        ))
    })
}

/// The name of the file that a run has to itself, if `systoliq point` has made it.
pub(super) fn point_name(key: RunKey) -> String {
    format!("{key}.json")
}

/// The folder of such files.
pub(super) const POINTS: &str = "points";
