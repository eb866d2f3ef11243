//! Tables in plain ASCII.

use comfy_table::{Cell, CellAlignment, Table, presets};
use systoliq_sim::energy::Picojoules;

/// A table under construction.
pub(super) struct Columns(Table);

impl Columns {
    /// A table with a line of names.
    pub(super) fn new(names: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(names);
        Self(table)
    }

    /// Adds a line. Numbers, also those with a unit behind them, end flush.
    pub(super) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        let cell = |text: String| {
            let side = if is_number(&text) { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(side)
        };
        self.0.add_row(cells.into_iter().map(cell));
    }

    /// The lines, indented and without blanks at their ends.
    pub(super) fn text(&self) -> String {
        self.0.lines().map(|line| format!(" {}\n", line.trim_end())).collect()
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

/// An energy to four digits, in the unit that suits it.
pub(super) fn joules(Picojoules(energy): Picojoules) -> String {
    let units = [("pJ", 1.0), ("nJ", 1e3), ("uJ", 1e6), ("mJ", 1e9), ("J", 1e12)];
    let (unit, scale) =
        units.into_iter().rev().find(|(_, scale)| energy >= *scale).unwrap_or(units[0]);
    let value = energy / scale;
    let decimals = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{value:.decimals$} {unit}")
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
            energies.map(joules),
            ["0.000 pJ", "0.420 pJ", "999.9 pJ", "3.990 mJ", "50.00 J"]
        );
    }
}
