//! Conversions that fit 32 or 64 bits, in loops that vector units take.
//!
//! Elements go in chunks: scaled, rounded and fitted as integers of a type `W`, narrowed into their lanes, and
//! multiplied for the sums of squares, each in a loop of its own.

use super::{Conversion, Overflow, Raw};
use crate::statistics::{CHUNK, Products};
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{ConversionStatistics, Lane, Rounding, shift_right_round};

/// Whether the positions of `count` elements from `first` on have 32 bits beside bits that all share.
pub(super) fn numbers(first: usize, count: usize) -> bool {
    first as u64 >> 32 == (first + count.max(1) - 1) as u64 >> 32
}

/// Converts elements from position `first` on whose scaled magnitude has at most three bits less than `W`, dropping 0
/// to as many of them; the longest has `longest` bits unscaled. Their positions must be ones that
/// [`numbers`] tells.
pub(super) fn convert<R: Raw, W: Raw, T: Lane>(
    conversion: &Conversion,
    first: u64,
    raws: &[R],
    longest: u32,
    codes: &mut [T],
) -> ConversionStatistics {
    match raws.len() {
        ..=FEW => convert_in_chunks::<R, W, T, FEW>(conversion, first, raws, longest, codes),
        _ => convert_in_chunks::<R, W, T, CHUNK>(conversion, first, raws, longest, codes),
    }
}

/// So few elements that clearing the room for more of them would take longer than their conversion.
const FEW: usize = 64;

/// The same in chunks of `SIZE` elements.
fn convert_in_chunks<R: Raw, W: Raw, T: Lane, const SIZE: usize>(
    conversion: &Conversion,
    first: u64,
    raws: &[R],
    longest: u32,
    codes: &mut [T],
) -> ConversionStatistics {
    let mut statistics = ConversionStatistics { elements: raws.len() as u64, ..Default::default() };
    let mut products = Products::default();
    let mut fitted = [W::zero(); SIZE];
    for (at, (raws, codes)) in raws.chunks(SIZE).zip(codes.chunks_mut(SIZE)).enumerate() {
        let first = first + (at * SIZE) as u64;
        let fitted = &mut fitted[..raws.len()];
        with_widest_vectors(ScaleChunk { raws, scale: conversion.scale, scaled: fitted });
        let counts = with_widest_vectors(Fit { conversion, first, fitted });
        statistics.overflowed += counts.overflowed;
        statistics.beyond_half += counts.beyond_half;
        statistics.underflowed += counts.underflowed;
        with_widest_vectors(Narrow { fitted, codes });
        products.add_chunk(raws, fitted, [longest, conversion.to.bits()]);
    }
    conversion.finish(&mut statistics, products);
    statistics
}

/// The bits of the longest magnitude.
pub(super) fn longest<R: Raw>(raws: &[R]) -> u32 {
    R::BITS - with_widest_vectors(Magnitudes(raws)).leading_zeros()
}

/// All bits of all magnitudes.
struct Magnitudes<'a, R>(&'a [R]);

impl<R: Raw> VectorWork for Magnitudes<'_, R> {
    type Output = R;

    #[inline(always)]
    fn run(self) -> R {
        self.0.iter().fold(R::zero(), |bits, &raw| {
            let negated = R::zero().wrapping_sub(&raw);
            bits | if raw < R::zero() { negated } else { raw }
        })
    }
}

/// Multiplies one chunk by the factor.
struct ScaleChunk<'a, R, W> {
    raws: &'a [R],
    scale: u32,
    scaled: &'a mut [W],
}

impl<R: Raw, W: Raw> VectorWork for ScaleChunk<'_, R, W> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { raws, scale, scaled } = self;
        let values = scaled.iter_mut().zip(raws);
        if scale == 1 {
            values.for_each(|(scaled, &raw)| *scaled = W::from_raw(raw.into()));
        } else {
            let scale = W::from_raw(scale.into());
            values.for_each(|(scaled, &raw)| {
                *scaled = W::from_raw(raw.into()).wrapping_mul(&scale);
            });
        }
    }
}

/// Elements of which something holds.
#[derive(Clone, Copy, Default)]
struct Counts {
    overflowed: u64,
    beyond_half: u64,
    underflowed: u64,
}

/// Rounds and fits one chunk of scaled elements.
struct Fit<'a, W> {
    conversion: &'a Conversion,
    /// The position of its first element.
    first: u64,
    fitted: &'a mut [W],
}

impl<W: Raw> VectorWork for Fit<'_, W> {
    type Output = Counts;

    #[inline(always)]
    fn run(self) -> Counts {
        // Where nothing is dropped, nothing is rounded.
        let rounding = match self.conversion.shift() {
            0 => Rounding::Floor,
            _ => self.conversion.rounding,
        };
        match (rounding, self.conversion.overflow == Overflow::Wrap) {
            (Rounding::Floor, false) => self.fit::<false>(Rounding::Floor),
            (Rounding::Floor, true) => self.fit::<true>(Rounding::Floor),
            (Rounding::NearestEven, false) => self.fit::<false>(Rounding::NearestEven),
            (Rounding::NearestEven, true) => self.fit::<true>(Rounding::NearestEven),
            (Rounding::NearestUp, false) => self.fit::<false>(Rounding::NearestUp),
            (Rounding::NearestUp, true) => self.fit::<true>(Rounding::NearestUp),
            (Rounding::NearestAway, false) => self.fit::<false>(Rounding::NearestAway),
            (Rounding::NearestAway, true) => self.fit::<true>(Rounding::NearestAway),
            (Rounding::Zero, false) => self.fit::<false>(Rounding::Zero),
            (Rounding::Zero, true) => self.fit::<true>(Rounding::Zero),
            (Rounding::Stochastic, false) => self.fit::<false>(Rounding::Stochastic),
            (Rounding::Stochastic, true) => self.fit::<true>(Rounding::Stochastic),
        }
    }
}

/// `value` modulo `2^bits`, in two's complement if `signed`, where `bits` are fewer than those of the type.
#[inline(always)]
fn wrapped<W: Raw>(value: W, bits: u32, signed: bool) -> W {
    let unused = (W::BITS - bits) as usize;
    match signed {
        true => (value << unused) >> unused,
        false => value & ((W::one() << bits as usize) - W::one()),
    }
}

/// An end of a format as a register holds it that no value leaves by more than its own ends.
fn end<W: Raw>(end: i64) -> W {
    W::from(end).unwrap_or(if end < 0 { W::min_value() } else { W::max_value() })
}

impl<W: Raw> Fit<'_, W> {
    /// The loop, specialized by the optimizer for each constant `rounding`.
    #[inline(always)]
    fn fit<const WRAP: bool>(self, rounding: Rounding) -> Counts {
        let Self { conversion, first, fitted } = self;
        // As the optimizer cannot know.
        let shift = conversion.shift() as u32 & (W::BITS - 1);
        let (bits, signed) = (conversion.to.bits(), conversion.to.is_signed());
        let (low, high) = conversion.overflow.ends(conversion.to);
        let (half_low, half_high) = conversion.overflow.half_ends(conversion.to);
        let [low, high, half_low, half_high] = [low, high, half_low, half_high].map(end::<W>);
        // No multiple of 2^32 is crossed, so that 32 bits number the elements.
        let key = match first >> 32 {
            0 => conversion.key,
            upper => conversion.key.with(upper),
        };
        let (mut overflowed, mut beyond_half, mut underflowed) = (W::zero(), W::zero(), W::zero());
        for (at, value) in fitted.iter_mut().enumerate() {
            let index = (first as u32).wrapping_add(at as u32);
            let word =
                if rounding == Rounding::Stochastic { key.word(u64::from(index)) } else { 0 };
            let rounded = shift_right_round(*value, shift, rounding, word);
            let code =
                if WRAP { wrapped(rounded, bits, signed) } else { rounded.max(low).min(high) };
            // Sums that are checked for overflow are not made by vector units.
            let count =
                |sum: W, holds: bool| sum.wrapping_add(&if holds { W::one() } else { W::zero() });
            overflowed = count(overflowed, code != rounded);
            beyond_half = count(beyond_half, (rounded < half_low) | (rounded > half_high));
            underflowed = count(underflowed, (rounded == W::zero()) & (*value != W::zero()));
            *value = code;
        }
        let count = |count: W| count.into() as u64;
        Counts {
            overflowed: count(overflowed),
            beyond_half: count(beyond_half),
            underflowed: count(underflowed),
        }
    }
}

/// Puts fitted codes into their lanes.
struct Narrow<'a, W, T> {
    fitted: &'a [W],
    codes: &'a mut [T],
}

impl<W: Raw, T: Lane> VectorWork for Narrow<'_, W, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (code, &fitted) in self.codes.iter_mut().zip(self.fitted) {
            *code = T::from_code(fitted.into());
        }
    }
}
