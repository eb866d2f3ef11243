//! How a product is added to a sum, and in what words codes and sums are kept meanwhile.

use num_traits::AsPrimitive;
use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::{Adder, Overflow, Sum};
use systoliq_program::GemmTask;
use systoliq_program::panels::Word;

use crate::activity::sum_words;

/// The adder of every PE.
pub(super) trait SumRule: Copy {
    /// A code of an operand.
    type Code: Word + Default;
    /// What the registers of a sum hold.
    type Value: Copy + Default;
    /// The sum without overflow, where it is not a part of the value.
    type Exact: Copy + Default;

    /// Adds the product of two codes, number `k` of its output, to a sum.
    fn add(
        self,
        sum: (Self::Value, Self::Exact),
        codes: [Self::Code; 2],
        k: u32,
        output: impl FnOnce() -> usize,
    ) -> (Self::Value, Self::Exact);

    /// Whether product `k` is the last of a chunk or a block.
    fn ends_run(self, k: u32) -> bool;

    /// How many bits differ in the registers.
    fn flips(self, before: Self::Value, after: Self::Value) -> u32;

    /// The sum as others know it.
    fn sum(self, value: Self::Value, exact: Self::Exact) -> Sum;
}

/// Bits of a code that differ, of those in a mask.
#[inline(always)]
pub(super) fn flips<W: Word>(before: W, after: W, mask: W) -> u32 {
    ((before ^ after) & mask).count_ones()
}

/// The low bits of a word.
pub(super) fn mask<W: Word>(bits: u32) -> W {
    (!W::zero()).unsigned_shr(W::BITS - bits.min(W::BITS))
}

/// Products that are not aligned, and sums that are limited or wrap, in words that hold all that may
/// happen.
#[derive(Clone, Copy)]
pub(super) struct InWords<W> {
    low: W,
    high: W,
    /// The bits that are kept where sums wrap, and the one that is their sign, once as it is and once
    /// subtracted from 0.
    kept: W,
    sign: W,
    minus_sign: W,
    /// The bits of the register.
    mask: W,
}

impl<W: Word> InWords<W> {
    /// The rule for a GEMM; `None` if a word may not hold all that happens.
    pub(super) fn new(task: &GemmTask<'_>) -> Option<Self> {
        let Adder { accumulator, shift, .. } = task.adder;
        let widths = task.widths();
        // No sum is further from 0 than all its products are together, limited or not.
        let largest = |of: &systoliq_fxp::Tensor| {
            let format = of.format();
            i128::from(format.max_raw()).max(-i128::from(format.min_raw()))
        };
        let product = largest(task.a.tensor) * largest(task.b.tensor);
        let farthest = product.checked_mul(task.a.cols() as i128)?;
        let plain = shift == 0 && task.adder.run().is_none();
        if !plain || widths.sum > W::BITS || W::from(farthest).is_none() {
            return None;
        }
        let wraps = accumulator.overflow == Overflow::Wrap;
        let narrow = wraps && accumulator.bits() < W::BITS;
        let sign = if narrow { W::one() << (accumulator.bits() as usize - 1) } else { W::zero() };
        let ends = Some(accumulator.ends()).filter(|_| !wraps && accumulator.limits_each());
        Some(Self {
            low: ends.map_or(W::min_value(), |(low, _)| W::from(low).expect("an end in a word")),
            high: ends.map_or(W::max_value(), |(_, high)| W::from(high).expect("an end in a word")),
            kept: if narrow { mask(accumulator.bits()) } else { !W::zero() },
            sign,
            minus_sign: (!sign).wrapping_add(&W::one()),
            mask: mask(widths.sum),
        })
    }
}

impl<W: Word + Default> SumRule for InWords<W> {
    type Code = W;
    type Value = W;
    type Exact = W;

    #[inline(always)]
    fn add(
        self,
        (value, exact): (W, W),
        [right, other]: [W; 2],
        _: u32,
        _: impl FnOnce() -> usize,
    ) -> (W, W) {
        let product = right.wrapping_mul(&other);
        let sum = value.wrapping_add(&product).max(self.low).min(self.high);
        let wrapped = ((sum & self.kept) ^ self.sign).wrapping_add(&self.minus_sign);
        (wrapped, exact.wrapping_add(&product))
    }

    #[inline(always)]
    fn ends_run(self, _: u32) -> bool {
        false
    }

    #[inline(always)]
    fn flips(self, before: W, after: W) -> u32 {
        flips(before, after, self.mask)
    }

    fn sum(self, value: W, exact: W) -> Sum {
        Sum::new(value.as_(), AsPrimitive::<i64>::as_(exact).into())
    }
}

/// Every sum there is, through the adder itself.
#[derive(Clone, Copy)]
pub(super) struct InSums<'t> {
    task: &'t GemmTask<'t>,
    widths: Widths,
    k: u64,
}

impl<'t> InSums<'t> {
    pub(super) fn new(task: &'t GemmTask<'t>) -> Self {
        Self { task, widths: task.widths(), k: task.a.cols() as u64 }
    }
}

impl SumRule for InSums<'_> {
    type Code = i64;
    type Value = Sum;
    type Exact = ();

    fn add(
        self,
        (mut sum, ()): (Sum, ()),
        [right, other]: [i64; 2],
        k: u32,
        output: impl FnOnce() -> usize,
    ) -> (Sum, ()) {
        let product = i128::from(right) * i128::from(other);
        self.task.add_product(&mut sum, product, output(), k as usize);
        (sum, ())
    }

    fn ends_run(self, k: u32) -> bool {
        self.task.adder.ends_run(k.into(), self.k)
    }

    fn flips(self, before: Sum, after: Sum) -> u32 {
        (sum_words(&before, self.widths) ^ sum_words(&after, self.widths)).count_ones()
    }

    fn sum(self, sum: Sum, (): ()) -> Sum {
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_fxp::{Accumulator, Format, Overflow, Rounding, Tensor};
    use systoliq_keyed_random::Key;
    use systoliq_program::Operand;

    /// Whether 32 and 64 bits suffice for `k` products of elements of so many bits each.
    fn fit(bits: u32, k: usize, accumulator: u32) -> [bool; 2] {
        let format = Format::new(bits, 0, true).unwrap();
        let [a, b] = [(1, k), (k, 1)]
            .map(|(rows, cols)| Tensor::from_codes(format, rows, cols, &vec![0; k]));
        let kind = Accumulator::new(accumulator, None, Rounding::Floor, Overflow::Wrap).unwrap();
        let [a, b] = [&a, &b].map(|tensor| Operand::new(tensor, false));
        let task = GemmTask::new(a, b, Adder::new(&kind, 0, Key::new(0)), None);
        [InWords::<i32>::new(&task).is_some(), InWords::<i64>::new(&task).is_some()]
    }

    #[test]
    fn words_are_as_wide_as_the_farthest_sum() {
        // 2³⁰ and 2³¹, 2⁶² and 2⁶³.
        assert_eq!([fit(16, 1, 32), fit(16, 2, 32)], [[true, true], [false, true]]);
        assert_eq!([fit(32, 1, 32), fit(32, 2, 32)], [[false, true], [false, false]]);
        // The register itself is wider.
        assert_eq!(fit(8, 1, 33), [false, true]);
    }

    #[test]
    fn words_wrap_and_saturate_as_their_accumulators_do() {
        let format = Format::new(4, 0, true).unwrap();
        let one = Tensor::from_codes(format, 1, 1, &[0]);
        let operand = Operand::new(&one, false);
        for overflow in Overflow::ALL {
            for bits in [2, 5, 31, 32] {
                let kind = Accumulator::new(bits, None, Rounding::Floor, overflow).unwrap();
                let adder = Adder::new(&kind, 0, Key::new(0));
                let task = GemmTask::new(operand, operand, adder, None);
                let rule = InWords::<i32>::new(&task).unwrap();
                let (mut words, mut sum) = ((0, 0), Sum::default());
                for step in 0..200 {
                    let codes = [step * 7 % 15 - 7, step * 11 % 13 - 3];
                    words = rule.add(words, codes, 0, || 0);
                    adder.add_product(&mut sum, i128::from(codes[0] * codes[1]), 0, 0);
                    assert_eq!(rule.sum(words.0, words.1), sum, "{overflow:?} {bits}");
                }
            }
        }
    }
}
