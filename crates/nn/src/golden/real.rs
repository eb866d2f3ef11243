//! The floating-point types that a golden model may have.

use std::fmt::Debug;
use std::ops::{AddAssign, SubAssign};

use ndarray::{Array2, LinalgScalar, ScalarOperand};
use num_traits::Float;
use systoliq_keyed_random::Key;

use crate::product::product;

/// `f32` or `f64`.
///
/// Exponential and logarithm come from `libm`, and have names of their own, because those of
/// [`Float`] are the platform's, whose last bits differ from machine to machine.
pub trait Real:
    Float + Into<f64> + LinalgScalar + ScalarOperand + AddAssign + SubAssign + Debug + Send + Sync
{
    /// The value nearest to `value`.
    fn of(value: f64) -> Self;

    /// The same value; exact.
    fn widen(self) -> f64;

    /// `e^self`.
    fn portable_exp(self) -> Self;

    /// `log₂ self`.
    fn portable_log2(self) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }

    fn widen(self) -> f64 {
        f64::from(self)
    }

    fn portable_exp(self) -> Self {
        libm::expf(self)
    }

    fn portable_log2(self) -> Self {
        libm::log2f(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn widen(self) -> f64 {
        self
    }

    fn portable_exp(self) -> Self {
        libm::exp(self)
    }

    fn portable_log2(self) -> Self {
        libm::log2(self)
    }
}

/// A hash of what this machine makes of a product of matrices in either type. The order of its
/// additions, and whether they are fused with the multiplications, depend on the features of the CPU:
/// golden models of machines with one hash agree to the last bit.
pub fn product_fingerprint() -> u64 {
    fn bits<F: Real>() -> Vec<u64> {
        let words = Key::new(0).with_name("product_fingerprint");
        let value = |at: usize| F::of(f64::from(words.word(at as u64)) / f64::from(u32::MAX) - 0.5);
        let matrix = |rows: usize, cols: usize, first: usize| {
            Array2::from_shape_fn((rows, cols), |(row, col)| value(first + row * cols + col))
        };
        let found = product(matrix(19, 700, 0).view(), matrix(700, 23, 19 * 700).view());
        found.iter().map(|value| value.widen().to_bits()).collect()
    }
    let all = [bits::<f32>(), bits::<f64>()].concat();
    let text: Vec<String> = all.iter().map(|bits| format!("{bits:016x}")).collect();
    Key::new(0).with_name(&text.concat()).value()
}
