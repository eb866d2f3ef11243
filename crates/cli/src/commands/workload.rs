//! `systoliq workload`: what a network takes that is given layer by layer.

mod reports;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use systoliq_array::Dataflow;
use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::Dram;
use systoliq_import::scalesim::topology::OutputSize;
use systoliq_import::{scalesim::ScaleSimConfig, scalesim::Topology};
use systoliq_run::Error;
use systoliq_study::workload::{LayerProduct, ScaleSimRow, WorkloadReport, products, scalesim};

use self::reports::ReportFigures;
use super::gemm::{WidthOptions, json, word};
use super::table::{Columns, UNLIMITED, grouped, joules, stalls};
use super::waiting::waiting;
use super::without_effect::without_effect;
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

A topology is a CSV file of convolutions or of GEMMs; lines that begin with # are comments. As in
SCALE-Sim, a convolution with DP in its name is depthwise. Of a convolution memory holds the image, of
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

    /// Adds the gradients of inputs and of weights, which training needs.
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
        warn(&self.accelerator.display(), &without_effect(&accelerator));
        let size = if self.scalesim { OutputSize::Ceiling } else { OutputSize::Floor };
        let products = products(&topology, size, self.training);
        let widths = self.widths.widths();
        let in_file = |error| Failure::input(anyhow!("{}: {error}", self.topology.display()));
        let (text, figures) = if self.scalesim {
            let rows = waiting(COUNTING, || scalesim(&accelerator, products)).map_err(in_file)?;
            let text = if self.json { json(&rows)? } else { scalesim_text(&rows) };
            (text, self.figures(&rows, |row| ReportFigures::theirs(&accelerator, row, widths)))
        } else {
            let report = waiting(COUNTING, || WorkloadReport::new(&accelerator, products, widths))
                .map_err(in_file)?;
            let unpriced = report.unpriced.iter().map(|reason| format!("no energy: {reason}"));
            warn(&self.accelerator.display(), &unpriced.collect::<Vec<_>>());
            if let Some(file) = &self.counts {
                let counts = report.actions.csv();
                write_whole(file, |out| out.write_all(counts.as_bytes())).map_err(Failure::run)?;
            }
            let text = if self.json { json(&report)? } else { text(&report, &accelerator.dram) };
            (text, self.figures(&report.products, |row| Ok(ReportFigures::ours(&accelerator, row))))
        };
        if let Some(folder) = &self.csv {
            reports::write(folder, &figures.map_err(in_file)?)?;
        }
        Ok(text)
    }

    /// What the reports say of some rows, if they are asked for.
    fn figures<R>(
        &self,
        rows: &[R],
        of: impl FnMut(&R) -> Result<ReportFigures, Error>,
    ) -> Result<Vec<ReportFigures>, Error> {
        let rows = if self.csv.is_some() { rows } else { &[] };
        rows.iter().map(of).collect()
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

/// The names and sizes of a product, as every table begins.
fn labels(product: &LayerProduct) -> [String; 5] {
    let layer = match product.repeats {
        1 => product.layer.clone(),
        repeats => format!("{} x {repeats}", product.layer),
    };
    let [m, n, k] = [product.m, product.n, product.k].map(|size| size.to_string());
    [layer, product.pass.name().replace('_', " "), m, n, k]
}

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
            row.dataflow.name().to_owned(),
            grouped(row.folds),
            grouped(row.cycles),
            stalls(row.stall_cycles, dram),
            percent(row.utilization),
            percent(row.mapping_efficiency),
            grouped(row.a_reads + row.b_reads + row.c_reads + row.c_writes),
            grouped(row.dram_bytes.iter().sum()),
            row.energy_pj.map_or("-".to_owned(), |energy| joules(energy, unit)),
        ];
        table.line(labels(&row.product).into_iter().chain(figures));
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
    for ScaleSimRow { product, scalesim } in rows {
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
        table.line(labels(product).into_iter().chain(figures));
    }
    table.text()
}
