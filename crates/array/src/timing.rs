//! How many cycles things take, in closed form.
//!
//! With R x C PEs and T elements that stream, an isolated fold of the output-stationary dataflow
//! takes
//!
//! | cause | cycles | why |
//! | --- | --- | --- |
//! | stream | T | the first PE takes one pair of operands per cycle |
//! | skew | R + C − 2 | the last PE takes each pair that much later |
//! | drain | R | results leave at the bottom, one row per cycle |
//!
//! The whole grid is clocked for every fold, also where a tile fills only part of it. Without
//! overlap, a GEMM of F folds takes F·(2R + C + T − 2) cycles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use systoliq_program::gemm::GemmShape;

use crate::config::{Dataflow, Overlap};
use crate::{Array, Error, impl_fieldwise_sum};

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

/// The cycles of one isolated fold through which `time` elements stream; `None` if their number
/// does not fit 64 bits.
///
/// ```
/// use systoliq_array::{Array, timing};
/// let fold = timing::fold(&Array::new(8, 8)?, 30).unwrap();
/// assert_eq!((fold.stream.0, fold.skew.0, fold.drain.0), (30, 14, 8));
/// # Ok::<(), systoliq_array::Error>(())
/// ```
pub fn fold(array: &Array, time: u64) -> Option<CyclesByCause> {
    let (rows, cols) = (array.rows as u64, array.cols as u64);
    time.checked_add(2 * rows + cols)?;
    let (stream, skew) = (Cycles(time), Cycles(rows + cols - 2));
    Some(match array.dataflow {
        Dataflow::OutputStationary => {
            CyclesByCause { stream, skew, drain: Cycles(rows), ..Default::default() }
        }
    })
}

/// The number of folds of a GEMM, as [`tiles`](crate::tiles) counts them; `None` if it does not
/// fit 64 bits.
pub fn folds(array: &Array, shape: GemmShape) -> Option<u64> {
    let extents = array.dataflow.extents(shape);
    if extents.time == 0 {
        return Some(0);
    }
    let along = |extent: usize, side: usize| extent.div_ceil(side) as u64;
    along(extents.rows, array.rows).checked_mul(along(extents.cols, array.cols))
}

/// The cycles of one GEMM.
///
/// # Errors
///
/// If their number does not fit 64 bits.
pub fn gemm(array: &Array, shape: GemmShape) -> Result<CyclesByCause, Error> {
    let Array { rows, cols, .. } = *array;
    let cycles = match array.overlap {
        Overlap::None => fold(array, array.dataflow.extents(shape).time as u64)
            .zip(folds(array, shape))
            .and_then(|(fold, folds)| fold.checked_mul(folds)),
    };
    cycles.ok_or(Error::GemmTooLarge { shape, rows, cols })
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

    #[test]
    fn cycles_without_drain_are_those_of_scale_sim_and_one() {
        // SCALE-Sim v3's compute cycles of isolated GEMMs, which leave out the drain and the last
        // cycle: (side, (m, n, k), cycles).
        for (side, (m, n, k), cycles) in [
            (8, (8, 8, 8), 21),
            (8, (64, 64, 64), 4991),
            (8, (100, 50, 30), 4003),
            (8, (128, 32, 64), 4991),
            (16, (100, 50, 30), 1679),
            (32, (100, 50, 30), 735),
        ] {
            let array = Array::new(side, side).unwrap();
            let shape = GemmShape { m, k, n };
            let by_cause = gemm(&array, shape).unwrap();
            let CyclesByCause { preload, stream, skew, drain, .. } = by_cause;
            assert_eq!((preload + stream + skew).0, cycles + 1, "{shape:?} on {side}");
            assert_eq!(drain.0, folds(&array, shape).unwrap() * side as u64);
            assert_eq!(by_cause.total(), preload + stream + skew + drain);
        }
    }

    #[test]
    fn folds_are_as_many_as_tiles() {
        for (rows, cols) in [(1, 1), (3, 2), (8, 8)] {
            let array = Array::new(rows, cols).unwrap();
            for shape in [(0, 1, 1), (1, 0, 1), (1, 1, 1), (7, 2, 9), (8, 8, 8)] {
                let shape = GemmShape { m: shape.0, k: shape.1, n: shape.2 };
                let counted = crate::tiles(&array, shape).count() as u64;
                assert_eq!(folds(&array, shape), Some(counted), "{shape:?} on {array:?}");
            }
        }
    }

    #[test]
    fn absurd_sizes_are_refused_with_their_numbers() {
        let array = Array::new(1, 1).unwrap();
        let big = usize::MAX;
        for (m, k, n) in [(big, 1, big), (1, big, 1), (1 << 40, 1 << 40, 1), (big, big, big)] {
            let message = gemm(&array, GemmShape { m, k, n }).unwrap_err().to_string();
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
