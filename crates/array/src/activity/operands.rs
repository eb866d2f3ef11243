//! Toggles of operand registers, and products with zero.

use std::ops::Range;

use systoliq_fxp::{Lane, with_codes};
use systoliq_program::GemmTask;
use systoliq_program::view::codes::{CodeBlock, Viewed};

use super::{Activity, GemmRun, flips, word};
use crate::Mapping;
use crate::mapping::{Stationary, Tile};
use crate::schedule::Fold;

/// Evaluates `$body` with `$lanes` bound to an operand whose lanes are its rows, or its columns if
/// `$across`.
macro_rules! with_lanes {
    ($operand:expr, $across:expr, |$lanes:ident| $body:expr) => {{
        let operand = $operand;
        with_codes!(operand.tensor, |codes| {
            let $lanes = OperandLanes {
                viewed: Viewed::new(operand, codes),
                across: operand.reading.transposed != $across,
                bits: operand.tensor.format().bits(),
            };
            $body
        })
    }};
}

pub(super) fn activity(run: &GemmRun, task: &GemmTask<'_>) -> Activity {
    let Mapping { stationary, rows, cols, .. } = run.mapping;
    let (right, other) = match stationary {
        Stationary::Output | Stationary::Weight => (&task.a, &task.b),
        Stationary::Input => (&task.b, &task.a),
    };
    // What moves right, by place along the rows' axis and in time.
    let right_toggles = with_lanes!(right, stationary == Stationary::Weight, |lanes| {
        moving(run, &Fed::new(run, lanes), cols, |tile| (tile.row, tile.rows))
    });
    let other_toggles = match stationary {
        Stationary::Output => with_lanes!(other, true, |lanes| {
            moving(run, &Fed::new(run, lanes), rows, |tile| (tile.col, tile.cols))
        }),
        Stationary::Weight => with_lanes!(other, false, |lanes| staying(run, &lanes)),
        Stationary::Input => with_lanes!(other, true, |lanes| staying(run, &lanes)),
    };
    let (a_toggles, b_toggles) = match stationary {
        Stationary::Output | Stationary::Weight => (right_toggles, other_toggles),
        Stationary::Input => (other_toggles, right_toggles),
    };
    Activity { zero_operand_macs: zero_operand_macs(task), a_toggles, b_toggles }
}

/// All multiply-accumulates but, for each k, those of two elements that are not zero.
fn zero_operand_macs(task: &GemmTask<'_>) -> u64 {
    let a = with_lanes!(&task.a, true, |lanes| lanes.nonzeros());
    let b = with_lanes!(&task.b, false, |lanes| lanes.nonzeros());
    task.macs() - a.iter().zip(&b).map(|(a, b)| a * b).sum::<u64>()
}

/// An operand as *lanes* of codes: what is fed to a row or a column of the grid, one after the other
/// in time; or what lies side by side, or has one k.
struct OperandLanes<'a, L> {
    viewed: Viewed<'a, L>,
    /// Whether lanes are columns of what is viewed, and not its rows.
    across: bool,
    bits: u32,
}

impl<L: Lane> OperandLanes<'_, L> {
    /// OperandLanes, and codes of each.
    fn shape(&self) -> (usize, usize) {
        let (rows, cols) = (self.viewed.rows(), self.viewed.cols());
        if self.across { (cols, rows) } else { (rows, cols) }
    }

    /// Some codes of some lanes; each row has a lane, or what the lanes have at one time.
    fn block<'s>(
        &'s self,
        lanes: Range<usize>,
        times: Range<usize>,
        buffer: &'s mut Vec<L>,
    ) -> CodeBlock<'s, L> {
        let (rows, cols) = if self.across { (times, lanes) } else { (lanes, times) };
        self.viewed.block(rows, cols, buffer)
    }

    fn at(&self, lane: usize, time: usize) -> u64 {
        let (row, col) = if self.across { (time, lane) } else { (lane, time) };
        word(self.viewed.code(row, col).code(), self.bits)
    }

    /// Elements that are not zero, by lane.
    fn nonzeros(&self) -> Vec<u64> {
        let (lanes, length) = self.shape();
        let mut counts = vec![0; lanes];
        let count = |code: &L| u64::from(!code.is_zero());
        self.for_each_row(0..length, |row, codes, _| match self.across {
            true => counts.iter_mut().zip(codes).for_each(|(sum, code)| *sum += count(code)),
            false => counts[row] = codes.iter().map(count).sum(),
        });
        counts
    }

    /// Toggles along each lane from the first code of a piece of time to its last.
    fn toggles_within(&self, piece: Range<usize>) -> Vec<u64> {
        let mask = u32::MAX >> (32 - self.bits);
        let flips = |(&before, &after): (&L, &L)| {
            let (before, after): (i32, i32) = (before.as_(), after.as_());
            u64::from(((before ^ after) as u32 & mask).count_ones())
        };
        let mut toggles = vec![0; self.shape().0];
        self.for_each_row(piece, |row, codes, before| match (self.across, before) {
            (true, None) => {}
            (true, Some(before)) => {
                let pairs = toggles.iter_mut().zip(before.iter().zip(codes));
                pairs.for_each(|(toggles, pair)| *toggles += flips(pair));
            }
            (false, _) => {
                let pairs = codes.iter().zip(&codes[1..]);
                toggles[row] = pairs.map(flips).sum();
            }
        });
        toggles
    }

    /// Goes through the rows of what is viewed, in the part that belongs to a piece of time, which is
    /// not empty. With each row comes the one before, if there is one.
    fn for_each_row(&self, piece: Range<usize>, mut see: impl FnMut(usize, &[L], Option<&[L]>)) {
        let (rows, cols) = match self.across {
            true => (piece, 0..self.viewed.cols()),
            false => (0..self.viewed.rows(), piece),
        };
        let mut buffer = Vec::new();
        for from in rows.clone().step_by(ROWS_AT_ONCE) {
            let first = from.saturating_sub(1).max(rows.start);
            let block = first..rows.end.min(from + ROWS_AT_ONCE);
            let CodeBlock { codes, stride } = self.viewed.block(block, cols.clone(), &mut buffer);
            let mut before = None;
            for (row, codes) in (first..).zip(codes.chunks(stride)) {
                let codes = &codes[..cols.len()];
                if row >= from {
                    see(row, codes, before);
                }
                before = Some(codes);
            }
        }
    }
}

/// How many rows are copied at once, where they are not stored as they are read.
const ROWS_AT_ONCE: usize = 32;

/// OperandLanes with their toggles.
struct Fed<'a, L> {
    lanes: OperandLanes<'a, L>,
    /// Toggles of each lane from the first code of each piece of time to its last.
    within: Vec<Vec<u64>>,
}

impl<'a, L: Lane> Fed<'a, L> {
    fn new(run: &GemmRun, lanes: OperandLanes<'a, L>) -> Self {
        let within = run.pieces_of_time().map(|piece| lanes.toggles_within(piece)).collect();
        Self { lanes, within }
    }
}

/// Toggles of an operand that passes `places` registers, one per cycle; `part` says which of its
/// lanes a fold takes.
///
/// Before and after a fold a register holds 0, unless another fold follows at once. The last
/// registers may not see the last codes, because the GEMM is over.
fn moving<L: Lane>(
    run: &GemmRun,
    fed: &Fed<'_, L>,
    places: usize,
    part: impl Fn(&Tile) -> (usize, usize),
) -> u64 {
    let places = places as u64;
    let taken = |at: usize| part(&run.folds[at].tile);
    let code = |at: usize, i: usize, step: usize| {
        fed.lanes.at(taken(at).0 + i, run.folds[at].tile.time + step)
    };
    let last = |at: usize, i: usize| code(at, i, run.folds[at].tile.steps - 1);
    // Toggles of the first register of lane `i` of fold `at` as its step `step` comes in; after the
    // last step, what follows the fold, unless another fold does.
    let change = |at: usize, i: usize, step: usize| {
        if step == run.folds[at].tile.steps {
            let fed = run.follows(at + 1) && i < taken(at + 1).1;
            return if fed { 0 } else { flips(last(at, i), 0) };
        }
        let before = match step {
            0 if run.follows(at) && i < taken(at - 1).1 => last(at - 1, i),
            0 => 0,
            _ => code(at, i, step - 1),
        };
        flips(before, code(at, i, step))
    };
    let mut toggles = 0;
    for at in 0..run.folds.len() {
        let (first, count) = taken(at);
        let fold = &run.folds[at];
        let within: u64 = fed.within[run.piece_of(fold)][first..first + count].iter().sum();
        let ends = |i| change(at, i, 0) + change(at, i, fold.tile.steps);
        let ends: u64 = (0..count).map(ends).sum();
        toggles += places * (within + ends);
    }
    // What enters in cycle x changes the last register in cycle x + places − 1.
    let sides = (run.mapping.rows + run.mapping.cols) as u64;
    for at in (0..run.folds.len()).rev() {
        let Fold { start, tile, .. } = run.folds[at];
        if start + tile.steps as u64 + sides <= run.end {
            break;
        }
        for i in 0..taken(at).1 {
            for step in (0..=tile.steps).rev() {
                let missed = (start + (i + step) as u64 + places).saturating_sub(run.end);
                if missed == 0 {
                    break;
                }
                toggles -= missed.min(places) * change(at, i, step);
            }
        }
    }
    toggles
}

/// Toggles of an operand that comes down the chain of each column and stays; a lane has what lies
/// along a row of the grid.
///
/// Row i takes the element of the last row first, and then those of the rows above it, down to its
/// own.
fn staying<L: Lane>(run: &GemmRun, lanes: &OperandLanes<'_, L>) -> u64 {
    let Mapping { rows, cols, .. } = run.mapping;
    let mut chain = vec![0; rows * cols];
    let mut used = chain.clone();
    let mut toggles = 0;
    let mut column = Vec::with_capacity(rows);
    let mut buffer = Vec::new();
    for Fold { tile, span_rows, span_cols, .. } in &run.folds {
        let held = tile.row..tile.row + tile.rows;
        let held = lanes.block(held, tile.col..tile.col + tile.cols, &mut buffer);
        let [row_step, col_step] = if lanes.across { [1, held.stride] } else { [held.stride, 1] };
        for col in 0..*span_cols {
            let element = |row: usize| match row < tile.rows && col < tile.cols {
                true => word(held.codes[row * row_step + col * col_step].code(), lanes.bits),
                false => 0,
            };
            column.clear();
            column.extend((0..*span_rows).map(element));
            let last = column[span_rows - 1];
            for (row, &element) in column.iter().enumerate() {
                let pe = row * cols + col;
                toggles += flips(std::mem::replace(&mut chain[pe], element), last);
                if row > 0 {
                    toggles += row as u64 * flips(column[row - 1], element);
                }
                if run.mapping.has_shadow() {
                    toggles += flips(std::mem::replace(&mut used[pe], element), element);
                }
            }
        }
    }
    toggles
}
