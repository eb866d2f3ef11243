//! How many cycles things take, in closed form.
//!
//! A fold with T steps in time that waits for r rows and c columns of the grid takes
//!
//! | cause | cycles | why |
//! | --- | --- | --- |
//! | preload | r | a stationary operand moves in from above, one row per cycle |
//! | stream | T | the first PE takes new operands in each cycle |
//! | skew | r + c − 2 | the last PE takes each of them that much later |
//! | drain | r | stationary outputs leave at the bottom, one row per cycle |
//!
//! of which it has a preload where an operand stays, and a drain where the outputs do. How folds
//! follow each other is told by [`FoldSchedule`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use crate::schedule::FoldSchedule;
use crate::{Error, Mapping, impl_fieldwise_sum};

/// A count of clock cycles of the array.
///
/// Sums that do not fit 64 bits panic.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Cycles(pub u64);

impl Add for Cycles {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.checked_add(other.0).expect("cycles fit 64 bits"))
    }
}

impl AddAssign for Cycles {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cycles {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self(0), Add::add)
    }
}

impl std::fmt::Display for Cycles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Cycles by their cause: each cycle has exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CyclesByCause {
    /// A stationary operand moves to its place.
    pub preload: Cycles,
    /// Operands enter the first PE.
    pub stream: Cycles,
    /// Operands are still on their way to the last PE.
    pub skew: Cycles,
    /// Results leave.
    pub drain: Cycles,
    /// The vector unit works, and the array waits.
    pub vector: Cycles,
    /// All wait for memory.
    pub stall: Cycles,
}

impl_fieldwise_sum!(CyclesByCause { preload, stream, skew, drain, vector, stall });

impl CyclesByCause {
    /// All causes together.
    ///
    /// # Panics
    ///
    /// If the sum does not fit 64 bits.
    pub fn total(&self) -> Cycles {
        let Self { preload, stream, skew, drain, vector, stall } = *self;
        [preload, stream, skew, drain, vector, stall].into_iter().sum()
    }

    /// The sum, cause by cause; `None` if the total does not fit 64 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.total().0.checked_add(other.total().0)?;
        Some(self + other)
    }

    /// Every cause `factor` times; `None` if the total does not fit 64 bits.
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        let times = |cycles: Cycles| cycles.0.checked_mul(factor).map(Cycles);
        let product = Self {
            preload: times(self.preload)?,
            stream: times(self.stream)?,
            skew: times(self.skew)?,
            drain: times(self.drain)?,
            vector: times(self.vector)?,
            stall: times(self.stall)?,
        };
        self.total().0.checked_mul(factor)?;
        Some(product)
    }
}

/// The cycles of one GEMM.
///
/// # Errors
///
/// If their number does not fit 64 bits.
pub fn gemm(mapping: &Mapping) -> Result<CyclesByCause, Error> {
    FoldSchedule::new(mapping)
        .and_then(|schedule| schedule.cycles())
        .ok_or_else(|| too_large(mapping))
}

pub(crate) fn too_large(mapping: &Mapping) -> Error {
    let Mapping { shape, rows, cols, .. } = *mapping;
    Error::GemmTooLarge { shape, rows, cols }
}

/// The cycles of the vector unit for `passes` passes over `elements` elements: those of the
/// passes, and 4 to fill and empty its pipeline. No work takes none.
///
/// ```
/// use systoliq_array::{Cycles, timing};
/// assert_eq!(timing::vector(4, 320, 8)?, Cycles(4 * 40 + 4));
/// assert_eq!(timing::vector(1, 9, 8)?, Cycles(2 + 4));
/// assert_eq!(timing::vector(1, 0, 8)?, Cycles(0));
/// # Ok::<(), systoliq_array::Error>(())
/// ```
///
/// # Errors
///
/// If their number does not fit 64 bits.
///
/// # Panics
///
/// If `lanes` is 0.
pub fn vector(passes: u64, elements: u64, lanes: usize) -> Result<Cycles, Error> {
    if passes == 0 || elements == 0 {
        return Ok(Cycles(0));
    }
    let cycles = passes.checked_mul(elements.div_ceil(lanes as u64));
    let cycles = cycles.and_then(|cycles| cycles.checked_add(4));
    cycles.map(Cycles).ok_or(Error::VectorTooLarge { passes, elements })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Array, Overlap, Stationary};
    use systoliq_program::gemm::GemmShape;

    fn mapping(side: usize, (m, n, k): (usize, usize, usize), stationary: Stationary) -> Mapping {
        Mapping::new(&Array::new(side, side).unwrap(), GemmShape { m, k, n }, stationary)
    }

    #[test]
    fn cycles_without_drain_are_those_of_scale_sim_and_one() {
        // SCALE-Sim v3's compute cycles of isolated GEMMs, which leave out the drain and the last
        // cycle: (side, (m, n, k), cycles in os, ws and is).
        for (side, shape, scale_sim) in [
            (8, (8, 8, 8), [21, 29, 29]),
            (8, (64, 64, 64), [4991, 5503, 5503]),
            (8, (100, 50, 30), [4003, 3415, 3743]),
            (8, (128, 32, 64), [4991, 4799, 6911]),
            (16, (100, 50, 30), [1679, 1167, 1343]),
            (32, (100, 50, 30), [735, 387, 575]),
        ] {
            for (stationary, cycles) in Stationary::ALL.into_iter().zip(scale_sim) {
                let mapping = mapping(side, shape, stationary);
                let by_cause = gemm(&mapping).unwrap();
                let CyclesByCause { preload, stream, skew, drain, .. } = by_cause;
                assert_eq!((preload + stream + skew).0, cycles + 1, "{mapping:?}");
                let drained = if mapping.output_stays() { mapping.folds().unwrap() } else { 0 };
                assert_eq!(drain.0, drained * side as u64);
                assert_eq!(by_cause.total(), preload + stream + skew + drain);
            }
        }
    }

    #[test]
    fn policies_have_the_closed_forms_that_the_documentation_derives() {
        for (r, c) in [(1u64, 1u64), (4, 7), (16, 16)] {
            for (m, n, k) in [(128, 128, 128), (16, 16, 16), (3, 5, 2), (100, 1, 50)] {
                for stationary in Stationary::ALL {
                    let array = Array::new(r as usize, c as usize).unwrap();
                    let isolated = Mapping::new(&array, GemmShape { m, k, n }, stationary);
                    let folds = isolated.folds().unwrap();
                    let t = isolated.extents().time as u64;
                    for (overlap, cycles) in [
                        (Overlap::None, folds * (2 * r + c + t - 2)),
                        (Overlap::DoubleBuffered, folds * (t + r + c - 2) + r),
                        (Overlap::Pipelined, r + (folds - 1) * t.max(r) + t + r + c - 2),
                    ] {
                        let mapping = Mapping { overlap, ..isolated };
                        assert_eq!(gemm(&mapping).unwrap().total().0, cycles, "{mapping:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn absurd_sizes_are_refused_with_their_numbers() {
        let array = Array::new(1, 1).unwrap();
        let big = usize::MAX;
        for (m, k, n) in [(big, 1, big), (1, big, 1), (1 << 40, 1 << 40, 1), (big, big, big)] {
            let mapping = Mapping::new(&array, GemmShape { m, k, n }, Stationary::Output);
            let message = gemm(&mapping).unwrap_err().to_string();
            let numbers = [m, k, n].map(|size| format!("= {size}"));
            assert!(numbers.iter().all(|number| message.contains(number)), "{message}");
        }
        assert!(vector(4, u64::MAX, 1).is_err());
        assert!(vector(1, u64::MAX, 1).is_err());
    }

    #[test]
    fn causes_add_up_one_by_one() {
        let one = CyclesByCause { preload: Cycles(1), stall: Cycles(2), ..Default::default() };
        let other = CyclesByCause { stall: Cycles(3), vector: Cycles(4), ..Default::default() };
        let sum: CyclesByCause = [one, other].into_iter().sum();
        assert_eq!((sum.preload.0, sum.stall.0, sum.vector.0), (1, 5, 4));
        assert_eq!(sum.total(), one.total() + other.total());
    }
}
