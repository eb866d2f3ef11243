//! The clock edge where sums move: operands move right, sums down, and chains bring what stays.

use systoliq_fxp::vectors::with_widest_vectors;

use super::{RegisterGrid, Which, latched};
use crate::Mapping;
use crate::register::edge::{FlippedBits, GridPlaces, MultiplyAndPass};
use crate::register::lanes::{SumFields, VALID, tag};
use crate::register::rule::SumRule;
use crate::register::view::{Hazard, Left};

impl<R: SumRule> RegisterGrid<'_, R> {
    /// Stationary operands come down. In shift s of a column, row i takes the operand above, or
    /// that at the top edge, for s ≥ i.
    pub(super) fn preload(&mut self) -> Result<(), Hazard> {
        let Mapping { cols, .. } = self.mapping;
        let (mut reads, mut writes, mut moved) = (0, 0, false);
        for col in 0..cols {
            let Some(beat) = self.sequencer.chain(col) else { continue };
            let fold = &self.folds[beat.fold];
            let tile = &fold.tile;
            // What a tile does not fill of the columns that it waits for, it fills with bubbles.
            if col >= fold.span_cols {
                continue;
            }
            let row = fold.span_rows - 1 - beat.at;
            let read = (row < tile.rows && col < tile.cols)
                .then(|| self.lines.other(tile.row + row, tile.col + col, 0));
            reads += u64::from(read.is_some());
            let lowest = beat.at * cols + col;
            if let Some(shadow) = &self.other_shadow {
                // What is overwritten must have been copied, at this very edge at the latest.
                let old = shadow.get(lowest);
                if old.is_valid() && self.other.get(lowest).fold() != old.fold() {
                    return Err(Hazard::Chain);
                }
            }
            let chain = self.other_shadow.as_mut().unwrap_or(&mut self.other);
            if !std::mem::replace(&mut moved, true) {
                chain.before.copy_from_slice(&chain.codes);
            }
            for row in (0..=beat.at).rev() {
                let pe = row * cols + col;
                let taken = if row == 0 { latched(read, beat) } else { chain.get(pe - cols) };
                if taken.fold() != beat.fold {
                    return Err(Hazard::Chain);
                }
                writes += u64::from(taken.is_valid());
                chain.load(pe, taken);
            }
        }
        if moved {
            let chain = self.other_shadow.as_ref().unwrap_or(&self.other);
            let flipped = with_widest_vectors(FlippedBits { of: chain, mask: self.masks[1] });
            self.toggles[1] += u64::from(flipped);
        }
        *self.reads(Which::Other) += reads;
        *self.writes(Which::Other) += writes;
        Ok(())
    }

    /// Sums move one row down, and take a product with them where they meet an operand: the one
    /// that stays there before the chain brings the next.
    pub(super) fn move_sums_down(&mut self) -> Result<(), Hazard> {
        let Mapping { rows, cols, .. } = self.mapping;
        self.sums.advance(cols);
        // A sum is taken out below the last row that its fold waits for.
        for row in self.exits.iter().map(|row| row + 1).filter(|&row| row < rows) {
            for pe in row * cols..(row + 1) * cols {
                if self.sums.rows[1][pe] as usize == row {
                    self.sums.load(pe, SumFields::default());
                }
            }
        }
        for col in 0..cols {
            let entering = self.enter(col)?;
            self.sums.load(col, entering);
        }
        let tally = with_widest_vectors(MultiplyAndPass {
            rule: self.rule,
            places: GridPlaces { mapping: &self.mapping, folds: self.folds },
            right: &self.right,
            reach: &self.reach,
            other: &mut self.other,
            shadow: self.other_shadow.as_ref(),
            sums: &mut self.sums,
            rows_and_cols: self.rows_and_cols.each_ref().map(Vec::as_slice),
            masks: self.masks,
        });
        if tally.trouble {
            return Err(self.wrong_sums());
        }
        self.count(&tally);
        self.leave()
    }

    /// Takes out the sums that have passed all rows that their folds wait for.
    fn leave(&mut self) -> Result<(), Hazard> {
        let Mapping { cols, .. } = self.mapping;
        let places = GridPlaces { mapping: &self.mapping, folds: self.folds };
        for &row in &self.exits {
            for column in 0..cols {
                let pe = row * cols + column;
                let leaves = self.sums.rows[1][pe] as usize == row + 1;
                if self.sums.tags[pe] & VALID == 0 || !leaves {
                    continue;
                }
                let cell = self.sums.get(pe);
                let index = places.output(pe, cell.fold(), cell.time);
                self.partial[index] = cell;
                self.left.push(Left { column, index, cell: cell.view(self.rule) });
            }
        }
        if self.exits.len() < 2 {
            return Ok(());
        }
        // Folds of fewer rows leave further up.
        self.left.sort_by_key(|left| left.column);
        match self.left.windows(2).any(|pair| pair[0].column == pair[1].column) {
            true => Err(Hazard::Exit),
            false => Ok(()),
        }
    }

    /// The hazard in the first PE where a sum meets what it should not.
    fn wrong_sums(&self) -> Hazard {
        for pe in 0..self.right.tags.len() {
            let (cell, right, other) = (self.sums.get(pe), self.right.get(pe), self.other.get(pe));
            if cell.is_valid() && self.rows_and_cols[0][pe] < cell.rows[0] {
                assert!(right.is_valid(), "a sum that meets no operand in PE {pe}");
                if other.fold() != right.fold() || !other.is_valid() {
                    break;
                }
                assert_eq!(right.fold(), cell.fold(), "sum and operands in PE {pe}");
            }
        }
        Hazard::Chain
    }

    /// The sum that enters a column at the top: a new one, or what the fold before along k left.
    fn enter(&mut self, col: usize) -> Result<SumFields<R>, Hazard> {
        let Some(beat) = self.sequencer.stream(col) else { return Ok(SumFields::default()) };
        let fold = &self.folds[beat.fold];
        let tile = &fold.tile;
        if col >= tile.cols {
            return Ok(SumFields::default());
        }
        let new = SumFields {
            tag: tag(beat.fold, VALID),
            time: (tile.time + beat.at) as u32,
            rows: [tile.rows, fold.span_rows].map(|rows| rows as u32),
            ..SumFields::default()
        };
        if tile.row == 0 {
            return Ok(new);
        }
        let places = GridPlaces { mapping: &self.mapping, folds: self.folds };
        let partial = self.partial[places.output(col, beat.fold, new.time)];
        self.counts.partial_sum_reads += 1;
        if partial.additions as usize != tile.row {
            return Err(Hazard::PartialSum);
        }
        let SumFields { value, exact, additions, .. } = partial;
        Ok(SumFields { value, exact, additions, ..new })
    }
}
