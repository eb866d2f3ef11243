//! Exact linear combinations of tensors: what an update computes before its one rounding.

use std::ops::Range;

use num_bigint::BigInt;
use num_traits::Zero;

use crate::real::decompose;
use crate::{
    ActivationCurve, Conversion, ConversionStatistics, Format, Multiplier, Tensor, TensorPart,
    scale,
};

/// `Σ factor · tensor`, element by element, as integers at common fraction bits, without rounding.
///
/// ```
/// use systoliq_fxp::{Combination, Conversion, Multiplier, Overflow, Rounding, Tensor};
/// use systoliq_keyed_random::Key;
/// let tensor = |format: &str, code| Tensor::from_codes(format.parse().unwrap(), 1, 1, &[code]);
/// let (w, g) = (tensor("Q1.15", 1000), tensor("Q-4.20", 600));
/// let rate = Multiplier::nearest(0.5, 16)?;
/// let exact = Combination::of(Multiplier::ONE, &w).minus(Combination::of(rate, &g));
/// let conversion = Conversion {
///     from_frac: 0,
///     scale: 1,
///     to: w.format(),
///     rounding: Rounding::NearestEven,
///     overflow: Overflow::Saturate,
///     key: Key::new(0),
///     squares: true,
/// };
/// let mut updated = Tensor::zeros(w.format(), 1, 1);
/// exact.write(&conversion, updated.whole_mut());
/// assert_eq!(updated.to_codes(), [991]); // 1000 − 9.375
/// # Ok::<(), systoliq_fxp::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combination {
    /// Fraction bits of all values.
    pub(crate) frac: i32,
    values: CombinedValues,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CombinedValues {
    /// No magnitude is longer than `bits` bits, at most [`NARROW`].
    Narrow { bits: i32, raws: Vec<i64> },
    /// Integers of any size.
    Wide(Vec<BigInt>),
}

/// The most bits of a magnitude that a conversion takes in 64 bits.
pub(crate) const NARROW: i32 = 61;

/// How many bits hold the mantissa of a factor.
pub(crate) fn mantissa_bits(factor: Multiplier) -> i32 {
    32 - factor.mantissa.leading_zeros() as i32
}

impl Combination {
    /// `factor · tensor`.
    pub fn of(factor: Multiplier, tensor: &Tensor) -> Self {
        Self::of_part(factor, tensor, 0..tensor.len())
    }

    /// The same of some elements, counted row by row.
    ///
    /// # Panics
    ///
    /// If there are not so many elements.
    pub fn of_part(factor: Multiplier, tensor: &Tensor, places: Range<usize>) -> Self {
        Self::of_codes(factor, tensor.format(), tensor.part(places))
    }

    /// What is written to a part of a tensor.
    pub(crate) fn of_written(part: &TensorPart<'_>) -> Self {
        Self::of_codes(Multiplier::ONE, part.format(), part.to_codes())
    }

    fn of_codes(factor: Multiplier, format: Format, codes: Vec<i64>) -> Self {
        let mantissa = i64::from(factor.mantissa);
        let bits = mantissa_bits(factor) + format.bits() as i32;
        let values = if bits <= NARROW {
            // As many bits hold every product.
            let raws = codes.into_iter().map(|code| mantissa.wrapping_mul(code)).collect();
            CombinedValues::Narrow { bits, raws }
        } else {
            CombinedValues::Wide(
                codes.into_iter().map(|code| BigInt::from(code) * mantissa).collect(),
            )
        };
        let frac = factor.exponent + format.frac();
        Self { frac, values }
    }

    /// Values of which none is longer than so many bits.
    pub(crate) fn narrow(frac: i32, bits: i32, raws: Vec<i64>) -> Self {
        Self { frac, values: CombinedValues::Narrow { bits, raws } }
    }

    /// Values of any size.
    pub(crate) fn of_big(frac: i32, raws: Vec<BigInt>) -> Self {
        Self { frac, values: CombinedValues::of(raws) }
    }

    /// Real values, each exactly.
    ///
    /// # Panics
    ///
    /// If a value is not finite.
    pub fn of_reals<V: Copy + Into<f64>>(values: &[V]) -> Self {
        let exact = |&value: &V| decompose(value.into()).expect("a finite value");
        let exact: Vec<(i64, i32)> = values.iter().map(exact).collect();
        let frac = exact.iter().map(|&(_, frac)| frac).max().unwrap_or_default();
        let aligned = exact.into_iter().map(|(raw, own)| BigInt::from(raw) << (frac - own));
        Self { frac, values: CombinedValues::Wide(aligned.collect()) }
    }

    /// This and `other`.
    ///
    /// # Panics
    ///
    /// Unless they have as many elements.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.and(other, false)
    }

    /// This less `other`.
    ///
    /// # Panics
    ///
    /// Unless they have as many elements.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.and(other, true)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// 0 in place of every negative value.
    #[must_use]
    pub fn nonnegative(self) -> Self {
        let values = match self.values {
            CombinedValues::Narrow { bits, raws } => {
                let raws = raws.into_iter().map(|raw| raw.max(0)).collect();
                CombinedValues::Narrow { bits, raws }
            }
            CombinedValues::Wide(raws) => {
                let zero = BigInt::zero();
                CombinedValues::Wide(raws.into_iter().map(|raw| raw.max(zero.clone())).collect())
            }
        };
        Self { values, ..self }
    }

    /// `most · 2^-frac` in place of every larger value.
    #[must_use]
    pub fn at_most(self, most: i64, frac: i32) -> Self {
        let common = self.frac.max(frac);
        let most = BigInt::from(most) << (common - frac);
        let values = self.values.wide().into_iter();
        let values = values.map(|raw| (raw << (common - self.frac)).min(most.clone()));
        Self { frac: common, values: CombinedValues::of(values.collect()) }
    }

    /// 0 in place of every value at whose place `keeps` does not hold.
    #[must_use]
    pub fn only(mut self, keeps: impl Fn(usize) -> bool) -> Self {
        let dropped = (0..self.len()).filter(|&at| !keeps(at));
        match &mut self.values {
            CombinedValues::Narrow { raws, .. } => dropped.for_each(|at| raws[at] = 0),
            CombinedValues::Wide(raws) => dropped.for_each(|at| raws[at].set_zero()),
        }
        self
    }

    /// What a curve makes of every value.
    pub(crate) fn through(self, curve: ActivationCurve) -> Self {
        let (frac, values) = (self.frac, self.values.wide().into_iter());
        let raws = values.map(|raw| curve.of_big(&raw, frac)).collect();
        Self::narrow(ActivationCurve::FRAC, ActivationCurve::FRAC + 1, raws)
    }

    /// Every value times the slope of a curve at the code of its place.
    pub(crate) fn times_slope(
        self,
        curve: ActivationCurve,
        code_frac: i32,
        code: impl Fn(usize) -> i64,
    ) -> Self {
        let frac = self.frac + curve.slope_frac(code_frac);
        let values = self.values.wide().into_iter().enumerate();
        let values = values.map(|(at, raw)| raw * curve.slope_big(code(at), code_frac));
        Self { frac, values: CombinedValues::of(values.collect()) }
    }

    /// Which values are not zero, row by row.
    pub fn nonzero(&self) -> Vec<bool> {
        match &self.values {
            CombinedValues::Narrow { raws, .. } => raws.iter().map(|&raw| raw != 0).collect(),
            CombinedValues::Wide(raws) => raws.iter().map(|raw| !raw.is_zero()).collect(),
        }
    }

    fn and(self, other: Self, negative: bool) -> Self {
        assert_eq!(self.values.len(), other.values.len(), "elements of tensors that are added");
        let frac = self.frac.max(other.frac);
        // Zeros appended to either, so that both have `frac`.
        let (ours, theirs) = (frac - self.frac, frac - other.frac);
        let bits = |values: &CombinedValues, appended: i32| match values {
            CombinedValues::Narrow { bits, .. } => Some(bits + appended),
            CombinedValues::Wide(_) => None,
        };
        let longest = bits(&self.values, ours).zip(bits(&other.values, theirs));
        let longest = longest.map(|(ours, theirs)| ours.max(theirs) + 1);
        let values = match (self.values, other.values, longest) {
            (
                CombinedValues::Narrow { mut raws, .. },
                CombinedValues::Narrow { raws: others, .. },
                Some(bits @ ..=NARROW),
            ) => {
                // As many bits hold every sum.
                let sign = if negative { -1i64 } else { 1 };
                for (raw, other) in raws.iter_mut().zip(others) {
                    let other = other.wrapping_shl(theirs as u32).wrapping_mul(sign);
                    *raw = raw.wrapping_shl(ours as u32).wrapping_add(other);
                }
                CombinedValues::Narrow { bits, raws }
            }
            (values, others, _) => {
                let pairs = values.wide().into_iter().zip(others.wide());
                let sum = |(value, other): (BigInt, BigInt)| {
                    let (value, other) = (value << ours, other << theirs);
                    if negative { value - other } else { value + other }
                };
                CombinedValues::Wide(pairs.map(sum).collect())
            }
        };
        Self { frac, values }
    }

    /// The smallest and the largest value.
    pub fn range(&self) -> scale::Range {
        match &self.values {
            CombinedValues::Narrow { raws, .. } => scale::Range::of(raws, 1, self.frac),
            CombinedValues::Wide(raws) => {
                let end = |end: Option<&BigInt>| end.cloned().unwrap_or_default();
                scale::Range {
                    min: end(raws.iter().min()),
                    max: end(raws.iter().max()),
                    frac: self.frac,
                }
            }
        }
    }

    /// Rounds every value once, as `conversion` tells, to its place in a tensor; `from_frac` of the
    /// conversion is not used.
    ///
    /// # Panics
    ///
    /// If the tensor has another format than the conversion gives, or there are not as many places.
    pub fn write(&self, conversion: &Conversion, into: TensorPart<'_>) -> ConversionStatistics {
        let conversion = Conversion { from_frac: self.frac, ..*conversion };
        match &self.values {
            CombinedValues::Narrow { raws, .. } => conversion.write(raws, into),
            CombinedValues::Wide(raws) => conversion.write_big(raws, into),
        }
    }
}

impl CombinedValues {
    /// As 64-bit integers where all are short enough.
    fn of(values: Vec<BigInt>) -> Self {
        let bits = values.iter().map(BigInt::bits).max().unwrap_or(0);
        match i32::try_from(bits) {
            Ok(bits @ ..=NARROW) => {
                let raws = values.iter().map(|raw| i64::try_from(raw).expect("so few bits"));
                Self::Narrow { bits, raws: raws.collect() }
            }
            _ => Self::Wide(values),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Narrow { raws, .. } => raws.len(),
            Self::Wide(raws) => raws.len(),
        }
    }

    fn wide(self) -> Vec<BigInt> {
        match self {
            Self::Narrow { raws, .. } => raws.into_iter().map(BigInt::from).collect(),
            Self::Wide(raws) => raws,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Overflow, Rounding};
    use num_traits::ToPrimitive;
    use proptest::prelude::*;
    use systoliq_keyed_random::Key;

    /// `value · 2^-frac`, exactly.
    type Fixed = (BigInt, i32);

    /// `fit(round(value))` in unbounded integers.
    fn by_definition((value, frac): &Fixed, conversion: &Conversion) -> i64 {
        let format = conversion.to;
        let rounded = crate::convert::shift_round_big(
            value,
            frac - format.frac(),
            conversion.rounding,
            conversion.key.word(0),
        );
        let (low, high) = conversion.overflow.ends(format);
        match conversion.overflow {
            Overflow::Wrap => {
                let modulus = BigInt::from(1i64 << format.bits());
                let residue: BigInt = ((rounded - low) % &modulus + &modulus) % modulus;
                residue.to_i64().unwrap() + low
            }
            _ => rounded.clamp(low.into(), high.into()).to_i64().unwrap(),
        }
    }

    type Drawn = ((u32, i32, i64), f64, bool);

    fn any_term() -> impl Strategy<Value = Drawn> {
        ((2u32..=32, -64i32..=64, any::<i64>()), -60f64..60.0, any::<bool>())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..Default::default() })]

        #[test]
        fn updates_equal_the_definition(
            terms in prop::collection::vec(any_term(), 1..=4),
            tame in any::<bool>(),
            mode in (0usize..6, 0usize..3, any::<u64>()),
        ) {
            let tame = |x: f64| if tame { x / 8.0 } else { x };
            let drawn: Vec<(Tensor, Multiplier, bool)> = terms
                .iter()
                .map(|&((bits, frac, raw), power, negative)| {
                    let format = Format::new(bits, tame(f64::from(frac)) as i32, true).unwrap();
                    let tensor = Tensor::from_codes(format, 1, 1, &[raw >> (64 - bits)]);
                    (tensor, Multiplier::nearest(tame(power).exp2(), 16).unwrap(), negative)
                })
                .collect();
            let (first, factor, _) = &drawn[0];
            let mut found = Combination::of(*factor, first);
            // 512 fraction bits hold every term.
            let exact = |(tensor, factor, negative): &(Tensor, Multiplier, bool)| {
                let product = BigInt::from(tensor.code(0, 0)) * factor.mantissa;
                let raw = product << (512 - factor.exponent - tensor.format().frac());
                if *negative { -raw } else { raw }
            };
            let mut expected = exact(&(first.clone(), *factor, false));
            for term in &drawn[1..] {
                let (tensor, factor, negative) = term;
                let combined = Combination::of(*factor, tensor);
                found = if *negative { found.minus(combined) } else { found.plus(combined) };
                expected += exact(term);
            }
            let (rounding, overflow, seed) = mode;
            let conversion = Conversion {
                from_frac: 0,
                scale: 1,
                to: first.format(),
                rounding: Rounding::ALL[rounding],
                overflow: Overflow::ALL[overflow],
                key: Key::new(seed),
                squares: true,
            };
            let mut tensor = Tensor::zeros(conversion.to, 1, 1);
            let statistics = found.write(&conversion, tensor.whole_mut());
            // Words of stochastic rounding count from the fraction bits that are dropped.
            let zeros = 512 - found.frac;
            prop_assert_eq!(&expected % (BigInt::from(1) << zeros), BigInt::from(0));
            let value = (&expected >> zeros, found.frac);
            prop_assert_eq!(tensor.code(0, 0), by_definition(&value, &conversion));
            let range = found.range();
            prop_assert_eq!((&range.min, &range.max), (&value.0, &value.0));
            prop_assert_eq!(found.nonzero(), [!value.0.is_zero()]);
            prop_assert_eq!(statistics.signal.is_zero(), value.0.is_zero());
        }
    }

    #[test]
    fn what_cancels_exactly_is_zero_at_any_width() {
        let tensor = |code| Tensor::from_codes("Q16.16".parse().unwrap(), 1, 2, &[code, 3]);
        for exponent in [4, 40] {
            let half = Multiplier { mantissa: 1 << 15, exponent: 16 + exponent };
            let twice = Multiplier { mantissa: 1 << 15, exponent: 14 + exponent };
            let of = |factor, code| Combination::of(factor, &tensor(code));
            let found = of(half, -8).plus(of(twice, 2));
            assert_eq!(found.nonzero(), [false, true]);
            let far = found.plus(of(Multiplier { mantissa: 1 << 15, exponent: -40 }, 0));
            assert_eq!(far.nonzero(), [false, true]);
        }
    }

    /// In 64 bits, and far beyond.
    #[test]
    fn values_are_cut_and_chosen_exactly_at_any_width() {
        let tensor = |codes: [i64; 4]| Tensor::from_codes("Q16.16".parse().unwrap(), 1, 4, &codes);
        for exponent in [-4, 40] {
            let factor = Multiplier { mantissa: 1 << 15, exponent: 15 };
            let far = Multiplier { mantissa: 1 << 15, exponent: 15 + exponent };
            let sum = Combination::of(factor, &tensor([-3, 0, 1 << 20, 5]))
                .plus(Combination::of(far, &tensor([0; 4])));
            let conversion = Conversion {
                from_frac: 0,
                scale: 1,
                to: "Q16.16".parse().unwrap(),
                rounding: Rounding::Floor,
                overflow: Overflow::Saturate,
                key: Key::new(0),
                squares: true,
            };
            let codes = |of: Combination| {
                let mut tensor = Tensor::zeros(conversion.to, 1, 4);
                of.write(&conversion, tensor.whole_mut());
                tensor.to_codes()
            };
            assert_eq!(codes(sum.clone().nonnegative()), [0, 0, 1 << 20, 5]);
            assert_eq!(codes(sum.clone().only(|at| at != 2)), [-3, 0, 0, 5]);
            // 1.5, of more fraction bits than the sum has, and of fewer.
            for frac in [1, 16, 60] {
                let cut = sum.clone().at_most(3 << (frac - 1), frac);
                assert_eq!(codes(cut), [-3, 0, 3 << 15, 5], "{frac}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "elements of tensors that are added")]
    fn tensors_of_two_sizes_are_refused() {
        let of = |rows| {
            let tensor = Tensor::zeros("Q1.7".parse().unwrap(), rows, 2);
            Combination::of(Multiplier::ONE, &tensor)
        };
        let _ = of(1).plus(of(2));
    }
}
