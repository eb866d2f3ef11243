//! Random words as a pure function of a key and an index.
//!
//! Nothing here has state: the word at an index is the same whoever asks, in whatever order, on
//! whatever machine. Stochastic rounding, initial weights, batch order and generated data all
//! draw from it, each under its own [`Key`].
//!
//! A [`Key`] is 64 bits, made from a seed by folding in what distinguishes the stream: names,
//! steps, layers. [`Key::word`] hashes a 32-bit index under it with three multiplications and four
//! xor-shifts, all in 32-bit arithmetic, so that a vector unit computes one word per lane.
//!
//! | operation | definition, all arithmetic modulo 2⁶⁴ or 2³² |
//! | --- | --- |
//! | `mix64(z)` | SplitMix64's finalizer, "variant 13" of D. Stafford: `z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb; z ^= z >> 31` |
//! | [`Key::new`]`(seed)` | `mix64(seed + G)`, `G = 0x9e3779b97f4a7c15` |
//! | [`Key::with`]`(part)` | `mix64((key ^ mix64(part + G)) + G)` |
//! | [`Key::with_bytes`]`(bytes)` | `key.with(fnv1a64(bytes))`, which tells any two apart that differ in one byte |
//! | [`Key::with_name`]`(name)` | the same of the name in UTF-8 |
//! | [`Key::word`]`(i)`, `i < 2³²` | `x = i + low32(key); x ^= x >> 17; x *= 0xed5ad4bb; x += high32(key); x ^= x >> 11; x *= 0xac4c1b51; x ^= x >> 15; x *= 0x31848bab; x ^= x >> 14`: the multipliers and shifts of C. Wellons' `triple32`, with the second half of the key added in the middle so that two keys share a shifted sequence only where their high halves agree, one pair in 2³² |
//! | [`Key::word`]`(i)`, `i ≥ 2³²` | `key.with(i >> 32).word(low32(i))` |

/// The golden-ratio increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finalizer.
const fn mix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64-bit FNV-1a.
const fn fnv1a64(bytes: &[u8]) -> u64 {
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
        self.with_bytes(name.as_bytes())
    }

    /// The key of the part that has these bytes under this key, by which it can be recognised.
    pub const fn with_bytes(self, bytes: &[u8]) -> Self {
        self.with(fnv1a64(bytes))
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
        x ^= x >> 17;
        x = x.wrapping_mul(0xed5a_d4bb);
        x = x.wrapping_add((key.0 >> 32) as u32);
        x ^= x >> 11;
        x = x.wrapping_mul(0xac4c_1b51);
        x ^= x >> 15;
        x = x.wrapping_mul(0x3184_8bab);
        x ^ (x >> 14)
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
        assert_eq!(words, [0xae57_aafd, 0x4839_66af, 0x1bde_46eb, 0x8d47_ef15]);
        assert_eq!(key.with(2).with_name("weights").0, 0x42f0_a995_781a_da70);
        assert_eq!(key.word(5 << 32 | 9), 0xcaf7_cef6);
    }

    /// As many words as the largest tensors draw of one key in a step.
    const MANY: u64 = 1 << 24;

    /// Streams as training draws them: consecutive indices under keys of steps and conversions.
    fn streams() -> impl Iterator<Item = Key> {
        (0..6u64).map(|step| {
            Key::new(step / 3).with_name("train").with(step).with_name("1/update/master")
        })
    }

    /// How many standard deviations the chi-square statistic of `found`, equally likely cells, lies
    /// from its mean, by Wilson and Hilferty's cube root, which is nearly normal.
    fn chi_square_deviations(found: &[u64]) -> f64 {
        let expected = found.iter().sum::<u64>() as f64 / found.len() as f64;
        let statistic: f64 = found.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        let degrees = (found.len() - 1) as f64;
        let spread = 2.0 / (9.0 * degrees);
        ((statistic / degrees).cbrt() - (1.0 - spread)) / spread.sqrt()
    }

    #[test]
    fn every_byte_of_the_words_of_a_key_is_uniform() {
        for (stream, key) in streams().enumerate() {
            let mut found = [[0u64; 256]; 4];
            for i in 0..MANY {
                let bytes = key.word(i).to_le_bytes();
                found.iter_mut().zip(bytes).for_each(|(cells, byte)| cells[usize::from(byte)] += 1);
            }
            for (byte, cells) in found.iter().enumerate() {
                let deviations = chi_square_deviations(cells);
                assert!(deviations.abs() < 4.5, "stream {stream}, byte {byte}: {deviations}");
            }
        }
    }

    #[test]
    fn neighbouring_words_of_a_key_are_independent() {
        for (stream, key) in streams().enumerate() {
            // Neighbours along a row, and along columns of matrices of these widths.
            for lag in [1, 2, 10, 64, 100, 784, 1000, 1 << 16] {
                let (mut found, mut products) = ([0u64; 256], 0i64);
                for i in 0..MANY / 8 {
                    let (one, other) = (key.word(i), key.word(i + lag));
                    found[(one >> 28 << 4 | other >> 28) as usize] += 1;
                    products += ((one as i32 >> 16) * (other as i32 >> 16)) as i64;
                }
                let pairs = chi_square_deviations(&found);
                // Independent uniform numbers of width 2¹⁶: variance of a product 2⁶⁴ / 144.
                let correlation =
                    products as f64 / 2f64.powi(32) / ((MANY / 8) as f64 / 144.0).sqrt();
                assert!(pairs.abs() < 4.5, "stream {stream}, lag {lag}: {pairs}");
                assert!(correlation.abs() < 4.5, "stream {stream}, lag {lag}: {correlation}");
            }
        }
    }

    #[test]
    fn keys_of_neighbouring_steps_and_seeds_draw_unrelated_words() {
        let keys = |step: u64| [Key::new(7).with(step), Key::new(step).with_name("train")];
        for step in 0..4 {
            for (one, other) in keys(step).into_iter().zip(keys(step + 1)) {
                let mut flips = [0u64; 32];
                for i in 0..MANY / 4 {
                    let differ = one.word(i) ^ other.word(i);
                    for (bit, flips) in flips.iter_mut().enumerate() {
                        *flips += u64::from(differ >> bit & 1);
                    }
                }
                let half = (MANY / 8) as f64;
                for (bit, &flips) in flips.iter().enumerate() {
                    let deviations = (flips as f64 - half) / (half / 2.0).sqrt();
                    assert!(deviations.abs() < 4.5, "step {step}, bit {bit}: {deviations}");
                }
            }
        }
    }

    #[test]
    fn one_word_of_each_of_many_keys_is_uniform() {
        for index in [0, 1, 1000] {
            for name in ["0/forward/activations", "1/update/master"] {
                let mut found = [[0u64; 256]; 4];
                for step in 0..1 << 16 {
                    let key = Key::new(1).with_name("train").with(step).with_name(name);
                    let bytes = key.word(index).to_le_bytes();
                    found
                        .iter_mut()
                        .zip(bytes)
                        .for_each(|(cells, byte)| cells[usize::from(byte)] += 1);
                }
                for (byte, cells) in found.iter().enumerate() {
                    let deviations = chi_square_deviations(cells);
                    assert!(deviations.abs() < 4.5, "{name}, {index}, byte {byte}: {deviations}");
                }
            }
        }
    }

    #[test]
    fn the_mean_of_n_roundings_is_right_and_spreads_as_chance_does() {
        // A rounding goes up where the word reaches a threshold: for a fraction of 1/2, 1/4, 3/256.
        const UP: [u64; 3] = [1 << 31, 1 << 30, 3 << 24];
        for bits in (10..=24).step_by(2) {
            let n = 1u64 << bits;
            let keys = ((1u64 << 28) / n).min(4096);
            for up in UP {
                let threshold = ((1u64 << 32) - up) as u32;
                let p = up as f64 / 2f64.powi(32);
                let (mut sum, mut squares) = (0.0, 0.0);
                for step in 0..keys {
                    let key =
                        Key::new(9).with_name("train").with(step).with_name("0/update/master");
                    let ups: u64 = (0..n).map(|i| u64::from(key.word(i) >= threshold)).sum();
                    let deviations =
                        (ups as f64 - n as f64 * p) / (n as f64 * p * (1.0 - p)).sqrt();
                    sum += deviations;
                    squares += deviations * deviations;
                }
                let count = keys as f64;
                let mean = sum / count.sqrt();
                assert!(mean.abs() < 4.5, "n = {n}, p = {p}: mean off by {mean}");
                // Chi-square of as many degrees of freedom as keys: standard deviation √(2/count).
                let variance = (squares / count - 1.0) / (2.0 / count).sqrt();
                assert!(variance.abs() < 4.5, "n = {n}, p = {p}: variance off by {variance}");
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
