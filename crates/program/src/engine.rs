//! What runs commands, and what a command did.

use smallvec::{SmallVec, smallvec};
use systoliq_fxp::{ConversionStatistics, ExactSum, UpdateStatistics};

use crate::command::CommandId;
use crate::gemm::{GemmTask, Sums};
use crate::store::{Step, Store};
use crate::tensor::TensorId;

/// What runs commands on the tensors of a store. All engines leave the same codes and say the same of
/// what they did.
pub trait Engine {
    /// The sums of one matrix product.
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums;

    /// Runs a command of the store's program: plainly, but for matrix products, unless an engine knows
    /// better.
    ///
    /// # Panics
    ///
    /// If a tensor that it reads is not written yet.
    fn run(&mut self, command: CommandId, store: &mut Store, step: &Step) -> Outcome {
        store.run(command, step, &mut |task| self.gemm(task))
    }
}

/// What makes the sums of matrix products.
pub type Multiply<'a> = dyn FnMut(&GemmTask<'_>) -> Sums + 'a;

/// What happened to all tensors that a command wrote; as many are in place as an update writes.
pub type AllWritten = SmallVec<[Written; 4]>;

/// What a command did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Of each tensor that it wrote, in the order of its [writes](crate::Write).
    pub written: AllWritten,
    /// The loss summed over the batch, of the command that computes it.
    pub loss: Option<ExactSum>,
}

/// What happened to one tensor as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The tensor.
    pub tensor: TensorId,
    /// What its conversion did.
    pub conversion: ConversionStatistics,
    /// Whether its scale was chosen from the tensor itself, which then had to be kept at full width
    /// until its last element was known.
    pub second_pass: bool,
    /// Sums that accumulators made for it: of a product or of columns, one for each output.
    pub sums: u64,
    /// Of these, how many left the accumulator's range on the way.
    pub overflowed_sums: u64,
    /// What an update did, said where its last code is written.
    pub update: Option<UpdateStatistics>,
}

impl Written {
    /// What a conversion alone wrote.
    pub(crate) fn converted(
        tensor: TensorId,
        conversion: ConversionStatistics,
        second_pass: bool,
    ) -> Self {
        Self { tensor, conversion, second_pass, sums: 0, overflowed_sums: 0, update: None }
    }

    /// The same, converted from so many sums.
    #[must_use]
    pub fn with_sums(self, sums: u64, overflowed_sums: u64) -> Self {
        Self { sums, overflowed_sums, ..self }
    }
}

impl From<Written> for Outcome {
    fn from(written: Written) -> Self {
        Self { written: smallvec![written], loss: None }
    }
}
