//! Loops give the same whatever vectors they are compiled for.

use std::fmt::Debug;

use systoliq_fxp::vectors::{VectorLevel, VectorWork, limited_to, with_widest_vectors};
use systoliq_fxp::{
    Conversion, ConversionStatistics, Converter, Format, LinearForm, Multiplier, Overflow, Raw,
    Rounding, Tensor,
};
use systoliq_keyed_random::Key;

/// Lengths around those of vectors and of what is done at once.
const LENGTHS: [usize; 11] = [1, 3, 15, 16, 17, 63, 64, 65, 255, 1024, 2051];

const ROUNDINGS: [Rounding; 6] = [
    Rounding::Floor,
    Rounding::NearestEven,
    Rounding::NearestUp,
    Rounding::NearestAway,
    Rounding::Zero,
    Rounding::Stochastic,
];

const OVERFLOWS: [Overflow; 3] = [Overflow::Saturate, Overflow::SaturateSymmetric, Overflow::Wrap];

/// What `run` gives at every level that the machine has, which must be the same.
fn at_every_level<T: PartialEq + Debug>(case: &str, run: impl Fn() -> T) -> T {
    let plain = limited_to(VectorLevel::Portable, &run);
    for level in VectorLevel::available() {
        assert_eq!(limited_to(level, &run), plain, "{level:?}: {case}");
    }
    plain
}

/// Numbers of up to so many bits, the ends among them.
fn raws(count: usize, bits: u32) -> Vec<i64> {
    let (key, end) = (Key::new(count as u64).with(bits.into()), (1_i64 << (bits - 1)) - 1);
    let raw = |at: u64| match key.below(2 * at, 20) {
        0 => end,
        1 => -end - 1,
        2 => 0,
        shift => {
            (i64::from(key.word(2 * at + 1)) << 32 | i64::from(key.word(at)))
                >> (64 - bits).min(61)
                >> (shift % bits)
        }
    };
    (0..count as u64).map(raw).collect()
}

/// The codes and the statistics of a conversion, from the second element of a tensor on.
fn converted<R: Raw>(conversion: &Conversion, raws: &[R]) -> (Vec<i64>, ConversionStatistics) {
    let mut tensor = Tensor::zeros(conversion.to, 1, raws.len() + 1);
    let statistics = conversion.write(raws, tensor.whole_mut().at(1..1 + raws.len()));
    (tensor.to_codes(), statistics)
}

#[test]
fn conversions_and_their_statistics_are_the_same_at_every_level() {
    for (number, to) in
        ["Q1.7", "UQ1.7", "Q4.12", "Q1.23", "Q2.30", "Q-8.16"].into_iter().enumerate()
    {
        let to: Format = to.parse().unwrap();
        for rounding in ROUNDINGS {
            for overflow in OVERFLOWS {
                for (at, &count) in LENGTHS.iter().enumerate() {
                    let (from_frac, scale) = ([0, 7, 20, 31][at % 4], [1, 3, 5][(at + number) % 3]);
                    let key = Key::new(number as u64);
                    let conversion =
                        Conversion { from_frac, scale, to, rounding, overflow, key, squares: true };
                    let case = format!("{conversion:?}, {count} elements");
                    let short: Vec<i32> = raws(count, 26).iter().map(|&raw| raw as i32).collect();
                    at_every_level(&case, || converted(&conversion, &short));
                    for bits in [31, 40, 62] {
                        let long = raws(count, bits);
                        at_every_level(&case, || converted(&conversion, &long));
                    }
                }
            }
        }
    }
}

#[test]
fn linear_forms_are_the_same_at_every_level() {
    let tensor = |format: &str, count| {
        let format: Format = format.parse().unwrap();
        Tensor::from_codes(format, 1, count, &raws(count, format.bits()))
    };
    let mut seen = 0;
    for count in LENGTHS {
        for formats in [["Q1.7", "Q2.6"], ["Q1.15", "Q-4.20"], ["Q2.30", "Q1.31"]] {
            let [weights, gradients] = formats.map(|format| tensor(format, count));
            let rate = Multiplier::nearest(0.1, 16).unwrap();
            let terms = [(Multiplier::ONE, &weights, false), (rate, &gradients, true)];
            let conversion = Conversion {
                from_frac: 0,
                scale: 1,
                to: weights.format(),
                rounding: Rounding::Stochastic,
                overflow: Overflow::Saturate,
                key: Key::new(3),
                squares: true,
            };
            let found = at_every_level(&format!("{formats:?}, {count} elements"), || {
                let mut room = vec![0; count];
                let exact = LinearForm::new(terms).at(0..count, &mut room);
                let mut after = Tensor::zeros(weights.format(), 1, count);
                let range = format!("{:?}", exact.range());
                let mut converter = Converter::new(conversion);
                exact.write(&mut converter, after.whole_mut());
                (after.to_codes(), converter.end(), range)
            });
            seen += found.0.len();
        }
    }
    assert_eq!(seen, 3 * LENGTHS.iter().sum::<usize>());
}

/// Random words and how many of their bits are set, in lanes.
struct Words<'a>(Key, &'a mut [u32]);

impl VectorWork for Words<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self(key, words) = self;
        words.iter_mut().enumerate().for_each(|(at, word)| *word = key.word(at as u64));
        words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[test]
fn random_words_and_counts_of_bits_are_the_same_at_every_level() {
    for count in LENGTHS {
        let key = Key::new(count as u64);
        let (words, ones) = at_every_level(&format!("{count} words"), || {
            let mut words = vec![0; count];
            let ones = with_widest_vectors(Words(key, &mut words));
            (words, ones)
        });
        let expected: Vec<u32> = (0..count as u64).map(|at| key.word(at)).collect();
        assert_eq!(
            (words, ones),
            (expected.clone(), expected.iter().map(|word| u64::from(word.count_ones())).sum())
        );
    }
}

#[test]
fn a_limit_lasts_as_long_as_what_it_is_for() {
    let levels = VectorLevel::available();
    assert_eq!(levels.last(), Some(&VectorLevel::Portable));
    assert!(levels.is_sorted_by(|one, next| one > next), "{levels:?}");
    for &level in &levels {
        limited_to(level, || {
            limited_to(VectorLevel::Portable, || {
                assert_eq!(VectorLevel::taken(), VectorLevel::Portable);
            });
            assert_eq!(VectorLevel::taken(), level);
        });
        assert_eq!(VectorLevel::taken(), levels[0]);
    }
}
