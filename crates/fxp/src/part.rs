//! Parts of tensors, as they are written: each by a thread of its own, if there are several.

use std::ops::Range;

use ndarray::Array2;

use crate::{Codes, Format, Lane, Tensor};

/// The codes of a tensor at neighbouring places, counted row by row, as they are written.
///
/// ```
/// use systoliq_fxp::Tensor;
/// let mut tensor = Tensor::zeros("Q1.7".parse()?, 2, 3);
/// let mut rest = tensor.whole_mut();
/// let (mut first, rest) = (rest.take(4), rest);
/// assert_eq!((first.places(), rest.places()), (0..4, 4..6));
/// assert_eq!(first.at(1..3).places(), 1..3);
/// # Ok::<(), systoliq_fxp::Error>(())
/// ```
#[derive(Debug)]
pub struct TensorPart<'t> {
    format: Format,
    first: usize,
    codes: PartCodes<'t>,
}

/// The codes of a part, in the type of the tensor's.
#[derive(Debug)]
pub(crate) enum PartCodes<'t> {
    I8(&'t mut [i8]),
    U8(&'t mut [u8]),
    I16(&'t mut [i16]),
    U16(&'t mut [u16]),
    I32(&'t mut [i32]),
    U32(&'t mut [u32]),
}

/// Evaluates `$body` with `$codes` bound to the slice of whatever type the codes of a part have.
macro_rules! with_part_codes {
    ($part_codes:expr, |$codes:ident| $body:expr) => {
        match $part_codes {
            $crate::part::PartCodes::I8($codes) => $body,
            $crate::part::PartCodes::U8($codes) => $body,
            $crate::part::PartCodes::I16($codes) => $body,
            $crate::part::PartCodes::U16($codes) => $body,
            $crate::part::PartCodes::I32($codes) => $body,
            $crate::part::PartCodes::U32($codes) => $body,
        }
    };
}
pub(crate) use with_part_codes;

/// Makes the codes of another part of those of one, in the same type.
macro_rules! part_of {
    ($part_codes:expr, |$codes:ident| $part:expr) => {
        match $part_codes {
            PartCodes::I8($codes) => PartCodes::I8($part),
            PartCodes::U8($codes) => PartCodes::U8($part),
            PartCodes::I16($codes) => PartCodes::I16($part),
            PartCodes::U16($codes) => PartCodes::U16($part),
            PartCodes::I32($codes) => PartCodes::I32($part),
            PartCodes::U32($codes) => PartCodes::U32($part),
        }
    };
}

impl Tensor {
    /// All codes, to be written.
    pub fn whole_mut(&mut self) -> TensorPart<'_> {
        fn slice<T>(codes: &mut Array2<T>) -> &mut [T] {
            codes.as_slice_mut().expect("tensors are contiguous")
        }
        let format = self.format();
        let codes = match self.codes_mut() {
            Codes::I8(codes) => PartCodes::I8(slice(codes)),
            Codes::U8(codes) => PartCodes::U8(slice(codes)),
            Codes::I16(codes) => PartCodes::I16(slice(codes)),
            Codes::U16(codes) => PartCodes::U16(slice(codes)),
            Codes::I32(codes) => PartCodes::I32(slice(codes)),
            Codes::U32(codes) => PartCodes::U32(slice(codes)),
        };
        TensorPart { format, first: 0, codes }
    }
}

impl<'t> TensorPart<'t> {
    /// The places in the tensor.
    pub fn places(&self) -> Range<usize> {
        self.first..self.first + with_part_codes!(&self.codes, |codes| codes.len())
    }

    /// The format of every code.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All its codes, widened.
    pub(crate) fn to_codes(&self) -> Vec<i64> {
        with_part_codes!(&self.codes, |codes| codes.iter().map(|code| code.code()).collect())
    }

    /// Its codes.
    pub(crate) fn codes(&self) -> &PartCodes<'t> {
        &self.codes
    }

    /// Its codes, to be written.
    pub(crate) fn into_codes(self) -> PartCodes<'t> {
        self.codes
    }

    /// What is at some of its places.
    ///
    /// # Panics
    ///
    /// If it has not all of them.
    pub fn at(&mut self, places: Range<usize>) -> TensorPart<'_> {
        let of_part = places.start - self.first..places.end - self.first;
        let codes = part_of!(&mut self.codes, |codes| &mut codes[of_part]);
        TensorPart { format: self.format, first: places.start, codes }
    }

    /// Takes off the first `count` codes.
    ///
    /// # Panics
    ///
    /// If it has fewer.
    pub fn take(&mut self, count: usize) -> TensorPart<'t> {
        let codes = part_of!(&mut self.codes, |codes| {
            codes.split_off_mut(..count).expect("as many codes as are taken")
        });
        let first = self.first;
        self.first += count;
        TensorPart { format: self.format, first, codes }
    }
}
