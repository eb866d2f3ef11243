//! Operands, packed for inner loops.
//!
//! The *lines* of an operand are what the products of one output run along: rows of A, columns of
//! B. A *panel* holds some lines side by side, k by k, so that an inner loop reads it in one
//! stream; where lines are missing in the last panel, it holds zeros. A [`Group`] says what becomes
//! of codes on the way.

use std::array::from_fn;
use std::ops::Range;

use num_traits::{AsPrimitive, PrimInt, WrappingAdd, WrappingMul, Zero};
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Lane, with_codes};

use crate::Operand;
use crate::view::codes::{CodeBlock, Viewed};
use crate::view::{View, Windows};

/// An integer type to sum in.
pub trait Word:
    PrimInt + WrappingAdd + WrappingMul + AsPrimitive<i64> + Send + Sync + std::fmt::Debug
{
    /// Its width.
    const BITS: u32;
}

impl Word for i32 {
    const BITS: u32 = i32::BITS;
}

impl Word for i64 {
    const BITS: u32 = i64::BITS;
}

impl Word for i128 {
    const BITS: u32 = i128::BITS;
}

/// Which operand of a GEMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The left one, whose lines are rows.
    A,
    /// The right one, whose lines are columns.
    B,
}

/// How many words of a line are made before it is the next line's turn.
pub const AT_ONCE: usize = 32;

/// How many lines the panels of the widest vectors have.
const VECTOR: usize = 16;

/// How many lines are turned into columns at once, and how many panels are packed together.
pub const ABREAST: usize = 8;

/// How `N` codes of neighbouring k become one word of a panel.
pub trait Group<const N: usize>: Copy {
    /// The word.
    type Word: Copy + Zero;

    /// The words of a piece of one line of at most `N · AT_ONCE` codes.
    fn line<L: Lane>(self, codes: &[L], words: &mut [Self::Word; AT_ONCE]);

    /// One word per line, from rows of codes of neighbouring lines.
    fn rows<L: Lane>(self, rows: [&[L]; N], words: &mut [Self::Word]);
}

/// How many words panels of `width` lines have, with `codes` codes in each.
pub fn words_of_panels(operand: &Operand<'_>, side: Side, width: usize, codes: usize) -> usize {
    let (count, k) = match side {
        Side::A => (operand.rows(), operand.cols()),
        Side::B => (operand.cols(), operand.rows()),
    };
    count.next_multiple_of(width) * k.div_ceil(codes)
}

/// Packs panels of `width` lines, `[panel][k / N][line]`, of words that `group` makes, to where zeros are.
///
/// # Panics
///
/// Unless `words` has as many as [`words_of_panels`] tells.
pub fn panels<G: Group<N>, const N: usize>(
    operand: &Operand<'_>,
    side: Side,
    width: usize,
    group: G,
    words: &mut [G::Word],
) {
    assert_eq!(words.len(), words_of_panels(operand, side, width, N), "words of {operand:?}");
    panels_from(0, operand, side, width, group, words);
}

/// The same of some panels: as many as there are words for, from number `first` on.
///
/// # Panics
///
/// If there are not so many panels.
pub fn panels_from<G: Group<N>, const N: usize>(
    first: usize,
    operand: &Operand<'_>,
    side: Side,
    width: usize,
    group: G,
    words: &mut [G::Word],
) {
    with_codes!(operand.tensor, |codes| {
        let viewed = Viewed::new(operand, codes);
        let whole = operand.reading.transposed == (side == Side::B);
        let pack = Pack { viewed, whole, width, group };
        with_widest_vectors(PackPanels { pack, first, words });
    })
}

/// Some lines of A in words that `group` makes, all k of one line behind the other where lines are rows of what is
/// stored, all lines of a k where they are columns. Returns the distances in words of neighbouring
/// lines and of neighbouring words of a line.
pub fn lines<G: Group<N>, const N: usize>(
    operand: &Operand<'_>,
    lines: Range<usize>,
    group: G,
    words: &mut Vec<G::Word>,
) -> (usize, usize) {
    with_codes!(operand.tensor, |codes| {
        let viewed = Viewed::new(operand, codes);
        let whole = !operand.reading.transposed;
        let width = lines.len();
        with_widest_vectors(PackLines { pack: Pack { viewed, whole, width, group }, lines, words })
    })
}

/// Where the codes of windows lie in rows of pixels to which the padding is added: each window in as many runs as it has
/// taps down, one behind the other in each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddedRows {
    windows: Windows,
    /// Padded rows of an image.
    rows: usize,
    /// Words of a row, and of a pixel.
    row_words: usize,
    pixel_words: usize,
}

impl PaddedRows {
    /// For an operand whose lines are windows of pixels with whole words of `codes` codes; `None` if they
    /// are not, or taps of a row do not lie side by side.
    pub fn of(operand: &Operand<'_>, codes: usize) -> Option<Self> {
        let View::Windows(windows) = operand.reading.view else { return None };
        let Windows { down, along } = windows;
        let side_by_side = along.tap_step == 1 && operand.part.cols == operand.part.stride;
        let dense =
            down.spread == 1 && along.spread == 1 && operand.part.cols.is_multiple_of(codes);
        if operand.reading.transposed || !side_by_side || !dense {
            return None;
        }
        let pixel_words = operand.part.cols / codes;
        let rows = (down.positions - 1) * down.step + (down.taps - 1) * down.tap_step + 1;
        let pixels = (along.positions - 1) * along.step + along.taps;
        Some(Self { windows, rows, row_words: pixels * pixel_words, pixel_words })
    }

    /// The first padded row that a window meets, and the first word that it meets there.
    fn place(&self, window: usize) -> (usize, usize) {
        let Windows { down, along } = self.windows;
        let (line, x) = (window / along.positions, window % along.positions);
        let (image, y) = (line / down.positions, line % down.positions);
        (image * self.rows + y * down.step, x * along.step * self.pixel_words)
    }

    /// How many runs each window has, of how many words, and from one to the next.
    pub fn runs(&self) -> [usize; 3] {
        let Windows { down, along } = self.windows;
        [down.taps, along.taps * self.pixel_words, down.tap_step * self.row_words]
    }

    /// Copies the padded rows that some windows meet, in words that `group` makes; tells where each
    /// window begins.
    pub fn copy<G: Group<N>, const N: usize>(
        &self,
        (operand, windows): (&Operand<'_>, Range<usize>),
        group: G,
        words: &mut Vec<G::Word>,
    ) -> impl Iterator<Item = usize> + use<G, N> {
        let down = self.windows.down;
        let first = self.place(windows.start).0;
        let last = self.place(windows.end - 1).0 + (down.taps - 1) * down.tap_step;
        with_codes!(operand.tensor, |codes| {
            let codes = codes.as_slice().expect("tensors are contiguous");
            let codes = &codes[operand.part.index(0, 0)..];
            let rows = first..last + 1;
            with_widest_vectors(CopyRows { padded: *self, codes, rows, group, words });
        });
        let padded = *self;
        windows.map(move |window| {
            let (row, word) = padded.place(window);
            (row - first) * padded.row_words + word
        })
    }
}

/// Copies padded rows.
struct CopyRows<'a, 'w, L, G: Group<N>, const N: usize> {
    padded: PaddedRows,
    codes: &'a [L],
    rows: Range<usize>,
    group: G,
    words: &'w mut Vec<G::Word>,
}

impl<L: Lane, G: Group<N>, const N: usize> VectorWork for CopyRows<'_, '_, L, G, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { padded, codes, rows, group, words } = self;
        let PaddedRows { windows: Windows { down, along }, row_words, pixel_words, .. } = padded;
        let mut some = [Zero::zero(); AT_ONCE];
        group.line(&[L::zero(); N], &mut some);
        words.clear();
        words.resize(rows.len() * row_words, some[0]);
        let pixels = row_words / pixel_words.max(1);
        let (image_rows, image_pixels) = (down.extent, along.extent);
        for (row, words) in rows.zip(words.chunks_exact_mut(row_words.max(1))) {
            let (image, y) = (row / padded.rows, (row % padded.rows) as isize - down.pad);
            let from = along.pad.max(0) as usize;
            let x = (from as isize - along.pad) as usize;
            if !(0..image_rows as isize).contains(&y) || from >= pixels || x >= image_pixels {
                continue;
            }
            let count = (pixels - from).min(image_pixels - x);
            let first = ((image * image_rows + y as usize) * image_pixels + x) * pixel_words * N;
            let codes = &codes[first..][..count * pixel_words * N];
            let words = &mut words[from * pixel_words..][..count * pixel_words];
            for (codes, words) in codes.chunks(AT_ONCE * N).zip(words.chunks_mut(AT_ONCE)) {
                group.line(codes, &mut some);
                words.copy_from_slice(&some[..words.len()]);
            }
        }
    }
}

/// Panels of `width` lines, `[panel][k][line]`, each code times `2^zeros` as far as it fits.
pub fn word_panels<W: Word>(operand: &Operand<'_>, side: Side, width: usize, zeros: u32) -> Vec<W>
where
    i64: AsPrimitive<W>,
{
    let scale = if zeros < W::BITS { W::one() << zeros as usize } else { W::zero() };
    let mut words = vec![W::zero(); words_of_panels(operand, side, width, 1)];
    panels(operand, side, width, Scaled { scale }, &mut words);
    words
}

/// Each code by itself, times `2^zeros`.
#[derive(Clone, Copy)]
struct Scaled<W> {
    scale: W,
}

impl<W: Word> Group<1> for Scaled<W>
where
    i64: AsPrimitive<W>,
{
    type Word = W;

    #[inline(always)]
    fn line<L: Lane>(self, codes: &[L], words: &mut [W; AT_ONCE]) {
        self.rows([codes], words);
    }

    #[inline(always)]
    fn rows<L: Lane>(self, [codes]: [&[L]; 1], words: &mut [W]) {
        for (word, &code) in words.iter_mut().zip(codes) {
            *word = code.code().as_().wrapping_mul(&self.scale);
        }
    }
}

/// Packs `N` codes of neighbouring k into each word, `[panel][k / N][line]`.
struct Pack<'a, L, G, const N: usize> {
    viewed: Viewed<'a, L>,
    /// Whether lines are rows of what is viewed; otherwise they are its columns.
    whole: bool,
    width: usize,
    group: G,
}

/// Packs panels.
struct PackPanels<'a, 'w, L, G: Group<N>, const N: usize> {
    pack: Pack<'a, L, G, N>,
    /// The number of the first.
    first: usize,
    words: &'w mut [G::Word],
}

impl<L: Lane, G: Group<N>, const N: usize> VectorWork for PackPanels<'_, '_, L, G, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { pack, first, words } = self;
        let (count, k) = pack.sizes();
        if words.is_empty() {
            return;
        }
        let (mut buffer, first_line) = (Vec::new(), first * pack.width);
        let panel = k.div_ceil(N) * pack.width;
        if pack.whole {
            for (at, panel) in words.chunks_exact_mut(panel).enumerate() {
                let first = first_line + at * pack.width;
                let lines = first..count.min(first + pack.width);
                pack.turn(pack.viewed.block(lines, 0..k, &mut buffer), panel);
            }
            return;
        }
        // Some panels together read whole lines of caches.
        for (at, panels) in words.chunks_mut(ABREAST * panel).enumerate() {
            let first = first_line + at * ABREAST * pack.width;
            let lines = first..count.min(first + ABREAST * pack.width);
            for from in (0..k).step_by(AT_ONCE * N) {
                let some = from..k.min(from + AT_ONCE * N);
                let part = from / N * pack.width..some.end.div_ceil(N) * pack.width;
                let block = pack.viewed.block(some, lines.clone(), &mut buffer);
                for (beside, panel) in panels.chunks_exact_mut(panel).enumerate() {
                    let first = beside * pack.width;
                    let lines = first..lines.len().min(first + pack.width);
                    pack.interleave(block, lines, &mut panel[part.clone()]);
                }
            }
        }
    }
}

impl<L: Lane, G: Group<N>, const N: usize> Pack<'_, L, G, N> {
    /// Fills a panel from a block with a line in each row, some k of all lines after the other, so that
    /// the part of the panel that is written stays in the nearest cache.
    #[inline(always)]
    fn turn(&self, lines: CodeBlock<'_, L>, panel: &mut [G::Word]) {
        let CodeBlock { codes, stride } = lines;
        let k = self.viewed.cols();
        let count = codes.len().div_ceil(stride);
        let parts = panel.chunks_mut(AT_ONCE * self.width);
        for (part, from) in parts.zip((0..k).step_by(AT_ONCE * N)) {
            for first in (0..count).step_by(ABREAST) {
                let used = first..count.min(first + ABREAST);
                let mut words = [[Zero::zero(); AT_ONCE]; ABREAST];
                for (words, line) in words.iter_mut().zip(codes[first * stride..].chunks(stride)) {
                    self.group.line(&line[from..k.min(from + AT_ONCE * N)], words);
                }
                // An array of its own, so that this compiles to permutations of vectors.
                let mut columns = [[Zero::zero(); ABREAST]; AT_ONCE];
                for (at, column) in columns.iter_mut().enumerate() {
                    *column = from_fn(|line| words[line][at]);
                }
                for (slots, column) in part.chunks_exact_mut(self.width).zip(&columns) {
                    let slots = &mut slots[used.clone()];
                    match slots.first_chunk_mut() {
                        Some(slots) => *slots = *column,
                        None => slots.copy_from_slice(&column[..slots.len()]),
                    }
                }
            }
        }
    }

    /// Fills a part of a panel from some columns of a block with a k in each row.
    #[inline(always)]
    fn interleave(&self, block: CodeBlock<'_, L>, lines: Range<usize>, part: &mut [G::Word]) {
        let mut ahead = block.codes;
        for slots in part.chunks_exact_mut(self.width) {
            let rows: [&[L]; N] = from_fn(|_| {
                let row = ahead.get(lines.clone()).unwrap_or_default();
                ahead = &ahead[block.stride.min(ahead.len())..];
                row
            });
            let is_whole = rows.iter().all(|row| !row.is_empty());
            match slots.first_chunk_mut::<VECTOR>() {
                // Lengths that the compiler knows.
                Some(slots) if is_whole && lines.len() == VECTOR => {
                    self.group.rows(rows.map(|row| &row[..VECTOR]), slots);
                }
                _ if is_whole => self.group.rows(rows, &mut slots[..lines.len()]),
                _ => self.interleave_last(rows, &mut slots[..lines.len()]),
            }
        }
    }

    /// Fills words of which some k are missing, for which zeros stand in.
    fn interleave_last(&self, rows: [&[L]; N], slots: &mut [G::Word]) {
        let zeros = [L::zero(); VECTOR];
        for (at, slots) in slots.chunks_mut(VECTOR).enumerate() {
            let some = at * VECTOR..at * VECTOR + slots.len();
            let rows = rows.map(|row| row.get(some.clone()).unwrap_or(&zeros[..slots.len()]));
            self.group.rows(rows, slots);
        }
    }

    /// How many lines there are, and how many codes each has.
    #[inline(always)]
    fn sizes(&self) -> (usize, usize) {
        let (rows, cols) = (self.viewed.rows(), self.viewed.cols());
        if self.whole { (rows, cols) } else { (cols, rows) }
    }
}

/// Packs lines by themselves.
struct PackLines<'a, 'w, L, G: Group<N>, const N: usize> {
    pack: Pack<'a, L, G, N>,
    lines: Range<usize>,
    words: &'w mut Vec<G::Word>,
}

impl<L: Lane, G: Group<N>, const N: usize> VectorWork for PackLines<'_, '_, L, G, N> {
    type Output = (usize, usize);

    #[inline(always)]
    fn run(self) -> (usize, usize) {
        let Self { pack, lines, words } = self;
        let (_, k) = pack.sizes();
        let steps = k.div_ceil(N);
        words.resize(lines.len() * steps, Zero::zero());
        if words.is_empty() {
            return (0, 0);
        }
        let mut buffer = Vec::new();
        if !pack.whole {
            let width = lines.len();
            for (part, from) in words.chunks_mut(AT_ONCE * width).zip((0..k).step_by(AT_ONCE * N)) {
                let some = from..k.min(from + AT_ONCE * N);
                let block = pack.viewed.block(some, lines.clone(), &mut buffer);
                pack.interleave(block, 0..width, part);
            }
            return (1, width);
        }
        for (line, words) in lines.zip(words.chunks_exact_mut(steps)) {
            let codes = pack.viewed.block(line..line + 1, 0..k, &mut buffer).codes;
            for (codes, words) in codes.chunks(AT_ONCE * N).zip(words.chunks_mut(AT_ONCE)) {
                let mut some = [Zero::zero(); AT_ONCE];
                pack.group.line(codes, &mut some);
                words.copy_from_slice(&some[..words.len()]);
            }
        }
        (steps, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Cut, Sliding, View, Windows};
    use crate::{GemmShape, Reading};
    use std::num::NonZero;
    use systoliq_fxp::{Format, Tensor};

    fn tensor(rows: usize, cols: usize) -> Tensor {
        let codes: Vec<i64> = (0..rows * cols).map(|at| at as i64 * 377 % 60000 - 30000).collect();
        Tensor::from_codes(Format::new(16, 0, true).unwrap(), rows, cols, &codes)
    }

    #[test]
    fn panels_hold_every_code_at_its_place() {
        for (rows, cols) in [(1, 1), (1, 5), (5, 1), (4, 6), (7, 9), (33, 65), (40, 32)] {
            check_parts(&tensor(rows, cols), View::Stored, 1);
        }
    }

    #[test]
    fn panels_of_views_hold_every_code_at_its_place() {
        let sliding = |[positions, taps, step, tap_step, spread, extent]: [usize; 6], pad| {
            Sliding { positions, taps, step, tap_step, spread, pad, extent }
        };
        let axes = [
            sliding([5, 3, 1, 1, 1, 5], 1),
            sliding([3, 2, 2, 3, 1, 6], 2),
            sliding([7, 3, 1, 1, 2, 4], 2),
            sliding([4, 2, 1, 2, 3, 2], -1),
            sliding([1, 9, 1, 1, 1, 3], 3),
        ];
        for down in axes {
            for along in axes {
                let image = tensor(2 * down.extent * along.extent, 6);
                check_parts(&image, View::Windows(Windows { down, along }), 1);
                check_parts(&image, View::Windows(Windows { down, along }), 2);
            }
        }
        for parts in [1, 2] {
            check_parts(&tensor(12, 10), View::Flat { rows_per_row: 3 }, parts);
            check_parts(&tensor(4, 30), View::Kernel { taps: [5, 3] }, parts);
        }
    }

    /// Checks the view of each of some parts of a tensor, and its transpose.
    fn check_parts(tensor: &Tensor, view: View, parts: usize) {
        let parts = NonZero::new(parts).unwrap();
        for transposed in [false, true] {
            let operand = Operand::read(tensor, Reading { view, transposed });
            for (cut, at) in [(Cut::Rows, 0), (Cut::Columns, parts.get() - 1)] {
                // Not every part has whole kernels.
                if matches!(view, View::Kernel { .. }) && cut == Cut::Columns && parts.get() > 1 {
                    continue;
                }
                let operand = Operand { part: operand.part.cut(cut, at, parts), ..operand };
                for (side, width) in [(Side::A, 1), (Side::A, 3), (Side::B, 4), (Side::B, 32)] {
                    check(&operand, side, width);
                }
            }
            let (rows, cols) = (operand.rows(), operand.cols());
            let places = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
            let absent = places.filter(|&(row, col)| !operand.is_stored(row, col)).count();
            let shape = GemmShape { m: rows, k: cols, n: 3 };
            let zeros = shape.structural_zeros([operand.reading, Reading::default()]);
            assert_eq!(zeros, 3 * absent as u64, "{operand:?}");
        }
    }

    fn check(operand: &Operand<'_>, side: Side, width: usize) {
        let (count, k) = match side {
            Side::A => (operand.rows(), operand.cols()),
            Side::B => (operand.cols(), operand.rows()),
        };
        let code = |line: usize, at: usize| match (line < count && at < k, side) {
            (false, _) => 0,
            (_, Side::A) => operand.code(line, at),
            (_, Side::B) => operand.code(at, line),
        };
        let case = format!("{side:?} of {count} lines of {k}, {width} wide");
        let words: Vec<i64> = word_panels(operand, side, width, 3);
        assert_eq!(words.len(), count.next_multiple_of(width) * k, "{case}");
        for (at, &word) in words.iter().enumerate() {
            let (panel, at, lane) = (at / (k * width), at / width % k, at % width);
            assert_eq!(word, code(panel * width + lane, at) << 3, "{case}");
        }
    }
}
