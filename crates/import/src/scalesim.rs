//! SCALE-Sim: one isolated GEMM in the figures of its version 3 (and 2), and its input files.
//!
//! A [`Topology`] is the layers of a network, a [`ScaleSimConfig`] the machine; both are read from
//! text.
//!
//! The conventions of its figures, read from what it reports and reproduced exactly: stationary outputs do not
//! drain, the last cycle is not counted, folds neither overlap nor are trimmed, partial sums are
//! written but never read back, and with stationary outputs R + C writes per fold are counted that
//! no output asks for. Our own figures, which differ in these points, are those of
//! [`GemmReport`](systoliq_hardware::single::GemmReport).
//!
//! Source: scalesim-project/SCALE-Sim at commit 1d62b68, and its release 3.0.0; A. Samajdar et al., "A systematic
//! methodology for characterizing scalability of DNN accelerators using SCALE-Sim", ISPASS 2020.

use serde::Serialize;
use systoliq_array::mapping::{Axis, Extents};
use systoliq_array::{Mapping, Stationary};
use systoliq_program::GemmShape;

use systoliq_hardware::{Accelerator, Error};

pub mod config;
mod error;
pub mod topology;
pub mod trace;

#[cfg(test)]
mod config_tests;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod topology_tests;

pub use config::ScaleSimConfig;
pub use error::InputError;
pub use topology::Topology;

/// What SCALE-Sim says of one GEMM.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaleSimReport {
    /// The dataflow.
    pub dataflow: Stationary,
    /// Folds.
    pub folds: u64,
    /// "Total Cycles" without stalls: folds·P' − 1, where P' is K + R + C − 2 (os),
    /// M + 2R + C − 2 (ws) or N + 2R + C − 2 (is).
    pub cycles: u64,
    /// "Overall Util %": MNK / (cycles·R·C), which is infinite for one product on one PE.
    #[serde(with = "systoliq_nn::extended")]
    pub overall_utilization: f64,
    /// "Mapping Efficiency %": Sr·Sc / (folds·R·C).
    pub mapping_efficiency: f64,
    /// "Compute Util %": Sr·Sc·T / (folds·R·C·P), where P is T + R + C − 2 (os) or T + 2R + 2C − 3.
    pub compute_utilization: f64,
    /// Elements of A read from its scratchpad.
    pub a_reads: u64,
    /// Elements of B read from its scratchpad.
    pub b_reads: u64,
    /// Elements written to the scratchpad of C.
    pub c_writes: u64,
    /// The first and the last cycle in which elements of A arrive from its scratchpad, one cycle
    /// after they are asked for. Where the last window of a convolution reaches beyond its map,
    /// SCALE-Sim counts these elements as read, yet gives an earlier last cycle.
    pub a_cycles: [u64; 2],
    /// The same of B.
    pub b_cycles: [u64; 2],
    /// The first and the last cycle in which elements are written to the scratchpad of C.
    pub c_cycles: [u64; 2],
}

impl ScaleSimReport {
    /// The figures of a GEMM on an accelerator, whatever its own timing policies; with
    /// [`Dataflow::Auto`](systoliq_array::Dataflow::Auto) in the dataflow of the fewest of these cycles.
    ///
    /// # Errors
    ///
    /// If the accelerator is at fault, an extent is 0, or a figure does not fit 64 bits.
    pub fn new(accelerator: &Accelerator, shape: GemmShape) -> Result<Self, Error> {
        accelerator.validate()?;
        let array = &accelerator.array;
        let of = |stationary| Self::checked(&Mapping::new(array, shape, stationary));
        let report = match array.dataflow.stationary() {
            Some(stationary) => of(stationary),
            None => {
                let all = Stationary::ALL.into_iter().filter_map(of);
                all.min_by_key(|report| report.cycles)
            }
        };
        report.ok_or_else(|| {
            let GemmShape { m, k, n } = shape;
            let problem = "expected at least 1 each, and figures of at most 64 bits";
            Error::at("GEMM", format!("m = {m}, k = {k}, n = {n}: {problem}"))
        })
    }

    fn checked(mapping: &Mapping) -> Option<Self> {
        let Extents { rows, cols, time } = mapping.extents();
        let [row_folds, col_folds] =
            [Axis::Rows, Axis::Cols].map(|axis| mapping.pieces(axis).count() as u64);
        let folds = mapping.folds().filter(|&folds| folds > 0)?;
        let [rows, cols, time] = [rows, cols, time].map(|extent| extent as u64);
        let [r, c] = [mapping.rows, mapping.cols].map(|side| side as u64);
        let of = |a: u64, b: u64, times: u64| a.checked_mul(b)?.checked_mul(times);
        let output_stays = mapping.output_stays();
        let loaded = if output_stays { 0 } else { r };
        let per_fold = time.checked_add(loaded + r + c - 2)?;
        let cycles = folds.checked_mul(per_fold)? - 1;
        let right = of(rows, time, col_folds)?;
        let (other, c_writes) = if output_stays {
            let spurious = folds.checked_mul(r + c)?;
            (of(cols, time, row_folds)?, of(rows, cols, 1)?.checked_add(spurious)?)
        } else {
            (of(rows, cols, 1)?, of(cols, time, row_folds)?)
        };
        let (a_reads, b_reads) = match mapping.stationary {
            Stationary::Output | Stationary::Weight => (right, other),
            Stationary::Input => (other, right),
        };
        let spans = Spans::new(mapping, (folds - 1) * per_fold);
        let (a_cycles, b_cycles) = match mapping.stationary {
            Stationary::Output | Stationary::Weight => (spans.right, spans.other),
            Stationary::Input => (spans.other, spans.right),
        };
        let span = if output_stays { r + c - 2 } else { 2 * r + 2 * c - 3 };
        let pes = (r * c) as f64;
        let mapped = rows as f64 * cols as f64 / (folds as f64 * pes);
        Some(Self {
            dataflow: mapping.stationary,
            folds,
            cycles,
            overall_utilization: of(rows, cols, time)? as f64 / (cycles as f64 * pes),
            mapping_efficiency: mapped,
            compute_utilization: mapped * time as f64 / time.checked_add(span)? as f64,
            a_reads,
            b_reads,
            c_writes,
            a_cycles,
            b_cycles,
            c_cycles: spans.c,
        })
    }
}

/// First and last cycles at the scratchpads.
struct Spans {
    /// Of the operand that moves to the right.
    right: [u64; 2],
    /// Of the operand that comes from above, in one piece or before the sums.
    other: [u64; 2],
    /// Of the results.
    c: [u64; 2],
}

impl Spans {
    /// Of a mapping whose last fold begins in cycle `last`. Rows that a fold leaves empty are its
    /// last ones, which are the first to be loaded and the first to leave.
    fn new(mapping: &Mapping, last: u64) -> Self {
        let Extents { rows, cols, time } = mapping.extents();
        let [r, c] = [mapping.rows, mapping.cols];
        let in_first = rows.min(r);
        let in_last = |extent: usize, side: usize| extent - (extent.div_ceil(side) - 1) * side;
        let (rows_last, cols_last) = (in_last(rows, r), in_last(cols, c));
        let span = |start: usize, end: usize| [start as u64, last + end as u64];
        if mapping.output_stays() {
            Self {
                right: span(1, time + (rows_last - 1)),
                other: span(1, time + (cols_last - 1)),
                c: span(time - 1 + (r - in_first), time - 1 + (r + cols_last - 2)),
            }
        } else {
            Self {
                right: span(r + 1, time + (r + rows_last - 1)),
                other: span(1 + r - in_first, r),
                c: span(2 * r - 1, time + (2 * r + cols_last - 3)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_array::{Array, ArrayCounts, timing};

    fn report(rows: usize, cols: usize, flow: Stationary, shape: GemmShape) -> ScaleSimReport {
        let mapping = Mapping::new(&Array::new(rows, cols).unwrap(), shape, flow);
        ScaleSimReport::checked(&mapping).unwrap()
    }

    #[test]
    fn cycles_are_those_that_scale_sim_reports() {
        for (side, (m, n, k), cycles) in [
            (8, (8, 8, 8), [21, 29, 29]),
            (8, (64, 64, 64), [4991, 5503, 5503]),
            (8, (100, 50, 30), [4003, 3415, 3743]),
            (8, (128, 32, 64), [4991, 4799, 6911]),
            (16, (128, 128, 128), [10111, 11135, 11135]),
            (16, (100, 50, 30), [1679, 1167, 1343]),
            (32, (100, 50, 30), [735, 387, 575]),
        ] {
            for (flow, cycles) in Stationary::ALL.into_iter().zip(cycles) {
                let found = report(side, side, flow, GemmShape { m, k, n });
                assert_eq!(found.cycles, cycles, "{m} {n} {k} {flow:?} on {side}");
            }
        }
    }

    #[test]
    fn our_figures_differ_from_its_own_where_it_is_said() {
        for (rows, cols) in [(1, 1), (4, 7), (16, 3)] {
            for (m, k, n) in [(1, 1, 1), (9, 20, 5), (33, 7, 40), (100, 30, 50)] {
                let shape = GemmShape { m, k, n };
                for flow in Stationary::ALL {
                    let found = report(rows, cols, flow, shape);
                    let mapping = Mapping::new(&Array::new(rows, cols).unwrap(), shape, flow);
                    let cycles = timing::gemm(&mapping).unwrap();
                    let without_drain = (cycles.preload + cycles.stream + cycles.skew).0;
                    assert_eq!(found.cycles + 1, without_drain, "{mapping:?}");
                    let counts = ArrayCounts::of(&mapping).unwrap();
                    assert_eq!((found.a_reads, found.b_reads), (counts.a_reads, counts.b_reads));
                    let spurious = match flow {
                        Stationary::Output => counts.folds * (rows + cols) as u64,
                        _ => 0,
                    };
                    assert_eq!(found.c_writes, counts.sum_writes + spurious, "{mapping:?}");
                    // The formulas as they are stated for its users, in m, n and k.
                    let [up_m, up_n, up_k] = [m.div_ceil(rows), n.div_ceil(cols), k.div_ceil(rows)];
                    let reads = match flow {
                        Stationary::Output => (m * k * up_n, k * n * up_m),
                        Stationary::Weight => (m * k * up_n, k * n),
                        _ => (m * k, k * n * m.div_ceil(cols)),
                    };
                    assert_eq!((found.a_reads as usize, found.b_reads as usize), reads);
                    if flow != Stationary::Output {
                        assert_eq!(found.c_writes as usize, m * n * up_k);
                    }
                }
            }
        }
    }

    #[test]
    fn auto_takes_the_fewest_of_its_own_cycles_whatever_overlaps() {
        for (m, n, k) in [(55, 25, 49), (51, 37, 53), (8, 8, 8), (100, 50, 30)] {
            let shape = GemmShape { m, k, n };
            let fewest = Stationary::ALL.map(|flow| report(8, 8, flow, shape).cycles);
            for overlap in ["none", "pipelined"] {
                let array = format!(
                    r#"{{"array": {{"rows": 8, "cols": 8, "dataflow": "auto", "overlap": "{overlap}"}}}}"#
                );
                let accelerator: Accelerator = serde_json::from_str(&array).unwrap();
                let found = ScaleSimReport::new(&accelerator, shape).unwrap();
                assert_eq!(Some(&found.cycles), fewest.iter().min(), "{m} {n} {k} {overlap}");
            }
        }
        let one = report(1, 1, Stationary::Output, GemmShape { m: 1, k: 1, n: 1 });
        assert_eq!(serde_json::to_value(one).unwrap()["overall_utilization"], "inf");
    }

    #[test]
    fn utilizations_follow_its_definitions() {
        let shape = GemmShape { m: 100, k: 30, n: 50 };
        let os = report(8, 8, Stationary::Output, shape);
        assert_eq!(os.overall_utilization, 150_000.0 / (4003.0 * 64.0));
        assert_eq!(os.mapping_efficiency, 5000.0 / (91.0 * 64.0));
        assert_eq!(os.compute_utilization, 5000.0 / (91.0 * 64.0) * 30.0 / 44.0);
        let ws = report(8, 8, Stationary::Weight, shape);
        assert_eq!(ws.mapping_efficiency, 1500.0 / (28.0 * 64.0));
        assert_eq!(ws.compute_utilization, 1500.0 / (28.0 * 64.0) * 100.0 / 129.0);
    }
}
