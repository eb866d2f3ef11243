//! How wide an accumulator has to be: bounds of all sums that may arise, in exact integers.

use num_bigint::BigInt;
use num_traits::{One, Signed};

use crate::convert::shift_round_big;
use crate::{Overflow, Rounding, shift_right_round};

/// How a term is brought to the fraction bits of its accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// Bits that are dropped; negative where zeros are appended.
    pub shift: i32,
    /// How they are dropped.
    pub rounding: Rounding,
}

/// The smallest and the largest code that an operand may have; 0 lies between them.
pub type Ends = (i64, i64);

/// The smallest and the largest value that a sum may take, on its way and in the end, in units of
/// its accumulator.
///
/// Both are reached by some operands, in a sum of any order and in any chunks; under stochastic
/// rounding by some random words, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SumBounds {
    low: BigInt,
    high: BigInt,
}

impl SumBounds {
    /// Of sums of `k` products of codes between these ends.
    ///
    /// Where nothing is dropped and both are signed, this is Sakr's and Shanbhag's
    /// B_A + B_B + ⌈log₂ K⌉ − 1 bits:
    ///
    /// ```
    /// use systoliq_fxp::bounds::{Alignment, SumBounds};
    /// use systoliq_fxp::{Overflow::Saturate, Rounding::Floor};
    /// let exact = Alignment { shift: 0, rounding: Floor };
    /// let bits = |a, k| SumBounds::of_products(a, (-128, 127), k, exact).bits(Saturate);
    /// assert_eq!(bits((-128, 127), 785), 8 + 8 + 10 - 1);
    /// assert_eq!(bits((0, 255), 785), 26); // 785 · 255 · −128
    /// ```
    pub fn of_products(a: Ends, b: Ends, k: u64, alignment: Alignment) -> Self {
        let (low, high) = product(a, b);
        let term = Self::of_term(low, high, alignment);
        Self { low: term.low * k, high: term.high * k }
    }

    /// Of sums of `k` codes between these ends.
    pub fn of_codes((low, high): Ends, k: u64, alignment: Alignment) -> Self {
        let term = Self::of_term(low.into(), high.into(), alignment);
        Self { low: term.low * k, high: term.high * k }
    }

    /// Of the sum of products of these weights with any codes between `other`.
    ///
    /// With w₊ and w₋ the sums of positive and of negative weights and nothing dropped, the largest
    /// is w₊ · high + w₋ · low: the bound by ‖w‖₁ of A2Q (Colbert et al., ICCV 2023), and exact also
    /// where the ends are not symmetric.
    ///
    /// ```
    /// use systoliq_fxp::bounds::{Alignment, SumBounds};
    /// use systoliq_fxp::{Overflow::Saturate, Rounding::Floor};
    /// let exact = Alignment { shift: 0, rounding: Floor };
    /// let bounds = SumBounds::of_weights([3, -5, 0], (0, 255), exact);
    /// assert_eq!(bounds.bits(Saturate), 12); // −5 · 255 … 3 · 255
    /// ```
    pub fn of_weights(
        weights: impl IntoIterator<Item = i64>,
        other: Ends,
        alignment: Alignment,
    ) -> Self {
        let Alignment { shift, rounding } = alignment;
        let (mut low, mut high) = (0i128, 0i128);
        for weight in weights {
            let (smallest, largest) = product((weight, weight), other);
            // No product has more than 64 bits, and so no use for a longer shift.
            let dropped = shift.clamp(0, 100).unsigned_abs();
            low += shift_right_round(smallest, dropped, rounding, 0);
            high += shift_right_round(largest, dropped, rounding, u32::MAX);
        }
        let zeros = (-shift).max(0);
        Self { low: BigInt::from(low) << zeros, high: BigInt::from(high) << zeros }
    }

    /// Of one term between two values.
    fn of_term(low: i128, high: i128, Alignment { shift, rounding }: Alignment) -> Self {
        // Of random words, 0 rounds down and the largest up.
        let round = |value: i128, word| shift_round_big(&value.into(), shift, rounding, word);
        Self { low: round(low, 0), high: round(high, u32::MAX) }
    }

    /// The same with one more code between these ends added last.
    pub fn plus(self, (low, high): Ends, alignment: Alignment) -> Self {
        let bias = Self::of_term(low.into(), high.into(), alignment);
        // The sum without it arises, too.
        let (below, above) = (bias.low.min(BigInt::ZERO), bias.high.max(BigInt::ZERO));
        Self { low: self.low + below, high: self.high + above }
    }

    /// Whatever arises in either.
    pub fn or(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// The fewest bits, at least 2, of an accumulator that holds both ends.
    pub fn bits(&self, overflow: Overflow) -> u32 {
        // −2^(n − 1) has n bits, but no place in a symmetric range.
        let below = match overflow {
            Overflow::SaturateSymmetric => -&self.low,
            Overflow::Saturate | Overflow::Wrap => -&self.low - BigInt::one(),
        };
        let length = |value: &BigInt| if value.is_negative() { 0 } else { value.bits() as u32 };
        (length(&below).max(length(&self.high)) + 1).max(2)
    }
}

/// The smallest and the largest product of two codes between these ends.
pub fn product(a: Ends, b: Ends) -> (i128, i128) {
    let [a, b] = [[a.0, a.1], [b.0, b.1]];
    let products = a.into_iter().flat_map(|a| b.map(|b| i128::from(a) * i128::from(b)));
    products.fold((0, 0), |(low, high), product| (low.min(product), high.max(product)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accumulator, Adder, Sum};
    use systoliq_keyed_random::Key;

    /// Every list of `count` codes between two ends.
    fn lists(count: usize, (low, high): Ends) -> Vec<Vec<i64>> {
        let mut lists = vec![Vec::new()];
        for _ in 0..count {
            let longer = |list: &Vec<i64>| {
                let list = list.clone();
                (low..=high).map(move |code| [list.clone(), vec![code]].concat())
            };
            lists = lists.iter().flat_map(longer).collect();
        }
        lists
    }

    /// Whether the sum leaves an accumulator of `bits` bits at any addition.
    fn leaves(
        bits: u32,
        [a, b]: [&[i64]; 2],
        bias: Option<(i64, i32)>,
        (shift, rounding, overflow): (i32, Rounding, Overflow),
    ) -> bool {
        let accumulator = Accumulator::new(bits, Some(0), rounding, overflow).unwrap();
        let wide = Accumulator::new(64, Some(0), rounding, overflow).unwrap();
        let [narrow, wide] = [accumulator, wide].map(|each| Adder::new(&each, shift, Key::new(0)));
        let (mut sum, mut exact) = (Sum::default(), Sum::default());
        for (k, (a, b)) in (0..).zip(a.iter().zip(b)) {
            narrow.add_product(&mut sum, (a * b).into(), 0, k);
            wide.add_product(&mut exact, (a * b).into(), 0, k);
            if sum.value != exact.value {
                return true;
            }
        }
        let k = a.len() as u64;
        wide.finish(&mut exact, bias, 0, k);
        narrow.finish(&mut sum, bias, 0, k);
        sum.value != exact.value
    }

    const DETERMINISTIC: [Rounding; 5] = [
        Rounding::Floor,
        Rounding::NearestEven,
        Rounding::NearestUp,
        Rounding::NearestAway,
        Rounding::Zero,
    ];

    #[test]
    fn the_bound_of_formats_never_overflows_and_one_bit_less_does() {
        let bias_ends = (-3, 2);
        for (a, b) in [((-2, 1), (-2, 1)), ((0, 3), (-2, 1)), ((-1, 1), (-1, 1)), ((0, 1), (0, 3))]
        {
            for (k, shift) in [(1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (2, -2)] {
                for (at, rounding) in DETERMINISTIC.into_iter().enumerate() {
                    let overflow = Overflow::ALL[at % 3];
                    let alignment = Alignment { shift, rounding };
                    let (all_a, all_b) = (lists(k, a), lists(k, b));
                    for biased in [false, true] {
                        let bounds = SumBounds::of_products(a, b, k as u64, alignment);
                        let exact = Alignment { shift: 1, rounding };
                        let bounds = if biased { bounds.plus(bias_ends, exact) } else { bounds };
                        let bits = bounds.bits(overflow);
                        let biases: Vec<_> = match biased {
                            true => (bias_ends.0..=bias_ends.1).map(|b| Some((b, 1))).collect(),
                            false => vec![None],
                        };
                        let any = |bits: u32| {
                            all_a.iter().any(|a| {
                                all_b.iter().any(|b| {
                                    let rules = (shift, rounding, overflow);
                                    biases.iter().any(|&bias| leaves(bits, [a, b], bias, rules))
                                })
                            })
                        };
                        let case = format!("{a:?} {b:?} {k} {alignment:?} {overflow:?} {biased}");
                        assert!(!any(bits), "{bits} bits: {case}");
                        assert!(bits == 2 || any(bits - 1), "{} bits: {case}", bits - 1);
                    }
                }
            }
        }
    }

    #[test]
    fn what_weights_need_never_overflows_and_one_bit_less_does() {
        for other in [(-2, 1), (0, 3), (-1, 1)] {
            for weights in lists(3, (-3, 3)) {
                for (shift, rounding) in [(0, Rounding::Floor), (-1, Rounding::Zero)]
                    .into_iter()
                    .chain(DETERMINISTIC.map(|rounding| (1, rounding)))
                {
                    let overflow = Overflow::ALL[(weights[0] + 3) as usize % 3];
                    let alignment = Alignment { shift, rounding };
                    let bounds = SumBounds::of_weights(weights.clone(), other, alignment);
                    let bits = bounds.bits(overflow);
                    let any = |bits: u32| {
                        let rules = (shift, rounding, overflow);
                        lists(3, other).iter().any(|a| leaves(bits, [&weights, a], None, rules))
                    };
                    let case = format!("{weights:?} {other:?} {alignment:?} {overflow:?}");
                    assert!(!any(bits), "{bits} bits: {case}");
                    assert!(bits == 2 || any(bits - 1), "{} bits: {case}", bits - 1);
                }
            }
        }
    }

    #[test]
    fn widths_of_the_ends_are_those_of_twos_complement() {
        for (low, high, bits, symmetric) in [
            (0, 0, 2, 2),
            (-1, 1, 2, 2),
            (-2, 1, 2, 3),
            (-2, 2, 3, 3),
            (-8, 7, 4, 5),
            (-9, 0, 5, 5),
            (0, 8, 5, 5),
        ] {
            let bounds = SumBounds { low: low.into(), high: high.into() };
            assert_eq!(bounds.bits(Overflow::Wrap), bits, "{low} {high}");
            assert_eq!(bounds.bits(Overflow::SaturateSymmetric), symmetric, "{low} {high}");
        }
    }
}
