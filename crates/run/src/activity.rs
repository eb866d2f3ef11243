//! What the data itself does in the array: operands that are zero, and bits that flip.

use serde::{Deserialize, Serialize};
use systoliq_array::Activity;
use systoliq_array::activity::accumulator_toggles;
use systoliq_hardware::accelerator::Toggles;
use systoliq_program::{CommandId, Program, Step, Store};

use systoliq_hardware::cost::Costs;

/// One step in so many has its accumulators looked at, from the first.
const SAMPLE_EVERY: u64 = 64;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Nothing,
    Operands,
    Everything,
}

impl Watch {
    /// What is looked at in a step of training.
    pub(crate) fn in_step(toggles: Toggles, step: u64) -> Self {
        match toggles {
            Toggles::Off => Self::Nothing,
            Toggles::Sampled if !step.is_multiple_of(SAMPLE_EVERY) => Self::Operands,
            Toggles::Sampled | Toggles::Exact => Self::Everything,
        }
    }
}

/// What was counted of one GEMM or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Of operands, in all of them.
    pub operands: Activity,
    /// Bits that flipped in registers of sums, in those whose accumulators were looked at.
    pub accumulator_toggles: u64,
    /// The multiply-accumulates of those.
    pub accumulator_macs: u64,
}

impl Observed {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.operands += other.operands;
        self.accumulator_toggles += other.accumulator_toggles;
        self.accumulator_macs += other.accumulator_macs;
    }
}

impl Observed {
    /// The sum of two, if it fits 64 bits.
    pub(crate) fn checked_add(&self, other: &Self) -> Option<Self> {
        let (Activity { zero_operand_macs, a_toggles, b_toggles }, more) =
            (self.operands, other.operands);
        Some(Self {
            operands: Activity {
                zero_operand_macs: zero_operand_macs.checked_add(more.zero_operand_macs)?,
                a_toggles: a_toggles.checked_add(more.a_toggles)?,
                b_toggles: b_toggles.checked_add(more.b_toggles)?,
            },
            accumulator_toggles: self.accumulator_toggles.checked_add(other.accumulator_toggles)?,
            accumulator_macs: self.accumulator_macs.checked_add(other.accumulator_macs)?,
        })
    }
}

impl Watch {
    /// What a command is about to do in the array; nothing if that is not looked at, or the command is
    /// no matrix product.
    pub(crate) fn observe(
        self,
        command: CommandId,
        (store, step): (&Store, &Step),
        costs: &Costs<'_>,
    ) -> Option<Observed> {
        if self == Self::Nothing || !is_product(store.program(), command) {
            return None;
        }
        let (write, _) = store.program().writes_of(command).next()?;
        let mut sum = Observed::default();
        for task in store.tasks(command, step) {
            let mapping = costs.mapping(write, task.shape());
            let operands = Activity::of(&mapping, &task);
            let mut observed = Observed { operands, ..Observed::default() };
            if self == Self::Everything {
                observed.accumulator_toggles = accumulator_toggles(&mapping, &task);
                observed.accumulator_macs = task.macs();
            }
            sum.add(&observed);
        }
        Some(sum)
    }
}

fn is_product(program: &Program, command: CommandId) -> bool {
    program.command(command).operation.product().is_some()
}

/// What a report says of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ActivityReport {
    /// Multiply-accumulates of which an operand is zero, and bits that flip in operand registers.
    #[serde(flatten)]
    pub operands: Activity,
    /// Bits that flip in registers of sums, where all were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accumulator_toggles: Option<u64>,
    /// The same in one step of 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accumulator_toggles_sampled: Option<Sample>,
}

/// Bits that flip in registers of sums, in some steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Bits.
    pub toggles: u64,
    /// The multiply-accumulates of these steps.
    pub macs: u64,
}

impl ActivityReport {
    /// Of what was observed where so many toggles were looked at.
    pub fn new(observed: &Observed, toggles: Toggles) -> Self {
        let Observed { operands, accumulator_toggles, accumulator_macs } = *observed;
        let exact = toggles == Toggles::Exact;
        let sample = Sample { toggles: accumulator_toggles, macs: accumulator_macs };
        Self {
            operands,
            accumulator_toggles: exact.then_some(accumulator_toggles),
            accumulator_toggles_sampled: (!exact).then_some(sample),
        }
    }
}
