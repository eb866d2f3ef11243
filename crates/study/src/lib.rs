//! What runs say: reports, judgements, diagnoses, and plans that follow from a float run.
//!
//! [`Report`] sums up what runs of several seeds found; [`drop`](mod@drop) and [`drop::ratio`] say what may be
//! said of what fixed point loses; [`diagnosis`] which tensors explain it; [`savings`] what it saves
//! beside float hardware. [`precision`] plans bit widths, [`workload`] takes a network layer by layer.
//!
//! *Invariant:* totals sum counts first, and energy is computed from them once. Nothing here opens a
//! file.

pub mod accumulators;
pub mod dependence;
pub mod diagnosis;
pub mod drop;
pub mod mcnemar;
pub mod network;
pub mod panel;
pub mod precision;
pub mod report;
pub mod savings;
pub mod swamping;
pub mod workload;

pub use report::Report;
