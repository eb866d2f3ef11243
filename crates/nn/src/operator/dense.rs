//! `Z = X·Wᵀ + b`: a dense (fully connected) layer.

use ndarray::{Array2, ArrayView2, Axis};

use super::sample_squares;
use crate::golden::{LayerParameters, Real};
use crate::graph::Shape;
use crate::product::product;

/// A dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dense {
    /// Values it reads per sample: the fan-in of its weights.
    pub inputs: usize,
    /// Values it makes per sample.
    pub units: usize,
    /// Whether it adds a bias.
    pub bias: bool,
}

impl Dense {
    pub(super) fn shape(&self, reads: &[Shape]) -> Shape {
        let elements: Vec<_> = reads.iter().map(|shape| shape.elements()).collect();
        assert_eq!(elements, [self.inputs], "elements that a dense layer reads");
        Shape::Features(self.units)
    }

    /// `dW = dZᵀ·X` and `db`, the sum of `dZ` over rows, both divided.
    pub(super) fn parameter_gradient<F: Real>(
        &self,
        x: &Array2<F>,
        dz: &Array2<F>,
        divisor: F,
    ) -> LayerParameters<F> {
        let weights = product(dz.t(), flat(x, self.inputs)) / divisor;
        let bias = self.bias.then(|| dz.sum_axis(Axis(0)) / divisor);
        LayerParameters { weights, bias }
    }
}

impl Dense {
    /// What its products read: a row for each sample.
    pub(super) fn rows_read<F: Real>(&self, x: &Array2<F>) -> Array2<F> {
        flat(x, self.inputs).to_owned()
    }

    /// `‖δ‖²·(‖x‖² + 1)` of each sample, without the 1 where there is no bias.
    pub(super) fn parameter_squares<F: Real>(&self, x: &Array2<F>, dz: &Array2<F>) -> Vec<f64> {
        let bias = if self.bias { 1.0 } else { 0.0 };
        let of_inputs = sample_squares(flat(x, self.inputs), dz.nrows());
        let of_outputs = sample_squares(dz.view(), dz.nrows());
        of_outputs.iter().zip(of_inputs).map(|(dz, x)| dz * (x + bias)).collect()
    }
}

/// An image of several rows a sample as one row each.
fn flat<F>(x: &Array2<F>, inputs: usize) -> ArrayView2<'_, F> {
    let rows = x.len() / inputs.max(1);
    x.view().into_shape_with_order((rows, inputs)).expect("values in order")
}

pub(super) fn forward<F: Real>(x: &Array2<F>, parameters: &LayerParameters<F>) -> Array2<F> {
    let mut z = product(flat(x, parameters.weights.ncols()), parameters.weights.t());
    if let Some(bias) = &parameters.bias {
        z += bias;
    }
    z
}

/// `dX = dZ·W`.
pub(super) fn input_gradient<F: Real>(
    dz: &Array2<F>,
    parameters: &LayerParameters<F>,
) -> Array2<F> {
    product(dz.view(), parameters.weights.view())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradient, reals};

    /// Rows, inputs and units.
    const SIZES: [(usize, usize, usize); 5] =
        [(1, 1, 1), (1, 4, 3), (3, 1, 2), (4, 5, 1), (5, 3, 4)];

    /// Samples, a layer, and a gradient of what it makes.
    fn case(at: usize, bias: bool) -> (Array2<f64>, Dense, LayerParameters<f64>, Array2<f64>) {
        let ((rows, inputs, units), seed) = (SIZES[at], 10 * at as u64);
        let bias_values = bias.then(|| reals("dense", seed + 1, 1, units).row(0).to_owned());
        let parameters =
            LayerParameters { weights: reals("dense", seed, units, inputs), bias: bias_values };
        let dense = Dense { inputs, units, bias };
        (
            reals("dense", seed + 2, rows, inputs),
            dense,
            parameters,
            reals("dense", seed + 3, rows, units),
        )
    }

    fn each(check: impl Fn(Array2<f64>, Dense, LayerParameters<f64>, Array2<f64>)) {
        for at in 0..SIZES.len() {
            for bias in [false, true] {
                let (x, dense, parameters, dz) = case(at, bias);
                check(x, dense, parameters, dz);
            }
        }
    }

    #[test]
    fn what_it_makes_is_that_of_a_plain_loop_in_either_type() {
        each(|x, dense, parameters, _| {
            let single = LayerParameters {
                weights: parameters.weights.mapv(|w| w as f32),
                bias: parameters.bias.as_ref().map(|bias| bias.mapv(|b| b as f32)),
            };
            let (double, single) =
                (forward(&x, &parameters), forward(&x.mapv(|x| x as f32), &single));
            assert_eq!(double.dim(), (x.nrows(), dense.units));
            for ((row, unit), &found) in double.indexed_iter() {
                let mut expected = parameters.bias.as_ref().map_or(0.0, |bias| bias[unit]);
                for input in 0..dense.inputs {
                    expected += x[(row, input)] * parameters.weights[(unit, input)];
                }
                assert!((found - expected).abs() < 1e-14, "{found} ≠ {expected}");
                assert!((f64::from(single[(row, unit)]) - expected).abs() < 1e-6);
            }
        });
    }

    #[test]
    fn gradients_equal_finite_differences() {
        each(|x, dense, parameters, dz| {
            let dx = input_gradient(&dz, &parameters);
            check_gradient(&dx, &x, &dz, |x| forward(x, &parameters));
            // Sums over the samples are those of ones; a divisor divides.
            let found = dense.parameter_gradient(&x, &dz, 2.0);
            assert_eq!(found.bias.is_some(), dense.bias);
            let with = |weights: &Array2<f64>| LayerParameters {
                weights: weights.clone(),
                bias: parameters.bias.clone(),
            };
            check_gradient(&(found.weights * 2.0), &parameters.weights, &dz, |weights| {
                forward(&x, &with(weights))
            });
            if let (Some(db), Some(bias)) = (found.bias, &parameters.bias) {
                let with = |bias: &Array2<f64>| LayerParameters {
                    weights: parameters.weights.clone(),
                    bias: Some(bias.row(0).to_owned()),
                };
                let (db, bias) = (db.insert_axis(Axis(0)), bias.clone().insert_axis(Axis(0)));
                check_gradient(&(db * 2.0), &bias, &dz, |bias| forward(&x, &with(bias)));
            }
        });
    }

    #[test]
    #[should_panic(expected = "elements that a dense layer reads")]
    fn a_value_of_another_size_is_not_read() {
        Dense { inputs: 3, units: 1, bias: false }.shape(&[Shape::Features(4)]);
    }
}
