//! What one event costs in picojoules: the arithmetic, the registers, the memories.
//!
//! Energy of a run = Σ exact count × energy of one event. A [`Profile`] holds the figures of one
//! technology, each with its source and certainty, and prices each event at any width by the laws
//! documented on its methods; an [`SramTable`] prices scratchpads by their size and row. Both are
//! JSON; those in `models/energy/` are embedded, and a user's own text of the same schema is
//! parsed by [`Profile::parse`].
//!
//! Ratios under one profile are good to ±15 %, absolute figures to a factor of 2. The quadratic
//! law holds for the multiplier alone: a whole PE goes as about b^1.3.
//!
//! *Absent:* wires between PEs, the clock tree, leakage, bank selection, DRAM row activations, the
//! pipeline registers inside float adders, and any dependence on the data beyond a toggle rate of
//! one half. Each would add to every figure.
//!
//! *Invariant:* nothing here knows of layers, cycles or files, and an event costs the same `f64` on
//! every machine: the laws use only `+ − × ÷ √`, which IEEE 754 rounds correctly.
//!
//! ```
//! use systoliq_sim::energy::Profile;
//!
//! let profile = Profile::horowitz45();
//! let thousand_products = profile.multiply(8, 8) * 1000;
//! assert!((thousand_products.0 - 200.0).abs() < 1e-3);
//! ```

mod error;
mod figures;
mod profile;
mod sram;

#[cfg(test)]
mod tests;

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::Error;
pub use figures::{Certainty, DramKind, Figure, Unit};
pub use profile::{Profile, Update};
pub use sram::{Access, Banked, Cell, SramTable};

/// Energy in picojoules. Derived once from exact counts, never accumulated per cycle.
///
/// A count times the energy of one event:
///
/// ```
/// use systoliq_sim::energy::Picojoules;
///
/// assert_eq!(Picojoules(0.5) * 6 + Picojoules(1.0), Picojoules(4.0));
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Picojoules(pub f64);

impl Add for Picojoules {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Picojoules {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Mul<u64> for Picojoules {
    type Output = Self;

    /// Energy of `count` events.
    fn mul(self, count: u64) -> Self {
        Self(self.0 * count as f64)
    }
}

impl Sum for Picojoules {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self(0.0), Add::add)
    }
}

impl<'a> Sum<&'a Self> for Picojoules {
    fn sum<I: Iterator<Item = &'a Self>>(parts: I) -> Self {
        parts.copied().sum()
    }
}
