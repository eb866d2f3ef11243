//! The functions in the edge of a value: in the forward pass, and as masks in the backward pass.

use systoliq_fxp::ActivationCurve;
use systoliq_nn::operator::Squash;
use systoliq_nn::{EdgeFunction, Graph, ValueId};

use crate::finish::Edge;
use crate::tensor::TensorId;

/// What happens to a value as it leaves its operator.
pub(super) fn forward(graph: &Graph, value: ValueId) -> Vec<Edge> {
    let edges = |function| match function {
        EdgeFunction::Relu => vec![Edge::Relu],
        EdgeFunction::ClippedRelu(clipped) => {
            vec![Edge::Relu, Edge::Clip { most: clipped.most }]
        }
        EdgeFunction::Squash(squash) => vec![Edge::Curve(curve(squash))],
    };
    graph.edge(value).into_iter().flat_map(edges).collect()
}

/// What happens to the gradient of a value that is stored in `tensor`: its functions from the last to the
/// first.
pub(super) fn backward(graph: &Graph, value: ValueId, tensor: TensorId) -> Vec<Edge> {
    let mask = |function| match function {
        EdgeFunction::Relu => Edge::Positive(tensor),
        EdgeFunction::ClippedRelu(clipped) => Edge::Between { of: tensor, most: clipped.most },
        EdgeFunction::Squash(squash) => Edge::Slope { of: tensor, curve: curve(squash) },
    };
    graph.edge(value).into_iter().rev().map(mask).collect()
}

fn curve(squash: Squash) -> ActivationCurve {
    match squash {
        Squash::Sigmoid => ActivationCurve::Sigmoid,
        Squash::Tanh => ActivationCurve::Tanh,
    }
}
