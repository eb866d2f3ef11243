//! The error `e = ŷ − y` of a regression and its loss `½Σe²`, in integers.

use num_bigint::BigInt;

use crate::real::decompose;
use crate::{Along, Conversion, ConversionStatistics, ExactInteger, ExactSum, Tensor};

/// The exact differences between outputs and targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SquaredError {
    rows: usize,
    cols: usize,
    differences: Vec<BigInt>,
    /// Fraction bits of the differences: the larger of the two operands'.
    frac: i32,
}

impl SquaredError {
    /// `outputs − targets`, element by element.
    ///
    /// # Panics
    ///
    /// Unless both have one shape.
    pub fn of(outputs: &Tensor, targets: &Tensor) -> Self {
        let (rows, cols) = (outputs.rows(), outputs.cols());
        assert_eq!((rows, cols), (targets.rows(), targets.cols()), "outputs and targets");
        let frac = outputs.format().frac().max(targets.format().frac());
        let aligned = |tensor: &Tensor| -> Vec<BigInt> {
            let shift = frac - tensor.format().frac();
            tensor.to_codes().into_iter().map(|code| BigInt::from(code) << shift).collect()
        };
        let differences = aligned(outputs)
            .into_iter()
            .zip(aligned(targets))
            .map(|(y, target)| y - target)
            .collect();
        Self { rows, cols, differences, frac }
    }

    /// The errors converted block by block, with `scale_log2` more than their real value: `e · 2^scale_log2`.
    pub fn blocks(
        &self,
        conversion: &Conversion,
        scale_log2: i32,
        along: Along,
        size: usize,
    ) -> (Tensor, ConversionStatistics) {
        let conversion = Conversion { from_frac: self.frac - scale_log2, ..*conversion };
        conversion.big_blocks((self.rows, self.cols), &self.differences, along, size)
    }
}

/// The exact sum of `½Σe²` over a batch, `e = outputs − targets` with targets as they are before any
/// conversion, row by row.
///
/// # Panics
///
/// If a target is not finite, or there are not as many as outputs.
pub fn loss_sum(outputs: &Tensor, targets: impl ExactSizeIterator<Item = f64>) -> ExactSum {
    assert_eq!(outputs.len(), targets.len(), "outputs and targets");
    let (output_frac, cols) = (outputs.format().frac(), outputs.cols());
    let mut sum = ExactSum::default();
    for (at, target) in targets.enumerate() {
        let (raw, target_frac) = decompose(target).expect("a finite target");
        let frac = output_frac.max(target_frac);
        let aligned = |raw: i64, own: i32| {
            let mut raw = ExactInteger::from(raw);
            raw <<= (frac - own) as u32;
            raw
        };
        let mut square = aligned(outputs.code(at / cols, at % cols), output_frac);
        square += aligned(-raw, target_frac);
        square *= square.clone();
        sum.add(square, -2 * frac - 1);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_exact_across_formats() {
        let outputs = Tensor::from_codes("Q2.6".parse().unwrap(), 1, 2, &[32, -128]); // 0.5, −2
        let targets = Tensor::from_codes("Q4.12".parse().unwrap(), 1, 2, &[1, 4096]); // 2^-12, 1
        let error = SquaredError::of(&outputs, &targets);
        let (first, second) = (0.5 - 2f64.powi(-12), -3.0);
        let expected = [first, second].map(|real: f64| BigInt::from((real * 4096.0) as i64));
        assert_eq!((error.differences, error.frac), (expected.to_vec(), 12));
        let loss = loss_sum(&outputs, [2f64.powi(-12), 1.0].into_iter());
        assert_eq!(loss.to_f64(), 0.5 * (first * first + second * second));
    }
}
