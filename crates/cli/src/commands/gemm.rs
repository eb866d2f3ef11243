//! `systoliq gemm`: what one matrix product takes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use systoliq_array::{Array, CyclesByCause, Dataflow, Overlap, PartialFolds};
use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::{Dependence, Toggles};
use systoliq_hardware::actions::Actions;
use systoliq_hardware::events::Component;
use systoliq_hardware::{
    accelerator::Dram, accelerator::EnergyModel, accelerator::Layout, accelerator::Residency,
    accelerator::Scratchpads, accelerator::UpdateOrder,
};
use systoliq_hardware::{roofline::BoundBy, roofline::Roofline};
use systoliq_hardware::{single::GemmReport, single::GemmWidths};
use systoliq_import::scalesim::ScaleSimReport;
use systoliq_program::{GemmShape, Pass};
use systoliq_run::Error;

use super::hardware;
use super::table::{Columns, UNLIMITED, grouped, joules, stalls};
use super::without_effect::without_effect;
use crate::failure::{Failure, warn};
use crate::load;
use crate::whole::{check_place, write_whole};

/// Cycles and energy of one isolated matrix product `C[m, n] = A[m, k] * B[k, n]`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq gemm --m 32 --n 64 --k 64
  systoliq gemm --m 128 --n 128 --k 512 --rows 32 --cols 32 --bits-a 4 --bits-b 4 --json
  systoliq gemm --m 128 --n 128 --k 128 --rows 16 --cols 16 --dataflow auto --overlap pipelined
  systoliq gemm --m 128 --n 128 --k 128 --rows 16 --cols 16 --dataflow ws --scalesim
  systoliq gemm --m 32 --n 64 --k 64 --counts counts.csv
  systoliq gemm --m 32 --n 64 --k 64 --accelerator models/accelerators/lecture-8x8.json")]
pub struct GemmCommand {
    /// Rows of A and C.
    #[arg(long)]
    m: usize,

    /// Columns of B and C.
    #[arg(long)]
    n: usize,

    /// Columns of A, rows of B.
    #[arg(long)]
    k: usize,

    /// JSON file of the accelerator; the options that follow replace what it states.
    #[arg(long, value_name = "FILE")]
    accelerator: Option<PathBuf>,

    /// Rows of the array [default: 8].
    #[arg(long)]
    rows: Option<usize>,

    /// Columns of the array [default: 8].
    #[arg(long)]
    cols: Option<usize>,

    /// What stays in the processing elements: os (outputs), ws (B), is (A), or auto: the one of
    /// fewest cycles, stalls on memory included, not of least energy [default: os].
    #[arg(long, value_parser = word::<Dataflow>)]
    dataflow: Option<Dataflow>,

    /// How folds overlap: none, double-buffered, pipelined [default: none].
    #[arg(long, value_parser = word::<Overlap>)]
    overlap: Option<Overlap>,

    /// What a fold waits for that fills only part of the grid: full (all of it) or trimmed (the
    /// rows and columns in use) [default: full].
    #[arg(long, value_parser = word::<PartialFolds>)]
    partial_folds: Option<PartialFolds>,

    #[command(flatten)]
    widths: WidthOptions,

    /// Prints what SCALE-Sim reports of this GEMM, under its conventions: no drain, one cycle less,
    /// no overlap, partial sums never read back.
    #[arg(long)]
    scalesim: bool,

    /// Writes how often what happened as CSV: component, action, layer, pass, width, count.
    #[arg(long, value_name = "FILE.csv", conflicts_with = "scalesim")]
    counts: Option<PathBuf>,

    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Widths of a product's numbers.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct WidthOptions {
    /// Width of an element of A.
    #[arg(long, default_value_t = 8)]
    bits_a: u32,

    /// Width of an element of B.
    #[arg(long, default_value_t = 8)]
    bits_b: u32,

    /// Width of an accumulator.
    #[arg(long, default_value_t = 32)]
    bits_acc: u32,

    /// Width of an element of C as it is stored.
    #[arg(long, default_value_t = 8)]
    bits_out: u32,
}

impl WidthOptions {
    pub(super) fn widths(&self) -> GemmWidths {
        let Self { bits_a, bits_b, bits_acc, bits_out } = *self;
        GemmWidths { a: bits_a, b: bits_b, accumulator: bits_acc, output: bits_out }
    }
}

/// The side of the array unless stated.
const SIDE_DEFAULT: usize = 8;

impl GemmCommand {
    /// What it takes.
    pub fn run(&self) -> Result<String, Failure> {
        let accelerator = self.accelerator()?;
        if let Some(file) = &self.accelerator {
            warn(&file.display(), &without_effect(&accelerator, false));
        }
        let shape = GemmShape { m: self.m, k: self.k, n: self.n };
        if self.scalesim {
            let report = ScaleSimReport::new(&accelerator, shape).map_err(in_options)?;
            if self.json {
                return json(&report);
            }
            return Ok(scalesim_text(&report, &accelerator.array, shape));
        }
        let report =
            GemmReport::new(&accelerator, shape, self.widths.widths()).map_err(in_options)?;
        if let Some(file) = &self.counts {
            let mut actions = Actions::default();
            let once = actions.add("gemm".into(), Pass::Forward, &report.tally, 1);
            once.expect("a product's own counts");
            check_place(file).map_err(Failure::input)?;
            write_whole(file, |out| out.write_all(actions.csv().as_bytes()))
                .map_err(Failure::run)?;
        }
        if self.json {
            return json(&report);
        }
        Ok(text(&report, &accelerator))
    }

    fn accelerator(&self) -> Result<Accelerator, Failure> {
        let mut accelerator = match &self.accelerator {
            Some(file) => load::accelerator(file)?,
            None => Accelerator {
                array: Array {
                    rows: SIDE_DEFAULT,
                    cols: SIDE_DEFAULT,
                    dataflow: Dataflow::default(),
                    overlap: Overlap::default(),
                    partial_folds: PartialFolds::default(),
                    fold_order: None,
                    lanes: None,
                },
                scratchpad: Scratchpads::default(),
                dram: Dram::default(),
                layout: Layout::default(),
                residency: Residency::default(),
                update: UpdateOrder::default(),
                energy: EnergyModel::default(),
                node_nm: None,
                sram: None,
                clock_mhz: None,
                activity: Dependence::default(),
                toggles: Toggles::default(),
            },
        };
        let array = &mut accelerator.array;
        array.rows = self.rows.unwrap_or(array.rows);
        array.cols = self.cols.unwrap_or(array.cols);
        array.dataflow = self.dataflow.unwrap_or(array.dataflow);
        array.overlap = self.overlap.unwrap_or(array.overlap);
        array.partial_folds = self.partial_folds.unwrap_or(array.partial_folds);
        Ok(accelerator)
    }
}

pub(super) fn json(report: &(impl serde::Serialize + ?Sized)) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(report).map_err(Failure::run)? + "\n")
}

/// Reads a mode by the word that it has in JSON.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|error| error.to_string())
}

/// Names the options in place of the parts of a GEMM.
fn in_options(error: impl Into<Error>) -> Failure {
    let error = error.into();
    let Error::Invalid { path, problem } = error else { return Failure::input(error) };
    let place = match path.as_str() {
        "a" => "--bits-a",
        "b" => "--bits-b",
        "c" => "--bits-out",
        "accumulator" => "--bits-acc",
        "GEMM" => "--m, --n, --k",
        "accelerator.array" => "--rows, --cols",
        other => other,
    };
    Failure::input(anyhow!("{place}: {problem}"))
}

fn text(report: &GemmReport, accelerator: &Accelerator) -> String {
    let array = &accelerator.array;
    let GemmReport { m, n, k, dataflow, folds, utilization, macs, dram_bytes, .. } = report;
    let mut text = format!(
        "C[{m}, {n}] = A[{m}, {k}] * B[{k}, {n}] on {} x {} PEs, {}: {} MACs in {} folds\n",
        array.rows,
        array.cols,
        dataflow.name(),
        grouped(*macs),
        grouped(*folds)
    );
    if array.dataflow == Dataflow::Auto {
        let cycles = report.cycles_by_dataflow.iter();
        let each = cycles.map(|(stays, cycles)| format!("{} {}", stays.name(), grouped(*cycles)));
        let each: Vec<String> = each.collect();
        writeln!(text, "{} takes the fewest cycles: {}", dataflow.name(), each.join(", "))
            .expect("writing to a string");
    }
    text.push('\n');
    let CyclesByCause { preload, stream, skew, drain, vector, stall } = report.cycles.by_cause;
    let mut cycles = Columns::new(&["cycles", ""]);
    for (cause, count) in [
        ("preload", preload),
        ("stream", stream),
        ("skew", skew),
        ("drain", drain),
        ("vector", vector),
    ] {
        cycles.line([cause.to_owned(), grouped(count.0)]);
    }
    cycles.line(["stall".to_owned(), stalls(stall.0, &accelerator.dram)]);
    cycles.line(["total".to_owned(), grouped(report.cycles.total)]);
    let hardware = &report.hardware;
    let unit = hardware.energy_unit;
    let found = &report.energy_pj;
    let mut energy = Columns::new(&["energy", ""]);
    for component in Component::ALL {
        let of = found.by_component.of(component);
        energy.line([component.name().replace('_', " "), joules(of, unit)]);
    }
    energy.line(["total".to_owned(), joules(found.total, unit)]);
    energy.line(["float32 instead".to_owned(), joules(found.float32_total, unit)]);
    writeln!(
        text,
        "{}\n utilization {:.1} %\n{}\n{}\n{} DRAM traffic {} bytes\n\n{}",
        cycles.text(),
        100.0 * utilization,
        memory(report, &accelerator.dram),
        energy.text(),
        hardware::text(hardware),
        grouped(*dram_bytes),
        elements(report).text()
    )
    .expect("writing to a string");
    text
}

/// What waits for memory, and how far memory lets it go.
fn memory(report: &GemmReport, dram: &Dram) -> String {
    let mut text = if dram.is_ideal() { UNLIMITED } else { "" }.to_owned();
    let waited = report.stall_cycles_by_matrix;
    let waited: Vec<String> = [("A", waited.a), ("B", waited.b), ("C", waited.c)]
        .into_iter()
        .filter(|&(_, cycles)| cycles > 0)
        .map(|(matrix, cycles)| format!("{matrix} {}", grouped(cycles)))
        .collect();
    if !waited.is_empty() {
        text.push_str(&format!(" stalls waiting for {}\n", waited.join(", ")));
    }
    if let Some(roofline) = report.roofline {
        let Roofline { macs_per_byte, bound_macs_per_cycle, macs_per_cycle, bound_by } = roofline;
        let by = match bound_by {
            BoundBy::Compute => "the PEs",
            BoundBy::Memory => "memory",
        };
        text.push_str(&format!(
            " {macs_per_byte:.2} MACs per byte: at most {bound_macs_per_cycle:.1} MACs per cycle, \
             bound by {by}; made {macs_per_cycle:.1}\n"
        ));
    }
    text
}

/// What moves, in elements.
fn elements(report: &GemmReport) -> Columns {
    let counts = &report.counts;
    let mut table = Columns::new(&["elements", ""]);
    for (event, count) in [
        ("A read from scratchpad", counts.a_reads),
        ("B read from scratchpad", counts.b_reads),
        ("sums written to scratchpad", counts.sum_writes),
        ("partial sums read back", counts.partial_sum_reads),
        ("registers of A written", counts.a_register_writes),
        ("registers of B written", counts.b_register_writes),
        ("accumulators written", counts.accumulator_writes),
        ("written while draining", counts.drain_writes),
        ("second registers written", counts.shadow_writes),
    ] {
        table.line([event.to_owned(), grouped(count)]);
    }
    table
}

fn scalesim_text(report: &ScaleSimReport, array: &Array, shape: GemmShape) -> String {
    let GemmShape { m, k, n } = shape;
    let mut table = Columns::new(&["SCALE-Sim", ""]);
    for (name, count) in [
        ("folds", report.folds),
        ("cycles", report.cycles),
        ("A read from scratchpad", report.a_reads),
        ("B read from scratchpad", report.b_reads),
        ("C written to scratchpad", report.c_writes),
    ] {
        table.line([name.to_owned(), grouped(count)]);
    }
    format!(
        "C[{m}, {n}] = A[{m}, {k}] * B[{k}, {n}] on {} x {} PEs, {}\n\n{}\n overall utilization \
         {:.2} %, mapping efficiency {:.2} %, compute utilization {:.2} %\n",
        array.rows,
        array.cols,
        report.dataflow.name(),
        table.text(),
        100.0 * report.overall_utilization,
        100.0 * report.mapping_efficiency,
        100.0 * report.compute_utilization
    )
}
