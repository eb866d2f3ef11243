//! Traces in SCALE-Sim's layout: a line per cycle, of the cycle and the addresses of that cycle, −1
//! where there is none.
//!
//! One address is an element, from the [offset](Matrix::offset) of its matrix. A, its ifmap, and C, its
//! ofmap, lie row by row, B, its filters, column by column: filter after filter. The cycles are ours
//! from 0, where SCALE-Sim has reads arrive one later, and partial sums are written as they leave.

use std::io::{self, Write};
use std::ops::Range;

use systoliq_array::Mapping;
use systoliq_array::demand::{Demand, Demands};
use systoliq_program::GemmShape;

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

    /// The address of an element, numbered row by row.
    fn address(self, element: u64, shape: GemmShape) -> u64 {
        let [k, n] = [shape.k, shape.n].map(|extent| extent as u64);
        let place = match self {
            Self::Filter => element % n * k + element / n,
            Self::Ifmap | Self::Ofmap => element,
        };
        self.offset() + place
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
                Some(element) => write!(out, ",{}", matrix.address(*element, mapping.shape))?,
                None => write!(out, ",-1")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
