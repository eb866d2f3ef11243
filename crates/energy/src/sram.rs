//! Scratchpads: the energy of reading or writing one row, leakage and area, from a table of SRAM
//! macros.

mod nodes;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::interpolate::{enclosing, log_extrapolate, log_interpolate};
use super::{Milliwatts, Picojoules};

pub use nodes::SramTables;

/// The nodes that CACTI was run at, smallest to largest.
pub(crate) const CACTI_NM: std::ops::RangeInclusive<f64> = 22.0..=90.0;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads one row.
    Read,
    /// Writes one row.
    Write,
}

/// Kind of transistor in an SRAM macro, by the ITRS roadmap.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Cell {
    /// Low operating power: 0.015 mW of leakage per KB at 45 nm and 350 K.
    #[serde(rename = "itrs-lop")]
    LowOperatingPower,
    /// High performance: 1.1 mW of leakage per KB at 45 nm and 350 K.
    #[serde(rename = "itrs-hp")]
    HighPerformance,
}

impl Cell {
    /// The cell's name in the files.
    pub fn name(self) -> &'static str {
        match self {
            Cell::LowOperatingPower => "itrs-lop",
            Cell::HighPerformance => "itrs-hp",
        }
    }
}

/// One access to a scratchpad and the banks it wakes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Banked {
    /// Energy of the access, all banks together.
    pub energy: Picojoules,
    /// How many banks share the row.
    pub banks: u64,
    /// Bytes of each bank's macro.
    pub bank_bytes: u64,
    /// Bits of each bank's row.
    pub bank_bits: u64,
}

/// So many times the largest macro is priced.
pub(crate) const BEYOND: u64 = 512;

/// SRAM macros of one node by kind of cell, size and width.
///
/// # Between the table's macros
///
/// The logarithm of the energy is linear in the logarithms of size and width. Power laws fitted to
/// the whole table are off by a quarter on average; the table's own entries are met exactly.
///
/// # Banking
///
/// A row may lie across 2^k banks, each of 1/2^k of the bytes and of the row's bits, and all banks
/// are accessed at once: `E = 2^k · macro(bytes / 2^k, row_bits / 2^k)`. An access is charged at
/// the cheapest k. This is how rows wider than any macro are built, and why one wide read is far
/// cheaper than many narrow ones.
///
/// A memory is *not* cut into banks of which one access wakes only one. CACTI already cuts a macro
/// into subarrays and charges the wires that lead to them; a second cut by hand would drop these
/// wires from the bill, so that a memory of any size cost as little as the smallest macro. The
/// wires between the banks of a row, and the bank's enable, are not charged.
///
/// Reads and writes choose their banks apart, although one memory has one banking: on the table's
/// low-power macros this understates the sum of a read and a write by 2.5 % on average and 13 % at
/// most, against the best common banking.
///
/// A bank smaller or narrower than the table's smallest does not exist: the smallest stands in.
///
/// # Beyond the table's macros
///
/// Above the largest, the energy of a row goes on as over the last doubling on doubly logarithmic paper,
/// leakage and area are proportional to the bytes, up to 512 times as many bytes: assumed, as no macro was computed there.
#[derive(Clone, Debug, PartialEq)]
pub struct SramTable {
    node_nm: f64,
    sizes: Vec<u64>,
    widths: Vec<u64>,
    /// Every cell.
    cells: BTreeMap<Cell, CellMacros>,
    source: String,
}

/// What is known of macros of one cell.
#[derive(Clone, Debug, PartialEq)]
struct CellMacros {
    /// `[read, write]`, each `[size][width]` in pJ, without gaps.
    access_pj: [Vec<Vec<f64>>; 2],
    /// By size.
    leak_mw: Vec<f64>,
    /// By size.
    area_mm2: Vec<f64>,
}

impl SramTable {
    /// The embedded table at 45 nm; see [`SramTables::cacti`].
    pub fn cacti45() -> Self {
        SramTables::cacti().at(45.0).expect("the embedded table has 45 nm")
    }

    /// The node in nm.
    pub fn node_nm(&self) -> f64 {
        self.node_nm
    }

    /// Where the table comes from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Smallest and largest macro in bytes.
    pub fn bytes_range(&self) -> (u64, u64) {
        (self.sizes[0], self.sizes[self.sizes.len() - 1])
    }

    /// Energy of one access to a scratchpad of `bytes` bytes whose rows have `row_bits` bits, in
    /// the cheapest banking; of equally cheap ones, that of the fewest banks.
    ///
    /// ```
    /// use systoliq_energy::{Access, Cell, SramTable};
    ///
    /// let table = SramTable::cacti45();
    /// let read = |bits| table.banked(Cell::LowOperatingPower, Access::Read, 8192, bits).unwrap();
    /// // Half a row costs three quarters of it, each in one macro:
    /// assert_eq!((read(128).energy.0, read(128).banks), (2.5159, 1));
    /// assert_eq!((read(64).energy.0, read(64).banks), (1.9415, 1));
    /// // A wide row lies across banks:
    /// assert_eq!((read(512).banks, read(512).bank_bytes, read(512).bank_bits), (8, 1024, 64));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ScratchpadSize`] outside the table's sizes, [`Error::RowWidth`] where the row has no
    /// bits or more than the scratchpad.
    pub fn banked(
        &self,
        cell: Cell,
        access: Access,
        bytes: u64,
        row_bits: u32,
    ) -> Result<Banked, Error> {
        self.check_size(bytes)?;
        check_row(bytes, row_bits)?;
        let (min, max) = self.bytes_range();
        if bytes > max {
            let before = self.banked(cell, access, max / 2, row_bits)?;
            let last = self.banked(cell, access, max, row_bits)?;
            let [low, high] =
                [(max / 2, before), (max, last)].map(|(bytes, of)| (bytes as f64, of.energy.0));
            let energy = Picojoules(log_extrapolate(bytes as f64, low, high));
            return Ok(Banked { energy, bank_bytes: bytes.div_ceil(last.banks), ..last });
        }
        let (narrowest, widest) = (self.widths[0], self.widths[self.widths.len() - 1]);
        let mut cheapest: Option<Banked> = None;
        for banks in (0..u32::BITS).map(|k| 1_u64 << k) {
            let bank_bytes = bytes.div_ceil(banks).max(min);
            let bank_bits = u64::from(row_bits).div_ceil(banks).max(narrowest);
            if bank_bits <= widest {
                let energy = self.macro_access(cell, access, bank_bytes, bank_bits) * banks;
                if cheapest.is_none_or(|best| energy < best.energy) {
                    cheapest = Some(Banked { energy, banks, bank_bytes, bank_bits });
                }
            }
            if bank_bits == narrowest && bank_bytes == min {
                break;
            }
        }
        Ok(cheapest.expect("enough banks make every row narrow"))
    }

    /// Leakage of a scratchpad of `bytes` bytes, as one macro with rows of 64 bits; between sizes
    /// the logarithm is linear in that of the size.
    ///
    /// # Errors
    ///
    /// [`Error::ScratchpadSize`] outside the table's sizes.
    pub fn leakage(&self, cell: Cell, bytes: u64) -> Result<Milliwatts, Error> {
        Ok(Milliwatts(self.by_size(cell, bytes, |columns| &columns.leak_mw)?))
    }

    /// Area in um² of a scratchpad of `bytes` bytes, as one macro with rows of 64 bits; between
    /// sizes the logarithm is linear in that of the size.
    ///
    /// # Errors
    ///
    /// Those of [`leakage`](Self::leakage).
    pub fn area_um2(&self, cell: Cell, bytes: u64) -> Result<f64, Error> {
        Ok(self.by_size(cell, bytes, |columns| &columns.area_mm2)? * 1e6)
    }

    fn by_size(
        &self,
        cell: Cell,
        bytes: u64,
        column: impl Fn(&CellMacros) -> &[f64],
    ) -> Result<f64, Error> {
        self.check_size(bytes)?;
        let column = column(&self.cells[&cell]);
        let point = |size: usize| (self.sizes[size] as f64, column[size]);
        let last = point(self.sizes.len() - 1);
        if bytes as f64 > last.0 {
            return Ok(last.1 * (bytes as f64 / last.0));
        }
        let (small, large) = enclosing(&self.sizes, bytes);
        Ok(log_interpolate(bytes as f64, point(small), point(large)))
    }

    /// Refuses a size that is not priced.
    fn check_size(&self, bytes: u64) -> Result<(), Error> {
        let (min, max) = self.bytes_range();
        let max = max * BEYOND;
        match (min..=max).contains(&bytes) {
            true => Ok(()),
            false => Err(Error::ScratchpadSize { bytes, min, max }),
        }
    }

    /// One access to one macro within the table.
    fn macro_access(&self, cell: Cell, access: Access, bytes: u64, bits: u64) -> Picojoules {
        let grid = &self.cells[&cell].access_pj[access as usize];
        let (narrow, wide) = enclosing(&self.widths, bits);
        let at_width = |width: usize| {
            let (small, large) = enclosing(&self.sizes, bytes);
            let point = |size: usize| (self.sizes[size] as f64, grid[size][width]);
            log_interpolate(bytes as f64, point(small), point(large))
        };
        Picojoules(log_interpolate(
            bits as f64,
            (self.widths[narrow] as f64, at_width(narrow)),
            (self.widths[wide] as f64, at_width(wide)),
        ))
    }
}

/// Refuses a scratchpad without bytes, and a row without bits or wider than the scratchpad.
pub(crate) fn check_row(bytes: u64, row_bits: u32) -> Result<(), Error> {
    if bytes == 0 {
        return Err(Error::ScratchpadSize { bytes, min: 1, max: u64::MAX });
    }
    let max = bytes.saturating_mul(8);
    if row_bits == 0 || u64::from(row_bits) > max {
        return Err(Error::RowWidth { row_bits, bytes, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
