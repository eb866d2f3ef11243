//! Operands as pairs of 16 bits, packed for the kernels.

use systoliq_fxp::Lane;
use systoliq_program::Operand;
use systoliq_program::panels::{AT_ONCE, Group, Side, panels};

use crate::kernels::{Pair, fill_pairs, pair};

/// What of each code becomes 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CodePart {
    /// The code, which fits.
    Whole,
    /// `⌊code / 2⁸⌋`.
    High,
    /// The code modulo 2⁸.
    Low,
}

/// Panels of pairs, `[panel][k / 2][line]`.
#[derive(Debug)]
pub(crate) struct Panels {
    words: Vec<Pair>,
    /// Pairs per line.
    pairs: usize,
    /// Lines per panel.
    width: usize,
}

impl Panels {
    /// The panel that begins with line `line`.
    #[inline(always)]
    pub(crate) fn at(&self, line: usize) -> &[Pair] {
        &self.words[line * self.pairs..][..self.width * self.pairs]
    }
}

/// Panels of `width` lines of pairs of codes whose `part` fits 16 bits.
pub(crate) fn pair_panels(
    operand: &Operand<'_>,
    side: Side,
    width: usize,
    part: CodePart,
) -> Panels {
    let group = match part {
        CodePart::Whole => Paired { shift: 0, mask: !0 },
        CodePart::High => Paired { shift: 8, mask: !0 },
        CodePart::Low => Paired { shift: 0, mask: 0xff },
    };
    let k = match side {
        Side::A => operand.cols(),
        Side::B => operand.rows(),
    };
    Panels { words: panels(operand, side, width, group), pairs: k.div_ceil(2), width }
}

/// Two codes, of each the bits `mask` after a shift.
#[derive(Clone, Copy)]
struct Paired {
    shift: u32,
    mask: i32,
}

impl Paired {
    #[inline(always)]
    fn half<L: Lane>(self, code: L) -> i16 {
        let code: i32 = code.as_();
        (code.wrapping_shr(self.shift) & self.mask) as i16
    }
}

impl Group<2> for Paired {
    type Word = Pair;

    #[inline(always)]
    fn line<L: Lane>(self, codes: &[L], words: &mut [Pair; AT_ONCE]) {
        fill_pairs(words, |halves| {
            for (half, &code) in halves.iter_mut().zip(codes) {
                *half = self.half(code);
            }
        });
    }

    #[inline(always)]
    fn rows<L: Lane>(self, [even, odd]: [&[L]; 2], words: &mut [Pair]) {
        for ((word, &even), &odd) in words.iter_mut().zip(even).zip(odd) {
            *word = pair(self.half(even), self.half(odd));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_fxp::{Format, Tensor};
    use systoliq_program::panels::word_panels;

    #[test]
    fn pairs_are_neighbouring_words_of_a_panel() {
        for (rows, cols) in [(1, 1), (1, 5), (5, 1), (4, 6), (7, 9), (33, 65), (40, 32)] {
            let codes: Vec<i64> =
                (0..rows * cols).map(|at| at as i64 * 377 % 60000 - 30000).collect();
            let tensor = Tensor::from_codes(Format::new(16, 0, true).unwrap(), rows, cols, &codes);
            for transposed in [false, true] {
                let operand = Operand::new(&tensor, transposed);
                for (side, width) in [(Side::A, 1), (Side::A, 3), (Side::B, 4), (Side::B, 32)] {
                    check(&operand, side, width);
                }
            }
        }
    }

    fn check(operand: &Operand<'_>, side: Side, width: usize) {
        let words: Vec<i64> = word_panels(operand, side, width, 0);
        let [whole, high, low] = [CodePart::Whole, CodePart::High, CodePart::Low]
            .map(|part| pair_panels(operand, side, width, part));
        let (pairs, k) =
            (whole.pairs, if side == Side::A { operand.cols() } else { operand.rows() });
        assert_eq!((pairs, whole.words.len()), (k.div_ceil(2), words.len() / k * k.div_ceil(2)));
        for at in 0..whole.words.len() {
            let (panel, step, lane) = (at / (pairs * width), at / width % pairs, at % width);
            for half in 0..2 {
                let k_at = 2 * step + half;
                let word = if k_at < k { words[(panel * k + k_at) * width + lane] } else { 0 };
                let value = |panels: &Panels| i64::from((panels.words[at] >> (16 * half)) as i16);
                assert_eq!(value(&whole), word, "{side:?}, {width} wide, {at}");
                assert_eq!(value(&high) * 256 + value(&low), word, "{side:?}, {width} wide, {at}");
                assert!((0..256).contains(&value(&low)));
            }
        }
    }
}
