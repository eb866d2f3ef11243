//! `systoliq point`: one run as one process, for those who spread a sweep over machines themselves.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow};
use clap::Args;
use systoliq_explore::{
    Explorer, Found, Line, Lines, Lost, Measure, RunKey, RunOutcome, RunStore, Trial,
};
use systoliq_study::drop::words;

use super::sweep::{POINTS, point_name};
use crate::commands::table::{joules, percent, real};
use crate::durable::make_folder;
use crate::failure::Failure;
use crate::folder::check_kind;
use crate::interrupt;
use crate::load::ExperimentArguments;
use crate::whole::write_whole;
use systoliq_load::files;

/// Runs an experiment with its seed, if the folder does not hold that run yet.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq point models/digits-mlp.json --set precision.weights.bits=4 --set seed=2 --out bits
  systoliq sweep models/sweeps/digits-bits.json --out bits --resume

A run is kept in points/KEY.json, in the layout of a line of points.jsonl, where KEY is a hash of the
experiment with its seed. Any number of processes may write to one folder; a run that is there is not done
again. `systoliq sweep --resume` takes those runs that belong to its points.")]
pub struct PointCommand {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Folder for what is found.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Prints the line instead of a sentence.
    #[arg(long)]
    json: bool,
}

impl PointCommand {
    /// Runs, or finds the run; returns a sentence, or the line.
    pub fn run(&self) -> Result<String, Failure> {
        let loaded = self.experiment.load()?;
        let seed = loaded.prepared.experiment.seed;
        let trial = Trial::new(loaded.prepared.experiment.clone());
        let folder = self.out.join(POINTS);
        let path = folder.join(point_name(trial.key()));
        check_kind(&self.out, "sweep").map_err(Failure::input)?;
        let cannot = || format!("cannot write to the folder {}", folder.display());
        make_folder(&folder).with_context(cannot).map_err(Failure::input::<Error>)?;
        let stored = read(&path, trial.key()).map_err(Failure::input)?;
        let (line, how) = match stored {
            Some(line) => (line, "was done"),
            None => {
                interrupt::says(
                    "nothing of this run is kept; the same command does it anew".to_owned(),
                );
                let store = RunStore::new(Lines::default(), io::sink());
                let explorer = Explorer::new(store, &files::open_data);
                explorer.check(&trial).map_err(|problem| loaded.refuse(anyhow!(problem)))?;
                loaded.warn(&loaded.data(loaded.prepared.experiment.seed)?);
                let line = explorer.evaluate(&trial).map_err(Failure::run)?;
                let text = explorer.into_lines().in_order([trial.key()]);
                let write = |file: &mut File| file.write_all(text.as_bytes());
                write_whole(&path, write).map_err(Failure::run)?;
                (line, "done")
            }
        };
        match &line.outcome {
            RunOutcome::Failed(reason) => Err(Failure::run(anyhow!("{}: {reason}", line.key))),
            RunOutcome::Done(found) if !self.json => Ok(sentence(seed, line.key, how, found)),
            RunOutcome::Done(_) | RunOutcome::Stopped(_) => {
                Ok(serde_json::to_string(&line).map_err(Failure::run)? + "\n")
            }
        }
    }
}

/// The line of a run that was done; one that is cut short is none.
fn read(path: &Path, key: RunKey) -> Result<Option<Line>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let mut lines = Lines::default();
    let file =
        files::open_regular(path).with_context(|| format!("cannot read {}", path.display()))?;
    lines.read(BufReader::new(file)).with_context(|| path.display().to_string())?;
    Ok(lines.done(key).cloned())
}

fn sentence(seed: u64, key: RunKey, how: &str, found: &Found) -> String {
    let validation = found.fixed.validation.is_some();
    let lost = Lost::of_run(seed, found, validation);
    let level = |level: f64| match found.measure() {
        Measure::ErrorRate => format!("error {}", percent(level)),
        Measure::Loss => format!("loss {}", real(level)),
    };
    let [fixed, golden] = [&found.fixed, &found.golden]
        .map(|learning| level(learning.test.last(found.measure()).unwrap_or(f64::NAN)));
    let said = match &lost {
        Some(Lost { judged: Some(judged), .. }) => words::lost(judged),
        Some(lost) => lost.said().join("; "),
        None => "nothing is judged".to_owned(),
    };
    let part = if validation { "validation" } else { "test" };
    let energy = joules(found.energy_pj.total, found.energy_pj.unit);
    format!(
        "{key} {how}: {fixed} fixed, {golden} golden; lost on the {part} part: {said}; {energy}\n"
    )
}
