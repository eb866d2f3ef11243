//! Operands in words, as kernels read them.

use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use systoliq_fxp::{Lane, with_codes};
use systoliq_program::panels::{
    ABREAST, AT_ONCE, Group, PaddedRows, Side, lines, panels_from, words_of_panels,
};
use systoliq_program::view::Submatrix;
use systoliq_program::view::codes::{CodeBlock, Viewed};
use systoliq_program::{Operand, Reading, Workers};

use crate::kernels::{CodeWord, Kernel, WindowLines, WordLines, fill_words, words_of};
use crate::lent::Lender;
use crate::line_sums::{LineSums, Power, WordCodes};
use crate::strips::LineWords;

/// What codes become in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    /// A code, which fits, is one of a pair of 16 bits.
    Whole,
    /// `⌊code / 2⁸⌋` is.
    High,
    /// The code modulo 2⁸ is.
    Low,
    /// A code of 16 bits without a sign, less 2¹⁵, is.
    Lowered,
    /// A code of 8 bits is one of four.
    Byte,
    /// The same with its highest bit flipped: a signed code plus 128 without a sign, or one without a
    /// sign less 128 with one.
    Flipped,
    /// A code, which fits 16 bits shifted by so many, is alone.
    Shifted(u32),
}

impl Coding {
    /// Codes in a word.
    fn codes(self) -> usize {
        match self {
            Self::Whole | Self::High | Self::Low | Self::Lowered => 2,
            Self::Byte | Self::Flipped => 4,
            Self::Shifted(_) => 1,
        }
    }
}

/// The fewest words that it pays to have packed by a thread of their own.
const THREAD_WORDS: usize = 1 << 15;

/// LineWords of a line of most caches, which vectors are loaded from fastest.
const CACHE_LINE_WORDS: usize = 16;

/// Panels of B, `[panel][step][lane]`.
#[derive(Debug)]
pub(crate) struct Panels {
    /// The words, from the first place that a line of caches begins with.
    memory: Vec<CodeWord>,
    first: usize,
    /// LineWords of a column.
    steps: usize,
    /// Columns of a panel, and of all.
    lanes: usize,
    cols: usize,
    layout: Option<PackedLayout>,
    sums: OnceLock<LineSums>,
    squares: OnceLock<LineSums>,
    /// The same codes one by one, shifted by so many bits.
    alone: OnceLock<(u32, Box<Self>)>,
    /// Memory for these, and for sums.
    spare_alone: Mutex<Option<Box<Self>>>,
    lender: Lender<i32>,
}

/// Which words codes go to: in all others are zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PackedLayout {
    part: Submatrix,
    reading: Reading,
    /// Columns of a panel, and codes of a word.
    lanes: usize,
    codes: usize,
}

impl Panels {
    /// Room for panels: none are packed yet.
    pub(crate) fn new(lender: &Lender<i32>) -> Self {
        let (sums, squares, alone) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self {
            memory: vec![0; CACHE_LINE_WORDS],
            first: 0,
            steps: 0,
            lanes: 1,
            cols: 0,
            layout: None,
            sums,
            squares,
            alone,
            spare_alone: Mutex::default(),
            lender: lender.clone(),
        }
    }

    /// Packs B for a kernel, in the memory of what was packed before if that is as long.
    pub(crate) fn pack(
        &mut self,
        operand: &Operand<'_>,
        kernel: &dyn Kernel,
        coding: Coding,
        workers: &Workers,
    ) {
        let (lanes, codes) = (kernel.lanes(), kernel.codes());
        let count = words_of_panels(operand, Side::B, lanes, codes);
        let layout = PackedLayout { part: operand.part, reading: operand.reading, lanes, codes };
        self.sums.take();
        self.squares.take();
        let unused = self.alone.take().map(|(_, alone)| alone);
        let spare = self.spare_alone.get_mut().unwrap_or_else(PoisonError::into_inner);
        *spare = unused.or(spare.take());
        if self.words().len() != count {
            self.memory = vec![0; count + CACHE_LINE_WORDS];
            let first = self.memory.as_ptr().align_offset(CACHE_LINE_WORDS * size_of::<CodeWord>());
            self.first = first.min(CACHE_LINE_WORDS);
        } else if self.layout != Some(layout) {
            self.memory.fill(0);
        }
        self.layout = Some(layout);
        self.steps = operand.rows().div_ceil(codes);
        self.lanes = lanes;
        self.cols = operand.cols().next_multiple_of(lanes);
        let panel = self.panel();
        let cuts = workers.cut(count / panel.max(1), ABREAST, THREAD_WORDS.div_ceil(panel.max(1)));
        let mut rest = &mut self.memory[self.first..self.first + count];
        let part = |some: Range<usize>| {
            let words = rest.split_off_mut(..some.len() * panel).expect("words of panels");
            (some.start, words)
        };
        let run = |(first, words): (usize, &mut [CodeWord])| match coding {
            Coding::Whole => panels_from(first, operand, Side::B, lanes, WHOLE, words),
            Coding::High => panels_from(first, operand, Side::B, lanes, HIGH, words),
            Coding::Low => panels_from(first, operand, Side::B, lanes, LOW, words),
            Coding::Lowered => panels_from(first, operand, Side::B, lanes, LOWERED, words),
            Coding::Byte => panels_from(first, operand, Side::B, lanes, BYTE, words),
            Coding::Flipped => panels_from(first, operand, Side::B, lanes, FLIPPED, words),
            Coding::Shifted(shift) => {
                panels_from(first, operand, Side::B, lanes, Alone { shift }, words);
            }
        };
        workers.each(cuts.into_iter().map(part), run, |()| {});
    }

    pub(crate) fn words(&self) -> &[CodeWord] {
        let count = self.memory.len() - CACHE_LINE_WORDS;
        &self.memory[self.first..self.first + count]
    }

    /// The panels that begin with column `col`, from a step on.
    #[inline(always)]
    pub(crate) fn at(&self, col: usize, step: usize) -> &[CodeWord] {
        &self.words()[col * self.steps + step * self.lanes..]
    }

    /// From a word of a panel to that of the next panel.
    pub(crate) fn panel(&self) -> usize {
        self.steps * self.lanes
    }

    /// Sums of the codes, or of their squares, in each column, in blocks of so many words; one block
    /// size for all.
    pub(crate) fn sums(&self, codes: WordCodes, power: Power, block: usize) -> &LineSums {
        let sums = match power {
            Power::First => &self.sums,
            Power::Second => &self.squares,
        };
        sums.get_or_init(|| {
            let mut sums = LineSums::new(self.cols, self.steps.div_ceil(block), &self.lender);
            for col in (0..self.cols).step_by(self.lanes) {
                let words = WordLines::even(self.at(col, 0), 1, self.lanes);
                sums.add((col, self.lanes), words, [self.steps, block], (codes, power));
            }
            sums
        })
    }
}

impl Panels {
    /// The operand that these are of, for a kernel of words with one code; `None` if it is here with codes shifted by
    /// other bits.
    pub(crate) fn alone(
        &self,
        operand: &Operand<'_>,
        kernel: &dyn Kernel,
        shift: u32,
    ) -> Option<&Self> {
        let pack = || {
            let spare = self.spare_alone.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut panels = spare.unwrap_or_else(|| Box::new(Self::new(&self.lender)));
            panels.pack(operand, kernel, Coding::Shifted(shift), &Workers::default());
            (shift, panels)
        };
        let (packed, panels) = self.alone.get_or_init(pack);
        (*packed == shift).then_some(panels)
    }
}

/// Some lines of A for a kernel: where they lie, if their memory is that of words, and otherwise
/// packed into `words`.
#[inline]
pub(crate) fn lines_of<'a>(
    operand: &Operand<'a>,
    rows: Range<usize>,
    coding: Coding,
    words: &'a mut Vec<CodeWord>,
) -> WordLines<'a> {
    if let Some(found) = in_place(operand, rows.clone(), coding) {
        return found;
    }
    let (line, step) = match coding {
        Coding::Whole => lines(operand, rows, WHOLE, words),
        Coding::High => lines(operand, rows, HIGH, words),
        Coding::Low => lines(operand, rows, LOW, words),
        Coding::Lowered => lines(operand, rows, LOWERED, words),
        Coding::Byte => lines(operand, rows, BYTE, words),
        Coding::Flipped => lines(operand, rows, FLIPPED, words),
        Coding::Shifted(shift) => lines(operand, rows, Alone { shift }, words),
    };
    WordLines::even(words, line, step)
}

/// The same of lines that are windows of an image, if they can be read from its padded rows.
pub(crate) fn windows_of<'a>(
    operand: &Operand<'a>,
    rows: Range<usize>,
    coding: Coding,
    [words, places]: &'a mut LineWords,
) -> Option<(WordLines<'a>, usize)> {
    let padded = PaddedRows::of(operand, coding.codes())?;
    let found: &mut dyn Iterator<Item = usize> = match coding {
        Coding::Whole => &mut padded.copy((operand, rows), WHOLE, words),
        Coding::Byte => &mut padded.copy((operand, rows), BYTE, words),
        Coding::Flipped => &mut padded.copy((operand, rows), FLIPPED, words),
        Coding::High | Coding::Low | Coding::Lowered | Coding::Shifted(_) => return None,
    };
    places.clear();
    places.extend(found.map(|place| place as CodeWord));
    let [runs, steps, run] = padded.runs();
    let windows = Some(WindowLines { places, runs, run });
    // Places have 32 bits.
    let fits = words.len() < 1 << 31;
    fits.then_some((WordLines { windows, ..WordLines::even(words, 0, 1) }, steps))
}

fn in_place<'a>(
    operand: &Operand<'a>,
    rows: Range<usize>,
    coding: Coding,
) -> Option<WordLines<'a>> {
    let codes_per_word = match coding {
        Coding::Whole => 2,
        Coding::Byte => 4,
        Coding::High | Coding::Low | Coding::Lowered | Coding::Flipped | Coding::Shifted(_) => {
            return None;
        }
    };
    if operand.reading.transposed {
        return None;
    }
    with_codes!(operand.tensor, |codes| {
        let viewed = Viewed::new(operand, codes);
        let CodeBlock { codes, stride } = viewed.in_place(rows, 0..viewed.cols())?;
        let whole = |count: usize| count.is_multiple_of(codes_per_word);
        let words =
            words_of(codes, codes_per_word).filter(|_| whole(viewed.cols()) && whole(stride))?;
        Some(WordLines::even(words, stride / codes_per_word, 1))
    })
}

/// Two codes, of each the bits `mask` after a shift, and some flipped.
#[derive(Clone, Copy)]
struct Paired {
    shift: u32,
    mask: i32,
    flipped: i32,
}

const WHOLE: Paired = Paired { shift: 0, mask: !0, flipped: 0 };
const HIGH: Paired = Paired { shift: 8, mask: !0, flipped: 0 };
const LOW: Paired = Paired { shift: 0, mask: 0xff, flipped: 0 };
const LOWERED: Paired = Paired { shift: 0, mask: !0, flipped: 0x8000 };

impl Paired {
    #[inline(always)]
    fn half<L: Lane>(self, code: L) -> i16 {
        let code: i32 = code.as_();
        (code.wrapping_shr(self.shift) & self.mask ^ self.flipped) as i16
    }
}

impl Group<2> for Paired {
    type Word = CodeWord;

    #[inline(always)]
    fn line<L: Lane>(self, codes: &[L], words: &mut [CodeWord; AT_ONCE]) {
        fill_words(words, |halves: &mut [i16]| {
            for (half, &code) in halves.iter_mut().zip(codes) {
                *half = self.half(code);
            }
        });
    }

    #[inline(always)]
    fn rows<L: Lane>(self, [even, odd]: [&[L]; 2], words: &mut [CodeWord]) {
        for ((word, &even), &odd) in words.iter_mut().zip(even).zip(odd) {
            *word = i32::from(self.half(odd)) << 16 | i32::from(self.half(even) as u16);
        }
    }
}

/// Four codes of 8 bits with some bits flipped.
#[derive(Clone, Copy)]
struct Quad {
    flipped: u8,
}

const BYTE: Quad = Quad { flipped: 0 };
const FLIPPED: Quad = Quad { flipped: 0x80 };

impl Quad {
    #[inline(always)]
    fn byte<L: Lane>(self, code: L) -> u8 {
        let code: i32 = code.as_();
        code as u8 ^ self.flipped
    }
}

impl Group<4> for Quad {
    type Word = CodeWord;

    #[inline(always)]
    fn line<L: Lane>(self, codes: &[L], words: &mut [CodeWord; AT_ONCE]) {
        fill_words(words, |bytes: &mut [u8]| {
            for (byte, &code) in bytes.iter_mut().zip(codes) {
                *byte = self.byte(code);
            }
        });
    }

    #[inline(always)]
    fn rows<L: Lane>(self, [first, second, third, fourth]: [&[L]; 4], words: &mut [CodeWord]) {
        let codes = first.iter().zip(second).zip(third.iter().zip(fourth));
        for (word, ((&first, &second), (&third, &fourth))) in words.iter_mut().zip(codes) {
            let byte = |code: L| u32::from(self.byte(code));
            let low = byte(first) | byte(second) << 8;
            *word = (low | byte(third) << 16 | byte(fourth) << 24) as CodeWord;
        }
    }
}

/// One code in the low half, shifted.
#[derive(Clone, Copy)]
struct Alone {
    shift: u32,
}

impl Group<1> for Alone {
    type Word = CodeWord;

    #[inline(always)]
    fn line<L: Lane>(self, codes: &[L], words: &mut [CodeWord; AT_ONCE]) {
        self.rows([codes], words);
    }

    #[inline(always)]
    fn rows<L: Lane>(self, [codes]: [&[L]; 1], words: &mut [CodeWord]) {
        for (word, &code) in words.iter_mut().zip(codes) {
            let code: i32 = code.as_();
            *word = code.wrapping_shl(self.shift) & 0xffff;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{KernelLevel, Kernels};
    use systoliq_fxp::{Format, Tensor};

    /// What a code is in a word.
    fn coded(coding: Coding, code: i64) -> i64 {
        match coding {
            Coding::Whole => i64::from(code as u16),
            Coding::High => i64::from((code >> 8) as u16),
            Coding::Low => i64::from(code as u8),
            Coding::Lowered => i64::from(code as u16 ^ 0x8000),
            Coding::Byte => i64::from(code as u8),
            Coding::Flipped => i64::from(code as u8 ^ 0x80),
            Coding::Shifted(shift) => i64::from((code << shift) as u16),
        }
    }

    fn check(panels: &mut Panels, operand: &Operand<'_>, (coding, kernel): (Coding, &dyn Kernel)) {
        let (rows, cols) = (operand.rows(), operand.cols());
        let (codes, lanes) = (kernel.codes(), kernel.lanes());
        let code_of = |word: CodeWord, at: usize| {
            i64::from(word as u32 >> (32 / codes * at)) & ((1 << (32 / codes)) - 1)
        };
        let case = format!("{coding:?} of {operand:?}");
        panels.pack(operand, kernel, coding, &Workers::default());
        let steps = rows.div_ceil(codes);
        assert_eq!((panels.panel(), panels.steps), (steps * lanes, steps), "{case}");
        for (col, at) in (0..cols).flat_map(|col| (0..rows).map(move |at| (col, at))) {
            let word = panels.at(col / lanes * lanes, at / codes)[col % lanes];
            let expected = coded(coding, operand.code(at, col));
            assert_eq!(code_of(word, at % codes), expected, "{case}: {at}, {col}");
        }
        let mut buffer = Vec::new();
        let from = rows / 3;
        let WordLines { words, line, step, .. } =
            lines_of(operand, from..rows, coding, &mut buffer);
        for (row, at) in (from..rows).flat_map(|row| (0..cols).map(move |at| (row, at))) {
            let word = words[(row - from) * line + at / codes * step];
            let expected = coded(coding, operand.code(row, at));
            assert_eq!(code_of(word, at % codes), expected, "{case}: {row}, {at}");
        }
    }

    #[test]
    fn every_code_is_in_its_word() {
        let pairs = Kernels::of(KernelLevel::Portable).pairs;
        let quads = KernelLevel::available().into_iter().find_map(|level| Kernels::of(level).quads);
        // In the memory of each other.
        let mut panels = Panels::new(&Lender::default());
        for (rows, cols) in [(1, 1), (1, 5), (5, 1), (4, 8), (7, 9), (33, 65), (40, 32)] {
            for (bits, is_signed) in [(8, true), (8, false), (16, true), (16, false)] {
                let format = Format::new(bits, 0, is_signed).unwrap();
                let codes = (0..rows * cols).map(|at| at as i64 * 377 % 60000 - 30000);
                let codes: Vec<i64> = codes
                    .map(|code| {
                        format.min_raw() + code.rem_euclid(format.max_raw() - format.min_raw() + 1)
                    })
                    .collect();
                let tensor = Tensor::from_codes(format, rows, cols, &codes);
                for transposed in [false, true] {
                    let operand = Operand::new(&tensor, transposed);
                    for coding in [Coding::Whole, Coding::High, Coding::Low, Coding::Lowered] {
                        check(&mut panels, &operand, (coding, pairs));
                    }
                    for quads in quads.into_iter().filter(|_| bits == 8) {
                        check(&mut panels, &operand, (Coding::Byte, quads.signed_a));
                        check(&mut panels, &operand, (Coding::Flipped, quads.signed_a));
                        let three = &Workers::eager(3);
                        panels.pack(&operand, quads.signed_b, Coding::Byte, three);
                        let codes = match is_signed {
                            true => WordCodes::SignedBytes { flipped: 0 },
                            false => WordCodes::Bytes { flipped: 0 },
                        };
                        let mut sums = vec![0; operand.cols()];
                        panels.sums(codes, Power::First, 1000).between(&(0..1), 0, &mut sums);
                        for (col, &sum) in sums.iter().enumerate() {
                            let column = (0..operand.rows()).map(|row| operand.code(row, col));
                            assert_eq!(i64::from(sum), column.sum::<i64>(), "{operand:?} {col}");
                        }
                    }
                }
            }
        }
    }
}
