//! `systoliq workload`: what a network takes that is given layer by layer.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use systoliq_array::{Dataflow, Stationary};
use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::Dram;
use systoliq_import::scalesim::topology::OutputSize;
use systoliq_import::{scalesim::ScaleSimConfig, scalesim::Topology};
use systoliq_study::workload::reports::{self, ReportFigures};
use systoliq_study::workload::{
    LayerWork, ScaleSimRow, Workload, WorkloadReport, scalesim, traffic,
};

use super::gemm::{WidthOptions, json, word};
use super::table::{Columns, UNLIMITED, grouped, joules, stalls};
use super::waiting::waiting;
use super::without_effect::without_effect;
use crate::durable::make_folder;
use crate::failure::{Failure, warn};
use crate::load;
use crate::whole::{check_place, write_whole};
use systoliq_load::files::open_regular;

/// Cycles, stalls, traffic and energy of a network given as a SCALE-Sim topology, layer by layer.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq workload models/topologies/resnet50.csv --accelerator models/accelerators/cloud-128x128.json
  systoliq workload models/topologies/bert_base.csv --accelerator models/accelerators/edge-16x16.json --training
  systoliq workload models/topologies/alexnet.csv --accelerator scale.cfg --scalesim --csv reports

A topology is a CSV file of convolutions or of GEMMs; lines that begin with # are comments. Columns
Batch, Padding, Dilation and Groups may follow those of SCALE-Sim. As in SCALE-Sim, a convolution with DP in its name is depthwise. Of a convolution memory holds the image, of
which a tile fetches each pixel once. Without --scalesim, output sizes round down and partial sums are read back.

--csv writes COMPUTE_REPORT.csv, BANDWIDTH_REPORT.csv and DETAILED_ACCESS_REPORT.csv in the layout of
SCALE-Sim 3, a line per product. With --scalesim, cycles, utilizations and SRAM figures are
SCALE-Sim's, without prefetch and stalls, and a depthwise layer takes a line per channel, as there;
figures of DRAM are always ours.")]
pub struct WorkloadCommand {
    /// The topology.
    #[arg(value_name = "TOPOLOGY.csv")]
    topology: PathBuf,

    /// The accelerator: a JSON file, or SCALE-Sim's .cfg.
    #[arg(long, value_name = "HW")]
    accelerator: PathBuf,

    /// What stays in the processing elements, in place of what the accelerator states: os (outputs),
    /// ws (weights), is (inputs), or auto: for each product the one of fewest cycles, stalls on
    /// memory included, not of least energy.
    #[arg(long, value_parser = word::<Dataflow>)]
    dataflow: Option<Dataflow>,

    /// Adds what training needs: the gradients of inputs and of weights, and the step of the weights.
    /// Taken is: no activation functions, biases or loss; SGD without momentum on masters of twice the
    /// width of the weights.
    #[arg(long)]
    training: bool,

    /// Gives SCALE-Sim's own figures, under its conventions.
    #[arg(long)]
    scalesim: bool,

    /// Writes three reports under SCALE-Sim's column names into this folder.
    #[arg(long, value_name = "DIR")]
    csv: Option<PathBuf>,

    #[command(flatten)]
    widths: WidthOptions,

    /// Writes how often what happened as CSV: component, action, layer, pass, width, count.
    #[arg(long, value_name = "FILE.csv", conflicts_with = "scalesim")]
    counts: Option<PathBuf>,

    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl WorkloadCommand {
    /// What it takes.
    pub fn run(&self) -> Result<String, Failure> {
        if let Some(file) = &self.counts {
            check_place(file).map_err(Failure::input)?;
        }
        let topology = read(&self.topology, Topology::parse)?;
        warn(&self.topology.display(), &topology.warnings);
        let accelerator = self.accelerator()?;
        warn(&self.accelerator.display(), &without_effect(&accelerator, self.training));
        let size = if self.scalesim { OutputSize::Ceiling } else { OutputSize::Floor };
        let in_file = |error| Failure::input(anyhow!("{}: {error}", self.topology.display()));
        let workload = Workload::new(&topology, size, self.training, self.widths.widths());
        let workload = workload.map_err(in_file)?;
        let (text, figures) = if self.scalesim {
            let rows = waiting(COUNTING, || scalesim(&accelerator, &workload)).map_err(in_file)?;
            let text = if self.json { json(&rows)? } else { scalesim_text(&rows) };
            let moved = self.csv.as_ref().map(|_| traffic(&accelerator, &workload, &rows));
            let moved = moved.transpose().map_err(in_file)?.unwrap_or_default();
            (text, rows.iter().zip(moved).map(ReportFigures::theirs).collect())
        } else {
            let report = waiting(COUNTING, || WorkloadReport::new(&accelerator, &workload))
                .map_err(in_file)?;
            let unpriced = report.unpriced.iter().map(|reason| format!("no energy: {reason}"));
            warn(&self.accelerator.display(), &unpriced.collect::<Vec<_>>());
            if let Some(file) = &self.counts {
                let counts = report.actions.csv();
                write_whole(file, |out| out.write_all(counts.as_bytes())).map_err(Failure::run)?;
            }
            let text = if self.json { json(&report)? } else { text(&report, &accelerator.dram) };
            let products = report.products.iter().filter(|row| row.dataflow.is_some());
            (text, products.map(|row| ReportFigures::ours(&accelerator, row)).collect::<Vec<_>>())
        };
        if let Some(folder) = &self.csv {
            let reports = reports::texts(&figures).map_err(|text| Failure::input(anyhow!(text)))?;
            make_folder(folder).map_err(|error| {
                Failure::input(anyhow!("cannot make {}: {error}", folder.display()))
            })?;
            for (name, text) in reports {
                write_whole(&folder.join(name), |file| file.write_all(text.as_bytes()))
                    .map_err(Failure::run::<anyhow::Error>)?;
            }
        }
        Ok(text)
    }

    fn accelerator(&self) -> Result<Accelerator, Failure> {
        let file = &self.accelerator;
        let is_config = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("cfg"));
        let mut accelerator = if is_config {
            let config = read(file, ScaleSimConfig::parse)?;
            warn(&file.display(), &config.warnings);
            let accelerator = Accelerator::from(&config);
            let placed = |error| Failure::input(anyhow!("{}: {error}", file.display()));
            accelerator.validate().map_err(placed)?;
            accelerator
        } else {
            load::accelerator(file)?
        };
        let array = &mut accelerator.array;
        array.dataflow = self.dataflow.unwrap_or(array.dataflow);
        Ok(accelerator)
    }
}

/// What takes long of large layers.
const COUNTING: &str = "counting folds";

/// The largest input file: far beyond any network.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads a text file into its type.
fn read<T, E: std::fmt::Display>(
    file: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Failure> {
    let named =
        |problem: &dyn std::fmt::Display| Failure::input(anyhow!("{}: {problem}", file.display()));
    let mut bytes = Vec::new();
    let opened = open_regular(file).map_err(|error| named(&error))?;
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    if read.map_err(|error| named(&error))? as u64 > FILE_BYTES_MAX {
        return Err(named(&format!("more than {FILE_BYTES_MAX} bytes: expected a smaller file")));
    }
    let text = String::from_utf8(bytes).map_err(|error| named(&error))?;
    parse(&text).map_err(|error| named(&error))
}

/// The names and sizes of some work, as every table begins.
fn labels(work: &LayerWork) -> [String; 5] {
    let layer = match work.repeats {
        1 => work.layer.clone(),
        repeats => format!("{} x {repeats}", work.layer),
    };
    let [m, n, k] = [Some(work.m), Some(work.n), work.k]
        .map(|size| size.map_or(NONE.to_owned(), |size| size.to_string()));
    [layer, work.pass.name().replace('_', " "), m, n, k]
}

/// In place of what there is none of.
const NONE: &str = "-";

fn text(report: &WorkloadReport, dram: &Dram) -> String {
    let names = [
        "layer",
        "pass",
        "m",
        "n",
        "k",
        "flow",
        "folds",
        "cycles",
        "stall",
        "util",
        "mapped",
        "pad elements",
        "DRAM bytes",
        "energy",
    ];
    let unit = report.energy_unit;
    let mut table = Columns::new(&names);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for row in &report.products {
        let figures = [
            row.dataflow.map_or(NONE, Stationary::name).to_owned(),
            grouped(row.folds),
            grouped(row.cycles),
            stalls(row.stall_cycles, dram),
            percent(row.utilization),
            percent(row.mapping_efficiency),
            grouped(row.a_reads + row.b_reads + row.c_reads + row.c_writes),
            grouped(row.dram_bytes.iter().sum()),
            row.energy_pj.map_or(NONE.to_owned(), |energy| joules(energy, unit)),
        ];
        table.line(labels(&row.work).into_iter().chain(figures));
    }
    let total = &report.total;
    let mut text = table.text();
    writeln!(
        text,
        "\n {} MACs in {} cycles, {} of them stalls: {:.1} % utilization\n {} bytes from and to \
         DRAM, {}",
        grouped(total.macs),
        grouped(total.cycles),
        if dram.is_ideal() { "none".to_owned() } else { grouped(total.stall_cycles) },
        100.0 * total.utilization,
        grouped(total.dram_bytes),
        total.energy_pj.map_or("energy unknown".to_owned(), |energy| joules(energy, unit))
    )
    .expect("writing to a string");
    if dram.is_ideal() {
        text.push_str(UNLIMITED);
    }
    if let Some(assumed) = report.assumed {
        writeln!(text, " training: {assumed}").expect("writing to a string");
    }
    text
}

fn scalesim_text(rows: &[ScaleSimRow]) -> String {
    let names = [
        "layer",
        "pass",
        "m",
        "n",
        "k",
        "flow",
        "folds",
        "cycles",
        "overall",
        "mapping",
        "compute",
        "A read",
        "B read",
        "C written",
    ];
    let mut table = Columns::new(&names);
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    for ScaleSimRow { work, scalesim } in rows {
        let figures = [
            scalesim.dataflow.name().to_owned(),
            grouped(scalesim.folds),
            grouped(scalesim.cycles),
            percent(scalesim.overall_utilization),
            percent(scalesim.mapping_efficiency),
            percent(scalesim.compute_utilization),
            grouped(scalesim.a_reads),
            grouped(scalesim.b_reads),
            grouped(scalesim.c_writes),
        ];
        table.line(labels(work).into_iter().chain(figures));
    }
    table.text()
}
