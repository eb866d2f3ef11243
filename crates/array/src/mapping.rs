//! One GEMM laid on the grid: which axis lies where, and the folds in their order.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use systoliq_program::gemm::GemmShape;

use crate::Array;
use crate::config::{FoldOrder, Overlap, PartialFolds};

/// The matrix that stays in the processing elements.
///
/// A dataflow says which axis of `C[m, n] = A[m, k] · B[k, n]` lies on the rows of the grid, which
/// on its columns, and which runs in time. The rest follows: the matrix without the time axis
/// stays, the one without the columns' axis moves right along the rows, and the one without the
/// rows' axis moves down the columns.
///
/// | | rows | columns | time | stays | moves right | moves down |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | os | m | n | k | C | A | B |
/// | ws | k | n | m | B | A | C |
/// | is | k | m | n | A | B | C |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stationary {
    /// C stays.
    #[serde(rename = "os")]
    Output,
    /// B stays.
    #[serde(rename = "ws")]
    Weight,
    /// A stays.
    #[serde(rename = "is")]
    Input,
}

impl Stationary {
    /// All of them, in the order in which [`Dataflow::Auto`](crate::Dataflow::Auto) prefers them.
    pub const ALL: [Self; 3] = [Self::Output, Self::Weight, Self::Input];

    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "os",
            Self::Weight => "ws",
            Self::Input => "is",
        }
    }

    /// The extents of a GEMM along rows, columns and time.
    pub fn extents(self, shape: GemmShape) -> Extents {
        let GemmShape { m, k, n } = shape;
        let (rows, cols, time) = match self {
            Self::Output => (m, n, k),
            Self::Weight => (k, n, m),
            Self::Input => (k, m, n),
        };
        Extents { rows, cols, time }
    }

    /// The place (m, k, n) of a product that is made at this place along rows, columns and time.
    pub fn product(self, row: usize, col: usize, time: usize) -> GemmShape {
        let (m, k, n) = match self {
            Self::Output => (row, time, col),
            Self::Weight => (time, row, col),
            Self::Input => (col, row, time),
        };
        GemmShape { m, k, n }
    }
}

/// The extents of a GEMM as a dataflow lays them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extents {
    /// The extent along the rows of the grid, cut into tiles.
    pub rows: usize,
    /// The extent along the columns of the grid, cut into tiles.
    pub cols: usize,
    /// The extent that streams through the grid: T.
    pub time: usize,
}

/// One fold: the part of the GEMM that lies on the grid at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Where the tile begins along the rows' axis.
    pub row: usize,
    /// Where the tile begins along the columns' axis.
    pub col: usize,
    /// Where it begins in time.
    pub time: usize,
    /// Rows of the grid in use, r ≤ R.
    pub rows: usize,
    /// Columns of the grid in use, c ≤ C.
    pub cols: usize,
    /// Steps in time: T, or a piece of it.
    pub steps: usize,
}

/// An axis of a GEMM as it lies on the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Along the rows of the grid.
    Rows,
    /// Along its columns.
    Cols,
    /// In time.
    Time,
}

impl Axis {
    /// Every axis.
    pub const ALL: [Self; 3] = [Self::Rows, Self::Cols, Self::Time];
}

/// A walk along an axis, piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The axis.
    pub axis: Axis,
    /// Its pieces.
    pub pieces: Pieces,
}

/// One GEMM on one grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The sizes of the GEMM.
    pub shape: GemmShape,
    /// What stays.
    pub stationary: Stationary,
    /// Rows of the grid, R.
    pub rows: usize,
    /// Columns of the grid, C.
    pub cols: usize,
    /// The most steps in time of one fold.
    pub steps_max: usize,
    /// Which axis of the grid the folds go along first.
    pub fold_order: FoldOrder,
    /// How folds overlap.
    pub overlap: Overlap,
    /// What partial folds wait for.
    pub partial_folds: PartialFolds,
    /// Products of which an operand is not stored, as [views](systoliq_program::view) tell.
    pub structural_zeros: u64,
}

impl Mapping {
    /// How `array` runs a GEMM in a dataflow, whatever the array's own, with room for any number of
    /// partial sums.
    pub fn new(array: &Array, shape: GemmShape, stationary: Stationary) -> Self {
        let Array { rows, cols, overlap, partial_folds, .. } = *array;
        let fold_order = array.fold_order.unwrap_or(match stationary {
            Stationary::Output => FoldOrder::ColumnsFirst,
            Stationary::Weight | Stationary::Input => FoldOrder::RowsFirst,
        });
        Self {
            shape,
            stationary,
            rows,
            cols,
            steps_max: usize::MAX,
            fold_order,
            overlap,
            partial_folds,
            structural_zeros: 0,
        }
    }

    /// The same where so many of its products have an operand that is not stored.
    pub fn with_structural_zeros(self, structural_zeros: u64) -> Self {
        Self { structural_zeros, ..self }
    }

    /// The same with so few steps in time that `room` partial sums suffice.
    ///
    /// Where sums move and k does not fit the grid, the sums that are on their way from one fold to
    /// the next must fit this room, or time is cut into pieces. A piece has one step at least.
    pub fn fitting(self, room: u64) -> Self {
        let steps = room / self.partial_sums_of_a_step().max(1);
        let steps_max = usize::try_from(steps).unwrap_or(usize::MAX).max(1);
        if self.partial_sums_of_a_step() == 0 { self } else { Self { steps_max, ..self } }
    }

    /// How many partial sums each step in time of a fold leaves for folds to come: none where the
    /// outputs stay, or where no sum takes more than one fold.
    pub fn partial_sums_of_a_step(&self) -> u64 {
        let Extents { rows, cols, .. } = self.extents();
        match self.fold_order {
            _ if self.output_stays() || rows <= self.rows => 0,
            FoldOrder::RowsFirst => cols.min(self.cols) as u64,
            FoldOrder::ColumnsFirst => cols as u64,
        }
    }

    /// The extents along rows, columns and time.
    pub fn extents(&self) -> Extents {
        self.stationary.extents(self.shape)
    }

    /// Whether the outputs stay in the grid, and not an operand.
    pub fn output_stays(&self) -> bool {
        self.stationary == Stationary::Output
    }

    /// Whether each PE has a second stationary register.
    pub fn has_shadow(&self) -> bool {
        self.overlap != Overlap::None
    }

    /// The rows and columns that a fold waits for, of which it uses `rows` and `cols`.
    pub fn span(&self, rows: usize, cols: usize) -> (u64, u64) {
        let (rows, cols) = match self.partial_folds {
            PartialFolds::Full => (self.rows, self.cols),
            PartialFolds::Trimmed => (rows, cols),
        };
        (rows as u64, cols as u64)
    }

    /// Pieces along an axis; none where there is no product to make.
    pub fn pieces(&self, axis: Axis) -> Pieces {
        let Extents { rows, cols, time } = self.extents();
        let (extent, side) = match axis {
            Axis::Rows => (rows, self.rows),
            Axis::Cols => (cols, self.cols),
            Axis::Time => (time, self.steps_max.min(time).max(1)),
        };
        match rows == 0 || cols == 0 || time == 0 {
            true => Pieces { side, full: 0, rest: 0 },
            false => Pieces { side, full: extent / side, rest: extent % side },
        }
    }

    /// The walk through all folds, the slowest axis first. Partial sums of one piece of time are
    /// done with before the next: k is walked through within it.
    pub fn loops(&self) -> [Loop; 3] {
        use Axis::{Cols, Rows, Time};
        let axes = match (self.fold_order, self.output_stays()) {
            (FoldOrder::RowsFirst, true) => [Time, Cols, Rows],
            (FoldOrder::RowsFirst, false) => [Cols, Time, Rows],
            (FoldOrder::ColumnsFirst, _) => [Time, Rows, Cols],
        };
        axes.map(|axis| Loop { axis, pieces: self.pieces(axis) })
    }

    /// The number of folds; `None` if it does not fit 64 bits.
    pub fn folds(&self) -> Option<u64> {
        let counts = self.loops().map(|each| each.pieces.count() as u64);
        counts.into_iter().try_fold(1u64, u64::checked_mul)
    }

    /// The folds in their order. With stationary outputs n changes fastest, and m after it;
    /// otherwise k changes fastest, so that the partial sums of one fold enter the next; unless
    /// [`FoldOrder`] says otherwise.
    ///
    /// A GEMM in which any extent is 0 has no product, and so no fold.
    ///
    /// ```
    /// use systoliq_array::{Array, Mapping, Stationary, Tile};
    /// use systoliq_program::gemm::GemmShape;
    /// let shape = GemmShape { m: 5, k: 7, n: 3 };
    /// let mapping = Mapping::new(&Array::new(4, 2)?, shape, Stationary::Output);
    /// let folds: Vec<Tile> = mapping.tiles().collect();
    /// assert_eq!(folds.len(), 4);
    /// assert_eq!(folds[1], Tile { row: 0, col: 2, time: 0, rows: 4, cols: 1, steps: 7 });
    /// let mapping = Mapping::new(&Array::new(4, 2)?, shape, Stationary::Weight).fitting(6);
    /// let folds: Vec<Tile> = mapping.tiles().collect();
    /// // Of 5 rows of A, 3 leave 6 partial sums in 2 columns.
    /// assert_eq!(folds[1], Tile { row: 4, col: 0, time: 0, rows: 3, cols: 2, steps: 3 });
    /// assert_eq!(folds[2], Tile { row: 0, col: 0, time: 3, rows: 4, cols: 2, steps: 2 });
    /// # Ok::<(), systoliq_array::Error>(())
    /// ```
    pub fn tiles(&self) -> impl Iterator<Item = Tile> + use<> {
        let loops = self.loops();
        let [slow, middle, fast] = loops.map(|each| each.pieces.count());
        (0..slow).flat_map(move |i| {
            (0..middle).flat_map(move |j| (0..fast).map(move |k| tile_of(&loops, [i, j, k])))
        })
    }

    /// A fold by its place in each of [`loops`](Self::loops).
    pub fn tile(&self, places: [usize; 3]) -> Tile {
        tile_of(&self.loops(), places)
    }
}

fn tile_of(loops: &[Loop; 3], places: [usize; 3]) -> Tile {
    let mut tile = Tile { row: 0, col: 0, time: 0, rows: 0, cols: 0, steps: 0 };
    for (&Loop { axis, pieces }, place) in loops.iter().zip(places) {
        let (from, size) = match axis {
            Axis::Rows => (&mut tile.row, &mut tile.rows),
            Axis::Cols => (&mut tile.col, &mut tile.cols),
            Axis::Time => (&mut tile.time, &mut tile.steps),
        };
        (*from, *size) = (place * pieces.side, pieces.size(place));
    }
    tile
}

/// An extent cut into pieces of one side and a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// The extent of a full piece.
    pub side: usize,
    /// How many pieces are full.
    pub full: usize,
    /// The extent of the last piece if it is not full, or 0.
    pub rest: usize,
}

impl Pieces {
    /// How many pieces there are.
    pub fn count(self) -> usize {
        self.full + usize::from(self.rest > 0)
    }

    /// The extent of piece `at`.
    pub fn size(self, at: usize) -> usize {
        if at < self.full { self.side } else { self.rest }
    }

    /// Where piece `at` lies.
    pub(crate) fn range(self, at: usize) -> Range<usize> {
        self.range_of(at..at + 1)
    }

    /// Where some pieces lie, of which there is one at least.
    pub(crate) fn range_of(self, pieces: Range<usize>) -> Range<usize> {
        let last = pieces.end - 1;
        pieces.start * self.side..last * self.side + self.size(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_cover_every_place_of_the_grids_axes_once_and_k_ascends() {
        for (rows, cols) in [(1, 1), (3, 2), (2, 5)] {
            let array = Array::new(rows, cols).unwrap();
            for (m, k, n) in [(1, 1, 1), (7, 4, 5), (6, 3, 4), (2, 9, 10)] {
                for stationary in Stationary::ALL {
                    let mapping = Mapping::new(&array, GemmShape { m, k, n }, stationary);
                    let extents = mapping.extents();
                    let mut seen = vec![0; extents.rows * extents.cols];
                    let folds: Vec<_> = mapping.tiles().collect();
                    for fold in &folds {
                        for i in fold.row..fold.row + fold.rows {
                            for j in fold.col..fold.col + fold.cols {
                                seen[i * extents.cols + j] += 1;
                            }
                        }
                    }
                    assert!(seen.iter().all(|&times| times == 1), "{mapping:?}");
                    assert_eq!(mapping.folds(), Some(folds.len() as u64));
                    match stationary {
                        Stationary::Output => assert!(folds.is_sorted_by_key(|f| (f.row, f.col))),
                        _ => assert!(folds.is_sorted_by_key(|f| (f.col, f.row))),
                    }
                }
            }
        }
    }

    #[test]
    fn a_gemm_without_products_has_no_folds() {
        let array = Array::new(2, 2).unwrap();
        for (m, k, n) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
            for stationary in Stationary::ALL {
                let mapping = Mapping::new(&array, GemmShape { m, k, n }, stationary);
                assert_eq!((mapping.tiles().count(), mapping.folds()), (0, Some(0)));
            }
        }
    }
}
