//! How a GEMM is cut into folds.

use crate::Array;
use crate::config::{Dataflow, Extents};
use systoliq_program::gemm::GemmShape;

/// One fold: the part of the GEMM that lies on the grid at one time.
///
/// Which GEMM axes the two directions carry is told by [`Dataflow::extents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Where the tile begins along the rows' axis.
    pub row: usize,
    /// Where the tile begins along the columns' axis.
    pub col: usize,
    /// Rows of the grid in use, r ≤ R.
    pub rows: usize,
    /// Columns of the grid in use, c ≤ C.
    pub cols: usize,
}

/// The folds of a GEMM in their order: for output-stationary along m, then along n, which changes
/// fastest.
///
/// A GEMM in which any extent is 0 has no product, and so no fold.
///
/// ```
/// use systoliq_array::{Array, Tile, tiles};
/// use systoliq_program::gemm::GemmShape;
/// let array = Array::new(4, 2)?;
/// let folds: Vec<Tile> = tiles(&array, GemmShape { m: 5, k: 7, n: 3 }).collect();
/// assert_eq!(folds.len(), 4);
/// assert_eq!(folds[0], Tile { row: 0, col: 0, rows: 4, cols: 2 });
/// assert_eq!(folds[1], Tile { row: 0, col: 2, rows: 4, cols: 1 });
/// assert_eq!(folds[3], Tile { row: 4, col: 2, rows: 1, cols: 1 });
/// # Ok::<(), systoliq_array::Error>(())
/// ```
pub fn tiles(array: &Array, shape: GemmShape) -> impl Iterator<Item = Tile> + use<> {
    let Array { rows, cols, dataflow, .. } = *array;
    let extents = dataflow.extents(shape);
    let extents = match extents.time {
        0 => Extents { rows: 0, ..extents },
        _ => extents,
    };
    let cut = |extent: usize, side: usize| {
        (0..extent).step_by(side).map(move |at| (at, side.min(extent - at)))
    };
    match dataflow {
        Dataflow::OutputStationary => cut(extents.rows, rows).flat_map(move |(row, rows)| {
            cut(extents.cols, cols).map(move |(col, cols)| Tile { row, col, rows, cols })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_cover_every_output_once_in_ascending_order() {
        for (m, n, rows, cols) in [(1, 1, 3, 3), (7, 5, 3, 2), (6, 4, 3, 2), (2, 9, 1, 4)] {
            let array = Array::new(rows, cols).unwrap();
            let mut seen = vec![0; m * n];
            let folds: Vec<_> = tiles(&array, GemmShape { m, k: 1, n }).collect();
            for fold in &folds {
                assert!(fold.rows <= rows && fold.cols <= cols, "{fold:?}");
                for i in fold.row..fold.row + fold.rows {
                    for j in fold.col..fold.col + fold.cols {
                        seen[i * n + j] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{m} x {n} on {rows} x {cols}");
            assert!(folds.is_sorted_by_key(|fold| (fold.row, fold.col)));
        }
    }

    #[test]
    fn a_gemm_without_products_has_no_folds() {
        let array = Array::new(2, 2).unwrap();
        for (m, k, n) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
            assert_eq!(tiles(&array, GemmShape { m, k, n }).count(), 0);
        }
    }
}
