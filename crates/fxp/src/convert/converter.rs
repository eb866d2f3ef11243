//! A conversion under way.

use super::narrow::{self, Room};
use super::{Bits, Conversion, Raw};
use crate::part::with_part_codes;
use crate::statistics::Products;
use crate::{ConversionStatistics, Lane, TensorPart};

/// Converts elements to their places in a tensor, some at a time, and remembers what that did.
///
/// ```
/// use systoliq_fxp::{Conversion, Converter, Overflow, Rounding, Tensor};
/// use systoliq_keyed_random::Key;
/// let conversion = Conversion {
///     from_frac: 4,
///     scale: 1,
///     to: "Q8.0".parse()?,
///     rounding: Rounding::NearestEven,
///     overflow: Overflow::Saturate,
///     key: Key::new(0),
///     squares: true,
/// };
/// let mut tensor = Tensor::zeros(conversion.to, 1, 3);
/// let mut converter = Converter::new(conversion);
/// converter.write(&[16, 17], tensor.whole_mut().at(0..2));
/// converter.write(&[-40], tensor.whole_mut().at(2..3));
/// assert_eq!(tensor.to_codes(), [1, 1, -2]);
/// assert_eq!(converter.end(), conversion.tensor(1, 3, &[16, 17, -40]).1);
/// # Ok::<(), systoliq_fxp::Error>(())
/// ```
#[derive(Debug)]
pub struct Converter {
    pub(super) conversion: Conversion,
    /// But for squares.
    pub(super) statistics: ConversionStatistics,
    pub(super) products: Products,
    pub(super) room: Room,
}

impl Converter {
    /// A conversion that has done nothing.
    pub fn new(conversion: Conversion) -> Self {
        let (statistics, products) = Default::default();
        Self { conversion, statistics, products, room: Room::new() }
    }

    /// Has elements from here on be of so many fraction bits.
    pub(crate) fn take_from(&mut self, from_frac: i32) {
        if from_frac != self.conversion.from_frac {
            let products = std::mem::take(&mut self.products);
            self.conversion.finish(&mut self.statistics, products);
            self.conversion.from_frac = from_frac;
        }
    }

    /// Converts elements, given row by row, to their places in the tensor.
    ///
    /// # Panics
    ///
    /// If the tensor has another format, or there are not as many places.
    pub fn write<R: Raw>(&mut self, raws: &[R], into: TensorPart<'_>) {
        self.write_within(narrow::longest(raws), raws, into);
    }

    /// The same of elements between two, if there are any.
    ///
    /// # Panics
    ///
    /// As [`write`](Self::write).
    pub fn write_between<R: Raw>(
        &mut self,
        ends: Option<(i64, i64)>,
        raws: &[R],
        into: TensorPart<'_>,
    ) {
        let (min, max) = ends.unwrap_or_default();
        let magnitude = min.unsigned_abs().max(max.unsigned_abs());
        self.write_within(u64::BITS - magnitude.leading_zeros(), raws, into);
    }

    /// The same of elements whose magnitudes have at most `longest` bits.
    pub(crate) fn write_within<R: Raw>(&mut self, longest: u32, raws: &[R], into: TensorPart<'_>) {
        let first = self.conversion.first_place(&into, raws.len());
        let bits = Bits::of(&self.conversion, longest);
        let numbers = narrow::numbers(first, raws.len());
        with_part_codes!(into.into_codes(), |codes| match () {
            _ if numbers && bits.fit(i32::BITS) => {
                self.narrow::<R, i32, _>(first as u64, raws, bits.longest, codes);
            }
            _ if numbers && bits.fit(i64::BITS) => {
                self.narrow::<R, i64, _>(first as u64, raws, bits.longest, codes);
            }
            _ => {
                let raws = raws.iter().map(|&raw| i128::from(raw.into()));
                self.one_by_one(first as u64, raws, codes);
            }
        });
    }

    /// Converts 64-bit elements from position `first` on, each in 128 bits or, where these do not
    /// suffice, in any number.
    pub(super) fn one_by_one<T: Lane>(
        &mut self,
        first: u64,
        raws: impl Iterator<Item = i128>,
        codes: &mut [T],
    ) {
        for (index, (raw, code)) in (first..).zip(raws.zip(codes)) {
            let converted = self.conversion.convert(raw, index);
            *code = T::from_code(converted.code);
            self.statistics.count(converted);
            if self.conversion.squares {
                self.products.add(raw, converted.code);
            }
        }
    }

    /// What it does.
    pub(crate) fn conversion(&self) -> &Conversion {
        &self.conversion
    }

    /// Adds what was converted beside.
    pub(crate) fn add(&mut self, beside: &ConversionStatistics) {
        self.statistics.merge(beside);
    }

    /// What it did.
    pub fn end(mut self) -> ConversionStatistics {
        self.conversion.finish(&mut self.statistics, self.products);
        self.statistics
    }
}
