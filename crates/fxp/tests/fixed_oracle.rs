//! Rounding and overflow against the `fixed` crate, which shares no code with this one.
//!
//! `fixed` types carry their fraction bits at compile time; a macro makes one check per number of
//! dropped bits, 0 to 15.

use fixed::types::extra::{
    U0, U1, U2, U3, U4, U5, U6, U7, U8, U9, U10, U11, U12, U13, U14, U15, Unsigned,
};
use fixed::{FixedI8, FixedI16, FixedI64, FixedU8, FixedU16};
use systoliq_fxp::{Conversion, Converted, Format, Overflow, Rounding};
use systoliq_keyed_random::Key;

/// Values around every tie and end, and random ones.
fn values(shift: u32) -> impl Iterator<Item = i64> {
    let near = (-40_000..=40_000).step_by(7);
    let ties = (-300..=300).map(move |half: i64| half << shift >> 1);
    let ends = [127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536];
    let ends = ends.into_iter().flat_map(move |end: i64| {
        (-2..=2).flat_map(move |off| [(end << shift) + off, -(end << shift) + off])
    });
    let key = Key::new(u64::from(shift));
    let random = (0..2000).map(move |i| i64::from(key.word(i) as i32) >> (i % 24));
    near.chain(ties).chain(ends).chain(random)
}

fn convert(raw: i64, shift: u32, to: Format, rounding: Rounding, overflow: Overflow) -> Converted {
    let from_frac = shift as i32;
    Conversion { from_frac, scale: 1, to, rounding, overflow, key: Key::new(0), squares: true }
        .convert(raw.into(), 0)
}

/// Checks every deterministic rounding mode for `F::U32` dropped bits.
macro_rules! check_rounding {
    ($($frac:ty),*) => {$({
        let shift = <$frac>::U32;
        let wide = Format::new(32, 0, true).unwrap();
        let half = FixedI64::<$frac>::from_bits(if shift == 0 { 0 } else { 1 << (shift - 1) });
        for raw in values(shift) {
            let real = FixedI64::<$frac>::from_bits(raw);
            let expected: [(Rounding, i64); 5] = [
                (Rounding::Floor, real.floor().to_num()),
                (Rounding::NearestEven, real.round_ties_even().to_num()),
                (Rounding::NearestUp, (real + half).floor().to_num()),
                (Rounding::NearestAway, real.round().to_num()),
                (Rounding::Zero, real.round_to_zero().to_num()),
            ];
            for (rounding, expected) in expected {
                let found = convert(raw, shift, wide, rounding, Overflow::Saturate);
                assert_eq!(found.code, expected, "{rounding:?} of {raw} / 2^{shift}");
                assert_eq!(found.underflowed, expected == 0 && raw != 0, "{rounding:?} of {raw}");
            }
        }
    })*};
}

#[test]
fn five_rounding_modes_are_those_of_fixed() {
    check_rounding!(U0, U1, U2, U3, U4, U5, U6, U7, U8, U9, U10, U11, U12, U13, U14, U15);
}

/// Checks narrowing to one type: `fixed` drops bits towards −∞, then saturates or wraps.
macro_rules! check_narrowing {
    ($narrow:ident, $bits:literal, $signed:literal, $($frac:ty),*) => {$({
        let shift = <$frac>::U32;
        let to = Format::new($bits, 0, $signed).unwrap();
        for raw in values(shift) {
            let real = FixedI64::<$frac>::from_bits(raw);
            let saturated: $narrow<U0> = real.saturating_to_num();
            let wrapped: $narrow<U0> = real.wrapping_to_num();
            for (overflow, expected) in
                [(Overflow::Saturate, saturated), (Overflow::Wrap, wrapped)]
            {
                let found = convert(raw, shift, to, Rounding::Floor, overflow);
                let expected = i64::from(expected.to_bits());
                assert_eq!(found.code, expected, "{overflow:?} of {raw} / 2^{shift} in {to}");
                let outside = real.floor().to_num::<i64>() != expected;
                assert_eq!(found.overflowed, outside, "{overflow:?} of {raw} / 2^{shift} in {to}");
            }
        }
    })*};
}

#[test]
fn saturation_and_wrapping_are_those_of_fixed() {
    check_narrowing!(FixedI8, 8, true, U0, U1, U3, U7, U8, U12, U15);
    check_narrowing!(FixedU8, 8, false, U0, U1, U3, U7, U8, U12, U15);
    check_narrowing!(FixedI16, 16, true, U0, U1, U3, U7, U8, U12, U15);
    check_narrowing!(FixedU16, 16, false, U0, U1, U3, U7, U8, U12, U15);
}
