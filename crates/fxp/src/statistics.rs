//! What a conversion did to its values, in exact integers.

use num_bigint::BigInt;
use serde::{Deserialize, Serialize};

use crate::convert::{Converted, Raw};
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{ExactInteger, Lane};

/// An exact sum of integers times powers of two.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    mantissa: ExactInteger,
    exponent: i32,
}

impl ExactSum {
    /// The most bits of a sum that is read: those of any number of squares of doubles.
    const BITS_MAX: u64 = 8192;

    /// The largest exponent of either sign that is read; the square of the least double has -2148.
    const EXPONENT_MAX: u32 = 4096;

    /// Adds `value · 2^exponent`.
    pub fn add(&mut self, value: impl Into<ExactInteger>, exponent: i32) {
        let mut value = value.into();
        if value.is_zero() {
            return;
        }
        if self.mantissa.is_zero() {
            self.exponent = exponent;
        }
        if exponent < self.exponent {
            self.mantissa <<= (self.exponent - exponent).unsigned_abs();
            self.exponent = exponent;
        } else {
            value <<= (exponent - self.exponent).unsigned_abs();
        }
        self.mantissa += value;
    }

    /// The mantissa without zeros at its end, and its exponent: the same however the sum was made.
    fn canonical(&self) -> (ExactInteger, i32) {
        if self.is_zero() {
            return Default::default();
        }
        let zeros = self.mantissa.trailing_zeros() as u32;
        let mut mantissa = self.mantissa.clone();
        mantissa >>= zeros;
        (mantissa, self.exponent + zeros as i32)
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.mantissa.clone(), other.exponent);
    }

    /// Whether the sum is zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa.is_zero()
    }

    /// The sum as the nearest float that its leading 64 bits give.
    pub fn to_f64(&self) -> f64 {
        let excess = self.mantissa.bits().saturating_sub(64) as u32;
        let mut leading = self.mantissa.clone();
        leading >>= excess;
        scale_by_power_of_two(leading.to_f64(), self.exponent + excess as i32)
    }

    /// `10 · log₁₀(self / other)` for two positive sums of any size.
    fn decibels_over(&self, other: &Self) -> f64 {
        let split = |sum: &Self| {
            let excess = sum.mantissa.bits() as i32 - 64;
            let mut leading = sum.mantissa.clone();
            match excess {
                1.. => leading >>= excess.unsigned_abs(),
                _ => leading <<= excess.unsigned_abs(),
            }
            (leading.to_f64(), sum.exponent + excess)
        };
        let ((a, a_exponent), (b, b_exponent)) = (split(self), split(other));
        let ratio = scale_by_power_of_two(a / b, 0).log10();
        10.0 * (ratio + f64::from(a_exponent - b_exponent) * std::f64::consts::LOG10_2)
    }
}

impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for ExactSum {}

/// `value · 2^exponent` without intermediate overflow.
fn scale_by_power_of_two(mut value: f64, mut exponent: i32) -> f64 {
    while exponent != 0 && value != 0.0 && value.is_finite() {
        let step = exponent.clamp(-1000, 1000);
        value *= 2f64.powi(step);
        exponent -= step;
    }
    value
}

/// Written as `"mantissa*2^exponent"`, both decimal, the mantissa odd or 0.
impl Serialize for ExactSum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mantissa, exponent) = self.canonical();
        serializer.collect_str(&format_args!("{mantissa}*2^{exponent}"))
    }
}

impl<'de> Deserialize<'de> for ExactSum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text_max = Self::BITS_MAX as usize / 3 + 16;
        let parts = text.split_once("*2^").filter(|_| text.len() <= text_max);
        let parts = parts.and_then(|(mantissa, exponent)| {
            Some(Self { mantissa: mantissa.parse().ok()?, exponent: exponent.parse().ok()? })
        });
        let fits = |sum: &Self| {
            sum.mantissa.bits() <= Self::BITS_MAX && sum.exponent.abs_diff(0) <= Self::EXPONENT_MAX
        };
        let parts = parts.filter(fits);
        parts.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no exact sum")))
    }
}

/// What converting the elements of a tensor did, summed over any number of conversions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversionStatistics {
    /// Elements converted.
    pub elements: u64,
    /// Elements that left the range of the format and were saturated or wrapped.
    pub overflowed: u64,
    /// Elements whose rounded value is beyond half the ends of the range, those that left it included.
    pub beyond_half: u64,
    /// Elements that were not zero.
    pub nonzero: u64,
    /// Non-zero elements that rounded to zero.
    pub underflowed: u64,
    /// Elements whose squares are summed.
    pub squared: u64,
    /// Sum of the squares of these before conversion.
    pub signal: ExactSum,
    /// Sum of the squares of the differences that conversion made to them.
    pub error: ExactSum,
}

impl ConversionStatistics {
    /// Adds what another conversion did.
    pub fn merge(&mut self, other: &Self) {
        self.elements += other.elements;
        self.overflowed += other.overflowed;
        self.beyond_half += other.beyond_half;
        self.nonzero += other.nonzero;
        self.underflowed += other.underflowed;
        self.squared += other.squared;
        self.signal.merge(&other.signal);
        self.error.merge(&other.error);
    }

    /// Whether its parts are no more than its elements, and its sums of squares not negative.
    pub fn is_possible(&self) -> bool {
        self.overflowed <= self.beyond_half
            && self.beyond_half <= self.elements
            && self.underflowed <= self.nonzero
            && self.nonzero <= self.elements
            && self.squared <= self.elements
            && !self.signal.mantissa.is_negative()
            && !self.error.mantissa.is_negative()
    }

    /// The same without sums of squares.
    #[must_use]
    pub fn without_squares(self) -> Self {
        Self { squared: 0, signal: ExactSum::default(), error: ExactSum::default(), ..self }
    }

    /// Signal-to-quantization-noise ratio in decibels, `10 · log₁₀(Σx² / Σ(x − Q(x))²)`, of the elements whose
    /// squares are summed: `None` for an all-zero signal, infinite where nothing was lost.
    pub fn sqnr_db(&self) -> Option<f64> {
        if self.signal.is_zero() {
            None
        } else if self.error.is_zero() {
            Some(f64::INFINITY)
        } else {
            Some(self.signal.decibels_over(&self.error))
        }
    }

    /// The share of elements that overflowed; 0 without elements.
    pub fn saturation_rate(&self) -> f64 {
        self.overflowed as f64 / self.elements.max(1) as f64
    }

    /// The share of elements that were not zero and became zero; 0 without elements.
    pub fn underflow_rate(&self) -> f64 {
        self.underflowed as f64 / self.elements.max(1) as f64
    }

    /// Counts one element.
    pub(crate) fn count(&mut self, converted: Converted) {
        self.elements += 1;
        self.overflowed += u64::from(converted.overflowed);
        self.beyond_half += u64::from(converted.beyond_half);
        self.nonzero += u64::from(converted.nonzero);
        self.underflowed += u64::from(converted.underflowed);
    }

    /// Adds the squares of values and errors of elements whose sums of products are given:
    /// `x` at `x_frac` and `y`, its code, at `y_frac` fraction bits;
    /// `Σ(x − y)² = Σx² − 2Σxy + Σy²`.
    pub(crate) fn add_products(&mut self, sums: &Products, x_frac: i32, y_frac: i32) {
        self.signal.add(sums.xx.clone(), -2 * x_frac);
        self.error.add(sums.xx.clone(), -2 * x_frac);
        let mut twice = sums.xy.clone();
        twice *= -2;
        self.error.add(twice, -x_frac - y_frac);
        self.error.add(sums.yy.clone(), -2 * y_frac);
        debug_assert!(!self.error.mantissa.is_negative());
    }
}

/// The most elements that [`Products::add_chunk`] adds at a time.
pub(crate) const CHUNK: usize = 1024;

/// Sums over elements of the products of values `x` and codes `y`.
#[derive(Debug, Default)]
pub(crate) struct Products {
    pub(crate) xx: ExactInteger,
    pub(crate) xy: ExactInteger,
    pub(crate) yy: ExactInteger,
}

impl Products {
    /// Adds one element.
    pub(crate) fn add(&mut self, value: i128, code: i64) {
        let code = i128::from(code);
        self.xx += value * value;
        self.xy += value * code;
        self.yy += code * code;
    }

    /// Adds one element of any size.
    pub(crate) fn add_big(&mut self, value: &BigInt, code: i64) {
        self.xx += value * value;
        self.xy += value * code;
        self.yy += i128::from(code).pow(2);
    }

    /// Adds at most [`CHUNK`] elements, no value longer than `raw_bits`, at most 62, and no code longer
    /// than `code_bits`.
    pub(crate) fn add_chunk<R: Raw, T: Lane>(
        &mut self,
        raws: &[R],
        codes: &[T],
        [raw_bits, code_bits]: [u32; 2],
    ) {
        debug_assert!(raws.len() <= CHUNK && raws.len() == codes.len() && raw_bits <= 62);
        match raw_bits.max(code_bits) {
            ..=26 => {
                // 2^10 products of 52 bits.
                let [xx, xy, yy] = with_widest_vectors(Short { raws, codes });
                self.xx += xx;
                self.xy += xy;
                self.yy += yy;
            }
            27..=31 => {
                let [xx, xy, yy] = with_widest_vectors(Halves { raws, codes });
                self.xx += xx;
                self.xy += xy;
                self.yy += yy;
            }
            _ if code_bits <= 31 => {
                let [xx, xy, yy] = with_widest_vectors(Limbs { raws, codes });
                self.xx += xx;
                self.xy += xy;
                self.yy += yy;
            }
            _ => self.add_long(raws, codes),
        }
    }

    /// Whether [`add_rounded`](Self::add_rounded) can add elements, and is the faster way: no value longer
    /// than `raw_bits`, no code longer than `code_bits`, and so many bits dropped.
    pub(crate) fn takes_rounded(raw_bits: u32, code_bits: u32, dropped: u32) -> bool {
        raw_bits > 26 && code_bits <= 26 && (1..=26).contains(&dropped)
    }

    /// Adds at most [`CHUNK`] elements of which each value is its code with so many bits more, and less than one
    /// unit of the code away. With `x = y · 2^dropped + e` all products are short.
    pub(crate) fn add_rounded<R: Raw, T: Lane>(&mut self, raws: &[R], codes: &[T], dropped: u32) {
        debug_assert!(raws.len() <= CHUNK && raws.len() == codes.len());
        let [yy, ye, ee] = with_widest_vectors(Rounded { raws, codes, dropped }).map(i128::from);
        self.xx += (yy << (2 * dropped)) + (ye << (dropped + 1)) + ee;
        self.xy += (yy << dropped) + ye;
        self.yy += yy;
    }

    /// The same for squares of up to 126 bits, which are summed in halves.
    fn add_long<R: Raw, T: Lane>(&mut self, raws: &[R], codes: &[T]) {
        let (mut xx_high, mut xx_low, mut xy, mut yy) = (0u128, 0u128, 0i128, 0i128);
        for (&raw, &code) in raws.iter().zip(codes) {
            let (x, y) = (i128::from(raw.into()), i128::from(code.code()));
            let square = (x * x) as u128;
            xx_high += square >> 64;
            xx_low += square & u128::from(u64::MAX);
            xy += x * y;
            yy += y * y;
        }
        let mut high = ExactInteger::from(xx_high);
        high <<= 64;
        self.xx += high;
        self.xx += xx_low;
        self.xy += xy;
        self.yy += yy;
    }
}

/// `x · y` of two values that 32 bits hold, in the instruction that vector units have for these.
#[inline(always)]
fn product(x: i64, y: i64) -> i64 {
    i64::from(x as i32) * i64::from(y as i32)
}

/// Sums of products that 64 bits hold.
struct Short<'a, R, T> {
    raws: &'a [R],
    codes: &'a [T],
}

impl<R: Raw, T: Lane> VectorWork for Short<'_, R, T> {
    type Output = [i64; 3];

    #[inline(always)]
    fn run(self) -> [i64; 3] {
        let (mut xx, mut xy, mut yy) = (0i64, 0i64, 0i64);
        for (&x, &y) in self.raws.iter().zip(self.codes) {
            let (x, y): (i64, i64) = (x.into(), y.code());
            xx = xx.wrapping_add(product(x, x));
            xy = xy.wrapping_add(product(x, y));
            yy = yy.wrapping_add(product(y, y));
        }
        [xx, xy, yy]
    }
}

/// Sums of products of codes and of what rounding dropped of their values.
struct Rounded<'a, R, T> {
    raws: &'a [R],
    codes: &'a [T],
    dropped: u32,
}

impl<R: Raw, T: Lane> VectorWork for Rounded<'_, R, T> {
    type Output = [i64; 3];

    #[inline(always)]
    fn run(self) -> [i64; 3] {
        let (mut yy, mut ye, mut ee) = (0i64, 0i64, 0i64);
        // What is checked is not made by vector units.
        let dropped = self.dropped & 31;
        for (&x, &y) in self.raws.iter().zip(self.codes) {
            let (x, y): (i64, i64) = (x.into(), y.code());
            let e = x.wrapping_sub(y << dropped);
            yy = yy.wrapping_add(product(y, y));
            ye = ye.wrapping_add(product(y, e));
            ee = ee.wrapping_add(product(e, e));
        }
        [yy, ye, ee]
    }
}

/// Sums of products of values of up to 62 bits and codes of up to 31, of 31 bits of the values at a time.
struct Limbs<'a, R, T> {
    raws: &'a [R],
    codes: &'a [T],
}

impl<R: Raw, T: Lane> VectorWork for Limbs<'_, R, T> {
    type Output = [ExactInteger; 3];

    #[inline(always)]
    fn run(self) -> [ExactInteger; 3] {
        const LOW: i64 = (1 << 31) - 1;
        let (mut high, mut low) = ([0i64; 6], [0i64; 6]);
        for (&x, &y) in self.raws.iter().zip(self.codes) {
            let (x, y): (i64, i64) = (x.into(), y.code());
            let (upper, lower) = (x >> 31, x & LOW);
            let products = [
                product(upper, upper),
                product(upper, lower),
                product(lower, lower),
                product(upper, y),
                product(lower, y),
                product(y, y),
            ];
            for ((high, low), product) in high.iter_mut().zip(&mut low).zip(products) {
                *high = high.wrapping_add(product >> 32);
                *low = low.wrapping_add(product & 0xffff_ffff);
            }
        }
        let sum = |at: usize| (i128::from(high[at]) << 32) + i128::from(low[at]);
        // (u · 2³¹ + l)² = u² · 2⁶² + u l · 2³² + l².
        let mut squares = ExactInteger::from(sum(0));
        squares <<= 62;
        squares += (sum(1) << 32) + sum(2);
        [squares, ExactInteger::from((sum(3) << 31) + sum(4)), sum(5).into()]
    }
}

/// Sums of products of up to 62 bits, of their upper and lower 32 bits by themselves.
struct Halves<'a, R, T> {
    raws: &'a [R],
    codes: &'a [T],
}

impl<R: Raw, T: Lane> VectorWork for Halves<'_, R, T> {
    type Output = [i128; 3];

    #[inline(always)]
    fn run(self) -> [i128; 3] {
        let (mut high, mut low) = ([0i64; 3], [0i64; 3]);
        for (&x, &y) in self.raws.iter().zip(self.codes) {
            let (x, y): (i64, i64) = (x.into(), y.code());
            let products = [product(x, x), product(x, y), product(y, y)];
            for ((high, low), product) in high.iter_mut().zip(&mut low).zip(products) {
                *high = high.wrapping_add(product >> 32);
                *low = low.wrapping_add(product & 0xffff_ffff);
            }
        }
        let sum = |at: usize| (i128::from(high[at]) << 32) + i128::from(low[at]);
        [sum(0), sum(1), sum(2)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_sums_do_not_depend_on_order() {
        let terms = [(3i128, 5), (-7, -400), (1 << 100, 900), (-1, 900), (12345, 0)];
        let mut forward = ExactSum::default();
        let mut backward = ExactSum::default();
        terms.iter().for_each(|&(value, exponent)| forward.add(value, exponent));
        terms.iter().rev().for_each(|&(value, exponent)| backward.add(value, exponent));
        let mut difference = forward.clone();
        backward.mantissa *= -1;
        difference.merge(&backward);
        assert!(difference.is_zero());
        let text = serde_json::to_string(&forward).unwrap();
        assert_eq!(serde_json::from_str::<ExactSum>(&text).unwrap(), forward);
    }

    #[test]
    fn a_sum_is_equal_and_written_alike_however_it_was_made() {
        let sum = |terms: &[(i64, i32)]| {
            let mut sum = ExactSum::default();
            terms.iter().for_each(|&(value, exponent)| sum.add(value, exponent));
            sum
        };
        let expected = sum(&[(5, -3)]);
        for terms in [
            &[(40, -6)][..],
            &[(3, -3), (1, -2)],
            &[(1, -9), (32, -6), (63, -9), (-1, -9), (1, -9)],
        ] {
            let found = sum(terms);
            assert_eq!(found, expected, "{terms:?}");
            assert_eq!(serde_json::to_string(&found).unwrap(), r#""5*2^-3""#);
        }
        let nothing = sum(&[(1, -9), (-1, -9)]);
        assert_eq!(nothing, ExactSum::default());
        assert_eq!(serde_json::to_string(&nothing).unwrap(), r#""0*2^0""#);
    }

    #[test]
    fn decibels_are_right_at_any_scale() {
        for exponent in [-3000, -40, 0, 40, 3000] {
            let mut statistics = ConversionStatistics::default();
            statistics.signal.add(1_000_000, exponent);
            statistics.error.add(1, exponent);
            let sqnr = statistics.sqnr_db().unwrap();
            assert!((sqnr - 60.0).abs() < 1e-9, "{exponent}: {sqnr}");
        }
        let mut big = ExactSum::default();
        big.add(3, 70);
        assert_eq!(big.to_f64(), 3.0 * 2f64.powi(70));
    }
}
