//! Other people's text, read into networks and accelerators.
//!
//! [`scalesim`] reads topologies and configurations of SCALE-Sim, and gives its figures of a product.
//!
//! *Invariant:* text comes in as text. Nothing here opens a file.

pub mod scalesim;
