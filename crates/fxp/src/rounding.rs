//! The six rounding modes.

use num_traits::{PrimInt, Signed, WrappingAdd, WrappingSub};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a quotient becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// Towards −∞: what dropping bits does in hardware.
    Floor,
    /// To the nearest, ties to the even neighbour.
    NearestEven,
    /// To the nearest, ties towards +∞: add half, drop bits.
    NearestUp,
    /// To the nearest, ties away from zero.
    NearestAway,
    /// Towards zero.
    Zero,
    /// Up with a probability equal to the part dropped.
    Stochastic,
}

impl Rounding {
    /// Every mode.
    pub const ALL: [Self; 6] = [
        Self::Floor,
        Self::NearestEven,
        Self::NearestUp,
        Self::NearestAway,
        Self::Zero,
        Self::Stochastic,
    ];
}

/// An integer type wide enough to shift and round in: `i32`, `i64` or `i128`.
pub trait Wide: PrimInt + Signed + WrappingAdd + WrappingSub {
    /// The `shift` random bits that stochastic rounding adds: the top of `word`, padded below
    /// with zeros.
    fn noise(word: u32, shift: u32) -> Self;
}

macro_rules! impl_wide {
    ($($wide:ty),*) => {$(
        impl Wide for $wide {
            #[inline(always)]
            fn noise(word: u32, shift: u32) -> Self {
                if shift <= 32 {
                    (u64::from(word) >> (32 - shift)) as $wide
                } else {
                    (word as $wide) << (shift - 32)
                }
            }
        }
    )*};
}
impl_wide!(i64, i128);

impl Wide for i32 {
    #[inline(always)]
    fn noise(word: u32, shift: u32) -> Self {
        // Of at most 30 bits, in lanes as wide as those of the word.
        ((word >> 1) >> (31 - shift)) as i32
    }
}

/// Divides `raw` by `2^shift`, rounding as told; `word` is the random word of
/// [`Rounding::Stochastic`], which gives `⌊(raw + r) / 2^shift⌋` with `r` the top `shift` bits of
/// `word`, padded below with zeros where `shift > 32`.
///
/// ```
/// use systoliq_fxp::{Rounding::*, shift_right_round};
/// // 2.5 and 3.5 ulp, both ties:
/// assert_eq!(shift_right_round(5i64, 1, NearestEven, 0), 2);
/// assert_eq!(shift_right_round(7i64, 1, NearestEven, 0), 4);
/// // −2.5 ulp:
/// assert_eq!(shift_right_round(-5i64, 1, Floor, 0), -3);
/// assert_eq!(shift_right_round(-5i64, 1, NearestUp, 0), -2);
/// assert_eq!(shift_right_round(-5i64, 1, NearestAway, 0), -3);
/// assert_eq!(shift_right_round(-5i64, 1, Zero, 0), -2);
/// // 1.25 ulp goes up for a quarter of the words:
/// assert_eq!(shift_right_round(5i64, 2, Stochastic, 0xbfff_ffff), 1);
/// assert_eq!(shift_right_round(5i64, 2, Stochastic, 0xc000_0000), 2);
/// ```
///
/// `shift` must be at most the width of `W` less 2, and `|raw|` below `2^(width − 2)`.
#[inline(always)]
pub fn shift_right_round<W: Wide>(raw: W, shift: u32, rounding: Rounding, word: u32) -> W {
    if shift == 0 {
        return raw;
    }
    let one = W::one();
    let half = one << (shift as usize - 1);
    let floor = raw >> shift as usize;
    let rest = raw.wrapping_sub(&(floor << shift as usize));
    let up = match rounding {
        Rounding::Floor => false,
        Rounding::NearestEven => rest > half || (rest == half && floor & one == one),
        Rounding::NearestUp => rest >= half,
        Rounding::NearestAway => rest > half || (rest == half && raw > W::zero()),
        Rounding::Zero => raw < W::zero() && rest > W::zero(),
        Rounding::Stochastic => {
            // `rest + noise ≥ 2^shift`, without a sum that could leave the type.
            W::noise(word, shift).wrapping_sub(&half) >= half.wrapping_sub(&rest)
        }
    };
    floor.wrapping_add(&if up { one } else { W::zero() })
}

#[cfg(test)]
mod tests {
    use systoliq_keyed_random::Key;

    use super::*;

    /// Rounds `raw / 2^shift` by comparing distances to the two neighbours, in plain division.
    fn by_distance(raw: i128, shift: u32, rounding: Rounding, word: u32) -> i128 {
        let scale = 1i128 << shift;
        let (below, above) = (raw.div_euclid(scale), -((-raw).div_euclid(scale)));
        let (down, up) = (raw - below * scale, above * scale - raw);
        let nearest = |tie: i128| match down.cmp(&up) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Greater => above,
            std::cmp::Ordering::Equal => tie,
        };
        match rounding {
            Rounding::Floor => below,
            Rounding::NearestEven => nearest(if below % 2 == 0 { below } else { above }),
            Rounding::NearestUp => nearest(above),
            Rounding::NearestAway => nearest(if raw > 0 { above } else { below }),
            Rounding::Zero => raw / scale,
            Rounding::Stochastic => {
                let word = i128::from(word);
                let noise = if shift <= 32 { word >> (32 - shift) } else { word << (shift - 32) };
                (raw + noise).div_euclid(scale)
            }
        }
    }

    #[test]
    fn every_mode_equals_the_comparison_of_distances() {
        let words = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xdead_beef, u32::MAX];
        for rounding in Rounding::ALL {
            for raw in -70i64..=70 {
                for shift in 0..=8 {
                    for word in words {
                        let expected = by_distance(raw.into(), shift, rounding, word);
                        let case = format!("{rounding:?} {raw} >> {shift} with {word:#x}");
                        let wide = shift_right_round(i128::from(raw), shift, rounding, word);
                        assert_eq!(wide, expected, "{case}");
                        let narrow = shift_right_round(raw, shift, rounding, word);
                        assert_eq!(i128::from(narrow), expected, "{case}");
                    }
                }
            }
        }
    }

    #[test]
    fn long_shifts_equal_the_comparison_of_distances() {
        for rounding in Rounding::ALL {
            for shift in [31, 32, 33, 40, 61, 62, 63, 64, 90, 120] {
                for raw in [0, 1, -1, 12345, -98765, 1 << 59, -(1 << 59), (1 << 59) + 1] {
                    for word in [0, 1, 0x8000_0000, u32::MAX] {
                        let expected = by_distance(raw, shift, rounding, word);
                        let case = format!("{rounding:?} {raw} >> {shift} with {word:#x}");
                        assert_eq!(
                            shift_right_round(raw, shift, rounding, word),
                            expected,
                            "{case}"
                        );
                        if shift <= 62 {
                            let narrow = shift_right_round(raw as i64, shift, rounding, word);
                            assert_eq!(i128::from(narrow), expected, "{case}");
                        }
                    }
                }
            }
        }
    }

    /// The mean error of a million draws, in standard deviations of that mean.
    fn deviations(raw: i64, shift: u32, key: Key) -> f64 {
        let draws = 1_000_000u64;
        let sum: i64 = (0..draws)
            .map(|i| shift_right_round(raw, shift, Rounding::Stochastic, key.word(i)))
            .map(|rounded| rounded - (raw >> shift))
            .sum();
        let fraction = (raw - ((raw >> shift) << shift)) as f64 / 2f64.powi(shift as i32);
        let deviation = (fraction * (1.0 - fraction) / draws as f64).sqrt();
        (sum as f64 / draws as f64 - fraction) / deviation
    }

    #[test]
    fn stochastic_rounding_is_unbiased_for_every_fraction() {
        let key = Key::new(1).with_name("unbiased");
        for raw in 1..256 {
            for sign in [1, -1] {
                let found = deviations(sign * raw, 8, key.with(raw as u64));
                assert!(found.abs() < 4.0, "{} / 2^8: {found} standard deviations", sign * raw);
            }
        }
        for (raw, shift) in [(1, 1), (1, 2), (3, 2), (12_345, 16), (-12_345, 16), (1 << 19, 31)] {
            let found = deviations(raw, shift, key.with(raw.unsigned_abs()));
            assert!(found.abs() < 4.0, "{raw} / 2^{shift}: {found} standard deviations");
        }
    }
}
