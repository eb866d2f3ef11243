//! Traces in SCALE-Sim's layout: a line per cycle, of the cycle and the addresses of that cycle, −1
//! where there is none.
//!
//! A matrix lies row by row, one address an element, from its [offset](Matrix::offset): A is its
//! ifmap, B its filter, C its ofmap. The cycles are ours, and partial sums are written as they
//! leave.

use std::io::{self, Write};
use std::ops::Range;

use systoliq_array::Mapping;
use systoliq_array::demand::{Demand, Demands};

/// A matrix, by SCALE-Sim's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Matrix {
    Ifmap,
    Filter,
    Ofmap,
}

impl Matrix {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ifmap, Self::Filter, Self::Ofmap];

    /// The word in names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ifmap => "IFMAP",
            Self::Filter => "FILTER",
            Self::Ofmap => "OFMAP",
        }
    }

    /// The address of its first element, as in SCALE-Sim's own configurations.
    pub fn offset(self) -> u64 {
        match self {
            Self::Ifmap => 0,
            Self::Filter => 10_000_000,
            Self::Ofmap => 20_000_000,
        }
    }

    fn of(self, demand: &Demand) -> &[Option<u64>] {
        match self {
            Self::Ifmap => &demand.a,
            Self::Filter => &demand.b,
            Self::Ofmap => &demand.c,
        }
    }
}

/// Writes what passes between the scratchpad of a matrix and the grid in some cycles of a GEMM:
/// reads of A and B, writes of C.
///
/// # Errors
///
/// If it cannot be written, or the GEMM does not have these cycles.
pub fn scratchpad(
    out: &mut impl Write,
    mapping: &Mapping,
    cycles: Range<u64>,
    matrix: Matrix,
) -> io::Result<()> {
    let mut demands = Demands::new(mapping, cycles).map_err(io::Error::other)?;
    let mut demand = Demand::default();
    while demands.advance(&mut demand) {
        write!(out, "{}", demand.cycle)?;
        for element in matrix.of(&demand) {
            match element {
                Some(element) => write!(out, ",{}", matrix.offset() + element)?,
                None => write!(out, ",-1")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
