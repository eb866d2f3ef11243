//! Exact linear forms of tensors, computed some elements at a time: what an update computes before its
//! one rounding.

use std::ops::Range;

use smallvec::SmallVec;

use crate::combination::NARROW;
use crate::convert::bit_length;
use crate::part::with_part_codes;
use crate::scale::{Range as ValueRange, ends};
use crate::tensor::tell_nonzero;
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{
    ActivationCurve, Combination, Converter, Lane, Multiplier, Tensor, TensorPart, with_codes,
};

/// `Σ ±factor · tensor`, element by element, without rounding.
///
/// ```
/// use systoliq_fxp::{LinearForm, Multiplier, Tensor};
/// let tensor = |format: &str, code| Tensor::from_codes(format.parse().unwrap(), 1, 1, &[code]);
/// let (w, g) = (tensor("Q1.15", 1000), tensor("Q-4.20", 600));
/// let half = Multiplier::nearest(0.5, 16)?;
/// let form = LinearForm::new([(Multiplier::ONE, &w, false), (half, &g, true)]);
/// let mut room = [0; 1];
/// let range = form.at(0..1, &mut room).range();
/// // 1000 · 2^-15 − 600 · 2^-21, at the 36 fraction bits of the product.
/// assert_eq!((range.min, range.frac), (((1000_i64 << 21) - (600 << 15)).into(), 36));
/// # Ok::<(), systoliq_fxp::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LinearForm<'a> {
    terms: SmallVec<[(Multiplier, &'a Tensor, bool); 4]>,
    /// Fraction bits of all values.
    frac: i32,
    /// No magnitude is longer, nor one on the way.
    bits: i32,
}

/// Exact values of some elements.
#[derive(Debug)]
pub enum Exact<'r> {
    /// In 64 bits.
    Narrow {
        /// Fraction bits.
        frac: i32,
        /// No magnitude is longer.
        bits: i32,
        /// The values.
        raws: &'r mut [i64],
    },
    /// Of any size.
    Wide(Combination),
}

impl<'a> LinearForm<'a> {
    /// Of tensors with their factors; those that are told are taken away, but not the first.
    ///
    /// # Panics
    ///
    /// If there are none, the first is taken away, or they have not as many elements.
    pub fn new(terms: impl IntoIterator<Item = (Multiplier, &'a Tensor, bool)>) -> Self {
        let terms: SmallVec<[_; 4]> = terms.into_iter().collect();
        let frac = |&(factor, tensor, _): &(Multiplier, &Tensor, bool)| {
            factor.exponent + tensor.format().frac()
        };
        let common = terms.iter().map(frac).max().expect("a term");
        let bits = |term: &(Multiplier, &Tensor, bool)| {
            let of_product =
                crate::combination::mantissa_bits(term.0) + term.1.format().bits() as i32;
            of_product + (common - frac(term))
        };
        let longest = terms.iter().map(bits).max().expect("a term");
        let elements = terms[0].1.len();
        let as_many = terms.iter().all(|term| term.1.len() == elements);
        assert!(as_many && !terms[0].2, "elements of tensors that are added");
        let bits = longest + terms.len() as i32 - 1;
        Self { terms, frac: common, bits }
    }

    /// The values of some elements, counted row by row.
    ///
    /// # Panics
    ///
    /// If there are not so many elements, or less room.
    pub fn at<'r>(&self, places: Range<usize>, room: &'r mut [i64]) -> Exact<'r> {
        if self.bits > NARROW {
            return Exact::Wide(self.combination(&places));
        }
        let raws = &mut room[..places.len()];
        for (at, &(factor, tensor, negative)) in self.terms.iter().enumerate() {
            let zeros = self.frac - factor.exponent - tensor.format().frac();
            let mantissa = factor.mantissa as i32 * if negative { -1 } else { 1 };
            scale(tensor, places.clone(), (mantissa, zeros as u32), at > 0, raws);
        }
        Exact::Narrow { frac: self.frac, bits: self.bits, raws }
    }

    /// Tells of each of some elements whether it is not zero.
    ///
    /// # Panics
    ///
    /// As [`at`](Self::at), and unless there is room for as many answers.
    pub fn nonzero(&self, places: Range<usize>, room: &mut [i64], tell: &mut [bool]) {
        match self.terms[..] {
            // No factor is zero.
            [(_, tensor, _)] => tensor.nonzero(places, tell),
            _ => self.at(places, room).nonzero(tell),
        }
    }

    fn combination(&self, places: &Range<usize>) -> Combination {
        let of = |&(factor, tensor, _): &(Multiplier, &Tensor, bool)| {
            Combination::of_part(factor, tensor, places.clone())
        };
        let (first, others) = self.terms.split_first().expect("a term");
        others.iter().fold(of(first), |sum, term| match term.2 {
            false => sum.plus(of(term)),
            true => sum.minus(of(term)),
        })
    }
}

/// Makes values `mantissa · 2^zeros` times some codes, or adds that to them.
fn scale(
    tensor: &Tensor,
    places: Range<usize>,
    factor: (i32, u32),
    adds: bool,
    values: &mut [i64],
) {
    with_codes!(tensor, |codes| {
        let codes = &codes.as_slice().expect("tensors are contiguous")[places];
        with_widest_vectors(TermWork { codes, factor, adds, values });
    });
}

/// Codes times a factor.
struct TermWork<'a, T> {
    codes: &'a [T],
    factor: (i32, u32),
    /// Whether they are added to the values.
    adds: bool,
    values: &'a mut [i64],
}

impl<T: Lane> VectorWork for TermWork<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // Of 32 bits, so that vector units have an instruction for its products.
        let (mantissa, zeros) = (i64::from(self.factor.0), self.factor.1 & 63);
        let scaled = |code: T| code.code().wrapping_mul(mantissa) << zeros;
        let values = self.values.iter_mut().zip(self.codes);
        match self.adds {
            true => values.for_each(|(value, &code)| *value = value.wrapping_add(scaled(code))),
            false => values.for_each(|(value, &code)| *value = scaled(code)),
        }
    }
}

impl<'r> Exact<'r> {
    /// The most bits of a magnitude that [`Narrow`](Self::Narrow) values may have.
    pub const NARROW_BITS: i32 = NARROW;

    /// 64-bit values, however long they are.
    pub fn narrow(frac: i32, raws: &'r mut [i64]) -> Self {
        let bits = |(min, max): (i64, i64)| bit_length(min.into()).max(bit_length(max.into()));
        let bits = ends(raws).map_or(0, bits);
        if bits > NARROW {
            let raws = raws.iter().map(|&raw| raw.into()).collect();
            return Self::Wide(Combination::of_big(frac, raws));
        }
        Self::Narrow { frac, bits, raws }
    }

    /// Values of 128 bits.
    pub fn wide(frac: i32, raws: &[i128]) -> Self {
        Self::Wide(Combination::of_big(frac, raws.iter().map(|&raw| raw.into()).collect()))
    }
}

impl Exact<'_> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow { raws, .. } => raws.len(),
            Self::Wide(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells of each value whether it is not zero.
    ///
    /// # Panics
    ///
    /// Unless there is room for as many answers.
    pub fn nonzero(&self, tell: &mut [bool]) {
        match self {
            Self::Narrow { raws, .. } => tell_nonzero(raws, tell),
            Self::Wide(values) => tell.copy_from_slice(&values.nonzero()),
        }
    }

    /// The smallest and the largest value.
    pub fn range(&self) -> ValueRange {
        match self {
            Self::Narrow { frac, raws, .. } => ValueRange::of(raws, 1, *frac),
            Self::Wide(values) => values.range(),
        }
    }

    /// These less the codes that were written from them.
    ///
    /// # Panics
    ///
    /// If those have more fraction bits, or are not as many.
    #[must_use]
    pub fn minus(self, written: &TensorPart<'_>) -> Self {
        let Self::Narrow { frac, bits, raws } = self else {
            return Self::Wide(self.combination().minus(Combination::of_written(written)));
        };
        let format = written.format();
        let zeros = u32::try_from(frac - format.frac()).expect("no more fraction bits");
        let longer = bits.max(format.bits() as i32 + zeros as i32) + 1;
        if longer > NARROW {
            let this = Self::Narrow { frac, bits: longer, raws };
            return Self::Wide(this.combination().minus(Combination::of_written(written)));
        }
        assert_eq!(written.places().len(), raws.len(), "codes that were written");
        with_part_codes!(written.codes(), |codes| {
            let work = TermWork { codes, factor: (-1, zeros), adds: true, values: &mut *raws };
            with_widest_vectors(work);
        });
        Self::Narrow { frac, bits: longer, raws }
    }

    /// 0 in place of every negative value.
    #[must_use]
    pub fn nonnegative(self) -> Self {
        match self {
            Self::Narrow { frac, bits, raws } => {
                raws.iter_mut().for_each(|raw| *raw = (*raw).max(0));
                Self::Narrow { frac, bits, raws }
            }
            Self::Wide(values) => Self::Wide(values.nonnegative()),
        }
    }

    /// 0 in place of every value at whose place `keeps` does not hold.
    #[must_use]
    pub fn only(self, keeps: impl Fn(usize) -> bool) -> Self {
        match self {
            Self::Narrow { frac, bits, raws } => {
                (raws.iter_mut().enumerate()).filter(|&(at, _)| !keeps(at)).for_each(|(_, raw)| {
                    *raw = 0;
                });
                Self::Narrow { frac, bits, raws }
            }
            Self::Wide(values) => Self::Wide(values.only(keeps)),
        }
    }

    /// `most · 2^-frac` in place of every larger value.
    #[must_use]
    pub fn at_most(self, most: i64, frac: i32) -> Self {
        let (Self::Narrow { frac: own, .. } | Self::Wide(Combination { frac: own, .. })) = &self;
        let common = frac.max(*own);
        let (zeros, of_most) = (common - own, common - frac);
        match self {
            Self::Narrow { bits, raws, .. }
                if bits + zeros <= NARROW && bit_length(most.into()) + of_most <= NARROW =>
            {
                let most = most << of_most;
                raws.iter_mut().for_each(|raw| *raw = (*raw << zeros).min(most));
                Self::Narrow { frac: common, bits: bits + zeros, raws }
            }
            values => Self::Wide(values.combination().at_most(most, frac)),
        }
    }

    /// What a curve makes of every value.
    #[must_use]
    pub fn through(self, curve: ActivationCurve) -> Self {
        match self {
            Self::Narrow { frac, raws, .. } => {
                curve.replace(raws, frac);
                Self::Narrow { frac: ActivationCurve::FRAC, bits: ActivationCurve::FRAC + 1, raws }
            }
            Self::Wide(values) => Self::Wide(values.through(curve)),
        }
    }

    /// Every value times the slope of a curve where the code at its place, of `frac` fraction bits, is what
    /// left that.
    #[must_use]
    pub fn times_slope(
        self,
        curve: ActivationCurve,
        code_frac: i32,
        code: impl Fn(usize) -> i64,
    ) -> Self {
        let Self::Narrow { frac, raws, .. } = self else {
            return Self::Wide(self.combination().times_slope(curve, code_frac, code));
        };
        let slope = |at: usize| curve.slope(code(at), code_frac);
        let longest = |bits: i32, value: i64| bits.max(bit_length(value.into()));
        let of_values = raws.iter().fold(0, |bits, &raw| longest(bits, raw));
        let of_slopes = (0..raws.len()).try_fold(0, |bits, at| Some(longest(bits, slope(at)?)));
        match of_slopes {
            Some(of_slopes) if of_values + of_slopes <= NARROW => {
                for (at, raw) in raws.iter_mut().enumerate() {
                    *raw *= slope(at).expect("a slope of so few bits");
                }
                let frac = frac + curve.slope_frac(code_frac);
                Self::Narrow { frac, bits: of_values + of_slopes, raws }
            }
            _ => {
                let values = Combination::narrow(frac, of_values, raws.to_vec());
                Self::Wide(values.times_slope(curve, code_frac, code))
            }
        }
    }

    /// The values, whatever their size.
    pub fn combination(self) -> Combination {
        match self {
            Self::Narrow { frac, bits, raws } => Combination::narrow(frac, bits, raws.to_vec()),
            Self::Wide(values) => values,
        }
    }

    /// Rounds every value once, as [`Combination::write`] does, and has the converter remember it.
    pub fn write(&self, converter: &mut Converter, into: TensorPart<'_>) {
        match self {
            Self::Narrow { frac, bits, raws } => {
                converter.take_from(*frac);
                converter.write_within(*bits as u32, raws, into);
            }
            Self::Wide(values) => {
                let beside = values.write(converter.conversion(), into);
                converter.add(&beside);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use systoliq_keyed_random::Key;

    use super::*;
    use crate::{Conversion, Format, Overflow, Rounding};

    /// Bits, fraction bits and whether it is signed; the power of its factor; whether it is taken away.
    type DrawnTerm = ((u32, i32, bool), f64, bool);

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..Default::default() })]

        #[test]
        fn forms_are_combinations(
            drawn in prop::collection::vec(
                ((2u32..=32, -64i32..=64, any::<bool>()), -60f64..60.0, any::<bool>()),
                1..=4,
            ),
            (tame, from, count) in (any::<bool>(), 0usize..40, 1usize..40),
            (rounding, seed) in (0usize..6, any::<u64>()),
        ) {
            let tame = |x: f64| if tame { x / 8.0 } else { x };
            let of = |(at, &((bits, frac, signed), power, negative)): (usize, &DrawnTerm)| {
                let format = Format::new(bits, tame(f64::from(frac)) as i32, signed).unwrap();
                let key = Key::new(seed).with(at as u64);
                let span = (format.max_raw() - format.min_raw() + 1) as u64;
                let code = |at: u64| match key.word(at) % 9 {
                    0 => format.min_raw(),
                    1 => format.max_raw(),
                    _ => format.min_raw() + (u64::from(key.word(at + 1000)) % span) as i64,
                };
                let codes: Vec<i64> = (0..80).map(code).collect();
                let factor = match at {
                    0 => Multiplier::ONE,
                    _ => Multiplier::nearest(tame(power).exp2(), 16).unwrap(),
                };
                (factor, Tensor::from_codes(format, 8, 10, &codes), negative && at > 0)
            };
            let drawn: Vec<_> = drawn.iter().enumerate().map(of).collect();
            let terms: Vec<_> = drawn.iter().map(|(f, tensor, n)| (*f, tensor, *n)).collect();
            let places = from..from + count;
            let (mut room, mut nonzero) = ([0; 40], [vec![false; count], vec![false; count]]);
            let form = LinearForm::new(terms);
            form.nonzero(places.clone(), &mut room, &mut nonzero[0]);
            let found = form.at(places.clone(), &mut room);
            let expected = form.combination(&places);
            found.nonzero(&mut nonzero[1]);
            prop_assert_eq!(&nonzero, &[(); 2].map(|()| expected.nonzero()));
            prop_assert_eq!(found.range(), expected.range());
            let conversion = Conversion {
                from_frac: 0,
                scale: 1,
                to: drawn[0].1.format(),
                rounding: Rounding::ALL[rounding],
                overflow: Overflow::Saturate,
                key: Key::new(seed),
                squares: true,
            };
            let mut written = [0, 1].map(|_| Tensor::zeros(conversion.to, 8, 10));
            let mut converter = Converter::new(conversion);
            found.write(&mut converter, written[0].whole_mut().at(places.clone()));
            let counted = converter.end();
            let into = written[1].whole_mut();
            prop_assert_eq!(counted, expected.write(&conversion, { into }.at(places.clone())));
            prop_assert_eq!(&written[0], &written[1]);
            // What was written has no more fraction bits than the first term.
            let left = found.minus(&written[0].whole_mut().at(places.clone()));
            let held = Combination::of_part(Multiplier::ONE, &written[0], places);
            let expected = expected.minus(held);
            prop_assert_eq!(left.range(), expected.range());
            prop_assert_eq!(left.combination().nonzero(), expected.nonzero());
        }
    }
}
