//! Traces: what stands in the registers, cycle by cycle, for a viewer of waves or for a reader.
//!
//! A [`Trace`] is a range of [cycles](Instants) of one GEMM, of all PEs or of some. It is written as
//! it is computed, in memory that does not grow with its length:
//!
//! | format | for |
//! | --- | --- |
//! | [`vcd`](Trace::vcd) | every viewer and simulator (IEEE 1364 value change dump) |
//! | [`fst`](Trace::fst) | GTKWave and Surfer, several times smaller |
//! | [`text`](Trace::text) | a person, one small grid on a page |
//!
//! `a`, `b` and `acc` are always an element of A, one of B and a sum of C, whatever the dataflow
//! moves or keeps. All are codes in two's complement, as wide as the hardware's registers.
//!
//! *Absent:* files, and traces of memory.

mod fst;
mod signals;
mod text;
mod vcd;

use std::io;
use std::num::NonZero;
use std::ops::Range;

use crate::instant::{Instant, Instants};
use crate::{Error, Mapping, Overlap, PartialFolds, Stationary};

/// The widest grid that is drawn as text.
pub const TEXT_COLS_MAX: usize = 16;

/// Some cycles of a GEMM, of some PEs, to be written down.
#[derive(Clone, Debug)]
pub struct Trace<'i, 'a> {
    instants: &'i Instants<'a>,
    cycles: Range<u64>,
    rows: Range<usize>,
    cols: Range<usize>,
    period_ps: Option<NonZero<u32>>,
    title: String,
}

impl<'i, 'a> Trace<'i, 'a> {
    /// A trace of some cycles, of all PEs, at 1 ns a cycle.
    ///
    /// # Errors
    ///
    /// If the GEMM does not have all of the cycles, or there are none.
    pub fn new(instants: &'i Instants<'a>, cycles: Range<u64>) -> Result<Self, Error> {
        instants.check(&cycles)?;
        let Mapping { rows, cols, .. } = *instants.mapping();
        let (period_ps, title) = (None, String::new());
        Ok(Self { instants, cycles, rows: 0..rows, cols: 0..cols, period_ps, title })
    }

    /// The same of these PEs alone.
    ///
    /// # Errors
    ///
    /// If the grid does not have all of them, or there are none.
    pub fn of_pes(self, rows: Range<usize>, cols: Range<usize>) -> Result<Self, Error> {
        check_pes(self.instants.mapping(), &rows, &cols)?;
        Ok(Self { rows, cols, ..self })
    }

    /// The same with a clock period in picoseconds.
    ///
    /// # Errors
    ///
    /// If the end of the trace in picoseconds does not fit 64 bits.
    pub fn with_period_ps(self, period: NonZero<u32>) -> Result<Self, Error> {
        let cycles = self.cycles.end;
        match cycles.checked_mul(u64::from(period.get())) {
            Some(_) => Ok(Self { period_ps: Some(period), ..self }),
            None => Err(Error::TraceTime { cycles, period_ps: period.get() }),
        }
    }

    /// The same with a line about where the operands come from. What would end a comment, or is not
    /// plain ASCII, becomes `?`.
    pub fn titled(self, title: &str) -> Self {
        let plain = |c: char| if c != '$' && (c.is_ascii_graphic() || c == ' ') { c } else { '?' };
        Self { title: title.chars().map(plain).collect(), ..self }
    }

    /// The PEs times the cycles of the trace.
    pub fn pe_cycles(&self) -> u128 {
        let cycles = u128::from(self.cycles.end - self.cycles.start);
        (self.rows.len() * self.cols.len()) as u128 * cycles
    }

    /// What it is of, in a few lines.
    fn description(&self) -> Vec<String> {
        let Mapping { shape, stationary, rows, cols, overlap, partial_folds, .. } =
            *self.instants.mapping();
        let stationary = match stationary {
            Stationary::Output => "output-stationary",
            Stationary::Weight => "weight-stationary",
            Stationary::Input => "input-stationary",
        };
        let overlap = match overlap {
            Overlap::None => "folds one after the other",
            Overlap::DoubleBuffered => "folds double-buffered",
            Overlap::Pipelined => "folds pipelined",
        };
        let partial = match partial_folds {
            PartialFolds::Full => "",
            PartialFolds::Trimmed => ", partial folds trimmed",
        };
        let (m, k, n) = (shape.m, shape.k, shape.n);
        let Range { start, end } = self.cycles;
        let (cycles, last) = (self.instants.cycles(), end - 1);
        let mut lines = vec![
            format!("C[{m}, {n}] = A[{m}, {k}] * B[{k}, {n}] on {rows} x {cols} PEs, {stationary}"),
            format!("{overlap}{partial}; cycles {start} to {last} of 0 to {}", cycles - 1),
        ];
        if !self.title.is_empty() {
            lines.insert(0, self.title.clone());
        }
        lines
    }

    /// How long a cycle takes in units of the format, and the unit as a power of ten of a second.
    fn timescale(&self) -> (u64, i8) {
        self.period_ps.map_or((1, -9), |period| (period.get().into(), -12))
    }

    /// Shows each cycle and, after it, how many are done.
    fn each(
        &self,
        progress: &mut dyn FnMut(u64),
        mut see: impl FnMut(&Instant) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut cursor = self.instants.over(self.cycles.clone()).map_err(io::Error::other)?;
        while let Some(instant) = cursor.advance() {
            see(instant)?;
            progress(instant.cycle + 1 - self.cycles.start);
        }
        Ok(())
    }
}

/// Checks that a grid has these PEs.
///
/// # Errors
///
/// If it does not have all of them, or there are none.
pub fn check_pes(mapping: &Mapping, rows: &Range<usize>, cols: &Range<usize>) -> Result<(), Error> {
    let has = |part: &Range<usize>, side| part.start < part.end && part.end <= side;
    if has(rows, mapping.rows) && has(cols, mapping.cols) {
        return Ok(());
    }
    let (rows, cols) = (rows.clone(), cols.clone());
    Err(Error::NoSuchPes { rows, cols, grid_rows: mapping.rows, grid_cols: mapping.cols })
}
