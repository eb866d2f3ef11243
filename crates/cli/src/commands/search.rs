//! `systoliq search`: the cheapest precision plan within a loss.

mod seeds;
mod summary;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Error, anyhow, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use systoliq_energy::EnergyUnit;
use systoliq_explore::{
    CostKind, Explorer, Lines, PlanVerdict, RunOutcome, Search, SearchEvent, SearchReport,
    SearchSpec, Start, StartName, Trial,
};
use systoliq_run::{Experiment, Prepared, path};
use systoliq_study::drop::looks::LOOKS;
use systoliq_study::drop::{MARGIN, SEEDS_CONFIRMED};

use super::margin::margin;
use super::precision::analytical;
use crate::failure::Failure;
use crate::interrupt;
use crate::load::{ExperimentArguments, Loaded};
use crate::run_folder::{FolderKind, RunFolder};
pub(super) use seeds::SeedsArgument;
use systoliq_load::document::DocumentLayout;
use systoliq_load::files::{self, read_text};

/// The folder of a search.
const SEARCH: FolderKind = FolderKind {
    what: "search",
    manifest: "request.json",
    beforehand: None,
    results: &[STARTS, RESULT, PLAN, TIMING],
    page_of: RESULT,
};

/// The plans that the search starts from.
const STARTS: &str = "starts.json";

/// What was found.
const RESULT: &str = "search.json";

/// The experiment with the plan.
const PLAN: &str = "plan.json";

/// What differs from search to search.
const TIMING: &str = "timing.json";

/// Lowers the bits of every layer and role of an experiment as long as it stays within a loss against
/// float, and measures the plan that costs least with seeds that took no part.
#[derive(Clone, Debug, Args)]
#[command(
    name = "search",
    after_help = "\
Examples:
  systoliq search models/digits-mlp.json --out found
  systoliq search models/digits-mlp.json --out found --resume --confirm
  systoliq search models/digits-mlp.json --margin 0.01 --seeds 1..=8 --held-back 101..=140 --out found
  systoliq train found/plan.json

In --out, every run that ends is a line of points.jsonl at once, from which --resume goes on after an
interruption; in the end stand plan.json (an experiment), search.json (every step, what the plan loses and
costs) and timing.json (what differs from search to search)."
)]
pub struct SearchCommand {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// What the plan may lose against float, its budget, as a fraction: 0.005 is half a point.
    #[arg(long, alias = "loss-budget", value_name = "X", default_value_t = MARGIN, value_parser = margin, allow_negative_numbers = true)]
    margin: f64,

    /// The seeds that plans are chosen by: how many, from the experiment's own up; or A..=B; or A,B,C.
    #[arg(long, value_name = "SEEDS", default_value = "10")]
    seeds: SeedsArgument,

    /// The seeds that the plan is measured with, written likewise; a number of them follows --seeds
    /// [default: 29, the least of which none may fail for 10 % of all to fail at most; with --confirm 116].
    #[arg(long, value_name = "SEEDS")]
    held_back: Option<SeedsArgument>,

    /// Looks at the plan after 29, 58 and 116 of the seeds that are held back, until the margin is decided.
    #[arg(long)]
    confirm: bool,

    /// After so many runs no other plan is tried.
    #[arg(long, value_name = "N", default_value = "200")]
    runs: NonZero<u32>,

    /// What is to be least.
    #[arg(long, value_enum, value_name = "COST", default_value = "energy")]
    cost: CostName,

    /// Folder for what is found.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Goes on with the search in --out; starts afresh where there is none.
    #[arg(long)]
    resume: bool,

    /// Runs at a time, each in one thread; the results are the same for any number [default: all
    /// cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<u16>>,

    /// Prints search.json instead of tables.
    #[arg(long)]
    json: bool,
}

/// Costs by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CostName {
    /// Energy of the training.
    Energy,
    /// Clock cycles of the training.
    Cycles,
    /// Bits of all tensors of a step.
    Bits,
}

/// What `starts.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Starts {
    starts: Vec<Start>,
    /// Why there is no plan by analysis.
    no_analysis: Option<String>,
}

impl SearchCommand {
    /// Searches; returns the tables, or the report.
    pub fn run(&self) -> Result<String, Failure> {
        let start = Instant::now();
        let loaded = self.experiment.load()?;
        let spec = self.spec(&loaded)?;
        let mut subject = serde_json::to_value(&spec).map_err(Failure::run)?;
        // A search may go on with more, and no plan is chosen by what is held back.
        if let Some(members) = subject.as_object_mut() {
            for more in ["runs_max", "held_back", "confirm"] {
                members.remove(more);
            }
        }
        let data = loaded.data(spec.experiment.seed)?;
        let (folder, lines) = RunFolder::open(&self.out, &SEARCH, &subject, self.resume)?;
        let starts = starts(&folder, &loaded.prepared, || analytical(&loaded.prepared, &data))?;
        let explorer = Explorer::new(folder.store(lines)?, &files::open_data);
        // What is in the store may be of other data.
        let own = Trial::new(spec.experiment.clone());
        explorer.check(&own).map_err(|problem| loaded.refuse(anyhow!(problem)))?;
        loaded.warn(&data);
        drop(data);
        let (report, keys) = self.search(&spec, &starts.starts, &explorer)?;
        let json = serde_json::to_string_pretty(&report).map_err(Failure::run)? + "\n";
        let write = || -> Result<(), Error> {
            folder.finish_store(&explorer.into_lines().in_order(keys))?;
            if let Some(found) = &report.found {
                folder.write(PLAN, &format!("{:#}\n", standing_alone(&found.experiment)?))?;
            }
            folder.write(RESULT, &json)?;
            let seconds = start.elapsed().as_secs_f64();
            let timing = json!({ "seconds": seconds, "jobs": self.jobs(&spec) });
            folder.write(TIMING, &format!("{timing:#}\n"))
        };
        write().map_err(Failure::run)?;
        match &report.found {
            None => Err(Failure::run(anyhow!("{}", summary::nothing(&report)))),
            Some(_) if self.json => Ok(json),
            Some(found) => Ok(summary::summary(&report, found, starts.no_analysis.as_deref())),
        }
    }

    /// Checks what is asked for.
    fn spec(&self, loaded: &Loaded) -> Result<SearchSpec, Failure> {
        let experiment = loaded.prepared.experiment.clone();
        let bad = |message: String| Err(Failure::input(anyhow!(message)));
        if experiment.training.teacher_forced {
            let problem = "training.teacher_forced: a teacher-forced network does not learn by itself, \
                           so that no plan can be judged: expected false";
            return Err(loaded.refuse(anyhow!(problem)));
        }
        let numbered = |name: &str, problem: String| format!("--{name}: {problem}");
        let seeds = match self.seeds.from(Some(experiment.seed)) {
            Ok(seeds) => seeds,
            Err(problem) => return bad(numbered("seeds", problem)),
        };
        let after = seeds.iter().max().and_then(|last| last.checked_add(1));
        let looks = LOOKS.into_iter().max().unwrap_or_default();
        let most = if self.confirm { looks } else { SEEDS_CONFIRMED as usize };
        let held_back = self.held_back.clone().unwrap_or(SeedsArgument::Count(most as u64));
        let held_back = match held_back.from(after) {
            Ok(held_back) => held_back,
            Err(problem) => return bad(numbered("held-back", problem)),
        };
        if let Some(seed) = held_back.iter().find(|seed| seeds.contains(seed)) {
            return bad(format!("--held-back: seed {seed} is one of --seeds; expected others"));
        }
        if self.confirm && held_back.len() < looks {
            return bad(format!(
                "--held-back: {} seeds; --confirm may look at {looks}: expected as many, or none stated",
                held_back.len()
            ));
        }
        let cost = match self.cost {
            CostName::Energy => CostKind::EnergyPj,
            CostName::Cycles => CostKind::Cycles,
            CostName::Bits => CostKind::StepBits,
        };
        let runs_max = self.runs.get() as usize;
        let (margin, confirm) = (self.margin, self.confirm);
        Ok(SearchSpec { experiment, margin, cost, seeds, held_back, confirm, runs_max })
    }

    fn search(
        &self,
        spec: &SearchSpec,
        starts: &[Start],
        explorer: &Explorer<'_>,
    ) -> Result<(SearchReport, Vec<systoliq_explore::RunKey>), Failure> {
        let search = Search::new(spec, starts).map_err(Failure::input)?;
        let jobs = self.jobs(spec);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build();
        let profile = spec.experiment.accelerator.profile().map_err(Failure::input)?;
        let kept = || explorer.with_lines(Lines::count);
        let progress = SearchProgress::new((spec.cost, profile.unit()), &self.out, &kept);
        let watch = |seen: SearchEvent<'_>| progress.saw(seen);
        let found = pool.map_err(Failure::run)?.install(|| search.run(explorer, &watch));
        progress.bar.finish_and_clear();
        found.map_err(|error| match error {
            systoliq_explore::Error::Store { .. } => Failure::run(error),
            _ => Failure::input(error),
        })
    }

    /// Runs at a time: no more than there are.
    fn jobs(&self, spec: &SearchSpec) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = self.jobs.map_or_else(all, |jobs| usize::from(jobs.get()));
        jobs.min(spec.runs_max.saturating_add(spec.held_back.len()))
    }
}

/// The plans to start from: as the folder has them, else by analysis and as the experiment states.
fn starts(
    folder: &RunFolder,
    prepared: &Prepared,
    analytical: impl FnOnce() -> Result<systoliq_program::PrecisionSpec, String>,
) -> Result<Starts, Failure> {
    let path = folder.path(STARTS);
    if path.exists() {
        let damaged = || format!("cannot resume: {} is damaged", path.display());
        let text = read_text(&path).map_err(Failure::input)?;
        let read = || {
            let starts: Starts = serde_json::from_str(&text)?;
            check_starts(&starts, prepared)?;
            Ok::<_, Error>(starts)
        };
        return read().with_context(damaged).map_err(Failure::input::<Error>);
    }
    let own = Start { name: StartName::Own, experiment: prepared.experiment.clone() };
    let analysed = analytical().and_then(|precision| {
        let experiment = Experiment { precision, ..prepared.experiment.clone() };
        Prepared::new(experiment.clone()).map_err(|error| error.to_string())?;
        Ok(Start { name: StartName::Analysis, experiment })
    });
    let starts = match analysed {
        Ok(analysis) => Starts { starts: vec![analysis, own], no_analysis: None },
        Err(reason) => Starts { starts: vec![own], no_analysis: Some(reason) },
    };
    let text = serde_json::to_string_pretty(&starts).map_err(Failure::run)? + "\n";
    folder.write(STARTS, &text).map_err(Failure::run)?;
    Ok(starts)
}

/// Checks that starts that were read are possible plans for the experiment.
fn check_starts(Starts { starts, .. }: &Starts, prepared: &Prepared) -> Result<(), Error> {
    let names: Vec<StartName> = starts.iter().map(|start| start.name).collect();
    let expected = [&[StartName::Analysis, StartName::Own][..], &[StartName::Own]];
    if !expected.contains(&&names[..]) {
        bail!("starts: {names:?}, expected that of the experiment, perhaps after one by analysis");
    }
    for Start { name, experiment } in starts {
        let ours = prepared.experiment.clone();
        let precision = match name {
            StartName::Own => ours.precision.clone(),
            StartName::Analysis => experiment.precision.clone(),
        };
        if *experiment != (Experiment { precision, ..ours }) {
            bail!("starts: {name:?} is of another experiment");
        }
        Prepared::new(experiment.clone())?;
    }
    Ok(())
}

/// An experiment whose file may stand anywhere: its paths of data start at the root.
fn standing_alone(experiment: &Experiment) -> Result<Value, Error> {
    let mut json = serde_json::to_value(experiment)?;
    for place in DocumentLayout::EXPERIMENT.data {
        if let Some(Value::String(data)) = path::get(&json, place) {
            let absolute = std::path::absolute(data)?.into_os_string().into_string();
            let absolute = absolute.map_err(|path| anyhow!("{} is not UTF-8", path.display()))?;
            path::put(&mut json, place, absolute.into()).map_err(Error::msg)?;
        }
    }
    Ok(json)
}

/// What is shown on standard error while runs end, if that is a terminal.
struct SearchProgress<'a> {
    bar: ProgressBar,
    /// The folder that keeps the runs, and how many it has.
    out: &'a Path,
    kept: &'a (dyn Fn() -> usize + Sync),
    /// What is to be least, and the unit of energy.
    cost: (CostKind, EnergyUnit),
    stopped: AtomicUsize,
    /// The least cost of a plan within the budget.
    least: Mutex<f64>,
}

impl<'a> SearchProgress<'a> {
    fn new(
        cost: (CostKind, EnergyUnit),
        out: &'a Path,
        kept: &'a (dyn Fn() -> usize + Sync),
    ) -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {pos} runs, {per_sec}{msg}");
        bar.set_style(style.expect("a template that indicatif reads"));
        bar.tick();
        let (stopped, least) = (AtomicUsize::new(0), Mutex::new(f64::INFINITY));
        let progress = Self { bar, out, kept, cost, stopped, least };
        progress.keeps();
        progress
    }

    /// Has an interruption say what is kept.
    fn keeps(&self) {
        interrupt::says(format!(
            "{} runs are kept in {}; the same command with --resume goes on from them",
            (self.kept)(),
            self.out.display()
        ));
    }

    fn saw(&self, seen: SearchEvent<'_>) {
        match seen {
            SearchEvent::Run(line) => {
                if let RunOutcome::Stopped(_) = line.outcome {
                    self.stopped.fetch_add(1, Ordering::Relaxed);
                }
                self.bar.inc(1);
                self.keeps();
            }
            SearchEvent::Step(step) => {
                let stopped = self.stopped.load(Ordering::Relaxed);
                let mut least = self.least.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(cost) = step.cost.filter(|_| step.verdict == PlanVerdict::Within) {
                    *least = cost.min(*least);
                }
                let step = summary::step(step);
                let best = match least.is_finite() {
                    true => {
                        format!("; best so far {}", summary::cost(self.cost.0, *least, self.cost.1))
                    }
                    false => String::new(),
                };
                self.bar.set_message(format!(", {stopped} given up{best}; {step}"));
            }
        }
    }
}
