//! A run: a program trained on the simulated array beside its golden model, and what that cost.
//!
//! An [`Experiment`] is checked and lowered to a [`Prepared`] one. A [`Trainer`]
//! runs its steps in fixed point and in floating point, and counts in a
//! [`Timeline`](timeline::Timeline) which command ran how often on which sizes. [`cost`] says, per
//! command, which events that takes; [`prices`] has what they cost; [`report`] sums up.
//!
//! *Invariant:* cycles and events are exact integers. Energy is computed from them once, when
//! they are summed. Nothing here opens a file.

pub mod accumulators;
pub mod activity;
pub mod capture;
pub mod comparison;
pub mod dependence;
pub mod diagnosis;
pub mod drop;
pub mod dump;
pub mod error;
pub mod experiment;
pub mod fitness;
mod judge;
pub mod mcnemar;
pub mod path;
pub mod precision;
pub mod report;
pub mod savings;
pub mod step_trace;
pub mod timeline;
pub mod trainer;
pub mod workload;

pub use error::Error;
pub use experiment::{Experiment, Prepared};
pub use report::Report;
pub use trainer::{EngineKind, Trainer};

/// What results mean: runs of the same settings under the same number have the same results.
///
/// Stores and checkpoints state it, and are gone on with only where it is this one. It is raised when
/// any result of any experiment changes: a bit, a count, a cycle or an energy. `tests/semantics.rs`
/// ties it to a hash of results. What prints, draws or judges them does not matter here.
pub const SEMANTICS: u32 = 2;
