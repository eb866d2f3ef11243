//! What the data itself does in the array: operands that are zero, and bits that flip.
//!
//! A *toggle* is one bit of a register's code that differs before and after a clock edge, in two's
//! complement at the width of the element's format or of the accumulator; valid bits are not
//! counted, and of a register of more than 64 bits the low 64 are. No PE is stepped: the registers of a row or column see the same codes one after the
//! other, so their toggles follow from the stream of codes and from how many registers it passes
//! ([`Activity`]), and those of a sum from its prefixes ([`accumulator_toggles`]), which have to be
//! computed one by one. `docs/timing.md` derives the forms; [`Register`](crate::Register) counts
//! the same by looking at every register at every edge.

mod held;
mod lanes;
mod operands;
mod streams;
mod sums;
mod turns;

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_fxp::Sum;
use systoliq_fxp::accumulator::Widths;
use systoliq_program::GemmTask;

use crate::mapping::{Axis, Tile};
use crate::schedule::Fold;
use crate::{FoldSchedule, Mapping, impl_fieldwise_sum};

pub use sums::accumulator_toggles;

/// What operands do during one GEMM or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// Multiply-accumulates of which one operand or both are zero.
    pub zero_operand_macs: u64,
    /// Bits that flip in registers that hold elements of A, second registers included.
    pub a_toggles: u64,
    /// Bits that flip in registers that hold elements of B, second registers included.
    pub b_toggles: u64,
}

impl_fieldwise_sum!(Activity { zero_operand_macs, a_toggles, b_toggles });

impl Activity {
    /// What the operands of one GEMM do, in time proportional to their elements.
    ///
    /// ```
    /// use systoliq_array::{Activity, Array, Mapping, Stationary};
    /// use systoliq_fxp::{Accumulator, Adder, Overflow, Rounding, Tensor};
    /// use systoliq_keyed_random::Key;
    /// use systoliq_program::{GemmTask, Operand};
    /// let accumulator = Accumulator::new(32, None, Rounding::Floor, Overflow::Wrap)?;
    /// let format = "Q4.0".parse()?;
    /// let a = Tensor::from_codes(format, 1, 3, &[1, 3, 0]);
    /// let b = Tensor::from_codes(format, 3, 1, &[-1, 1, 1]);
    /// let [left, right] = [&a, &b].map(|tensor| Operand::new(tensor, false));
    /// let task = GemmTask::new(left, right, Adder::new(&accumulator, 0, Key::new(0)), None);
    /// let mapping = Mapping::new(&Array::new(1, 1)?, task.shape(), Stationary::Output);
    /// let activity = Activity::of(&mapping, &task);
    /// assert_eq!(activity.zero_operand_macs, 1);
    /// // 0 → 0001 → 0011 → 0000, and 0 → 1111 → 0001 → 0001 → 0.
    /// assert_eq!((activity.a_toggles, activity.b_toggles), (1 + 1 + 2, 4 + 3 + 0 + 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the cycles of the GEMM do not fit 64 bits.
    pub fn of(mapping: &Mapping, task: &GemmTask<'_>) -> Self {
        match GemmRun::new(mapping) {
            Some(run) => operands::activity(&run, task),
            None => Self::default(),
        }
    }
}

/// A GEMM on the grid.
struct GemmRun {
    mapping: Mapping,
    schedule: FoldSchedule,
    /// The cycle after the last.
    end: u64,
}

impl GemmRun {
    /// A GEMM that has folds.
    fn new(mapping: &Mapping) -> Option<Self> {
        let schedule = FoldSchedule::new(mapping).expect("folds fit 64 bits");
        let end = schedule.cycles().expect("cycles fit 64 bits").total().0;
        (schedule.count() > 0).then_some(Self { mapping: *mapping, schedule, end })
    }

    /// The pieces of time: where each begins, and its steps.
    fn pieces_of_time(&self) -> impl Iterator<Item = Range<usize>> {
        let pieces = self.mapping.pieces(Axis::Time);
        (0..pieces.count()).map(move |at| pieces.range(at))
    }

    /// The number of the piece of time of a fold.
    fn piece_of(&self, tile: &Tile) -> usize {
        tile.time / self.mapping.pieces(Axis::Time).side
    }
}

/// Whether a fold follows the one before it without a bubble between.
fn follows(before: &Fold, fold: &Fold) -> bool {
    fold.start == before.start + before.tile.steps as u64
}

/// The low bits of a code: what its register holds. Of a register of more than 64 bits, the low 64.
pub(crate) fn word(code: i64, bits: u32) -> u64 {
    code as u64 & u64::MAX.checked_shr(64u32.saturating_sub(bits)).unwrap_or(0)
}

/// What the registers of a sum hold: the sum, and above it that of the present chunk or block.
pub(crate) fn sum_words(sum: &Sum, widths: Widths) -> u128 {
    let [value, chunk] = [(sum.value, widths.sum), (sum.chunk as i64, widths.chunk)]
        .map(|(code, bits)| u128::from(word(code, bits)));
    value | chunk << 64
}
