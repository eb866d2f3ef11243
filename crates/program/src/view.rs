//! Operands that are not stored as they are read: windows of an image, a turned kernel, groups.
//!
//! A value with channels is stored channels last, as the matrix `[batch · height · width, channels]`;
//! weights of a convolution as `[out, (ky, kx, c)]`. A [`View`] reads such a matrix as the operand
//! of a product: it says which stored element stands at a row and a column, if any. Where none
//! does, in padding or between dilated elements, the operand is 0, and its products are
//! *structural zeros*. A [`Submatrix`] is the part of a matrix that one of [`Repeats`] takes.
//!
//! *Absent:* the codes, which [`Viewed`](codes::Viewed) reads, and what the views of a convolution
//! are: [`convolution`](crate::convolution).

pub mod codes;

use std::num::NonZero;
use std::ops::Range;

/// As what matrix a stored one is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// As it is stored.
    #[default]
    Stored,
    /// Consecutive rows as one: `[b, (y, x, c)]` of `[(b, y, x), c]`.
    Flat {
        /// How many are one.
        rows_per_row: usize,
    },
    /// The windows of an image: `[(b, oy, ox), (ky, kx, c)]` of `[(b, y, x), c]`.
    Windows(Windows),
    /// A kernel turned by 180°, filters as channels: `[(wy, wx, o), c]` of `[o, (ky, kx, c)]`, where
    /// wy meets ky = KH − 1 − wy and wx likewise.
    Kernel {
        /// Taps down and along: KH, KW.
        taps: [usize; 2],
    },
}

/// Windows that slide over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windows {
    /// Down the image.
    pub down: Sliding,
    /// Along its rows.
    pub along: Sliding,
}

/// A window that slides along one axis of an image: position p and tap t meet the pixel
/// (step · p + tap_step · t − pad) / spread, if that is whole and one of `extent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sliding {
    /// Positions of the window.
    pub positions: usize,
    /// Taps of the window.
    pub taps: usize,
    /// From one position to the next. Above 1 only where `spread` is 1.
    pub step: usize,
    /// From one tap to the next.
    pub tap_step: usize,
    /// From one pixel to the next: between them lie zeros that are not stored.
    pub spread: usize,
    /// Zeros before the first pixel that are not stored; where negative, so many places are cut off.
    pub pad: isize,
    /// Pixels.
    pub extent: usize,
}

impl Sliding {
    /// The pixel that a position and a tap meet.
    ///
    /// ```
    /// use systoliq_program::view::Sliding;
    /// // The gradient of three outputs with stride 2: five places, of which the first is cut off.
    /// let axis =
    ///     Sliding { positions: 6, taps: 1, step: 1, tap_step: 1, spread: 2, pad: -1, extent: 3 };
    /// let met: Vec<_> = (0..6).map(|position| axis.meets(position, 0)).collect();
    /// assert_eq!(met, [None, Some(1), None, Some(2), None, None]);
    /// assert_eq!(axis.meetings(), 2);
    /// ```
    #[inline]
    pub fn meets(&self, position: usize, tap: usize) -> Option<usize> {
        let pixel = usize::try_from(self.reaches(position, tap)?).ok()?;
        (pixel < self.extent).then_some(pixel)
    }

    /// The same, also before the first pixel and beyond the last.
    #[inline]
    fn reaches(&self, position: usize, tap: usize) -> Option<isize> {
        let place = (self.step * position) as isize + self.offset(tap);
        if self.spread == 1 {
            return Some(place);
        }
        let spread = self.spread as isize;
        (place % spread == 0).then_some(place / spread)
    }

    /// The place in the spread image that the first position meets with a tap.
    fn offset(&self, tap: usize) -> isize {
        (self.tap_step * tap) as isize - self.pad
    }

    /// The taps that meet a pixel at a position, of a window without spread and with neighbouring taps.
    #[inline]
    pub(crate) fn taps_at(&self, position: usize) -> Range<usize> {
        debug_assert!(self.spread == 1 && self.tap_step == 1, "{self:?}");
        let first = (self.step * position) as isize - self.pad;
        let from = (-first).clamp(0, self.taps as isize);
        let to = (self.extent as isize - first).clamp(from, self.taps as isize);
        from as usize..to as usize
    }

    /// The positions at which such a window meets a pixel.
    #[inline]
    pub(crate) fn positions_over(&self, pixel: usize) -> Range<usize> {
        let (place, step) = (pixel as isize + self.pad, self.step as isize);
        let beyond = (place.div_euclid(step) + 1).clamp(0, self.positions as isize);
        let from = (place - self.taps as isize).div_euclid(step) + 1;
        from.clamp(0, beyond) as usize..beyond as usize
    }

    /// The tap with which a position meets a pixel, of the [positions](Self::positions_over) that do.
    #[inline]
    pub(crate) fn tap_over(&self, pixel: usize, position: usize) -> usize {
        ((pixel as isize + self.pad) - (self.step * position) as isize) as usize
    }

    /// How many pairs of a position and a tap meet a pixel.
    ///
    /// # Panics
    ///
    /// If step and spread both are above 1.
    pub fn meetings(&self) -> u64 {
        let Self { positions, taps, step, spread, extent, .. } = *self;
        assert!(step == 1 || spread == 1, "a step of {step} over pixels {spread} apart");
        let of_tap = |tap| match spread {
            1 => within(step, positions, self.offset(tap), extent),
            // A pixel is met once if the position before it that many places is one.
            _ => within(spread, extent, -self.offset(tap), positions),
        };
        (0..taps).map(of_tap).sum()
    }
}

/// How many of the first `count` places `step · i + offset` are one of `0..end`.
fn within(step: usize, count: usize, offset: isize, end: usize) -> u64 {
    let step = step as isize;
    let reached = |place: isize| (place - offset + step - 1).div_euclid(step);
    let first = reached(0).max(0);
    let beyond = reached(end as isize).min(count as isize);
    (beyond - first).max(0) as u64
}

impl Windows {
    /// Windows of one image.
    pub fn positions(&self) -> usize {
        self.down.positions * self.along.positions
    }

    /// Taps of one channel.
    pub fn taps(&self) -> usize {
        self.down.taps * self.along.taps
    }

    /// Pixels of one image.
    pub fn pixels(&self) -> usize {
        self.down.extent * self.along.extent
    }

    /// The most taps that meet a pixel at one position.
    pub fn most_taps_met(&self) -> usize {
        let most = |axis: Sliding| {
            let met = |at| (0..axis.taps).filter(|&tap| axis.meets(at, tap).is_some()).count();
            (0..axis.positions).map(met).max().unwrap_or(0)
        };
        most(self.down) * most(self.along)
    }

    /// The most positions of one image at which a tap meets a pixel.
    pub fn most_positions_met(&self) -> usize {
        let most = |axis: Sliding| {
            let met = |tap| (0..axis.positions).filter(|&at| axis.meets(at, tap).is_some()).count();
            (0..axis.taps).map(met).max().unwrap_or(0)
        };
        most(self.down) * most(self.along)
    }
}

impl View {
    /// Rows and columns of the view of a matrix.
    ///
    /// # Panics
    ///
    /// If the matrix does not hold whole images, kernels, or rows of rows.
    pub fn shape(&self, of: &Submatrix) -> (usize, usize) {
        let Submatrix { rows, cols, .. } = *of;
        let whole = |count: usize, size: usize| {
            assert!(size > 0 && count.is_multiple_of(size), "{self:?} of {of:?}");
            count / size
        };
        match self {
            Self::Stored => (rows, cols),
            Self::Flat { rows_per_row } => (whole(rows, *rows_per_row), rows_per_row * cols),
            Self::Windows(windows) => {
                let images = whole(rows, windows.pixels());
                (images * windows.positions(), windows.taps() * cols)
            }
            Self::Kernel { taps: [down, along] } => {
                let taps = down * along;
                (taps * rows, whole(cols, taps))
            }
        }
    }

    /// The row and the column of `of` at which the element at a row and a column of its view is
    /// stored; `None` for a zero that is not stored.
    #[inline]
    pub fn place(&self, of: &Submatrix, row: usize, col: usize) -> Option<(usize, usize)> {
        match self {
            Self::Stored => Some((row, col)),
            Self::Flat { rows_per_row } => {
                Some((row * rows_per_row + col / of.cols, col % of.cols))
            }
            Self::Windows(Windows { down, along }) => {
                let (window, tap) = (row / along.positions, col / of.cols);
                let y = down.meets(window % down.positions, tap / along.taps)?;
                let x = along.meets(row % along.positions, tap % along.taps)?;
                let image = window / down.positions;
                Some(((image * down.extent + y) * along.extent + x, col % of.cols))
            }
            Self::Kernel { taps: [down, along] } => {
                let (tap, filter) = (row / of.rows, row % of.rows);
                let taps = down * along;
                // Turned by 180°, the last tap is the first.
                Some((filter, (taps - 1 - tap) * (of.cols / taps) + col))
            }
        }
    }

    /// Rows and columns of the matrix whose view has so many: [`shape`](Self::shape) the other way.
    pub(crate) fn stored(&self, rows: usize, cols: usize) -> (usize, usize) {
        match self {
            Self::Stored => (rows, cols),
            Self::Flat { rows_per_row } => (rows * rows_per_row, cols / rows_per_row),
            Self::Windows(windows) => {
                (rows / windows.positions() * windows.pixels(), cols / windows.taps())
            }
            Self::Kernel { taps: [down, along] } => {
                let taps = down * along;
                (rows / taps, taps * cols)
            }
        }
    }

    /// How many elements of the view, of so many rows and columns, are zeros that are not stored.
    pub fn structural_zeros(&self, rows: usize, cols: usize) -> u64 {
        let Self::Windows(windows) = self else { return 0 };
        let images = (rows / windows.positions().max(1)) as u64;
        let channels = (cols / windows.taps().max(1)) as u64;
        let met = windows.down.meetings() * windows.along.meetings();
        rows as u64 * cols as u64 - images * channels * met
    }
}

/// A part of a matrix that is stored row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Submatrix {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Columns of the whole matrix.
    pub stride: usize,
}

impl Submatrix {
    /// All of a matrix.
    pub fn whole(rows: usize, cols: usize) -> Self {
        Self { top: 0, left: 0, rows, cols, stride: cols }
    }

    /// The place of an element in the whole matrix, counted row by row.
    #[inline]
    pub fn index(&self, row: usize, col: usize) -> usize {
        (self.top + row) * self.stride + self.left + col
    }

    /// Part `at` of the equal parts that `repeats` products take.
    ///
    /// # Panics
    ///
    /// If the parts cannot be equal.
    pub fn cut(self, cut: Cut, at: usize, repeats: NonZero<usize>) -> Self {
        let part = |extent: usize| {
            assert!(extent.is_multiple_of(repeats.get()), "{repeats} parts of {self:?}");
            extent / repeats
        };
        match cut {
            Cut::Whole => self,
            Cut::Rows => {
                let rows = part(self.rows);
                Self { top: self.top + at * rows, rows, ..self }
            }
            Cut::Columns => {
                let cols = part(self.cols);
                Self { left: self.left + at * cols, cols, ..self }
            }
        }
    }
}

/// What each of several products takes of a stored matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cut {
    /// All of it.
    Whole,
    /// Some of its rows.
    Rows,
    /// Some of its columns.
    Columns,
}

/// Products one after the other, on equal cuts of the *stored* matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repeats {
    /// How many.
    pub count: NonZero<usize>,
    /// What each takes of A.
    pub a: Cut,
    /// What each takes of B.
    pub b: Cut,
    /// What each writes of the output.
    pub output: Cut,
}

impl Repeats {
    /// One product of whole matrices.
    pub const ONCE: Self =
        Self { count: NonZero::<usize>::MIN, a: Cut::Whole, b: Cut::Whole, output: Cut::Whole };

    /// What product `at`, of `rows` x `cols` results, writes of the output.
    ///
    /// # Panics
    ///
    /// If several products write all of the output.
    pub fn written(&self, at: usize, rows: usize, cols: usize) -> Submatrix {
        let count = self.count.get();
        let whole = match self.output {
            Cut::Whole => {
                assert_eq!(count, 1, "products that write all of the output");
                Submatrix::whole(rows, cols)
            }
            Cut::Rows => Submatrix::whole(count * rows, cols),
            Cut::Columns => Submatrix::whole(rows, count * cols),
        };
        whole.cut(self.output, at, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, GemmTask, Operand, Reading, Reference};
    use systoliq_fxp::{Accumulator, Adder, Format, Overflow, Rounding, Tensor};
    use systoliq_keyed_random::Key;

    fn tensor(rows: usize, cols: usize, codes: &[i64]) -> Tensor {
        Tensor::from_codes(Format::new(8, 0, true).unwrap(), rows, cols, codes)
    }

    fn task<'a>(a: &'a Tensor, b: &'a Tensor) -> GemmTask<'a> {
        let accumulator = Accumulator::new(16, None, Rounding::Floor, Overflow::Wrap).unwrap();
        let adder = Adder::new(&accumulator, 0, Key::new(0));
        GemmTask::new(Operand::new(a, false), Operand::new(b, false), adder, None)
    }

    #[test]
    fn positions_and_taps_over_pixels_are_those_that_meet() {
        for step in 1..4 {
            for (taps, pad, extent) in [(1, 0, 5), (2, 0, 6), (3, 1, 5), (3, 2, 4), (5, 2, 3)] {
                let positions = (extent + 2 * pad - taps) / step + 1;
                let pad = pad as isize;
                let axis = Sliding { positions, taps, step, tap_step: 1, spread: 1, pad, extent };
                for position in 0..positions {
                    let expected: Vec<_> =
                        (0..taps).filter(|&tap| axis.meets(position, tap).is_some()).collect();
                    assert_eq!(axis.taps_at(position).collect::<Vec<_>>(), expected, "{axis:?}");
                }
                for pixel in 0..extent {
                    let meets = |&(position, tap): &(usize, usize)| {
                        axis.meets(position, tap) == Some(pixel)
                    };
                    let pairs = (0..positions).flat_map(|p| (0..taps).map(move |tap| (p, tap)));
                    let expected: Vec<_> = pairs.filter(meets).collect();
                    let found = axis.positions_over(pixel);
                    let found = found.map(|position| (position, axis.tap_over(pixel, position)));
                    assert_eq!(found.collect::<Vec<_>>(), expected, "{axis:?} {pixel}");
                }
            }
        }
    }

    #[test]
    fn a_flat_view_has_the_codes_in_the_order_in_which_they_are_stored() {
        let codes: Vec<i64> = (0..24).collect();
        let tensor = tensor(6, 4, &codes);
        let reading = Reading { view: View::Flat { rows_per_row: 3 }, transposed: false };
        let operand = Operand::read(&tensor, reading);
        assert_eq!((operand.rows(), operand.cols()), (2, 12));
        let read = (0..24).map(|at| operand.code(at / 12, at % 12));
        assert_eq!(read.collect::<Vec<_>>(), codes);
    }

    #[test]
    fn a_turned_kernel_has_its_last_tap_first() {
        // Two filters of 1 x 2 taps over three channels: code 100 · o + 10 · kx + c.
        let codes = [0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112];
        let tensor = tensor(2, 6, &codes);
        let reading = Reading { view: View::Kernel { taps: [1, 2] }, transposed: false };
        let operand = Operand::read(&tensor, reading);
        let rows = (0..4).map(|row| [0, 1, 2].map(|col| operand.code(row, col)));
        let expected = [[10, 11, 12], [110, 111, 112], [0, 1, 2], [100, 101, 102]];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn repeats_multiply_equal_cuts_and_know_where_their_results_lie() {
        let a = tensor(4, 2, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let b = tensor(4, 1, &[1, -1, 2, 3]);
        // As heads of attention: two products of two rows of A and of B each.
        let repeats =
            Repeats { count: 2.try_into().unwrap(), a: Cut::Rows, b: Cut::Rows, output: Cut::Rows };
        let heads = [0, 1].map(|at| task(&a, &b).repeat(&repeats, at));
        assert_eq!(heads.map(|head| Reference.gemm(&head).values), [vec![-1, -1], vec![28, 38]]);
        assert_eq!(heads.map(|head| head.output.index(1, 0)), [1, 3]);
        let once = tensor(2, 1, &[1, -1]);
        let whole = task(&a, &once);
        let repeated = whole.repeat(&Repeats::ONCE, 0);
        assert_eq!(repeated.output, whole.output);
        assert_eq!(Reference.gemm(&repeated), Reference.gemm(&whole));
    }
}
