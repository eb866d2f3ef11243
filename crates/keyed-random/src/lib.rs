//! Random words as a pure function of a key and an index.
//!
//! Nothing here has state: the word at an index is the same whoever asks, in whatever order, on
//! whatever machine. Stochastic rounding, initial weights, batch order and generated data all
//! draw from it, each under its own [`Key`].
//!
//! A [`Key`] is 64 bits, made from a seed by folding in what distinguishes the stream: names,
//! steps, layers. [`Key::word`] hashes a 32-bit index under it with two multiplications and three
//! xor-shifts, all in 32-bit arithmetic, so that a vector unit computes one word per lane.
//!
//! | operation | definition, all arithmetic modulo 2⁶⁴ or 2³² |
//! | --- | --- |
//! | `mix64(z)` | SplitMix64's finalizer, "variant 13" of D. Stafford: `z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb; z ^= z >> 31` |
//! | [`Key::new`]`(seed)` | `mix64(seed + G)`, `G = 0x9e3779b97f4a7c15` |
//! | [`Key::with`]`(part)` | `mix64((key ^ mix64(part + G)) + G)` |
//! | [`Key::with_name`]`(name)` | `key.with(fnv1a64(name))` |
//! | [`Key::word`]`(i)`, `i < 2³²` | `x = i + low32(key); x ^= x >> 16; x *= 0x7feb352d; x += high32(key); x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16`: the multipliers and shifts of C. Wellons' `lowbias32`, with the second half of the key added in the middle so that two keys never share a shifted sequence |
//! | [`Key::word`]`(i)`, `i ≥ 2³²` | `key.with(i >> 32).word(low32(i))` |

/// The golden-ratio increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finalizer.
const fn mix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64-bit FNV-1a of the bytes of `name`.
const fn fnv1a64(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Names one stream of random words.
///
/// ```
/// use systoliq_keyed_random::Key;
/// let key = Key::new(1).with_name("weights").with(0);
/// assert_eq!(key.word(7), key.word(7));
/// assert_ne!(key.word(7), key.with(1).word(7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The root key of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(mix64(seed.wrapping_add(GOLDEN)))
    }

    /// The key of the part numbered `part` under this key. Order matters:
    /// `key.with(1).with(2)` differs from `key.with(2).with(1)`.
    pub const fn with(self, part: u64) -> Self {
        let part = mix64(part.wrapping_add(GOLDEN));
        Self(mix64((self.0 ^ part).wrapping_add(GOLDEN)))
    }

    /// The key of the part called `name` under this key.
    pub const fn with_name(self, name: &str) -> Self {
        self.with(fnv1a64(name))
    }

    /// The key itself, from which an independent program can draw the same words.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The random word at `index`: uniform over 32 bits.
    #[inline(always)]
    pub const fn word(self, index: u64) -> u32 {
        let key = if index >> 32 == 0 { self } else { self.with(index >> 32) };
        let mut x = (index as u32).wrapping_add(key.0 as u32);
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x = x.wrapping_add((key.0 >> 32) as u32);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^ (x >> 16)
    }

    /// A whole number below `bound` drawn from the word at `index`: `⌊word · bound / 2³²⌋`.
    pub const fn below(self, index: u64, bound: u32) -> u32 {
        ((self.word(index) as u64 * bound as u64) >> 32) as u32
    }

    /// A permutation of `0..count`: Fisher–Yates from the back, position `i` drawing
    /// [`below`](Self::below)`(i, i + 1)`.
    pub fn permutation(self, count: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i as usize, self.below(u64::from(i), i + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_what_they_are() {
        // Computed by a transcription of the module's table into Python's unbounded integers.
        let key = Key::new(1);
        assert_eq!(key.0, 0x910a_2dec_8902_5cc1);
        let words: Vec<u32> = (0..4).map(|i| key.word(i)).collect();
        assert_eq!(words, [0xfe87_355e, 0x0d6b_5f18, 0x11dd_9cfb, 0x39de_3cb5]);
        assert_eq!(key.with(2).with_name("weights").0, 0x42f0_a995_781a_da70);
        assert_eq!(key.word(5 << 32 | 9), 0xc085_1b8f);
    }

    #[test]
    fn bits_of_words_are_fair_and_uncorrelated_between_neighbours() {
        let key = Key::new(42).with_name("fair");
        let count = 1 << 20;
        for bit in 0..32 {
            let ones: i64 = (0..count).map(|i| i64::from(key.word(i) >> bit & 1)).sum();
            let equal: i64 =
                (0..count).map(|i| i64::from((key.word(i) ^ key.word(i + 1)) >> bit & 1)).sum();
            // Five standard deviations of a binomial with 2^20 draws: 5 · 512.
            let half = count as i64 / 2;
            assert!((ones - half).abs() < 2560, "bit {bit}: {ones} ones");
            assert!((equal - half).abs() < 2560, "bit {bit}: {equal} changes");
        }
    }

    #[test]
    fn streams_of_related_keys_are_uncorrelated() {
        let key = Key::new(7);
        let count = 1 << 18;
        for step in 0..32 {
            let (one, other) = (key.with(step), key.with(step + 1));
            let flips: u32 = (0..count).map(|i| (one.word(i) ^ other.word(i)).count_ones()).sum();
            // Mean 16 of 32 bits; standard deviation sqrt(8) each, over 2^18 words.
            let mean = f64::from(flips) / count as f64;
            assert!((mean - 16.0).abs() < 5.0 * (8.0 / count as f64).sqrt(), "{step}: {mean}");
        }
    }

    /// Streams as training draws them: consecutive indices under keys of steps and conversions.
    fn streams() -> impl Iterator<Item = Key> {
        (0..24u64).map(|step| {
            Key::new(step / 8).with_name("train").with(step).with_name("1/update/master")
        })
    }

    #[test]
    fn bytes_of_words_pass_a_chi_square_test() {
        // In a million words of one key the cells of the upper bytes differ by 0.75 % of a cell more
        // than chance; see docs/numerics.md.
        let count = 1 << 18;
        for (stream, key) in streams().enumerate() {
            for byte in 0..4 {
                let mut found = [0i64; 256];
                (0..count).for_each(|i| found[(key.word(i) >> (8 * byte) & 0xff) as usize] += 1);
                let expected = count as f64 / 256.0;
                let chi_square: f64 =
                    found.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
                // 255 degrees of freedom: mean 255, standard deviation sqrt(510); 4 of them.
                let far = (chi_square - 255.0).abs() > 90.0;
                assert!(!far, "stream {stream}, byte {byte}: {chi_square}");
            }
        }
    }

    #[test]
    fn words_pass_a_serial_correlation_test_at_every_lag_of_a_matrix() {
        let count = 1u64 << 18;
        for (stream, key) in streams().enumerate() {
            let real = |i: u64| f64::from(key.word(i)) / 2f64.powi(32) - 0.5;
            // Neighbours along a row, and along columns of matrices of these widths.
            for lag in [1, 2, 10, 64, 100, 784, 1000, 1 << 16] {
                let sum: f64 = (0..count).map(|i| real(i) * real(i + lag)).sum();
                // Independent uniform numbers: variance of a product 1/144.
                let deviations = sum / (count as f64 / 144.0).sqrt();
                assert!(deviations.abs() < 5.0, "stream {stream}, lag {lag}: {deviations}");
            }
        }
    }

    #[test]
    fn permutations_hold_every_number_once() {
        for count in [0, 1, 2, 3, 10, 1797] {
            let mut order = Key::new(3).permutation(count);
            assert!(count < 10 || order.windows(2).any(|pair| pair[0] > pair[1]));
            order.sort_unstable();
            assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }
}
