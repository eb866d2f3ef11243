//! The integer program of a training step: the only thing that decides bits.
//!
//! A [`Graph`](systoliq_nn::Graph) and a [precision plan](plan) are lowered once to a [`Program`]:
//! a short list of GEMM and vector [commands](command) over named tensors, each tagged with the
//! layer and pass it came from. A [`Machine`] holds the tensors and runs the commands in order;
//! whatever multiplies matrices for it is an [`Engine`], of which [`Reference`] is the plain loop
//! that defines every bit. [`listing`] writes a program down for a person.
//!
//! Absent: cycles, energy, files. Which grid runs a program, and how long it takes, never changes
//! a bit.

pub mod command;
pub mod error;
pub mod gemm;
pub mod im2col;
pub mod listing;
mod lower;
pub mod machine;
pub mod panels;
pub mod plan;
pub mod spec;
mod width;

pub use command::{Command, Operation, Pass, Program, TensorDecl, TensorId, Work};
pub use error::Error;
pub use gemm::{Engine, GemmShape, GemmTask, Operand, Reference, Sums};
pub use machine::{Machine, Outcome, Snapshot, Step, Verdict};
pub use plan::{Plan, Role, TensorPlan};
pub use spec::PrecisionSpec;
pub use width::SafeWidth;
