//! Reports in the layout of SCALE-Sim's.
//!
//! Columns: `scalesim/simulator.py` of SCALE-Sim 3.0.0. Our own figures take a line per product.
//! SCALE-Sim's take one for each of its repeats, since a depthwise layer is to it a layer per
//! channel.

use std::fmt::Write as _;

use systoliq_hardware::Accelerator;

use super::{ProductReport, ScaleSimRow};

const COMPUTE: &str = "LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles, \
                       Overall Util %, Mapping Efficiency %, Compute Util %,";

const BANDWIDTH: &str = "LayerID, Avg IFMAP SRAM BW, Avg FILTER SRAM BW, Avg OFMAP SRAM BW, \
                         Avg IFMAP DRAM BW, Avg FILTER DRAM BW, Avg OFMAP DRAM BW,";

/// The most lines of a report.
pub const LINES_MAX: u64 = 1 << 20;

/// What some equal lines of the reports say, in the conventions asked for.
pub struct ReportFigures {
    layer: String,
    lines: u64,
    cycles: u64,
    stalls: u64,
    shares: [f64; 3],
    /// Elements read of A and B, and written of C.
    elements: [u64; 3],
    /// The first and the last cycle of these.
    spans: [[u64; 2]; 3],
    dram_bytes: [u64; 3],
}

impl ReportFigures {
    /// Our own, of a product.
    pub fn ours(accelerator: &Accelerator, report: &ProductReport) -> Self {
        let ProductReport { cycles, stall_cycles, macs, utilization, .. } = *report;
        let busy = (cycles - stall_cycles) as f64 * accelerator.array.pes() as f64;
        Self {
            layer: report.work.layer.clone(),
            lines: 1,
            cycles,
            stalls: stall_cycles,
            shares: [utilization, report.mapping_efficiency, macs as f64 / busy],
            elements: [report.a_reads, report.b_reads, report.c_writes],
            spans: [whole(cycles); 3],
            dram_bytes: report.dram_bytes,
        }
    }

    /// SCALE-Sim's, beside our traffic.
    pub fn theirs((row, dram_bytes): (&ScaleSimRow, [u64; 3])) -> Self {
        let ScaleSimRow { work, scalesim } = row;
        Self {
            layer: work.layer.clone(),
            lines: work.repeats,
            cycles: scalesim.cycles,
            stalls: 0,
            shares: [
                scalesim.overall_utilization,
                scalesim.mapping_efficiency,
                scalesim.compute_utilization,
            ],
            elements: [scalesim.a_reads, scalesim.b_reads, scalesim.c_writes],
            spans: [scalesim.a_cycles, scalesim.b_cycles, scalesim.c_cycles],
            dram_bytes,
        }
    }

    /// Lines of the three reports without their first cell. Floats and, as SCALE-Sim has them,
    /// first and last cycles have a decimal point.
    fn cells(&self) -> [String; 3] {
        let Self { cycles, stalls, elements, spans, dram_bytes, .. } = *self;
        let [overall, mapping, used] = self.shares.map(|share| 100.0 * share);
        let per_cycle = |counts: [u64; 3]| counts.map(|count| count as f64 / cycles.max(1) as f64);
        let [sram_a, sram_b, sram_c] = per_cycle(elements);
        let [dram_a, dram_b, dram_c] = per_cycle(dram_bytes);
        let mut access = String::new();
        let dram = [whole(cycles); 3];
        for ([start, stop], count) in
            spans.into_iter().chain(dram).zip(elements.into_iter().chain(dram_bytes))
        {
            write!(access, ", {start}.0, {stop}.0, {count}").expect("writing to a string");
        }
        [
            format!(", {cycles}, {cycles}, {stalls}, {overall:?}, {mapping:?}, {used:?},"),
            format!(", {sram_a:?}, {sram_b:?}, {sram_c:?}, {dram_a:?}, {dram_b:?}, {dram_c:?},"),
            access + ",",
        ]
    }
}

/// The first and the last of so many cycles.
fn whole(cycles: u64) -> [u64; 2] {
    [0, cycles.max(1) - 1]
}

/// The names and the texts of the three files.
///
/// # Errors
///
/// If they have more than [`LINES_MAX`] lines.
pub fn texts(products: &[ReportFigures]) -> Result<[(&'static str, String); 3], String> {
    let mut reports = [
        ("COMPUTE_REPORT.csv", format!("{COMPUTE}\n")),
        ("BANDWIDTH_REPORT.csv", format!("{BANDWIDTH}\n")),
        ("DETAILED_ACCESS_REPORT.csv", format!("LayerID,{},\n", access_names())),
    ];
    let mut lines = 0u64;
    for figures in products {
        let first = lines;
        lines = first.saturating_add(figures.lines);
        if lines > LINES_MAX {
            return Err(format!(
                "layer `{}`: its {} repeats are a line each in --csv: expected at most {LINES_MAX} \
                 lines in all",
                figures.layer, figures.lines
            ));
        }
        for ((_, text), cells) in reports.iter_mut().zip(figures.cells()) {
            for line in first..lines {
                writeln!(text, "{line}{cells}").expect("writing to a string");
            }
        }
    }
    Ok(reports)
}

fn access_names() -> String {
    let mut names = Vec::new();
    for memory in ["SRAM", "DRAM"] {
        for (matrix, moved) in [("IFMAP", "Reads"), ("Filter", "Reads"), ("OFMAP", "Writes")] {
            for what in ["Start Cycle", "Stop Cycle", moved] {
                names.push(format!(" {memory} {matrix} {what}"));
            }
        }
    }
    names.join(",")
}
