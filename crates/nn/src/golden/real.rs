//! The floating-point types that a golden model may have.

use std::fmt::Debug;
use std::ops::{AddAssign, SubAssign};

use ndarray::{LinalgScalar, ScalarOperand};
use num_traits::Float;

/// `f32` or `f64`.
///
/// Exponential and logarithm come from `libm`, and have names of their own, because those of
/// [`Float`] are the platform's, whose last bits differ from machine to machine.
pub trait Real:
    Float + LinalgScalar + ScalarOperand + AddAssign + SubAssign + Debug + Send + Sync
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
