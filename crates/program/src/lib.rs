//! The integer program of a training step: the only thing that decides bits.
//!
//! A [`Graph`](systoliq_nn::Graph) and a [precision plan](plan) are lowered once to a [`Program`]:
//! a short list of [commands](command) over named [tensors](tensor), each with its
//! [`Operation`], layer and pass. A [`Store`] holds the tensors, an [`Engine`] runs the
//! commands on it; [`Reference`] runs all of them plainly, which defines every bit. Every result leaves
//! through its [`Finish`]. A [listing](listing::listing) writes a program down for a person.
//!
//! Absent: cycles, energy, files. Which grid runs a program, and how long it takes, never changes
//! a bit.

pub mod bytes;
pub mod command;
pub mod convolution;
pub mod engine;
pub mod error;
pub mod finish;
pub mod gemm;
pub mod im2col;
pub mod listing;
mod lower;
pub mod operation;
pub mod panels;
pub mod plan;
pub mod role;
pub mod spec;
pub mod store;
pub mod tensor;
pub mod view;
mod width;
pub mod workers;

pub use command::{Command, CommandId, EntryName, Pass, Program, Write, WriteId};
pub use convolution::ConvolutionShape;
pub use engine::{Engine, Outcome, Written};
pub use error::Error;
pub use finish::{Edge, Exit, Factor, Finish};
pub use gemm::{GemmShape, GemmTask, Operand, Reading, Reference, Sums};
pub use operation::{Operation, What, Work};
pub use plan::{AccumulatorPart, Plan, TensorPlan};
pub use role::Role;
pub use spec::PrecisionSpec;
pub use store::{Samples, Snapshot, Step, Store, Verdict};
pub use tensor::{TensorDecl, TensorId};
pub use view::{Repeats, View};
pub use width::SafeWidth;
pub use workers::Workers;
