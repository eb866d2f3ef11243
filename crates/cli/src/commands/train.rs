//! `systoliq train`: a network in fixed point beside its golden model.

mod directory;
mod summary;

use std::io::Write as _;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use systoliq_hardware::cost::Arithmetic;
use systoliq_nn::DataSet;
use systoliq_program::Workers;
use systoliq_run::dump::Dump;
use systoliq_run::session::{Session, SessionHost};
use systoliq_run::{CpuSeconds, EngineKind, Trainer};
use systoliq_run::{comparison::Outputs, comparison::Predictions};
use systoliq_run::{trainer::Conduct, trainer::Record};
use systoliq_study::Report;
use systoliq_study::diagnosis::{Diagnosis, check, check_epochs};
use systoliq_study::drop::MARGIN;

use crate::commands::margin::margin;
use crate::failure::Failure;
use crate::interrupt;
use crate::load::{ExperimentArguments, Loaded};
use crate::whole::{check_place, write_whole};
use directory::{RunDirectory, RunStart, SeedCheckpoint};

/// Trains a network in fixed point on the simulated array, and the same network in floating point
/// on the same seed and batches, and sums up accuracy, cycles and energy.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq train models/digits-mlp.json
  systoliq train models/digits-mlp.json --seeds 10 --out run
  systoliq train models/digits-mlp.json --set precision.gradients=Q5.3 --diagnose
  systoliq train models/mnist-mlp.json --set dataset.dir=/data/mnist --set training.epochs=3
  systoliq train models/digits-mlp.json --set precision.weights.bits=4 --json
  systoliq train models/digits-mlp.json --set accelerator.energy=nangate45 --counts counts.csv

With --out, the run is kept in a folder: report.json (the sum of it), curves.csv (a line per epoch),
predictions.csv (the classes of the test samples), timing.json (what differs from run to run) and
checkpoints/, from which --resume goes on: after an interruption, or to more epochs or seeds. A run that
is there is not touched without --resume or --force.")]
pub struct TrainCommand {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Folder for the report, the learning curves and checkpoints.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// What multiplies matrices; the results are the same.
    #[arg(long, value_enum, default_value_t)]
    engine: EngineName,

    /// Threads; the results are the same for any number [default: all cores]. As many seeds train at a time; of the
    /// threads that a seed has, its golden model takes one, and fixed point shares its products and updates among
    /// the others.
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<u16>>,

    /// Runs so many seeds, counting up from the experiment's, and pairs their accuracies.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,

    /// What may be lost against float, as a fraction, for what is said of it.
    #[arg(long, value_name = "X", default_value_t = MARGIN, value_parser = margin, allow_negative_numbers = true)]
    margin: f64,

    /// Goes on from the checkpoints in --out, also to a larger training.epochs; starts afresh where there
    /// is no run.
    #[arg(long, requires = "out")]
    resume: bool,

    /// Trains in DIR.next, and replaces the run in --out when this one is complete, unless there are files
    /// by then that no run has written; with --resume, goes on with what DIR.next holds.
    #[arg(long, requires = "out")]
    force: bool,

    /// Writes every tensor of training step S, counted from 0, to --out/dump-step-S.
    #[arg(long, value_name = "S", requires = "out")]
    dump_step: Option<u64>,

    /// Tries what the diagnosis suggests, the first three: one run each of half the epochs, on the
    /// first seed, against this run after as many.
    #[arg(long)]
    diagnose: bool,

    /// Writes how often what happened, on the first seed, as CSV: component, action, layer, pass, width,
    /// count.
    #[arg(long, value_name = "FILE.csv")]
    counts: Option<PathBuf>,

    /// Prints report.json instead of tables.
    #[arg(long)]
    json: bool,
}

/// The engines by name.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum EngineName {
    /// Integer GEMM; closed forms give the cycles.
    #[default]
    Fast,
    /// Every register of every PE in every cycle; checks the closed forms as it goes.
    Register,
    /// The plain loop that defines the bits.
    Reference,
}

impl EngineName {
    fn kind(self) -> EngineKind {
        match self {
            Self::Fast => EngineKind::Fast,
            Self::Register => EngineKind::Register,
            Self::Reference => EngineKind::Reference,
        }
    }
}

/// How many suggestions `--diagnose` tries.
const SUGGESTIONS_TRIED: usize = 3;

impl TrainCommand {
    /// Trains; returns the tables, or the report.
    pub fn run(&self) -> Result<String, Failure> {
        let start = Instant::now();
        let loaded = self.experiment.load()?;
        let first = loaded.prepared.experiment.seed;
        let last = first.checked_add(u64::from(self.seeds) - 1).ok_or_else(|| {
            Failure::input(anyhow!("--seeds {} from seed {first}: past the last seed", self.seeds))
        })?;
        let data = loaded.data(first)?;
        self.check_dump(&loaded, &data)?;
        if let Some(file) = &self.counts {
            check_place(file).map_err(Failure::input)?;
        }
        let directory = match &self.out {
            Some(path) => {
                let Self { resume, force, seeds, dump_step, .. } = *self;
                let start = RunStart { resume, force, seeds, dump_step };
                Some(RunDirectory::open(path, &loaded.prepared, start)?)
            }
            None => None,
        };
        loaded.warn(&data);
        let training = &loaded.prepared.experiment.training;
        let steps = data.train.len().div_ceil(training.batch) as u64 * u64::from(training.epochs);
        let seeds: Vec<u64> = (first..=last).collect();
        let host = TrainHost {
            train: self,
            loaded: &loaded,
            directory: directory.as_ref(),
            bar: progress_bar("training", steps * seeds.len() as u64),
            epochs: Mutex::new(vec![0; seeds.len()]),
        };
        host.keeps_all(&seeds);
        let (prepared, engine, threads) = (&loaded.prepared, self.engine.kind(), self.threads());
        let session = Session { prepared, seeds: &seeds, engine, threads };
        let (records, cpu) = session.run(&host, data)?;
        host.bar.finish_and_clear();
        let failed = |error: systoliq_run::Error| Failure::run(error);
        let report = Report::new(&loaded.prepared, &records).map_err(failed)?;
        let report = report.judged_against(self.margin);
        let mut report =
            report.with_panel(&loaded.prepared, &records[0], &Workers::new(self.threads()));
        if !report.diagnosis.findings.is_empty() {
            let data = loaded.data(first)?;
            report.diagnosis.weigh(&loaded.prepared, &data, first).map_err(failed)?;
        }
        if self.diagnose {
            self.try_suggestions(&loaded, &records[0], &mut report.diagnosis)?;
        }
        if let Some(file) = &self.counts {
            let batches = loaded.prepared.batches(Some(records[0].train_samples));
            let costs = loaded.prepared.costs(Arithmetic::Fixed, batches);
            let entries = records[0].timeline.entries(&costs);
            let actions =
                systoliq_run::timeline::actions(&loaded.prepared, &entries.map_err(failed)?);
            write_whole(file, |out| out.write_all(actions.csv().as_bytes()))
                .map_err(Failure::run)?;
        }
        let json = serde_json::to_string_pretty(&report).map_err(Failure::run)? + "\n";
        if let Some(directory) = &directory {
            directory.write("report.json", json.as_bytes())?;
            directory
                .write("curves.csv", Report::curves_csv(&loaded.prepared, &records).as_bytes())?;
            let found = &records[0].comparison;
            let predictions = found.predictions.as_ref().map(Predictions::csv);
            if let Some(csv) = predictions.or_else(|| found.outputs.as_ref().map(Outputs::csv)) {
                directory.write("predictions.csv", csv.as_bytes())?;
            }
            directory.write("timing.json", self.timing(start.elapsed(), cpu).as_bytes())?;
            directory.finish()?;
        }
        Ok(if self.json { json } else { summary::summary(&loaded.prepared, &report) })
    }

    /// Has the first suggestions checked.
    fn try_suggestions(
        &self,
        loaded: &Loaded,
        record: &Record,
        diagnosis: &mut Diagnosis,
    ) -> Result<(), Failure> {
        let suggested = diagnosis.findings.iter_mut().filter(|finding| !finding.set.is_empty());
        let tried: Vec<_> = suggested.take(SUGGESTIONS_TRIED).collect();
        if tried.is_empty() {
            return Ok(());
        }
        let (data, prepared) = (loaded.data(record.seed)?, &loaded.prepared);
        let steps = data.train.len().div_ceil(prepared.experiment.training.batch) as u64;
        let bar = progress_bar("checking", steps * (check_epochs(prepared) * tried.len()) as u64);
        let conduct = Conduct { threads: self.threads(), progress: &|_| bar.inc(1) };
        for finding in tried {
            let engine = (self.engine.kind(), &conduct);
            finding.check =
                check(prepared, &data, record, &finding.set, engine).map_err(Failure::run)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.threads.map_or_else(all, |threads| usize::from(threads.get()))
    }

    fn check_dump(&self, loaded: &Loaded, data: &DataSet) -> Result<(), Failure> {
        let training = &loaded.prepared.experiment.training;
        let per_epoch = data.train.len().div_ceil(training.batch) as u64;
        let steps = per_epoch * u64::from(training.epochs);
        match self.dump_step {
            Some(step) if step >= steps => Err(Failure::input(anyhow!(
                "--dump-step {step}: the run has {steps} steps, numbered 0 to {}",
                steps - 1
            ))),
            _ => Ok(()),
        }
    }

    fn timing(&self, elapsed: Duration, cpu: CpuSeconds) -> String {
        let timing = serde_json::json!({
            "seconds": elapsed.as_secs_f64(),
            "cpu_seconds": cpu,
            "threads": self.threads(),
            "engine": format!("{:?}", self.engine).to_lowercase(),
        });
        format!("{timing:#}\n")
    }
}

/// What a session keeps in the folder of a run, and shows on the terminal.
struct TrainHost<'a> {
    train: &'a TrainCommand,
    loaded: &'a Loaded,
    directory: Option<&'a RunDirectory>,
    bar: ProgressBar,
    /// Epochs that are done, by seed.
    epochs: Mutex<Vec<u64>>,
}

impl TrainHost<'_> {
    /// Counts what there is of every seed before any is gone on with.
    fn keeps_all(&self, seeds: &[u64]) {
        if let Some(directory) = self.directory {
            let epochs = |&seed: &u64| directory.epochs(seed).unwrap_or(0);
            *lock(&self.epochs) = seeds.iter().map(epochs).collect();
        }
        self.says();
    }

    /// Counts the epochs of a seed that are done, so that an interruption says what is kept of them.
    fn keeps(&self, at: usize, epochs: u32) {
        lock(&self.epochs)[at] = u64::from(epochs);
        self.says();
    }

    fn says(&self) {
        let Some(out) = &self.train.out else {
            return interrupt::says("without --out nothing is kept".to_owned());
        };
        let epochs: u64 = lock(&self.epochs).iter().sum();
        let of_each = u64::from(self.loaded.prepared.experiment.training.epochs);
        let all = of_each * u64::from(self.train.seeds);
        let again = if self.train.force { "--force --resume" } else { "--resume" };
        let (out, seeds) = (out.display(), self.train.seeds);
        interrupt::says(format!(
            "{epochs} of {all} epochs ({seeds} x {of_each}) are kept for {out}; the same command with \
             {again} goes on from there"
        ));
    }

    /// The step that is dumped of a seed: of the first alone.
    fn dump_step(&self, at: usize) -> Option<u64> {
        self.train.dump_step.filter(|_| at == 0)
    }
}

impl<'a> SessionHost for TrainHost<'a> {
    type Error = Failure;
    type Keeping = Option<SeedCheckpoint<'a>>;

    fn data(&self, seed: u64) -> Result<DataSet, Failure> {
        self.loaded.data(seed)
    }

    fn begin(
        &self,
        at: usize,
        trainer: &mut Trainer<'_>,
        data: &DataSet,
    ) -> Result<Self::Keeping, Failure> {
        let Some(directory) = self.directory else { return Ok(None) };
        let mut checkpoint = directory.checkpoint(trainer.record().seed, data.fingerprint());
        if self.train.resume
            && let Some(kept) = checkpoint.read(trainer)?
        {
            let steps = kept.epochs() * trainer.steps_per_epoch();
            // A dump of a step that has passed can only be made by passing it again.
            let dumped = |step| step >= steps || directory.has_dump(step);
            if self.dump_step(at).is_none_or(dumped) {
                checkpoint.go_on(trainer, kept)?;
            }
        }
        Ok(Some(checkpoint))
    }

    fn epoch(
        &self,
        at: usize,
        trainer: &mut Trainer<'_>,
        conduct: &Conduct<'_>,
        checkpoint: &mut Self::Keeping,
    ) -> Result<(), Failure> {
        let failed = |error: systoliq_run::Error| Failure::run(error);
        let steps = trainer.record().steps..trainer.record().steps + trainer.steps_per_epoch();
        let dump_step = self.dump_step(at).filter(|step| steps.contains(step));
        match dump_step.zip(self.directory) {
            None => trainer.epoch(conduct, None).map_err(failed)?,
            Some((step, directory)) => directory.dump(step, |sink| {
                trainer.epoch(conduct, Some(&mut Dump::new(step, sink))).map_err(failed)
            })?,
        }
        if let Some(checkpoint) = checkpoint {
            checkpoint.save(trainer)?;
        }
        self.keeps(at, trainer.epochs_done());
        Ok(())
    }

    fn progress(&self, steps: u64) {
        self.bar.inc(steps);
    }
}

/// Locks; a panic elsewhere ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bar on standard error, if that is a terminal.
pub(super) fn progress_bar(what: &'static str, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps).with_message(what);
    let style =
        ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} steps, {per_sec}, {eta} left");
    bar.set_style(style.expect("a template that indicatif reads").progress_chars("=> "));
    bar
}
