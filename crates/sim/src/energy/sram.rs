//! Scratchpads: the energy of reading or writing one row, from a table of SRAM macros.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Picojoules;
use super::error::Error;

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

/// Energies of SRAM macros by size and width, for one or more kinds of cell.
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
#[derive(Clone, Debug, PartialEq)]
pub struct SramTable {
    sizes: Vec<u64>,
    widths: Vec<u64>,
    /// `[read, write]`, each `[size][width]` in pJ, without gaps.
    cells: BTreeMap<Cell, [Vec<Vec<f64>>; 2]>,
    source: String,
}

/// The table as its JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "every key is required, some are for the reader alone")]
struct TableFile {
    name: String,
    what: String,
    source: String,
    certainty: super::Certainty,
    node_nm: f64,
    temperature_k: f64,
    size_bytes: Vec<u64>,
    width_bits: Vec<u64>,
    cells: BTreeMap<Cell, CellFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CellFile {
    read_pj_env: Vec<Vec<Option<f64>>>,
    write_pj_env: Vec<Vec<Option<f64>>>,
}

impl SramTable {
    /// The embedded table, `models/energy/sram_45nm.json`: CACTI 7 (HewlettPackard/cacti commit
    /// 1ffd8df) at 45 nm and 350 K, plain RAM with one read-write port, 1 KB to 2 MB by 8 to 1024
    /// bits, low-operating-power and high-performance cells.
    pub fn cacti45() -> Self {
        Self::parse(include_str!("../../../../models/energy/sram_45nm.json"))
            .expect("the embedded table is valid")
    }

    /// Reads a table from the text of a JSON file.
    ///
    /// An entry of `null`, a macro that does not exist, is as the next larger one of its width.
    ///
    /// # Errors
    ///
    /// Where the text is not JSON of the schema, an axis does not ascend, an array has not one
    /// entry per size and width, or an energy is not positive or less than that of a smaller or
    /// narrower macro.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let file: TableFile = serde_json::from_str(json)?;
        if file.source.trim().is_empty() {
            return Err(Error::Source { path: "source" });
        }
        for (axis, found) in [("size_bytes", &file.size_bytes), ("width_bits", &file.width_bits)] {
            let ascends = found.windows(2).all(|pair| pair[0] < pair[1]);
            if found.len() < 2 || found[0] == 0 || !ascends {
                return Err(Error::Axis { axis, found: found.clone() });
            }
        }
        let mut table = Self {
            sizes: file.size_bytes,
            widths: file.width_bits,
            cells: BTreeMap::new(),
            source: file.source,
        };
        for (cell, columns) in file.cells {
            let read = table.grid(format!("{}.read_pj_env", cell.name()), columns.read_pj_env)?;
            let write =
                table.grid(format!("{}.write_pj_env", cell.name()), columns.write_pj_env)?;
            table.cells.insert(cell, [read, write]);
        }
        Ok(table)
    }

    /// Where the table comes from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Smallest and largest scratchpad in bytes.
    pub fn bytes_range(&self) -> (u64, u64) {
        (self.sizes[0], self.sizes[self.sizes.len() - 1])
    }

    /// Refuses a cell that the table lacks.
    pub(super) fn require(&self, cell: Cell) -> Result<(), Error> {
        match self.cells.contains_key(&cell) {
            true => Ok(()),
            false => Err(Error::Cell { cell: cell.name() }),
        }
    }

    /// Checks one array of the file and fills its gaps.
    fn grid(&self, path: String, rows: Vec<Vec<Option<f64>>>) -> Result<Vec<Vec<f64>>, Error> {
        let (sizes, widths) = (self.sizes.len(), self.widths.len());
        if rows.len() != sizes || rows.iter().any(|row| row.len() != widths) {
            let columns = rows.iter().map(Vec::len).collect();
            return Err(Error::Shape { path, rows: rows.len(), columns, sizes, widths });
        }
        let mut grid = vec![vec![0.0; widths]; sizes];
        for size in (0..sizes).rev() {
            for width in 0..widths {
                let larger = grid.get(size + 1).map(|row: &Vec<f64>| row[width]);
                grid[size][width] = rows[size][width].or(larger).unwrap_or(f64::NAN);
            }
        }
        for size in 0..sizes {
            for width in 0..widths {
                let smaller = if size > 0 { grid[size - 1][width] } else { 0.0 };
                let narrower = if width > 0 { grid[size][width - 1] } else { 0.0 };
                let (energy, least) = (grid[size][width], smaller.max(narrower));
                if !(energy.is_finite() && energy > 0.0 && energy >= least) {
                    let (bytes, bits) = (self.sizes[size], self.widths[width]);
                    let found = rows[size][width];
                    return Err(Error::Entry { path, bytes, bits, found, least });
                }
            }
        }
        Ok(grid)
    }

    /// Energy of one access to a scratchpad of `bytes` bytes whose rows have `row_bits` bits, in
    /// the cheapest banking; of equally cheap ones, that of the fewest banks.
    ///
    /// ```
    /// use systoliq_sim::energy::{Access, Cell, SramTable};
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
    /// bits or more than the scratchpad, [`Error::Cell`] where the table lacks the cell.
    pub fn banked(
        &self,
        cell: Cell,
        access: Access,
        bytes: u64,
        row_bits: u32,
    ) -> Result<Banked, Error> {
        self.require(cell)?;
        let (min, max) = self.bytes_range();
        if !(min..=max).contains(&bytes) {
            return Err(Error::ScratchpadSize { bytes, min, max });
        }
        if row_bits == 0 || u64::from(row_bits) > 8 * bytes {
            return Err(Error::RowWidth { row_bits, bytes, max: 8 * bytes });
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
            if bank_bits == narrowest {
                break;
            }
        }
        Ok(cheapest.expect("enough banks make every row narrow"))
    }

    /// One access to one macro within the table.
    fn macro_access(&self, cell: Cell, access: Access, bytes: u64, bits: u64) -> Picojoules {
        let grid = &self.cells[&cell][access as usize];
        let (small, large) = enclosing(&self.sizes, bytes);
        let (narrow, wide) = enclosing(&self.widths, bits);
        let at_width = |width: usize| {
            log_interpolate(
                bytes as f64,
                (self.sizes[small] as f64, grid[small][width]),
                (self.sizes[large] as f64, grid[large][width]),
            )
        };
        Picojoules(log_interpolate(
            bits as f64,
            (self.widths[narrow] as f64, at_width(narrow)),
            (self.widths[wide] as f64, at_width(wide)),
        ))
    }
}

/// The indices of the nodes next below and above `x`; the same twice where `x` is a node.
fn enclosing(nodes: &[u64], x: u64) -> (usize, usize) {
    let (first, last) = (nodes[0], nodes[nodes.len() - 1]);
    assert!((first..=last).contains(&x), "{x} lies outside {first}..={last}");
    let upper = nodes.partition_point(|&node| node < x);
    (if nodes[upper] == x { upper } else { upper - 1 }, upper)
}

/// `y` at `x` on the line through two points on doubly logarithmic paper.
///
/// Bisects by geometric means, which need only a product and a root: unlike `ln` and `exp`, these
/// give the same bits on every machine, and the result is monotone in `x`.
fn log_interpolate(x: f64, mut low: (f64, f64), mut high: (f64, f64)) -> f64 {
    for _ in 0..f64::MANTISSA_DIGITS {
        if x <= low.0 {
            return low.1;
        }
        if x >= high.0 {
            return high.1;
        }
        let middle = ((low.0 * high.0).sqrt(), (low.1 * high.1).sqrt());
        if x < middle.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    low.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every entry of the embedded file, as JSON has it: cell, access, bytes, bits, pJ.
    fn entries() -> Vec<(Cell, Access, u64, u64, f64)> {
        let text = include_str!("../../../../models/energy/sram_45nm.json");
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut entries = vec![];
        for cell in [Cell::LowOperatingPower, Cell::HighPerformance] {
            for (access, column) in [(Access::Read, "read_pj_env"), (Access::Write, "write_pj_env")]
            {
                for (size, bytes) in json["size_bytes"].as_array().unwrap().iter().enumerate() {
                    for (width, bits) in json["width_bits"].as_array().unwrap().iter().enumerate() {
                        if let Some(pj) = json["cells"][cell.name()][column][size][width].as_f64() {
                            let (bytes, bits) = (bytes.as_u64().unwrap(), bits.as_u64().unwrap());
                            entries.push((cell, access, bytes, bits, pj));
                        }
                    }
                }
            }
        }
        entries
    }

    #[test]
    fn macros_meet_every_entry_of_the_table_exactly() {
        let table = SramTable::cacti45();
        let entries = entries();
        assert_eq!(entries.len(), 2 * 2 * 93);
        for (cell, access, bytes, bits, pj) in entries {
            let found = table.macro_access(cell, access, bytes, bits);
            assert_eq!(found.0, pj, "{cell:?} {access:?} {bytes} bytes {bits} bits");
            let banked = table.banked(cell, access, bytes, bits as u32).unwrap();
            assert!(banked.energy <= found, "{banked:?}");
        }
    }

    #[test]
    fn between_entries_the_logarithm_is_linear() {
        let table = SramTable::cacti45();
        let lop =
            |bytes, bits| table.macro_access(Cell::LowOperatingPower, Access::Read, bytes, bits).0;
        for (bytes, bits) in [(3000_u64, 64_u64), (8192, 48), (10_000, 100), (1_500_000, 1000)] {
            let (s0, w0) = (1_u64 << bytes.ilog2(), 1_u64 << bits.ilog2());
            let (t, u) = ((bytes as f64 / s0 as f64).log2(), (bits as f64 / w0 as f64).log2());
            let along = |w| lop(s0, w).ln() * (1.0 - t) + lop(2 * s0, w).ln() * t;
            let expected = (along(w0) * (1.0 - u) + along(2 * w0) * u).exp();
            let found = lop(bytes, bits);
            assert!((found / expected - 1.0).abs() < 1e-12, "{bytes} {bits}: {found} {expected}");
        }
    }

    #[test]
    fn energy_grows_with_size_and_with_width() {
        let table = SramTable::cacti45();
        let sizes: Vec<u64> = (0..=66)
            .map(|step| (1024.0 * 2_f64.powf(f64::from(step) / 6.0)).round() as u64)
            .collect();
        let widths = [1, 4, 7, 8, 9, 16, 24, 40, 48, 64, 96, 127, 200, 256, 777, 1024, 1025, 3000];
        for cell in [Cell::LowOperatingPower, Cell::HighPerformance] {
            for access in [Access::Read, Access::Write] {
                let pj = |bytes, bits| table.banked(cell, access, bytes, bits).unwrap().energy;
                for size in sizes.windows(2) {
                    for width in widths.windows(2) {
                        let (bytes, bits, here) = (size[0], width[0], pj(size[0], width[0]));
                        let case = format!("{cell:?} {access:?} {bytes} bytes {bits} bits");
                        assert!(here <= pj(size[1], bits), "{case}, larger");
                        assert!(here <= pj(bytes, width[1]), "{case}, wider");
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_outside_the_table_and_impossible_rows_are_refused_with_the_range() {
        let table = SramTable::cacti45();
        let refusal = |bytes, bits| {
            let access = table.banked(Cell::LowOperatingPower, Access::Read, bytes, bits);
            access.unwrap_err().to_string()
        };
        let sizes = "accepted are 1024 to 2097152 bytes";
        assert_eq!(refusal(1023, 8), format!("scratchpad of 1023 bytes, {sizes}"));
        assert_eq!(refusal(2_097_153, 8), format!("scratchpad of 2097153 bytes, {sizes}"));
        let rows = "in a scratchpad of 1024 bytes, accepted are 1 to 8192 bits";
        assert_eq!(refusal(1024, 0), format!("row of 0 bits {rows}"));
        assert_eq!(refusal(1024, 8193), format!("row of 8193 bits {rows}"));
        assert!(table.banked(Cell::LowOperatingPower, Access::Read, 1024, 8192).is_ok());
    }

    #[test]
    fn reads_and_writes_apart_stay_close_to_the_best_common_banking() {
        let table = SramTable::cacti45();
        let cell = Cell::LowOperatingPower;
        let (mut excesses, mut worst) = (vec![], 0.0_f64);
        for &bytes in &table.sizes {
            for bits in (3..=12).map(|log| 1_u64 << log) {
                let common = (0..=9)
                    .map(|k| 1_u64 << k)
                    .filter(|banks| bits / banks >= 8 && bits / banks <= 1024)
                    .map(|banks| {
                        let bank = |access| {
                            let bank_bytes = (bytes / banks).max(1024);
                            table.macro_access(cell, access, bank_bytes, bits / banks) * banks
                        };
                        (bank(Access::Read) + bank(Access::Write)).0
                    })
                    .fold(f64::INFINITY, f64::min);
                let apart = [Access::Read, Access::Write]
                    .map(|access| table.banked(cell, access, bytes, bits as u32).unwrap().energy.0);
                let excess = common / (apart[0] + apart[1]) - 1.0;
                assert!(excess >= -1e-12, "{bytes} bytes {bits} bits: {excess}");
                worst = worst.max(excess);
                excesses.push(excess);
            }
        }
        let mean = excesses.iter().sum::<f64>() / excesses.len() as f64;
        assert!((0.024..0.026).contains(&mean) && (0.13..0.135).contains(&worst), "{mean} {worst}");
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let text = include_str!("../../../../models/energy/sram_45nm.json");
        for (old, new, message) in [
            (
                "0.44284",
                "0.4",
                "itrs-lop.read_pj_env at 1024 bytes × 16 bits: Some(0.4), expected at least 0.41369 pJ",
            ),
            (
                "379.48]",
                "null]",
                "itrs-lop.read_pj_env at 2097152 bytes × 1024 bits: None, expected at least 198.76 pJ",
            ),
            (
                "null, null],",
                "null],",
                "itrs-lop.read_pj_env: 12 rows of [7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8] entries, expected 12 rows of 8",
            ),
            ("[1024, 2048,", "[2048, 1024,", "size_bytes: [2048, 1024, 4096"),
            ("\"certainty\"", "\"sure\"", "unknown field `sure`"),
            ("read_pj_env", "reads", "unknown field `reads`"),
        ] {
            assert!(text.contains(old), "{old}");
            let error = SramTable::parse(&text.replacen(old, new, 1)).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
