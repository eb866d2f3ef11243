//! What a run in floating point shows of its tensors: how large they get, how widely their
//! gradients spread, and how strongly noise in an error reaches the weight gradient.

use ndarray::{Array1, Array2, ArrayView1, Axis};

use super::{Golden, Gradients, LayerParameters, Real};
use crate::graph::{ValueId, WeightedLayer};
use crate::network::{BatchGradient, Training};

/// The weight of the past in the moving average of a tensor's variance.
const DECAY: f64 = 0.9;

/// The smallest and the largest element that were seen; both 0 before there was any.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Extremes {
    /// The smallest, at most 0.
    pub min: f64,
    /// The largest, at least 0.
    pub max: f64,
}

impl Extremes {
    /// Takes in further elements.
    pub fn see<'a, F: Real>(&mut self, values: impl IntoIterator<Item = &'a F>) {
        let grown = values.into_iter().fold((F::zero(), F::zero()), |(min, max), &value| {
            (if value < min { value } else { min }, if value > max { value } else { max })
        });
        self.min = self.min.min(grown.0.widen());
        self.max = self.max.max(grown.1.widen());
    }

    /// The largest magnitude.
    pub fn magnitude(&self) -> f64 {
        self.max.max(-self.min)
    }
}

/// The spread of a tensor over a run: the least and the largest standard deviation of its elements,
/// by a moving average of the variance, `v ← 0.9 v + 0.1 σ²`, that starts at the first σ² that is
/// not 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorSpread {
    average: Option<f64>,
    /// The least, `s_min`; infinite before there was a step.
    pub least: f64,
    /// The largest, `s_max`.
    pub largest: f64,
    /// The elements themselves.
    pub extremes: Extremes,
}

impl Default for TensorSpread {
    fn default() -> Self {
        Self { average: None, least: f64::INFINITY, largest: 0.0, extremes: Extremes::default() }
    }
}

impl TensorSpread {
    /// Takes in a step's tensor.
    pub fn see<'a, F: Real>(&mut self, values: impl IntoIterator<Item = &'a F> + Clone) {
        self.extremes.see(values.clone());
        let (count, sum, squares) =
            values.into_iter().fold((0.0, 0.0, 0.0), |(count, sum, squares), value| {
                let value = value.widen();
                (count + 1.0, sum + value, squares + value * value)
            });
        let mean: f64 = sum / count;
        let variance = (squares / count - mean * mean).max(0.0);
        if self.average.is_none() && variance == 0.0 {
            return;
        }
        let average = self.average.map_or(variance, |old| DECAY * old + (1.0 - DECAY) * variance);
        self.average = Some(average);
        self.least = self.least.min(average.sqrt());
        self.largest = self.largest.max(average.sqrt());
    }
}

/// What the three products that train a layer read in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerOperands {
    /// `[rows, fan_in]`: the samples, or of a convolution the windows of all.
    pub inputs: Array2<f64>,
    /// `[outputs, fan_in]`.
    pub weights: Array2<f64>,
    /// `[outputs]`, in a layer with bias.
    pub bias: Option<Array1<f64>>,
    /// `[rows, outputs]`: gradients with respect to pre-activations, per sample.
    pub gradients: Array2<f64>,
    /// Of a convolution, what its input gradient is a product of: the gradients of the windows that hold a
    /// pixel, and the weights.
    pub held: Option<[Array2<f64>; 2]>,
}

impl LayerOperands {
    /// Of every layer with weights, in a step that `golden` is about to take.
    pub fn of<F: Real>(golden: &Golden<F>, found: &Gradients<F>) -> Vec<Self> {
        let layers = golden.graph().weighted().iter().zip(&golden.parameters().layers);
        let of_layer = |(layer, parameters): (&WeightedLayer, &LayerParameters<F>)| {
            let operator = golden.graph().operator_of(layer);
            let weights = parameters.weights.mapv(Real::widen);
            let gradients = found.gradients[layer.output].mapv(Real::widen);
            let read = found.values[layer.reads].mapv(Real::widen);
            Self {
                inputs: operator.rows_read(&read).expect("a layer with weights"),
                bias: parameters.bias.as_ref().map(|bias| bias.mapv(Real::widen)),
                held: operator.input_gradient_operands(&gradients, &weights),
                weights,
                gradients,
            }
        };
        layers.map(of_layer).collect()
    }

    /// The root of the mean square of what their sums come to: `X·Wᵀ + b`, `dZ·W` and, summed over the
    /// batch, `dZᵀ·X`, or the sums of the rows of dZ where these are larger.
    pub fn deviations(&self) -> [f64; 3] {
        let Self { inputs: x, weights: w, bias, gradients: dz, held } = self;
        let mut outputs = x.dot(&w.t());
        bias.iter().for_each(|bias| outputs += bias);
        let deviation = |sums: &[f64]| {
            let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
            (squares / sums.len() as f64).sqrt()
        };
        let of_bias = bias.as_ref().map_or(0.0, |_| deviation(&dz.sum_axis(Axis(0)).to_vec()));
        let dx = held.as_ref().map_or_else(|| dz.dot(w), |[held, weights]| held.dot(weights));
        let [forward, input_gradient, weight_gradient] = [outputs, dx, dz.t().dot(x)]
            .map(|sums| deviation(&sums.into_iter().collect::<Vec<_>>()));
        [forward, input_gradient, weight_gradient.max(of_bias)]
    }
}

/// What a run showed of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerObservation {
    /// Stored outputs.
    pub outputs: Extremes,
    /// Weights, before and after every step.
    pub weights: Extremes,
    /// Biases, likewise.
    pub bias: Extremes,
    /// Gradients with respect to pre-activations, per sample.
    pub dz: TensorSpread,
    /// Weight gradients.
    pub dw: TensorSpread,
    /// Bias gradients; nothing seen in a layer without bias.
    pub db: TensorSpread,
    /// `λ`, the largest singular value of the Jacobian of `dW` with respect to `dZ`, its entries
    /// squared: independent noise of variance `v` in `dZ` is of variance `λ v` at most in `dW`.
    pub noise_gain: f64,
    /// The largest of the [deviations](LayerOperands::deviations) of its sums in the steps whose
    /// [sums](Observation::see_sums) were seen.
    pub sum_deviations: [f64; 3],
}

/// What a run showed of its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Samples.
    pub input: Extremes,
    /// One entry per layer with weights.
    pub layers: Vec<LayerObservation>,
}

impl Observation {
    /// Of a run of a network with this many layers with weights, before its first step.
    pub fn new(layers: usize) -> Self {
        Self { input: Extremes::default(), layers: vec![LayerObservation::default(); layers] }
    }

    /// Takes in a step that `golden` is about to take. `λ` is a matter of hundreds of products of
    /// a matrix and a vector, so the caller says in which steps it is looked at.
    ///
    /// # Panics
    ///
    /// If what was `found` is not `golden`'s, or the run has another number of layers.
    pub fn see<F: Real>(
        &mut self,
        golden: &Golden<F>,
        found: &Gradients<F>,
        training: &Training,
        noise_gain: bool,
    ) {
        assert_eq!(self.layers.len(), found.parameters.layers.len(), "another network");
        self.see_parameters(golden);
        self.input.see(&found.values[ValueId::INPUT]);
        let divisor = match training.batch_gradient {
            BatchGradient::Mean => found.error().nrows() as f64,
            BatchGradient::Sum => 1.0,
        };
        let parameters = golden.graph().weighted().iter().zip(&found.parameters.layers);
        for (ours, (layer, gradient)) in self.layers.iter_mut().zip(parameters) {
            ours.outputs.see(&found.values[layer.output]);
            ours.dz.see(&found.gradients[layer.output]);
            ours.dw.see(&gradient.weights);
            gradient.bias.iter().for_each(|db| ours.db.see(db));
            if noise_gain {
                let read = golden.graph().operator_of(layer).rows_read(&found.values[layer.reads]);
                let read = read.expect("a layer with weights");
                let squares = read.mapv(|x| (x.widen() / divisor).powi(2));
                ours.noise_gain = ours.noise_gain.max(largest_singular_value(&squares));
            }
        }
    }

    /// Takes in what sums come to in a step that `golden` is about to take, which is as much work as the
    /// step.
    ///
    /// # Panics
    ///
    /// If what was `found` is not `golden`'s.
    pub fn see_sums<F: Real>(&mut self, golden: &Golden<F>, found: &Gradients<F>) {
        for (ours, operands) in self.layers.iter_mut().zip(LayerOperands::of(golden, found)) {
            for (most, deviation) in ours.sum_deviations.iter_mut().zip(operands.deviations()) {
                *most = most.max(deviation);
            }
        }
    }

    /// Takes in the parameters that `golden` has.
    pub fn see_parameters<F: Real>(&mut self, golden: &Golden<F>) {
        for (ours, layer) in self.layers.iter_mut().zip(&golden.parameters().layers) {
            ours.weights.see(&layer.weights);
            layer.bias.iter().for_each(|bias| ours.bias.see(bias));
        }
    }
}

/// The largest singular value of a matrix without negative elements, to about eight digits: power
/// iteration on `AᵀA` from a vector of ones, which the leading singular vector is not orthogonal to,
/// as it has no negative elements either (Perron and Frobenius).
///
/// With `A = X∘X / B²`, one row per sample, that is [`LayerObservation::noise_gain`] of a dense
/// layer: `dW_jk = Σ_s dZ_sj X_sk / B`, so that the Jacobian falls into a block `Xᵀ/B` per unit.
///
/// ```
/// use systoliq_nn::golden::largest_singular_value;
/// let value = largest_singular_value(&ndarray::array![[3.0, 0.0], [4.0, 5.0]]);
/// assert!((value - 45_f64.sqrt()).abs() < 1e-7); // the squares are 45 and 5
/// ```
pub fn largest_singular_value(matrix: &Array2<f64>) -> f64 {
    const ITERATIONS: usize = 1000;
    let norm = |vector: ArrayView1<'_, f64>| vector.dot(&vector).sqrt();
    let mut vector = ndarray::Array1::from_elem(matrix.ncols(), 1.0);
    let mut value = 0.0;
    for _ in 0..ITERATIONS {
        let length = norm(vector.view());
        if length == 0.0 || !length.is_finite() {
            return length;
        }
        vector /= length;
        let image = matrix.dot(&vector);
        let next = norm(image.view());
        let settled = (next - value).abs() <= 1e-10 * next;
        value = next;
        if settled {
            break;
        }
        vector = matrix.t().dot(&image);
    }
    value
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn singular_values_are_those_of_matrices_whose_values_are_known() {
        let outer = |a: &[f64], b: &[f64]| {
            Array2::from_shape_fn((a.len(), b.len()), |(row, col)| a[row] * b[col])
        };
        // Of a product a·bᵀ it is ‖a‖·‖b‖; of a diagonal the largest element; of ones √(rows·cols).
        let rank_one = outer(&[3.0, 0.0, 4.0], &[5.0, 12.0]);
        assert!((largest_singular_value(&rank_one) - 5.0 * 13.0).abs() < 1e-9);
        let diagonal = Array2::from_diag(&array![0.5, 7.0, 6.9, 0.0]);
        assert!((largest_singular_value(&diagonal) - 7.0).abs() < 1e-6);
        assert!((largest_singular_value(&Array2::ones((8, 2))) - 4.0).abs() < 1e-12);
        assert_eq!(largest_singular_value(&Array2::zeros((3, 2))), 0.0);
    }

    #[test]
    fn noise_in_the_error_reaches_the_weight_gradient_with_its_gain_at_most() {
        // Variances v of dZ become Σ_s v_s (X_sk / B)²: no choice of v beats λ·‖v‖, and the leading
        // singular vector reaches it.
        let x: Array2<f64> = array![[1.0, -2.0, 0.5], [0.0, 1.5, 1.0]];
        let squares = x.mapv(|x| (x / 2.0) * (x / 2.0));
        let gain = largest_singular_value(&squares);
        let reached = (0..=1000)
            .map(|step| {
                let angle = f64::from(step) * std::f64::consts::FRAC_PI_2 / 1000.0;
                let variances = array![angle.cos(), angle.sin()];
                let noise: Array1<f64> = squares.t().dot(&variances);
                noise.dot(&noise).sqrt()
            })
            .fold(0.0, f64::max);
        assert!(
            reached <= gain * (1.0 + 1e-9) && reached > gain * (1.0 - 1e-5),
            "{reached} {gain}"
        );
    }

    #[test]
    fn deviations_of_sums_are_those_of_all_three_products_and_of_the_bias() {
        let operands = LayerOperands {
            inputs: array![[1.0, 2.0], [3.0, 0.0]],
            weights: array![[1.0, -1.0]],
            bias: Some(array![0.5]),
            gradients: array![[1.0], [-2.0]],
            held: None,
        };
        // Outputs −0.5 and 3.5; gradients (1, −1), (−2, 2); weight gradient 1 − 6 = −5 and 2, above the
        // bias gradient −1.
        let expected = [6.25_f64, 2.5, 14.5].map(f64::sqrt);
        for (found, expected) in operands.deviations().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn spreads_are_the_ends_of_a_moving_average_of_variances() {
        let mut spread = TensorSpread::default();
        // Variances 4, 1, 16: averages 4, 0.9·4 + 0.1·1 = 3.7, 0.9·3.7 + 0.1·16 = 4.93.
        for half in [2.0, 1.0, 4.0] {
            spread.see(&array![3.0 - half, 3.0 + half]);
        }
        assert!((spread.least - 3.7_f64.sqrt()).abs() < 1e-12, "{spread:?}");
        assert!((spread.largest - 4.93_f64.sqrt()).abs() < 1e-12, "{spread:?}");
        assert_eq!(spread.extremes, Extremes { min: -1.0, max: 7.0 });
        assert_eq!(spread.extremes.magnitude(), 7.0);
    }
}
