//! What one event costs: the arithmetic, the registers, the wires, the memories; and what the
//! circuits measure and leak.
//!
//! Energy of a run = Σ exact count × energy of one event. A [`Profile`] holds the figures of one
//! technology, each with its source and certainty, and prices each event at any width by the laws
//! documented on its methods; an [`SramTable`] prices scratchpads by their size and row. Both are
//! JSON; those in `models/energy/` are embedded ([`Profile::NAMES`]), and a user's own text of the
//! same schema is parsed by [`Profile::parse`]. [`Profile::at_node`] carries a profile of 45 nm to
//! 7 to 130 nm.
//!
//! Ratios under one profile are good to ±15 %, absolute figures to a factor of 2, and laws differ
//! between profiles: a 4-bit multiplier takes 0.26 of an 8-bit one in `horowitz45`, 0.22 in
//! `nangate45`, 0.14 in `nangate45-glitch`. The quadratic law holds for the multiplier alone: a
//! whole PE goes as about b^1.3.
//!
//! *Absent:* wires and control between the banks of a row, valid bits and counters, the pipeline
//! registers inside float adders, and any dependence on the data beyond a toggle rate of one half.
//! Each would add to every figure.
//!
//! *Invariant:* nothing here knows of layers, cycles or files, and an event costs the same `f64` on
//! every machine: the laws use only `+ − × ÷ √`, which IEEE 754 rounds correctly.
//!
//! ```
//! use systoliq_energy::Profile;
//!
//! let profile = Profile::horowitz45();
//! let thousand_products = profile.multiply(8, 8) * 1000;
//! assert!((thousand_products.0 - 200.0).abs() < 1e-3);
//! ```

mod area;
mod changed;
mod error;
mod figure;
mod figures;
mod interpolate;
mod node;
mod profile;
mod provenance;
mod scratchpad;
mod sram;
mod synthesis;

#[cfg(test)]
mod tests;

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::Error;
pub use error::shown;
pub use figure::{Certainty, EnergyUnit, Figure, Unit};
pub use figures::{DramKind, FloatFormat};
pub use profile::{Profile, WeightUpdate};
pub use provenance::{PricedAt, Provenance};
pub use sram::{Access, Cell, Sram, SramTable, SramTables};

/// Energy in picojoules. Derived once from exact counts, never accumulated per cycle.
///
/// A count times the energy of one event:
///
/// ```
/// use systoliq_energy::Picojoules;
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

const NANOWATTS_PER_MILLIWATT: f64 = 1e6;

/// Power in milliwatts.
///
/// ```
/// use systoliq_energy::{Milliwatts, Picojoules};
///
/// // 1 mW over 1 µs is 1 nJ:
/// assert_eq!(Milliwatts(1.0).over_cycles(500, 500.0), Picojoules(1000.0));
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Milliwatts(pub f64);

impl Milliwatts {
    /// The energy of `cycles` cycles at `clock_mhz` MHz.
    pub fn over_cycles(self, cycles: u64, clock_mhz: f64) -> Picojoules {
        let microseconds = cycles as f64 / clock_mhz;
        Picojoules(self.0 * microseconds * 1000.0)
    }
}

impl Add for Milliwatts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sum for Milliwatts {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self(0.0), Add::add)
    }
}
