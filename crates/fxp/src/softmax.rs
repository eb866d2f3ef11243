//! Softmax, cross-entropy in bits and their gradient, in integers.
//!
//! For logits `z` of one sample and its class `c`, with the [formats and tables](SoftmaxFormat) of a
//! unit:
//!
//! | quantity | definition | fraction bits | by default |
//! | --- | --- | --- | --- |
//! | `t_i` | `(max z − z_i) · log₂e`, nearest-even; log₂e is `round(2³⁰ · log₂e)` | `exponent_frac` | 16 |
//! | `v_i` | `2^-t_i`: a table of `entries` and one, linear between them, then shifted right | `table_frac` | 30 |
//! | `S` | `Σ v_i`, at least 1 | `table_frac` | 30 |
//! | `P_i` | `⌊(2 · v_i · 2^probability_frac + S) / 2S⌋` | `probability_frac` | 30 |
//! | gradient | `(P_i − [i = c]) / ln 2`, with 1/ln 2 the same constant as log₂e | 30 more | 60 |
//! | loss | `t_c + log₂ S`, the logarithm from a table of the same kind; finite by construction | both | |
//!
//! Subtracting the largest logit keeps every `t` positive, so no power overflows and no probability
//! exceeds 1.

use fixed::FixedU32;
use fixed::types::extra::U30;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rounding::shift_right_round;
use crate::{Error, ExactSum, Rounding, Tensor};

/// Formats and tables of a softmax unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftmaxFormat {
    /// Fraction bits of the exponents of 2.
    pub exponent_frac: u32,
    /// Intervals of the two tables, a power of two.
    pub entries: u32,
    /// Fraction bits of the tables' entries, which have two integer bits more.
    pub table_frac: u32,
    /// What is taken between two entries.
    pub interpolation: Interpolation,
    /// Fraction bits of probabilities.
    pub probability_frac: u32,
}

/// What a table gives between two of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// The entry to the left: the bits behind its place are dropped.
    None,
    /// The point of the line between them, rounded half up.
    Linear,
}

impl Default for SoftmaxFormat {
    fn default() -> Self {
        Self {
            exponent_frac: 16,
            entries: 256,
            table_frac: 30,
            interpolation: Interpolation::Linear,
            probability_frac: 30,
        }
    }
}

impl SoftmaxFormat {
    /// Checks that a unit can be built like this.
    ///
    /// # Errors
    ///
    /// Unless `entries` is a power of two from 2 to 4096, of as many bits as the tables and the
    /// exponents have fraction bits at most, and these are at most 30 and 24; and probabilities have
    /// 2 to 30 fraction bits.
    pub fn check(&self) -> Result<(), Error> {
        let Self { exponent_frac, entries, table_frac, probability_frac, .. } = *self;
        if !entries.is_power_of_two() || !(2..=4096).contains(&entries) {
            return Err(Error::SoftmaxEntries { entries });
        }
        let least = self.index_bits();
        for (what, found, least, most) in [
            ("exponent_frac", exponent_frac, least, 24),
            ("table_frac", table_frac, least, 30),
            ("probability_frac", probability_frac, 2, 30),
        ] {
            if !(least..=most).contains(&found) {
                return Err(Error::SoftmaxFrac { what, found, least, most });
            }
        }
        Ok(())
    }

    /// Bits that select an entry.
    pub fn index_bits(&self) -> u32 {
        self.entries.ilog2()
    }

    /// Width of a table entry.
    pub fn table_bits(&self) -> u32 {
        self.table_frac + 2
    }

    /// Fraction bits of the gradient of the loss in bits.
    pub fn gradient_frac(&self) -> i32 {
        (self.probability_frac + LOG2_E_FRAC) as i32
    }
}

/// Fraction bits of log₂ e.
const LOG2_E_FRAC: u32 = 30;

/// log₂ e = 1 / ln 2 = 1.442695040888…, rounded to the nearest 2⁻³⁰:
/// 1549082004.68 · 2⁻³⁰.
const LOG2_E: FixedU32<U30> = FixedU32::from_bits(1_549_082_005);

/// A softmax unit: its formats, and its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftmaxUnit {
    format: SoftmaxFormat,
    /// `2^(-i / entries)` for i = 0 … entries.
    exp2: Vec<i64>,
    /// `log₂(1 + i / entries)` for i = 0 … entries.
    log2: Vec<i64>,
}

/// Powers of the root of ½ of so many entries, all in 62 fraction bits, each then rounded.
fn exp2_table(format: &SoftmaxFormat) -> Vec<i64> {
    let halve = |root: u128, _| (root << 62).isqrt();
    let root = (0..format.index_bits()).fold(1u128 << 61, halve); // of ½
    let powers = std::iter::successors(Some(1u128 << 62), |power| Some((power * root) >> 62));
    let dropped = 62 - format.table_frac;
    let entry = |power: u128| ((power + (1 << (dropped - 1))) >> dropped) as i64;
    powers.map(entry).take(format.entries as usize + 1).collect()
}

/// Logarithms by repeated squaring: each squaring that passes 2 gives a one bit of the logarithm.
fn log2_table(format: &SoftmaxFormat) -> Vec<i64> {
    const BITS: u32 = 40;
    let dropped = BITS - format.table_frac;
    let entry = |i: u32| {
        let mut x = u128::from(format.entries + i) << (62 - format.index_bits());
        let mut logarithm: i64 = 0;
        for _ in 0..BITS {
            x = (x * x) >> 62;
            logarithm <<= 1;
            if x >> 63 != 0 {
                logarithm |= 1;
                x >>= 1;
            }
        }
        (logarithm + (1 << (dropped - 1))) >> dropped
    };
    (0..format.entries).map(entry).chain([1 << format.table_frac]).collect()
}

impl SoftmaxUnit {
    /// A unit with its tables.
    ///
    /// # Panics
    ///
    /// If it [cannot be built](SoftmaxFormat::check).
    pub fn new(format: SoftmaxFormat) -> Self {
        format.check().unwrap_or_else(|error| panic!("{error}"));
        Self { format, exp2: exp2_table(&format), log2: log2_table(&format) }
    }

    /// A table at `position / 2^bits`.
    fn look_up(&self, table: &[i64], position: u64, bits: u32) -> i64 {
        let low_bits = bits - self.format.index_bits();
        let (at, low) = ((position >> low_bits) as usize, position & ((1 << low_bits) - 1));
        match self.format.interpolation {
            Interpolation::Linear if low_bits > 0 => {
                let difference = (table[at + 1] - table[at]) * low as i64;
                table[at] + ((difference + (1 << (low_bits - 1))) >> low_bits)
            }
            Interpolation::Linear | Interpolation::None => table[at],
        }
    }

    /// `2^-t`.
    fn exp2_negative(&self, t: u128) -> u64 {
        let bits = self.format.exponent_frac;
        let whole = t >> bits;
        if whole > u128::from(self.format.table_frac) {
            return 0;
        }
        (self.look_up(&self.exp2, t as u64 & ((1 << bits) - 1), bits) >> whole) as u64
    }

    /// `log₂ s`, for `s ≥ 1`.
    fn log2(&self, s: u64) -> i64 {
        let (power, bits) = (s.ilog2(), self.format.table_frac);
        assert!(power >= bits, "a sum of powers below 1");
        let fraction = (s - (1 << power)) >> (power - bits);
        (i64::from(power - bits) << bits) + self.look_up(&self.log2, fraction, bits)
    }

    /// Evaluates a batch: one sample per row of `logits`, one class per column.
    ///
    /// # Panics
    ///
    /// If `logits` has no columns.
    pub fn of(&self, logits: &Tensor) -> Softmax {
        let mut softmax = Softmax::default();
        self.evaluate(logits, &mut softmax);
        softmax
    }

    /// The same in the memory of what was said of another batch.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    pub fn evaluate(&self, logits: &Tensor, softmax: &mut Softmax) {
        let (rows, classes) = (logits.rows(), logits.cols());
        assert!(classes > 0, "softmax of no classes");
        let SoftmaxFormat { exponent_frac, probability_frac, .. } = self.format;
        let drop = logits.format().frac() + LOG2_E_FRAC as i32 - exponent_frac as i32;
        (softmax.format, softmax.classes) = (self.format, classes);
        let Softmax { values, t, probabilities, log_sums, predictions, .. } = softmax;
        t.clear();
        probabilities.clear();
        log_sums.clear();
        predictions.clear();
        values.resize(rows * classes, 0);
        for row in logits.widen(0..rows * classes, values).chunks_exact_mut(classes) {
            let (best, &largest) =
                row.iter().enumerate().rev().max_by_key(|&(_, z)| z).expect("at least one class");
            predictions.push(best as u32);
            let first = t.len();
            t.extend(row.iter().map(|z| scaled_distance(largest - z, drop)));
            // In place of the logits.
            for (power, &t) in row.iter_mut().zip(&t[first..]) {
                *power = self.exp2_negative(t) as i64;
            }
            let powers = row.iter().map(|&power| power as u64);
            let sum: u64 = powers.clone().sum();
            // No power is larger than their sum; a division of 128 bits takes many times as long.
            let fits = sum.leading_zeros() >= probability_frac + 3;
            probabilities.extend(powers.map(|v| match fits {
                true => (((v << (probability_frac + 1)) + sum) / (2 * sum)) as u32,
                false => {
                    let doubled = (u128::from(v) << (probability_frac + 1)) + u128::from(sum);
                    (doubled / (2 * u128::from(sum))) as u32
                }
            }));
            log_sums.push(self.log2(sum));
        }
    }
}

/// What softmax says of a batch of logits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Softmax {
    /// Of the unit that said it.
    pub format: SoftmaxFormat,
    classes: usize,
    /// `v` of each class, row by row.
    values: Vec<i64>,
    t: Vec<u128>,
    /// Probabilities row by row.
    pub probabilities: Vec<u32>,
    /// `log₂ S` of each row.
    log_sums: Vec<i64>,
    /// The class of the largest logit of each row, the lowest of equals.
    pub predictions: Vec<u32>,
}

impl Softmax {
    /// `P − [class = label]` row by row, in `probability_frac` fraction bits: the gradient of the loss in nats with
    /// respect to the logits.
    pub fn differences(&self, labels: &[u32], differences: &mut Vec<i64>) {
        differences.clear();
        differences.extend(self.probabilities.iter().map(|&p| i64::from(p)));
        for (row, &label) in differences.chunks_exact_mut(self.classes).zip(labels) {
            row[label as usize] -= 1 << self.format.probability_frac;
        }
    }

    /// [`differences`](Self::differences)` / ln 2`, in [so many](SoftmaxFormat::gradient_frac)
    /// fraction bits: the gradient of the loss in bits.
    pub fn differences_in_bits(&self, labels: &[u32], differences: &mut Vec<i64>) {
        self.differences(labels, differences);
        differences.iter_mut().for_each(|difference| *difference *= i64::from(LOG2_E.to_bits()));
    }

    /// The exact sum over the batch of the loss `−log₂ P_c = t_c + log₂ S`, in bits.
    pub fn loss_sum(&self, labels: &[u32]) -> ExactSum {
        let mut sum = ExactSum::default();
        for ((t, &log_sum), &label) in
            self.t.chunks_exact(self.classes).zip(&self.log_sums).zip(labels)
        {
            sum.add(t[label as usize], -(self.format.exponent_frac as i32));
            sum.add(log_sum, -(self.format.table_frac as i32));
        }
        sum
    }

    /// The probabilities of each sample as real numbers.
    pub fn rows(&self) -> impl Iterator<Item = Vec<f64>> {
        let one = f64::from(1u32 << self.format.probability_frac);
        let real = move |&p: &u32| f64::from(p) / one;
        self.probabilities.chunks_exact(self.classes).map(move |row| row.iter().map(real).collect())
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
#[path = "softmax_tests.rs"]
mod tests;
