//! Softmax, cross-entropy in bits and their gradient, in integers.
//!
//! For logits `z` of one sample and its class `c`:
//!
//! | quantity | definition | fraction bits |
//! | --- | --- | --- |
//! | `t_i` | `(max z − z_i) · log₂e`, nearest-even; log₂e is `round(2³⁰ · log₂e)` | 16 |
//! | `v_i` | `2^-t_i`: table of 257 entries, linear between them over 8 bits, then shifted right | 30 |
//! | `S` | `Σ v_i`, at least 1 | 30 |
//! | `P_i` | `⌊(2 · v_i · 2³⁰ + S) / 2S⌋` | 30 |
//! | gradient | `(P_i − [i = c]) / ln 2`, with 1/ln 2 the same constant as log₂e | 60 |
//! | loss | `t_c + log₂ S`, the logarithm from a table of 257 entries; finite by construction | 30 |
//!
//! Subtracting the largest logit keeps every `t` positive, so no power overflows.

use fixed::types::extra::U30;
use fixed::{FixedI32, FixedU32};

use crate::rounding::shift_right_round;
use crate::{ExactSum, Rounding, Tensor};

/// A table entry: Q2.30.
type Entry = FixedI32<U30>;

/// Fraction bits of probabilities and of the tables.
pub const PROBABILITY_FRAC: i32 = 30;

/// Fraction bits of the gradient of the loss in bits.
pub const GRADIENT_FRAC: i32 = 60;

/// Fraction bits of `t`.
const T_FRAC: i32 = 16;

/// log₂ e = 1 / ln 2 = 1.442695040888…, rounded to the nearest 2⁻³⁰:
/// 1549082004.68 · 2⁻³⁰.
const LOG2_E: FixedU32<U30> = FixedU32::from_bits(1_549_082_005);

/// `2^(-i/256)` for i = 0 … 256.
const EXP2: [Entry; 257] = exp2_table();

/// `log₂(1 + i/256)` for i = 0 … 256.
const LOG2: [Entry; 257] = log2_table();

/// Powers of the 256th root of ½, all in 62 fraction bits.
const fn exp2_table() -> [Entry; 257] {
    let mut root: u128 = 1 << 61; // ½
    let mut halvings = 0;
    while halvings < 8 {
        root = (root << 62).isqrt();
        halvings += 1;
    }
    let mut table = [Entry::ZERO; 257];
    let mut power: u128 = 1 << 62;
    let mut i = 0;
    while i <= 256 {
        table[i] = Entry::from_bits(((power + (1 << 31)) >> 32) as i32);
        power = (power * root) >> 62;
        i += 1;
    }
    table
}

/// Logarithms by repeated squaring: each squaring that passes 2 gives a one bit of the logarithm.
const fn log2_table() -> [Entry; 257] {
    const BITS: u32 = 40;
    let mut table = [Entry::ZERO; 257];
    let mut i = 0;
    while i < 256 {
        let mut x: u128 = (256 + i as u128) << 54; // 62 fraction bits
        let mut logarithm: u64 = 0;
        let mut bit = 0;
        while bit < BITS {
            x = (x * x) >> 62;
            logarithm <<= 1;
            if x >> 63 != 0 {
                logarithm |= 1;
                x >>= 1;
            }
            bit += 1;
        }
        table[i] = Entry::from_bits(((logarithm + (1 << (BITS - 31))) >> (BITS - 30)) as i32);
        i += 1;
    }
    table[256] = Entry::ONE;
    table
}

/// The table at `position / 2^(8 + low_bits)`, linear between entries: add half, drop `low_bits`.
fn interpolate(table: &[Entry; 257], position: u32, low_bits: u32) -> i64 {
    let (at, low) = ((position >> low_bits) as usize, i64::from(position & ((1 << low_bits) - 1)));
    let (left, right) = (i64::from(table[at].to_bits()), i64::from(table[at + 1].to_bits()));
    left + (((right - left) * low + (1 << (low_bits - 1))) >> low_bits)
}

/// `2^-t` in 30 fraction bits, for `t` in 16.
fn exp2_negative(t: u128) -> u64 {
    let whole = t >> T_FRAC;
    if whole > 30 {
        return 0;
    }
    (interpolate(&EXP2, t as u32 & 0xffff, 8) >> whole) as u64
}

/// `log₂ s` in 30 fraction bits, for `s ≥ 1` in 30.
fn log2(s: u64) -> i64 {
    let power = s.ilog2();
    assert!(power >= 30, "a sum of powers below 1");
    let fraction = (s - (1 << power)) >> (power - 30);
    (i64::from(power - 30) << 30) + interpolate(&LOG2, fraction as u32, 22)
}

/// What softmax says of a batch of logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Softmax {
    classes: usize,
    t: Vec<u128>,
    /// Probabilities row by row, in 30 fraction bits.
    pub probabilities: Vec<u32>,
    /// `log₂ S` of each row, in 30 fraction bits.
    log_sums: Vec<i64>,
    /// The class of the largest logit of each row, the lowest of equals.
    pub predictions: Vec<u32>,
}

impl Softmax {
    /// Evaluates a batch: one sample per row of `logits`, one class per column.
    ///
    /// # Panics
    ///
    /// If `logits` has no columns.
    pub fn of(logits: &Tensor) -> Self {
        let (rows, classes) = (logits.rows(), logits.cols());
        assert!(classes > 0, "softmax of no classes");
        let codes = logits.to_codes();
        let drop = logits.format().frac() + PROBABILITY_FRAC - T_FRAC;
        let mut softmax = Self {
            classes,
            t: Vec::with_capacity(rows * classes),
            probabilities: Vec::with_capacity(rows * classes),
            log_sums: Vec::with_capacity(rows),
            predictions: Vec::with_capacity(rows),
        };
        for row in codes.chunks_exact(classes) {
            let (best, &largest) =
                row.iter().enumerate().rev().max_by_key(|&(_, z)| z).expect("at least one class");
            softmax.predictions.push(best as u32);
            let first = softmax.t.len();
            softmax.t.extend(row.iter().map(|z| scaled_distance(largest - z, drop)));
            let powers: Vec<u64> = softmax.t[first..].iter().map(|&t| exp2_negative(t)).collect();
            let sum: u64 = powers.iter().sum();
            softmax.probabilities.extend(powers.iter().map(|&v| {
                let doubled = (u128::from(v) << 31) + u128::from(sum);
                (doubled / (2 * u128::from(sum))) as u32
            }));
            softmax.log_sums.push(log2(sum));
        }
        softmax
    }

    /// `P − [class = label]` row by row, in 30 fraction bits: the gradient of the loss in nats with
    /// respect to the logits.
    pub fn differences(&self, labels: &[u32]) -> Vec<i64> {
        let mut differences: Vec<i64> = self.probabilities.iter().map(|&p| p.into()).collect();
        for (row, &label) in differences.chunks_exact_mut(self.classes).zip(labels) {
            row[label as usize] -= 1 << PROBABILITY_FRAC;
        }
        differences
    }

    /// [`differences`](Self::differences)` / ln 2`, in 60 fraction bits: the gradient of the loss
    /// in bits.
    pub fn differences_in_bits(&self, labels: &[u32]) -> Vec<i64> {
        let scale = i64::from(LOG2_E.to_bits());
        self.differences(labels).into_iter().map(|difference| difference * scale).collect()
    }

    /// The exact sum over the batch of the loss `−log₂ P_c = t_c + log₂ S`, in bits.
    pub fn loss_sum(&self, labels: &[u32]) -> ExactSum {
        let mut sum = ExactSum::default();
        for ((t, &log_sum), &label) in
            self.t.chunks_exact(self.classes).zip(&self.log_sums).zip(labels)
        {
            sum.add(t[label as usize], -T_FRAC);
            sum.add(log_sum, -PROBABILITY_FRAC);
        }
        sum
    }

    /// The probabilities of each sample.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.probabilities.chunks_exact(self.classes)
    }

    /// The predicted class of each sample: that of its largest logit, the first of equal ones.
    pub fn predictions(&self) -> &[u32] {
        &self.predictions
    }

    /// Samples whose predicted class is not their label.
    pub fn errors(&self, labels: &[u32]) -> u64 {
        self.predictions
            .iter()
            .zip(labels)
            .filter(|(prediction, label)| prediction != label)
            .count() as u64
    }
}

/// `distance · log₂e`, rounded nearest-even after `drop` bits.
fn scaled_distance(distance: i64, drop: i32) -> u128 {
    let product = i128::from(distance) * i128::from(LOG2_E.to_bits());
    let t = if drop > 0 {
        shift_right_round(product, drop as u32, Rounding::NearestEven, 0)
    } else {
        product << -drop
    };
    t as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;
    use systoliq_keyed_random::Key;

    #[test]
    fn tables_are_the_nearest_entries() {
        for i in 0..=256usize {
            let x = i as f64 / 256.0;
            let nearest = |real: f64| (real * 2f64.powi(30)).round() as i32;
            assert_eq!(EXP2[i].to_bits(), nearest((-x).exp2()), "2^-{x}");
            assert_eq!(LOG2[i].to_bits(), nearest((1.0 + x).log2()), "log2(1 + {x})");
        }
        assert_eq!(f64::from(LOG2_E.to_bits()), (std::f64::consts::LOG2_E * 2f64.powi(30)).round());
    }

    #[test]
    fn between_entries_the_nearest_point_of_the_line_is_taken() {
        for position in 0..=0xffffu32 {
            let (at, low) = ((position >> 8) as usize, i64::from(position & 0xff));
            let (left, right) = (i64::from(EXP2[at].to_bits()), i64::from(EXP2[at + 1].to_bits()));
            let on_line = left * (256 - low) + right * low; // in 256ths
            let off = 256 * interpolate(&EXP2, position, 8) - on_line;
            assert!(-128 < off && off <= 128, "position {position}: off by {off}/256");
        }
    }

    /// Softmax, its predictions and losses in floating point.
    fn in_floats(z: &[f64]) -> (Vec<f64>, usize, Vec<f64>) {
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
        let best = z.iter().position(|&z| z == max).unwrap();
        let losses = z.iter().map(|z| ((max - z) + sum.ln()) / std::f64::consts::LN_2).collect();
        (z.iter().map(|z| (z - max).exp() / sum).collect(), best, losses)
    }

    #[test]
    fn probabilities_losses_and_predictions_follow_floats() {
        let (mut worst_probability, mut worst_loss) = (0f64, 0f64);
        for (case, notation) in
            ["Q4.4", "Q8.0", "Q2.6", "Q4.12", "Q6.2", "Q1.7", "Q8.24"].iter().enumerate()
        {
            let format: Format = notation.parse().unwrap();
            for classes in [1, 2, 3, 10, 100] {
                let key = Key::new(case as u64).with(classes as u64);
                let codes: Vec<i64> = (0..64 * classes as u64)
                    .map(|i| i64::from(key.word(i)) % (2 * format.max_raw() + 2) + format.min_raw())
                    .collect();
                let logits = Tensor::from_codes(format, 64, classes, &codes);
                let softmax = Softmax::of(&logits);
                for (row, z) in logits.to_reals().rows().into_iter().enumerate() {
                    let (p, best, losses) = in_floats(&z.to_vec());
                    assert_eq!(softmax.predictions[row] as usize, best);
                    for class in 0..classes {
                        let ours =
                            f64::from(softmax.probabilities[row * classes + class]) / 2f64.powi(30);
                        worst_probability = worst_probability.max((ours - p[class]).abs());
                        let one = Softmax::of(&Tensor::from_codes(
                            format,
                            1,
                            classes,
                            &codes[row * classes..][..classes],
                        ));
                        let loss = one.loss_sum(&[class as u32]).to_f64();
                        worst_loss =
                            worst_loss.max((loss - losses[class]).abs() / losses[class].max(1.0));
                    }
                }
            }
        }
        println!("worst probability {worst_probability:.2e}, worst loss {worst_loss:.2e}");
        assert!(worst_probability < 2e-6, "{worst_probability}");
        assert!(worst_loss < 2e-5, "{worst_loss}");
    }

    #[test]
    fn ties_go_to_the_lowest_class_and_no_logit_makes_the_loss_infinite() {
        let format: Format = "Q64.-32".parse().unwrap(); // ulp 2^32
        let logits = Tensor::from_codes(format, 2, 3, &[5, 5, -5, i32::MIN.into(), 0, 0]);
        let softmax = Softmax::of(&logits);
        assert_eq!(softmax.predictions, [0, 1]);
        assert_eq!(softmax.probabilities[2..4], [0, 0]);
        let loss = softmax.loss_sum(&[0, 0]).to_f64();
        let expected = 2.0 + 2f64.powi(63) * std::f64::consts::LOG2_E;
        assert!((loss / expected - 1.0).abs() < 1e-8, "{loss} {expected}");
    }

    /// The worked example of `docs/numerics.md`, computed there in unbounded integers from the
    /// definitions alone.
    #[test]
    fn the_worked_example_is_right_to_the_bit() {
        let logits = Tensor::from_codes("Q6.2".parse().unwrap(), 1, 3, &[8, 4, -2]);
        let softmax = Softmax::of(&logits);
        assert_eq!(softmax.t, [0, 94_548, 236_371]);
        assert_eq!([0, 94_548, 236_371].map(exp2_negative), [1 << 30, 395_009_792, 88_138_311]);
        assert_eq!(softmax.probabilities, [740_528_591, 272_426_796, 60_786_437]);
        assert_eq!(softmax.differences(&[1]), [740_528_591, -801_315_028, 60_786_437]);
        let in_bits =
            [1_147_139_514_506_104_955, -1_241_302_690_210_871_140, 94_163_175_704_766_185];
        assert_eq!(softmax.differences_in_bits(&[1]), in_bits);
        assert_eq!(softmax.log_sums, [575_546_011]);
        assert_eq!(softmax.loss_sum(&[1]).to_f64(), 2_124_620_443.0 / 2f64.powi(30));
    }

    #[test]
    fn gradients_sum_to_nearly_zero_and_scale_by_one_over_ln_2() {
        let logits = Tensor::from_codes("Q4.4".parse().unwrap(), 1, 4, &[10, -3, 70, 0]);
        let softmax = Softmax::of(&logits);
        let nats = softmax.differences(&[1]);
        assert!(nats.iter().sum::<i64>().abs() <= 2, "{nats:?}");
        for (bits, nats) in softmax.differences_in_bits(&[1]).iter().zip(&nats) {
            let ratio = *bits as f64 / 2f64.powi(60) / (*nats as f64 / 2f64.powi(30));
            assert!((ratio * std::f64::consts::LN_2 - 1.0).abs() < 1e-9);
        }
    }
}
