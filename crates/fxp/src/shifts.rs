//! Rounding with a shift of its own for each lane of a vector.

use crate::Rounding;

/// The longest shift to the right: twice a value and the noise of twice the shift fit 64 bits.
pub(crate) const SHIFT_MAX: i32 = 61;

/// Evaluates `$run` with the constant `$mode`, which is the place of a rounding mode in [`Rounding::ALL`]: each mode
/// has a loop of its own.
macro_rules! with_mode {
    ($rounding:expr, $mode:ident => $run:expr) => {{
        macro_rules! of_mode {
            ($of:ident) => {{
                const $mode: usize = Rounding::$of as usize;
                $run
            }};
        }
        match $rounding {
            Rounding::Floor => of_mode!(Floor),
            Rounding::NearestEven => of_mode!(NearestEven),
            Rounding::NearestUp => of_mode!(NearestUp),
            Rounding::NearestAway => of_mode!(NearestAway),
            Rounding::Zero => of_mode!(Zero),
            Rounding::Stochastic => of_mode!(Stochastic),
        }
    }};
}
pub(crate) use with_mode;

/// `value · 2^-shift`, rounded under mode `Rounding::ALL[MODE]`; stochastic rounding asks for a word.
///
/// The shift must be at most [`SHIFT_MAX`], and twice `|value|`, with the zeros that a negative shift appends, below 2⁶².
#[inline(always)]
pub(crate) fn shifted<const MODE: usize>(
    value: i64,
    shift: i32,
    word: impl FnOnce() -> u32,
) -> i64 {
    // Sums that are checked for overflow are not made by vector units.
    let (dropped, zeros) = (shift.max(0) as u32, 0i32.wrapping_sub(shift.min(0)) as u32);
    // Twice the value drops one bit more, so that it drops one at least, and no lane is a case of its own.
    let (twice, drop) = (value.wrapping_shl(zeros).wrapping_shl(1), dropped.wrapping_add(1));
    let half = 1i64.wrapping_shl(dropped);
    let less = half.wrapping_sub(1);
    let more = match const { Rounding::ALL[MODE] } {
        Rounding::Floor => 0,
        Rounding::NearestEven => less.wrapping_add(twice.wrapping_shr(drop) & 1),
        Rounding::NearestUp => half,
        Rounding::NearestAway => half.wrapping_add(twice >> 63),
        Rounding::Zero => (twice >> 63) & half.wrapping_add(less),
        Rounding::Stochastic => {
            let noise = u64::from(word()) << 32;
            (noise.wrapping_shr(63u32.wrapping_sub(dropped)) & !1) as i64
        }
    };
    twice.wrapping_add(more).wrapping_shr(drop)
}

#[cfg(test)]
mod tests {
    use systoliq_keyed_random::Key;

    use super::*;
    use crate::shift_right_round;

    #[test]
    fn a_lane_rounds_as_one_value_does() {
        let words = Key::new(5);
        for (mode, rounding) in Rounding::ALL.into_iter().enumerate() {
            assert_eq!(rounding as usize, mode);
            for at in 0..40_000u64 {
                let random =
                    i64::from(words.word(3 * at)) << 32 | i64::from(words.word(3 * at + 1));
                let word = [0, 1, u32::MAX, 1 << 31, words.word(3 * at + 2)][at as usize % 5];
                let length = 3 + at % 61;
                let value = match at % 3 {
                    // Ties and whole numbers.
                    0 => (random >> length) & -(1 << (at % 29)),
                    _ => random >> length,
                };
                let spare = value.unsigned_abs().leading_zeros() as i32 - 3;
                let zeros = at as i32 % (spare.max(0) + 1);
                for shift in [at as i32 % (SHIFT_MAX + 1), -zeros] {
                    let expected = match shift {
                        0.. => shift_right_round(i128::from(value), shift as u32, rounding, word),
                        _ => i128::from(value) << -shift,
                    };
                    let found =
                        with_mode!(rounding, MODE => shifted::<MODE>(value, shift, || word));
                    assert_eq!(i128::from(found), expected, "{rounding:?} {value} {shift} {word}");
                }
            }
        }
    }
}
