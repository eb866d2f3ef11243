//! The weight update, and factors such as the rate and 1/B.

use num_bigint::BigInt;
use serde::{Deserialize, Serialize};

use crate::real::decompose;
use crate::{
    Conversion, ConversionStatistics, Error, Format, Overflow, Rounding, Tensor, shift_right_round,
};
use systoliq_keyed_random::Key;

/// A positive factor `mantissa · 2^-exponent` with a mantissa of stated width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// `2^(bits − 1) ≤ mantissa < 2^bits`.
    pub mantissa: u32,
    /// The power of two divided by.
    pub exponent: i32,
}

impl Multiplier {
    /// The factor 1.
    pub const ONE: Self = Self { mantissa: 1, exponent: 0 };

    /// The multiplier with a mantissa of `bits` bits nearest to `value`, ties to even.
    ///
    /// ```
    /// use systoliq_fxp::Multiplier;
    /// let rate = Multiplier::nearest(0.1, 16)?;
    /// assert_eq!((rate.mantissa, rate.exponent), (52429, 19)); // 0.1000004
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Unless `value` is from 2⁻⁵¹² to 2⁵¹² and `bits` 1 to 16.
    pub fn nearest(value: f64, bits: u32) -> Result<Self, Error> {
        let possible = value >= 2f64.powi(-512) && value <= 2f64.powi(512);
        let (true, true, Some((odd, frac))) =
            (possible, (1..=16).contains(&bits), decompose(value))
        else {
            return Err(Error::Multiplier { value, bits });
        };
        Ok(Self::from_integer(odd, frac, bits))
    }

    /// The multiplier with a 16-bit mantissa nearest to `1 / count`, ties to even.
    ///
    /// ```
    /// use systoliq_fxp::Multiplier;
    /// assert_eq!(Multiplier::reciprocal(32), Multiplier { mantissa: 1 << 15, exponent: 20 });
    /// assert_eq!(Multiplier::reciprocal(13), Multiplier { mantissa: 40330, exponent: 19 });
    /// ```
    ///
    /// # Panics
    ///
    /// If `count` is 0.
    pub fn reciprocal(count: u32) -> Self {
        assert!(count > 0, "the reciprocal of 0");
        // 16 bits of quotient: 2^exponent / count in [2^15, 2^16).
        let exponent = 15 + (32 - (count - 1).leading_zeros());
        let (quotient, rest) =
            ((1u64 << exponent) / u64::from(count), (1u64 << exponent) % u64::from(count));
        let up = match (2 * rest).cmp(&u64::from(count)) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => quotient & 1,
            std::cmp::Ordering::Greater => 1,
        };
        Self::normalized(quotient + up, exponent as i32, 16)
    }

    /// `value · 2^-frac` rounded to `bits` bits, for a positive `value`.
    fn from_integer(value: i64, frac: i32, bits: u32) -> Self {
        let length = 64 - value.leading_zeros();
        if length <= bits {
            let appended = bits - length;
            return Self { mantissa: (value << appended) as u32, exponent: frac + appended as i32 };
        }
        let dropped = length - bits;
        let rounded = shift_right_round(value, dropped, Rounding::NearestEven, 0);
        Self::normalized(rounded as u64, frac - dropped as i32, bits)
    }

    /// Halves a mantissa that rounding carried to `2^bits`.
    fn normalized(mantissa: u64, exponent: i32, bits: u32) -> Self {
        let carried = u32::from(mantissa == 1 << bits);
        Self { mantissa: (mantissa >> carried) as u32, exponent: exponent - carried as i32 }
    }

    /// The factor as a real number.
    pub fn to_f64(self) -> f64 {
        f64::from(self.mantissa) * 2f64.powi(-self.exponent)
    }
}

/// What a weight update did beside converting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateStatistics {
    /// Elements whose gradient was not zero.
    pub asked: u64,
    /// Of these, elements that stayed what they were, at neither end of their range.
    pub stalled: u64,
}

impl UpdateStatistics {
    /// The share of the updates asked for that changed nothing; 0 if none was.
    pub fn stalled_rate(&self) -> f64 {
        self.stalled as f64 / self.asked.max(1) as f64
    }

    /// Adds what another update did.
    pub fn merge(&mut self, other: &Self) {
        self.asked += other.asked;
        self.stalled += other.stalled;
    }
}

/// How weights take up a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// The learning rate.
    pub rate: Multiplier,
    /// How the difference is rounded into the weights' own format.
    pub rounding: Rounding,
    /// What happens at the ends of their range.
    pub overflow: Overflow,
    /// The stream of random words.
    pub key: Key,
}

impl Update {
    /// `w' = fit(round(w − rate · g))`: the exact difference, rounded once into the format of
    /// `weights`.
    ///
    /// # Panics
    ///
    /// Unless the tensors have one shape.
    pub fn apply(
        &self,
        weights: &Tensor,
        gradient: &Tensor,
    ) -> (Tensor, ConversionStatistics, UpdateStatistics) {
        let shape = (weights.rows(), weights.cols());
        assert_eq!(shape, (gradient.rows(), gradient.cols()), "weights and their gradient");
        let format = weights.format();
        let (w, g) = (weights.to_codes(), gradient.to_codes());
        let step_frac = self.rate.exponent + gradient.format().frac();
        let conversion = Conversion {
            from_frac: step_frac.max(format.frac()),
            scale: 1,
            to: format,
            rounding: self.rounding,
            overflow: self.overflow,
            key: self.key,
        };
        // Zeros appended to the weights, or to the steps, so that both have `from_frac`.
        let weight_shift = conversion.from_frac - format.frac();
        let step_shift = conversion.from_frac - step_frac;
        let step_bits = 16 + gradient.format().bits() as i32;
        let mantissa = i64::from(self.rate.mantissa);
        let (updated, conversions) =
            if format.bits() as i32 + weight_shift <= 60 && step_bits + step_shift <= 60 {
                let difference =
                    |(&w, &g): (&i64, &i64)| (w << weight_shift) - ((mantissa * g) << step_shift);
                let differences: Vec<i64> = w.iter().zip(&g).map(difference).collect();
                conversion.tensor(shape.0, shape.1, &differences)
            } else {
                let difference = |(&w, &g): (&i64, &i64)| {
                    (BigInt::from(w) << weight_shift) - (BigInt::from(mantissa * g) << step_shift)
                };
                let differences: Vec<BigInt> = w.iter().zip(&g).map(difference).collect();
                conversion.big_tensor(shape.0, shape.1, &differences)
            };
        let stalled = self.stalled(format, &w, &g, &updated);
        (updated, conversions, stalled)
    }

    fn stalled(&self, format: Format, w: &[i64], g: &[i64], updated: &Tensor) -> UpdateStatistics {
        let (low, high) = self.overflow.ends(format);
        let mut statistics = UpdateStatistics::default();
        for ((&w, &g), after) in w.iter().zip(g).zip(updated.to_codes()) {
            statistics.asked += u64::from(g != 0);
            statistics.stalled += u64::from(g != 0 && after == w && w != low && w != high);
        }
        statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_traits::ToPrimitive;
    use proptest::prelude::*;

    #[test]
    fn reciprocals_are_the_nearest() {
        for count in 1..=5000u32 {
            let exact = Multiplier::nearest(1.0 / f64::from(count), 16).unwrap();
            assert_eq!(Multiplier::reciprocal(count), exact, "{count}");
            assert!((1 << 15..1 << 16).contains(&exact.mantissa));
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e300] {
            assert!(Multiplier::nearest(rate, 16).is_err(), "{rate}");
        }
        assert_eq!(Multiplier::nearest(0.75, 1).unwrap(), Multiplier { mantissa: 1, exponent: 0 });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..Default::default() })]

        #[test]
        fn updates_equal_the_definition(
            w in (2u32..=32, -64i32..=64, any::<i64>()),
            g in (2u32..=32, -64i32..=64, any::<i64>()),
            tame in any::<bool>(),
            rate in -60f64..60.0,
            mode in (0usize..6, 0usize..3, any::<u64>()),
        ) {
            let one = |(bits, frac, raw): (u32, i32, i64)| {
                let frac = if tame { frac / 6 } else { frac };
                Tensor::from_codes(Format::new(bits, frac, true).unwrap(), 1, 1, &[raw >> (64 - bits)])
            };
            let (weights, gradient) = (one(w), one(g));
            let (rounding, overflow, seed) = mode;
            let rate = if tame { rate / 8.0 } else { rate };
            let update = Update {
                rate: Multiplier::nearest(rate.exp2(), 16).unwrap(),
                rounding: Rounding::ALL[rounding],
                overflow: Overflow::ALL[overflow],
                key: Key::new(seed),
            };
            let (updated, _, _) = update.apply(&weights, &gradient);
            let format = weights.format();
            let step_frac = update.rate.exponent + gradient.format().frac();
            let frac = step_frac.max(format.frac());
            let difference = (BigInt::from(weights.code(0, 0)) << (frac - format.frac()))
                - ((BigInt::from(gradient.code(0, 0)) * update.rate.mantissa) << (frac - step_frac));
            let rounded = crate::convert::shift_round_big(
                &difference, frac - format.frac(), update.rounding, update.key.word(0));
            let (low, high) = update.overflow.ends(format);
            let expected = match update.overflow {
                Overflow::Wrap => {
                    let modulus = BigInt::from(1i64 << format.bits());
                    let residue: BigInt = ((rounded - low) % &modulus + &modulus) % modulus;
                    residue.to_i64().unwrap() + low
                }
                _ => rounded.clamp(low.into(), high.into()).to_i64().unwrap(),
            };
            prop_assert_eq!(updated.code(0, 0), expected);
        }
    }
}
