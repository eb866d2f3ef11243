//! Toggles of operand registers, and products with zero.

use ndarray::{ArrayView2, s};
use systoliq_fxp::{Lane, with_codes};
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;

use super::{Activity, GemmRun, flips, word};
use crate::Mapping;
use crate::mapping::{Stationary, Tile};
use crate::schedule::Fold;

/// Evaluates `$body` with `$codes` bound to the codes of an operand, or of its transpose if
/// `$across`, and `$bits` to their width.
macro_rules! with_matrix {
    ($operand:expr, $across:expr, |$codes:ident, $bits:ident| $body:expr) => {{
        let (operand, $bits) = ($operand, $operand.tensor.format().bits());
        with_codes!(operand.tensor, |stored| {
            let $codes = match operand.transposed != $across {
                true => stored.t(),
                false => stored.view(),
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
    let right_toggles = with_matrix!(right, stationary == Stationary::Weight, |lanes, bits| {
        moving(run, &OperandLanes::new(run, lanes, bits), cols, |tile| (tile.row, tile.rows))
    });
    let other_toggles = match stationary {
        Stationary::Output => with_matrix!(other, true, |lanes, bits| {
            moving(run, &OperandLanes::new(run, lanes, bits), rows, |tile| (tile.col, tile.cols))
        }),
        Stationary::Weight => with_matrix!(other, false, |codes, bits| staying(run, codes, bits)),
        Stationary::Input => with_matrix!(other, true, |codes, bits| staying(run, codes, bits)),
    };
    let (a_toggles, b_toggles) = match stationary {
        Stationary::Output | Stationary::Weight => (right_toggles, other_toggles),
        Stationary::Input => (other_toggles, right_toggles),
    };
    Activity { zero_operand_macs: zero_operand_macs(task), a_toggles, b_toggles }
}

/// For each k, all products but those of two elements that are not zero.
fn zero_operand_macs(task: &GemmTask<'_>) -> u64 {
    let GemmShape { m, k, n } = task.shape();
    let a = with_matrix!(&task.a, true, |lanes, _bits| nonzeros(lanes));
    let b = with_matrix!(&task.b, false, |lanes, _bits| nonzeros(lanes));
    let of_k = |at: usize| m as u64 * n as u64 - a[at] * b[at];
    (0..k).map(of_k).sum()
}

/// Elements that are not zero, by lane.
fn nonzeros<L: Lane>(lanes: ArrayView2<'_, L>) -> Vec<u64> {
    let count = |code: &L| u64::from(!code.is_zero());
    if let Some(stored) = lanes.as_slice() {
        let length = lanes.ncols().max(1);
        return stored.chunks(length).map(|lane| lane.iter().map(count).sum()).collect();
    }
    let mut counts = vec![0; lanes.nrows()];
    for codes in lanes.columns() {
        counts.iter_mut().zip(codes).for_each(|(sum, code)| *sum += count(code));
    }
    counts
}

/// An operand as it is fed to the rows or columns of the grid: *lanes* of codes, one after the
/// other in time.
struct OperandLanes<'a, L> {
    codes: ArrayView2<'a, L>,
    bits: u32,
    /// Toggles of each lane from the first code of each piece of time to its last.
    within: Vec<Vec<u64>>,
}

impl<'a, L: Lane> OperandLanes<'a, L> {
    fn new(run: &GemmRun, codes: ArrayView2<'a, L>, bits: u32) -> Self {
        let within = run
            .pieces_of_time()
            .map(|piece| toggles_within(codes.slice(s![.., piece]), bits))
            .collect();
        Self { codes, bits, within }
    }

    fn at(&self, lane: usize, time: usize) -> u64 {
        word(self.codes[(lane, time)].code(), self.bits)
    }
}

/// Toggles along each lane.
fn toggles_within<L: Lane>(lanes: ArrayView2<'_, L>, bits: u32) -> Vec<u64> {
    let mask = u32::MAX >> (32 - bits);
    let flips = |before: L, after: L| {
        let (before, after): (i32, i32) = (before.as_(), after.as_());
        u64::from(((before ^ after) as u32 & mask).count_ones())
    };
    if let Some(stored) = lanes.as_slice() {
        let of = |lane: &[L]| {
            let pairs = lane.iter().zip(&lane[1..]);
            pairs.map(|(&before, &after)| flips(before, after)).sum()
        };
        return stored.chunks(lanes.ncols().max(1)).map(of).collect();
    }
    let mut toggles = vec![0; lanes.nrows()];
    for time in 1..lanes.ncols() {
        let (before, after) = (lanes.column(time - 1), lanes.column(time));
        for (toggles, (&before, &after)) in toggles.iter_mut().zip(before.iter().zip(after)) {
            *toggles += flips(before, after);
        }
    }
    toggles
}

/// Toggles of an operand that passes `places` registers, one per cycle; `part` says which of its
/// lanes a fold takes.
///
/// Before and after a fold a register holds 0, unless another fold follows at once. The last
/// registers may not see the last codes, because the GEMM is over.
fn moving<L: Lane>(
    run: &GemmRun,
    lanes: &OperandLanes<'_, L>,
    places: usize,
    part: impl Fn(&Tile) -> (usize, usize),
) -> u64 {
    let places = places as u64;
    let taken = |at: usize| part(&run.folds[at].tile);
    let code = |at: usize, i: usize, step: usize| {
        lanes.at(taken(at).0 + i, run.folds[at].tile.time + step)
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
        let within: u64 = lanes.within[run.piece_of(fold)][first..first + count].iter().sum();
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

/// Toggles of an operand that comes down the chain of each column and stays, as
/// `codes[row of the grid][column of the grid]`.
///
/// Row i takes the element of the last row first, and then those of the rows above it, down to its
/// own.
fn staying<L: Lane>(run: &GemmRun, codes: ArrayView2<'_, L>, bits: u32) -> u64 {
    let Mapping { rows, cols, .. } = run.mapping;
    let mut chain = vec![0; rows * cols];
    let mut used = chain.clone();
    let mut toggles = 0;
    let mut column = Vec::with_capacity(rows);
    for Fold { tile, span_rows, span_cols, .. } in &run.folds {
        for col in 0..*span_cols {
            let element = |row: usize| match row < tile.rows && col < tile.cols {
                true => word(codes[(tile.row + row, tile.col + col)].code(), bits),
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
