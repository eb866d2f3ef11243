//! Sums along lines of words, up to each of some places: of squares, which bound what products add, and of codes.

use std::ops::Range;

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};

use crate::kernels::{CodeWord, WordLines};
use crate::lent::{Lender, Lent};

/// What the codes of a word are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordCodes {
    /// Two signed ones.
    Pair,
    /// Four signed ones, with some bits flipped.
    SignedBytes { flipped: u8 },
    /// Four unsigned ones, with some bits flipped.
    Bytes { flipped: u8 },
}

/// What is summed of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// The code.
    First,
    /// Its square.
    Second,
}

/// Sums of lines from their beginning to the begin of each block of words, and to their end.
#[derive(Debug)]
pub(crate) struct LineSums {
    /// `[block][line]`; modulo 2³².
    sums: Lent<i32>,
    lines: usize,
}

impl LineSums {
    /// Zeros, for so many lines in so many blocks.
    pub(crate) fn new(lines: usize, blocks: usize, memory: &Lender<i32>) -> Self {
        Self { sums: memory.zeros(lines * (blocks + 1)), lines }
    }

    /// Sums some lines of `steps` words, the first of which is line `first`, in blocks of `block` words.
    pub(crate) fn add(
        &mut self,
        (first, count): (usize, usize),
        words: WordLines<'_>,
        [steps, block]: [usize; 2],
        (codes, power): (WordCodes, Power),
    ) {
        let sums = SumLines { sums: self, first, count, words, steps, block };
        match (codes, power) {
            (WordCodes::Pair, Power::First) => {
                sums.with(|word| i32::from(word as i16) + (word >> 16))
            }
            (WordCodes::Pair, Power::Second) => sums.with(|word| {
                let (even, odd) = (i32::from(word as i16), word >> 16);
                (even * even).wrapping_add(odd * odd)
            }),
            (WordCodes::SignedBytes { flipped }, Power::First) => {
                sums.with(|word| signed_bytes(word, flipped).into_iter().sum())
            }
            (WordCodes::SignedBytes { flipped }, Power::Second) => sums
                .with(|word| signed_bytes(word, flipped).into_iter().map(|code| code * code).sum()),
            (WordCodes::Bytes { flipped }, Power::First) => {
                sums.with(|word| bytes(word, flipped).into_iter().sum())
            }
            (WordCodes::Bytes { flipped }, Power::Second) => {
                sums.with(|word| bytes(word, flipped).into_iter().map(|code| code * code).sum())
            }
        }
    }

    /// The sums of some blocks of some lines, written to as many places.
    #[inline(always)]
    pub(crate) fn between(&self, blocks: &Range<usize>, first: usize, into: &mut [i32]) {
        let at = |block: usize| &self.sums[block * self.lines + first..][..into.len()];
        let (from, to) = (at(blocks.start), at(blocks.end));
        for ((sum, from), to) in into.iter_mut().zip(from).zip(to) {
            *sum = to.wrapping_sub(*from);
        }
    }
}

/// How many lines are summed side by side.
const LINES: usize = 16;

#[inline(always)]
fn signed_bytes(word: CodeWord, flipped: u8) -> [i32; 4] {
    let word = word ^ i32::from_ne_bytes([flipped; 4]);
    [word << 24 >> 24, word << 16 >> 24, word << 8 >> 24, word >> 24]
}

#[inline(always)]
fn bytes(word: CodeWord, flipped: u8) -> [i32; 4] {
    let word = word ^ i32::from_ne_bytes([flipped; 4]);
    [word & 0xff, word >> 8 & 0xff, word >> 16 & 0xff, word >> 24 & 0xff]
}

/// Lines to sum.
struct SumLines<'s, 'w> {
    sums: &'s mut LineSums,
    first: usize,
    count: usize,
    words: WordLines<'w>,
    steps: usize,
    block: usize,
}

/// The same with what is summed of a word.
struct SumWords<'s, 'w, F> {
    lines: SumLines<'s, 'w>,
    of_word: F,
}

impl SumLines<'_, '_> {
    #[inline(always)]
    fn with(self, of_word: impl Fn(CodeWord) -> i32) {
        with_widest_vectors(SumWords { lines: self, of_word });
    }
}

impl<F: Fn(CodeWord) -> i32> VectorWork for SumWords<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { lines: SumLines { sums, first, count, words, steps, block }, of_word } = self;
        let WordLines { words, line, step, windows: None } = words else {
            panic!("sums along windows")
        };
        for (at, from) in (0..steps).step_by(block).enumerate() {
            let end = steps.min(from + block);
            let (before, after) = sums.sums.split_at_mut((at + 1) * sums.lines);
            let before = &before[at * sums.lines + first..][..count];
            let after = &mut after[first..][..count];
            after.copy_from_slice(before);
            if line == 1 {
                for (at, after) in after.chunks_mut(LINES).enumerate() {
                    let words = &words[at * LINES..];
                    match after.first_chunk_mut::<LINES>() {
                        // A length that the compiler knows.
                        Some(after) => {
                            let mut sums = *after;
                            for words in (from..end).map(|at| &words[at * step..][..LINES]) {
                                for (sum, &word) in sums.iter_mut().zip(words) {
                                    *sum = sum.wrapping_add(of_word(word));
                                }
                            }
                            *after = sums;
                        }
                        None => {
                            for words in (from..end).map(|at| &words[at * step..]) {
                                for (sum, &word) in after.iter_mut().zip(words) {
                                    *sum = sum.wrapping_add(of_word(word));
                                }
                            }
                        }
                    }
                }
            } else {
                assert_eq!(step, 1, "words of a line");
                for (at, sum) in after.iter_mut().enumerate() {
                    for &word in &words[at * line + from..at * line + end] {
                        *sum = sum.wrapping_add(of_word(word));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_keyed_random::Key;

    #[test]
    fn sums_between_blocks_are_those_of_their_codes() {
        let (lines, steps, block) = (21, 13, 4);
        let words: Vec<CodeWord> =
            (0..lines * steps).map(|at| Key::new(3).word(at as u64) as CodeWord).collect();
        for (line, step) in [(steps, 1), (1, lines)] {
            for codes in [
                WordCodes::Pair,
                WordCodes::SignedBytes { flipped: 0x80 },
                WordCodes::Bytes { flipped: 0 },
            ] {
                for power in [Power::First, Power::Second] {
                    let mut sums =
                        LineSums::new(lines + 2, steps.div_ceil(block), &Lender::default());
                    let of = WordLines::even(&words, line, step);
                    sums.add((2, lines), of, [steps, block], (codes, power));
                    for (from, to) in [(0, 4), (1, 3), (2, 2), (3, 4)] {
                        let mut found = vec![0; lines];
                        sums.between(&(from..to), 2, &mut found);
                        for (at, &found) in found.iter().enumerate() {
                            let words = (from * block..steps.min(to * block))
                                .map(|k| words[at * line + k * step]);
                            let expected: i64 = words
                                .flat_map(|word| plain(codes, word))
                                .map(|code| if power == Power::First { code } else { code * code })
                                .sum();
                            assert_eq!(found, expected as i32, "{codes:?} {power:?} {line}");
                        }
                    }
                }
            }
        }
    }

    fn plain(codes: WordCodes, word: CodeWord) -> Vec<i64> {
        let bytes = word.to_le_bytes();
        match codes {
            WordCodes::Pair => vec![i64::from(word as i16), i64::from((word >> 16) as i16)],
            WordCodes::SignedBytes { flipped } => {
                bytes.iter().map(|byte| i64::from((byte ^ flipped) as i8)).collect()
            }
            WordCodes::Bytes { flipped } => {
                bytes.iter().map(|byte| i64::from(byte ^ flipped)).collect()
            }
        }
    }
}
