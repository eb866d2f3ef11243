//! The bias, aligned to the accumulators ahead of time.

use std::ops::Range;
use systoliq_fxp::{Rounding, shift_right_round};
use systoliq_keyed_random::Key;
use systoliq_program::GemmTask;
use systoliq_program::view::Submatrix;

use crate::lent::{Lent, ProductMemory};

/// What is added to each output last, at the accumulators' fraction bits.
pub(crate) enum Bias {
    /// The same in every row of C.
    Columns(Lent<i64>),
    /// Rounded anew for every output; `output` says where C lies in the whole output.
    Drawn { codes: Lent<i64>, shift: u32, key: Key, output: Submatrix },
}

impl Bias {
    /// The bias of a GEMM, zeros if it has none; `None` where an element does not fit 62 bits.
    pub(crate) fn new(task: &GemmTask<'_>, memory: &ProductMemory) -> Option<Self> {
        let adder = &task.adder;
        let mut codes = memory.wide.zeros(task.b.cols());
        let Some(bias) = task.bias else {
            return Some(Self::Columns(codes));
        };
        let output = task.output;
        bias.widen(output.left..output.left + output.cols, &mut codes);
        let shift = bias.format().frac() - adder.frac;
        if shift <= 0 {
            let magnitude = codes.iter().map(|code| code.unsigned_abs()).max().unwrap_or(0);
            let zeros = shift.unsigned_abs();
            // An element other than 0 has at least one bit of its own.
            if magnitude > 0 && (zeros > 61 || magnitude.leading_zeros() < zeros + 2) {
                return None;
            }
            let append = |code| if code == 0 { 0 } else { code << zeros };
            codes.iter_mut().for_each(|code| *code = append(*code));
            return Some(Self::Columns(codes));
        }
        let shift = shortened(shift.unsigned_abs());
        let rounding = adder.accumulator.rounding;
        if rounding == Rounding::Stochastic {
            let key = adder.key.with(task.a.cols() as u64);
            return Some(Self::Drawn { codes, shift, key, output });
        }
        codes.iter_mut().for_each(|code| *code = round(*code, shift, rounding, 0));
        Some(Self::Columns(codes))
    }

    /// The largest magnitude that an element may have.
    pub(crate) fn magnitude(&self) -> u128 {
        let (codes, shift) = match self {
            Self::Columns(codes) => (codes, 0),
            Self::Drawn { codes, shift, .. } => (codes, *shift),
        };
        let largest = codes.iter().map(|code| code.unsigned_abs()).max().unwrap_or(0);
        (u128::from(largest) >> shift) + u128::from(shift > 0)
    }

    /// The biases of row `i` of C in the columns `cols`; `buffer` has room for them.
    #[inline(always)]
    pub(crate) fn row<'a>(
        &'a self,
        i: usize,
        cols: Range<usize>,
        buffer: &'a mut [i64],
    ) -> &'a [i64] {
        match self {
            Self::Columns(codes) => &codes[cols],
            Self::Drawn { codes, shift, key, output } => {
                let index = output.index(i, cols.start) as u64;
                let buffer = &mut buffer[..cols.len()];
                for ((bias, &code), index) in buffer.iter_mut().zip(&codes[cols]).zip(index..) {
                    *bias = round(code, *shift, Rounding::Stochastic, key.word(index));
                }
                buffer
            }
        }
    }
}

/// A shift of at most 100 bits that gives the same for every code of 33 bits: beyond that, nearest
/// gives 0, and the noise of stochastic rounding is 0 or larger than any code.
fn shortened(shift: u32) -> u32 {
    shift.min(100)
}

/// `code / 2^shift`, rounded.
fn round(code: i64, shift: u32, rounding: Rounding, word: u32) -> i64 {
    shift_right_round(i128::from(code), shift, rounding, word) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_shift_gives_the_same_code() {
        let ends = [i64::from(i32::MIN), i64::from(u32::MAX), -1, 0, 1];
        for rounding in Rounding::ALL {
            for code in ends {
                for word in [0, 1, u32::MAX] {
                    for shift in [99, 100, 101, 110, 120] {
                        let code = i128::from(code);
                        let long = shift_right_round(code, shift, rounding, word);
                        let short = shift_right_round(code, shortened(shift), rounding, word);
                        assert_eq!(short, long, "{rounding:?} {code} >> {shift} with {word}");
                    }
                }
            }
        }
    }
}
