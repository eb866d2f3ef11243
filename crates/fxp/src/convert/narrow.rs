//! Conversions that fit 32 or 64 bits, in loops that vector units take.
//!
//! Elements go in chunks, through loops of their own: random words are drawn, values are scaled and rounded as integers of a
//! type `W`, and what that gives is fitted as one of a type `M`, put into its lane, and multiplied for the sums of squares.

use num_traits::{PrimInt, WrappingAdd};

use super::{Conversion, Converter, Overflow, Raw};
use crate::shifts::{SHIFT_MAX, shifted, with_mode};
use crate::statistics::{CHUNK, Products};
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{ConversionStatistics, Lane, Rounding};

/// Whether the positions of `count` elements from `first` on have 32 bits beside bits that all share.
pub(crate) fn numbers(first: usize, count: usize) -> bool {
    first as u64 >> 32 == (first + count.max(1) - 1) as u64 >> 32
}

/// Room for what is on its way through the loops.
#[derive(Debug)]
pub(super) struct Room {
    words: [u32; CHUNK],
    short: [i16; CHUNK],
    narrow: [i32; CHUNK],
    wide: [i64; CHUNK],
}

impl Room {
    pub(super) fn new() -> Self {
        Self { words: [0; CHUNK], short: [0; CHUNK], narrow: [0; CHUNK], wide: [0; CHUNK] }
    }
}

/// A register for a rounded value.
trait RoundingRegister: PrimInt + WrappingAdd + Into<i64> {
    /// Its width.
    const BITS: u32;

    /// The nearest value that it holds.
    fn nearest(value: i64) -> Self;

    /// Whether what it holds of a rounded value tells all ends of the format.
    fn tells(conversion: &Conversion) -> bool {
        conversion.overflow != Overflow::Wrap && conversion.to.bits() + 2 <= Self::BITS
    }
}

macro_rules! impl_register {
    ($($register:ty),*) => {$(
        impl RoundingRegister for $register {
            const BITS: u32 = <$register>::BITS;

            #[inline(always)]
            fn nearest(value: i64) -> Self {
                value.max(Self::MIN.into()).min(Self::MAX.into()) as Self
            }
        }
    )*};
}
impl_register!(i16, i32, i64);

impl Converter {
    /// Converts elements from position `first` on whose scaled magnitude has at most three bits less than `W`, dropping 0
    /// to as many of them; the longest has `longest` bits unscaled. Their positions must be ones that
    /// [`numbers`] tells.
    pub(super) fn narrow<R: Raw, W: Raw, T: Lane>(
        &mut self,
        first: u64,
        raws: &[R],
        longest: u32,
        codes: &mut [T],
    ) {
        let Self { conversion, statistics, products, room } = self;
        let Room { words, short, narrow, wide } = room;
        let mut done = Done { conversion, statistics, products, words, longest };
        match () {
            () if i16::tells(conversion) => done.in_chunks::<_, W, _, _>(first, raws, short, codes),
            () if i32::tells(conversion) => {
                done.in_chunks::<_, W, _, _>(first, raws, narrow, codes)
            }
            () => done.in_chunks::<_, W, _, _>(first, raws, wide, codes),
        }
    }

    /// Converts elements from position `first` on, each with a shift of its own, of at most [`SHIFT_MAX`] bits and, if it is
    /// negative, no further than codes reach. Scaled magnitudes have at most [`BITS_OF_EACH`]; positions are ones that
    /// [`numbers`] tells of from 0. Squares are not summed.
    pub(crate) fn write_each<R: Raw, T: Lane>(
        &mut self,
        first: usize,
        (raws, shifts): (&[R], &[i32]),
        codes: &mut [T],
    ) {
        let Self { conversion, statistics, room, .. } = self;
        debug_assert!(shifts.iter().all(|&shift| shift <= SHIFT_MAX));
        let elements = (first as u32, raws, shifts);
        match i32::tells(conversion) {
            true => each_in_chunks(conversion, elements, &mut room.narrow, codes, statistics),
            false => each_in_chunks(conversion, elements, &mut room.wide, codes, statistics),
        }
    }
}

/// What a conversion has done, and its words.
struct Done<'a> {
    conversion: &'a Conversion,
    statistics: &'a mut ConversionStatistics,
    products: &'a mut Products,
    words: &'a mut [u32; CHUNK],
    longest: u32,
}

impl Done<'_> {
    fn in_chunks<R: Raw, W: Raw, M: RoundingRegister, T: Lane>(
        &mut self,
        first: u64,
        raws: &[R],
        rounded: &mut [M; CHUNK],
        codes: &mut [T],
    ) {
        let Self { conversion, longest, .. } = *self;
        // Where nothing is dropped, nothing is rounded.
        let rounding = match conversion.shift() {
            0 => Rounding::Floor,
            _ => conversion.rounding,
        };
        let chunks = raws.chunks(CHUNK).zip(codes.chunks_mut(CHUNK));
        for (first, (raws, codes)) in (first..).step_by(CHUNK).zip(chunks) {
            let (words, rounded) = (&mut self.words[..raws.len()], &mut rounded[..raws.len()]);
            if rounding == Rounding::Stochastic {
                with_widest_vectors(RandomWords { conversion, first, words });
            }
            let zeros = with_widest_vectors(Round::<R, W, M> {
                conversion,
                rounding,
                raws,
                words,
                rounded,
                width: std::marker::PhantomData,
            });
            let counts = with_widest_vectors(Fit { conversion, rounded, codes });
            self.statistics.add_counts(&counts, raws.len(), zeros);
            if conversion.squares {
                let shift = conversion.shift() as u32;
                let fits = counts.overflowed == 0 && conversion.scale == 1;
                if fits && Products::takes_rounded(longest, conversion.to.bits(), shift) {
                    self.products.add_rounded(raws, codes, shift);
                } else {
                    self.products.add_chunk(raws, codes, [longest, conversion.to.bits()]);
                }
            }
        }
    }
}

/// The most bits of the magnitude of a scaled value with a shift of its own.
pub(crate) const BITS_OF_EACH: u32 = 61;

fn each_in_chunks<R: Raw, M: RoundingRegister, T: Lane>(
    conversion: &Conversion,
    (first, raws, shifts): (u32, &[R], &[i32]),
    rounded: &mut [M; CHUNK],
    codes: &mut [T],
    statistics: &mut ConversionStatistics,
) {
    let chunks = raws.chunks(CHUNK).zip(shifts.chunks(CHUNK)).zip(codes.chunks_mut(CHUNK));
    for (first, ((raws, shifts), codes)) in (first..).step_by(CHUNK).zip(chunks) {
        let rounded = &mut rounded[..raws.len()];
        let zeros = with_widest_vectors(RoundEach { conversion, first, raws, shifts, rounded });
        let counts = with_widest_vectors(Fit { conversion, rounded, codes });
        statistics.add_counts(&counts, raws.len(), zeros);
    }
}

impl ConversionStatistics {
    /// Adds what fitting elements did of which some were zeros. A zero stays one.
    fn add_counts(&mut self, counts: &Counts, elements: usize, zeros: u64) {
        let nonzero = elements as u64 - zeros;
        self.elements += elements as u64;
        self.overflowed += counts.overflowed;
        self.beyond_half += counts.beyond_half;
        self.underflowed += nonzero - counts.nonzero;
        self.nonzero += nonzero;
    }
}

/// Scales and rounds elements, each with a shift of its own; says how many are zero before.
struct RoundEach<'a, R, M> {
    conversion: &'a Conversion,
    first: u32,
    raws: &'a [R],
    shifts: &'a [i32],
    rounded: &'a mut [M],
}

impl<R: Raw, M: RoundingRegister> VectorWork for RoundEach<'_, R, M> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        with_mode!(self.conversion.rounding, MODE => self.round::<MODE>())
    }
}

impl<R: Raw, M: RoundingRegister> RoundEach<'_, R, M> {
    #[inline(always)]
    fn round<const MODE: usize>(self) -> u64 {
        let Conversion { key, scale, .. } = *self.conversion;
        let mut zeros = 0u32;
        let values = self.raws.iter().zip(self.shifts).zip(self.rounded);
        for (at, ((&raw, &shift), rounded)) in values.enumerate() {
            zeros = zeros.wrapping_add(u32::from(raw == R::zero()));
            let word = || key.word(self.first.wrapping_add(at as u32).into());
            let value = raw.into().wrapping_mul(scale.into());
            *rounded = M::nearest(shifted::<MODE>(value, shift, word));
        }
        zeros.into()
    }
}

/// The bits of the longest magnitude.
pub(crate) fn longest<R: Raw>(raws: &[R]) -> u32 {
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

/// Draws the random words of elements, as many of their upper bits as are dropped.
struct RandomWords<'a> {
    conversion: &'a Conversion,
    /// The position of the first.
    first: u64,
    words: &'a mut [u32],
}

impl VectorWork for RandomWords<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { conversion, first, words } = self;
        // No multiple of 2^32 is crossed, so that 32 bits number the elements.
        let key = match first >> 32 {
            0 => conversion.key,
            upper => conversion.key.with(upper),
        };
        // As the optimizer cannot know.
        let unused = (32 - conversion.shift().min(32)) as u32 & 31;
        for (at, word) in words.iter_mut().enumerate() {
            let index = (first as u32).wrapping_add(at as u32);
            *word = key.word(u64::from(index)) >> unused;
        }
    }
}

/// Scales and rounds elements; says how many are zero before.
struct Round<'a, R, W, M> {
    conversion: &'a Conversion,
    rounding: Rounding,
    raws: &'a [R],
    /// Of stochastic rounding.
    words: &'a [u32],
    /// The next integers, of which those that `M` does not hold are the nearest that it does.
    rounded: &'a mut [M],
    width: std::marker::PhantomData<W>,
}

impl<R: Raw, W: Raw, M: RoundingRegister> VectorWork for Round<'_, R, W, M> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        // As the optimizer cannot know.
        let shift = self.conversion.shift() as u32 & (W::BITS - 1);
        let (dropped, one) = (shift as usize, W::one());
        let half = (one << dropped) >> 1;
        match self.rounding {
            Rounding::Floor => self.round(|_, _| W::zero()),
            Rounding::NearestEven => {
                let less = half - one;
                self.round(|value, _| less.wrapping_add(&((value >> dropped) & one)))
            }
            Rounding::NearestUp => self.round(|_, _| half),
            Rounding::NearestAway => {
                let less = half - one;
                self.round(|value, _| if value < W::zero() { less } else { half })
            }
            Rounding::Zero => {
                let below = (one << dropped) - one;
                self.round(|value, _| if value < W::zero() { below } else { W::zero() })
            }
            Rounding::Stochastic => {
                let padding = shift.saturating_sub(32) as usize;
                self.round(|_, word| W::from_raw(word.into()) << padding)
            }
        }
    }
}

impl<R: Raw, W: Raw, M: RoundingRegister> Round<'_, R, W, M> {
    /// Adds what `more` tells of a scaled value and its word, and drops bits; the optimizer makes a loop of each `more`.
    #[inline(always)]
    fn round(self, more: impl Fn(W, u32) -> W) -> u64 {
        let shift = (self.conversion.shift() as u32 & (W::BITS - 1)) as usize;
        // From 32 bits with a sign, so that vector units have an instruction for its products.
        let scale = W::from_raw((self.conversion.scale as i32).into());
        let drop = |value: W, word: u32| {
            M::nearest((value.wrapping_add(&more(value, word)) >> shift).into())
        };
        let values = self.raws.iter().zip(self.words).zip(self.rounded);
        let mut zeros = R::zero();
        // Sums that are checked for overflow are not made by vector units.
        let mut count = |raw: R| {
            zeros = zeros.wrapping_add(&if raw == R::zero() { R::one() } else { R::zero() });
            W::from_raw(raw.into())
        };
        if self.conversion.scale == 1 {
            values.for_each(|((&raw, &word), rounded)| *rounded = drop(count(raw), word));
        } else {
            values.for_each(|((&raw, &word), rounded)| {
                *rounded = drop(count(raw).wrapping_mul(&scale), word);
            });
        }
        zeros.into() as u64
    }
}

/// Rounded elements of which something holds.
#[derive(Clone, Copy, Default)]
struct Counts {
    overflowed: u64,
    beyond_half: u64,
    nonzero: u64,
}

/// Fits rounded elements, and puts them into their lanes.
struct Fit<'a, M, T> {
    conversion: &'a Conversion,
    rounded: &'a [M],
    codes: &'a mut [T],
}

impl<M: RoundingRegister, T: Lane> VectorWork for Fit<'_, M, T> {
    type Output = Counts;

    #[inline(always)]
    fn run(self) -> Counts {
        let Conversion { to, overflow, .. } = *self.conversion;
        let (low, high) = overflow.ends(to);
        let [low, high] = [low, high].map(end::<M>);
        match overflow == Overflow::Wrap {
            true => self.fit(|rounded| wrapped(rounded, to.bits(), to.is_signed())),
            false => self.fit(|rounded| rounded.max(low).min(high)),
        }
    }
}

impl<M: RoundingRegister, T: Lane> Fit<'_, M, T> {
    /// The loop, which the optimizer makes for each `fit`.
    #[inline(always)]
    fn fit(self, fit: impl Fn(M) -> M) -> Counts {
        let Self { conversion, rounded, codes } = self;
        let length = rounded.len() as u64;
        let (half_low, half_high) = conversion.overflow.half_ends(conversion.to);
        let [half_low, half_high] = [half_low, half_high].map(end::<M>);
        let (mut overflowed, mut beyond_half, mut zeros) = (M::zero(), M::zero(), M::zero());
        // Sums that are checked for overflow are not made by vector units.
        let count =
            |sum: M, holds: bool| sum.wrapping_add(&if holds { M::one() } else { M::zero() });
        for (&rounded, into) in rounded.iter().zip(codes) {
            let code = fit(rounded);
            overflowed = count(overflowed, code != rounded);
            beyond_half = count(beyond_half, (rounded < half_low) | (rounded > half_high));
            zeros = count(zeros, rounded == M::zero());
            *into = T::from_code(code.into());
        }
        let count = |count: M| count.into() as u64;
        Counts {
            overflowed: count(overflowed),
            beyond_half: count(beyond_half),
            nonzero: length - count(zeros),
        }
    }
}

/// `value` modulo `2^bits`, in two's complement if `signed`, where `bits` are fewer than those of the type.
#[inline(always)]
fn wrapped<W: RoundingRegister>(value: W, bits: u32, signed: bool) -> W {
    let unused = (W::BITS - bits) as usize;
    match signed {
        true => (value << unused) >> unused,
        false => value & ((W::one() << bits as usize) - W::one()),
    }
}

/// An end of a format as a register holds it that no value leaves by more than its own ends.
fn end<W: RoundingRegister>(end: i64) -> W {
    W::from(end).unwrap_or(if end < 0 { W::min_value() } else { W::max_value() })
}
