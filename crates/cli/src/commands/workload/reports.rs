//! Reports under SCALE-Sim's column names.
//!
//! Column names: `scalesim/simulator.py` of scalesim-project/SCALE-Sim. A line per product; of a
//! depthwise layer one for all its channels.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::anyhow;
use systoliq_sim::Accelerator;
use systoliq_sim::workload::{ProductReport, ScaleSimRow, WorkloadReport};

use crate::failure::Failure;
use crate::whole::write_whole;

const COMPUTE: &str = "LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles, \
                       Overall Util %, Mapping Efficiency %, Compute Util %,";

const BANDWIDTH: &str = "LayerID, Avg IFMAP SRAM BW, Avg FILTER SRAM BW, Avg OFMAP SRAM BW, \
                         Avg IFMAP DRAM BW, Avg FILTER DRAM BW, Avg OFMAP DRAM BW,";

/// One line of the compute report, in the conventions asked for.
struct Figures {
    with_prefetch: u64,
    cycles: u64,
    stalls: u64,
    shares: [f64; 3],
    /// Elements read of A and B, and written of C.
    elements: [u64; 3],
}

impl Figures {
    fn new(accelerator: &Accelerator, ours: &ProductReport, theirs: Option<&ScaleSimRow>) -> Self {
        let repeats = ours.product.repeats;
        if let Some(ScaleSimRow { scalesim, .. }) = theirs {
            let cycles = repeats * scalesim.cycles;
            let shares = [
                scalesim.overall_utilization,
                scalesim.mapping_efficiency,
                scalesim.compute_utilization,
            ];
            let elements = [scalesim.a_reads, scalesim.b_reads, scalesim.c_writes];
            let elements = elements.map(|count| repeats * count);
            return Self { with_prefetch: cycles, cycles, stalls: 0, shares, elements };
        }
        let ProductReport { cycles, stall_cycles, macs, utilization, .. } = *ours;
        let busy = (cycles - stall_cycles) as f64 * accelerator.array.pes() as f64;
        Self {
            with_prefetch: cycles,
            cycles,
            stalls: stall_cycles,
            shares: [utilization, ours.mapping_efficiency, macs as f64 / busy],
            elements: [ours.a_reads, ours.b_reads, ours.c_writes],
        }
    }
}

/// Writes the three files.
pub(super) fn write(
    folder: &Path,
    accelerator: &Accelerator,
    ours: &WorkloadReport,
    theirs: Option<&[ScaleSimRow]>,
) -> Result<(), Failure> {
    let mut compute = format!("{COMPUTE}\n");
    let mut bandwidth = format!("{BANDWIDTH}\n");
    let mut access = format!("LayerID,{},\n", access_names());
    for (at, row) in ours.products.iter().enumerate() {
        let figures = Figures::new(accelerator, row, theirs.map(|rows| &rows[at]));
        let Figures { with_prefetch, cycles, stalls, shares, elements } = figures;
        let [overall, mapping, used] = shares.map(|share| 100.0 * share);
        let per_cycle = |counts: [u64; 3]| counts.map(|count| count as f64 / cycles.max(1) as f64);
        let [sram_a, sram_b, sram_c] = per_cycle(elements);
        let [dram_a, dram_b, dram_c] = per_cycle(row.dram_bytes);
        let line = [
            writeln!(
                compute,
                "{at}, {with_prefetch}, {cycles}, {stalls}, {overall}, {mapping}, {used},"
            ),
            writeln!(
                bandwidth,
                "{at}, {sram_a}, {sram_b}, {sram_c}, {dram_a}, {dram_b}, {dram_c},"
            ),
            write!(access, "{at}"),
        ];
        line.into_iter().for_each(|written| written.expect("writing to a string"));
        for count in elements.into_iter().chain(row.dram_bytes) {
            write!(access, ", 0, {}, {count}", cycles.max(1) - 1).expect("writing to a string");
        }
        access.push_str(",\n");
    }
    fs::create_dir_all(folder)
        .map_err(|error| Failure::input(anyhow!("cannot make {}: {error}", folder.display())))?;
    for (name, text) in [
        ("COMPUTE_REPORT.csv", compute),
        ("BANDWIDTH_REPORT.csv", bandwidth),
        ("DETAILED_ACCESS_REPORT.csv", access),
    ] {
        write_whole(&folder.join(name), |file| file.write_all(text.as_bytes()))
            .map_err(Failure::run::<anyhow::Error>)?;
    }
    Ok(())
}

fn access_names() -> String {
    let mut names = Vec::new();
    for memory in ["SRAM", "DRAM"] {
        for (matrix, moved) in [("IFMAP", "Reads"), ("FILTER", "Reads"), ("OFMAP", "Writes")] {
            for what in ["Start Cycle", "Stop Cycle", moved] {
                names.push(format!(" {memory} {matrix} {what}"));
            }
        }
    }
    names.join(",")
}
