//! `sigmoid` and `tanh` by a table, in integers, and their slopes by what they gave.

use std::sync::OnceLock;

use num_bigint::BigInt;
use num_traits::{One, ToPrimitive};

use crate::convert::shift_round_big;
use crate::{Rounding, shift_right_round};

/// Fraction bits of what enters a table.
const INPUT_FRAC: i32 = 16;

/// Half the values that enter: ±8 at [`INPUT_FRAC`] fraction bits.
const HALF: i64 = 1 << 19;

/// Intervals of a table, 1/32 wide.
const INTERVALS: usize = 512;

/// A curve that values leave through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActivationCurve {
    /// `1 / (1 + e^-z)`.
    Sigmoid,
    /// `(e^z − e^-z) / (e^z + e^-z)`.
    Tanh,
}

impl ActivationCurve {
    /// Fraction bits of what leaves.
    pub const FRAC: i32 = 20;

    /// Entries of a table, and their width with a sign.
    pub const ENTRIES: usize = INTERVALS + 1;

    /// The width of an entry, with a sign.
    pub const ENTRY_BITS: u32 = Self::FRAC as u32 + 2;

    /// Low bits of what enters, between two entries.
    pub const LOW_BITS: u32 = 11;

    /// The name that it has in networks.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
        }
    }

    /// The entries `f(−8 + j/32)`, each rounded to [`FRAC`](Self::FRAC) fraction bits.
    fn table(self) -> &'static [i64; Self::ENTRIES] {
        static TABLES: OnceLock<[[i64; ActivationCurve::ENTRIES]; 2]> = OnceLock::new();
        let tables = TABLES.get_or_init(|| [Self::Sigmoid, Self::Tanh].map(Self::entries));
        &tables[self as usize]
    }

    fn entries(self) -> [i64; Self::ENTRIES] {
        let halves = match self {
            Self::Sigmoid => 1,
            Self::Tanh => 2,
        };
        std::array::from_fn(|j| {
            // sigmoid(z) = E / (1 + E), tanh(z) = 2 · sigmoid(2z) − 1, E = e^z.
            let exp = exp_32nds(halves * (j as i64 - INTERVALS as i64 / 2));
            let one = BigInt::one() << EXP_FRAC;
            let frac = Self::FRAC as u32 + 1;
            let sigmoid = ((&exp << (frac + 40)) / (&one + &exp)).to_i128().expect("at most 1");
            let exact = match self {
                Self::Sigmoid => sigmoid,
                Self::Tanh => 2 * sigmoid - (1 << (frac + 40)),
            };
            shift_right_round(exact, 41, Rounding::NearestEven, 0) as i64
        })
    }

    /// What becomes of `raw · 2^-frac`, at [`FRAC`](Self::FRAC) fraction bits: the value is rounded to 16
    /// fraction bits, clamped to ±8, and a table of 513 entries is linear between them.
    ///
    /// ```
    /// use systoliq_fxp::ActivationCurve;
    /// assert_eq!(ActivationCurve::Sigmoid.of(0, 16), 1 << 19); // ½
    /// assert_eq!(ActivationCurve::Tanh.of(1 << 15, 16), 484_565); // tanh ½ = 0.46212
    /// assert_eq!(ActivationCurve::Tanh.of(i64::MAX, 0), 1 << 20); // 1 but for 2^-22.5
    /// ```
    #[inline]
    pub fn of(self, raw: i64, frac: i32) -> i64 {
        interpolate(self.table(), entering(raw, frac))
    }

    /// Replaces values of `frac` fraction bits by what becomes of them.
    pub fn replace(self, raws: &mut [i64], frac: i32) {
        let table = self.table();
        raws.iter_mut().for_each(|raw| *raw = interpolate(table, entering(*raw, frac)));
    }

    /// The same of a value of any size.
    pub(crate) fn of_big(self, raw: &BigInt, frac: i32) -> i64 {
        let rounded = shift_round_big(raw, frac - INPUT_FRAC, Rounding::NearestEven, 0);
        let clamped = rounded.clamp((-HALF).into(), (HALF - 1).into());
        interpolate(self.table(), clamped.to_i64().expect("a clamped value"))
    }

    /// The slope where a code of `frac` fraction bits is what left: `y · (1 − y)` or `1 − y²`, exactly, at
    /// [`slope_frac`](Self::slope_frac) fraction bits; `None` where 64 bits do not hold it.
    ///
    /// ```
    /// use systoliq_fxp::ActivationCurve;
    /// assert_eq!(ActivationCurve::Sigmoid.slope(64, 8), Some(64 * (256 - 64))); // ¼ · ¾
    /// assert_eq!(ActivationCurve::Tanh.slope(-64, 7), Some((1 << 14) - 64 * 64)); // 1 − ¼
    /// assert_eq!(ActivationCurve::Tanh.slope(3, -1), Some(1 - 36)); // 1 − 6²
    /// ```
    #[inline]
    pub fn slope(self, code: i64, frac: i32) -> Option<i64> {
        let (whole, zeros) = (frac.max(0), (-frac).max(0) as u32);
        if whole > 30 || zeros > 30 {
            return self.slope_big(code, frac).to_i64();
        }
        let (one, code) = (1i128 << whole, i128::from(code) << zeros);
        let slope = match self {
            Self::Sigmoid => code * (one - code),
            Self::Tanh => one * one - code * code,
        };
        i64::try_from(slope).ok()
    }

    /// The same of any size.
    pub(crate) fn slope_big(self, code: i64, frac: i32) -> BigInt {
        let one = BigInt::one() << frac.max(0);
        let code = BigInt::from(code) << (-frac).max(0);
        match self {
            Self::Sigmoid => &code * (&one - &code),
            Self::Tanh => &one * &one - &code * &code,
        }
    }

    /// Fraction bits of the slope where those of what left are `frac`.
    pub fn slope_frac(self, frac: i32) -> i32 {
        2 * frac.max(0)
    }
}

/// Rounds a value of `frac` fraction bits to those of a table, and clamps it.
#[inline]
fn entering(raw: i64, frac: i32) -> i64 {
    let dropped = frac - INPUT_FRAC;
    if dropped > 0 {
        // What is dropped beyond 62 bits is less than half, whatever the value.
        if dropped > 64 {
            return 0;
        }
        let rounded =
            shift_right_round(i128::from(raw), dropped.unsigned_abs(), Rounding::NearestEven, 0);
        return rounded.clamp((-HALF).into(), (HALF - 1).into()) as i64;
    }
    let zeros = dropped.unsigned_abs().min(20);
    (raw.clamp(-HALF, HALF) << zeros).clamp(-HALF, HALF - 1)
}

#[inline]
fn interpolate(table: &[i64; ActivationCurve::ENTRIES], entering: i64) -> i64 {
    let u = entering + HALF;
    let (j, low) =
        ((u >> ActivationCurve::LOW_BITS) as usize, u & ((1 << ActivationCurve::LOW_BITS) - 1));
    table[j]
        + (((table[j + 1] - table[j]) * low + (1 << (ActivationCurve::LOW_BITS - 1)))
            >> ActivationCurve::LOW_BITS)
}

/// Fraction bits of powers of e.
const EXP_FRAC: u32 = 160;

/// `e^(count / 32)`, at [`EXP_FRAC`] fraction bits, a little low: by the series of `e^(1/32)`, multiplied by
/// itself.
fn exp_32nds(count: i64) -> BigInt {
    let one = BigInt::one() << EXP_FRAC;
    let (mut root, mut term) = (one.clone(), one.clone());
    for n in 1..60 {
        term = term / 32 / n;
        root += &term;
    }
    let power = (0..count.unsigned_abs()).fold(one.clone(), |power, _| (power * &root) >> EXP_FRAC);
    if count < 0 { (&one * &one) / power } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVES: [ActivationCurve; 2] = [ActivationCurve::Sigmoid, ActivationCurve::Tanh];

    fn real(curve: ActivationCurve, z: f64) -> f64 {
        match curve {
            ActivationCurve::Sigmoid => 1.0 / (1.0 + (-z).exp()),
            ActivationCurve::Tanh => z.tanh(),
        }
    }

    #[test]
    fn entries_are_the_nearest_to_the_function() {
        for curve in CURVES {
            for (j, &entry) in curve.table().iter().enumerate() {
                let exact = real(curve, j as f64 / 32.0 - 8.0) * f64::from(1 << 20);
                assert!((entry as f64 - exact).abs() < 0.500_001, "{curve:?} {j}: {entry} {exact}");
            }
        }
    }

    #[test]
    fn errors_are_those_that_are_stated() {
        // tanh 1.0e-4, sigmoid 1.4e-5 within ±8; beyond, 3.4e-4.
        for (curve, within) in
            [(ActivationCurve::Sigmoid, 1.5e-5), (ActivationCurve::Tanh, 1.05e-4)]
        {
            let error = |raw: i64| {
                let found = curve.of(raw, 16) as f64 / f64::from(1 << 20);
                (found - real(curve, raw as f64 / 65536.0)).abs()
            };
            let largest = (-HALF..HALF).map(error).fold(0.0, f64::max);
            assert!(largest < within && largest > within / 2.0, "{curve:?}: {largest}");
            let beyond = [-3 * HALF, -HALF - 1, HALF, 5 * HALF].map(error);
            assert!(beyond.iter().all(|&error| error < 3.4e-4), "{curve:?}: {beyond:?}");
        }
    }

    #[test]
    fn values_of_any_fraction_bits_and_size_enter_alike() {
        let raws = [0, 1, -1, 3, 5, 8191, -8192, 40_000, 1 << 30, i64::MAX, i64::MIN];
        for curve in CURVES {
            for frac in [-70, -3, 0, 10, 15, 16, 17, 18, 30, 63, 64, 65, 90] {
                for raw in raws {
                    let found = curve.of(raw, frac);
                    assert_eq!(found, curve.of_big(&raw.into(), frac), "{curve:?} {raw} {frac}");
                    let mut replaced = [raw];
                    curve.replace(&mut replaced, frac);
                    assert_eq!(replaced, [found]);
                }
            }
        }
    }

    #[test]
    fn slopes_of_any_size_are_the_same_integer() {
        for curve in CURVES {
            for frac in [-40, -31, -30, -2, 0, 7, 30, 31, 62] {
                for code in [0, 1, -1, 127, -128, i64::from(i32::MAX), i64::from(i32::MIN)] {
                    let (found, exact) = (curve.slope(code, frac), curve.slope_big(code, frac));
                    assert_eq!(found, exact.to_i64(), "{curve:?} {code} {frac}");
                }
            }
        }
    }
}
