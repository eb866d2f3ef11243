//! What can be wrong with a profile, a table, or a scratchpad that they are asked to price.

use super::figures::Unit;

/// Why a profile or a table is refused, or a scratchpad cannot be priced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON of the schema: a key or a source is missing or unknown, a unit or a
    /// certainty is not one of those known, a type is wrong. Says line and column.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
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
    #[error("{path}: {value}, expected {expected}")]
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
    /// The widths or sizes of a table are not at least two ascending numbers.
    #[error("{axis}: {found:?}, expected at least two positive numbers, ascending")]
    Axis {
        /// `size_bytes` or `width_bits`.
        axis: &'static str,
        /// The numbers given.
        found: Vec<u64>,
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
    /// The table has no figures for the cell that a profile names.
    #[error("the table has no {cell} cells")]
    Cell {
        /// The cell's name.
        cell: &'static str,
    },
    /// A scratchpad is smaller or larger than the table's macros.
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
