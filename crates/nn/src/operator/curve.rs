//! `sigmoid` and `tanh`, and their slopes by the value that is stored behind them.

use ndarray::{Array2, Zip};

use crate::golden::Real;

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Squash {
    /// `1 / (1 + e^-z)`.
    Sigmoid,
    /// `tanh z`.
    Tanh,
}

impl Squash {
    pub(super) fn apply<F: Real>(self, value: &mut Array2<F>) {
        let one = F::one();
        match self {
            Self::Sigmoid => value.mapv_inplace(|z| one / (one + F::of(libm::exp(-z.widen())))),
            Self::Tanh => value.mapv_inplace(|z| F::of(libm::tanh(z.widen()))),
        }
    }

    /// Takes a gradient through the curve backwards: times `y · (1 − y)`, or `1 − y²`.
    pub(super) fn mask<F: Real>(self, gradient: &mut Array2<F>, stored: &Array2<F>) {
        let one = F::one();
        Zip::from(gradient).and(stored).for_each(|dz, &y| {
            let slope = match self {
                Self::Sigmoid => y * (one - y),
                Self::Tanh => one - y * y,
            };
            *dz = *dz * slope;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradient, reals};

    #[test]
    fn values_are_those_of_the_standard_library_and_slopes_finite_differences() {
        for squash in [Squash::Sigmoid, Squash::Tanh] {
            let z = reals("curve", 1, 5, 4) * 3.0;
            let applied = |z: &Array2<f64>| {
                let mut value = z.clone();
                squash.apply(&mut value);
                value
            };
            for (z, found) in z.iter().zip(&applied(&z)) {
                let expected = match squash {
                    Squash::Sigmoid => 0.5 + 0.5 * (z / 2.0).tanh(),
                    Squash::Tanh => z.tanh(),
                };
                assert!((found - expected).abs() < 1e-15, "{squash:?} {z}");
            }
            let weight = reals("curve", 2, 5, 4);
            let mut dz = weight.clone();
            squash.mask(&mut dz, &applied(&z));
            check_gradient(&dz, &z, &weight, applied);
        }
    }
}
