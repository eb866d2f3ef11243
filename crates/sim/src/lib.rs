//! What a run costs: memory, timeline and energy of a program on the simulated array.
//!
//! [`energy`] prices events: one multiplication, one row read from a scratchpad, one bit moved to
//! DRAM. The counts of these events come from the simulation, never from a formula beside it.

pub mod energy;
