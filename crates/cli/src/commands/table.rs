//! Tables in plain ASCII.

use comfy_table::{Cell, CellAlignment, Table, presets};
use systoliq_energy::{EnergyUnit, Picojoules};
use systoliq_hardware::accelerator::Dram;
use systoliq_nn::Extended;
use systoliq_run::trainer::Sqnr;

pub(super) use systoliq_study::drop::words::points;

/// A table under construction.
pub(super) struct Columns {
    names: Vec<String>,
    lines: Vec<Vec<String>>,
}

/// What stands in a column of numbers where there is none.
const NO_NUMBERS: [&str; 7] = ["-", "", "exact", "none seen", "NaN", "inf", "undefined"];

impl Columns {
    /// A table with a line of names.
    pub(super) fn new(names: &[&str]) -> Self {
        Self { names: names.iter().map(|&name| name.to_owned()).collect(), lines: Vec::new() }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    /// The lines, indented and without blanks at their ends. Columns of numbers, also of those
    /// with a unit behind them, and of numbers that are not there, end flush.
    pub(super) fn text(&self) -> String {
        let side = |column: usize| {
            let mut cells = self.lines.iter().filter_map(|line| line.get(column));
            let no_number = |cell: &&String| NO_NUMBERS.contains(&cell.as_str());
            let any = cells.clone().any(|cell| is_number(cell));
            let none = cells.clone().all(|cell| cell == "-");
            let all = cells.all(|cell| is_number(cell) || no_number(&cell));
            if (any || none) && all { CellAlignment::Right } else { CellAlignment::Left }
        };
        let sides: Vec<CellAlignment> = (0..self.names.len()).map(side).collect();
        let row = |cells: &[String]| -> Vec<Cell> {
            let aligned = cells.iter().zip(&sides);
            aligned.map(|(cell, &side)| Cell::new(cell).set_alignment(side)).collect()
        };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(row(&self.names));
        self.lines.iter().for_each(|line| {
            table.add_row(row(line));
        });
        table.lines().map(|line| format!(" {}\n", line.trim_end())).collect()
    }
}

/// Whether a cell holds a number, perhaps with a unit.
fn is_number(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let number = words.next().map(|word| word.trim_end_matches('%').replace(',', ""));
    number.is_some_and(|number| number.parse::<f64>().is_ok_and(f64::is_finite))
        && words.nth(1).is_none()
}

/// A whole number with its digits in threes.
///
/// ```text
/// 1234567 -> 1,234,567
/// ```
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Cycles of stall; no number where nothing waits for memory, as [`UNLIMITED`] says.
pub(super) fn stalls(cycles: u64, dram: &Dram) -> String {
    if dram.is_ideal() { "-".to_owned() } else { grouped(cycles) }
}

/// Stands below cycles where memory brings any number of bytes at once.
pub(super) const UNLIMITED: &str =
    " memory is not limited (no accelerator.dram.bytes_per_cycle): nothing waits for it\n";

/// An energy to four digits, in the unit that suits it.
pub(super) fn joules(Picojoules(energy): Picojoules, unit: EnergyUnit) -> String {
    match unit {
        EnergyUnit::Picojoule => {
            scaled(energy, &[("pJ", 1.0), ("nJ", 1e3), ("uJ", 1e6), ("mJ", 1e9), ("J", 1e12)])
        }
        EnergyUnit::Mac16 => format!("{energy:.3e} {unit}"),
    }
}

/// A time to four digits, in the unit that suits it.
pub(super) fn time(seconds: f64) -> String {
    scaled(seconds, &[("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)])
}

/// A value to four digits, in the largest of these units that is not larger.
pub(super) fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    let (unit, scale) = units.iter().rev().find(|(_, scale)| value >= *scale).unwrap_or(&units[0]);
    let value = value / scale;
    let decimals = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{value:.decimals$} {unit}")
}

/// A signal-to-noise ratio.
pub(super) fn decibels(sqnr: Option<Extended>) -> String {
    match sqnr {
        None => "-".to_owned(),
        Some(Extended(sqnr)) if sqnr == f64::INFINITY => "exact".to_owned(),
        Some(Extended(sqnr)) => format!("{sqnr:.1}"),
    }
}

/// The ratios of a run's conversions: where no error was seen in some steps, there may be others.
pub(super) fn conversions(sqnr: Sqnr) -> String {
    match sqnr {
        Sqnr::Sampled(Some(Extended(f64::INFINITY))) => "none seen".to_owned(),
        sqnr => decibels(*sqnr.get()),
    }
}

/// A share in percent.
pub(super) fn percent(rate: f64) -> String {
    format!("{:.2} %", 100.0 * rate)
}

/// A real number to four decimals, or in powers of ten.
pub(super) fn real(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 || value.abs() >= 1e6 {
        format!("{value:.3e}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_numbers_and_names_that_start_with_a_digit_are_not() {
        for text in ["0", "-1.5", "+0.25", "1,234,567", "26.21 nJ", "3.4 %", "3%", "1e-7"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "64 x 64", "0.forward.y0", "nan", "inf", "Q2.6", "-", "1 of 3"] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn numbers_are_grouped_and_energies_scaled() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let energies = [0.0, 0.42, 999.9, 3_989_691_826.0, 5.0e13].map(Picojoules);
        assert_eq!(
            energies.map(|energy| joules(energy, EnergyUnit::Picojoule)),
            ["0.000 pJ", "0.420 pJ", "999.9 pJ", "3.990 mJ", "50.00 J"]
        );
    }
}
