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
    #[serde(rename = "lop")]
    LowOperatingPower,
    /// High performance: 1.1 mW of leakage per KB at 45 nm and 350 K.
    #[serde(rename = "hp")]
    HighPerformance,
}

impl Cell {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::LowOperatingPower, Self::HighPerformance];

    /// The cell's name in the files.
    pub fn name(self) -> &'static str {
        match self {
            Cell::LowOperatingPower => "lop",
            Cell::HighPerformance => "hp",
        }
    }
}

/// A memory as it is built: every access to it wakes the same banks, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sram {
    /// Its bytes.
    pub bytes: u64,
    /// How many banks a row lies across.
    pub banks: u64,
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
/// are accessed at once: `E = 2^k · macro(bytes / 2^k, row_bits / 2^k)`. This is how rows wider than any
/// macro are built, and why one wide read is far cheaper than many narrow ones. A memory has one
/// banking, that whose read and write of the rows that it is built for take least together; rows of
/// other widths are priced in it.
///
/// A memory is *not* cut into banks of which one access wakes only one. CACTI already cuts a macro
/// into subarrays and charges the wires that lead to them; a second cut by hand would drop these
/// wires from the bill, so that a memory of any size cost as little as the smallest macro. The
/// wires between the banks of a row, and the bank's enable, are not charged.
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

    /// The banking of a memory of `bytes` bytes that is built for rows of `row_bits` bits: a read and a write
    /// take least together; of equal ones that of the fewest banks, which have the least area.
    ///
    /// ```
    /// use systoliq_energy::{Access, Cell, SramTable};
    ///
    /// let (table, cell) = (SramTable::cacti45(), Cell::LowOperatingPower);
    /// // Four banks of 2 KB, with 16 bits of a row each. One would read at 1.94 pJ, and write at 4.70:
    /// let memory = table.banking(cell, 8192, 64).unwrap();
    /// let price = |access, bits| table.access(cell, access, memory, bits).unwrap().0;
    /// assert_eq!(memory.banks, 4);
    /// assert!((price(Access::Read, 64) - 2.139).abs() < 1e-3);
    /// assert!((price(Access::Write, 64) - 3.069).abs() < 1e-3);
    /// // Half a row costs far more than half:
    /// assert!(price(Access::Read, 32) > 0.7 * price(Access::Read, 64));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ScratchpadSize`] outside the table's sizes, [`Error::RowWidth`] where the row has no
    /// bits or more than the scratchpad.
    pub fn banking(&self, cell: Cell, bytes: u64, row_bits: u32) -> Result<Sram, Error> {
        self.check_size(bytes)?;
        check_row(bytes, row_bits)?;
        // Above the table a memory is built as its largest.
        let within = bytes.min(self.bytes_range().1);
        let both = |banks| {
            let memory = Sram { bytes: within, banks };
            let access = |access| self.in_banks(cell, access, memory, row_bits).0;
            access(Access::Read) + access(Access::Write)
        };
        // More banks than that would be more of the smallest and narrowest macro.
        let (smallest, narrowest) = (self.sizes[0], self.widths[0]);
        let most = (within / smallest).max(u64::from(row_bits) / narrowest).max(1);
        let bankings = (0..=most.next_power_of_two().ilog2()).map(|k| 1_u64 << k);
        let least = bankings.min_by(|&a, &b| both(a).total_cmp(&both(b)));
        Ok(Sram { bytes, banks: least.expect("some banking") })
    }

    /// Energy of one access to a row of `row_bits` bits of a memory. A row that is wider than all of its banks'
    /// widest macros takes as many accesses as that needs.
    ///
    /// # Errors
    ///
    /// Those of [`banking`](Self::banking).
    pub fn access(
        &self,
        cell: Cell,
        access: Access,
        memory: Sram,
        row_bits: u32,
    ) -> Result<Picojoules, Error> {
        self.check_size(memory.bytes)?;
        check_row(memory.bytes, row_bits)?;
        Ok(self.in_banks(cell, access, memory, row_bits))
    }

    fn in_banks(&self, cell: Cell, access: Access, of: Sram, row_bits: u32) -> Picojoules {
        let (min, max) = self.bytes_range();
        let Sram { bytes, banks } = of;
        if bytes > max {
            let point = |bytes| {
                (bytes as f64, self.in_banks(cell, access, Sram { bytes, banks }, row_bits).0)
            };
            return Picojoules(log_extrapolate(bytes as f64, point(max / 2), point(max)));
        }
        let (narrowest, widest) = (self.widths[0], self.widths[self.widths.len() - 1]);
        let bank_bits = u64::from(row_bits).div_ceil(banks);
        let accesses = bank_bits.div_ceil(widest);
        let bank_bits = bank_bits.div_ceil(accesses).max(narrowest);
        self.macro_access(cell, access, bytes.div_ceil(banks).max(min), bank_bits)
            * (banks * accesses)
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
