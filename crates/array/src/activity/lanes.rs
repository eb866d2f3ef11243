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
use crate::mapping::Pieces;

/// How many counts are made side by side.
pub(super) const LANES: usize = 128;

/// How many counts are added before they are widened: 30 times the width of a code fits its bits.
pub(super) const ADDED_MAX: usize = 30;

/// Neighbouring codes, and zeros where there are no more.
#[inline(always)]
fn piece<L: Lane>(codes: &[L]) -> [L; LANES] {
    if let Some(piece) = codes.first_chunk() {
        return *piece;
    }
    let mut piece = [L::zero(); LANES];
    piece[..codes.len()].copy_from_slice(codes);
    piece
}

/// Something that is counted of a code and another one, in a word of its own width.
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
struct NonzeroCode;

impl<L: Lane> LaneCount<L> for NonzeroCode {
    #[inline(always)]
    fn of(self, _: L, code: L) -> L {
        if code.is_zero() { L::zero() } else { L::one() }
    }
}

/// The number of each lane.
const NUMBERS: [u8; LANES] = {
    let mut numbers = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        numbers[lane] = lane as u8;
        lane += 1;
    }
    numbers
};

/// The sum of the first counts, which have no sign.
#[inline(always)]
pub(super) fn sum_of_lanes<L: Lane>(counts: &[L; LANES], used: usize) -> u64 {
    let used = used.min(LANES) as u8;
    let mut sum = 0u32;
    for (&count, number) in counts.iter().zip(NUMBERS) {
        let count = if number < used { count } else { L::zero() };
        sum = sum.wrapping_add(widened(count));
    }
    sum.into()
}

/// A count in the bits of a code, which has no sign.
#[inline(always)]
fn widened<L: Lane>(count: L) -> u32 {
    let widened: i32 = count.as_();
    widened as u32 & u32::MAX >> (32 - 8 * size_of::<L>() as u32)
}

/// The sum over neighbouring codes, which begin `codes`.
#[inline(always)]
fn along<L: Lane>(codes: &[L], len: usize, count: impl LaneCount<L>) -> u64 {
    let mut sum = 0;
    for from in (0..len).step_by(LANES * ADDED_MAX) {
        let some = len.min(from + LANES * ADDED_MAX) - from;
        let mut counts = [L::zero(); LANES];
        for codes in codes[from..from + some].as_chunks::<LANES>().0 {
            for (sum, &code) in counts.iter_mut().zip(codes) {
                *sum = sum.wrapping_add(&count.of(code, code));
            }
        }
        sum += sum_of_lanes(&counts, LANES);
        let rest = some % LANES;
        if rest > 0 {
            let codes = piece(&codes[from + some - rest..]);
            sum += sum_of_lanes(&codes.map(|code| count.of(code, code)), rest);
        }
    }
    sum
}

/// The sums over some rows of a block, at most [`ADDED_MAX`], in columns from one on; `back` is from a
/// code to that before it. What stands beyond the last column means nothing.
#[inline(always)]
fn down<L: Lane>(
    block: CodeBlock<'_, L>,
    rows: Range<usize>,
    (col, back): (usize, usize),
    count: impl LaneCount<L>,
) -> [L; LANES] {
    let CodeBlock { codes, stride } = block;
    let mut counts = [L::zero(); LANES];
    let mut ahead = &codes[rows.start * stride + col - back..];
    for _ in rows {
        let (before, codes) = (ahead.first_chunk(), ahead[back..].first_chunk());
        // Of the last rows, fewer codes may be left.
        let (Some(before), Some(codes)): (Option<&[L; LANES]>, _) = (before, codes) else {
            let (before, codes) = (piece(ahead), piece(&ahead[back..]));
            add(&mut counts, &before, &codes, count);
            ahead = &ahead[stride.min(ahead.len() - back)..];
            continue;
        };
        add(&mut counts, before, codes, count);
        ahead = &ahead[stride.min(ahead.len() - back)..];
    }
    counts
}

/// Adds to each lane what is counted in it.
#[inline(always)]
pub(super) fn add<L: Lane>(
    counts: &mut [L; LANES],
    before: &[L; LANES],
    codes: &[L; LANES],
    count: impl LaneCount<L>,
) {
    for lane in 0..LANES {
        counts[lane] = counts[lane].wrapping_add(&count.of(before[lane], codes[lane]));
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

/// What lanes do in time.
pub(super) struct LaneStreams {
    lanes: usize,
    /// By piece of time and lane, the codes that come first and last.
    first: Vec<u32>,
    last: Vec<u32>,
    /// Toggles from the first code of a lane to its last, whatever the pieces, in all lanes.
    pub(super) within: u64,
}

impl LaneStreams {
    /// The codes that come first in a piece of time.
    pub(super) fn first(&self, piece: usize) -> &[u32] {
        &self.first[piece * self.lanes..][..self.lanes]
    }

    /// The codes that come last in a piece of time.
    pub(super) fn last(&self, piece: usize) -> &[u32] {
        &self.last[piece * self.lanes..][..self.lanes]
    }
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

    /// Elements that are not zero, by k.
    pub(super) fn nonzeros(&self) -> Vec<u64> {
        let mut nonzeros = self.no_k();
        with_widest_vectors(LaneCounting { lanes: self, nonzeros: &mut nonzeros, streams: None });
        nonzeros
    }

    /// The same, and what lanes do in pieces of time.
    pub(super) fn count(&self, pieces: Pieces) -> (Vec<u64>, LaneStreams) {
        let lanes = if self.time_down { self.viewed.cols() } else { self.viewed.rows() };
        let [first, last] = [0; 2].map(|code| vec![code; lanes * pieces.count()]);
        let (mut nonzeros, mut streams) =
            (self.no_k(), LaneStreams { lanes, first, last, within: 0 });
        let counted = Some((pieces, &mut streams));
        with_widest_vectors(LaneCounting {
            lanes: self,
            nonzeros: &mut nonzeros,
            streams: counted,
        });
        (nonzeros, streams)
    }

    /// A zero for each k.
    fn no_k(&self) -> Vec<u64> {
        vec![0; if self.k_down { self.viewed.rows() } else { self.viewed.cols() }]
    }
}

/// Counts in all of an operand.
struct LaneCounting<'c, 'a, L> {
    lanes: &'c OperandLanes<'a, L>,
    nonzeros: &'c mut [u64],
    streams: Option<(Pieces, &'c mut LaneStreams)>,
}

impl<L: Lane> VectorWork for LaneCounting<'_, '_, L> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let OperandLanes { viewed, time_down, .. } = self.lanes;
        let (rows, cols) = (viewed.rows(), viewed.cols());
        let mut buffer = Vec::new();
        for from in (0..rows).step_by(ADDED_MAX) {
            // With the row before, where there is one.
            let first = if *time_down { from.saturating_sub(1) } else { from };
            let end = rows.min(from + ADDED_MAX);
            let block = viewed.block(first..end, 0..cols, &mut buffer);
            self.count_nonzeros(block, first, from..end);
            self.count_flips(block, first, from..end);
        }
    }
}

impl<L: Lane> LaneCounting<'_, '_, L> {
    /// Counts in some rows of a block that begins with row `first`.
    #[inline(always)]
    fn count_nonzeros(&mut self, block: CodeBlock<'_, L>, first: usize, rows: Range<usize>) {
        let (nonzeros, cols) = (&mut *self.nonzeros, self.lanes.viewed.cols());
        if self.lanes.k_down {
            for row in rows {
                nonzeros[row] +=
                    along(&block.codes[(row - first) * block.stride..], cols, NonzeroCode);
            }
            return;
        }
        let places = rows.start - first..rows.end - first;
        for (at, totals) in nonzeros.chunks_mut(LANES).enumerate() {
            let counts = down(block, places.clone(), (at * LANES, 0), NonzeroCode);
            for (total, count) in totals.iter_mut().zip(counts) {
                *total = total.wrapping_add(widened(count).into());
            }
        }
    }

    /// The same of what lanes do.
    #[inline(always)]
    fn count_flips(&mut self, block: CodeBlock<'_, L>, first: usize, rows: Range<usize>) {
        let (lanes, Some((pieces, streams))) = (self.lanes, &mut self.streams) else { return };
        let flips = Flips::of_width(lanes.bits);
        let cols = lanes.viewed.cols();
        // Nothing comes before the first.
        let (skipped, back) = if lanes.time_down { (0, block.stride) } else { (1, 1) };
        let begin = if lanes.time_down { rows.start.max(1) } else { rows.start };
        for col in (skipped..cols).step_by(LANES) {
            let counts = down(block, begin - first..rows.end - first, (col, back), flips);
            streams.within += sum_of_lanes(&counts, cols - col);
        }
        for row in rows {
            let codes = &block.codes[(row - first) * block.stride..][..cols];
            let LaneStreams { lanes: count, first, last, .. } = &mut **streams;
            if !lanes.time_down {
                for piece in 0..pieces.count() {
                    let Range { start, end } = pieces.range(piece);
                    first[piece * *count + row] = lanes.word(codes[start]);
                    last[piece * *count + row] = lanes.word(codes[end - 1]);
                }
                continue;
            }
            let piece = row / pieces.side;
            let Range { start, end } = pieces.range(piece);
            for (at, ends) in [(start, first), (end - 1, last)] {
                if row == at {
                    let ends = &mut ends[piece * *count..][..*count];
                    ends.iter_mut().zip(codes).for_each(|(end, &code)| *end = lanes.word(code));
                }
            }
        }
    }
}
