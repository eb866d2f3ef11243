//! Factors such as the rate and 1/B, and what an update did to weights.

use serde::{Deserialize, Serialize};

use crate::part::PartCodes;
use crate::real::decompose;
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{Codes, Error, Lane, Tensor, TensorPart};

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

/// A part of a tensor before and after an update that keeps its format.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The tensor as it was.
    pub before: &'a Tensor,
    /// The part as it is.
    pub after: &'a TensorPart<'a>,
}

/// What a weight update did beside converting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateStatistics {
    /// Elements whose exact change, before rounding, was not zero.
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

impl UpdateStatistics {
    /// What an update of some weights did whose codes reach from `low` to `high`, of each of which `asked` tells
    /// whether a change was asked for, and then whether it stalled; where they have a residual, an element is stalled
    /// only if that did not change either.
    ///
    /// # Panics
    ///
    /// Unless there are as many codes as answers, before and after in one format.
    pub fn of(
        asked: &mut [bool],
        weights: Change<'_>,
        (low, high): (i64, i64),
        residual: Option<Change<'_>>,
    ) -> Self {
        let asks = count(asked);
        keep_unmoved(weights, Some((low, high)), asked);
        if let Some(residual) = residual {
            keep_unmoved(residual, None, asked);
        }
        Self { asked: asks, stalled: count(asked) }
    }
}

/// How many are true.
fn count(all: &[bool]) -> u64 {
    with_widest_vectors(Count(all))
}

struct Count<'a>(&'a [bool]);

impl VectorWork for Count<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        // In bytes, of which a vector holds many: at most 255 times. What is checked is not made by vector units.
        let (vectors, rest) = self.0.as_chunks::<64>();
        let mut count = rest.iter().filter(|&&one| one).count() as u64;
        for vectors in vectors.chunks(255) {
            let mut sums = [0u8; 64];
            for vector in vectors {
                for (sum, &one) in sums.iter_mut().zip(vector) {
                    *sum = sum.wrapping_add(one.into());
                }
            }
            count += sums.iter().fold(0u64, |all, &sum| all.wrapping_add(sum.into()));
        }
        count
    }
}

/// Keeps those elements that did not change and were at neither end, if those are given.
fn keep_unmoved(Change { before, after }: Change<'_>, ends: Option<(i64, i64)>, kept: &mut [bool]) {
    let places = after.places();
    assert_eq!(places.len(), kept.len(), "weights and what is asked of them");
    macro_rules! keep {
        ($before:ident, $after:ident) => {{
            let before = $before.as_slice().expect("tensors are contiguous");
            let ends = ends.map(|(low, high)| [low, high].map(Lane::from_code));
            with_widest_vectors(Unmoved { before: &before[places], after: $after, ends, kept })
        }};
    }
    match (before.codes(), after.codes()) {
        (Codes::I8(before), PartCodes::I8(after)) => keep!(before, after),
        (Codes::U8(before), PartCodes::U8(after)) => keep!(before, after),
        (Codes::I16(before), PartCodes::I16(after)) => keep!(before, after),
        (Codes::U16(before), PartCodes::U16(after)) => keep!(before, after),
        (Codes::I32(before), PartCodes::I32(after)) => keep!(before, after),
        (Codes::U32(before), PartCodes::U32(after)) => keep!(before, after),
        _ => panic!("codes of two widths"),
    }
}

struct Unmoved<'a, T> {
    before: &'a [T],
    after: &'a [T],
    ends: Option<[T; 2]>,
    kept: &'a mut [bool],
}

impl<T: Lane> VectorWork for Unmoved<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let all = self.kept.iter_mut().zip(self.before.iter().zip(self.after));
        match self.ends {
            None => all.for_each(|(kept, (before, after))| *kept &= before == after),
            Some([low, high]) => all.for_each(|(kept, (&before, &after))| {
                *kept &= (before == after) & (before != low) & (before != high);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn as_many_are_counted_as_are_true() {
        for len in [0usize, 1, 63, 64, 65, 1000, 64 * 255, 64 * 256 + 7, 40_000] {
            for every in [1, 2, 3, 50] {
                let all: Vec<bool> = (0..len).map(|at| at % every == 0).collect();
                assert_eq!(count(&all), len.div_ceil(every) as u64, "each {every}th of {len}");
            }
        }
    }

    #[test]
    fn an_update_stalls_where_what_is_asked_moves_nothing_between_the_ends() {
        let tensor = |codes: [i64; 5]| Tensor::from_codes("Q1.7".parse().unwrap(), 1, 5, &codes);
        let [before, mut after] = [[127, -128, 5, 5, 5], [127, -128, 5, 5, 4]].map(tensor);
        let weights = Change { before: &before, after: &after.whole_mut() };
        let found = |ends, residual| {
            let mut asked = [true, true, true, false, true];
            UpdateStatistics::of(&mut asked, weights, ends, residual)
        };
        assert_eq!(found((-128, 127), None), UpdateStatistics { asked: 4, stalled: 1 });
        // −128 is beyond the end −127 of a symmetric range.
        assert_eq!(found((-127, 127), None), UpdateStatistics { asked: 4, stalled: 2 });
        let [left, mut leaves] = [[0; 5], [0, 0, 1, 0, 0]].map(tensor);
        let residual = Some(Change { before: &left, after: &leaves.whole_mut() });
        assert_eq!(found((-128, 127), residual), UpdateStatistics { asked: 4, stalled: 0 });
    }
}
