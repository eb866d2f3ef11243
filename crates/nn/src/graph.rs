//! The network with its shapes worked out and checked.

use ndarray::Array2;
use systoliq_keyed_random::Key;

use crate::Error;
use crate::network::{LayerSpec, Loss, Network};

/// A network whose shapes fit: what a [`Golden`](crate::Golden) model trains and what is lowered
/// to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Graph {
    /// Values in one input sample.
    pub inputs: usize,
    /// The layers, first to last; at least one. The last has no ReLU.
    pub layers: Vec<Dense>,
    /// The loss, which reads the last layer's output.
    pub loss: Loss,
}

/// A dense layer, with the ReLU that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Dense {
    /// Values it reads per sample: the fan-in of its weights.
    pub inputs: usize,
    /// Values it writes per sample.
    pub units: usize,
    /// Whether it adds a bias.
    pub bias: bool,
    /// Whether `max(0, ·)` follows.
    pub relu: bool,
}

impl Dense {
    /// The number of weights, `units · inputs`.
    pub const fn weights(&self) -> usize {
        self.units * self.inputs
    }
}

impl Graph {
    /// The most layers of a network, dense and ReLU counted alike.
    pub const LAYERS_MAX: usize = 1 << 10;
    /// The most weights of all layers together.
    pub const WEIGHTS_MAX: usize = 1 << 28;
    /// The most inputs, and the most units of a layer.
    pub const EXTENT_MAX: usize = 1 << 24;

    /// Works out the shapes of `network`. Takes no memory but for the list of layers.
    ///
    /// # Errors
    ///
    /// If an extent or a layer's units are zero or exceed [`EXTENT_MAX`](Self::EXTENT_MAX), there
    /// are no or too many layers, a ReLU does not follow a dense layer or is the last layer, or
    /// the weights exceed [`WEIGHTS_MAX`](Self::WEIGHTS_MAX).
    pub fn new(network: &Network) -> Result<Self, Error> {
        let inputs = input_values(&network.input)?;
        Error::check_count("network.layers", network.layers.len(), 1, Self::LAYERS_MAX)?;
        let mut layers: Vec<Dense> = Vec::new();
        let mut weights = 0;
        let mut values = inputs;
        for (at, layer) in network.layers.iter().enumerate() {
            match layer {
                LayerSpec::Dense(spec) => {
                    let key = format!("network.layers[{at}].dense.units");
                    Error::check_count(&key, spec.units, 1, Self::EXTENT_MAX)?;
                    let (inputs, units) = (values, spec.units);
                    weights = inputs.saturating_mul(units).saturating_add(weights);
                    if weights > Self::WEIGHTS_MAX {
                        return Err(Error::TooManyWeights { at, inputs, units, weights });
                    }
                    layers.push(Dense { inputs, units, bias: spec.bias, relu: false });
                    values = units;
                }
                LayerSpec::Relu => match layers.last_mut() {
                    Some(dense) if !dense.relu => dense.relu = true,
                    Some(_) => return Err(Error::MisplacedRelu { at, found: "a relu" }),
                    None => return Err(Error::MisplacedRelu { at, found: "the input" }),
                },
            }
        }
        match layers.last() {
            Some(last) if last.relu => Err(Error::LastRelu { at: network.layers.len() - 1 }),
            _ => Ok(Self { inputs, layers, loss: network.loss }),
        }
    }

    /// Values that the network writes per sample: the units of its last layer.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(self.inputs, |layer| layer.units)
    }
}

fn input_values(extents: &[usize]) -> Result<usize, Error> {
    Error::check_count("network.input: number of extents", extents.len(), 1, 8)?;
    let mut values = 1;
    for (at, &extent) in extents.iter().enumerate() {
        Error::check_count(&format!("network.input[{at}]"), extent, 1, Graph::EXTENT_MAX)?;
        values = extent.saturating_mul(values);
        Error::check_count("network.input: product of extents", values, 1, Graph::EXTENT_MAX)?;
    }
    Ok(values)
}

/// The bound `1/√fan_in` of a layer's initial weights, in units of `2^-24`:
/// `⌊2^24 / √fan_in⌋`, by integers.
///
/// ```
/// assert_eq!(systoliq_nn::graph::initial_bound(64), 1 << 21);
/// assert_eq!(systoliq_nn::graph::initial_bound(2), 11_863_283); // 2^24 / 1.41421356 = 11863283.2
/// ```
///
/// # Panics
///
/// If `fan_in` is 0.
pub const fn initial_bound(fan_in: usize) -> u64 {
    ((1_u64 << 48) / fan_in as u64).isqrt()
}

/// The weights `[units, inputs]` that layer number `layer` starts with: uniform over the multiples
/// of `2^-24` in ±`1/√inputs`, so that `f32` holds each exactly. Biases start at 0.
///
/// With `G =` [`initial_bound`]`(inputs)`, weight number `i`, row-major, is
/// `(⌊word(i)·(2G + 1) / 2³²⌋ − G)·2^-24`, `word` of the key (seed, "initial weights", `layer`).
///
/// # Panics
///
/// If `graph` has no layer of that number.
pub fn initial_weights(graph: &Graph, layer: usize, seed: u64) -> Array2<f64> {
    let dense = &graph.layers[layer];
    let bound = initial_bound(dense.inputs);
    let key = Key::new(seed).with_name("initial weights").with(layer as u64);
    let ulp = (-24_f64).exp2();
    Array2::from_shape_fn((dense.units, dense.inputs), |(unit, input)| {
        let index = (unit * dense.inputs + input) as u64;
        let step = (u64::from(key.word(index)) * (2 * bound + 1)) >> 32;
        (step as i64 - bound as i64) as f64 * ulp
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::DenseSpec;

    fn dense(units: usize) -> LayerSpec {
        LayerSpec::Dense(DenseSpec { units, bias: true })
    }

    fn network(input: &[usize], layers: Vec<LayerSpec>) -> Network {
        Network { input: input.to_vec(), layers, loss: Loss::SoftmaxCrossEntropy }
    }

    #[test]
    fn shapes_follow_from_layer_to_layer_and_a_relu_joins_its_dense() {
        let layers = vec![dense(5), LayerSpec::Relu, dense(3)];
        let graph = Graph::new(&network(&[2, 3], layers)).unwrap();
        assert_eq!((graph.inputs, graph.outputs()), (6, 3));
        let shapes: Vec<_> = graph.layers.iter().map(|l| (l.inputs, l.units, l.relu)).collect();
        assert_eq!(shapes, [(6, 5, true), (5, 3, false)]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_with_place_and_numbers() {
        use LayerSpec::Relu;
        let huge = usize::MAX;
        let cases: [(&[usize], Vec<LayerSpec>, &[&str]); 12] = [
            (&[], vec![dense(1)], &["network.input", " 0,", " 1 "]),
            (&[1; 9], vec![dense(1)], &["network.input", " 9,", " 8"]),
            (&[4, 0], vec![dense(1)], &["network.input[1]", " 0,"]),
            (&[huge, 2], vec![dense(1)], &["network.input[0]", "18446744073709551615"]),
            (&[1 << 24, 1 << 24], vec![dense(1)], &["network.input", "281474976710656"]),
            (&[4], vec![], &["network.layers", " 0,"]),
            (&[4], vec![Relu; 2000], &["network.layers", "2000", "1024"]),
            (&[4], vec![dense(0)], &["network.layers[0].dense.units", " 0,"]),
            (&[4], vec![Relu, dense(1)], &["network.layers[0]", "relu", "the input"]),
            (&[4], vec![dense(1), Relu, Relu], &["network.layers[2]", "relu", "a relu"]),
            (&[4], vec![dense(1), Relu], &["network.layers[1]", "last", "logits"]),
            (
                &[1 << 20],
                vec![dense(2), dense(3), dense(1 << 24), dense(1 << 24)],
                &["network.layers[3]", "16777216 · 16777216", "268435456"],
            ),
        ];
        for (input, layers, said) in cases {
            let bad = network(input, layers);
            let message = Graph::new(&bad).unwrap_err().to_string();
            assert!(said.iter().all(|part| message.contains(part)), "{said:?}: {message}");
        }
    }

    #[test]
    fn the_bound_of_initial_weights_is_the_floor_of_the_root() {
        for fan_in in (1..2000).chain([1 << 20, (1 << 24) - 1, 1 << 24]) {
            let bound = u128::from(initial_bound(fan_in));
            let square = |b: u128| b * b * fan_in as u128; // b ≤ 2^24/√n where b²·n ≤ 2^48
            assert!(square(bound) <= 1 << 48 && square(bound + 1) > 1 << 48, "{fan_in}");
        }
    }

    #[test]
    fn initial_weights_are_uniform_multiples_of_an_f32_ulp() {
        let graph = Graph::new(&network(&[100], vec![dense(200), dense(7)])).unwrap();
        let weights = initial_weights(&graph, 0, 1);
        assert_eq!(weights.dim(), (200, 100));
        let bound = 0.1; // 1/√100
        for &w in &weights {
            assert!(w.abs() <= bound && f64::from(w as f32) == w, "{w}");
            assert_eq!((w * 24_f64.exp2()).fract(), 0.0);
        }
        let count = weights.len() as f64;
        let mean = weights.sum() / count;
        let variance = weights.mapv(|w| w * w).sum() / count;
        // Uniform on ±b: variance b²/3; five standard errors of mean and of mean square.
        assert!(mean.abs() < 5.0 * bound / (3.0 * count).sqrt(), "{mean}");
        let spread = bound * bound * (4.0 / 45.0 / count).sqrt();
        assert!((variance - bound * bound / 3.0).abs() < 5.0 * spread, "{variance}");
        assert_eq!(weights, initial_weights(&graph, 0, 1));
        assert_ne!(weights, initial_weights(&graph, 0, 2));
    }
}
