//! What a program takes on an accelerator: cycles, events, bytes, and what they cost.
//!
//! An [`Accelerator`] is a systolic array with its scratchpads, its DRAM and the figures of its
//! technology. [`cost`] says of each command of a program which cycles and events it takes, in closed
//! forms; [`memory`] walks the bursts of DRAM and says who waits for them; [`stash`] and [`buffer`] say
//! what does not go there; [`prices`] gives events their energy on the circuits of [`silicon`].
//!
//! *Invariant:* cycles and events are exact integers. Nothing here knows the golden model, or that a
//! program is trained.

pub mod accelerator;
pub mod actions;
pub mod buffer;
pub mod cost;
pub mod csv;
pub mod efficiency;
mod error;
pub mod events;
pub mod memory;
pub mod prices;
pub mod roofline;
pub mod silicon;
pub mod single;
pub mod stash;

pub use accelerator::Accelerator;
pub use error::Error;
