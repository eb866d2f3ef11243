//! Numbers as figures show them: a few digits, and a unit of a fitting size.

use systoliq_energy::EnergyUnit;
use systoliq_explore::Measure;
use systoliq_study::drop::words;

/// A size of units: so many of the base unit, and its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct UnitSize {
    /// How many base units it is.
    pub(crate) size: f64,
    /// Its name.
    pub(crate) name: &'static str,
}

const JOULES: [UnitSize; 6] = [
    UnitSize { size: 1.0, name: "pJ" },
    UnitSize { size: 1e3, name: "nJ" },
    UnitSize { size: 1e6, name: "µJ" },
    UnitSize { size: 1e9, name: "mJ" },
    UnitSize { size: 1e12, name: "J" },
    UnitSize { size: 1e15, name: "kJ" },
];

const MAC16: [UnitSize; 5] = [
    UnitSize { size: 1.0, name: "mac16" },
    UnitSize { size: 1e3, name: "thousand mac16" },
    UnitSize { size: 1e6, name: "million mac16" },
    UnitSize { size: 1e9, name: "billion mac16" },
    UnitSize { size: 1e12, name: "trillion mac16" },
];

const COUNT: [UnitSize; 5] = [
    UnitSize { size: 1.0, name: "" },
    UnitSize { size: 1e3, name: "thousand" },
    UnitSize { size: 1e6, name: "million" },
    UnitSize { size: 1e9, name: "billion" },
    UnitSize { size: 1e12, name: "trillion" },
];

impl UnitSize {
    /// In which energies up to `max` of their unit are shown.
    pub(crate) fn of_energy(max: f64, unit: EnergyUnit) -> Self {
        match unit {
            EnergyUnit::Picojoule => fitting(&JOULES, max),
            EnergyUnit::Mac16 => fitting(&MAC16, max),
        }
    }

    /// In which counts up to `max` are shown.
    pub(crate) fn of_count(max: f64) -> Self {
        fitting(&COUNT, max)
    }
}

/// The largest unit of which `max` is at least one.
fn fitting(units: &[UnitSize], max: f64) -> UnitSize {
    *units.iter().rev().find(|unit| max >= unit.size).unwrap_or(&units[0])
}

/// An energy with its unit, as `3.524 mJ` or `2.181 billion mac16`.
pub(crate) fn energy(value: f64, unit: EnergyUnit) -> String {
    let unit = UnitSize::of_energy(value.abs(), unit);
    format!("{} {}", digits(value / unit.size, 4), unit.name)
}

/// A real number with so many significant digits, as text that is not longer than it has to be.
pub(crate) fn digits(value: f64, significant: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let scientific = format!("{value:.*e}", significant - 1);
    let (_, exponent) = scientific.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a whole exponent");
    if value != 0.0 && !(-4..7).contains(&exponent) {
        return scientific;
    }
    let decimals = (significant as i32 - 1 - exponent).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".to_owned() } else { text }
}

/// A real number with so many decimals, or in powers of ten where it is large.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    if value.abs() < 1e9 { format!("{value:.decimals$}") } else { digits(value, 4) }
}

/// The same with its sign.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let sign = if value.is_sign_negative() { "" } else { "+" };
    format!("{sign}{}", decimal(value, decimals))
}

/// The sum of counts, or the largest count where it is beyond.
pub(crate) fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

/// A whole number with its digits in threes.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let threes: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|three| std::str::from_utf8(three).expect("digits"))
        .collect();
    threes.join(",")
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", decimal(100.0 * share, 2))
}

/// What losses are shown in: by how much they are divided, and their unit.
pub(crate) fn loss_unit(measure: Measure) -> UnitSize {
    match measure {
        Measure::ErrorRate => UnitSize { size: 0.01, name: "points" },
        Measure::Loss => UnitSize { size: 1.0, name: "" },
    }
}

/// A loss without a sign, as `0.50 points`.
pub(crate) fn loss(value: f64, measure: Measure) -> String {
    in_unit(&decimal(value / loss_unit(measure).size, decimals(measure)), measure)
}

/// A difference with its sign, its unit and half its interval, as `+0.73 ± 2.31 points`. Between what
/// is not finite there is none.
pub(crate) fn difference(mean: f64, ci95: Option<f64>, measure: Measure) -> String {
    if mean.is_nan() {
        return "undefined".to_owned();
    }
    let ci95 = ci95.filter(|half| half.is_finite());
    let size = loss_unit(measure).size;
    let decimals = match (measure, ci95) {
        (Measure::ErrorRate, Some(half)) => words::decimals(half),
        _ => decimals(measure),
    };
    let interval =
        ci95.map_or(String::new(), |half| format!(" ± {}", decimal(half / size, decimals)));
    in_unit(&format!("{}{interval}", signed(mean / size, decimals)), measure)
}

fn decimals(measure: Measure) -> usize {
    match measure {
        Measure::ErrorRate => 2,
        Measure::Loss => 4,
    }
}

fn in_unit(number: &str, measure: Measure) -> String {
    format!("{number} {}", loss_unit(measure).name).trim_end().to_owned()
}

/// A number of things, as `1 seed` or `5 seeds`.
pub(crate) fn plural(number: usize, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {thing}{s}", count(number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits() {
        let cases =
            [(0.0, "0"), (3.524_4, "3.524"), (12_345.6, "12346"), (0.001_234_5, "0.001234")];
        for (value, text) in cases {
            assert_eq!(digits(value, 4), text);
        }
        assert_eq!(digits(1e9, 4), "1.000e9");
        assert_eq!(digits(9.999_96, 4), "10.00");
        assert_eq!(energy(3.524e9, EnergyUnit::Picojoule), "3.524 mJ");
        assert_eq!(energy(0.0, EnergyUnit::Picojoule), "0 pJ");
        assert_eq!(energy(2.181e9, EnergyUnit::Mac16), "2.181 billion mac16");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        let points = Measure::ErrorRate;
        assert_eq!(difference(0.0073, Some(0.0231), points), "+0.73 ± 2.31 points");
        assert_eq!(difference(f64::INFINITY, Some(f64::NAN), points), "+inf points");
        assert_eq!(difference(f64::NAN, Some(f64::NAN), points), "undefined");
        assert_eq!([plural(1, "seed"), plural(1000, "point")], ["1 seed", "1,000 points"]);
        assert_eq!(difference(0.0073, Some(0.0231), Measure::Loss), "+0.0073 ± 0.0231");
        assert_eq!(loss(0.005, points), "0.50 points");
    }
}
