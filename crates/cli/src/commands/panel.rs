//! `systoliq panel`: in which machines the conclusions of a run or a sweep hold.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Error, anyhow, bail};
use clap::Args;
use serde::Deserialize;
use systoliq_energy::{Profile, shown};
use systoliq_program::Workers;
use systoliq_run::{Experiment, Prepared};
use systoliq_study::panel::{Claim, MachineAxis, MachinePanel, PanelRun, Swing, values, words};

use super::energy_table::profile;
use super::finished::{FinishedSweep, MANIFEST, RUN, SWEEP, checked_report};
use super::gemm::json;
use super::table::{Columns, percent};
use crate::failure::{Failure, one_line};
use crate::run_folder::other_semantics;

/// In which machines the conclusions of a run or of a sweep hold, without training anything.
///
/// Machines are all combinations of three kinds of DRAM, the global buffer (none, that of the accelerator's
/// class, one that holds everything), and the energy profiles. On each, energies are computed anew and
/// conclusions drawn: whether it takes less than float32 hardware, and bfloat16 without and with a float32
/// master, of what one bit less would save most, which dataflow takes least, and which point of a sweep takes least within its margin. Where a
/// conclusion is another than on the machine of the run, the machines are named. Below stands which figures
/// of the energy profile move the ratios by more than 5 % over the ranges of their sources.
#[derive(Clone, Debug, Args)]
#[command(
    name = "panel",
    after_help = "\
Examples:
  systoliq panel runs/digits
  systoliq panel runs/digits --tables                every machine
  systoliq panel runs/digits --profile mine.json     with a profile of your own
  systoliq panel runs/bits --json                    of a sweep"
)]
pub struct PanelCommand {
    /// Folder that `systoliq train` or `sweep` has written with --out, or report.json in it.
    folder: PathBuf,

    /// Another energy profile: a JSON file. May be given several times.
    #[arg(long, value_name = "FILE")]
    profile: Vec<String>,

    /// Also a table with every machine.
    #[arg(long)]
    tables: bool,

    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What is expected where a folder is of neither.
const EXPECTED: &str = "expected the folder of a run or a sweep, as `systoliq train --out` or `systoliq sweep --out` \
                        makes it";

/// What is read of the report of a run.
#[derive(Deserialize)]
struct PricedReport {
    experiment: Experiment,
    macs: u64,
    cycles: PricedTotal<u64>,
    energy_pj: PricedTotal<f64>,
}

#[derive(Deserialize)]
struct PricedTotal<T> {
    total: T,
}

impl PanelCommand {
    /// Prices every machine; returns sentences and tables, or JSON.
    pub fn run(&self) -> Result<String, Failure> {
        let others = self.profile.iter().map(|named| profile(named));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let workers = all_cores();
        let folder = match self.folder.ends_with(RUN) && self.folder.is_file() {
            true => self.folder.parent().unwrap_or(Path::new("")),
            false => &self.folder,
        };
        let (name, panel) = if folder.join(SWEEP).exists() {
            sweep(folder, &others, &workers).map_err(Failure::input)?
        } else {
            let (name, run) = run(folder).map_err(Failure::input)?;
            (name, MachinePanel::of_run(run, &others, &workers))
        };
        if self.json { json(&panel) } else { Ok(self.text(&name, &panel)) }
    }

    fn text(&self, name: &str, panel: &MachinePanel) -> String {
        let mut text = format!("{}: {}\n\n", one_line(name), words::machines(panel));
        for said in words::sentences(panel) {
            text.push_str(&format!(" {said}\n"));
        }
        text.push_str(&swings(panel));
        if self.tables {
            text.push_str(&machines(panel));
        }
        text
    }
}

/// As many threads as there are cores.
pub(super) fn all_cores() -> Workers {
    Workers::new(std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// The name of a sweep, and its panel.
fn sweep(
    folder: &Path,
    others: &[Profile],
    workers: &Workers,
) -> Result<(String, MachinePanel), Error> {
    FinishedSweep::check_semantics(folder)?;
    let FinishedSweep { analysis, lines } = FinishedSweep::read(folder)?;
    let panel = analysis.panel(&lines, others, workers);
    let panel = panel.map_err(|problem| anyhow!("{}: {problem}", folder.display()))?;
    Ok((analysis.name, panel))
}

/// The name of a run, and what of it is priced.
fn run(folder: &Path) -> Result<(String, PanelRun), Error> {
    if folder.join(MANIFEST).exists() {
        let name = folder.display();
        bail!("{name} holds a sweep that has not ended: `systoliq sweep --resume` goes on with it");
    }
    let (path, report) = checked_report(folder, EXPECTED)?;
    if let Some(problem) = other_semantics(&path, report.get("semantics")) {
        bail!(problem);
    }
    let file = path.display();
    let read: PricedReport = serde_path_to_error::deserialize(&report)
        .map_err(|error| anyhow!("{file}: {}: {}", error.path(), error.inner()))?;
    let name = read.experiment.name.clone();
    let prepared =
        Prepared::new(read.experiment).map_err(|error| anyhow!("{file}: experiment.{error}"))?;
    let run = PanelRun::of_macs(&prepared, read.macs, read.cycles.total, read.energy_pj.total);
    Ok((name, run.map_err(|problem| anyhow!("{file}: {problem}"))?))
}

/// What figures of the profile do.
fn swings(panel: &MachinePanel) -> String {
    let names = [
        "figure",
        "value",
        "range",
        "unit",
        "certainty",
        "float32 / fixed",
        "bfloat16 / fixed",
        "moves",
    ];
    let mut table = Columns::new(&names);
    let ends = |ends: [f64; 2], form: fn(f64) -> String| ends.map(form).join(" to ");
    for swing in &panel.swings {
        let Swing { figure, value, range, stated, unit, certainty, float32, bfloat16, moves } =
            swing;
        table.line([
            figure.clone(),
            shown(*value),
            if *stated { ends(*range, shown) } else { "+-20 %".to_owned() },
            unit.to_string(),
            certainty.to_string(),
            ends(*float32, words::times),
            ends(*bfloat16, words::times),
            percent(*moves),
        ]);
    }
    let what = match panel.swings.len() {
        0 => "no figure of the profile moves a ratio by more than 5 % over its range\n".to_owned(),
        _ => {
            let table = table.text();
            format!("what moves a ratio of this run by more than 5 % over its range\n\n{table}")
        }
    };
    format!(
        "\n {what} {} assumed or derived figures have no range, and were tried 20 % lower and higher\n \
         assumed: the clock does not depend on the width of accumulators\n",
        panel.without_range
    )
}

/// Every machine that is priced.
fn machines(panel: &MachinePanel) -> String {
    let varies = |(_, axis): &(usize, &MachineAxis)| axis.values.len() > 1;
    let axes = || panel.axes.iter().enumerate().filter(varies);
    let mut names: Vec<&str> = axes().map(|(_, axis)| axis.name.as_str()).collect();
    names.extend(panel.conclusions.iter().map(|conclusion| match conclusion.claim {
        Claim::LessThanFloat32 => "float32 / fixed",
        Claim::LessThanBfloat16 => "bfloat16 / fixed",
        Claim::LessThanBfloat16Master => "with master / fixed",
        Claim::BitWorthMost => "a bit of",
        Claim::LeastDataflow => "dataflow",
        Claim::CheapestPoint => "cheapest",
    }));
    let mut table = Columns::new(&names);
    let sizes: Vec<usize> = panel.axes.iter().map(|axis| axis.values.len()).collect();
    for number in 0..sizes.iter().product() {
        let machine = values(&sizes, number);
        let mut cells: Vec<String> =
            axes().map(|(at, axis)| axis.values[machine[at]].clone()).collect();
        let answers = panel.conclusions.iter().map(|conclusion| {
            let figure = conclusion.figures[number]?;
            Some(match conclusion.claim {
                Claim::LessThanFloat32
                | Claim::LessThanBfloat16
                | Claim::LessThanBfloat16Master => words::times(figure),
                Claim::BitWorthMost | Claim::LeastDataflow | Claim::CheapestPoint => {
                    conclusion.answer_on(&machine).to_owned()
                }
            })
        });
        let answers: Vec<Option<String>> = answers.collect();
        if answers.iter().any(Option::is_some) {
            cells.extend(answers.into_iter().map(|answer| answer.unwrap_or("-".to_owned())));
            table.line(cells);
        }
    }
    format!("\n{}", table.text())
}
