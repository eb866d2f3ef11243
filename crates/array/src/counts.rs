//! What happens in the array during a GEMM, counted exactly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_program::gemm::GemmShape;

use crate::config::Dataflow;
use crate::timing;
use crate::{Array, CyclesByCause, Error, impl_fieldwise_sum};

/// Events in the array, summed over the folds of one GEMM or of many.
///
/// In the formulas, R x C is the grid, and a fold uses r of its rows and c of its columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ArrayCounts {
    /// Folds.
    pub folds: u64,
    /// Cycles in which the grid is clocked, by cause.
    pub cycles: CyclesByCause,
    /// PEs clocked, whether they work or not: R·C per cycle.
    pub pe_cycles: u64,
    /// Multiply-accumulates: m·k·n per GEMM.
    pub macs: u64,
    /// Elements of A that enter the grid: r·k per fold.
    pub a_operands: u64,
    /// Elements of B that enter the grid: c·k per fold.
    pub b_operands: u64,
    /// Loads of an element of A into an operand register. It travels through its whole row, also
    /// past the columns in use: r·k·C per fold.
    pub a_register_writes: u64,
    /// Loads of an element of B into an operand register. It travels through its whole column,
    /// also past the rows in use: c·k·R per fold.
    pub b_register_writes: u64,
    /// Loads of a sum into an accumulator: one per multiply-accumulate.
    pub accumulator_writes: u64,
    /// Loads of a result into the accumulator of the next row, on its way to the bottom edge:
    /// c·Σ(R − 1 − i) over the rows i < r of each fold.
    pub drain_writes: u64,
    /// Results that leave the grid: r·c per fold.
    pub results: u64,
}

impl_fieldwise_sum!(ArrayCounts {
    folds,
    cycles,
    pe_cycles,
    macs,
    a_operands,
    b_operands,
    a_register_writes,
    b_register_writes,
    accumulator_writes,
    drain_writes,
    results,
});

impl ArrayCounts {
    /// What one GEMM does, in closed form.
    ///
    /// ```
    /// use systoliq_array::{Array, ArrayCounts};
    /// use systoliq_program::gemm::GemmShape;
    /// let counts = ArrayCounts::of(&Array::new(8, 8)?, GemmShape { m: 9, k: 10, n: 8 })?;
    /// assert_eq!((counts.folds, counts.macs), (2, 720));
    /// // The second fold uses one row; its operands of B pass through all 8.
    /// assert_eq!(counts.b_register_writes, 2 * 8 * 10 * 8);
    /// # Ok::<(), systoliq_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a count does not fit 64 bits.
    pub fn of(array: &Array, shape: GemmShape) -> Result<Self, Error> {
        let Array { rows, cols, .. } = *array;
        let cycles = timing::gemm(array, shape)?;
        let counts = match array.dataflow {
            Dataflow::OutputStationary => output_stationary(array, shape, cycles),
        };
        counts.ok_or(Error::GemmTooLarge { shape, rows, cols })
    }
}

/// The counts of an output-stationary GEMM; `None` if one does not fit 64 bits.
fn output_stationary(
    array: &Array,
    shape: GemmShape,
    cycles: CyclesByCause,
) -> Option<ArrayCounts> {
    let folds = timing::folds(array, shape)?;
    if folds == 0 {
        return Some(ArrayCounts::default());
    }
    let [m, k, n, rows, cols] =
        [shape.m, shape.k, shape.n, array.rows, array.cols].map(|extent| extent as u64);
    let product = |factors: &[u64]| {
        factors.iter().try_fold(1u64, |product, &factor| product.checked_mul(factor))
    };
    let macs = product(&[m, k, n])?;
    // Each element of A enters once per tile along n, each of B once per tile along m.
    let a_operands = product(&[m, k, n.div_ceil(cols)])?;
    let b_operands = product(&[n, k, m.div_ceil(rows)])?;
    // Row i of a tile has R − 1 − i rows below it.
    let below = |rows_in_use: u64| (0..rows_in_use).map(|i| rows - 1 - i).sum::<u64>();
    let hops = product(&[m / rows, below(rows)])?.checked_add(below(m % rows))?;
    Some(ArrayCounts {
        folds,
        cycles,
        pe_cycles: product(&[array.pes(), cycles.total().0])?,
        macs,
        a_operands,
        b_operands,
        a_register_writes: product(&[a_operands, cols])?,
        b_register_writes: product(&[b_operands, rows])?,
        accumulator_writes: macs,
        drain_writes: product(&[n, hops])?,
        results: product(&[m, n])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiles;

    #[test]
    fn counts_are_the_sums_over_folds() {
        for (rows, cols) in [(1, 1), (2, 3), (8, 4), (5, 16)] {
            let array = Array::new(rows, cols).unwrap();
            for (m, k, n) in [(1, 1, 1), (7, 3, 5), (16, 10, 16), (33, 2, 9), (4, 100, 31)] {
                let shape = GemmShape { m, k, n };
                let counts = ArrayCounts::of(&array, shape).unwrap();
                let sum = |term: &dyn Fn(usize, usize) -> usize| {
                    tiles(&array, shape).map(|tile| term(tile.rows, tile.cols) as u64).sum::<u64>()
                };
                let case = format!("{shape:?} on {rows} x {cols}");
                assert_eq!(counts.folds, sum(&|_, _| 1), "{case}");
                assert_eq!(counts.macs, sum(&|r, c| r * c * k), "{case}");
                assert_eq!(counts.a_operands, sum(&|r, _| r * k), "{case}");
                assert_eq!(counts.b_operands, sum(&|_, c| c * k), "{case}");
                assert_eq!(counts.a_register_writes, sum(&|r, _| r * k * cols), "{case}");
                assert_eq!(counts.b_register_writes, sum(&|_, c| c * k * rows), "{case}");
                assert_eq!(counts.results, sum(&|r, c| r * c), "{case}");
                let drained = |r: usize, c: usize| (0..r).map(|i| (rows - 1 - i) * c).sum();
                assert_eq!(counts.drain_writes, sum(&drained), "{case}");
            }
        }
    }

    #[test]
    fn counts_beyond_64_bits_are_refused() {
        let array = Array::new(1024, 1024).unwrap();
        for (m, k, n) in [(1 << 30, 1 << 30, 1 << 30), (1 << 62, 1, 2), (1, 1 << 62, 1)] {
            let shape = GemmShape { m, k, n };
            let refused = Err(Error::GemmTooLarge { shape, rows: 1024, cols: 1024 });
            assert_eq!(ArrayCounts::of(&array, shape), refused);
        }
    }

    #[test]
    fn json_has_a_key_per_count() {
        let counts =
            ArrayCounts::of(&Array::new(2, 2).unwrap(), GemmShape { m: 2, k: 3, n: 2 }).unwrap();
        let json = serde_json::to_value(counts).unwrap();
        assert_eq!(json["cycles"]["stream"], 3);
        assert_eq!(json["drain_writes"], 2);
        assert_eq!(serde_json::from_value::<ArrayCounts>(json).unwrap(), counts);
    }
}
