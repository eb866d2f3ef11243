//! What the tests of operators and of golden have in common.

use ndarray::Array2;
use systoliq_keyed_random::Key;

use crate::graph::Graph;
use crate::layer::{DenseSpec, LayerSpec, OperatorSpec};
use crate::network::{Loss, Network};

/// Reals in ±1, keyed by name and seed.
pub(crate) fn reals(name: &str, seed: u64, rows: usize, columns: usize) -> Array2<f64> {
    let key = Key::new(seed).with_name(name);
    let real = |index: usize| f64::from(key.word(index as u64)) / 2_f64.powi(31) - 1.0;
    Array2::from_shape_fn((rows, columns), |(row, column)| real(row * columns + column))
}

/// A network of dense layers with these units, a ReLU after each but the last.
pub(crate) fn chain(inputs: usize, units: &[usize], bias: bool, loss: Loss) -> Graph {
    let dense = |&units| OperatorSpec::Dense(DenseSpec { units, bias });
    let mut layers: Vec<LayerSpec> = (units.iter())
        .flat_map(|units| [dense(units), OperatorSpec::Relu].map(LayerSpec::from))
        .collect();
    layers.pop();
    Graph::new(&Network { input: vec![inputs], layers, loss }).unwrap()
}

/// Holds `gradient` against the central differences of `Σ weight · made(at)`.
pub(crate) fn check_gradient(
    gradient: &Array2<f64>,
    at: &Array2<f64>,
    weight: &Array2<f64>,
    made: impl Fn(&Array2<f64>) -> Array2<f64>,
) {
    const STEP: f64 = 1e-5;
    assert_eq!(gradient.dim(), at.dim());
    for (place, &found) in gradient.indexed_iter() {
        let objective = |distance: f64| {
            let mut moved = at.clone();
            moved[place] += distance;
            (made(&moved) * weight).sum()
        };
        let slope = (objective(STEP) - objective(-STEP)) / (2.0 * STEP);
        assert!((found - slope).abs() < 1e-8, "{place:?}: {found} ≠ {slope}");
    }
}
