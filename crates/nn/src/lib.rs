//! The network as data, its training data, and the floating-point golden model.
//!
//! A [`Network`] is what a user writes; [`Graph`] is the same with its shapes worked out and
//! checked. [`initial_weights`] and [`epoch_order`] say where every training run begins and in
//! which order it sees its samples, so that two models of one experiment start and step alike.
//! A [`DataSpec`] loads a [`DataSet`]; [`Golden`] trains on it in `f32` or `f64`.
//!
//! ```
//! use systoliq_nn::{DataSpec, Golden, Graph, Network, Training};
//!
//! let network: Network = serde_json::from_str(r#"{
//!     "input": [64],
//!     "layers": [{"dense": {"units": 16}}, "relu", {"dense": {"units": 10}}],
//!     "loss": "softmax_cross_entropy"
//! }"#).unwrap();
//! let training: Training =
//!     serde_json::from_str(r#"{"epochs": 5, "batch": 32, "rate": 0.1}"#).unwrap();
//! let (graph, seed) = (Graph::new(&network)?, 1);
//! let data = DataSpec::Digits {}.load(seed, &mut |_| unreachable!("nothing to open"))?;
//! data.check(&graph, &training)?;
//!
//! let mut golden = Golden::<f32>::new(&graph, seed);
//! let before = golden.evaluate(&data.validation, training.batch).loss;
//! for epoch in 0..training.epochs {
//!     golden.train_epoch(&data.train, &training, seed, epoch);
//! }
//! assert!(golden.evaluate(&data.validation, training.batch).loss < before / 2.0);
//! # Ok::<(), systoliq_nn::Error>(())
//! ```
//!
//! *Invariants:* nothing here knows of fixed point, and nothing here opens a file: whoever calls
//! [`DataSpec::load`] does. Exponentials, logarithms and the like come from `libm`, so generated
//! data are the same on every machine, and golden results on the same CPU features.

mod batch_order;
pub mod data;
mod error;
pub mod extended;
pub mod golden;
pub mod graph;
pub mod layer;
pub mod metrics;
pub mod network;
pub mod operator;
mod product;
pub mod schedule;
#[cfg(test)]
mod testing;

pub use batch_order::epoch_order;
pub use data::{Answers, Batch, DataSet, DataSpec, Part};
pub use error::Error;
pub use extended::Extended;
pub use golden::{
    Evaluation, Golden, Gradients, Parameters, Predicted, Quantity, Real, StepRecord,
};
pub use graph::{EntryName, Graph, Node, Shape, ValueId, WeightedLayer, initial_weights};
pub use layer::LayerSpec;
pub use metrics::Information;
pub use network::{BatchGradient, GoldenPrecision, Loss, LossUnit, Network, SqnrSteps, Training};
pub use operator::{ClippedRelu, Dense, EdgeFunction, Operator, WeightShape};
pub use schedule::Schedule;
