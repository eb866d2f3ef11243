//! What can be wrong with an array or with what is asked of it.

use std::ops::Range;

use systoliq_program::gemm::GemmShape;

use crate::config::{LANES_MAX, SIDE_MAX};
use crate::trace::TEXT_COLS_MAX;

/// Why an array, or a GEMM on it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No grid has so many rows or columns.
    #[error(
        "an array of {rows} x {cols} processing elements: rows and cols must be 1 to {SIDE_MAX}"
    )]
    ArraySize {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// No vector unit has so many lanes.
    #[error("a vector unit of {lanes} lanes: lanes must be 1 to {LANES_MAX}")]
    Lanes {
        /// Lanes asked for.
        lanes: usize,
    },
    /// Some count of this GEMM does not fit 64 bits.
    #[error(
        "a GEMM of m = {}, k = {}, n = {} on {rows} x {cols} processing elements has more events than 64 bits count",
        shape.m, shape.k, shape.n
    )]
    GemmTooLarge {
        /// The GEMM.
        shape: GemmShape,
        /// Rows of the array.
        rows: usize,
        /// Columns of the array.
        cols: usize,
    },
    /// The cycles of this vector operation do not fit 64 bits.
    #[error("{passes} passes over {elements} elements take more cycles than 64 bits count")]
    VectorTooLarge {
        /// Passes over the elements.
        passes: u64,
        /// Elements per pass.
        elements: u64,
    },
    /// The GEMM has no such cycles.
    #[error("cycles {from}..{to}: the GEMM has {cycles} cycles, so from 0..1 to 0..{cycles}")]
    NoSuchCycles {
        /// The first asked for.
        from: u64,
        /// The one after the last asked for.
        to: u64,
        /// Cycles of the GEMM.
        cycles: u64,
    },
    /// The grid has no such PEs.
    #[error(
        "PEs of rows {}..{} and columns {}..{}: the array has rows 0..{grid_rows} and columns 0..{grid_cols}",
        rows.start, rows.end, cols.start, cols.end
    )]
    NoSuchPes {
        /// Rows asked for.
        rows: Range<usize>,
        /// Columns asked for.
        cols: Range<usize>,
        /// Rows of the grid.
        grid_rows: usize,
        /// Columns of the grid.
        grid_cols: usize,
    },
    /// The time at the end of a trace does not fit 64 bits.
    #[error("{cycles} cycles of {period_ps} ps are more picoseconds than 64 bits count")]
    TraceTime {
        /// The last cycle of the trace, and one.
        cycles: u64,
        /// The clock period in picoseconds.
        period_ps: u32,
    },
    /// A trace as text is wider than a page.
    #[error("{cols} columns of PEs as text: a page holds {TEXT_COLS_MAX}")]
    TraceTooWide {
        /// Columns asked for.
        cols: usize,
    },
}
