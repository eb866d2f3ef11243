//! Sums of blocks, aligned side by side in 64-bit lanes.

use systoliq_keyed_random::Key;

use super::Adder;
use crate::Rounding;
use crate::shifts::{SHIFT_MAX, shifted, with_mode};

/// Aligns sums of blocks as [`Adder::end_block`] does, where 64 bits hold all of them together.
#[derive(Clone, Copy, Debug)]
pub struct BlockAligner {
    frac: i32,
    rounding: Rounding,
    key: Key,
}

/// Sums of blocks of neighbouring outputs, all of which end with one product.
#[derive(Clone, Copy, Debug)]
pub struct AlignedRun<'a> {
    /// The product.
    pub k: usize,
    /// Fraction bits of the products: `frac`, and what each lane has beside.
    pub frac: i32,
    /// Those of each lane.
    pub fracs: &'a [i32],
    /// The largest of these.
    pub most: i32,
    /// The number of the first output, and from one to the next.
    pub first: u32,
    /// From the number of an output to that of its neighbour.
    pub step: u32,
}

impl BlockAligner {
    /// For `count` sums to an output, none larger than `magnitude`, whose products have at least `least` fraction bits. `None`
    /// unless all of them together surely have at most 61 bits beside the sign, aligned and in whatever order.
    pub fn new(adder: &Adder, magnitude: u128, count: usize, least: i32) -> Option<Self> {
        let Adder { frac, key, .. } = *adder;
        let zeros = (frac - least).max(0) as u32;
        // A longer shift to the right gives what one of SHIFT_MAX bits gives: none is half, and with it no noise but 0 is
        // short of a whole.
        let is_short = magnitude < 1 << (SHIFT_MAX - 32);
        let fits =
            is_short && zeros < 61 && (magnitude << zeros) < (1 << 61) / count.max(1) as u128;
        fits.then_some(Self { frac, rounding: adder.accumulator.rounding, key })
    }

    /// Hands the aligned sum of each lane to `add`, with what it is added to.
    #[inline(always)]
    pub fn align<S: Copy + Into<i64>, I: Iterator>(
        &self,
        run: &AlignedRun<'_>,
        sums: &[S],
        into: I,
        mut add: impl FnMut(I::Item, i64),
    ) {
        // Sums that are checked for overflow are not made by vector units.
        let more = run.frac.wrapping_sub(self.frac);
        let lanes = sums.iter().zip(run.fracs).zip(into);
        if run.most.wrapping_add(more) <= 0 {
            // Nothing is rounded where zeros are appended to all.
            for ((&sum, &frac), into) in lanes {
                let zeros = 0i32.wrapping_sub(more).wrapping_sub(frac);
                add(into, sum.into().wrapping_shl(zeros as u32));
            }
            return;
        }
        let key = self.key.with(run.k as u64);
        with_mode!(self.rounding, MODE => {
            let mut index = run.first;
            for ((&sum, &frac), into) in lanes {
                let shift = frac.wrapping_add(more).min(SHIFT_MAX);
                add(into, shifted::<MODE>(sum.into(), shift, || key.word(index.into())));
                index = index.wrapping_add(run.step);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accumulator, Overflow, Sum};

    #[test]
    fn lanes_align_as_the_adder_does() {
        let words = Key::new(9);
        let size = 32.try_into().unwrap();
        for rounding in Rounding::ALL {
            for at in 0..3000u64 {
                let draw = |what: u64| i64::from(words.with(at).word(what));
                let frac = (draw(0) % 90) as i32 - 40;
                let accumulator =
                    Accumulator::new(64, Some(frac), rounding, Overflow::Wrap).unwrap();
                let adder = Adder::of_blocks(&accumulator, size, Key::new(at));
                let magnitude = 1i64 << (draw(1) % 30);
                let lanes = 1 + at % 19;
                let sums: Vec<i64> = (0..lanes)
                    .map(|lane| match draw(100 + lane) % 4 {
                        0 => magnitude - 1,
                        1 => 1 - magnitude,
                        _ => draw(200 + lane) % magnitude,
                    })
                    .collect();
                let span = if at % 2 == 0 { 128 } else { 12 };
                let fracs: Vec<i32> =
                    (0..lanes).map(|lane| (draw(300 + lane) % span) as i32 - 8).collect();
                let line = (draw(2) % 40) as i32 - 10;
                let (least, most) = (*fracs.iter().min().unwrap(), *fracs.iter().max().unwrap());
                let Some(aligner) =
                    BlockAligner::new(&adder, magnitude as u128 - 1, 3, line + least)
                else {
                    assert!((magnitude - 1) as u128 >> (line + least - frac + 59).clamp(0, 99) > 0);
                    continue;
                };
                let (first, step) = (draw(3) as u32, 1 + at as u32 % 7);
                let run = AlignedRun { k: 31, frac: line, fracs: &fracs, most, first, step };
                let mut found = 0;
                aligner.align(&run, &sums, 0..sums.len(), |lane, aligned| {
                    let mut sum = Sum { chunk: sums[lane].into(), ..Sum::default() };
                    let index = u64::from(first.wrapping_add(lane as u32 * step));
                    adder.end_block(&mut sum, line + fracs[lane], index, 31);
                    assert_eq!(aligned, sum.value, "{rounding:?} {at} {lane}");
                    found += 1;
                });
                assert_eq!(found, lanes);
            }
        }
    }
}
