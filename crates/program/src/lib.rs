//! The integer program of a training step.
pub mod gemm;
pub use gemm::{Engine, GemmTask, Operand, Reference, Sums};
