//! What prices scratchpads: a table of macros, or the same for every bit.

use super::error::Error;
use super::figures::{FlatFigures, ScratchpadFigures};
use super::node::Scaling;
use super::sram::{Access, Cell, Sram, SramTable, SramTables};
use super::{Milliwatts, NANOWATTS_PER_MILLIWATT, Picojoules};

/// Prices of scratchpads at one node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ScratchpadPrices {
    /// By size and width.
    Table(Cell, SramTable),
    /// The same for every bit of a row, whatever the size.
    Flat(FlatFigures, Scaling),
}

impl ScratchpadPrices {
    /// What `figures` say, at `node_nm`.
    pub(crate) fn new(
        figures: &ScratchpadFigures,
        node_nm: f64,
        scaling: Scaling,
    ) -> Result<Self, Error> {
        Ok(match figures {
            ScratchpadFigures::Table(table) => {
                Self::Table(table.cell, SramTables::cacti().at(node_nm)?)
            }
            ScratchpadFigures::Flat(flat) => Self::Flat(flat.clone(), scaling),
        })
    }

    /// A memory built for rows of `row_bits` bits.
    pub(crate) fn banking(&self, bytes: u64, row_bits: u32) -> Result<Sram, Error> {
        match self {
            Self::Table(cell, table) => table.banking(*cell, bytes, row_bits),
            Self::Flat(..) => {
                super::sram::check_row(bytes, row_bits)?;
                Ok(Sram { bytes, banks: 1 })
            }
        }
    }

    /// One access to a row of `row_bits` bits.
    pub(crate) fn access(
        &self,
        access: Access,
        memory: Sram,
        row_bits: u32,
    ) -> Result<Picojoules, Error> {
        match self {
            Self::Table(cell, table) => table.access(*cell, access, memory, row_bits),
            Self::Flat(flat, scaling) => {
                super::sram::check_row(memory.bytes, row_bits)?;
                Ok(Picojoules(flat.bit.value * f64::from(row_bits) * scaling.other()))
            }
        }
    }

    /// Whether the table has no macro so large.
    pub(crate) fn is_beyond_table(&self, bytes: u64) -> bool {
        match self {
            Self::Table(_, table) => bytes > table.bytes_range().1,
            Self::Flat(..) => false,
        }
    }

    /// Area in um².
    pub(crate) fn area_um2(&self, bytes: u64) -> Result<f64, Error> {
        match self {
            Self::Table(cell, table) => table.area_um2(*cell, bytes),
            Self::Flat(flat, scaling) => {
                super::sram::check_row(bytes, 1)?;
                Ok(flat.area.value * bytes as f64 * scaling.area())
            }
        }
    }

    /// Leakage; where it is flat, per area as at the node of the figures.
    pub(crate) fn leakage(&self, bytes: u64) -> Result<Milliwatts, Error> {
        match self {
            Self::Table(cell, table) => table.leakage(*cell, bytes),
            Self::Flat(flat, scaling) => {
                super::sram::check_row(bytes, 1)?;
                let nanowatts = flat.leakage.value * bytes as f64 * scaling.area();
                Ok(Milliwatts(nanowatts / NANOWATTS_PER_MILLIWATT))
            }
        }
    }
}
