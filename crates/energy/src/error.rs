//! What can be wrong with a profile, a table, or a scratchpad that they are asked to price.

use super::figure::{EnergyUnit, Unit};

/// A number as a person writes it.
pub fn shown(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-6..1e15).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Why a profile or a table is refused, or a scratchpad cannot be priced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON of the schema: a key or a source is missing or unknown, a unit or a
    /// certainty is not one of those known, a type is wrong. Says line and column.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A figure is asked for that the profile does not have.
    #[error("no figure {path}")]
    NoFigure {
        /// The path asked for.
        path: String,
    },
    /// A figure is given in another unit than its law needs.
    #[error("{path}: unit {found}, expected {expected}")]
    Unit {
        /// The figure's keys from the root, joined by dots.
        path: &'static str,
        /// The unit given.
        found: Unit,
        /// The unit of the law.
        expected: Unit,
    },
    /// A figure is negative, infinite, or zero where it must be positive.
    #[error("{path}: {}, expected {expected}", shown(*value))]
    Value {
        /// The figure's keys from the root, joined by dots.
        path: &'static str,
        /// The value given.
        value: f64,
        /// What is accepted.
        expected: &'static str,
    },
    /// A figure lies outside the range that is stated beside it.
    #[error("{path}: {value} lies outside its range {low} to {high}")]
    Range {
        /// The figure's keys from the root, joined by dots.
        path: &'static str,
        /// The value given.
        value: f64,
        /// Lower end of the range.
        low: f64,
        /// Upper end of the range.
        high: f64,
    },
    /// A figure's source is an empty text.
    #[error("{path}: empty source, expected where the figure comes from")]
    Source {
        /// The figure's keys from the root, joined by dots.
        path: &'static str,
    },
    /// A profile's name is an empty text.
    #[error("name: empty, expected what tables and panels are to call the profile")]
    Name,
    /// A profile is to be scaled to a node that nothing is known of.
    #[error("scaled to {} nm, expected 7 to 130 nm", shown(*found))]
    Node {
        /// The node asked for.
        found: f64,
    },
    /// A profile whose figures are of another node than 45 nm is to be scaled.
    #[error("{name} is of {node_nm} nm, expected a profile of 45 nm to be scaled")]
    Base {
        /// The profile's name.
        name: String,
        /// The node of its figures.
        node_nm: f64,
    },
    /// A profile in other units than picojoules takes prices from tables in picojoules.
    #[error("unit: {unit}, but tables are in pJ; expected laws, and a flat scratchpad")]
    TableUnit {
        /// The profile's unit.
        unit: EnergyUnit,
    },
    /// Glitches are asked for where nothing is synthesized.
    #[error("glitches: true, expected a multiplier or an adder from a table that has them")]
    Glitches,
    /// A table of scratchpads is given to a profile that prices all sizes alike.
    #[error("scratchpad: flat, expected a profile with a table")]
    NoSramTable,
    /// The widths or sizes of a table are not at least two ascending numbers.
    #[error("{axis}: {found:?}, expected at least two positive numbers, ascending")]
    Axis {
        /// `size_bytes` or `width_bits`.
        axis: &'static str,
        /// The numbers given.
        found: Vec<u64>,
    },
    /// The nodes of a table do not ascend.
    #[error("node_nm: {found:?}, expected at least one positive number, ascending")]
    Nodes {
        /// The nodes given.
        found: Vec<f64>,
    },
    /// A node lies outside a table.
    #[error("scratchpads at {found} nm, the table has {low} to {high} nm")]
    SramNode {
        /// The node asked for.
        found: f64,
        /// The table's smallest.
        low: f64,
        /// The table's largest.
        high: f64,
    },
    /// A table's leakage or area is not positive and rising with size, one per size.
    #[error("{path}: {found:?}, expected {sizes} positive numbers, none less than the one before")]
    Column {
        /// Node, cell and column.
        path: String,
        /// The numbers given.
        found: Vec<f64>,
        /// Sizes of the table.
        sizes: usize,
    },
    /// A table's array has not one entry per size and width.
    #[error("{path}: {rows} rows of {columns:?} entries, expected {sizes} rows of {widths}")]
    Shape {
        /// Cell and column.
        path: String,
        /// Rows found.
        rows: usize,
        /// Entries found in each row.
        columns: Vec<usize>,
        /// Sizes of the table.
        sizes: usize,
        /// Widths of the table.
        widths: usize,
    },
    /// A table's entry is not positive, costs less than a smaller or narrower macro, or is missing
    /// with no larger macro to stand in.
    #[error("{path} at {bytes} bytes × {bits} bits: {found:?}, expected at least {least} pJ")]
    Entry {
        /// Cell and column.
        path: String,
        /// Size of the macro.
        bytes: u64,
        /// Width of the macro.
        bits: u64,
        /// The energy given, if any.
        found: Option<f64>,
        /// The energy of the smaller and narrower macros.
        least: f64,
    },
    /// A scratchpad is smaller or larger than the macros of the table, or has no byte.
    #[error("scratchpad of {bytes} bytes, accepted are {min} to {max} bytes")]
    ScratchpadSize {
        /// Its size.
        bytes: u64,
        /// Smallest size in the table.
        min: u64,
        /// Largest size in the table.
        max: u64,
    },
    /// A scratchpad's row has no bits, or more than the whole scratchpad.
    #[error(
        "row of {row_bits} bits in a scratchpad of {bytes} bytes, accepted are 1 to {max} bits"
    )]
    RowWidth {
        /// Width of the row.
        row_bits: u32,
        /// Size of the scratchpad.
        bytes: u64,
        /// Bits of the whole scratchpad.
        max: u64,
    },
}
