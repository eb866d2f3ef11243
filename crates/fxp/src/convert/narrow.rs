//! Conversions that fit 64 bits, in loops that vector units take.
//!
//! Elements go in chunks: rounded and fitted as 64-bit integers, narrowed into their lanes, and
//! multiplied for the sums of squares, each in a loop of its own.

use super::{Conversion, Overflow};
use crate::statistics::{CHUNK, Products};
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{ConversionStatistics, Lane, Rounding, shift_right_round};

/// Whether the positions of `count` elements from `first` on have 32 bits beside bits that all share.
pub(super) fn numbers(first: usize, count: usize) -> bool {
    first as u64 >> 32 == (first + count.max(1) - 1) as u64 >> 32
}

/// Converts elements from position `first` on whose scaled magnitude has at most 61 bits, dropping 0 to
/// 61 of them; the longest has `longest` bits unscaled. Their positions must be ones that
/// [`numbers`] tells.
pub(super) fn convert<T: Lane>(
    conversion: &Conversion,
    first: u64,
    raws: &[i64],
    longest: u32,
    codes: &mut [T],
) -> ConversionStatistics {
    match raws.len() {
        ..=FEW => convert_in_chunks::<T, FEW>(conversion, first, raws, longest, codes),
        _ => convert_in_chunks::<T, CHUNK>(conversion, first, raws, longest, codes),
    }
}

/// So few elements that clearing the room for more of them would take longer than their conversion.
const FEW: usize = 64;

/// The same in chunks of `SIZE` elements.
fn convert_in_chunks<T: Lane, const SIZE: usize>(
    conversion: &Conversion,
    first: u64,
    raws: &[i64],
    longest: u32,
    codes: &mut [T],
) -> ConversionStatistics {
    let mut statistics = ConversionStatistics { elements: raws.len() as u64, ..Default::default() };
    let mut products = Products::default();
    let mut fitted = [0; SIZE];
    for (at, (raws, codes)) in raws.chunks(SIZE).zip(codes.chunks_mut(SIZE)).enumerate() {
        let first = first + (at * SIZE) as u64;
        let fitted = &mut fitted[..raws.len()];
        let counts = with_widest_vectors(Fit { conversion, first, raws, fitted });
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
pub(super) fn longest(raws: &[i64]) -> u32 {
    64 - with_widest_vectors(Magnitudes(raws)).leading_zeros()
}

/// All bits of all magnitudes.
struct Magnitudes<'a>(&'a [i64]);

impl VectorWork for Magnitudes<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        self.0.iter().fold(0, |bits, raw| bits | raw.unsigned_abs())
    }
}

/// Elements of which something holds.
#[derive(Clone, Copy, Default)]
struct Counts {
    overflowed: u64,
    beyond_half: u64,
    underflowed: u64,
}

/// Rounds and fits one chunk.
struct Fit<'a> {
    conversion: &'a Conversion,
    /// The position of its first element.
    first: u64,
    raws: &'a [i64],
    fitted: &'a mut [i64],
}

impl VectorWork for Fit<'_> {
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

impl Fit<'_> {
    /// The loop, specialized by the optimizer for each constant `rounding`.
    #[inline(always)]
    fn fit<const WRAP: bool>(self, rounding: Rounding) -> Counts {
        let Self { conversion, first, raws, fitted } = self;
        // As the optimizer cannot know.
        let shift = conversion.shift() as u32 & 63;
        let scale = i64::from(conversion.scale);
        let (bits, signed) = (conversion.to.bits(), conversion.to.is_signed());
        let (low, high) = conversion.overflow.ends(conversion.to);
        let (half_low, half_high) = conversion.overflow.half_ends(conversion.to);
        // No multiple of 2^32 is crossed, so that 32 bits number the elements.
        let key = match first >> 32 {
            0 => conversion.key,
            upper => conversion.key.with(upper),
        };
        let (mut overflowed, mut beyond_half, mut underflowed) = (0, 0, 0);
        let fitted = &mut fitted[..raws.len()];
        for at in 0..raws.len() {
            let raw = raws[at];
            let index = (first as u32).wrapping_add(at as u32);
            let word =
                if rounding == Rounding::Stochastic { key.word(u64::from(index)) } else { 0 };
            let rounded = shift_right_round(raw.wrapping_mul(scale), shift, rounding, word);
            let code = if WRAP {
                Overflow::wrap(rounded, bits, signed)
            } else {
                rounded.max(low).min(high)
            };
            // Sums that are checked for overflow are not made by vector units.
            let count = |sum: u64, holds: bool| sum.wrapping_add(u64::from(holds));
            overflowed = count(overflowed, code != rounded);
            beyond_half = count(beyond_half, (rounded < half_low) | (rounded > half_high));
            underflowed = count(underflowed, (rounded == 0) & (raw != 0));
            fitted[at] = code;
        }
        Counts { overflowed, beyond_half, underflowed }
    }
}

/// Puts fitted codes into their lanes.
struct Narrow<'a, T> {
    fitted: &'a [i64],
    codes: &'a mut [T],
}

impl<T: Lane> VectorWork for Narrow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (code, &fitted) in self.codes.iter_mut().zip(self.fitted) {
            *code = T::from_code(fitted);
        }
    }
}
