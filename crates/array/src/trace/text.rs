//! A picture of the grid after each clock edge.

use std::io::{self, Write};

use super::{TEXT_COLS_MAX, Trace};
use crate::register::{Latch, Registers, SumRegister};
use crate::{Error, Stationary};

impl Trace<'_, '_> {
    /// Checks that the PEs of the trace fit the width of a page.
    ///
    /// # Errors
    ///
    /// If there are more than [`TEXT_COLS_MAX`] columns of them.
    pub fn check_text(&self) -> Result<(), Error> {
        match self.cols.len() {
            ..=TEXT_COLS_MAX => Ok(()),
            cols => Err(Error::TraceTooWide { cols }),
        }
    }

    /// Draws the registers of each PE after each clock edge: its element of A, its element of B and
    /// its sum, with `+` and that of the present chunk or block where there are any, and behind `/` the
    /// shadow where there is one. `.` is none. `progress` is told how
    /// many cycles are done.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written, or [`check_text`](Self::check_text) fails.
    pub fn text(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        self.check_text().map_err(io::Error::other)?;
        let shadow = self.instants.mapping().has_shadow();
        for line in self.description() {
            writeln!(out, "{line}")?;
        }
        let last = if shadow { ", and the shadow register" } else { "" };
        writeln!(out, "after each clock edge, per PE: an element of A, one of B, the sum{last}")?;
        writeln!(out)?;
        let widths = self.widths()?;
        self.each(progress, |instant| {
            writeln!(out, "cycle {}: {}", instant.cycle, instant.cause.name())?;
            for row in self.rows.clone() {
                let pes = self.cols.clone().map(|col| {
                    let [a, b, sum, shadow] = self.pe(&instant.registers, row, col);
                    let [a_width, b_width, sum_width, shadow_width] = widths;
                    let shadow = shadow.map(|shadow| format!(" / {shadow:>shadow_width$}"));
                    let [a, b, sum] = [a, b, sum].map(Option::unwrap_or_default);
                    let shadow = shadow.unwrap_or_default();
                    format!("{a:>a_width$} {b:>b_width$} {sum:>sum_width$}{shadow}")
                });
                writeln!(out, "  {}", pes.collect::<Vec<_>>().join(" |"))?;
            }
            Ok(())
        })?;
        out.flush()
    }

    /// The widest of each column of the picture.
    fn widths(&self) -> io::Result<[usize; 4]> {
        let mut widths = [3, 3, 5, 1];
        self.each(&mut |_| (), |instant| {
            for row in self.rows.clone() {
                for col in self.cols.clone() {
                    let texts = self.pe(&instant.registers, row, col);
                    for (width, text) in widths.iter_mut().zip(texts.into_iter().flatten()) {
                        *width = text.len().max(*width);
                    }
                }
            }
            Ok(())
        })?;
        Ok(widths)
    }

    /// What stands in a PE: an element of A, one of B, the sum, the shadow.
    fn pe(&self, registers: &Registers, row: usize, col: usize) -> [Option<String>; 4] {
        let mapping = self.instants.mapping();
        let pe = row * mapping.cols + col;
        let operand = |latch: &Latch| match latch.valid {
            true => latch.code.to_string(),
            false => ".".to_owned(),
        };
        let chunks = self.instants.task().adder.run().is_some();
        let sum = |cell: &SumRegister| match chunks {
            true => format!("{}{:+}", cell.sum.value, cell.sum.chunk),
            false => cell.sum.value.to_string(),
        };
        let (right, other) = (operand(&registers.right[pe]), operand(&registers.other[pe]));
        let (a, b) = match mapping.stationary {
            Stationary::Output | Stationary::Weight => (right, other),
            Stationary::Input => (other, right),
        };
        let shadow = registers.other_shadow.get(pe).map(operand);
        let whole = |cell: &SumRegister| cell.sum.value.to_string();
        let shadow = shadow.or_else(|| registers.sum_shadow.get(pe).map(whole));
        [Some(a), Some(b), Some(sum(&registers.sums[pe])), shadow]
    }
}
