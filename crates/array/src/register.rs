//! The engine that steps: every register of every PE, at every clock.
//!
//! A PE has two operand registers, each with a valid bit, an accumulator, and a counter of the
//! products in it. Elements of A move right along the rows, elements
//! of B down the columns, one PE per cycle; row i of the grid is fed i cycles late, and column j j
//! cycles late, so that both operands of a product meet. A PE multiplies and adds in the cycle in
//! which it latches its operands. Then the accumulators of a column become a shift register that
//! ends at the bottom edge, where the bias is added.
//!
//! The next state is a pure function of the present state and of what stands at the edges; then
//! both are swapped. Counts are what was seen while stepping; none is taken from a formula.

use systoliq_fxp::{Adder, Sum};
use systoliq_program::gemm::GemmShape;
use systoliq_program::{Engine, GemmTask, Operand, Sums};

use crate::edge;
use crate::{Array, ArrayCounts, Cycles, Error, Tile, tiles};

/// The engine that clocks every register.
///
/// ```
/// use systoliq_array::{Array, ArrayCounts, Register};
/// use systoliq_fxp::{Accumulator, Adder, Overflow, Rounding, Tensor};
/// use systoliq_keyed_random::Key;
/// use systoliq_program::{Engine, GemmTask, Operand};
/// let accumulator = Accumulator::new(16, None, Rounding::Floor, Overflow::Saturate)?;
/// let format = "Q4.4".parse()?;
/// let a = Tensor::from_codes(format, 2, 2, &[1, 2, 3, 4]);
/// let b = Tensor::from_codes(format, 2, 1, &[10, -1]);
/// let task = GemmTask {
///     a: Operand { tensor: &a, transposed: false },
///     b: Operand { tensor: &b, transposed: false },
///     adder: Adder::new(&accumulator, 8, Key::new(0)),
///     bias: None,
/// };
/// let array = Array::new(2, 2)?;
/// let mut engine = Register::new(array)?;
/// assert_eq!(engine.gemm(&task).values, [8, 26]);
/// assert_eq!(engine.counts(), ArrayCounts::of(&array, task.shape())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Register {
    array: Array,
    counts: ArrayCounts,
}

impl Register {
    /// An engine for this array.
    ///
    /// # Errors
    ///
    /// Those of [`Array::validate`].
    pub fn new(array: Array) -> Result<Self, Error> {
        array.validate()?;
        Ok(Self { array, counts: ArrayCounts::default() })
    }

    /// What was counted during the last GEMM.
    pub fn counts(&self) -> ArrayCounts {
        self.counts
    }
}

impl Engine for Register {
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums {
        let GemmShape { m, k, n } = task.shape();
        let mut sums = Sums { values: vec![0; m * n], overflowed: 0 };
        let mut leave = |i: usize, j: usize, sum: Sum| {
            let (value, overflowed) = edge::finish(task, sum, i, j);
            sums.values[i * n + j] = value;
            sums.overflowed += u64::from(overflowed);
        };
        if k == 0 {
            // Nothing enters the grid, and only the bias is added at the edge.
            (0..m * n).for_each(|index| leave(index / n, index % n, Sum::default()));
        }
        let streams = Streams::new(task);
        let mut grid = Grid::new(&self.array, task.adder);
        for tile in tiles(&self.array, task.shape()) {
            grid.fold(&streams, tile, &mut leave);
        }
        self.counts = grid.counts;
        sums
    }
}

/// The operands as they stand before the edges.
struct Streams {
    shape: GemmShape,
    /// A row by row, B row by row.
    a: Vec<i64>,
    b: Vec<i64>,
}

impl Streams {
    fn new(task: &GemmTask<'_>) -> Self {
        let codes = |operand: &Operand<'_>| {
            let (rows, cols) = (operand.rows(), operand.cols());
            let at = |index| operand.code(index / cols, index % cols);
            (0..rows * cols).map(at).collect()
        };
        Self { shape: task.shape(), a: codes(&task.a), b: codes(&task.b) }
    }

    /// What stands at the edges in cycle `cycle` of a fold: row i and column j are fed late by i
    /// and j cycles, and present 0 when they have nothing to feed.
    fn feed(&self, tile: Tile, cycle: usize, edges: &mut Edges) {
        let GemmShape { k, n, .. } = self.shape;
        let fed = |late: usize| cycle.checked_sub(late).filter(|&at| at < k);
        edges.a.set(|i| {
            let at = fed(i).filter(|_| i < tile.rows)?;
            Some(self.a[(tile.row + i) * k + at])
        });
        edges.b.set(|j| {
            let at = fed(j).filter(|_| j < tile.cols)?;
            Some(self.b[at * n + tile.col + j])
        });
        edges.last = cycle + 1 == k;
    }
}

/// Operand registers, or wires, each with its valid bit.
#[derive(Clone, Debug, Default)]
struct Operands {
    code: Vec<i64>,
    valid: Vec<bool>,
}

impl Operands {
    fn new(count: usize) -> Self {
        Self { code: vec![0; count], valid: vec![false; count] }
    }

    /// Sets every operand; where there is none, to 0 and invalid.
    fn set(&mut self, operand: impl Fn(usize) -> Option<i64>) {
        for (i, (code, valid)) in self.code.iter_mut().zip(&mut self.valid).enumerate() {
            let operand = operand(i);
            (*code, *valid) = (operand.unwrap_or(0), operand.is_some());
        }
    }

    fn copy(&mut self, to: std::ops::Range<usize>, from: &Self, start: usize) {
        let range = start..start + to.len();
        self.code[to.clone()].copy_from_slice(&from.code[range.clone()]);
        self.valid[to].copy_from_slice(&from.valid[range]);
    }

    fn valid_count(&self) -> u64 {
        self.valid.iter().map(|&valid| u64::from(valid)).sum()
    }
}

/// What stands at the left and upper edge of the grid before a clock edge.
struct Edges {
    a: Operands,
    b: Operands,
    /// Whether the first PE is fed the last operands of the fold.
    last: bool,
}

/// All registers of the grid, row by row.
#[derive(Clone)]
struct Registers {
    a: Operands,
    b: Operands,
    accumulator: Vec<Sum>,
    /// How many products each accumulator holds; moves with it.
    additions: Vec<u64>,
    /// One flag per PE of the first row and then of the last column, which runs along with the
    /// last operands: when it stands in the corner, all sums are complete.
    last: Vec<bool>,
}

/// What all PEs do at a clock edge.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Multiply what is latched and add it.
    Compute,
    /// Take over the accumulator of the PE above.
    Drain,
}

/// The grid and its clock.
struct Grid {
    rows: usize,
    cols: usize,
    adder: Adder,
    edges: Edges,
    present: Registers,
    next: Registers,
    counts: ArrayCounts,
}

impl Grid {
    /// A grid after reset.
    fn new(array: &Array, adder: Adder) -> Self {
        let Array { rows, cols, .. } = *array;
        let pes = rows * cols;
        let reset = Registers {
            a: Operands::new(pes),
            b: Operands::new(pes),
            accumulator: vec![Sum::default(); pes],
            additions: vec![0; pes],
            last: vec![false; rows + cols - 1],
        };
        let edges = Edges { a: Operands::new(rows), b: Operands::new(cols), last: false };
        let counts = ArrayCounts::default();
        Self { rows, cols, adder, edges, present: reset.clone(), next: reset, counts }
    }

    /// Runs one fold; `leave` takes each result of the tile with its row and column in C.
    fn fold(&mut self, streams: &Streams, tile: Tile, leave: &mut impl FnMut(usize, usize, Sum)) {
        let GemmShape { k, n, .. } = streams.shape;
        let first_index = |row: usize| ((tile.row + row) * n + tile.col) as u64;
        let mut cycle = 0;
        while !self.present.last.last().expect("a grid has a corner") {
            streams.feed(tile, cycle, &mut self.edges);
            self.clock(Mode::Compute, &first_index);
            let cycles = &mut self.counts.cycles;
            *(if cycle < k { &mut cycles.stream } else { &mut cycles.skew }) += Cycles(1);
            cycle += 1;
        }
        self.assert_complete(tile, k as u64);
        self.edges.a.set(|_| None);
        self.edges.b.set(|_| None);
        self.edges.last = false;
        for above in (0..self.rows).rev() {
            // The bottom row holds what began `above` rows below the first.
            let bottom = (self.rows - 1) * self.cols..;
            let sums = self.present.accumulator[bottom.clone()].iter();
            for (j, (&sum, &additions)) in sums.zip(&self.present.additions[bottom]).enumerate() {
                if additions > 0 {
                    leave(tile.row + above, tile.col + j, sum);
                    self.counts.results += 1;
                }
            }
            self.clock(Mode::Drain, &first_index);
            self.counts.cycles.drain += Cycles(1);
        }
        self.counts.folds += 1;
    }

    /// Asserts that the PEs in use have made `k` additions, and the others none.
    fn assert_complete(&self, tile: Tile, k: u64) {
        for (pe, &additions) in self.present.additions.iter().enumerate() {
            let (row, col) = (pe / self.cols, pe % self.cols);
            let expected = if row < tile.rows && col < tile.cols { k } else { 0 };
            assert_eq!(additions, expected, "additions of PE ({row}, {col}) in {tile:?}");
        }
    }

    /// One clock edge: all registers take their next state at once. `first_index` is the index of
    /// the output that a row's first PE makes.
    fn clock(&mut self, mode: Mode, first_index: &impl Fn(usize) -> u64) {
        let Self { rows, cols, present, next, edges, counts, .. } = self;
        next_operands(present, edges, *cols, next);
        counts.pe_cycles += (*rows * *cols) as u64;
        counts.a_operands += edges.a.valid_count();
        counts.b_operands += edges.b.valid_count();
        counts.a_register_writes += next.a.valid_count();
        counts.b_register_writes += next.b.valid_count();
        match mode {
            Mode::Compute => {
                for row in 0..*rows {
                    let pes = row * *cols..(row + 1) * *cols;
                    let macs = next_sums(present, pes, &self.adder, first_index(row), next);
                    counts.macs += macs;
                    counts.accumulator_writes += macs;
                }
            }
            Mode::Drain => counts.drain_writes += next_drained(present, *cols, next),
        }
        std::mem::swap(&mut self.present, &mut self.next);
    }
}

/// Elements of A move one column to the right, elements of B one row down.
fn next_operands(present: &Registers, edges: &Edges, cols: usize, next: &mut Registers) {
    let pes = present.accumulator.len();
    for (row, first) in (0..pes).step_by(cols).enumerate() {
        next.a.copy(first..first + 1, &edges.a, row);
        next.a.copy(first + 1..first + cols, &present.a, first);
    }
    next.b.copy(0..cols, &edges.b, 0);
    next.b.copy(cols..pes, &present.b, 0);
    next.last[0] = edges.last;
    next.last[1..].copy_from_slice(&present.last[..present.last.len() - 1]);
}

/// The PEs of one row multiply the operands they are about to latch and add the products;
/// returns how many did. Sums depend on the present state and on the operands' next state, which
/// is a function of the present one.
fn next_sums(
    present: &Registers,
    pes: std::ops::Range<usize>,
    adder: &Adder,
    first_index: u64,
    next: &mut Registers,
) -> u64 {
    next.accumulator[pes.clone()].copy_from_slice(&present.accumulator[pes.clone()]);
    next.additions[pes.clone()].copy_from_slice(&present.additions[pes.clone()]);
    let mut macs = 0;
    for (pe, index) in pes.zip(first_index..) {
        if next.a.valid[pe] && next.b.valid[pe] {
            let product = i128::from(next.a.code[pe]) * i128::from(next.b.code[pe]);
            let addition = present.additions[pe];
            adder.add_product(&mut next.accumulator[pe], product, index, addition);
            next.additions[pe] = addition + 1;
            macs += 1;
        }
    }
    macs
}

/// Accumulators and their counters move one row down, and zeros follow; returns how many
/// accumulators take over a result.
fn next_drained(present: &Registers, cols: usize, next: &mut Registers) -> u64 {
    let kept = present.accumulator.len() - cols;
    next.accumulator[..cols].fill(Sum::default());
    next.accumulator[cols..].copy_from_slice(&present.accumulator[..kept]);
    next.additions[..cols].fill(0);
    next.additions[cols..].copy_from_slice(&present.additions[..kept]);
    next.additions[cols..].iter().map(|&additions| u64::from(additions > 0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_fxp::{Accumulator, Format, Overflow, Rounding, Tensor};
    use systoliq_keyed_random::Key;

    fn adder() -> Adder {
        let accumulator = Accumulator::new(32, None, Rounding::Floor, Overflow::Wrap).unwrap();
        Adder::new(&accumulator, 0, Key::new(0))
    }

    fn tensor(rows: usize, cols: usize) -> Tensor {
        let codes: Vec<i64> = (1..=(rows * cols) as i64).collect();
        Tensor::from_codes(Format::new(16, 0, true).unwrap(), rows, cols, &codes)
    }

    #[test]
    fn registers_are_those_drawn_by_hand() {
        // A = [1 2; 3 4] and B = [1 2; 3 4] on 2 x 2, cycle by cycle: operand registers and
        // accumulators of the PEs (0,0), (0,1), (1,0), (1,1) after each clock edge.
        let (a, b) = (tensor(2, 2), tensor(2, 2));
        let operand = |tensor| Operand { tensor, transposed: false };
        let task = GemmTask { a: operand(&a), b: operand(&b), adder: adder(), bias: None };
        let streams = Streams::new(&task);
        let tile = Tile { row: 0, col: 0, rows: 2, cols: 2 };
        let mut grid = Grid::new(&Array::new(2, 2).unwrap(), task.adder);
        for (cycle, (a, b, sums)) in [
            ([1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]),
            ([2, 1, 3, 0], [3, 2, 1, 0], [7, 2, 3, 0]),
            ([0, 2, 4, 3], [0, 4, 3, 2], [7, 10, 15, 6]),
            ([0, 0, 0, 4], [0, 0, 0, 4], [7, 10, 15, 22]),
        ]
        .into_iter()
        .enumerate()
        {
            streams.feed(tile, cycle, &mut grid.edges);
            grid.clock(Mode::Compute, &|row| 2 * row as u64);
            let values: Vec<i64> = grid.present.accumulator.iter().map(|sum| sum.value).collect();
            assert_eq!(grid.present.a.code, a, "a in cycle {cycle}");
            assert_eq!(grid.present.b.code, b, "b in cycle {cycle}");
            assert_eq!(values, sums, "sums in cycle {cycle}");
        }
        assert_eq!(grid.present.last, [false, false, true]);
    }

    /// The registers after each clock edge of one fold, a line per row of PEs.
    fn picture(task: &GemmTask<'_>, array: &Array, tile: Tile) -> String {
        use std::fmt::Write as _;
        let streams = Streams::new(task);
        let mut grid = Grid::new(array, task.adder);
        let mut text = String::new();
        let compute = streams.shape.k + array.rows + array.cols - 2;
        for cycle in 0..compute + array.rows {
            streams.feed(tile, cycle, &mut grid.edges);
            let mode = if cycle < compute { Mode::Compute } else { Mode::Drain };
            let phase = match mode {
                Mode::Drain => "drain",
                Mode::Compute if cycle < streams.shape.k => "stream",
                Mode::Compute => "skew",
            };
            writeln!(text, "cycle {cycle}: {phase}").unwrap();
            grid.clock(mode, &|_| 0);
            let Registers { a, b, accumulator, .. } = &grid.present;
            for row in 0..array.rows {
                let pe = |pe: usize| {
                    let operand = |operands: &Operands| match operands.valid[pe] {
                        true => operands.code[pe].to_string(),
                        false => ".".to_owned(),
                    };
                    format!("{:>3} {:>3} {:>5}", operand(a), operand(b), accumulator[pe].value)
                };
                let pes = row * array.cols..(row + 1) * array.cols;
                writeln!(text, "  {}", pes.map(pe).collect::<Vec<_>>().join(" |")).unwrap();
            }
        }
        text
    }

    #[test]
    fn the_committed_trace_is_what_the_array_does() {
        let (a, b) = (tensor(3, 3), tensor(3, 3));
        let operand = |tensor| Operand { tensor, transposed: false };
        let task = GemmTask { a: operand(&a), b: operand(&b), adder: adder(), bias: None };
        let tile = Tile { row: 0, col: 0, rows: 3, cols: 3 };
        let picture = picture(&task, &Array::new(3, 3).unwrap(), tile);
        let committed = include_str!("../../../traces/gemm-3x3.txt");
        let (_, committed) = committed.split_once("\n\n").unwrap();
        assert_eq!(picture, committed, "{picture}");
    }

    #[test]
    fn nothing_is_left_in_the_grid_after_a_fold() {
        for (rows, cols) in [(1, 1), (1, 3), (3, 1), (2, 3)] {
            let (a, b) = (tensor(rows, 4), tensor(4, cols));
            let operand = |tensor| Operand { tensor, transposed: false };
            let task = GemmTask { a: operand(&a), b: operand(&b), adder: adder(), bias: None };
            let tile = Tile { row: 0, col: 0, rows, cols };
            let mut grid = Grid::new(&Array::new(rows, cols).unwrap(), task.adder);
            let mut left = 0;
            grid.fold(&Streams::new(&task), tile, &mut |_, _, _| left += 1);
            let Registers { a, b, accumulator, additions, last } = &grid.present;
            let case = format!("{rows} x {cols}");
            assert_eq!(left, rows * cols, "{case}");
            assert_eq!((a.valid_count(), b.valid_count()), (0, 0), "{case}");
            assert!(a.code.iter().chain(&b.code).all(|&code| code == 0), "{case}");
            assert!(accumulator.iter().all(|&sum| sum == Sum::default()), "{case}");
            assert!(additions.iter().all(|&count| count == 0), "{case}");
            assert!(!last.contains(&true), "{case}");
        }
    }
}
