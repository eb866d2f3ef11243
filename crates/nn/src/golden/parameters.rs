//! Weights and biases.

use ndarray::{Array1, Array2, ArrayViewD};

use super::Real;
use crate::Error;
use crate::graph::{Graph, initial_weights};
use crate::operator::WeightShape;

/// A number for every weight and bias of every layer: weights and biases themselves, their gradients,
/// or what momentum has gathered for them.
///
/// As `f64`, by [`cast`](Self::cast), they hold `f32` parameters exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<F> {
    /// One entry per layer with weights, in the order of their numbers.
    pub layers: Vec<LayerParameters<F>>,
}

/// The weights and biases of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerParameters<F> {
    /// `[units, inputs]`.
    pub weights: Array2<F>,
    /// `[units]`, where the layer has a bias.
    pub bias: Option<Array1<F>>,
}

impl<F: Real> LayerParameters<F> {
    /// The weights (0) or the bias (1); nothing where there is none.
    pub(super) fn numbers(&self, which: usize) -> Option<ArrayViewD<'_, F>> {
        match which {
            0 => Some(self.weights.view().into_dyn()),
            1 => self.bias.as_ref().map(|bias| bias.view().into_dyn()),
            _ => None,
        }
    }

    /// All numbers: the weights row by row, then the bias.
    pub fn each(&self) -> impl Iterator<Item = F> {
        self.weights.iter().chain(self.bias.iter().flatten()).copied()
    }
}

impl<F: Real> Parameters<F> {
    /// What training starts with: [`initial_weights`], which every [`Real`] holds exactly, and
    /// biases of 0.
    pub fn initial(graph: &Graph, seed: u64) -> Self {
        let layers = initial_weights(graph, seed).into_iter().zip(graph.weighted());
        let layers = layers.map(|(weights, layer)| LayerParameters {
            weights: weights.mapv(F::of),
            bias: layer.weights.bias.then(|| Array1::zeros(layer.weights.outputs)),
        });
        Self { layers: layers.collect() }
    }

    /// Whether every number is finite.
    pub fn are_finite(&self) -> bool {
        self.layers.iter().flat_map(LayerParameters::each).all(F::is_finite)
    }

    /// How many bytes the numbers take.
    pub fn bytes(&self) -> usize {
        let all = self
            .layers
            .iter()
            .map(|layer| layer.weights.len() + layer.bias.iter().flatten().count());
        all.sum::<usize>() * size_of::<F>()
    }

    /// Zeros of the same shapes.
    pub fn zeros(&self) -> Self {
        let layer = |layer: &LayerParameters<F>| LayerParameters {
            weights: Array2::zeros(layer.weights.dim()),
            bias: layer.bias.as_ref().map(|bias| Array1::zeros(bias.dim())),
        };
        Self { layers: self.layers.iter().map(layer).collect() }
    }

    /// The same in another precision: exact from `f32` to `f64`, to nearest the other way.
    pub fn cast<G: Real>(&self) -> Parameters<G> {
        let value = |value: F| G::of(value.widen());
        let layer = |layer: &LayerParameters<F>| LayerParameters {
            weights: layer.weights.mapv(value),
            bias: layer.bias.as_ref().map(|bias| bias.mapv(value)),
        };
        Parameters { layers: self.layers.iter().map(layer).collect() }
    }

    /// Checks that these are parameters of `graph`.
    ///
    /// # Errors
    ///
    /// If the number of layers, an extent, or the presence of a bias differs.
    pub fn check(&self, graph: &Graph) -> Result<(), Error> {
        check(0, "layers", &[self.layers.len()], &[graph.weighted().len()])?;
        for (at, (ours, layer)) in self.layers.iter().zip(graph.weighted()).enumerate() {
            let WeightShape { outputs, fan_in, bias } = layer.weights;
            check(at, "weights", ours.weights.shape(), &[outputs, fan_in])?;
            let expected: &[usize] = if bias { &[outputs] } else { &[] };
            check(at, "biases", ours.bias.as_ref().map_or(&[], |bias| bias.shape()), expected)?;
        }
        Ok(())
    }
}

fn check(
    layer: usize,
    what: &'static str,
    found: &[usize],
    expected: &[usize],
) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.to_vec(), expected.to_vec());
    Err(Error::Parameters { layer, what, found, expected })
}
