//! `systoliq compare`: two runs side by side.

mod judged;
mod run;
mod settings;

use std::path::PathBuf;

use anyhow::{Error, anyhow, bail};
use clap::Args;
use serde::Serialize;
use systoliq_energy::{EnergyUnit, Picojoules};
use systoliq_nn::Extended;
use systoliq_study::drop::{Judgement, MARGIN};
use systoliq_study::mcnemar::{discordant, exact_p};

use crate::commands::margin::margin;
use crate::commands::table::{Columns, conversions, grouped, joules, percent, real};
use crate::failure::Failure;
use judged::LossAgainstLeft;
use run::{FinishedRun, TensorFigures};
use settings::{Setting, differences};

/// Two runs side by side: accuracy, cycles, energy, what happened to each tensor, and which settings
/// differ.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  systoliq train models/digits-mlp.json --out a
  systoliq train models/digits-mlp.json --set precision.gradients.bits=4 --out b
  systoliq compare a b

Both runs must have been judged by the same test data. The first seed of each is compared, by
McNemar's exact test over its test samples; and the seeds that both ran, by what the right run loses
against the left.")]
pub struct CompareCommand {
    /// Folder of a run, made by `systoliq train --out`.
    left: PathBuf,

    /// Folder of the other run.
    right: PathBuf,

    /// What the right run may lose against the left, as a fraction, for what is said of it.
    #[arg(long, value_name = "X", default_value_t = MARGIN, value_parser = margin, allow_negative_numbers = true)]
    margin: f64,

    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// A figure of both runs.
#[derive(Clone, Debug, Serialize)]
struct LeftRight<T> {
    left: T,
    right: T,
}

/// McNemar's exact test of the two fixed-point networks.
#[derive(Clone, Copy, Debug, Serialize)]
struct Test {
    only_left_right: u64,
    only_right_right: u64,
    p_value: f64,
}

/// Right less left, paired by seed.
#[derive(Clone, Debug, Serialize)]
struct DifferenceOverSeeds {
    mean: f64,
    ci95: Option<f64>,
    seeds: Vec<u64>,
}

/// What happened to one tensor in each run that has it.
#[derive(Clone, Debug, Serialize)]
struct TensorPair {
    name: String,
    #[serde(flatten)]
    figures: LeftRight<Option<TensorFigures>>,
}

/// Everything that is said of two runs.
#[derive(Clone, Debug, Serialize)]
struct RunComparison {
    runs: LeftRight<String>,
    /// The first seed of each.
    seeds: LeftRight<u64>,
    settings: Vec<Setting>,
    error_rate: LeftRight<Option<f64>>,
    golden_error_rate: LeftRight<Option<f64>>,
    loss_bits: LeftRight<Option<Extended>>,
    cycles: LeftRight<u64>,
    energy_pj: LeftRight<f64>,
    energy_unit: LeftRight<EnergyUnit>,
    mcnemar: Option<Test>,
    over_seeds: Option<DifferenceOverSeeds>,
    #[serde(flatten)]
    judged: LossAgainstLeft,
    precision: Vec<TensorPair>,
}

impl CompareCommand {
    /// Compares; returns the tables, or the JSON.
    pub fn run(&self) -> Result<String, Failure> {
        let read = || -> Result<RunComparison, Error> {
            RunComparison::new(
                &FinishedRun::read(&self.left)?,
                &FinishedRun::read(&self.right)?,
                self.margin,
            )
        };
        let comparison = read().map_err(Failure::input)?;
        if self.json {
            let json = serde_json::to_string_pretty(&comparison).map_err(Failure::run)?;
            return Ok(json + "\n");
        }
        Ok(comparison.text())
    }
}

impl RunComparison {
    fn new(left: &FinishedRun, right: &FinishedRun, margin: f64) -> Result<Self, Error> {
        let pair =
            |of: fn(&FinishedRun) -> Option<f64>| LeftRight { left: of(left), right: of(right) };
        let names = |run: &FinishedRun| run.path.display().to_string();
        if left.found.test_fingerprint != right.found.test_fingerprint {
            bail!(
                "{} and {} were judged by different test data (fingerprints {} and {}); expected \
                 two runs on the same",
                names(left),
                names(right),
                left.found.test_fingerprint,
                right.found.test_fingerprint
            );
        }
        let last = |rates: &[Option<f64>]| rates.last().copied().flatten();
        let loss = |run: &FinishedRun| run.found.fixed.loss_bits.last().copied();
        let mcnemar = mcnemar(left, right)?;
        let judged = LossAgainstLeft::new(left, right, margin);
        Ok(Self {
            runs: LeftRight { left: names(left), right: names(right) },
            seeds: LeftRight { left: left.seed(), right: right.seed() },
            settings: differences(&left.found.experiment, &right.found.experiment),
            error_rate: LeftRight {
                left: last(&left.found.fixed.error_rate),
                right: last(&right.found.fixed.error_rate),
            },
            golden_error_rate: pair(|run| run.found.golden.error_rate.last().copied().flatten()),
            loss_bits: LeftRight { left: loss(left), right: loss(right) },
            cycles: LeftRight { left: left.found.cycles.total, right: right.found.cycles.total },
            energy_unit: LeftRight {
                left: left.found.hardware.energy_unit,
                right: right.found.hardware.energy_unit,
            },
            energy_pj: LeftRight {
                left: left.found.energy_pj.total,
                right: right.found.energy_pj.total,
            },
            mcnemar,
            over_seeds: judged.drop().and_then(DifferenceOverSeeds::new),
            judged,
            precision: tensors(left, right),
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            text.push_str(&words);
            text.push('\n');
        };
        line(format!("left   {}", self.runs.left));
        line(format!("right  {}\n", self.runs.right));
        if self.settings.is_empty() {
            line("no setting differs\n".to_owned());
        } else {
            line(self.settings_table());
        }
        line(self.figures_table());
        if let Some(Test { only_left_right, only_right_right, p_value }) = self.mcnemar {
            let seeds = match self.seeds {
                LeftRight { left, right } if left == right => String::new(),
                LeftRight { left, right } => format!(" (seeds {left} and {right})"),
            };
            line(format!(
                "McNemar  p = {} of these two networks{seeds}: left alone is right on {only_left_right} \
                 samples, right alone on {only_right_right}",
                real(p_value)
            ));
        }
        self.judged.lines().into_iter().for_each(&mut line);
        line(String::new());
        text + &self.tensors_table()
    }

    fn settings_table(&self) -> String {
        let mut table = Columns::new(&["setting", "left", "right"]);
        for Setting { path, left, right } in &self.settings {
            let cell = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or("-".to_owned(), serde_json::Value::to_string)
            };
            table.line([path.clone(), cell(left), cell(right)]);
        }
        table.text()
    }

    fn figures_table(&self) -> String {
        let mut table = Columns::new(&["", "left", "right", "right / left"]);
        let mut row = |name: &str, cells: [String; 2], ratio: Option<f64>| {
            let ratio = ratio.filter(|ratio| ratio.is_finite());
            let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
            let [left, right] = cells;
            table.line([name.to_owned(), left, right, ratio]);
        };
        let rates = |rates: &LeftRight<Option<f64>>| {
            [rates.left, rates.right].map(|rate| rate.map_or("-".to_owned(), percent))
        };
        row("error", rates(&self.error_rate), None);
        row("golden error", rates(&self.golden_error_rate), None);
        let losses = [self.loss_bits.left, self.loss_bits.right];
        let ratio = losses[1].zip(losses[0]).map(|(right, left)| right.0 / left.0);
        let losses = losses.map(|loss| loss.map_or("-".to_owned(), |loss| real(loss.0)));
        row("loss", losses, ratio);
        let LeftRight { left, right } = self.cycles;
        row("cycles", [left, right].map(grouped), Some(right as f64 / left as f64));
        let LeftRight { left, right } = self.energy_pj;
        let units = [self.energy_unit.left, self.energy_unit.right];
        let energies = [(left, units[0]), (right, units[1])];
        let energies = energies.map(|(energy, unit)| joules(Picojoules(energy), unit));
        row("energy", energies, (units[0] == units[1]).then_some(right / left));
        table.text()
    }

    fn tensors_table(&self) -> String {
        let mut table =
            Columns::new(&["tensor", "", "format", "SQNR dB", "saturated", "underflow", "stalled"]);
        for TensorPair { name, figures } in &self.precision {
            let sides = [("left", &figures.left), ("right", &figures.right)];
            for (side, found) in sides {
                let Some(found) = found else { continue };
                table.line([
                    name.clone(),
                    side.to_owned(),
                    found.format.clone(),
                    conversions(found.sqnr),
                    percent(found.saturation_rate),
                    percent(found.underflow_rate),
                    found.stalled_rate.map_or("-".to_owned(), percent),
                ]);
            }
        }
        table.text()
    }
}

/// McNemar's exact test of the two fixed-point networks; nothing for regressions.
fn mcnemar(left: &FinishedRun, right: &FinishedRun) -> Result<Option<Test>, Error> {
    let (Some(ours), Some(theirs)) = (&left.predictions, &right.predictions) else {
        return Ok(None);
    };
    if ours.labels != theirs.labels || ours.fixed.len() != theirs.fixed.len() {
        return Err(anyhow!(
            "the labels in predictions.csv of {} and {} differ, though their reports name the same \
             test data",
            left.path.display(),
            right.path.display()
        ));
    }
    let [only_left_right, only_right_right] = discordant(&ours.labels, &ours.fixed, &theirs.fixed);
    let p_value = exact_p(only_left_right, only_right_right);
    Ok(Some(Test { only_left_right, only_right_right, p_value }))
}

impl DifferenceOverSeeds {
    /// Of several seeds.
    fn new(judged: &Judgement) -> Option<Self> {
        (judged.seeds() > 1).then(|| Self {
            mean: judged.mean,
            ci95: Some(judged.half_width),
            seeds: judged.by_seed.iter().map(|seed| seed.seed).collect(),
        })
    }
}

/// The tensors of the left, then those that only the right has.
fn tensors(left: &FinishedRun, right: &FinishedRun) -> Vec<TensorPair> {
    let find = |run: &FinishedRun, name: &str| {
        run.found.precision.iter().find(|t| t.name == name).map(|t| t.figures.clone())
    };
    let (ours, theirs) = (&left.found.precision, &right.found.precision);
    let only_right = theirs.iter().filter(|tensor| find(left, &tensor.name).is_none());
    let all = ours.iter().chain(only_right);
    all.map(|tensor| TensorPair {
        name: tensor.name.clone(),
        figures: LeftRight { left: find(left, &tensor.name), right: find(right, &tensor.name) },
    })
    .collect()
}
