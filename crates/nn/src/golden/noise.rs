//! How strongly noise in each tensor of the forward pass moves the network's decisions.
//!
//! Rounding adds to every element of a tensor an independent error of variance `D²/12`, `D` the
//! tensor's step. To first order it moves the difference of two logits by the error times the
//! difference's derivative. By Chebyshev's inequality and the symmetry of the error, the decision
//! `y` (the argmax in floating point) turns into `i` with a probability of at most
//! `D² Σ_a (∂(z_i − z_y)/∂a)² / (24 (z_i − z_y)²)`; summed over `i` that is `D² E`, `E` the
//! tensor's **noise gain** on that sample.
//!
//! C. Sakr, Y. Kim and N. Shanbhag, "Analytical guarantees on numerical precision of deep neural
//! networks", ICML 2017. There, `E` is the mean over samples; here it stays sample by sample, since
//! one sample with hardly any margin can outweigh all others.

use ndarray::{Array2, Axis};

use super::{Golden, Real};
use crate::metrics::argmax;
use crate::operator::sample_squares;

/// The noise gains of every tensor of the forward pass: one number per sample.
///
/// A gain is infinite where two classes tie, unless noise in that tensor reaches neither of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoiseGains {
    /// One entry per value that is stored, in their order: the input first, the logits last.
    pub activations: Vec<Vec<f64>>,
    /// One entry per layer with weights: its weights and, with the same step, its bias.
    pub weights: Vec<Vec<f64>>,
}

impl NoiseGains {
    /// Appends the gains of further samples of the same network.
    ///
    /// # Panics
    ///
    /// If `more` is of a network with another number of layers, unless `self` is empty.
    pub fn extend(&mut self, more: Self) {
        if self.weights.is_empty() {
            *self = more;
            return;
        }
        assert_eq!(self.weights.len(), more.weights.len(), "gains of another network");
        let ours = self.activations.iter_mut().chain(&mut self.weights);
        for (ours, more) in ours.zip(more.activations.into_iter().chain(more.weights)) {
            ours.extend(more);
        }
    }
}

impl<F: Real> Golden<F> {
    /// The class that each row of `logits` names: its largest, the first of equal ones.
    pub fn decisions(logits: &Array2<F>) -> Vec<u32> {
        logits.axis_iter(Axis(0)).map(|row| argmax(&row.to_vec()) as u32).collect()
    }

    /// The noise gains on each row of `inputs`, exactly: every difference of logits is propagated
    /// back on its own. For a dense layer `Z = X·Wᵀ + b` with the difference's derivative `δ` with
    /// respect to one sample's `Z`, the squares sum to `‖δ‖²·‖x‖²` over the weights, to `‖δ‖²` over
    /// the bias, and to `‖δ·W‖²` over the sample's `x`. For a convolution, whose weights meet every place,
    /// they are of the sum over places: `‖Σ δ·xᵀ‖²`, and `(Σ δ)²` over the bias.
    ///
    /// # Panics
    ///
    /// If `inputs` does not have the network's inputs as columns.
    pub fn noise_gains(&self, inputs: &Array2<f64>) -> NoiseGains {
        let stored = self.stored(inputs);
        let logits = &stored[self.graph.output()];
        let decisions = Self::decisions(logits);
        let samples = inputs.nrows();
        let none = vec![0.0; samples];
        let mut gains = NoiseGains {
            activations: vec![none.clone(); self.graph.stored().count()],
            weights: vec![none; self.graph.weighted().len()],
        };
        for class in 0..self.graph.outputs() {
            let delta = differences(&decisions, class, logits.dim());
            let margins: Vec<f64> = (logits.axis_iter(Axis(0)).zip(&decisions))
                .map(|(row, &decision)| (row[class] - row[decision as usize]).widen())
                .collect();
            let add = |gain: &mut [f64], squares: &[f64]| {
                for ((gain, &squares), margin) in gain.iter_mut().zip(squares).zip(&margins) {
                    // Not the quotient 0 / 0 of a tie that the tensor has no part in.
                    if squares > 0.0 {
                        *gain += squares / (24.0 * margin * margin);
                    }
                }
            };
            let mut values = gains.activations.iter_mut().rev();
            let see = |_, unmasked: &Array2<F>| {
                let squares = sample_squares(unmasked.view(), samples);
                add(values.next().expect("a gain for each value"), &squares);
            };
            let (gradients, _) = self.backward(&stored, delta, |_| true, see);
            for layer in self.graph.weighted() {
                let operator = &self.graph.nodes[layer.entry].operator;
                let (reads, gradient) = (&stored[layer.reads], &gradients[layer.output]);
                let squares = operator.parameter_squares(&[reads], gradient, samples);
                add(&mut gains.weights[layer.number], &squares.expect("a layer with weights"));
            }
        }
        gains
    }
}

/// `∂(z_class − z_y)/∂z`, a row for each sample; zero where `class` is the decision `y` itself.
fn differences<F: Real>(decisions: &[u32], class: usize, shape: (usize, usize)) -> Array2<F> {
    let mut delta = Array2::zeros(shape);
    for (mut row, &decision) in delta.axis_iter_mut(Axis(0)).zip(decisions) {
        row[class] += F::one();
        row[decision as usize] -= F::one();
    }
    delta
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::golden::{LayerParameters, Parameters};
    use crate::graph::Graph;
    use crate::network::Loss;
    use crate::testing::{chain, reals};

    fn graph(inputs: usize, units: &[usize], bias: bool) -> Graph {
        chain(inputs, units, bias, Loss::SoftmaxCrossEntropy)
    }

    #[test]
    fn gains_of_a_tiny_network_are_those_computed_by_hand() {
        // x = (1, 2); hidden: relu(1·1 + 1·2 − 1) = 2, relu(1·1 − 1·2 + 0) = 0; logits: 2·2 + 1·0 = 4,
        // 1·2 + 3·0 + 1 = 3. y = 0, the margin is −1, and 24·(−1)² = 24.
        let layers = vec![
            LayerParameters {
                weights: array![[1.0, 1.0], [1.0, -1.0]],
                bias: Some(array![-1.0, 0.0]),
            },
            LayerParameters {
                weights: array![[2.0, 1.0], [1.0, 3.0]],
                bias: Some(array![0.0, 1.0]),
            },
        ];
        let model =
            Golden::from_parameters(&graph(2, &[2, 2], true), Parameters { layers }).unwrap();
        let gains = model.noise_gains(&array![[1.0, 2.0]]);
        // z₁ − z₀ has δ = (−1, 1) by the logits; by the hidden outputs (−1, 1)·W = (−1, 2); behind
        // the mask (−1, 0); by the input (−1, 0)·W = (−1, −1).
        assert_eq!(gains.activations[2], [2.0 / 24.0]);
        assert_eq!(gains.weights[1], [2.0 * (2.0 * 2.0 + 1.0) / 24.0]);
        assert_eq!(gains.activations[1], [(1.0 + 4.0) / 24.0]);
        assert_eq!(gains.weights[0], [(1.0 + 4.0 + 1.0) / 24.0]);
        assert_eq!(gains.activations[0], [2.0 / 24.0]);
    }

    #[test]
    fn a_tie_is_infinite_but_for_tensors_that_have_no_part_in_it() {
        let layers = vec![LayerParameters { weights: array![[1.0], [1.0]], bias: None }];
        let model = Golden::from_parameters(&graph(1, &[2], false), Parameters { layers }).unwrap();
        let gains = model.noise_gains(&array![[0.5]]);
        assert_eq!(gains.activations, [[0.0], [f64::INFINITY]]);
        assert_eq!(gains.weights, [[f64::INFINITY]]);
    }

    /// Σ (∂(z_i − z_y)/∂p)² / (24 (z_i − z_y)²) by central differences, `change` moving parameter
    /// `p` of a network whose logits on one sample are `logits(p, distance)`.
    fn by_differences(count: usize, logits: impl Fn(usize, f64) -> Vec<f64>) -> f64 {
        const STEP: f64 = 1e-6;
        let at_rest = logits(0, 0.0);
        let y = argmax(&at_rest);
        let mut gain = 0.0;
        for p in 0..count {
            let (up, down) = (logits(p, STEP), logits(p, -STEP));
            for i in (0..at_rest.len()).filter(|&i| i != y) {
                let slope = ((up[i] - up[y]) - (down[i] - down[y])) / (2.0 * STEP);
                gain += (slope / (at_rest[i] - at_rest[y])).powi(2) / 24.0;
            }
        }
        gain
    }

    /// The logits of one sample with one element of what layer `layer` reads moved: those of a network of
    /// the layers from there on.
    fn logits_with_moved_activation(
        model: &Golden<f64>,
        x: &Array2<f64>,
        (layer, units): (usize, &[usize]),
        (unit, distance): (usize, f64),
    ) -> Vec<f64> {
        let values = model.stored(x);
        let reads = model.graph.weighted().get(layer).map(|layer| layer.reads);
        let mut values = values[reads.unwrap_or(model.graph.output())].clone();
        values[(0, unit)] += distance;
        if layer < units.len() {
            let layers = model.parameters.layers[layer..].to_vec();
            let graph = graph(values.ncols(), &units[layer..], layers[0].bias.is_some());
            let tail = Golden::from_parameters(&graph, Parameters { layers }).unwrap();
            values = tail.outputs(&values);
        }
        values.into_raw_vec_and_offset().0
    }

    #[test]
    fn every_gain_equals_its_finite_differences() {
        let (mut checked, mut tied) = (0, 0);
        for case in 0..24_u64 {
            let units: &[usize] = [&[4][..], &[6, 3], &[7, 5, 4]][case as usize % 3];
            let graph = graph(5, units, case / 3 % 2 == 0);
            let mut parameters = Parameters::<f64>::initial(&graph, case);
            for bias in parameters.layers.iter_mut().filter_map(|layer| layer.bias.as_mut()) {
                *bias = reals("noise", case + 50, 1, bias.len()).row(0).to_owned() * 0.3;
            }
            let model = Golden::from_parameters(&graph, parameters.clone()).unwrap();
            let inputs = reals("noise", case, 3, 5);
            let gains = model.noise_gains(&inputs);
            for sample in 0..3 {
                let x = inputs.select(Axis(0), &[sample]);
                let logits = model.outputs(&x).into_raw_vec_and_offset().0;
                if logits.iter().all(|&logit| logit == logits[0]) {
                    // Every hidden unit is off, and nothing moves a tie at 0.
                    tied += 1;
                    continue;
                }
                let mut close = |ours: f64, expected: f64, what: &str| {
                    let relative = (ours - expected).abs() / expected.max(1e-30);
                    assert!(relative < 1e-5, "case {case} {what}: {ours} ≠ {expected}");
                    checked += 1;
                };
                for layer in 0..=units.len() {
                    let inputs = graph.weighted().get(layer).map(|layer| layer.weights.fan_in);
                    let count = inputs.unwrap_or(graph.outputs());
                    let expected = by_differences(count, |p, d| {
                        logits_with_moved_activation(&model, &x, (layer, units), (p, d))
                    });
                    close(gains.activations[layer][sample], expected, &format!("a{layer}"));
                }
                for (layer, shape) in graph.weighted().iter().map(|layer| layer.weights).enumerate()
                {
                    let expected = by_differences(shape.parameters(), |p, d| {
                        let mut moved = parameters.clone();
                        let ours = &mut moved.layers[layer];
                        let all = ours.weights.iter_mut().chain(ours.bias.iter_mut().flatten());
                        *all.into_iter().nth(p).unwrap() += d;
                        let moved = Golden::from_parameters(&graph, moved).unwrap();
                        moved.outputs(&x).into_raw_vec_and_offset().0
                    });
                    close(gains.weights[layer][sample], expected, &format!("w{layer}"));
                }
            }
        }
        // One sample of two layers ties, and one of three.
        assert_eq!((checked, tied), (3 * 8 * (3 + 5 + 7) - 5 - 7, 2));
    }
}
