//! What can be wrong with a precision plan.

/// A precision plan that cannot be carried out, at its path in the experiment.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A role with an impossible format or a setting that does not go with its scale.
    #[error("{path}: {problem}")]
    Role {
        /// Path of the role in the experiment.
        path: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// Overrides for a layer that the network does not have.
    #[error(
        "precision.layers.{layer}: the network has {layers} layers with weights, numbered 0 to {}",
        layers - 1
    )]
    Layer {
        /// The layer named.
        layer: usize,
        /// Layers with weights.
        layers: usize,
    },
    /// A learning rate that no multiplier holds.
    #[error("training.rate: {0}")]
    Rate(#[source] systoliq_fxp::Error),
}
