//! Softmax, the losses, and their gradients with respect to the network's output.

use std::f64::consts::{LN_2, LOG2_E};

use ndarray::{Array2, ArrayView1, Axis};

use super::Real;
use crate::data::Answers;
use crate::network::{Loss, LossUnit};

/// The sum of exponentials of some logits, their largest divided out so that none overflows.
struct Exponentials<F> {
    largest: F,
    /// `Σ e^(z − largest)`, at least 1 unless a logit is not finite.
    sum: F,
}

impl<F: Real> Exponentials<F> {
    fn of(logits: ArrayView1<'_, F>) -> Self {
        let largest = logits.fold(F::neg_infinity(), |largest, &z| largest.max(z));
        let sum = logits.fold(F::zero(), |sum, &z| sum + (z - largest).portable_exp());
        Self { largest, sum }
    }

    /// `P̃` of logit `z`.
    fn probability(&self, z: F) -> F {
        (z - self.largest).portable_exp() / self.sum
    }

    /// `−log₂ P̃` of logit `z`, which is finite even where `P̃` rounds to 0.
    fn surprise_bits(&self, z: F) -> F {
        (self.largest - z) * F::of(LOG2_E) + self.sum.portable_log2()
    }
}

/// `P̃_i = e^{ŷ_i} / Σ_j e^{ŷ_j}` of one sample's logits.
///
/// ```
/// let thirds = systoliq_nn::golden::softmax(ndarray::aview1(&[1000.0, 1000.0, 1000.0]));
/// assert_eq!(thirds, vec![1.0 / 3.0; 3]);
/// ```
pub fn softmax<F: Real>(logits: ArrayView1<'_, F>) -> Vec<F> {
    let exponentials = Exponentials::of(logits);
    logits.iter().map(|&z| exponentials.probability(z)).collect()
}

/// The loss of each row of `outputs`: `−log₂ P̃_c` in bits, or `½ Σ e²`.
///
/// # Panics
///
/// If `answers` are not what `loss` needs, or not one for each row.
pub fn losses<F: Real>(loss: Loss, outputs: &Array2<F>, answers: &Answers) -> Vec<f64> {
    assert_eq!(outputs.nrows(), answers.len(), "outputs and answers differ in number");
    let rows = outputs.axis_iter(Axis(0));
    match (loss, answers) {
        (Loss::SoftmaxCrossEntropy, Answers::Labels(labels)) => {
            let loss = |logits: ArrayView1<'_, F>, class| {
                Exponentials::of(logits).surprise_bits(logits[class]).widen()
            };
            rows.zip(labels).map(|(logits, &class)| loss(logits, class as usize)).collect()
        }
        (Loss::Mse, Answers::Targets(targets)) => {
            let half = F::of(0.5);
            let loss = |y_hat: ArrayView1<'_, F>, y: ArrayView1<'_, f64>| {
                let squares = y_hat.iter().zip(y).map(|(&y_hat, &y)| y_hat - F::of(y));
                (squares.fold(F::zero(), |sum, e| sum + e * e) * half).widen()
            };
            rows.zip(targets.axis_iter(Axis(0))).map(|(y_hat, y)| loss(y_hat, y)).collect()
        }
        _ => panic!("loss {loss:?} with other answers than it needs"),
    }
}

/// `∂d/∂ŷ` of each row, not divided by the batch: `(P̃ − [i = c]) / ln 2` in bits, without the
/// `1 / ln 2` in nats, or `ŷ − y`.
///
/// # Panics
///
/// If `answers` are not what `loss` needs, or not one for each row.
pub fn error<F: Real>(
    loss: Loss,
    unit: LossUnit,
    outputs: &Array2<F>,
    answers: &Answers,
) -> Array2<F> {
    assert_eq!(outputs.nrows(), answers.len(), "outputs and answers differ in number");
    let mut error = outputs.clone();
    match (loss, answers) {
        (Loss::SoftmaxCrossEntropy, Answers::Labels(labels)) => {
            for (mut row, &class) in error.axis_iter_mut(Axis(0)).zip(labels) {
                let exponentials = Exponentials::of(row.view());
                row.mapv_inplace(|z| exponentials.probability(z));
                row[class as usize] -= F::one();
            }
            if unit == LossUnit::Bits {
                error.mapv_inplace(|e| e / F::of(LN_2));
            }
        }
        (Loss::Mse, Answers::Targets(targets)) => {
            error.zip_mut_with(targets, |e, &y| *e -= F::of(y));
        }
        _ => panic!("loss {loss:?} with other answers than it needs"),
    }
    error
}
