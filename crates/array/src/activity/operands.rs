//! Toggles of operand registers, and products with zero.

use std::marker::PhantomData;

use num_traits::AsPrimitive;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Lane, with_codes};
use systoliq_program::panels::{AT_ONCE, Group, Side, panels, words_of_panels};
use systoliq_program::view::codes::Viewed;
use systoliq_program::{GemmTask, Operand};

use super::lanes::{Counted, Flips, LANES, LaneCount, LaneStreams, OperandLanes, piece};
use super::{Activity, GemmRun};
use crate::Mapping;
use crate::mapping::{Axis, Stationary, Tile};
use crate::schedule::Fold;

pub(super) fn activity(run: &GemmRun, task: &GemmTask<'_>) -> Activity {
    let (a, b) = match run.mapping.stationary {
        Stationary::Output => {
            (fed(run, task, Side::A, Axis::Rows), fed(run, task, Side::B, Axis::Cols))
        }
        Stationary::Weight => (fed(run, task, Side::A, Axis::Rows), held(run, task, Side::B)),
        Stationary::Input => (held(run, task, Side::A), fed(run, task, Side::B, Axis::Rows)),
    };
    // All multiply-accumulates but, for each k, those of two elements that are not zero.
    let nonzero: u64 = a.nonzeros.iter().zip(&b.nonzeros).map(|(a, b)| a * b).sum();
    Activity {
        zero_operand_macs: task.macs() - nonzero,
        a_toggles: a.toggles,
        b_toggles: b.toggles,
    }
}

/// What one operand does.
struct OperandActivity {
    /// Elements that are not zero, by k.
    nonzeros: Vec<u64>,
    toggles: u64,
}

/// Evaluates `$body` with `$lanes` bound to the operand on a side, whose time is k if `$in_k`.
macro_rules! with_lanes {
    ($task:expr, $side:expr, $in_k:expr, |$lanes:ident| $body:expr) => {{
        let operand = of_side($task, $side);
        with_codes!(operand.tensor, |codes| {
            let $lanes = OperandLanes::new(operand, $side, Viewed::new(operand, codes), $in_k);
            $body
        })
    }};
}

fn of_side<'t>(task: &'t GemmTask<'_>, side: Side) -> &'t Operand<'t> {
    match side {
        Side::A => &task.a,
        Side::B => &task.b,
    }
}

/// Of an operand that is fed in time to the rows or the columns of the grid.
fn fed(run: &GemmRun, task: &GemmTask<'_>, side: Side, axis: Axis) -> OperandActivity {
    with_lanes!(task, side, run.mapping.output_stays(), |lanes| {
        let Counted { nonzeros, streams } = lanes.count(run.pieces_of_time());
        let code = |lane, time| lanes.at(lane, time);
        let toggles = with_widest_vectors(MovingOperand { run, streams: &streams, axis, code });
        OperandActivity { nonzeros, toggles }
    })
}

/// Of an operand that comes down the chain of each column and stays.
fn held(run: &GemmRun, task: &GemmTask<'_>, side: Side) -> OperandActivity {
    let nonzeros = with_lanes!(task, side, true, |lanes| lanes.nonzeros());
    let operand = of_side(task, side);
    let toggles = match operand.tensor.format().bits() {
        0..=8 => staying::<u8>(run, operand, side),
        9..=16 => staying::<u16>(run, operand, side),
        _ => staying::<u32>(run, operand, side),
    };
    OperandActivity { nonzeros, toggles }
}

/// Toggles of an operand that passes the registers of a row or a column, one per cycle.
///
/// Before and after a fold a register holds 0, unless another fold follows at once. The last
/// registers may not see the last codes, because the GEMM is over.
struct MovingOperand<'a, C> {
    run: &'a GemmRun,
    streams: &'a [LaneStreams],
    /// The axis of the grid to which lanes are fed.
    axis: Axis,
    /// The code of a lane at a time.
    code: C,
}

impl<C: Fn(usize, usize) -> u32> VectorWork for MovingOperand<'_, C> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let mut alone = Vec::with_capacity(self.streams.len());
        for streams in self.streams {
            alone.push(toggles_alone(streams));
        }
        let mut toggles = 0;
        for (at, fold) in self.run.folds.iter().enumerate() {
            let (first, count) = self.taken(at);
            let alone = &alone[self.run.piece_of(fold)];
            toggles += alone[first + count] - alone[first];
            if self.run.follows(at) {
                // |a ^ b| = |a| + |b| − 2·|a & b|
                toggles -= 2 * self.shared_with_last(at);
            }
        }
        self.places() * toggles - self.missed()
    }
}

/// Toggles of a register between two folds that do not follow at once, in all lanes before one.
#[inline(always)]
fn toggles_alone(streams: &LaneStreams) -> Vec<u64> {
    let LaneStreams { first, last, within } = streams;
    let mut sums = Vec::with_capacity(within.len() + 1);
    let mut sum = 0;
    for ((first, last), within) in first.iter().zip(last).zip(within) {
        sums.push(sum);
        sum += within + u64::from(first.count_ones() + last.count_ones());
    }
    sums.push(sum);
    sums
}

impl<C: Fn(usize, usize) -> u32> MovingOperand<'_, C> {
    /// The first lane that a fold takes, and how many.
    #[inline(always)]
    fn taken(&self, at: usize) -> (usize, usize) {
        let Tile { row, rows, col, cols, .. } = self.run.folds[at].tile;
        if self.axis == Axis::Rows { (row, rows) } else { (col, cols) }
    }

    /// How many registers a lane passes.
    fn places(&self) -> u64 {
        let Mapping { rows, cols, .. } = self.run.mapping;
        (if self.axis == Axis::Rows { cols } else { rows }) as u64
    }

    /// The streams of a fold.
    fn of(&self, at: usize) -> &LaneStreams {
        &self.streams[self.run.piece_of(&self.run.folds[at])]
    }

    /// Ones that are in the same places in the first codes of a fold and in the last of the one before.
    #[inline(always)]
    fn shared_with_last(&self, at: usize) -> u64 {
        let (before, before_count) = self.taken(at - 1);
        let (first, count) = self.taken(at);
        let last = &self.of(at - 1).last[before..before + before_count];
        let first = &self.of(at).first[first..first + count];
        let mut shared = 0u32;
        for (last, first) in last.iter().zip(first) {
            shared = shared.wrapping_add((last & first).count_ones());
        }
        shared.into()
    }

    /// Toggles of the first register of lane `i` of fold `at` as its step `step` comes in; after the
    /// last step, what follows the fold, unless another fold does.
    fn change(&self, at: usize, i: usize, step: usize) -> u64 {
        let (Fold { tile, .. }, (first, _)) = (&self.run.folds[at], self.taken(at));
        let lane = first + i;
        if step == tile.steps {
            let fed = self.run.follows(at + 1) && i < self.taken(at + 1).1;
            return if fed { 0 } else { self.of(at).last[lane].count_ones().into() };
        }
        let before = match step {
            0 if self.run.follows(at) && i < self.taken(at - 1).1 => {
                self.of(at - 1).last[self.taken(at - 1).0 + i]
            }
            0 => 0,
            _ => (self.code)(lane, tile.time + step - 1),
        };
        (before ^ (self.code)(lane, tile.time + step)).count_ones().into()
    }

    /// What the last registers do not see: what enters in cycle x changes the last one in cycle
    /// x + places − 1.
    fn missed(&self) -> u64 {
        let (run, places, mut toggles) = (self.run, self.places(), 0);
        let sides = (run.mapping.rows + run.mapping.cols) as u64;
        for at in (0..run.folds.len()).rev() {
            let Fold { start, tile, .. } = run.folds[at];
            if start + tile.steps as u64 + sides <= run.end {
                break;
            }
            for i in 0..self.taken(at).1 {
                for step in (0..=tile.steps).rev() {
                    let missed = (start + (i + step) as u64 + places).saturating_sub(run.end);
                    if missed == 0 {
                        break;
                    }
                    toggles += missed.min(places) * self.change(at, i, step);
                }
            }
        }
        toggles
    }
}

/// Codes as they are, in words of their width.
#[derive(Clone, Copy)]
struct Kept<W>(PhantomData<W>);

impl<W: Lane> Group<1> for Kept<W>
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
        words.iter_mut().zip(codes).for_each(|(word, code)| *word = code.code().as_());
    }
}

/// Toggles of an operand that comes down the chain of each column and stays: row i takes the element of
/// the last row first, and then those of the rows above it, down to its own.
fn staying<W: Lane>(run: &GemmRun, operand: &Operand<'_>, side: Side) -> u64
where
    i64: AsPrimitive<W>,
{
    let Mapping { rows, cols, shape, .. } = run.mapping;
    // Pieces of a row are read whole, also where less of it is left.
    let (words, spare) = (words_of_panels(operand, side, cols, 1), rows * cols + LANES);
    let mut held = vec![W::zero(); words + spare];
    panels(operand, side, cols, Kept(PhantomData), &mut held[..words]);
    let registers = || vec![W::zero(); spare];
    let held = StayingOperand {
        run,
        panels: &held,
        panel: shape.k * cols,
        flips: Flips::of_width(operand.tensor.format().bits()),
        chain: registers(),
        used: run.mapping.has_shadow().then(registers),
    };
    match cols {
        ..=16 => with_widest_vectors(Abreast::<_, 16>(held)),
        _ => with_widest_vectors(Abreast::<_, LANES>(held)),
    }
}

/// An operand that stays, loaded fold by fold.
struct StayingOperand<'a, W> {
    run: &'a GemmRun,
    /// Rows of k, for as many columns as the grid has.
    panels: &'a [W],
    /// Codes of a panel.
    panel: usize,
    flips: Flips<W>,
    /// What the chains hold, by row of the grid.
    chain: Vec<W>,
    /// What is multiplied, where that is another register.
    used: Option<Vec<W>>,
}

/// Work on so many columns side by side.
struct Abreast<S, const N: usize>(S);

impl<W: Lane, const N: usize> VectorWork for Abreast<StayingOperand<'_, W>, N> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self(mut staying) = self;
        let mut toggles = 0;
        for fold in &staying.run.folds {
            toggles += staying.load::<N>(fold);
        }
        toggles
    }
}

impl<W: Lane> StayingOperand<'_, W> {
    /// Loads what stays in a fold, and counts toggles.
    #[inline(always)]
    fn load<const N: usize>(&mut self, fold: &Fold) -> u64 {
        let Fold { tile, span_rows, span_cols, .. } = *fold;
        let cols = self.run.mapping.cols;
        let panels = self.panels;
        let codes = &panels[tile.col / cols * self.panel + tile.row * cols..];
        let none = [W::zero(); N];
        let of_row = |row: usize, col: usize| piece::<W, N>(&codes[row * cols + col..]);
        let mut toggles = 0;
        for col in (0..span_cols).step_by(N) {
            let mut sums = [0i32; N];
            let mut above = none;
            let last = if span_rows > tile.rows { none } else { of_row(span_rows - 1, col) };
            for at in 0..span_rows {
                // Rows beyond the operand hold 0.
                let codes = if at < tile.rows { of_row(at, col) } else { none };
                let held = piece::<W, N>(&self.chain[at * cols + col..]);
                let used = match &self.used {
                    Some(used) => piece(&used[at * cols + col..]),
                    None => codes,
                };
                for lane in 0..N {
                    let loaded = self.flips.of(held[lane], last[lane]);
                    let once = loaded.wrapping_add(&self.flips.of(used[lane], codes[lane]));
                    // A sum over all rows of the largest grid fits 32 bits.
                    let once: i32 = once.as_();
                    let passing: i32 = self.flips.of(above[lane], codes[lane]).as_();
                    let passing = passing.wrapping_mul(at as i32);
                    sums[lane] = sums[lane].wrapping_add(once).wrapping_add(passing);
                }
                above = codes;
            }
            for &sum in sums.iter().take(span_cols - col) {
                toggles += sum as u64;
            }
        }
        self.keep(fold, codes);
        toggles
    }

    /// Puts what a fold loads in its registers.
    #[inline(always)]
    fn keep(&mut self, fold: &Fold, codes: &[W]) {
        let cols = self.run.mapping.cols;
        for registers in std::iter::once(&mut self.chain).chain(&mut self.used) {
            if fold.span_cols == cols {
                let (loaded, empty) =
                    registers[..fold.span_rows * cols].split_at_mut(fold.tile.rows * cols);
                loaded.copy_from_slice(&codes[..loaded.len()]);
                empty.fill(W::zero());
                continue;
            }
            for (at, registers) in registers.chunks_mut(cols).take(fold.span_rows).enumerate() {
                let registers = &mut registers[..fold.span_cols];
                match at < fold.tile.rows {
                    true => registers.copy_from_slice(&codes[at * cols..][..fold.span_cols]),
                    false => registers.fill(W::zero()),
                }
            }
        }
    }
}
