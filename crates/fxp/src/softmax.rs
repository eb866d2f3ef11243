//! The softmax and loss unit.
