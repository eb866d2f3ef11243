//! Which way to sum is exact, by the widths and values at hand.

use num_traits::AsPrimitive;
use systoliq_fxp::{Accumulator, Overflow, OverflowAt, with_codes};
use systoliq_program::panels::Word;
use systoliq_program::{GemmTask, Operand};

use crate::bias::Bias;

/// The largest and smallest code of an operand, or bounds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeRange {
    min: i64,
    max: i64,
}

impl CodeRange {
    /// What the format can hold.
    pub(crate) fn of_format(operand: &Operand<'_>) -> Self {
        let format = operand.tensor.format();
        Self { min: format.min_raw(), max: format.max_raw() }
    }

    /// What is stored of the operand, and 0.
    pub(crate) fn of_codes(operand: &Operand<'_>) -> Self {
        let part = operand.part;
        // Whole rows lie one behind the other.
        let (rows, cols) = match part.cols == part.stride {
            true => (1, part.rows * part.cols),
            false => (part.rows, part.cols),
        };
        with_codes!(operand.tensor, |codes| {
            let codes = codes.as_slice().expect("tensors are contiguous");
            let (mut min, mut max) = (0, 0);
            for row in 0..rows {
                let codes = &codes[part.index(row, 0)..][..cols];
                min = codes.iter().fold(min, |min, &code| code.min(min));
                max = codes.iter().fold(max, |max, &code| code.max(max));
            }
            Self { min: i64::from(min), max: i64::from(max) }
        })
    }

    /// The largest magnitude.
    pub(crate) fn magnitude(self) -> u128 {
        self.min.unsigned_abs().max(self.max.unsigned_abs()).into()
    }

    /// How many bits codes may be shifted by and still fit 16, if they fit 16.
    pub(crate) fn spare_bits(self) -> Option<u32> {
        let fits = |code: i64| i16::try_from(code).is_ok();
        (0..16).rev().find(|&shift| fits(self.min << shift) && fits(self.max << shift))
    }

    /// Whether all codes fit 16 bits.
    pub(crate) fn fits_i16(self) -> bool {
        i16::try_from(self.min).is_ok() && i16::try_from(self.max).is_ok()
    }

    /// Whether all codes fit 16 bits without a sign, but not with one.
    fn needs_u16(self) -> bool {
        !self.fits_i16() && u16::try_from(self.min).is_ok() && u16::try_from(self.max).is_ok()
    }
}

/// How to sum, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// By integer GEMM.
    Dot(DotBounds),
    /// By additions one after the other in 32-bit lanes.
    Lanes32,
    /// In 64-bit lanes.
    Lanes64,
    /// In 128-bit words.
    Lanes128,
    /// By the adder itself.
    Adders,
}

/// What integer GEMM must know of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DotBounds {
    /// No code of B is larger.
    pub(crate) b_magnitude: u128,
    /// No product is larger.
    pub(crate) product_magnitude: u128,
    /// No sum, with its bias, is larger.
    pub(crate) total: u128,
    /// Whether a sum may leave the accumulator's range.
    pub(crate) may_overflow: bool,
    /// Whether codes of A, and of B, fit 16 bits only without a sign.
    pub(crate) unsigned: [bool; 2],
}

/// What is left to do with an exact sum as it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Nothing: it fits.
    Fits,
    /// It is taken modulo 2^bits.
    Wrap { bits: u32 },
    /// The nearest end is taken.
    Clamp { low: i64, high: i64 },
}

impl Limit {
    pub(crate) fn of(accumulator: &Accumulator) -> Self {
        let (low, high) = accumulator.ends();
        match accumulator.overflow {
            Overflow::Wrap => Self::Wrap { bits: accumulator.bits() },
            Overflow::Saturate | Overflow::SaturateSymmetric => Self::Clamp { low, high },
        }
    }

    /// Brings exact sums into the accumulator's range; says how many were not.
    #[inline(always)]
    pub(crate) fn apply<S: Word>(self, sums: &mut [S]) -> u64
    where
        i64: AsPrimitive<S>,
    {
        // Sums that are checked for overflow are not made by vector units.
        let mut overflowed = 0u64;
        match self {
            Self::Fits => {}
            // A word too narrow for the register is one that no sum leaves.
            Self::Wrap { bits } if bits >= S::BITS => {}
            Self::Wrap { bits } => {
                let unused = (S::BITS - bits) as usize;
                for sum in sums {
                    let limited = (*sum << unused) >> unused;
                    overflowed = overflowed.wrapping_add(u64::from(limited != *sum));
                    *sum = limited;
                }
            }
            Self::Clamp { low, high } => {
                let low = S::from(low).unwrap_or(S::min_value());
                let high = S::from(high).unwrap_or(S::max_value());
                for sum in sums {
                    let limited = (*sum).max(low).min(high);
                    overflowed = overflowed.wrapping_add(u64::from(limited != *sum));
                    *sum = limited;
                }
            }
        }
        overflowed
    }
}

impl DotBounds {
    /// Whether all sums surely fit 32 bits, and are made of codes in one piece.
    pub(crate) fn are_narrow(&self) -> bool {
        self.total < 1 << 31 && self.unsigned == [false; 2]
    }
}

impl Method {
    /// The cheapest exact way to sum the products of codes in these ranges.
    pub(crate) fn of(task: &GemmTask<'_>, a: CodeRange, b: CodeRange, bias: &Bias) -> Self {
        let adder = &task.adder;
        let k = task.a.cols() as u128;
        // Lanes know outputs by their place in the whole output.
        let outputs = task.output.index(task.a.rows(), 0) as u128;
        let product_magnitude = a.magnitude() * b.magnitude();
        let Some(term) = term_magnitude(product_magnitude, adder.shift) else {
            return Self::Adders;
        };
        // Whatever the order, no prefix of a sum is larger than this.
        let Some(total) = k.checked_mul(term).and_then(|sum| sum.checked_add(bias.magnitude()))
        else {
            return Self::Adders;
        };
        let accumulator = &adder.accumulator;
        let may_overflow = total > accumulator.ends().1 as u128;
        let dropped = adder.shift.max(0) as u32;
        // Then it does not matter in what order, and in what chunks, an exact sum arose.
        let at_end = !may_overflow
            || accumulator.overflow == Overflow::Wrap
            || accumulator.overflow_at == OverflowAt::End;
        let unsigned = [a, b].map(CodeRange::needs_u16);
        let fit = [a, b].iter().zip(unsigned).all(|(of, unsigned)| unsigned || of.fits_i16());
        if dropped == 0 && at_end && fit && total < 1 << 62 {
            let b_magnitude = b.magnitude();
            return Self::Dot(DotBounds {
                b_magnitude,
                product_magnitude,
                total,
                may_overflow,
                unsigned,
            });
        }
        // Room for |value| + |term|, and for products and noise before rounding.
        let fits = |width: u32| {
            let quarter = 1 << (width - 2);
            total < quarter
                && product_magnitude < quarter
                && dropped <= width - 8
                && (dropped == 0 || outputs <= 1 << 32)
                && (at_end || accumulator.bits() < width)
        };
        match () {
            _ if dropped == 0 && fits(32) => Self::Lanes32,
            _ if fits(64) => Self::Lanes64,
            _ if fits(128) => Self::Lanes128,
            _ => Self::Adders,
        }
    }
}

/// The largest magnitude of a product after alignment; `None` where it does not fit 128 bits.
fn term_magnitude(product: u128, shift: i32) -> Option<u128> {
    match shift {
        0 => Some(product),
        1.. => Some(product.checked_shr(shift.unsigned_abs()).unwrap_or(0) + 1),
        _ if product == 0 => Some(0),
        _ => 1u128.checked_shl(shift.unsigned_abs()).and_then(|scale| product.checked_mul(scale)),
    }
}
