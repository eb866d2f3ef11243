//! The one place where a code changes its format.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, WrappingMul, Zero};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_keyed_random::Key;

use crate::part::with_part_codes;
use crate::rounding::Wide;
use crate::statistics::Products;
use crate::{ConversionStatistics, Format, Lane, Rounding, Tensor, TensorPart, shift_right_round};

mod converter;
pub(crate) mod narrow;
pub(crate) mod reals;

pub use converter::Converter;

/// What happens to a value outside the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The nearest end of the range is taken.
    Saturate,
    /// The nearest end of −max … max is taken; of an unsigned format, of 0 … max.
    SaturateSymmetric,
    /// The low bits are kept: the value modulo 2^bits.
    Wrap,
}

impl Overflow {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Saturate, Self::SaturateSymmetric, Self::Wrap];

    /// The smallest and the largest code that `format` holds under this mode.
    ///
    /// ```
    /// use systoliq_fxp::{Format, Overflow};
    /// let format: Format = "Q1.7".parse()?;
    /// assert_eq!(Overflow::Saturate.ends(format), (-128, 127));
    /// assert_eq!(Overflow::SaturateSymmetric.ends(format), (-127, 127));
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    pub fn ends(self, format: Format) -> (i64, i64) {
        match self {
            Self::SaturateSymmetric if format.is_signed() => (-format.max_raw(), format.max_raw()),
            _ => (format.min_raw(), format.max_raw()),
        }
    }

    /// Half the ends: a code beyond them is one that twice the value would leave the range with.
    ///
    /// ```
    /// use systoliq_fxp::{Format, Overflow};
    /// let format: Format = "Q1.7".parse()?;
    /// assert_eq!(Overflow::Saturate.half_ends(format), (-64, 63));
    /// assert_eq!(Overflow::SaturateSymmetric.half_ends(format), (-63, 63));
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    pub fn half_ends(self, format: Format) -> (i64, i64) {
        let (low, high) = self.ends(format);
        (low / 2, high / 2)
    }

    /// `value` modulo `2^bits`, in two's complement if `signed`.
    #[inline(always)]
    pub(crate) fn wrap(value: i64, bits: u32, signed: bool) -> i64 {
        let unused = 64 - bits;
        // `bits` is 1 to 64; shifts that are not checked are made by vector units.
        if signed {
            value.wrapping_shl(unused).wrapping_shr(unused)
        } else {
            (value as u64).wrapping_shl(unused).wrapping_shr(unused) as i64
        }
    }
}

/// One code that a [`Conversion`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The code in the target format.
    pub code: i64,
    /// Whether the rounded value was outside the range.
    pub overflowed: bool,
    /// Whether the rounded value was outside half the range.
    pub beyond_half: bool,
    /// Whether the value was not zero.
    pub nonzero: bool,
    /// Whether the value was not zero but rounded to zero.
    pub underflowed: bool,
}

/// An integer type that values come in before they are converted: `i32` or `i64`.
pub trait Raw: Wide + WrappingMul + Into<i64> + Send + Sync + std::fmt::Debug {
    /// Its width.
    const BITS: u32;

    /// A value that it holds.
    fn from_raw(raw: i64) -> Self;
}

impl Raw for i32 {
    const BITS: u32 = i32::BITS;

    #[inline(always)]
    fn from_raw(raw: i64) -> Self {
        debug_assert!(i32::try_from(raw).is_ok(), "{raw}");
        raw as i32
    }
}

impl Raw for i64 {
    const BITS: u32 = i64::BITS;

    #[inline(always)]
    fn from_raw(raw: i64) -> Self {
        raw
    }
}

/// A change of format: `code = fit(round(raw · scale / 2^(from_frac − to.frac)))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Fraction bits of `raw · scale`.
    pub from_frac: i32,
    /// An integer factor, such as the mantissa of 1/B; 1 for a plain change of format.
    pub scale: u32,
    /// The target format.
    pub to: Format,
    /// How bits are dropped.
    pub rounding: Rounding,
    /// What happens outside the target's range.
    pub overflow: Overflow,
    /// The stream of random words; element `i` draws `key.word(i)`.
    pub key: Key,
    /// Whether the squares of values and errors are summed, which changes no code.
    pub squares: bool,
}

impl Conversion {
    /// How many bits are dropped; negative where zeros are appended.
    fn shift(&self) -> i32 {
        self.from_frac - self.to.frac()
    }

    /// Converts one value. `index` is its row-major position in the logical tensor.
    pub fn convert(&self, raw: i128, index: u64) -> Converted {
        let (shift, magnitude) = (self.shift(), bit_length(raw) + bit_length(self.scale.into()));
        if magnitude + (-shift).max(0) > 120 || shift > 120 {
            return self.convert_big(&raw.into(), index);
        }
        let value = raw * i128::from(self.scale);
        let rounded = if shift > 0 {
            shift_right_round(value, shift as u32, self.rounding, self.word(index))
        } else {
            value << -shift
        };
        self.fit(rounded, raw == 0)
    }

    /// Converts one value of any size.
    pub(crate) fn convert_big(&self, raw: &BigInt, index: u64) -> Converted {
        let value = raw * self.scale;
        let rounded = shift_round_big(&value, self.shift(), self.rounding, self.word(index));
        match rounded.to_i128() {
            Some(rounded) => self.fit(rounded, raw.is_zero()),
            None => Converted {
                code: self.fit_big(&rounded),
                overflowed: true,
                beyond_half: true,
                nonzero: true,
                underflowed: false,
            },
        }
    }

    /// The random word of element `index`, drawn only where rounding needs it.
    #[inline(always)]
    fn word(&self, index: u64) -> u32 {
        if self.rounding == Rounding::Stochastic { self.key.word(index) } else { 0 }
    }

    fn fit(&self, rounded: i128, was_zero: bool) -> Converted {
        let (low, high) = self.overflow.ends(self.to);
        let code = match self.overflow {
            Overflow::Wrap => Overflow::wrap(rounded as i64, self.to.bits(), self.to.is_signed()),
            _ => rounded.clamp(low.into(), high.into()) as i64,
        };
        let (half_low, half_high) = self.overflow.half_ends(self.to);
        Converted {
            code,
            overflowed: i128::from(code) != rounded,
            beyond_half: rounded < i128::from(half_low) || rounded > i128::from(half_high),
            nonzero: !was_zero,
            underflowed: rounded == 0 && !was_zero,
        }
    }

    /// Fits a value of more than 128 bits.
    fn fit_big(&self, rounded: &BigInt) -> i64 {
        let (low, high) = self.overflow.ends(self.to);
        match self.overflow {
            Overflow::Wrap => {
                let modulus = BigInt::one() << 64;
                let low_bits: BigInt = ((rounded % &modulus) + &modulus) % &modulus;
                let low_bits = low_bits.to_u64().expect("a remainder of 2^64 has 64 bits");
                Overflow::wrap(low_bits as i64, self.to.bits(), self.to.is_signed())
            }
            _ if rounded.is_negative() => low,
            _ => high,
        }
    }

    /// Converts a whole tensor of shape `rows × cols`, given row by row, and says what that did.
    ///
    /// # Panics
    ///
    /// Unless `raws` holds `rows · cols` elements.
    pub fn tensor(&self, rows: usize, cols: usize, raws: &[i64]) -> (Tensor, ConversionStatistics) {
        assert_eq!(raws.len(), rows * cols, "elements of a {rows} x {cols} tensor");
        let mut tensor = Tensor::zeros(self.to, rows, cols);
        let statistics = self.write(raws, tensor.whole_mut());
        (tensor, statistics)
    }

    /// Converts elements of a tensor, given row by row, to their places in it.
    ///
    /// # Panics
    ///
    /// If the tensor has another format, or there are not as many places.
    pub fn write<R: Raw>(&self, raws: &[R], into: TensorPart<'_>) -> ConversionStatistics {
        let mut converter = Converter::new(*self);
        converter.write(raws, into);
        converter.end()
    }

    /// The first place of a part that so many elements fill.
    ///
    /// # Panics
    ///
    /// If it has another format, or not as many places.
    fn first_place(&self, into: &TensorPart<'_>, count: usize) -> usize {
        assert_eq!(into.format(), self.to, "the format of the tensor that is written");
        assert_eq!(into.places().len(), count, "places of elements");
        into.places().start
    }

    /// Converts a whole tensor of integers of any size.
    ///
    /// # Panics
    ///
    /// Unless `raws` holds `rows · cols` elements.
    pub fn big_tensor(
        &self,
        rows: usize,
        cols: usize,
        raws: &[BigInt],
    ) -> (Tensor, ConversionStatistics) {
        assert_eq!(raws.len(), rows * cols, "elements of a {rows} x {cols} tensor");
        let mut tensor = Tensor::zeros(self.to, rows, cols);
        let statistics = self.write_big(raws, tensor.whole_mut());
        (tensor, statistics)
    }

    /// Converts elements of any size to their places in a tensor.
    ///
    /// # Panics
    ///
    /// As [`write`](Self::write).
    pub fn write_big(&self, raws: &[BigInt], into: TensorPart<'_>) -> ConversionStatistics {
        let first = self.first_place(&into, raws.len());
        let mut statistics = ConversionStatistics::default();
        let mut products = Products::default();
        with_part_codes!(into.into_codes(), |codes| {
            for (index, (raw, code)) in (first as u64..).zip(raws.iter().zip(codes)) {
                let converted = self.convert_big(raw, index);
                *code = Lane::from_code(converted.code);
                statistics.count(converted);
                if self.squares {
                    products.add_big(raw, converted.code);
                }
            }
        });
        self.finish(&mut statistics, products);
        statistics
    }

    /// Turns sums over unscaled values into sums over values, if there are any.
    pub(crate) fn finish(&self, statistics: &mut ConversionStatistics, mut products: Products) {
        if !self.squares {
            return;
        }
        statistics.squared = statistics.elements;
        let scale = i128::from(self.scale);
        products.xx *= scale * scale;
        products.xy *= scale;
        statistics.add_products(&products, self.from_frac, self.to.frac());
    }
}

/// How long values are on their way through a conversion.
struct Bits {
    /// The longest magnitude.
    longest: u32,
    /// The longest, scaled.
    scaled: i32,
    /// How many bits are dropped.
    shift: i32,
    /// Those of a code.
    code: u32,
    /// Whether 32 bits hold the factor with a sign.
    is_scale_narrow: bool,
}

impl Bits {
    fn of(conversion: &Conversion, longest: u32) -> Self {
        let scale = conversion.scale;
        let scale_bits = if scale == 1 { 0 } else { bit_length(scale.into()) };
        let scaled = longest as i32 + scale_bits;
        let (shift, code) = (conversion.shift(), conversion.to.bits());
        Self { longest, scaled, shift, code, is_scale_narrow: i32::try_from(scale).is_ok() }
    }

    /// Whether registers of `width` bits suffice, at both ends of rounding and fitting.
    fn fit(&self, width: u32) -> bool {
        let most = width as i32 - 3;
        let fits = self.scaled <= most && self.is_scale_narrow;
        fits && (0..=most).contains(&self.shift) && self.code + 2 <= width
    }
}

/// The number of bits of `|value|`; 0 for 0.
pub(crate) fn bit_length(value: i128) -> i32 {
    128 - value.unsigned_abs().leading_zeros() as i32
}

/// `raw / 2^shift` rounded, or `raw · 2^-shift`, for integers and shifts of any size.
pub(crate) fn shift_round_big(raw: &BigInt, shift: i32, rounding: Rounding, word: u32) -> BigInt {
    if shift <= 0 {
        return raw << -shift;
    }
    let floor: BigInt = raw >> shift; // towards −∞
    let rest = raw - (&floor << shift);
    let one = BigInt::one() << shift;
    let twice = &rest * 2;
    let up = match rounding {
        Rounding::Floor => false,
        Rounding::NearestEven => twice > one || (twice == one && floor.bit(0)),
        Rounding::NearestUp => twice >= one,
        Rounding::NearestAway => twice > one || (twice == one && raw.is_positive()),
        Rounding::Zero => raw.is_negative() && !rest.is_zero(),
        Rounding::Stochastic => {
            let noise = if shift <= 32 {
                BigInt::from(i64::noise(word, shift as u32))
            } else {
                BigInt::from(word) << (shift - 32)
            };
            rest + noise >= one
        }
    };
    if up { floor + 1 } else { floor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Converts with unbounded integers alone.
    fn by_definition(conversion: &Conversion, raw: i128, index: u64) -> Converted {
        let value = BigInt::from(raw) * conversion.scale;
        let rounded = shift_round_big(
            &value,
            conversion.shift(),
            conversion.rounding,
            conversion.word(index),
        );
        let (low, high) = conversion.overflow.ends(conversion.to);
        let modulus = BigInt::one() << conversion.to.bits();
        let code = match conversion.overflow {
            Overflow::Wrap => {
                let residue = ((&rounded % &modulus) + &modulus) % &modulus;
                if residue > high.into() { residue - modulus } else { residue }
            }
            _ => rounded.clone().clamp(low.into(), high.into()),
        };
        let doubled: BigInt = &rounded * 2;
        Converted {
            overflowed: code != rounded,
            beyond_half: doubled < BigInt::from(low) || doubled > BigInt::from(high),
            nonzero: raw != 0,
            underflowed: rounded.is_zero() && raw != 0,
            code: code.to_i64().unwrap(),
        }
    }

    fn any_conversion() -> impl Strategy<Value = Conversion> {
        let format = (2u32..=32, -64i32..=64, any::<bool>());
        let mode = (0usize..6, 0usize..3, any::<u64>());
        (format, mode, -144i32..=144, prop_oneof![Just(1u32), 32768u32..65536]).prop_map(
            |((bits, frac, signed), (rounding, overflow, seed), from_frac, scale)| Conversion {
                from_frac,
                scale,
                to: Format::new(bits, frac, signed).unwrap(),
                rounding: Rounding::ALL[rounding],
                overflow: Overflow::ALL[overflow],
                key: Key::new(seed),
                squares: true,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..Default::default() })]

        #[test]
        fn every_path_equals_the_definition(
            conversion in any_conversion(),
            near in any::<bool>(),
            shift in 0u32..63,
            raws in prop::collection::vec(any::<i64>(), 1..12),
        ) {
            let mut conversion = conversion;
            if near {
                conversion.from_frac = conversion.to.frac() + (shift as i32 % 40);
            }
            let raws: Vec<i64> = raws.iter().map(|raw| raw >> shift).collect();
            let (tensor, statistics) = conversion.tensor(1, raws.len(), &raws);
            let short: Result<Vec<i32>, _> = raws.iter().map(|&raw| raw.try_into()).collect();
            if let Ok(short) = short {
                let mut narrow = Tensor::zeros(conversion.to, 1, short.len());
                prop_assert_eq!(&conversion.write(&short, narrow.whole_mut()), &statistics);
                prop_assert_eq!(&narrow, &tensor);
            }
            let big: Vec<BigInt> = raws.iter().map(|&raw| raw.into()).collect();
            let (same, others) = conversion.big_tensor(1, raws.len(), &big);
            prop_assert_eq!(&same, &tensor);
            prop_assert_eq!(others.error.to_f64(), statistics.error.to_f64());
            // Sums of squares change nothing else.
            let without = Conversion { squares: false, ..conversion };
            let expected = (tensor.clone(), statistics.clone().without_squares());
            prop_assert_eq!(&without.tensor(1, raws.len(), &raws), &expected);
            let big = without.big_tensor(1, raws.len(), &big);
            prop_assert_eq!((big.0, big.1.nonzero), (expected.0, expected.1.nonzero));
            let (mut overflowed, mut beyond_half, mut underflowed) = (0, 0, 0);
            let (mut signal, mut error) = (crate::ExactSum::default(), crate::ExactSum::default());
            for (index, &raw) in raws.iter().enumerate() {
                let expected = by_definition(&conversion, raw.into(), index as u64);
                prop_assert_eq!(tensor.code(0, index), expected.code);
                overflowed += u64::from(expected.overflowed);
                beyond_half += u64::from(expected.beyond_half);
                underflowed += u64::from(expected.underflowed);
                let x = (BigInt::from(raw) * conversion.scale) << (300 - conversion.from_frac);
                let y = BigInt::from(expected.code) << (300 - conversion.to.frac());
                signal.add(&x * &x, -600);
                error.add((&x - &y) * (&x - &y), -600);
            }
            prop_assert_eq!(statistics.overflowed, overflowed);
            prop_assert_eq!(statistics.beyond_half, beyond_half);
            prop_assert_eq!(statistics.underflowed, underflowed);
            prop_assert_eq!(statistics.signal.to_f64(), signal.to_f64());
            prop_assert_eq!(statistics.error.to_f64(), error.to_f64());
        }

        #[test]
        fn reals_of_any_size_convert_exactly(
            conversion in any_conversion(),
            values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, 1..6),
            tame in any::<bool>(),
        ) {
            let conversion = Conversion { scale: 1, ..conversion };
            let values: Vec<f64> = if tame {
                values.iter().map(|value| (value.to_bits() % 10_000) as f64 / 255.0 - 20.0).collect()
            } else {
                values
            };
            let (tensor, statistics) = conversion.reals(1, values.len(), &values);
            let (mut overflowed, mut beyond_half, mut underflowed) = (0, 0, 0);
            for (index, &value) in values.iter().enumerate() {
                let (raw, from_frac) = crate::real::decompose(value).unwrap();
                let conversion = Conversion { from_frac, ..conversion };
                let expected = by_definition(&conversion, raw.into(), index as u64);
                prop_assert_eq!(tensor.code(0, index), expected.code);
                overflowed += u64::from(expected.overflowed);
                beyond_half += u64::from(expected.beyond_half);
                underflowed += u64::from(expected.underflowed);
            }
            prop_assert_eq!(statistics.overflowed, overflowed);
            prop_assert_eq!(statistics.beyond_half, beyond_half);
            prop_assert_eq!(statistics.underflowed, underflowed);
            prop_assert_eq!(statistics.elements, values.len() as u64);
        }
    }

    #[test]
    fn a_value_far_below_the_largest_is_not_taken_for_zero() {
        let conversion = Conversion {
            from_frac: 0,
            scale: 1,
            to: "Q8.0".parse().unwrap(),
            rounding: Rounding::Floor,
            overflow: Overflow::Saturate,
            key: Key::new(0),
            squares: true,
        };
        let (tensor, statistics) = conversion.reals(1, 3, &[1e285, -1e-60, 1e-60]);
        assert_eq!(tensor.to_codes(), [127, -1, 0]);
        assert_eq!((statistics.overflowed, statistics.underflowed), (1, 1));
    }
}
