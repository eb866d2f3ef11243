//! The clock edge where outputs stay: operands move right and down, and chains take sums away.

use systoliq_fxp::vectors::with_widest_vectors;

use super::{RegisterGrid, Which, latched};
use crate::Mapping;
use crate::register::edge::{Accumulate, GridPlaces, meets_wrong};
use crate::register::lanes::{FIRST, OperandFields, SumFields, VALID, fold};
use crate::register::rule::SumRule;
use crate::register::view::{Hazard, Left};

impl<R: SumRule> RegisterGrid<'_, R> {
    /// Operands move one row down; the first row is fed from the top edge.
    pub(super) fn move_other_down(&mut self) {
        let Mapping { cols, .. } = self.mapping;
        self.other.advance(cols);
        let mut reads = 0;
        for col in 0..cols {
            let mut element = OperandFields::nothing();
            if let Some(beat) = self.sequencer.stream(col) {
                let tile = &self.folds[beat.fold].tile;
                let read = (col < tile.cols)
                    .then(|| self.lines.other(0, tile.col + col, tile.time + beat.at));
                element = latched(read, beat);
                element.tag |= if beat.at == 0 { FIRST } else { 0 };
                reads += u64::from(read.is_some());
            }
            self.other.load(col, element);
        }
        *self.reads(Which::Other) += reads;
    }

    /// Sums that are complete move down and leave. In shift s of a column, row i takes the sum
    /// above for s < i, and is empty after s = i. Tells whether any chain moves.
    pub(super) fn drain(&mut self) -> Result<bool, Hazard> {
        let Mapping { cols, shape, .. } = self.mapping;
        let mut moved = false;
        for col in 0..cols {
            let Some(beat) = self.sequencer.chain(col) else { continue };
            let fold = &self.folds[beat.fold];
            let shadow = self.sum_shadow.is_some();
            let chain = self.sum_shadow.as_mut().unwrap_or(&mut self.sums);
            if !std::mem::replace(&mut moved, true) {
                chain.before.copy_from_slice(&chain.values);
            }
            let bottom = chain.get((fold.span_rows - 1) * cols + col);
            if bottom.is_valid() {
                if bottom.fold() != beat.fold {
                    return Err(Hazard::Chain);
                }
                let row = fold.tile.row + fold.span_rows - 1 - beat.at;
                let index = row * shape.n + fold.tile.col + col;
                self.left.push(Left { column: col, index, cell: bottom.view(self.rule) });
            }
            for row in (beat.at..fold.span_rows).rev() {
                let pe = row * cols + col;
                // A register cannot take the sum above and a product at once.
                if !shadow && self.right.tags[pe] & self.other.tags[pe] & VALID != 0 {
                    return Err(Hazard::Chain);
                }
                let above = if row > beat.at { chain.get(pe - cols) } else { SumFields::default() };
                let before = chain.load(pe, above);
                self.toggles[2] += u64::from(self.rule.flips(before, above.value));
                self.counts.drain_writes += u64::from(above.is_valid());
            }
        }
        Ok(moved)
    }

    /// Every PE that latches two valid operands multiplies them and adds the product.
    pub(super) fn accumulate(&mut self, drained: bool) -> Result<(), Hazard> {
        let tally = with_widest_vectors(Accumulate {
            rule: self.rule,
            places: GridPlaces { mapping: &self.mapping, folds: self.folds },
            right: &self.right,
            other: &self.other,
            sums: &mut self.sums,
            masks: self.masks,
            k: self.k,
        });
        if tally.trouble {
            return Err(self.wrong_operands());
        }
        self.count(&tally);
        let Some(shadow) = &mut self.sum_shadow else { return Ok(()) };
        let (mut left, mut pe) = (tally.complete, 0);
        while left > 0 {
            let works = self.right.tags[pe] & self.other.tags[pe] & VALID != 0;
            if works && self.sums.additions[pe] == self.k {
                if shadow.tags[pe] & VALID != 0 {
                    return Err(Hazard::Chain);
                }
                let cell = self.sums.get(pe);
                let replaced = shadow.load(pe, cell);
                // What flipped is what differs from before the edge, also where the chain wrote.
                let before = if drained { shadow.before[pe] } else { replaced };
                self.toggles[2] += u64::from(self.rule.flips(before, cell.value));
                self.toggles[2] -= u64::from(self.rule.flips(before, replaced));
                self.counts.shadow_writes += 1;
                left -= 1;
            }
            pe += 1;
        }
        Ok(())
    }

    /// The hazard in the first PE where operands meet what they should not.
    fn wrong_operands(&self) -> Hazard {
        for pe in 0..self.right.tags.len() {
            let [right, other, sum] =
                [&self.right.tags, &self.other.tags, &self.sums.tags].map(|tags| tags[pe]);
            if meets_wrong(right, other, sum, !self.mapping.has_shadow()) {
                assert_eq!(fold(right), fold(other), "operands that meet in PE {pe}");
                assert!(right & FIRST != 0, "a sum of fold {} in PE {pe}", fold(sum));
                break;
            }
        }
        Hazard::Chain
    }
}
