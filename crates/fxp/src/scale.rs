//! Where the binary point of a tensor stands: fixed, or chosen from the values.

use std::collections::VecDeque;

use num_bigint::{BigInt, BigUint};
use num_traits::One;
use serde::{Deserialize, Serialize};

use crate::convert::{Raw, shift_round_big};
use crate::real::{compose, decompose};
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{ConversionStatistics, Format, Overflow, Rounding, shift_right_round};

/// How a tensor's number of fraction bits is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// It is given.
    Static,
    /// At each step, the largest with which the tensor's smallest and largest element fit.
    Dynamic,
    /// At each step, the largest with which the smallest and largest elements of the `window`
    /// steps before would have fitted; the first step is as [`Dynamic`](Self::Dynamic).
    History {
        /// Steps remembered.
        window: u32,
    },
    /// One bit of fraction less or more, decided after every `every_batches` steps, so that the share
    /// of elements that overflow stays at `limit` (M. Courbariaux, Y. Bengio and J.-P. David, "Training
    /// deep neural networks with low precision multiplications", 2014); at first the declared one.
    OverflowRate {
        /// The largest share of elements that may overflow.
        limit: Share,
        /// Steps between decisions.
        every_batches: u32,
    },
    /// At each step, for each [block](crate::block) of `size` elements along the reduction axis of
    /// the matrix product that reads them, the largest with which its elements fit.
    Block {
        /// Elements of a block.
        size: u32,
    },
}

impl Scale {
    /// Whether the number of fraction bits follows from the smallest and the largest value.
    pub fn follows_range(self) -> bool {
        matches!(self, Self::Dynamic | Self::History { .. })
    }
}

/// A share between 0 and 1, exactly: `mantissa · 2^-frac`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    mantissa: u64,
    frac: u32,
}

impl Share {
    /// The share that `value` is, exactly; `None` unless it is between 0 and 1, ends excluded.
    pub fn new(value: f64) -> Option<Self> {
        let (mantissa, frac) = decompose(value).filter(|_| 0.0 < value && value < 1.0)?;
        Some(Self { mantissa: mantissa.unsigned_abs(), frac: frac.unsigned_abs() })
    }

    /// Whether `count` of `all` is more than this share: `count · 2^frac > mantissa · all`.
    ///
    /// ```
    /// use systoliq_fxp::scale::Share;
    /// let quarter = Share::new(0.25).unwrap();
    /// assert!(quarter.is_exceeded(26, 100) && !quarter.is_exceeded(25, 100));
    /// ```
    pub fn is_exceeded(self, count: u64, all: u64) -> bool {
        (BigUint::from(count) << self.frac) > BigUint::from(self.mantissa) * all
    }

    /// The share as a real number.
    pub fn to_f64(self) -> f64 {
        compose(self.mantissa as i64, self.frac as i32)
    }
}

/// The smallest and the largest value of a tensor just before its conversion:
/// `min · 2^-frac … max · 2^-frac`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Smallest raw value.
    pub min: BigInt,
    /// Largest raw value.
    pub max: BigInt,
    /// Fraction bits of both.
    pub frac: i32,
}

/// The least and the largest of some integers.
struct LeastAndLargest<'a, R>(&'a [R]);

impl<R: Raw> VectorWork for LeastAndLargest<'_, R> {
    type Output = (i64, i64);

    #[inline(always)]
    fn run(self) -> (i64, i64) {
        let widen = |(min, max): (R, R), &raw: &R| (min.min(raw), max.max(raw));
        let (min, max) = self.0.iter().fold((R::max_value(), R::min_value()), widen);
        (min.into(), max.into())
    }
}

/// The smallest and the largest of `raws`; `None` of nothing.
pub fn ends<R: Raw>(raws: &[R]) -> Option<(i64, i64)> {
    (!raws.is_empty()).then(|| with_widest_vectors(LeastAndLargest(raws)))
}

impl Range {
    /// The range of `raws`, each times `scale`, at `frac` fraction bits; of nothing, 0 … 0.
    pub fn of(raws: &[i64], scale: u32, frac: i32) -> Self {
        let (min, max) = ends(raws).unwrap_or_default();
        Self { min: BigInt::from(min) * scale, max: BigInt::from(max) * scale, frac }
    }

    /// The range of both.
    ///
    /// # Panics
    ///
    /// Unless both have as many fraction bits.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        assert_eq!(self.frac, other.frac, "fraction bits of ranges");
        Self { min: self.min.min(other.min), max: self.max.max(other.max), frac: self.frac }
    }

    /// The range between two integers with fraction bits of their own.
    pub fn between((min, min_frac): (i64, i32), (max, max_frac): (i64, i32)) -> Self {
        let frac = min_frac.max(max_frac);
        let aligned = |raw: i64, own: i32| BigInt::from(raw) << (frac - own);
        Self { min: aligned(min, min_frac), max: aligned(max, max_frac), frac }
    }

    /// The largest number of fraction bits in −64 … 64 with which a code of `format`'s width
    /// holds both ends, rounded to nearest-even, without overflow; −64 where none does, `None`
    /// where both ends are zero.
    ///
    /// ```
    /// use systoliq_fxp::{Format, Overflow, scale::Range};
    /// let byte = Format::new(8, 0, true)?;
    /// let fits = |min: i32, max: i32| Range { min: min.into(), max: max.into(), frac: 0 }.largest_frac(byte, Overflow::Saturate);
    /// assert_eq!(fits(0, 1), Some(6)); // 1 · 2^6 = 64
    /// assert_eq!(fits(-1, 0), Some(7)); // −1 · 2^7 = −128
    /// assert_eq!(fits(0, 255), Some(-2)); // 255 / 4 = 63.75; 255 / 2 rounds to 128
    /// assert_eq!(fits(0, 0), None);
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    pub fn largest_frac(&self, format: Format, overflow: Overflow) -> Option<i32> {
        let longest = self.min.bits().max(self.max.bits()) as i32;
        if longest == 0 {
            return None;
        }
        let (low, high) = overflow.ends(format);
        let fits = |frac: i32| {
            [&self.min, &self.max].into_iter().all(|raw| {
                let code = shift_round_big(raw, self.frac - frac, Rounding::NearestEven, 0);
                (BigInt::from(low)..=BigInt::from(high)).contains(&code)
            })
        };
        let highest = self.frac + format.bits() as i32 + 1 - longest;
        let highest = highest.min(*Format::FRAC.end());
        let frac = (*Format::FRAC.start()..=highest).rev().find(|&frac| fits(frac));
        Some(frac.unwrap_or(*Format::FRAC.start()))
    }
}

/// The same as [`Range::largest_frac`] of ends of at most 61 bits, each.
pub(crate) fn largest_frac(
    (min, max): (i64, i64),
    own: i32,
    format: Format,
    overflow: Overflow,
) -> Option<i32> {
    let longest = 64 - (min.unsigned_abs() | max.unsigned_abs()).leading_zeros() as i32;
    if longest == 0 {
        return None;
    }
    let (low, high) = overflow.ends(format);
    let code = |raw: i64, shift: i32| match shift {
        ..=0 => raw << -shift,
        62.. => 0,
        _ => shift_right_round(raw, shift as u32, Rounding::NearestEven, 0),
    };
    let fits = |frac: i32| {
        let ends = [min, max].map(|raw| code(raw, own - frac));
        low <= ends[0] && ends[1] <= high && low <= ends[1] && ends[0] <= high
    };
    let highest = (own + format.bits() as i32 + 1 - longest).min(*Format::FRAC.end());
    let frac = (*Format::FRAC.start()..=highest).rev().find(|&frac| fits(frac));
    Some(frac.unwrap_or(*Format::FRAC.start()))
}

/// The largest number of fraction bits in −64 … 64 with which a signed code of `bits` bits holds
/// `±2^spare / √fan_in`, rounded to nearest-even: the scale of weights that start uniform in
/// `±1/√fan_in` and may grow `2^spare`-fold.
///
/// ```
/// use systoliq_fxp::scale::initial_frac;
/// assert_eq!(initial_frac(64, 8, 2), 7); // 4/8 · 2^7 = 64; 4/8 · 2^8 = 128 does not fit
/// assert_eq!(initial_frac(784, 8, 2), 9); // 4/28 · 2^9 = 73.1
/// ```
///
/// # Panics
///
/// If `fan_in` is 0.
pub fn initial_frac(fan_in: usize, bits: u32, spare: u32) -> i32 {
    assert!(fan_in > 0, "a fan-in of 0");
    // round(2^(spare + f) / √n) ≤ max ⟺ 2^(spare + f) / √n < max + 1/2, as max is odd and a tie
    // would go up to max + 1: ⟺ 2^(2(spare + f) + 2) < n (2 max + 1)².
    let end = BigUint::from((1u64 << bits) - 1);
    let bound = BigUint::from(fan_in) * &end * &end;
    let fits = |frac: i32| {
        let power = 2 * (spare as i32 + frac) + 2;
        if power < 0 { true } else { (BigUint::one() << power) < bound }
    };
    let frac = Format::FRAC.rev().find(|&frac| fits(frac));
    frac.unwrap_or(*Format::FRAC.start())
}

/// What a tensor's scale remembers of the steps before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The fraction bits of the step before.
    last: Option<i32>,
    /// What each step's own values would have allowed, oldest first; `None` for all zeros.
    window: VecDeque<Option<i32>>,
    /// What conversions did since the last decision of an overflow rate.
    since: Since,
}

/// What conversions of some steps did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    steps: u32,
    elements: u64,
    overflowed: u64,
    beyond_half: u64,
    /// Whether any element was not zero.
    nonzero: bool,
}

impl History {
    /// Whether [`choose`](Self::choose) needs the range of the present values, and so the whole
    /// tensor before its first element can be converted.
    pub fn needs_range(&self, scale: Scale) -> bool {
        match scale {
            Scale::Static | Scale::OverflowRate { .. } | Scale::Block { .. } => false,
            Scale::Dynamic => true,
            Scale::History { .. } => self.window.is_empty(),
        }
    }

    /// The fraction bits of this step, for a tensor whose declared format is `format` and whose
    /// present values would allow `fit`.
    pub fn choose(&self, scale: Scale, format: Format, fit: Option<i32>) -> i32 {
        let present = || fit.or(self.last).unwrap_or(format.bits() as i32 - 1);
        match scale {
            Scale::Static | Scale::Block { .. } => format.frac(),
            Scale::OverflowRate { .. } => self.last.unwrap_or(format.frac()),
            Scale::Dynamic => present(),
            Scale::History { .. } if self.window.is_empty() => present(),
            Scale::History { .. } => {
                let smallest = self.window.iter().filter_map(|&fit| fit).min();
                smallest.or(self.last).unwrap_or(format.bits() as i32 - 1)
            }
        }
    }

    /// Whether a tensor of this scale can have it: possible fraction bits, and counts of no more steps
    /// than are looked at together, of at most so many elements each.
    pub fn is_possible(&self, scale: Scale, elements_max: u64) -> bool {
        let possible = |frac: &i32| Format::FRAC.contains(frac);
        let window_max = if let Scale::History { window } = scale { window as usize } else { 0 };
        let Since { steps, elements, overflowed, beyond_half, .. } = self.since;
        let since = match scale {
            Scale::OverflowRate { every_batches, .. } => steps < every_batches,
            _ => self.since == Since::default(),
        };
        self.window.iter().flatten().chain(&self.last).all(possible)
            && self.window.len() <= window_max
            && since
            && u128::from(elements) <= u128::from(steps) * u128::from(elements_max)
            && overflowed <= beyond_half
            && beyond_half <= elements
    }

    /// Remembers what the conversion of a training step did, and decides where it is time: one bit of
    /// fraction less if more elements overflowed than the limit allows; one more if with half the range
    /// no more would have. Steps of zeros decide nothing.
    pub fn observe(&mut self, scale: Scale, format: Format, did: &ConversionStatistics) {
        let Scale::OverflowRate { limit, every_batches } = scale else { return };
        let since = &mut self.since;
        since.steps += 1;
        since.elements += did.elements;
        since.overflowed += did.overflowed;
        since.beyond_half += did.beyond_half;
        since.nonzero |= did.nonzero > 0;
        if since.steps < every_batches {
            return;
        }
        let Since { elements, overflowed, beyond_half, nonzero, .. } = std::mem::take(since);
        let frac = self.last.unwrap_or(format.frac());
        let next = if limit.is_exceeded(overflowed, elements) {
            frac - 1
        } else if nonzero && !limit.is_exceeded(beyond_half, elements) {
            frac + 1
        } else {
            frac
        };
        self.last = Some(next.clamp(*Format::FRAC.start(), *Format::FRAC.end()));
    }

    /// Remembers a training step: what its values would have allowed and what was chosen.
    pub fn record(&mut self, scale: Scale, fit: Option<i32>, chosen: i32) {
        if scale != Scale::Static {
            self.last = Some(chosen);
        }
        if let Scale::History { window } = scale {
            self.window.push_back(fit);
            while self.window.len() > window as usize {
                self.window.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_frac_fits_and_one_more_does_not() {
        let ends = [
            0i128,
            1,
            -1,
            2,
            3,
            -3,
            127,
            128,
            -128,
            -129,
            255,
            256,
            1000,
            -12345,
            1 << 40,
            -(1 << 79),
        ];
        for bits in [2, 3, 8, 16, 32] {
            for signed in [true, false] {
                let format = Format::new(bits, 0, signed).unwrap();
                for overflow in Overflow::ALL {
                    for (min, max) in ends.iter().flat_map(|&a| ends.map(|b| (a.min(b), a.max(b))))
                    {
                        for frac in [-30, 0, 7, 60] {
                            let range = Range { min: min.into(), max: max.into(), frac };
                            let Some(largest) = range.largest_frac(format, overflow) else {
                                assert_eq!((min, max), (0, 0));
                                continue;
                            };
                            let overflows = |target: i32| {
                                let conversion = crate::Conversion {
                                    from_frac: frac,
                                    scale: 1,
                                    to: format.with_frac(target),
                                    rounding: Rounding::NearestEven,
                                    overflow,
                                    key: systoliq_keyed_random::Key::new(0),
                                    squares: true,
                                };
                                conversion.convert(min, 0).overflowed
                                    || conversion.convert(max, 0).overflowed
                            };
                            let case = format!("{range:?} {format} {overflow:?}: {largest}");
                            assert!(largest == -64 || !overflows(largest), "{case}");
                            assert!(largest == 64 || overflows(largest + 1), "{case}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn initial_fracs_equal_those_of_floats_away_from_ties() {
        for fan_in in 1..=1000usize {
            for bits in [2, 4, 8, 16, 24] {
                for spare in 0..4 {
                    let bound = f64::from(1 << spare) / (fan_in as f64).sqrt();
                    let max = f64::from((1u32 << (bits - 1)) - 1);
                    let expected = (-64..=64)
                        .rev()
                        .find(|&frac| (bound * 2f64.powi(frac)).round_ties_even() <= max)
                        .unwrap();
                    assert_eq!(
                        initial_frac(fan_in, bits, spare),
                        expected,
                        "{fan_in} {bits} {spare}"
                    );
                }
            }
        }
    }

    #[test]
    fn history_forgets_after_its_window_and_keeps_its_scale_over_zeros() {
        let scale = Scale::History { window: 2 };
        let format = Format::new(8, 0, true).unwrap();
        let mut history = History::default();
        assert_eq!(history.choose(scale, format, None), 7, "all zeros at the first step");
        let mut chosen = Vec::new();
        for fit in [Some(3), Some(9), Some(5), None, None, None, Some(1)] {
            let frac = history.choose(scale, format, fit);
            history.record(scale, fit, frac);
            chosen.push(frac);
        }
        // First as dynamic; then min of the two before; zeros do not count; all zeros keep.
        assert_eq!(chosen, [3, 3, 3, 5, 5, 5, 5]);
    }

    /// Codes of 4 bits, −8 … 7, half of which is −4 … 3; at most a quarter may overflow, decided every
    /// two steps.
    #[test]
    fn an_overflow_rate_moves_the_point_as_counted_by_hand() {
        let limit = Share::new(0.25).unwrap();
        let scale = Scale::OverflowRate { limit, every_batches: 2 };
        let format: Format = "Q2.2".parse().unwrap();
        let mut history = History::default();
        let mut step = |quarters: [i64; 4]| {
            let frac = history.choose(scale, format, None);
            history.record(scale, None, frac);
            let conversion = crate::Conversion {
                from_frac: 2,
                scale: 1,
                to: format.with_frac(frac),
                rounding: Rounding::Floor,
                overflow: Overflow::Saturate,
                key: systoliq_keyed_random::Key::new(0),
                squares: true,
            };
            let (_, did) = conversion.tensor(1, 4, &quarters);
            history.observe(scale, format, &did);
            (frac, did.overflowed, did.beyond_half)
        };
        // Two of eight overflow, no more than a quarter; four would at half the range: it stays.
        assert_eq!(step([8, 8, 4, 3]), (2, 2, 3));
        assert_eq!(step([-8, 3, -4, 0]), (2, 0, 1));
        // Three of eight overflow: the range doubles.
        assert_eq!(step([8, -9, 9, 0]), (2, 3, 3));
        assert_eq!(step([0, 0, 0, 0]), (2, 0, 0));
        // At one bit of fraction 8 is 4, beyond half; −9 is −5 by floor, 7 is 3: two of eight, as many
        // as may be, so the range is halved.
        assert_eq!(step([8, -9, 7, 0]), (1, 0, 2));
        assert_eq!(step([1, 1, 1, 1]), (1, 0, 0));
        // Zeros decide nothing.
        assert_eq!(step([0; 4]), (2, 0, 0));
        assert_eq!(step([0; 4]), (2, 0, 0));
        assert_eq!(step([1; 4]), (2, 0, 0));
    }

    #[test]
    fn an_overflow_rate_settles_where_the_share_allows() {
        // Of 1000 values 0 … 999 in 8 bits signed, 1 % may overflow: 127 · 2^3 = 1016 holds all;
        // 127 · 2^2 = 508 would lose half of them.
        let limit = Share::new(0.01).unwrap();
        let scale = Scale::OverflowRate { limit, every_batches: 1 };
        let values: Vec<i64> = (0..1000).collect();
        for start in [-20, 0, 7, 30] {
            let format = Format::new(8, start, true).unwrap();
            let mut history = History::default();
            for _ in 0..40 {
                let frac = history.choose(scale, format, None);
                history.record(scale, None, frac);
                let conversion = crate::Conversion {
                    from_frac: 0,
                    scale: 1,
                    to: format.with_frac(frac),
                    rounding: Rounding::NearestEven,
                    overflow: Overflow::Saturate,
                    key: systoliq_keyed_random::Key::new(0),
                    squares: true,
                };
                history.observe(scale, format, &conversion.tensor(1, 1000, &values).1);
            }
            assert_eq!(history.choose(scale, format, None), -3, "from {start}");
        }
    }

    #[test]
    fn shares_are_compared_exactly() {
        // The f64 below 0.1 that 0.1 is not: 1/10 lies below the f64 0.1.
        let tenth = Share::new(0.1).unwrap();
        assert!(!tenth.is_exceeded(1, 10) && tenth.is_exceeded(2, 10));
        let below = Share::new(f64::from_bits(0.1f64.to_bits() - 1)).unwrap();
        assert!(below.is_exceeded(1, 10));
        assert!(Share::new(5e-324).unwrap().is_exceeded(1, u64::MAX));
        assert!(
            [0.0, 1.0, -0.1, f64::NAN, 2.0].into_iter().all(|value| Share::new(value).is_none())
        );
    }

    #[test]
    fn dynamic_follows_the_values_and_keeps_its_scale_over_zeros() {
        let format = Format::new(8, 0, true).unwrap();
        let mut history = History::default();
        let mut chosen = Vec::new();
        for fit in [None, Some(3), None, Some(-2)] {
            let frac = history.choose(Scale::Dynamic, format, fit);
            history.record(Scale::Dynamic, fit, frac);
            chosen.push(frac);
        }
        assert_eq!(chosen, [7, 3, 3, -2]);
    }
}
