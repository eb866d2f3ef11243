//! Sums of products in a register of finite width, rounded and limited at every addition.

use num_bigint::BigInt;
use systoliq_keyed_random::Key;

use crate::convert::{bit_length, shift_round_big};
use crate::{Error, Overflow, Rounding, shift_right_round};

/// An accumulator: two's complement, with its own width, fraction bits, rounding and overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accumulator {
    bits: u32,
    frac: Option<i32>,
    /// How a product with more fraction bits is aligned.
    pub rounding: Rounding,
    /// What happens at each addition that leaves the range.
    pub overflow: Overflow,
}

impl Accumulator {
    /// An accumulator of `bits` bits with `frac` fraction bits; `None` for those of the product.
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
        Ok(Self { bits, frac, rounding, overflow })
    }

    /// The width of the register.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The stated number of fraction bits; `None` for those of the product.
    pub fn frac(&self) -> Option<i32> {
        self.frac
    }
}

/// One output's running sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The register's code.
    pub value: i64,
    /// The sum of the same rounded products without overflow, in units of the aligned product; of
    /// the product itself where alignment appends zeros.
    exact: i128,
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
    /// Width of the register.
    pub bits: u32,
    /// Fraction bits of the register.
    pub frac: i32,
    /// How many bits of each product are dropped; negative where zeros are appended.
    pub shift: i32,
    /// How they are dropped.
    pub rounding: Rounding,
    /// What happens at each addition that leaves the range.
    pub overflow: Overflow,
    /// The stream of random words; the addition of product `k` to output `index` draws
    /// `key.with(k).word(index)`.
    pub key: Key,
}

impl Adder {
    /// The adder for products of `product_frac` fraction bits.
    pub fn new(accumulator: &Accumulator, product_frac: i32, key: Key) -> Self {
        let frac = accumulator.frac.unwrap_or(product_frac);
        Self {
            bits: accumulator.bits,
            frac,
            shift: product_frac - frac,
            rounding: accumulator.rounding,
            overflow: accumulator.overflow,
            key,
        }
    }

    /// The smallest and the largest code of the register.
    pub fn ends(&self) -> (i64, i64) {
        let max = i64::MAX >> (64 - self.bits);
        let min = if self.overflow == Overflow::SaturateSymmetric { -max } else { -max - 1 };
        (min, max)
    }

    /// Adds product `k` to the sum of output `index`.
    #[inline]
    pub fn add_product(&self, sum: &mut Sum, product: i128, index: u64, k: u64) {
        if self.shift >= 0 {
            let aligned = self.align(product, self.shift, index, k);
            sum.exact += aligned;
            sum.value = self.add(sum.value, aligned);
        } else {
            sum.exact += product;
            sum.value = self.add(sum.value, self.align(product, self.shift, index, k));
        }
    }

    /// Adds a bias of `bias_frac` fraction bits to the sum of output `index`, as addition number
    /// `k`, and tells whether the result differs from what it would be without any overflow.
    pub fn add_bias(&self, sum: &mut Sum, bias: i64, bias_frac: i32, index: u64, k: u64) -> bool {
        let shift = bias_frac - self.frac;
        let bias = i128::from(bias);
        sum.value = self.add(sum.value, self.align(bias, shift, index, k));
        let word = if shift > 0 { self.word(index, k) } else { 0 };
        let exact = BigInt::from(sum.exact) << (-self.shift).max(0);
        exact + shift_round_big(&bias.into(), shift, self.rounding, word) != BigInt::from(sum.value)
    }

    /// Whether a sum without bias differs from what it would be without any overflow.
    pub fn overflowed(&self, sum: &Sum) -> bool {
        let value = i128::from(sum.value);
        if self.shift >= 0 {
            sum.exact != value
        } else {
            BigInt::from(sum.exact) << -self.shift != BigInt::from(value)
        }
    }

    /// `value` moved by `shift` bits to the register's fraction. What cannot be represented in 128
    /// bits is replaced by what gives the same sum: the low bits to wrap, ±2¹²⁰ to saturate.
    fn align(&self, value: i128, shift: i32, index: u64, k: u64) -> i128 {
        if shift == 0 {
            value
        } else if shift > 120 {
            let rounded = shift_round_big(&value.into(), shift, self.rounding, self.word(index, k));
            rounded.try_into().expect("a quotient is at most as long as its dividend")
        } else if shift > 0 {
            shift_right_round(value, shift as u32, self.rounding, self.word(index, k))
        } else if bit_length(value) - shift <= 120 {
            value << -shift
        } else if self.overflow == Overflow::Wrap {
            value.checked_shl(-shift as u32).unwrap_or(0)
        } else {
            value.signum() << 120
        }
    }

    /// The random word of one addition, drawn only where rounding needs it.
    fn word(&self, index: u64, k: u64) -> u32 {
        match self.rounding {
            Rounding::Stochastic => self.key.with(k).word(index),
            _ => 0,
        }
    }

    /// One addition under the register's rules.
    fn add(&self, value: i64, aligned: i128) -> i64 {
        let sum = i128::from(value).wrapping_add(aligned);
        match self.overflow {
            Overflow::Wrap => Overflow::wrap(sum as i64, self.bits, true),
            _ => {
                let (low, high) = self.ends();
                sum.clamp(low.into(), high.into()) as i64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_traits::{One, ToPrimitive};
    use proptest::prelude::*;

    /// The running sum by definition, in unbounded integers: the register and the sum that never
    /// overflows.
    fn by_definition(
        adder: &Adder,
        products: &[i128],
        bias: Option<(i64, i32)>,
        index: u64,
    ) -> (BigInt, BigInt) {
        let product_frac = adder.shift + adder.frac;
        let terms = products.iter().map(|&product| (BigInt::from(product), product_frac));
        let terms = terms.chain(bias.map(|(bias, frac)| (BigInt::from(bias), frac)));
        let (mut register, mut exact) = (BigInt::ZERO, BigInt::ZERO);
        for (k, (raw, frac)) in terms.enumerate() {
            let word = adder.key.with(k as u64).word(index);
            let aligned = shift_round_big(&raw, frac - adder.frac, adder.rounding, word);
            exact += &aligned;
            register += aligned;
            let half = BigInt::one() << (adder.bits - 1);
            register = match adder.overflow {
                Overflow::Saturate => register.clamp(-&half, &half - 1),
                Overflow::SaturateSymmetric => register.clamp(1 - &half, &half - 1),
                Overflow::Wrap => {
                    let modulus = &half * 2;
                    (((register + &half) % &modulus) + &modulus) % &modulus - half
                }
            };
        }
        (register, exact)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..Default::default() })]

        #[test]
        fn every_addition_equals_the_definition(
            bits in 2u32..=64,
            frac in prop::option::of(-128i32..=128),
            mode in (0usize..6, 0usize..3, any::<u64>()),
            product_frac in -128i32..=128,
            near in prop::option::of(-3i32..20),
            products in prop::collection::vec((any::<i64>(), 0u32..64), 0..20),
            bias in prop::option::of((any::<i32>(), -64i32..=64)),
            index in 0u64..1000,
        ) {
            let product_frac = match (near, frac) {
                (Some(near), Some(frac)) => frac + near,
                _ => product_frac,
            };
            let (rounding, overflow, seed) = mode;
            let accumulator =
                Accumulator::new(bits, frac, Rounding::ALL[rounding], Overflow::ALL[overflow]).unwrap();
            let adder = Adder::new(&accumulator, product_frac, Key::new(seed));
            let products: Vec<i128> = products.iter().map(|&(raw, shift)| i128::from(raw) >> shift).collect();
            let bias = bias.map(|(bias, frac)| (i64::from(bias), frac));
            let mut sum = Sum::default();
            for (k, &product) in products.iter().enumerate() {
                adder.add_product(&mut sum, product, index, k as u64);
            }
            let differs = match bias {
                Some((bias, frac)) => adder.add_bias(&mut sum, bias, frac, index, products.len() as u64),
                None => adder.overflowed(&sum),
            };
            let (register, exact) = by_definition(&adder, &products, bias, index);
            prop_assert_eq!(sum.value, register.to_i64().unwrap());
            prop_assert_eq!(differs, register != exact);
        }
    }
}
