//! What bounds a matrix product: the PEs, or the memory that feeds them.
//!
//! S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for
//! multicore architectures", Communications of the ACM 52(4), 2009: with I MACs per byte moved, no
//! more than min(PEs, I · bytes per cycle) MACs are made in a cycle.

use serde::Serialize;
use systoliq_array::Array;

use crate::accelerator::{Accelerator, Dram};

/// What is the least that bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundBy {
    /// Every PE makes one MAC per cycle at most.
    Compute,
    /// Every MAC needs its share of the bytes moved.
    Memory,
}

/// One product under the roof.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roofline {
    /// Arithmetic intensity: MACs per byte moved from and to DRAM.
    pub macs_per_byte: f64,
    /// The bound: no more MACs are made per cycle.
    pub bound_macs_per_cycle: f64,
    /// MACs per cycle that were made, stalls included.
    pub macs_per_cycle: f64,
    /// Where the bound comes from.
    pub bound_by: BoundBy,
}

impl Roofline {
    /// Of so many MACs that moved so many bytes in so many cycles; nothing where there is no work.
    pub fn new(accelerator: &Accelerator, macs: u64, bytes: u64, cycles: u64) -> Option<Self> {
        let Accelerator { array, dram, .. } = accelerator;
        if macs == 0 || cycles == 0 || bytes == 0 {
            return None;
        }
        let macs_per_byte = macs as f64 / bytes as f64;
        let compute = Array::pes(array) as f64;
        let Dram { bytes_per_cycle, .. } = *dram;
        let memory = bytes_per_cycle.map_or(f64::INFINITY, |bytes| macs_per_byte * bytes as f64);
        Some(Self {
            macs_per_byte,
            bound_macs_per_cycle: compute.min(memory),
            macs_per_cycle: macs as f64 / cycles as f64,
            bound_by: if memory < compute { BoundBy::Memory } else { BoundBy::Compute },
        })
    }
}
