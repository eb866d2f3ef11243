//! Matrices of codes.

use std::ops::Range;

use ndarray::Array2;
use num_traits::{AsPrimitive, PrimInt, WrappingAdd, Zero};

use crate::part::with_part_codes;
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{Blocks, Format, Raw};

/// An integer type that holds codes.
pub trait Lane:
    PrimInt
    + WrappingAdd
    + AsPrimitive<i32>
    + AsPrimitive<i64>
    + Send
    + Sync
    + std::fmt::Debug
    + 'static
{
    /// The code as this type; it fits by the format that chose the type.
    fn from_code(code: i64) -> Self;

    /// How many of its bits are 1, without leaving vectors of this type.
    fn ones(self) -> Self;

    /// The code, widened.
    fn code(self) -> i64 {
        self.as_()
    }
}

/// The codes of a [`Tensor`], in the narrowest machine integer that holds its format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Codes {
    I8(Array2<i8>),
    U8(Array2<u8>),
    I16(Array2<i16>),
    U16(Array2<u16>),
    I32(Array2<i32>),
    U32(Array2<u32>),
}

/// Evaluates `$body` with `$codes` bound to the `Array2` of whatever lane type a
/// [`Tensor`] holds.
#[macro_export]
macro_rules! with_codes {
    ($tensor:expr, |$codes:ident| $body:expr) => {
        match $tensor.codes() {
            $crate::Codes::I8($codes) => $body,
            $crate::Codes::U8($codes) => $body,
            $crate::Codes::I16($codes) => $body,
            $crate::Codes::U16($codes) => $body,
            $crate::Codes::I32($codes) => $body,
            $crate::Codes::U32($codes) => $body,
        }
    };
}

macro_rules! impl_lane {
    ($($lane:ty),*) => {$(
        impl Lane for $lane {
            #[inline(always)]
            fn from_code(code: i64) -> Self {
                debug_assert!(<$lane>::try_from(code).is_ok(), "{code}");
                code as $lane
            }

            #[inline(always)]
            fn ones(self) -> Self {
                self.count_ones() as $lane
            }
        }
    )*};
}
impl_lane!(i8, u8, i16, u16, i32, u32);

/// A matrix of codes in one format, stored row by row.
///
/// A batch has one sample per row; weights are `[outputs, inputs]`; a bias is one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    format: Format,
    codes: Codes,
    blocks: Option<Blocks>,
}

impl Tensor {
    /// A tensor whose codes all are 0.
    pub fn zeros(format: Format, rows: usize, cols: usize) -> Self {
        let shape = (rows, cols);
        let codes = match (format.bits(), format.is_signed()) {
            (..=8, true) => Codes::I8(Array2::zeros(shape)),
            (..=8, false) => Codes::U8(Array2::zeros(shape)),
            (..=16, true) => Codes::I16(Array2::zeros(shape)),
            (..=16, false) => Codes::U16(Array2::zeros(shape)),
            (_, true) => Codes::I32(Array2::zeros(shape)),
            (_, false) => Codes::U32(Array2::zeros(shape)),
        };
        Self { format, codes, blocks: None }
    }

    /// Makes this one whose codes are all about to be written, in its memory where that holds codes of the same
    /// width. What the codes are until then means nothing; as many of them of the same format stay what they
    /// are.
    pub fn reshape(&mut self, format: Format, rows: usize, cols: usize) {
        let lanes = |format: Format| (format.bits().div_ceil(8), format.is_signed());
        if lanes(self.format) != lanes(format) {
            *self = Self::zeros(format, rows, cols);
            return;
        }
        macro_rules! reshape {
            ($($lane:ident),*) => {
                match &mut self.codes {
                    $(Codes::$lane(codes) => *codes = reshaped(std::mem::take(codes), (rows, cols)),)*
                }
            };
        }
        reshape!(I8, U8, I16, U16, I32, U32);
        self.format = format;
        self.blocks = None;
    }

    /// A tensor of the given codes, row by row.
    ///
    /// # Panics
    ///
    /// Unless there are `rows · cols` codes, each within the range of `format`.
    pub fn from_codes(format: Format, rows: usize, cols: usize, codes: &[i64]) -> Self {
        Self::of_codes(format, (rows, cols), codes.iter().copied())
            .unwrap_or_else(|outside| panic!("code {outside} in format {format}"))
    }

    /// A tensor of the given codes, row by row.
    ///
    /// # Errors
    ///
    /// The first code that the format does not have.
    ///
    /// # Panics
    ///
    /// Unless there are as many codes as elements.
    pub fn of_codes(
        format: Format,
        (rows, cols): (usize, usize),
        codes: impl ExactSizeIterator<Item = i64>,
    ) -> Result<Self, i64> {
        assert_eq!(codes.len(), rows * cols, "codes of a {rows} x {cols} tensor");
        let range = format.min_raw()..=format.max_raw();
        let mut tensor = Self::zeros(format, rows, cols);
        with_part_codes!(tensor.whole_mut().into_codes(), |lanes| {
            for (lane, code) in lanes.iter_mut().zip(codes) {
                *lane =
                    if range.contains(&code) { Lane::from_code(code) } else { return Err(code) };
            }
        });
        Ok(tensor)
    }

    /// The same codes with fraction bits of their own in each block.
    ///
    /// # Panics
    ///
    /// If the blocks are not those of a tensor of this shape.
    pub fn with_blocks(self, blocks: Blocks) -> Self {
        let shape = (self.rows(), self.cols());
        let fits = Blocks::of(blocks.along(), blocks.size(), shape, blocks.fracs().to_vec());
        assert_eq!(fits.as_ref(), Some(&blocks), "blocks of a tensor of {shape:?}");
        Self { blocks: fits, ..self }
    }

    /// The fraction bits of each block, where they differ.
    pub fn blocks(&self) -> Option<&Blocks> {
        self.blocks.as_ref()
    }

    /// The fraction bits of the code at a row and a column.
    #[inline]
    pub fn frac(&self, row: usize, col: usize) -> i32 {
        self.blocks.as_ref().map_or(self.format.frac(), |blocks| blocks.frac(row, col))
    }

    /// The format of every code; of a tensor with blocks, its fraction bits mean nothing.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The codes; [`with_codes!`](crate::with_codes) reads them whatever their type.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// The codes, to be written by [parts](crate::TensorPart).
    pub(crate) fn codes_mut(&mut self) -> &mut Codes {
        &mut self.codes
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        with_codes!(self, |codes| codes.nrows())
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        with_codes!(self, |codes| codes.ncols())
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        with_codes!(self, |codes| codes.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The code at a row and a column.
    pub fn code(&self, row: usize, col: usize) -> i64 {
        with_codes!(self, |codes| codes[(row, col)].code())
    }

    /// All codes row by row, widened.
    pub fn to_codes(&self) -> Vec<i64> {
        self.part(0..self.len())
    }

    /// Some codes, counted row by row, widened.
    ///
    /// # Panics
    ///
    /// If there are not so many codes.
    pub fn part(&self, places: Range<usize>) -> Vec<i64> {
        let mut wide = vec![0; places.len()];
        self.widen(places, &mut wide);
        wide
    }

    /// The same, into room that is there, and what of it they take.
    ///
    /// # Panics
    ///
    /// If there are not so many codes, or less room; in 32 bits, if a code has more.
    pub fn widen<'r, R: Raw>(&self, places: Range<usize>, room: &'r mut [R]) -> &'r mut [R] {
        let sign = u32::from(!self.format.is_signed());
        assert!(self.format.bits() + sign <= R::BITS, "codes of {} in narrow room", self.format);
        let wide = &mut room[..places.len()];
        with_codes!(self, |codes| {
            let codes = &codes.as_slice().expect("tensors are contiguous")[places];
            with_widest_vectors(Widen { codes, wide });
        });
        wide
    }

    /// Tells of each of some codes, counted row by row, whether it is not zero.
    ///
    /// # Panics
    ///
    /// Unless there are so many codes, and room for as many answers.
    pub fn nonzero(&self, places: Range<usize>, tell: &mut [bool]) {
        with_codes!(self, |codes| {
            let codes = &codes.as_slice().expect("tensors are contiguous")[places];
            tell_nonzero(codes, tell);
        });
    }

    /// All real values row by row, rounded to `f64` (exact up to 53 bits).
    pub fn to_reals(&self) -> Array2<f64> {
        let mut reals = Vec::with_capacity(self.len());
        self.each_real(|real, _| reals.push(real));
        Array2::from_shape_vec((self.rows(), self.cols()), reals).expect("as many as elements")
    }

    /// Hands over each of these values, and one unit in its last place.
    pub fn each_real(&self, mut each: impl FnMut(f64, f64)) {
        let unit = |frac: i32| crate::real::compose(1, frac);
        let of_all = self.blocks.is_none().then(|| unit(self.format.frac()));
        with_codes!(self, |codes| {
            for ((row, col), &code) in codes.indexed_iter() {
                let unit = of_all.unwrap_or_else(|| unit(self.frac(row, col)));
                each(code.code() as f64 * unit, unit);
            }
        });
    }
}

/// As many codes as a shape has, in the memory of others.
fn reshaped<T: Lane>(codes: Array2<T>, shape: (usize, usize)) -> Array2<T> {
    if codes.dim() == shape {
        return codes;
    }
    let (mut storage, _) = codes.into_raw_vec_and_offset();
    storage.resize(shape.0 * shape.1, T::zero());
    Array2::from_shape_vec(shape, storage).expect("as many codes")
}

/// Widens codes.
struct Widen<'a, T, R> {
    codes: &'a [T],
    wide: &'a mut [R],
}

impl<T: Lane, R: Raw> VectorWork for Widen<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let wide = self.wide.iter_mut().zip(self.codes);
        wide.for_each(|(wide, code)| *wide = R::from_raw(code.code()));
    }
}

/// Tells of each value whether it is not zero.
///
/// # Panics
///
/// Unless there are as many of both.
pub(crate) fn tell_nonzero<V: Zero + Copy>(values: &[V], tell: &mut [bool]) {
    assert_eq!(values.len(), tell.len(), "values and what is told of them");
    with_widest_vectors(TellNonzero { values, tell });
}

struct TellNonzero<'a, V> {
    values: &'a [V],
    tell: &'a mut [bool],
}

impl<V: Zero + Copy> VectorWork for TellNonzero<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let all = self.tell.iter_mut().zip(self.values);
        all.for_each(|(tell, value)| *tell = !value.is_zero());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_the_narrowest_that_hold_the_format() {
        for (notation, bytes) in [
            ("Q2.0", 1),
            ("Q2.6", 1),
            ("UQ8.0", 1),
            ("Q2.7", 2),
            ("UQ16.0", 2),
            ("Q1.16", 4),
            ("UQ32.0", 4),
        ] {
            let format: Format = notation.parse().unwrap();
            let ends = [format.min_raw(), 0, format.max_raw()];
            let tensor = Tensor::from_codes(format, 1, 3, &ends);
            assert_eq!(tensor.to_codes(), ends, "{notation}");
            fn width<T>(_: &Array2<T>) -> usize {
                size_of::<T>()
            }
            assert_eq!(with_codes!(tensor, |codes| width(codes)), bytes, "{notation}");
        }
    }
}
