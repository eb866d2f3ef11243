//! A run: a program trained on the simulated array beside its golden model.
//!
//! An [`Experiment`] is checked and lowered to a [`Prepared`] one. A [`Trainer`] runs its steps in
//! fixed point and in floating point, looks at both, and counts in a
//! [`Timeline`](timeline::Timeline) which command ran how often on which sizes.
//!
//! *Invariant:* a run is the same, bit for bit, whoever looks at it. Nothing here opens a file.

pub mod activity;
pub mod capture;
pub mod comparison;
pub mod cpu;
pub mod dump;
pub mod error;
pub mod experiment;
pub mod fitness;
mod judge;
mod observer;
pub mod path;
mod right;
pub mod session;
pub mod step_trace;
pub mod timeline;
pub mod trainer;

pub use cpu::CpuSeconds;
pub use error::Error;
pub use experiment::{Experiment, Prepared};
pub use right::Right;
pub use trainer::{EngineKind, Trainer};

/// What results mean: runs of the same settings under the same number have the same results.
///
/// Stores and checkpoints state it, and are gone on with only where it is this one. It is raised when
/// any result of any experiment changes: a bit, a count, a cycle or an energy. `tests/semantics.rs`
/// ties it to a hash of results. What prints, draws or judges them does not matter here.
pub const SEMANTICS: u32 = 6;
