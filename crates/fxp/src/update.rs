//! The weight update, and factors such as the rate and 1/B.

use num_bigint::BigInt;
use serde::{Deserialize, Serialize};

use crate::real::decompose;
use crate::{Conversion, ConversionStatistics, Error, Format, Overflow, Rounding, Tensor};
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
        Self::nearest_quotient(value, 1, bits)
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
        Self::nearest_quotient(1.0, count, 16).expect("1 is a possible value")
    }

    /// The multiplier with a mantissa of `bits` bits nearest to the exact quotient
    /// `value / divisor`, ties to even.
    ///
    /// # Errors
    ///
    /// As [`nearest`](Self::nearest).
    ///
    /// # Panics
    ///
    /// If `divisor` is 0.
    pub fn nearest_quotient(value: f64, divisor: u32, bits: u32) -> Result<Self, Error> {
        assert!(divisor > 0, "a division by 0");
        let possible = value >= 2f64.powi(-512) && value <= 2f64.powi(512);
        let (true, true, Some((odd, frac))) =
            (possible, (1..=16).contains(&bits), decompose(value))
        else {
            return Err(Error::Multiplier { value, bits });
        };
        // At least 29 bits of quotient, and whether anything follows them.
        let (dividend, divisor) = ((odd as u128) << 60, u128::from(divisor));
        let (quotient, rest) = (dividend / divisor, dividend % divisor);
        let dropped = 128 - quotient.leading_zeros() - bits;
        let (kept, below) = (quotient >> dropped, quotient & ((1 << dropped) - 1));
        let half = 1u128 << (dropped - 1);
        let up = below > half || (below == half && (rest > 0 || kept & 1 == 1));
        let mantissa = kept as u32 + u32::from(up);
        // Rounding may carry into one bit more.
        let carried = mantissa >> bits;
        let exponent = frac + 60 - dropped as i32 - carried as i32;
        Ok(Self { mantissa: mantissa >> carried, exponent })
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
    fn quotients_are_the_nearest_of_all_mantissas() {
        let values = [1.0, 0.1, 0.5, 1.0 / 3.0, 1e-9, 12345.678];
        for (value, divisor) in values.iter().flat_map(|&v| (1..=600).map(move |d| (v, d))) {
            for bits in [1, 2, 5, 16] {
                let found = Multiplier::nearest_quotient(value, divisor, bits).unwrap();
                let case = format!("{value} / {divisor} in {bits} bits: {found:?}");
                assert!(found.mantissa >> (bits - 1) == 1, "{case}");
                // |m − q·2^e| ≤ 1/2, with the exact product of value and powers of two.
                let scaled = value * 2f64.powi(found.exponent);
                let off = f64::from(found.mantissa) * f64::from(divisor) - scaled;
                let half = f64::from(divisor) / 2.0;
                let to_power_of_two = found.mantissa == 1 << (bits - 1);
                assert!(off <= half && -off <= half || to_power_of_two, "{case}");
                assert!(off.abs() <= half * (1.0 + 1e-12), "{case}");
            }
        }
        let (three, five) =
            (Multiplier::nearest(3.0, 1).unwrap(), Multiplier::nearest(5.0, 2).unwrap());
        assert_eq!((three.to_f64(), five.to_f64()), (4.0, 4.0), "ties go to the even mantissa");
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
