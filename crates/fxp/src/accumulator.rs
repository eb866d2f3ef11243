//! Sums of products in registers of finite width, rounded and limited at every addition or once at
//! the end.

use std::num::NonZero;

use num_bigint::BigInt;
use num_traits::ToPrimitive;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_keyed_random::Key;

use crate::convert::{bit_length, shift_round_big};
use crate::{Error, Overflow, Rounding, shift_right_round};

mod aligner;

pub use aligner::{AlignedRun, BlockAligner};

/// When a sum is brought into the range of its accumulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverflowAt {
    /// At each addition.
    #[default]
    Each,
    /// Once, after the bias; until then nothing is limited.
    End,
}

impl OverflowAt {
    /// Every mode.
    pub const ALL: [Self; 2] = [Self::Each, Self::End];
}

/// Where the lowest bit of an accumulator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LowestBit {
    /// At so many fraction bits.
    Frac(i32),
    /// So many bits above the lowest of the products.
    Above(u32),
}

/// An accumulator: two's complement, with its own width, lowest bit, rounding and overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accumulator {
    bits: u32,
    lowest: LowestBit,
    /// How a product with more fraction bits is aligned.
    pub rounding: Rounding,
    /// What happens to a sum that leaves the range.
    pub overflow: Overflow,
    /// When it happens.
    pub overflow_at: OverflowAt,
    /// So many consecutive products are summed from zero, and then their sum is added.
    pub chunk: Option<NonZero<u32>>,
}

impl Accumulator {
    /// An accumulator of `bits` bits with `frac` fraction bits, `None` for those of the product,
    /// which is limited at each addition and adds product by product.
    ///
    /// # Errors
    ///
    /// Unless `bits` is 2 to 64 and `frac` −128 to 128.
    pub fn new(
        bits: u32,
        frac: Option<i32>,
        rounding: Rounding,
        overflow: Overflow,
    ) -> Result<Self, Error> {
        if !(2..=64).contains(&bits) {
            return Err(Error::AccumulatorBits { bits: bits.into() });
        }
        if let Some(frac) = frac.filter(|frac| !(-128..=128).contains(frac)) {
            return Err(Error::AccumulatorFrac { frac: frac.into() });
        }
        let lowest = frac.map_or(LowestBit::Above(0), LowestBit::Frac);
        let (overflow_at, chunk) = (OverflowAt::Each, None);
        Ok(Self { bits, lowest, rounding, overflow, overflow_at, chunk })
    }

    /// The same, whose lowest bit stands `drop` bits above that of the products, however many fraction
    /// bits these have.
    ///
    /// ```
    /// use systoliq_fxp::{Accumulator, Adder, Overflow::Saturate, Rounding::NearestEven, Sum};
    /// use systoliq_keyed_random::Key;
    /// let accumulator = Accumulator::new(8, None, NearestEven, Saturate)?.dropping(2);
    /// let adder = Adder::new(&accumulator, 9, Key::new(0));
    /// assert_eq!((adder.frac, adder.shift), (7, 2));
    /// let mut sum = Sum::default();
    /// [6, 10, 7].into_iter().for_each(|product| adder.add_product(&mut sum, product, 0, 0));
    /// assert_eq!(sum.value, 2 + 2 + 2); // 1.5, 2.5 and 1.75
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    pub fn dropping(self, drop: u32) -> Self {
        Self { lowest: LowestBit::Above(drop), ..self }
    }

    /// The same with a bit less, if it has one to spare.
    ///
    /// ```
    /// use systoliq_fxp::{Accumulator, Overflow::Wrap, Rounding::Floor};
    /// let of = |bits| Accumulator::new(bits, None, Floor, Wrap).unwrap();
    /// assert_eq!((of(32).narrower(), of(2).narrower()), (Some(of(31)), None));
    /// ```
    pub fn narrower(self) -> Option<Self> {
        (self.bits > 2).then(|| Self { bits: self.bits - 1, ..self })
    }

    /// The same, limited when `overflow_at` says.
    pub fn limited_at(self, overflow_at: OverflowAt) -> Self {
        Self { overflow_at, ..self }
    }

    /// The same, adding `chunk` products at a time, each chunk summed from zero.
    pub fn in_chunks(self, chunk: NonZero<u32>) -> Self {
        Self { chunk: Some(chunk), ..self }
    }

    /// The width of a result.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The stated number of fraction bits; `None` where they follow those of the product.
    pub fn frac(&self) -> Option<i32> {
        match self.lowest {
            LowestBit::Frac(frac) => Some(frac),
            LowestBit::Above(_) => None,
        }
    }

    /// Its fraction bits for products of `product_frac`.
    pub fn frac_for(&self, product_frac: i32) -> i32 {
        match self.lowest {
            LowestBit::Frac(frac) => frac,
            LowestBit::Above(drop) => product_frac - drop as i32,
        }
    }

    /// How many low bits of each product are not kept, however many fraction bits it has; `None` where
    /// those of the register are stated.
    pub fn dropped(&self) -> Option<u32> {
        match self.lowest {
            LowestBit::Frac(_) => None,
            LowestBit::Above(drop) => Some(drop),
        }
    }

    /// How many low bits of each product are dropped, negative where zeros are appended; `None` where
    /// that depends on the fraction bits of products, and these are not known.
    pub fn shift_for(&self, product_frac: Option<i32>) -> Option<i32> {
        match self.lowest {
            LowestBit::Frac(frac) => product_frac.map(|product| product - frac),
            LowestBit::Above(drop) => Some(drop as i32),
        }
    }

    /// Whether products pass an aligner: not where their own lowest bit is the register's.
    pub fn aligns(&self) -> bool {
        self.lowest != LowestBit::Above(0)
    }

    /// The smallest and the largest code of a result.
    pub fn ends(&self) -> (i64, i64) {
        let max = i64::MAX >> (64 - self.bits);
        let min = if self.overflow == Overflow::SaturateSymmetric { -max } else { -max - 1 };
        (min, max)
    }

    /// Whether sums on their way are kept within `bits` bits. What wraps in the end may as well wrap
    /// at each addition: the low bits are the same.
    pub fn limits_each(&self) -> bool {
        self.overflow_at == OverflowAt::Each || self.overflow == Overflow::Wrap
    }

    /// The registers that hold a sum of `k` products on its way.
    ///
    /// Where nothing is limited until the end, a register has guard bits: the sum of k + 1 terms,
    /// the bias among them, of `bits` bits each, has `bits + ⌈log₂(k + 1)⌉`.
    ///
    /// ```
    /// use systoliq_fxp::accumulator::{OverflowAt, Widths};
    /// use systoliq_fxp::{Accumulator, Overflow::Saturate, Rounding::Floor};
    /// let accumulator = Accumulator::new(24, None, Floor, Saturate)?;
    /// assert_eq!(accumulator.widths(100), Widths { sum: 24, chunk: 0 });
    /// let late = accumulator.limited_at(OverflowAt::End);
    /// assert_eq!(late.widths(127), Widths { sum: 31, chunk: 0 });
    /// let chunks = accumulator.in_chunks(16.try_into().unwrap());
    /// assert_eq!(chunks.widths(100), Widths { sum: 24, chunk: 24 });
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    pub fn widths(&self, k: usize) -> Widths {
        let guard = if self.limits_each() { 0 } else { usize::BITS - k.leading_zeros() };
        let sum = self.bits + guard;
        Widths { sum, chunk: if self.chunk.is_some() { sum } else { 0 } }
    }
}

impl Accumulator {
    /// The same where operands have blocks of `block` elements, whose products of `product_bits` bits
    /// are summed exactly before their sum is aligned and added.
    pub fn widths_of_blocks(&self, k: usize, block: NonZero<u32>, product_bits: u32) -> Widths {
        let longest = k.min(block.get() as usize).max(1);
        let chunk = product_bits + (usize::BITS - (longest - 1).leading_zeros());
        Widths { chunk, ..self.widths(k) }
    }
}

/// Widths of the registers that hold a sum on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Of the sum.
    pub sum: u32,
    /// Of the present chunk or block; 0 without.
    pub chunk: u32,
}

impl Widths {
    /// Bits of both, as they travel and are stored.
    pub fn total(self) -> u32 {
        self.sum + self.chunk
    }
}

/// One output's running sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The register's code; where it is wider than 64 bits, the low 64.
    pub value: i64,
    /// The code of the register of the present chunk or block; 0 without, and after the last product
    /// of one.
    pub chunk: i128,
    /// The sum of the same rounded terms without overflow, in units of the aligned term; of the
    /// product itself where alignment appends zeros to every product.
    exact: i128,
}

impl Sum {
    /// A sum between two chunks or blocks: its code, and what it would be without overflow.
    pub fn new(value: i64, exact: i128) -> Self {
        Self { value, chunk: 0, exact }
    }
}

/// The adder before an accumulator, for products of one GEMM.
///
/// At each addition the product alone is aligned to the accumulator (rounded if it has more
/// fraction bits), added, and the sum saturates or wraps.
///
/// ```
/// use systoliq_fxp::{Accumulator, Adder, Overflow::*, Rounding::*, Sum};
/// use systoliq_keyed_random::Key;
/// let accumulator = Accumulator::new(4, Some(0), Floor, Saturate)?;
/// let adder = Adder::new(&accumulator, 1, Key::new(0)); // products have one more fraction bit
/// let mut sum = Sum::default();
/// let values: Vec<i64> = [7, 9, -1]
///     .into_iter()
///     .enumerate()
///     .map(|(k, product)| {
///         adder.add_product(&mut sum, product, 0, k as u64);
///         sum.value
///     })
///     .collect();
/// // ⌊3.5⌋ = 3; 3 + ⌊4.5⌋ saturates at 7, as it is exactly; 7 + ⌊−0.5⌋ = 6.
/// assert_eq!(values, [3, 7, 6]);
/// # Ok::<(), systoliq_fxp::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adder {
    /// Width, rounding and overflow of the register.
    pub accumulator: Accumulator,
    /// Fraction bits of the register.
    pub frac: i32,
    /// How many bits of each product are dropped; negative where zeros are appended.
    pub shift: i32,
    /// The stream of random words; the addition of product `k` to output `index` draws
    /// `key.with(k).word(index)`. The sum of a chunk draws none: it needs no alignment.
    pub key: Key,
    /// Where an operand has blocks of so many elements: products are summed exactly within a block,
    /// and their sum is aligned and added. Then `shift` is not used, and product `k` in the word is
    /// the last of the block.
    block: Option<NonZero<u32>>,
}

/// The most bits of the sum of a block as it is aligned: what is larger counts as ±2¹⁰⁰.
const BLOCK_ALIGNED_BITS: i32 = 100;

impl Adder {
    /// The adder for products of `product_frac` fraction bits.
    pub fn new(accumulator: &Accumulator, product_frac: i32, key: Key) -> Self {
        let frac = accumulator.frac_for(product_frac);
        Self { accumulator: *accumulator, frac, shift: product_frac - frac, key, block: None }
    }

    /// The adder for products of operands with blocks of `block` elements.
    ///
    /// # Panics
    ///
    /// If the accumulator does not state its fraction bits, or has chunks.
    pub fn of_blocks(accumulator: &Accumulator, block: NonZero<u32>, key: Key) -> Self {
        let frac = accumulator.frac().expect("stated fraction bits");
        assert_eq!(accumulator.chunk, None, "chunks of blocks");
        Self { accumulator: *accumulator, frac, shift: 0, key, block: Some(block) }
    }

    /// Elements of a block, where an operand has blocks.
    pub fn block(&self) -> Option<NonZero<u32>> {
        self.block
    }

    /// How many products are summed from zero before their sum is added: a chunk or a block.
    pub fn run(&self) -> Option<NonZero<u32>> {
        self.block.or(self.accumulator.chunk)
    }

    /// How many sums of chunks or blocks join each sum of `k` products.
    pub fn runs(&self, k: usize) -> usize {
        self.run().map_or(0, |run| k.div_ceil(run.get() as usize))
    }

    /// Adds product `k` to the sum of output `index`: to that of the present chunk or block, where
    /// there are any.
    #[inline]
    pub fn add_product(&self, sum: &mut Sum, product: i128, index: u64, k: u64) {
        if self.block.is_some() {
            sum.chunk += product;
            return;
        }
        let aligned = self.align(product, self.shift, index, k);
        sum.exact += if self.shift >= 0 { aligned } else { product };
        match self.accumulator.chunk {
            None => sum.value = self.add(sum.value, aligned),
            Some(_) => sum.chunk = self.add(sum.chunk as i64, aligned).into(),
        }
    }

    /// Whether product `k` of `count` is the last of a chunk or a block.
    #[inline]
    pub fn ends_run(&self, k: u64, count: u64) -> bool {
        let ends = |run: NonZero<u32>| (k + 1).is_multiple_of(run.get().into());
        self.run().is_some_and(|run| ends(run) || k + 1 == count)
    }

    /// Adds the sum of the present chunk to the sum.
    #[inline]
    pub fn end_chunk(&self, sum: &mut Sum) {
        sum.value = self.add(sum.value, std::mem::take(&mut sum.chunk));
    }

    /// Aligns the sum of the present block, whose products have `product_frac` fraction bits and end
    /// with product `k`, and adds it to the sum of output `index`.
    ///
    /// ```
    /// use systoliq_fxp::{Accumulator, Adder, Overflow::*, Rounding::*, Sum};
    /// use systoliq_keyed_random::Key;
    /// let accumulator = Accumulator::new(8, Some(1), NearestEven, Saturate)?;
    /// let adder = Adder::of_blocks(&accumulator, 2.try_into().unwrap(), Key::new(0));
    /// let mut sum = Sum::default();
    /// for (k, product) in [9, 5, 3].into_iter().enumerate() {
    ///     adder.add_product(&mut sum, product, 0, k as u64);
    ///     if adder.ends_run(k as u64, 3) {
    ///         // The first block has 3 fraction bits, the second, short one none.
    ///         adder.end_block(&mut sum, if k < 2 { 3 } else { 0 }, 0, k as u64);
    ///     }
    /// }
    /// // (9 + 5)/4 = 3.5 rounds to 4; 3 · 2 = 6.
    /// assert_eq!(sum.value, 10);
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    pub fn end_block(&self, sum: &mut Sum, product_frac: i32, index: u64, k: u64) {
        let block = std::mem::take(&mut sum.chunk);
        let shift = product_frac - self.frac;
        let aligned = self.align(block, shift, index, k);
        sum.exact += match bit_length(block) - shift.min(0) {
            ..=BLOCK_ALIGNED_BITS => aligned,
            _ if shift >= 0 => aligned,
            _ => block.signum() << BLOCK_ALIGNED_BITS,
        };
        sum.value = self.add(sum.value, aligned);
    }

    /// Whether every sum of `count` products from `low` to `high` is the exact one, limited once: because
    /// nothing is rounded, and nothing that is limited on its way is lost.
    ///
    /// ```
    /// use systoliq_fxp::{Accumulator, Adder, Overflow::*, Rounding::*};
    /// use systoliq_keyed_random::Key;
    /// let saturating = Accumulator::new(16, None, Floor, Saturate)?;
    /// let adder = Adder::new(&saturating, 7, Key::new(0));
    /// assert!(adder.sums_exactly((-128, 127), 255));
    /// // −32768 is in range, +32768 would not be.
    /// assert!(!adder.sums_exactly((-128, 128), 256));
    /// let wrapping = Accumulator::new(16, None, Floor, Wrap)?;
    /// assert!(Adder::new(&wrapping, 7, Key::new(0)).sums_exactly((-128, 128), 256));
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    pub fn sums_exactly(&self, (low, high): (i64, i64), count: u64) -> bool {
        if self.block.is_some() || !(-60..=0).contains(&self.shift) {
            return false;
        }
        let largest = i128::from(low.unsigned_abs().max(high.unsigned_abs())) * i128::from(count);
        if largest > i128::from(i64::MAX) {
            return false;
        }
        let Accumulator { overflow, .. } = self.accumulator;
        let (_, end) = self.accumulator.ends();
        let once = overflow == Overflow::Wrap || !self.accumulator.limits_each();
        once || largest << -self.shift <= i128::from(end)
    }

    /// An exact sum, in units of the products of which it [is one](Self::sums_exactly), as it leaves the
    /// register, and whether that differs.
    pub fn limited(&self, exact: i64) -> (i64, bool) {
        let exact = i128::from(exact) << -self.shift;
        let Accumulator { bits, overflow, .. } = self.accumulator;
        let (low, high) = self.accumulator.ends();
        let value = match overflow {
            Overflow::Wrap => Overflow::wrap(exact as i64, bits, true),
            _ => exact.clamp(low.into(), high.into()) as i64,
        };
        (value, i128::from(value) != exact)
    }

    /// Adds a bias of `(code, fraction bits)` to the sum of output `index`, as addition number `k`,
    /// and limits what was not limited so far; tells whether the result differs from what it would
    /// be without any overflow.
    pub fn finish(&self, sum: &mut Sum, bias: Option<(i64, i32)>, index: u64, k: u64) -> bool {
        let mut exact = BigInt::from(sum.exact) << (-self.shift).max(0);
        if let Some((bias, frac)) = bias {
            let shift = frac - self.frac;
            sum.value = self.add(sum.value, self.align(bias.into(), shift, index, k));
            let word = if shift > 0 { self.word(index, k) } else { 0 };
            exact += shift_round_big(&bias.into(), shift, self.accumulator.rounding, word);
        }
        if !self.accumulator.limits_each() {
            let (low, high) = self.accumulator.ends();
            let limited = (&exact).clamp(&low.into(), &high.into()).to_i64();
            sum.value = limited.expect("the ends of a register fit it");
        }
        exact != BigInt::from(sum.value)
    }

    /// `value` moved by `shift` bits to the register's fraction. What cannot be represented in 128
    /// bits is replaced by what gives the same sum: the low bits to wrap or to be limited later,
    /// ±2¹²⁰ to saturate.
    fn align(&self, value: i128, shift: i32, index: u64, k: u64) -> i128 {
        let Accumulator { rounding, overflow, .. } = self.accumulator;
        if shift == 0 {
            value
        } else if shift > 120 {
            let rounded = shift_round_big(&value.into(), shift, rounding, self.word(index, k));
            rounded.try_into().expect("a quotient is at most as long as its dividend")
        } else if shift > 0 {
            shift_right_round(value, shift as u32, rounding, self.word(index, k))
        } else if bit_length(value) - shift <= 120 {
            value << -shift
        } else if overflow == Overflow::Wrap || !self.accumulator.limits_each() {
            value.checked_shl(-shift as u32).unwrap_or(0)
        } else {
            value.signum() << 120
        }
    }

    /// The random word of one addition, drawn only where rounding needs it.
    fn word(&self, index: u64, k: u64) -> u32 {
        match self.accumulator.rounding {
            Rounding::Stochastic => self.key.with(k).word(index),
            _ => 0,
        }
    }

    /// One addition under the register's rules.
    fn add(&self, value: i64, aligned: i128) -> i64 {
        let sum = i128::from(value).wrapping_add(aligned);
        let Accumulator { bits, overflow, .. } = self.accumulator;
        match overflow {
            Overflow::Wrap => Overflow::wrap(sum as i64, bits, true),
            _ if !self.accumulator.limits_each() => sum as i64,
            _ => {
                let (low, high) = self.accumulator.ends();
                sum.clamp(low.into(), high.into()) as i64
            }
        }
    }
}

#[cfg(test)]
mod tests;
