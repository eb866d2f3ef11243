//! The inner loops of the integer GEMM, and the choice among them at run time.
//!
//! Kernels multiply *words*: 32 bits with two or four codes of neighbouring k, the first in the low bits, because that is
//! what machines multiply and add in one instruction (`vpdpbusd`, `vpdpwssd`, `vpmaddwd`). A [`Kernel`] adds the products of
//! one [`SumTile`] to its sums, all of which fit the registers; all kernels give the same sums modulo 2³².
//!
//! There is a file for each [`KernelLevel`]. All `unsafe` code of the crate is in these modules: loads and stores of tiles, codes that are
//! read as words, and calls of functions compiled for instructions that were found to be there.

#![allow(unsafe_code)]

mod avx2;
mod avx512;
mod portable;

use std::array::from_fn;
use std::fmt;

use systoliq_fxp::Lane;

/// Two or four codes of neighbouring k, the first in the low bits.
pub(crate) type CodeWord = i32;

/// What instructions kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelLevel {
    /// Plain loops, on whatever vectors every machine of an architecture has.
    Portable,
    /// 256 bits, pairs of 16-bit codes.
    Avx2,
    /// 512 bits, pairs of 16-bit codes.
    Avx512,
    /// 512 bits, pairs of 16-bit codes and quads of 8-bit codes.
    Avx512Vnni,
}

impl KernelLevel {
    /// Every level that this machine has, the best first.
    pub fn available() -> Vec<Self> {
        let all = [Self::Avx512Vnni, Self::Avx512, Self::Avx2, Self::Portable];
        all.into_iter().filter(|level| level.is_available()).collect()
    }

    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2::is_available(),
            Self::Avx512 => avx512::is_available(),
            Self::Avx512Vnni => avx512::has_vnni(),
        }
    }
}

/// The kernels of a level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels {
    /// For pairs of signed 16-bit codes.
    pub(crate) pairs: &'static dyn Kernel,
    /// For quads of 8-bit codes of which those of A, or those of B, are signed.
    pub(crate) quads: Option<Quads>,
    /// For words with one code in the low half, whose sums saturate at the ends of 32 bits at every addition.
    pub(crate) one_by_one: Option<&'static dyn Kernel>,
}

/// For quads of 8-bit codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quads {
    pub(crate) signed_a: &'static dyn Kernel,
    pub(crate) signed_b: &'static dyn Kernel,
}

impl Kernels {
    /// The kernels of a level.
    ///
    /// # Panics
    ///
    /// If this machine does not have it.
    pub(crate) fn of(level: KernelLevel) -> Self {
        assert!(level.is_available(), "{level:?} on this machine");
        match level {
            KernelLevel::Portable => portable::KERNELS,
            KernelLevel::Avx2 => avx2::KERNELS,
            KernelLevel::Avx512 => avx512::KERNELS,
            KernelLevel::Avx512Vnni => avx512::VNNI_KERNELS,
        }
    }
}

/// Lines of A in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordLines<'a> {
    /// From the first word of the first line on.
    pub(crate) words: &'a [CodeWord],
    /// From a word to that of the next line.
    pub(crate) line: usize,
    /// From a word to the next of the line.
    pub(crate) step: usize,
    /// Where lines lie that are not at equal distances, or not in one run.
    pub(crate) windows: Option<WindowLines<'a>>,
}

/// Lines that are windows of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLines<'a> {
    /// The first word of each.
    pub(crate) places: &'a [CodeWord],
    /// How many runs of words each has.
    pub(crate) runs: usize,
    /// From a word to that of the next run.
    pub(crate) run: usize,
}

impl<'a> WordLines<'a> {
    /// Lines at equal distances.
    pub(crate) fn even(words: &'a [CodeWord], line: usize, step: usize) -> Self {
        Self { words, line, step, windows: None }
    }

    /// From a line on.
    #[inline(always)]
    pub(crate) fn from(self, line: usize) -> Self {
        match self.windows {
            None => Self { words: &self.words[line * self.line..], ..self },
            Some(windows) => {
                let places = &windows.places[line..];
                Self { windows: Some(WindowLines { places, ..windows }), ..self }
            }
        }
    }

    /// The first words of so many lines; of those that a tile does not have, that of its last.
    #[inline(always)]
    fn places(&self, rows: usize) -> LinePlaces {
        match self.windows {
            None => from_fn(|row| row.min(rows - 1).wrapping_mul(self.line)),
            Some(WindowLines { places, .. }) => {
                let places = &places[..rows];
                from_fn(|row| places[row.min(rows - 1)] as u32 as usize)
            }
        }
    }

    /// How many runs of words lines have, and from one to the next.
    #[inline(always)]
    pub(crate) fn runs(&self) -> (usize, usize) {
        self.windows.map_or((1, 0), |windows| (windows.runs, windows.run))
    }
}

/// The most rows of a tile of any kernel.
pub(crate) const ROWS_MAX: usize = 12;

/// Where the lines of a tile begin in the words of A.
pub(crate) type LinePlaces = [usize; ROWS_MAX];

/// Some rows and columns of `C += A · B`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SumTile<'a> {
    /// As many lines as the tile has rows, and more.
    pub(crate) a: WordLines<'a>,
    /// Panels of B, `[panel][step][lane]`, from the first step on.
    pub(crate) b: &'a [CodeWord],
    /// From a word of a panel to that of the next panel.
    pub(crate) panel: usize,
    /// LineWords of each run of a line.
    pub(crate) steps: usize,
    /// Rows and columns of sums.
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// From a sum to that of the next row.
    pub(crate) stride: usize,
    /// What the sums of each column start at; otherwise products are added to what is there.
    pub(crate) start: Option<&'a [i32]>,
}

/// What a kernel multiplies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelShape {
    /// Codes in a word.
    codes: usize,
    /// Columns of a panel of B.
    lanes: usize,
    /// The most rows of a tile, and its most columns, those of whole panels.
    rows: usize,
    cols: usize,
}

/// What multiplies tiles.
pub(crate) trait Kernel: fmt::Debug + Sync {
    /// What it multiplies.
    fn shape(&self) -> KernelShape;

    /// Adds the products of a tile to its sums, or to what these start at, modulo 2³² unless the kernel says
    /// otherwise.
    ///
    /// # Safety
    ///
    /// The machine must have the instructions that this is compiled for, the tile must
    /// [fit](SumTile::assert_fits), and its lines must begin at the places.
    unsafe fn run(&self, tile: &SumTile<'_>, places: &LinePlaces, sums: &mut [i32]);
}

impl dyn Kernel + '_ {
    /// Codes in a word.
    pub(crate) fn codes(&self) -> usize {
        self.shape().codes
    }

    /// Columns of a panel of B.
    pub(crate) fn lanes(&self) -> usize {
        self.shape().lanes
    }

    /// The most rows of a tile.
    pub(crate) fn rows(&self) -> usize {
        self.shape().rows
    }

    /// The most columns of a tile.
    pub(crate) fn cols(&self) -> usize {
        self.shape().cols
    }

    /// Adds the products of a tile to its sums, or to what these start at, modulo 2³² unless the kernel says
    /// otherwise.
    ///
    /// # Panics
    ///
    /// If the tile is larger than the kernel's, or reads or writes what is not there.
    #[inline]
    pub(crate) fn add(&self, tile: &SumTile<'_>, sums: &mut [i32]) {
        let places = tile.assert_fits(self, sums.len());
        // SAFETY: `Kernels::of` gives a kernel only where its instructions were detected, and the tile fits.
        unsafe { self.run(tile, &places, sums) }
    }
}

impl SumTile<'_> {
    /// Asserts that the tile is one of a kernel, and that all it reads and writes is there; tells where
    /// its lines begin.
    #[inline(always)]
    fn assert_fits(&self, kernel: &dyn Kernel, sums: usize) -> LinePlaces {
        let Self { a, b, panel, steps, rows, cols, stride, start } = *self;
        assert!(start.is_none_or(|start| cols <= start.len()), "{kernel:?}: starts of sums");
        let shape = kernel.shape();
        assert!((1..=shape.rows).contains(&rows), "{kernel:?}: {rows} rows");
        assert!((1..=shape.cols).contains(&cols), "{kernel:?}: {cols} columns");
        assert!((rows - 1) * stride + cols <= sums, "{kernel:?}: {sums} sums");
        let (runs, run) = a.runs();
        let places = a.places(rows);
        if steps > 0 && runs > 0 {
            let line = places.iter().fold(0, |most, &place| place.max(most));
            let last = line + (runs - 1) * run + (steps - 1) * a.step;
            assert!(last < a.words.len(), "{kernel:?}: words of A");
            let panels = cols.div_ceil(shape.lanes);
            let end = (panels - 1) * panel + runs * steps * shape.lanes;
            assert!(end <= b.len(), "{kernel:?}: words of B");
        }
        places
    }
}

/// How many rows and columns the largest tile of any kernel has.
pub(crate) const TILE_MAX: usize = ROWS_MAX * 32;

/// Has `fill` write the codes of words one by one, in place: a detour through another array costs
/// more than all else when operands are packed.
#[inline(always)]
pub(crate) fn fill_words<T: HalfOrByte>(words: &mut [CodeWord], fill: impl FnOnce(&mut [T])) {
    let codes = words.as_mut_ptr().cast();
    let count = size_of_val(words) / size_of::<T>();
    // SAFETY: a word has the bytes of some codes, is aligned at least as they are, and any bytes are
    // integers; `words` is not used until `fill` is done.
    fill(unsafe { std::slice::from_raw_parts_mut(codes, count) });
    if cfg!(target_endian = "big") {
        words.iter_mut().for_each(|word| *word = T::turned(*word));
    }
}

/// A code in a word.
pub(crate) trait HalfOrByte {
    /// A word whose first code is in the high bits as one whose first code is in the low bits.
    fn turned(word: CodeWord) -> CodeWord;
}

impl HalfOrByte for i16 {
    fn turned(word: CodeWord) -> CodeWord {
        word.rotate_left(16)
    }
}

impl HalfOrByte for u8 {
    fn turned(word: CodeWord) -> CodeWord {
        word.swap_bytes()
    }
}

/// Codes as words of so many codes, where their memory is that of such words.
pub(crate) fn words_of<L: Lane>(codes: &[L], codes_per_word: usize) -> Option<&[CodeWord]> {
    let signed = L::min_value() < L::zero();
    if size_of::<L>() * codes_per_word != size_of::<CodeWord>() || codes_per_word == 2 && !signed {
        return None;
    }
    // SAFETY: codes are integers, any bytes of which are words.
    let (before, words, _) = unsafe { codes.align_to() };
    (before.is_empty() && cfg!(target_endian = "little")).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_keyed_random::Key;

    /// The codes of a word: whether A's are signed, whether B's are.
    fn codes(word: CodeWord, codes: usize, signed: bool) -> Vec<i64> {
        let bytes = word.to_le_bytes();
        match codes {
            1 => vec![i64::from(word as i16)],
            2 => [word as i16, (word >> 16) as i16].map(i64::from).to_vec(),
            _ if signed => bytes.iter().map(|&byte| i64::from(byte as i8)).collect(),
            _ => bytes.iter().map(|&byte| i64::from(byte)).collect(),
        }
    }

    /// All kernels, and whether A's codes are signed, and B's.
    fn kernels() -> Vec<(KernelLevel, &'static dyn Kernel, [bool; 2])> {
        let mut kernels = Vec::new();
        for level in KernelLevel::available() {
            let Kernels { pairs, quads, one_by_one } = Kernels::of(level);
            kernels.push((level, pairs, [true; 2]));
            kernels.extend(one_by_one.map(|kernel| (level, kernel, [true; 2])));
            if let Some(quads) = quads {
                kernels.push((level, quads.signed_a, [true, false]));
                kernels.push((level, quads.signed_b, [false, true]));
            }
        }
        kernels
    }

    fn words(key: Key, ends: bool, count: usize) -> Vec<CodeWord> {
        const ENDS: [CodeWord; 6] = [0, -1, 0x7f7f_7f7f, !0x7f7f_7f7f, 0x7fff_7fff, !0x7fff_7fff];
        let word = |at| match ends {
            true => ENDS[key.below(at, 6) as usize],
            false => key.word(at) as CodeWord,
        };
        (0..count as u64).map(word).collect()
    }

    fn check(
        (level, kernel, signed): (KernelLevel, &dyn Kernel, [bool; 2]),
        tile: &SumTile<'_>,
        key: Key,
    ) {
        let before = words(key, false, tile.rows * tile.stride);
        let mut sums = before.clone();
        let case = format!("{} x {} x {}", tile.rows, tile.steps, tile.cols);
        kernel.add(tile, &mut sums);
        for (at, (&sum, before)) in sums.iter().zip(before).enumerate() {
            let (row, col) = (at / tile.stride, at % tile.stride);
            let first = tile.start.filter(|_| col < tile.cols).map_or(before, |start| start[col]);
            let mut expected = i64::from(first);
            let (runs, run) = tile.a.runs();
            for step in 0..if col < tile.cols { runs * tile.steps } else { 0 } {
                let of_run = step / tile.steps * run + step % tile.steps * tile.a.step;
                let a = tile.a.words[tile.a.places(tile.rows)[row] + of_run];
                let lanes = kernel.lanes();
                let b = tile.b[col / lanes * tile.panel + step * lanes + col % lanes];
                let [a, b] = [(a, signed[0]), (b, signed[1])]
                    .map(|(word, signed)| codes(word, kernel.codes(), signed));
                expected += a.iter().zip(&b).map(|(a, b)| a * b).sum::<i64>();
                if kernel.codes() == 1 {
                    expected = expected.clamp(i32::MIN.into(), i32::MAX.into());
                }
            }
            assert_eq!(sum, expected as i32, "{level:?} {kernel:?} ({row}, {col}) of {case}");
        }
    }

    #[test]
    fn every_kernel_adds_what_the_plain_loop_does() {
        for found in kernels() {
            let (kernel, lanes) = (found.1, found.1.lanes());
            assert!(
                kernel.rows() <= ROWS_MAX && kernel.rows() * kernel.cols() <= TILE_MAX,
                "{kernel:?}"
            );
            for rows in 1..=kernel.rows() {
                for cols in [1, lanes - 1, lanes, lanes + 1, kernel.cols()] {
                    if cols > kernel.cols() {
                        continue;
                    }
                    for (steps, ends) in [(0, false), (1, true), (3, false), (40, true)] {
                        let key = Key::new(rows as u64).with(cols as u64).with(steps as u64);
                        let a = words(key.with(0), ends, rows * (steps + 2));
                        let panel = lanes * (steps + 1);
                        let b = words(key.with(1), ends, 2 * panel);
                        // Beside one code there is nothing.
                        let mask = if kernel.codes() == 1 { 0xffff } else { !0 };
                        let a: Vec<CodeWord> = a.iter().map(|word| word & mask).collect();
                        // One line behind the other, and one beside the other.
                        for (line, step) in [(steps + 2, 1), (1, rows)] {
                            let a = WordLines::even(&a, line, step);
                            let stride = cols + 3;
                            let starts = words(key.with(3), false, cols);
                            for start in [None, Some(&*starts)] {
                                let tile =
                                    SumTile { a, b: &b, panel, steps, rows, cols, stride, start };
                                check(found, &tile, key.with(2));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_kernel_reads_windows() {
        for found in kernels() {
            let (kernel, lanes) = (found.1, found.1.lanes());
            let (runs, run, steps) = (3, 50, 7);
            for rows in 1..=kernel.rows() {
                let key = Key::new(rows as u64);
                let places: Vec<CodeWord> =
                    (0..rows as u64).map(|row| key.below(row, 60) as CodeWord).collect();
                let mask = if kernel.codes() == 1 { 0xffff } else { !0 };
                let a = words(key.with(0), false, 59 + 2 * run + steps);
                let a: Vec<CodeWord> = a.iter().map(|word| word & mask).collect();
                let panel = lanes * runs * steps;
                let b = words(key.with(1), false, 2 * panel);
                let windows = Some(WindowLines { places: &places, runs, run });
                let a = WordLines { windows, ..WordLines::even(&a, 0, 1) };
                for cols in [1, kernel.cols()] {
                    let (stride, start) = (cols, None);
                    let tile = SumTile { a, b: &b, panel, steps, rows, cols, stride, start };
                    check(found, &tile, key.with(2));
                }
            }
        }
    }

    #[test]
    fn words_hold_the_first_code_in_the_low_bits() {
        let mut words = [0; 2];
        fill_words(&mut words, |codes: &mut [i16]| codes.copy_from_slice(&[1, -2, 3, i16::MIN]));
        assert_eq!(words, [-0x1_ffff, !0x7fff_fffc]);
        fill_words(&mut words, |codes: &mut [u8]| codes.copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(words, [0x0403_0201, 0x0807_0605]);
    }
}
