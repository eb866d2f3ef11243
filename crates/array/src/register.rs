//! The engine that steps: every register of every PE, at every clock.
//!
//! A PE has two operand registers, each with a valid bit, and a sum; a second register for the sum of
//! the present chunk or block, if there are any, that moves with the first. One operand moves right along
//! the rows. Of the other operand and the sum, one moves down the columns and the other stays
//! ([`Stationary`]). Row i of the grid is fed i cycles late, and column j j
//! cycles late, so that what belongs together meets. A PE multiplies and adds in the cycle in which
//! it latches its operands. What stays comes from the top edge or leaves at the bottom edge through
//! a *chain*, the stationary registers of a column as a shift register; with overlap, each PE has a
//! second register, the *shadow*, for the chain.
//!
//! At a clock edge all operands move, then all PEs add. Registers are arrays, one for each field
//! (`lanes`), and what all PEs do is plain loops over them (`edge`), in words that hold all that may
//! happen or through the adder itself (`rule`). Counts are what was seen while stepping; of the
//! closed forms, only the starts of folds are taken, as a sequencer would. Registers carry the number
//! of their fold, which no hardware does, so that whatever meets what it should not is found: a
//! [`Hazard`].

mod edge;
mod feed;
mod grid;
mod lanes;
mod rule;
mod view;

use num_traits::AsPrimitive;
use systoliq_fxp::Sum;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{Engine, GemmTask, Sums};

use crate::activity::accumulator_toggles;
use crate::schedule::Fold;
use crate::{Activity, Array, ArrayCounts, Error, FoldSchedule, Mapping, Stationary};

pub(crate) use feed::Operands;
use grid::{RegisterGrid, See};
use rule::{InSums, InWords, SumRule};
pub(crate) use view::BUBBLE;
pub use view::{Clock, CycleCause, Hazard, Latch, Left, Registers, SumRegister};

/// The engine that clocks every register.
///
/// ```
/// use systoliq_array::{Array, ArrayCounts, Mapping, Register, Stationary};
/// use systoliq_fxp::{Accumulator, Adder, Overflow, Rounding, Tensor};
/// use systoliq_keyed_random::Key;
/// use systoliq_program::{Engine, GemmTask, Operand};
/// let accumulator = Accumulator::new(16, None, Rounding::Floor, Overflow::Saturate)?;
/// let format = "Q4.4".parse()?;
/// let a = Tensor::from_codes(format, 2, 2, &[1, 2, 3, 4]);
/// let b = Tensor::from_codes(format, 2, 1, &[10, -1]);
/// let [left, right] = [&a, &b].map(|tensor| Operand::new(tensor, false));
/// let task = GemmTask::new(left, right, Adder::new(&accumulator, 8, Key::new(0)), None);
/// let array = Array::new(2, 2)?;
/// let mut engine = Register::new(array, Stationary::Output)?;
/// assert_eq!(engine.gemm(&task).values, [8, 26]);
/// let mapping = Mapping::new(&array, task.shape(), Stationary::Output);
/// assert_eq!(engine.seen().counts, ArrayCounts::of(&mapping)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Register {
    array: Array,
    stationary: Stationary,
    /// The room for partial sums, in bits.
    partial_sum_bits: u64,
    seen: Seen,
}

/// What was counted while stepping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Events, whatever the data.
    pub counts: ArrayCounts,
    /// What operands did.
    pub activity: Activity,
    /// Bits that flipped in registers of sums and of chunks, second registers included.
    pub accumulator_toggles: u64,
    /// Sums of chunks or blocks that were added to their sums.
    pub chunk_sums: u64,
}

impl Seen {
    /// What is to be seen of a GEMM, by the closed forms.
    ///
    /// # Errors
    ///
    /// If a count does not fit 64 bits.
    pub fn of(mapping: &Mapping, task: &GemmTask<'_>) -> Result<Self, Error> {
        let GemmShape { m, k, n } = task.shape();
        let chunk_sums = m as u64 * n as u64 * task.adder.runs(k) as u64;
        Ok(Self {
            counts: ArrayCounts::of(mapping)?,
            activity: Activity::of(mapping, task),
            accumulator_toggles: accumulator_toggles(mapping, task),
            chunk_sums,
        })
    }
}

impl Register {
    /// An engine for this array in a dataflow, whatever the array's own.
    ///
    /// # Errors
    ///
    /// Those of [`Array::validate`].
    pub fn new(array: Array, stationary: Stationary) -> Result<Self, Error> {
        array.validate()?;
        Ok(Self { array, stationary, partial_sum_bits: u64::MAX, seen: Seen::default() })
    }

    /// The same with so many bits of room for partial sums.
    pub fn with_partial_sum_bits(self, partial_sum_bits: u64) -> Self {
        Self { partial_sum_bits, ..self }
    }

    /// How this engine runs a GEMM.
    pub fn mapping(&self, task: &GemmTask<'_>) -> Mapping {
        let room = self.partial_sum_bits / u64::from(task.widths().total());
        Mapping::new(&self.array, task.shape(), self.stationary)
            .fitting(room)
            .with_structural_zeros(task.structural_zeros())
    }

    /// What was counted during the last GEMM.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Runs one GEMM and shows all registers after each clock edge.
    ///
    /// # Panics
    ///
    /// If the GEMM has more cycles than 64 bits count, an extent of more than 32 bits, or 2²⁹ folds.
    pub fn observe(&mut self, task: &GemmTask<'_>, see: &mut dyn FnMut(&Clock<'_>)) -> Sums {
        self.run(task, Some(see))
    }

    fn run(&mut self, task: &GemmTask<'_>, see: Option<&mut See<'_>>) -> Sums {
        let mapping = self.mapping(task);
        let schedule = FoldSchedule::new(&mapping).expect("folds fit 64 bits");
        let folds: Vec<Fold> = schedule.folds().collect();
        let (sums, seen) = step(task, &mapping, &folds, see)
            .unwrap_or_else(|hazard| panic!("{hazard:?} in {mapping:?}"));
        self.seen = seen;
        sums
    }
}

impl Engine for Register {
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums {
        self.run(task, None)
    }
}

/// Steps through folds that start at the cycles stated, until all sums have left, and shows all
/// registers after each clock edge to who wants to see them.
///
/// # Errors
///
/// The first hazard: two folds want the same register, edge or port at the same time, or a partial
/// sum before it is written.
///
/// # Panics
///
/// If an extent does not fit 32 bits, or there are 2²⁹ folds.
pub fn step(
    task: &GemmTask<'_>,
    mapping: &Mapping,
    folds: &[Fold],
    see: Option<&mut See<'_>>,
) -> Result<(Sums, Seen), Hazard> {
    if let Some(rule) = InWords::<i32>::new(task) {
        step_by(rule, task, mapping, folds, see)
    } else if let Some(rule) = InWords::<i64>::new(task) {
        step_by(rule, task, mapping, folds, see)
    } else {
        step_by(InSums::new(task), task, mapping, folds, see)
    }
}

fn step_by<R: SumRule>(
    rule: R,
    task: &GemmTask<'_>,
    mapping: &Mapping,
    folds: &[Fold],
    mut see: Option<&mut See<'_>>,
) -> Result<(Sums, Seen), Hazard>
where
    i64: AsPrimitive<R::Code>,
{
    let GemmShape { m, k, n } = task.shape();
    let mut sums = Sums { values: vec![0; m * n], overflowed: 0 };
    let mut leave = |index: usize, mut sum: Sum| {
        sums.overflowed += u64::from(task.finish(&mut sum, index));
        sums.values[index] = sum.value;
    };
    if k == 0 {
        // Nothing enters the grid, and only the bias is added at the edge.
        (0..m * n).for_each(|index| leave(index, Sum::default()));
    }
    let mut grid = RegisterGrid::new(rule, task, mapping, folds);
    while !grid.is_done() {
        for left in grid.clock(see.as_deref_mut())? {
            if left.cell.additions == k as u64 {
                leave(left.index, left.cell.sum);
            }
        }
    }
    Ok((sums, grid.seen()))
}
