//! What all PEs do at a clock edge, one after the other, as plain loops for wide vectors.
//!
//! First it is checked that what meets belongs together, then everything is added. Counts are added
//! without a check for overflow: a grid has at most 2²⁰ PEs.

use systoliq_fxp::vectors::VectorWork;
use systoliq_program::panels::Word;

use super::lanes::{FIRST, OperandArrays, STORED, SumArrays, VALID, fold};
use super::rule::{SumRule, flips};
use crate::Mapping;
use crate::schedule::Fold;

/// What was counted at a clock edge.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EdgeTally {
    /// Whether something met what it should not; then nothing was added.
    pub(super) trouble: bool,
    /// Sums that were written.
    pub(super) written: u32,
    pub(super) macs: u32,
    pub(super) zero_operand_macs: u32,
    /// Runs of products that ended.
    pub(super) runs: u32,
    /// Sums that have all their products now.
    pub(super) complete: u32,
    /// Bits that flipped in sums.
    pub(super) sum_flips: u32,
    /// Bits that flipped in the operands that move right, and loads of these; of the others likewise.
    pub(super) right: (u32, u32),
    pub(super) other: (u32, u32),
    /// Copies of stationary operands that their folds need.
    pub(super) copies: u32,
}

/// Where the products of a fold lie in C.
#[derive(Clone, Copy)]
pub(super) struct GridPlaces<'e> {
    pub(super) mapping: &'e Mapping,
    pub(super) folds: &'e [Fold],
}

impl GridPlaces<'_> {
    /// The output of the sum in a PE.
    pub(super) fn output(self, pe: usize, fold: usize, time: u32) -> usize {
        let Mapping { cols, shape, stationary, .. } = self.mapping;
        let tile = self.folds[fold].tile;
        let at = stationary.product(tile.row + pe / cols, tile.col + pe % cols, time as usize);
        at.m * shape.n + at.n
    }
}

/// Whether two operands are stored, and whether one of them is zero.
#[inline(always)]
fn mac<R: SumRule>(codes: [R::Code; 2], tags: [u32; 2], works: bool) -> (bool, bool) {
    let [right, other] = codes;
    let stored = works & (tags[0] & tags[1] & STORED != 0);
    let zero = num_traits::Zero::is_zero(&right) | num_traits::Zero::is_zero(&other);
    (stored, stored & zero)
}

/// The edge where outputs stay, after operands have moved: every PE that latched two valid ones adds
/// their product.
pub(super) struct Accumulate<'e, R: SumRule> {
    pub(super) rule: R,
    pub(super) places: GridPlaces<'e>,
    pub(super) right: &'e OperandArrays<R::Code>,
    pub(super) other: &'e OperandArrays<R::Code>,
    pub(super) sums: &'e mut SumArrays<R>,
    /// The widths of both operands.
    pub(super) masks: [R::Code; 2],
    /// Products of a sum.
    pub(super) k: u32,
}

impl<R: SumRule> VectorWork for Accumulate<'_, R> {
    type Output = EdgeTally;

    #[inline(always)]
    fn run(self) -> EdgeTally {
        let Self { rule, places, right, other, sums, masks, k } = self;
        let mut tally = EdgeTally {
            right: right.count(masks[0]),
            other: other.count(masks[1]),
            ..EdgeTally::default()
        };
        let count = right.tags.len();
        let (right_tags, right) = (&right.tags[..count], &right.codes[..count]);
        let (other_tags, other) = (&other.tags[..count], &other.codes[..count]);
        let tags = &mut sums.tags[..count];
        let keeps = !places.mapping.has_shadow();
        let mut trouble = 0;
        for pe in 0..count {
            trouble |= u32::from(meets_wrong(right_tags[pe], other_tags[pe], tags[pe], keeps));
        }
        if trouble != 0 {
            return EdgeTally { trouble: true, ..tally };
        }
        let (values, exacts) = (&mut sums.values[..count], &mut sums.exacts[..count]);
        let additions = &mut sums.additions[..count];
        for pe in 0..count {
            let pair = [right_tags[pe], other_tags[pe]];
            let codes = [right[pe], other[pe]];
            let works = pair[0] & pair[1] & VALID != 0;
            let first = pair[0] & FIRST != 0;
            let before = values[pe];
            let (mut value, mut exact, mut done) = (before, exacts[pe], additions[pe]);
            let mut tag = tags[pe];
            if works {
                if first {
                    (value, exact) = Default::default();
                    done = 0;
                }
                let output = || places.output(pe, fold(pair[0]) as usize, 0);
                (value, exact) = rule.add((value, exact), codes, done, output);
                tally.runs = tally.runs.wrapping_add(u32::from(rule.ends_run(done)));
                done = done.wrapping_add(1);
                tag = pair[0] & !(FIRST | STORED);
            }
            tags[pe] = tag;
            let (stored, zero) = mac::<R>(codes, pair, works);
            tally.written = tally.written.wrapping_add(u32::from(works));
            tally.complete = tally.complete.wrapping_add(u32::from(works & (done == k)));
            tally.macs = tally.macs.wrapping_add(u32::from(stored));
            tally.zero_operand_macs = tally.zero_operand_macs.wrapping_add(u32::from(zero));
            tally.sum_flips = tally.sum_flips.wrapping_add(rule.flips(before, value));
            (values[pe], exacts[pe], additions[pe]) = (value, exact, done);
        }
        tally
    }
}

/// Whether operands that meet, if they do, are not of one fold or not of that of the sum; where
/// `keeps`, a sum must have left before the next begins.
#[inline(always)]
pub(super) fn meets_wrong(right: u32, other: u32, sum: u32, keeps: bool) -> bool {
    let first = right & FIRST != 0;
    let held = sum & VALID != 0;
    let apart = fold(right) != fold(other);
    let of_other = !held | (fold(right) != fold(sum));
    (right & other & VALID != 0) & (apart | (first & keeps & held) | (!first & of_other))
}

/// The edge where sums move, after operands and sums have moved: every sum that meets operands takes
/// their product with it.
pub(super) struct MultiplyAndPass<'e, R: SumRule> {
    pub(super) rule: R,
    pub(super) places: GridPlaces<'e>,
    pub(super) right: &'e OperandArrays<R::Code>,
    /// How many columns copy at the first operand of a fold; 0 for every other operand.
    pub(super) reach: &'e [u32],
    pub(super) other: &'e mut OperandArrays<R::Code>,
    /// The second register, which first operands have copied.
    pub(super) shadow: Option<&'e OperandArrays<R::Code>>,
    pub(super) sums: &'e mut SumArrays<R>,
    /// Of each PE.
    pub(super) rows_and_cols: [&'e [u32]; 2],
    pub(super) masks: [R::Code; 2],
}

impl<R: SumRule> VectorWork for MultiplyAndPass<'_, R> {
    type Output = EdgeTally;

    #[inline(always)]
    fn run(mut self) -> EdgeTally {
        let mut tally =
            EdgeTally { right: self.right.count(self.masks[0]), ..EdgeTally::default() };
        if let Some(shadow) = self.shadow {
            self.copy(shadow, &mut tally);
        }
        let Self { rule, places, right, other, sums, rows_and_cols: [rows, _], .. } = self;
        let count = right.tags.len();
        let (right_tags, right) = (&right.tags[..count], &right.codes[..count]);
        let (other_tags, other) = (&other.tags[..count], &other.codes[..count]);
        let (multiply, rows) = (&sums.rows[0][..count], &rows[..count]);
        let tags = &sums.tags[..count];
        let mut trouble = 0;
        for pe in 0..count {
            let works = (tags[pe] & VALID != 0) & (rows[pe] < multiply[pe]);
            let pair = [right_tags[pe], other_tags[pe]];
            let alike = (fold(pair[0]) == fold(pair[1])) & (fold(pair[0]) == fold(tags[pe]));
            trouble |= u32::from(works & !(alike & (pair[0] & pair[1] & VALID != 0)));
        }
        if trouble != 0 {
            return EdgeTally { trouble: true, ..tally };
        }
        let (values, exacts) = (&mut sums.values[..count], &mut sums.exacts[..count]);
        let (additions, times) = (&mut sums.additions[..count], &sums.times[..count]);
        let before = &sums.before[..count];
        for pe in 0..count {
            let pair = [right_tags[pe], other_tags[pe]];
            let codes = [right[pe], other[pe]];
            let held = tags[pe] & VALID != 0;
            let works = held & (rows[pe] < multiply[pe]);
            let (mut value, mut exact, mut done) = (values[pe], exacts[pe], additions[pe]);
            if works {
                let output = || places.output(pe, fold(tags[pe]) as usize, times[pe]);
                (value, exact) = rule.add((value, exact), codes, done, output);
                tally.runs = tally.runs.wrapping_add(u32::from(rule.ends_run(done)));
                done = done.wrapping_add(1);
            }
            let (stored, zero) = mac::<R>(codes, pair, works);
            tally.written = tally.written.wrapping_add(u32::from(held));
            tally.macs = tally.macs.wrapping_add(u32::from(stored));
            tally.zero_operand_macs = tally.zero_operand_macs.wrapping_add(u32::from(zero));
            tally.sum_flips = tally.sum_flips.wrapping_add(rule.flips(before[pe], value));
            (values[pe], exacts[pe], additions[pe]) = (value, exact, done);
        }
        tally
    }
}

impl<R: SumRule> MultiplyAndPass<'_, R> {
    /// Every PE in which the first operand of a fold arrives, in one of the columns that the fold
    /// waits for, copies its second register.
    #[inline(always)]
    fn copy(&mut self, shadow: &OperandArrays<R::Code>, tally: &mut EdgeTally) {
        let count = self.right.tags.len();
        let (right_tags, reach) = (&self.right.tags[..count], &self.reach[..count]);
        let cols = &self.rows_and_cols[1][..count];
        let (shadow_tags, shadow) = (&shadow.tags[..count], &shadow.codes[..count]);
        let (tags, codes) = (&mut self.other.tags[..count], &mut self.other.codes[..count]);
        let mask = self.masks[1];
        let (mut flipped, mut copies) = (0u32, 0u32);
        for pe in 0..count {
            let copied = cols[pe] < reach[pe];
            let loaded = if copied { shadow[pe] } else { codes[pe] };
            let needed =
                (shadow_tags[pe] & VALID != 0) & (fold(shadow_tags[pe]) == fold(right_tags[pe]));
            flipped = flipped.wrapping_add(flips(codes[pe], loaded, mask));
            copies = copies.wrapping_add(u32::from(copied & needed));
            tags[pe] = if copied { shadow_tags[pe] } else { tags[pe] };
            codes[pe] = loaded;
        }
        tally.other.0 = flipped;
        tally.copies = copies;
    }
}

/// Bits that flipped in operand registers, of those in a mask.
pub(super) struct FlippedBits<'e, W> {
    pub(super) of: &'e OperandArrays<W>,
    pub(super) mask: W,
}

impl<W: Word> VectorWork for FlippedBits<'_, W> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        self.of.count(self.mask).0
    }
}
