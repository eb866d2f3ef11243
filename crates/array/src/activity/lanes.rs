//! Bits that flip and codes that are not zero, counted in the codes of an operand as they are stored.
//!
//! What is counted of neighbouring codes is summed in words of the codes' own width, [`LANES`] side by
//! side, for as many codes as such a word is sure to hold, and only then widened. The loops are plain
//! ones, compiled for the widest vectors there are; checks for overflow would forbid
//! these, and a closure that is not inlined is compiled without them.

use std::ops::Range;

use systoliq_fxp::Lane;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_program::Operand;
use systoliq_program::panels::Side;
use systoliq_program::view::codes::{CodeBlock, Viewed};

use super::word;

/// How many counts are made side by side.
pub(super) const LANES: usize = 64;

/// How many counts are added before they are widened: 15 times the width of a code fits a code.
const ADDED_MAX: usize = 15;

/// Neighbouring codes, and zeros where there are no more.
#[inline(always)]
pub(super) fn piece<L: Lane, const N: usize>(codes: &[L]) -> [L; N] {
    if let Some(piece) = codes.first_chunk() {
        return *piece;
    }
    let mut piece = [L::zero(); N];
    piece[..codes.len()].copy_from_slice(codes);
    piece
}

/// Something that is counted of a code and the one before it, in a word of its own width.
pub(super) trait LaneCount<L>: Copy {
    fn of(self, before: L, code: L) -> L;
}

/// Bits that differ, of those in a mask.
#[derive(Clone, Copy)]
pub(super) struct Flips<L>(L);

impl<L: Lane> Flips<L> {
    /// Of codes of a width.
    pub(super) fn of_width(bits: u32) -> Self {
        Self((!L::zero()).unsigned_shr(8 * size_of::<L>() as u32 - bits))
    }
}

impl<L: Lane> LaneCount<L> for Flips<L> {
    #[inline(always)]
    fn of(self, before: L, code: L) -> L {
        ((before ^ code) & self.0).ones()
    }
}

/// Whether the code is not zero.
#[derive(Clone, Copy)]
struct Nonzero;

impl<L: Lane> LaneCount<L> for Nonzero {
    #[inline(always)]
    fn of(self, _: L, code: L) -> L {
        if code.is_zero() { L::zero() } else { L::one() }
    }
}

/// The sum over two rows of codes.
#[inline(always)]
fn along<L: Lane>(before: &[L], codes: &[L], count: impl LaneCount<L>) -> u64 {
    let mut sum = 0u64;
    for (before, codes) in before.chunks(LANES * ADDED_MAX).zip(codes.chunks(LANES * ADDED_MAX)) {
        let mut counts = [L::zero(); LANES];
        for (before, codes) in before.chunks(LANES).zip(codes.chunks(LANES)) {
            // Where there is neither code, nothing is counted.
            let (before, codes) = (piece::<L, LANES>(before), piece::<L, LANES>(codes));
            for (lane, sum) in counts.iter_mut().enumerate() {
                *sum = sum.wrapping_add(&count.of(before[lane], codes[lane]));
            }
        }
        for count in counts {
            sum = sum.wrapping_add(count.code() as u64);
        }
    }
    sum
}

/// Adds the sum over some rows of a block, at most [`ADDED_MAX`], to each column; `back` is how many
/// rows before is the code before.
#[inline(always)]
fn down<L: Lane>(
    block: CodeBlock<'_, L>,
    (rows, back): (Range<usize>, usize),
    count: impl LaneCount<L>,
    totals: &mut [u64],
) {
    let CodeBlock { codes, stride } = block;
    for (at, totals) in totals.chunks_mut(LANES).enumerate() {
        let mut counts = [L::zero(); LANES];
        // What a row of the last piece has beyond the last column is counted, and left out.
        let of_row = |row: usize| piece::<L, LANES>(&codes[row * stride + at * LANES..]);
        for row in rows.clone() {
            let (before, codes) = (of_row(row - back), of_row(row));
            for (lane, sum) in counts.iter_mut().enumerate() {
                *sum = sum.wrapping_add(&count.of(before[lane], codes[lane]));
            }
        }
        for (total, count) in totals.iter_mut().zip(counts) {
            *total = total.wrapping_add(count.code() as u64);
        }
    }
}

/// An operand as *lanes* of codes: what is fed to a row or a column of the grid, one after the other
/// in time.
pub(super) struct OperandLanes<'a, L> {
    viewed: Viewed<'a, L>,
    bits: u32,
    /// Whether time runs down the columns of what is viewed, and not along its rows.
    time_down: bool,
    /// Whether k does.
    k_down: bool,
}

/// What lanes hold in a piece of time.
pub(super) struct LaneStreams {
    /// By lane, the codes that come first and last, and toggles from the first to the last.
    pub(super) first: Vec<u32>,
    pub(super) last: Vec<u32>,
    pub(super) within: Vec<u64>,
}

/// What is counted of an operand.
pub(super) struct Counted {
    /// Elements that are not zero, by k.
    pub(super) nonzeros: Vec<u64>,
    /// What is fed in each piece of time.
    pub(super) streams: Vec<LaneStreams>,
}

impl<'a, L: Lane> OperandLanes<'a, L> {
    /// The operand on a side, over the codes of its tensor; time is k, or the other axis.
    pub(super) fn new(
        operand: &Operand<'_>,
        side: Side,
        viewed: Viewed<'a, L>,
        in_k: bool,
    ) -> Self {
        let k_down = operand.reading.transposed == (side == Side::A);
        let bits = operand.tensor.format().bits();
        Self { viewed, bits, time_down: k_down == in_k, k_down }
    }

    pub(super) fn at(&self, lane: usize, time: usize) -> u32 {
        let (row, col) = if self.time_down { (time, lane) } else { (lane, time) };
        self.word(self.viewed.code(row, col))
    }

    #[inline(always)]
    fn word(&self, code: L) -> u32 {
        word(code.code(), self.bits) as u32
    }

    /// Counts in all pieces of time, which together are all of it.
    pub(super) fn count(&self, pieces: impl Iterator<Item = Range<usize>>) -> Counted {
        let (rows, cols) = (self.viewed.rows(), self.viewed.cols());
        let lanes = if self.time_down { cols } else { rows };
        let mut nonzeros = self.no_k();
        let count = |piece| {
            let [first, last] = [0; 2].map(|code| vec![code; lanes]);
            let mut streams = LaneStreams { first, last, within: vec![0; lanes] };
            self.count_piece(piece, &mut nonzeros, Some(&mut streams));
            streams
        };
        let streams = pieces.map(count).collect();
        Counted { nonzeros, streams }
    }

    /// Elements that are not zero, by k.
    pub(super) fn nonzeros(&self) -> Vec<u64> {
        let (rows, cols) = (self.viewed.rows(), self.viewed.cols());
        let mut nonzeros = self.no_k();
        self.count_piece(0..if self.time_down { rows } else { cols }, &mut nonzeros, None);
        nonzeros
    }

    /// A zero for each k.
    fn no_k(&self) -> Vec<u64> {
        vec![0; if self.k_down { self.viewed.rows() } else { self.viewed.cols() }]
    }

    fn count_piece(
        &self,
        piece: Range<usize>,
        nonzeros: &mut [u64],
        streams: Option<&mut LaneStreams>,
    ) {
        with_widest_vectors(LaneCounting { lanes: self, piece, nonzeros, streams });
    }
}

/// Counts in one piece of time.
struct LaneCounting<'c, 'a, L> {
    lanes: &'c OperandLanes<'a, L>,
    piece: Range<usize>,
    nonzeros: &'c mut [u64],
    streams: Option<&'c mut LaneStreams>,
}

impl<L: Lane> VectorWork for LaneCounting<'_, '_, L> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let OperandLanes { viewed, time_down, .. } = self.lanes;
        let (rows, cols) = match time_down {
            true => (self.piece.clone(), 0..viewed.cols()),
            false => (0..viewed.rows(), self.piece.clone()),
        };
        let mut buffer = Vec::new();
        for from in rows.clone().step_by(ADDED_MAX) {
            // With the row before, where there is one.
            let first = if *time_down { from.saturating_sub(1).max(rows.start) } else { from };
            let end = rows.end.min(from + ADDED_MAX);
            let block = viewed.block(first..end, cols.clone(), &mut buffer);
            self.see(block, first, from..end, cols.clone());
        }
    }
}

impl<L: Lane> LaneCounting<'_, '_, L> {
    /// Counts some rows of a block that begins with row `first` and has some columns.
    #[inline(always)]
    fn see(
        &mut self,
        block: CodeBlock<'_, L>,
        first: usize,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        let Self { lanes, piece, nonzeros, streams } = self;
        let flips = Flips::of_width(lanes.bits);
        let of_row = |row: usize| &block.codes[(row - first) * block.stride..][..cols.len()];
        let places = rows.start - first..rows.end - first;
        if lanes.k_down {
            for row in rows.clone() {
                nonzeros[row] += along(of_row(row), of_row(row), Nonzero);
            }
        } else {
            down(block, (places.clone(), 0), Nonzero, &mut nonzeros[cols.clone()]);
        }
        let Some(streams) = streams else { return };
        if lanes.time_down {
            down(block, (places.start.max(1)..places.end, 1), flips, &mut streams.within);
            for (at, ends) in
                [(piece.start, &mut streams.first), (piece.end - 1, &mut streams.last)]
            {
                if rows.contains(&at) {
                    for (end, &code) in ends.iter_mut().zip(of_row(at)) {
                        *end = lanes.word(code);
                    }
                }
            }
        } else {
            for row in rows {
                let codes = of_row(row);
                let last = codes.len() - 1;
                streams.within[row] = along(&codes[..last], &codes[1..], flips);
                streams.first[row] = lanes.word(codes[0]);
                streams.last[row] = lanes.word(codes[last]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_fxp::{Format, Tensor, with_codes};
    use systoliq_keyed_random::Key;

    /// Counts in all of time, with the widest vectors or none, and by looking at every code.
    fn check(tensor: &Tensor, transposed: bool, side: Side, in_k: bool) {
        let operand = Operand::new(tensor, transposed);
        let (rows, cols) = (operand.rows(), operand.cols());
        let k_is_row = side == Side::B;
        let code = |lane: usize, time: usize| match k_is_row == in_k {
            true => word(operand.code(time, lane), tensor.format().bits()),
            false => word(operand.code(lane, time), tensor.format().bits()),
        };
        let (lanes, times) = if k_is_row == in_k { (cols, rows) } else { (rows, cols) };
        let flips = |lane| -> u64 {
            let pair = |time| u64::from((code(lane, time) ^ code(lane, time + 1)).count_ones());
            (0..times - 1).map(pair).sum()
        };
        let of_k = |k: usize| -> u64 {
            let of_lane = |lane| (0..times).filter(|&time| code(lane, time) != 0).count() as u64;
            let of_time = |lane: usize| u64::from(code(lane, k) != 0);
            if in_k { (0..lanes).map(of_time).sum() } else { of_lane(k) }
        };
        let within: Vec<u64> = (0..lanes).map(flips).collect();
        let nonzeros: Vec<u64> = (0..if in_k { times } else { lanes }).map(of_k).collect();
        let case = format!("{} {rows} x {cols}, {transposed} {side:?} {in_k}", tensor.format());
        with_codes!(tensor, |codes| {
            let lanes_of = OperandLanes::new(&operand, side, Viewed::new(&operand, codes), in_k);
            let counted = lanes_of.count(std::iter::once(0..times));
            assert_eq!(counted.nonzeros, nonzeros, "{case}");
            assert_eq!(lanes_of.nonzeros(), nonzeros, "{case}");
            assert_eq!(counted.streams[0].within, within, "{case}");
            let ends =
                |time| -> Vec<u32> { (0..lanes).map(|lane| lanes_of.at(lane, time)).collect() };
            let LaneStreams { first, last, .. } = &counted.streams[0];
            assert_eq!((first, last), (&ends(0), &ends(times - 1)), "{case}");
            let mut plain = LaneStreams { first: ends(0), last: ends(0), within: vec![0; lanes] };
            let mut nonzeros = lanes_of.no_k();
            let counting = LaneCounting {
                lanes: &lanes_of,
                piece: 0..times,
                nonzeros: &mut nonzeros,
                streams: Some(&mut plain),
            };
            counting.run();
            assert_eq!((nonzeros, plain.within), (counted.nonzeros, within), "{case}");
        });
    }

    #[test]
    fn counts_are_those_of_every_code_at_the_edges_of_words_and_pieces() {
        let words = Key::new(3);
        for (bits, signed) in
            [(8, true), (8, false), (5, true), (16, true), (11, false), (32, true)]
        {
            let format = Format::new(bits, 0, signed).unwrap();
            for (rows, cols) in
                [(1, 1), (1, 200), (200, 1), (15, 64), (16, 65), (47, 129), (5, 1000)]
            {
                // Every bit flips at every step, or any do.
                for all in [true, false] {
                    let code = |at: usize| match (all, (at / cols + at % cols).is_multiple_of(2)) {
                        (true, true) => 0,
                        (true, false) if signed => -1,
                        (true, false) => format.max_raw(),
                        (false, _) => {
                            let span = (format.max_raw() - format.min_raw() + 1) as u64;
                            let word = u64::from(words.word(at as u64)) % span;
                            if word.is_multiple_of(3) { 0 } else { format.min_raw() + word as i64 }
                        }
                    };
                    let codes: Vec<i64> = (0..rows * cols).map(code).collect();
                    let tensor = Tensor::from_codes(format, rows, cols, &codes);
                    for transposed in [false, true] {
                        for side in [Side::A, Side::B] {
                            check(&tensor, transposed, side, false);
                            check(&tensor, transposed, side, true);
                        }
                    }
                }
            }
        }
    }
}
