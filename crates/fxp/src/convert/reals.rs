//! Real values as integers with common fraction bits: how they are converted, and in lanes.

use super::{Conversion, Converter, bit_length};
use crate::part::with_part_codes;
use crate::real::decompose;
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{ConversionStatistics, Tensor};

/// How many real values are made integers at once.
const REALS: usize = 1 << 10;

impl Conversion {
    /// Converts real values, in `f32` or `f64`, each exactly: `values[i]` is `m · 2^-f` for integers `m`
    /// and `f`, and `from_frac` is not used.
    ///
    /// # Panics
    ///
    /// If a value is not finite, or `values` does not hold `rows · cols` elements.
    pub fn reals<V: Copy + Into<f64>>(
        &self,
        rows: usize,
        cols: usize,
        values: &[V],
    ) -> (Tensor, ConversionStatistics) {
        assert_eq!(values.len(), rows * cols, "elements of a {rows} x {cols} tensor");
        if let Some(RealScale { scale, frac, bits }) = RealScale::of(values) {
            let zeros = zeros(bits, frac, self.to.frac());
            let mut tensor = Tensor::zeros(self.to, rows, cols);
            let mut converter = Converter::new(Self { from_frac: frac - zeros as i32, ..*self });
            let mut raws = [0; REALS];
            for (at, values) in values.chunks(REALS).enumerate() {
                let raws = &mut raws[..values.len()];
                let scaled = raws.iter_mut().zip(values);
                scaled.for_each(|(raw, &value)| *raw = ((value.into() * scale) as i64) >> zeros);
                let places = at * REALS..at * REALS + raws.len();
                converter.write(raws, tensor.whole_mut().at(places));
            }
            return (tensor, converter.end());
        }
        let parts = values.iter().map(|&value| decompose(value.into()).expect("a finite value"));
        let mut converter = Converter::new(*self);
        let mut tensor = Tensor::zeros(self.to, rows, cols);
        with_part_codes!(tensor.whole_mut().into_codes(), |codes| {
            for (index, ((raw, from_frac), code)) in (0..).zip(parts.zip(codes)) {
                let (raw, code) = (std::iter::once(i128::from(raw)), std::slice::from_mut(code));
                converter.take_from(from_frac);
                converter.one_by_one(index, raw, code);
            }
        });
        (tensor, converter.end())
    }
}

/// What makes values 61-bit integers with common fraction bits.
struct RealScale {
    /// What they are multiplied by.
    scale: f64,
    /// The fraction bits.
    frac: i32,
    /// All bits of all integers.
    bits: i64,
}

impl RealScale {
    /// Of values that all are such integers exactly.
    fn of<V: Copy + Into<f64>>(values: &[V]) -> Option<Self> {
        let (odd, odd_frac) = decompose(with_widest_vectors(LargestReal(values)))?;
        // |value| < 2^(bit length of `odd` − its fraction bits); scaling by a power of two is exact.
        let frac = 61 - bit_length(odd.into()) + odd_frac;
        if !(-900..=900).contains(&frac) {
            return None;
        }
        let scale = 2f64.powi(frac);
        let bits = with_widest_vectors(BitsOfScaled { values, scale })?;
        Some(Self { scale, frac, bits })
    }
}

/// Finds the largest magnitude, or what is no number.
struct LargestReal<'a, V>(&'a [V]);

impl<V: Copy + Into<f64>> VectorWork for LargestReal<'_, V> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        // Magnitudes are in the order of their bits, which vector units compare in any order.
        f64::from_bits(self.0.iter().fold(0, |most, &value| {
            let value: f64 = value.into();
            most.max(value.abs().to_bits())
        }))
    }
}

/// Finds the bits that are set in some integer that a value becomes as it is scaled, if all are such exactly.
struct BitsOfScaled<'a, V> {
    values: &'a [V],
    scale: f64,
}

impl<V: Copy + Into<f64>> VectorWork for BitsOfScaled<'_, V> {
    type Output = Option<i64>;

    #[inline(always)]
    fn run(self) -> Option<i64> {
        let (mut inexact, mut bits) = (0, 0);
        for &value in self.values {
            let value: f64 = value.into();
            let scaled = value * self.scale;
            let raw = scaled as i64;
            // A value far below the largest may leave the range of floats as it is scaled.
            let exact = (raw as f64 == scaled) & ((raw != 0) | (value == 0.0));
            inexact |= i64::from(!exact);
            bits |= raw;
        }
        (inexact == 0).then_some(bits)
    }
}

/// Scales values that become integers exactly.
struct ScaledReals<'a, V> {
    values: &'a [V],
    scale: f64,
}

impl<V: Copy + Into<f64>> VectorWork for ScaledReals<'_, V> {
    type Output = Vec<i64>;

    #[inline(always)]
    fn run(self) -> Vec<i64> {
        let Self { values, scale } = self;
        values.iter().map(|&value| (value.into() * scale) as i64).collect()
    }
}

/// Values as 61-bit integers with common fraction bits, if all are such exactly.
pub(crate) fn aligned<V: Copy + Into<f64>>(values: &[V]) -> Option<(Vec<i64>, i32)> {
    let RealScale { scale, frac, .. } = RealScale::of(values)?;
    Some((with_widest_vectors(ScaledReals { values, scale }), frac))
}

/// How many low bits none of some integers has, as long as `least` fraction bits are left.
fn zeros(bits: i64, frac: i32, least: i32) -> u32 {
    let zeros = if bits == 0 { 0 } else { bits.trailing_zeros() };
    zeros.min((frac - least).max(0) as u32).min(63)
}

/// The same values without low bits that none of them has, as long as `least` fraction bits are left.
pub(crate) fn without_zeros(mut raws: Vec<i64>, frac: i32, least: i32) -> (Vec<i64>, i32) {
    let zeros = zeros(raws.iter().fold(0, |bits, raw| bits | raw), frac, least);
    raws.iter_mut().for_each(|raw| *raw = raw.wrapping_shr(zeros));
    (raws, frac - zeros as i32)
}
