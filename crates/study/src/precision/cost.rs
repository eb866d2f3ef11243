//! What widths cost, whatever the technology: full adders of the products and their sums, and bits
//! stored, of the forward pass.
//!
//! ICML 2017: a dot product of `D` terms, the bias being one of them with an input of 1, takes
//! `D B_A B_W` full adders for its products and `(D − 1)(B_A + B_W + ⌈log₂ D⌉ − 1)` for its sum.

use serde::Serialize;
use systoliq_nn::{WeightShape, WeightedLayer};

use super::{Assignment, Study};

/// Full adders and bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Complexity {
    /// One-bit full adders of the products and sums of one sample.
    pub full_adders: u64,
    /// Bits of the inputs of one sample, of weights and biases.
    pub storage_bits: u64,
}

impl Complexity {
    /// Full adders of a sum of `terms` products, at least one, of such widths; nothing if they leave 64
    /// bits.
    pub fn dot_product(terms: u64, bits_a: u32, bits_b: u32) -> Option<u64> {
        let (a, b) = (u64::from(bits_a), u64::from(bits_b));
        let sum_bits = a + b + u64::from(terms.next_power_of_two().ilog2()) - 1;
        terms.checked_mul(a * b)?.checked_add((terms - 1).checked_mul(sum_bits)?)
    }

    /// Of a layer whose outputs stand at so many places, of `inputs` inputs of `input_bits` bits and weights of
    /// `weight_bits`.
    ///
    /// # Panics
    ///
    /// If a count leaves 64 bits, which no [`Graph`](systoliq_nn::Graph) brings about.
    pub fn of_layer(
        weights: &WeightShape,
        (places, inputs): (usize, usize),
        (input_bits, weight_bits): (u32, u32),
    ) -> Self {
        let terms = weights.fan_in as u64 + u64::from(weights.bias);
        let (a, w) = (u64::from(input_bits), u64::from(weight_bits));
        let outputs = weights.outputs as u64;
        let dot_product = Self::dot_product(terms, input_bits, weight_bits);
        Self {
            full_adders: places as u64
                * outputs
                * dot_product.expect("a graph's layers can be counted"),
            storage_bits: inputs as u64 * a + terms * outputs * w,
        }
    }
}

/// What a layer costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerCost {
    /// The layer.
    pub layer: usize,
    /// Bits of what it reads.
    pub input_bits: u32,
    /// Bits of its weights.
    pub weight_bits: u32,
    /// Full adders and bits.
    #[serde(flatten)]
    pub complexity: Complexity,
}

impl Study<'_> {
    /// What an assignment costs, layer by layer.
    pub fn cost(&self, assignment: &Assignment) -> Vec<LayerCost> {
        let layers = self.prepared.graph.weighted().iter();
        layers
            .map(|&WeightedLayer { number, weights, reads, output, .. }| {
                let graph = &self.prepared.graph;
                let sizes = (graph.shape(output).rows(), graph.shape(reads).elements());
                let bits @ (input_bits, weight_bits) = assignment.of_layer(number);
                let complexity = Complexity::of_layer(&weights, sizes, bits);
                LayerCost { layer: number, input_bits, weight_bits, complexity }
            })
            .collect()
    }
}
