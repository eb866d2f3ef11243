//! What happens in the array during a GEMM, counted exactly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mapping::{Axis, Extents, Pieces, Stationary};
use crate::schedule::{Fold, FoldSchedule};
use crate::timing;
use crate::{CyclesByCause, Error, Mapping, PartialFolds, impl_fieldwise_sum};

/// Events in the array, summed over the folds of one GEMM or of many. Elements are counted one by
/// one, however many of them a scratchpad moves at once.
///
/// In the formulas, R x C is the grid, a fold uses r of its rows and c of its columns, and T steps
/// run in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ArrayCounts {
    /// Folds.
    pub folds: u64,
    /// Cycles in which the grid is clocked, by cause.
    pub cycles: CyclesByCause,
    /// PEs clocked, whether they work or not: R·C per cycle.
    pub pe_cycles: u64,
    /// Multiply-accumulates: m·k·n per GEMM, less its structural zeros, which are clocked as all
    /// products are: m·k·n PE cycles have two valid operands.
    pub macs: u64,
    /// Elements of A that enter the grid, read from their scratchpad: r·T per fold where A streams,
    /// r·c where it stays.
    pub a_reads: u64,
    /// Elements of B that enter the grid: r·T or c·T per fold where B streams, r·c where it stays.
    pub b_reads: u64,
    /// Partial sums that enter the grid again: c·T per fold but those that begin a sum.
    pub partial_sum_reads: u64,
    /// Sums that leave the grid, partial ones included: r·c per fold where outputs stay, otherwise
    /// c·T.
    pub sum_writes: u64,
    /// Loads of an element of A into an operand register. Where it streams, it travels on through
    /// its whole row or column, also past the PEs in use: r·T·C per fold, less what the end of the
    /// GEMM cuts off. Where it stays, it comes down from the top: c·r·(r + 1)/2.
    pub a_register_writes: u64,
    /// Loads of an element of B into an operand register, likewise.
    pub b_register_writes: u64,
    /// Loads of a sum into a register: one per product, and one per unused row that a moving sum
    /// passes.
    pub accumulator_writes: u64,
    /// Loads of a result into the register of the next row, on its way to the bottom edge: c·Σ(R − 1
    /// − i) over the rows i < r of each fold where outputs stay.
    pub drain_writes: u64,
    /// Copies between the two stationary registers of a PE: r·c per fold with overlap.
    pub shadow_writes: u64,
}

impl_fieldwise_sum!(ArrayCounts {
    folds,
    cycles,
    pe_cycles,
    macs,
    a_reads,
    b_reads,
    partial_sum_reads,
    sum_writes,
    a_register_writes,
    b_register_writes,
    accumulator_writes,
    drain_writes,
    shadow_writes,
});

impl ArrayCounts {
    /// What one GEMM does, in closed form.
    ///
    /// ```
    /// use systoliq_array::{Array, ArrayCounts, Mapping, Stationary};
    /// use systoliq_program::gemm::GemmShape;
    /// let shape = GemmShape { m: 9, k: 10, n: 8 };
    /// let mapping = Mapping::new(&Array::new(8, 8)?, shape, Stationary::Output);
    /// let counts = ArrayCounts::of(&mapping)?;
    /// assert_eq!((counts.folds, counts.macs), (2, 720));
    /// // The second fold uses one row; its operands of B pass through all 8.
    /// assert_eq!(counts.b_register_writes, 2 * 8 * 10 * 8);
    /// # Ok::<(), systoliq_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a count does not fit 64 bits.
    pub fn of(mapping: &Mapping) -> Result<Self, Error> {
        Self::checked(mapping).ok_or_else(|| timing::too_large(mapping))
    }

    /// Every count `factor` times; `None` if one does not fit 64 bits.
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        let times = |count: u64| count.checked_mul(factor);
        Some(Self {
            folds: times(self.folds)?,
            cycles: self.cycles.checked_mul(factor)?,
            pe_cycles: times(self.pe_cycles)?,
            macs: times(self.macs)?,
            a_reads: times(self.a_reads)?,
            b_reads: times(self.b_reads)?,
            partial_sum_reads: times(self.partial_sum_reads)?,
            sum_writes: times(self.sum_writes)?,
            a_register_writes: times(self.a_register_writes)?,
            b_register_writes: times(self.b_register_writes)?,
            accumulator_writes: times(self.accumulator_writes)?,
            drain_writes: times(self.drain_writes)?,
            shadow_writes: times(self.shadow_writes)?,
        })
    }

    fn checked(mapping: &Mapping) -> Option<Self> {
        let schedule = FoldSchedule::new(mapping)?;
        let cycles = schedule.cycles()?;
        let folds = mapping.folds()?;
        if folds == 0 {
            return Some(Self::default());
        }
        let Extents { rows, cols, time } = mapping.extents();
        let row_pieces = mapping.pieces(Axis::Rows);
        let [rows, cols, time] = [rows, cols, time].map(|extent| extent as u64);
        let [row_folds, col_folds, time_folds] =
            [Axis::Rows, Axis::Cols, Axis::Time].map(|axis| mapping.pieces(axis).count() as u64);
        let products = product(&[rows, cols, time])?;
        // What moves right enters once per fold along the columns, what moves down once per fold
        // along the rows, and what stays once per piece of time.
        let right = product(&[rows, time, col_folds])?;
        let down = product(&[cols, time, row_folds])?;
        let stays = product(&[rows, cols, time_folds])?;
        let cut = CutLoads::new(mapping, &schedule, cycles.total().0);
        let right_writes = product(&[right, mapping.cols as u64])? - cut.right;
        let shadow_writes = if mapping.has_shadow() { stays } else { 0 };
        let mut counts = Self {
            folds,
            cycles,
            pe_cycles: product(&[mapping.rows as u64, mapping.cols as u64, cycles.total().0])?,
            macs: products - mapping.structural_zeros,
            shadow_writes,
            ..Self::default()
        };
        if mapping.output_stays() {
            counts.a_reads = right;
            counts.b_reads = down;
            counts.a_register_writes = right_writes;
            counts.b_register_writes = product(&[down, mapping.rows as u64])? - cut.down;
            counts.sum_writes = stays;
            counts.accumulator_writes = products;
            // Row i of a tile has so many rows below it.
            let hops = |tile: u64, span: u64| Some((0..tile).map(|i| span - 1 - i).sum::<u64>());
            counts.drain_writes = over_pieces(mapping, row_pieces, cols, hops)?;
            return Some(counts);
        }
        counts.sum_writes = down;
        counts.partial_sum_reads = down - product(&[cols, time])?;
        let passed = |_: u64, span: u64| span.checked_mul(time);
        counts.accumulator_writes = over_pieces(mapping, row_pieces, cols, passed)?;
        let hops = |tile: u64, _: u64| Some(tile * (tile + 1) / 2);
        let loads = cols.checked_mul(time_folds)?;
        let stationary_writes = over_pieces(mapping, row_pieces, loads, hops)?;
        let (a, b) = ((right, right_writes), (stays, stationary_writes));
        let (a, b) = if mapping.stationary == Stationary::Weight { (a, b) } else { (b, a) };
        (counts.a_reads, counts.a_register_writes) = a;
        (counts.b_reads, counts.b_register_writes) = b;
        Some(counts)
    }
}

fn product(factors: &[u64]) -> Option<u64> {
    factors.iter().try_fold(1u64, |product, &factor| product.checked_mul(factor))
}

/// The sum over all folds of c times a number that depends on the rows of the tile and those that
/// it waits for.
fn over_pieces(
    mapping: &Mapping,
    pieces: Pieces,
    cols: u64,
    per_column: impl Fn(u64, u64) -> Option<u64>,
) -> Option<u64> {
    let of = |rows: usize, count: usize| {
        if count == 0 {
            return Some(0);
        }
        product(&[per_column(rows as u64, mapping.span(rows, 1).0)?, count as u64, cols])
    };
    of(pieces.side, pieces.full)?.checked_add(of(pieces.rest, usize::from(pieces.rest > 0))?)
}

/// Loads that the end of the GEMM cuts off, where it does not wait for the whole grid.
#[derive(Default)]
struct CutLoads {
    right: u64,
    down: u64,
}

impl CutLoads {
    fn new(mapping: &Mapping, schedule: &FoldSchedule, end: u64) -> Self {
        let mut cut = Self::default();
        if mapping.partial_folds == PartialFolds::Full {
            return cut;
        }
        let side = mapping.rows.max(mapping.cols) as u64;
        for Fold { tile, start, .. } in schedule.folds_backwards() {
            let time = tile.steps as u64;
            let last = start + time - 1 + tile.rows.max(tile.cols) as u64 - 1;
            if last + 2 * side < end {
                break;
            }
            for i in 0..tile.rows as u64 {
                cut.right += unseen(start + i, time, mapping.cols as u64, end);
            }
            for j in 0..tile.cols as u64 {
                cut.down += unseen(start + j, time, mapping.rows as u64, end);
            }
        }
        cut
    }
}

/// Of `count` elements that enter a line of `places` registers in consecutive cycles from `first`,
/// one place further per cycle, the loads that would come after cycle `end` − 1.
fn unseen(first: u64, count: u64, places: u64, end: u64) -> u64 {
    // An element that enters in cycle x is loaded end − x times at most.
    let missing = |x: u64| (x + places).saturating_sub(end).min(places);
    let triangle = |n: u64| n * (n + 1) / 2;
    let before = missing(first).saturating_sub(1);
    triangle(missing(first + count - 1)) - triangle(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Array, Stationary};
    use systoliq_program::gemm::GemmShape;

    #[test]
    fn counts_beyond_64_bits_are_refused() {
        let array = Array::new(1024, 1024).unwrap();
        for (m, k, n) in [(1 << 30, 1 << 30, 1 << 30), (1 << 62, 1, 2), (1, 1 << 62, 1)] {
            let shape = GemmShape { m, k, n };
            let refused = Err(Error::GemmTooLarge { shape, rows: 1024, cols: 1024 });
            let mapping = Mapping::new(&array, shape, Stationary::Output);
            assert_eq!(ArrayCounts::of(&mapping), refused);
        }
    }

    #[test]
    fn json_has_a_key_per_count() {
        let shape = GemmShape { m: 2, k: 3, n: 2 };
        let mapping = Mapping::new(&Array::new(2, 2).unwrap(), shape, Stationary::Output);
        let counts = ArrayCounts::of(&mapping).unwrap();
        let json = serde_json::to_value(counts).unwrap();
        assert_eq!(json["cycles"]["stream"], 3);
        assert_eq!(json["drain_writes"], 2);
        assert_eq!(serde_json::from_value::<ArrayCounts>(json).unwrap(), counts);
    }
}
