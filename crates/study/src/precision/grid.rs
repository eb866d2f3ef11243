//! Steps and ranges that are powers of two.

use ndarray::Array2;
use serde::Serialize;
use systoliq_fxp::Format;

use systoliq_run::Error;

/// The most bits of a tensor's code.
pub(super) const BITS_MAX: u32 = 32;

/// What a code can stand for: whole multiples of the step below the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Grid {
    /// log₂ of the range: values lie below it and, if signed, not below its negative.
    pub range_log2: i32,
    /// log₂ of the step `D`.
    pub step_log2: i32,
    /// Whether there are negative values.
    pub signed: bool,
}

impl Grid {
    /// The grid of a code of `bits` bits: `D = 2^(range − bits)`, twice that if signed.
    pub(super) fn of_bits(range_log2: i32, bits: u32, signed: bool) -> Self {
        Self { range_log2, step_log2: range_log2 + i32::from(signed) - bits as i32, signed }
    }

    /// A signed grid with this range and, if the code then has 2 to 32 bits, this step; else with
    /// the nearest step for which it has.
    pub(super) fn signed(range_log2: i32, step_log2: i32) -> Self {
        let step_log2 = step_log2.clamp(range_log2 + 1 - BITS_MAX as i32, range_log2 - 1);
        Self { range_log2, step_log2, signed: true }
    }

    /// The number of bits of a code.
    pub fn bits(self) -> u32 {
        (self.range_log2 - self.step_log2 + i32::from(self.signed)) as u32
    }

    /// The codes nearest to values.
    pub(super) fn codes(self, values: &Array2<f64>) -> Array2<i64> {
        let low = if self.signed { -1 << (self.bits() - 1) } else { 0 };
        let high = low + (1 << self.bits()) - 1;
        let ulps = f64::from(-self.step_log2).exp2();
        values.mapv(|value| ((value * ulps).round_ties_even() as i64).clamp(low, high))
    }

    /// As a format.
    ///
    /// # Errors
    ///
    /// If its step is outside 2⁻⁶⁴ … 2⁶⁴; `name` is that of the tensor.
    pub(super) fn format(self, name: &str) -> Result<Format, Error> {
        let refused = |error| Error::at("plan", format!("{name}: {error}"));
        Format::new(self.bits(), -self.step_log2, self.signed).map_err(refused)
    }
}

/// `⌊log₂ value⌋`.
///
/// # Panics
///
/// Unless `value` is positive and finite.
pub(super) fn floor_log2(value: f64) -> i32 {
    assert!(value > 0.0 && value.is_finite(), "the logarithm of {value}");
    if value < f64::MIN_POSITIVE {
        return floor_log2(value * 64_f64.exp2()) - 64;
    }
    (value.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

/// `⌈log₂ value⌉`, likewise.
pub(super) fn ceil_log2(value: f64) -> i32 {
    let floor = floor_log2(value);
    floor + i32::from(value != f64::from(floor).exp2())
}

/// log₂ of the least power of two *above* `magnitude`, so that no code but the one of the topmost
/// half step saturates: 1.0 needs 2. `None` for 0.
pub(super) fn range_above(magnitude: f64) -> Option<i32> {
    (magnitude > 0.0).then(|| floor_log2(magnitude) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_exact_at_and_around_powers_of_two() {
        for power in [-1074, -1023, -1022, -64, -1, 0, 1, 10, 1023] {
            let value = f64::from_bits(if power < -1022 {
                1 << (power + 1074)
            } else {
                ((power + 1023) as u64) << 52
            });
            assert_eq!((floor_log2(value), ceil_log2(value)), (power, power), "2^{power}");
            assert_eq!(range_above(value), Some(power + 1));
            if power > -1000 {
                let below = value.next_down();
                assert_eq!((floor_log2(below), ceil_log2(below)), (power - 1, power));
                assert_eq!(range_above(below), Some(power));
            }
        }
        assert_eq!(range_above(0.0), None);
    }

    #[test]
    fn grids_are_the_formats_of_their_width() {
        for (range, bits, signed, notation) in [
            (1, 8, false, "UQ1.7"),
            (1, 8, true, "Q2.6"),
            (0, 8, true, "Q1.7"),
            (4, 3, false, "UQ4.-1"),
        ] {
            let grid = Grid::of_bits(range, bits, signed);
            assert_eq!(grid.bits(), bits);
            assert_eq!(grid.format("x").unwrap().to_string(), notation);
        }
        assert_eq!(Grid::signed(0, -40).bits(), 32);
        assert_eq!(Grid::signed(0, 3).bits(), 2);
        let message = Grid::signed(-50, -70).format("dw0").unwrap_err().to_string();
        assert!(message.contains("dw0: 70 fraction bits"), "{message}");
    }
}
