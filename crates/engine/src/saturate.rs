//! Sums that saturate at every addition, by integer GEMM as far as none can leave the register.
//!
//! For each tile a range of k is *proven* if no prefix of its products can take a sum beyond the ends: by Cauchy and
//! Schwarz, a sum changes within the range by at most ‖a‖ · ‖b‖ of the parts of its lines. What is proven is summed like any
//! product. A range that is not is halved, down to blocks of [`BLOCK`] products, which are added one by one in
//! lanes whose own ends are those of the register: codes are multiplied by powers of two whose product is
//! 2^s, s = 32 − bits, so that a lane holds v · 2^s + r with 0 ≤ r < 2^s, and saturates where v does.

use std::cell::{Cell, OnceCell};
use std::ops::Range;
use std::sync::OnceLock;

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Accumulator, Overflow};
use systoliq_program::{GemmTask, Operand, Workers};

use crate::bias::Bias;
use crate::coded::{BLOCK, Coded};
use crate::kernels::{CodeWord, Kernel, SumTile, WordLines};
use crate::line_sums::{LineSums, Power};
use crate::plan::CodeRange;
use crate::strips::{LineWords, Strips};
use crate::words::{Coding, Panels, lines_of};

/// Adds product by product in lanes.
#[derive(Clone, Copy)]
pub(crate) struct OneByOne {
    kernel: &'static dyn Kernel,
    /// By how many bits codes of A and B are shifted: together by 32 less the register's bits.
    shifts: [u32; 2],
}

impl OneByOne {
    /// For codes in some ranges; `None` where the machine cannot, products do not fit the register, it has other ends, or
    /// sums of squares are not sure to fit 32 bits.
    pub(crate) fn new(
        kernel: Option<&'static dyn Kernel>,
        task: &GemmTask<'_>,
        [a, b]: [CodeRange; 2],
    ) -> Option<Self> {
        let Accumulator { overflow, chunk, .. } = task.adder.accumulator;
        if overflow != Overflow::Saturate || chunk.is_some() || task.adder.shift != 0 {
            return None;
        }
        let squares = |range: CodeRange| range.magnitude().pow(2) * task.a.cols() as u128;
        if squares(a) >= 1 << 31 || squares(b) >= 1 << 31 {
            return None;
        }
        let all = 32u32.checked_sub(task.adder.accumulator.bits())?;
        let [spare_a, spare_b] = [a, b].map(CodeRange::spare_bits);
        // Of B's codes alone, as packed copies of B are.
        let of_b = all.min(spare_b?);
        let shifts = [all - of_b, of_b];
        (shifts[0] <= spare_a?).then_some(Self { kernel: kernel?, shifts })
    }
}

/// A GEMM whose sums saturate at every addition, and exactly fit 32 bits.
pub(crate) struct Saturating<'t> {
    coded: Coded<'t>,
    b_operand: &'t Operand<'t>,
    one_by_one: OneByOne,
    /// Codes of B one by one, where those of its copy are shifted by other bits.
    b_shifted: OnceLock<Panels>,
    ends: (i32, i32),
    bias: Bias,
}

impl<'t> Saturating<'t> {
    pub(crate) fn new(
        task: &'t GemmTask<'_>,
        bias: Bias,
        coded: Coded<'t>,
        one_by_one: OneByOne,
    ) -> Self {
        let (low, high) = task.adder.accumulator.ends();
        Self {
            b_operand: &task.b,
            one_by_one,
            b_shifted: OnceLock::new(),
            ends: (low as i32, high as i32),
            bias,
            coded,
        }
    }
}

/// Some rows on their way.
struct SaturatingStrip<'s, 't> {
    product: &'s Saturating<'t>,
    rows: Range<usize>,
    a_squares: LineSums,
    /// Lines of A whose codes are alone, once they are needed, and memory for them.
    a_shifted: OnceCell<Vec<CodeWord>>,
    spare: Cell<Vec<CodeWord>>,
}

impl Strips<i32> for Saturating<'_> {
    fn granularity(&self) -> usize {
        self.coded.kernel.rows()
    }

    fn strip(&self, rows: Range<usize>, words: &mut LineWords, sums: &mut [i32]) -> u64 {
        let coded = &self.coded;
        let [words, shifted] = words;
        let spare = Cell::new(std::mem::take(shifted));
        let a = coded.lines(rows.clone(), words);
        let mut a_squares = LineSums::new(rows.len(), coded.blocks(), &coded.memory.narrow);
        let codes = (coded.words[0], Power::Second);
        a_squares.add((0, rows.len()), a, [coded.steps(), coded.block()], codes);
        let a_shifted = OnceCell::new();
        let strip =
            SaturatingStrip { product: self, rows: rows.clone(), a_squares, spare, a_shifted };
        let mut overflowed = 0;
        coded.each_tile((a, coded.steps()), rows.len(), |tile, [row, col]| {
            let sums = &mut sums[row * tile.stride + col..];
            let mut settled = [[0; TILE_COLS]; TILE_ROWS];
            let mut at = SettledTile { strip: &strip, tile: *tile, row, col, one_by_one: false };
            at.settle(0..coded.blocks(), &mut settled);
            overflowed += at.end(&settled, sums);
        });
        let SaturatingStrip { a_shifted, spare, .. } = strip;
        *shifted = a_shifted.into_inner().unwrap_or_else(|| spare.take());
        overflowed
    }
}

/// Rows and columns of the largest tile of any kernel.
const TILE_ROWS: usize = 12;
const TILE_COLS: usize = 32;

/// The sums of a tile, with zeros where it has none.
type TileSums = [[i32; TILE_COLS]; TILE_ROWS];

/// One tile as its ranges are settled.
struct SettledTile<'s, 't> {
    strip: &'s SaturatingStrip<'s, 't>,
    tile: SumTile<'s>,
    /// Its first row in the strip, and its first column.
    row: usize,
    col: usize,
    /// Whether any block was not proven.
    one_by_one: bool,
}

impl SettledTile<'_, '_> {
    /// Adds the products of some blocks to the sums of the tile.
    fn settle(&mut self, blocks: Range<usize>, sums: &mut TileSums) {
        if blocks.is_empty() {
            return;
        }
        if with_widest_vectors(Proof { at: self, blocks: &blocks, sums }) {
            return self.add(&blocks, sums);
        }
        if blocks.len() == 1 {
            self.one_by_one = true;
            return self.add_one_by_one(blocks.start, sums);
        }
        let middle = blocks.start + blocks.len() / 2;
        self.settle(blocks.start..middle, sums);
        self.settle(middle..blocks.end, sums);
    }

    /// Adds the products of some blocks as if nothing saturated.
    fn add(&self, blocks: &Range<usize>, sums: &mut TileSums) {
        let coded = &self.strip.product.coded;
        let SumTile { a, b, steps, cols, .. } = self.tile;
        let first = blocks.start * coded.block();
        let part = SumTile {
            a: WordLines { words: &a.words[first * a.step..], ..a },
            b: &b[first * coded.kernel.lanes()..],
            steps: steps.min(blocks.end * coded.block()) - first,
            stride: TILE_COLS,
            ..self.tile
        };
        coded.kernel.add(&part, sums.as_flattened_mut());
        if coded.excess != 0 {
            let mut codes = [0; TILE_COLS];
            coded.b_sums(Power::First).between(blocks, self.col, &mut codes[..cols]);
            with_widest_vectors(TakeExcess { sums, codes: &codes, excess: coded.excess });
        }
    }

    /// Adds the products of a block one after the other.
    fn add_one_by_one(&self, block: usize, sums: &mut TileSums) {
        let SaturatingStrip { product, rows: strip, spare, a_shifted, .. } = self.strip;
        let OneByOne { kernel, shifts } = product.one_by_one;
        let k = product.coded.shape.k;
        let b = product.coded.b.alone(product.b_operand, kernel, shifts[1]).unwrap_or_else(|| {
            let coding = Coding::Shifted(shifts[1]);
            product.b_shifted.get_or_init(|| {
                let memory = &product.coded.memory;
                let mut panels = Panels::new(&memory.narrow);
                panels.pack(product.b_operand, kernel, coding, &Workers::default());
                panels
            })
        });
        let whole = !product.coded.a.reading.transposed;
        let words = a_shifted.get_or_init(|| {
            let mut words = spare.take();
            lines_of(product.coded.a, strip.clone(), Coding::Shifted(shifts[0]), &mut words);
            words
        });
        let (line, step) = if whole { (k, 1) } else { (1, strip.len()) };
        let first = block * BLOCK;
        let tile = SumTile {
            a: WordLines::even(&words[self.row * line + first * step..], line, step),
            b: b.at(self.col, first),
            panel: b.panel(),
            steps: BLOCK.min(k - first),
            stride: TILE_COLS,
            ..self.tile
        };
        let bits = shifts[0] + shifts[1];
        with_widest_vectors(Shift(sums, |sum| sum << bits));
        kernel.add(&tile, sums.as_flattened_mut());
        with_widest_vectors(Shift(sums, |sum| sum >> bits));
    }

    /// Adds the bias, lets the sums out, and says how many overflowed.
    fn end(&self, settled: &TileSums, sums: &mut [i32]) -> u64 {
        let blocks = self.strip.product.coded.blocks();
        let mut exact = [[0; TILE_COLS]; TILE_ROWS];
        let exact = match self.one_by_one {
            false => settled,
            true => {
                self.add(&(0..blocks), &mut exact);
                &exact
            }
        };
        with_widest_vectors(LeaveTile { at: self, settled, exact, sums })
    }
}

/// Whether no sum of a tile can leave the register within some blocks.
struct Proof<'a> {
    at: &'a SettledTile<'a, 'a>,
    blocks: &'a Range<usize>,
    sums: &'a TileSums,
}

impl VectorWork for Proof<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let SettledTile { strip, tile, row, col, .. } = self.at;
        let (mut a, mut b) = ([0; TILE_ROWS], [0; TILE_COLS]);
        strip.a_squares.between(self.blocks, *row, &mut a[..tile.rows]);
        let squares = strip.product.coded.b_sums(Power::Second);
        squares.between(self.blocks, *col, &mut b[..tile.cols]);
        let most = strip.product.ends.1;
        let mut signs = 0;
        for (&a, sums) in a.iter().zip(self.sums) {
            for (&b, &sum) in b.iter().zip(sums) {
                // |sum| + ‖a‖ · ‖b‖ ≤ most, all of which have at most 31 bits.
                let room = most.wrapping_sub(sum.wrapping_abs());
                let room = i64::from(room).wrapping_mul(room.into());
                signs |= room.wrapping_sub(i64::from(a).wrapping_mul(b.into()));
                signs |= i64::from(most.wrapping_sub(sum.wrapping_abs()));
            }
        }
        signs >= 0
    }
}

/// Takes from the sums of products with words of A what those exceed the codes by.
struct TakeExcess<'a> {
    sums: &'a mut TileSums,
    /// Sums of the codes of B.
    codes: &'a [i32; TILE_COLS],
    excess: i32,
}

impl VectorWork for TakeExcess<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for sums in self.sums {
            for (sum, codes) in sums.iter_mut().zip(self.codes) {
                *sum = sum.wrapping_sub(self.excess.wrapping_mul(*codes));
            }
        }
    }
}

/// Brings sums into lanes and back.
struct Shift<'a, F>(&'a mut TileSums, F);

impl<F: Fn(i32) -> i32> VectorWork for Shift<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.as_flattened_mut().iter_mut().for_each(|sum| *sum = (self.1)(*sum));
    }
}

/// Adds the bias to settled sums, and counts what differs from the exact ones.
struct LeaveTile<'a> {
    at: &'a SettledTile<'a, 'a>,
    settled: &'a TileSums,
    exact: &'a TileSums,
    sums: &'a mut [i32],
}

impl VectorWork for LeaveTile<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let SettledTile { strip, tile, row, col, .. } = self.at;
        let bias = &strip.product.bias;
        let (low, high) = strip.product.ends;
        let rows = self.settled.iter().zip(self.exact).zip(self.sums.chunks_mut(tile.stride));
        let first = strip.rows.start + row;
        let mut buffer = [0; TILE_COLS];
        let mut overflowed = 0u32;
        for (i, ((settled, exact), sums)) in (first..first + tile.rows).zip(rows) {
            let bias = bias.row(i, *col..col + tile.cols, &mut buffer);
            let settled = settled.iter().zip(exact).zip(bias);
            for (sum, ((&settled, &exact), &bias)) in sums.iter_mut().zip(settled) {
                *sum = settled.wrapping_add(bias as i32).max(low).min(high);
                // Sums that are checked for overflow are not made by vector units.
                let is_other = *sum != exact.wrapping_add(bias as i32);
                overflowed = overflowed.wrapping_add(is_other.into());
            }
        }
        overflowed.into()
    }
}
