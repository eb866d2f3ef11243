//! The systolic array: how many cycles one GEMM takes, what it does in them, and which bits come
//! out.
//!
//! An [`Array`] is a grid of processing elements (PEs) and the way it is used. A GEMM is cut into
//! [tiles](mapping) that fit the grid; each is one *fold*. The engine [`Register`] clocks every
//! register of every PE, and counts what it sees. Beside it stand the closed forms of [`timing`],
//! [`ArrayCounts`] and [`Activity`], which equal what [`Register`] counts.
//!
//! | module | holds |
//! | --- | --- |
//! | [`config`] | the array as a user describes it |
//! | [`mapping`] | a GEMM on the grid: which axis lies where, and the folds in their order |
//! | [`schedule`] | when each fold starts, and what it waits for |
//! | [`timing`] | cycles by cause, in closed form |
//! | [`counts`] | events, in closed form |
//! | [`activity`] | what depends on the data: zero operands and bits that flip |
//! | [`register`] | the engine that steps |
//! | [`instant`] | the registers in any cycle, without stepping |
//! | [`demand`] | the elements that pass the grid's edges in a cycle |
//! | [`trace`] | the registers in a range of cycles, written down |
//!
//! *Invariant:* nothing here knows of layers, files or floating point, and no setting of the array
//! changes a bit.

pub mod activity;
pub mod config;
pub mod counts;
pub mod demand;
mod error;
pub mod instant;
pub mod mapping;
pub mod register;
pub mod schedule;
pub mod timing;
pub mod trace;

pub use activity::Activity;
pub use config::{Array, Dataflow, FoldOrder, Overlap, PartialFolds, SIDE_MAX};
pub use counts::ArrayCounts;
pub use error::Error;
pub use instant::Instants;
pub use mapping::{Mapping, Stationary, Tile};
pub use register::Register;
pub use schedule::FoldSchedule;
pub use timing::{Cycles, CyclesByCause};
pub use trace::Trace;

/// Implements `+`, `+=` and `sum()` for a struct, field by field.
macro_rules! impl_fieldwise_sum {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl std::ops::Add for $name {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self { $($field: self.$field + other.$field),* }
            }
        }

        impl std::ops::AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
                parts.fold(Self::default(), |sum, part| sum + part)
            }
        }
    };
}
pub(crate) use impl_fieldwise_sum;
