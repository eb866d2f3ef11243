//! `systoliq precision`: bit widths by analysis, from one run in floating point.

mod summary;
mod tighten;

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use systoliq_explore::TighteningReport;
use systoliq_fxp::Rounding;
use systoliq_nn::DataSet;
use systoliq_program::PrecisionSpec;
use systoliq_run::trainer::Conduct;
use systoliq_run::{EngineKind, Experiment, Prepared, Trainer};
use systoliq_study::precision::{
    Allocation, DataPart, FloatRun, PrecisionReport, Requested, Study, SumBudget, Trained,
};

use super::train::progress_bar;
use crate::failure::Failure;
use crate::interrupt;
use crate::load::{ExperimentArguments, Loaded};
use crate::whole::{check_place, write_whole};
use tighten::TightenArguments;

/// The largest bound of the mismatch, unless told.
const MISMATCH: f64 = 0.01;

/// Samples that noise gains are taken on, unless told.
const SAMPLES: NonZero<u32> = NonZero::new(5000).expect("not zero");

/// Trains an experiment in floating point and works out how few bits each tensor can do with: a
/// format for every tensor of a training step, by the criteria of Sakr and Shanbhag.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq precision models/digits-mlp.json
  systoliq precision models/digits-mlp.json --mismatch 0.001 --train --json
  systoliq precision models/digits-mlp.json --out plan.json
  systoliq precision models/digits-mlp.json --sums floor --allocation joules --out plan.json
  systoliq precision models/digits-mlp.json --tighten spare
  systoliq train models/digits-mlp.json --set precision=plan.json --seeds 10
  systoliq precision models/mnist-mlp.json --set dataset.dir=/data/mnist --sweep 3..8")]
pub struct PrecisionCommand {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// The largest bound of the mismatch, above 0 and below 1.
    #[arg(long, value_name = "P", default_value_t = MISMATCH, value_parser = mismatch)]
    mismatch: f64,

    /// The part of the data that noise gains are taken on [default: validation, or train where there
    /// is none].
    #[arg(long, value_enum, value_name = "PART")]
    on: Option<On>,

    /// How many of its samples, from the first.
    #[arg(long, value_name = "N", default_value_t = SAMPLES)]
    samples: NonZero<u32>,

    /// Also predicts and measures equal and balanced widths for every B_min from A to B.
    #[arg(long, value_name = "A..B", value_parser = widths)]
    sweep: Option<RangeInclusive<u32>>,

    /// How the widths of the forward pass of the plan are shared out.
    #[arg(long, value_enum, value_name = "HOW", default_value = "balanced")]
    allocation: AllocationName,

    /// How products are rounded before accumulators add them; none: all of their bits are kept.
    #[arg(long, value_enum, value_name = "MODE", default_value = "nearest-even")]
    sums: SumRounding,

    /// Bits of an accumulator's range above the deviation of its sums, rounded up to a power of two.
    #[arg(long, value_name = "BITS", default_value_t = SumBudget::default().head, value_parser = clap::value_parser!(u32).range(0..=32))]
    head: u32,

    /// Also trains with the plan, beside the golden model.
    #[arg(long)]
    train: bool,

    #[command(flatten)]
    tighten: TightenArguments,

    /// Writes the plan: the precision section of an experiment, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Allocations by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AllocationName {
    /// Every tensor adds about the same noise.
    Balanced,
    /// Every tensor has the same width.
    Uniform,
    /// Every tensor's last bit lowers the bound by about the same for each joule.
    Joules,
}

/// Roundings of products by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SumRounding {
    /// To the nearest, ties to even.
    NearestEven,
    /// Up with a probability equal to the part dropped.
    Stochastic,
    /// Towards minus infinity.
    Floor,
    /// Not at all.
    None,
}

impl PrecisionCommand {
    fn allocation(&self) -> Allocation {
        match self.allocation {
            AllocationName::Balanced => Allocation::Balanced,
            AllocationName::Uniform => Allocation::Uniform,
            AllocationName::Joules => Allocation::Joules,
        }
    }

    fn budget(&self) -> SumBudget {
        let rounding = match self.sums {
            SumRounding::NearestEven => Some(Rounding::NearestEven),
            SumRounding::Stochastic => Some(Rounding::Stochastic),
            SumRounding::Floor => Some(Rounding::Floor),
            SumRounding::None => None,
        };
        SumBudget { head: self.head, rounding, ..SumBudget::default() }
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct PrecisionFound<'a> {
    #[serde(flatten)]
    report: &'a PrecisionReport,
    /// What the plan has to spare, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tightened: Option<&'a TighteningReport>,
}

/// The parts of the data by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum On {
    /// What the float run trains on.
    Train,
    /// What choices are made by.
    Validation,
    /// What is reported.
    Test,
}

impl PrecisionCommand {
    /// What was found, as tables or as JSON.
    pub fn run(&self) -> Result<String, Failure> {
        let loaded = self.experiment.load()?;
        let prepared = &loaded.prepared;
        let refused = |error: systoliq_run::Error| loaded.refuse(error);
        Study::check(&prepared.graph).map_err(refused)?;
        self.out.as_deref().map_or(Ok(()), check_place).map_err(Failure::input)?;
        self.tighten.check(&loaded)?;
        let data = loaded.data(prepared.experiment.seed)?;
        interrupt::says("nothing is kept; the same command begins anew".to_owned());
        let run = float_run(prepared, &data)?;
        let part = match self.on {
            None => DataPart::default_of(&data),
            Some(On::Train) => DataPart::Train,
            Some(On::Validation) => DataPart::Validation,
            Some(On::Test) => DataPart::Test,
        };
        let samples = part.of(&data).len().min(self.samples.get() as usize);
        let study = Study::new(prepared, &data, run, part, samples).map_err(refused)?;
        let sums = self.budget();
        let study = study.with_sums(sums);
        let requested = Requested { mismatch: self.mismatch, part: part.name(), samples, sums };
        let sweep = self.sweep.clone().into_iter().flatten();
        let mut report = study.report(requested, self.allocation(), sweep).map_err(refused)?;
        loaded.warn(&data);
        if self.train {
            report.trained = Some(train(&loaded, &data, &report)?);
        }
        let opened = self.tighten.open(&loaded, &report)?;
        if let Some(path) = &self.out {
            let plan =
                serde_json::to_string_pretty(&report.precision).map_err(Failure::run)? + "\n";
            let write = |file: &mut std::fs::File| std::io::Write::write_all(file, plan.as_bytes());
            write_whole(path, write).map_err(Failure::run)?;
        }
        let tightened =
            opened.map(|opened| self.tighten.run(&loaded, &study, opened)).transpose()?;
        if self.json {
            let found = PrecisionFound { report: &report, tightened: tightened.as_ref() };
            return Ok(serde_json::to_string_pretty(&found).map_err(Failure::run)? + "\n");
        }
        let tightened = tightened.iter().map(|found| format!("\n{}", tighten::summary(found)));
        let unit = prepared.experiment.accelerator.profile().map_err(Failure::input)?.unit();
        Ok(summary::summary(prepared, &report, unit) + &tightened.collect::<String>())
    }
}

/// The plan that the command finds when it is not told otherwise, or why there is none.
pub(super) fn analytical(prepared: &Prepared, data: &DataSet) -> Result<PrecisionSpec, String> {
    let plan = || -> Result<PrecisionSpec, systoliq_run::Error> {
        Study::check(&prepared.graph)?;
        let run = FloatRun::train(prepared, data, &mut |_| {})?;
        let samples = SAMPLES.get() as usize;
        let study = Study::new(prepared, data, run, DataPart::default_of(data), samples)?;
        study.spec(&study.smallest(Allocation::Balanced, MISMATCH)?)
    };
    plan().map_err(|error| error.to_string())
}

fn float_run(prepared: &Prepared, data: &DataSet) -> Result<FloatRun, Failure> {
    let training = &prepared.experiment.training;
    let steps = data.train.len().div_ceil(training.batch) as u64 * u64::from(training.epochs);
    let bar = progress_bar("training", steps);
    let run = FloatRun::train(prepared, data, &mut |step| bar.set_position(step));
    bar.finish_and_clear();
    run.map_err(Failure::run)
}

/// Trains the experiment with the plan in place of its own formats.
fn train(loaded: &Loaded, data: &DataSet, report: &PrecisionReport) -> Result<Trained, Failure> {
    let precision = report.precision.clone();
    let experiment = Experiment { precision, ..loaded.prepared.experiment.clone() };
    let prepared = Prepared::new(experiment).map_err(|error| loaded.refuse(error))?;
    let mut trainer = Trainer::new(&prepared, data, prepared.experiment.seed, EngineKind::Fast);
    let bar = progress_bar(
        "training",
        trainer.steps_per_epoch() * u64::from(prepared.experiment.training.epochs),
    );
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let conduct = Conduct { threads, progress: &|step| bar.set_position(step) };
    while !trainer.is_done() {
        trainer.epoch(&conduct, None).map_err(Failure::run)?;
    }
    bar.finish_and_clear();
    Ok(Trained::of(trainer.record()).expect("a classifier that has trained"))
}

fn mismatch(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(mismatch) if mismatch > 0.0 && mismatch < 1.0 => Ok(mismatch),
        _ => Err("expected a probability above 0 and below 1, such as 0.01".to_owned()),
    }
}

/// A range of widths as it is typed, both ends included.
fn widths(text: &str) -> Result<RangeInclusive<u32>, String> {
    let ends =
        text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if 2 <= from && from <= to && to <= 32 => Ok(from..=to),
        _ => {
            Err("expected A..B, two widths from 2 to 32 of which the first is not more".to_owned())
        }
    }
}
